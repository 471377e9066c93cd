//! Outages on virtual time: what callers, targets and budgets see over minutes.

use crate::harness::{Call, Outcome, Pool, Sim, Spec, at, limited, secs};
use canon::{FaultClass, Instant};
use health::BreakerStanding;
use routing::Strategy;

fn between(call: &Call, from: f64, to: f64) -> bool {
    call.at >= at(from) && call.at < at(to)
}

/// Requests every `gap` seconds from `from` to `to`.
fn steadily<F: FnMut(Call) -> Outcome>(sim: &mut Sim<F>, from: f64, to: f64, gap: f64) {
    let count = (0_u32..).take_while(|i| from + f64::from(*i) * gap < to - 1e-9);
    count.for_each(|i| {
        sim.request(at(from + f64::from(i) * gap));
    });
}

#[test]
fn a_primary_down_for_a_minute_is_used_again_within_sixteen_seconds_of_its_recovery() {
    for seed in 0..1_000 {
        let mut pool = Pool::of(2);
        pool.seed = seed;
        let phase = fastrand::Rng::with_seed(seed).f64() * 4.0;
        let (down, up) = (20.0 + phase, 80.0 + phase);
        let class = match seed % 3 {
            0 => FaultClass::Overloaded,
            1 => FaultClass::ServerError,
            _ => FaultClass::Unreachable,
        };
        let mut sim = Sim::new(pool.build(), seed, |call| {
            if call.target == 0 && between(&call, down, up) { Outcome::fails(class) } else { Outcome::quick() }
        });
        steadily(&mut sim, 0.0, 120.0, 4.0);
        let ended = sim.run();
        assert!(ended.iter().all(|ended| ended.error.is_none()), "seed {seed}: everybody is answered");
        for (i, ended) in ended.iter().enumerate() {
            let arrived = at(i as f64 * 4.0);
            if arrived >= at(down) && arrived < at(up) {
                assert_eq!(ended.served, Some(1), "seed {seed}: the fallback serves the outage");
            }
        }
        let back = ended.iter().enumerate().find(|(i, it)| at(*i as f64 * 4.0) >= at(up) && it.served == Some(0));
        let (back, _) = back.expect("the primary is used again");
        let after = at(back as f64 * 4.0).saturating_since(at(up));
        assert!(after <= secs(16.0), "seed {seed}: {after:?}");
    }
}

#[test]
fn a_dead_target_of_three_sees_a_handful_of_calls_and_nobody_an_error() {
    for seed in 0..30 {
        let mut pool = Pool::of(3);
        pool.settings.strategy = Strategy::Weighted;
        pool.seed = seed;
        let mut sim = Sim::new(pool.build(), seed, |call| {
            if call.target == 0 && between(&call, 10.0, 50.0) {
                Outcome::fails(FaultClass::Overloaded)
            } else {
                Outcome::quick()
            }
        });
        steadily(&mut sim, 0.0, 50.0, 0.05);
        let ended = sim.run();
        assert!(ended.iter().all(|ended| ended.error.is_none()));
        let on_dead = sim.calls.iter().filter(|call| call.target == 0 && between(call, 10.0, 50.0)).count();
        assert!(on_dead <= 15, "seed {seed}: {on_dead}");
    }
}

#[test]
fn with_the_primary_down_a_request_costs_little_more_than_one_call() {
    for seed in 0..30 {
        let mut pool = Pool::of(2);
        pool.seed = seed;
        let mut sim = Sim::new(pool.build(), seed, |call| {
            if call.target == 0 { Outcome::fails(FaultClass::ServerError) } else { Outcome::quick() }
        });
        steadily(&mut sim, 0.0, 60.0, 0.1);
        let ended = sim.run();
        assert!(ended.iter().all(|ended| ended.served == Some(1)));
        let calls = sim.calls.iter().filter(|call| call.at >= at(2.0)).count() as f64;
        let requests = ended.len() as f64 * 58.0 / 60.0;
        assert!(calls / requests <= 1.05, "seed {seed}: {}", calls / requests);
    }
}

