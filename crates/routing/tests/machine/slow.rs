//! Soft faults: what a slow primary means for the order, and what it never means.

use crate::harness::{Outcome, Pool, Sim, at};
use health::BreakerStanding;

fn answered_in(first: f64) -> Outcome {
    Outcome::Answer { first, total: first + 1.0 }
}

#[test]
fn slowness_moves_the_primary_behind_the_next_and_never_leaves_a_request_without_a_target() {
    for targets in [1, 2] {
        let model = Pool::of(targets).build();
        let mut sim = Sim::new(model.clone(), 1, |call| {
            let slow = call.target == 0 && call.at >= at(60.0) && call.at < at(120.0);
            answered_in(if slow { 8.0 } else { 2.0 })
        });
        for i in 0..600 {
            sim.request(at(f64::from(i) * 0.5));
        }
        let ended = sim.run();
        assert!(ended.iter().all(|ended| ended.error.is_none() && ended.calls.len() == 1), "slowness costs no calls");
        let by = |target, from: usize, to: usize| ended[from..to].iter().filter(|it| it.served == Some(target)).count();
        if targets == 1 {
            assert_eq!(by(0, 0, 600), 600, "the last one is used whatever its rank");
        } else {
            assert_eq!(by(0, 0, 120), 120, "before it was slow");
            assert!(by(1, 140, 240) >= 97, "while it is slow: {}", by(1, 140, 240));
            let diverted = &ended[200];
            assert_eq!((diverted.served, diverted.reason), (Some(1), Some("too_slow")));
            assert_eq!(by(0, 480, 600), 120, "two minutes after");
        }
        assert_eq!(model.targets[0].health.standing(at(300.0)).breaker, BreakerStanding::Closed, "never opened");
    }
}
