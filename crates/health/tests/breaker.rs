//! The breaker, its ramp and its flap damping, driven through the public handles on virtual time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use canon::{Fault, FaultClass, Instant, Origin, Phase, Scope};
use health::{
    BreakerSettings, BreakerStanding, Health, Lesson, Permit, Refused, StartKind, Suspicion, TargetHealth, lesson,
};
use std::sync::Arc;
use std::time::Duration;

const TEN: Duration = Duration::from_secs(10);

fn at(seconds: f64) -> Instant {
    Instant::from_origin(Duration::from_secs_f64(seconds))
}

fn target(seed: u64) -> Arc<TargetHealth> {
    Health::new(seed).target("p/m", &BreakerSettings::default())
}

fn fault(class: FaultClass) -> Fault {
    Fault::new(class, Origin::Head, "")
}

fn start(target: &Arc<TargetHealth>, now: f64) -> Permit {
    target.start(StartKind::Probe, at(now)).unwrap()
}

fn fail(target: &Arc<TargetHealth>, class: FaultClass, now: f64) {
    start(target, now).failed(&fault(class), at(now));
}

fn succeed(target: &Arc<TargetHealth>, now: f64) {
    start(target, now).succeeded(at(now));
}

fn breaker(target: &TargetHealth, now: f64) -> BreakerStanding {
    target.standing(at(now)).breaker
}

fn is_open(target: &TargetHealth, now: f64) -> bool {
    matches!(breaker(target, now), BreakerStanding::Open { .. })
}

/// Trips the breaker and says when its rest ends, in seconds.
fn trip(target: &Arc<TargetHealth>, now: f64) -> f64 {
    while !is_open(target, now) {
        fail(target, FaultClass::ServerError, now);
    }
    rest_ends(target, now)
}

fn rest_ends(target: &TargetHealth, now: f64) -> f64 {
    match breaker(target, now) {
        BreakerStanding::Open { until } => until.since_origin().as_secs_f64(),
        other => panic!("not open: {other:?}"),
    }
}

#[test]
fn three_hard_faults_in_a_row_open_it() {
    for class in
        FaultClass::ALL.into_iter().filter(|class| lesson(&Fault::new(*class, Origin::Head, "")) == Lesson::Failure)
    {
        let target = target(1);
        fail(&target, class, 1.0);
        fail(&target, class, 2.0);
        assert_eq!(breaker(&target, 2.0), BreakerStanding::Closed, "{class}");
        fail(&target, class, 3.0);
        assert!(is_open(&target, 3.0), "{class}");
    }
}

#[test]
fn a_first_token_ends_the_run() {
    let target = target(1);
    for round in 0..2 {
        let now = f64::from(round) * 100.0;
        fail(&target, FaultClass::ServerError, now);
        fail(&target, FaultClass::ServerError, now);
        succeed(&target, now);
    }
    assert_eq!(breaker(&target, 101.0), BreakerStanding::Closed);
}

#[test]
fn no_other_class_ever_opens_it() {
    for class in
        FaultClass::ALL.into_iter().filter(|class| lesson(&Fault::new(*class, Origin::Head, "")) != Lesson::Failure)
    {
        let target = target(1);
        for i in 0..100 {
            if let Ok(permit) = target.start(StartKind::Live, at(f64::from(i) * 0.1)) {
                permit.failed(&fault(class), at(f64::from(i) * 0.1));
            }
        }
        let standing = target.standing(at(10.0)).breaker;
        match class {
            FaultClass::ModelMissing => assert!(matches!(standing, BreakerStanding::Off { .. })),
            _ => assert_eq!(standing, BreakerStanding::Closed, "{class}"),
        }
    }
}

#[test]
fn every_other_call_failing_opens_it_once_eight_samples_are_there() {
    let target = target(1);
    for i in 0..4 {
        assert_eq!(breaker(&target, f64::from(i)), BreakerStanding::Closed);
        succeed(&target, f64::from(i));
        fail(&target, FaultClass::Overloaded, f64::from(i));
    }
    assert!(is_open(&target, 4.0));
}

