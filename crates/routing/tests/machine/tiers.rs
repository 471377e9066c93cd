//! Tiers: a request is served by its own tier, else above it, and never below its floor.

use crate::harness::{Outcome, Pool, Sim, at, fault, secs};
use crate::invariants::{any_outcome, any_pool};
use crate::ruled::{rule, ruled};
use canon::{FaultClass, Instant};
use health::StartKind;
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};
use routing::tier::{Assigned, AssignedBy, Scorer, Tier, Tiers, Unlabelled};
use routing::{Demotion, ExclusionReason, Model, Needs, Plan, Session, Sessions, Strategy, plan};
use rules::Actions;
use std::sync::Arc;

/// Tiers with these floors, called `t0`, `t1`, …
fn tiers(floors: &[usize], of_target: &[usize]) -> Arc<Tiers> {
    let tier = |(number, floor): (usize, &usize)| Tier {
        name: Arc::from(format!("t{number}")),
        floor: *floor,
        from: 100 * number as u64,
    };
    let list = floors.iter().enumerate().map(tier).collect();
    Arc::new(Tiers::new(list, of_target.to_vec(), Unlabelled::Scored(Scorer::PromptLength)))
}

/// The first two targets are premium, the third standard, the last bulk; premium may fall to standard.
fn model(strategy: Strategy) -> Arc<Model> {
    let mut pool = Pool::of(4);
    pool.settings.strategy = strategy;
    pool.settings.tiers = Some(tiers(&[0, 1, 1], &[2, 2, 1, 0]));
    pool.build()
}

fn asking(tier: usize) -> Needs {
    Needs { tier: Some(Assigned { tier, by: AssignedBy::Header }), ..Needs::default() }
}

fn planned(model: &Model, tier: usize, now: Instant) -> Plan {
    plan(model, &asking(tier), now, &mut fastrand::Rng::with_seed(1))
}

fn order(plan: &Plan) -> Vec<usize> {
    plan.candidates.iter().map(|candidate| candidate.target).collect()
}

fn fails(model: &Model, target: usize, class: FaultClass, now: Instant) {
    model.targets[target].health.start(StartKind::Probe, now).unwrap().failed(&fault(class), now);
}

#[test]
fn a_request_goes_to_its_own_tier_then_up_then_down_to_its_floor() {
    let model = model(Strategy::Priority);
    let top = planned(&model, 2, at(0.0));
    assert_eq!((order(&top), top.primary), (vec![0, 1, 2], Some(0)));
    assert_eq!((top.excluded.len(), top.excluded[0].reason), (1, ExclusionReason::BelowTier));
    let middle = planned(&model, 1, at(0.0));
    assert_eq!((order(&middle), middle.primary), (vec![2, 0, 1], Some(2)));
    let bottom = planned(&model, 0, at(0.0));
    assert_eq!((order(&bottom), bottom.primary, bottom.diversion()), (vec![3, 2, 0, 1], Some(3), None));
    assert_eq!(bottom.healthy_order, [3, 2, 0, 1]);
}

#[test]
fn going_up_for_an_outage_is_a_fallback_with_its_reason() {
    let model = model(Strategy::Priority);
    (0..3).for_each(|_| fails(&model, 3, FaultClass::ServerError, at(0.0)));
    let plan = planned(&model, 0, at(0.1));
    assert_eq!((order(&plan), plan.primary, plan.diversion()), (vec![2, 0, 1], Some(3), Some("breaker_open")));
}

#[test]
fn slowness_alone_sends_a_request_up_but_not_down() {
    let model = model(Strategy::Priority);
    fails(&model, 2, FaultClass::TooSlow, at(0.0));
    let middle = planned(&model, 1, at(10.0));
    assert_eq!(order(&middle), [0, 2, 1], "the next healthy one stands before a slow tier");
    assert_eq!(middle.diversion(), Some("too_slow"));
    for target in [0, 1] {
        fails(&model, target, FaultClass::TooSlow, at(0.0));
    }
    let top = planned(&model, 2, at(10.0));
    assert_eq!(order(&top), [0, 1, 2], "all of premium is slow, and standard is no better answer");
    assert_eq!(top.candidates[0].demoted, Some(Demotion::Slow));
}

