//! Answers and streams of the `openai-chat` dialect: what is read from providers that bend it, and what the sniffer
//! sees.
#![expect(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use canon::{
    Answer, Candidate, Citation, DialectName, Drops, Event, FinishReason, Part, PromptBlock, ProviderBound, Reasoning,
    Tag, ToolCall, ToolKind, Usage,
};
use dialect::openai_chat::OpenaiChat;
use dialect::profile::Profile;
use dialect::{Inbound, Outbound, Sniffed, Sniffer, StreamEnd, sse};
use proptest::prelude::*;
use serde_json::{Value, json};

fn frame(data: &str) -> sse::Frame {
    named("", data)
}

fn named(event: &str, data: &str) -> sse::Frame {
    sse::Frame {
        raw: Bytes::from(format!("data: {data}\n\n")),
        event: Bytes::copy_from_slice(event.as_bytes()),
        data: Bytes::copy_from_slice(data.as_bytes()),
    }
}

fn delta(delta: &Value) -> Value {
    json!({"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

/// The events of a stream of JSON frames, which then ends with `[DONE]` (or not) and the connection.
fn events(frames: &[Value], done: bool) -> Vec<Event> {
    let (mut decoder, mut out) = (OpenaiChat.stream_decoder(&Profile::default()), Vec::new());
    for value in frames {
        decoder.decode(&frame(&value.to_string()), &mut out).unwrap();
    }
    if done {
        decoder.decode(&frame("[DONE]"), &mut out).unwrap();
    }
    decoder.end(b"", &mut out);
    out
}

fn text(text: &str) -> Event {
    Event::Text { candidate: 0, text: text.to_owned(), signature: None }
}

fn finished(reason: FinishReason, native: &str) -> Event {
    Event::Finish { candidate: 0, reason, native: Some(native.to_owned()), stop_sequence: None }
}

fn start() -> Event {
    Event::Start { id: Some("c1".to_owned()), model: Some("m".to_owned()), created: Some(5), extra: Vec::new() }
}

#[test]
fn a_finish_reason_ends_the_stream_with_or_without_the_last_line() {
    let frames =
        [delta(&json!({"role": "assistant", "content": ""})), delta(&json!({"content": "Hi"})), finish("stop")];
    let expected = [start(), text("Hi"), finished(FinishReason::Stop, "stop"), Event::Done];
    assert_eq!(events(&frames, true), expected);
    assert_eq!(events(&frames, false), expected);
}

#[test]
fn the_last_line_without_a_finish_reason_is_no_end() {
    assert_eq!(events(&[delta(&json!({"content": "Hi"}))], true), [start(), text("Hi")]);
    assert_eq!(events(&[], true), []);
}

#[test]
fn every_choice_begun_has_to_finish() {
    let both = json!({"id": "c1", "choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]});
    let open = events(&[both.clone(), finish("stop")], true);
    assert!(!open.contains(&Event::Done));
    let second = json!({"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]});
    assert_eq!(events(&[both, finish("stop"), second], true).last(), Some(&Event::Done));
}

#[test]
fn several_finish_reasons_are_one() {
    let frames = [delta(&json!({"content": "Hi"})), finish("stop"), finish("stop"), finish("stop")];
    let count = events(&frames, true).iter().filter(|event| matches!(event, Event::Finish { .. })).count();
    assert_eq!(count, 1);
}

#[test]
fn a_call_that_comes_after_the_finish_reason_of_another_is_not_lost() {
    let call = |i: u32| {
        json!({"choices": [{"index": 0, "finish_reason": "tool_calls", "delta": {"tool_calls":
            [{"index": i, "id": format!("call_{i}"), "function": {"name": "f", "arguments": "{}"}}]}}]})
    };
    let seen = events(&[call(0), call(1)], true);
    let starts = seen.iter().filter(|event| matches!(event, Event::ToolCallStart { .. })).count();
    assert_eq!(starts, 2);
    assert_eq!(&seen[seen.len() - 2..], [finished(FinishReason::ToolCalls, "tool_calls"), Event::Done]);
}

#[test]
fn tool_calls_that_end_with_stop_are_tool_calls() {
    let call = delta(&json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]}));
    assert!(events(&[call, finish("stop")], true).contains(&finished(FinishReason::ToolCalls, "stop")));
}

#[test]
fn an_azure_stream_begins_with_a_frame_that_names_nothing() {
    let first =
        json!({"id": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]});
    assert_eq!(events(&[first, delta(&json!({"content": "Hi"}))], false), [start(), text("Hi")]);
}

#[test]
fn usage_is_found_wherever_it_is_stated() {
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7});
    let stated = Usage { input_tokens: Some(3), output_tokens: Some(4), ..Usage::default() };
    for place in [
        json!({"choices": [], "usage": usage}),
        json!({"choices": [], "usage": null, "x_groq": {"id": "r", "usage": usage}}),
        json!({"choices": [{"index": 0, "delta": {}, "usage": usage}]}),
    ] {
        assert!(events(std::slice::from_ref(&place), false).contains(&Event::Usage(stated.clone())), "{place}");
    }
}

#[test]
fn an_error_frame_is_an_error_and_the_stream_never_done() {
    let error = json!({"message": "The server had an error", "type": "server_error", "code": null});
    for (place, expected) in [
        (json!({"error": error}), error.clone()),
        (
            json!({"choices": [{"index": 0, "delta": {"content": ""}}], "usage": {"prompt_tokens": 1}, "error": error}),
            error.clone(),
        ),
        (json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": error}]}), error.clone()),
        (json!({"x_groq": {"error": "over capacity"}, "choices": []}), json!({"error": "over capacity"})),
        (json!({"code": "busy", "error": "text"}), json!({"code": "busy", "error": "text"})),
        (json!({"object": "error", "message": "no"}), json!({"object": "error", "message": "no"})),
    ] {
        let seen = events(&[delta(&json!({"content": "Hi"})), finish("stop"), place.clone()], true);
        assert!(seen.contains(&Event::Error(expected)), "{place}");
        assert!(!seen.contains(&Event::Done), "{place}");
    }
}

#[test]
fn a_malformed_frame_is_reported_and_the_rest_still_read() {
    let (mut decoder, mut out) = (OpenaiChat.stream_decoder(&Profile::default()), Vec::new());
    decoder.decode(&frame(&delta(&json!({"content": "a"})).to_string()), &mut out).unwrap();
    assert!(decoder.decode(&frame("{\"choices\":[{"), &mut out).is_err());
    assert!(decoder.decode(&frame("[1]"), &mut out).is_err());
    decoder.decode(&frame(&delta(&json!({"content": "b"})).to_string()), &mut out).unwrap();
    assert_eq!(out, [start(), text("a"), text("b")]);
}

#[test]
fn what_follows_the_last_whole_frame_may_be_an_error_or_the_end() {
    let run = |residue: &[u8]| {
        let (mut decoder, mut out) = (OpenaiChat.stream_decoder(&Profile::default()), Vec::new());
        decoder.decode(&frame(&delta(&json!({"content": "a"})).to_string()), &mut out).unwrap();
        decoder.end(residue, &mut out);
        out.split_off(2)
    };
    assert_eq!(run(b"{\n  \"error\": {\"message\": \"x\"}\n}"), [Event::Error(json!({"message": "x"}))]);
    let last = format!("data: {}", finish("stop"));
    assert_eq!(run(last.as_bytes()), [finished(FinishReason::Stop, "stop"), Event::Done]);
    assert_eq!(run(&last.as_bytes()[..last.len() - 4]), [], "half an event is none");
}

#[test]
fn mistral_thinking_chunks_are_reasoning() {
    let chunk = delta(
        &json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hi"}]}),
    );
    let thought = Event::Reasoning { candidate: 0, text: "hm".to_owned(), signature: None };
    assert_eq!(events(&[chunk], false), [start(), thought, text("Hi")]);
}

#[test]
fn refusals_and_citations_have_their_own_events() {
    let refused = events(&[delta(&json!({"refusal": "No."})), finish("stop")], true);
    assert_eq!(refused[1], Event::Refusal { candidate: 0, text: "No.".to_owned() });
    assert_eq!(refused[2], finished(FinishReason::ContentFilter, "stop"));
    let annotation = json!({"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}});
    let cited = events(&[delta(&json!({"content": "x", "annotations": [annotation]}))], false);
    assert!(
        matches!(&cited[2], Event::Citation { citation, .. } if citation.url.as_deref() == Some("https://a.example"))
    );
}

fn answer(value: &Value) -> Answer {
    OpenaiChat.decode_answer(value.to_string().as_bytes(), &Profile::default()).unwrap()
}

fn encoded(answer: &Answer) -> (Value, Vec<String>) {
    let mut drops = Drops::new();
    let body = OpenaiChat.encode_answer(answer, &mut drops);
    (serde_json::from_slice(&body).unwrap(), drops.iter().map(|dropped| dropped.path.clone()).collect())
}

fn candidate(parts: Vec<Part>, finish: FinishReason) -> Candidate {
    Candidate {
        index: 0,
        parts,
        finish: Some(finish),
        native_finish: None,
        stop_sequence: None,
        citations: Vec::new(),
        safety: Vec::new(),
        logprobs: None,
    }
}

fn of(parts: Vec<Part>, finish: FinishReason) -> Answer {
    Answer { id: Some("a1".to_owned()), candidates: vec![candidate(parts, finish)], ..Answer::default() }
}

#[test]
fn an_answer_behind_keep_alive_lines_is_read() {
    let body =
        b"\n\n: keep-alive\n\n{\"choices\": [{\"message\": {\"content\": \"Hi\"}, \"finish_reason\": \"stop\"}]}";
    let read = OpenaiChat.decode_answer(body, &Profile::default()).unwrap();
    assert_eq!(read.candidates[0].parts, [Part::text("Hi")]);
}

#[test]
fn an_error_or_a_page_in_place_of_an_answer_is_malformed() {
    for body in [&b"{\"error\": {\"message\": \"x\"}}"[..], b"<html></html>", b"[]", b""] {
        assert!(OpenaiChat.decode_answer(body, &Profile::default()).is_err());
    }
}

#[test]
fn a_choice_without_a_message_keeps_its_reason() {
    let read = answer(&json!({"choices": [{"index": 0, "finish_reason": "content_filter"}]}));
    assert_eq!((read.candidates[0].parts.len(), read.candidates[0].finish), (0, Some(FinishReason::ContentFilter)));
}

#[test]
fn a_choice_with_an_error_is_a_provider_error() {
    let read = answer(
        &json!({"choices": [{"index": 0, "message": {"content": ""}, "finish_reason": "stop", "error": {"code": 502}}]}),
    );
    assert_eq!(read.candidates[0].finish, Some(FinishReason::ProviderError));
}

#[test]
fn an_answer_is_written_as_the_official_sdks_read_it() {
    let mut whole = of(vec![Part::text("Hi")], FinishReason::Stop);
    whole.usage = Usage {
        input_tokens: Some(9),
        cached_input_tokens: Some(4),
        output_tokens: Some(3),
        reasoning_tokens: Some(2),
        ..Usage::default()
    };
    whole.model = Some("claude".to_owned());
    let (body, drops) = encoded(&whole);
    assert_eq!(
        body,
        json!({"id": "a1", "object": "chat.completion", "created": 0, "model": "claude",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi", "refusal": null},
                "logprobs": null, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}})
    );
    assert!(drops.is_empty());
}

#[test]
fn content_is_null_beside_tool_calls_and_missing_ids_are_made_up() {
    let call = |name: &str| {
        Part::ToolCall(ToolCall {
            id: None,
            name: name.to_owned(),
            arguments: String::new(),
            signature: None,
            cache: None,
            kind: ToolKind::Function,
        })
    };
    let whole = of(vec![call("f"), call("g")], FinishReason::ToolCalls);
    let (body, _) = encoded(&whole);
    let message = &body["choices"][0]["message"];
    assert_eq!((&message["content"], &body["choices"][0]["finish_reason"]), (&Value::Null, &json!("tool_calls")));
    let ids = [0, 1].map(|i| message["tool_calls"][i]["id"].as_str().unwrap());
    assert!(ids.iter().all(|id| id.starts_with("call_")) && ids[0] != ids[1]);
    assert_eq!(message["tool_calls"][0]["function"]["arguments"], "{}");
    assert_eq!(body, encoded(&whole).0);
}

#[test]
fn thinking_is_shown_and_another_vendors_signature_is_not() {
    let signature = ProviderBound { dialect: DialectName::AnthropicMessages, value: "SECRET".to_owned() };
    let thought = Part::Reasoning(Reasoning { text: "hm".to_owned(), signature: Some(signature), redacted: None });
    let (body, drops) = encoded(&of(vec![thought, Part::text("Hi")], FinishReason::Stop));
    assert_eq!(body["choices"][0]["message"]["reasoning_content"], "hm");
    assert!(!body.to_string().contains("SECRET"));
    assert_eq!(drops, ["choices[0].content[0].signature"]);
}

#[test]
fn citations_with_an_address_are_annotations_over_the_text_they_stand_on() {
    let cited = |text: &str, citation: Citation| Part::Text {
        text: text.to_owned(),
        citations: vec![citation],
        cache: None,
        signature: None,
    };
    let web = Citation { url: Some("https://a.example".to_owned()), ..Citation::default() };
    let parts = vec![
        Part::text("Äh, "),
        cited("so it is.", web),
        cited("!", Citation { document: Some(0), ..Citation::default() }),
    ];
    let (body, drops) = encoded(&of(parts, FinishReason::Stop));
    let annotations = body["choices"][0]["message"]["annotations"].as_array().unwrap();
    assert_eq!(annotations.len(), 1);
    assert_eq!(
        (&annotations[0]["url_citation"]["start_index"], &annotations[0]["url_citation"]["end_index"]),
        (&json!(4), &json!(13))
    );
    assert_eq!(drops, ["choices[0].content[2].citations"]);
}

#[test]
fn a_blocked_prompt_is_one_filtered_choice() {
    let block = PromptBlock { reason: "SAFETY".to_owned(), message: None };
    let (body, _) = encoded(&Answer { prompt_block: Some(block), ..Answer::default() });
    assert_eq!(body["choices"][0]["finish_reason"], "content_filter");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
}

fn sniffer() -> Box<dyn Sniffer> {
    OpenaiChat.sniffer(&Profile::default())
}

fn sniff(value: &Value) -> Sniffed {
    sniffer().sniff(&frame(&value.to_string()))
}

#[test]
fn every_kind_of_frame_has_its_tag() {
    let list = |kind: &str| json!({"content": [{"type": kind, kind: [{"type": "text", "text": "x"}], "text": "x"}]});
    let table = [
        (delta(&json!({"role": "assistant", "content": ""})), Tag::Prelude),
        (delta(&json!({"role": "assistant", "content": null, "refusal": null})), Tag::Prelude),
        (json!({"id": "", "choices": [], "prompt_filter_results": []}), Tag::Prelude),
        (delta(&json!({"content": "Hi"})), Tag::Content),
        (delta(&json!({"refusal": "No"})), Tag::Content),
        (delta(&list("text")), Tag::Content),
        (delta(&list("thinking")), Tag::Reasoning),
        (delta(&json!({"reasoning_content": "hm"})), Tag::Reasoning),
        (delta(&json!({"content": "", "reasoning": "hm", "reasoning_details": []})), Tag::Reasoning),
        (delta(&json!({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]})), Tag::Tool),
        (delta(&json!({"content": null, "tool_calls": [{"index": 0}]})), Tag::Tool),
        (delta(&json!({"content": "Hi", "tool_calls": []})), Tag::Content),
        (finish("stop"), Tag::Done),
        (json!({"choices": [], "usage": {"prompt_tokens": 1}}), Tag::Usage),
        (json!({"error": {"message": "x"}}), Tag::Fault),
    ];
    for (value, tag) in table {
        assert_eq!(sniff(&value).tag, Some(tag), "{value}");
    }
}

#[test]
fn a_usage_frame_is_only_usage_and_content_with_usage_is_not() {
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 4});
    assert!(sniff(&json!({"choices": [], "usage": usage})).only_usage);
    let mixed = sniff(
        &json!({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "length"}], "usage": usage}),
    );
    assert!(!mixed.only_usage && mixed.terminator);
    assert_eq!((mixed.tag, mixed.finish), (Some(Tag::Content), Some((FinishReason::Length, "length".to_owned()))));
    assert_eq!(mixed.usage.unwrap().output_tokens, Some(4));
}

