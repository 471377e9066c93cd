//! Conversations that stay with their target: S19 of the storms, and each rule of a pin by itself.

use crate::harness::{Call, Ended, Outcome, Pool, Sim, Spec, at, fault, limited, secs};
use crate::prices::priced;
use canon::FaultClass;
use catalog::{ModelFacts, Usd};
use health::{BreakerStanding, StartKind};
use routing::{Model, Needs, RescueMode, Session, Sessions, Stickiness, Strategy, plan};
use std::cell::Cell;
use std::collections::HashMap;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::time::Duration;

const SEEDS: u64 = 30;
const TURNS: u32 = 30;
/// Seconds from turn to turn.
const PAUSE: u32 = 20;
/// Seconds a provider keeps what nobody reads.
const CACHE: f64 = 300.0;

fn named(name: &str) -> Session {
    Session::named(Some("tenant"), "session_id", name.as_bytes())
}

fn derived(turns: u32) -> Session {
    Session::derived(Some("tenant"), turns, |hasher| hasher.write(b"opening"))
}

fn asks(session: Session) -> Needs {
    Needs { streamed: true, session: Some(session), ..Needs::default() }
}

fn pool(targets: usize, strategy: Strategy, on_fault: Stickiness) -> Pool {
    let mut pool = Pool::of(targets);
    pool.settings.strategy = strategy;
    pool.settings.sessions = Some(Sessions { on_fault, ..Sessions::default() });
    pool
}

/// Runs one request after another, a second apart from `start` on, and says who served each.
fn talk(model: &Arc<Model>, start: f64, needs: &[Needs], script: impl FnMut(Call) -> Outcome) -> Vec<Ended> {
    let mut sim = Sim::new(Arc::clone(model), 1, script);
    for (turn, needs) in needs.iter().enumerate() {
        sim.request_with(at(start + 2.0 * turn as f64), *needs, secs(60.0));
    }
    sim.run()
}

fn served(ended: &[Ended]) -> Vec<usize> {
    ended.iter().map(|ended| ended.served.unwrap()).collect()
}

/// What input costs with caches that are written at 1.25 and read at 0.1 of the price, in tokens at that price.
fn cost(turns: impl Iterator<Item = (f64, usize)>) -> f64 {
    let mut caches: HashMap<usize, (f64, f64)> = HashMap::new();
    let mut cost = 0.0;
    for (turn, (when, target)) in turns.enumerate() {
        let prompt = 50_000.0 + 1_000.0 * turn as f64;
        let (held, until) = caches.get(&target).copied().unwrap_or_default();
        let read = if when < until { held } else { 0.0 };
        cost += 0.1 * read + 1.25 * (prompt - read);
        caches.insert(target, (prompt, when + CACHE));
    }
    cost
}

struct Agent {
    /// What its input costs, beside that of one that never leaves its provider.
    ratio: f64,
    /// How often it went from one provider to another.
    moves: usize,
}

/// An agent of 30 turns and a prefix of 50,000 tokens over three equal providers, with other traffic beside it. With
/// `dies`, the provider that it stands at refuses everything from turn 15 on, for two minutes or for good.
fn agent(seed: u64, session: impl Fn(u32) -> Option<Session>, dies: bool) -> Agent {
    let mut pool = pool(3, Strategy::Weighted, Stickiness::Move);
    pool.seed = seed;
    let warm = Cell::new(None);
    let when = |turn: u32| f64::from(60 + PAUSE * turn);
    let heals = if seed.is_multiple_of(2) { when(15) + 120.0 } else { f64::INFINITY };
    let mut rng = fastrand::Rng::with_seed(seed);
    let first_of_agent = Cell::new(usize::MAX);
    let script = |call: Call| {
        if call.exchange >= first_of_agent.get() && warm.get().is_none() {
            warm.set(Some(call.target));
        }
        let is_dead = call.at >= at(when(15)) && (heals.is_infinite() || call.at < at(heals));
        if dies && is_dead && warm.get() == Some(call.target) {
            return Outcome::Fails { fault: fault(FaultClass::Overloaded), after: 0.03 };
        }
        let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
        let first = 2.0 * (0.4 * normal).exp();
        Outcome::Answer { first, total: first + 4.0 }
    };
    let mut sim = Sim::new(pool.build(), seed, script);
    let mut others = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let mut clock = 0.0;
    let mut count = 0;
    while clock < when(TURNS) {
        clock -= 2.0 * (1.0 - others.f64()).ln();
        count = 1 + sim.request(at(clock));
    }
    first_of_agent.set(count);
    for turn in 0..TURNS {
        let tokens = 50_000 + 1_000 * u64::from(turn);
        let needs = Needs { streamed: true, estimated_tokens: tokens, session: session(turn), ..Needs::default() };
        sim.request_with(at(when(turn)), needs, secs(120.0));
    }
    let ended = sim.run();
    let path = served(&ended[count..]);
    let timed = |target: &dyn Fn(usize) -> usize| {
        cost((0..TURNS).map(|turn| (when(turn), target(turn as usize))).collect::<Vec<_>>().into_iter())
    };
    Agent {
        ratio: timed(&|turn| path[turn]) / timed(&|_| 0),
        moves: path.windows(2).filter(|pair| pair[0] != pair[1]).count(),
    }
}

