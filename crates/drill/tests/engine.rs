//! What a drill makes of configurations, faults and bars: one short scenario for each rule of the driver.

#![expect(clippy::unwrap_used, reason = "tests")]

use drill::{NamedText, Over, Report, Scenario};

/// Two targets under `priority`, ten requests a second for a minute, constant latencies.
const BASE: &str = r#"
name: test
duration: 60s
config:
  providers:
    a: { dialect: openai-chat, base_url: "http://a.invalid/v1", keyless: true }
    b: { dialect: openai-chat, base_url: "http://b.invalid/v1", keyless: true }
  models:
    chat: { targets: [a/m, b/m], timeouts: { first_token: 4s, idle: 3s, deadline: 30s } }
load: [{ rate: 10, output_tokens: { median: 100 } }]
targets:
  "*": { first_token: { median: 1s }, tokens_per_second: 50 }
"#;

fn load(text: &str) -> Result<Scenario, String> {
    let scenario = NamedText { name: "test.yaml".to_owned(), text: text.to_owned() };
    let none = |path: &str| Err(format!("{path}: not found"));
    Scenario::load(&scenario, Over::default(), &none).map_err(|error| error.to_string())
}

fn drill(base: &str, timeline: &str, bars: &[&str]) -> Report {
    let bars = bars.join("\n  - ");
    load(&format!("{base}timeline: {timeline}\nexpect:\n  - {bars}\n")).unwrap().drill(1, 1).unwrap()
}

/// All bars are met.
#[track_caller]
fn meets(base: &str, timeline: &str, bars: &[&str]) {
    let report = drill(base, timeline, bars);
    assert_eq!(report.missed(), 0, "{report}");
}

#[test]
fn with_nothing_broken_the_primary_answers_everybody_after_its_own_time() {
    let bars = [
        "requests in 500..700",
        "client_errors = 0",
        "attempts(b/m) = 0",
        "amplification in 1..1",
        "first_content(max) in 1s..1s",
        "added(max) <= 0s",
    ];
    meets(BASE, "[]", &bars);
}

#[test]
fn a_hang_costs_its_callers_the_first_token_limit_and_is_a_timeout() {
    let bars = [
        "client_errors = 0",
        "{ bar: 'first_content(max) in 5s..5s', from: 20s, why: the limit and the answer of the other }",
        "faults(a/m, timed_out) >= 2",
        "trips(a/m) = 1",
    ];
    meets(BASE, "[{ at: 20s, target: a/m, fault: hang }]", &bars);
}

#[test]
fn a_stream_that_is_cut_or_goes_silent_is_gone_on_with_by_the_other_target() {
    let base = BASE.replace("targets: [a/m, b/m],", "targets: [a/m, b/m], probe: off,");
    for (fault, class) in [("cut", "stream_broken"), ("stall", "timed_out")] {
        let timeline = format!("[{{ at: 20s, target: a/m, fault: {fault} }}]");
        let class = format!("faults(a/m, {class}) >= 3");
        meets(&base, &timeline, &["client_errors = 0", "broken_streams = 0", "rescues >= 3", &class]);
    }
}

#[test]
fn without_rescue_a_broken_stream_is_an_error() {
    let base = BASE.replace("targets: [a/m, b/m],", "targets: [a/m, b/m], rescue: error,");
    meets(&base, "[{ at: 20s, target: a/m, fault: cut }]", &["broken_streams >= 3", "rescues = 0"]);
}

#[test]
fn what_is_not_streamed_fails_over_whole() {
    let base = BASE.replace("rate: 10,", "rate: 10, streamed: 0%,");
    let bars = ["client_errors = 0", "broken_streams = 0", "rescues = 0", "faults(a/m, stream_broken) >= 3"];
    meets(&base, "[{ at: 20s, target: a/m, fault: cut }]", &bars);
    meets(&base, "[]", &["first_content(max) in 2.98s..2.98s"]);
}

#[test]
fn a_connection_that_is_never_made_costs_the_connect_limit() {
    let timeline = "[{ at: 20s, target: a/m, fault: unroutable }]";
    meets(BASE, timeline, &["client_errors = 0", "added(max) in 3s..4.3s"]);
}

#[test]
fn a_stream_at_less_than_half_its_usual_speed_is_rescued() {
    let base = BASE.replace("median: 100", "median: 600");
    let timeline = "[{ at: 45s, target: a/m, fault: slow_tokens, times: 3 }]";
    meets(&base, timeline, &["faults(a/m, too_slow) >= 1", "rescues >= 1", "client_errors = 0"]);
}

#[test]
fn a_limited_credential_is_not_called_before_its_hint() {
    let timeline = "[{ at: 20s, until: 30s, target: a/m, fault: 429, retry_after: 10s }]";
    let bars = ["early(a/m) = 0", "faults(a/m, rate_limited) in 1..3", "{ bar: 'attempts(a/m) >= 200', from: 31s }"];
    meets(BASE, timeline, &bars);
}

