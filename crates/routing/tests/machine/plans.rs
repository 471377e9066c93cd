//! Who is a candidate, who is not, and what `explain` says about it.

use crate::harness::{Outcome, Pool, Sim, Spec, at, fault, limited};
use canon::{FaultClass, Instant};
use catalog::{Capabilities, ModelFacts};
use health::{ParkReason, StartKind};
use routing::{ClassPolicy, Demotion, ExclusionReason, Model, Needs, Plan, ProbeMode, plan};
use std::sync::Arc;
use std::time::Duration;

fn planned(model: &Model, needs: &Needs, now: Instant) -> Plan {
    plan(model, needs, now, &mut fastrand::Rng::with_seed(1))
}

fn order(plan: &Plan) -> Vec<usize> {
    plan.candidates.iter().map(|candidate| candidate.target).collect()
}

fn reason(plan: &Plan, target: usize) -> Option<ExclusionReason> {
    plan.excluded.iter().find(|exclusion| exclusion.target == target).map(|exclusion| exclusion.reason)
}

fn fails(model: &Model, target: usize, class: FaultClass, now: Instant) {
    model.targets[target].health.start(StartKind::Probe, now).unwrap().failed(&fault(class), now);
}

fn opened(model: &Model, target: usize, now: Instant) {
    (0..3).for_each(|_| fails(model, target, FaultClass::ServerError, now));
}

fn capable(capabilities: Capabilities) -> Spec {
    Spec { facts: ModelFacts { capabilities, ..ModelFacts::default() }, ..Spec::default() }
}

fn window(tokens: u64) -> Spec {
    Spec { facts: ModelFacts { context_window: Some(tokens), ..ModelFacts::default() }, ..Spec::default() }
}

#[test]
fn a_capability_known_to_be_absent_excludes_and_an_unknown_one_does_not() {
    let cases: [(Needs, Capabilities, &str); 5] = [
        (Needs { tools: true, ..Needs::default() }, Capabilities { tools: Some(false), ..Default::default() }, "tools"),
        (
            Needs { images: true, ..Needs::default() },
            Capabilities { images: Some(false), ..Default::default() },
            "images",
        ),
        (
            Needs { documents: true, ..Needs::default() },
            Capabilities { documents: Some(false), ..Default::default() },
            "documents",
        ),
        (Needs { audio: true, ..Needs::default() }, Capabilities { audio: Some(false), ..Default::default() }, "audio"),
        (
            Needs { json_schema: true, ..Needs::default() },
            Capabilities { json_schema: Some(false), ..Default::default() },
            "json_schema",
        ),
    ];
    for (needs, capabilities, capability) in cases {
        let model = Pool::with(vec![capable(capabilities), Spec::default()]).build();
        let with = planned(&model, &needs, at(0.0));
        assert_eq!(order(&with), [1], "{capability}");
        assert_eq!(reason(&with, 0), Some(ExclusionReason::Lacks { capability }));
        assert_eq!((with.primary, with.diversion()), (Some(1), None), "it was never this request's primary");
        assert_eq!(order(&planned(&model, &Needs::default(), at(0.0))), [0, 1]);
    }
}

#[test]
fn a_window_smaller_than_the_estimate_excludes() {
    let model = Pool::with(vec![window(1_000), window(2_000), Spec::default()]).build();
    let plan = planned(&model, &Needs { estimated_tokens: 1_500, ..Needs::default() }, at(0.0));
    assert_eq!(order(&plan), [1, 2]);
    assert_eq!(reason(&plan, 0), Some(ExclusionReason::WindowTooSmall { window: 1_000, estimated: 1_500 }));
}

#[test]
fn an_estimate_alone_refuses_nobody_the_largest_window_is_tried() {
    let model = Pool::with(vec![window(1_000), window(2_000)]).build();
    let plan = planned(&model, &Needs { estimated_tokens: 9_000, ..Needs::default() }, at(0.0));
    assert_eq!(order(&plan), [1]);
}

#[test]
fn a_request_no_target_can_serve_is_a_400_and_reaches_nobody() {
    let without = capable(Capabilities { tools: Some(false), ..Capabilities::default() });
    let mut sim = Sim::new(Pool::with(vec![without.clone(), without]).build(), 1, |_| Outcome::quick());
    sim.request_with(at(0.0), Needs { tools: true, ..Needs::default() }, Duration::from_secs(9));
    let error = sim.run()[0].error.clone().unwrap();
    assert_eq!((error.status, error.code.as_str(), error.retryable), (400, "no_capable_target", false));
    assert!(error.message.contains("does not take tools"), "{}", error.message);
}

