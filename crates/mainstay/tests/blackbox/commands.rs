//! `check`, `schema`, `explain`, and what `serve` refuses to start with.

use crate::process::{check, folder, run, text};
use serde_json::Value;

const PROVIDER: &str =
    "providers:\n  a: { dialect: openai-chat, base_url: \"http://127.0.0.1:9/v1\", keys: [sk-secret-1] }\n";

#[test]
fn check_says_what_a_good_file_means_and_prints_no_key() {
    let (valid, said) = check(&format!("{PROVIDER}models:\n  chat:\n    targets: [a/m-1, a/m-2]\n"), &[]);
    assert!(valid, "{said}");
    assert!(said.starts_with("valid\n") && said.contains("chat: a/m-1 → a/m-2"), "{said}");
    assert!(!said.contains("sk-secret"), "{said}");
}

#[test]
fn check_points_at_the_line_of_a_mistake_and_says_what_was_expected() {
    for (rest, line, expected) in [
        ("models:\n  chat:\n    targets: [b/m]\n", 5, "there is no provider `b`"),
        ("models:\n  chat:\n    targets: [m]\n", 5, "expected `provider/model`"),
        ("models:\n  chat:\n    targets: [a/m]\n    stratgy: weighted\n", 6, "strategy"),
        ("models:\n  chat:\n    targets: [a/m]\n    timeouts: { idle: 10 }\n", 6, "500ms"),
        ("models:\n  chat: { targets: [] }\n", 4, "at least one"),
        ("models:\n  chat:\n    targets: [a/m]\n    on: { rate_limited: wait }\n", 6, "rate_limited"),
        ("models:\n  chat:\n    targets: [a/m]\n    on:\n      timed_out: same\n", 7, "`next` or `stop`"),
        ("models:\n  chat:\n    targets: [a/m]\n    on:\n      overloaded: { max_wait: 2s }\n", 7, "rate_limited"),
        ("listen: nowhere\n", 3, "ADDRESS:PORT"),
        ("limits: { body: lots }\n", 3, "32MiB"),
        ("keys: [{ name: bot, key: \"${NOT_SET}\" }]\n", 3, "NOT_SET"),
        ("keys: [{ name: bot }]\n", 3, "key"),
        ("models:\n  chat:\n   targets: [a/m]\n  - x\n", 6, ""),
    ] {
        let (valid, said) = check(&format!("{PROVIDER}{rest}"), &[]);
        assert!(!valid, "{rest}");
        assert!(said.contains("mainstay.yaml") && said.contains(&line.to_string()), "{rest}: {said}");
        assert!(said.contains(expected), "{rest}: {said}");
        assert!(!said.contains("sk-secret") || said.contains("keys: [sk-secret"), "{said}");
    }
}

