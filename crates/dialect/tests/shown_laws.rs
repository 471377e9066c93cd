//! A stream may be cut after any of its frames: what was recorded of it is what a decoder says of the same frames, and
//! what a resume encoder writes after them makes one well-formed stream that says what the undisturbed one says.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "shown_support/mod.rs"]
mod support;

use bytes::{Bytes, BytesMut};
use canon::{Citation, DialectName, Drops, Event, FinishReason, ProviderBound, Usage};
use dialect::profile::Profile;
use dialect::shown::{BlockKind, Obstacle};
use dialect::sse::Frame;
use dialect::{inbound, outbound, sse};
use proptest::prelude::*;
use serde_json::json;
use support::{Said, SideBySide, check_discipline, decode, of_another_target, resumed, shape};

/// A piece of an answer.
#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Reasoning(String),
    /// Ends a block of reasoning.
    Signature,
    Call(Vec<String>),
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{1,8}", "\\PC{1,6}", "[\\n\\t\"\\\\/é漢😀\u{1}]{1,4}"]
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let piece = prop_oneof![
        4 => words().prop_map(Piece::Text),
        2 => words().prop_map(Piece::Reasoning),
        1 => Just(Piece::Signature),
        1 => proptest::collection::vec("[a-z0-9 ]{1,5}", 0..3).prop_map(Piece::Call),
    ];
    proptest::collection::vec(piece, 1..10)
}

fn dialects() -> impl Strategy<Value = DialectName> {
    proptest::sample::select(DialectName::ALL.to_vec())
}

fn signature(dialect: DialectName) -> ProviderBound {
    let value = match dialect {
        DialectName::OpenaiChat => json!([{"type": "reasoning.text", "text": "", "signature": "c2ln"}]).to_string(),
        DialectName::AnthropicMessages | DialectName::Gemini => "c2ln".to_owned(),
    };
    ProviderBound { dialect, value }
}

fn text(text: &str) -> Event {
    Event::Text { candidate: 0, text: text.to_owned(), signature: None }
}

fn reasoning(text: &str) -> Event {
    Event::Reasoning { candidate: 0, text: text.to_owned(), signature: None }
}

fn head(id: &str) -> Event {
    let (id, model) = (Some(id.to_owned()), Some("model-1".to_owned()));
    Event::Start { id, model, created: Some(1_600_000_000), extra: Vec::new() }
}

fn finish(reason: FinishReason) -> Event {
    Event::Finish { candidate: 0, reason, native: None, stop_sequence: None }
}

/// The events of a whole answer.
fn answer(dialect: DialectName, pieces: &[Piece]) -> Vec<Event> {
    let mut events = vec![head(if dialect == DialectName::AnthropicMessages { "msg_1" } else { "id-1" })];
    let mut call = 0;
    for piece in pieces {
        match piece {
            Piece::Text(words) => events.push(text(words)),
            Piece::Reasoning(words) => events.push(reasoning(words)),
            Piece::Signature => {
                events.push(Event::Reasoning {
                    candidate: 0,
                    text: String::new(),
                    signature: Some(signature(dialect)),
                });
            }
            Piece::Call(arguments) => {
                let (id, name) = (Some(format!("call_{call}")), "look_up".to_owned());
                events.push(Event::ToolCallStart { candidate: 0, call, id, name, signature: None });
                let whole = json!({ "q": arguments.concat() }).to_string();
                let (one, other) = whole.split_at(whole.len() / 2);
                for arguments in [one, other] {
                    events.push(Event::ToolCallDelta { candidate: 0, call, arguments: arguments.to_owned() });
                }
                events.push(Event::ToolCallEnd { candidate: 0, call });
                call += 1;
            }
        }
    }
    events.push(Event::Usage(Usage { input_tokens: Some(7), output_tokens: Some(9), ..Usage::default() }));
    events.push(finish(if call > 0 { FinishReason::ToolCalls } else { FinishReason::Stop }));
    events.push(Event::Done);
    events
}

/// A stream, and how much of it was written after each event.
fn written(dialect: DialectName, events: &[Event]) -> (BytesMut, Vec<usize>) {
    let mut encoder = inbound(dialect).stream_encoder(shape());
    let (mut out, mut drops) = (BytesMut::new(), Drops::new());
    let ends = events.iter().map(|event| {
        encoder.encode(event, &mut out, &mut drops);
        out.len()
    });
    let ends = ends.collect();
    (out, ends)
}

fn frames(stream: &[u8]) -> Vec<Frame> {
    sse::frames(Bytes::copy_from_slice(stream)).0
}

