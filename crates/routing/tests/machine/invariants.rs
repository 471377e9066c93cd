//! What holds for any pool, any script and any timing. The harness asserts on every action: one attempt in flight
//! unless one is hedged, none after the commit or the deadline, no call before a hint, no target twice for a fault
//! that excludes it, at most three attempts at a model's work, every permit released, every attempt listed.

use crate::guards::{any_guards, any_prices};
use crate::harness::{Outcome, Pool, Sim, Spec, at, secs};
use canon::{Fault, FaultClass};
use catalog::{ModelFacts, Ratio};
use health::{BreakerStanding, Concurrency};
use proptest::prelude::{Just, ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Strategy_;
use routing::{
    ClassPolicy, FaultProfile, Hedge, HedgeAfter, Hedging, Needs, ProbeMode, Session, Sessions, Step, Stickiness,
};
use std::hash::Hasher as _;

fn any_class() -> impl Strategy_<Value = FaultClass> {
    prop::sample::select(FaultClass::ALL.to_vec())
}

pub(crate) fn any_outcome() -> impl Strategy_<Value = Outcome> {
    let fault = || {
        (any_class(), prop::option::of(0.0..5.0_f64), any::<bool>()).prop_map(|(class, hint, stale)| Fault {
            retry_after: hint.map(secs),
            stale_connection: stale,
            ..crate::harness::fault(class)
        })
    };
    prop_oneof![
        4 => (0.0..3.0_f64, 0.0..5.0_f64).prop_map(|(first, more)| Outcome::Answer { first, total: first + more }),
        5 => (fault(), 0.0..2.0_f64).prop_map(|(fault, after)| Outcome::Fails { fault, after }),
        2 => (0.0..1.0_f64, fault(), 0.0..2.0_f64)
            .prop_map(|(first, fault, more)| Outcome::Breaks { first, fault, after: first + more }),
        1 => Just(Outcome::Hangs),
    ]
}

fn any_spec() -> impl Strategy_<Value = Spec> {
    let numbers = (1_usize..4, 0_u32..5, prop::option::of(500_u64..50_000), any::<bool>(), any::<bool>());
    let bounds = [1, 2, 3].map(Concurrency::Fixed).into_iter().chain([Concurrency::Aimd, Concurrency::Gradient]);
    let bound = prop::option::of(prop::sample::select(bounds.collect::<Vec<_>>()));
    (numbers, any_prices(), any_guards(), bound).prop_map(
        |((keys, weight, window, same, stops), prices, guards, bound)| Spec {
            bound,
            keys,
            weight,
            facts: ModelFacts { context_window: window, prices, ..ModelFacts::default() },
            guards,
            quality: None,
            region: None,
            same_model: same.then_some("same"),
            cancel_stops_billing: stops,
        },
    )
}

fn any_sessions() -> impl Strategy_<Value = Option<Sessions>> {
    let on_fault = prop::sample::select(vec![Stickiness::Move, Stickiness::RetryThenMove, Stickiness::Stay]);
    prop::option::of((1.0..30.0_f64, on_fault).prop_map(|(ttl, on_fault)| Sessions { ttl: secs(ttl), on_fault }))
}

fn any_hedging() -> impl Strategy_<Value = Hedging> {
    let after = prop_oneof![Just(HedgeAfter::P95), (0.0..2.0_f64).prop_map(|after| HedgeAfter::Fixed(secs(after)))];
    let hedge = (after, 1_u64..1_000_000)
        .prop_map(|(after, budget)| Hedging::Hedge(Hedge { after, budget: Ratio::of_millionths(budget) }));
    prop_oneof![2 => Just(Hedging::Off), 2 => hedge, 2 => Just(Hedging::Race)]
}

/// Few conversations, so that they meet: some named, some known by what they begin with.
fn any_session() -> impl Strategy_<Value = Option<Session>> {
    prop::option::of((0_u8..3, prop::option::of(0_u32..4)).prop_map(|(which, turns)| match turns {
        None => Session::named(None, "session_id", &[which]),
        Some(turns) => Session::derived(None, turns, |hasher| hasher.write_u8(which)),
    }))
}

pub(crate) fn any_pool() -> impl Strategy_<Value = Pool> {
    let step = prop::option::of(prop::sample::select(vec![Step::Next, Step::Stop, Step::SameThenNext]));
    let policy = (any_class(), step, prop::option::of(0.0..3.0_f64), 0.0..0.5_f64);
    (
        prop::collection::vec(any_spec(), 1..5),
        0..crate::strategies::ALL.len(),
        any::<bool>(),
        prop::sample::select(vec![ProbeMode::Live, ProbeMode::Off, ProbeMode::Synthetic]),
        prop::collection::vec(policy, 0..4),
        any_sessions(),
        any_hedging(),
        any::<u64>(),
    )
        .prop_map(|(specs, strategy, strict, probe, policies, sessions, hedging, seed)| {
            let mut pool = Pool::with(specs);
            pool.settings.hedging = hedging;
            pool.settings.sessions = sessions;
            pool.seed = seed;
            pool.settings.strategy = crate::strategies::ALL[strategy];
            pool.settings.profile = if strict { FaultProfile::Strict } else { FaultProfile::Default };
            pool.settings.probe = probe;
            for (class, step, max_wait, delay) in policies {
                let policy = ClassPolicy { step, max_wait: max_wait.map(secs), delay: secs(delay) };
                pool.settings.on.set(class, policy);
            }
            pool
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_script_breaks_the_rules(
        pool in any_pool(),
        outcomes in prop::collection::vec(any_outcome(), 1..40),
        requests in prop::collection::vec(
            (
                (0.0..20.0_f64, 0.05..30.0_f64, prop::option::of(0.02..20.0_f64)),
                (any::<bool>(), 0_u64..60_000, any_session()),
                prop::option::of(0.0..5.0_f64),
            ),
            1..40,
        ),
        seed in any::<u64>(),
    ) {
        let mut turn = 0;
        let mut sim = Sim::new(pool.build(), seed, |_| {
            turn += 1;
            outcomes[turn % outcomes.len()].clone()
        });
        let mut deadlines = Vec::new();
        for ((arrives, deadline, announced), (streamed, estimated_tokens, session), hangs_up) in requests {
            let needs = Needs { streamed, estimated_tokens, session, ..Needs::default() };
            let exchange = sim.request_with(at(arrives), needs, secs(deadline));
            let deadline = at(arrives) + secs(deadline);
            let by = announced.map_or(deadline, |announced| (at(arrives) + secs(announced)).min(deadline));
            deadlines.push((by, deadline));
            if by < deadline {
                sim.announce(exchange, by);
            }
            if let Some(after) = hangs_up {
                sim.hang_up(exchange, at(arrives + after));
            }
        }
        for (ended, (by, deadline)) in sim.run().iter().zip(deadlines) {
            let latest = if ended.committed.is_some() { deadline } else { by };
            prop_assert!(ended.at <= latest);
            if let Some(error) = &ended.error {
                prop_assert!([400, 404, 429, 502, 503, 504].contains(&error.status), "{}", error.status);
                prop_assert!(error.status != 503 || error.retry_after.is_some());
                prop_assert!(error.status != 429 || error.retry_after.is_some());
            }
            let is_no_fallback = ended.reason.is_none_or(|reason| reason == "session");
            prop_assert_eq!(ended.served.is_none() || ended.fallback == 0, is_no_fallback);
        }
    }

    #[test]
    fn a_callers_fault_never_changes_health(
        classes in prop::collection::vec(
            prop::sample::select(vec![
                FaultClass::InvalidRequest,
                FaultClass::ContentBlocked,
                FaultClass::ContextExceeded,
                FaultClass::UnsupportedParameter,
                FaultClass::Cancelled,
            ]),
            1..20,
        ),
        seed in any::<u64>(),
    ) {
        let model = Pool::of(3).build();
        let mut turn = 0;
        let mut sim = Sim::new(model.clone(), seed, |_| {
            turn += 1;
            Outcome::fails(classes[turn % classes.len()])
        });
        for i in 0..60 {
            sim.request(at(f64::from(i)));
        }
        sim.run();
        for target in model.targets.iter() {
            let standing = target.health.standing(at(60.0));
            prop_assert!(standing.is_healthy() && !standing.slow);
            prop_assert!(matches!(standing.breaker, BreakerStanding::Closed));
            for credential in &target.credentials {
                prop_assert!(credential.health.usable(&target.model, at(60.0)).is_ok());
            }
        }
    }

    #[test]
    fn with_one_target_that_always_answers_every_provider_fault_before_content_is_survived(
        classes in prop::collection::vec(
            prop::sample::select(vec![
                FaultClass::RateLimited,
                FaultClass::QuotaExhausted,
                FaultClass::Overloaded,
                FaultClass::ServerError,
                FaultClass::Unreachable,
                FaultClass::TimedOut,
                FaultClass::BadAnswer,
                FaultClass::ModelMissing,
                FaultClass::AuthRejected,
                FaultClass::UnsupportedParameter,
            ]),
            1..30,
        ),
        good in 0_usize..2,
        gap in 0.05..5.0_f64,
        seed in any::<u64>(),
    ) {
        let mut turn = 0;
        let mut sim = Sim::new(Pool::of(2).build(), seed, |call| {
            turn += 1;
            if call.target == good { Outcome::quick() } else { Outcome::fails(classes[turn % classes.len()]) }
        });
        for i in 0..50 {
            sim.request(at(f64::from(i) * gap));
        }
        for ended in sim.run() {
            prop_assert_eq!(ended.served, Some(good), "{:?} {:?}", ended.calls, ended.faults);
        }
    }
}
