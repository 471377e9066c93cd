//! Recorded streams of every provider, cut after each of their frames: what was recorded is what the decoder says, and
//! the stream, gone on with by a resume encoder, says what the whole one says.
//!
//! The recordings are not part of the repository: `MAINSTAY_RECORDINGS` names their folder.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests say what went wrong by panicking, and print what they counted"
)]

#[path = "shown_support/mod.rs"]
mod support;

use bytes::{Bytes, BytesMut};
use canon::{DialectName, Event};
use dialect::profile::Profile;
use dialect::sse;
use serde_json::Value;
use std::path::PathBuf;
use support::{Said, SideBySide, decode, of_another_target, resumed};

struct Recording {
    name: String,
    dialect: DialectName,
    stream: Bytes,
}

#[expect(clippy::disallowed_methods, reason = "where the recordings are is the tester's to say")]
fn folder() -> PathBuf {
    std::env::var("MAINSTAY_RECORDINGS")
        .map_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings"), PathBuf::from)
}

fn dialect_of(endpoint: &str) -> Option<DialectName> {
    match endpoint {
        "chat.completions" => Some(DialectName::OpenaiChat),
        "messages" => Some(DialectName::AnthropicMessages),
        "streamGenerateContent" => Some(DialectName::Gemini),
        _ => None,
    }
}

/// The stream of a recording, in the framing of its API where only the payloads were kept.
fn stream(value: &Value) -> Option<Bytes> {
    let response = &value["response"];
    if response["status"] != 200 {
        return None;
    }
    if let Some(text) = response["sse"].as_str() {
        return Some(Bytes::copy_from_slice(text.as_bytes()));
    }
    let chunks = response["chunks"].as_array()?;
    let frames: Vec<String> = chunks.iter().map(|chunk| format!("data: {}\n\n", chunk.as_str().unwrap())).collect();
    Some(frames.concat().into())
}

/// Every recorded stream; `None` = there are none here.
fn recordings() -> Option<Vec<Recording>> {
    let Ok(providers) = std::fs::read_dir(folder()) else {
        println!("SKIPPED: no recordings at {}; set MAINSTAY_RECORDINGS", folder().display());
        return None;
    };
    let mut found = Vec::new();
    for provider in providers.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for path in std::fs::read_dir(&provider).unwrap().map(|entry| entry.unwrap().path()) {
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            if path.extension().is_none_or(|extension| extension != "json") || !stem.contains("-s-") {
                continue;
            }
            let value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let endpoint = value["endpoint"].as_str().unwrap_or_default();
            let dialect = dialect_of(endpoint).or_else(|| dialect_of(stem.split('-').next().unwrap()));
            if let (Some(dialect), Some(stream)) = (dialect, stream(&value)) {
                let name = format!("{}/{stem}", provider.file_name().unwrap().to_string_lossy());
                found.push(Recording { name, dialect, stream });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Some(found)
}

#[test]
fn every_recorded_stream_is_recorded_as_it_is_decoded() {
    let Some(recordings) = recordings() else { return };
    let (mut streams, mut frames_seen, mut characters) = ([0; 3], 0, 0);
    for recording in &recordings {
        let (frames, _) = sse::frames(recording.stream.clone());
        let mut both = SideBySide::new(recording.dialect, &Profile::default());
        for frame in &frames {
            if both.look(frame) {
                frames_seen += 1;
                both.agree(&recording.name);
            }
        }
        characters += both.shown().text.chars().count();
        streams[DialectName::ALL.iter().position(|dialect| *dialect == recording.dialect).unwrap()] += 1;
    }
    println!("streams: {streams:?} ({frames_seen} frames, {characters} characters of text)");
    assert!(streams.iter().all(|count| *count > 30) && characters > 10_000, "{streams:?}");
}

/// A recorded stream and what its decoder says after each frame.
struct Cut {
    bytes: usize,
    shown: dialect::Shown,
    /// Events told so far.
    told: usize,
}

fn cuts(recording: &Recording) -> (Vec<Cut>, Vec<Event>, BytesMut) {
    let (frames, residue) = sse::frames(recording.stream.clone());
    let mut both = SideBySide::new(recording.dialect, &Profile::default());
    let (mut cuts, mut passed) = (Vec::new(), BytesMut::new());
    for frame in &frames {
        if !both.look(frame) {
            continue;
        }
        // Comments between frames are not passed on either.
        passed.extend_from_slice(&frame.raw);
        cuts.push(Cut { bytes: passed.len(), shown: both.shown().clone(), told: both.events.len() });
    }
    let (events, _) = both.end(&residue);
    (cuts, events, passed)
}

#[test]
fn every_recorded_stream_of_text_is_gone_on_with_after_any_frame() {
    let Some(recordings) = recordings() else { return };
    let mut tried = [0; 3];
    for recording in &recordings {
        let (cuts, events, passed) = cuts(recording);
        let fails = |event: &Event| matches!(event, Event::Error(_) | Event::Refusal { .. } | Event::PromptBlocked(_));
        if !matches!(events.last(), Some(Event::Done)) || events.iter().any(fails) {
            continue;
        }
        let undisturbed = Said::of(&events);
        for cut in cuts.iter().step_by(1 + cuts.len() / 24) {
            let shown = &cut.shown;
            if shown.obstacle.is_some() || shown.finished || shown.open_call || !shown.begun {
                continue;
            }
            let rest = of_another_target(&events[cut.told..], shown.tool_calls);
            let mut whole = BytesMut::from(&passed[..cut.bytes]);
            whole.extend_from_slice(&resumed(recording.dialect, shown, &rest));
            let joined = Said::of(&decode(recording.dialect, &Profile::default(), &whole));
            let name = format!("{} cut at {}", recording.name, cut.bytes);
            assert_eq!(joined.text, undisturbed.text, "{name}");
            assert_eq!(joined.reasoning, undisturbed.reasoning, "{name}");
            assert_eq!((&joined.id, &joined.model), (&undisturbed.id, &undisturbed.model), "{name}");
            assert_eq!((&joined.finish, joined.done), (&undisturbed.finish, 1), "{name}");
            let plain = |said: &Said| -> Vec<(String, Value)> {
                let calls = said.calls.iter();
                calls.map(|(_, name, json)| (name.clone(), serde_json::from_str(json).unwrap_or_default())).collect()
            };
            assert_eq!(plain(&joined), plain(&undisturbed), "{name}");
            tried[DialectName::ALL.iter().position(|dialect| *dialect == recording.dialect).unwrap()] += 1;
        }
    }
    println!("cuts gone on with: {tried:?}");
    assert!(tried.iter().all(|count| *count > 50), "{tried:?}");
}
