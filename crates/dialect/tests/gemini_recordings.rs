//! Recorded `generateContent` and `streamGenerateContent` traffic of AI Studio and Vertex, fed through the codec.
//!
//! The recordings are not part of the repository: `MAINSTAY_RECORDINGS`, else `../shared/recordings` beside the
//! workspace; absent, the tests say so and pass.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use bytes::{Bytes, BytesMut};
use canon::{Answer, DialectName, Drops, Event, FinishReason, Part, Tag, Usage};
use dialect::profile::{GeminiThinking, Profile};
use dialect::sse::Frame;
use dialect::{Inbound, Outbound, PathFacts, StreamEnd, StreamShape, gemini::Gemini};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Recordings whose stream does not end as the protocol says, and why.
const INCOMPLETE: [(&str, &str); 1] = [(
    "vertex/streamGenerateContent-s-200-e5e0d334fc5c",
    "the vendor's own mock of a malformed answer: no finish reason",
)];

/// Answers that are none, and why.
const NOT_ANSWERS: [(&str, &str); 2] = [
    ("gemini/generateContent-n-200-67a73b16e748", "a mislabelled cachedContents answer"),
    ("vertex/generateContent-n-200-0d7490c3c1cb", "the vendor's own mock of an invalid answer"),
];

/// An answer whose total is not the sum of its parts, and why.
const ODD_TOTAL: [(&str, &str); 1] =
    [("gemini/generateContent-n-200-4ae83f25c034", "a fixture edited by hand: 17 + 492 given as 61")];

struct Recording {
    id: String,
    path: String,
    request: Option<Value>,
    status: u64,
    response: Value,
}

