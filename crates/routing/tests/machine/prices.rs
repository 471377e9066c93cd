//! What a request is expected to cost, and what answers teach.

use crate::harness::{Pool, Spec, at, fault};
use canon::{FaultClass, Usage};
use catalog::{ModelFacts, Moment, Usd};
use routing::{Action, AttemptId, Event, ExchangeFacts, Machine, Model, Needs, RescueMode, estimate, plan};
use std::sync::Arc;

pub(crate) fn priced(prices: &str) -> Spec {
    let prices = Some(Arc::new(serde_json::from_str(prices).unwrap()));
    Spec { facts: ModelFacts { prices, ..ModelFacts::default() }, ..Spec::default() }
}

/// A machine whose first candidate has answered.
pub(crate) fn served(model: &Arc<Model>, needs: Needs) -> Machine {
    let plan = plan(model, &needs, at(0.0), &mut fastrand::Rng::with_seed(1));
    let facts = ExchangeFacts {
        started: at(0.0),
        deadline: at(60.0),
        needs,
        is_callers_retry: false,
        may_hedge: true,
        seed: 1,
        rescue: RescueMode::Error,
    };
    let mut machine = Machine::new(Arc::clone(model), plan, facts);
    let action = machine.next(Event::Begin, at(0.0));
    assert!(matches!(action, Action::Try(_)), "{action:?}");
    assert!(matches!(machine.next(Event::Completed { attempt: AttemptId(0) }, at(1.0)), Action::Done));
    machine
}

fn usd(text: &str) -> Option<Usd> {
    Usd::parse(text)
}

fn model(prices: &str) -> Arc<Model> {
    Pool::with(vec![priced(prices), Spec::default()]).build()
}

#[test]
fn an_answer_is_expected_as_long_as_the_model_s_usual_one_and_never_above_a_cap() {
    let model = model(r#"{ "input": 1, "output": 10 }"#);
    let price = |needs: &Needs| estimate(&model, &model.targets[0], needs).price;
    let thousand = Needs { estimated_tokens: 1_000, ..Needs::default() };
    assert_eq!(price(&thousand), usd("0.00612"), "512 tokens while nothing is known");
    assert_eq!(price(&Needs { max_output_tokens: Some(100), ..thousand }), usd("0.002"));
    (0..20).for_each(|_| model.ledger.observe_output(2_000));
    assert_eq!(price(&thousand), usd("0.021"));
    assert_eq!(price(&Needs { answers: 3, ..thousand }), usd("0.061"));
    let capped = estimate(&model, &model.targets[0], &Needs { max_output_tokens: Some(9_000), ..thousand });
    assert_eq!((capped.price, capped.most), (usd("0.021"), usd("0.091")), "a cap that is stated may be used up");
    assert_eq!(estimate(&model, &model.targets[1], &thousand).price, None);
}

#[test]
fn what_a_target_reads_from_its_cache_is_expected_of_it_again() {
    let model = model(r#"{ "input": 1, "output": 10, "cached_input": 0.1 }"#);
    let needs = Needs { estimated_tokens: 1_000, max_output_tokens: Some(0), ..Needs::default() };
    let of = || estimate(&model, &model.targets[0], &needs);
    assert_eq!(of().price, usd("0.001"));
    (0..20).for_each(|_| model.targets[0].ledger.observe_cached(800, 1_000));
    assert_eq!(of().price, usd("0.00028"));
    assert_eq!(of().most, usd("0.001"), "no guard counts on the cache");
}

#[test]
fn the_hour_and_the_size_of_the_prompt_decide_the_price() {
    let model = model(
        r#"{ "input": 1, "output": 0, "when": [{ "from": "01:00", "to": "04:00", "input": 2 }, { "above": 5000, "input": 3 }] }"#,
    );
    let price = |at: &str, estimated_tokens: u64| {
        let needs = Needs { estimated_tokens, asked_at: Moment::parse(at), ..Needs::default() };
        estimate(&model, &model.targets[0], &needs).price
    };
    assert_eq!(price("2026-11-16 00:59", 1_000), usd("0.001"));
    assert_eq!(price("2026-11-16 01:00", 1_000), usd("0.002"));
    assert_eq!(price("2026-11-16 01:00", 10_000), usd("0.03"));
}

#[test]
fn a_complete_answer_teaches_length_and_cache() {
    let model = model(r#"{ "input": 1, "output": 10 }"#);
    let machine = served(&model, Needs::default());
    let usage =
        Usage { input_tokens: Some(100), cached_input_tokens: Some(50), output_tokens: Some(40), ..Usage::default() };
    for _ in 0..8 {
        machine.account(&usage, at(1.0));
    }
    assert_eq!(model.ledger.usual_output(), Some(40));
    assert_eq!(model.targets[0].ledger.usually_cached(100), 50);
    assert_eq!(machine.cost(&Usage { cached_input_tokens: None, ..usage }), usd("0.0005"));
}

#[test]
fn trying_again_is_charged_what_the_request_costs_beside_a_typical_one() {
    let needs = |tokens| Needs { estimated_tokens: tokens, max_output_tokens: Some(0), ..Needs::default() };
    for prices in [Some(r#"{ "input": 1, "output": 10 }"#), None] {
        for (tokens, expected) in [(1_000, 1.0), (5_000, 5.0), (200_000, 10.0), (1, 0.1)] {
            let model = Pool::with(vec![prices.map_or_else(Spec::default, priced)]).build();
            (0..20).for_each(|_| drop(served(&model, needs(1_000))));
            let plan = plan(&model, &needs(tokens), at(1.0), &mut fastrand::Rng::with_seed(1));
            let facts = ExchangeFacts {
                started: at(1.0),
                deadline: at(60.0),
                needs: needs(tokens),
                is_callers_retry: false,
                may_hedge: true,
                seed: 1,
                rescue: RescueMode::Error,
            };
            let mut machine = Machine::new(Arc::clone(&model), plan, facts);
            assert!(matches!(machine.next(Event::Begin, at(1.0)), Action::Try(_)));
            let before = model.budget.balance(at(1.0));
            let failed = Event::Failed { attempt: AttemptId(0), fault: fault(FaultClass::ServerError), altered: false };
            let again = machine.next(failed, at(1.0));
            assert!(matches!(again, Action::Wait { .. } | Action::Try(_)), "{again:?}");
            let charged = before - model.budget.balance(at(1.0));
            assert!((charged - expected).abs() < 1e-6, "{charged} for {tokens}");
        }
    }
}
