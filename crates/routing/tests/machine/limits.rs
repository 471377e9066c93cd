//! What limits known or felt mean for the order; what 429s themselves mean is in `table.rs` and `scenarios.rs`.

use crate::harness::{Outcome, Pool, Sim, Spec, at, limited};
use canon::{LimitKind, LimitReading};

#[test]
fn after_a_429_what_is_beyond_seven_tenths_in_flight_goes_to_another_key() {
    let model = Pool::with(vec![Spec { keys: 2, ..Spec::default() }]).build();
    let mut sim = Sim::new(model, 1, |call| {
        if call.exchange == 20 && call.before == 0 {
            return Outcome::Fails { fault: limited(1.0), after: 0.0 };
        }
        Outcome::Answer { first: 4.0, total: 10.0 }
    });
    for i in 0..21 {
        sim.request(at(f64::from(i) * 0.01));
    }
    for i in 0..4 {
        sim.request(at(1.3 + f64::from(i) * 0.01));
    }
    for i in 0..10 {
        sim.request(at(12.0 + f64::from(i) * 0.01));
    }
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
            Outcome::fails(canon::FaultClass::Overloaded)
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