fn recordings() -> Option<Vec<Recording>> {
    #[expect(clippy::disallowed_methods, reason = "a test finds its data by an environment variable")]
    let root = std::env::var("MAINSTAY_RECORDINGS")
        .map_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings"), PathBuf::from);
    if !root.is_dir() {
        println!("SKIPPED: no recordings at {}; set MAINSTAY_RECORDINGS", root.display());
        return None;
    }
    let mut found = Vec::new();
    for provider in ["gemini", "vertex"] {
        for entry in std::fs::read_dir(root.join(provider)).unwrap() {
            let file = entry.unwrap().path();
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            if !name.starts_with("generateContent-") && !name.starts_with("streamGenerateContent-") {
                continue;
            }
            let mut value: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            let request = &mut value["request"];
            found.push(Recording {
                id: format!("{provider}/{name}"),
                path: request["path"].as_str().unwrap_or_default().to_owned(),
                request: Some(request["body"].take()).filter(|b| !b.is_null()),
                status: value["response"]["status"].as_u64().unwrap(),
                response: value["response"].take(),
            });
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Some(found)
}

/// The data of every frame, and what followed the last one.
fn chunks(response: &Value) -> (Vec<Bytes>, Bytes) {
    if let Some(sse) = response["sse"].as_str() {
        let mut decoder = dialect::sse::Decoder::new(1 << 24);
        decoder.push(Bytes::from(sse.to_owned()));
        let frames = std::iter::from_fn(|| decoder.next_frame()).map(|frame| frame.unwrap().data).collect();
        return (frames, decoder.residue());
    }
    if let Some(chunks) = response["chunks"].as_array() {
        return (chunks.iter().map(|c| Bytes::from(c.as_str().unwrap().to_owned())).collect(), Bytes::new());
    }
    (response["body"].as_array().into_iter().flatten().map(|c| Bytes::from(c.to_string())).collect(), Bytes::new())
}

fn frame(data: Bytes) -> Frame {
    Frame { raw: data.clone(), event: Bytes::new(), data }
}

fn facts(recording: &Recording) -> PathFacts {
    let model = recording.path.split("/models/").nth(1).and_then(|m| m.split([':', '?']).next());
    PathFacts {
        model: Some(model.unwrap_or("unknown").to_owned()),
        stream: recording.id.contains("/stream"),
        json_array: false,
    }
}

/// Every string of a body that must survive, lower-cased because schema types change case.
fn strings(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.to_lowercase()),
        Value::Array(items) => items.iter().for_each(|v| strings(v, out)),
        Value::Object(map) => {
            for (key, value) in map {
                if !["model", "role", "data", "propertyOrdering", "property_ordering", "thinkingLevel", "type"]
                    .contains(&key.as_str())
                {
                    strings(value, out);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn recorded_requests_decode_and_mean_the_same_after_a_round_trip() {
    let Some(all) = recordings() else { return };
    // Without the sentinel for missing signatures, which is put in for models with levels.
    let profile = Profile { gemini_thinking: GeminiThinking::Budget, ..Profile::default() };
    let (mut good, mut refused) = (0, 0);
    for recording in &all {
        let Some(body) = &recording.request else { continue };
        let facts = facts(recording);
        let first = match Gemini.decode_request(&facts, body.to_string().as_bytes()) {
            Ok(request) => request,
            Err(bad) => {
                assert!(
                    recording.status == 400,
                    "{}: refused ({}) what the provider answered",
                    recording.id,
                    bad.message
                );
                refused += 1;
                continue;
            }
        };
        let levelled = first.reasoning.effort.is_some() && first.reasoning.budget_tokens.is_none();
        let json_beside_tools = !first.tools.is_empty() && first.output != canon::OutputFormat::Text;
        let profile = if levelled || json_beside_tools { Profile::default() } else { profile.clone() };
        let mut drops = Drops::new();
        let encoded = Gemini.encode_request(&first, &first.model, &profile, &mut drops).unwrap();
        for dropped in drops.iter() {
            assert!(dropped.path.contains('['), "{}: dropped {dropped:?}", recording.id);
        }
        let mut second = Gemini.decode_request(&facts, &encoded.body).unwrap();
        let mut first = first;
        normalise(&mut first);
        normalise(&mut second);
        assert_eq!(first, second, "{}", recording.id);

        let (mut before, mut after) = (Vec::new(), Vec::new());
        strings(body, &mut before);
        strings(&serde_json::from_slice(&encoded.body).unwrap(), &mut after);
        before.retain(|text| !text.is_empty() && text != "text/plain" && !drops.iter().any(|d| d.path.contains('[')));
        for text in before {
            assert!(after.contains(&text), "{}: lost {text:?}", recording.id);
        }
        good += 1;
    }
    println!("requests: {good} round trips, {refused} refused as the provider did");
    assert!(good > 150);
}

/// What the encoder changes without changing the meaning: neighbours of one role stand merged, empty texts are left
/// out, parameters that say only "an object" too.
fn normalise(request: &mut canon::Request) {
    request.extra.retain(|key, _| !key.contains('['));
    let mut merged: Vec<canon::Message> = Vec::new();
    for mut message in std::mem::take(&mut request.messages) {
        message.parts.retain(|p| !matches!(p, Part::Text { text, signature: None, .. } if text.is_empty()));
        match merged.last_mut() {
            Some(last) if last.role == message.role => last.parts.extend(message.parts),
            _ => merged.push(message),
        }
    }
    request.messages = merged;
    for tool in &mut request.tools {
        tool.parameters.take_if(|p| p["properties"].as_object().is_none_or(serde_json::Map::is_empty));
    }
}

/// What a caller reads from an answer.
#[derive(Debug, Default, PartialEq)]
struct Read {
    text: String,
    reasoning: String,
    signatures: Vec<String>,
    calls: Vec<(Option<String>, String, String)>,
    opaque: Vec<Value>,
    citations: Vec<(Option<String>, Option<String>)>,
    finish: BTreeMap<u32, (FinishReason, Option<String>)>,
    usage: Usage,
    blocked: Option<String>,
    errors: usize,
    model: Option<String>,
    id: Option<String>,
    done: bool,
}

fn read(events: &[Event]) -> Read {
    let mut read = Read::default();
    let sign = |signature: &Option<canon::ProviderBound>| signature.as_ref().map(|s| s.value.clone());
    for event in events {
        match event {
            Event::Start { id, model, .. } => (read.id, read.model) = (id.clone(), model.clone()),
            Event::Text { text, signature, .. } => {
                assert!(!text.is_empty());
                read.text.push_str(text);
                read.signatures.extend(sign(signature));
            }
            Event::Reasoning { text, signature, .. } => {
                read.reasoning.push_str(text);
                read.signatures.extend(sign(signature));
            }
            Event::ToolCallStart { id, name, signature, .. } => {
                read.calls.push((id.clone(), name.clone(), String::new()));
                read.signatures.extend(sign(signature));
            }
            Event::ToolCallDelta { arguments, .. } => read.calls.last_mut().unwrap().2.push_str(arguments),
            Event::Citation { citation, .. } => read.citations.push((citation.url.clone(), citation.title.clone())),
            Event::Finish { candidate, reason, native, .. } => {
                assert!(read.finish.insert(*candidate, (*reason, native.clone())).is_none(), "finished twice");
            }
            Event::Usage(usage) => read.usage.update(usage),
            Event::Error(_) => read.errors += 1,
            Event::PromptBlocked(block) => read.blocked = Some(block.reason.clone()),
            Event::Opaque { value, .. } => read.opaque.push(value.clone()),
            Event::Done => {
                assert!(!read.done);
                read.done = true;
            }
            Event::ToolCallEnd { .. } | Event::Logprobs { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    read
}

/// The text the raw chunks hold, as `google-genai`'s `response.text` joins it.
fn raw_text(chunks: &[Bytes]) -> (String, usize) {
    let (mut text, mut calls) = (String::new(), 0);
    for chunk in chunks {
        let value: Value = serde_json::from_slice(chunk).unwrap();
        for candidate in value["candidates"].as_array().into_iter().flatten() {
            for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
                if part["thought"] != true {
                    text.push_str(part["text"].as_str().unwrap_or_default());
                }
                calls += usize::from(part["functionCall"]["name"].is_string());
            }
        }
    }
    (text, calls)
}

#[test]
fn recorded_streams_decode_to_their_end_and_come_back_the_same() {
    let Some(all) = recordings() else { return };
    let profile = Profile::default();
    let (mut streams, mut frames_seen, mut incomplete) = (0, 0, 0);
    for recording in all.iter().filter(|r| r.status == 200 && r.id.contains("/stream")) {
        let (chunks, residue) = chunks(&recording.response);
        assert!(!chunks.is_empty() || !residue.is_empty(), "{}: no frames", recording.id);
        let mut decoder = Gemini.stream_decoder(&profile);
        let mut sniffer = Gemini.sniffer(&profile);
        let mut events = Vec::new();
        let mut sniffed_usage = Usage::default();
        let mut sniffed_finish = None;
        for chunk in &chunks {
            let from = events.len();
            decoder.decode(&frame(chunk.clone()), &mut events).unwrap_or_else(|m| panic!("{}: {m:?}", recording.id));
            let sniffed = sniffer.sniff(&frame(chunk.clone()));
            assert!(!sniffed.malformed, "{}", recording.id);
            let new = &events[from..];
            for tag in [Tag::Content, Tag::Tool, Tag::Fault] {
                // A citation is content of the decoder alone: it never comes before text.
                let decoded =
                    new.iter().any(|e| e.tag() == tag && !matches!(e, Event::Citation { .. } | Event::Logprobs { .. }));
                let first = [Tag::Content, Tag::Tool, Tag::Fault].iter().find(|t| new.iter().any(|e| e.tag() == **t));
                if decoded && first == Some(&tag) && !streams_arguments(chunk) {
                    assert_eq!(sniffed.tag, Some(tag), "{}: {}", recording.id, String::from_utf8_lossy(chunk));
                }
            }
            sniffed_finish = sniffed.finish.or(sniffed_finish);
            if let Some(usage) = sniffed.usage {
                sniffed_usage.update(&usage);
            }
            frames_seen += 1;
        }
        decoder.end(&residue, &mut events);
        let first = read(&events);
        let exempt = INCOMPLETE.iter().any(|(id, _)| *id == recording.id);
        assert_eq!(first.done, !exempt, "{}: done", recording.id);
        assert_eq!(sniffer.end(&residue) == StreamEnd::Complete, first.done, "{}: sniffed end", recording.id);
        assert_eq!(sniffed_usage, first.usage, "{}: sniffed usage", recording.id);
        if first.blocked.is_none() && first.finish.len() == 1 {
            let told = first.finish.values().next().map(|(reason, word)| (*reason, word.clone().unwrap()));
            assert_eq!(sniffed_finish, told, "{}: sniffed finish", recording.id);
        }
        let (text, calls) = raw_text(&chunks);
        assert_eq!((first.text.as_str(), first.calls.len()), (text.as_str(), calls), "{}", recording.id);
        for (_, _, arguments) in &first.calls {
            assert!(serde_json::from_str::<Value>(arguments).unwrap().is_object(), "{}", recording.id);
        }
        incomplete += usize::from(!first.done);
        if first.done {
            assert_eq!(reencode(&events, false), first, "{}: event stream", recording.id);
            assert_eq!(reencode(&events, true), first, "{}: array", recording.id);
        }
        streams += 1;
    }
    println!("streams: {streams} ({frames_seen} frames), {incomplete} incomplete as listed");
    assert!(streams > 70);
}

fn streams_arguments(chunk: &[u8]) -> bool {
    let text = String::from_utf8_lossy(chunk);
    text.contains("willContinue") || text.contains("partialArgs") || text.contains("\"functionCall\":{}")
}

/// Encodes the events for a Gemini caller and reads the result.
fn reencode(events: &[Event], json_array: bool) -> Read {
    let shape = StreamShape { json_array, ..StreamShape::default() };
    let (mut encoder, mut drops, mut out) = (Gemini.stream_encoder(shape), Drops::new(), BytesMut::new());
    for event in events {
        encoder.encode(event, &mut out, &mut drops);
    }
    assert!(drops.iter().all(|d| d.path == "service_tier"), "{drops:?}");
    let text = std::str::from_utf8(&out).unwrap();
    let chunks: Vec<Bytes> = if json_array {
        let items: Vec<Value> = serde_json::from_str(text).unwrap();
        items.iter().map(|v| Bytes::from(v.to_string())).collect()
    } else {
        assert!(text.ends_with("\r\n\r\n"));
        text.trim_end().split("\r\n\r\n").map(|f| Bytes::from(f.strip_prefix("data: ").unwrap().to_owned())).collect()
    };
    let (mut decoder, mut again) = (Gemini.stream_decoder(&Profile::default()), Vec::new());
    for chunk in chunks {
        decoder.decode(&frame(chunk), &mut again).unwrap();
    }
    decoder.end(b"", &mut again);
    read(&again)
}

#[test]
fn recorded_answers_decode_and_come_back_the_same() {
    let Some(all) = recordings() else { return };
    let profile = Profile::default();
    let (mut answers, mut blocked, mut totals) = (0, 0, 0);
    for recording in all.iter().filter(|r| r.status == 200 && r.id.contains("/generate")) {
        let body = recording.response["body"].to_string();
        let decoded = Gemini.decode_answer(body.as_bytes(), &profile);
        let sniffed = Gemini.sniffer(&profile).sniff_answer(body.as_bytes());
        if NOT_ANSWERS.iter().any(|(id, _)| *id == recording.id) {
            assert!(decoded.is_err() && sniffed.tag.is_none(), "{}", recording.id);
            continue;
        }
        let first = decoded.unwrap_or_else(|m| panic!("{}: {m:?}", recording.id));
        check_answer(recording, &first, &sniffed, body.as_bytes());
        let total = recording.response["body"]["usageMetadata"]["totalTokenCount"].as_u64();
        if let Some(total) = total.filter(|_| !ODD_TOTAL.iter().any(|(id, _)| *id == recording.id)) {
            assert_eq!(first.usage.total(), total, "{}: total", recording.id);
            totals += 1;
        }
        blocked += usize::from(first.prompt_block.is_some());
        answers += 1;
    }
    println!("answers: {answers}, {blocked} with blocked prompts, {totals} totals equal the provider's");
    assert!(answers > 150 && totals > 100);
}

fn check_answer(recording: &Recording, first: &Answer, sniffed: &dialect::Sniffed, body: &[u8]) {
    let mut drops = Drops::new();
    let again = Gemini.decode_answer(&Gemini.encode_answer(first, &mut drops), &Profile::default()).unwrap();
    assert!(drops.iter().all(|d| d.path == "service_tier"), "{}: {drops:?}", recording.id);
    assert_eq!(again, Answer { extra: Vec::new(), ..first.clone() }, "{}", recording.id);

    let parts = || first.candidates.iter().flat_map(|c| &c.parts);
    let text: String =
        parts().filter_map(|p| if let Part::Text { text, .. } = p { Some(text.as_str()) } else { None }).collect();
    let calls = parts().filter(|p| matches!(p, Part::ToolCall(_))).count();
    assert_eq!((text.clone(), calls), raw_text(&[Bytes::copy_from_slice(body)]), "{}", recording.id);

    assert_eq!(sniffed.usage.clone().unwrap_or_default(), first.usage, "{}: usage", recording.id);
    if let Some(candidate) = first.candidates.first() {
        let finish = candidate.finish.zip(candidate.native_finish.clone());
        assert_eq!(sniffed.finish, finish, "{}: finish", recording.id);
        assert_eq!(sniffed.terminator, first.candidates.iter().all(|c| c.finish.is_some()), "{}", recording.id);
    }
    let opaque = parts()
        .any(|p| matches!(p, Part::Opaque { dialect: DialectName::Gemini, .. } | Part::Image(_) | Part::Audio(_)));
    // A blocked prompt ends an answer without being content, so that it can still go to another target.
    let expected = if !text.is_empty() || opaque {
        Some(Tag::Content)
    } else if calls > 0 {
        Some(Tag::Tool)
    } else {
        None
    };
    assert_eq!(sniffed.tag.filter(|t| *t != Tag::Reasoning), expected, "{}: tag", recording.id);
}
