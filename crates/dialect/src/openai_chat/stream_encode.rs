//! A stream for a caller of this dialect: chunks, the usage chunk if it was asked for, `[DONE]`.

use super::answer_encode::{block_text, put_extra};
use super::message_decode::message_fields;
use super::{citation, error, finish, ids, reasoning, usage};
use crate::{Shown, StreamEncoder, StreamShape};
use bytes::BytesMut;
use canon::{CallerError, Citation, DialectName, Drops, Event, FinishReason, Usage};
use serde_json::{Map, Value, json};

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Encoder {
    shape: StreamShape,
    id: String,
    /// Everything of a chunk before its `choices`, written once.
    head: String,
    candidates: Vec<Candidate>,
    usage: Usage,
    done: bool,
}

#[derive(Debug, Default)]
struct Candidate {
    index: u32,
    refused: bool,
    /// Characters of text so far.
    chars: u64,
    /// Tool calls without arguments so far.
    bare: Vec<u32>,
    /// Annotations so far.
    annotations: usize,
    /// Numbers of tool calls used up.
    calls: u32,
    /// Those used up by earlier targets: the present one counts its own from 0.
    calls_before: u32,
}

/// Most choices the API gives.
const MOST_CHOICES: u32 = 128;

impl Encoder {
    pub(super) fn new(shape: StreamShape) -> Self {
        let mut encoder = Self {
            id: String::new(),
            head: String::new(),
            candidates: Vec::new(),
            usage: Usage::default(),
            done: false,
            shape,
        };
        encoder.begin(None, None, None, &[], &mut Drops::new());
        encoder
    }

    /// A writer that goes on where the caller's stream broke off.
    pub(super) fn resume(shape: StreamShape, shown: &Shown) -> Self {
        let mut encoder = Self::new(shape);
        encoder.begin(shown.id.as_deref(), shown.model.as_deref(), shown.created, &[], &mut Drops::new());
        if shown.begun {
            let chars = u64::try_from(shown.text.chars().count()).unwrap_or(u64::MAX);
            let (calls, calls_before) = (shown.tool_calls, shown.tool_calls);
            encoder.candidates.push(Candidate { chars, calls, calls_before, ..Candidate::default() });
        }
        encoder
    }

    /// Another target goes on with what was written.
    fn go_on(&mut self) {
        for candidate in &mut self.candidates {
            candidate.calls_before = candidate.calls;
            candidate.bare.clear();
        }
    }

    fn begin(
        &mut self,
        id: Option<&str>,
        model: Option<&str>,
        created: Option<i64>,
        extra: &[(String, Value)],
        drops: &mut Drops,
    ) {
        self.id = id.unwrap_or(&self.shape.fallback_id).to_owned();
        let mut head = Map::new();
        head.insert("id".to_owned(), json!(self.id));
        head.insert("object".to_owned(), json!("chat.completion.chunk"));
        head.insert("created".to_owned(), json!(created.unwrap_or(self.shape.created)));
        head.insert("model".to_owned(), json!(model.unwrap_or(&self.shape.fallback_model)));
        put_extra(&mut head, extra, drops);
        let mut text = Value::Object(head).to_string();
        // The object stays open for `choices`.
        text.pop();
        self.head = text;
    }

    /// One chunk with one choice. The first of a candidate is preceded by its role, as SDKs expect.
    fn chunk(&mut self, index: u32, delta: &Value, out: &mut BytesMut) {
        self.candidate(index, out);
        self.write(index, delta, "null", None, out);
    }

    fn write(&self, index: u32, delta: &Value, logprobs: &str, finish: Option<Map<String, Value>>, out: &mut BytesMut) {
        let finish = finish.map_or_else(
            || "\"finish_reason\":null".to_owned(),
            |finish| {
                let fields = Value::Object(finish).to_string();
                fields.trim_start_matches('{').trim_end_matches('}').to_owned()
            },
        );
        let text = format!(
            "data: {},\"choices\":[{{\"index\":{index},\"delta\":{delta},\"logprobs\":{logprobs},{finish}}}]}}\n\n",
            self.head
        );
        out.extend_from_slice(text.as_bytes());
    }

