//! Requests of the `openai-chat` dialect: what is read, what is written for targets that bend the dialect, and the law
//! that a request written and read again is the same request.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use canon::{
    CacheHint, DialectName, Document, Drops, Effort, Media, MediaSource, Message, OutputFormat, Part, ProviderBound,
    Reasoning, Request, Role, SafetySetting, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
};
use dialect::openai_chat::OpenaiChat;
use dialect::profile::{Instructions, OutputCap, Profile, StreamUsage};
use dialect::{BadRequest, Inbound, Inexpressible, Outbound, PathFacts};
use proptest::prelude::*;
use serde_json::{Value, json};

fn decode(body: &Value) -> Request {
    OpenaiChat.decode_request(&PathFacts::default(), body.to_string().as_bytes()).unwrap()
}

fn complaint(body: &Value) -> BadRequest {
    OpenaiChat.decode_request(&PathFacts::default(), body.to_string().as_bytes()).unwrap_err()
}

fn encode(request: &Request, profile: &Profile) -> (Value, Vec<String>) {
    let mut drops = Drops::new();
    let encoded = OpenaiChat.encode_request(request, "target", profile, &mut drops).unwrap();
    let body = serde_json::from_slice(&encoded.body).unwrap();
    (body, drops.iter().map(|dropped| dropped.path.clone()).collect())
}

fn refused(request: &Request, profile: &Profile) -> Inexpressible {
    OpenaiChat.encode_request(request, "target", profile, &mut Drops::new()).unwrap_err()
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts, name: None }
}

/// A request as another dialect's decoder leaves it.
fn foreign(messages: Vec<Message>) -> Request {
    Request {
        model: "asked".to_owned(),
        messages,
        extra_dialect: Some(DialectName::AnthropicMessages),
        ..Request::default()
    }
}

fn hello() -> Request {
    foreign(vec![message(Role::User, vec![Part::text("Hello")])])
}

fn call(id: Option<&str>, name: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: id.map(str::to_owned),
        name: name.to_owned(),
        arguments: "{\"a\":1}".to_owned(),
        signature: None,
        cache: None,
        kind: ToolKind::Function,
    })
}

fn result(id: Option<&str>, name: Option<&str>, parts: Vec<Part>) -> ToolResult {
    ToolResult {
        call_id: id.map(str::to_owned),
        name: name.map(str::to_owned),
        parts,
        json: false,
        is_error: false,
        cache: None,
    }
}

fn tool(name: &str) -> Tool {
    Tool {
        name: name.to_owned(),
        description: None,
        parameters: Some(json!({"type": "object"})),
        strict: None,
        cache: None,
        kind: ToolKind::Function,
    }
}

fn png(source: MediaSource) -> Part {
    Part::Image(Media { media_type: Some("image/png".to_owned()), source, detail: None, cache: None })
}

#[test]
fn every_field_of_a_request_is_read() {
    let request = decode(&json!({
        "model": "gpt-5.1", "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false},
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Weather?"}]},
            {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls":
                [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}, "strict": true}}],
        "tool_choice": "auto", "parallel_tool_calls": false, "max_completion_tokens": 50, "temperature": 0.5,
        "top_p": 0.9, "frequency_penalty": 0.1, "presence_penalty": 0.2, "seed": 7, "logprobs": true,
        "top_logprobs": 2, "logit_bias": {"50256": -100}, "stop": "END", "n": 2, "reasoning_effort": "low",
        "user": "u1", "metadata": {"k": "v"}, "service_tier": "flex", "store": true, "verbosity": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    }));
    assert_eq!((request.model.as_str(), request.stream, request.stream_usage), ("gpt-5.1", true, true));
    assert_eq!(request.messages[0].role, Role::Developer);
    assert_eq!(request.messages[1].name.as_deref(), Some("ann"));
    assert!(matches!(&request.messages[2].parts[0], Part::Reasoning(thought) if thought.text == "hm"));
    let Part::ToolResult(answered) = &request.messages[3].parts[0] else { panic!("not a result") };
    assert_eq!((request.messages[3].role, answered.name.as_deref()), (Role::User, Some("weather")));
    assert_eq!(request.tool_choice, Some(ToolChoice::Auto));
    assert_eq!((request.max_output_tokens, request.n, request.parallel_tool_calls), (Some(50), Some(2), Some(false)));
    assert_eq!((request.sampling.seed, request.sampling.top_logprobs), (Some(7), Some(2)));
    assert_eq!((request.stop.as_slice(), request.reasoning.effort), (["END".to_owned()].as_slice(), Some(Effort::Low)));
    assert!(matches!(&request.output, OutputFormat::JsonSchema { name: Some(name), .. } if name == "a"));
    let unknown: Vec<&str> = request.extra.keys().map(String::as_str).collect();
    assert_eq!(unknown, ["store", "verbosity", "stream_options"]);
}

