//! Streams of the `gemini` dialect: what its protocol allows and what breaks it, in our own words.

#![expect(clippy::unwrap_used, clippy::string_slice, reason = "tests")]

use bytes::{Bytes, BytesMut};
use canon::{CallerError, DialectName, Drops, Event, FinishReason, ProviderBound, Tag, Usage};
use dialect::profile::Profile;
use dialect::sse::Frame;
use dialect::{Inbound, Outbound, StreamEnd, StreamShape, gemini::Gemini};
use serde_json::{Value, json};

fn frame(data: &Value) -> Frame {
    let data = Bytes::from(data.to_string());
    Frame { raw: data.clone(), event: Bytes::new(), data }
}

fn decode(chunks: &[Value], residue: &str) -> Vec<Event> {
    let (mut decoder, mut events) = (Gemini.stream_decoder(&Profile::default()), Vec::new());
    for chunk in chunks {
        decoder.decode(&frame(chunk), &mut events).unwrap();
    }
    decoder.end(residue.as_bytes(), &mut events);
    events
}

fn sniffed_end(chunks: &[Value], residue: &str) -> StreamEnd {
    let mut sniffer = Gemini.sniffer(&Profile::default());
    for chunk in chunks {
        assert!(!sniffer.sniff(&frame(chunk)).malformed);
    }
    sniffer.end(residue.as_bytes())
}

fn part(part: &Value) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}], "modelVersion": "m", "responseId": "r"})
}

fn last(part: &Value, finish: &str) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": finish}]})
}

fn encode(events: &[Event], json_array: bool) -> (String, Drops) {
    let shape =
        StreamShape { json_array, fallback_id: "fid".into(), fallback_model: "fm".into(), ..StreamShape::default() };
    let (mut encoder, mut out, mut drops) = (Gemini.stream_encoder(shape), BytesMut::new(), Drops::new());
    for event in events {
        encoder.encode(event, &mut out, &mut drops);
    }
    (String::from_utf8(out.to_vec()).unwrap(), drops)
}

fn finish(events: &[Event]) -> Option<FinishReason> {
    events.iter().find_map(|e| if let Event::Finish { reason, .. } = e { Some(*reason) } else { None })
}

#[test]
fn a_stream_without_finish_reason_is_never_done() {
    let chunks = [part(&json!({"text": "half a sent"}))];
    let events = decode(&chunks, "");
    assert!(!events.contains(&Event::Done) && finish(&events).is_none());
    assert_eq!(sniffed_end(&chunks, ""), StreamEnd::Incomplete);
    assert_eq!(sniffed_end(&[], ""), StreamEnd::Incomplete);
}

#[test]
fn every_candidate_begun_must_finish() {
    let two = json!({"candidates": [
        {"index": 0, "content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"},
        {"index": 1, "content": {"parts": [{"text": "b"}]}}]});
    assert!(!decode(std::slice::from_ref(&two), "").contains(&Event::Done));
    assert_eq!(sniffed_end(std::slice::from_ref(&two), ""), StreamEnd::Incomplete);
    let rest = json!({"candidates": [{"index": 1, "finishReason": "MAX_TOKENS"}]});
    let events = decode(&[two.clone(), rest.clone()], "");
    assert_eq!(events.last(), Some(&Event::Done));
    assert_eq!(events.iter().filter(|e| matches!(e, Event::Finish { .. })).count(), 2);
    assert_eq!(sniffed_end(&[two, rest], ""), StreamEnd::Complete);
}

#[test]
fn an_error_after_the_last_frame_is_heard_raw_and_in_a_list() {
    let chunks = [part(&json!({"text": "half"}))];
    let error = json!({"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"});
    for residue in [
        format!("{{\n  \"error\": {}\n}}\n", serde_json::to_string_pretty(&error).unwrap()),
        json!([{ "error": error }]).to_string(),
        format!("data: {}", json!({ "error": error })),
    ] {
        let events = decode(&chunks, &residue);
        assert!(events.contains(&Event::Error(error.clone())) && !events.contains(&Event::Done), "{residue}");
        assert_eq!(sniffed_end(&chunks, &residue), StreamEnd::Error(error.clone()));
    }
}