#[test]
fn a_hung_primary_holds_few_callers_and_each_only_for_its_limit() {
    let mut sim =
        Sim::new(Pool::of(2).build(), 1, |call| if call.target == 0 { Outcome::Hangs } else { Outcome::quick() });
    steadily(&mut sim, 0.0, 120.0, 1.0);
    let ended = sim.run();
    assert!(ended.iter().all(|ended| ended.served == Some(1) && ended.calls.len() <= 2));
    let late = |ended: &&crate::harness::Ended, arrived: Instant| ended.committed.unwrap() > arrived + secs(1.0);
    let held = ended.iter().enumerate().filter(|(i, it)| late(it, at(*i as f64))).count();
    assert!(held <= 20, "{held}: those who arrived before the second timeout, and few probes since");
}

#[test]
fn a_full_outage_costs_at_most_a_tenth_more_than_one_call_a_request() {
    for (gap, targets) in [(0.2, 1), (0.2, 2), (0.2, 4), (0.05, 3), (0.01, 4)] {
        for class in [FaultClass::Overloaded, FaultClass::ServerError, FaultClass::Unreachable] {
            let mut sim = Sim::new(Pool::of(targets).build(), 1, |_| Outcome::fails(class));
            steadily(&mut sim, 0.0, 60.0, gap);
            let ended = sim.run();
            let amplification = sim.calls.len() as f64 / ended.len() as f64;
            assert!(amplification <= 1.1, "{class}, {targets} targets every {gap} s: {amplification}");
        }
    }
}

#[test]
fn a_full_outage_of_slow_failures_is_held_by_the_budget() {
    for gap in [0.2, 0.05] {
        let mut sim = Sim::new(Pool::of(4).build(), 1, |_| Outcome::Fails {
            fault: crate::harness::fault(FaultClass::ServerError),
            after: 1.0,
        });
        steadily(&mut sim, 0.0, 60.0, gap);
        let ended = sim.run();
        let amplification = sim.calls.len() as f64 / ended.len() as f64;
        assert!(amplification <= 1.1, "every {gap} s: {amplification}");
    }
}

#[test]
fn in_a_full_outage_the_rest_get_an_immediate_503_with_a_time_to_come_back() {
    let mut sim = Sim::new(Pool::of(2).build(), 1, |_| Outcome::fails(FaultClass::Overloaded));
    steadily(&mut sim, 0.0, 60.0, 0.1);
    let ended = sim.run();
    let refused: Vec<_> = ended.iter().filter(|ended| ended.calls.is_empty()).collect();
    assert!(refused.len() > 450, "{}", refused.len());
    for ended in refused {
        let error = ended.error.clone().unwrap();
        assert_eq!((error.status, error.code.as_str()), (503, "no_target_available"));
        assert!(error.retry_after.is_some_and(|after| after > secs(0.0) && after <= secs(15.0)));
    }
}

#[test]
fn a_healed_outage_is_noticed_within_the_panics_second() {
    for seed in 0..100 {
        let mut pool = Pool::of(2);
        pool.seed = seed;
        let mut sim = Sim::new(pool.build(), seed, |call| {
            if between(&call, 10.0, 70.0) { Outcome::fails(FaultClass::Overloaded) } else { Outcome::quick() }
        });
        steadily(&mut sim, 0.0, 90.0, 0.2);
        let ended = sim.run();
        let first =
            ended.iter().filter(|it| it.served.is_some()).filter_map(|it| it.committed).find(|t| *t >= at(70.0));
        assert!(first.unwrap() <= at(72.5), "seed {seed}: {first:?}");
    }
}

#[test]
fn the_first_answer_after_a_full_outage_opens_its_target_to_everybody() {
    let slow = || Outcome::Answer { first: 2.0, total: 7.0 };
    let mut sim = Sim::new(Pool::of(3).build(), 1, |call| {
        if between(&call, 10.0, 70.0) { Outcome::fails(FaultClass::Overloaded) } else { slow() }
    });
    steadily(&mut sim, 0.0, 90.0, 0.2);
    let ended = sim.run();
    let first = ended.iter().filter_map(|it| it.committed).find(|t| *t >= at(70.0)).unwrap();
    let after: Vec<_> = (0_u32..).zip(&ended).filter(|(i, _)| at(f64::from(*i) * 0.2) > first).map(|it| it.1).collect();
    assert!(after.len() > 50, "{}", after.len());
    assert!(after.iter().all(|it| it.error.is_none()), "{:?}", after.iter().find(|it| it.error.is_some()));
}