#[test]
fn the_same_faults_spread_over_minutes_do_not_open_it() {
    let target = target(1);
    for i in 0..40 {
        let now = f64::from(i) * 20.0;
        succeed(&target, now);
        fail(&target, FaultClass::ServerError, now);
    }
    assert_eq!(breaker(&target, 800.0), BreakerStanding::Closed);
}

#[test]
fn two_first_token_timeouts_among_the_last_three_started_open_it() {
    let silent = Fault::timed_out(Phase::FirstToken, Duration::from_secs(10));
    let target = target(1);
    start(&target, 0.0).failed(&silent, at(10.0));
    succeed(&target, 11.0);
    start(&target, 12.0).failed(&silent, at(22.0));
    assert!(is_open(&target, 22.0));
}

#[test]
fn two_first_token_timeouts_with_two_answers_between_do_not() {
    let silent = Fault::timed_out(Phase::FirstToken, Duration::from_secs(10));
    let target = target(1);
    start(&target, 0.0).failed(&silent, at(10.0));
    succeed(&target, 11.0);
    succeed(&target, 11.5);
    start(&target, 12.0).failed(&silent, at(22.0));
    assert_eq!(breaker(&target, 22.0), BreakerStanding::Closed);
}

#[test]
fn streams_that_always_break_after_their_first_token_open_it() {
    let target = target(1);
    for i in 0..3 {
        let now = f64::from(i);
        let mut permit = start(&target, now);
        permit.first_token(at(now + 0.1));
        permit.failed(&fault(FaultClass::StreamBroken), at(now + 0.5));
    }
    assert!(is_open(&target, 3.0));
}

#[test]
fn rests_double_to_their_cap_with_equal_jitter() {
    let mut seen_spread = false;
    for seed in 0..200 {
        let target = target(seed);
        let mut now = 0.0;
        let mut until = trip(&target, now);
        for rest in [2.0, 4.0, 8.0, 15.0, 15.0, 15.0] {
            let got = until - now;
            assert!((rest / 2.0..=rest + 1e-6).contains(&got), "rest {rest}: {got}");
            seen_spread |= got < rest * 0.6;
            now = until;
            assert_eq!(breaker(&target, now), BreakerStanding::HalfOpen { ready: true, promising: false });
            fail(&target, FaultClass::ServerError, now);
            until = rest_ends(&target, now);
        }
    }
    assert!(seen_spread);
}

#[test]
fn half_open_takes_one_probe_at_a_time_and_two_first_tokens() {
    let target = target(1);
    let now = trip(&target, 0.0);
    assert!(matches!(target.start(StartKind::Probe, at(now - 0.01)), Err(Refused::Open { .. })));
    let mut probe = start(&target, now);
    assert!(probe.is_probe());
    assert_eq!(target.start(StartKind::Probe, at(now)).unwrap_err(), Refused::HalfOpen);
    assert_eq!(target.start(StartKind::Live, at(now)).unwrap_err(), Refused::HalfOpen);
    probe.first_token(at(now + 1.0));
    assert_eq!(breaker(&target, now + 1.0), BreakerStanding::HalfOpen { ready: true, promising: true });
    succeed(&target, now + 2.0);
    assert_eq!(breaker(&target, now + 2.0), BreakerStanding::Ramping { share: 0.05 });
    probe.succeeded(at(now + 3.0));
}

#[test]
fn what_one_answer_made_look_better_rests_again_whoever_finds_it_failing() {
    let target = target(1);
    let now = trip(&target, 0.0);
    let panics = |now: f64| target.start(StartKind::Panic, at(now)).unwrap();
    let (_probe, trickle) = (start(&target, now), panics(now));
    trickle.failed(&fault(FaultClass::ServerError), at(now));
    assert!(!is_open(&target, now), "the probe decides");
    panics(now).succeeded(at(now));
    assert_eq!(breaker(&target, now), BreakerStanding::HalfOpen { ready: false, promising: true });
    panics(now).failed(&fault(FaultClass::ServerError), at(now));
    assert!(is_open(&target, now));
}

