//! A request that goes on with a begun answer, as each target wants it; and the requests no target is asked so.

#![expect(clippy::unwrap_used, reason = "tests")]

use canon::{
    Continues, DialectName, Drops, Effort, Message, OutputFormat, Part, ReasoningRequest, Request, Role, Sampling,
    ToolCall, ToolChoice, ToolKind,
};
use dialect::profile::{Continuation, Exclusion, Profile, Thinking};
use dialect::{Inexpressible, outbound};
use serde_json::{Value, json};

fn turn(role: Role, text: &str) -> Message {
    Message { role, parts: vec![Part::text(text)], name: None }
}

fn begun(text: &str) -> Request {
    Request {
        model: "m".to_owned(),
        stream: true,
        messages: vec![turn(Role::User, "Tell me."), turn(Role::Assistant, text)],
        continues: Some(Continues::Prefill),
        ..Request::default()
    }
}

fn profile(continuation: Continuation) -> Profile {
    Profile { continuation, ..Profile::default() }
}

fn write(dialect: DialectName, request: &Request, profile: &Profile) -> Result<(String, Value), Inexpressible> {
    let encoded = outbound(dialect).encode_request(request, "m", profile, &mut Drops::new())?;
    Ok((encoded.path, serde_json::from_slice(&encoded.body).unwrap()))
}

fn last(body: &Value) -> &Value {
    body["messages"].as_array().unwrap().last().unwrap()
}

#[test]
fn each_target_of_openai_s_dialect_is_told_in_its_own_words() {
    for (continuation, turn, flags) in [
        (Continuation::Prefill, json!({"role": "assistant", "content": "Once "}), false),
        (Continuation::Prefix, json!({"role": "assistant", "content": "Once ", "prefix": true}), false),
        (Continuation::Partial, json!({"role": "assistant", "content": "Once ", "partial": true}), false),
        (Continuation::ContinueFinalMessage, json!({"role": "assistant", "content": "Once "}), true),
    ] {
        let (path, body) = write(DialectName::OpenaiChat, &begun("Once "), &profile(continuation)).unwrap();
        assert_eq!((path.as_str(), last(&body)), ("/chat/completions", &turn), "{continuation:?}");
        assert_eq!(body.get("continue_final_message"), flags.then_some(&json!(true)), "{continuation:?}");
        assert_eq!(body.get("add_generation_prompt"), flags.then_some(&json!(false)), "{continuation:?}");
    }
}

#[test]
fn an_ordinary_request_says_nothing_of_it() {
    let request = Request { continues: None, ..begun("Once") };
    for continuation in [Continuation::Prefix, Continuation::Partial, Continuation::ContinueFinalMessage] {
        let with_path = Profile { continuation_path: Some("/beta".to_owned()), ..profile(continuation) };
        let plain = write(DialectName::OpenaiChat, &request, &Profile::default()).unwrap();
        assert_eq!(write(DialectName::OpenaiChat, &request, &with_path).unwrap(), plain);
    }
}

#[test]
fn the_path_of_a_continuation_stands_before_the_dialect_s_own() {
    let deepseek = Profile { continuation_path: Some("/beta".to_owned()), ..profile(Continuation::Prefix) };
    let (path, _) = write(DialectName::OpenaiChat, &begun("Once"), &deepseek).unwrap();
    assert_eq!(path, "/beta/chat/completions");
}

#[test]
fn the_begun_turn_is_one_string_and_stays_the_last_under_instructions_of_the_gateway_s_own() {
    let mut request = begun("Once ");
    request.messages[1].parts.push(Part::text("upon"));
    request.extra_dialect = Some(DialectName::OpenaiChat);
    request.output = OutputFormat::JsonObject;
    let target = Profile { no_json_object: true, ..profile(Continuation::Prefix) };
    let (_, body) = write(DialectName::OpenaiChat, &request, &target).unwrap();
    assert_eq!(last(&body), &json!({"role": "assistant", "content": "Once upon", "prefix": true}));
}

#[test]
fn a_claude_gets_the_turn_without_white_space_at_its_end() {
    let (_, body) = write(DialectName::AnthropicMessages, &begun("Once \n"), &profile(Continuation::Prefill)).unwrap();
    assert_eq!(last(&body), &json!({"role": "assistant", "content": [{"type": "text", "text": "Once"}]}));
}

#[test]
fn gemini_gets_the_same_request_with_the_token() {
    let token = |continues| Request {
        messages: vec![turn(Role::User, "Tell me.")],
        extra_dialect: Some(DialectName::Gemini),
        max_output_tokens: Some(100),
        continues,
        ..begun("")
    };
    let target = profile(Continuation::Token);
    let (_, plain) = write(DialectName::Gemini, &token(None), &target).unwrap();
    let (_, mut body) = write(DialectName::Gemini, &token(Some(Continues::Token("AAA=".to_owned()))), &target).unwrap();
    assert_eq!(body.as_object_mut().unwrap().shift_remove("continuationToken"), Some(json!("AAA=")));
    assert_eq!(body, plain);
    let mut later = token(Some(Continues::Token("BBB=".to_owned())));
    later.extra.insert("continuationToken".to_owned(), json!("AAA="));
    assert_eq!(write(DialectName::Gemini, &later, &target).unwrap().1["continuationToken"], "BBB=");
    assert!(Continuation::Token.cap_is_cumulative() && !Continuation::Prefill.cap_is_cumulative());
}

