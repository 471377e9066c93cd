use super::*;
use canon::{
    DialectName, Effort, Media, MediaSource, Message, Part, ProviderBound, Reasoning, Role, Tool, ToolCall, ToolChoice,
    ToolKind, ToolResult,
};

/// A request as another dialect's decoder makes it.
fn asks(messages: Vec<Message>) -> Request {
    Request { model: "m".to_owned(), messages, extra_dialect: Some(DialectName::OpenaiChat), ..Request::default() }
}

fn says(role: Role, text: &str) -> Message {
    turn(role, vec![Part::text(text)])
}

fn turn(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts, name: None }
}

fn calls(id: Option<&str>, name: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: id.map(str::to_owned),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        signature: None,
        cache: None,
        kind: ToolKind::Function,
    })
}

fn answers(id: Option<&str>, name: Option<&str>, text: &str) -> Part {
    Part::ToolResult(ToolResult {
        call_id: id.map(str::to_owned),
        name: name.map(str::to_owned),
        parts: vec![Part::text(text)],
        json: false,
        is_error: false,
        cache: None,
    })
}

fn tool(name: &str) -> Tool {
    Tool {
        name: name.to_owned(),
        description: None,
        parameters: None,
        strict: None,
        cache: None,
        kind: ToolKind::Function,
    }
}

fn write_for(request: &Request, profile: &Profile) -> (Value, Vec<String>) {
    let mut drops = Drops::new();
    let body = encode(request, "claude", profile, &mut drops).unwrap();
    let paths = drops.iter().map(|dropped| dropped.path.clone()).collect();
    (serde_json::from_slice(&body).unwrap(), paths)
}

fn write(request: &Request) -> (Value, Vec<String>) {
    write_for(request, &Profile::default())
}

fn roles(body: &Value) -> Vec<&str> {
    body["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect()
}

#[test]
fn instructions_go_to_the_top_and_turns_of_one_speaker_are_merged() {
    let request = asks(vec![
        says(Role::System, "be brief"),
        says(Role::Developer, "and kind"),
        says(Role::User, "a"),
        says(Role::User, "b"),
        says(Role::Assistant, "c"),
        says(Role::System, "later"),
    ]);
    let (body, drops) = write(&request);
    let system: Vec<&str> = body["system"].as_array().unwrap().iter().map(|b| b["text"].as_str().unwrap()).collect();
    assert_eq!(system, ["be brief", "and kind", "later"]);
    assert_eq!(roles(&body), ["user", "assistant"]);
    assert_eq!(body["messages"][0]["content"].as_array().unwrap().len(), 2);
    assert_eq!(drops, ["messages[5].content"], "moved instructions are reported, leading ones are not");
}

#[test]
fn a_conversation_the_assistant_begins_gets_a_user_turn_and_says_so() {
    let (body, drops) = write(&asks(vec![says(Role::Assistant, "welcome"), says(Role::User, "hi")]));
    assert_eq!(roles(&body), ["user", "assistant", "user"]);
    assert_eq!(body["messages"][0]["content"][0]["text"], "(no user message)");
    assert_eq!(drops, ["messages"]);
}

#[test]
fn blank_texts_vanish_and_a_prefill_ends_without_whitespace() {
    let (body, drops) = write(&asks(vec![
        turn(Role::User, vec![Part::text(" \n"), Part::text("go")]),
        says(Role::Assistant, "Once \n"),
    ]));
    assert_eq!(body["messages"][0]["content"], json!([{"type": "text", "text": "go"}]));
    assert_eq!(body["messages"][1]["content"], json!([{"type": "text", "text": "Once"}]));
    assert!(drops.is_empty());
}

#[test]
fn results_stand_in_the_next_turn_before_its_text_in_the_order_of_the_calls() {
    let request = Request {
        tools: vec![tool("f")],
        ..asks(vec![
            says(Role::User, "go"),
            turn(Role::Assistant, vec![calls(Some("a"), "f", "{}"), calls(Some("b"), "f", "{}")]),
            says(Role::User, "wait"),
            turn(Role::User, vec![answers(Some("b"), None, "B")]),
            turn(Role::User, vec![answers(Some("a"), None, "A")]),
        ])
    };
    let (body, drops) = write(&request);
    let content = body["messages"][2]["content"].as_array().unwrap();
    let kinds: Vec<&str> = content.iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["tool_result", "tool_result", "text"]);
    assert_eq!(content[0]["tool_use_id"], "a");
    assert!(drops.is_empty());
}

