//! Requests of the `gemini` dialect, both ways: what is read, what is refused, what other dialects' requests become.

#![expect(clippy::unwrap_used, reason = "tests")]

use canon::{
    CacheHint, DialectName, Drops, Effort, Media, MediaSource, Message, OutputFormat, Part, ProviderBound, Reasoning,
    Request, Role, SafetySetting, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
};
use dialect::profile::{GeminiThinking, Profile};
use dialect::{BadRequest, Inbound, Outbound, PathFacts, gemini::Gemini};
use proptest::prelude::*;
use serde_json::{Value, json};

fn decode(body: &Value) -> Result<Request, BadRequest> {
    let path = PathFacts { model: Some("m".into()), stream: false, json_array: false };
    Gemini.decode_request(&path, body.to_string().as_bytes())
}

fn encode(request: &Request, profile: &Profile) -> (Value, Vec<String>) {
    let mut drops = Drops::new();
    let encoded = Gemini.encode_request(request, "m", profile, &mut drops).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), drops.iter().map(|d| d.path.clone()).collect())
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts, name: None }
}

fn call(id: &str, name: &str) -> Part {
    let (id, name) = (Some(id.to_owned()), name.to_owned());
    Part::ToolCall(ToolCall {
        id,
        name,
        arguments: "{}".into(),
        signature: None,
        cache: None,
        kind: ToolKind::Function,
    })
}

fn result(id: &str, text: &str) -> Part {
    let parts = vec![Part::text(text)];
    Part::ToolResult(ToolResult {
        call_id: Some(id.into()),
        name: None,
        parts,
        json: false,
        is_error: false,
        cache: None,
    })
}

fn function(name: &str, parameters: Option<Value>) -> Tool {
    Tool { name: name.into(), description: None, parameters, strict: None, cache: None, kind: ToolKind::Function }
}

fn openai(messages: Vec<Message>) -> Request {
    Request { model: "x".into(), messages, extra_dialect: Some(DialectName::OpenaiChat), ..Request::default() }
}

fn hello() -> Request {
    openai(vec![message(Role::User, vec![Part::text("hi")])])
}

fn budget() -> Profile {
    Profile { gemini_thinking: GeminiThinking::Budget, ..Profile::default() }
}

#[test]
fn both_spellings_mean_the_same() {
    let camel = json!({
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "contents": [{"role": "user", "parts": [
            {"text": "look"}, {"inlineData": {"mimeType": "image/png", "data": "_-8="}},
            {"fileData": {"fileUri": "gs://b/a.pdf", "mimeType": "application/pdf"}}]}],
        "generationConfig": {"maxOutputTokens": 5, "topK": 3.0, "stopSequences": ["x"], "candidateCount": 2,
            "responseMimeType": "application/json", "thinkingConfig": {"thinkingLevel": "low", "includeThoughts": true}},
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    });
    let snake = json!({
        "system_instruction": {"parts": {"text": "be brief"}},
        "contents": {"parts": [
            {"text": "look"}, {"inline_data": {"mime_type": "image/png", "data": "/+8="}},
            {"file_data": {"file_uri": "gs://b/a.pdf", "mime_type": "application/pdf"}}]},
        "generation_config": {"max_output_tokens": "5", "top_k": 3, "stop_sequences": ["x"], "candidate_count": 2,
            "response_mime_type": "application/json", "temperature": null,
            "thinking_config": {"thinking_level": "LOW", "include_thoughts": true}},
        "tool_config": {"function_calling_config": {"mode": 2, "allowed_function_names": ["f"]}},
        "safety_settings": [{"category": 7, "threshold": 4}]
    });
    let read = decode(&camel).unwrap();
    let mut other = decode(&snake).unwrap();
    // The padding of URL-safe bytes apart, only the alphabet differs.
    if let Some(Part::Image(image)) = other.messages[1].parts.get_mut(1) {
        image.source = MediaSource::Base64("/+8=".into());
    }
    assert_eq!(read, other);
    assert_eq!(read.tool_choice, Some(ToolChoice::Named("f".into())));
    assert_eq!(read.reasoning.effort, Some(Effort::Low));
    assert_eq!(read.output, OutputFormat::JsonObject);
}

