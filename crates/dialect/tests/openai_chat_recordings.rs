//! Recorded chat completions of nine providers, fed through the codec: requests keep their meaning, answers and streams
//! decode, what is written reads back the same, and the sniffer sees what the decoder sees.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use bytes::{Bytes, BytesMut};
use canon::{Answer, Drops, Event, FinishReason, Part, Request, Tag, Usage};
use dialect::openai_chat::OpenaiChat;
use dialect::profile::Profile;
use dialect::{Inbound, Outbound, PathFacts, StreamEnd, StreamShape, sse};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const PROVIDERS: [&str; 9] =
    ["openai", "azure", "deepseek", "mistral", "groq", "xai", "openrouter", "dashscope", "ollama"];

/// Streams that do not end well, and why.
const NOT_DONE: [(&str, &str); 3] = [
    ("openai/chat_completions-s-200-29d72a8121fe", "an error frame after content"),
    ("groq/chat_completions-s-200-b9c4f87a6a77", "an error event after content"),
    ("openrouter/chat_completions-s-200-34cb7ec0ab16", "an error beside usage, after the finish reason"),
];

/// Requests whose meaning changes on the way, and why.
const ALTERED: [(&str, &str); 2] = [
    ("openrouter/chat_completions-n-200-8319149d9c14", "an image in a tool result moves to the next user turn"),
    ("ollama/chat_completions-n-200-dc02b1704a2e", "an image in a tool result moves to the next user turn"),
];

struct Recording {
    name: String,
    provider: String,
    value: Value,
}

impl Recording {
    fn status(&self) -> u64 {
        self.value["response"]["status"].as_u64().unwrap()
    }

    fn request(&self) -> Option<Vec<u8>> {
        let body = &self.value["request"]["body"];
        body.is_object().then(|| body.to_string().into_bytes())
    }

    fn answer(&self) -> Option<Vec<u8>> {
        let body = &self.value["response"]["body"];
        (self.status() == 200 && body.is_object()).then(|| body.to_string().into_bytes())
    }

    fn stream(&self) -> Option<Vec<u8>> {
        let response = &self.value["response"];
        if self.status() != 200 {
            return None;
        }
        if let Some(text) = response["sse"].as_str() {
            return Some(text.as_bytes().to_vec());
        }
        let chunks = response["chunks"].as_array()?;
        let frame = |chunk: &Value| ["data: ", chunk.as_str().unwrap(), "\n\n"].concat().into_bytes();
        Some(chunks.iter().flat_map(frame).collect())
    }

    fn profile(&self) -> Profile {
        Profile { reasoning_outside_output: self.provider == "xai", ..Profile::default() }
    }
}

#[expect(clippy::disallowed_methods, reason = "the recordings live outside the repository")]
fn folder() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings");
    std::env::var("MAINSTAY_RECORDINGS").map_or_else(|_| default(), PathBuf::from)
}

/// Every chat completion of the nine providers; empty, with a loud line, where the recordings are not there.
fn recordings() -> Vec<Recording> {
    let folder = folder();
    let mut found = Vec::new();
    if !folder.is_dir() {
        println!("SKIPPED: no recordings at {}", folder.display());
        return found;
    }
    for provider in PROVIDERS {
        let files = std::fs::read_dir(folder.join(provider)).unwrap();
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let value: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            if value["endpoint"] == "chat.completions" {
                let name = format!("{provider}/{}", file.file_stem().unwrap().to_str().unwrap());
                found.push(Recording { name, provider: provider.to_owned(), value });
            }
        }
    }
    found
}

fn frames(bytes: &[u8]) -> (Vec<sse::Frame>, Bytes) {
    let mut decoder = sse::Decoder::new(8 << 20);
    decoder.push(Bytes::copy_from_slice(bytes));
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame() {
        frames.push(frame.unwrap());
    }
    (frames, decoder.residue())
}

fn without_reasoning(mut request: Request) -> Request {
    for message in &mut request.messages {
        message.parts.retain(|part| !matches!(part, Part::Reasoning(_)));
    }
    request
}

