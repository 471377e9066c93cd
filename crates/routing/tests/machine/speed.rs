//! Rank lost to slowness, and had again, through the handles of one target.

use crate::harness::at;
use canon::{Fault, FaultClass, Instant, Origin, Phase};
use health::{BreakerSettings, BreakerStanding, Health, Permit, StartKind, TargetHealth};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

fn target() -> Arc<TargetHealth> {
    Health::new(1).target("p/m", &BreakerSettings::default())
}

fn start(target: &Arc<TargetHealth>, tokens: u64, now: f64) -> Permit {
    let mut permit = target.start(StartKind::Probe, at(now)).unwrap();
    permit.awaits_first_token(tokens);
    permit
}

fn lognormal(median: f64, sigma: f64, rng: &mut fastrand::Rng) -> f64 {
    let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
    median * (sigma * normal).exp()
}

/// Calls at `rate` a second from `from` to `to`; what each takes to its first token is `took`'s to say. Returns how
/// often the rank was lost, and when first.
fn traffic(
    target: &Arc<TargetHealth>,
    (from, to): (f64, f64),
    rate: f64,
    mut took: impl FnMut(&mut fastrand::Rng) -> Option<f64>,
) -> (u32, Option<f64>) {
    let rng = &mut fastrand::Rng::with_seed(11);
    let mut flying: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
    let mut permits: Vec<Option<Permit>> = Vec::new();
    let (mut now, mut was_slow, mut lost, mut first) = (from, false, 0, None);
    while now < to {
        while let Some(Reverse((when, index))) = flying.peek().copied().filter(|next| next.0.0 <= at(now)) {
            flying.pop();
            let mut permit = permits.get_mut(index).and_then(Option::take).unwrap();
            permit.first_token(when);
            permit.succeeded(when);
        }
        let slow = target.standing(at(now)).slow;
        if slow && !was_slow {
            lost += 1;
            first = first.or(Some(now));
        }
        was_slow = slow;
        let permit = start(target, 500, now);
        if let Some(took) = took(rng) {
            flying.push(Reverse((at(now + took), permits.len())));
        }
        permits.push(Some(permit));
        now -= (1.0 - rng.f64()).ln() / rate;
    }
    (lost, first)
}

#[test]
fn a_target_that_is_well_keeps_its_rank_for_hours_at_any_rate() {
    for (sigma, rate, hours) in [(0.3, 0.05, 20.0), (0.4, 0.5, 6.0), (0.4, 3.0, 2.0), (0.4, 40.0, 0.3), (0.8, 3.0, 2.0)]
    {
        let target = target();
        let (lost, _) = traffic(&target, (0.0, hours * 3_600.0), rate, |rng| Some(lognormal(2.0, sigma, rng)));
        println!("σ {sigma}, {rate}/s, {hours} h: rank lost {lost} times");
        let calls = rate * hours * 3_600.0;
        assert!(f64::from(lost) <= 1.0 + calls / 1_000.0, "σ {sigma}, {rate}/s: {lost} times in {calls} calls");
    }
}

#[test]
fn three_times_the_first_token_costs_the_rank_within_seconds_and_half_as_long_again_never() {
    for (times, most) in [(3.0, Some(9.0)), (1.5, None)] {
        let target = target();
        traffic(&target, (0.0, 120.0), 3.0, |rng| Some(lognormal(2.0, 0.4, rng)));
        let (_, lost) = traffic(&target, (120.0, 240.0), 3.0, |rng| Some(lognormal(2.0 * times, 0.4, rng)));
        println!("{times} times: lost at {lost:?}");
        assert_eq!(lost.is_some(), most.is_some(), "{times}");
        assert!(lost.is_none_or(|at| at - 120.0 <= most.unwrap_or(0.0)), "{lost:?}");
        assert_eq!(target.standing(at(240.0)).breaker, BreakerStanding::Closed, "never opened for it");
    }
}

#[test]
fn calls_that_all_outlive_the_usual_answer_cost_the_rank_before_any_of_them_ends() {
    let target = target();
    (0..40).for_each(|i| answer(&target, 500, f64::from(i), 2.0));
    let _hung = start(&target, 500, 100.0);
    assert!(!target.standing(at(105.0)).slow, "three times the median is not over");
    assert!(target.standing(at(107.0)).slow);
    assert_eq!(target.standing(at(107.0)).breaker, BreakerStanding::Closed);
    let fresh = start(&target, 500, 112.5);
    assert!(target.standing(at(112.6)).slow, "one at a time is tried while it hangs");
    drop(fresh);
    assert!(!target.standing(at(113.0)).slow);
    answer(&target, 500, 113.0, 2.0);
    assert!(!target.standing(at(115.5)).slow, "one answer in its usual time ends it");
}

fn answer(target: &Arc<TargetHealth>, tokens: u64, now: f64, first: f64) {
    let mut permit = start(target, tokens, now);
    permit.first_token(at(now + first));
    permit.succeeded(at(now + first + 1.0));
}