#[test]
fn a_key_that_looks_like_a_path_is_no_path() {
    let body = json!({
        "model": "target", "messages": [{"role": "user", "content": "hi", "content.text": 1}],
        ".temperature": 0, "messages[0].role": "system", "": 1
    });
    let request = decode(&body);
    assert_eq!(request.sampling.temperature, None);
    assert_eq!(encode(&request, &Profile::default()), (body, vec![]));
}

#[test]
fn deprecated_functions_are_tools() {
    let request = decode(&json!({"model": "m", "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "done"}],
        "functions": [{"name": "f", "parameters": {"type": "object"}}], "function_call": {"name": "f"}, "max_tokens": 9}));
    assert_eq!(request.tools, [tool("f")]);
    assert_eq!(
        (request.tool_choice.clone(), request.max_output_tokens),
        (Some(ToolChoice::Named("f".to_owned())), Some(9))
    );
    let (body, _) = encode(&request, &Profile::default());
    let id = body["messages"][1]["tool_calls"][0]["id"].as_str().unwrap();
    assert_eq!(body["messages"][2]["tool_call_id"], id, "the made-up id is the same for the call and its result");
}

#[test]
fn a_wrong_type_names_the_field_the_value_and_what_was_expected() {
    let base = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    let with = |key: &str, value: Value| {
        let mut body = base.clone();
        body[key] = value;
        complaint(&body)
    };
    let table = [
        (with("temperature", json!("hot")), "temperature", "`temperature` is the string \"hot\"; expected a number."),
        (with("n", json!(-1)), "n", "`n` is the number -1; expected a whole number of 0 or more."),
        (with("stream", json!("yes")), "stream", "`stream` is the string \"yes\"; expected true or false."),
        (with("stop", json!([1])), "stop[0]", "`stop[0]` is the number 1; expected a string."),
        (with("messages", json!({})), "messages", "`messages` is an object; expected an array."),
        (with("messages", json!([])), "messages", "`messages` is an empty array; expected at least one message."),
        (
            with("messages", json!([{"role": "robot", "content": ""}])),
            "messages[0].role",
            "`messages[0].role` is \"robot\"; expected one of system, developer, user, assistant, tool, function.",
        ),
        (
            with("messages", json!([{"role": "user"}])),
            "messages[0].content",
            "`messages[0].content` is missing; expected a string or an array of content parts.",
        ),
    ];
    for (error, parameter, message) in table {
        assert_eq!((error.parameter.as_deref(), error.message.as_str()), (Some(parameter), message));
    }
    let broken = OpenaiChat.decode_request(&PathFacts::default(), b"{\"model\": ").unwrap_err();
    assert_eq!(broken.code, "invalid_json");
    assert_eq!(complaint(&json!([])).message, "The request body is an array; expected an object.");
}

#[test]
fn a_stream_always_asks_for_usage_unless_the_target_sends_it_unasked() {
    let request = Request { stream: true, ..hello() };
    assert_eq!(encode(&request, &Profile::default()).0["stream_options"], json!({"include_usage": true}));
    let unasked = Profile { stream_usage: StreamUsage::Unasked, ..Profile::default() };
    assert_eq!(encode(&request, &unasked).0.get("stream_options"), None);
    let rejected = Profile { drop: vec!["stream_options".to_owned()], ..Profile::default() };
    assert_eq!(encode(&request, &rejected), (encode(&request, &unasked).0, vec![]), "the caller lost nothing");
}

