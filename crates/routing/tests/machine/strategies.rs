//! `cheapest`, `fastest`, `balanced`: who comes first, what health still decides, and what would turn it round.

use crate::harness::{Ended, Outcome, Pool, Sim, Spec, at, secs};
use crate::prices::priced;
use canon::FaultClass;
use catalog::Moment;
use routing::{
    Balance, ExclusionReason, Group, Model, Needs, Node, Objectives, Plan, Quality, SpeedBy, Strategy, plan,
};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const ALL: [Strategy; 9] = [
    Strategy::Priority,
    Strategy::Weighted,
    Strategy::Cheapest,
    Strategy::Fastest(SpeedBy::FirstToken),
    Strategy::Fastest(SpeedBy::Throughput),
    Strategy::Fastest(SpeedBy::Total),
    Strategy::Balanced(Balance { price: 1, speed: 2, reliability: 1, quality: 1 }),
    Strategy::Nearest,
    Strategy::Auto(Objectives {
        first_token_p95: Some(Duration::from_secs(2)),
        millitokens_per_second: Some(20_000),
        failures_per_million: Some(1_000),
    }),
];

fn pool(strategy: Strategy, targets: Vec<Spec>) -> Pool {
    let mut pool = Pool::with(targets);
    pool.settings.strategy = strategy;
    pool
}

fn build(strategy: Strategy, targets: Vec<Spec>) -> Arc<Model> {
    pool(strategy, targets).build()
}

fn planned(model: &Model, needs: &Needs) -> Plan {
    plan(model, needs, at(1.0), &mut fastrand::Rng::with_seed(1))
}

fn order(plan: &Plan) -> Vec<usize> {
    plan.candidates.iter().map(|candidate| candidate.target).collect()
}

fn good(quality: f64) -> Option<Quality> {
    Quality::new(quality)
}

#[test]
fn the_cheapest_for_this_request_comes_first_and_a_price_nobody_knows_last() {
    let input = r#"{ "input": 1, "output": 30 }"#;
    let output = r#"{ "input": 3, "output": 10 }"#;
    let model = build(Strategy::Cheapest, vec![Spec::default(), priced(input), priced(output)]);
    let needs =
        |estimated_tokens, output| Needs { estimated_tokens, max_output_tokens: Some(output), ..Needs::default() };
    let long_prompt = planned(&model, &needs(100_000, 10));
    assert_eq!((order(&long_prompt), long_prompt.primary), (vec![1, 2, 0], Some(1)));
    assert_eq!(order(&planned(&model, &needs(10, 400))), [2, 1, 0]);
    assert_eq!(long_prompt.diversion(), None, "whoever is cheapest is the primary");
    let told = long_prompt.reversal(&model).unwrap();
    assert!(
        told.starts_with("p2/m comes first when this request costs less than $0.1003 there, 66.6 % less"),
        "{told}"
    );
}