#[test]
fn a_wrong_type_is_named_with_its_place_and_what_was_expected() {
    let with = |parts: Value| json!({"contents": [{"parts": [{"text": "a"}, parts]}]});
    for (body, code, parameter, expected) in [
        (with(json!({"text": 3})), "invalid_type", "contents[0].parts[1].text", "a string"),
        (with(json!("hi")), "invalid_type", "contents[0].parts[1]", "an object"),
        (
            with(json!({"functionCall": {"name": "f", "args": "{}"}})),
            "invalid_type",
            "contents[0].parts[1].functionCall.args",
            "an object",
        ),
        (
            with(json!({"functionResponse": {"response": {}}})),
            "missing_field",
            "contents[0].parts[1].functionResponse.name",
            "name",
        ),
        (with(json!({"fileData": {}})), "missing_field", "contents[0].parts[1].fileData.fileUri", "URI"),
        (json!({"contents": "hi"}), "invalid_type", "contents", "a list"),
        (json!({}), "missing_field", "contents", "turns"),
        (json!({"contents": [{"role": "assistant", "parts": []}]}), "invalid_value", "contents[0].role", "\"model\""),
        (
            json!({"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"maxOutputTokens": 1.5}}),
            "invalid_type",
            "generationConfig.maxOutputTokens",
            "an integer",
        ),
        (
            json!({"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"topP": true}}),
            "invalid_type",
            "generationConfig.topP",
            "a number",
        ),
        (
            json!({"contents": [{"parts": [{"text": "x"}]}], "tools": [{"functionDeclarations": [{}]}]}),
            "missing_field",
            "tools[0].functionDeclarations[0].name",
            "name",
        ),
        (
            json!({"contents": [{"parts": [{"text": "x"}]}], "toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}),
            "invalid_value",
            "toolConfig.functionCallingConfig.mode",
            "\"AUTO\"",
        ),
        (
            json!({"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"topK": 1, "top_k": 1}}),
            "duplicate_key",
            "generationConfig.topK",
            "one of them",
        ),
    ] {
        let bad = decode(&body).unwrap_err();
        assert_eq!((bad.code, bad.parameter.as_deref()), (code, Some(parameter)), "{body}");
        assert!(bad.message.contains(expected), "{}", bad.message);
    }
    let bad = Gemini.decode_request(&PathFacts::default(), b"{").unwrap_err();
    assert_eq!(bad.code, "invalid_json");
    let bad = Gemini.decode_request(&PathFacts::default(), b"[]").unwrap_err();
    assert_eq!(bad.code, "invalid_type");
}

#[test]
fn what_has_no_canonical_form_keeps_its_path_and_goes_back_to_its_place() {
    let body = json!({
        "contents": [{"role": "user", "parts": [{"fileData": {"fileUri": "https://youtu.be/x"}, "videoMetadata": {"fps": 5}}]}],
        "cachedContent": "cachedContents/x",
        "generationConfig": {"responseModalities": ["AUDIO"], "responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING"}},
        "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}, "includeServerSideToolInvocations": true},
        "tools": [{"functionDeclarations": [{"name": "f"}], "google_search": {}}, {"codeExecution": {}}]
    });
    let request = decode(&body).unwrap();
    let keys: Vec<_> = request.extra.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "contents[0].parts[0].videoMetadata",
            "toolConfig.functionCallingConfig.mode",
            "toolConfig.includeServerSideToolInvocations",
            "generationConfig.responseModalities",
            "generationConfig.responseSchema",
            "generationConfig.responseMimeType",
            "cachedContent",
        ]
    );
    assert!(
        matches!(&request.tools[1].kind, ToolKind::Vendor(DialectName::Gemini, v) if v == &json!({"googleSearch": {}}))
    );
    let (again, drops) = encode(&request, &Profile::default());
    assert_eq!(drops, ["contents[0].parts[0].videoMetadata"]);
    assert_eq!(again["generationConfig"], body["generationConfig"]);
    assert_eq!(again["toolConfig"], body["toolConfig"]);
    assert_eq!(again["cachedContent"], body["cachedContent"]);
    // For another dialect's target every one of them is reported.
    let foreign = Request { extra_dialect: Some(DialectName::OpenaiChat), ..request };
    assert_eq!(encode(&foreign, &Profile::default()).1.len(), 7);
}

#[test]
fn a_hostile_key_costs_no_stack() {
    let key = "a.".repeat(200_000);
    let request = decode(&json!({"contents": [{"parts": [{"text": "x"}]}], key.as_str(): 1})).unwrap();
    let (again, drops) = encode(&request, &Profile::default());
    assert_eq!((&again[key.as_str()], drops.len()), (&json!(1), 0));
}

#[test]
fn a_key_that_looks_like_a_path_is_no_path() {
    let body = json!({
        "contents": [{"role": "user", "parts": [{"text": "x"}]}],
        "generationConfig": {"temperature": 0.5, "a.b": {"c": 1}, "": 2},
        "generationConfig.maxOutputTokens": 100_000,
        "contents[0].role": "model", ".model": "other", "": 3, "[": 4, "[\"store\"]": 5
    });
    let request = decode(&body).unwrap();
    assert_eq!(request.max_output_tokens, None);
    let (again, drops) = encode(&request, &Profile::default());
    assert_eq!((again, drops.len()), (body, 0));
    let foreign = Request { extra_dialect: Some(DialectName::OpenaiChat), ..request };
    let (_, drops) = encode(&foreign, &Profile::default());
    assert_eq!(drops.len(), 8, "{drops:?}");
    for path in [r#"["generationConfig.maxOutputTokens"]"#, r#"generationConfig["a.b"]"#, r#"[""]"#] {
        assert!(drops.iter().any(|drop| drop == path), "{path} in {drops:?}");
    }
}

#[test]
fn a_users_turn_without_parts_is_refused_and_a_models_is_left_out() {
    let said = json!({"role": "user", "parts": [{"text": "hi"}]});
    for (contents, missing) in [
        (json!([{"pats": [{"text": "hi"}]}]), "contents[0].parts"),
        (json!([said, {"role": "model"}, {"role": "user", "parts": []}]), "contents[2].parts"),
        (json!([{"role": "user", "parts": [{}]}]), "contents[0].parts"),
        (json!([{"role": "model"}]), "contents[0].parts"),
    ] {
        let bad = decode(&json!({"contents": contents})).unwrap_err();
        assert_eq!((bad.code, bad.parameter.as_deref()), ("missing_field", Some(missing)), "{contents}");
    }
    let request = decode(&json!({"contents": [said, {"role": "model"}, {"role": "model", "parts": []}]})).unwrap();
    assert_eq!(encode(&request, &Profile::default()), (json!({"contents": [said]}), vec![]));
}

#[test]
fn a_request_that_says_nothing_is_not_sent() {
    for request in [openai(vec![message(Role::User, vec![Part::text("")])]), openai(vec![])] {
        let refused = Gemini.encode_request(&request, "m", &Profile::default(), &mut Drops::new()).unwrap_err();
        assert_eq!(refused.path, "messages");
    }
}

#[test]
fn instructions_anywhere_become_the_system_instruction() {
    let request = openai(vec![
        message(Role::System, vec![Part::text("one")]),
        message(Role::User, vec![Part::text("hi")]),
        message(Role::Developer, vec![Part::text("two")]),
    ]);
    let (body, drops) = encode(&request, &Profile::default());
    assert_eq!(body["systemInstruction"], json!({"parts": [{"text": "one"}, {"text": "two"}]}));
    assert_eq!(body["contents"], json!([{"role": "user", "parts": [{"text": "hi"}]}]));
    assert!(drops.is_empty());
}

#[test]
fn a_conversation_begins_with_the_user_and_has_no_empty_turns() {
    let request = openai(vec![
        message(Role::Assistant, vec![Part::text("welcome")]),
        message(Role::Assistant, vec![Part::text("")]),
        message(Role::User, vec![Part::text("hi")]),
        message(Role::User, vec![Part::text("there")]),
    ]);
    let (body, _) = encode(&request, &Profile::default());
    let roles: Vec<_> = body["contents"].as_array().unwrap().iter().map(|t| t["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "model", "user"]);
    assert_eq!(body["contents"][2]["parts"].as_array().unwrap().len(), 2);
    let only = openai(vec![message(Role::System, vec![Part::text("write a haiku")])]);
    let (body, _) = encode(&only, &Profile::default());
    assert_eq!(body["contents"], json!([{"role": "user", "parts": [{"text": "write a haiku"}]}]));
    assert!(body.get("systemInstruction").is_none());
}

#[test]
fn parallel_results_stand_in_the_order_of_their_calls_with_their_names() {
    let request = openai(vec![
        message(Role::User, vec![Part::text("both")]),
        message(Role::Assistant, vec![Part::text(""), call("1", "alpha"), call("2", "beta")]),
        message(Role::User, vec![result("2", "B")]),
        message(Role::User, vec![Part::text("go on"), result("1", "A")]),
    ]);
    let (body, drops) = encode(&request, &Profile::default());
    assert_eq!(
        body["contents"][2],
        json!({"role": "user", "parts": [
        {"functionResponse": {"id": "1", "name": "alpha", "response": {"output": "A"}}},
        {"functionResponse": {"id": "2", "name": "beta", "response": {"output": "B"}}},
        {"text": "go on"}]})
    );
    // From Gemini 3 on the first call of a step needs a signature, and only the first.
    let parts = &body["contents"][1]["parts"];
    assert_eq!(parts[0]["thoughtSignature"], "skip_thought_signature_validator");
    assert!(parts[1].get("thoughtSignature").is_none());
    assert!(drops.is_empty());
    let (body, _) = encode(&request, &budget());
    assert!(body["contents"][1]["parts"][0].get("thoughtSignature").is_none());
    let decoded = decode(&encode(&request, &Profile::default()).0).unwrap();
    assert!(
        matches!(&decoded.messages[1].parts[0], Part::ToolCall(c) if c.signature.is_none()),
        "the sentinel is no signature"
    );
}

#[test]
fn only_geminis_own_signatures_and_thoughts_go_back() {
    let bound = |dialect| Some(ProviderBound { dialect, value: "s".into() });
    let thought = |dialect| Part::Reasoning(Reasoning { text: "t".into(), signature: bound(dialect), redacted: None });
    let request = openai(vec![
        message(Role::User, vec![Part::text("hi")]),
        message(Role::Assistant, vec![thought(DialectName::Gemini), thought(DialectName::AnthropicMessages)]),
    ]);
    let (body, drops) = encode(&request, &Profile::default());
    assert_eq!(body["contents"][1]["parts"], json!([{"text": "t", "thought": true, "thoughtSignature": "s"}]));
    assert_eq!(drops, ["messages[1].content[1]"]);
}

#[test]
fn results_say_output_error_or_the_object_itself_and_come_back() {
    for (text, json, is_error, wire) in [
        ("sunny", false, false, json!({"output": "sunny"})),
        ("down", false, true, json!({"error": "down"})),
        (r#"{"t":3}"#, true, false, json!({"t": 3})),
        (r#"{"output":1}"#, true, false, json!({"output": {"output": 1}})),
        (r#"{"error":"x"}"#, true, false, json!({"output": {"error": "x"}})),
        (r#"{"t":3}"#, true, true, json!({"error": {"t": 3}})),
        ("[1]", true, false, json!({"output": [1]})),
    ] {
        let part = Part::ToolResult(ToolResult {
            call_id: None,
            name: Some("f".into()),
            parts: vec![Part::text(text)],
            json,
            is_error,
            cache: None,
        });
        let request = openai(vec![message(Role::User, vec![part.clone()])]);
        let (body, _) = encode(&request, &Profile::default());
        assert_eq!(body["contents"][0]["parts"][0]["functionResponse"]["response"], wire);
        assert_eq!(decode(&body).unwrap().messages[0].parts[0], part);
    }
}

#[test]
fn arguments_that_are_no_object_are_wrapped_and_reported() {
    let mut broken = call("1", "f");
    if let Part::ToolCall(call) = &mut broken {
        call.arguments = "{\"a\":".into();
    }
    let request = openai(vec![message(Role::User, vec![Part::text("x")]), message(Role::Assistant, vec![broken])]);
    let (body, drops) = encode(&request, &budget());
    assert_eq!(body["contents"][1]["parts"][0]["functionCall"]["args"], json!({"input": "{\"a\":"}));
    assert_eq!(drops, ["messages[1].content[0].arguments"]);
}

#[test]
fn tools_go_as_json_schema_and_strange_names_come_back() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
    let mut strict = function("1/odd name", Some(schema.clone()));
    strict.strict = Some(true);
    let custom = Tool { kind: ToolKind::Custom(None), ..function("free", None) };
    let search = Tool { kind: ToolKind::Vendor(DialectName::AnthropicMessages, json!({})), ..function("web", None) };
    let empty = function("now", Some(json!({"type": "object", "properties": {}})));
    let request = Request {
        tools: vec![strict, custom, search, empty],
        tool_choice: Some(ToolChoice::Named("1/odd name".into())),
        ..hello()
    };
    let (body, drops) = encode(&request, &Profile::default());
    let declared = &body["tools"][0]["functionDeclarations"];
    assert_eq!(declared[0]["parametersJsonSchema"], schema);
    assert_eq!(declared[1], json!({"name": "now"}));
    let name = declared[0]["name"].as_str().unwrap().to_owned();
    assert_eq!(body["toolConfig"]["functionCallingConfig"], json!({"mode": "ANY", "allowedFunctionNames": [name]}));
    assert_eq!(drops, ["tools[0].strict", "tools[1]", "tools[2]"]);
    let answer =
        json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": name}}]}, "finishReason": "STOP"}]});
    let answer = Gemini.decode_answer(answer.to_string().as_bytes(), &Profile::default()).unwrap();
    assert!(matches!(&answer.candidates[0].parts[0], Part::ToolCall(c) if c.name == "1/odd name"));
}

#[test]
fn tool_choice_is_what_gemini_calls_it() {
    let names = || vec!["f".to_owned(), "g".to_owned()];
    for (choice, wire) in [
        (ToolChoice::Auto, json!({"mode": "AUTO"})),
        (ToolChoice::None, json!({"mode": "NONE"})),
        (ToolChoice::Required, json!({"mode": "ANY"})),
        (ToolChoice::Named("f".into()), json!({"mode": "ANY", "allowedFunctionNames": ["f"]})),
        (
            ToolChoice::Allowed { names: names(), required: true },
            json!({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}),
        ),
        (
            ToolChoice::Allowed { names: names(), required: false },
            json!({"mode": "VALIDATED", "allowedFunctionNames": ["f", "g"]}),
        ),
    ] {
        let request = Request { tools: vec![function("f", None)], tool_choice: Some(choice.clone()), ..hello() };
        let (body, _) = encode(&request, &Profile::default());
        assert_eq!(body["toolConfig"]["functionCallingConfig"], wire);
        assert_eq!(decode(&body).unwrap().tool_choice, Some(choice));
    }
    let without = Request { tool_choice: Some(ToolChoice::Required), ..hello() };
    let (body, drops) = encode(&without, &Profile::default());
    assert!(body.get("toolConfig").is_none() && drops == ["tool_choice"]);
}

#[test]
fn effort_is_a_level_or_a_budget_by_the_models_family() {
    let config = |effort, profile: &Profile| {
        let mut request = hello();
        request.reasoning.effort = Some(effort);
        request.reasoning.show = Some(true);
        let (body, drops) = encode(&request, profile);
        (body["generationConfig"]["thinkingConfig"].clone(), drops)
    };
    assert_eq!(
        config(Effort::Medium, &Profile::default()).0,
        json!({"thinkingLevel": "MEDIUM", "includeThoughts": true})
    );
    assert_eq!(config(Effort::Medium, &budget()).0, json!({"thinkingBudget": 8192, "includeThoughts": true}));
    assert_eq!(config(Effort::None, &budget()).0["thinkingBudget"], 0);
    assert_eq!(
        config(Effort::None, &Profile::default()),
        (json!({"thinkingLevel": "MINIMAL", "includeThoughts": true}), vec!["reasoning_effort".to_owned()])
    );
    assert_eq!(config(Effort::Max, &Profile::default()).0["thinkingLevel"], "HIGH");
    let xhigh = Profile { efforts: vec!["low".into(), "xhigh".into()], ..Profile::default() };
    assert_eq!(config(Effort::Max, &xhigh).0["thinkingLevel"], "XHIGH");
    let none = Profile { gemini_thinking: GeminiThinking::Unsupported, ..Profile::default() };
    assert_eq!(config(Effort::Low, &none), (Value::Null, vec!["reasoning".to_owned()]));
    let mut anthropic = hello();
    anthropic.reasoning.budget_tokens = Some(16000);
    let (body, _) = encode(&anthropic, &Profile::default());
    assert_eq!(body["generationConfig"]["thinkingConfig"], json!({"thinkingLevel": "HIGH"}));
}

#[test]
fn thinking_that_anthropic_would_show_is_shown() {
    let shown = |budget, show| {
        let mut request = Request { extra_dialect: Some(DialectName::AnthropicMessages), ..hello() };
        request.reasoning.budget_tokens = Some(budget);
        request.reasoning.show = show;
        encode(&request, &Profile { gemini_thinking: GeminiThinking::Budget, ..Profile::default() }).0["generationConfig"]["thinkingConfig"]["includeThoughts"].clone()
    };
    assert_eq!(shown(2048, None), true);
    assert_eq!(shown(2048, Some(false)), false);
    assert_eq!(shown(0, None), Value::Null);
}

#[test]
fn json_output_is_a_schema_and_beside_tools_of_older_models_an_instruction() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let output = OutputFormat::JsonSchema { name: Some("n".into()), description: None, schema, strict: Some(true) };
    let mut request = Request { output, ..hello() };
    let (body, drops) = encode(&request, &budget());
    assert_eq!(body["generationConfig"]["responseMimeType"], "application/json");
    assert_eq!(body["generationConfig"]["responseJsonSchema"]["title"], "n");
    assert!(drops.is_empty());
    request.tools = vec![function("f", None)];
    let (body, drops) = encode(&request, &budget());
    assert!(body.get("generationConfig").is_none());
    assert!(body["systemInstruction"]["parts"][0]["text"].as_str().unwrap().contains("\"properties\""));
    assert_eq!(drops, ["response_format"]);
    assert!(encode(&request, &Profile::default()).1.is_empty(), "Gemini 3 takes both");
}

#[test]
fn what_gemini_cannot_take_is_dropped_and_reported() {
    let mut request = hello();
    request.messages[0].name = Some("bob".into());
    request.messages[0].parts.push(Part::Text {
        text: "x".into(),
        citations: vec![],
        cache: Some(CacheHint { value: json!({}) }),
        signature: None,
    });
    request.messages[0].parts.push(Part::Opaque { dialect: DialectName::AnthropicMessages, value: json!({}) });
    request.sampling.logit_bias = Some(json!({"1": 2}));
    request.sampling.temperature = Some(3.0);
    request.parallel_tool_calls = Some(false);
    request.user = Some("u".into());
    request.service_tier = Some("flex".into());
    request.metadata.insert("k".into(), json!("v"));
    request.stop = (0..7).map(|i| i.to_string()).collect();
    request.n = Some(2);
    request.extra.insert("store".into(), json!(true));
    let (body, drops) =
        encode(&request, &Profile { drop: vec!["generationConfig.candidateCount".into()], ..Profile::default() });
    assert_eq!(
        drops,
        [
            "messages[0].name",
            "messages[0].content[1].cache_control",
            "messages[0].content[2]",
            "parallel_tool_calls",
            "temperature",
            "logit_bias",
            "stop[5]",
            "stop[6]",
            "user",
            "service_tier",
            "metadata",
            "store",
            "generationConfig.candidateCount",
        ]
    );
    assert_eq!(body["generationConfig"], json!({"temperature": 2.0, "stopSequences": ["0", "1", "2", "3", "4"]}));
}

#[test]
fn media_goes_inline_or_by_address_or_not_at_all() {
    let image = |source| {
        let media = Media { media_type: None, source, detail: Some("low".into()), cache: None };
        openai(vec![message(Role::User, vec![Part::Image(media)])])
    };
    let (body, _) = encode(&image(MediaSource::Base64("iVBORw0KGgo=".into())), &Profile::default());
    assert_eq!(
        body["contents"][0]["parts"][0],
        json!({
        "inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="},
        "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}})
    );
    let (body, drops) = encode(&image(MediaSource::Url("https://e.com/a.jpg".into())), &budget());
    assert_eq!(body["contents"][0]["parts"][0]["fileData"]["fileUri"], "https://e.com/a.jpg");
    assert_eq!(drops, ["messages[0].content[0].detail"]);
    let refused = image(MediaSource::FileId(DialectName::OpenaiChat, "file-1".into()));
    let error = Gemini.encode_request(&refused, "m", &Profile::default(), &mut Drops::new()).unwrap_err();
    assert_eq!(error.path, "messages[0].content[0]");
}

fn words() -> impl Strategy<Value = String> {
    "[a-z \"\\\\\n{}é✅]{1,12}"
}

fn user_part() -> impl Strategy<Value = Part> {
    let media = |kind: &'static str| Media {
        media_type: Some(kind.into()),
        source: MediaSource::Base64("AAAA".into()),
        detail: None,
        cache: None,
    };
    let object = (words(), any::<bool>()).prop_map(|(v, is_error)| (json!({ "k": v }).to_string(), true, is_error));
    let prose = (words(), any::<bool>()).prop_map(|(text, is_error)| (text, false, is_error));
    prop_oneof![
        words().prop_map(Part::text),
        Just(Part::Image(media("image/png"))),
        Just(Part::Audio(media("audio/wav"))),
        Just(Part::Video(media("video/mp4"))),
        (prop_oneof![object, prose], proptest::option::of("[a-z]{3}"), "[a-t_]{1,8}").prop_map(
            |((text, json, is_error), call_id, name)| {
                Part::ToolResult(ToolResult {
                    call_id,
                    name: Some(name),
                    parts: vec![Part::text(text)],
                    json,
                    is_error,
                    cache: None,
                })
            }
        ),
        words().prop_map(|code| Part::Opaque {
            dialect: DialectName::Gemini,
            value: json!({"codeExecutionResult": {"output": code}})
        }),
    ]
}

fn model_part() -> impl Strategy<Value = Part> {
    let signature = || {
        proptest::option::of("[A-Za-z0-9+/]{4}".prop_map(|value| ProviderBound { dialect: DialectName::Gemini, value }))
    };
    prop_oneof![
        (words(), signature()).prop_map(|(text, signature)| Part::Text {
            text,
            citations: vec![],
            cache: None,
            signature
        }),
        (words(), signature()).prop_map(|(text, signature)| Part::Reasoning(Reasoning {
            text,
            signature,
            redacted: None
        })),
        (proptest::option::of("[a-z]{3}"), "[a-t_]{1,8}", words(), signature()).prop_map(|(id, name, v, signature)| {
            let arguments = json!({ "k": v }).to_string();
            Part::ToolCall(ToolCall { id, name, arguments, signature, cache: None, kind: ToolKind::Function })
        }),
    ]
}

prop_compose! {
    fn request()(
        system in proptest::option::of(words()),
        turns in proptest::collection::vec((proptest::collection::vec(user_part(), 1..4), proptest::collection::vec(model_part(), 1..4)), 1..4),
        tools in proptest::collection::vec("[a-zA-Z_/ ][a-z0-9_.:/-]{0,9}", 0..3),
        choice in proptest::option::of(prop_oneof![Just(ToolChoice::Auto), Just(ToolChoice::Required), Just(ToolChoice::None)]),
        (temperature, top_k, seed, stop, n) in (
            proptest::option::of((0..200u32).prop_map(|n| f64::from(n) / 100.0)), proptest::option::of(1..100u64), proptest::option::of(any::<i32>()),
            proptest::collection::vec(words(), 0..5), proptest::option::of(1..4u32)),
        (max, budget_tokens, show, json_mode) in (
            proptest::option::of(1..9999u64), proptest::option::of(-1..9999i64), proptest::option::of(any::<bool>()), any::<bool>()),
        safety in any::<bool>(),
    ) -> Request {
        let mut messages: Vec<Message> = system.map(|s| message(Role::System, vec![Part::text(s)])).into_iter().collect();
        for (user, model) in turns {
            messages.push(message(Role::User, user));
            messages.push(message(Role::Assistant, model));
        }
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let tools: Vec<Tool> = tools.iter().map(|name| function(name, Some(schema.clone()))).collect();
        let mut request = Request { model: "m".into(), messages, extra_dialect: Some(DialectName::Gemini), ..Request::default() };
        request.tool_choice = choice;
        request.sampling.temperature = temperature;
        request.sampling.top_k = top_k;
        request.sampling.seed = seed.map(i64::from);
        request.stop = stop;
        request.n = n;
        request.max_output_tokens = max;
        request.reasoning.budget_tokens = budget_tokens;
        request.reasoning.effort = (budget_tokens == Some(0)).then_some(Effort::None);
        request.reasoning.show = show;
        if json_mode && tools.is_empty() {
            request.output = OutputFormat::JsonSchema { name: None, description: None, schema, strict: None };
        }
        request.tools = tools;
        if safety {
            request.safety.push(SafetySetting { category: "HARM_CATEGORY_HARASSMENT".into(), threshold: "OFF".into(), method: None });
        }
        request
    }
}

proptest! {
    #[test]
    fn a_gemini_request_means_the_same_after_a_round_trip(mut request in request()) {
        let (body, drops) = encode(&request, &budget());
        prop_assert!(drops.is_empty(), "{drops:?}");
        let again = decode(&body).unwrap();
        // A caller of this dialect has wire names; names outside the character set are other dialects'.
        for (tool, wire) in request.tools.iter_mut().zip(body["tools"][0]["functionDeclarations"].as_array().into_iter().flatten()) {
            tool.name = wire["name"].as_str().unwrap().to_owned();
        }
        prop_assert_eq!(again, request);
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_never_more(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Gemini.decode_request(&PathFacts::default(), &bytes);
        let _ = Gemini.decode_answer(&bytes, &Profile::default());
        let _ = Gemini.sniffer(&Profile::default()).sniff_answer(&bytes);
        Gemini.stream_decoder(&Profile::default()).end(&bytes, &mut Vec::new());
    }
}