#[test]
fn limits_and_instructions_are_spelled_as_the_target_wants_them() {
    let mut request = decode(&json!({"model": "m", "max_tokens": 9000, "temperature": 1.8, "seed": 3,
        "stop": ["a", "b", "c"], "logit_bias": {"1": 1}, "messages": [
            {"role": "developer", "content": "x"}, {"role": "user", "name": "ann", "content": "hi"}]}));
    let profile = Profile {
        output_cap: OutputCap::MaxTokens,
        instructions: Instructions::System,
        max_output_tokens: Some(4096),
        max_temperature: Some(1.5),
        max_stop: Some(1),
        drop: vec!["logit_bias".to_owned(), "messages.name".to_owned()],
        rename: [("seed".to_owned(), "random_seed".to_owned())].into(),
        ..Profile::default()
    };
    let (body, drops) = encode(&request, &profile);
    assert_eq!(
        body,
        json!({"model": "target", "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "hi"}],
            "temperature": 1.5, "max_tokens": 4096, "stop": ["a"], "random_seed": 3})
    );
    assert_eq!(drops, ["messages[1].name", "temperature", "max_completion_tokens", "stop", "logit_bias"]);
    request.messages[0].role = Role::System;
    let developer = Profile { instructions: Instructions::Developer, ..Profile::default() };
    assert_eq!(encode(&request, &developer).0["messages"][0]["role"], "developer");
}

#[test]
fn sampling_goes_where_the_target_takes_none() {
    let mut request = hello();
    request.sampling.temperature = Some(0.3);
    request.sampling.top_k = Some(40);
    let (body, drops) = encode(&request, &Profile { no_sampling: true, ..Profile::default() });
    assert_eq!((body.get("temperature"), drops), (None, vec!["temperature".to_owned(), "top_k".to_owned()]));
    assert_eq!(encode(&request, &Profile::default()).1, ["top_k"]);
}

#[test]
fn a_schema_becomes_json_mode_with_the_schema_in_the_instructions() {
    let mut request = hello();
    let schema = json!({"type": "object", "title": "Marker"});
    request.output = OutputFormat::JsonSchema { name: None, description: None, schema, strict: Some(true) };
    let (plain, _) = encode(&request, &Profile::default());
    assert_eq!(plain["response_format"]["json_schema"]["name"], "answer", "OpenAI wants a name");
    let (body, drops) = encode(&request, &Profile { no_json_schema: true, ..Profile::default() });
    assert_eq!(body["response_format"], json!({"type": "json_object"}));
    assert_eq!(body["messages"][0]["role"], "system");
    assert!(body["messages"][0]["content"].as_str().unwrap().contains("Marker"));
    assert_eq!(drops, ["response_format"]);
    let neither = Profile { no_json_schema: true, no_json_object: true, ..Profile::default() };
    assert_eq!(encode(&request, &neither).0.get("response_format"), None);
}

#[test]
fn json_mode_mentions_json_because_openai_refuses_it_otherwise() {
    let mut request = hello();
    request.output = OutputFormat::JsonObject;
    assert_eq!(encode(&request, &Profile::default()).0["messages"][0]["content"], "Answer in JSON.");
    request.messages[0].parts = vec![Part::text("Hello as Json")];
    assert_eq!(encode(&request, &Profile::default()).0["messages"][0]["role"], "user");
}