#[test]
fn what_a_provider_tells_of_its_limits_is_heard_before_its_429() {
    let limited =
        "  a/m: { first_token: { median: 1s }, tokens_per_second: 50, requests_per_minute: 120, tells_limits: true }\n";
    let base = BASE.to_owned() + limited;
    meets(&base, "[]", &["faults(a/m, rate_limited) <= 1%", "attempts(a/m) >= 150", "client_errors = 0"]);
    let silent = base.replace(", tells_limits: true", "");
    meets(&silent, "[]", &["faults(a/m, rate_limited) >= 5%", "client_errors = 0"]);
}

#[test]
fn an_empty_account_is_known_by_its_providers_code() {
    let timeline = "[{ at: 20s, target: a/m, fault: 429, code: insufficient_quota }]";
    meets(BASE, timeline, &["faults(a/m, quota_exhausted) in 1..3", "faults(rate_limited) = 0"]);
}

#[test]
fn stubborn_sdks_repeat_what_official_ones_take_as_an_answer() {
    let calls = |sdk: &str| {
        let base = BASE.replace("rate: 10,", &format!("rate: 10, sdk: {sdk},"));
        let report = drill(&base, "[{ at: 0s, target: '*', fault: 500 }]", &["attempts >= 0", "client_errors = 100%"]);
        assert_eq!(report.missed(), 0, "{report}");
        report.verdicts[0].figure.unwrap()
    };
    assert!(calls("stubborn") > calls("official"));
}

#[test]
fn each_gateway_learns_for_itself() {
    let faults = |replicas: u32| {
        let base = BASE.replace("duration:", &format!("replicas: {replicas}\nduration:"));
        let timeline = "[{ at: 20s, until: 50s, target: a/m, fault: 429, retry_after: 30s }]";
        drill(&base, timeline, &["faults(a/m, rate_limited) >= 0"]).verdicts[0].figure.unwrap()
    };
    assert!(faults(8) >= 8.0 && faults(1) < 4.0);
}

#[test]
fn rates_change_when_their_phases_say_so() {
    let base = BASE.replace("rate: 10,", "rate: 0, phases: [{ at: 20s, rate: 20 }, { at: 40s, rate: 2 }],");
    let bars = [
        "{ bar: 'requests = 0', to: 20s }",
        "{ bar: 'requests in 330..470', from: 20s, to: 40s }",
        "{ bar: 'requests in 20..60', from: 40s }",
    ];
    meets(&base, "[]", &bars);
}

#[test]
fn the_deadline_ends_what_nobody_answers() {
    let base = BASE.replace("rate: 10,", "rate: 10, timeout: 2s,");
    meets(&base, "[{ at: 0s, target: '*', fault: hang }]", &["error_time(max) <= 2s", "client_errors = 100%"]);
}

#[test]
fn the_label_of_a_load_is_the_tier_of_its_requests() {
    let tiers =
        "targets: [{ target: a/m, tier: low }, { target: b/m, tier: high }], tiers: [{ name: low }, { name: high }],";
    let base = BASE.replace("targets: [a/m, b/m],", tiers);
    let labelled = |tier: &str| base.replace("rate: 10,", &format!("rate: 10, labels: {{ tier: {tier} }},"));
    meets(&labelled("low"), "[]", &["served(a/m) >= 100%"]);
    meets(&labelled("high"), "[]", &["served(b/m) >= 100%"]);
    let error = load(&(labelled("best") + "expect: []\n")).err().unwrap();
    assert!(error.contains("there is no tier `best`: known are low, high"), "{error}");
}

/// Conversations over the two of them, by weight, with prompts that cost a tenth where they were read before.
fn talks(more: &str) -> String {
    let load = "{ rate: 0.1, prompt_tokens: { median: 5000 }, output_tokens: { median: 100 }, \
                conversation: { turns: 4, adds: 100, pause: 10s } }";
    let priced = |id: &str| format!("{{ target: {id}, prices: {{ input: 10, cached_input: 1, output: 1 }} }}");
    let targets = format!("targets: [{}, {}], strategy: weighted, {more}", priced("a/m"), priced("b/m"));
    let base = BASE.replace("{ rate: 10, output_tokens: { median: 100 } }", load);
    let base = base.replace("targets: [a/m, b/m],", &targets).replace("duration: 60s", "duration: 600s");
    base.replace("tokens_per_second: 50 }", "tokens_per_second: 50, keeps_prompts: 30s }")
}

#[test]
fn a_turn_follows_the_answer_before_it_and_sessions_keep_its_prompt_where_it_is_cached() {
    for known_by in ["name", "opening"] {
        let base = talks("sessions: on,").replace("turns: 4,", &format!("turns: 4, known_by: {known_by},"));
        // Some sixty begin; each turn but a first comes 13 s after the one before it.
        let bars = ["requests in 170..260", "input_cost(max) <= 1", "moves(max) = 0", "client_errors = 0"];
        meets(&base, "[]", &bars);
        assert!(!drill(&base, "[]", &bars).to_string().contains("sessions remember"));
    }
    meets(&talks(""), "[]", &["input_cost(p50) >= 1.3", "moves(max) >= 3"]);
}