#[test]
fn an_open_breaker_is_a_diversion_with_its_reason_and_its_probe_a_candidate() {
    let model = Pool::of(2).build();
    opened(&model, 0, at(0.0));
    let plan = planned(&model, &Needs::default(), at(0.1));
    let Some(ExclusionReason::BreakerOpen { until, for_size: false }) = reason(&plan, 0) else { panic!("{plan}") };
    assert_eq!((order(&plan), plan.primary, plan.diversion()), (vec![1], Some(0), Some("breaker_open")));

    let ready = planned(&model, &Needs::default(), until);
    assert_eq!(order(&ready), [0, 1]);
    let _probe = model.targets[0].health.start(StartKind::Probe, until).unwrap();
    let busy = planned(&model, &Needs::default(), until);
    assert_eq!((order(&busy), reason(&busy, 0)), (vec![1], Some(ExclusionReason::ProbeInFlight)));
}

#[test]
fn synthetic_probing_leaves_live_requests_out_of_it() {
    let mut pool = Pool::of(2);
    pool.settings.probe = ProbeMode::Synthetic;
    let model = pool.build();
    opened(&model, 0, at(0.0));
    let plan = planned(&model, &Needs::default(), at(60.0));
    assert_eq!((order(&plan), reason(&plan, 0)), (vec![1], Some(ExclusionReason::AwaitsProbe)));
}

#[test]
fn a_target_is_parked_only_when_all_its_credentials_are() {
    let model = Pool::with(vec![Spec { keys: 2, ..Spec::default() }, Spec::default()]).build();
    let park = |key: usize, hint| model.targets[0].credentials[key].health.learn("m", &limited(hint), at(0.0));
    park(0, 30.0);
    assert_eq!(order(&planned(&model, &Needs::default(), at(1.0))), [0, 1]);
    park(1, 20.0);
    let plan = planned(&model, &Needs::default(), at(1.0));
    let parked = ExclusionReason::Parked { until: at(20.0), reason: ParkReason::RateLimited };
    assert_eq!((order(&plan), reason(&plan, 0), plan.diversion()), (vec![1], Some(parked), Some("rate_limited")));
}

#[test]
fn with_max_wait_a_park_that_ends_soon_does_not_exclude() {
    let mut pool = Pool::of(2);
    let policy = ClassPolicy { max_wait: Some(Duration::from_secs(2)), ..ClassPolicy::default() };
    pool.settings.on.set(FaultClass::RateLimited, policy);
    let model = pool.build();
    model.targets[0].credentials[0].health.learn("m", &limited(5.0), at(0.0));
    assert_eq!(order(&planned(&model, &Needs::default(), at(2.9))), [1]);
    assert_eq!(order(&planned(&model, &Needs::default(), at(3.0))), [0, 1]);
}

#[test]
fn a_missing_model_is_skipped_before_anyone_waits_on_it() {
    let model = Pool::of(2).build();
    fails(&model, 0, FaultClass::ModelMissing, at(0.0));
    let plan = planned(&model, &Needs::default(), at(1.0));
    assert_eq!((order(&plan), plan.diversion()), (vec![1], Some("model_missing")));
}

#[test]
fn targets_of_an_unreachable_provider_stand_last_but_stay() {
    let model = Pool::of(2).build();
    for id in ["p0/a", "p0/b"] {
        model.targets[0].provider_health.unreachable(id, at(0.0));
    }
    let plan = planned(&model, &Needs::default(), at(1.0));
    assert_eq!(order(&plan), [1, 0]);
    assert_eq!(plan.candidates[1].demoted, Some(Demotion::ProviderUnreachable));
    assert_eq!(plan.diversion(), Some("provider_unreachable"));
}

#[test]
fn a_plan_reserves_nothing() {
    let model = Pool::of(1).build();
    opened(&model, 0, at(0.0));
    for _ in 0..10 {
        assert_eq!(order(&planned(&model, &Needs::default(), at(60.0))), [0]);
    }
}

#[test]
fn explain_names_every_target_with_its_place_or_its_reason() {
    let without = capable(Capabilities { tools: Some(false), ..Capabilities::default() });
    let model: Arc<Model> = Pool::with(vec![Spec::default(), without, Spec::default(), Spec::default()]).build();
    model.targets[0].credentials[0].health.learn("m", &limited(30.0), at(0.0));
    fails(&model, 3, FaultClass::TooSlow, at(0.0));
    let plan = planned(&model, &Needs { tools: true, ..Needs::default() }, at(10.0));
    assert_eq!(
        plan.to_string(),
        "chat (priority)\n  \
           1. p2/m [closed] price unknown\n  \
           2. p3/m [closed, slow] price unknown demoted: too_slow\n  \
           -  p0/m: every credential is parked (rate limited), the first for 20.0 s\n  \
           -  p1/m: does not take tools\n"
    );
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["candidates"][0], serde_json::json!({ "target": "p2/m", "standing": "closed", "primary": false }));
    assert_eq!(json["excluded"][1]["code"], "lacks_capability");
}
