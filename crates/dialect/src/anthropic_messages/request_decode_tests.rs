use super::*;
use canon::{MediaSource, Part, ProviderBound, Role};
use serde_json::json;

fn read(body: &Value) -> Result<Request, BadRequest> {
    decode(body.to_string().as_bytes())
}

/// A request around some messages.
fn around(messages: &Value) -> Value {
    json!({ "model": "m", "max_tokens": 10, "messages": messages })
}

fn refused(body: &Value) -> (&'static str, String) {
    let error = read(body).unwrap_err();
    (error.code, error.parameter.unwrap_or_default())
}

#[test]
fn a_wrong_type_is_refused_with_its_place_and_what_was_expected() {
    let error = read(&around(&json!([{"role": "user", "content": "a"}, {"role": "user", "content": 7}]))).unwrap_err();
    assert_eq!(error.parameter.as_deref(), Some("messages[1].content"));
    assert_eq!(error.code, "invalid_type");
    assert_eq!(error.message, "messages[1].content must be a string or an array of content blocks, found a number");
}

#[test]
fn each_bad_field_is_named() {
    let hi = json!([{"role": "user", "content": "hi"}]);
    let cases = [
        (json!({"model": "m", "messages": hi}), ("missing_field", "max_tokens")),
        (json!({"max_tokens": 1, "messages": hi}), ("missing_field", "model")),
        (json!({"model": "m", "max_tokens": 1}), ("missing_field", "messages")),
        (json!({"model": "m", "max_tokens": 1, "messages": []}), ("invalid_value", "messages")),
        (json!({"model": "m", "max_tokens": "1", "messages": hi}), ("invalid_type", "max_tokens")),
        (json!({"model": "m", "max_tokens": -1, "messages": hi}), ("invalid_value", "max_tokens")),
        (
            json!({"model": "m", "max_tokens": 1, "messages": hi, "stop_sequences": [1]}),
            ("invalid_type", "stop_sequences[0]"),
        ),
        (
            json!({"model": "m", "max_tokens": 1, "messages": hi, "tool_choice": {"type": "some"}}),
            ("invalid_value", "tool_choice.type"),
        ),
        (
            json!({"model": "m", "max_tokens": 1, "messages": hi, "tools": [{"name": "t"}]}),
            ("missing_field", "tools[0].input_schema"),
        ),
        (
            json!({"model": "m", "max_tokens": 1, "messages": hi, "thinking": {"type": "enabled"}}),
            ("missing_field", "thinking.budget_tokens"),
        ),
        (
            json!({"model": "m", "max_tokens": 1, "messages": hi, "system": [{"type": "image"}]}),
            ("invalid_value", "system[0].type"),
        ),
        (around(&json!([{"role": "tool", "content": "x"}])), ("invalid_value", "messages[0].role")),
        (around(&json!([{"role": "user"}])), ("missing_field", "messages[0].content")),
        (
            around(&json!([{"role": "user", "content": [{"text": "x"}]}])),
            ("missing_field", "messages[0].content[0].type"),
        ),
        (
            around(&json!([{"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}])),
            ("missing_field", "messages[0].content[0].source.media_type"),
        ),
        (
            around(&json!([{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": 1}]}]}])),
            ("invalid_type", "messages[0].content[0].content[0].text"),
        ),
    ];
    for (body, (code, place)) in cases {
        assert_eq!(refused(&body), (code, place.to_owned()), "{body}");
    }
}

#[test]
fn what_is_no_json_object_is_refused() {
    assert_eq!(decode(b"{").unwrap_err().code, "invalid_json");
    assert_eq!(decode(b"[]").unwrap_err().message, "the body must be an object, found an array");
}

#[test]
fn every_kind_of_block_is_read() {
    let request = read(&around(&json!([
        {"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"},
                "title": "T", "context": "C", "citations": {"enabled": true}},
            {"type": "search_result", "source": "s", "title": "t", "content": []}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "SIG"},
            {"type": "thinking", "thinking": "foreign", "signature": ""},
            {"type": "redacted_thinking", "data": "XX"},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"q": 1}, "caller": {"type": "direct"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "found", "is_error": true,
            "cache_control": {"type": "ephemeral"}}]}
    ])))
    .unwrap();
    let bound = |value: &str| Some(ProviderBound { dialect: DIALECT, value: value.to_owned() });
    let parts = |index: usize| &request.messages[index].parts;
    let Part::Image(file) = &parts(0)[1] else { panic!("{:?}", parts(0)) };
    assert_eq!(file.source, MediaSource::FileId(DIALECT, "file_1".to_owned()));
    let Part::Document(document) = &parts(0)[2] else { panic!("{:?}", parts(0)) };
    assert_eq!(document.source, MediaSource::Base64("d29yZHM=".to_owned()));
    assert_eq!((document.cite, document.context.as_deref()), (Some(true), Some("C")));
    assert!(matches!(&parts(0)[3], Part::Opaque { dialect: DIALECT, .. }));
    let thoughts: Vec<_> = parts(1)
        .iter()
        .filter_map(|part| match part {
            Part::Reasoning(r) => Some((r.text.as_str(), r.signature.clone(), r.redacted.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(thoughts, [("hm", bound("SIG"), None), ("foreign", None, None), ("", None, bound("XX"))]);
    let Part::ToolResult(result) = &parts(2)[0] else { panic!("{:?}", parts(2)) };
    assert_eq!((result.name.as_deref(), result.is_error, result.cache.is_some()), (Some("look"), true, true));
    assert!(request.extra.is_empty(), "{:?}", request.extra);
}

#[test]
fn fields_without_a_canonical_place_are_kept_under_their_path() {
    let request = read(&json!({
        "model": "m", "max_tokens": 1, "context_management": {"edits": []},
        "tools": [{"name": "t", "input_schema": {}, "defer_loading": true}, {"type": "web_search_20250305", "name": "w"}],
        "thinking": {"type": "between_tools"},
        "output_config": {"effort": "high", "task_budget": 5},
        "metadata": {"user_id": "u", "team": "x"},
        "messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "content", "content": [
            {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}}]}]
    }))
    .unwrap();
    let keys: Vec<&str> = request.extra.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "messages[0].content[0].source",
            "tools[0].defer_loading",
            "thinking",
            "output_config.task_budget",
            "metadata.team",
            "context_management"
        ]
    );
    assert_eq!(request.user.as_deref(), Some("u"));
    assert!(matches!(request.tools[1].kind, ToolKind::Vendor(DIALECT, _)));
    let Part::Document(document) = &request.messages[0].parts[0] else { panic!() };
    assert_eq!(document.source, MediaSource::Base64("YQpi".to_owned()), "the text of the blocks");
}

#[test]
fn thinking_and_effort_are_two_wishes() {
    let read_thinking = |fields: Value| {
        let mut body = around(&json!([{"role": "user", "content": "hi"}]));
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let request = read(&body).unwrap();
        (request.reasoning, request.extra)
    };
    let (reasoning, _) = read_thinking(json!({"thinking": {"type": "adaptive", "display": "omitted"}}));
    assert_eq!((reasoning.adaptive, reasoning.show), (true, Some(false)));
    let (reasoning, _) = read_thinking(json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}));
    assert_eq!(reasoning.budget_tokens, Some(2000));
    let (reasoning, extra) =
        read_thinking(json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}));
    assert_eq!(reasoning.effort, Some(Effort::None));
    assert_eq!(extra.get("output_config.effort"), Some(&json!("low")));
}

#[test]
fn instructions_between_turns_stay_where_they_stand() {
    let request = read(&json!({"model": "m", "max_tokens": 1, "system": "top", "messages": [
        {"role": "user", "content": "a"}, {"role": "system", "content": "mid"}, {"role": "user", "content": "b"}]}))
    .unwrap();
    let roles: Vec<Role> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::System, Role::User]);
}

#[test]
fn tool_choice_and_parallel_use_are_read() {
    let mut body = around(&json!([{"role": "user", "content": "hi"}]));
    body["tool_choice"] = json!({"type": "tool", "name": "t", "disable_parallel_tool_use": true});
    let request = read(&body).unwrap();
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("t".to_owned())));
    assert_eq!(request.parallel_tool_calls, Some(false));
}
