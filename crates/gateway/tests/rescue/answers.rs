//! Cuts inside tool calls, structured output and reasoning: the accumulated answer is whole, or the error is honest.

use crate::read::{Heard, hear};
use crate::support::memory::{Plan, World, rule};
use crate::support::{body, hello, request};
use canon::DialectName;
use http::HeaderValue;
use serde_json::{Value, json};
use simulator::{Answer, Behaviour, Chunks, Pace};

const TEXT: &str = "Let me look that up for both of the cities you asked about.";

fn world(primary: DialectName, fallback: DialectName, answer: &Answer, fault: &str) -> World {
    let world = Plan { primary, fallback, ..Plan::default() }.build();
    let says = Behaviour { answer: answer.clone(), pace: Pace::instant(), ..Behaviour::default() };
    world.primary.set_behaviour(Behaviour { faults: vec![rule(fault)], ..says.clone() });
    world.fallback.set_behaviour(says);
    world
}

/// Every caller at every pair of targets.
fn ways() -> impl Iterator<Item = (DialectName, DialectName, DialectName)> {
    let all = DialectName::ALL;
    (0..27).map(move |n| (all[n % 3], all[n / 3 % 3], all[n / 9 % 3]))
}

fn with_tools(dialect: DialectName) -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let mut body = body(dialect, "What is the weather in Oslo and in Rome?");
    body["tools"] = match dialect {
        DialectName::OpenaiChat => {
            json!([{"type": "function", "function": {"name": "weather", "parameters": parameters}}])
        }
        DialectName::AnthropicMessages => json!([{"name": "weather", "input_schema": parameters}]),
        DialectName::Gemini => {
            json!([{"functionDeclarations": [{"name": "weather", "parameters": parameters}]}])
        }
    };
    body
}

fn check(heard: &Heard, what: &str) {
    assert!(heard.oddities.is_empty(), "{what}: {heard:#?}");
    assert!(heard.ids.len() <= 1 && heard.models.len() <= 1, "{what}: {heard:#?}");
    assert!(heard.is_complete(), "{what}: {heard:#?}");
}

