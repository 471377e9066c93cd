//! Events by the million against the attempt machine and health, drawn from a seed: the same seed decides the same.
//!
//! Each round is a pool of its own with its own guards, prices, sessions, hedges and strategy, and ten minutes of
//! weather: targets that are well, slow, limited, hung, cutting streams or failing in every class, in turn and at random.
//! Callers come in waves, hang up, repeat themselves, and have deadlines from a blink to a minute; answers are paid for;
//! the configuration is reloaded under them, the process is suspended and comes back late, timers come that nobody asked
//! for, news comes twice, and wall clocks step. What must hold (design, section 7; the harness, `watch.rs`, `hedges.rs`
//! and `books.rs` assert it on every event):
//!
//! - One attempt is in flight, unless a hedge or the second of a race runs beside it; when, where and at whose expense that
//!   may be is in `hedges.rs`.
//! - The first to answer serves, whoever else runs is called off at that moment, and what the caller has is the winner's.
//! - After the commit there is none but a rescue, and one commit an exchange.
//! - Attempts keep to the table of faults: at most three reach a model's work, and nobody is asked twice for a fault that
//!   excludes it.
//! - Nothing is started after the deadline, no limit reaches beyond it, and every exchange ends by it, once: with a whole
//!   answer, an honest end, an error, or because its caller is gone. What is told of it afterwards changes nothing.
//! - A limited credential is not called before its hint.
//! - A caller's fault changes no target's standing, and what one attempt comes to moves no other target's breaker.
//! - Soft signals open nobody; a ramp falls by a trip alone; the retry budget is never overdrawn.
//! - After each event health counts the calls in flight that there are, no more and no fewer, and at the end nothing is
//!   held of any limit or account; no target has cost more than it may.
//! - Every error lists all attempts, and has a status the gateway knows, with `retry-after` where it says to come again.
//!
//! Every variant of event, decision, rescue, class of fault and error is met, and what is easily lost beside them, or the
//! run has failed (`met.rs`).
//!
//! `MAINSTAY_SOAK_EVENTS` says how many events; by default few enough for every run. `MAINSTAY_SOAK_SEED` is the first
//! round's seed, which a failure names.

use crate::harness::{Call, Outcome, Pool, Sim, at, fault, limited, secs};
use crate::invariants::any_pool;
use crate::met::Met;
use canon::{Fault, FaultClass, LimitKind, LimitReading, Priority};
use catalog::Moment;
use health::StartKind;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use routing::{Guards, Hedge, HedgeAfter, Hedging, Model, Needs, ProbeMode, RescueMode, Session};
use std::hash::Hasher as _;
use std::sync::Arc;

const EVENTS: u64 = 120_000;
const EXCHANGES: usize = 400;
/// Length of a round, in seconds.
const ROUND: f64 = 600.0;