#[test]
fn a_result_behind_another_answer_is_moved_next_to_its_call() {
    let request = Request {
        tools: vec![tool("f")],
        ..asks(vec![
            says(Role::User, "go"),
            turn(Role::Assistant, vec![calls(Some("a"), "f", "{}")]),
            says(Role::User, "still there?"),
            says(Role::Assistant, "yes"),
            turn(Role::User, vec![answers(Some("a"), None, "A")]),
        ])
    };
    let (body, drops) = write(&request);
    assert_eq!(roles(&body), ["user", "assistant", "user", "assistant"]);
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], "a");
    assert_eq!(drops, ["messages[4].content[0]"]);
}

#[test]
fn a_result_in_an_assistant_turn_is_reported_and_its_pictures_stay_out() {
    let Part::ToolResult(mut result) = answers(Some("c"), None, "r") else { panic!() };
    let source = MediaSource::Url("https://x/y.png".to_owned());
    result.parts.push(Part::Image(Media { media_type: None, source, detail: None, cache: None }));
    let request = asks(vec![says(Role::User, "hi"), turn(Role::Assistant, vec![Part::ToolResult(result)])]);
    let (body, drops) = write(&request);
    let content = json!([{"type": "text", "text": "Result of a tool call, id c:"}, {"type": "text", "text": "r"}]);
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": content}));
    assert_eq!(drops, ["messages[1].content[0]"]);
}

#[test]
fn a_missing_result_is_filled_in_as_an_error_and_an_orphan_becomes_text() {
    let request = Request {
        tools: vec![tool("f")],
        ..asks(vec![
            turn(Role::User, vec![answers(Some("gone"), Some("f"), "lost")]),
            turn(Role::Assistant, vec![calls(Some("a"), "f", "{}")]),
        ])
    };
    let (body, drops) = write(&request);
    assert_eq!(
        body["messages"][0]["content"],
        json!([{"type": "text", "text": "Result of a tool call, tool f, id gone:"}, {"type": "text", "text": "lost"}])
    );
    let filled = &body["messages"][2]["content"][0];
    assert_eq!((&filled["tool_use_id"], &filled["is_error"]), (&json!("a"), &json!(true)));
    assert_eq!(drops, ["tool_calls.a", "messages[0].content[0]"]);
}

#[test]
fn calls_without_ids_are_matched_by_name_and_repeated_ids_stay_apart() {
    let request = Request {
        tools: vec![tool("f"), tool("g")],
        ..asks(vec![
            says(Role::User, "go"),
            turn(Role::Assistant, vec![calls(None, "f", "{}"), calls(None, "g", "{}")]),
            turn(Role::User, vec![answers(None, Some("g"), "G"), answers(None, Some("f"), "F")]),
            turn(Role::Assistant, vec![calls(Some("c:0"), "f", "{}")]),
            turn(Role::User, vec![answers(Some("c:0"), None, "1")]),
            turn(Role::Assistant, vec![calls(Some("c:0"), "f", "{}")]),
            turn(Role::User, vec![answers(Some("c:0"), None, "2")]),
        ])
    };
    let (body, drops) = write(&request);
    assert!(drops.is_empty(), "{drops:?}");
    let text = |turn: usize, block: usize| body["messages"][turn]["content"][block]["content"][0]["text"].clone();
    assert_eq!([text(2, 0), text(2, 1), text(4, 0), text(6, 0)], ["F", "G", "1", "2"]);
    let mut seen = Vec::new();
    for turn in [1, 3, 5] {
        for (at, call) in body["messages"][turn]["content"].as_array().unwrap().iter().enumerate() {
            let id = call["id"].as_str().unwrap();
            assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{id}");
            assert_eq!(body["messages"][turn + 1]["content"][at]["tool_use_id"], id);
            assert!(!seen.contains(&id), "{id} twice");
            seen.push(id);
        }
    }
}

