use super::*;
use canon::{DialectName, PromptBlock};

fn encoder() -> Encoder {
    Encoder::new(StreamShape {
        fallback_id: "req-1".to_owned(),
        fallback_model: "fallback".to_owned(),
        ..StreamShape::default()
    })
}

/// The data of every event written, checked against its `event:` line.
fn data(out: &BytesMut) -> Vec<Value> {
    std::str::from_utf8(out)
        .unwrap()
        .split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
            data
        })
        .collect()
}

fn encode(events: &[Event]) -> (Vec<Value>, Vec<String>) {
    let (mut encoder, mut out, mut drops) = (encoder(), BytesMut::new(), Drops::new());
    for event in events {
        encoder.encode(event, &mut out, &mut drops);
    }
    (data(&out), drops.iter().map(|dropped| dropped.path.clone()).collect())
}

/// The stream in one line an event: what opens, what is said, what closes.
fn outline(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .map(|event| match event["type"].as_str().unwrap() {
            "content_block_start" => format!("{}+{}", event["index"], event["content_block"]["type"].as_str().unwrap()),
            "content_block_delta" => {
                let delta = event["delta"].as_object().unwrap();
                format!("{}:{}", event["index"], delta.values().nth(1).unwrap())
            }
            "content_block_stop" => format!("{}-", event["index"]),
            other => other.to_owned(),
        })
        .collect()
}

fn text(text: &str) -> Event {
    Event::Text { candidate: 0, text: text.to_owned(), signature: None }
}

fn thought(text: &str, signature: Option<ProviderBound>) -> Event {
    Event::Reasoning { candidate: 0, text: text.to_owned(), signature }
}

fn call(call: u32, id: Option<&str>) -> Event {
    Event::ToolCallStart { candidate: 0, call, id: id.map(str::to_owned), name: "f".to_owned(), signature: None }
}

fn piece(call: u32, arguments: &str) -> Event {
    Event::ToolCallDelta { candidate: 0, call, arguments: arguments.to_owned() }
}

fn ends(call: u32) -> Event {
    Event::ToolCallEnd { candidate: 0, call }
}

fn finish(reason: FinishReason) -> Event {
    Event::Finish { candidate: 0, reason, native: None, stop_sequence: None }
}

#[test]
fn the_start_states_input_tokens_and_the_end_the_usage_that_came_last() {
    let usage = |input, output| {
        Event::Usage(Usage {
            input_tokens: Some(input),
            cached_input_tokens: Some(2),
            output_tokens: Some(output),
            ..Usage::default()
        })
    };
    let start = Event::Start {
        id: Some("chatcmpl-1".to_owned()),
        model: Some("gpt".to_owned()),
        created: None,
        extra: vec![("system_fingerprint".to_owned(), json!("fp"))],
    };
    let (events, drops) = encode(&[
        start,
        usage(12, 1),
        Event::Ping,
        text("hi"),
        finish(FinishReason::Length),
        usage(12, 5),
        Event::Done,
    ]);
    assert_eq!(outline(&events), ["message_start", "0+text", "0:\"hi\"", "0-", "message_delta", "message_stop"]);
    let message = &events[0]["message"];
    assert_eq!((&message["id"], &message["model"]), (&json!("msg_chatcmpl-1"), &json!("gpt")));
    assert_eq!(message["usage"], json!({"input_tokens": 10, "cache_read_input_tokens": 2, "output_tokens": 0}));
    assert_eq!(events[4]["delta"]["stop_reason"], "max_tokens");
    assert_eq!(events[4]["usage"], json!({"input_tokens": 10, "cache_read_input_tokens": 2, "output_tokens": 5}));
    assert_eq!(drops, ["system_fingerprint"]);
}

#[test]
fn a_block_is_closed_whenever_the_channel_switches() {
    let own = Some(ProviderBound { dialect: DIALECT, value: "S".to_owned() });
    let foreign = Some(ProviderBound { dialect: DialectName::Gemini, value: "G".to_owned() });
    let (events, drops) = encode(&[
        thought("a", None),
        thought("", own),
        thought("b", foreign),
        text("c"),
        call(0, None),
        ends(0),
        text("d"),
        Event::Done,
    ]);
    assert_eq!(
        outline(&events),
        [
            "message_start",
            "0+thinking",
            "0:\"a\"",
            "0:\"S\"",
            "0-",
            "1+thinking",
            "1:\"b\"",
            "1-",
            "2+text",
            "2:\"c\"",
            "2-",
            "3+tool_use",
            "3-",
            "4+text",
            "4:\"d\"",
            "4-",
            "message_delta",
            "message_stop"
        ]
    );
    assert_eq!(events[11]["content_block"]["id"], "toolu_req-1_0");
    assert_eq!(drops, ["thoughtSignature"]);
}

