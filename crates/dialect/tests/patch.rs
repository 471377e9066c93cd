//! A target's patch against the same change made on a tree, and against the bytes it must not touch.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use canon::{DialectName, Drops};
use dialect::PathFacts;
use dialect::profile::{OutputCap, Profile};
use dialect::scan::{Scan, scan};
use dialect::splice::patch::{Bounds, Example, Origin, Parameter, Patch, PromptPatch};
use proptest::prelude::*;
use serde_json::{Number, Value, json};

const BEFORE: &str = "Be \"brief\".\nAlways.";
const AFTER: &str = "No headings \\ ever — bitte.";

fn scanned(dialect: DialectName, body: &Bytes) -> Scan {
    let path = PathFacts { model: Some("m".to_owned()), ..PathFacts::default() };
    scan(dialect, &path, body).unwrap_or_else(|bad| panic!("{bad:?} for {body:?}"))
}

fn patched(patch: &Patch, dialect: DialectName, body: &str, goes_on: bool) -> (String, Vec<String>) {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let scan = scanned(dialect, &body);
    let origin = Origin { states_cap: scan.max_output_tokens.is_some(), goes_on };
    let mut drops = Drops::new();
    let out = patch.apply(dialect, &body, &scan, origin, &mut drops);
    scanned(dialect, &out);
    (String::from_utf8(out.to_vec()).unwrap(), drops.iter().map(|drop| drop.path.clone()).collect())
}

fn prompt() -> PromptPatch {
    PromptPatch {
        prepend_system: Some(BEFORE.to_owned()),
        append_system: Some(AFTER.to_owned()),
        prepend_examples: vec![example("2+2?", "4"), example("3+3?", "6")],
        append_examples: vec![example("Capital of France?", "Paris.")],
    }
}

fn example(user: &str, assistant: &str) -> Example {
    Example { user: user.to_owned(), assistant: assistant.to_owned() }
}

fn parameter(dialect: DialectName, name: &str, bounds: Bounds) -> Parameter {
    Parameter::new(dialect, &Profile::default(), name, bounds).unwrap()
}

fn at_most(number: u64) -> Bounds {
    Bounds { at_most: Some(Number::from(number)), ..Bounds::default() }
}

fn set(value: Value) -> Bounds {
    Bounds { set: Some(value), ..Bounds::default() }
}

fn default(value: Value) -> Bounds {
    Bounds { default: Some(value), ..Bounds::default() }
}