#[test]
fn arguments_that_are_no_object_are_wrapped_and_reported() {
    let parts = ["", "[1]", "{\"a\":", "{\"a\":1}"].map(|arguments| calls(None, "f", arguments));
    let request = Request { tools: vec![tool("f")], ..asks(vec![turn(Role::Assistant, parts.to_vec())]) };
    let (body, drops) = write(&request);
    let inputs: Vec<&Value> =
        body["messages"][1]["content"].as_array().unwrap().iter().map(|call| &call["input"]).collect();
    assert_eq!(inputs, [&json!({}), &json!({"value": [1]}), &json!({"raw": "{\"a\":"}), &json!({"a": 1})]);
    assert!(drops.contains(&"messages[0].content[1].arguments".to_owned()), "{drops:?}");
}

#[test]
fn tools_only_the_history_knows_are_declared_and_may_not_be_called() {
    let request = asks(vec![
        turn(Role::Assistant, vec![calls(Some("a"), "files.read", "{}")]),
        turn(Role::User, vec![answers(Some("a"), None, "A")]),
    ]);
    let (body, drops) = write(&request);
    assert_eq!(body["tools"], json!([{"name": "files_x2E_read", "input_schema": {"type": "object"}}]));
    assert_eq!(body["tool_choice"], json!({"type": "none"}));
    assert!(drops.contains(&"tools".to_owned()));
}

