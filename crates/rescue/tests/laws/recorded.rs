//! Answers of many models, from recorded traffic beside the workspace (`MAINSTAY_RECORDINGS`), where there is any.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An answer and who gave it.
pub(crate) struct Recorded {
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) text: String,
}

fn folder() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "tests find recordings by the environment")]
    let named = std::env::var("MAINSTAY_RECORDINGS").ok();
    named.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings"), PathBuf::from)
}

/// At most `most` distinct answers of at least 200 characters, spread over providers and models; none without
/// recordings.
pub(crate) fn answers(most: usize) -> Vec<Recorded> {
    let folder = folder();
    let Ok(providers) = std::fs::read_dir(&folder) else {
        println!("SKIPPED: no recordings at {}; set MAINSTAY_RECORDINGS", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = providers
        .filter_map(|entry| std::fs::read_dir(entry.ok()?.path()).ok())
        .flat_map(|files| files.filter_map(|file| Some(file.ok()?.path())))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    let mut by_model: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for path in paths {
        let Some(value) = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        else {
            continue;
        };
        let name = |key: &str| value[key].as_str().unwrap_or("?").to_owned();
        let text = said(&value["response"]);
        if text.chars().count() >= 200 {
            let texts = by_model.entry((name("provider"), name("model"))).or_default();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
    }
    let mut found = Vec::new();
    for round in 0.. {
        let before = found.len();
        for ((provider, model), texts) in &by_model {
            if let Some(text) = texts.get(round)
                && found.len() < most
            {
                found.push(Recorded { provider: provider.clone(), model: model.clone(), text: text.clone() });
            }
        }
        if found.len() == before {
            break;
        }
    }
    found
}

/// The text of a response, streamed or not.
fn said(response: &Value) -> String {
    if let Some(stream) = response["sse"].as_str() {
        return stream
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?).ok())
            .map(|event| text_of(&event))
            .collect();
    }
    if let Some(chunks) = response["chunks"].as_array() {
        let events = chunks.iter().filter_map(|chunk| serde_json::from_str::<Value>(chunk.as_str()?).ok());
        return events.map(|event| text_of(&event)).collect();
    }
    text_of(&response["body"])
}

/// The text of a body or of one stream event, in any of the known shapes.
fn text_of(value: &Value) -> String {
    let choice = &value["choices"][0];
    let direct = [&choice["delta"]["content"], &choice["message"]["content"], &value["delta"]["text"]];
    if let Some(text) = direct.into_iter().find_map(Value::as_str) {
        return text.to_owned();
    }
    let parts =
        [&value["candidates"][0]["content"]["parts"], &value["content"], &value["output"]["message"]["content"]];
    let Some(parts) = parts.into_iter().find_map(Value::as_array) else { return String::new() };
    parts.iter().filter(|part| part["thought"] != true).filter_map(|part| part["text"].as_str()).collect()
}