fn of_parameters(dialect: DialectName, parameters: Vec<(&str, Bounds)>) -> Patch {
    let parameters = parameters.into_iter().map(|(name, bounds)| parameter(dialect, name, bounds));
    Patch::new(PromptPatch::default(), parameters.collect()).unwrap()
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What the prompt is to look like, on a tree and by no code of the crate.
mod expected {
    use super::*;

    pub(super) fn of(dialect: DialectName, mut body: Value, prompt: &PromptPatch) -> Value {
        match dialect {
            DialectName::OpenaiChat => chat(&mut body, prompt),
            DialectName::AnthropicMessages => {
                let own = body.get("system").cloned().filter(|own| !own.is_null());
                body["system"] = joined(own, prompt, |text| json!({"type": "text", "text": text}));
                examples(&mut body["messages"], 0, dialect, prompt);
            }
            DialectName::Gemini => {
                let own = body.get("systemInstruction").and_then(|own| own.get("parts")).cloned();
                let parts = joined(own.or(Some(json!([]))), prompt, |text| json!({ "text": text }));
                match body.get_mut("systemInstruction").filter(|own| own.is_object()) {
                    Some(own) => own["parts"] = parts,
                    None => {
                        // Nothing to join to: one part says both.
                        body["systemInstruction"] = json!({"parts": [{"text": format!("{BEFORE}\n\n{AFTER}")}]});
                    }
                }
                examples(&mut body["contents"], 0, dialect, prompt);
            }
        }
        body
    }

    fn chat(body: &mut Value, prompt: &PromptPatch) {
        let messages = body["messages"].as_array_mut().unwrap();
        let is_instruction = |message: &&Value| message["role"] == "system" || message["role"] == "developer";
        let head = messages.iter().take_while(is_instruction).count();
        let head = if head == 0 {
            messages.insert(0, json!({"role": "system", "content": format!("{BEFORE}\n\n{AFTER}")}));
            1
        } else {
            let part = |text: String| json!({"type": "text", "text": text});
            let join = |message: &mut Value, before: Option<&str>, after: Option<&str>| {
                let alone = PromptPatch {
                    prepend_system: before.map(str::to_owned),
                    append_system: after.map(str::to_owned),
                    ..PromptPatch::default()
                };
                message["content"] = joined(Some(message["content"].take()), &alone, part);
            };
            if head == 1 {
                join(&mut messages[0], Some(BEFORE), Some(AFTER));
            } else {
                join(&mut messages[0], Some(BEFORE), None);
                join(&mut messages[head - 1], None, Some(AFTER));
            }
            head
        };
        examples(&mut body["messages"], head, DialectName::OpenaiChat, prompt);
    }

    fn joined(own: Option<Value>, prompt: &PromptPatch, part: impl Fn(String) -> Value) -> Value {
        let (before, after) = (prompt.prepend_system.as_deref(), prompt.append_system.as_deref());
        match own {
            None => json!([before, after].into_iter().flatten().collect::<Vec<_>>().join("\n\n")),
            Some(Value::String(own)) => {
                let own = Some(own).filter(|own| !own.is_empty());
                json!([before, own.as_deref(), after].into_iter().flatten().collect::<Vec<_>>().join("\n\n"))
            }
            Some(Value::Array(own)) if own.is_empty() => {
                json!([before, after].into_iter().flatten().map(|text| part(text.to_owned())).collect::<Vec<_>>())
            }
            Some(Value::Array(own)) => {
                let before = before.map(|text| part(format!("{text}\n\n")));
                let after = after.map(|text| part(format!("\n\n{text}")));
                before.into_iter().chain(own).chain(after).collect()
            }
            Some(other) => panic!("{other}"),
        }
    }

    fn examples(turns: &mut Value, head: usize, dialect: DialectName, prompt: &PromptPatch) {
        let turns = turns.as_array_mut().unwrap();
        let asks = |turn: &Value| {
            let parts = turn.get("content").or_else(|| turn.get("parts")).and_then(Value::as_array);
            let result = |part: &Value| part["type"] == "tool_result" || part.get("functionResponse").is_some();
            turn["role"] == "user" && !parts.is_some_and(|parts| parts.iter().any(result))
        };
        let question = turns.iter().rposition(asks).unwrap_or(head).max(head);
        let written = |examples: &[Example]| -> Vec<Value> {
            let turn = |role: &str, text: &str| match dialect {
                DialectName::Gemini => json!({"role": role, "parts": [{"text": text}]}),
                _ => json!({"role": role, "content": text}),
            };
            let model = if dialect == DialectName::Gemini { "model" } else { "assistant" };
            examples.iter().flat_map(|it| [turn("user", &it.user), turn(model, &it.assistant)]).collect()
        };
        turns.splice(question..question, written(&prompt.append_examples));
        turns.splice(head..head, written(&prompt.prepend_examples));
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z \"\\\\\n]{1,12}", Just("grüße \u{1f600}".to_owned())]
}

fn parts(text_part: fn(&str) -> Value) -> impl Strategy<Value = Value> {
    prop::collection::vec(text().prop_map(move |text| text_part(&text)), 0..3).prop_map(Value::Array)
}

fn typed(text: &str) -> Value {
    json!({"type": "text", "text": text, "odd": [1, {}]})
}

fn bare(text: &str) -> Value {
    json!({ "text": text })
}

fn content() -> impl Strategy<Value = Value> {
    prop_oneof![text().prop_map(Value::String), parts(typed)]
}

/// Any request of a dialect: instructions of every form, tools in the history, fields that nobody knows.
fn requests(dialect: DialectName) -> BoxedStrategy<Value> {
    let turn = match dialect {
        DialectName::OpenaiChat => prop_oneof![
            (prop_oneof!["user", "assistant", "system"], content())
                .prop_map(|(role, content)| json!({"role": role, "content": content})),
            Just(json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]})),
            Just(json!({"role": "tool", "tool_call_id": "a", "content": "r"})),
        ]
        .boxed(),
        DialectName::AnthropicMessages => prop_oneof![
            (prop_oneof!["user", "assistant"], content())
                .prop_map(|(role, content)| json!({"role": role, "content": content})),
            Just(json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]})),
            Just(json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "r"}]})),
        ]
        .boxed(),
        DialectName::Gemini => prop_oneof![
            (prop_oneof!["user", "model"], parts(bare)).prop_map(|(role, parts)| json!({"role": role, "parts": parts})),
            Just(json!({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]})),
        ]
        .boxed(),
    };
    let turns = prop::collection::vec(turn, 0..6);
    match dialect {
        DialectName::OpenaiChat => {
            let head = (prop_oneof!["system", "developer"], content())
                .prop_map(|(role, content)| json!({"role": role, "content": content}));
            (prop::collection::vec(head, 0..3), turns)
                .prop_map(|(head, turns)| {
                    let messages: Vec<Value> = head.into_iter().chain(turns).collect();
                    json!({"model": "m", "odd": {"a": [1.50, null]}, "messages": messages, "stream": true})
                })
                .boxed()
        }
        DialectName::AnthropicMessages => (prop::option::of(prop_oneof![content(), Just(Value::Null)]), turns)
            .prop_map(|(system, turns)| {
                let mut body = json!({"model": "m", "max_tokens": 10, "messages": turns, "odd": 1.50});
                if let Some(system) = system {
                    body["system"] = system;
                }
                body
            })
            .boxed(),
        DialectName::Gemini => (prop::option::of(parts(bare)), turns)
            .prop_map(|(system, turns)| {
                let mut body = json!({"contents": turns, "odd": 1.50});
                if let Some(parts) = system {
                    body["systemInstruction"] = json!({"role": "user", "parts": parts});
                }
                body
            })
            .boxed(),
    }
}