#[test]
fn an_error_frame_after_the_finish_spoils_the_end() {
    let error = json!({"error": {"code": 500, "status": "INTERNAL"}});
    let chunks = [last(&json!({"text": "x"}), "STOP"), error.clone()];
    let events = decode(&chunks, "");
    assert!(events.contains(&Event::Error(error["error"].clone())) && !events.contains(&Event::Done));
    assert_eq!(sniffed_end(&chunks, ""), StreamEnd::Incomplete);
    let sniffed = Gemini.sniffer(&Profile::default()).sniff(&frame(&json!([error])));
    assert_eq!((sniffed.tag, sniffed.error), (Some(Tag::Fault), Some(json!({"code": 500, "status": "INTERNAL"}))));
}

#[test]
fn a_last_chunk_without_its_blank_line_counts() {
    let chunk = last(&json!({"text": "whole"}), "STOP");
    let events = decode(&[], &format!("data: {chunk}\r\n"));
    assert_eq!(events.last(), Some(&Event::Done));
    assert_eq!(sniffed_end(&[], &format!("data: {chunk}\r\n")), StreamEnd::Complete);
    let cut = chunk.to_string();
    assert!(!decode(&[], &format!("data: {}", &cut[..cut.len() - 9])).contains(&Event::Done));
}

#[test]
fn stop_beside_code_that_google_still_runs_is_not_the_end() {
    let pending = last(&json!({"executableCode": {"code": "1+1", "language": "PYTHON"}}), "STOP");
    let mut sniffer = Gemini.sniffer(&Profile::default());
    let sniffed = sniffer.sniff(&frame(&pending));
    assert!(!sniffed.terminator && sniffed.finish.is_none() && sniffed.tag == Some(Tag::Content));
    assert_eq!(sniffer.end(b""), StreamEnd::Incomplete);
    assert!(!decode(std::slice::from_ref(&pending), "").contains(&Event::Done));
    let answer = last(&json!({"text": "2"}), "STOP");
    let events = decode(&[pending, part(&json!({"codeExecutionResult": {"outcome": "OUTCOME_OK"}})), answer], "");
    let order: Vec<Tag> = events.iter().skip(1).map(Event::tag).collect();
    assert_eq!(order, [Tag::Content, Tag::Content, Tag::Content, Tag::Done, Tag::Done]);
}