#[test]
fn choices_of_tools_are_spelled_and_degraded_where_the_target_refuses_them() {
    let hi = vec![says(Role::User, "hi")];
    let with = |choice: Option<ToolChoice>, parallel: Option<bool>| Request {
        tools: vec![tool("a"), tool("b"), tool("b")],
        tool_choice: choice,
        parallel_tool_calls: parallel,
        ..asks(hi.clone())
    };
    let named = Some(ToolChoice::Named("a".to_owned()));
    let (body, drops) = write(&with(named.clone(), Some(false)));
    assert_eq!(body["tool_choice"], json!({"type": "tool", "name": "a", "disable_parallel_tool_use": true}));
    assert_eq!(drops, ["tools[2]"], "the second tool of one name is left out");
    let (body, _) = write(&with(None, Some(false)));
    assert_eq!(body["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    let allowed = Some(ToolChoice::Allowed { names: vec!["b".to_owned()], required: true });
    let (body, _) = write(&with(allowed, None));
    assert_eq!((body["tools"].as_array().unwrap().len(), &body["tool_choice"]), (1, &json!({"type": "any"})));
    let profile = Profile { no_forced_tools: true, ..Profile::default() };
    let (body, drops) = write_for(&with(named, None), &profile);
    assert_eq!(body["tool_choice"], json!({"type": "auto"}));
    assert!(drops.contains(&"tool_choice".to_owned()));
}

#[test]
fn sampling_is_clamped_excluded_and_reported() {
    let mut request = asks(vec![says(Role::User, "hi")]);
    request.sampling.temperature = Some(1.5);
    request.sampling.top_p = Some(0.5);
    request.sampling.seed = Some(7);
    request.n = Some(1);
    request.sampling.frequency_penalty = Some(0.0);
    let (body, drops) = write_for(&request, &Profile { temperature_xor_top_p: true, ..Profile::default() });
    assert_eq!(body["temperature"], json!(1.0));
    assert!(body.get("top_p").is_none());
    assert_eq!(drops, ["seed", "temperature", "top_p"], "what was not asked for is no loss");
    let (body, drops) = write_for(&request, &Profile { no_sampling: true, ..Profile::default() });
    assert!(body.get("temperature").is_none());
    assert_eq!(drops, ["seed", "temperature", "top_p"]);
}

#[test]
fn the_output_cap_is_always_there_and_within_the_model() {
    let mut request = asks(vec![says(Role::User, "hi")]);
    let profile = Profile { default_max_tokens: Some(9000), max_output_tokens: Some(8000), ..Profile::default() };
    assert_eq!(write(&request).0["max_tokens"], 4096);
    assert_eq!(write_for(&request, &profile), (write_for(&request, &profile).0, vec![]));
    assert_eq!(write_for(&request, &profile).0["max_tokens"], 8000);
    request.max_output_tokens = Some(100_000);
    let (body, drops) = write_for(&request, &profile);
    assert_eq!((&body["max_tokens"], drops), (&json!(8000), vec!["max_tokens".to_owned()]));
}

#[test]
fn effort_is_spelled_as_the_family_takes_it() {
    let mut request = asks(vec![says(Role::User, "hi")]);
    request.reasoning.effort = Some(Effort::High);
    request.sampling.temperature = Some(0.3);
    let family = |thinking| Profile { thinking, ..Profile::default() };

    let (body, drops) = write_for(&request, &family(Thinking::Effort));
    assert_eq!(body["thinking"], json!({"type": "adaptive"}));
    assert_eq!(body["output_config"], json!({"effort": "high"}));
    assert_eq!(drops, ["temperature"]);

    let (body, _) = write_for(&request, &family(Thinking::Budget));
    assert_eq!(body["thinking"], json!({"type": "enabled", "budget_tokens": 16_384}));
    assert!(body["max_tokens"].as_u64().unwrap() > 16_384);

    let (body, _) = write_for(&request, &family(Thinking::AlwaysOn));
    assert_eq!((body.get("thinking"), &body["output_config"]), (None, &json!({"effort": "high"})));

    let (body, drops) = write_for(&request, &family(Thinking::Unsupported));
    assert_eq!((body.get("thinking"), body.get("output_config")), (None, None));
    assert_eq!((drops, &body["temperature"]), (vec!["reasoning_effort".to_owned()], &json!(0.3)));

    request.reasoning.effort = Some(Effort::None);
    assert_eq!(write_for(&request, &family(Thinking::Effort)).0["thinking"], json!({"type": "disabled"}));
    let (body, drops) = write_for(&request, &family(Thinking::AlwaysOn));
    assert_eq!(body["output_config"], json!({"effort": "low"}));
    assert!(drops.contains(&"reasoning_effort".to_owned()));
}

#[test]
fn a_budget_fits_below_the_cap_or_is_left_out() {
    let mut request = asks(vec![says(Role::User, "hi")]);
    request.reasoning.budget_tokens = Some(5000);
    request.max_output_tokens = Some(1000);
    let budget =
        |most: u64| Profile { thinking: Thinking::Budget, max_output_tokens: Some(most), ..Profile::default() };
    let (body, drops) = write_for(&request, &budget(64_000));
    assert_eq!((&body["max_tokens"], &body["thinking"]["budget_tokens"]), (&json!(6000), &json!(5000)));
    assert_eq!(drops, ["max_tokens"]);
    let (body, _) = write_for(&request, &budget(4096));
    assert_eq!((&body["max_tokens"], &body["thinking"]["budget_tokens"]), (&json!(4096), &json!(3096)));
    let (body, drops) = write_for(&request, &budget(1500));
    assert_eq!((&body["max_tokens"], body.get("thinking")), (&json!(1000), None));
    assert_eq!(drops, ["reasoning_effort"]);
}

#[test]
fn a_budget_excludes_forced_tools_and_a_tool_loop_begun_without_thinking() {
    let mut request = Request {
        tools: vec![tool("f")],
        tool_choice: Some(ToolChoice::Required),
        ..asks(vec![says(Role::User, "hi")])
    };
    request.reasoning.effort = Some(Effort::Low);
    let profile = Profile { thinking: Thinking::Budget, ..Profile::default() };
    let (body, drops) = write_for(&request, &profile);
    assert_eq!(body["tool_choice"], json!({"type": "auto"}));
    assert_eq!(drops, ["tool_choice"]);

    request.messages.push(turn(Role::Assistant, vec![calls(Some("a"), "f", "{}")]));
    request.messages.push(turn(Role::User, vec![answers(Some("a"), None, "A")]));
    let (body, drops) = write_for(&request, &profile);
    assert!(body.get("thinking").is_none());
    assert_eq!(drops, ["thinking"]);
    assert_eq!(body["tool_choice"], json!({"type": "any"}));
}

#[test]
fn only_thinking_that_anthropic_signed_goes_back() {
    let thought = |dialect, text: &str| {
        Part::Reasoning(Reasoning {
            text: text.to_owned(),
            signature: Some(ProviderBound { dialect, value: "S".to_owned() }),
            redacted: None,
        })
    };
    let request = asks(vec![
        says(Role::User, "hi"),
        turn(
            Role::Assistant,
            vec![
                thought(DialectName::AnthropicMessages, "own"),
                thought(DialectName::Gemini, "foreign"),
                Part::text("so"),
            ],
        ),
        says(Role::User, "and?"),
    ]);
    let (body, drops) = write(&request);
    assert_eq!(
        body["messages"][1]["content"],
        json!([{"type": "thinking", "thinking": "own", "signature": "S"}, {"type": "text", "text": "so"}])
    );
    assert_eq!(drops, ["messages[1].content[1]"]);
}

#[test]
fn a_schema_goes_to_the_format_or_into_the_instructions() {
    let mut request = asks(vec![says(Role::User, "hi")]);
    request.output = OutputFormat::JsonSchema {
        name: Some("x".to_owned()),
        description: None,
        schema: json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}),
        strict: Some(true),
    };
    let (body, drops) = write(&request);
    let schema = &body["output_config"]["format"]["schema"];
    assert_eq!(schema["additionalProperties"], json!(false));
    assert_eq!(schema["properties"]["a"], json!({"type": "integer", "description": "(minimum: 1)"}));
    assert_eq!(drops, ["response_format.json_schema.schema"]);
    let (body, drops) = write_for(&request, &Profile { no_json_schema: true, ..Profile::default() });
    assert!(body.get("output_config").is_none());
    assert!(body["system"].as_str().unwrap().contains("\"minimum\":1"));
    assert_eq!(drops, ["response_format"]);
    request.output = OutputFormat::JsonObject;
    let (body, drops) = write(&request);
    assert!(body["system"].as_str().unwrap().contains("JSON object"));
    assert_eq!(drops, ["response_format"]);
}