#[test]
fn check_of_a_file_that_is_not_there_names_it() {
    let output = run(&folder(), &["check", "--config", "elsewhere.yaml"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("elsewhere.yaml"), "{}", text(&output.stderr));
}

#[test]
fn the_schema_is_json_and_knows_every_top_level_field() {
    let output = run(&folder(), &["schema"]);
    assert!(output.status.success());
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    for field in ["listen", "providers", "models", "keys", "limits", "timeouts", "health", "drain"] {
        assert!(schema["properties"][field].is_object(), "{field}");
    }
    assert_eq!(schema["additionalProperties"], Value::Bool(false));
}

const CAPABLE: &str = r#"providers:
  a:
    dialect: openai-chat
    base_url: "http://127.0.0.1:9/v1"
    keys: [sk-1]
    models:
      - { id: small, context_window: 1000 }
      - { id: blind, capabilities: { images: false } }
      - { id: able, context_window: 100000, capabilities: { images: true } }
models:
  chat:
    targets: [a/small, a/blind, a/able]
"#;

#[test]
fn explain_prints_the_plan_with_the_reason_of_each_exclusion() {
    let folder = folder();
    std::fs::write(folder.join("mainstay.yaml"), CAPABLE).unwrap();
    let image = r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}"#;
    let long = "word ".repeat(4000);
    let request = format!(
        r#"{{"model":"chat","messages":[{{"role":"user","content":[{{"type":"text","text":"{long}"}},{image}]}}]}}"#
    );
    std::fs::write(folder.join("request.json"), request).unwrap();
    let output = run(&folder, &["explain", "--model", "chat", "--request", "request.json"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(said.contains("1. a/able"), "{said}");
    assert!(said.contains("a/small: context window of 1000 tokens"), "{said}");
    assert!(said.contains("a/blind: does not take images"), "{said}");
    assert!(said.contains("complexity 41.7 = length 32.0 (20000) + context 3.7 (6004) + media 6.0 (1)"), "{said}");
    let output = run(&folder, &["explain", "--model", "chat"]);
    let said = text(&output.stdout);
    assert!(said.contains("1. a/small") && said.contains("3. a/able"), "{said}");
}

#[test]
fn explain_tells_what_the_request_would_cost_at_each_target_at_that_hour() {
    let folder = folder();
    let priced = "prices: { input: 1, output: 2, when: [{ from: '01:00', to: '04:00', input: 2, output: 4 }] }";
    let yaml = CAPABLE.replace("{ id: small, context_window: 1000 }", &format!("{{ id: small, {priced} }}"));
    std::fs::write(folder.join("mainstay.yaml"), yaml).unwrap();
    let said = |at: &str| text(&run(&folder, &["explain", "--model", "chat", "--at", at]).stdout);
    assert!(said("2026-11-23T00:59").contains("a/small [closed, primary] ≈ $0.001024 for 0 in and 512 out"));
    let peak = said("2026-11-23T01:00");
    assert!(peak.contains("≈ $0.002048"), "{peak}");
    assert!(peak.contains("a/able [closed] price unknown"), "{peak}");
    assert!(peak.contains("a/small: $2.00 in, $4.00 out (configured)"), "{peak}");
    let output = run(&folder, &["explain", "--model", "chat", "--at", "tomorrow"]);
    assert!(text(&output.stderr).contains("`tomorrow` is no moment"), "{}", text(&output.stderr));
}

#[test]
fn explain_tells_what_is_probed_and_what_that_costs() {
    let folder = folder();
    let yaml = CAPABLE.replace("{ id: small, context_window: 1000 }", "{ id: small, prices: { input: 1, output: 2 } }");
    let probe = "health: { probe: { every: 1m, idle: 10m, targets: [a/small, a/able] } }\n";
    std::fs::write(folder.join("mainstay.yaml"), format!("{probe}{yaml}")).unwrap();
    let said = text(&run(&folder, &["explain", "--model", "chat"]).stdout);
    let expected = "probes\n  a/small: token every 60 s while half-open, and after 600 s without a call; at most $0.000034 each, \
                    $0.04896 a day\n  a/able: token every 60 s while half-open, and after 600 s without a call; price unknown\n";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn explain_names_the_region_of_whoever_may_serve_and_of_whoever_is_left_out() {
    let folder = folder();
    let targets = "[{ target: a/small, region: eu-central }, { target: a/able, region: us-east, max_price: 1 }]";
    std::fs::write(folder.join("mainstay.yaml"), CAPABLE.replace("[a/small, a/blind, a/able]", targets)).unwrap();
    let said = text(&run(&folder, &["explain", "--model", "chat"]).stdout);
    assert!(said.contains("1. a/small in eu-central [closed"), "{said}");
    assert!(said.contains("-  a/able in us-east: "), "{said}");
}

/// Serves one document on 127.0.0.1, once; its address.
fn served_once(status: &'static str, document: &'static str) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut asked = [0; 4096];
        let _head = socket.read(&mut asked).unwrap();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{document}", document.len());
        socket.write_all(answer.as_bytes()).unwrap();
    });
    format!("http://{address}")
}