#[test]
fn failures_that_are_told_sooner_than_answers_are_seen_through_the_answers_of_earlier_calls() {
    let target = target(1);
    let earlier: Vec<_> = (0..20).map(|_| start(&target, 0.0)).collect();
    let mut waiting = Vec::new();
    let mut earlier = earlier.into_iter();
    for call in 0..8 {
        assert!(!is_open(&target, 1.0), "{call}");
        if call % 2 == 0 {
            waiting.push(start(&target, 1.0));
        } else {
            fail(&target, FaultClass::ServerError, 1.0);
        }
        (0..2).for_each(|_| earlier.next().unwrap().succeeded(at(1.0)));
    }
    assert!(is_open(&target, 1.0), "four of the eight that were started since");
}

#[test]
fn who_asks_for_more_samples_and_a_longer_run_has_no_breaker_opened_by_fewer() {
    let settings = BreakerSettings { consecutive: 1_000, min_samples: 1_000, ..BreakerSettings::default() };
    let target = Health::new(1).target("p/m", &settings);
    for call in 0..900 {
        fail(&target, FaultClass::ServerError, f64::from(call) / 100.0);
    }
    assert!(!is_open(&target, 9.0));
}

#[test]
fn a_probe_that_is_cancelled_or_limited_frees_its_slot_and_proves_nothing() {
    let target = target(1);
    let now = trip(&target, 0.0);
    drop(start(&target, now));
    start(&target, now).cancelled();
    fail(&target, FaultClass::RateLimited, now);
    fail(&target, FaultClass::InvalidRequest, now);
    assert_eq!(breaker(&target, now), BreakerStanding::HalfOpen { ready: true, promising: false });
    succeed(&target, now);
    assert_eq!(breaker(&target, now), BreakerStanding::HalfOpen { ready: true, promising: true });
}

#[test]
fn the_ramp_grows_over_a_minute_and_closes() {
    let target = target(1);
    let now = trip(&target, 0.0);
    succeed(&target, now);
    succeed(&target, now);
    let mut last = 0.0;
    for second in 0..60 {
        match breaker(&target, now + f64::from(second)) {
            BreakerStanding::Ramping { share } => {
                assert!(share >= last, "monotone");
                assert!((share - (f64::from(second) / 60.0).max(0.05)).abs() < 1e-6);
                last = share;
            }
            other => panic!("{other:?}"),
        }
        succeed(&target, now + f64::from(second));
    }
    assert_eq!(breaker(&target, now + 60.0), BreakerStanding::Closed);
}

#[test]
fn one_straggler_in_the_ramp_is_no_relapse_where_calls_that_began_after_it_were_answered() {
    let silence = |permit: Permit, now: f64| permit.failed(&Fault::timed_out(Phase::FirstToken, TEN), at(now));
    for (answered, reopens) in [(true, false), (false, true)] {
        let target = target(3);
        let now = trip(&target, 0.0);
        succeed(&target, now);
        succeed(&target, now);
        let straggler = start(&target, now + 1.0);
        if answered {
            (2..6).for_each(|second| succeed(&target, now + f64::from(second)));
        }
        silence(straggler, now + 11.0);
        assert_eq!(is_open(&target, now + 11.0), reopens);
        if answered {
            silence(start(&target, now + 12.0), now + 22.0);
            assert!(is_open(&target, now + 22.0), "nobody was answered since");
        }
    }
}

#[test]
fn one_hard_fault_in_the_ramp_opens_it_for_longer_than_before() {
    let target = target(3);
    let now = trip(&target, 0.0);
    succeed(&target, now);
    succeed(&target, now);
    fail(&target, FaultClass::Unreachable, now + 5.0);
    let rest = rest_ends(&target, now + 5.0) - (now + 5.0);
    assert!((2.0..=4.0).contains(&rest), "{rest}");
}

#[test]
fn healthy_service_takes_the_doublings_back_one_a_minute() {
    let rest_after = |healthy_minutes: u32| {
        let target = target(5);
        let mut now = trip(&target, 0.0);
        for _ in 0..3 {
            fail(&target, FaultClass::ServerError, now);
            now = rest_ends(&target, now);
        }
        succeed(&target, now);
        succeed(&target, now);
        for _ in 0..healthy_minutes * 6 {
            now += 10.0;
            succeed(&target, now);
        }
        now += 0.5;
        trip(&target, now) - now
    };
    assert!(rest_after(0) > 7.4, "one success resets nothing");
    assert!(rest_after(1) > 3.9);
    assert!(rest_after(3) <= 4.0);
    assert!(rest_after(6) <= 2.0);
}

