use super::*;
use crate::anthropic_messages::answer_encode::encode;
use canon::{Citation, DialectName, Drops, PromptBlock, Usage};
use serde_json::json;

fn read(body: &Value) -> Answer {
    decode(body.to_string().as_bytes()).unwrap()
}

fn write(answer: &Answer) -> (Value, Vec<String>) {
    let mut drops = Drops::new();
    let body = encode(answer, &mut drops);
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

#[test]
fn a_refusal_carries_the_providers_reason_and_says_it_once() {
    let answer = read(&json!({"id": "msg_1", "model": "m", "content": [], "stop_reason": "refusal",
        "stop_details": {"type": "refusal", "category": "bio", "explanation": "no"}, "usage": {"input_tokens": 1, "output_tokens": 0}}));
    assert_eq!(answer.candidates[0].parts, [Part::Refusal("no".to_owned())]);
    let (body, drops) = write(&answer);
    assert_eq!((&body["content"], &body["stop_details"]["category"]), (&json!([]), &json!("bio")));
    assert!(drops.is_empty());
    assert_eq!(read(&body), answer);
}

#[test]
fn a_citation_covers_its_own_block_of_the_text() {
    let answer = read(&json!({"content": [{"type": "text", "text": "é: "},
        {"type": "text", "text": "blue", "citations": [{"type": "char_location", "cited_text": "sky", "document_index": 2,
            "document_title": "D", "start_char_index": 0, "end_char_index": 3}]}]}));
    let Part::Text { citations, .. } = &answer.candidates[0].parts[1] else { panic!() };
    let Citation { start, end, document, title, quoted, .. } = &citations[0];
    assert_eq!((*start, *end, *document), (Some(3), Some(7), Some(2)));
    assert_eq!((title.as_deref(), quoted.as_deref()), (Some("D"), Some("sky")));
}

#[test]
fn an_error_in_a_200_is_no_answer() {
    assert!(decode(br#"{"type":"error","error":{"type":"api_error","message":"x"}}"#).is_err());
    assert!(decode(b"<html>").is_err());
    assert!(decode(br#"{"type":"message"}"#).is_err());
}

#[test]
fn an_answer_of_another_vendor_is_written_as_the_sdks_read_it() {
    let foreign = |value: &str| Some(ProviderBound { dialect: DialectName::Gemini, value: value.to_owned() });
    let call = |id: Option<&str>, arguments: &str| {
        Part::ToolCall(ToolCall {
            id: id.map(str::to_owned),
            name: "f".to_owned(),
            arguments: arguments.to_owned(),
            signature: None,
            cache: None,
            kind: ToolKind::Function,
        })
    };
    let mut first = candidate(
        vec![
            Part::Reasoning(Reasoning { text: "hm".to_owned(), signature: foreign("S"), redacted: None }),
            Part::text("hello"),
            call(None, "{\"a\":1}"),
            call(Some("call:1"), ""),
        ],
        FinishReason::ToolCalls,
    );
    first.citations = vec![Citation { url: Some("https://x".to_owned()), ..Citation::default() }];
    first.logprobs = Some(json!({}));
    let answer = Answer {
        id: Some("chatcmpl-9".to_owned()),
        model: Some("gpt".to_owned()),
        candidates: vec![first, Candidate { index: 1, ..candidate(vec![Part::text("other")], FinishReason::Stop) }],
        usage: Usage {
            input_tokens: Some(10),
            cached_input_tokens: Some(4),
            output_tokens: Some(3),
            ..Usage::default()
        },
        extra: vec![("system_fingerprint".to_owned(), json!("fp"))],
        ..Answer::default()
    };
    let (body, drops) = write(&answer);
    let content = body["content"].as_array().unwrap();
    assert_eq!(content[0], json!({"type": "thinking", "thinking": "hm", "signature": ""}));
    assert_eq!(content[1]["citations"][0]["url"], "https://x");
    assert_eq!(content[2]["input"], json!({"a": 1}));
    assert!(content[2]["id"].as_str().unwrap().starts_with("toolu_"));
    assert_eq!(content[3]["input"], json!({}));
    assert_eq!((&body["id"], &body["stop_reason"]), (&json!("msg_chatcmpl-9"), &json!("tool_use")));
    assert_eq!(body["usage"], json!({"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 3}));
    assert_eq!(drops, ["candidates[1]", "logprobs", "thoughtSignature", "system_fingerprint"]);
}

#[test]
fn a_blocked_prompt_is_a_refusal_with_its_reason() {
    let block = PromptBlock { reason: "SAFETY".to_owned(), message: None };
    let (body, _) = write(&Answer { prompt_block: Some(block), ..Answer::default() });
    assert_eq!((&body["stop_reason"], &body["content"]), (&json!("refusal"), &json!([])));
    assert_eq!(body["stop_details"]["explanation"], "SAFETY");
}

#[test]
fn a_refusal_in_the_models_words_is_shown_and_is_a_refusal() {
    let answer = Answer {
        candidates: vec![candidate(vec![Part::Refusal("I cannot".to_owned())], FinishReason::Stop)],
        ..Answer::default()
    };
    let (body, _) = write(&answer);
    assert_eq!((&body["content"][0]["text"], &body["stop_reason"]), (&json!("I cannot"), &json!("refusal")));
}