#[test]
fn explain_reads_status_pages_once_where_it_is_told_to() {
    let folder = folder();
    let page =
        r#"{"components":[],"incidents":[{"id":"1","name":"Elevated errors","status":"identified","impact":"major"}]}"#;
    let said = |status, document: &'static str, more: &[&str]| {
        let url = served_once(status, document);
        let page = format!("keys: [sk-1]\n    status_page: {{ url: \"{url}/api/v2/summary.json\" }}");
        let yaml = format!("status_pages: on\n{}", CAPABLE.replace("keys: [sk-1]", &page));
        assert!(yaml.contains(&url), "the row has a page");
        std::fs::write(folder.join("mainstay.yaml"), yaml).unwrap();
        let output = run(&folder, &[&["explain", "--model", "chat"], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let told = said("200 OK", page, &["--signals"]);
    assert!(told.contains("a/small: status page of a: Elevated errors"), "{told}");
    let silent = said("200 OK", page, &[]);
    assert!(!silent.contains("Elevated"), "{silent}");
    let unread = said("503 Service Unavailable", "", &["--signals"]);
    assert!(unread.contains("unread\n  status page of a: HTTP 503"), "{unread}");
}

#[test]
fn explain_shows_a_price_that_came_from_a_feed() {
    const TOLD: &str =
        r#"[{"target":"a/small","input":1,"output":3},{"target":"a/able","input":9,"output":9},{"target":"b/x"}]"#;
    let folder = folder();
    let written =
        CAPABLE.replace("{ id: small, context_window: 1000 }", "{ id: small, prices: { input: 1, output: 2 } }");
    let said = |from: &str, more: &[&str]| {
        std::fs::write(folder.join("mainstay.yaml"), format!("price_feed: {{ from: \"{from}\" }}\n{written}")).unwrap();
        let output = run(&folder, &[&["explain", "--model", "chat"], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let file = folder.join("spot.json");
    std::fs::write(&file, TOLD).unwrap();
    for from in [file.display().to_string(), served_once("200 OK", TOLD) + "/spot.json"] {
        let told = said(&from, &["--signals"]);
        assert!(
            told.contains("a/small: $1.00 in, $3.00 out") && told.contains("a/able: $9.00 in, $9.00 out"),
            "{told}"
        );
        assert!(told.contains("1. a/small [closed, primary] ≈ $0.001536 for 0 in and 512 out"), "{told}");
        assert!(
            told.contains("price feed: 2 prices in force, 0 of targets that no model lists, 1 that are none"),
            "{told}"
        );
    }
    let silent = said(&file.display().to_string(), &[]);
    assert!(silent.contains("a/small: $1.00 in, $2.00 out (configured)") && !silent.contains("price feed"), "{silent}");
    std::fs::write(&file, TOLD.replace(r#""output":3"#, r#""output":4"#)).unwrap();
    let refused = said(&file.display().to_string(), &["--signals"]);
    assert!(refused.contains("refused: a/small: output from $2.00 to $4.00 is more than 50 %"), "{refused}");
}

#[test]
fn explain_tells_what_each_target_alone_would_be_sent() {
    let folder = folder();
    let patched = "[{ target: a/able, prompt: { append_system: 'No headings.' }, parameters: { at_most: { max_tokens: 100 } \
                   } }, a/blind]";
    std::fs::write(folder.join("mainstay.yaml"), CAPABLE.replace("[a/small, a/blind, a/able]", patched)).unwrap();
    let said = text(&run(&folder, &["explain", "--model", "chat"]).stdout);
    let told = "patches, of requests to this target alone\n  a/able: system text of 12 characters after the caller's: \"No \
                headings.\"\n  a/able: max_tokens at most 100\n";
    assert!(said.contains(told) && !said.contains("a/blind: "), "{said}");
}

#[test]
fn explain_tells_the_tier_of_a_request_and_who_said_so() {
    let folder = folder();
    let tiers = "[{ target: a/small, tier: bulk }, { target: a/able, tier: premium }]\n    tiers: [{ name: bulk }, { name: \
                 premium, from: 100 }]";
    std::fs::write(folder.join("mainstay.yaml"), CAPABLE.replace("[a/small, a/blind, a/able]", tiers)).unwrap();
    let said = |more: &[&str]| text(&run(&folder, &[&["explain", "--model"], more].concat()).stdout);
    let short = said(&["chat"]);
    assert!(short.contains("1. a/small") && short.contains("tier bulk (prompt_length 0)"), "{short}");
    for labelled in [said(&["chat", "--tier", "premium"]), said(&["chat:premium"])] {
        assert!(
            labelled.contains("1. a/able") && labelled.contains("  -  a/small: stands in a tier below"),
            "{labelled}"
        );
    }
    let request = r#"{"model":"chat","messages":[],"metadata":{"tier":"gold"}}"#;
    std::fs::write(folder.join("request.json"), request).unwrap();
    let output = run(&folder, &["explain", "--model", "chat", "--request", "request.json"]);
    assert!(
        text(&output.stderr).contains("there is no tier `gold`: known are bulk, premium"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn explain_says_which_rules_hold_and_why_the_others_do_not() {
    let folder = folder();
    let rules = "rules:\n  - { name: labelled, if: 'request.labels.team == \"legal\"', only: a/able }\n  - { name: limited, \
                 if: 'rate(\"a/able\", \"any\", duration(\"5m\")) > 0.5', avoid: a/able }\n  - { name: broken, if: \
                 '1 / request.max_output_tokens == 1', avoid: a/able }\n  - { name: nightly, if: 'request.key == \"bot\" && \
                 now.getHours() >= 22', avoid: a/able }\n";
    std::fs::write(folder.join("mainstay.yaml"), format!("{CAPABLE}{rules}")).unwrap();
    let request = r#"{"model":"chat","messages":[],"metadata":{"team":"legal"},"max_tokens":0}"#;
    std::fs::write(folder.join("request.json"), request).unwrap();
    let output = run(&folder, &["explain", "--model", "chat", "--request", "request.json"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(said.contains("1. a/able"), "{said}");
    assert!(said.contains("a/small: left out by rule `labelled`"), "{said}");
    assert!(said.contains("rule `labelled` holds"), "{said}");
    assert!(said.contains("rule `limited` does not hold: nothing is known yet of what it measures"), "{said}");
    assert!(said.contains("rule `broken` does not hold: it fails: division by zero"), "{said}");
    let said = text(&run(&folder, &["explain", "--model", "chat"]).stdout);
    assert!(said.contains("rule `labelled` does not hold: something it asks of the request is not known"), "{said}");
    let said = text(&run(&folder, &["explain", "--model", "chat", "--labels", "tier=x, team=legal"]).stdout);
    assert!(said.contains("1. a/able") && said.contains("rule `labelled` holds"), "{said}");
    let said = text(&run(&folder, &["explain", "--model", "chat", "--key", "bot", "--at", "2026-11-23T23:30"]).stdout);
    assert!(said.contains("rule `nightly` holds"), "{said}");
    let said = text(&run(&folder, &["explain", "--model", "chat", "--key", "bot", "--at", "2026-11-23T12:30"]).stdout);
    assert!(said.contains("rule `nightly` does not hold: the request is not one it is for"), "{said}");
}

#[test]
fn explain_shows_scores_and_what_would_turn_the_order_round() {
    let folder = folder();
    let yaml = CAPABLE
        .replace("{ id: small, context_window: 1000 }", "{ id: small, prices: { input: 1, output: 2 } }")
        .replace("{ id: blind, capabilities: { images: false } }", "{ id: blind, prices: { input: 1, output: 1 } }")
        .replace("  chat:\n", "  chat:\n    strategy: { balanced: { speed: 0, reliability: 0 } }\n")
        .replace(
            "[a/small, a/blind, a/able]",
            "[{ target: a/small, quality: 0.9 }, { target: a/blind, quality: 0.8 }]",
        );
    std::fs::write(folder.join("mainstay.yaml"), yaml).unwrap();
    let said = text(&run(&folder, &["explain", "--model", "chat"]).stdout);
    assert!(said.contains("1. a/blind") && said.contains("score 0.900 = price 1.000"), "{said}");
    assert!(said.contains("a/small comes first when its price rises from 0.500 to 0.900"), "{said}");
}

#[test]
fn explain_says_when_a_second_attempt_would_start_and_what_it_may_cost() {
    let folder = folder();
    let said = |model: &str, request: &[&str]| {
        let (head, _) = CAPABLE.rsplit_once("models:").unwrap();
        let text_of = format!("{head}models:\n  chat:\n    targets: [a/small, a/able]\n    {model}\n");
        std::fs::write(folder.join("mainstay.yaml"), text_of).unwrap();
        std::fs::write(folder.join("request.json"), r#"{"model":"chat","stream":true,"messages":[]}"#).unwrap();
        text(&run(&folder, &[&["explain", "--model", "chat"], request].concat()).stdout)
    };
    let streamed = ["--request", "request.json"];
    let hedged = said("hedge: on", &streamed);
    let expected =
        "hedge: a/able is asked too when the first token is later than the target's p95, known after 200; at most 5 %";
    assert!(hedged.contains(expected), "{hedged}");
    let hedged = said("hedge: { after: 1500ms, budget: 2.5% }", &streamed);
    assert!(hedged.contains("when no token has come after 1.5s; at most 2.5 % of the requests' cost"), "{hedged}");
    assert!(said("hedge: on", &[]).contains("hedge: none, as the request is not streamed"));
    let raced = said("race: 2", &[]);
    assert!(raced.contains("race: a/able is asked at the same time"), "{raced}");
    assert!(!said("race: 1", &[]).contains("race:"));
}

#[test]
fn explain_names_the_model_a_target_comes_from() {
    let folder = folder();
    let yaml = CAPABLE.replace("[a/small, a/blind, a/able]", "[pool, a/able]");
    std::fs::write(folder.join("mainstay.yaml"), format!("{yaml}  pool: {{ targets: [a/small] }}\n")).unwrap();
    let said = text(&run(&folder, &["explain", "--model", "chat"]).stdout);
    assert!(said.contains("1. a/small of pool [closed, primary]") && said.contains("2. a/able [closed]"), "{said}");
}

#[test]
fn explain_of_an_unknown_model_says_what_there_is() {
    let folder = folder();
    std::fs::write(folder.join("mainstay.yaml"), CAPABLE).unwrap();
    let output = run(&folder, &["explain", "--model", "chatt"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("known are chat"), "{}", text(&output.stderr));
}

#[test]
fn a_public_address_without_keys_is_refused() {
    for (yaml, arguments) in [
        (format!("listen: 0.0.0.0:0\n{PROVIDER}"), vec!["serve"]),
        (PROVIDER.to_owned(), vec!["serve", "--listen", "0.0.0.0:0"]),
        (format!("listen: \"[::]:0\"\n{PROVIDER}"), vec!["serve"]),
    ] {
        let folder = folder();
        std::fs::write(folder.join("mainstay.yaml"), yaml).unwrap();
        let output = run(&folder, &arguments);
        assert!(!output.status.success());
        let said = text(&output.stderr);
        assert!(said.contains("no `keys` are configured") && said.contains("allow_open"), "{said}");
    }
    let (valid, said) = check(&format!("listen: 0.0.0.0:4000\nkeys: [{{ name: bot, key: sk-b }}]\n{PROVIDER}"), &[]);
    assert!(valid, "{said}");
    let (valid, said) = check(&format!("listen: 0.0.0.0:4000\nallow_open: true\n{PROVIDER}"), &[]);
    assert!(valid, "{said}");
}

#[test]
fn injected_faults_are_refused_unless_the_gateway_was_started_to_allow_them() {
    let yaml = format!(
        "{PROVIDER}models:\n  chat:\n    targets:\n      - {{ target: a/m, inject: {{ fault: unavailable_503, percent: 20 }} }}\n"
    );
    let (valid, said) = check(&yaml, &[]);
    assert!(!valid && said.contains("--allow-injection") && said.contains("mainstay.yaml:6"), "{said}");
    let (valid, said) = check(&yaml, &["--allow-injection"]);
    assert!(valid, "{said}");
    let (valid, said) = check(&yaml.replace("unavailable_503", "unavailabel"), &["--allow-injection"]);
    assert!(!valid && said.contains("unavailable_503"), "{said}");
}
