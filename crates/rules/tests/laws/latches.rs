//! A rule that measures what it moves does not flap, whatever it sees.

use crate::world::{Known, World, at, compile, holds, rule};
use canon::Instant;
use proptest::prelude::*;
use rules::{Hold, Latch, LatchSettings, Seen, TargetFact, Verdict, Written};
use std::time::Duration;

fn verdict() -> impl Strategy<Value = Verdict> {
    proptest::sample::select(vec![Verdict::True, Verdict::False, Verdict::Unknown])
}

/// One look: milliseconds since the one before, the condition, `until`, whether a call ended meanwhile.
fn looks() -> impl Strategy<Value = Vec<(u64, Verdict, Verdict, bool)>> {
    proptest::collection::vec((0_u64..20_000, verdict(), verdict(), any::<bool>()), 1..200)
}

proptest! {
    #[test]
    fn nothing_makes_a_rule_go_on_or_off_faster_than_for(
        hold in 1_u64..30_000,
        measures in any::<bool>(),
        has_until in any::<bool>(),
        looks in looks(),
    ) {
        let settings = LatchSettings { hold: Duration::from_millis(hold), measures };
        let mut latch = Latch::default();
        let (mut now, mut heard) = (Instant::ORIGIN, None);
        let mut last_change: Option<Instant> = None;
        let mut was_on = false;
        for (pause, condition, until, call) in looks {
            now = now + Duration::from_millis(pause);
            if call {
                heard = Some(now);
            }
            let seen = Seen { condition, until: has_until.then_some(until), last_heard: heard };
            let is_on = latch.step(settings, seen, now) == Hold::On;
            if is_on != was_on {
                let since = last_change.map(|last| now.saturating_since(last));
                prop_assert!(since.is_none_or(|since| since >= settings.hold), "after {since:?}, not {hold} ms");
                last_change = Some(now);
            }
            was_on = is_on;
        }
    }

    #[test]
    fn the_exempt_share_of_a_return_only_grows_and_a_step_at_the_same_moment_changes_nothing(looks in looks()) {
        let settings = LatchSettings { hold: Duration::ZERO, measures: true };
        let mut latch = Latch::default();
        let (mut now, mut heard) = (Instant::ORIGIN, None);
        let mut share: Option<f64> = None;
        for (pause, condition, _, call) in looks {
            now = now + Duration::from_millis(pause + 1);
            if call {
                heard = Some(now);
            }
            let seen = Seen { condition, until: None, last_heard: heard };
            let hold = latch.step(settings, seen, now);
            prop_assert_eq!(latch.step(settings, seen, now), hold);
            share = match hold {
                Hold::Returning { exempt } => {
                    prop_assert!(exempt >= share.unwrap_or(0.05) && exempt <= 1.0);
                    Some(exempt)
                }
                Hold::On | Hold::Off => None,
            };
        }
    }
}

#[test]
fn a_condition_holds_only_after_its_time_and_a_request_it_is_not_for_changes_nothing() {
    let written = Written { hold: Some(Duration::from_secs(5)), ..rule("target('a/1').slow && request.tokens < 5000") };
    let set = compile(&[written]).unwrap();
    let mut world = World::default().of(&set).fact("a/1", TargetFact::Slow, Known::Bool(true));
    world.last_heard.insert("a/1", at(0.0).now);
    assert!(!holds(&set, &world, at(0.0)));
    assert!(!holds(&set, &world, at(4.9)));
    assert!(holds(&set, &world, at(5.0)));
}

#[test]
fn a_rule_written_the_same_after_a_reload_remembers_and_one_written_otherwise_does_not() {
    let of =
        |hold| compile(&[Written { hold: Some(Duration::from_secs(hold)), ..rule("target('a/1').slow") }]).unwrap();
    let old = of(5);
    let mut world = World::default().of(&old).fact("a/1", TargetFact::Slow, Known::Bool(true));
    world.last_heard.insert("a/1", at(0.0).now);
    holds(&old, &world, at(0.0));
    assert!(holds(&old, &world, at(5.0)));
    let (same, other) = (of(5), of(6));
    same.take_over(&old);
    other.take_over(&old);
    assert!(holds(&same, &world, at(5.0)));
    assert!(!holds(&other, &world, at(5.0)));
}

#[test]
fn during_a_return_the_exempt_share_of_the_requests_passes() {
    let set = compile(&[rule("target('a/1').slow")]).unwrap();
    let mut world = World::default().of(&set).fact("a/1", TargetFact::Slow, Known::Bool(true));
    world.last_heard.insert("a/1", at(0.0).now);
    assert!(holds(&set, &world, at(0.0)));
    world = world.fact("a/1", TargetFact::Slow, Known::Bool(false));
    holds(&set, &world, at(1.0));
    let reach = set.reach(&crate::world::IDS);
    let mut rng = fastrand::Rng::with_seed(3);
    let request = crate::world::request(&world);
    let exempt = (0..2_000).filter(|_| set.judge(&reach, &request, &world, at(16.0), &mut rng).held.is_empty()).count();
    assert!((400..600).contains(&exempt), "a quarter after 15 s: {exempt}");
}
