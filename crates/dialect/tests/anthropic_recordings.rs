//! Recorded exchanges of the Messages API, fed through the codec: requests mean the same after a round trip, answers
//! and streams decode and come back the same, and the sniffer agrees with the decoder.
//!
//! The recordings are not part of the repository: `MAINSTAY_RECORDINGS` names their folder.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::format_push_string,
    clippy::print_stdout,
    reason = "tests say what went wrong by panicking, and print what they counted"
)]

#[path = "anthropic_support/mod.rs"]
mod support;

use bytes::Bytes;
use canon::{Drops, Event, Request, Tag};
use dialect::profile::{Profile, Thinking};
use dialect::{PathFacts, StreamEnd, sse};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use support::{DIALECT, decode_stream, encode_stream, fold, forget_spans, merge_texts, normal};

/// Recordings whose stream does not end with `Done`, and why.
const NO_TERMINATOR: [(&str, &str); 0] = [];

/// Requests the codec alters on the way, and why.
const ALTERED: [(&str, &str); 0] = [];

struct Recording {
    name: String,
    value: Value,
}

impl Recording {
    fn status(&self) -> u64 {
        self.value["response"]["status"].as_u64().unwrap()
    }

    fn request(&self) -> Option<&Value> {
        self.value.pointer("/request/body").filter(|body| body.is_object())
    }

    /// The whole answer's body.
    fn answer(&self) -> Option<Vec<u8>> {
        self.value.pointer("/response/body").map(|body| body.to_string().into_bytes())
    }

    /// The stream; recordings that kept only the payloads get the framing the API uses.
    fn stream(&self) -> Option<Bytes> {
        let response = &self.value["response"];
        if let Some(stream) = response["sse"].as_str() {
            return Some(Bytes::copy_from_slice(stream.as_bytes()));
        }
        let chunks = response["chunks"].as_array()?;
        let mut stream = String::new();
        for chunk in chunks.iter().map(|chunk| chunk.as_str().unwrap()) {
            let value: Value = serde_json::from_str(chunk).unwrap();
            stream.push_str(&format!("event: {}\ndata: {chunk}\n\n", value["type"].as_str().unwrap()));
        }
        Some(Bytes::from(stream))
    }
}

#[expect(clippy::disallowed_methods, reason = "where the recordings are is the tester's to say")]
fn folder() -> PathBuf {
    std::env::var("MAINSTAY_RECORDINGS")
        .map_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings"), PathBuf::from)
}

