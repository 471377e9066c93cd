//! What deciding costs a request: `cargo run --release -p gateway --example decision_cost`. By strategy, over 30 targets
//! whose prices and speeds are known, with and without known limits: nanoseconds of a plan, and of all from plan to
//! settle, for an exchange that its first target answers; while nothing else is in flight, and while a call of each
//! target waits for its first token. Exits with 1 where that is above the bar.
//!
//! `decision_cost STRATEGY unknown|known|busy EXCHANGES` makes so many exchanges instead, for an instruction counter
//! (`bench/deciding.sh`); `busy` is with known limits and a call of each target that waits.

#![expect(clippy::print_stdout, reason = "an example that prints what it measured")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures real time")]

mod support;

use canon::{Instant, LimitKind, LimitReading, Usage};
use config::Snapshot;
use routing::{Action, Event, ExchangeFacts, Machine, Model, Needs, RescueMode, plan};
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use support::{TARGETS, nanos};

/// Nanoseconds from plan to settle.
const BAR: f64 = 3_000.0;

const AUTO: &str = "auto\n    objectives: { first_token_p95: 2s, tokens_per_second: 20, success: 99.9% }";
const STRATEGIES: [&str; 6] = ["priority", "weighted", "cheapest", "fastest", "balanced", AUTO];

/// Calls of each target before anything is measured, a second apart, and when they begin.
const CALLS: u64 = 120;
const BEFORE: u64 = 480_000;

fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

/// Neither as written nor backwards: a number of its own for each target.
fn shuffled(target: usize) -> u64 {
    target as u64 * 17 % TARGETS as u64
}

fn yaml(strategy: &str) -> Result<String, Box<dyn Error>> {
    let mut yaml = String::from(
        "providers:\n  p:\n    dialect: openai-chat\n    base_url: \"http://127.0.0.1:1/v1\"\n    keys: [k1, k2]\n    models:\n",
    );
    for target in 0..TARGETS {
        let price = shuffled(target) + 1;
        writeln!(yaml, "      - {{ id: m{target}, prices: {{ input: {price}, output: {} }} }}", price * 4)?;
    }
    writeln!(yaml, "models:\n  chat:\n    strategy: {strategy}\n    targets:")?;
    (0..TARGETS).try_for_each(|target| writeln!(yaml, "      - p/m{target}"))?;
    Ok(yaml)
}

/// The model `chat`, after two minutes of answers of each target and, if asked for, limits told to each credential.
fn warm(config: &Snapshot, limits: bool) -> Result<Arc<Model>, Box<dyn Error>> {
    let chat = support::model(config, "chat")?;
    let rng = &mut fastrand::Rng::with_seed(1);
    for (index, target) in chat.targets.iter().enumerate() {
        let alone = support::model(config, &target.id)?;
        let first = Duration::from_millis(700 + 20 * shuffled(index));
        for call in 0..CALLS {
            serve(&alone, needs(), first, at(BEFORE + call * 1_000), rng);
        }
        for credential in target.credentials.iter().filter(|_| limits) {
            let told = |kind| LimitReading { kind, limit: 1_000_000_000, remaining: 900_000_000, reset: None };
            let readings = [LimitKind::Requests, LimitKind::Tokens].into_iter().map(told);
            credential.limits.told(readings, at(BEFORE + 120_000));
        }
    }
    Ok(chat)
}

fn needs() -> Needs {
    Needs { estimated_tokens: 1_000, streamed: true, ..Needs::default() }
}

fn facts(needs: Needs, started: Instant) -> ExchangeFacts {
    ExchangeFacts {
        started,
        deadline: started + Duration::from_secs(60),
        needs,
        is_callers_retry: false,
        may_hedge: true,
        seed: 1,
        rescue: RescueMode::Error,
    }
}

/// From the plan to a whole answer of whoever is first, and its accounts.
fn serve(model: &Arc<Model>, needs: Needs, first: Duration, now: Instant, rng: &mut fastrand::Rng) {
    let plan = plan(model, &needs, now, rng);
    let mut machine = Machine::new(Arc::clone(model), plan, facts(needs, now));
    if let Action::Try(start) = machine.next(Event::Begin, now) {
        let attempt = start.attempt;
        black_box(machine.next(Event::FirstContent { attempt }, now + first));
        let end = now + first + Duration::from_millis(1_200);
        black_box(machine.next(Event::Completed { attempt }, end));
        machine.account(&Usage { input_tokens: Some(1_000), output_tokens: Some(200), ..Usage::default() }, end);
    }
}

/// A call of each target that waits for its first token.
fn waiting(config: &Snapshot, model: &Model) -> Result<Vec<Machine>, Box<dyn Error>> {
    let (now, rng) = (support::now(0) - Duration::from_millis(300), &mut fastrand::Rng::with_seed(1));
    let begun = model.targets.iter().map(|target| {
        let alone = support::model(config, &target.id)?;
        let mut machine = Machine::new(Arc::clone(&alone), plan(&alone, &needs(), now, rng), facts(needs(), now));
        black_box(machine.next(Event::Begin, now));
        Ok(machine)
    });
    begun.collect()
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let first = Duration::from_millis(800);
    if let [strategy, how, exchanges] = &*arguments {
        let strategy = if strategy == "auto" { AUTO } else { strategy };
        let (config, rng) = (support::load(&yaml(strategy)?)?, &mut fastrand::Rng::with_seed(1));
        let model = warm(&config, how != "unknown")?;
        let _waiting = if how == "busy" { waiting(&config, &model)? } else { Vec::new() };
        (0..exchanges.parse()?).for_each(|round| serve(&model, needs(), first, support::now(round), rng));
        return Ok(ExitCode::SUCCESS);
    }
    let mut is_met = true;
    println!(
        "{TARGETS} targets, nanoseconds: a plan, from plan to settle, the latter while a call of each target waits; and the \
         three where all limits are known"
    );
    for strategy in STRATEGIES {
        print!("{:10}", strategy.lines().next().unwrap_or_default());
        for limits in [false, true] {
            let (config, rng) = (support::load(&yaml(strategy)?)?, &mut fastrand::Rng::with_seed(1));
            let model = warm(&config, limits)?;
            let planned = nanos(|now| {
                black_box(plan(&model, &needs(), now, rng));
            });
            let served = nanos(|now| serve(&model, needs(), first, now, rng));
            let waiting = waiting(&config, &model)?;
            let busy = nanos(|now| serve(&model, needs(), first, now, rng));
            drop(waiting);
            is_met &= served <= BAR && busy <= BAR;
            print!("{planned:8.0} {served:8.0} {busy:8.0}");
        }
        println!();
    }
    Ok(if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