/// What every encoded request adds by itself: usage in a stream.
fn asked(mut request: Request) -> Request {
    request.stream_usage = request.stream;
    request
}

fn reencode(request: &Request, profile: &Profile, drops: &mut Drops) -> Request {
    let encoded = OpenaiChat.encode_request(request, &request.model, profile, drops).unwrap();
    assert_eq!(encoded.path, "/chat/completions");
    OpenaiChat.decode_request(&PathFacts::default(), &encoded.body).unwrap()
}

#[test]
fn recorded_requests_mean_the_same_after_encoding() {
    let (mut read, mut refused, mut with_reasoning) = (0, 0, 0);
    for recording in recordings() {
        let Some(body) = recording.request() else { continue };
        let request = match OpenaiChat.decode_request(&PathFacts::default(), &body) {
            Ok(request) => request,
            Err(error) => {
                assert!(recording.status() >= 400, "{}: {error:?}", recording.name);
                refused += 1;
                continue;
            }
        };
        read += 1;
        if ALTERED.iter().any(|(name, _)| *name == recording.name) {
            continue;
        }
        let mut drops = Drops::new();
        let again = reencode(&request, &Profile::default(), &mut drops);
        let plain = without_reasoning(request.clone());
        assert_eq!(asked(plain.clone()), again, "{}", recording.name);
        if plain == request {
            assert!(drops.is_empty(), "{}: {drops:?}", recording.name);
        } else {
            with_reasoning += 1;
            assert!(!drops.is_empty(), "{}: removed reasoning is reported", recording.name);
            let profile = Profile { reasoning_field: Some("reasoning".to_owned()), ..Profile::default() };
            assert_eq!(asked(request.clone()), reencode(&request, &profile, &mut Drops::new()), "{}", recording.name);
        }
    }
    println!("requests: {read} read, {refused} refused as their providers did, {with_reasoning} with reasoning");
}

/// What is comparable after a round trip: our own words for the finish, ids made up where none was given, totals.
fn comparable(mut answer: Answer) -> Answer {
    for candidate in &mut answer.candidates {
        candidate.native_finish = None;
        for part in &mut candidate.parts {
            if let Part::ToolCall(call) = part
                && (call.id.is_none() || call.id.as_deref().is_some_and(|id| id.starts_with("call_") && id.len() == 21))
            {
                call.id = None;
            }
        }
    }
    answer.created = answer.created.filter(|created| *created > 0);
    answer
}

#[test]
fn recorded_answers_decode_and_read_back_the_same() {
    let (mut read, mut empty) = (0, 0);
    for recording in recordings() {
        let Some(body) = recording.answer() else { continue };
        let profile = recording.profile();
        let answer = OpenaiChat.decode_answer(&body, &profile).unwrap();
        read += 1;
        let written = OpenaiChat.encode_answer(&answer, &mut Drops::new());
        let again = OpenaiChat.decode_answer(&written, &Profile::default()).unwrap();
        assert_eq!(comparable(answer.clone()), comparable(again), "{}", recording.name);

        let sniffed = OpenaiChat.sniffer(&profile).sniff_answer(&body);
        assert!(!sniffed.malformed && sniffed.error.is_none(), "{}", recording.name);
        assert_eq!(sniffed.usage.clone().unwrap_or_default(), answer.usage, "{}", recording.name);
        assert_eq!(sniffed.model, answer.model, "{}", recording.name);
        let said = answer.candidates.iter().any(|candidate| !candidate.parts.is_empty());
        assert_eq!(sniffed.tag.is_some(), said, "{}: {sniffed:?}", recording.name);
        if said {
            let finish = sniffed.finish.map(|(reason, _)| reason);
            assert_eq!(finish, answer.candidates[0].finish, "{}", recording.name);
        } else {
            empty += 1;
        }
    }
    println!("answers: {read} read, {empty} of them empty");
}

