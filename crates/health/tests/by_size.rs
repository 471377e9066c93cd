//! What a target loses when it fails, or is slow, for long prompts alone.

#![expect(clippy::unwrap_used, reason = "tests")]

use canon::{Fault, FaultClass, Instant, Origin};
use health::{BreakerSettings, BreakerStanding, Health, Permit, StartKind, TargetHealth};
use std::sync::Arc;
use std::time::Duration;

const SHORT: u64 = 500;
const LONG: u64 = 150_000;

fn at(seconds: f64) -> Instant {
    Instant::from_origin(Duration::from_secs_f64(seconds))
}

fn target() -> Arc<TargetHealth> {
    Health::new(1).target("p/m", &BreakerSettings::default())
}

fn start(target: &Arc<TargetHealth>, tokens: u64, now: f64) -> Option<Permit> {
    let mut permit = target.start_for(tokens, StartKind::Probe, at(now)).ok()?;
    permit.awaits_first_token(tokens);
    Some(permit)
}

/// A call that is answered after so long.
fn answers(target: &Arc<TargetHealth>, tokens: u64, now: f64, after: f64) {
    let mut permit = start(target, tokens, now).unwrap();
    permit.first_token(at(now + after));
    permit.succeeded(at(now + after + 0.1));
}

fn fails(target: &Arc<TargetHealth>, tokens: u64, now: f64) {
    let fault = Fault::new(FaultClass::ServerError, Origin::Head, "");
    if let Some(permit) = start(target, tokens, now) {
        permit.failed(&fault, at(now));
    }
}

fn breaker(target: &TargetHealth, tokens: u64, now: f64) -> BreakerStanding {
    target.standing_for(tokens, at(now)).breaker
}

fn is_open(standing: BreakerStanding) -> bool {
    matches!(standing, BreakerStanding::Open { .. })
}

#[test]
fn long_prompts_that_fail_leave_within_three_and_short_ones_stay() {
    let target = target();
    answers(&target, SHORT, 0.0, 0.2);
    for i in 1..=3 {
        assert!(!is_open(breaker(&target, LONG, f64::from(i))));
        fails(&target, LONG, f64::from(i));
    }
    assert!(is_open(breaker(&target, LONG, 3.1)));
    assert!(target.standing_for(LONG, at(3.1)).for_size);
    assert_eq!(breaker(&target, SHORT, 3.1), BreakerStanding::Closed);
    assert_eq!(breaker(&target, 20_000, 3.1), BreakerStanding::Closed, "nor those of another size");
    assert_eq!(target.standing(at(3.1)).breaker, BreakerStanding::Closed);
    assert!(start(&target, LONG, 3.1).is_none() && start(&target, SHORT, 3.1).is_some());
}

#[test]
fn an_hour_of_long_failures_never_opens_the_target() {
    let target = target();
    let mut asked = 0;
    for i in 0..3_600 {
        let now = f64::from(i);
        answers(&target, SHORT, now, 0.2);
        if !is_open(breaker(&target, LONG, now + 0.5)) {
            fails(&target, LONG, now + 0.5);
            asked += 1;
        }
        assert_eq!(breaker(&target, SHORT, now + 0.6), BreakerStanding::Closed, "{i}");
    }
    assert!(asked < 400, "{asked}: and long prompts are probes alone");
}

#[test]
fn a_size_comes_back_by_probes_and_a_ramp_as_a_target_does() {
    let target = target();
    answers(&target, SHORT, 0.0, 0.2);
    (1..=3).for_each(|i| fails(&target, LONG, f64::from(i)));
    let healed = (4..20).map(f64::from).find(|now| !is_open(breaker(&target, LONG, *now))).unwrap();
    let probe = start(&target, LONG, healed).unwrap();
    assert!(probe.is_probe() && start(&target, LONG, healed).is_none(), "one at a time");
    drop(probe);
    answers(&target, LONG, healed, 1.0);
    answers(&target, LONG, healed + 2.0, 1.0);
    assert!(matches!(breaker(&target, LONG, healed + 4.0), BreakerStanding::Ramping { .. }));
    assert_eq!(breaker(&target, LONG, healed + 70.0), BreakerStanding::Closed);
    assert!(!target.standing_for(LONG, at(healed + 70.0)).for_size);
}

#[test]
fn an_outage_of_everything_opens_the_target_after_three_whatever_their_sizes() {
    for sizes in [[LONG, LONG, SHORT], [SHORT, LONG, LONG], [SHORT, SHORT, SHORT], [LONG, SHORT, LONG]] {
        let target = target();
        answers(&target, SHORT, 0.0, 0.2);
        for (i, tokens) in sizes.into_iter().enumerate() {
            fails(&target, tokens, 1.0 + i as f64 / 10.0);
        }
        assert!(is_open(target.standing(at(2.0)).breaker), "{sizes:?}");
    }
}

#[test]
fn who_is_sent_long_prompts_alone_is_judged_by_them() {
    let target = target();
    answers(&target, LONG, 0.0, 0.2);
    (1..=3).for_each(|i| fails(&target, LONG, f64::from(i)));
    assert!(is_open(target.standing(at(3.1)).breaker));
}

#[test]
fn what_is_slow_for_long_prompts_loses_its_rank_for_those_alone_and_regains_it() {
    let target = target();
    let turn = |now: f64, long: f64| {
        answers(&target, SHORT, now, 0.5);
        answers(&target, LONG, now + 0.6, long);
    };
    (0..60).for_each(|i| turn(f64::from(i) * 2.0, 1.2));
    let slow = |tokens: u64, now: f64| target.standing_for(tokens, at(now)).slow;
    assert!(!slow(LONG, 120.0));
    let found = (60..70).find(|i| {
        turn(f64::from(*i) * 12.0, 8.0);
        slow(LONG, f64::from(*i) * 12.0 + 9.0)
    });
    assert!(found.is_some_and(|turn| turn <= 64), "{found:?}: within a handful");
    let lost = f64::from(found.unwrap()) * 12.0 + 9.0;
    assert!(!slow(SHORT, lost) && !target.standing(at(lost)).slow);
    assert!(target.standing_for(LONG, at(lost)).for_size);
    // Dwell, then three answers as usual.
    (0..8).for_each(|i| turn(lost + 31.0 + f64::from(i) * 4.0, 1.2));
    assert!(!slow(LONG, lost + 70.0));
}

#[test]
fn what_is_slow_for_all_prompts_loses_its_rank_for_all() {
    let target = target();
    let turn = |now: f64, times: f64| {
        answers(&target, SHORT, now, 0.5 * times);
        answers(&target, LONG, now + 5.0, 1.2 * times);
    };
    (0..60).for_each(|i| turn(f64::from(i) * 10.0, 1.0));
    let found = (60..80).find(|i| {
        turn(f64::from(*i) * 15.0, 5.0);
        target.standing(at(f64::from(*i) * 15.0 + 14.0)).slow
    });
    assert!(found.is_some_and(|turn| turn <= 66), "{found:?}");
}