    /// The candidate's state; writes its role when it is new. Choices begin in order: `OpenAI`'s stream helper puts
    /// them into a list by index and fails on one that is past its end.
    fn candidate(&mut self, index: u32, out: &mut BytesMut) -> Option<&mut Candidate> {
        if !self.candidates.iter().any(|candidate| candidate.index == index) {
            let first = if index < MOST_CHOICES { 0 } else { index };
            for index in first..=index {
                if !self.candidates.iter().any(|candidate| candidate.index == index) {
                    self.candidates.push(Candidate { index, ..Candidate::default() });
                    self.write(index, &json!({"role": "assistant", "content": ""}), "null", None, out);
                }
            }
        }
        self.candidates.iter_mut().find(|candidate| candidate.index == index)
    }

    fn reasoning(
        &mut self,
        index: u32,
        text: &str,
        signature: Option<&canon::ProviderBound>,
        out: &mut BytesMut,
        drops: &mut Drops,
    ) {
        if !text.is_empty() {
            self.chunk(index, &json!({"reasoning_content": text}), out);
        }
        match signature.map(reasoning::details_of) {
            Some(Some(details)) => {
                self.chunk(index, &json!({"reasoning_content": "", "reasoning_details": details}), out);
            }
            Some(None) => drops.add("reasoning.signature", "another vendor's signature"),
            None => {}
        }
    }

    fn tool_start(&mut self, index: u32, call: u32, id: Option<&str>, name: &str, out: &mut BytesMut) {
        let call = self.number(index, call, out);
        let made_up = || ids::call_id(&[&self.id, &index.to_string(), &call.to_string()]);
        let id = id.map_or_else(made_up, str::to_owned);
        if let Some(candidate) = self.candidate(index, out) {
            candidate.calls = candidate.calls.max(call.saturating_add(1));
            candidate.bare.push(call);
        }
        let function = json!({"name": name, "arguments": ""});
        let entry = json!({"index": call, "id": id, "type": "function", "function": function});
        self.chunk(index, &json!({"tool_calls": [entry]}), out);
    }

    /// The number of a call among all of the caller's stream.
    fn number(&mut self, index: u32, call: u32, out: &mut BytesMut) -> u32 {
        let before = self.candidate(index, out).map_or(0, |candidate| candidate.calls_before);
        before.saturating_add(call)
    }

    fn arguments(&mut self, index: u32, call: u32, arguments: &str, out: &mut BytesMut) {
        if arguments.is_empty() {
            return;
        }
        if let Some(candidate) = self.candidate(index, out) {
            candidate.bare.retain(|bare| *bare != call);
        }
        let entry = json!({"index": call, "function": {"arguments": arguments}});
        self.chunk(index, &json!({"tool_calls": [entry]}), out);
    }

    /// A call whose arguments never came takes none: readers parse the text, so it must be an object. Where the output
    /// was cut off nobody knows, and nothing is made up.
    fn complete_calls(&mut self, index: u32, reason: FinishReason, out: &mut BytesMut) {
        let bare = self.candidate(index, out).map(|candidate| std::mem::take(&mut candidate.bare)).unwrap_or_default();
        if !matches!(reason, FinishReason::Length | FinishReason::ContextFull) {
            for call in bare {
                self.arguments(index, call, "{}", out);
            }
        }
    }

    fn citation(&mut self, index: u32, found: &Citation, out: &mut BytesMut, drops: &mut Drops) {
        let Some(candidate) = self.candidate(index, out) else { return };
        match citation::encode_streamed(found, (0, candidate.chars), candidate.annotations) {
            Some(annotation) => {
                candidate.annotations += 1;
                self.chunk(index, &json!({"annotations": [annotation]}), out);
            }
            None => drops.add("citations", "openai-chat cites web addresses only"),
        }
    }

    fn opaque(&mut self, index: u32, dialect: DialectName, value: &Value, out: &mut BytesMut, drops: &mut Drops) {
        match message_fields(value).filter(|_| dialect == DialectName::OpenaiChat) {
            Some(fields) => self.chunk(index, &Value::Object(fields.clone()), out),
            None => drops.add("content", "openai-chat has no such part in an answer"),
        }
    }

    fn finish(
        &mut self,
        index: u32,
        reason: FinishReason,
        native: Option<&str>,
        stop_sequence: Option<&str>,
        out: &mut BytesMut,
    ) {
        self.complete_calls(index, reason, out);
        let refused = self.candidate(index, out).is_some_and(|candidate| candidate.refused);
        let mut fields = Map::new();
        fields.insert("finish_reason".to_owned(), json!(finish::encode(reason, native, refused)));
        if let Some(sequence) = stop_sequence {
            fields.insert("stop_reason".to_owned(), json!(sequence));
        }
        self.write(index, &json!({}), "null", Some(fields), out);
    }

