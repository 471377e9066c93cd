//! What a plan costs, by strategy: `cargo run --release -p config --example plan_cost`. Plans requests over 30 targets
//! with prices, guards and spend windows, none of which excludes any, and prints nanoseconds a plan.

#![expect(clippy::print_stdout, reason = "an example that prints what it measured")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures real time")]

use canon::Instant;
use catalog::Catalog;
use config::{Environment, Loader};
use health::Health;
use routing::{Model, Needs, plan};
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const TARGETS: usize = 30;
/// Plans a run: short enough for some runs not to be interrupted by whatever else the machine does.
const ROUNDS: u32 = 200;
/// The quickest of these runs is told.
const REPEATS: u32 = 300;

fn model(strategy: &str, guards: &str, nested: bool) -> Result<Arc<Model>, Box<dyn Error>> {
    let mut yaml = String::from(
        "providers:\n  p: { dialect: openai-chat, base_url: \"http://127.0.0.1:1/v1\", keys: [k1, k2], models: [{ id: \
         \"m*\", prices: { input: 1, output: 2, when: [{ above: 500, input: 1.5 }] } }] }\nmodels:\n",
    );
    let targets = |yaml: &mut String, from: usize, to: usize| {
        (from..to).try_for_each(|target| writeln!(yaml, "      - {{ target: p/m{target}{guards} }}"))
    };
    if nested {
        writeln!(yaml, "  half:\n    strategy: {strategy}\n    targets:")?;
        targets(&mut yaml, 0, TARGETS / 2)?;
    }
    writeln!(yaml, "  chat:\n    strategy: {strategy}\n    targets:")?;
    if nested {
        yaml.push_str("      - half\n");
    }
    targets(&mut yaml, if nested { TARGETS / 2 } else { 0 }, TARGETS)?;
    let catalog = Catalog::builtin()?;
    let (health, ledger, environment) = (Arc::new(Health::new(1)), Arc::default(), Environment::new());
    let loader = Loader {
        catalog: &catalog,
        health: &health,
        ledger: &ledger,
        environment: &environment,
        allow_injection: false,
    };
    Ok(loader.load("plan_cost.yaml", &yaml)?.resolve("chat").map_err(|unknown| unknown.to_string())?)
}

fn nanos_of_a_plan(model: &Model) -> f64 {
    let needs = Needs { estimated_tokens: 1_000, streamed: true, ..Needs::default() };
    let mut rng = fastrand::Rng::with_seed(1);
    (0..REPEATS)
        .map(|_| {
            let began = std::time::Instant::now();
            for round in 0..ROUNDS {
                let now = Instant::from_origin(Duration::from_secs(600) + Duration::from_micros(u64::from(round)));
                black_box(plan(model, &needs, now, &mut rng));
            }
            began.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() -> Result<(), Box<dyn Error>> {
    let guarded = ", max_price: 1, max_price_ratio: 2, spend: { limit: 1000, window: 1h }";
    for strategy in ["priority", "weighted", "cheapest", "fastest", "balanced"] {
        let [plain, guards, nested] = [("", false), (guarded, false), ("", true)]
            .map(|(guards, nested)| model(strategy, guards, nested).map(|model| nanos_of_a_plan(&model)));
        println!("{strategy}: {:.0} ns a plan, {:.0} with guards, {:.0} nested", plain?, guards?, nested?);
    }
    Ok(())
}
