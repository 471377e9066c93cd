//! What limits known or felt mean for the order; what 429s themselves mean is in `table.rs` and `scenarios.rs`.

use crate::harness::{Call, Outcome, Pool, Sim, Spec, at, limited, secs};
use canon::{FaultClass, Instant, LimitKind, LimitReading, Priority};
use health::Concurrency;
use routing::{ExclusionReason, Needs};

/// Twenty-one at once, of which the last may meet a 429; four while twenty are in flight; ten when all have been answered.
fn twenty_one_then_four_then_ten<F: FnMut(Call) -> Outcome>(sim: &mut Sim<F>) {
    for (count, from) in [(21, 0.0), (4, 1.3), (10, 12.0)] {
        for i in 0..count {
            sim.request(at(from + f64::from(i) * 0.01));
        }
    }
}

#[test]
fn after_a_429_what_is_beyond_seven_tenths_in_flight_goes_to_another_key() {
    let model = Pool::with(vec![Spec { keys: 2, ..Spec::default() }]).build();
    let mut sim = Sim::new(model, 1, |call| {
        if call.exchange == 20 && call.before == 0 {
            return Outcome::Fails { fault: limited(1.0), after: 0.0 };
        }
        Outcome::Answer { first: 4.0, total: 10.0 }
    });
    twenty_one_then_four_then_ten(&mut sim);
    assert!(sim.run().iter().all(|ended| ended.error.is_none()));
    let keys = |from: usize, to: usize| -> Vec<usize> {
        sim.calls.iter().filter(|call| (from..to).contains(&call.exchange)).map(|call| call.credential).collect()
    };
    assert_eq!(keys(0, 21), [vec![0; 21], vec![1]].concat());
    assert_eq!(keys(21, 25), [1; 4], "twenty are in flight with the first key, and fourteen are its number now");
    assert_eq!(keys(25, 35), [0; 10], "when those have ended there is room");
}

#[test]
fn a_standby_near_its_limit_is_not_given_all_the_traffic_at_once() {
    let model = Pool::of(3).build();
    let told = |left, now| {
        let reading = LimitReading { kind: LimitKind::Requests, limit: 1_000, remaining: left, reset: None };
        model.targets[1].credentials[0].limits.told(std::iter::once(reading), at(now));
    };
    told(150, 9.0);
    let mut sim = Sim::new(model.clone(), 1, |call| {
        if call.target == 0 {
            Outcome::fails(FaultClass::Overloaded)
        } else {
            Outcome::Answer { first: 0.2, total: 0.4 }
        }
    });
    for i in 0..50 {
        sim.request(at(10.0 + f64::from(i) * 0.1));
    }
    let ended = sim.run();
    let served = |target| ended.iter().filter(|it| it.served == Some(target)).count();
    // The three that found the primary dead were planned with the standby behind it.
    assert!((10..=13).contains(&served(1)), "{}", served(1));
    assert_eq!(served(1) + served(2), 50, "the rest spills to the next");
}

#[test]
fn with_nobody_else_a_limit_that_seems_used_up_refuses_nobody() {
    let model = Pool::of(1).build();
    let reading = LimitReading { kind: LimitKind::Requests, limit: 10, remaining: 0, reset: None };
    model.targets[0].credentials[0].limits.told(std::iter::once(reading), at(0.0));
    let mut sim = Sim::new(model.clone(), 1, |_| Outcome::quick());
    for i in 0..20 {
        sim.request(at(f64::from(i) * 0.01));
    }
    assert!(sim.run().iter().all(|ended| ended.served == Some(0)));
}

#[test]
fn a_target_with_as_many_calls_as_it_may_have_is_passed_over_and_never_opened() {
    let bounded = Spec { bound: Some(Concurrency::Fixed(3)), ..Spec::default() };
    let model = Pool::with(vec![bounded, Spec::default()]).build();
    let mut sim = Sim::new(model.clone(), 1, |_| Outcome::Answer { first: 1.0, total: 5.0 });
    for i in 0..10 {
        sim.request(at(f64::from(i) * 0.01));
    }
    for i in 0..3 {
        sim.request(at(6.0 + f64::from(i) * 0.01));
    }
    let ended = sim.run();
    let served: Vec<_> = ended.iter().map(|it| it.served).collect();
    assert_eq!(served, [[Some(0); 3].as_slice(), &[Some(1); 7], &[Some(0); 3]].concat());
    let bound = model.targets[0].bound.as_ref().unwrap();
    assert_eq!(bound.in_flight(), 0, "every place came back");
    assert!(model.targets[0].health.standing(at(20.0)).is_healthy());
}

