//! Recorded errors of real providers, classified as their documentation says.
//!
//! The expectation is written from statuses and texts alone, apart from the maps it checks.
#![expect(clippy::print_stderr, reason = "a skipped test says so, and a run says how much it saw")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use canon::{Fault, FaultClass, Scope};
use catalog::{Catalog, Provider, classify};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Folders of recordings, and the row that serves each.
const PROVIDERS: [(&str, &str); 11] = [
    ("openai", "openai"),
    ("azure", "openai"),
    ("anthropic", "anthropic"),
    ("gemini", "gemini"),
    ("deepseek", "deepseek"),
    ("mistral", "mistral"),
    ("groq", "groq"),
    ("xai", "xai"),
    ("openrouter", "openrouter"),
    ("dashscope", "dashscope"),
    ("ollama", "ollama"),
];

fn recordings() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "where the recordings are is the tester's choice")]
    let folder = std::env::var("MAINSTAY_RECORDINGS")
        .map_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no recordings at {}; set MAINSTAY_RECORDINGS", folder.display());
    None
}

struct Recording {
    id: String,
    provider: Arc<Provider>,
    response: Value,
}

impl Recording {
    fn status(&self) -> u16 {
        u16::try_from(self.response["status"].as_u64().unwrap()).unwrap()
    }

    fn body(&self) -> Vec<u8> {
        match (&self.response["body"], &self.response["text"]) {
            (Value::Null, Value::String(text)) => text.clone().into_bytes(),
            (body, _) => serde_json::to_vec(body).unwrap(),
        }
    }

    fn head(&self) -> Fault {
        let headers = &self.response["headers"];
        let header = |name: &str| headers[name].as_str();
        classify::head(&self.provider, self.status(), &header, &self.body(), now())
    }

    /// The JSON of every event of a stream, or the answer itself.
    fn values(&self) -> Vec<Value> {
        let lines: Vec<String> = match (&self.response["sse"], &self.response["chunks"]) {
            (Value::String(sse), _) => {
                sse.lines().filter_map(|line| line.strip_prefix("data:")).map(str::to_owned).collect()
            }
            (_, Value::Array(chunks)) => chunks.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => return vec![self.response["body"].clone()],
        };
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_266_000)
}

fn read_all() -> Option<Vec<Recording>> {
    let folder = recordings()?;
    let catalog = Catalog::builtin().unwrap();
    let mut all = Vec::new();
    for (name, row) in PROVIDERS {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(folder.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let id = format!("{name}/{}", path.file_stem().unwrap().to_str().unwrap());
            all.push(Recording {
                id,
                provider: Arc::clone(&catalog.providers[row]),
                response: value["response"].take(),
            });
        }
    }
    Some(all)
}

/// What a status and a text mean, by the rules every provider's documentation shares.
fn expected(status: u16, body: &str, should_retry: Option<&str>) -> FaultClass {
    let body = body.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| body.contains(word));
    let too_long = says(&[
        "context_length_exceeded",
        "maximum context length",
        "prompt is too long",
        "maximum number of tokens allowed",
        "maximum prompt length",
        "too large for model with",
    ]);
    match status {
        400 | 422 if too_long => FaultClass::ContextExceeded,
        400 if says(&["incorrect api key", "api_key_invalid", "api key not valid"]) => FaultClass::AuthRejected,
        400 if says(&["credit balance"]) => FaultClass::QuotaExhausted,
        400 if says(&["tool_use_failed"]) => FaultClass::BadAnswer,
        400 if says(&["model_not_found", "invalid_model", "not a valid model id", "model not exist"]) => {
            FaultClass::ModelMissing
        }
        400 if says(&["no-such/embedding-model does not exist"]) => FaultClass::ModelMissing,
        400 if says(&["unsupported_parameter", "unsupported_value", "not supported with this model"]) => {
            FaultClass::UnsupportedParameter
        }
        400 | 422 if says(&["\"3051\"", "\"3230\"", "\"3280\"", "unknown variant", "extra_forbidden"]) => {
            FaultClass::UnsupportedParameter
        }
        400 | 413 | 422 => FaultClass::InvalidRequest,
        401 | 403 => FaultClass::AuthRejected,
        404 => FaultClass::ModelMissing,
        429 if says(&["perday", "limit: 0,"]) => FaultClass::QuotaExhausted,
        429 if says(&["request too large"]) || should_retry == Some("false") => FaultClass::Overloaded,
        429 => FaultClass::RateLimited,
        408 | 500 => FaultClass::ServerError,
        503 | 529 => FaultClass::Overloaded,
        other => panic!("no expectation for status {other}: {body}"),
    }
}