#[test]
fn parallel_calls_whose_pieces_interleave_come_out_one_after_the_other() {
    let (events, _) = encode(&[
        call(0, Some("a")),
        call(1, Some("b")),
        piece(0, "{\"x\":"),
        piece(1, "{\"y\":"),
        text("meanwhile"),
        piece(0, "1}"),
        ends(0),
        piece(1, "2}"),
        ends(1),
        finish(FinishReason::ToolCalls),
        Event::Done,
    ]);
    assert_eq!(
        outline(&events),
        [
            "message_start",
            "0+tool_use",
            "0:\"{\\\"x\\\":\"",
            "0:\"1}\"",
            "0-",
            "1+tool_use",
            "1:\"{\\\"y\\\":\"",
            "1:\"2}\"",
            "1-",
            "2+text",
            "2:\"meanwhile\"",
            "2-",
            "message_delta",
            "message_stop"
        ]
    );
}

#[test]
fn calls_that_never_end_are_closed_at_the_end_with_everything_held_back() {
    let (events, _) = encode(&[call(0, None), call(1, None), text("x"), Event::Done]);
    assert_eq!(
        outline(&events),
        [
            "message_start",
            "0+tool_use",
            "0-",
            "1+tool_use",
            "1-",
            "2+text",
            "2:\"x\"",
            "2-",
            "message_delta",
            "message_stop"
        ]
    );
}

#[test]
fn text_after_a_cited_one_gets_a_block_of_its_own() {
    let citation = Citation { url: Some("https://x".to_owned()), ..Citation::default() };
    let (events, _) = encode(&[text("a"), Event::Citation { candidate: 0, citation }, text("b")]);
    assert_eq!(events[3]["delta"]["citation"]["url"], "https://x");
    assert_eq!(outline(&events[4..]), ["0-", "1+text", "1:\"b\""]);
}

#[test]
fn a_broken_stream_ends_with_an_error_and_no_stop() {
    let (mut encoder, mut out, mut drops) = (encoder(), BytesMut::new(), Drops::new());
    encoder.encode(&text("half"), &mut out, &mut drops);
    let before = out.len();
    encoder.fail(&CallerError::new(502, "stream_broken", "the provider hung up"), &mut out);
    encoder.encode(&Event::Done, &mut out, &mut drops);
    let tail = data(&BytesMut::from(&out[before..]));
    assert_eq!(tail.len(), 1);
    assert_eq!(tail[0]["error"]["type"], "api_error");
    assert_eq!(tail[0]["error"]["metadata"]["retryable"], false);
}

#[test]
fn a_blocked_prompt_is_an_empty_message_that_refuses() {
    let block = PromptBlock { reason: "SAFETY".to_owned(), message: Some("no".to_owned()) };
    let (events, _) = encode(&[Event::PromptBlocked(block), Event::Done]);
    assert_eq!(outline(&events), ["message_start", "message_delta", "message_stop"]);
    assert_eq!(events[1]["delta"]["stop_reason"], "refusal");
    assert_eq!(events[1]["delta"]["stop_details"]["explanation"], "no");
}

#[test]
fn only_the_first_candidate_is_shown_and_the_others_are_reported() {
    let (events, drops) = encode(&[
        Event::Text { candidate: 1, text: "other".to_owned(), signature: None },
        text("mine"),
        Event::Logprobs { candidate: 0, value: json!({}) },
        Event::Refusal { candidate: 0, text: "no".to_owned() },
        finish(FinishReason::Stop),
        Event::Done,
    ]);
    assert_eq!(drops, ["candidates[1]", "logprobs"]);
    assert_eq!(events[5]["delta"]["stop_reason"], "refusal");
    assert!(!events.iter().any(|event| event.to_string().contains("other")));
}

#[test]
fn a_server_tool_block_is_written_as_the_api_streams_it() {
    let value = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}});
    let (events, _) = encode(&[Event::Opaque { candidate: 0, dialect: DIALECT, value }]);
    assert_eq!(events[1]["content_block"]["input"], json!({}));
    assert_eq!(outline(&events[1..]), ["0+server_tool_use", "0:\"{\\\"q\\\":1}\"", "0-"]);
}