#[test]
fn rank_comes_back_by_three_answers_in_twice_the_median_after_half_a_minute() {
    let target = target();
    (0..60).for_each(|i| answer(&target, 500, f64::from(i) * 4.0, 2.0));
    let lost = (60..80).find(|i| {
        answer(&target, 500, f64::from(*i) * 4.0, 9.0);
        target.standing(at(f64::from(*i) * 4.0 + 9.0)).slow
    });
    let lost = f64::from(lost.unwrap()) * 4.0 + 9.0;
    assert!(target.standing(at(lost + 29.0)).slow, "dwell");
    assert!(!target.standing(at(lost + 30.0)).slow, "on trial");
    answer(&target, 500, lost + 31.0, 4.5);
    assert!(target.standing(at(lost + 90.0)).slow, "not within twice the median: twice the dwell");
    for i in 0..3 {
        answer(&target, 500, lost + 96.0 + f64::from(i) * 5.0, 3.5);
    }
    assert!(!target.standing(at(lost + 112.0)).slow);
    let _waiting = [start(&target, 500, lost + 112.0), start(&target, 500, lost + 112.0)];
    assert!(!target.standing(at(lost + 113.0)).slow, "it takes every call again");
}

#[test]
fn each_prompt_size_has_its_own_usual() {
    let target = target();
    for i in 0..60 {
        answer(&target, 500, f64::from(i) * 30.0, 1.5);
        answer(&target, 100_000, f64::from(i) * 30.0 + 10.0, 12.0);
    }
    assert!(!target.standing(at(1_800.0)).slow, "a long prompt's usual time is nothing unusual");
    let _short = start(&target, 500, 1_900.0);
    assert!(target.standing(at(1_906.0)).slow, "for a short one it is");
    let other = self::target();
    (0..60).for_each(|i| answer(&other, 500, f64::from(i) * 30.0, 1.5));
    let _long = start(&other, 100_000, 1_900.0);
    assert!(!other.standing(at(1_940.0)).slow, "nothing is known of long ones");
}

#[test]
fn half_the_output_speed_costs_the_rank_and_two_thirds_of_it_gives_it_back() {
    let target = target();
    let stream = |ms, now| {
        start(&target, 500, now).succeeded(at(now));
        target.observe_pace(Duration::from_millis(ms));
    };
    (0..40).for_each(|i| stream(20, f64::from(i)));
    assert!((19..=21).contains(&target.usual_pace().unwrap().as_millis()));
    (40..50).for_each(|i| stream(24, f64::from(i)));
    assert!(!target.standing(at(50.0)).slow, "a fifth slower is nothing");
    let lost = (50..60).find(|i| {
        stream(45, f64::from(*i));
        target.standing(at(f64::from(*i))).slow
    });
    let lost = f64::from(lost.unwrap());
    assert!(lost <= 54.0, "{lost}");
    (0..3).for_each(|_| stream(28, lost + 31.0));
    assert!(!target.standing(at(lost + 31.0)).slow);
    assert!((19..=21).contains(&target.usual_pace().unwrap().as_millis()), "the slow time taught nothing");
}

#[test]
fn callers_who_hang_up_on_a_silent_target_are_believed() {
    let target = target();
    (0..60).for_each(|i| answer(&target, 500, f64::from(i) * 2.0, 2.0));
    for i in 0..6 {
        let now = 200.0 + f64::from(i) * 6.0;
        start(&target, 500, now).abandoned(at(now + 5.5));
    }
    assert!(target.standing(at(236.0)).slow);
    let patient = self::target();
    (0..60).for_each(|i| answer(&patient, 500, f64::from(i) * 2.0, 2.0));
    for i in 0..60 {
        let now = 200.0 + f64::from(i) * 6.0;
        start(&patient, 500, now).abandoned(at(now + 1.5));
    }
    assert!(!patient.standing(at(600.0)).slow, "who did not wait long says nothing");
}

#[test]
fn silence_to_the_limit_is_evidence_too_and_what_opens_is_the_breaker() {
    let target = target();
    (0..60).for_each(|i| answer(&target, 500, f64::from(i) * 2.0, 2.0));
    let silent = Fault { phase: Some(Phase::FirstToken), ..Fault::new(FaultClass::TimedOut, Origin::Mainstay, "") };
    for now in [200.0, 220.0] {
        start(&target, 500, now).failed(&silent, at(now + 10.0));
    }
    assert!(matches!(target.standing(at(230.0)).breaker, BreakerStanding::Open { .. }));
}

#[test]
fn a_thousand_targets_with_every_prompt_size_stay_within_64_mb() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let before = resident();
    let health = Health::new(1);
    for i in 0..1_000 {
        let target = health.target(&format!("provider-{}/model-{i}", i % 30), &BreakerSettings::default());
        for (size, tokens) in [500, 5_000, 20_000, 100_000, 500_000].into_iter().enumerate() {
            // Every ten minutes of the hour.
            (0..12).for_each(|slot| answer(&target, tokens, f64::from(slot) * 300.0 + 20.0 * size as f64, 2.0));
        }
        (0..200).for_each(|gap| target.observe_gap(Duration::from_millis(gap)));
        for slot in 0..12 {
            start(&target, 500, 4_000.0 + f64::from(slot) * 300.0).succeeded(at(4_000.0 + f64::from(slot) * 300.0));
            target.observe_pace(Duration::from_millis(20));
        }
    }
    if let (Some(before), Some(after)) = (before, resident()) {
        let grown = after.saturating_sub(before);
        println!("health of 1,000 targets: {grown} kB");
        assert!(grown > 1_000 && grown <= 64_000, "{grown} kB");
    }
}