#[test]
fn every_recorded_error_response_means_what_its_provider_documents() {
    let Some(all) = read_all() else { return };
    let mut counts: BTreeMap<(String, FaultClass), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for recording in all.iter().filter(|recording| recording.status() >= 400) {
        let fault = recording.head();
        let body = String::from_utf8(recording.body()).unwrap();
        let should_retry = recording.response["headers"]["x-should-retry"].as_str();
        let expected = expected(recording.status(), &body, should_retry);
        if fault.class != expected {
            wrong.push(format!("{}: {}, expected {expected}: {body}", recording.id, fault.class));
        }
        assert_eq!(fault.status, Some(recording.status()));
        assert!(!fault.message.is_empty(), "{}", recording.id);
        *counts.entry((recording.provider.name.clone(), fault.class)).or_default() += 1;
    }
    for ((provider, class), count) in &counts {
        eprintln!("{provider:<12} {class:<22} {count}");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(counts.values().sum::<usize>() >= 100, "too few error recordings: {counts:?}");
}

/// The recordings worth knowing by name: id, class, scope, hint in milliseconds.
const NOTABLE: [(&str, FaultClass, Option<Scope>, Option<u64>); 20] = [
    ("xai/chat_completions-n-400-3baa9f0ae98b", FaultClass::AuthRejected, None, None),
    ("xai/chat_completions-n-400-74fd84790199", FaultClass::ContextExceeded, None, None),
    ("xai/chat_completions-n-503-fa86c0b4d0f7", FaultClass::Overloaded, None, None),
    ("gemini/generateContent-n-400-1c6fc29c416c", FaultClass::AuthRejected, None, None),
    ("gemini/generateContent-n-400-ac15d416b94c", FaultClass::ContextExceeded, None, None),
    ("gemini/generateContent-n-429-1520dc976432", FaultClass::RateLimited, None, Some(48_000)),
    ("mistral/chat_completions-n-401-d6ff3175dc3a", FaultClass::AuthRejected, None, None),
    ("mistral/chat_completions-n-401-f6b121bba2c7", FaultClass::AuthRejected, None, None),
    ("mistral/chat_completions-n-500-77315e5a83b4", FaultClass::ServerError, None, None),
    ("dashscope/text_generation-n-401-1c0d7c259811", FaultClass::AuthRejected, None, None),
    ("dashscope/chat_completions-n-401-af14de7024e0", FaultClass::AuthRejected, None, None),
    ("openrouter/chat_completions-n-429-4169b5802a1d", FaultClass::RateLimited, None, None),
    ("groq/chat_completions-n-400-45a997f681e4", FaultClass::BadAnswer, None, None),
    ("azure/chat_completions-n-408-d8414d7b190c", FaultClass::ServerError, None, None),
    ("azure/chat_completions-n-413-e3a512d8ff04", FaultClass::InvalidRequest, None, None),
    ("openai/chat_completions-n-429-5e5c859f0810", FaultClass::Overloaded, Some(Scope::Request), None),
    ("anthropic/messages-n-429-3f4866276fbf", FaultClass::Overloaded, Some(Scope::Request), None),
    ("anthropic/messages-n-529-51066b96c24f", FaultClass::Overloaded, Some(Scope::Target), None),
    ("anthropic/messages-n-400-f42e6feda168", FaultClass::QuotaExhausted, Some(Scope::Credential), None),
    ("anthropic/messages-s-400-3cc98e2132e9", FaultClass::InvalidRequest, None, None),
];

#[test]
fn the_recordings_known_for_misleading_statuses_are_seen_through() {
    let Some(all) = read_all() else { return };
    for (id, class, scope, hint) in NOTABLE {
        let recording = all.iter().find(|recording| recording.id == id).unwrap_or_else(|| panic!("{id} is gone"));
        let fault = recording.head();
        assert_eq!(fault.class, class, "{id}");
        assert!(scope.is_none_or(|scope| scope == fault.scope), "{id}: {:?}", fault.scope);
        assert_eq!(fault.retry_after, hint.map(Duration::from_millis), "{id}");
    }
}

#[test]
fn no_recorded_key_echo_survives_in_a_message() {
    let Some(all) = read_all() else { return };
    let mut echoes = 0;
    for recording in all.iter().filter(|recording| recording.status() == 401 || recording.status() == 400) {
        let body = String::from_utf8(recording.body()).unwrap();
        let message = recording.head().message;
        if body.contains("***") {
            echoes += 1;
        }
        assert!(!message.contains("***") && !message.contains("sk-"), "{}: {message}", recording.id);
    }
    assert!(echoes >= 3, "{echoes} echoes");
}

#[test]
fn every_recorded_error_inside_a_200_means_what_its_words_say() {
    let Some(all) = read_all() else { return };
    let mut seen: BTreeMap<String, Vec<FaultClass>> = BTreeMap::new();
    for recording in all.iter().filter(|recording| recording.status() == 200) {
        for value in recording.values() {
            let error = value.get("error").or_else(|| value["response"].get("error"));
            if error.is_some_and(|error| !error.is_null()) {
                let whole = classify::in_body(&recording.provider, &value, now());
                let inner = classify::in_body(&recording.provider, error.unwrap(), now());
                assert_eq!(whole.class, inner.class, "{}: the event and its error object", recording.id);
                seen.entry(recording.id.clone()).or_default().push(whole.class);
            }
        }
    }
    let expected = [
        ("anthropic/messages-s-200-2e4991926e1b", vec![FaultClass::Overloaded]),
        ("anthropic/messages-s-200-47fb4e8917a7", vec![FaultClass::Overloaded]),
        ("groq/chat_completions-s-200-b9c4f87a6a77", vec![FaultClass::BadAnswer]),
        ("openai/chat_completions-s-200-29d72a8121fe", vec![FaultClass::ServerError]),
        ("openai/responses-s-200-2ead32a7eb91", vec![FaultClass::Overloaded, FaultClass::Overloaded]),
        ("openai/responses-s-200-f34fbebf02fb", vec![FaultClass::StreamBroken, FaultClass::Overloaded]),
        ("openrouter/chat_completions-s-200-34cb7ec0ab16", vec![FaultClass::ContextExceeded]),
    ];
    let expected: BTreeMap<String, Vec<FaultClass>> = expected.map(|(id, classes)| (id.to_owned(), classes)).into();
    assert_eq!(seen, expected);
}
