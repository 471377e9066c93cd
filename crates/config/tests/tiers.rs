//! `tiers:` in a configuration: errors that point at the line, and what becomes of good ones.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use config::Snapshot;
use routing::Needs;

const HEAD: &str = "providers:\n  a:\n    dialect: openai-chat\n    base_url: http://a/v1\n    keyless: true\n    models: \
                    [{ id: big, context_window: 200000, capabilities: { tools: true } }]\nmodels:\n  chat:\n";
const TARGETS: &str =
    "    targets:\n      - { target: a/big, tier: premium, quality: 0.9 }\n      - { target: a/small, tier: bulk }\n";

fn load(model: &str) -> Result<Snapshot, String> {
    support::load(&format!("{HEAD}{model}"))
}

fn with_tiers(tiers: &str) -> Result<Snapshot, String> {
    load(&format!("{TARGETS}{tiers}"))
}

#[test]
fn tiers_are_named_the_lowest_first_and_the_highest_is_the_default() {
    let snapshot = with_tiers(
        "    tiers:\n      - name: bulk\n      - { name: premium, allow_downgrade: bulk, requires: { quality: 0.8, \
         context_window: 128000, tools: true } }\n",
    )
    .unwrap();
    let chat = snapshot.resolve("chat").unwrap();
    let tiers = chat.settings.tiers.as_ref().unwrap();
    assert_eq!(tiers.names().map(|name| &**name).collect::<Vec<_>>(), ["bulk", "premium"]);
    assert_eq!(tiers.name_of_target(0).map(|name| &**name), Some("premium"));
    assert_eq!(tiers.assigned(&Needs::default()).tier, 1);

    let scored = with_tiers("    tiers: [{ name: bulk }, { name: premium, from: 2000 }]\n").unwrap();
    let of = |tokens| {
        let needs = Needs { estimated_tokens: tokens, ..Needs::default() };
        scored.resolve("chat").unwrap().settings.tiers.as_ref().unwrap().assigned(&needs).tier
    };
    assert_eq!([of(1_999), of(2_000)], [0, 1], "the length of the prompt is what tiers go by unless told otherwise");
    assert!(load("    targets: [a/big]\n").unwrap().resolve("chat").unwrap().settings.tiers.is_none());
}

#[test]
fn a_name_may_end_in_a_tier_of_its_model_and_in_nothing_else() {
    let snapshot = with_tiers("    tiers: [{ name: bulk }, { name: premium }]\n").unwrap();
    assert_eq!(snapshot.split_tier("chat:bulk"), ("chat", Some(0)));
    assert_eq!(snapshot.split_tier("chat"), ("chat", None));
    assert_eq!(snapshot.split_tier("a/big:bulk"), ("a/big:bulk", None), "a provider's own name has colons of its own");
    let unknown = snapshot.resolve(snapshot.split_tier("chat:gold").0).unwrap_err().to_string();
    assert!(unknown.contains("known are chat:bulk, chat:premium"), "{unknown}");
}

#[test]
fn a_model_among_the_targets_stands_in_one_tier_with_all_it_lists() {
    let outer = "    targets:\n      - { target: pool, tier: premium }\n      - { target: a/small, tier: bulk }\n    tiers: [{ name: \
                 bulk }, { name: premium }]\n";
    let snapshot = load(&format!("{outer}  pool: {{ targets: [a/big, a/huge] }}\n")).unwrap();
    let chat = snapshot.resolve("chat").unwrap();
    let tiers = chat.settings.tiers.as_ref().unwrap();
    let of: Vec<_> = (0..3).map(|target| tiers.name_of_target(target).map(|name| &**name)).collect();
    assert_eq!(of, [Some("premium"), Some("premium"), Some("bulk")]);

    let tiered = "  pool: { tiers: [{ name: t }], targets: [{ target: a/big, tier: t }] }\n";
    let error = load(&format!("{outer}{tiered}")).err().unwrap_or_default();
    assert!(
        error.contains("`pool` has tiers, which would not hold here") && error.contains("mainstay.yaml:10:"),
        "{error}"
    );
}

#[test]
fn what_does_not_fit_is_refused_at_its_line() {
    let two = |more: &str| format!("    tiers: [{{ name: bulk }}, {{ name: premium }}]\n{more}");
    for (model, line, message) in [
        (
            with_tiers("    tiers:\n      - name: bulk\n      - { name: premium, allow_downgrade: gold }\n"),
            14,
            "names no tier `gold`",
        ),
        (
            with_tiers("    tiers:\n      - { name: bulk, allow_downgrade: premium }\n      - name: premium\n"),
            13,
            "is no lower tier",
        ),
        (
            with_tiers("    tiers:\n      - name: bulk\n      - name: premium\n      - name: huge\n"),
            15,
            "no target stands in `huge`",
        ),
        (with_tiers("    tiers:\n      - name: bulk\n      - name: bulk\n"), 14, "two tiers are named `bulk`"),
        (with_tiers("    tiers:\n      - name: 'a b'\n"), 13, "is no name"),
        (with_tiers("    tiers:\n      - name: bulk\n"), 10, "there is no tier `premium`: known are bulk"),
        (
            with_tiers("    tiers:\n      - { name: bulk, requires: { quality: 0.5 } }\n      - name: premium\n"),
            11,
            "`a/small` is not known to have a quality of 0.5, which `bulk` requires",
        ),
        (
            with_tiers("    tiers:\n      - { name: bulk, requires: { tools: true } }\n      - name: premium\n"),
            11,
            "`a/small` is not known to have tools",
        ),
        (with_tiers("    tiers:\n      - { name: bulk, from: 1 }\n      - name: premium\n"), 13, "expected no `from`"),
        (
            with_tiers(
                "    tier_score: complexity\n    tiers:\n      - name: bulk\n      - { name: premium, from: 2000 }\n",
            ),
            15,
            "at most 100",
        ),
        (with_tiers(&two("    default_tier: gold\n")), 13, "there is no tier `gold`"),
        (with_tiers(&two("    tier_score: complexity\n")), 13, "scores nothing"),
        (
            with_tiers("    default_tier: bulk\n    tiers: [{ name: bulk }, { name: premium, from: 9 }]\n"),
            12,
            "no request is left for it",
        ),
        (load(TARGETS), 10, "the model has no `tiers`"),
        (load("    default_tier: bulk\n    targets: [a/big]\n"), 9, "the model has no `tiers`"),
        (load("    tiers: [{ name: bulk }]\n    targets:\n      - a/big\n"), 11, "`a/big` stands in no tier"),
    ] {
        let error = model.err().unwrap_or_else(|| format!("nothing refused: {message}"));
        assert!(error.contains(message), "{error}");
        assert!(error.contains(&format!("mainstay.yaml:{line}:")), "line {line}: {error}");
    }
}