#[test]
fn a_malformed_frame_has_no_tag() {
    for data in ["{\"choices\":[", "{\"choices\":[]} x", "hello", "{\"a\":\"\u{1}\"}", "{\"choices\":[{\"delta\":3}]}"]
    {
        let sniffed = sniffer().sniff(&frame(data));
        assert!(sniffed.malformed && sniffed.tag.is_none(), "{data}");
    }
}

#[test]
fn the_last_line_counts_only_after_a_finish_reason() {
    let mut watcher = sniffer();
    watcher.sniff(&frame(&delta(&json!({"content": "Hi"})).to_string()));
    let early = watcher.sniff(&frame("[DONE]"));
    assert_eq!((early.tag, early.terminator), (None, false), "nothing to forward: it would be a fake end");
    assert_eq!(watcher.end(b""), StreamEnd::Incomplete);
    watcher.sniff(&frame(&finish("stop").to_string()));
    let last = watcher.sniff(&frame("[DONE]"));
    assert_eq!((last.tag, last.terminator), (Some(Tag::Done), true));
    assert_eq!(watcher.end(b""), StreamEnd::Complete);
}

#[test]
fn the_model_is_told_once_and_an_error_after_the_end_is_seen() {
    let mut watcher = sniffer();
    assert_eq!(watcher.sniff(&frame(&delta(&json!({"content": "a"})).to_string())).model.as_deref(), Some("m"));
    assert_eq!(watcher.sniff(&frame(&finish("stop").to_string())).model, None);
    assert_eq!(watcher.end(b"{\"error\": {\"code\": 503}}"), StreamEnd::Error(json!({"code": 503})));
    let groq = sniffer().sniff(&named("error", "{\"message\": \"x\"}"));
    assert_eq!((groq.tag, groq.error), (Some(Tag::Fault), Some(json!({"message": "x"}))));
}

