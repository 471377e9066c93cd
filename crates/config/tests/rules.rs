//! `rules:` in a configuration: errors that point at the character, and what becomes of good ones.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use config::Snapshot;

const HEAD: &str = "providers:\n  openai: { keys: [sk-1] }\n  anthropic: { keys: [sk-2] }\nmodels:\n  chat:\n    targets:\n      - openai/gpt-5.1\n      - { target: openai/gpt-5.1, label: eu }\n      - anthropic/claude-sonnet-5\nrules:\n";

fn load_source(source: &str) -> Result<Snapshot, String> {
    support::load(source)
}

fn load(rules: &str) -> Result<Snapshot, String> {
    load_source(&format!("{HEAD}{rules}"))
}

fn refused(rules: &str) -> String {
    load(rules).err().expect("refused")
}

#[test]
fn rules_over_targets_that_models_list_are_in_force_for_every_model() {
    let snapshot = load(
        "  - if: 'target(\"openai/gpt-5.1\").rate_limited_for > duration(\"200ms\") && request.tokens < 32000'\n    \
         prefer: anthropic/claude-sonnet-5\n  - name: night\n    if: now.getHours(\"+01:00\") >= 22\n    only: \
         [\"openai/gpt-5.1#eu\", 'anthropic/*']\n    set: { timeouts: { deadline: 5m }, rescue: { hold: sentence } }\n",
    )
    .unwrap();
    for model in ["chat", "openai/gpt-5-mini"] {
        assert!(snapshot.resolve(model).unwrap().rules.is_some(), "{model}");
    }
    let chat = snapshot.resolve("chat").unwrap();
    let keeps_tally: Vec<bool> = chat.targets.iter().map(|target| target.tally.is_some()).collect();
    assert_eq!(keeps_tally, [true, false, false], "only what a rule reads is counted");
}

#[test]
fn a_rule_reads_the_price_a_model_states_for_its_own_target() {
    let source = "providers:\n  openai: { keys: [sk-1] }\nmodels:\n  cheap: { targets: [{ target: openai/gpt-5.1, prices: { \
                  input: 1, output: 1 } }] }\n  dear: { targets: [{ target: openai/gpt-5.1, prices: { input: 9, output: 9 } \
                  }] }\nrules:\n  - { if: 'target(\"openai/gpt-5.1\").input_price > 5', avoid: openai/gpt-5.1 }\n";
    let snapshot = load_source(source).unwrap();
    for (name, held) in [("cheap", 0), ("dear", 1)] {
        let model = snapshot.resolve(name).unwrap();
        let plan = routing::plan(&model, &routing::Needs::default(), canon::Instant::ORIGIN, &mut fastrand::Rng::new());
        assert_eq!(plan.rules.len(), held, "{plan}");
    }
}

#[test]
fn without_rules_nothing_is_kept_for_them() {
    let source = HEAD.trim_end_matches("rules:\n");
    let chat = load_source(source).unwrap().resolve("chat").unwrap();
    assert!(chat.rules.is_none() && chat.targets.iter().all(|target| target.tally.is_none()));
}

#[test]
fn a_mistake_in_an_expression_is_shown_at_its_line_and_character() {
    let error = refused(
        "  - { if: request.tools, avoid: openai/gpt-5.1 }\n  - if: 'request.tokens < 5'\n    until: 'rate(\"openai/gpt-5.1\", \
         \"rate_limitd\", duration(\"5m\")) < 0.05'\n    avoid: openai/gpt-5.1\n",
    );
    assert!(error.contains("mainstay.yaml:13:36"), "{error}");
    assert!(error.contains("rules.1.until: there is no class of faults `rate_limitd`"), "{error}");
    assert!(error.contains("did you mean `rate_limited`?"), "{error}");
    assert!(error.contains("^^^^^^^^^^^^^"), "{error}");
}

#[test]
fn where_the_file_writes_an_expression_otherwise_the_expression_itself_is_shown() {
    let error = refused("  - if: >\n      request.tools &&\n      request.tokns < 5\n    avoid: openai/gpt-5.1\n");
    assert!(error.contains("mainstay.yaml, rules.0.if"), "{error}");
    assert!(error.contains("request.tools && request.tokns < 5"), "{error}");
    assert!(error.contains("did you mean `tokens`?"), "{error}");
}

#[test]
fn a_target_that_no_model_lists_and_a_rule_that_does_nothing_are_refused_at_their_line() {
    let error = refused("  - if: request.tools\n    prefer: anthropic/claude-haiku-4-5\n");
    assert!(error.contains("mainstay.yaml:12"), "{error}");
    assert!(error.contains("no model lists the target `anthropic/claude-haiku-4-5`"), "{error}");
    let error = refused("  - if: request.tools\n    set: {}\n");
    assert!(error.contains("mainstay.yaml:11") && error.contains("does nothing"), "{error}");
    let error = refused("  - if: request.tools\n    avoid: openai/gpt-5.1\n    for: 5s\n");
    assert!(error.contains("`for` and `until`"), "{error}");
    let error = refused("  - { if: request.tools, then: stop }\n");
    assert!(error.contains("then"), "{error}");
}

#[test]
fn a_tier_that_no_model_has_is_refused_at_its_line() {
    let error = refused("  - if: request.tools\n    tier: premium\n");
    assert!(error.contains("mainstay.yaml:12") && error.contains("no model has tiers"), "{error}");
    let tiers = "      - { name: bulk }\n      - { name: premium }\n";
    let source = |tier: &str| {
        format!(
            "providers:\n  openai: {{ keys: [sk-1] }}\nmodels:\n  chat:\n    tiers:\n{tiers}    targets:\n      - {{ target: \
             openai/gpt-5.1, tier: premium }}\n      - {{ target: openai/gpt-5-mini, tier: bulk }}\nrules:\n  - if: \
             request.tools\n    tier: {tier}\n"
        )
    };
    let error = load_source(&source("premum")).err().unwrap();
    assert!(error.contains("no model has a tier `premum`: known are bulk, premium"), "{error}");
    let chat = load_source(&source("premium")).unwrap().resolve("chat").unwrap();
    let bulk = routing::tier::Assigned { tier: 0, by: routing::tier::AssignedBy::Header };
    let needs = routing::Needs { tier: Some(bulk), tools: true, ..routing::Needs::default() };
    let plan = routing::plan(&chat, &needs, canon::Instant::ORIGIN, &mut fastrand::Rng::new());
    assert_eq!(plan.tier.unwrap().to_string(), "tier premium (rule)");
}

#[test]
fn a_rule_may_set_hedge_or_race_and_a_wrong_one_is_pointed_at() {
    for set in ["race: 2", "hedge: on", "hedge: off", "race: 1", "hedge: { after: 2s, budget: 1% }"] {
        load(&format!("  - {{ if: request.stream, set: {{ {set} }} }}\n")).unwrap();
    }
    for (set, said) in [
        ("race: 4", "4 attempts race"),
        ("hedge: { budget: 0% }", "more than 0 %"),
        ("race: 2, hedge: on", "one of them"),
    ] {
        let error = refused(&format!("  - if: request.stream\n    set: {{ {set} }}\n"));
        assert!(error.contains(said) && error.contains("set:"), "{set}: {error}");
    }
}