#[test]
fn what_nobody_reads_for_too_long_is_written_again_and_nobody_caches_better_than_that() {
    let base = talks("sessions: on,").replace("keeps_prompts: 30s", "keeps_prompts: 12s");
    meets(&base, "[]", &["input_cost(max) in 1..1", "moves(max) = 0"]);
}

#[test]
fn a_conversation_ends_with_the_turn_that_nobody_answers_and_pays_for_every_prompt_that_was_read() {
    let dead = "[{ at: 0s, target: '*', fault: 503 }]";
    meets(&talks("sessions: on,"), dead, &["requests in 30..90", "client_errors >= 100%", "moves(max) = 0"]);
    // Of a stream that is cut, the prompt was read: where it is gone on with, it is read a second time.
    let cut = "[{ at: 0s, target: a/m, fault: cut }]";
    let base = talks("sessions: on,").replace("strategy: weighted,", "probe: off,");
    meets(&base, cut, &["input_cost(p50) >= 1.5"]);
}

#[test]
fn conversations_without_prices_have_no_cost_and_over_sockets_there_are_none() {
    let base = talks("sessions: on,").replace(", prices: { input: 10, cached_input: 1, output: 1 }", "");
    let report = drill(&base, "[]", &["input_cost(max) <= 9"]);
    assert_eq!(report.missed(), 1, "{report}");
    let scenario = load(&(base + "expect: []\n")).unwrap();
    assert_eq!(scenario.only_virtual(), ["`conversation` of a load"]);
}

#[test]
fn a_bar_that_is_missed_is_said_with_its_figure() {
    let report = drill(BASE, "[{ at: 0s, target: '*', fault: 500 }]", &["client_errors <= 0.1%", "requests >= 1"]);
    let text = report.to_string();
    assert!(text.contains("MISSED  client_errors <= 0.1%  100.00%"), "{text}");
    assert!(text.ends_with("1 expectations met, 1 missed"), "{text}");
}

#[test]
fn what_a_drill_leaves_out_is_said() {
    let base =
        BASE.replace("targets: [a/m, b/m],", "targets: [a/m, b/m], when_exhausted: [queue], cache: {}, sessions: on,");
    let text = drill(&base, "[]", &["client_errors = 0"]).to_string();
    assert!(text.contains("note: chat: the queue is left out of a drill"), "{text}");
    assert!(text.contains("note: chat: what sessions remember is left out of a drill"), "{text}");
    assert!(text.contains("note: chat: the cache is left out of a drill"), "{text}");
}

#[test]
fn errors_name_the_line() {
    let with = |from: &str, to: &str| BASE.replace(from, to) + "expect: []\n";
    let plain = |tail: &str| format!("{BASE}{tail}\n");
    for (text, line, reason) in [
        (with("duration: 60s", "duration: 60"), 3, "a length of time"),
        (with("rate: 10,", "rate: 10, speed: 3,"), 10, "unknown field"),
        (with("rate: 10,", "rate: 1, conversation: { turns: 0, pause: 1s },"), 10, "`turns` is 0"),
        (with("rate: 10,", "rate: 1, conversation: { turns: 2 },"), 10, "pause"),
        (with("a/m, b/m]", "a/m, c/m]"), 9, "there is no provider `c`"),
        (with("\"*\":", "a/x:"), 10, "no law for `a/m`"),
        (with("first_token: 4s", "first_token: soon"), 9, "a length of time"),
        (plain("timeline:\n  - { at: 1s, target: c/m, fault: 503 }\nexpect: []"), 14, "there is no target `c/m`"),
        (plain("timeline:\n  - { at: 1s, target: a/m, fault: 200 }\nexpect: []"), 14, "an HTTP status"),
        (plain("timeline:\n  - { at: 1s, target: a/m, fault: explode }\nexpect: []"), 14, "refuse"),
        (plain("timeline:\n  - { at: 1s, target: a/m, fault: hang, code: x }\nexpect: []"), 14, "belong to an error"),
        (plain("timeline:\n  - { at: 1s, target: a/m, fault: slow_tokens }\nexpect: []"), 14, "times"),
        (plain("timeline:\n  - { at: 2s, until: 1s, target: a/m, fault: hang }\nexpect: []"), 14, "not after"),
        (plain("expect:\n  - client_errors <= 1%\n  - happiness >= 3"), 15, "is no figure"),
        (plain("expect:\n  - { bar: requests >= 3, from: 9s, to: 9s }"), 14, "ends before"),
    ] {
        let error = load(&text).err().unwrap_or_else(|| panic!("{reason}: it loads"));
        assert!(error.contains(&format!("{line}")) && error.contains(reason), "expected {line}, {reason}: {error}");
    }
}