fn sniff_answer(body: &Value) -> Sniffed {
    sniffer().sniff_answer(body.to_string().as_bytes())
}

#[test]
fn an_empty_answer_is_no_answer() {
    for message in [json!({"content": ""}), json!({"content": null}), json!({"content": "", "tool_calls": []})] {
        let sniffed = sniff_answer(&json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}));
        assert_eq!((sniffed.tag, sniffed.finish), (None, None));
    }
    let none = sniff_answer(&json!({"choices": []}));
    assert_eq!((none.tag, none.finish), (None, None));
}

#[test]
fn an_empty_answer_keeps_the_reason_why_it_is_empty() {
    let filtered = sniff_answer(&json!({"choices": [{"index": 0, "finish_reason": "content_filter"}]}));
    assert_eq!(filtered.finish.unwrap().0, FinishReason::ContentFilter);
    let failed = sniff_answer(
        &json!({"choices": [{"index": 0, "message": {"content": ""}, "finish_reason": "insufficient_system_resource"}]}),
    );
    assert_eq!(failed.finish.unwrap().1, "insufficient_system_resource");
}

#[test]
fn an_error_or_a_page_in_a_200_is_seen() {
    assert_eq!(sniff_answer(&json!({"error": {"code": 500}})).error, Some(json!({"code": 500})));
    assert_eq!(sniff_answer(&json!({"code": "x", "error": "text"})).tag, Some(Tag::Fault));
    let in_choice = json!({"choices": [{"index": 0, "message": {"content": ""}, "error": {"code": 502}}]});
    assert_eq!(sniff_answer(&in_choice).error, Some(json!({"code": 502})));
    assert!(sniffer().sniff_answer(b"<html><body>Bad gateway</body></html>").malformed);
}

