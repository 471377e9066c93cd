//! What deciding costs a request: `cargo run --release -p config --example decision_cost`. Over 30 targets whose speed
//! and limits are known, plans requests and takes them from plan to settle, and prints nanoseconds of each.

#![expect(clippy::print_stdout, reason = "an example that prints what it measured")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures real time")]

mod support;

use canon::{Instant, LimitKind, LimitReading};
use health::StartKind;
use routing::{Action, AttemptId, Event, ExchangeFacts, Machine, Model, Needs, RescueMode, plan};
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use support::{TARGETS, nanos};

fn model() -> Result<Arc<Model>, Box<dyn Error>> {
    let mut yaml = String::from(
        "providers:\n  p: { dialect: openai-chat, base_url: \"http://127.0.0.1:1/v1\", keys: [k1, k2] }\nmodels:\n  \
         chat:\n    targets:\n",
    );
    for target in 0..TARGETS {
        writeln!(yaml, "      - p/m{target}")?;
    }
    support::model(&yaml)
}

fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

/// The two minutes before anything is measured begin here.
const BEFORE: u64 = 480_000;

/// Two minutes of answers and, if asked for, limits told to each credential.
fn warm(model: &Model, limits: bool) {
    for target in model.targets.iter() {
        for second in 0..120 {
            let Ok(mut permit) = target.health.start(StartKind::Live, at(BEFORE + second * 1_000)) else { continue };
            permit.awaits_first_token(1_000);
            permit.first_token(at(BEFORE + second * 1_000 + 800));
            permit.succeeded(at(BEFORE + second * 1_000 + 2_000));
        }
        for credential in target.credentials.iter().filter(|_| limits) {
            let told = |kind| LimitReading { kind, limit: 1_000_000_000, remaining: 900_000_000, reset: None };
            let readings = [LimitKind::Requests, LimitKind::Tokens].into_iter().map(told);
            credential.limits.told(readings, at(BEFORE + 120_000));
        }
    }
}

/// From the plan to a whole answer of whoever is first.
fn serve(model: &Arc<Model>, needs: Needs, now: Instant, rng: &mut fastrand::Rng) {
    let plan = plan(model, &needs, now, rng);
    let facts = ExchangeFacts {
        started: now,
        deadline: now + Duration::from_secs(60),
        needs,
        is_callers_retry: false,
        may_hedge: true,
        seed: 1,
        rescue: RescueMode::Error,
    };
    let mut machine = Machine::new(Arc::clone(model), plan, facts);
    if let Action::Try(start) = machine.next(Event::Begin, now) {
        let attempt: AttemptId = start.attempt;
        black_box(machine.next(Event::FirstContent { attempt }, now + Duration::from_millis(800)));
        black_box(machine.next(Event::Completed { attempt }, now + Duration::from_secs(2)));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let needs = Needs { estimated_tokens: 1_000, streamed: true, ..Needs::default() };
    for limits in [false, true] {
        let model = model()?;
        warm(&model, limits);
        let rng = &mut fastrand::Rng::with_seed(1);
        let planned = nanos(|now| {
            black_box(plan(&model, &needs, now, rng));
        });
        let standing = nanos(|now| {
            for target in model.targets.iter() {
                black_box(target.health.standing(now));
            }
        });
        let served = nanos(|now| serve(&model, needs, now, rng));
        let known = if limits { "known" } else { "unknown" };
        println!(
            "{TARGETS} targets, limits {known}: {standing:.0} ns of standings, {planned:.0} ns a plan, {served:.0} ns from \
             plan to settle"
        );
    }
    Ok(())
}
