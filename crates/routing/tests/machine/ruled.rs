//! Rules in plans and in exchanges: what they may move, and what they may not.

use crate::harness::{Outcome, Pool, Sim, Spec, at, fault, secs};
use crate::prices::priced;
use canon::FaultClass;
use catalog::{Capabilities, ModelFacts, Ratio};
use health::StartKind;
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::Strategy as Strategy_;
use routing::{Demotion, Guards, Model, ModelRules, Needs, Overrides, Plan, Rulebook, Strategy, Target, plan};
use rules::{Actions, RuleSet, Tally, Written};
use std::sync::Arc;
use std::time::Duration;

/// The model under rules, its targets kept tally of, as the configuration does it.
pub(crate) fn ruled(model: &Model, written: &[Written<'_>]) -> Arc<Model> {
    let with_tally =
        |target: &Arc<Target>| Arc::new(Target { tally: Some(Arc::new(Tally::default())), ..Target::clone(target) });
    let targets: Vec<Arc<Target>> = model.targets.iter().map(with_tally).collect();
    let ids: Vec<&str> = targets.iter().map(|target| target.id.as_str()).collect();
    let set = RuleSet::compile(written, &ids).unwrap();
    let find = |id: &str| targets.iter().find(|target| target.id == id).cloned();
    let overrides: Vec<Option<Overrides>> = vec![None; written.len()];
    let book = Arc::new(Rulebook::new(set, overrides, find).unwrap());
    let rules = Some(Arc::new(ModelRules::new(&book, &targets)));
    Arc::new(Model { rules, targets: targets.into(), ..model.clone() })
}

pub(crate) fn rule(condition: &str, actions: Actions) -> Written<'_> {
    Written { name: Some("it"), condition, until: None, hold: None, min_samples: None, actions }
}

fn id(target: usize) -> String {
    format!("p{target}/m")
}

fn prefer(target: usize) -> Actions {
    Actions { prefer: vec![id(target)], ..Actions::default() }
}

fn planned(model: &Model) -> Plan {
    plan(model, &Needs::default(), at(1.0), &mut fastrand::Rng::with_seed(1))
}

fn order(plan: &Plan) -> Vec<usize> {
    plan.candidates.iter().map(|candidate| candidate.target).collect()
}

#[test]
fn a_preferred_target_leads_unless_its_own_health_says_otherwise() {
    for (strategy, sound) in [(Strategy::Priority, [2, 0, 1]), (Strategy::Weighted, [2, 0, 1])] {
        let mut pool = Pool::of(3);
        pool.settings.strategy = strategy;
        let model = ruled(&pool.build(), &[rule("true", prefer(2))]);
        let first = planned(&model);
        assert_eq!(order(&first)[0], sound[0], "{first}");
        assert_eq!(first.diversion(), None, "a rule about requests says who is the primary: {first}");
        model.targets[2].health.start(StartKind::Live, at(0.5)).unwrap().failed(&fault(FaultClass::TooSlow), at(0.5));
        let slow = planned(&model);
        assert_ne!(order(&slow)[0], 2, "{slow}");
        (0..3).for_each(|_| {
            let permit = model.targets[2].health.start(StartKind::Live, at(0.6)).unwrap();
            permit.failed(&fault(FaultClass::ServerError), at(0.6));
        });
        let open = planned(&model);
        assert!(!order(&open).contains(&2), "{open}");
    }
}

#[test]
fn a_rule_that_measures_diverts_and_says_so() {
    let written = rule("samples(\"p0/m\", duration(\"1m\")) >= 0", prefer(1));
    let plan = planned(&ruled(&Pool::of(3).build(), &[written]));
    assert_eq!(order(&plan), [1, 0, 2]);
    assert_eq!((plan.primary, plan.diversion()), (Some(0), Some("rule")));
    assert_eq!(plan.candidates[1].demoted, Some(Demotion::Rule));
    assert_eq!(plan.healthy_order, [0, 1, 2], "a fallback keeps its number");
}

#[test]
fn only_counts_the_targets_that_can_take_the_request() {
    let blind = Capabilities { images: Some(false), ..Capabilities::default() };
    let specs = vec![
        Spec::default(),
        Spec { facts: ModelFacts { capabilities: blind, ..ModelFacts::default() }, ..Spec::default() },
    ];
    let actions = Actions { only: vec![id(1)], ..Actions::default() };
    let model = ruled(&Pool::with(specs).build(), &[rule("true", actions)]);
    assert_eq!(order(&planned(&model)), [1]);
    let needs = Needs { images: true, ..Needs::default() };
    let plan = plan(&model, &needs, at(1.0), &mut fastrand::Rng::with_seed(1));
    assert_eq!(order(&plan), [0]);
    assert!(plan.rules[0].passed_over, "{plan}");
    assert!(plan.to_string().contains("rule `it` holds, but none of its `only` is able to serve"), "{plan}");
}

