//! What a rule costs a request: `cargo run --release -p gateway --example rule_cost`. Plans requests over 30 targets
//! without rules, then with 1, 10 and 30 of each kind, and prints nanoseconds a plan and a rule.

#![expect(clippy::print_stdout, reason = "an example that prints what it measured")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures real time")]

mod support;

use canon::{Fault, FaultClass, Instant, Origin};
use routing::{Model, Needs, plan_ruled};
use rules::{Moment, NoLookup, Request};
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use support::{TARGETS, nanos};

/// Rules of a kind each; every one of them holds or is fully evaluated.
const KINDS: [(&str, &str); 5] = [
    ("about the request", "if: 'request.tokens < 32000 && !request.tools && request.model == \"chat\"', prefer: p/m3"),
    (
        "as in the design",
        "if: 'target(\"p/m0\").rate_limited_for > duration(\"200ms\") && request.tokens < 32000', prefer: p/m3",
    ),
    (
        "a rate over five minutes with until",
        "if: 'rate(\"p/m0\", \"rate_limited\", duration(\"5m\")) > 0.20', until: 'rate(\"p/m0\", \"rate_limited\", \
         duration(\"5m\")) < 0.05', min_samples: 20, avoid: p/m0",
    ),
    ("a percentile", "if: 'target(\"p/m0\").first_token_p95 > duration(\"2s\")', avoid: p/m0"),
    ("the expected price", "if: 'target(\"p/m0\").price > 0.000001', avoid: p/m0"),
];

fn model(rule: &str, count: usize) -> Result<Arc<Model>, Box<dyn Error>> {
    let mut yaml = String::from(
        "providers:\n  p: { dialect: openai-chat, base_url: \"http://127.0.0.1:1/v1\", keys: [k1, k2], models: [{ id: \
         \"m*\", prices: { input: 1, output: 2 } }] }\nmodels:\n  chat:\n    targets:\n",
    );
    for target in 0..TARGETS {
        writeln!(yaml, "      - p/m{target}")?;
    }
    if count > 0 {
        yaml.push_str("rules:\n");
    }
    for _ in 0..count {
        writeln!(yaml, "  - {{ {rule} }}")?;
    }
    support::model(&support::load(&yaml)?, "chat")
}

/// Ten minutes of traffic at the first target, a third of it refused.
fn warm(model: &Model) {
    let Some(tally) = model.targets.first().and_then(|target| target.tally.as_ref()) else { return };
    let limit = Fault::new(FaultClass::RateLimited, Origin::Head, "");
    for tenth in 0..6_000_u32 {
        let now = Instant::from_origin(Duration::from_millis(100) * tenth);
        tally.ended("p/1", (tenth % 3 == 0).then_some(&limit), now);
    }
}

fn nanos_of_a_plan(model: &Model) -> f64 {
    let needs = Needs { estimated_tokens: 1_000, ..Needs::default() };
    let request: Request<'_> = needs.for_rules(model, Some("openai-chat"), &NoLookup);
    let mut rng = fastrand::Rng::with_seed(1);
    nanos(|now| {
        let moment = Moment { now, unix_seconds: Some(0) };
        let ruling = model.rule(&needs, &request, moment, &mut rng);
        black_box(plan_ruled(model, &needs, &ruling, now, &mut rng));
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let without = nanos_of_a_plan(&*model("", 0)?);
    println!("{TARGETS} targets without rules: {without:.0} ns a plan");
    for (kind, rule) in KINDS {
        for count in [1, 10, 30] {
            let model = model(rule, count)?;
            warm(&model);
            let with = nanos_of_a_plan(&model);
            println!("{count} {kind}: {with:.0} ns a plan, {:.0} ns a rule", (with - without) / count as f64);
        }
    }
    Ok(())
}