fn anything() -> impl Strategy<Value = (DialectName, Value, bool)> {
    let of = |dialect| (Just(dialect), requests(dialect), any::<bool>());
    prop_oneof![of(DialectName::OpenaiChat), of(DialectName::AnthropicMessages), of(DialectName::Gemini)]
}

fn written(body: &Value, spaced: bool) -> String {
    if spaced { serde_json::to_string_pretty(body).unwrap() } else { body.to_string() }
}

/// Whether every byte of one text stands in the other in its order.
fn is_within(part: &str, whole: &str) -> bool {
    let mut rest = whole.bytes();
    part.bytes().all(|byte| rest.any(|other| other == byte))
}

proptest! {
    #[test]
    fn the_prompt_is_what_the_same_change_on_a_tree_makes_of_it((dialect, body, spaced) in anything()) {
        let patch = Patch::new(prompt(), Vec::new()).unwrap();
        let written = written(&body, spaced);
        let (out, drops) = patched(&patch, dialect, &written, false);
        prop_assert_eq!(json_of(&out), expected::of(dialect, body, &prompt()), "{}", written);
        prop_assert!(drops.is_empty());
    }

    #[test]
    fn nothing_the_caller_wrote_is_moved_or_written_anew((dialect, body, spaced) in anything()) {
        let patch = Patch::new(prompt(), vec![parameter(dialect, "temperature", set(json!(0.5)))]).unwrap();
        let written = written(&body, spaced);
        // A null in the place of instructions is the one thing that goes.
        prop_assume!(body.get("system") != Some(&Value::Null));
        let (out, _) = patched(&patch, dialect, &written, false);
        prop_assert!(is_within(&written, &out), "{written}\n{out}");
    }
}

