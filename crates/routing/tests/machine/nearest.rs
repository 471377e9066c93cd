//! `nearest`: the region whose first tokens come soonest.

use crate::harness::{Call, Ended, Outcome, Pool, Sim, Spec, at, secs};
use canon::FaultClass;
use routing::{Model, Needs, Strategy, plan};
use std::sync::Arc;

fn pool() -> Pool {
    let of = |region| Spec { region: Some(region), ..Spec::default() };
    let mut pool = Pool::with(vec![of("us"), of("eu"), of("eu")]);
    pool.settings.strategy = Strategy::Nearest;
    pool
}

/// Five requests a second for so long.
fn run(model: &Arc<Model>, seconds: u32, script: impl FnMut(Call) -> Outcome) -> Vec<Ended> {
    let mut sim = Sim::new(Arc::clone(model), 5, script);
    for i in 0..seconds * 5 {
        sim.request_with(at(f64::from(i) / 5.0), Needs { streamed: true, ..Needs::default() }, secs(60.0));
    }
    sim.run()
}

fn answer(first: f64) -> Outcome {
    Outcome::Answer { first, total: first + 1.0 }
}

fn share(ended: &[Ended], region: &[usize], from: usize, to: usize) -> f64 {
    let there = ended[from * 5..to * 5].iter().filter(|it| region.contains(&it.calls[0])).count();
    there as f64 / ((to - from) * 5) as f64
}

const US: [usize; 1] = [0];
const EU: [usize; 2] = [1, 2];

#[test]
fn the_region_that_answers_soonest_leads_once_it_is_known_and_its_targets_share_the_load() {
    let model = pool().build();
    let ended = run(&model, 600, |call| answer(if call.target == 0 { 1.0 } else { 0.6 }));
    assert!(share(&ended, &US, 0, 60) > 0.9, "the first leads until more is known");
    assert!(share(&ended, &EU, 500, 600) > 0.95);
    let one = share(&ended, &EU[..1], 500, 600);
    assert!((0.35..0.65).contains(&one), "{one}");
    assert!(ended.iter().all(|it| it.fallback == 0), "going by regions makes nobody a fallback");
    let text = plan(&model, &Needs::default(), at(600.0), &mut fastrand::Rng::with_seed(1)).to_string();
    assert!(text.contains(" in eu [") && text.contains("its region leads, first tokens in"), "{text}");
}

#[test]
fn a_region_that_is_a_little_nearer_moves_nobody_and_one_that_fails_is_a_fallback_s_reason() {
    let model = pool().build();
    let ended = run(&model, 400, |call| {
        let down = call.target == 0 && (at(300.0)..at(330.0)).contains(&call.at);
        if down { Outcome::fails(FaultClass::Overloaded) } else { answer(if call.target == 0 { 1.0 } else { 0.9 }) }
    });
    assert!(share(&ended, &US, 0, 300) > 0.95);
    assert!(ended.iter().all(|it| it.error.is_none()));
    assert!(ended[310 * 5..325 * 5].iter().filter(|it| it.fallback > 0).count() > 60);
}
