//! Bad input of every kind gets a clear error in the caller's dialect, and the gateway goes on.

use crate::process::{Answer, Running, Upstream};
use serde_json::Value;
use std::rc::Rc;

struct Surface {
    path: &'static str,
    key: &'static str,
    good: &'static str,
    is_error: fn(&Value) -> bool,
}

const SURFACES: [Surface; 3] = [
    Surface {
        path: "/v1/chat/completions",
        key: "authorization: Bearer sk-bot\r\n",
        good: r#"{"model":"chat","messages":[{"role":"user","content":"Hello"}]}"#,
        is_error: |body| body["error"]["message"].is_string() && body["error"]["type"].is_string(),
    },
    Surface {
        path: "/v1/messages",
        key: "x-api-key: sk-bot\r\nanthropic-version: 2023-06-01\r\n",
        good: r#"{"model":"chat","max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}"#,
        is_error: |body| body["type"] == "error" && body["error"]["type"].is_string(),
    },
    Surface {
        path: "/v1beta/models/chat:generateContent",
        key: "x-goog-api-key: sk-bot\r\n",
        good: r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#,
        is_error: |body| body["error"]["code"].is_number() && body["error"]["status"].is_string(),
    },
];

const JSON: &str = "content-type: application/json\r\n";

thread_local! {
    /// One a test: it ends with the test's thread, where a static would outlive the process as an orphan.
    static GATEWAY: (Rc<Running>, Upstream) = {
        let upstream = Upstream::start();
        let yaml = format!(
            "keys:\n  - {{ name: bot, key: sk-bot }}\n  - {{ name: poor, key: sk-poor, models: [none] }}\nproviders:\n{}models:\n  chat:\n    targets: [a/m-1]\n",
            upstream.row("a")
        );
        (Rc::new(Running::start(&yaml)), upstream)
    };
}

fn gateway() -> Rc<Running> {
    GATEWAY.with(|(running, _)| running.clone())
}

fn refused(surface: &Surface, answer: &Answer, status: u16, words: &[&str]) {
    assert_eq!(answer.status, status, "{}: {answer:?}", surface.path);
    let body = answer.json();
    assert!((surface.is_error)(&body), "{}: {body}", surface.path);
    let text = body.to_string().to_lowercase();
    for word in words {
        assert!(text.contains(word), "{}: `{word}` in {body}", surface.path);
    }
    assert!(answer.head.contains("x-request-id: "), "{answer:?}");
}

fn post(surface: &Surface, body: &str) -> Answer {
    gateway().post(surface.path, &format!("{}{JSON}", surface.key), body)
}

#[test]
fn good_input_is_answered() {
    for surface in &SURFACES {
        assert_eq!(post(surface, surface.good).status, 200, "{}", surface.path);
    }
}