#[test]
fn a_verdict_from_before_the_trip_says_nothing_after_it() {
    let target = target(1);
    let (mut early, late) = (start(&target, 0.0), start(&target, 0.0));
    let now = trip(&target, 1.0);
    early.first_token(at(now));
    late.failed(&fault(FaultClass::ServerError), at(now));
    assert_eq!(breaker(&target, now), BreakerStanding::HalfOpen { ready: true, promising: false });
    succeed(&target, now);
    assert!(matches!(breaker(&target, now), BreakerStanding::HalfOpen { .. }), "one of two");
    early.succeeded(at(now));
}

#[test]
fn a_call_let_through_by_panic_can_begin_the_recovery() {
    let target = target(1);
    trip(&target, 0.0);
    target.start(StartKind::Panic, at(0.1)).unwrap().succeeded(at(0.2));
    assert_eq!(breaker(&target, 0.2), BreakerStanding::HalfOpen { ready: true, promising: true });
    succeed(&target, 0.3);
    assert!(matches!(breaker(&target, 0.3), BreakerStanding::Ramping { .. }));
}

#[test]
fn a_chronic_flapper_is_degraded_until_its_penalty_has_decayed() {
    let target = target(1);
    let mut now = 0.0;
    for trips in 1..=4 {
        now = trip(&target, now);
        assert_eq!(target.standing(at(now)).degraded, trips == 4, "{trips}");
        succeed(&target, now);
        succeed(&target, now);
    }
    assert!(target.standing(at(now + 580.0)).degraded);
    assert!(!target.standing(at(now + 601.0)).degraded);
}

#[test]
fn failed_probes_are_the_same_outage_and_no_flapping() {
    let target = target(1);
    let mut now = trip(&target, 0.0);
    for _ in 0..50 {
        fail(&target, FaultClass::ServerError, now);
        now = rest_ends(&target, now);
    }
    assert!(!target.standing(at(now)).degraded);
}

#[test]
fn one_trip_in_ten_minutes_is_never_flapping() {
    let target = target(1);
    let mut now = 0.0;
    for _ in 0..30 {
        let half_open = trip(&target, now);
        succeed(&target, half_open);
        succeed(&target, half_open);
        assert!(!target.standing(at(half_open)).degraded);
        now += 600.0;
    }
}

#[test]
fn a_missing_model_is_off_for_ten_minutes_or_until_it_is_listed() {
    let target = target(1);
    fail(&target, FaultClass::ModelMissing, 0.0);
    assert_eq!(target.start(StartKind::Live, at(1.0)).unwrap_err(), Refused::Off { until: at(600.0) });
    assert_eq!(breaker(&target, 600.0), BreakerStanding::Closed);
    fail(&target, FaultClass::ModelMissing, 600.0);
    target.relisted();
    assert_eq!(breaker(&target, 601.0), BreakerStanding::Closed);
    let not_entitled = Fault { scope: Scope::CredentialModel, ..fault(FaultClass::ModelMissing) };
    start(&target, 602.0).failed(&not_entitled, at(602.0));
    assert_eq!(breaker(&target, 602.0), BreakerStanding::Closed, "the credential's matter");
}

#[test]
fn a_soft_fault_costs_rank_and_nothing_else() {
    let target = target(1);
    fail(&target, FaultClass::TooSlow, 0.0);
    let standing = target.standing(at(1.0));
    assert!(standing.slow && standing.breaker == BreakerStanding::Closed);
    assert!(!target.standing(at(31.0)).slow);
}

fn suspect(target: &TargetHealth, until: f64) {
    target.suspect(Some(Suspicion { until: at(until), why: "a page".to_owned() }));
}