/// A stream put together: what a caller would have at its end.
#[derive(Debug, Default, Clone, PartialEq)]
struct Whole {
    id: Option<String>,
    model: Option<String>,
    candidates: BTreeMap<u32, Choice>,
    usage: Usage,
    errors: Vec<Value>,
    done: bool,
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Choice {
    text: String,
    refusal: String,
    reasoning: String,
    signatures: Vec<String>,
    calls: Vec<(Option<String>, String, String, bool)>,
    logprobs: Vec<Value>,
    citations: Vec<canon::Citation>,
    opaque: Vec<Value>,
    finish: Option<FinishReason>,
}

fn put_together(events: &[Event], name: &str) -> Whole {
    let mut whole = Whole::default();
    for (i, event) in events.iter().enumerate() {
        assert!(!whole.done, "{name}: nothing follows Done");
        assert_eq!(i == 0, matches!(event, Event::Start { .. }), "{name}: Start is first, and once");
        match event {
            Event::Start { id, model, .. } => (whole.id, whole.model) = (id.clone(), model.clone()),
            Event::Text { candidate, text, .. } => choice(&mut whole, *candidate, name).text.push_str(text),
            Event::Refusal { candidate, text } => choice(&mut whole, *candidate, name).refusal.push_str(text),
            Event::Reasoning { candidate, text, signature } => {
                let choice = choice(&mut whole, *candidate, name);
                choice.reasoning.push_str(text);
                choice.signatures.extend(signature.iter().map(|signature| signature.value.clone()));
            }
            Event::ToolCallStart { candidate, call, id, name: tool, .. } => {
                let choice = choice(&mut whole, *candidate, name);
                assert_eq!(choice.calls.len(), *call as usize, "{name}");
                choice.calls.push((id.clone(), tool.clone(), String::new(), false));
            }
            Event::ToolCallDelta { candidate, call, arguments } => {
                choice(&mut whole, *candidate, name).calls[*call as usize].2.push_str(arguments);
            }
            Event::ToolCallEnd { candidate, call } => {
                choice(&mut whole, *candidate, name).calls[*call as usize].3 = true;
            }
            Event::Citation { candidate, citation } => {
                choice(&mut whole, *candidate, name).citations.push(citation.clone());
            }
            Event::Logprobs { candidate, value } => choice(&mut whole, *candidate, name).logprobs.push(value.clone()),
            Event::Opaque { candidate, value, .. } => choice(&mut whole, *candidate, name).opaque.push(value.clone()),
            Event::Finish { candidate, reason, .. } => choice(&mut whole, *candidate, name).finish = Some(*reason),
            Event::Usage(stated) => whole.usage.update(stated),
            Event::Error(error) => whole.errors.push(error.clone()),
            Event::Done => whole.done = true,
            other => panic!("{name}: {other:?}"),
        }
    }
    whole
}

fn choice<'w>(whole: &'w mut Whole, candidate: u32, name: &str) -> &'w mut Choice {
    let choice = whole.candidates.entry(candidate).or_default();
    assert!(choice.finish.is_none(), "{name}: nothing follows the finish of a candidate");
    choice
}

fn decode(bytes: &[u8], profile: &Profile) -> Vec<Event> {
    let (frames, residue) = frames(bytes);
    let (mut decoder, mut events) = (OpenaiChat.stream_decoder(profile), Vec::new());
    for frame in &frames {
        decoder.decode(frame, &mut events).unwrap();
    }
    decoder.end(&residue, &mut events);
    events
}

fn shape() -> StreamShape {
    StreamShape { usage: true, fallback_id: "chatcmpl-none".to_owned(), created: 1, ..StreamShape::default() }
}

