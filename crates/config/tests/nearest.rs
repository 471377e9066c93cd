//! `strategy: nearest` in a configuration.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use config::Snapshot;
use routing::Strategy;

const HEAD: &str = "providers:\n  a:\n    dialect: openai-chat\n    base_url: http://a/v1\n    keyless: true\nmodels:\n  chat:\n    \
                    strategy: nearest\n    targets:\n      - { target: a/m, region: eu }\n";

fn load(rest: &str) -> Result<Snapshot, String> {
    support::load(&format!("{HEAD}{rest}"))
}

#[test]
fn regions_of_a_model_are_compared_and_its_first_leads() {
    let chat = load("      - { target: a/n, region: us }\n").unwrap().resolve("chat").unwrap();
    assert_eq!(chat.settings.strategy, Strategy::Nearest);
    let near = chat.targets[1].near.as_ref().unwrap();
    assert_eq!((near.nearness("eu").place, near.nearness("us").place), (0, 1));
}

#[test]
fn a_target_without_a_region_and_a_model_that_goes_by_something_else_are_refused_at_their_line() {
    let error = load("      - a/n\n").err().unwrap();
    assert!(error.contains("mainstay.yaml:11") && error.contains("`a/n` has no `region`"), "{error}");
    let auto = "    strategy: auto\n    objectives: { success: 99% }\n";
    let error = load(&format!("  outer:\n{auto}    targets: [chat]\n")).err().unwrap();
    assert!(error.contains("goes by regions, and the model by objectives"), "{error}");
    let inner = format!("      - inner\n  inner:\n{auto}    targets: [{{ target: a/n, region: us }}]\n");
    let error = load(&inner).err().unwrap();
    assert!(error.contains("goes by objectives, and the model by regions"), "{error}");
}