#[test]
fn an_unreachable_provider_stands_last_over_all_tiers() {
    let model = model(Strategy::Priority);
    for id in ["p3/a", "p3/b"] {
        model.targets[3].provider_health.unreachable(id, at(0.0));
    }
    assert_eq!(order(&planned(&model, 0, at(1.0))), [2, 0, 1, 3]);
}

#[test]
fn alone_in_its_tier_a_ramping_target_has_the_share_of_its_ramp_in_every_strategy() {
    for strategy in crate::strategies::ALL {
        let model = model(strategy);
        (0..3).for_each(|_| fails(&model, 3, FaultClass::ServerError, at(0.0)));
        for _ in 0..2 {
            let mut permit = model.targets[3].health.start(StartKind::Probe, at(60.0)).unwrap();
            permit.first_token(at(60.2));
            permit.succeeded(at(60.3));
        }
        let leads = (0..1_000)
            .filter(|seed| {
                let mut rng = fastrand::Rng::with_seed(*seed);
                plan(&model, &asking(0), at(62.0), &mut rng).candidates[0].target == 3
            })
            .count();
        assert!((10..=300).contains(&leads), "{strategy:?}: {leads} of 1000 two seconds into the ramp");
    }
}

#[test]
fn a_request_without_a_label_goes_by_the_length_of_its_prompt() {
    let model = model(Strategy::Priority);
    for (tokens, first, by) in
        [(10, 3, "prompt_length 10"), (150, 2, "prompt_length 150"), (9_000, 0, "prompt_length 9000")]
    {
        let needs = Needs { estimated_tokens: tokens, ..Needs::default() };
        let plan = plan(&model, &needs, at(0.0), &mut fastrand::Rng::with_seed(1));
        assert_eq!((plan.candidates[0].target, plan.tier.unwrap().by.to_string().as_str()), (first, by));
    }
}

#[test]
fn a_plan_tells_the_tier_its_floor_and_who_said_so() {
    let plan = planned(&model(Strategy::Priority), 2, at(0.0));
    let text = plan.to_string();
    assert!(text.contains("  tier t2 (header), at least t1\n"), "{text}");
    assert!(text.contains("p3/m: stands in a tier below the lowest that may serve the request"), "{text}");
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["tier"], serde_json::json!({ "tier": "t2", "floor": "t1", "by": "header" }));
    assert_eq!(json["excluded"][0]["code"], "tier");
}

proptest! {
    #[test]
    fn no_rule_sends_a_request_below_the_floor_it_has_without_it(
        floors in prop::collection::vec(0_usize..5, 5),
        asked in 0_usize..5,
        named in 0_usize..5,
    ) {
        let floors: Vec<usize> = floors.iter().enumerate().map(|(tier, floor)| *floor.min(&tier)).collect();
        let mut pool = Pool::of(5);
        pool.settings.tiers = Some(tiers(&floors, &[0, 1, 2, 3, 4]));
        let actions = Actions { tier: Some(format!("t{named}").into()), ..Actions::default() };
        let model = ruled(&pool.build(), &[rule("request.tokens >= 0", actions)]);
        let plan = planned(&model, asked, at(0.0));
        let served = order(&plan);
        prop_assert!(served.iter().all(|tier| *tier >= floors[asked]), "{plan}");
        prop_assert_eq!(served[0], named.max(floors[asked]), "its own tier first: {}", plan);
        if named > asked {
            prop_assert!(served.iter().all(|tier| *tier >= floors[named]), "{plan}");
            prop_assert!(plan.to_string().contains("(rule)"));
        }
    }
}

#[test]
fn a_panic_opens_nothing_below_the_floor() {
    let model = model(Strategy::Priority);
    for target in 0..3 {
        (0..3).for_each(|_| fails(&model, target, FaultClass::ServerError, at(0.0)));
    }
    let mut sim = Sim::new(model, 1, |_| Outcome::fails(FaultClass::Overloaded));
    for number in 0..40 {
        sim.request_with(at(0.1 + f64::from(number) * 0.1), asking(2), secs(5.0));
    }
    let ended = sim.run();
    assert!(ended.iter().all(|it| it.error.is_some() && !it.calls.contains(&3)));
    assert!(ended.iter().any(|it| !it.calls.is_empty()), "somebody was tried all the same");
}

