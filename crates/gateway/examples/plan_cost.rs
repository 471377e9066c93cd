//! What a plan costs, by strategy: `cargo run --release -p gateway --example plan_cost`. Plans requests over 30 targets
//! with prices, guards and spend windows, none of which excludes any, and prints nanoseconds a plan.

#![expect(clippy::print_stdout, reason = "an example that prints what it measured")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures real time")]

mod support;

use routing::{Model, Needs, plan};
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use support::{TARGETS, nanos};

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
    support::model(&support::load(&yaml)?, "chat")
}

fn nanos_of_a_plan(model: &Model) -> f64 {
    let needs = Needs { estimated_tokens: 1_000, streamed: true, ..Needs::default() };
    let mut rng = fastrand::Rng::with_seed(1);
    nanos(|now| {
        black_box(plan(model, &needs, now, &mut rng));
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let guarded = ", max_price: 1, max_price_ratio: 2, spend: { limit: 1000, window: 1h }";
    let auto = "auto\n    objectives: { first_token_p95: 2s, success: 99.9% }";
    for strategy in ["priority", "weighted", "cheapest", "fastest", "balanced", auto] {
        let [plain, guards, nested] = [("", false), (guarded, false), ("", true)]
            .map(|(guards, nested)| model(strategy, guards, nested).map(|model| nanos_of_a_plan(&model)));
        println!(
            "{}: {:.0} ns a plan, {:.0} with guards, {:.0} nested",
            strategy.lines().next().unwrap_or_default(),
            plain?,
            guards?,
            nested?
        );
    }
    Ok(())
}