fn asked(name: &str, usual: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how much is asked of this run")]
    let asked = std::env::var(name);
    asked.ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What a target is like for a while.
#[derive(Debug, Clone, Copy)]
enum Weather {
    Well,
    Slow,
    Hangs,
    Cuts,
    Limits,
    /// Fails in this class, this share of the calls.
    Fails(FaultClass, f64),
    /// Anything.
    Wild,
}

fn weather(rng: &mut fastrand::Rng) -> Weather {
    match rng.u32(0..16) {
        0..6 => Weather::Well,
        6..8 => Weather::Slow,
        8 => Weather::Hangs,
        9..11 => Weather::Cuts,
        11 => Weather::Limits,
        12 => Weather::Wild,
        _ => Weather::Fails(class(rng), if rng.bool() { 1.0 } else { rng.f64() }),
    }
}

fn class(rng: &mut fastrand::Rng) -> FaultClass {
    FaultClass::ALL[rng.usize(..FaultClass::ALL.len())]
}

fn answer(rng: &mut fastrand::Rng, times: f64) -> Outcome {
    let first = (0.1 + rng.f64() * 0.8) * times;
    Outcome::Answer { first, total: first + rng.f64() * 4.0 }
}

fn any_fault(rng: &mut fastrand::Rng) -> Fault {
    let hint = rng.bool().then(|| secs(rng.f64() * if rng.u32(0..20) == 0 { 3_600.0 } else { 5.0 }));
    if rng.u32(0..4) == 0 {
        return fault_of_rescue(rng);
    }
    Fault { retry_after: hint, stale_connection: rng.bool(), ..fault(class(rng)) }
}

/// What a rescue says of itself comes with the class it is told in.
fn fault_of_rescue(rng: &mut fastrand::Rng) -> Fault {
    let (code, class) = [
        ("no_join", FaultClass::BadAnswer),
        ("not_continued", FaultClass::BadAnswer),
        ("prefill", FaultClass::UnsupportedParameter),
        ("cannot_go_on", FaultClass::StreamBroken),
    ][rng.usize(..4)];
    Fault { code: Some(code.to_owned()), ..fault(class) }
}

fn outcome(weather: Weather, rng: &mut fastrand::Rng) -> Outcome {
    match weather {
        Weather::Slow => answer(rng, 5.0),
        Weather::Hangs => Outcome::Hangs,
        Weather::Cuts if rng.u32(0..4) == 0 => answer(rng, 1.0),
        Weather::Cuts => {
            let first = rng.f64();
            Outcome::Breaks { first, fault: fault(FaultClass::StreamBroken), after: first + rng.f64() * 3.0 }
        }
        Weather::Limits => Outcome::Fails { fault: limited(rng.f64() * 10.0), after: 0.03 },
        Weather::Fails(class, share) if rng.f64() < share => Outcome::Fails { fault: fault(class), after: rng.f64() },
        Weather::Well | Weather::Fails(..) => answer(rng, 1.0),
        Weather::Wild => match rng.u32(0..4) {
            0 => {
                let times = 1.0 + rng.f64() * 9.0;
                answer(rng, times)
            }
            1 => Outcome::Fails { fault: any_fault(rng), after: rng.f64() * 2.0 },
            2 => {
                let first = rng.f64();
                Outcome::Breaks { first, fault: any_fault(rng), after: first + rng.f64() * 2.0 }
            }
            _ => Outcome::Hangs,
        },
    }
}

/// A pool as the property tests draw them (hedged, racing or neither among them), with rescue or without, in a hurry or
/// not, and with room kept for who goes first.
fn pool(runner: &mut TestRunner, rng: &mut fastrand::Rng) -> Pool {
    let mut pool = any_pool().new_tree(runner).unwrap().current();
    let modes = [RescueMode::Resume, RescueMode::Resume, RescueMode::Restart, RescueMode::Error];
    pool.settings.rescue.mode = modes[rng.usize(..modes.len())];
    pool.settings.timeouts.attempt = (rng.u32(0..6) == 0).then(|| secs(0.2 + rng.f64() * 10.0));
    if rng.u32(0..3) > 0 {
        pool.targets.iter_mut().for_each(|spec| spec.guards = Guards::default());
    }
    if rng.bool() {
        pool.settings.probe = ProbeMode::Live;
    }
    pool.settings.reserve = if rng.u32(0..6) == 0 { rng.f64() * 0.3 } else { 0.0 };
    pool
}

fn needs(rng: &mut fastrand::Rng) -> Needs {
    let which = rng.u8(0..5);
    let session = match rng.u32(0..3) {
        0 => None,
        1 => Some(Session::named(None, "session_id", &[which])),
        _ => Some(Session::derived(None, rng.u32(0..4), |hasher| hasher.write_u8(which))),
    };
    Needs {
        streamed: rng.u32(0..4) > 0,
        estimated_tokens: if rng.u32(0..5) == 0 { rng.u64(0..60_000) } else { rng.u64(0..2_000) },
        max_output_tokens: rng.bool().then(|| rng.u64(0..4_000)),
        tools: rng.u32(0..4) == 0,
        session,
        priority: Priority::ALL[rng.usize(..Priority::COUNT)],
        // A wall clock that steps by hours, back and forth.
        asked_at: Some(Moment::from_unix(1_795_000_000 + rng.u64(0..400_000))),
        ..Needs::default()
    }
}

/// What a provider tells of its limits, now and then, and how its streams come.
fn tell(model: &Model, call: Call, rng: &mut fastrand::Rng) {
    let Some(target) = model.targets.get(call.target) else { return };
    if rng.u32(0..4) == 0 {
        target.health.observe_gap(secs(0.02 + rng.f64() * 0.05));
        target.health.observe_pace(secs(0.02 + rng.f64() * 0.05));
    }
    if let Some(credential) = target.credentials.get(call.credential).filter(|_| rng.u32(0..10) == 0) {
        let limit = rng.u64(1..2_000);
        let reset = rng.bool().then(|| secs(rng.f64() * 60.0));
        let reading = LimitReading { kind: LimitKind::Requests, limit, remaining: rng.u64(0..=limit), reset };
        credential.limits.told(std::iter::once(reading), call.at);
    }
}

/// Enough first tokens for what is usual to be known, where hedges wait for that: most of them quick, so that some of the
/// round's are late.
fn know_the_usual(model: &Model, rng: &mut fastrand::Rng) {
    let Hedging::Hedge(Hedge { after: HedgeAfter::P95, .. }) = model.settings.hedging else { return };
    for target in model.targets.iter() {
        for tokens in [500, 1_500] {
            for _ in 0..250 {
                let mut permit = target.health.start_for(tokens, StartKind::Live, at(0.0)).unwrap();
                permit.awaits_first_token(tokens);
                let first = at(0.05 + rng.f64() * 0.3);
                permit.first_token(first);
                permit.succeeded(first);
            }
        }
    }
}

/// One round; its events, their hash and what they were.
fn round(seed: u64) -> (u64, u64, Met) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let chacha = TestRng::from_seed(RngAlgorithm::ChaCha, &std::array::from_fn::<u8, 32, _>(|_| rng.u8(..)));
    let mut runner = TestRunner::new_with_rng(Config::default(), chacha);
    let first = pool(&mut runner, &mut rng);
    let (health, ledger) = first.state();
    let model = first.build_over(&health, &ledger);
    // The same targets by name, with other settings, guards and prices; fewer of them, or more.
    let reloads: Vec<Arc<Model>> =
        (0..rng.usize(0..5)).map(|_| pool(&mut runner, &mut rng).build_over(&health, &ledger)).collect();
    let times = |rng: &mut fastrand::Rng| -> Vec<(f64, Weather)> {
        (0..rng.usize(1..12)).map(|_| (rng.f64() * ROUND, weather(rng))).collect()
    };
    let skies: Vec<Vec<(f64, Weather)>> = (0..8).map(|_| times(&mut rng)).collect();
    let mut own = fastrand::Rng::with_seed(rng.u64(..));
    know_the_usual(&model, &mut rng);
    let told = model.clone();
    let mut sim = Sim::new(model, rng.u64(..), move |call: Call| {
        tell(&told, call, &mut own);
        let since = |from: f64| call.at.saturating_since(at(from));
        let sky = skies[call.target % skies.len()].iter().filter(|(from, _)| call.at >= at(*from));
        if call.is_rescue && own.bool() {
            return Outcome::Fails { fault: fault_of_rescue(&mut own), after: own.f64() };
        }
        let now = sky.min_by_key(|(from, _)| since(*from)).map_or(Weather::Well, |(_, weather)| *weather);
        outcome(now, &mut own)
    })
    .in_earnest();
    if rng.u32(0..4) == 0 {
        sim = sim.altered();
    }
    for model in reloads {
        sim.reload(at(rng.f64() * ROUND), model);
    }
    for _ in 0..rng.u32(0..4) {
        let from = rng.f64() * ROUND;
        sim.suspend(at(from), at(from + rng.f64() * 20.0));
    }
    arrivals(&mut sim, &mut rng);
    for ended in sim.run() {
        if let Some(error) = &ended.error {
            sim.watch.met.error(error.status);
            assert!(![429, 503].contains(&error.status) || error.retry_after.is_some(), "{}", error.status);
        }
    }
    (sim.watch.events, sim.watch.hash, std::mem::take(&mut sim.watch.met))
}