#[test]
fn a_reported_incident_opens_nothing_and_one_fault_fewer_does() {
    let target = target(1);
    suspect(&target, 100.0);
    assert_eq!(breaker(&target, 1.0), BreakerStanding::Closed);
    (0..50).for_each(|i| succeed(&target, 1.0 + f64::from(i)));
    fail(&target, FaultClass::ServerError, 60.0);
    assert_eq!(breaker(&target, 60.0), BreakerStanding::Closed, "one fault is no outage");
    fail(&target, FaultClass::ServerError, 60.1);
    assert!(is_open(&target, 60.1));
}

#[test]
fn a_report_that_is_stale_or_taken_back_counts_for_nothing() {
    for taken_back in [false, true] {
        let target = target(1);
        suspect(&target, if taken_back { 1_000.0 } else { 5.0 });
        if taken_back {
            target.suspect(None);
        }
        (0..2).for_each(|_| fail(&target, FaultClass::ServerError, 5.0));
        assert_eq!(breaker(&target, 5.0), BreakerStanding::Closed);
        assert!(target.suspicion(at(5.0)).is_none());
        fail(&target, FaultClass::ServerError, 5.1);
        assert!(is_open(&target, 5.1));
    }
}

#[test]
fn while_an_incident_is_reported_half_open_asks_for_one_success_more() {
    for (is_reported, needed) in [(false, 2), (true, 3)] {
        let target = target(1);
        let rested = trip(&target, 0.0) + 0.1;
        if is_reported {
            suspect(&target, 1_000.0);
        }
        for i in 1..=needed {
            assert!(
                matches!(breaker(&target, rested), BreakerStanding::HalfOpen { ready: true, .. }),
                "{is_reported} {i}"
            );
            succeed(&target, rested);
        }
        assert!(matches!(breaker(&target, rested), BreakerStanding::Ramping { .. }), "traffic that works comes back");
    }
}

#[test]
fn while_an_incident_is_reported_one_first_token_timeout_is_enough() {
    let target = target(1);
    suspect(&target, 100.0);
    start(&target, 1.0).failed(&Fault::timed_out(Phase::FirstToken, Duration::from_secs(10)), at(11.0));
    assert!(is_open(&target, 11.0));
}

#[test]
fn state_survives_new_settings() {
    let health = Health::new(1);
    let known = health.target("p/m", &BreakerSettings::default());
    trip(&known, 0.0);
    let again = health.target("p/m", &BreakerSettings { consecutive: 5, ..BreakerSettings::default() });
    assert!(is_open(&again, 0.1));
}

#[test]
fn permits_balance_and_one_probe_is_in_flight_whatever_happens() {
    for seed in 0..2_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let target = target(seed);
        let mut now = Instant::ORIGIN;
        let mut permits: Vec<Permit> = Vec::new();
        for _ in 0..rng.usize(1..200) {
            now = now + Duration::from_millis(rng.u64(0..4_000));
            if permits.is_empty() || rng.f64() < 0.4 {
                let kind = rng.choice([StartKind::Live, StartKind::Probe, StartKind::Panic]).unwrap();
                permits.extend(target.start(kind, now));
            } else {
                let mut permit = permits.swap_remove(rng.usize(0..permits.len()));
                match rng.u8(0..5) {
                    0 => {
                        permit.first_token(now);
                        permits.push(permit);
                    }
                    1 => permit.succeeded(now),
                    2 => permit.cancelled(),
                    3 => drop(permit),
                    _ => {
                        let of_size = permit.failed(&fault(*rng.choice(&FaultClass::ALL).unwrap()), now);
                        assert!(!of_size, "seed {seed}: all prompts are of one size");
                    }
                }
            }
            assert_eq!(target.in_flight(), permits.len(), "seed {seed}");
            if target.standing(now).breaker == (BreakerStanding::HalfOpen { ready: true, promising: false }) {
                let probe = target.start(StartKind::Probe, now);
                assert!(probe.is_ok(), "seed {seed}");
                assert!(target.start(StartKind::Probe, now).is_err(), "seed {seed}");
            }
        }
        permits.clear();
        assert_eq!(target.in_flight(), 0, "seed {seed}");
        let later = now + Duration::from_secs(600);
        assert!(target.start(StartKind::Probe, later).is_ok(), "seed {seed}: time alone brings a target back");
    }
}