#[test]
fn a_patch_that_changes_nothing_is_none() {
    assert_eq!(Patch::new(PromptPatch::default(), Vec::new()), None);
}

#[test]
fn every_spelling_of_a_parameter_is_one_parameter() {
    use DialectName::{AnthropicMessages, Gemini, OpenaiChat};
    for (dialect, body, expected) in [
        (OpenaiChat, r#"{"model":"m","max_tokens":900}"#, r#"{"model":"m","max_tokens":100}"#),
        (OpenaiChat, r#"{"model":"m","max_completion_tokens":900}"#, r#"{"model":"m","max_completion_tokens":100}"#),
        (AnthropicMessages, r#"{"model":"m","max_tokens":900}"#, r#"{"model":"m","max_tokens":100}"#),
        (
            Gemini,
            r#"{"generation_config":{"max_output_tokens":900}}"#,
            r#"{"generation_config":{"max_output_tokens":100}}"#,
        ),
        (
            Gemini,
            r#"{"generationConfig":{"maxOutputTokens":900, "x":1}}"#,
            r#"{"generationConfig":{"maxOutputTokens":100, "x":1}}"#,
        ),
        // Nobody caps it: then there are as many as are allowed.
        (OpenaiChat, r#"{"model":"m"}"#, r#"{"max_completion_tokens":100,"model":"m"}"#),
        (Gemini, r#"{"generationConfig":null}"#, r#"{"generationConfig":{"maxOutputTokens":100}}"#),
        (Gemini, "{}", r#"{"generationConfig":{"maxOutputTokens":100}}"#),
    ] {
        let patch = of_parameters(dialect, vec![("max_tokens", at_most(100))]);
        let (out, drops) = patched(&patch, dialect, body, false);
        assert_eq!(out, expected);
        assert_eq!(drops.len(), usize::from(body.contains("900")), "{body}");
    }
    let lower = r#"{"model":"m","max_tokens":99}"#;
    let patch = of_parameters(OpenaiChat, vec![("max_tokens", at_most(100))]);
    assert_eq!(patched(&patch, OpenaiChat, lower, false), (lower.to_owned(), Vec::new()));
}

#[test]
fn a_target_that_knows_max_tokens_alone_is_given_that() {
    let profile = Profile { output_cap: OutputCap::MaxTokens, ..Profile::default() };
    let parameter = Parameter::new(DialectName::OpenaiChat, &profile, "max_tokens", at_most(5)).unwrap();
    let patch = Patch::new(PromptPatch::default(), vec![parameter]).unwrap();
    let (out, _) = patched(&patch, DialectName::OpenaiChat, r#"{"model":"m"}"#, false);
    assert_eq!(out, r#"{"max_tokens":5,"model":"m"}"#);
}

#[test]
fn what_is_set_holds_and_what_is_a_default_gives_way() {
    let chat = DialectName::OpenaiChat;
    let patch = of_parameters(
        chat,
        vec![
            ("temperature", set(json!(0))),
            ("logit_bias", set(Value::Null)),
            ("service_tier", default(json!("flex"))),
            ("top_p", default(json!(0.9))),
        ],
    );
    let (out, drops) =
        patched(&patch, chat, r#"{"model":"m", "temperature":1.5, "logit_bias":{"5":1}, "top_p":0.5}"#, false);
    assert_eq!(out, r#"{"service_tier":"flex","model":"m", "temperature":0, "top_p":0.5}"#);
    assert_eq!(drops, ["temperature", "logit_bias"], "what the caller said and does not get");
    let (out, drops) = patched(&patch, chat, r#"{"model":"m","temperature":0,"top_p":null}"#, false);
    assert_eq!(out, r#"{"service_tier":"flex","model":"m","temperature":0,"top_p":0.9}"#);
    assert!(drops.is_empty(), "nothing the caller said is lost: {drops:?}");
}

#[test]
fn a_cap_that_an_encoder_wrote_is_not_the_callers() {
    let anthropic = DialectName::AnthropicMessages;
    let patch = of_parameters(anthropic, vec![("max_tokens", default(json!(300)))]);
    let body = Bytes::from_static(br#"{"model":"m","max_tokens":4096}"#);
    let scan = scanned(anthropic, &body);
    let out = |states_cap| {
        let origin = Origin { states_cap, goes_on: false };
        patch.apply(anthropic, &body, &scan, origin, &mut Drops::new())
    };
    assert_eq!(out(false), r#"{"model":"m","max_tokens":300}"#);
    assert_eq!(out(true), body);
}

#[test]
fn an_answer_that_was_begun_stays_with_its_question() {
    let examples = PromptPatch { append_examples: vec![example("q", "a")], ..PromptPatch::default() };
    let patch = Patch::new(examples, Vec::new()).unwrap();
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": "asked"},
        {"role": "assistant", "content": "begun"},
        {"role": "user", "content": "go on"},
    ]});
    let places = |goes_on| {
        let (out, _) = patched(&patch, DialectName::OpenaiChat, &body.to_string(), goes_on);
        let messages = json_of(&out)["messages"].as_array().unwrap().clone();
        messages.iter().map(|message| message["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(places(true), ["q", "a", "asked", "begun", "go on"]);
    assert_eq!(places(false), ["asked", "begun", "q", "a", "go on"]);
}

#[test]
fn what_is_no_parameter_is_refused_with_the_reason() {
    let refused = |dialect, name, bounds| Parameter::new(dialect, &Profile::default(), name, bounds).unwrap_err();
    let anthropic = DialectName::AnthropicMessages;
    assert!(refused(anthropic, "messages", set(json!([]))).contains("no parameter"));
    assert!(refused(DialectName::Gemini, "generationConfig.candidateCount", set(json!(2))).contains("no parameter"));
    assert!(refused(DialectName::Gemini, "generationConfig", set(json!({}))).contains("generationConfig.NAME"));
    assert!(refused(anthropic, "seed", set(json!(1))).contains("unknown to `anthropic-messages`"));
    assert!(refused(DialectName::OpenaiChat, "a.b", set(json!(1))).contains("top-level"));
    let crossed = Bounds { at_least: Some(Number::from(5)), at_most: Some(Number::from(4)), ..Bounds::default() };
    assert!(refused(anthropic, "max_tokens", crossed).contains("the other way round"));
    let both = Bounds { at_most: Some(Number::from(4)), ..set(json!(3)) };
    assert!(refused(anthropic, "max_tokens", both).contains("nothing else can hold"));
    let outside = Bounds { at_most: Some(Number::from(4)), ..default(json!(5)) };
    assert!(refused(anthropic, "max_tokens", outside).contains("out of its bounds"));
}

#[test]
fn what_a_patch_does_is_told_in_words_and_long_texts_by_their_beginning() {
    let long = "x".repeat(200);
    let prompt = PromptPatch { append_system: Some(long.clone()), ..prompt() };
    let chat = DialectName::OpenaiChat;
    let bounds = Bounds { at_most: Some(Number::from(4096)), ..default(json!(1024)) };
    let patch = Patch::new(prompt, vec![parameter(chat, "max_tokens", bounds), parameter(chat, "seed", set(json!(7)))]);
    let patch = patch.unwrap();
    let lines = patch.describe();
    assert!(lines.iter().any(|line| line.contains("200 characters after the caller's")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains(&long)));
    assert!(lines.contains(&"2 examples of 10 characters before the caller's first turn".to_owned()), "{lines:?}");
    assert!(lines.contains(&"max_tokens 1024 where the request states none, at most 4096".to_owned()), "{lines:?}");
    assert!(lines.contains(&"seed set to 7".to_owned()), "{lines:?}");
    assert_eq!(patch.names().last().unwrap(), "parameters.seed");
    assert_eq!([None, Some(10), Some(9000)].map(|asked| patch.output_cap(asked)), [1024, 10, 4096].map(Some));
}