#[test]
fn media_the_api_cannot_take_make_the_request_inexpressible() {
    let media = |media_type: Option<&str>, source| Media {
        media_type: media_type.map(str::to_owned),
        source,
        detail: None,
        cache: None,
    };
    let base64 = |data: &str| MediaSource::Base64(data.to_owned());
    let url = |url: &str| MediaSource::Url(url.to_owned());
    let foreign = MediaSource::FileId(DialectName::OpenaiChat, "f".to_owned());
    let inexpressible = [
        Part::Audio(media(Some("audio/wav"), base64("AA"))),
        Part::Video(media(Some("video/mp4"), base64("AA"))),
        Part::Image(media(Some("image/heic"), base64("AA"))),
        Part::Image(media(None, url("gs://bucket/x.png"))),
        Part::Image(media(None, foreign)),
    ];
    for part in inexpressible {
        let request = asks(vec![turn(Role::User, vec![Part::text("look"), part.clone()])]);
        let error = encode(&request, "m", &Profile::default(), &mut Drops::new()).unwrap_err();
        assert_eq!(error.path, "messages[0].content[1]", "{part:?}");
    }
    let request = asks(vec![turn(
        Role::User,
        vec![
            Part::Image(media(None, url("data:image/png;base64,iVBO"))),
            Part::Image(media(None, base64("/9j/4A"))),
            Part::Image(media(None, url("https://x/y.png"))),
        ],
    )]);
    let (body, _) = write(&request);
    let sources: Vec<&Value> =
        body["messages"][0]["content"].as_array().unwrap().iter().map(|block| &block["source"]).collect();
    assert_eq!(
        sources,
        [
            &json!({"type": "base64", "media_type": "image/png", "data": "iVBO"}),
            &json!({"type": "base64", "media_type": "image/jpeg", "data": "/9j/4A"}),
            &json!({"type": "url", "url": "https://x/y.png"}),
        ]
    );
    let inline_only = Profile { images_inline_only: true, ..Profile::default() };
    assert!(encode(&request, "m", &inline_only, &mut Drops::new()).is_err());
}