/// Callers in waves; some hang up, and some of their timers ring for nothing.
fn arrivals<F: FnMut(Call) -> Outcome>(sim: &mut Sim<F>, rng: &mut fastrand::Rng) {
    let mut wave = 0.0;
    for _ in 0..EXCHANGES {
        if rng.u32(0..30) == 0 {
            wave = rng.f64() * ROUND;
        }
        let arrives = wave + rng.f64() * 20.0;
        let longest = if rng.u32(0..16) == 0 { 0.5 } else { 60.0 };
        let exchange = sim.request_with(at(arrives), needs(rng), secs(0.01 + rng.f64() * longest));
        sim.state(exchange, rng.u32(0..8) == 0, rng.u32(0..8) > 0);
        if rng.u32(0..10) == 0 {
            sim.hang_up(exchange, at(arrives + rng.f64() * 6.0));
        }
        for _ in 0..rng.u32(0..2) {
            sim.ring(exchange, at(arrives + rng.f64() * 6.0));
        }
    }
}

#[test]
fn no_event_breaks_the_rules_and_the_same_seed_decides_the_same() {
    let wanted = asked("MAINSTAY_SOAK_EVENTS", EVENTS);
    let first = asked("MAINSTAY_SOAK_SEED", 1);
    let soak = || {
        let (mut seed, mut events, mut hash, mut met) = (first, 0, 0_u64, Met::default());
        while events < wanted {
            // What fails names its round.
            let of_round = Named(seed);
            let (more, trace, kinds) = round(seed);
            std::mem::forget(of_round);
            events += more;
            hash = hash.rotate_left(1) ^ trace;
            met = met.plus(&kinds);
            seed += 1;
        }
        (seed - first, events, hash, met)
    };
    let (rounds, events, hash, met) = soak();
    let (rarest, times) = met.rarest();
    println!("{events} events in {rounds} rounds, trace {hash:016x}; the rarest, {rarest}, {times} times:\n{met:?}");
    assert!(times > 0, "never met: {rarest}");
    assert_eq!(soak(), (rounds, events, hash, met), "the same seed, the same trace");
}

/// Says which round a panic was in.
struct Named(u64);

impl Drop for Named {
    #[expect(clippy::print_stdout, reason = "the seed repeats a failure")]
    fn drop(&mut self) {
        println!("MAINSTAY_SOAK_SEED={}", self.0);
    }
}
