//! Every provider has a folder of errors, and each error means what its provider documents.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::option_option,
    reason = "a test fails by panicking; absent and null differ in a fixture"
)]

use canon::{Fault, FaultClass, FinishReason, Scope};
use catalog::{Catalog, Provider, classify};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// One failure and what it must become.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// An HTTP answer, with `headers` and one of `body` and `text`.
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
    text: Option<String>,
    /// An error object inside a 200.
    in_body: Option<Value>,
    /// A finish reason, with the provider's word and whether something had been said.
    finish: Option<String>,
    native: Option<String>,
    #[serde(default)]
    content: bool,
    /// What it becomes; `None` = no fault.
    class: Option<FaultClass>,
    scope: Option<Scope>,
    /// Present = checked, and `null` = there is no hint.
    #[serde(default, deserialize_with = "present")]
    retry_after_ms: Option<Option<u64>>,
    parameter: Option<String>,
    message_lacks: Option<String>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::<u64>::deserialize(deserializer).map(Some)
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn cases(provider: &str) -> Vec<Case> {
    let path = folder().join(provider).join("errors.yaml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn finish_reason(name: &str) -> FinishReason {
    match name {
        "content_filter" => FinishReason::ContentFilter,
        "context_full" => FinishReason::ContextFull,
        "broken_output" => FinishReason::BrokenOutput,
        "provider_error" => FinishReason::ProviderError,
        "pause" => FinishReason::Pause,
        "other" => FinishReason::Other,
        unknown => panic!("a fixture names the finish {unknown}"),
    }
}

fn fault_of(provider: &Provider, case: &Case) -> Option<Fault> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_266_000);
    if let Some(value) = &case.in_body {
        return Some(classify::in_body(provider, value, now));
    }
    if let Some(finish) = &case.finish {
        return classify::finish(provider, finish_reason(finish), case.native.as_deref().unwrap(), case.content);
    }
    let body = match (&case.body, &case.text) {
        (Some(body), None) => body.to_string(),
        (None, Some(text)) => text.clone(),
        _ => panic!("{}: one of body and text", case.name),
    };
    let header = |name: &str| case.headers.get(name).map(String::as_str);
    Some(classify::head(provider, case.status.unwrap(), &header, body.as_bytes(), now))
}

#[test]
fn every_provider_has_a_folder_of_errors_that_classify_as_documented() {
    let catalog = Catalog::builtin().unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, provider) in &catalog.providers {
        let cases = cases(name);
        assert!(cases.iter().any(|case| case.status.is_some()), "{name}: no error response among its fixtures");
        for case in &cases {
            count += 1;
            let fault = fault_of(provider, case);
            let class = fault.as_ref().map(|fault| fault.class);
            if class != case.class {
                wrong.push(format!("{name}: {}: {class:?}, expected {:?}", case.name, case.class));
                continue;
            }
            let Some(fault) = fault else { continue };
            if case.scope.is_some_and(|scope| scope != fault.scope) {
                wrong.push(format!("{name}: {}: scope {:?}", case.name, fault.scope));
            }
            let wait = fault.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap());
            if case.retry_after_ms.is_some_and(|expected| expected != wait) {
                wrong.push(format!("{name}: {}: retry after {wait:?} ms", case.name));
            }
            if case.parameter.is_some() && case.parameter != fault.parameter {
                wrong.push(format!("{name}: {}: parameter {:?}", case.name, fault.parameter));
            }
            if case.message_lacks.as_ref().is_some_and(|text| fault.message.contains(text)) {
                wrong.push(format!("{name}: {}: message {}", case.name, fault.message));
            }
            if fault.message.is_empty() {
                wrong.push(format!("{name}: {}: no message", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 250, "only {count} fixtures were read");
}

#[test]
fn every_folder_belongs_to_a_provider() {
    let catalog = Catalog::builtin().unwrap();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(catalog.providers.contains_key(&name), "{name} has fixtures and no row");
    }
}