/// The first event that a target has to say after a cut, or `None` where no target can: inside a call that was shown in
/// part, or behind the end.
fn next_event(events: &[Event], ends: &[usize], cut: usize, calls_shown: u32) -> Option<usize> {
    let mut next = ends.iter().position(|end| *end > cut).unwrap_or(events.len());
    // What wrote nothing before the cut is said again.
    while next > 0 && ends[next - 1] == cut && (next < 2 || ends[next - 2] == cut) {
        next -= 1;
    }
    if let Event::ToolCallStart { call, .. } | Event::ToolCallDelta { call, .. } | Event::ToolCallEnd { call, .. } =
        events.get(next)?
    {
        if calls_shown > *call {
            return None;
        }
        while !matches!(events[next], Event::ToolCallStart { .. }) {
            next -= 1;
        }
    }
    (!events[..next].iter().any(|event| matches!(event, Event::Finish { .. }))).then_some(next)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_recorded_up_to_any_frame_is_what_a_decoder_says_of_the_same_frames(
        dialect in dialects(), pieces in pieces(),
    ) {
        let (stream, _) = written(dialect, &answer(dialect, &pieces));
        let mut both = SideBySide::new(dialect, &Profile::default());
        for frame in frames(&stream) {
            prop_assert!(both.look(&frame));
            both.agree(&format!("{frame:?}"));
        }
        let shown = both.shown();
        prop_assert!(shown.finished && !shown.open_call && shown.open_block.is_none());
        prop_assert!(shown.bytes() >= shown.text.len() + size_of::<dialect::Shown>());
    }

    #[test]
    fn a_stream_cut_after_any_frame_is_gone_on_with_as_one_stream(dialect in dialects(), pieces in pieces()) {
        let events = answer(dialect, &pieces);
        let (stream, ends) = written(dialect, &events);
        let undisturbed = Said::of(&decode(dialect, &Profile::default(), &stream));
        let mut both = SideBySide::new(dialect, &Profile::default());
        let mut cut = 0;
        for frame in frames(&stream) {
            both.look(&frame);
            cut += frame.raw.len();
            let shown = both.shown();
            let Some(next) = next_event(&events, &ends, cut, shown.tool_calls) else { continue };
            let rest = of_another_target(&events[next..], shown.tool_calls);
            let mut whole = BytesMut::from(&stream[..cut]);
            whole.extend_from_slice(&resumed(dialect, shown, &rest));
            check_discipline(dialect, &whole);
            let joined = Said::of(&decode(dialect, &Profile::default(), &whole));
            prop_assert_eq!(&joined, &undisturbed, "cut at {}", cut);
        }
    }

    #[test]
    fn an_encoder_goes_on_when_another_target_starts(dialect in dialects(), pieces in pieces()) {
        let events = answer(dialect, &pieces);
        let (stream, ends) = written(dialect, &events);
        let undisturbed = Said::of(&decode(dialect, &Profile::default(), &stream));
        for at in 1..events.len() {
            let calls = events[..at].iter().filter(|event| matches!(event, Event::ToolCallStart { .. })).count();
            let ended = events[..at].iter().filter(|event| matches!(event, Event::ToolCallEnd { .. })).count();
            let finished = events[..at].iter().any(|event| matches!(event, Event::Finish { .. }));
            if calls != ended || finished || ends[at - 1] == 0 {
                continue;
            }
            let mut encoder = inbound(dialect).stream_encoder(shape());
            let (mut out, mut drops) = (BytesMut::new(), Drops::new());
            let rest = of_another_target(&events[at..], u32::try_from(calls).unwrap());
            for event in events[..at].iter().chain(&rest) {
                encoder.encode(event, &mut out, &mut drops);
            }
            check_discipline(dialect, &out);
            prop_assert_eq!(Said::of(&decode(dialect, &Profile::default(), &out)), Said::of(&decode(dialect, &Profile::default(), &stream)));
            prop_assert_eq!(&undisturbed.id, &Said::of(&decode(dialect, &Profile::default(), &out)).id);
        }
    }

    #[test]
    fn frames_that_were_held_and_thrown_away_leave_no_trace(
        dialect in dialects(), pieces in pieces(), at in any::<prop::sample::Index>(), back in any::<prop::sample::Index>(),
    ) {
        let (stream, _) = written(dialect, &answer(dialect, &pieces));
        let frames = frames(&stream);
        let (kept, held) = frames.split_at(at.index(frames.len()));
        let held = &held[..back.index(held.len() + 1)];
        let mut both = SideBySide::new(dialect, &Profile::default());
        for frame in kept {
assert!(both.look(frame));
}
        let before = both.shown().clone();
        let mark = both.shown().mark();
        for frame in held {
assert!(both.look(frame));
}
        both.shown_mut().rewind(&mark);
        prop_assert_eq!(both.shown(), &before);
    }
}

