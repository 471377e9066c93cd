//! A target that fails long prompts alone loses those alone.

use crate::harness::{Ended, Outcome, Pool, Sim, at, secs};
use canon::FaultClass;
use health::BreakerStanding;
use routing::{Needs, Strategy, plan};

fn needs(tokens: u64) -> Needs {
    Needs { streamed: true, estimated_tokens: tokens, ..Needs::default() }
}

fn first_calls(ended: &[Ended], kind: usize, target: usize) -> usize {
    ended.iter().skip(kind).step_by(2).filter(|it| it.calls.first() == Some(&target)).count()
}

#[test]
fn long_prompts_leave_a_target_that_fails_them_within_a_handful_and_short_ones_never_do() {
    for strategy in [Strategy::Priority, Strategy::Cheapest] {
        let mut pool = Pool::of(2);
        pool.settings.strategy = strategy;
        let model = pool.build();
        let mut sim = Sim::new(model.clone(), 1, |call| {
            if call.target == 0 && call.exchange % 2 == 1 && call.at >= at(20.0) {
                Outcome::fails(FaultClass::ServerError)
            } else {
                Outcome::quick()
            }
        });
        for i in 0..1_200_u32 {
            sim.request_with(at(f64::from(i) / 10.0), needs(if i % 2 == 1 { 150_000 } else { 500 }), secs(60.0));
        }
        let ended = sim.run();
        assert!(ended.iter().all(|it| it.error.is_none()), "nobody sees an error");
        assert_eq!(first_calls(&ended, 0, 0), 600, "every short prompt is answered by the primary");
        // A server error is asked twice, so two long prompts are five calls; then come probes.
        let exposed = first_calls(&ended[200..260], 1, 0);
        assert!(exposed <= 6, "{exposed} of 30 long prompts");
        let probes = first_calls(&ended[260..], 1, 0);
        assert!(probes <= 30, "{probes} of 470 long prompts");
        let plan = plan(&model, &needs(150_000), at(120.0), &mut fastrand::Rng::with_seed(1));
        let text = plan.to_string();
        assert!(text.contains("prompts of this size") || text.contains("half-open"), "{text}");
        assert_eq!(model.targets[0].health.standing(at(120.0)).breaker, BreakerStanding::Closed);
    }
}
