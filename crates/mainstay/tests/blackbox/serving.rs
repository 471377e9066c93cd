//! Reload and shutdown.

use crate::process::{Running, Upstream, connect, holds};
use simulator::FaultRule;
use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

fn yaml(upstream: &Upstream, model: &str, more: &str) -> String {
    format!("{more}providers:\n{}models:\n  {model}:\n    targets: [a/m-1]\n", upstream.row("a"))
}

fn rule(fault: &str) -> FaultRule {
    FaultRule::new(fault.parse().unwrap())
}

#[test]
fn a_changed_file_is_read_again() {
    let upstream = Upstream::start();
    let running = Running::start(&yaml(&upstream, "one", ""));
    assert_eq!(running.ask("one").status, 200);
    assert_eq!(running.ask("two").status, 404);
    std::fs::write(&running.file, yaml(&upstream, "two", "")).unwrap();
    assert!(holds(|| running.ask("two").status == 200), "{}", running.log());
    assert_eq!(running.ask("one").status, 404);
}

#[test]
fn sighup_reads_a_file_again_that_looks_unchanged() {
    let upstream = Upstream::start();
    let running = Running::start(&yaml(&upstream, "one", ""));
    let written = std::fs::metadata(&running.file).unwrap().modified().unwrap();
    std::fs::write(&running.file, yaml(&upstream, "two", "")).unwrap();
    File::options().write(true).open(&running.file).unwrap().set_modified(written).unwrap();
    running.signal("HUP");
    assert!(holds(|| running.ask("two").status == 200), "{}", running.log());
}

#[test]
fn a_broken_file_is_refused_and_the_old_one_stays() {
    let upstream = Upstream::start();
    let running = Running::start(&yaml(&upstream, "one", ""));
    for broken in ["models: [", "models:\n  one:\n    targets: [nobody/m]\n", "listen: 0.0.0.0:1\n"] {
        let before = running.log().len();
        std::fs::write(&running.file, broken).unwrap();
        running.signal("HUP");
        let is_told = || running.log().get(before..).is_some_and(|log| log.contains("refused"));
        assert!(holds(is_told), "{broken}: {}", running.log());
        assert_eq!(running.ask("one").status, 200, "{broken}");
    }
    std::fs::write(&running.file, yaml(&upstream, "two", "")).unwrap();
    assert!(holds(|| running.ask("two").status == 200), "{}", running.log());
}

#[test]
fn a_reload_never_opens_a_public_address_to_callers_without_a_key() {
    let upstream = Upstream::start();
    let running = Running::start_on("0.0.0.0:0", &yaml(&upstream, "one", "keys: [{ name: bot, key: sk-bot }]\n"));
    assert_eq!(running.ask("one").status, 401);
    std::fs::write(&running.file, yaml(&upstream, "one", "")).unwrap();
    running.signal("HUP");
    assert!(holds(|| running.log().contains("no `keys` are configured")), "{}", running.log());
    assert_eq!(running.ask("one").status, 401);
}

#[test]
fn health_survives_a_reload() {
    let upstream = Upstream::start();
    let sick = |name: &str| yaml(&upstream, name, "health: { rest: 60s, max_rest: 60s }\n");
    let running = Running::start(&sick("one"));
    upstream.server.simulator().set_faults([rule("unavailable_503")]);
    for _ in 0..4 {
        assert!(running.ask("one").status >= 500);
    }
    std::fs::write(&running.file, sick("two")).unwrap();
    assert!(holds(|| running.ask("two").status != 404), "{}", running.log());
    upstream.server.simulator().set_faults([]);
    // At most one request a second tries a target that rests; the others are told at once.
    let refused = (0..5).filter(|_| running.ask("two").status == 503).count();
    assert!(refused >= 3, "{refused}");
}

#[test]
fn sigterm_fails_readiness_at_once_and_ends_streams_with_an_honest_error() {
    let upstream = Upstream::start();
    upstream.server.simulator().set_faults([rule("stall:after=3")]);
    let mut running = Running::start(&yaml(&upstream, "one", "drain_accept: 1s\ndrain: 1s\n"));
    let mut stream = connect(running.address);
    let body = r#"{"model":"one","stream":true,"messages":[{"role":"user","content":"Hello"}]}"#;
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut text = String::new();
    let mut piece = [0; 4096];
    while !text.contains("data: ") {
        let n = stream.read(&mut piece).unwrap();
        assert_ne!(n, 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&piece[..n]));
    }
    assert_eq!(running.get("/health/ready").status, 200);
    running.signal("TERM");
    assert!(holds(|| running.get("/health/ready").status == 503), "{}", running.log());
    assert_eq!(running.get("/health/live").status, 200, "accepting goes on");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("shutting down") && !rest.contains("[DONE]"), "{rest}");
    assert_eq!(running.ended(), Some(0), "{}", running.log());
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let upstream = Upstream::start();
    let mut running = Running::start(&yaml(&upstream, "one", "drain_accept: 60s\n"));
    running.signal("TERM");
    assert!(holds(|| running.log().contains("draining")), "{}", running.log());
    std::thread::park_timeout(Duration::from_millis(10));
    running.signal("TERM");
    assert_eq!(running.ended(), Some(130));
}

#[test]
fn a_line_of_the_log_labels_each_target_with_its_region_where_it_states_one() {
    let (down, up) = (Upstream::start(), Upstream::start());
    down.server.simulator().set_faults([rule("unavailable_503")]);
    let rows = format!("providers:\n{}{}", down.row("down"), up.row("up"));
    let model = |targets: &str| format!("{rows}models:\n  chat: {{ targets: [{targets}] }}\n");
    let running = Running::start(&model("{ target: down/m, region: eu-central }, { target: up/m, region: us-east }"));
    assert_eq!(running.ask("chat").status, 200);
    assert!(holds(|| running.log().contains("served by a fallback")), "{}", running.log());
    let log = running.log();
    assert!(log.contains(r#""target":"up/m","region":"us-east""#), "{log}");
    assert!(log.contains("down/m in eu-central overloaded"), "{log}");
    let running = Running::start(&model("down/m, up/m"));
    assert_eq!(running.ask("chat").status, 200);
    assert!(holds(|| running.log().contains("served by a fallback")), "{}", running.log());
    assert!(!running.log().contains("region"), "{}", running.log());
}