#[test]
fn a_blocked_prompt_is_whole_and_says_why() {
    let chunk =
        json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 8}});
    let events = decode(std::slice::from_ref(&chunk), "");
    assert!(matches!(&events[1], Event::PromptBlocked(block) if block.reason == "PROHIBITED_CONTENT"));
    assert_eq!(events.last(), Some(&Event::Done));
    let sniffed = Gemini.sniffer(&Profile::default()).sniff(&frame(&chunk));
    assert_eq!(sniffed.finish, Some((FinishReason::ContentFilter, "PROHIBITED_CONTENT".to_owned())));
    assert!(sniffed.terminator);
    let (text, _) = encode(&events, false);
    assert!(text.starts_with(r#"data: {"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"}"#), "{text}");
}

#[test]
fn a_call_is_tool_calls_although_gemini_says_stop_and_may_have_no_id() {
    let chunks = [
        part(&json!({"functionCall": {"name": "f", "args": {"b": 1, "a": 2}}, "thoughtSignature": "sig"})),
        part(&json!({"functionCall": {"name": "g", "id": "i"}})),
        json!({"candidates": [{"finishReason": "STOP"}]}),
    ];
    let events = decode(&chunks, "");
    let signature = Some(ProviderBound { dialect: DialectName::Gemini, value: "sig".into() });
    assert_eq!(events[1], Event::ToolCallStart { candidate: 0, call: 0, id: None, name: "f".into(), signature });
    assert_eq!(events[2], Event::ToolCallDelta { candidate: 0, call: 0, arguments: r#"{"b":1,"a":2}"#.into() });
    assert!(matches!(&events[4], Event::ToolCallStart { call: 1, id: Some(id), .. } if id == "i"));
    assert_eq!(finish(&events), Some(FinishReason::ToolCalls));
    let mut sniffer = Gemini.sniffer(&Profile::default());
    assert_eq!(sniffer.sniff(&frame(&chunks[0])).tag, Some(Tag::Tool));
    assert_eq!(sniffer.sniff(&frame(&chunks[2])).finish.unwrap().0, FinishReason::ToolCalls);
}

#[test]
fn the_sniffer_tells_what_a_frame_is_to_the_commit_gate() {
    let tag = |value: &Value| Gemini.sniffer(&Profile::default()).sniff(&frame(value)).tag;
    assert_eq!(tag(&part(&json!({"text": "x"}))), Some(Tag::Content));
    assert_eq!(tag(&part(&json!({"text": "x", "thought": true}))), Some(Tag::Reasoning));
    assert_eq!(tag(&part(&json!({"thought": true, "text": "x"}))), Some(Tag::Reasoning));
    assert_eq!(tag(&part(&json!({"text": "", "thoughtSignature": "s"}))), Some(Tag::Reasoning));
    assert_eq!(tag(&part(&json!({"inlineData": {"mimeType": "image/png", "data": "AA=="}}))), Some(Tag::Content));
    assert_eq!(
        tag(&json!({"candidates": [{"index": 0}], "usageMetadata": {"promptTokenCount": 1}})),
        Some(Tag::Prelude)
    );
    assert_eq!(tag(&json!({"usageMetadata": {"promptTokenCount": 1}})), Some(Tag::Usage));
    assert_eq!(tag(&last(&json!({"text": ""}), "STOP")), Some(Tag::Done));
    let whole = Gemini.sniffer(&Profile::default()).sniff(&frame(&last(&json!({"text": "x"}), "STOP")));
    assert!(whole.tag == Some(Tag::Content) && whole.terminator && whole.finish.is_some());
    for bad in [&b"<html>"[..], b"[DONE]", b"3", b"{\"candidates\": 3}", b"{\"candidates\""] {
        let data = Bytes::copy_from_slice(bad);
        let sniffed =
            Gemini.sniffer(&Profile::default()).sniff(&Frame { raw: data.clone(), event: Bytes::new(), data });
        assert!(sniffed.malformed && sniffed.tag.is_none());
    }
}

#[test]
fn an_empty_answer_is_no_answer() {
    let body = json!({"candidates": [{"content": {"role": "model"}, "finishReason": "STOP"}]}).to_string();
    let sniffed = Gemini.sniffer(&Profile::default()).sniff_answer(body.as_bytes());
    assert_eq!((sniffed.tag, sniffed.terminator), (None, true));
    let array = json!([part(&json!({"text": "a"})), last(&json!({"text": "b"}), "STOP")]).to_string();
    let sniffed = Gemini.sniffer(&Profile::default()).sniff_answer(array.as_bytes());
    assert_eq!((sniffed.tag, sniffed.terminator, sniffed.model.as_deref()), (Some(Tag::Content), true, Some("m")));
}

fn foreign_stream() -> Vec<Event> {
    let text = |text: &str| Event::Text { candidate: 0, text: text.into(), signature: None };
    vec![
        Event::Start { id: None, model: Some("claude".into()), created: None, extra: Vec::new() },
        text("Hel\"lo\n"),
        text("wörld"),
        Event::ToolCallStart { candidate: 0, call: 0, id: Some("t0".into()), name: "f".into(), signature: None },
        Event::ToolCallDelta { candidate: 0, call: 0, arguments: "{\"a\":".into() },
        Event::ToolCallStart { candidate: 0, call: 1, id: Some("t1".into()), name: "g".into(), signature: None },
        Event::ToolCallDelta { candidate: 0, call: 0, arguments: "1}".into() },
        Event::ToolCallEnd { candidate: 0, call: 0 },
        Event::ToolCallEnd { candidate: 0, call: 1 },
        Event::Finish {
            candidate: 0,
            reason: FinishReason::ToolCalls,
            native: Some("tool_use".into()),
            stop_sequence: None,
        },
        Event::Usage(Usage {
            input_tokens: Some(5),
            output_tokens: Some(9),
            reasoning_tokens: Some(4),
            ..Usage::default()
        }),
        Event::Done,
    ]
}

#[test]
fn finish_and_usage_come_last_together_and_calls_come_whole() {
    let (text, drops) = encode(&foreign_stream(), false);
    assert!(drops.is_empty());
    let chunks: Vec<Value> = text
        .trim_end()
        .split("\r\n\r\n")
        .map(|f| serde_json::from_str(f.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    let part = |i: usize| &chunks[i]["candidates"][0]["content"]["parts"][0];
    assert_eq!(part(0)["text"], "Hel\"lo\n");
    assert_eq!(part(2)["functionCall"], json!({"id": "t0", "name": "f", "args": {"a": 1}}));
    assert_eq!(part(3)["functionCall"], json!({"id": "t1", "name": "g", "args": {}}));
    assert!(
        chunks[..4].iter().all(|c| c["candidates"][0].get("finishReason").is_none() && c["modelVersion"] == "claude")
    );
    assert_eq!(chunks[4]["candidates"][0]["finishReason"], "STOP");
    assert_eq!(part(4), &json!({"text": ""}), "a chunk without parts would cost a chat of google-genai its turn");
    assert_eq!(
        chunks[4]["usageMetadata"],
        json!({
        "promptTokenCount": 5, "candidatesTokenCount": 5, "thoughtsTokenCount": 4, "totalTokenCount": 14})
    );
    assert_eq!((chunks.len(), &chunks[4]["responseId"]), (5, &json!("fid")));
}

#[test]
fn the_array_form_is_one_json_array_at_every_honest_end() {
    let (text, _) = encode(&foreign_stream(), true);
    let whole: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(whole.len(), 5);
    for cut in 0..3 {
        let shape = StreamShape { json_array: true, ..StreamShape::default() };
        let (mut encoder, mut out, mut drops) = (Gemini.stream_encoder(shape), BytesMut::new(), Drops::new());
        for event in &foreign_stream()[..cut] {
            encoder.encode(event, &mut out, &mut drops);
        }
        encoder.fail(&CallerError::new(502, "stream_broken", "the provider cut the stream"), &mut out);
        let items: Vec<Value> = serde_json::from_slice(&out).unwrap();
        assert_eq!(items.last().unwrap()["error"]["code"], 502);
    }
}

#[test]
fn a_broken_stream_ends_with_the_error_google_genai_raises_and_nothing_after_it() {
    let (mut encoder, mut out) = (Gemini.stream_encoder(StreamShape::default()), BytesMut::new());
    let mut drops = Drops::new();
    let events = foreign_stream();
    for event in &events[..10] {
        encoder.encode(event, &mut out, &mut drops);
    }
    encoder.fail(&CallerError::new(503, "stream_broken", "cut"), &mut out);
    encoder.encode(&Event::Done, &mut out, &mut drops);
    let text = String::from_utf8(out.to_vec()).unwrap();
    assert!(!text.contains("finishReason"), "a finish reason before the failure would be a fake end");
    let last = text.trim_end().rsplit("\r\n\r\n").next().unwrap();
    assert!(last.starts_with(r#"data: {"error":{"code":503,"#), "{last}");
    assert!(text.ends_with("\r\n\r\n"));
}

#[test]
fn what_gemini_cannot_show_is_reported() {
    let foreign = ProviderBound { dialect: DialectName::AnthropicMessages, value: "s".into() };
    let events = [
        Event::Reasoning { candidate: 0, text: "hm".into(), signature: Some(foreign.clone()) },
        Event::RedactedReasoning { candidate: 0, data: foreign },
        Event::Opaque { candidate: 0, dialect: DialectName::AnthropicMessages, value: json!({}) },
        Event::Finish { candidate: 0, reason: FinishReason::Stop, native: None, stop_sequence: Some("END".into()) },
        Event::Done,
    ];
    let (text, drops) = encode(&events, false);
    let paths: Vec<_> = drops.iter().map(|d| d.path.as_str()).collect();
    assert_eq!(paths, ["reasoning.signature", "content.redacted_thinking", "content.opaque", "stop_sequence"]);
    assert!(text.contains(r#"{"text":"hm","thought":true}"#));
}