#[test]
fn an_answer_that_was_luck_lets_in_no_more_than_come_before_the_next_failure() {
    let mut sim = Sim::new(Pool::of(1).build(), 1, |call| {
        let lucky = call.at >= at(30.0) && call.at < at(30.6);
        if between(&call, 10.0, 70.0) && !lucky { Outcome::fails(FaultClass::Overloaded) } else { Outcome::quick() }
    });
    steadily(&mut sim, 0.0, 70.0, 0.1);
    sim.run();
    let calls = sim.calls.iter().filter(|call| between(call, 31.0, 70.0)).count();
    assert!((5..=45).contains(&calls), "one a second, and a probe now and then: {calls}");
}

#[test]
fn a_healed_target_gets_its_share_back_slowly() {
    let mut pool = Pool::of(2);
    pool.settings.strategy = Strategy::Weighted;
    let model = pool.build();
    let mut sim = Sim::new(model.clone(), 1, |call| {
        if call.target == 0 && between(&call, 5.0, 65.0) {
            Outcome::fails(FaultClass::Overloaded)
        } else {
            Outcome::quick()
        }
    });
    steadily(&mut sim, 0.0, 200.0, 0.1);
    let ended = sim.run();
    assert!(ended.iter().all(|ended| ended.error.is_none()));
    let back = sim.calls.iter().find(|call| call.target == 0 && call.at >= at(65.0)).unwrap().at;
    let since = |from: f64, to: f64| -> f64 {
        let inside = |call: &&Call| call.at >= back + secs(from) && call.at < back + secs(to);
        let (all, own) =
            sim.calls.iter().filter(inside).fold((0.0_f64, 0.0_f64), |(all, own), call| {
                (all + 1.0, own + if call.target == 0 { 1.0 } else { 0.0 })
            });
        own / all
    };
    assert!(since(0.0, 10.0) <= 0.15, "{}", since(0.0, 10.0));
    assert!((since(75.0, 115.0) - 0.5).abs() < 0.08, "{}", since(75.0, 115.0));
    assert_eq!(model.targets[0].health.standing(at(200.0)).breaker, BreakerStanding::Closed);
}

#[test]
fn a_relapse_in_the_ramp_harms_nobody_and_rests_longer() {
    let mut sim = Sim::new(Pool::of(2).build(), 1, |call| {
        let down = between(&call, 5.0, 25.0) || between(&call, 45.0, 80.0);
        if call.target == 0 && down { Outcome::fails(FaultClass::Overloaded) } else { Outcome::quick() }
    });
    steadily(&mut sim, 0.0, 80.0, 0.1);
    let ended = sim.run();
    assert!(ended.iter().all(|ended| ended.error.is_none()));
    let exposed = sim.calls.iter().filter(|call| call.target == 0 && between(call, 45.0, 80.0)).count();
    assert!(exposed <= 5 + 3, "one in the ramp, then a probe a rest: {exposed}");
}

#[test]
fn a_flapper_trips_few_times_an_hour_and_nobody_sees_an_error() {
    for seed in 0..10 {
        let mut pool = Pool::of(2);
        pool.seed = seed;
        let model = pool.build();
        let health = model.targets[0].health.clone();
        let (mut trips, mut was_open, mut was_half_open) = (0, false, false);
        let mut sim = Sim::new(model, seed, |call| {
            let down = (call.at.since_origin().as_secs() / 20) % 2 == 1;
            match health.standing(call.at).breaker {
                BreakerStanding::Open { .. } => {
                    trips += u32::from(!was_open && !was_half_open);
                    (was_open, was_half_open) = (true, false);
                }
                BreakerStanding::HalfOpen { .. } => (was_open, was_half_open) = (false, true),
                BreakerStanding::Closed | BreakerStanding::Ramping { .. } | BreakerStanding::Off { .. } => {
                    (was_open, was_half_open) = (false, false);
                }
            }
            if call.target == 0 && down { Outcome::fails(FaultClass::Overloaded) } else { Outcome::quick() }
        });
        steadily(&mut sim, 0.0, 3_600.0, 0.5);
        let ended = sim.run();
        drop(sim);
        assert!(ended.iter().all(|ended| ended.error.is_none()));
        assert!((3..=24).contains(&trips), "seed {seed}: {trips}");
    }
}