#[test]
fn recorded_streams_decode_and_read_back_the_same() {
    let (mut read, mut done) = (0, 0);
    for recording in recordings() {
        let Some(bytes) = recording.stream() else { continue };
        let events = decode(&bytes, &recording.profile());
        let whole = put_together(&events, &recording.name);
        read += 1;
        let excepted = NOT_DONE.iter().any(|(name, _)| *name == recording.name);
        assert_eq!(whole.done, !excepted, "{}: {:?}", recording.name, events.last());
        if excepted {
            assert!(!whole.errors.is_empty(), "{}", recording.name);
            continue;
        }
        done += 1;
        let (mut encoder, mut out, mut drops) = (OpenaiChat.stream_encoder(shape()), BytesMut::new(), Drops::new());
        for event in &events {
            encoder.encode(event, &mut out, &mut drops);
        }
        assert!(out.ends_with(b"data: [DONE]\n\n"), "{}", recording.name);
        assert!(drops.is_empty(), "{}: {drops:?}", recording.name);
        let mut again = put_together(&decode(&out, &Profile::default()), &recording.name);
        if whole.usage.is_empty() {
            // The caller asked for usage and nobody stated any: zeros.
            again.usage = Usage::default();
        }
        if whole.id.is_none() {
            again.id = None;
        }
        for (index, choice) in &mut again.candidates {
            for (call, (id, ..)) in choice.calls.iter_mut().enumerate() {
                *id = id.take().filter(|_| whole.candidates[index].calls[call].0.is_some());
            }
        }
        assert_eq!(whole, again, "{}", recording.name);
    }
    println!("streams: {read} read, {done} of them complete");
}

#[test]
fn the_sniffer_sees_in_recorded_streams_what_the_decoder_sees() {
    let (mut streams, mut seen) = (0, 0);
    for recording in recordings() {
        let Some(bytes) = recording.stream() else { continue };
        let profile = recording.profile();
        let (frames, residue) = frames(&bytes);
        let (mut decoder, mut sniffer) = (OpenaiChat.stream_decoder(&profile), OpenaiChat.sniffer(&profile));
        let (mut all, mut usage, mut finishes, mut error, mut model) = (Vec::new(), None, Vec::new(), None, None);
        streams += 1;
        for frame in &frames {
            let mut events = Vec::new();
            decoder.decode(frame, &mut events).unwrap();
            let sniffed = sniffer.sniff(frame);
            seen += 1;
            assert!(!sniffed.malformed, "{}: {frame:?}", recording.name);
            compare_tag(&events, sniffed.tag, &recording.name, frame);
            usage = sniffed.usage.or(usage);
            finishes.extend(sniffed.finish.map(|(reason, _)| reason));
            error = sniffed.error.or(error);
            model = model.or(sniffed.model);
            all.extend(events);
        }
        decoder.end(&residue, &mut all);
        let end = sniffer.end(&residue);
        let whole = put_together(&all, &recording.name);
        assert_eq!(whole.done, end == StreamEnd::Complete, "{}", recording.name);
        assert_eq!(usage.unwrap_or_default(), whole.usage, "{}", recording.name);
        assert_eq!(whole.errors.first(), error.as_ref(), "{}", recording.name);
        assert_eq!(model, whole.model, "{}", recording.name);
        let decoded: Vec<FinishReason> = whole.candidates.values().filter_map(|choice| choice.finish).collect();
        if decoded.len() == 1 && error.is_none() {
            assert_eq!(finishes, decoded, "{}", recording.name);
        }
    }
    println!("sniffer: {seen} frames of {streams} streams");
}

fn compare_tag(events: &[Event], tag: Option<Tag>, name: &str, frame: &sse::Frame) {
    let shows = |wanted: fn(&Event) -> bool| events.iter().any(wanted);
    let expected = if shows(|event| matches!(event, Event::Error(_))) {
        Tag::Fault
    } else if shows(|event| matches!(event, Event::Text { .. } | Event::Refusal { .. } | Event::Opaque { .. })) {
        Tag::Content
    } else if shows(|event| matches!(event, Event::Reasoning { text, .. } if !text.is_empty())) {
        Tag::Reasoning
    } else {
        // Calls may be held back, signatures and finishes come later: the sniffer may see them earlier.
        return;
    };
    assert_eq!(tag, Some(expected), "{name}: {frame:?}");
}