#[test]
fn the_hour_decides_who_is_cheapest() {
    let peak = r#"{ "input": 1, "output": 1, "when": [{ "from": "01:00", "to": "04:00", "input": 4, "output": 4 }] }"#;
    let model = build(Strategy::Cheapest, vec![priced(peak), priced(r#"{ "input": 2, "output": 2 }"#)]);
    let at = |text| Needs { asked_at: Moment::parse(text), estimated_tokens: 100, ..Needs::default() };
    assert_eq!(order(&planned(&model, &at("2026-11-16 00:30"))), [0, 1]);
    assert_eq!(order(&planned(&model, &at("2026-11-16 01:30"))), [1, 0]);
}

#[test]
fn a_cheapest_target_that_is_down_is_a_fallback_s_reason_and_comes_back() {
    let targets = vec![priced(r#"{ "input": 2, "output": 2 }"#), priced(r#"{ "input": 1, "output": 1 }"#)];
    let mut sim = Sim::new(build(Strategy::Cheapest, targets), 1, |call| {
        if call.target == 1 && call.at < at(20.0) { Outcome::fails(FaultClass::Overloaded) } else { Outcome::quick() }
    });
    for i in 0..300 {
        sim.request(at(f64::from(i)));
    }
    let ended = sim.run();
    assert!(ended.iter().all(|ended| ended.error.is_none()));
    assert_eq!((ended[10].served, ended[10].reason), (Some(0), Some("breaker_open")));
    assert_eq!((ended[290].served, ended[290].reason), (Some(1), None));
}

#[test]
fn what_is_not_good_enough_is_no_candidate_and_unknown_is_good_enough_for_no_floor() {
    let cheap = |input: u64, quality| Spec { quality, ..priced(&format!(r#"{{ "input": {input}, "output": 1 }}"#)) };
    let mut pool =
        pool(Strategy::Cheapest, vec![cheap(1, good(0.5)), cheap(2, None), cheap(4, good(0.9)), cheap(3, good(0.7))]);
    pool.settings.min_quality = good(0.7);
    let plan = planned(&pool.build(), &Needs { estimated_tokens: 100, ..Needs::default() });
    assert_eq!((order(&plan), plan.primary), (vec![3, 2], Some(3)));
    let reason = |target: usize| plan.excluded[target].reason;
    let floor = good(0.7).unwrap();
    assert_eq!(reason(0), ExclusionReason::BelowQuality { quality: good(0.5), floor });
    assert!(reason(1).describe(at(1.0)).contains("quality is unknown, and the floor is 0.7"));
}

fn lognormal(median: f64, rng: &mut fastrand::Rng) -> f64 {
    let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
    median * (0.4 * normal).exp()
}

/// Three targets, ten requests a second, a first token after two seconds or so; what target 0 does from second 60 on is
/// `changed`'s to say.
fn three(strategy: Strategy, seed: u64, mut changed: impl FnMut(f64) -> Outcome) -> Vec<Ended> {
    let mut noise = fastrand::Rng::with_seed(seed);
    let mut sim = Sim::new(build(strategy, vec![Spec::default(); 3]), seed, |call| {
        let first = lognormal(2.0, &mut noise);
        if call.target == 0 && call.at >= at(60.0) {
            changed(first)
        } else {
            Outcome::Answer { first, total: first + 1.0 }
        }
    });
    for i in 0..1_200 {
        sim.request(at(f64::from(i) * 0.1));
    }
    sim.run()
}

/// Share of the first calls that go to target 0.
fn share(ended: &[Ended]) -> f64 {
    ended.iter().filter(|ended| ended.calls.first() == Some(&0)).count() as f64 / ended.len() as f64
}

const QUICK: Strategy = Strategy::Fastest(SpeedBy::FirstToken);

#[test]
fn equally_quick_targets_share_the_load() {
    let ended = three(QUICK, 1, |first| Outcome::Answer { first, total: first + 1.0 });
    let share = share(&ended[300..]);
    assert!((0.2..0.47).contains(&share), "{share}");
}

#[test]
fn a_target_that_gets_three_times_as_slow_is_left_within_a_hundred_requests() {
    let mut steady = 0.0;
    for seed in 1..=5 {
        let ended = three(QUICK, seed, |first| Outcome::Answer { first: first * 3.0, total: first * 3.0 + 1.0 });
        let next = share(&ended[700..740]);
        assert!(next <= 0.10, "{seed}: {next} in the forty after a hundred");
        steady += share(&ended[800..]) / 5.0;
    }
    assert!((0.005..=0.04).contains(&steady), "{steady}: little, and not nothing");
}

#[test]
fn a_target_that_hangs_is_left_before_any_of_its_calls_has_ended() {
    for seed in 1..=5 {
        let ended = three(QUICK, seed, |_| Outcome::Hangs);
        let share = share(&ended[700..]);
        assert!(share <= 0.02, "{seed}: {share}");
    }
}

#[test]
fn what_is_quick_again_is_noticed() {
    let mut noise = fastrand::Rng::with_seed(9);
    let mut sim = Sim::new(build(QUICK, vec![Spec::default(); 2]), 9, |call| {
        let slow = call.target == 0 && call.at < at(100.0);
        let first = lognormal(if slow { 6.0 } else { 2.0 }, &mut noise);
        Outcome::Answer { first, total: first + 1.0 }
    });
    for i in 0..6_000 {
        sim.request(at(f64::from(i) * 0.1));
    }
    let ended = sim.run();
    let (before, after) = (share(&ended[500..1_000]), share(&ended[5_000..]));
    assert!(before < 0.1 && after > 0.3, "{before} {after}");
}

#[test]
fn balanced_weighs_what_the_operator_weighs_and_says_what_would_turn_it_round() {
    let dear = Spec { quality: good(0.9), ..priced(r#"{ "input": 4, "output": 4 }"#) };
    let cheap = Spec { quality: good(0.6), ..priced(r#"{ "input": 2, "output": 2 }"#) };
    let with = |price, quality| {
        let balance = Balance { price, speed: 0, reliability: 0, quality };
        build(Strategy::Balanced(balance), vec![dear.clone(), cheap.clone(), Spec::default()])
    };
    let needs = Needs { estimated_tokens: 1_000, ..Needs::default() };
    let (thrifty, fine) = (with(1, 1), with(1, 3));
    let plan = planned(&thrifty, &needs);
    assert_eq!(order(&plan), [1, 0, 2]);
    let shown = plan.to_string();
    assert!(shown.contains("score 0.800 = price 1.000, speed 1.000, reliability 1.000, quality 0.600"), "{shown}");
    let told = plan.reversal(&thrifty).unwrap();
    assert_eq!(told, "p0/m comes first when its price rises from 0.500 to 0.700");
    assert_eq!(order(&planned(&fine, &needs)), [0, 1, 2], "three times as much for quality");
}

#[test]
fn a_target_that_fails_or_is_slow_loses_its_score() {
    let quick = Balance { price: 0, speed: 1, reliability: 1, quality: 0 };
    let model = build(Strategy::Balanced(quick), vec![Spec::default(); 2]);
    let mut sim = Sim::new(model.clone(), 1, |call| {
        let first = if call.target == 0 { 4.0 } else { 1.0 };
        Outcome::Answer { first, total: first + 1.0 }
    });
    for i in 0..2_000 {
        sim.request_with(at(f64::from(i) * 9.0), Needs::default(), secs(60.0));
    }
    let ended = sim.run();
    assert_eq!(ended[0].served, Some(0), "as written while nobody knows");
    let late = share(&ended[1_000..]);
    assert!((0.001..0.05).contains(&late), "{late}: one request in fifty finds out whether others have changed");
    let shown = planned(&model, &Needs::default()).to_string();
    assert!(shown.contains("1. p1/m") && shown.contains("speed 1.000"), "{shown}");
}

#[test]
fn explain_says_how_often_each_comes_first() {
    let model = build(QUICK, vec![Spec { weight: 3, ..Spec::default() }, Spec::default()]);
    let shown = planned(&model, &Needs::default()).to_string();
    assert!(shown.contains("first for 75.0 % of requests, first_token unknown, taken for the quickest"), "{shown}");
}

fn group(strategy: Strategy, nodes: Vec<Node>) -> Node {
    Node::Group(Group { name: "pool".into(), strategy, experiment: None, weight: 1, nodes })
}

/// Three deployments that share the load, then somebody else.
fn deployments_then_another() -> Arc<Model> {
    let mut pool = Pool::of(4);
    let three = group(Strategy::Weighted, (0..3).map(Node::Target).collect());
    pool.nodes = vec![three, Node::Target(3)];
    pool.build()
}

#[test]
fn a_model_among_the_targets_is_one_target_with_an_order_of_its_own() {
    let model = deployments_then_another();
    let mut led = [0; 4];
    for seed in 0..3_000 {
        let plan = plan(&model, &Needs::default(), at(1.0), &mut fastrand::Rng::with_seed(seed));
        let order = order(&plan);
        assert_eq!(order[3], 3, "whoever is outside comes after all of them");
        assert_eq!(plan.primary, Some(order[0]));
        led[order[0]] += 1;
    }
    assert!(led[..3].iter().all(|led| (850..1_150).contains(led)), "{led:?}");
}

#[test]
fn a_group_stands_where_it_is_listed_until_its_last_member_is_gone() {
    let mut sim = Sim::new(deployments_then_another(), 1, |call| {
        let down = match call.target {
            0 => call.at < at(40.0),
            1 | 2 => call.at >= at(20.0) && call.at < at(40.0),
            _ => false,
        };
        if down { Outcome::fails(FaultClass::Unreachable) } else { Outcome::quick() }
    });
    for i in 0..1_600 {
        sim.request(at(f64::from(i) * 0.1));
    }
    let ended = sim.run();
    assert!(ended.iter().all(|ended| ended.error.is_none()));
    let by = |target, from: usize, to: usize| ended[from..to].iter().filter(|it| it.served == Some(target)).count();
    assert_eq!(by(3, 50, 200), 0, "two of the group are left");
    assert!(by(3, 250, 400) > 140, "nobody of the group is: {}", by(3, 250, 400));
    assert_eq!(by(3, 1_400, 1_600), 0, "all are back");
    assert!(by(0, 1_400, 1_600) > 30);
}

#[test]
fn a_group_takes_part_with_what_is_known_of_its_first() {
    let price = |input: u64| priced(&format!(r#"{{ "input": {input}, "output": 1 }}"#));
    let mut pool = pool(Strategy::Cheapest, vec![price(5), price(2), price(3)]);
    pool.nodes = vec![Node::Target(2), group(Strategy::Priority, vec![Node::Target(0), Node::Target(1)])];
    let needs = Needs { estimated_tokens: 1_000, max_output_tokens: Some(0), ..Needs::default() };
    assert_eq!(order(&planned(&pool.build(), &needs)), [2, 0, 1], "its first is dear, and it is its first");
    pool.nodes = vec![Node::Target(2), group(Strategy::Cheapest, vec![Node::Target(0), Node::Target(1)])];
    assert_eq!(order(&planned(&pool.build(), &needs)), [1, 0, 2]);
}

/// Groups within groups, at random: every target once.
pub(crate) fn any_nodes(targets: usize, seed: u64) -> Vec<Node> {
    fn split(from: usize, to: usize, rng: &mut fastrand::Rng) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut begin = from;
        while begin < to {
            let end = rng.usize(begin + 1..=to);
            nodes.push(if end - begin > 1 && end - begin < to - from {
                group(ALL[rng.usize(..ALL.len())], split(begin, end, rng))
            } else {
                Node::Target(begin)
            });
            begin = if matches!(nodes.last(), Some(Node::Target(_))) { begin + 1 } else { end };
        }
        nodes
    }
    split(0, targets, &mut fastrand::Rng::with_seed(seed))
}