#[test]
fn a_whole_answer_shows_usage_finish_and_model() {
    let sniffed =
        sniff_answer(&json!({"model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"},
        "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}));
    assert_eq!((sniffed.tag, sniffed.model.as_deref()), (Some(Tag::Content), Some("m")));
    assert_eq!(sniffed.finish, Some((FinishReason::Stop, "stop".to_owned())));
    assert_eq!(sniffed.usage.unwrap().total(), 7);
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _any_outcome = OpenaiChat.decode_answer(&bytes, &Profile::default());
        let (mut decoder, mut watcher, mut out) = (OpenaiChat.stream_decoder(&Profile::default()), sniffer(), Vec::new());
        let cut = sse::Frame { raw: Bytes::new(), event: Bytes::new(), data: Bytes::copy_from_slice(&bytes) };
        let _any_outcome = decoder.decode(&cut, &mut out);
        watcher.sniff(&cut);
        watcher.sniff_answer(&bytes);
        decoder.end(&bytes, &mut out);
        watcher.end(&bytes);
    }

    #[test]
    fn the_sniffer_and_the_decoder_call_the_same_frames_malformed(
        text in "[ -~äß漢]{0,30}", cut in 0..200usize, flip in 0..200usize, byte in any::<u8>()
    ) {
        let mut bytes = delta(&json!({"content": text})).to_string().into_bytes();
        if let Some(place) = bytes.get_mut(flip) {
            *place = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut / 20));
        let damaged = sse::Frame { raw: Bytes::new(), event: Bytes::new(), data: Bytes::from(bytes) };
        let mut decoder = OpenaiChat.stream_decoder(&Profile::default());
        let unread = decoder.decode(&damaged, &mut Vec::new()).is_err();
        // The sniffer is the stricter one: it also refuses fields of an impossible type.
        prop_assert!(!unread || sniffer().sniff(&damaged).malformed || damaged.data.is_empty());
    }
}

#[test]
fn fields_filled_in_with_nothing_say_nothing() {
    let message = json!({"content": "Hi", "refusal": "", "function_call": {"name": "", "arguments": ""},
        "audio": {"id": "", "data": "", "expires_at": 0}});
    let body = json!({"choices": [{"index": 0, "message": message, "delta": {"content": ""}, "finish_reason": "stop",
        "logprobs": {"content": null, "refusal": null}}]});
    let read = answer(&body);
    assert_eq!((&read.candidates[0].parts, &read.candidates[0].logprobs), (&vec![Part::text("Hi")], &None));
    let sniffed = sniff_answer(&body);
    assert_eq!((sniffed.tag, sniffed.finish.unwrap().0), (Some(Tag::Content), FinishReason::Stop));
}
