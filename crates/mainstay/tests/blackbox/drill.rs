//! `drill`: the timeline, the verdicts, and an exit code that a pipeline can act on.

use crate::process::{folder, run, text};

const SCENARIO: &str = r#"name: test
duration: 20s
config: mine.yaml
load: [{ rate: 5 }]
targets: { "*": { first_token: { median: 500ms, sigma: 0.4 }, tokens_per_second: 50 } }
timeline: [{ at: 5s, target: "@1", fault: 503 }]
expect:
  - "client_errors = 0"
"#;
const CONFIG: &str = r#"providers:
  openai: { keys: ["${OPENAI_API_KEY}"] }
  b: { dialect: openai-chat, base_url: "http://b.invalid/v1", keyless: true }
models: { chat: { targets: [openai/gpt-5.1, b/m] }, alone: { targets: [openai/gpt-5.1] } }
"#;

#[test]
fn a_drill_says_what_became_of_each_bar_and_fails_where_one_was_missed() {
    let folder = folder();
    std::fs::write(folder.join("storm.yaml"), SCENARIO).unwrap();
    std::fs::write(folder.join("mine.yaml"), CONFIG).unwrap();
    let met = run(&folder, &["drill", "storm.yaml", "--model", "chat", "--seed", "3"]);
    let said = text(&met.stdout);
    assert!(met.status.success(), "{said}{}", text(&met.stderr));
    assert!(said.contains("5s + @1: 503") && said.trim_end().ends_with("1 expectations met, 0 missed"), "{said}");
    assert_eq!(said, text(&run(&folder, &["drill", "storm.yaml", "--model", "chat", "--seed", "3"]).stdout));

    let missed = run(&folder, &["drill", "storm.yaml", "--model", "alone", "--seeds", "3"]);
    let said = text(&missed.stdout);
    assert_eq!(missed.status.code(), Some(1), "{said}");
    assert!(said.trim_end().ends_with("0 expectations met, 1 missed"), "{said}");
    assert!(said.contains("missed by 3 of 3 seeds"), "{said}");
}

#[test]
fn what_is_wrong_with_a_scenario_is_said_with_its_line() {
    let folder = folder();
    std::fs::write(folder.join("storm.yaml"), SCENARIO.replace("client_errors = 0", "joy >= 1")).unwrap();
    std::fs::write(folder.join("mine.yaml"), CONFIG).unwrap();
    let output = run(&folder, &["drill", "storm.yaml", "--model", "chat"]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("storm.yaml:8") && said.contains("is no figure"), "{said}");
    let output = run(&folder, &["drill", "elsewhere.yaml"]);
    assert!(!output.status.success() && text(&output.stderr).contains("elsewhere.yaml"));
}

/// Five seconds of a primary that is down, and what an honest drill over sockets says of it.
const SHORT: &str = r#"name: short
duration: 5s
rows: 1s
config: mine.yaml
load: [{ rate: 8, streamed: 50%, output_tokens: { median: 60 }, labels: { team: support }, timeout: 9s }]
targets: { "*": { first_token: { median: 50ms }, tokens_per_second: 200, refuses_after: 10ms } }
timeline:
  - { at: 0s, until: 1s, target: "@1", fault: cut }
  - { at: 1s, until: 3s, target: "@1", fault: 503 }
expect:
  - "requests in 20..70"
  - "client_errors = 0"
  - "faults(@1, overloaded) >= 1"
  - { bar: "served(@2) >= 80%", from: 1500ms, to: 2900ms }
  - "added(p50) <= 500ms"
  - "rescues >= 1"
"#;

#[test]
fn a_drill_over_sockets_is_held_against_the_same_bars_in_real_time() {
    let folder = folder();
    std::fs::write(folder.join("short.yaml"), SHORT).unwrap();
    std::fs::write(folder.join("down.yaml"), SHORT.replace("\"@1\", fault: 503", "\"*\", fault: refuse")).unwrap();
    std::fs::write(folder.join("mine.yaml"), CONFIG).unwrap();
    let output = run(&folder, &["drill", "short.yaml", "down.yaml", "--model", "chat", "--over", "sockets"]);
    let said = text(&output.stdout);
    let (met, missed) = said.split_once("1s + *: refuse").unwrap_or_else(|| panic!("{said}{}", text(&output.stderr)));
    assert!(met.contains("seed 1, over sockets\n6 expectations met, 0 missed"), "{said}");
    assert!(missed.contains("MISSED  client_errors = 0") && output.status.code() == Some(1), "{said}");
}

#[test]
fn what_sockets_cannot_have_is_refused_before_anything_starts() {
    let folder = folder();
    std::fs::write(folder.join("mine.yaml"), CONFIG).unwrap();
    for (from, to, reason) in [
        ("fault: cut", "fault: unroutable", "`unroutable`"),
        ("fault: 503", "fault: 418", "error answer 418"),
        ("rate: 8,", "rate: 8, tools: true,", "`tools`"),
        ("rate: 8,", "rate: 900,", "at most 500"),
    ] {
        std::fs::write(folder.join("short.yaml"), SHORT.replace(from, to)).unwrap();
        let output = run(&folder, &["drill", "short.yaml", "--model", "chat", "--over", "sockets"]);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(reason), "{reason}: {said}");
    }
}
