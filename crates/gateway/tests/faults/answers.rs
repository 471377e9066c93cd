//! The answer that both providers give, and where in its bytes a phase is.

use crate::cell::Phase;
use bytes::Bytes;
use canon::DialectName;
use serde_json::{Value, json};
use simulator::{Answer, Chunks};

/// The reference.
pub(crate) const TEXT: &str = "The harbour is quiet. Seven “lanterns” swing — 漢字 and 🦊 wait.\nNobody counts them \
                               twice, for the ferry returns at dawn. Then the maps are folded, and that is all there \
                               is to say about it.";
/// Its tool call.
pub(crate) const TOOL: &str = "get_weather";

/// The arguments of the tool call.
pub(crate) fn arguments() -> Value {
    json!({"city": "Reykjavik", "country": "Iceland"})
}

/// What is asked for: a text, a tool call, or both.
pub(crate) fn answer(phase: Phase) -> Answer {
    let tool = |answer: Answer| answer.then_calling(TOOL, arguments()).in_chunks(Chunks::Characters(9));
    match phase {
        Phase::MidToolCall => tool(Answer::default()),
        Phase::MidToolCallAfterText => tool(Answer::exactly(TEXT)),
        _ => Answer::exactly(TEXT),
    }
}

/// An answer's body before and after the place of a fault.
pub(crate) struct Parts {
    pub(crate) before: Bytes,
    pub(crate) after: Bytes,
}

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Text,
    Arguments,
    Finish,
    Nothing,
}

/// Divides a body where `phase` is. With `torn` the event there is divided in its middle.
pub(crate) fn parts(dialect: DialectName, is_stream: bool, phase: Phase, torn: bool, body: &Bytes) -> Parts {
    let at = if is_stream { place_in_stream(dialect, phase, torn, body) } else { place_in_whole(phase, body) };
    Parts { before: body.slice(..at), after: body.slice(at..) }
}

fn place_in_whole(phase: Phase, body: &[u8]) -> usize {
    let within = |word: &str| {
        let at = body.windows(word.len()).position(|window| window == word.as_bytes());
        at.unwrap_or_else(|| panic!("no {word:?} in {}", String::from_utf8_lossy(body))) + word.len() / 2
    };
    match phase {
        Phase::MidText => within("lanterns"),
        Phase::MidToolCall | Phase::MidToolCallAfterText => within("Reykjavik"),
        Phase::LastEvent => body.len() - 1,
        Phase::AfterFinish => body.len(),
        Phase::Connect | Phase::Tls | Phase::Headers | Phase::FirstToken => 0,
    }
}

fn place_in_stream(dialect: DialectName, phase: Phase, torn: bool, body: &[u8]) -> usize {
    let events = events(dialect, body);
    let those = |wanted: Says| -> Vec<usize> {
        events.iter().enumerate().filter(|(_, (_, says))| *says == wanted).map(|(place, _)| place).collect()
    };
    let middle = |wanted| {
        let those = those(wanted);
        those[those.len() / 2]
    };
    let place = match phase {
        Phase::MidText => middle(Says::Text),
        Phase::MidToolCall | Phase::MidToolCallAfterText => middle(Says::Arguments),
        Phase::LastEvent => those(Says::Finish)[0],
        Phase::AfterFinish => those(Says::Finish)[0] + 1,
        Phase::Connect | Phase::Tls | Phase::Headers | Phase::FirstToken => those(Says::Text)[0],
    };
    let begin = events[..place].iter().map(|(length, _)| length).sum::<usize>();
    let half = events.get(place).map_or(0, |(length, _)| length / 2);
    begin + if torn { half } else { 0 }
}

/// The events of a stream: how long each is, and what it says.
fn events(dialect: DialectName, body: &[u8]) -> Vec<(usize, Says)> {
    let text = std::str::from_utf8(body).unwrap();
    text.split_inclusive("\n\n").map(|event| (event.len(), says(dialect, event))).collect()
}

fn says(dialect: DialectName, event: &str) -> Says {
    let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default();
    let Ok(event) = serde_json::from_str::<Value>(data) else { return Says::Nothing };
    let has = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let (text, arguments, finish) = match dialect {
        DialectName::OpenaiChat => (
            has("/choices/0/delta/content"),
            has("/choices/0/delta/tool_calls/0/function/arguments"),
            has("/choices/0/finish_reason"),
        ),
        DialectName::AnthropicMessages => (has("/delta/text"), has("/delta/partial_json"), has("/delta/stop_reason")),
        DialectName::Gemini => (
            has("/candidates/0/content/parts/0/text"),
            has("/candidates/0/content/parts/0/functionCall/name"),
            has("/candidates/0/finishReason"),
        ),
    };
    match (text, arguments, finish) {
        (_, _, true) => Says::Finish,
        (_, true, _) => Says::Arguments,
        (true, ..) => Says::Text,
        _ => Says::Nothing,
    }
}
