use super::*;
use bytes::Bytes;

fn frame(data: &str) -> sse::Frame {
    sse::Frame { raw: Bytes::new(), event: Bytes::new(), data: Bytes::copy_from_slice(data.as_bytes()) }
}

fn tag(data: &str) -> Option<Tag> {
    Sniff::default().sniff(&frame(data)).tag
}

#[test]
fn each_event_has_its_tag() {
    let delta = |inner: &str| format!(r#"{{"type":"content_block_delta","index":0,"delta":{inner}}}"#);
    let start = |inner: &str| format!(r#"{{"type":"content_block_start","index":0,"content_block":{inner}}}"#);
    let table = [
        (r#"{"type":"ping"}"#.to_owned(), Tag::Prelude),
        (r#"{"type":"content_block_stop","index":0}"#.to_owned(), Tag::Prelude),
        (r#"{"type":"event_of_tomorrow"}"#.to_owned(), Tag::Prelude),
        (start(r#"{"type":"text","text":""}"#), Tag::Prelude),
        (start(r#"{"type":"thinking","thinking":"","signature":""}"#), Tag::Prelude),
        (start(r#"{"type":"tool_use","id":"t","name":"f","input":{}}"#), Tag::Tool),
        (start(r#"{"type":"redacted_thinking","data":"x"}"#), Tag::Reasoning),
        (start(r#"{"type":"web_search_tool_result","content":[]}"#), Tag::Content),
        (delta(r#"{"type":"text_delta","text":"hi"}"#), Tag::Content),
        (delta(r#"{"type":"text_delta","text":""}"#), Tag::Prelude),
        (delta(r#"{"type":"thinking_delta","thinking":"hm"}"#), Tag::Reasoning),
        (delta(r#"{"type":"signature_delta","signature":"s"}"#), Tag::Reasoning),
        (delta(r#"{"type":"input_json_delta","partial_json":"{"}"#), Tag::Tool),
        (delta(r#"{"type":"citations_delta","citation":{}}"#), Tag::Content),
        (r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#.to_owned(), Tag::Done),
        (r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":1}}"#.to_owned(), Tag::Usage),
        (r#"{"type":"message_stop"}"#.to_owned(), Tag::Done),
        (r#"{"type":"error","error":{"type":"overloaded_error"}}"#.to_owned(), Tag::Fault),
    ];
    for (data, expected) in table {
        assert_eq!(tag(&data), Some(expected), "{data}");
    }
}

#[test]
fn malformed_events_are_told_from_those_to_leave_out() {
    for data in [
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}}"#,
        r#"{"type":"content_block_delta","index":0}"#,
        r#"{"type":"message_start"}"#,
        "nonsense",
    ] {
        let sniffed = Sniff::default().sniff(&frame(data));
        assert!(sniffed.malformed && sniffed.tag.is_none(), "{data}");
    }
    let done = Sniff::default().sniff(&frame("[DONE]"));
    assert!(!done.malformed && done.tag.is_none());
}

#[test]
fn a_stream_shows_model_usage_finish_and_terminator() {
    let mut sniff = Sniff::default();
    let start = sniff.sniff(&frame(
        r#"{"type":"message_start","message":{"model":"m","usage":{"input_tokens":3,"cache_creation_input_tokens":2}}}"#,
    ));
    assert_eq!(start.model.as_deref(), Some("m"));
    assert_eq!(start.usage.unwrap().input_tokens, Some(5));
    assert_eq!(sniff.end(b""), StreamEnd::Incomplete);
    let delta = sniff
        .sniff(&frame(r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":7}}"#));
    assert_eq!(delta.finish, Some((FinishReason::ToolCalls, "tool_use".to_owned())));
    let usage = delta.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(5), Some(7)));
    assert!(!delta.terminator);
    assert_eq!(sniff.end(b""), StreamEnd::Complete);
    assert!(sniff.sniff(&frame(r#"{"type":"message_stop"}"#)).terminator);
}

#[test]
fn an_error_after_the_last_event_is_seen() {
    let mut sniff = Sniff::default();
    assert!(matches!(sniff.end(br#" {"type":"error","error":{"type":"api_error"}}"#), StreamEnd::Error(_)));
    assert_eq!(sniff.end(b"event: content_block_del"), StreamEnd::Incomplete);
}

#[test]
fn an_answer_shows_what_it_holds() {
    let tag = |content: &str, stop: &str| {
        let body = format!(r#"{{"model":"m","content":{content},"stop_reason":{stop},"usage":{{"output_tokens":1}}}}"#);
        Sniff::default().sniff_answer(body.as_bytes()).tag
    };
    assert_eq!(tag(r#"[{"type":"text","text":"x"}]"#, "\"end_turn\""), Some(Tag::Content));
    assert_eq!(tag(r#"[{"type":"thinking","thinking":"x"},{"type":"tool_use"}]"#, "\"tool_use\""), Some(Tag::Tool));
    assert_eq!(tag(r#"[{"type":"thinking","thinking":"x"}]"#, "\"max_tokens\""), Some(Tag::Reasoning));
    assert_eq!(tag("[]", "\"end_turn\""), None, "an empty answer is no answer");
    assert_eq!(tag(r#"[{"type":"text","text":""}]"#, "\"end_turn\""), None);
    assert_eq!(tag("[]", "\"refusal\""), Some(Tag::Done), "an empty refusal is an answer");
}

#[test]
fn an_error_or_html_in_a_200_is_no_answer() {
    let error = Sniff::default().sniff_answer(br#"{"type":"error","error":{"type":"api_error"}}"#);
    assert_eq!((error.tag, error.error.is_some()), (Some(Tag::Fault), true));
    assert!(Sniff::default().sniff_answer(b"<html></html>").malformed);
    assert!(Sniff::default().sniff_answer(br#"{"ok":true}"#).malformed);
}