#[test]
fn what_a_rule_leaves_out_is_told_so_whatever_it_costs() {
    let dear = Guards { max_price_ratio: Ratio::parse("1.5"), ..Guards::default() };
    let specs = vec![
        priced(r#"{ "input": 1, "output": 1 }"#),
        Spec { guards: dear, ..priced(r#"{ "input": 9, "output": 9 }"#) },
    ];
    let condition = "target(\"p1/m\").healthy";
    let actions = Actions { exclude: vec![id(1)], ..Actions::default() };
    let plan = planned(&ruled(&Pool::with(specs).build(), &[rule(condition, actions)]));
    assert_eq!(plan.excluded[0].reason.code(), "rule", "{plan}");
    assert_eq!(plan.excluded[0].describe(at(1.0)), "left out by rule `it`");
}

#[test]
fn dearer_targets_are_avoided_by_the_expected_price_of_the_request() {
    let specs = vec![priced(r#"{ "input": 9, "output": 9 }"#), priced(r#"{ "input": 1, "output": 1 }"#)];
    let actions = Actions { avoid: vec![id(0)], ..Actions::default() };
    let model = ruled(&Pool::with(specs).build(), &[rule("target(\"p0/m\").price > 0.05", actions)]);
    for (tokens, expected) in [(1_000, [0, 1]), (100_000, [1, 0])] {
        let needs = Needs { estimated_tokens: tokens, ..Needs::default() };
        let plan = plan(&model, &needs, at(1.0), &mut fastrand::Rng::with_seed(1));
        assert_eq!(order(&plan), expected, "{plan}");
    }
}

/// A condition over the three targets, and whether it measures.
fn any_condition() -> impl Strategy_<Value = &'static str> {
    prop::sample::select(vec![
        "true",
        "request.tokens > 1000",
        "rate('p0/m', 'any', duration('5s')) > 0.3",
        "rate('p1/m', 'rate_limited', duration('2s')) > 0.1 && request.stream",
        "target('p0/m').rate_limited_for > duration('200ms')",
        "target('p1/m').breaker != 'closed'",
        "!target('p2/m').healthy",
        "target('p0/m').first_token_p95 > duration('1s')",
        "samples('p2/m', duration('10s')) < 3",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// The harness asserts what must hold of every exchange, rules or not.
    #[test]
    fn under_any_rules_exchanges_keep_to_what_must_hold_and_nobody_excluded_is_called(
        rules in prop::collection::vec(
            (any_condition(), prop::option::of(0_u64..5_000), 0_usize..3, 0_usize..3, 0_usize..3, any::<bool>()),
            1..5,
        ),
        excluded in prop::option::of(0_usize..3),
        classes in prop::collection::vec(prop::option::of(prop::sample::select(FaultClass::ALL.to_vec())), 1..20),
        requests in prop::collection::vec((0.0..60.0_f64, any::<bool>(), 0_u64..3_000), 1..60),
        seed in any::<u64>(),
    ) {
        let mut written: Vec<Written<'_>> = Vec::new();
        for (condition, hold, prefer, avoid, only, keeps) in &rules {
            let actions = Actions {
                prefer: vec![id(*prefer)],
                avoid: vec![id(*avoid)],
                only: if *keeps { vec![id(*only), id(*prefer)] } else { Vec::new() },
                ..Actions::default()
            };
            let measures = condition.contains('(');
            let hold = hold.filter(|_| measures).map(Duration::from_millis);
            written.push(Written { name: None, hold, ..rule(condition, actions) });
        }
        if let Some(target) = excluded {
            let actions = Actions { exclude: vec![id(target)], ..Actions::default() };
            written.push(Written { name: None, ..rule("samples('p0/m', duration('1s')) >= 0", actions) });
        }
        let mut turn = 0;
        let model = ruled(&Pool::of(3).build(), &written);
        let mut sim = Sim::new(model, seed, |_| {
            turn += 1;
            classes[turn % classes.len()].map_or_else(Outcome::quick, Outcome::fails)
        });
        for (arrives, streamed, estimated_tokens) in requests {
            let needs = Needs { streamed, estimated_tokens, ..Needs::default() };
            sim.request_with(at(arrives), needs, secs(30.0));
        }
        for ended in sim.run() {
            prop_assert!(excluded.is_none_or(|target| !ended.calls.contains(&target)), "{:?}", ended.calls);
            prop_assert_eq!(ended.served.is_none() || ended.fallback == 0, ended.reason.is_none(), "{:?}", ended);
        }
    }
}
