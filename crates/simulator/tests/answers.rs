//! What a healthy provider answers.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use canon::DialectName;
use common::{ask, body, body_with_tool, events, is_finished, provider, request, streamed_text, text, whole};
use http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};
use simulator::{Pace, Provider, Simulator};

const OPENAI: DialectName = DialectName::OpenaiChat;
const ANTHROPIC: DialectName = DialectName::AnthropicMessages;
const GEMINI: DialectName = DialectName::Gemini;

async fn answer(dialect: DialectName, body: &Value) -> Value {
    let response = Simulator::new(provider(dialect)).call(request(dialect, body, false)).await.unwrap();
    let status = response.status();
    let text = whole(response).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn refusal(dialect: DialectName, body: &Value) -> (u16, String) {
    let response = Simulator::new(provider(dialect)).call(request(dialect, body, false)).await.unwrap();
    (response.status().as_u16(), whole(response).await)
}

#[tokio::test(start_paused = true)]
async fn an_answer_names_provider_and_model_and_quotes_the_user() {
    for dialect in DialectName::ALL {
        let answer = answer(dialect, &body(dialect, "Which way is north?")).await;
        let text = text(dialect, &answer);
        for expected in ["sim-a", "m-1", "Which way is north?"] {
            assert!(text.contains(expected), "{dialect}: {text}");
        }
        assert!(text.split_whitespace().count() >= 32, "{dialect}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn usage_adds_up_in_each_dialect() {
    let openai = answer(OPENAI, &body(OPENAI, "hello")).await;
    let usage = &openai["usage"];
    let sum = usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
    let gemini = answer(GEMINI, &body(GEMINI, "hello")).await;
    let usage = &gemini["usageMetadata"];
    let sum = usage["promptTokenCount"].as_u64().unwrap() + usage["candidatesTokenCount"].as_u64().unwrap();
    assert_eq!(usage["totalTokenCount"], sum);
    let mut cached = body(ANTHROPIC, "hello");
    cached["cache_control"] = json!({"type": "ephemeral"});
    let usage = &answer(ANTHROPIC, &cached).await["usage"];
    assert!(usage["cache_read_input_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_tool_is_called_with_arguments_that_fit_its_schema() {
    for dialect in DialectName::ALL {
        let answer = answer(dialect, &body_with_tool(dialect, "What is the weather?")).await;
        let (name, arguments, finish) = match dialect {
            OPENAI => {
                let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
                let arguments = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
                (&call["name"], arguments, &answer["choices"][0]["finish_reason"])
            }
            ANTHROPIC => (&answer["content"][0]["name"], answer["content"][0]["input"].clone(), &answer["stop_reason"]),
            GEMINI => {
                let call = &answer["candidates"][0]["content"]["parts"][0]["functionCall"];
                (&call["name"], call["args"].clone(), &answer["candidates"][0]["finishReason"])
            }
        };
        assert_eq!(*name, "get_weather");
        assert_eq!(arguments, json!({"city": "Paris"}));
        let expected = match dialect {
            OPENAI => "tool_calls",
            ANTHROPIC => "tool_use",
            GEMINI => "STOP",
        };
        assert_eq!(*finish, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn parallel_calls_come_in_one_turn() {
    let asked = body_with_tool(OPENAI, "Use the tool for two cities");
    let answer = answer(OPENAI, &asked).await;
    let calls = answer["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_ne!(calls[0]["function"]["arguments"], calls[1]["function"]["arguments"]);
}

#[tokio::test(start_paused = true)]
async fn a_streamed_call_joins_to_the_same_arguments() {
    let asked = body_with_tool(OPENAI, "weather");
    let response = Simulator::new(provider(OPENAI)).call(request(OPENAI, &asked, true)).await.unwrap();
    let fragments: String = events(&whole(response).await)
        .iter()
        .filter_map(|event| {
            event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(serde_json::from_str::<Value>(&fragments).unwrap(), json!({"city": "Paris"}));
}

#[tokio::test(start_paused = true)]
async fn a_tool_result_is_answered_with_text_that_holds_it() {
    let mut asked = body_with_tool(ANTHROPIC, "weather");
    asked["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "get_weather", "input": {}}]}),
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "rain at 7"}]}),
    ]);
    assert!(text(ANTHROPIC, &answer(ANTHROPIC, &asked).await).contains("rain at 7"));
}

#[tokio::test(start_paused = true)]
async fn structured_output_satisfies_its_schema() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false});
    let mut openai = body(OPENAI, "go");
    openai["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "s", "strict": true, "schema": schema}});
    let mut anthropic = body(ANTHROPIC, "go");
    anthropic["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
    let mut gemini = body(GEMINI, "go");
    gemini["generationConfig"] = json!({"responseMimeType": "application/json", "responseJsonSchema": schema});
    for (dialect, asked) in [(OPENAI, openai), (ANTHROPIC, anthropic), (GEMINI, gemini)] {
        let said = text(dialect, &answer(dialect, &asked).await);
        assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), json!({"n": 1}), "{dialect}");
    }
}

#[tokio::test(start_paused = true)]
async fn reasoning_is_shown_in_the_way_of_the_dialect() {
    let mut asked = body(ANTHROPIC, "think");
    asked["thinking"] = json!({"type": "enabled", "budget_tokens": 2048});
    let answered = answer(ANTHROPIC, &asked).await;
    assert_eq!(answered["content"][0]["type"], "thinking");
    assert!(answered["content"][0]["signature"].is_string());
    let mut asked = body(GEMINI, "think");
    asked["generationConfig"] = json!({"thinkingConfig": {"includeThoughts": true}});
    let answered = answer(GEMINI, &asked).await;
    assert_eq!(answered["candidates"][0]["content"]["parts"][0]["thought"], true);
    assert!(answered["usageMetadata"]["thoughtsTokenCount"].as_u64().unwrap() > 0);
    let mut asked = body(OPENAI, "think");
    asked["reasoning_effort"] = json!("low");
    let answered = answer(OPENAI, &asked).await;
    assert!(answered["choices"][0]["message"]["reasoning_content"].is_string());
    assert!(answered["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test(start_paused = true)]
async fn stops_and_limits_are_honoured() {
    let mut asked = body(OPENAI, "hello");
    asked["stop"] = json!("speaking");
    let answered = answer(OPENAI, &asked).await;
    assert_eq!(text(OPENAI, &answered), "This is sim-a ");
    assert_eq!(answered["choices"][0]["finish_reason"], "stop");
    let mut asked = body(ANTHROPIC, "hello");
    asked["max_tokens"] = json!(2);
    let answered = answer(ANTHROPIC, &asked).await;
    assert_eq!((&answered["stop_reason"], &answered["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(2)));
}

#[tokio::test(start_paused = true)]
async fn images_and_candidates_are_counted() {
    let mut asked = body(OPENAI, "look");
    asked["n"] = json!(2);
    asked["messages"][0]["content"] = json!([
        {"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]);
    let answered = answer(OPENAI, &asked).await;
    assert!(text(OPENAI, &answered).contains("saw 1 image."));
    assert_eq!(answered["choices"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_would_refuse_is_refused_in_its_words() {
    let with = |dialect, key: &str, value: Value| {
        let mut asked = body(dialect, "hello");
        asked[key] = value;
        asked
    };
    let without_cap = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    let cases = [
        (OPENAI, with(OPENAI, "top_k", json!(4)), "Unknown parameter: 'top_k'."),
        (
            OPENAI,
            with(OPENAI, "messages", json!([{"role": "tool", "tool_call_id": "x", "content": "y"}])),
            "must be a response to a preceeding",
        ),
        (OPENAI, with(OPENAI, "messages", json!([{"role": "user", "content": null}])), "got null"),
        (OPENAI, with(OPENAI, "tool_choice", json!("auto")), "only allowed when 'tools'"),
        (ANTHROPIC, without_cap, "max_tokens: Field required"),
        (ANTHROPIC, with(ANTHROPIC, "seed", json!(4)), "seed: Extra inputs are not permitted"),
        (
            ANTHROPIC,
            with(ANTHROPIC, "messages", json!([{"role": "assistant", "content": "x"}])),
            "first message must use",
        ),
        (ANTHROPIC, with(ANTHROPIC, "messages", json!([{"role": "system", "content": "x"}])), "Unexpected role"),
        (ANTHROPIC, with(ANTHROPIC, "messages", json!([{"role": "user", "content": " "}])), "non-whitespace"),
        (GEMINI, with(GEMINI, "messages", json!([])), "Unknown name \\\"messages\\\""),
        (GEMINI, with(GEMINI, "contents", json!([{"role": "assistant", "parts": [{"text": "x"}]}])), "valid role"),
        (
            GEMINI,
            with(GEMINI, "contents", json!([{"role": "model", "parts": [{"text": "x"}]}])),
            "end with a user role",
        ),
    ];
    for (dialect, asked, expected) in cases {
        let (status, text) = refusal(dialect, &asked).await;
        assert_eq!(status, 400, "{asked}: {text}");
        assert!(text.contains(expected), "{asked}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_tool_call_is_refused_everywhere() {
    let mut openai = body_with_tool(OPENAI, "x");
    openai["messages"].as_array_mut().unwrap().push(json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]}));
    let mut anthropic = body_with_tool(ANTHROPIC, "x");
    anthropic["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "get_weather", "input": {}}]}),
        json!({"role": "user", "content": "never mind"}),
    ]);
    let mut gemini = body_with_tool(GEMINI, "x");
    gemini["contents"].as_array_mut().unwrap().extend([
        json!({"role": "model", "parts": [{"functionCall": {"name": "get_weather", "args": {}}}]}),
        json!({"role": "user", "parts": [{"text": "never mind"}]}),
    ]);
    for (dialect, asked) in [(OPENAI, openai), (ANTHROPIC, anthropic), (GEMINI, gemini)] {
        assert_eq!(refusal(dialect, &asked).await.0, 400, "{dialect}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_and_versions_are_checked_at_the_door() {
    for (dialect, header, missing, bad) in
        [(OPENAI, "authorization", 401, 401), (ANTHROPIC, "x-api-key", 401, 401), (GEMINI, "x-goog-api-key", 403, 400)]
    {
        let simulator = Simulator::new(provider(dialect));
        let mut asked = ask(dialect, "x", false);
        asked.headers_mut().remove(header);
        assert_eq!(simulator.call(asked).await.unwrap().status(), missing, "{dialect}");
        let mut asked = ask(dialect, "x", false);
        let key = if dialect == OPENAI { "Bearer bad" } else { "bad" };
        asked.headers_mut().insert(header, key.parse().unwrap());
        assert_eq!(simulator.call(asked).await.unwrap().status(), bad, "{dialect}");
    }
    let mut asked = ask(ANTHROPIC, "x", false);
    asked.headers_mut().remove("anthropic-version");
    assert_eq!(Simulator::new(provider(ANTHROPIC)).call(asked).await.unwrap().status(), 400);
}

#[tokio::test(start_paused = true)]
async fn model_lists_and_unknown_models_follow_the_dialect() {
    for (dialect, path, field) in [
        (OPENAI, "/v1/models", "/data/0/id"),
        (ANTHROPIC, "/v1/models", "/data/0/id"),
        (GEMINI, "/v1beta/models", "/models/0/name"),
    ] {
        let simulator = Simulator::new(Provider { models: vec!["only".to_owned()], ..provider(dialect) });
        let (mut parts, _) = ask(dialect, "x", false).into_parts();
        parts.method = http::Method::GET;
        parts.uri = path.parse().unwrap();
        let response = simulator.call(http::Request::from_parts(parts, bytes::Bytes::new())).await.unwrap();
        let list: Value = serde_json::from_str(&whole(response).await).unwrap();
        assert!(list.pointer(field).unwrap().as_str().unwrap().ends_with("only"), "{dialect}: {list}");
        assert_eq!(simulator.call(ask(dialect, "x", false)).await.unwrap().status(), 404, "{dialect}");
    }
}

#[tokio::test(start_paused = true)]
async fn gemini_without_alt_sse_streams_one_json_array() {
    let (mut parts, asked) = ask(GEMINI, "array", true).into_parts();
    parts.uri = "/v1beta/models/m-1:streamGenerateContent".parse().unwrap();
    let response = Simulator::new(provider(GEMINI)).call(http::Request::from_parts(parts, asked)).await.unwrap();
    let chunks: Vec<Value> = serde_json::from_str(&whole(response).await).unwrap();
    assert_eq!(chunks.last().unwrap()["candidates"][0]["finishReason"], "STOP");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn streamed_and_whole_answers_say_the_same(said in "\\PC{1,80}", seed: u64, tokens in 1_u32..80) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            for dialect in DialectName::ALL {
                let mut provider = provider(dialect);
                provider.behaviour.seed = seed;
                provider.behaviour.pace = Pace { tokens, ..Pace::default() };
                let simulator = Simulator::new(provider);
                let asked = format!("x{said}");
                let answer: Value = serde_json::from_str(&whole(simulator.call(ask(dialect, &asked, false)).await.unwrap()).await).unwrap();
                let stream = whole(simulator.call(ask(dialect, &asked, true)).await.unwrap()).await;
                assert_eq!(text(dialect, &answer), streamed_text(dialect, &stream));
                assert!(is_finished(dialect, &stream));
            }
        });
    }
}