/// Every recording of the Messages API, whoever serves it; `None` = there are none here.
fn recordings() -> Option<Vec<Recording>> {
    let Ok(providers) = std::fs::read_dir(folder()) else {
        println!("SKIPPED: no recordings at {}", folder().display());
        return None;
    };
    let mut found = Vec::new();
    for provider in providers.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for path in std::fs::read_dir(&provider).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            if value["endpoint"] == "messages" {
                let provider = provider.file_name().unwrap().to_string_lossy().into_owned();
                let name = format!("{provider}/{}", path.file_stem().unwrap().to_string_lossy());
                found.push(Recording { name, value });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(found.len() > 100, "only {} recordings at {}", found.len(), folder().display());
    Some(found)
}

fn decode(body: &[u8]) -> Result<Request, dialect::BadRequest> {
    dialect::inbound(DIALECT).decode_request(&PathFacts::default(), body)
}

#[test]
fn every_recorded_request_means_the_same_after_a_round_trip() {
    let Some(recordings) = recordings() else { return };
    let (mut same, mut altered) = (0, 0);
    let mut failures = Vec::new();
    for recording in &recordings {
        let Some(body) = recording.request() else { continue };
        let first = match decode(body.to_string().as_bytes()) {
            Ok(request) => request,
            Err(error) => {
                // What the API itself rejected may be rejected here too.
                if recording.status() != 400 {
                    failures.push(format!("{}: {}", recording.name, error.message));
                }
                continue;
            }
        };
        let thinking = if first.reasoning.budget_tokens.is_some() { Thinking::Budget } else { Thinking::Effort };
        let profile = Profile { thinking, ..Profile::default() };
        let mut drops = Drops::new();
        let encoded = dialect::outbound(DIALECT).encode_request(&first, &first.model, &profile, &mut drops);
        let encoded = encoded.unwrap_or_else(|error| panic!("{}: {error:?}", recording.name));
        let second = decode(&encoded.body).unwrap_or_else(|error| panic!("{}: {error:?}", recording.name));
        if !drops.is_empty() {
            altered += 1;
            if !ALTERED.iter().any(|(name, _)| *name == recording.name) && recording.status() == 200 {
                failures.push(format!("{}: {drops:?}", recording.name));
            }
        } else if normal(first.clone()) == normal(second.clone()) {
            same += 1;
        } else {
            failures.push(format!("{}:\n{:?}\n{:?}", recording.name, normal(first), normal(second)));
        }
    }
    println!("requests: {same} the same, {altered} altered and reported");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(same > 100);
}

#[test]
fn every_recorded_answer_comes_back_the_same_and_the_sniffer_agrees() {
    let Some(recordings) = recordings() else { return };
    let (mut answers, mut errors) = (0, 0);
    for recording in &recordings {
        let name = &recording.name;
        let Some(body) = recording.answer() else { continue };
        let sniffed = dialect::outbound(DIALECT).sniffer(&Profile::default()).sniff_answer(&body);
        let decoded = dialect::outbound(DIALECT).decode_answer(&body, &Profile::default());
        if recording.status() != 200 {
            assert!(decoded.is_err(), "{name}: an error was read as an answer");
            assert!(sniffed.error.is_some() && sniffed.tag == Some(Tag::Fault), "{name}: {sniffed:?}");
            errors += 1;
            continue;
        }
        let answer = decoded.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let mut drops = Drops::new();
        let encoded = dialect::inbound(DIALECT).encode_answer(&answer, &mut drops);
        assert!(drops.is_empty(), "{name}: {drops:?}");
        let again = dialect::outbound(DIALECT).decode_answer(&encoded, &Profile::default()).unwrap();
        assert_eq!(again, answer, "{name}");

        let candidate = &answer.candidates[0];
        assert_eq!(sniffed.usage.unwrap_or_default(), answer.usage, "{name}");
        assert_eq!(sniffed.finish.as_ref().map(|(reason, _)| *reason), candidate.finish, "{name}");
        assert_eq!(sniffed.finish.map(|(_, native)| native), candidate.native_finish, "{name}");
        assert_eq!(sniffed.model, answer.model, "{name}");
        assert_eq!(sniffed.tag.is_some(), !candidate.parts.is_empty(), "{name}");
        answers += 1;
    }
    println!("answers: {answers}, errors: {errors}");
    assert!(answers > 50 && errors > 20);
}

#[test]
fn every_recorded_stream_ends_as_its_protocol_says_and_comes_back_the_same() {
    let Some(recordings) = recordings() else { return };
    let (mut streams, mut failed) = (0, 0);
    for recording in &recordings {
        let name = &recording.name;
        let Some(stream) = recording.stream() else { continue };
        let (events, malformed) = decode_stream(&stream);
        assert!(malformed.is_empty(), "{name}: {malformed:?}");
        sniffer_agrees(name, &stream, &events);
        if events.iter().any(|event| matches!(event, Event::Error(_))) {
            assert!(!matches!(events.last(), Some(Event::Done)), "{name}: an error is no end");
            failed += 1;
            continue;
        }
        let excused = NO_TERMINATOR.iter().any(|(excused, _)| excused == name);
        assert_eq!(matches!(events.last(), Some(Event::Done)), !excused, "{name}");
        check_order(name, &events);

        let (encoded, drops) = encode_stream(&events);
        assert!(drops.is_empty(), "{name}: {drops:?}");
        let (again, malformed) = decode_stream(&encoded);
        assert!(malformed.is_empty(), "{name}: {malformed:?}");
        check_order(name, &again);
        let (mut first, mut second) = (fold(&events), fold(&again));
        for answer in [&mut first, &mut second] {
            merge_texts(answer);
            forget_spans(answer);
        }
        assert_eq!(second, first, "{name}");
        streams += 1;
    }
    println!("streams: {streams} complete, {failed} with an error event");
    assert!(streams > 50 && failed > 0);
}

/// The order every decoder promises.
fn check_order(name: &str, events: &[Event]) {
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert!(matches!(events.first(), Some(Event::Start { .. } | Event::Ping)), "{name}: {:?}", events.first());
    assert_eq!(count(|event| matches!(event, Event::Start { .. })), 1, "{name}");
    assert_eq!(count(|event| matches!(event, Event::Finish { .. })), 1, "{name}");
    assert_eq!(count(|event| matches!(event, Event::Done)), 1, "{name}");
    let mut arguments: BTreeMap<u32, (String, bool)> = BTreeMap::new();
    for event in events {
        match event {
            Event::ToolCallStart { call, .. } => {
                assert_eq!(usize::try_from(*call).unwrap(), arguments.len(), "{name}: calls count up");
                arguments.insert(*call, (String::new(), false));
            }
            Event::ToolCallDelta { call, arguments: piece, .. } => {
                let (held, ended) = arguments.get_mut(call).expect("a delta of a call begun");
                assert!(!*ended, "{name}: a delta after the end");
                held.push_str(piece);
            }
            Event::ToolCallEnd { call, .. } => arguments.get_mut(call).expect("an end of a call begun").1 = true,
            Event::Text { text, .. } => assert!(!text.is_empty(), "{name}: an empty text"),
            _ => {}
        }
    }
    for (call, (arguments, ended)) in arguments {
        assert!(ended, "{name}: call {call} has no end");
        // The only incomplete arguments are those of an answer cut by its token cap.
        let cut = events.iter().any(|event| matches!(event, Event::Finish { reason: canon::FinishReason::Length, .. }));
        let whole = serde_json::from_str::<Value>(&arguments).is_ok_and(|value| value.is_object());
        assert!(whole || cut, "{name}: {arguments}");
    }
}

/// The sniffer sees what the decoder sees.
fn sniffer_agrees(name: &str, stream: &Bytes, events: &[Event]) {
    let (frames, residue) = sse::frames(stream.clone());
    let mut sniffer = dialect::outbound(DIALECT).sniffer(&Profile::default());
    let (mut usage, mut finish, mut model, mut errors, mut terminators) = (None, None, None, 0, 0);
    let mut tags = Vec::new();
    for frame in &frames {
        let sniffed = sniffer.sniff(frame);
        assert!(!sniffed.malformed && !sniffed.only_usage, "{name}: {frame:?}");
        usage = sniffed.usage.or(usage);
        finish = sniffed.finish.or(finish);
        model = model.or(sniffed.model);
        errors += usize::from(sniffed.error.is_some());
        terminators += usize::from(sniffed.terminator);
        tags.extend(sniffed.tag);
    }
    let answer = fold(events);
    let candidate = &answer.candidates[0];
    assert_eq!(usage.unwrap_or_default(), answer.usage, "{name}");
    assert_eq!(finish.as_ref().map(|(reason, _)| *reason), candidate.finish, "{name}");
    assert_eq!(finish.map(|(_, native)| native), candidate.native_finish, "{name}");
    assert_eq!(model, answer.model, "{name}");
    assert_eq!(errors, events.iter().filter(|event| matches!(event, Event::Error(_))).count(), "{name}");
    let done = matches!(events.last(), Some(Event::Done));
    assert_eq!(terminators > 0, done, "{name}");
    assert_eq!(sniffer.end(&residue) == StreamEnd::Complete, done, "{name}");
    for tag in [Tag::Content, Tag::Tool, Tag::Reasoning] {
        let decoded = events.iter().any(|event| event.tag() == tag);
        let server_tool = tag == Tag::Tool && events.iter().any(|event| matches!(event, Event::Opaque { .. }));
        assert!(tags.contains(&tag) == decoded || server_tool, "{name}: {tag:?}");
    }
}