#[test]
fn a_conversation_that_fell_goes_back_to_its_own_tier_and_one_that_rose_stays() {
    let mut pool = Pool::of(2);
    pool.settings.tiers = Some(tiers(&[0, 0], &[1, 0]));
    pool.settings.sessions = Some(Sessions::default());
    let session = |name: &str| Session::named(None, "session_id", name.as_bytes());
    let mut sim = Sim::new(pool.build(), 1, |call| {
        let down = at(10.0)..at(20.0);
        if down.contains(&call.at) && (call.exchange < 3) == (call.target == 0) {
            Outcome::fails(FaultClass::Overloaded)
        } else {
            Outcome::quick()
        }
    });
    // Premium is overloaded for the first conversation's second turn, bulk for the second conversation's.
    for (tier, name) in [(1, "fell"), (0, "rose")] {
        for turn in [1.0, 12.0, 100.0] {
            let needs = Needs { streamed: true, session: Some(session(name)), estimated_tokens: 9_000, ..asking(tier) };
            sim.request_with(at(turn), needs, secs(9.0));
        }
    }
    let served: Vec<_> = sim.run().iter().map(|it| it.served).collect();
    assert_eq!(served, [Some(0), Some(1), Some(0), Some(1), Some(0), Some(0)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn no_script_ever_calls_a_target_below_the_floor(
        mut pool in any_pool(),
        of_target in prop::collection::vec(0_usize..4, 5),
        down in prop::collection::vec(0_usize..4, 4),
        outcomes in prop::collection::vec(any_outcome(), 1..40),
        requests in prop::collection::vec((0.0..20.0_f64, 0.05..30.0_f64, 0_usize..4), 1..25),
        seed in any::<u64>(),
    ) {
        let floors: Vec<usize> = down.iter().enumerate().map(|(tier, down)| tier.saturating_sub(*down)).collect();
        pool.settings.tiers = Some(tiers(&floors, &of_target));
        let mut next = 0;
        let mut sim = Sim::new(pool.build(), seed, |_| {
            next += 1;
            outcomes[next % outcomes.len()].clone()
        });
        let mut asked = Vec::new();
        for (arrives, deadline, tier) in requests {
            let exchange = sim.request_with(at(arrives), Needs { streamed: true, ..asking(tier) }, secs(deadline));
            prop_assert_eq!(exchange, asked.len());
            asked.push(tier);
        }
        for (ended, tier) in sim.run().iter().zip(asked) {
            for target in &ended.calls {
                prop_assert!(of_target[*target] >= floors[tier], "tier {} went to target {}", tier, target);
            }
        }
    }

    #[test]
    fn in_full_health_no_target_stands_before_one_of_a_nearer_tier(
        of_target in prop::collection::vec(0_usize..4, 6),
        down in prop::collection::vec(0_usize..4, 4),
        strategy in 0..crate::strategies::ALL.len(),
        asked in 0_usize..4,
        seed in any::<u64>(),
    ) {
        let floors: Vec<usize> = down.iter().enumerate().map(|(tier, down)| tier.saturating_sub(*down)).collect();
        let mut pool = Pool::of(6);
        pool.settings.strategy = crate::strategies::ALL[strategy];
        pool.settings.tiers = Some(tiers(&floors, &of_target));
        let plan = plan(&pool.build(), &asking(asked), at(0.0), &mut fastrand::Rng::with_seed(seed));
        // Its own and those above in their order, then those below.
        let place = |target: &usize| {
            let tier = of_target[*target];
            if tier >= asked { (0, tier - asked) } else { (1, asked - tier) }
        };
        let places: Vec<_> = order(&plan).iter().map(place).collect();
        prop_assert!(places.is_sorted(), "{places:?}");
        let able = of_target.iter().filter(|tier| **tier >= floors[asked]).count();
        prop_assert_eq!((places.len(), plan.excluded.len()), (able, 6 - able));
    }
}