#[test]
fn kept_fields_go_back_to_their_places_in_the_same_dialect_and_are_reported_in_another() {
    let body = json!({
        "model": "m", "max_tokens": 5, "mcp_servers": [{"name": "x"}],
        "tools": [{"name": "t", "input_schema": {"type": "object"}, "defer_loading": true}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "x-mark": 1}]}],
        "metadata": {"user_id": "u", "team": "a"}, "output_config": {"task_budget": 5}
    });
    let mut request = crate::anthropic_messages::request_decode::decode(body.to_string().as_bytes()).unwrap();
    let (again, drops) = write(&request);
    assert!(drops.is_empty(), "{drops:?}");
    for place in ["/mcp_servers", "/tools", "/messages", "/metadata", "/output_config"] {
        assert_eq!(again.pointer(place), body.pointer(place), "{place}");
    }
    request.extra_dialect = Some(DialectName::OpenaiChat);
    let (_, drops) = write(&request);
    assert_eq!(drops.len(), 5, "{drops:?}");
}

#[test]
fn a_key_that_looks_like_a_path_is_no_path() {
    let body = json!({
        "model": "m", "max_tokens": 5, ".model": "other", ".temperature": 0, "messages[0].role": "assistant",
        "thinking.type": "enabled", "metadata.user_id": "u", "": 1, "tools[0].defer_loading": true,
        "tools": [{"name": "t", "input_schema": {"type": "object"}, "a.b": 1, "": 2, "[0]": 3}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "source.x": 1}], "content[0].text": 4}]
    });
    let mut request = crate::anthropic_messages::request_decode::decode(body.to_string().as_bytes()).unwrap();
    assert_eq!((request.sampling.temperature, request.user.as_deref()), (None, None));
    let (mut again, drops) = write(&request);
    assert_eq!(again["model"], "claude");
    again["model"] = json!("m");
    assert_eq!((again, drops.len()), (body, 0));
    request.extra_dialect = Some(DialectName::OpenaiChat);
    let (_, drops) = write(&request);
    assert_eq!(drops.len(), 12, "{drops:?}");
    for path in [r#"[".temperature"]"#, r#"tools[0]["a.b"]"#, r#"messages[0].content[0]["source.x"]"#, r#"[""]"#] {
        assert!(drops.iter().any(|drop| drop == path), "{path} in {drops:?}");
    }
}

#[test]
fn a_kept_field_that_the_written_one_overrules_is_reported() {
    let mut request = asks(vec![says(Role::User, "hi")]);
    request.extra_dialect = Some(DIALECT);
    request.extra.insert("max_tokens".to_owned(), json!(1));
    let (body, drops) = write(&request);
    assert_eq!((&body["max_tokens"], drops), (&json!(4096), vec!["max_tokens".to_owned()]));
}

#[test]
fn a_profile_drops_and_renames_top_level_fields() {
    let mut request = asks(vec![says(Role::User, "hi")]);
    request.stop = vec!["END".to_owned(), " ".to_owned(), "STOP".to_owned()];
    request.user = Some("u".to_owned());
    let profile = Profile {
        drop: vec!["metadata".to_owned()],
        rename: [("max_tokens".to_owned(), "max_output".to_owned())].into(),
        max_stop: Some(1),
        ..Profile::default()
    };
    let (body, drops) = write_for(&request, &profile);
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!((body.get("metadata"), &body["max_output"]), (None, &json!(4096)));
    assert_eq!(drops, ["stop[1]", "stop[2]", "metadata"]);
}