#[test]
fn forced_tools_are_degraded_to_auto_and_reported() {
    let mut request = hello();
    request.tools = vec![tool("f"), tool("g")];
    let auto_only = Profile { tool_choice_auto_only: true, ..Profile::default() };
    request.tool_choice = Some(ToolChoice::Named("f".to_owned()));
    let (body, drops) = encode(&request, &auto_only);
    assert_eq!((&body["tool_choice"], drops), (&json!("auto"), vec!["tool_choice".to_owned()]));
    request.tool_choice = Some(ToolChoice::Allowed { names: vec!["g".to_owned()], required: false });
    let (body, drops) = encode(&request, &auto_only);
    assert_eq!((body["tools"].as_array().unwrap().len(), drops.len()), (1, 0), "a subset is what is offered");
    request.tool_choice = Some(ToolChoice::None);
    assert_eq!(encode(&request, &auto_only).0["tool_choice"], "none");
    request.tool_choice = Some(ToolChoice::Required);
    let no_force = Profile { no_forced_tools: true, ..Profile::default() };
    assert_eq!(encode(&request, &no_force).0["tool_choice"], "auto");
    assert_eq!(encode(&request, &Profile::default()).0["tool_choice"], "required");
}

#[test]
fn tool_ids_of_nine_characters_agree_between_call_and_result() {
    let request = foreign(vec![
        message(Role::User, vec![Part::text("go")]),
        message(Role::Assistant, vec![call(Some("toolu_01ABCDEFGHIJ"), "f"), call(None, "g")]),
        message(
            Role::User,
            vec![
                Part::ToolResult(result(None, Some("g"), vec![Part::text("G")])),
                Part::ToolResult(result(Some("toolu_01ABCDEFGHIJ"), None, vec![Part::text("F")])),
            ],
        ),
    ]);
    let (body, _) = encode(&request, &Profile { nine_character_tool_ids: true, ..Profile::default() });
    let sent = |i: usize| body["messages"][1]["tool_calls"][i]["id"].as_str().unwrap().to_owned();
    assert!([sent(0), sent(1)].iter().all(|id| id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric())));
    assert_eq!(body["messages"][2]["tool_call_id"], sent(1));
    assert_eq!(body["messages"][3]["tool_call_id"], sent(0));
}

