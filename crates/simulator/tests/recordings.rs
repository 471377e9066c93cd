//! What a real provider accepted, the simulated one accepts too.
//!
//! Recorded requests are found by `MAINSTAY_RECORDINGS`, else beside the workspace; without them the test says so.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use canon::DialectName;
use common::{provider, whole};
use http::Request;
use serde_json::Value;
use simulator::Simulator;
use std::path::{Path, PathBuf};

/// The folders, and what the names of their chat exchanges begin with.
const FOLDERS: [(&str, &str, DialectName); 3] = [
    ("openai", "chat_completions-", DialectName::OpenaiChat),
    ("anthropic", "messages-", DialectName::AnthropicMessages),
    ("gemini", "", DialectName::Gemini),
];

fn recordings() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the recordings are found by the environment")]
    let named = std::env::var("MAINSTAY_RECORDINGS").ok();
    let root =
        named.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings"), PathBuf::from);
    root.is_dir().then_some(root)
}

/// Signatures of real models become the simulator's own, which is all it can recognise.
fn resign(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields.iter_mut() {
                if ["signature", "thoughtSignature", "thought_signature"].contains(&name.as_str()) && inner.is_string()
                {
                    *inner = "c2ltdWxhdGVkcmVjb3JkZWQ=".into();
                } else {
                    resign(inner);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(resign),
        _ => {}
    }
}

fn exchange(path: &Path, dialect: DialectName) -> Option<Request<bytes::Bytes>> {
    let recorded: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let request = recorded.get("request")?;
    let is_vendor_mock = recorded.pointer("/source/fidelity").is_some_and(|fidelity| fidelity == "vendor-mock");
    let mut body = request.get("body").filter(|body| body.is_object())?.clone();
    if is_vendor_mock || recorded.pointer("/response/status") != Some(&Value::from(200)) {
        return None;
    }
    resign(&mut body);
    let path = request.get("path")?.as_str()?;
    if dialect == DialectName::Gemini && !path.contains("enerateContent") {
        return None;
    }
    let builder = Request::post(path)
        .header("authorization", "Bearer k")
        .header("x-goog-api-key", "k")
        .header("anthropic-version", "2023-06-01");
    builder.body(body.to_string().into()).ok()
}

#[tokio::test(start_paused = true)]
async fn requests_that_real_providers_accepted_are_accepted() {
    let Some(root) = recordings() else {
        println!("SKIPPED: no recordings; set MAINSTAY_RECORDINGS to their folder");
        return;
    };
    for (folder, prefix, dialect) in FOLDERS {
        let (mut accepted, mut refused) = (0_u32, Vec::new());
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let Some(request) = exchange(&file, dialect).filter(|_| name.starts_with(prefix)) else { continue };
            let response = Simulator::new(provider(dialect)).call(request).await.unwrap();
            let status = response.status();
            let text = whole(response).await;
            if status.is_success() {
                accepted += 1;
            } else {
                refused.push(format!("{name}: {text}"));
            }
        }
        println!("{dialect}: {accepted} accepted");
        assert!(refused.is_empty(), "{dialect}: refused\n{}", refused.join("\n"));
        assert!(accepted > 50, "{dialect}: only {accepted} recordings were read");
    }
}
