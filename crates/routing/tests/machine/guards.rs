//! Price guards: what is too dear is not tried, however badly everybody else is.

use crate::harness::{Outcome, Pool, Sim, Spec, at, fault, secs};
use crate::prices::{priced, served};
use canon::{FaultClass, Usage};
use catalog::{Prices, Rate, Ratio, Usd};
use health::StartKind;
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::Strategy as Strategy_;
use routing::{ExclusionReason, Guards, MaxPrice, Model, Needs, Plan, SpendLimit, plan};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A request of a million tokens in and none out: what it costs is the price of input.
fn million() -> Needs {
    Needs { estimated_tokens: 1_000_000, max_output_tokens: Some(0), streamed: true, ..Needs::default() }
}

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

fn of(input: u64) -> Spec {
    priced(&format!(r#"{{ "input": {input}, "output": {input} }}"#))
}

fn request_at_most(dollars: &str) -> Guards {
    let max_price = Some(MaxPrice { request: Some(usd(dollars)), ..MaxPrice::default() });
    Guards { max_price, ..Guards::default() }
}

fn at_most(ratio: &str) -> Guards {
    Guards { max_price_ratio: Ratio::parse(ratio), ..Guards::default() }
}

fn an_hour(dollars: &str) -> Guards {
    let spend = Some(SpendLimit { limit: usd(dollars), window: secs(3_600.0) });
    Guards { spend, ..Guards::default() }
}

fn guarded(spec: Spec, guards: Guards) -> Spec {
    Spec { guards, ..spec }
}

fn planned(model: &Model, needs: &Needs) -> Plan {
    plan(model, needs, at(1.0), &mut fastrand::Rng::with_seed(1))
}

fn order(plan: &Plan) -> Vec<usize> {
    plan.candidates.iter().map(|candidate| candidate.target).collect()
}

fn code(plan: &Plan, target: usize) -> Option<&'static str> {
    plan.excluded.iter().find(|exclusion| exclusion.target == target).map(|exclusion| exclusion.reason.code())
}

/// With the windows of its guards watched, as the configuration does it.
fn build(specs: Vec<Spec>) -> Arc<Model> {
    let model = Pool::with(specs).build();
    for target in model.targets.iter() {
        target.guards.spend.iter().for_each(|limit| target.ledger.spending.watch(limit.window));
    }
    model
}

#[test]
fn a_limit_holds_for_the_first_target_too_and_an_unknown_price_passes_none() {
    let guards = request_at_most("5");
    let model = build(vec![guarded(of(6), guards), guarded(Spec::default(), guards), guarded(of(5), guards)]);
    let plan = planned(&model, &million());
    assert_eq!(order(&plan), [2]);
    assert_eq!((code(&plan, 0), code(&plan, 1)), (Some("max_price"), Some("price_unknown")));
    assert_eq!((plan.primary, plan.diversion()), (Some(0), Some("max_price")), "what is dearer is a fallback's reason");
    assert!(plan.to_string().contains("p0/m: may cost $6.00, above the limit of $5.00 a request"), "{plan}");
}

#[test]
fn a_limit_of_tokens_holds_whatever_the_request_is_long() {
    let max_price = Some(MaxPrice { output: Rate::parse("4"), ..MaxPrice::default() });
    let guards = Guards { max_price, ..Guards::default() };
    let model = build(vec![guarded(of(5), guards), guarded(of(4), guards)]);
    assert_eq!(order(&planned(&model, &Needs::default())), [1]);
}

#[test]
fn what_the_caller_lets_it_cost_is_what_a_limit_is_held_against() {
    let model = build(vec![guarded(of(10), request_at_most("0.01"))]);
    let tokens = |max_output_tokens| Needs { max_output_tokens: Some(max_output_tokens), ..Needs::default() };
    assert_eq!(order(&planned(&model, &tokens(1_000))), [0]);
    assert_eq!(code(&planned(&model, &tokens(1_001)), 0), Some("max_price"));
}

#[test]
fn a_fallback_is_left_out_beyond_its_share_of_the_primary_s_price() {
    let half_more = at_most("150%");
    let model = build(vec![guarded(of(2), half_more), guarded(of(3), half_more), guarded(of(4), half_more)]);
    let plan = planned(&model, &million());
    assert_eq!((order(&plan), code(&plan, 2)), (vec![0, 1], Some("max_price_ratio")));
    let unknown = build(vec![Spec::default(), guarded(of(3), half_more)]);
    assert_eq!(code(&planned(&unknown, &million()), 1), Some("price_unknown"), "nobody knows the primary's");
}

#[test]
fn a_target_that_is_too_dear_is_not_waited_for_either() {
    let mut limited = fault(FaultClass::RateLimited);
    limited.retry_after = Some(secs(0.5));
    let model = build(vec![of(2), guarded(of(9), at_most("1.5"))]);
    model.targets[1].credentials[0].health.learn("m", &limited, at(0.9));
    let mut sim = Sim::new(model, 1, |_| Outcome::fails(FaultClass::Overloaded));
    sim.request_with(at(1.0), million(), secs(30.0));
    let ended = sim.run();
    assert_eq!(ended[0].calls, [0]);
}

#[test]
fn nobody_within_the_price_is_an_error_that_says_so_even_while_everything_is_down() {
    let model = build(vec![guarded(of(9), request_at_most("1")), of(2)]);
    for target in model.targets.iter() {
        for _ in 0..3 {
            let permit = target.health.start(StartKind::Live, at(0.5)).unwrap();
            permit.failed(&fault(FaultClass::Unreachable), at(0.5));
        }
    }
    let mut sim = Sim::new(Arc::clone(&model), 1, |_| Outcome::fails(FaultClass::Unreachable));
    sim.request_with(at(0.6), million(), secs(30.0));
    assert_eq!(sim.run()[0].calls, [1], "the trickle of a panic keeps to the price");
    let model = build(vec![guarded(of(9), request_at_most("1")), guarded(Spec::default(), request_at_most("1"))]);
    let mut sim = Sim::new(model, 1, |_| Outcome::quick());
    sim.request_with(at(1.0), million(), secs(30.0));
    let error = sim.run()[0].error.clone().unwrap();
    assert_eq!((error.status, error.code.as_str(), error.retryable), (503, "no_target_within_price", false));
    assert!(error.message.contains("may cost $9.00") && error.message.contains("a price is unknown"), "{error:?}");
}

#[test]
fn what_is_spent_moves_the_next_request_on_and_what_failed_for_free_does_not_count() {
    let model = build(vec![guarded(of(2), an_hour("5")), of(3)]);
    let mut sim = Sim::new(Arc::clone(&model), 1, |call| {
        if call.exchange == 0 && call.target == 0 { Outcome::fails(FaultClass::Overloaded) } else { Outcome::quick() }
    });
    for exchange in 0..4 {
        sim.request_with(at(f64::from(exchange)), million(), secs(30.0));
    }
    let ended = sim.run();
    let served: Vec<_> = ended.iter().map(|ended| ended.served.unwrap()).collect();
    assert_eq!(served, [1, 0, 0, 1], "two of two dollars each fit into five");
    assert_eq!(ended[3].reason, Some("spend_limit"));
    let shown = planned(&model, &million()).to_string();
    assert!(shown.contains("$4.00 of $5.00 were spent within 3600.0 s"), "{shown}");
}

#[test]
fn the_most_a_request_may_cost_has_to_fit_in_what_is_left_and_not_what_is_expected_of_it() {
    let model = build(vec![guarded(of(10), an_hour("0.01")), of(10)]);
    let capped = |tokens| Needs { max_output_tokens: Some(tokens), ..Needs::default() };
    assert_eq!(order(&planned(&model, &capped(1_000))), [0, 1]);
    // 512 tokens are expected of it, which would fit.
    assert_eq!(code(&planned(&model, &capped(1_001)), 0), Some("spend_limit"));
}

#[test]
fn two_requests_at_once_cannot_both_take_the_last_of_a_limit() {
    let model = build(vec![guarded(of(3), an_hour("5")), of(3)]);
    let mut sim = Sim::new(model, 1, |_| Outcome::Answer { first: 1.0, total: 5.0 });
    for _ in 0..2 {
        sim.request_with(at(1.0), million(), secs(30.0));
    }
    let served: Vec<_> = sim.run().iter().map(|ended| ended.served.unwrap()).collect();
    assert_eq!(served, [0, 1]);
}

#[test]
fn an_answer_counts_at_what_it_cost_once_that_is_known() {
    let model = build(vec![guarded(of(2), an_hour("5"))]);
    let spent = || model.targets[0].ledger.spending.spent(secs(3_600.0), at(2.0));
    let machine = served(&model, million());
    assert_eq!(spent(), usd("2"), "expected");
    let usage = Usage { input_tokens: Some(250_000), output_tokens: Some(0), ..Usage::default() };
    machine.account(&usage, at(2.0));
    assert_eq!(spent(), usd("0.5"));
    drop(machine);
    assert_eq!(spent(), usd("0.5"));
    drop(served(&model, million()));
    assert_eq!(spent(), usd("2.5"), "a hang-up costs what was expected");
}

pub(crate) fn any_prices() -> impl Strategy_<Value = Option<Arc<Prices>>> {
    prop::option::weighted(0.8, (0_u32..40, 0_u32..40)).prop_map(|prices| {
        let list = |(input, output)| serde_json::from_str(&format!(r#"{{ "input": {input}, "output": {output} }}"#));
        prices.map(|prices| Arc::new(list(prices).unwrap()))
    })
}

pub(crate) fn any_guards() -> impl Strategy_<Value = Guards> {
    let cents = || prop::option::weighted(0.2, 1_u64..5);
    (cents(), prop::option::weighted(0.2, 50_u32..200), cents()).prop_map(|(request, ratio, limit)| {
        let cents = |cents: u64| usd(&format!("0.0{cents}"));
        Guards {
            max_price: request.map(|most| MaxPrice { request: Some(cents(most)), ..MaxPrice::default() }),
            max_price_ratio: ratio.and_then(|percent| Ratio::parse(&format!("{percent}%"))),
            spend: limit.map(|most| SpendLimit { limit: cents(most), window: secs(60.0) }),
        }
    })
}

/// Whether a candidate keeps to every guard that can be judged by the plan alone.
fn keeps_to_its_guards(model: &Model, plan: &Plan, index: usize, needs: &Needs) -> bool {
    let target = &model.targets[index];
    let most = |index: usize| routing::estimate(model, &model.targets[index], needs).most;
    let request = target.guards.max_price.and_then(|max| max.request);
    let within = request.is_none_or(|limit| most(index).is_some_and(|price| price <= limit));
    let beside = |ratio: Ratio, primary: usize| match (most(index), most(primary)) {
        (Some(price), Some(base)) => ratio.allows(price, base),
        _ => false,
    };
    let fallback = plan.primary.filter(|primary| *primary != index);
    let in_ratio =
        fallback.is_none_or(|primary| target.guards.max_price_ratio.is_none_or(|ratio| beside(ratio, primary)));
    within && in_ratio && (target.guards.spend.is_none() || most(index).is_some())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Every target is a candidate or excluded, once; candidates keep to their guards; the same seed gives the same
    /// plan.
    #[test]
    fn a_plan_is_a_permutation_within_its_guards_and_follows_from_its_seed(
        specs in prop::collection::vec((any_prices(), any_guards(), 0_u32..4), 1..30),
        strategy in prop::sample::select(crate::strategies::ALL.to_vec()),
        tokens in 0_u64..2_000,
        nested in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let spec = |(prices, guards, weight)| {
            let facts = catalog::ModelFacts { prices, ..catalog::ModelFacts::default() };
            Spec { weight, facts, guards, ..Spec::default() }
        };
        let mut pool = Pool::with(specs.into_iter().map(spec).collect());
        pool.settings.strategy = strategy;
        if nested {
            pool.nodes = crate::strategies::any_nodes(pool.len(), seed);
        }
        let model = pool.build();
        let needs = Needs { estimated_tokens: tokens, ..Needs::default() };
        let once = plan(&model, &needs, at(1.0), &mut fastrand::Rng::with_seed(seed));
        let excluded = once.excluded.iter().map(|exclusion| exclusion.target);
        let everybody: Vec<usize> = order(&once).into_iter().chain(excluded).collect();
        prop_assert_eq!(everybody.len(), model.targets.len());
        prop_assert_eq!(everybody.iter().collect::<BTreeSet<_>>().len(), everybody.len());
        for index in order(&once) {
            prop_assert!(keeps_to_its_guards(&model, &once, index, &needs), "{index} of {once}");
        }
        let by_a_guard = once.excluded.iter().all(|exclusion| ExclusionReason::is_guard(&exclusion.reason));
        prop_assert!(by_a_guard, "{once}");
        let twice = plan(&model, &needs, at(1.0), &mut fastrand::Rng::with_seed(seed));
        prop_assert_eq!(once.candidates, twice.candidates);
        prop_assert_eq!(once.excluded, twice.excluded);
    }
}