/// Events that no other target can go on from, as each dialect writes them.
fn hindered(dialect: DialectName) -> Vec<(Event, Obstacle)> {
    let cite = || Citation { url: Some("https://a.example".to_owned()), ..Citation::default() };
    let opaque = |value| Event::Opaque { candidate: 0, dialect, value };
    let logprobs = || json!({"content": [{"token": "a", "logprob": -0.5, "bytes": null, "top_logprobs": []}]});
    match dialect {
        DialectName::OpenaiChat => vec![
            (Event::Refusal { candidate: 0, text: "no".to_owned() }, Obstacle::Refusal),
            (Event::Text { candidate: 1, text: "b".to_owned(), signature: None }, Obstacle::Candidates),
            (Event::Logprobs { candidate: 0, value: logprobs() }, Obstacle::Logprobs),
            (Event::Citation { candidate: 0, citation: cite() }, Obstacle::Citations),
            (opaque(json!({"message": {"images": [{"image_url": {"url": "data:x"}}]}})), Obstacle::Media),
        ],
        DialectName::AnthropicMessages => vec![
            (Event::Citation { candidate: 0, citation: cite() }, Obstacle::Citations),
            (
                opaque(json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
                Obstacle::Opaque,
            ),
        ],
        DialectName::Gemini => vec![
            (Event::Text { candidate: 1, text: "b".to_owned(), signature: None }, Obstacle::Candidates),
            (Event::Logprobs { candidate: 0, value: logprobs() }, Obstacle::Logprobs),
            (opaque(json!({"inlineData": {"mimeType": "image/png", "data": "AA=="}})), Obstacle::Media),
            (opaque(json!({"executableCode": {"language": "PYTHON", "code": "1"}})), Obstacle::Opaque),
        ],
    }
}

#[test]
fn whatever_is_more_than_text_is_named_as_an_obstacle_by_both() {
    for dialect in DialectName::ALL {
        for (event, expected) in hindered(dialect) {
            let (stream, _) = written(dialect, &[head("id-1"), text("a"), event.clone(), text("c")]);
            let mut both = SideBySide::new(dialect, &Profile::default());
            for frame in frames(&stream) {
                assert!(both.look(&frame));
                both.agree(&format!("{dialect}: {event:?}"));
            }
            assert_eq!(both.shown().obstacle, Some(expected), "{dialect}: {event:?}");
            assert_eq!(both.shown().text, "ac");
        }
    }
}

#[test]
fn recording_can_be_stopped_and_is_then_gone() {
    for dialect in DialectName::ALL {
        let (stream, _) = written(dialect, &[head("id-1"), text("a"), text("b")]);
        let mut sniffer = outbound(dialect).sniffer(&Profile::default());
        sniffer.record();
        let frames = frames(&stream);
        for frame in &frames {
            drop(sniffer.sniff(frame));
        }
        assert_eq!(sniffer.shown().unwrap().text, "ab");
        sniffer.stop_recording();
        for frame in &frames {
            drop(sniffer.sniff(frame));
        }
        assert!(sniffer.shown().is_none() && sniffer.shown_mut().is_none());
    }
}

fn sniffed(dialect: DialectName, data: &[&str]) -> dialect::Shown {
    let mut sniffer = outbound(dialect).sniffer(&Profile::default());
    sniffer.record();
    for data in data {
        let frame = Frame { raw: Bytes::new(), event: Bytes::new(), data: Bytes::from((*data).to_owned()) };
        assert!(!sniffer.sniff(&frame).malformed, "{data}");
    }
    sniffer.shown().unwrap().clone()
}

#[test]
fn gemini_tells_the_last_token_to_go_on_with() {
    let shown = sniffed(
        DialectName::Gemini,
        &[
            r#"{"candidates":[{"content":{"parts":[{"text":"a\nb"}]},"continuationToken":"AAA="}],"responseId":"r"}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"c"}]},"continuationToken":"BBB="}],"responseId":"r"}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"d"}]}}],"responseId":"r"}"#,
        ],
    );
    assert_eq!((shown.text.as_str(), shown.continuation_token.as_deref()), ("a\nbcd", Some("BBB=")));
    assert_eq!((shown.id.as_deref(), shown.obstacle), (Some("r"), None));
}

#[test]
fn a_call_of_gemini_s_is_in_part_while_its_arguments_are_streamed() {
    let part = |call: &str| format!(r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{call}}}]}}}}]}}"#);
    let begun = part(r#"{"name":"f","willContinue":true}"#);
    let goes_on = part(r#"{"partialArgs":[{"jsonPath":"$.a","numberValue":1}],"willContinue":true}"#);
    let ended = part("{}");
    let shown = sniffed(DialectName::Gemini, &[&begun, &goes_on]);
    assert_eq!((shown.tool_calls, shown.open_call), (1, true));
    let shown = sniffed(DialectName::Gemini, &[&begun, &goes_on, &ended, &part(r#"{"name":"g","args":{}}"#)]);
    assert_eq!((shown.tool_calls, shown.open_call), (2, false));
}

#[test]
fn a_list_of_chunks_is_text_and_reasoning() {
    let delta = |content: &str| format!(r#"{{"id":"i","choices":[{{"index":0,"delta":{{"content":{content}}}}}]}}"#);
    let thought = delta(r#"[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]"#);
    let shown = sniffed(DialectName::OpenaiChat, &[&thought, &delta(r#"[{"type":"text","text":"a\u00e9"}]"#)]);
    assert_eq!((shown.text.as_str(), shown.reasoning, shown.obstacle), ("aé", true, None));
    let shown = sniffed(DialectName::OpenaiChat, &[&delta(r#"[{"type":"reference","reference_ids":[1]}]"#)]);
    assert_eq!(shown.obstacle, Some(Obstacle::Opaque));
}

#[test]
fn a_frame_that_reports_a_failure_is_not_shown() {
    let fine = r#"{"id":"i","choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    let failed = r#"{"id":"i","error":{"message":"m"},"choices":[{"index":0,"delta":{"content":"b"}}]}"#;
    assert_eq!(sniffed(DialectName::OpenaiChat, &[fine, failed]).text, "a");
    let failed = r#"{"error":{"code":503},"candidates":[{"content":{"parts":[{"text":"b"}]}}]}"#;
    assert_eq!(sniffed(DialectName::Gemini, &[failed]), dialect::Shown::default());
}

#[test]
fn an_open_block_is_told_with_its_index_and_kind() {
    let (stream, _) = written(DialectName::AnthropicMessages, &[head("msg_1"), reasoning("hm"), text("a")]);
    let mut both = SideBySide::new(DialectName::AnthropicMessages, &Profile::default());
    let seen: Vec<_> = frames(&stream)
        .iter()
        .map(|frame| {
            both.look(frame);
            both.shown().open_block.map(|open| (open.index, open.kind))
        })
        .collect();
    let (thinking, words) = (Some((0, BlockKind::Thinking)), Some((1, BlockKind::Text)));
    // message_start, start, delta, stop, start, delta
    assert_eq!(seen, [None, thinking, thinking, None, words, words]);
    assert_eq!(both.shown().blocks, 2);
}

#[test]
fn thinking_of_another_target_gets_a_block_of_its_own() {
    let dialect = DialectName::AnthropicMessages;
    let (stream, _) = written(dialect, &[head("msg_1"), reasoning("hm")]);
    let mut both = SideBySide::new(dialect, &Profile::default());
    for frame in &frames(&stream) {
        assert!(both.look(frame));
    }
    let signed = Event::Reasoning { candidate: 0, text: String::new(), signature: Some(signature(dialect)) };
    let rest = [reasoning("anew"), signed, text("a"), finish(FinishReason::Stop), Event::Done];
    let mut whole = stream.clone();
    whole.extend_from_slice(&resumed(dialect, both.shown(), &of_another_target(&rest, 0)));
    check_discipline(dialect, &whole);
    let whole = String::from_utf8(whole.to_vec()).unwrap();
    // Signed is what the other target thought, not what the first one had begun.
    assert_eq!(whole.matches(r#""content_block":{"type":"thinking""#).count(), 2);
    assert!(whole.contains(r#""index":1,"delta":{"type":"signature_delta""#));
}

#[test]
fn nothing_shown_is_a_stream_from_its_beginning() {
    for dialect in DialectName::ALL {
        let events = answer(dialect, &[Piece::Text("a".to_owned())]);
        let (stream, _) = written(dialect, &events);
        assert_eq!(resumed(dialect, &dialect::Shown::default(), &events), stream);
    }
}

#[test]
fn an_array_goes_on_inside_its_brackets() {
    let array = || dialect::StreamShape { json_array: true, ..shape() };
    let mut encoder = inbound(DialectName::Gemini).stream_encoder(array());
    let (mut out, mut drops) = (BytesMut::new(), Drops::new());
    for event in [head("id-1"), text("a")] {
        encoder.encode(&event, &mut out, &mut drops);
    }
    let mut shown = dialect::Shown::default();
    for event in &[head("id-1"), text("a")] {
        shown.take(event);
    }
    let mut encoder = inbound(DialectName::Gemini).resume_encoder(array(), &shown);
    for event in [head("id-2"), text("b"), finish(FinishReason::Stop), Event::Done] {
        encoder.encode(&event, &mut out, &mut drops);
    }
    let chunks: Vec<serde_json::Value> = serde_json::from_slice(&out).unwrap();
    assert!(chunks.len() == 3 && chunks.iter().all(|chunk| chunk["responseId"] == "id-1"));
}

/// What one encoder writes of several targets' events.
fn one_after_the_other(dialect: DialectName, parts: &[&[Event]]) -> String {
    let mut encoder = inbound(dialect).stream_encoder(shape());
    let (mut out, mut drops) = (BytesMut::new(), Drops::new());
    for event in parts.concat() {
        encoder.encode(&event, &mut out, &mut drops);
    }
    check_discipline(dialect, &out);
    String::from_utf8(out.to_vec()).unwrap()
}

fn call(number: u32, pieces: &[&str], ends: bool) -> Vec<Event> {
    let start = Event::ToolCallStart { candidate: 0, call: number, id: None, name: "f".to_owned(), signature: None };
    let delta = |piece: &&str| Event::ToolCallDelta { candidate: 0, call: number, arguments: (*piece).to_owned() };
    let end = ends.then_some(Event::ToolCallEnd { candidate: 0, call: number });
    std::iter::once(start).chain(pieces.iter().map(delta)).chain(end).collect()
}

#[test]
fn a_translated_stream_closes_the_thinking_of_a_target_that_is_gone() {
    let signed = Event::Reasoning {
        candidate: 0,
        text: String::new(),
        signature: Some(signature(DialectName::AnthropicMessages)),
    };
    let first = [head("msg_1"), reasoning("hm")];
    let second = [head("msg_2"), reasoning("anew"), signed, text("a"), finish(FinishReason::Stop), Event::Done];
    let stream = one_after_the_other(DialectName::AnthropicMessages, &[&first, &second]);
    assert_eq!(stream.matches(r#""content_block":{"type":"thinking""#).count(), 2);
    assert!(stream.contains(r#""index":1,"delta":{"type":"signature_delta""#) && !stream.contains("msg_2"));
}

#[test]
fn calls_of_two_targets_have_ids_of_their_own_with_or_without_a_second_start() {
    for dialect in [DialectName::OpenaiChat, DialectName::AnthropicMessages] {
        let first = [vec![head("id-1")], call(0, &["{}"], true)].concat();
        let last = [finish(FinishReason::ToolCalls), Event::Done];
        let second = [vec![head("id-2")], call(0, &["{}"], true)].concat();
        let stream = one_after_the_other(dialect, &[&first, &second, &last]);
        let said = Said::of(&decode(dialect, &Profile::default(), stream.as_bytes()));
        assert_eq!(said.calls.len(), 2, "{dialect}");
        assert_ne!(said.calls[0].0, said.calls[1].0, "{dialect}");

        let shown = dialect::Shown { begun: true, tool_calls: 1, blocks: 1, ..dialect::Shown::default() };
        let rest = resumed(dialect, &shown, &call(0, &["{}"], true));
        let number = if dialect == DialectName::OpenaiChat { r#""tool_calls":[{"index":1"# } else { r#""index":1"# };
        assert!(String::from_utf8(rest.to_vec()).unwrap().contains(number), "{dialect}");
    }
}

#[test]
fn a_call_whose_end_never_came_is_given_up_and_what_waited_for_it_too() {
    let first = [vec![head("id-1"), text("a")], call(0, &["{\"q\":"], false), call(1, &["{}"], true)].concat();
    let second = [head("id-2"), text("b"), finish(FinishReason::Stop), Event::Done];
    let stream = one_after_the_other(DialectName::AnthropicMessages, &[&first, &second]);
    assert_eq!(stream.matches(r#""type":"tool_use""#).count(), 1);
    // Gemini writes calls whole, so nothing of it was shown.
    let stream = one_after_the_other(DialectName::Gemini, &[&first[..4], &second]);
    assert!(!stream.contains("functionCall") && stream.contains("\"b\""));
}
