//! Splits by weight with options: what they mean, and what is said of those that mean nothing.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use config::Snapshot;
use routing::{Sticky, Strategy};

const OPENAI: &str = "providers:\n  openai: { keys: [k] }\n";

fn load(models: &str) -> Result<Snapshot, String> {
    support::load(&format!("{OPENAI}models:\n{models}"))
}

fn refused(models: &str) -> String {
    load(models).err().expect("refused")
}

#[test]
fn a_split_keeps_together_what_it_says_and_its_arms_are_what_the_model_lists() {
    let snapshot = load(
        "  pool: { targets: [openai/x, openai/y], strategy: { weighted: { experiment: inner } } }\n  \
         chat: { targets: [pool, { target: openai/z, label: new }], strategy: { weighted: { sticky: user, experiment: e } } }\n",
    )
    .unwrap();
    let model = snapshot.resolve("chat").unwrap();
    assert_eq!((model.sticky(), model.settings.strategy.as_str()), (Some(Sticky::User), "weighted"));
    assert_eq!(snapshot.resolve("pool").unwrap().settings.strategy, Strategy::Weighted);
    let told = |drawn, served| model.trials(drawn, served).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told(2, None), ["e=new"]);
    assert_eq!(told(1, Some(1)), ["e=pool", "inner=openai/y"]);
    assert_eq!(told(1, Some(0)), ["e=pool", "inner=openai/y;served=openai/x"]);
    assert_eq!(told(0, Some(2)), ["e=pool;served=new", "inner=openai/x;served=none"]);
}

#[test]
fn what_is_wrong_with_a_split_is_said_at_its_line() {
    let wrong = |targets: &str, options: &str| {
        refused(&format!("  chat:\n    targets: {targets}\n    strategy: {{ weighted: {options} }}\n"))
    };
    for (targets, options, expected) in [
        ("[openai/x, openai/y]", "{ sticky: team }", "user"),
        ("[openai/x, openai/y]", "{ experiment: \"a b\" }", "no name of an experiment"),
        ("[openai/x]", "{ experiment: e }", "expected more targets"),
        (
            "[{ target: openai/x, label: a }, { target: openai/y, label: a }]",
            "{ experiment: e }",
            "two arms are named `a`",
        ),
        ("[{ target: openai/x, label: \"ä\" }, openai/y]", "{ experiment: e }", "no name of an arm"),
    ] {
        let error = wrong(targets, options);
        let is_there = [":6", "line 6 "].iter().any(|line| error.contains(line));
        assert!(error.contains(expected) && is_there, "{error}");
    }
    let differs = refused(
        "  pool: { targets: [openai/x, openai/y], strategy: { weighted: { sticky: session } } }\n  \
         chat: { targets: [pool, openai/z], strategy: { weighted: { sticky: user } } }\n",
    );
    assert!(differs.contains("`pool` among its targets by session"), "{differs}");
}