#[test]
fn with_nobody_else_a_number_that_was_stated_is_kept_to() {
    let model = Pool::with(vec![Spec { bound: Some(Concurrency::Fixed(2)), ..Spec::default() }]).build();
    let mut sim = Sim::new(model, 1, |_| Outcome::Answer { first: 1.0, total: 5.0 });
    for i in 0..3 {
        sim.request(at(f64::from(i) * 0.01));
    }
    let ended = sim.run();
    let error = ended[2].error.as_ref().unwrap();
    assert_eq!((error.status, error.code.as_str(), error.retryable), (503, "no_target_available", true));
    assert!(error.message.contains("has as many calls in flight as it may, 2"), "{}", error.message);
    assert_eq!(sim.calls.len(), 2);
}

#[test]
fn with_aimd_a_429_lowers_the_number_of_a_target_with_one_key_and_the_rest_goes_on() {
    let bounded = Spec { bound: Some(Concurrency::Aimd), ..Spec::default() };
    let mut sim = Sim::new(Pool::with(vec![bounded, Spec::default()]).build(), 1, |call| {
        if call.exchange == 20 && call.target == 0 {
            return Outcome::Fails { fault: limited(0.5), after: 0.0 };
        }
        Outcome::Answer { first: 4.0, total: 10.0 }
    });
    twenty_one_then_four_then_ten(&mut sim);
    let served: Vec<_> = sim.run().iter().map(|it| it.served).collect();
    assert_eq!(served[..20], [Some(0); 20]);
    assert_eq!(served[20..25], [Some(1); 5], "twenty are in flight, and fourteen are its number now");
    assert_eq!(served[25..], [Some(0); 10], "when those have ended there is room");
}

#[test]
fn what_is_left_of_a_limit_is_kept_for_higher_priorities_where_the_model_says_so() {
    for reserve in [0.0, 0.1] {
        let mut pool = Pool::of(1);
        pool.settings.reserve = reserve;
        let model = pool.build();
        let told = |left| {
            let reading = LimitReading { kind: LimitKind::Requests, limit: 100, remaining: left, reset: None };
            model.targets[0].credentials[0].limits.told(std::iter::once(reading), at(0.0));
        };
        let may = |priority| {
            let needs = Needs { priority, ..Needs::default() };
            let plan = routing::plan(&model, &needs, at(0.0), &mut fastrand::Rng::with_seed(1));
            assert!(plan.excluded.iter().all(|it| it.reason == ExclusionReason::Reserved));
            !plan.candidates.is_empty()
        };
        let all = [Priority::Low, Priority::Normal, Priority::High];
        for (left, expected) in
            [(35, [true; 3]), (25, [false, true, true]), (15, [false, false, true]), (0, [false, false, true])]
        {
            told(left);
            let expected = if reserve > 0.0 { expected } else { [true; 3] };
            assert_eq!(all.map(may), expected, "{left} with {reserve}");
        }
    }
}

#[test]
fn a_probe_that_goes_on_after_its_hedge_has_served_keeps_its_place() {
    let bounded = Spec { bound: Some(Concurrency::Fixed(1)), ..Spec::default() };
    let model = Pool::with(vec![bounded, Spec::default()]).build();
    let bound = model.targets[0].bound.clone().unwrap();
    let mut taken = Vec::new();
    let mut sim = Sim::new(model, 1, |call| match call.target {
        0 if call.at < at(3.0) => Outcome::fails(FaultClass::Overloaded),
        0 => Outcome::Answer { first: 3.0, total: 4.0 },
        _ => {
            taken.push((call.at, bound.in_flight()));
            Outcome::quick()
        }
    });
    for i in 0..40 {
        sim.request(at(f64::from(i) * 0.25));
    }
    assert!(sim.run().iter().all(|ended| ended.error.is_none()));
    let probe = sim.calls.iter().find(|call| call.target == 0 && call.at >= at(3.0)).unwrap().at;
    drop(sim);
    let goes_on = |when: Instant| when > probe + secs(0.6) && when < probe + secs(2.9);
    let beside: Vec<_> = taken.iter().filter(|(when, _)| goes_on(*when)).map(|(_, taken)| *taken).collect();
    assert!(beside.len() > 5 && beside.iter().all(|taken| *taken == 1), "{beside:?}");
}