#[test]
fn pictures_of_a_tool_result_follow_in_the_next_user_turn() {
    let picture = png(MediaSource::Base64("iVBORw0KGgo=".to_owned()));
    let request = foreign(vec![
        message(Role::Assistant, vec![call(Some("a"), "f"), call(Some("b"), "f")]),
        message(
            Role::User,
            vec![
                Part::ToolResult(result(Some("a"), None, vec![Part::text("one"), picture])),
                Part::ToolResult(ToolResult {
                    is_error: true,
                    ..result(Some("b"), None, vec![Part::text("no such file")])
                }),
                Part::text("And now?"),
            ],
        ),
    ]);
    let (body, drops) = encode(&request, &Profile::default());
    let roles: Vec<&str> = body["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["assistant", "tool", "tool", "user"], "results of one turn are not interrupted");
    assert_eq!(body["messages"][0]["content"], Value::Null);
    assert_eq!(body["messages"][1]["content"], "one");
    assert_eq!(body["messages"][2]["content"], "Error: no such file");
    let turn = body["messages"][3]["content"].as_array().unwrap();
    let kinds: Vec<&str> = turn.iter().map(|part| part["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["text", "image_url", "text"]);
    assert_eq!(turn[1]["image_url"]["url"], "data:image/png;base64,iVBORw0KGgo=");
    assert!(drops.is_empty());
}

#[test]
fn an_image_address_cannot_be_said_to_a_target_that_takes_them_inline_only() {
    let request = foreign(vec![message(Role::User, vec![png(MediaSource::Url("https://a.example/x.png".to_owned()))])]);
    let error = refused(&request, &Profile { images_inline_only: true, ..Profile::default() });
    assert_eq!(error.path, "messages[0].content[0]");
    assert_eq!(encode(&request, &Profile::default()).1, Vec::<String>::new());
}

#[test]
fn documents_are_files_or_text_or_cannot_be_said() {
    let document = |media_type: &str, source: MediaSource| {
        Part::Document(Document {
            media_type: Some(media_type.to_owned()),
            source,
            title: Some("Notes".to_owned()),
            context: None,
            cite: Some(true),
            cache: None,
        })
    };
    let of = |part: Part| foreign(vec![message(Role::User, vec![part])]);
    let (pdf, drops) =
        encode(&of(document("application/pdf", MediaSource::Base64("JVBERi0=".to_owned()))), &Profile::default());
    let file = &pdf["messages"][0]["content"][0]["file"];
    assert_eq!(*file, json!({"filename": "Notes", "file_data": "data:application/pdf;base64,JVBERi0="}));
    assert_eq!(drops, ["messages[0].content[0].citations"]);
    let (text, _) =
        encode(&of(document("text/plain", MediaSource::Base64("aGVsbG8=".to_owned()))), &Profile::default());
    assert_eq!(text["messages"][0]["content"], "Notes\n\nhello");
    let url = MediaSource::Url("https://a.example/x.pdf".to_owned());
    assert_eq!(refused(&of(document("application/pdf", url)), &Profile::default()).path, "messages[0].content[0]");
    let theirs = MediaSource::FileId(DialectName::Gemini, "files/1".to_owned());
    assert_eq!(refused(&of(document("application/pdf", theirs)), &Profile::default()).path, "messages[0].content[0]");
}

fn thinking_turn() -> Request {
    let signature = ProviderBound { dialect: DialectName::AnthropicMessages, value: "SECRET".to_owned() };
    let thought = Reasoning { text: "let me see".to_owned(), signature: Some(signature), redacted: None };
    foreign(vec![
        message(Role::User, vec![Part::text("hi")]),
        message(Role::Assistant, vec![Part::Reasoning(thought), Part::text("Hello"), call(Some("c"), "f")]),
    ])
}

#[test]
fn another_vendors_thinking_is_removed_and_reported_and_its_signature_never_leaks() {
    let (body, drops) = encode(&thinking_turn(), &Profile::default());
    assert!(!body.to_string().contains("SECRET") && !body.to_string().contains("let me see"));
    assert_eq!(drops, ["messages[1].content[0]"]);
    let field = Profile { reasoning_field: Some("reasoning_content".to_owned()), ..Profile::default() };
    let (body, drops) = encode(&thinking_turn(), &field);
    assert_eq!(body["messages"][1]["reasoning_content"], "let me see");
    assert!(!body.to_string().contains("SECRET") && drops.is_empty());
    let chunks = Profile { reasoning_field: Some("thinking".to_owned()), ..Profile::default() };
    let (body, _) = encode(&thinking_turn(), &chunks);
    assert_eq!(body["messages"][1]["content"][0]["thinking"][0]["text"], "let me see");
}

#[test]
fn turns_with_tool_calls_carry_the_reasoning_field_where_the_target_insists() {
    let request = foreign(vec![message(Role::Assistant, vec![call(Some("c"), "f")])]);
    let profile = Profile { reasoning_required_with_tools: true, empty_content_string: true, ..Profile::default() };
    let (body, _) = encode(&request, &profile);
    assert_eq!(body["messages"][0]["reasoning_content"], "");
    assert_eq!(body["messages"][0]["content"], "", "this target rejects null");
}

#[test]
fn signed_reasoning_of_this_dialect_goes_back_whole_where_the_target_takes_it() {
    let details = json!([{"type": "reasoning.encrypted", "data": "abc", "index": 0}]);
    let request = decode(&json!({"model": "m", "messages": [{"role": "assistant", "content": "x",
        "reasoning": "hm", "reasoning_details": details}]}));
    let profile = Profile { reasoning_field: Some("reasoning".to_owned()), ..Profile::default() };
    let (body, drops) = encode(&request, &profile);
    assert_eq!((&body["messages"][0]["reasoning_details"], drops.len()), (&details, 0));
    let text_only = Profile { reasoning_field: Some("reasoning_content".to_owned()), ..Profile::default() };
    assert_eq!(encode(&request, &text_only).1, ["messages[0].content[0]"]);
}

#[test]
fn the_nearest_lower_effort_is_sent_and_a_budget_climbs_the_ladder() {
    let mut request = hello();
    let two = Profile { efforts: vec!["low".to_owned(), "high".to_owned()], ..Profile::default() };
    request.reasoning.effort = Some(Effort::Medium);
    let (body, drops) = encode(&request, &two);
    assert_eq!((&body["reasoning_effort"], drops), (&json!("low"), vec!["reasoning_effort".to_owned()]));
    request.reasoning.effort = Some(Effort::None);
    assert_eq!(encode(&request, &two).0["reasoning_effort"], "low", "nothing lower: the lowest there is");
    request.reasoning.effort = None;
    for (budget, word) in [(0, "none"), (1024, "low"), (8192, "medium"), (24576, "high")] {
        request.reasoning.budget_tokens = Some(budget);
        assert_eq!(encode(&request, &Profile::default()).0["reasoning_effort"], word, "{budget}");
    }
    request.reasoning.budget_tokens = Some(-1);
    assert_eq!(encode(&request, &Profile::default()).0.get("reasoning_effort"), None);
}

#[test]
fn what_only_another_vendor_has_is_dropped_and_reported() {
    let mut request = hello();
    request.safety =
        vec![SafetySetting { category: "HARM".to_owned(), threshold: "BLOCK_NONE".to_owned(), method: None }];
    request.extra.insert("container".to_owned(), json!("x"));
    request.service_tier = Some("standard_only".to_owned());
    request.tools = vec![Tool {
        kind: ToolKind::Vendor(DialectName::AnthropicMessages, json!({"type": "web_search_20250305"})),
        ..tool("web_search")
    }];
    request.messages[0].parts = vec![
        Part::Text {
            text: "Hello".to_owned(),
            citations: Vec::new(),
            cache: Some(CacheHint { value: json!({"type": "ephemeral"}) }),
            signature: None,
        },
        Part::Opaque { dialect: DialectName::Gemini, value: json!({"executableCode": {}}) },
    ];
    let (body, drops) = encode(&request, &Profile::default());
    assert_eq!(body, json!({"model": "target", "messages": [{"role": "user", "content": "Hello"}]}));
    let expected = [
        "messages[0].content[0].cache_control",
        "messages[0].content[1]",
        "tools[0]",
        "service_tier",
        "safetySettings",
        "container",
    ];
    assert_eq!(drops, expected);
}

#[test]
fn tool_names_outside_the_alphabet_are_spelled_so_that_the_answer_can_be_turned_back() {
    let mut request = hello();
    request.tools = vec![tool("files.read")];
    request.tool_choice = Some(ToolChoice::Named("files.read".to_owned()));
    let (body, drops) = encode(&request, &Profile::default());
    let wire = body["tools"][0]["function"]["name"].as_str().unwrap();
    assert!(wire.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') && drops.is_empty());
    assert_eq!(body["tool_choice"]["function"]["name"], wire);
    let answer = json!({"choices": [{"index": 0, "message": {"role": "assistant", "tool_calls":
        [{"id": "c", "type": "function", "function": {"name": wire, "arguments": "{}"}}]}, "finish_reason": "tool_calls"}]});
    let answer = OpenaiChat.decode_answer(answer.to_string().as_bytes(), &Profile::default()).unwrap();
    assert!(matches!(&answer.candidates[0].parts[0], Part::ToolCall(call) if call.name == "files.read"));
}

#[test]
fn an_openrouter_reasoning_object_is_understood_and_passed_on_alone() {
    let request = decode(&json!({"model": "m", "messages": [{"role": "user", "content": "hi"}],
        "reasoning": {"effort": "high", "exclude": true}}));
    assert_eq!((request.reasoning.effort, request.reasoning.show), (Some(Effort::High), Some(false)));
    let (body, _) = encode(&request, &Profile::default());
    assert_eq!((body.get("reasoning_effort"), &body["reasoning"]["effort"]), (None, &json!("high")));
    let rejected = Profile { drop: vec!["reasoning".to_owned()], ..Profile::default() };
    assert_eq!(encode(&request, &rejected).0["reasoning_effort"], "high");
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Zäß漢\"\\\\\n ]{1,20}"
}

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_]{0,11}"
}

fn any_media_source() -> impl Strategy<Value = (Option<String>, MediaSource)> {
    prop_oneof![
        "[A-Za-z0-9]{4,16}".prop_map(|data| (Some("image/png".to_owned()), MediaSource::Base64(data))),
        word().prop_map(|name| (None, MediaSource::Url(format!("https://a.example/{name}.png")))),
    ]
}

fn any_user_part() -> impl Strategy<Value = Part> {
    prop_oneof![
        4 => text().prop_map(Part::text),
        1 => (any_media_source(), prop::option::of(word())).prop_map(|((media_type, source), detail)| {
            Part::Image(Media { media_type, source, detail, cache: None })
        }),
        1 => "[A-Za-z0-9]{4,16}".prop_map(|data| Part::Audio(Media {
            media_type: Some("audio/wav".to_owned()), source: MediaSource::Base64(data), detail: None, cache: None })),
        1 => (prop::option::of(word()), "[A-Za-z0-9]{4,16}").prop_map(|(title, data)| Part::Document(Document {
            media_type: Some("application/pdf".to_owned()), source: MediaSource::Base64(data), title,
            context: None, cite: None, cache: None })),
        1 => word().prop_map(|name| Part::Opaque {
            dialect: DialectName::OpenaiChat, value: json!({"type": "custom_part", "name": name}) }),
    ]
}

fn any_call() -> impl Strategy<Value = (String, Value, bool)> {
    (word(), prop::collection::btree_map(word(), text(), 0..3), any::<bool>())
        .prop_map(|(name, arguments, custom)| (name, json!(arguments), custom))
}

/// An assistant turn and the results of its calls, as this dialect's decoder leaves them.
fn any_exchange() -> impl Strategy<Value = Vec<Message>> {
    (prop::option::of(text()), prop::option::of(text()), prop::collection::vec((any_call(), text()), 0..3)).prop_map(
        |(said, refusal, calls)| {
            let mut turn: Vec<Part> = said.into_iter().map(Part::text).collect();
            turn.extend(refusal.into_iter().map(Part::Refusal));
            let mut results = Vec::new();
            for (i, ((name, arguments, custom), answer)) in calls.into_iter().enumerate() {
                let id = format!("call_{i}_{name}");
                let (arguments, kind) = if custom {
                    ("free text".to_owned(), ToolKind::Custom(None))
                } else {
                    (arguments.to_string(), ToolKind::Function)
                };
                let (signature, cache) = (None, None);
                turn.push(Part::ToolCall(ToolCall {
                    id: Some(id.clone()),
                    name: name.clone(),
                    arguments,
                    signature,
                    cache,
                    kind,
                }));
                results.push(message(
                    Role::User,
                    vec![Part::ToolResult(result(Some(&id), Some(&name), vec![Part::text(answer)]))],
                ));
            }
            let mut messages = vec![message(Role::Assistant, turn)];
            messages.extend(results);
            messages
        },
    )
}

fn any_tool() -> impl Strategy<Value = Tool> {
    (word(), prop::option::of(text()), prop::option::of(any::<bool>()), 0..3u8).prop_map(
        |(name, description, strict, kind)| match kind {
            0 => Tool { description, strict, ..tool(&name) },
            1 => Tool {
                description,
                parameters: None,
                kind: ToolKind::Custom(Some(json!({"type": "text"}))),
                ..tool(&name)
            },
            _ => {
                let kind = ToolKind::Vendor(DialectName::OpenaiChat, json!({"type": format!("vendor:{name}")}));
                Tool { name: format!("vendor:{name}"), parameters: None, kind, ..tool("") }
            }
        },
    )
}

fn any_output() -> impl Strategy<Value = OutputFormat> {
    prop_oneof![
        Just(OutputFormat::Text),
        Just(OutputFormat::JsonObject),
        (prop::option::of(word()), prop::option::of(text()), prop::option::of(any::<bool>())).prop_map(
            |(name, description, strict)| OutputFormat::JsonSchema {
                name,
                description,
                schema: json!({"type": "object"}),
                strict
            }
        ),
    ]
}

fn any_choice(names: Vec<String>) -> impl Strategy<Value = Option<ToolChoice>> {
    prop_oneof![
        Just(None),
        Just(Some(ToolChoice::Auto)),
        Just(Some(ToolChoice::None)),
        Just(Some(ToolChoice::Required)),
        Just(Some(ToolChoice::Named(names[0].clone()))),
        any::<bool>().prop_map(move |required| Some(ToolChoice::Allowed { names: names.clone(), required })),
    ]
}

fn any_conversation() -> impl Strategy<Value = Vec<Message>> {
    let head = (any::<bool>(), text()).prop_map(|(developer, text)| {
        vec![message(if developer { Role::Developer } else { Role::System }, vec![Part::text(text)])]
    });
    let user = || {
        (prop::collection::vec(any_user_part(), 1..4), prop::option::of(word()))
            .prop_map(|(parts, name)| vec![Message { role: Role::User, parts, name }])
    };
    (prop::option::of(head), user(), prop::collection::vec(prop_oneof![any_exchange(), user()], 0..4))
        .prop_map(|(head, user, rest)| head.into_iter().chain([user]).chain(rest).flatten().collect())
}

prop_compose! {
    fn any_request()(
        messages in any_conversation(),
        (tools, tool_choice) in prop::collection::vec(any_tool(), 0..3).prop_flat_map(|tools| {
            let names: Vec<String> = tools.iter().filter(|tool| !matches!(tool.kind, ToolKind::Vendor(..)))
                .map(|tool| tool.name.clone()).collect();
            let choice = if names.is_empty() { Just(None).boxed() } else { any_choice(names).boxed() };
            (Just(tools), choice)
        }),
        output in any_output(),
        stop in prop::collection::vec(text(), 0..3),
        (stream, parallel, max_output_tokens, n) in (any::<bool>(), prop::option::of(any::<bool>()), prop::option::of(1..9999u64), prop::option::of(1..5u32)),
        (temperature, seed, top_k, top_p) in (prop::option::of((0..200u32).prop_map(|v| f64::from(v) / 100.0)), prop::option::of(any::<i64>()), prop::option::of(1..99u64), prop::option::of((0..100u32).prop_map(|v| f64::from(v) / 100.0))),
        effort in prop::option::of(prop_oneof![Just(Effort::None), Just(Effort::Low), Just(Effort::Xhigh)]),
        (user, service_tier, extra) in (prop::option::of(word()), prop::option::of(word()), prop::collection::btree_map("x_[a-z]{1,5}", any::<bool>(), 0..3)),
    ) -> Request {
        let mut request = Request {
            model: "target".to_owned(), stream, stream_usage: stream, messages,
            parallel_tool_calls: parallel.filter(|_| !tools.is_empty()),
            tools, tool_choice, output, max_output_tokens, stop, n, user, service_tier,
            extra: extra.into_iter().map(|(key, value)| (key, json!(value))).collect(),
            extra_dialect: Some(DialectName::OpenaiChat),
            ..Request::default()
        };
        request.sampling.temperature = temperature;
        request.sampling.seed = seed;
        request.sampling.top_k = top_k;
        request.sampling.top_p = top_p;
        request.reasoning.effort = effort;
        request
    }
}

proptest! {
    #[test]
    fn a_request_written_and_read_again_is_the_same_request(request in any_request()) {
        let mut drops = Drops::new();
        let encoded = OpenaiChat.encode_request(&request, "target", &Profile::default(), &mut drops).unwrap();
        let again = OpenaiChat.decode_request(&PathFacts::default(), &encoded.body).unwrap();
        prop_assert_eq!(request, again);
        prop_assert!(drops.is_empty(), "{:?}", drops);
    }

    #[test]
    fn no_bytes_make_the_request_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _any_outcome = OpenaiChat.decode_request(&PathFacts::default(), &bytes);
    }
}
