//! `strategy: auto` and its `objectives:` in a configuration: what becomes of them, and errors that point at the line.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use config::Snapshot;
use routing::{Objectives, Strategy};
use std::time::Duration;

const HEAD: &str = "providers:\n  a:\n    dialect: openai-chat\n    base_url: http://a/v1\n    keyless: true\nmodels:\n  chat:\n    \
     targets: [a/m, a/n]\n";

fn load(model: &str) -> Result<Snapshot, String> {
    support::load(&format!("{HEAD}{model}"))
}

#[test]
fn objectives_are_the_strategy_s_and_every_target_is_judged_by_them() {
    let snapshot = load(
        "    strategy: auto\n    objectives: { first_token_p95: 1.5s, tokens_per_second: 20, success: 99.9% }\n  other:\n    \
         targets: [a/m]\n",
    )
    .unwrap();
    let chat = snapshot.resolve("chat").unwrap();
    let expected = Objectives {
        first_token_p95: Some(Duration::from_millis(1_500)),
        millitokens_per_second: Some(20_000),
        failures_per_million: Some(1_000),
    };
    assert_eq!(chat.settings.strategy, Strategy::Auto(expected));
    assert!(chat.targets.iter().all(|target| target.judge.is_some()));
    assert!(snapshot.resolve("other").unwrap().targets[0].judge.is_none(), "nobody asks it of them");
}

#[test]
fn what_does_not_fit_is_refused_at_its_line() {
    let auto = |objectives: &str| format!("    strategy: auto\n    objectives: {objectives}\n");
    for (model, line, said) in [
        ("    strategy: auto\n".to_owned(), 9, "`auto` goes by `objectives`"),
        ("    objectives: { success: 99% }\n".to_owned(), 9, "what `strategy: auto` goes by"),
        ("    strategy: cheapest\n    objectives: { success: 99% }\n".to_owned(), 10, "what `strategy: auto` goes by"),
        (auto("{}"), 10, "expected `first_token_p95`, `tokens_per_second` or `success`"),
        (auto("{ success: 100% }"), 10, "above 0% and below 100%"),
        (auto("{ success: 120% }"), 10, "above 0% and below 100%"),
        (auto("{ success: 99.9 }"), 10, "above 0% and below 100%"),
        (auto("{ first_token_p95: 0s }"), 10, "`first_token_p95` is 0"),
        (auto("{ first_token_p95: 2 }"), 10, "a length of time"),
        (auto("{ tokens_per_second: -3 }"), 10, "`tokens_per_second` is -3"),
        (auto("{ quickness: 3 }"), 10, "first_token_p95"),
    ] {
        let error = load(&model).err().unwrap_or_else(|| panic!("{said}: it loads"));
        let is_there = error.contains(&format!("mainstay.yaml:{line}")) || error.contains(&format!("line {line}"));
        assert!(is_there && error.contains(said), "expected {line}, {said}: {error}");
    }
}

#[test]
fn a_model_with_objectives_may_be_listed_by_one_that_has_the_same_or_none() {
    let outer = |strategy: &str| {
        load(&format!(
            "    strategy: auto\n    objectives: {{ success: 99% }}\n  outer:\n{strategy}    targets:\n      - chat\n      - \
             a/o\n"
        ))
    };
    assert!(outer("").unwrap().resolve("outer").unwrap().targets[0].judge.is_some());
    assert!(outer("    strategy: auto\n    objectives: { success: 99% }\n").is_ok());
    let error = outer("    strategy: auto\n    objectives: { success: 98% }\n").err().unwrap();
    assert!(error.contains("has `objectives` of its own"), "{error}");
}