#[test]
fn the_callers_of_probes_wait_no_longer_than_the_hedge() {
    let mut sim = Sim::new(Pool::of(2).build(), 1, |call| {
        if call.target == 0 && between(&call, 10.0, 12.0) {
            Outcome::fails(FaultClass::Overloaded)
        } else if call.target == 0 && call.at >= at(12.0) {
            Outcome::Hangs
        } else {
            Outcome::quick()
        }
    });
    steadily(&mut sim, 0.0, 60.0, 0.5);
    let ended = sim.run();
    let waited = |i: usize| ended[i].committed.unwrap().saturating_since(at(i as f64 * 0.5));
    let hedges: Vec<usize> = (0..ended.len()).filter(|i| ended[*i].hedges == 1).collect();
    assert!(waited(hedges[0]) < secs(0.451), "the cold hedge, and the peer's first token");
    let longest = hedges.iter().map(|i| waited(*i)).max().unwrap();
    assert!(longest < secs(0.451), "nor for any later probe: {longest:?}");
    assert!((2..=6).contains(&hedges.len()), "a silent probe is given its time before the next: {}", hedges.len());
    let hedged = ended.iter().find(|ended| ended.hedges == 1).unwrap();
    assert_eq!((hedged.served, hedged.fallback, hedged.reason), (Some(1), 1, Some("half_open")));
}

#[test]
fn a_target_much_slower_than_its_peer_proves_its_recovery_all_the_same() {
    for (slow, seed) in [(1.0, 1), (3.0, 2), (7.0, 3)] {
        let mut pool = Pool::of(2);
        pool.seed = seed;
        let mut sim = Sim::new(pool.build(), seed, |call| match call.target {
            0 if call.at < at(10.0) => Outcome::fails(FaultClass::Overloaded),
            0 => Outcome::Answer { first: slow, total: slow + 1.0 },
            _ => Outcome::quick(),
        });
        steadily(&mut sim, 0.0, 300.0, 0.5);
        let ended = sim.run();
        assert!(ended.iter().all(|ended| ended.error.is_none()));
        let back = ended.iter().find(|ended| ended.served == Some(0)).and_then(|ended| ended.committed);
        assert!(back.unwrap() <= at(120.0), "{slow} s: {back:?}");
        let last = ended[ended.len() - 20..].iter().filter(|ended| ended.served == Some(0)).count();
        assert_eq!(last, 20, "{slow} s");
    }
}

#[test]
fn a_silent_probe_without_a_peer_frees_its_slot_after_the_first_token_limit() {
    let model = Pool::of(1).build();
    let mut sim = Sim::new(model.clone(), 1, |call| {
        if call.at < at(1.0) {
            Outcome::fails(FaultClass::Overloaded)
        } else if call.at < at(30.0) {
            Outcome::Hangs
        } else {
            Outcome::quick()
        }
    });
    steadily(&mut sim, 0.0, 60.0, 0.25);
    let ended = sim.run();
    assert!(ended.last().unwrap().served.is_some());
    let longest = ended.iter().enumerate().map(|(i, it)| it.at.saturating_since(at(i as f64 * 0.25))).max().unwrap();
    assert!(longest <= secs(10.01), "{longest:?}");
}

#[test]
fn a_hint_is_kept_by_every_exchange() {
    let mut sim = Sim::new(Pool::with(vec![Spec::default(); 2]).build(), 1, |call| {
        if call.target == 0 && call.at < at(20.0) {
            Outcome::Fails { fault: limited(7.0), after: 0.0 }
        } else {
            Outcome::quick()
        }
    });
    steadily(&mut sim, 0.0, 40.0, 0.1);
    let ended = sim.run();
    assert!(ended.iter().all(|ended| ended.error.is_none()));
    let during = sim.calls.iter().filter(|call| call.target == 0 && call.at < at(20.0)).count();
    assert_eq!(during, 3, "once at the start, and once after each hint");
    let first = sim.calls.iter().find(|call| call.target == 0 && call.at >= at(20.0)).unwrap().at;
    assert!(first <= at(21.2), "{first:?}: no idling after the hint, no ramp after a rate limit");
}

#[test]
fn the_same_seed_gives_the_same_calls() {
    let run = |seed| {
        let mut pool = Pool::of(3);
        pool.settings.strategy = Strategy::Weighted;
        pool.seed = seed;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut sim = Sim::new(pool.build(), seed, |_| {
            if rng.f64() < 0.3 { Outcome::fails(FaultClass::ServerError) } else { Outcome::quick() }
        });
        steadily(&mut sim, 0.0, 60.0, 0.2);
        sim.run();
        sim.calls.iter().map(|call| (call.at, call.target)).collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