#[test]
fn what_a_target_cannot_go_on_with_is_not_written_for_it() {
    let prefill = profile(Continuation::Prefill);
    let call = ToolCall {
        id: None,
        name: "f".to_owned(),
        arguments: "{}".to_owned(),
        signature: None,
        cache: None,
        kind: ToolKind::Function,
    };
    let with_call = Message { role: Role::Assistant, parts: vec![Part::text("a"), Part::ToolCall(call)], name: None };
    let token = Some(Continues::Token("AAA=".to_owned()));
    for (why, request, target) in [
        ("a target unknown to go on", begun("a"), Profile::default()),
        ("text to one that wants a token", begun("a"), profile(Continuation::Token)),
        ("a token to one that wants text", Request { continues: token, ..begun("a") }, prefill.clone()),
        ("nothing but white space", begun(" \n"), prefill.clone()),
        ("no turn of the model's", Request { messages: vec![turn(Role::User, "a")], ..begun("a") }, prefill.clone()),
        ("a call in the turn", Request { messages: vec![with_call], ..begun("a") }, prefill.clone()),
        ("several choices", Request { n: Some(2), ..begun("a") }, prefill.clone()),
        ("a forced call", Request { tool_choice: Some(ToolChoice::Required), ..begun("a") }, prefill.clone()),
        (
            "log probabilities",
            Request { sampling: Sampling { logprobs: Some(true), ..Sampling::default() }, ..begun("a") },
            prefill,
        ),
    ] {
        assert!(!target.can_continue(&request), "{why}");
        for dialect in DialectName::ALL {
            let refused = write(dialect, &request, &target).unwrap_err();
            assert_eq!(refused.path, "continues", "{why}");
        }
    }
}

#[test]
fn a_caller_s_request_tells_before_the_break_whether_it_may_be_gone_on_with() {
    let asked = Request { continues: None, messages: vec![turn(Role::User, "a")], ..begun("") };
    assert!(profile(Continuation::Prefill).can_continue(&asked));
    assert!(profile(Continuation::Token).can_continue(&asked));
    assert!(!profile(Continuation::None).can_continue(&asked));
}

#[test]
fn what_a_continuation_may_not_stand_beside_excludes_it() {
    let target = |exclusion, thinking| Profile {
        continuation_excludes: vec![exclusion],
        thinking,
        ..profile(Continuation::Prefill)
    };
    let thinks = |reasoning| Request { reasoning, ..begun("a") };
    let effort = |effort| thinks(ReasoningRequest { effort: Some(effort), ..ReasoningRequest::default() });
    let budget = |n| thinks(ReasoningRequest { budget_tokens: Some(n), ..ReasoningRequest::default() });
    let extra = |key: &str, value| {
        let mut request = begun("a");
        request.extra.insert(key.to_owned(), value);
        request
    };
    let on = [
        effort(Effort::Low),
        budget(2048),
        budget(-1),
        thinks(ReasoningRequest { adaptive: true, ..ReasoningRequest::default() }),
        extra("enable_thinking", json!(true)),
        extra("thinking", json!({"type": "enabled"})),
        extra("chat_template_kwargs", json!({"enable_thinking": true})),
    ];
    let off = [
        begun("a"),
        effort(Effort::None),
        budget(0),
        extra("enable_thinking", json!(false)),
        extra("thinking", json!({"type": "disabled"})),
        extra("reasoning", json!({"effort": "none"})),
    ];
    for request in &on {
        assert!(!target(Exclusion::Thinking, Thinking::Budget).can_continue(request), "{request:?}");
        assert!(target(Exclusion::Thinking, Thinking::Unsupported).can_continue(request), "{request:?}");
        assert!(target(Exclusion::Tools, Thinking::Budget).can_continue(request), "{request:?}");
    }
    for request in &off {
        assert!(target(Exclusion::Thinking, Thinking::Budget).can_continue(request), "{request:?}");
        assert!(!target(Exclusion::Thinking, Thinking::AlwaysOn).can_continue(request), "{request:?}");
    }
    let object = Request { output: OutputFormat::JsonObject, ..begun("a") };
    let schema = Request {
        output: OutputFormat::JsonSchema { name: None, description: None, schema: json!({}), strict: None },
        ..begun("a")
    };
    let takes = |exclusion, request: &Request| target(exclusion, Thinking::Effort).can_continue(request);
    assert!(!takes(Exclusion::StructuredOutput, &object) && !takes(Exclusion::StructuredOutput, &schema));
    assert!(!takes(Exclusion::JsonObject, &object) && takes(Exclusion::JsonObject, &schema));
}