#[test]
fn broken_json_is_a_400() {
    for surface in &SURFACES {
        for broken in ["", "{", "not json", r#"{"model":"chat","messages":[}"#, "[]", "\"text\"", "null", "\u{feff}{}"]
        {
            refused(surface, &post(surface, broken), 400, &[]);
        }
        let cut = surface.good.trim_end_matches('}');
        refused(surface, &post(surface, cut), 400, &["json"]);
    }
}

#[test]
fn wrong_types_are_a_400_that_names_the_field() {
    for (surface, body, word) in [
        (0, r#"{"model":7,"messages":[]}"#, "model"),
        (0, r#"{"model":"chat","messages":[],"stream":"yes"}"#, "stream"),
        (0, r#"{"messages":[]}"#, "model"),
        (1, r#"{"model":7,"max_tokens":1,"messages":[]}"#, "model"),
        (1, r#"{"model":"chat","max_tokens":1,"messages":[],"stream":"yes"}"#, "stream"),
        (1, r#"{"max_tokens":1,"messages":[]}"#, "model"),
    ] {
        let surface = &SURFACES[surface];
        refused(surface, &post(surface, body), 400, &[word]);
    }
    for (surface, body) in [
        (0, r#"{"model":"chat","messages":"Hello"}"#),
        (1, r#"{"model":"chat","max_tokens":1,"messages":"Hello"}"#),
        (2, r#"{"contents":7}"#),
    ] {
        let surface = &SURFACES[surface];
        let answer = post(surface, body);
        assert!((400..500).contains(&answer.status), "{}: {answer:?}", surface.path);
        assert!((surface.is_error)(&answer.json()), "{answer:?}");
    }
}

#[test]
fn an_unknown_model_is_a_404_that_says_what_there_is() {
    for surface in &SURFACES {
        let path = surface.path.replace("models/chat", "models/chatt");
        let body = surface.good.replace("\"chat\"", "\"chatt\"");
        let answer = gateway().post(&path, &format!("{}{JSON}", surface.key), &body);
        refused(surface, &answer, 404, &["chatt", "known are chat"]);
    }
}

#[test]
fn a_missing_or_wrong_key_is_a_401_and_a_key_of_another_model_a_403() {
    for surface in &SURFACES {
        let answer = gateway().post(surface.path, JSON, surface.good);
        refused(surface, &answer, 401, &["key"]);
        let wrong = surface.key.replace("sk-bot", "sk-wrong");
        let answer = gateway().post(surface.path, &format!("{wrong}{JSON}"), surface.good);
        refused(surface, &answer, 401, &["key"]);
        assert!(!answer.body.contains("sk-wrong"), "a key is never shown: {answer:?}");
        let poor = surface.key.replace("sk-bot", "sk-poor");
        let answer = gateway().post(surface.path, &format!("{poor}{JSON}"), surface.good);
        refused(surface, &answer, 403, &["poor", "chat"]);
    }
}

#[test]
fn a_content_type_that_is_not_json_is_a_415() {
    for surface in &SURFACES {
        for kind in ["multipart/form-data; boundary=x", "application/octet-stream", "text/html"] {
            let headers = format!("{}content-type: {kind}\r\n", surface.key);
            refused(surface, &gateway().post(surface.path, &headers, surface.good), 415, &["application/json"]);
        }
        let headers = format!("{}{JSON}content-encoding: lzma\r\n", surface.key);
        refused(surface, &gateway().post(surface.path, &headers, surface.good), 415, &["lzma"]);
        let headers = format!("{}{JSON}content-encoding: gzip\r\n", surface.key);
        refused(surface, &gateway().post(surface.path, &headers, surface.good), 400, &["decompress"]);
    }
}

#[test]
fn a_wrong_method_is_a_405_that_names_the_right_one() {
    for surface in &SURFACES {
        let head = format!("GET {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{}\r\n", surface.path, surface.key);
        let answer = gateway().send(&head, b"");
        refused(surface, &answer, 405, &["post"]);
        assert!(answer.head.contains("allow: post"), "{answer:?}");
    }
}

#[test]
fn an_unknown_path_is_a_404_that_says_what_is_served() {
    for (surface, path) in [(0, "/v1/chat"), (0, "/"), (1, "/v1/complete"), (2, "/v1beta/other")] {
        let surface = &SURFACES[surface];
        let answer = gateway().post(path, &format!("{}{JSON}", surface.key), surface.good);
        refused(surface, &answer, 404, &["/v1/chat/completions"]);
    }
}

#[test]
fn a_request_that_is_too_large_is_a_413() {
    for surface in &SURFACES {
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n{}{JSON}\r\n",
            surface.path,
            33 << 20,
            surface.key
        );
        refused(surface, &gateway().send(&head, b""), 413, &["32 mib"]);
    }
}

#[test]
fn nesting_without_end_is_a_400_and_not_the_end_of_the_process() {
    for surface in &SURFACES {
        let deep = format!("{{\"x\":{}", "[".repeat(200_000));
        refused(surface, &post(surface, &deep), 400, &[]);
        let closed = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let answer = post(surface, &closed);
        assert!((400..500).contains(&answer.status), "{}: {answer:?}", surface.path);
        assert_eq!(post(surface, surface.good).status, 200);
    }
}