fn arguments(heard: &Heard) -> Vec<(String, Value)> {
    heard.calls.iter().map(|(name, text)| (name.clone(), serde_json::from_str(text).expect("whole JSON"))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_cut_inside_a_tool_call_makes_the_calls_again_whole() {
    let calls = [json!({"city": "Oslo", "unit": "C"}), json!({"city": "Rome", "unit": "C"})];
    for with_text in [true, false] {
        let text = if with_text { TEXT } else { "" };
        let said = if with_text { Answer::exactly(TEXT) } else { Answer::default() };
        let answer = calls.iter().fold(said.in_chunks(Chunks::Characters(5)), |answer, arguments| {
            answer.then_calling("weather", arguments.clone())
        });
        for (caller, primary, fallback) in ways() {
            for bytes in [0, 1, 9, 24, 30, 45] {
                for by in ["drop", "error", "hang"] {
                    let fault = format!("cut_after_arguments:bytes={bytes},by={by}");
                    let world = world(primary, fallback, &answer, &fault);
                    let heard = hear(caller, &world.send(request(caller, with_tools(caller), true)).await);
                    let what = format!("{caller}, {primary} then {fallback}, {fault}, text {with_text}");
                    check(&heard, &what);
                    assert_eq!(heard.text, text, "{what}");
                    let wanted: Vec<(String, Value)> =
                        calls.iter().map(|arguments| ("weather".to_owned(), arguments.clone())).collect();
                    assert_eq!(arguments(&heard), wanted, "{what}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_go_as_they_come_to_a_caller_who_wants_them_early_and_a_cut_is_told() {
    let answer =
        Answer::exactly(TEXT).in_chunks(Chunks::Characters(5)).then_calling("weather", json!({"city": "Oslo"}));
    for caller in [DialectName::OpenaiChat, DialectName::AnthropicMessages] {
        let world = world(caller, caller, &answer, "cut_after_arguments:bytes=9");
        let mut asked = request(caller, with_tools(caller), true);
        asked.headers_mut().insert("x-mainstay-release", HeaderValue::from_static("early"));
        let heard = hear(caller, &world.send(asked).await);
        assert!(heard.is_honest_error() && heard.oddities.is_empty(), "{caller}: {heard:#?}");
        assert_eq!(heard.calls.len(), 1, "{caller}: a part of the call was shown");
        let told = &heard.error.as_ref().unwrap()["metadata"]["delivered"];
        assert_eq!((&told["not_rescued"], &told["text_characters"]), (&json!("tool_call"), &json!(TEXT.len())));
        assert_eq!(world.fallback.journal().len(), 0, "{caller}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_inside_structured_output_makes_it_again_whole() {
    let value = json!({"city": "Oslo", "degrees": [1, 2, 3], "note": "mild — as ever"});
    let answer = Answer::json(&value).in_chunks(Chunks::Characters(4));
    let properties = json!({"city": {"type": "string"}, "note": {"type": "string"},
        "degrees": {"type": "array", "items": {"type": "integer"}}});
    let schema = json!({"type": "object", "properties": properties, "required": ["city", "degrees", "note"],
        "additionalProperties": false});
    for (caller, primary, fallback) in ways() {
        let mut asked = body(caller, "Weather as JSON");
        match caller {
            DialectName::OpenaiChat => {
                asked["response_format"] =
                    json!({"type": "json_schema", "json_schema": {"name": "w", "schema": schema}});
            }
            DialectName::AnthropicMessages => {
                asked["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
            }
            DialectName::Gemini => {
                asked["generationConfig"] =
                    json!({"responseMimeType": "application/json", "responseJsonSchema": schema});
            }
        }
        for bytes in [1, 17, 40] {
            let fault = format!("cut_after_text:bytes={bytes}");
            let world = world(primary, fallback, &answer, &fault);
            let response = world.send(request(caller, asked.clone(), true)).await;
            let what = format!("{caller}, {primary} then {fallback}, {fault}");
            let by = response.header("x-mainstay-provider");
            assert_eq!(by, Some("fallback"), "{what}: nothing had been sent: {}", response.text());
            let heard = hear(caller, &response);
            check(&heard, &what);
            assert_eq!(serde_json::from_str::<Value>(&heard.text).unwrap(), value, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_inside_reasoning_makes_the_whole_call_again() {
    let thought = "First the harbour is looked at, then the boats are counted twice.";
    let answer = Answer::exactly(TEXT).in_chunks(Chunks::Characters(6)).after_reasoning(thought);
    for (caller, primary, fallback) in ways() {
        let mut asked = body(caller, "Hello");
        match caller {
            DialectName::OpenaiChat => {}
            DialectName::AnthropicMessages => {
                asked["max_tokens"] = json!(4096);
                asked["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
            }
            DialectName::Gemini => {
                asked["generationConfig"] = json!({"thinkingConfig": {"includeThoughts": true}});
            }
        }
        for bytes in [6, 30, 60] {
            let fault = format!("cut_after_reasoning:bytes={bytes}");
            let world = world(primary, fallback, &answer, &fault);
            let heard = hear(caller, &world.send(request(caller, asked.clone(), true)).await);
            let what = format!("{caller}, {primary} then {fallback}, {fault}");
            check(&heard, &what);
            assert_eq!(heard.text, TEXT, "{what}");
            assert!(heard.reasoning.ends_with(thought), "{what}: {heard:#?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn callers_who_do_not_stream_never_notice() {
    let answer = Answer::exactly(TEXT);
    for (caller, primary, fallback) in ways() {
        let world = world(primary, fallback, &answer, "cut_after_text:bytes=20");
        let response = world.send(hello(caller, false)).await;
        response.served_by("fallback");
        assert!(response.text().contains(TEXT), "{}", response.text());
    }
}
