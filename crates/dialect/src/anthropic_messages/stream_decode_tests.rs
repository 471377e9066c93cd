use super::*;
use bytes::Bytes;
use canon::{ProviderBound, Usage};

/// Feeds events given by their data alone; the stream then ends.
fn decode(events: &[&str]) -> (Vec<Event>, usize) {
    let mut decoder = Decoder::default();
    let (mut out, mut malformed) = (Vec::new(), 0);
    for data in events {
        let frame =
            sse::Frame { raw: Bytes::new(), event: Bytes::new(), data: Bytes::copy_from_slice(data.as_bytes()) };
        malformed += usize::from(decoder.decode(&frame, &mut out).is_err());
    }
    decoder.end(b"", &mut out);
    (out, malformed)
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","model":"m","usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":1}}}"#;
const END_TURN: &str =
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":9}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

#[test]
fn a_text_stream_is_start_usage_text_finish_usage_done() {
    let (events, malformed) = decode(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        END_TURN,
        STOP,
        "[DONE]",
    ]);
    assert_eq!(malformed, 0);
    let usage = |output| {
        Event::Usage(Usage {
            input_tokens: Some(7),
            cached_input_tokens: Some(4),
            output_tokens: Some(output),
            ..Usage::default()
        })
    };
    assert_eq!(
        events,
        [
            Event::Start { id: Some("msg_1".to_owned()), model: Some("m".to_owned()), created: None, extra: vec![] },
            usage(1),
            Event::Ping,
            Event::Text { candidate: 0, text: "hi".to_owned(), signature: None },
            Event::Finish {
                candidate: 0,
                reason: FinishReason::Stop,
                native: Some("end_turn".to_owned()),
                stop_sequence: None
            },
            usage(9),
            Event::Done,
        ]
    );
}

#[test]
fn calls_count_tools_only_and_no_arguments_are_an_empty_object() {
    let (events, _) = decode(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"x"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t1","name":"a_x2E_b","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t2","name":"g","input":{"whole":1}}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"}}"#,
    ]);
    let calls: Vec<&Event> = events.iter().filter(|event| event.tag() == canon::Tag::Tool).collect();
    let start = |call, id: &str, name: &str| Event::ToolCallStart {
        candidate: 0,
        call,
        id: Some(id.to_owned()),
        name: name.to_owned(),
        signature: None,
    };
    let delta = |call, arguments: &str| Event::ToolCallDelta { candidate: 0, call, arguments: arguments.to_owned() };
    assert_eq!(
        calls,
        [
            &start(0, "t1", "a.b"),
            &delta(0, "{}"),
            &Event::ToolCallEnd { candidate: 0, call: 0 },
            &start(1, "t2", "g"),
            &delta(1, "{\"whole\":1}"),
            &Event::ToolCallEnd { candidate: 0, call: 1 },
        ]
    );
}

#[test]
fn a_stream_cut_before_its_stop_reason_is_not_done() {
    let (events, _) =
        decode(&[START, r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#]);
    assert!(!events.contains(&Event::Done));
    let (events, _) = decode(&[START, END_TURN]);
    assert_eq!(events.last(), Some(&Event::Done), "the stop reason is terminator enough");
}

#[test]
fn an_error_is_given_out_whole_whatever_the_event_is_called() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}            }"#;
    let (events, _) = decode(&[error]);
    assert_eq!(events, [Event::Error(serde_json::from_str(error).unwrap())]);
    let (events, _) = decode(&[START, r#"{"error":{"message":"x"}}"#]);
    assert!(matches!(events.last(), Some(Event::Error(_))), "{events:?}");
}

#[test]
fn thinking_is_signed_and_redacted_thinking_is_whole() {
    let (events, _) = decode(&[
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":"EARLIER"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"S"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"R"}}"#,
    ]);
    let bound = |value: &str| ProviderBound { dialect: DIALECT, value: value.to_owned() };
    assert_eq!(
        events,
        [
            Event::Reasoning { candidate: 0, text: "hm".to_owned(), signature: None },
            Event::Reasoning { candidate: 0, text: String::new(), signature: Some(bound("S")) },
            Event::RedactedReasoning { candidate: 0, data: bound("R") },
        ]
    );
}

#[test]
fn server_tools_and_blocks_not_known_yet_come_out_whole() {
    let (events, malformed) = decode(&[
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"q\":"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"compaction","content":"a"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"compaction_delta","content":"b"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"something_new","x":1}"#,
    ]);
    assert_eq!(malformed, 0);
    let blocks: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            Event::Opaque { value, .. } => Some(value.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(
        blocks,
        [
            r#"{"type":"server_tool_use","id":"s","name":"web_search","input":{"q":1}}"#,
            r#"{"type":"compaction","content":"ab"}"#,
        ]
    );
}

#[test]
fn a_citation_comes_when_its_block_closes_and_covers_it() {
    let (events, _) = decode(&[
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"ab","citations":[]}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"type":"web_search_result_location","url":"https://x","encrypted_index":"E","cited_text":"q"}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"c"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
    ]);
    let Some(Event::Citation { citation, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!((citation.start, citation.end), (Some(0), Some(3)));
    assert_eq!(citation.url.as_deref(), Some("https://x"));
    assert!(citation.native.is_some());
}

#[test]
fn every_stop_reason_has_its_canonical_one() {
    let table = [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("tool_use", FinishReason::ToolCalls),
        ("pause_turn", FinishReason::Pause),
        ("refusal", FinishReason::ContentFilter),
        ("model_context_window_exceeded", FinishReason::ContextFull),
        ("compaction", FinishReason::Other),
    ];
    for (native, expected) in table {
        let delta = format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"{native}","stop_sequence":"X"}}}}"#);
        let (events, _) = decode(&[&delta, &delta, STOP]);
        let finish = Event::Finish {
            candidate: 0,
            reason: expected,
            native: Some(native.to_owned()),
            stop_sequence: Some("X".to_owned()),
        };
        assert_eq!(events, [finish, Event::Done], "{native}: once");
    }
}

#[test]
fn what_is_no_event_is_malformed_and_the_rest_goes_on() {
    let (events, malformed) = decode(&[
        START,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_de"#,
        r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}"#,
        r#"{"type":"content_block_delta","index":7,"delta":{"type":"input_json_delta","partial_json":"x"}}"#,
        END_TURN,
        STOP,
    ]);
    assert_eq!(malformed, 3);
    assert_eq!(events.last(), Some(&Event::Done));
}

#[test]
fn a_block_that_was_never_begun_begins_with_its_first_delta() {
    let (events, malformed) = decode(&[
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"S"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"hi"}}"#,
    ]);
    assert_eq!((events.len(), malformed), (3, 0), "{events:?}");
}