    fn done(&mut self, out: &mut BytesMut) {
        if self.done {
            return;
        }
        self.done = true;
        if self.shape.usage {
            let text = format!("data: {},\"choices\":[],\"usage\":{}}}\n\n", self.head, usage::encode(&self.usage));
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

impl StreamEncoder for Encoder {
    fn encode(&mut self, event: &Event, out: &mut BytesMut, drops: &mut Drops) {
        match event {
            Event::Start { .. } if !self.candidates.is_empty() => self.go_on(),
            Event::Start { id, model, created, extra } => {
                self.begin(id.as_deref(), model.as_deref(), *created, extra, drops);
            }
            Event::Text { candidate, text, .. } => {
                let added = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
                if let Some(candidate) = self.candidate(*candidate, out) {
                    candidate.chars = candidate.chars.saturating_add(added);
                }
                self.chunk(*candidate, &json!({"content": text}), out);
            }
            Event::Refusal { candidate, text } => {
                if let Some(candidate) = self.candidate(*candidate, out) {
                    candidate.refused = true;
                }
                self.chunk(*candidate, &json!({"refusal": text}), out);
            }
            Event::Reasoning { candidate, text, signature } => {
                self.reasoning(*candidate, text, signature.as_ref(), out, drops);
            }
            Event::RedactedReasoning { .. } => drops.add("reasoning", "encrypted thinking of another vendor"),
            Event::ToolCallStart { candidate, call, id, name, .. } => {
                self.tool_start(*candidate, *call, id.as_deref(), name, out);
            }
            Event::ToolCallDelta { candidate, call, arguments } => {
                let call = self.number(*candidate, *call, out);
                self.arguments(*candidate, call, arguments, out);
            }
            Event::Citation { candidate, citation } => self.citation(*candidate, citation, out, drops),
            Event::Logprobs { candidate, value } => {
                self.candidate(*candidate, out);
                self.write(*candidate, &json!({}), &value.to_string(), None, out);
            }
            Event::Finish { candidate, reason, native, stop_sequence } => {
                self.finish(*candidate, *reason, native.as_deref(), stop_sequence.as_deref(), out);
            }
            Event::Usage(stated) => self.usage.update(stated),
            Event::PromptBlocked(block) => {
                self.chunk(0, &json!({"refusal": block_text(block)}), out);
                self.finish(0, FinishReason::ContentFilter, None, None, out);
            }
            Event::Opaque { candidate, dialect, value } => self.opaque(*candidate, *dialect, value, out, drops),
            Event::Done => self.done(out),
            // Calls end with the finish. Errors and faults are the driver's: it decides what the caller sees.
            Event::ToolCallEnd { .. } | Event::Error(_) | Event::Fault(_) | Event::Ping => {}
        }
    }

    fn fail(&mut self, error: &CallerError, out: &mut BytesMut) {
        self.done = true;
        out.extend_from_slice(format!("data: {}\n\n", error::body(error)).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canon::ProviderBound;

    fn shape(usage: bool) -> StreamShape {
        StreamShape {
            usage,
            json_array: false,
            fallback_id: "chatcmpl-1".to_owned(),
            fallback_model: "m".to_owned(),
            created: 7,
        }
    }

    fn written(usage: bool, events: &[Event]) -> (Vec<String>, Drops) {
        let (mut out, mut drops, mut encoder) = (BytesMut::new(), Drops::new(), Encoder::new(shape(usage)));
        for event in events {
            encoder.encode(event, &mut out, &mut drops);
        }
        let text = String::from_utf8(out.to_vec()).unwrap();
        let frames = text.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").unwrap().to_owned());
        (frames.collect(), drops)
    }

    fn text(text: &str) -> Event {
        Event::Text { candidate: 0, text: text.to_owned(), signature: None }
    }

    fn stop() -> Event {
        Event::Finish { candidate: 0, reason: FinishReason::Stop, native: None, stop_sequence: None }
    }

    #[test]
    fn the_first_delta_has_the_role_and_the_last_frame_is_the_terminator() {
        let (frames, _) = written(false, &[text("Hi"), stop(), Event::Done]);
        let first: Value = serde_json::from_str(&frames[0]).unwrap();
        assert_eq!(first["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
        assert_eq!((&first["id"], &first["model"], &first["created"]), (&json!("chatcmpl-1"), &json!("m"), &json!(7)));
        assert_eq!(first["object"], "chat.completion.chunk");
        let last: Value = serde_json::from_str(&frames[2]).unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], "stop");
        assert_eq!(frames[3], "[DONE]");
    }

    #[test]
    fn usage_is_shown_only_to_those_who_asked() {
        let usage = Event::Usage(Usage { input_tokens: Some(3), output_tokens: Some(4), ..Usage::default() });
        let events = [text("Hi"), usage, stop(), Event::Done];
        let (frames, _) = written(true, &events);
        let chunk: Value = serde_json::from_str(&frames[frames.len() - 2]).unwrap();
        assert_eq!((&chunk["choices"], &chunk["usage"]["total_tokens"]), (&json!([]), &json!(7)));
        assert!(!written(false, &events).0.iter().any(|frame| frame.contains("usage")));
    }

    #[test]
    fn a_tool_call_without_id_or_arguments_is_completed_the_same_way_every_time() {
        let events = [
            Event::ToolCallStart { candidate: 0, call: 0, id: None, name: "f".to_owned(), signature: None },
            Event::ToolCallEnd { candidate: 0, call: 0 },
            stop(),
        ];
        let (frames, _) = written(false, &events);
        let start: Value = serde_json::from_str(&frames[1]).unwrap();
        let entry = &start["choices"][0]["delta"]["tool_calls"][0];
        assert!(entry["id"].as_str().unwrap().starts_with("call_"));
        assert_eq!(entry["function"], json!({"name": "f", "arguments": ""}));
        let end: Value = serde_json::from_str(&frames[2]).unwrap();
        assert_eq!(end["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"], "{}");
        assert_eq!(frames, written(false, &events).0);
    }

    #[test]
    fn another_vendors_signature_is_left_out_and_reported() {
        let signature = ProviderBound { dialect: DialectName::AnthropicMessages, value: "secret-sig".to_owned() };
        let event = Event::Reasoning { candidate: 0, text: "hm".to_owned(), signature: Some(signature) };
        let (frames, drops) = written(false, &[event]);
        assert!(frames[1].contains("\"reasoning_content\":\"hm\""));
        assert!(!frames.concat().contains("secret-sig"));
        assert_eq!(drops.iter().next().unwrap().path, "reasoning.signature");
    }

    #[test]
    fn a_broken_stream_ends_with_an_error_and_no_terminator() {
        let (mut out, mut drops, mut encoder) = (BytesMut::new(), Drops::new(), Encoder::new(shape(true)));
        encoder.encode(&text("Hi"), &mut out, &mut drops);
        encoder.fail(&CallerError::new(502, "stream_broken", "The provider's stream broke."), &mut out);
        encoder.encode(&Event::Done, &mut out, &mut drops);
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert!(text.ends_with("\n\n") && !text.contains("[DONE]"));
        let last: Value = serde_json::from_str(text.trim_end().rsplit("data: ").next().unwrap()).unwrap();
        assert_eq!(last["error"]["code"], "stream_broken");
    }

    #[test]
    fn choices_begin_in_order_and_annotations_say_their_place() {
        let cite = Event::Citation {
            candidate: 1,
            citation: Citation { url: Some("https://a.example".to_owned()), ..Citation::default() },
        };
        let (frames, _) = written(false, &[cite.clone(), cite]);
        let choices: Vec<Value> =
            frames.iter().map(|f| serde_json::from_str::<Value>(f).unwrap()["choices"][0].take()).collect();
        let order: Vec<&Value> = choices.iter().map(|choice| &choice["index"]).collect();
        assert_eq!(order, [0, 1, 1, 1]);
        let places = choices.iter().filter_map(|choice| choice["delta"]["annotations"][0]["index"].as_u64());
        assert_eq!(places.collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_tier_of_another_vendor_is_left_out_and_reported() {
        let start = |tier: &str| Event::Start {
            id: None,
            model: None,
            created: None,
            extra: vec![("service_tier".to_owned(), json!(tier))],
        };
        let (frames, drops) = written(false, &[start("standard"), text("Hi")]);
        assert!(!frames.concat().contains("service_tier"));
        assert_eq!(drops.iter().next().unwrap().path, "service_tier");
        let (frames, drops) = written(false, &[start("flex"), text("Hi")]);
        assert!(frames.concat().contains("flex") && drops.is_empty());
    }

    #[test]
    fn a_blocked_prompt_is_a_filtered_choice() {
        let block = canon::PromptBlock { reason: "SAFETY".to_owned(), message: None };
        let (frames, _) = written(false, &[Event::PromptBlocked(block), Event::Done]);
        let finish: Value = serde_json::from_str(&frames[2]).unwrap();
        assert_eq!(finish["choices"][0]["finish_reason"], "content_filter");
    }
}