/// A bar holds if at most one seed misses it.
#[expect(clippy::print_stdout, reason = "the figures are what the storms are run for")]
fn bar(what: &str, agents: &[Agent], most: f64, moves: usize) {
    let mut ratios: Vec<f64> = agents.iter().map(|agent| agent.ratio).collect();
    ratios.sort_by(f64::total_cmp);
    println!("{what}: {:.3} of perfect caching, worst {:.3}", ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
    let missed = agents.iter().filter(|agent| agent.ratio > most || agent.moves > moves).count();
    assert!(missed <= 1, "{what}: {missed} of {SEEDS} seeds miss {most}: {ratios:?}");
}

#[test]
fn s19_an_agent_pays_what_perfect_caching_costs_and_one_cold_write_for_a_provider_that_dies() {
    let of = |session: &dyn Fn(u32) -> Option<Session>, dies| -> Vec<Agent> {
        (0..SEEDS).map(|seed| agent(seed, session, dies)).collect()
    };
    let name = |_| Some(named("agent"));
    let opening = |turn| Some(derived(turn));
    bar("s19 named, no fault", &of(&name, false), 1.02, 0);
    bar("s19 by its opening, no fault", &of(&opening, false), 1.02, 0);
    bar("s19 named, its provider dies", &of(&name, true), 1.30, 1);
    bar("s19 by its opening, its provider dies", &of(&opening, true), 1.30, 1);
    let without = of(&|_| None, false);
    let least = without.iter().map(|agent| agent.ratio).fold(f64::INFINITY, f64::min);
    assert!(least > 1.30, "the bars can be missed: {least}");
}

#[test]
fn a_conversation_that_has_moved_stays_moved_until_its_pin_expires() {
    let model = pool(2, Strategy::Priority, Stickiness::Move).build();
    let is_down = |call: Call| call.target == 0 && call.at < at(3.0);
    let script = |call: Call| if is_down(call) { Outcome::fails(FaultClass::Overloaded) } else { Outcome::quick() };
    let ended = talk(&model, 1.0, &[asks(named("a")); 3], script);
    assert_eq!(served(&ended), [1, 1, 1]);
    let told: Vec<_> = ended.iter().map(|ended| (ended.fallback, ended.reason)).collect();
    assert_eq!(told[0], (1, Some("overloaded")), "the fault made a fallback of it");
    assert_eq!(told[1], (0, Some("session")), "a pin is none");
    let other = talk(&model, 10.0, &[asks(named("b"))], |_| Outcome::quick());
    assert_eq!((served(&other), other[0].reason), (vec![0], None), "new conversations go where the plan says");
    let used = 5.0 + 1.0;
    let late = talk(&model, used + 299.0, &[asks(named("a"))], |_| Outcome::quick());
    assert_eq!(served(&late), [1]);
    let expired = talk(&model, used + 299.0 + 1.0 + 300.0, &[asks(named("a"))], |_| Outcome::quick());
    assert_eq!(served(&expired), [0], "with the cache it protected");
}

#[test]
fn a_model_without_sessions_keeps_none() {
    let mut pool = pool(2, Strategy::Priority, Stickiness::Move);
    pool.settings.sessions = None;
    let model = pool.build();
    let fails_first = |call: Call| {
        if call.exchange == 0 && call.target == 0 { Outcome::fails(FaultClass::Overloaded) } else { Outcome::quick() }
    };
    assert_eq!(served(&talk(&model, 1.0, &[asks(named("a")); 2], fails_first)), [1, 0]);
    assert!(model.ledger.pins.is_empty());
}

#[test]
fn the_same_prompt_again_and_again_is_no_session() {
    for turns in [0, 1] {
        let model = pool(3, Strategy::Weighted, Stickiness::Move).build();
        let ended = talk(&model, 1.0, &[asks(derived(turns)); 60], |_| Outcome::quick());
        for target in 0..3 {
            let share = served(&ended).iter().filter(|&&served| served == target).count();
            assert!((8..=35).contains(&share), "{turns}: {share} of 60 at {target}");
        }
        assert!(ended.iter().all(|ended| ended.reason.is_none()));
    }
}

#[test]
fn a_conversation_nobody_names_is_known_by_its_second_turn() {
    for seed in 0..20 {
        let mut pool = pool(3, Strategy::Weighted, Stickiness::Move);
        pool.seed = seed;
        let model = pool.build();
        let ended = talk(&model, 1.0, &[0, 1, 2, 3].map(|turns| asks(derived(turns))), |_| Outcome::quick());
        let first = ended[0].served.unwrap();
        assert_eq!(served(&ended), [first; 4]);
    }
}

#[test]
fn a_pinned_target_that_cannot_serve_or_that_health_has_lowered_does_not_lead() {
    let vision = |images| ModelFacts {
        capabilities: catalog::Capabilities { images: Some(images), ..catalog::Capabilities::default() },
        ..ModelFacts::default()
    };
    let spec = |images| Spec { facts: vision(images), ..Spec::default() };
    let mut pool = Pool::with(vec![spec(false), spec(true), spec(true)]);
    pool.settings.sessions = Some(Sessions::default());
    let model = pool.build();
    let needs = asks(named("a"));
    assert_eq!(served(&talk(&model, 1.0, &[needs], |_| Outcome::quick())), [0]);
    let shows = Needs { images: true, ..needs };
    let ended = talk(&model, 5.0, &[shows, needs], |_| Outcome::quick());
    assert_eq!(served(&ended), [1, 1], "what has moved for a picture stays moved");
    for _ in 0..3 {
        let permit = model.targets[1].health.start(StartKind::Live, at(10.0)).unwrap();
        permit.failed(&fault(FaultClass::Unreachable), at(10.0));
    }
    assert!(matches!(model.targets[1].health.standing(at(10.1)).breaker, BreakerStanding::Open { .. }));
    let ended = talk(&model, 10.1, &[needs], |_| Outcome::quick());
    assert_eq!((served(&ended), ended[0].reason), (vec![0], Some("breaker_open")));
    assert_eq!(ended[0].fallback, 1, "its own target was the primary of this conversation");
}

#[test]
fn a_target_that_has_become_slow_keeps_the_conversations_whose_prompts_it_holds() {
    for (on_fault, tokens, serves) in
        [(Stickiness::Move, 1_000, 1), (Stickiness::Move, 2_000, 0), (Stickiness::Stay, 1_000, 0)]
    {
        let model = pool(2, Strategy::Priority, on_fault).build();
        let needs = Needs { estimated_tokens: tokens, ..asks(named("a")) };
        let slow_since = 200.0;
        let mut sim = Sim::new(Arc::clone(&model), 1, |call| {
            let first = if call.target == 0 && call.at >= at(slow_since) { 8.0 } else { 1.0 };
            Outcome::Answer { first, total: first + 1.0 }
        });
        let others = (0..120).map(|n| sim.request(at(1.0 + 2.0 * f64::from(n)))).count();
        sim.request_with(at(195.0), needs, secs(60.0));
        sim.request_with(at(239.0), needs, secs(60.0));
        let ended = sim.run();
        assert!(model.targets[0].health.standing(at(239.5)).slow);
        assert_eq!(served(&ended[others..]), [0, serves], "{on_fault:?} with {tokens} tokens");
    }
}

#[test]
fn who_stays_answers_elsewhere_and_comes_back() {
    let model = pool(2, Strategy::Priority, Stickiness::Stay).build();
    let script = |call: Call| {
        if call.exchange == 1 && call.target == 0 { Outcome::fails(FaultClass::Overloaded) } else { Outcome::quick() }
    };
    assert_eq!(served(&talk(&model, 1.0, &[asks(named("a")); 3], script)), [0, 1, 0]);
}

#[test]
fn who_retries_before_it_moves_asks_its_own_target_once_more() {
    let down = |until: usize| {
        move |call: Call| {
            let fails = call.target == 0 && call.exchange == 1 && call.before < until;
            if fails { Outcome::fails(FaultClass::Unreachable) } else { Outcome::quick() }
        }
    };
    let calls = |on_fault, until| {
        let model = pool(2, Strategy::Priority, on_fault).build();
        let ended = talk(&model, 1.0, &[asks(named("a")); 3], down(until));
        (ended[1].calls.clone(), ended[2].served.unwrap())
    };
    assert_eq!(calls(Stickiness::Move, 1), (vec![0, 1], 1));
    assert_eq!(calls(Stickiness::RetryThenMove, 1), (vec![0, 0], 0));
    assert_eq!(calls(Stickiness::RetryThenMove, 2), (vec![0, 0, 1], 1));
    let model = pool(2, Strategy::Priority, Stickiness::RetryThenMove).build();
    let new = talk(&model, 1.0, &[asks(named("a"))], |call| {
        if call.target == 0 { Outcome::fails(FaultClass::Unreachable) } else { Outcome::quick() }
    });
    assert_eq!(new[0].calls, [0, 1], "what stands nowhere has nothing to hold on to");
}

#[test]
fn who_retries_before_it_moves_waits_out_a_short_limit() {
    for (hint, calls) in [(0.5, vec![0, 0]), (3.0, vec![0, 1])] {
        let model = pool(2, Strategy::Priority, Stickiness::RetryThenMove).build();
        let ended = talk(&model, 1.0, &[asks(named("a")); 2], |call| {
            if call.exchange == 1 && call.target == 0 && call.before == 0 {
                return Outcome::Fails { fault: limited(hint), after: 0.0 };
            }
            Outcome::quick()
        });
        assert_eq!(ended[1].calls, calls, "{hint}");
    }
}

#[test]
fn a_turn_that_ends_late_does_not_take_a_moved_conversation_back() {
    let model = pool(2, Strategy::Priority, Stickiness::Move).build();
    assert_eq!(served(&talk(&model, 1.0, &[asks(named("a"))], |_| Outcome::quick())), [0]);
    // The first of two turns at once goes on for ten seconds; the second fails and moves at once.
    let mut sim = Sim::new(Arc::clone(&model), 1, |call| match (call.exchange, call.target) {
        (0, _) => Outcome::Answer { first: 0.2, total: 10.0 },
        (1, 0) => Outcome::fails(FaultClass::Overloaded),
        _ => Outcome::quick(),
    });
    sim.request_with(at(5.0), asks(named("a")), secs(60.0));
    sim.request_with(at(6.0), asks(named("a")), secs(60.0));
    assert_eq!(served(&sim.run()), [0, 1]);
    assert_eq!(served(&talk(&model, 20.0, &[asks(named("a"))], |_| Outcome::quick())), [1]);
}

#[test]
fn a_stream_that_goes_on_elsewhere_takes_its_conversation_along() {
    let mut pool = pool(2, Strategy::Priority, Stickiness::Move);
    pool.settings.rescue.mode = RescueMode::Resume;
    let model = pool.build();
    let cut = || Outcome::Breaks { first: 0.2, fault: fault(FaultClass::StreamBroken), after: 0.5 };
    let ended = talk(&model, 1.0, &[asks(named("a")); 3], |call| {
        if call.exchange == 1 && call.target == 0 { cut() } else { Outcome::quick() }
    });
    assert_eq!((served(&ended), ended[1].calls.clone()), (vec![0, 1, 1], vec![0, 1]));
}

#[test]
fn a_target_that_is_gone_from_the_configuration_holds_nobody() {
    let model = pool(3, Strategy::Priority, Stickiness::Stay).build();
    assert_eq!(served(&talk(&model, 1.0, &[asks(named("a"))], |_| Outcome::quick())), [0]);
    let reloaded = Arc::new(Model { targets: model.targets[1..].into(), ..Model::clone(&model) });
    let ended = talk(&reloaded, 5.0, &[asks(named("a")); 2], |_| Outcome::quick());
    assert_eq!(served(&ended), [0, 0]);
    let swapped = Arc::new(Model {
        targets: [2, 1].map(|index| Arc::clone(&model.targets[index])).into(),
        ..Model::clone(&model)
    });
    let ended = talk(&swapped, 10.0, &[asks(named("a"))], |_| Outcome::quick());
    assert_eq!(served(&ended), [1], "a reload keeps pins, wherever their target stands in the list");
}

#[test]
fn a_cold_move_costs_the_uncached_price_of_the_prefix() {
    let prices = r#"{ "input": 1, "output": 10, "cached_input": 0.1 }"#;
    let mut pool = Pool::with(vec![priced(prices), priced(prices), priced(r#"{ "input": 1, "output": 10 }"#)]);
    pool.settings.sessions = Some(Sessions::default());
    let model = pool.build();
    let turn = |tokens| Needs { estimated_tokens: tokens, max_output_tokens: Some(0), ..asks(named("agent")) };
    let costs = |needs: &Needs| {
        let plan = plan(&model, needs, at(10.0), &mut fastrand::Rng::with_seed(1));
        plan.candidates.iter().map(|candidate| candidate.estimate.price).collect::<Vec<_>>()
    };
    assert_eq!(costs(&turn(50_000)), [Usd::parse("0.05"); 3]);
    talk(&model, 1.0, &[turn(50_000)], |_| Outcome::quick());
    // A tenth of the prefix's price where it is warm, and all of it elsewhere.
    assert_eq!(costs(&turn(51_000)), ["0.006", "0.051", "0.051"].map(Usd::parse));
    let shown = plan(&model, &turn(51_000), at(10.0), &mut fastrand::Rng::with_seed(1)).to_string();
    assert!(shown.contains("session: stands at p0/m\n"), "{shown}");
}

#[test]
fn under_cheapest_a_conversation_leaves_for_a_price_that_pays_for_its_prefix_as_well() {
    let of = |input: &str, cached: &str| {
        priced(&format!(r#"{{ "input": {input}, "output": 10, "cached_input": {cached} }}"#))
    };
    for (other, on_fault, serves) in
        [("0.2", Stickiness::Move, 0), ("0.05", Stickiness::Move, 1), ("0.05", Stickiness::Stay, 0)]
    {
        let mut pool = Pool::with(vec![of("1", "0.1"), of(other, "0.01")]);
        pool.settings.strategy = Strategy::Cheapest;
        pool.settings.sessions = Some(Sessions { on_fault, ..Sessions::default() });
        let model = pool.build();
        let turn = Needs { estimated_tokens: 50_000, max_output_tokens: Some(0), ..asks(named("a")) };
        let fails_first = |call: Call| {
            if call.exchange == 0 && call.target == 1 {
                Outcome::fails(FaultClass::Overloaded)
            } else {
                Outcome::quick()
            }
        };
        let ended = talk(&model, 1.0, &[turn; 3], fails_first);
        assert_eq!(served(&ended), [0, serves, serves], "{other} {on_fault:?}");
    }
}

#[test]
fn names_of_two_tenants_and_of_two_places_are_different_conversations() {
    let of = |tenant, place, name: &str| Session::named(tenant, place, name.as_bytes());
    let all = [
        of(Some("a"), "session_id", "1"),
        of(Some("b"), "session_id", "1"),
        of(None, "session_id", "1"),
        of(Some("a"), "prompt_cache_key", "1"),
        of(Some("a"), "session_id", "2"),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(all[index + 1..].iter().all(|other| other != one));
    }
    assert_eq!(all[0], of(Some("a"), "session_id", "1"));
}

#[test]
fn pins_live_as_long_as_they_are_told_to() {
    let mut pool = pool(2, Strategy::Priority, Stickiness::Move);
    pool.settings.sessions = Some(Sessions { ttl: Duration::from_secs(3_600), ..Sessions::default() });
    let model = pool.build();
    let moved = |call: Call| if call.target == 0 { Outcome::fails(FaultClass::Overloaded) } else { Outcome::quick() };
    assert_eq!(served(&talk(&model, 1.0, &[asks(named("a"))], moved)), [1]);
    assert_eq!(served(&talk(&model, 3_500.0, &[asks(named("a"))], |_| Outcome::quick())), [1]);
}
