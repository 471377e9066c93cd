//! The splice against the same edit on a tree, and against the bytes it must not touch.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

#[path = "slow/tree.rs"]
mod slow;

use bytes::Bytes;
use canon::{DialectName, Drops};
use dialect::PathFacts;
use dialect::profile::{Instructions, OutputCap, Profile, StreamUsage, Thinking};
use dialect::scan::{Scan, scan};
use dialect::splice::{needs_reencode, splice};
use proptest::prelude::*;
use serde_json::{Value, json};

fn scanned(dialect: DialectName, body: &Bytes) -> Scan {
    let path = PathFacts { model: Some("m".to_owned()), ..PathFacts::default() };
    scan(dialect, &path, body).unwrap_or_else(|bad| panic!("{bad:?} for {body:?}"))
}

fn spliced(dialect: DialectName, body: &str, model: &str, profile: &Profile) -> (String, Vec<String>) {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let mut drops = Drops::new();
    let out = splice(dialect, &body, &scanned(dialect, &body), model, profile, &mut drops);
    (String::from_utf8(out.to_vec()).unwrap(), drops.iter().map(|drop| drop.path.clone()).collect())
}

fn chat(body: &str, profile: &Profile) -> (String, Vec<String>) {
    spliced(DialectName::OpenaiChat, body, "m", profile)
}

#[test]
fn nothing_to_change_returns_the_same_buffer() {
    let body = Bytes::from(r#"{ "model" : "m", "odd\u0020field": [1, 2.0] , "messages":[]}"#);
    let out = splice(
        DialectName::OpenaiChat,
        &body,
        &scanned(DialectName::OpenaiChat, &body),
        "m",
        &Profile::default(),
        &mut Drops::new(),
    );
    assert_eq!((out.as_ptr(), out.len()), (body.as_ptr(), body.len()));
}

#[test]
fn the_model_is_replaced_and_nothing_else() {
    let (out, drops) = spliced(
        DialectName::OpenaiChat,
        "{\n \"x\":{\"model\":\"gpt\"}, \"model\" : \"gpt\" ,\"seed\": 1e3}",
        "a\"b",
        &Profile::default(),
    );
    assert_eq!(out, "{\n \"x\":{\"model\":\"gpt\"}, \"model\" : \"a\\\"b\" ,\"seed\": 1e3}");
    assert!(drops.is_empty());
}

#[test]
fn usage_is_asked_for_in_streams_and_other_options_stay() {
    let default = Profile::default();
    for (body, out) in [
        (r#"{"model":"m","stream":true}"#, r#"{"model":"m","stream_options":{"include_usage":true},"stream":true}"#),
        (
            r#"{"model":"m","stream":true,"stream_options":{ }}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true }}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":{"include_obfuscation":false}}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":{"a":1,"include_usage":false,"b":2}}"#,
            r#"{"model":"m","stream":true,"stream_options":{"a":1,"include_usage":true,"b":2}}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":null}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
        ),
    ] {
        assert_eq!(chat(body, &default).0, out);
        let unasked = Profile { stream_usage: StreamUsage::Unasked, ..Profile::default() };
        assert_eq!(chat(body, &unasked).0, body);
        assert_eq!(chat(&body.replace("true", "false"), &default).0, body.replace("true", "false"));
    }
}

#[test]
fn members_are_removed_with_exactly_one_comma() {
    for drop in [vec!["a"], vec!["b"], vec!["c"], vec!["a", "b"], vec!["b", "c"], vec!["a", "c"], vec!["a", "b", "c"]] {
        for order in [["model", "a", "b", "c"], ["a", "b", "c", "model"], ["a", "model", "b", "c"]] {
            let members: Vec<String> = order.iter().map(|key| format!(" \"{key}\" : \"m\" ")).collect();
            let body = format!("{{{}}}", members.join(","));
            let profile = Profile { drop: drop.iter().map(|key| (*key).to_owned()).collect(), ..Profile::default() };
            let (out, drops) = chat(&body, &profile);
            let left: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
            let kept: Vec<&&str> = order.iter().filter(|key| !drop.contains(key)).collect();
            assert_eq!(left.as_object().unwrap().keys().collect::<Vec<_>>(), kept, "{out}");
            assert_eq!(drops, drop);
        }
    }
}

#[test]
fn what_is_lost_is_reported_and_what_is_renamed_is_not() {
    let profile = Profile {
        drop: vec!["logit_bias".to_owned(), "messages.name".to_owned()],
        rename: [("seed".to_owned(), "random_seed".to_owned())].into(),
        output_cap: OutputCap::MaxTokens,
        max_stop: Some(2),
        max_temperature: Some(1.5),
        max_output_tokens: Some(100),
        efforts: vec!["low".to_owned(), "high".to_owned()],
        tool_choice_auto_only: true,
        instructions: Instructions::System,
        ..Profile::default()
    };
    let (out, drops) = chat(
        r#"{"model":"m","seed":7,"logit_bias":{"1":2},"max_completion_tokens":500,"stop":["a" , "b", "c"],"temperature":1.9,
        "reasoning_effort":"medium","tool_choice":"required","messages":[{"role":"developer","name":"x","content":"c"},{"name":"y","role":"user"}]}"#,
        &profile,
    );
    assert_eq!(
        out,
        r#"{"model":"m","random_seed":7,"max_tokens":100,"stop":["a" , "b"],"temperature":1.5,
        "reasoning_effort":"low","tool_choice":"auto","messages":[{"role":"system","content":"c"},{"role":"user"}]}"#
    );
    assert_eq!(
        drops,
        [
            "logit_bias",
            "temperature",
            "max_completion_tokens",
            "stop",
            "reasoning_effort",
            "tool_choice",
            "messages[0].name",
            "messages[1].name"
        ]
    );
}

#[test]
fn reasoning_goes_back_under_the_name_the_target_knows_or_not_at_all() {
    let body = r#"{"model":"m","messages":[{"role":"assistant","reasoning":"r","tool_calls":[{"id":"1"}]},{"tool_calls":[{"id":"2"}],"role":"assistant"}]}"#;
    assert_eq!(
        chat(body, &Profile::default()),
        (
            r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"1"}]},{"tool_calls":[{"id":"2"}],"role":"assistant"}]}"#.to_owned(),
            vec!["messages[0].reasoning".to_owned()]
        )
    );
    let profile = Profile {
        reasoning_field: Some("reasoning_content".to_owned()),
        reasoning_required_with_tools: true,
        ..Profile::default()
    };
    assert_eq!(
        chat(body, &profile),
        (
            r#"{"model":"m","messages":[{"role":"assistant","reasoning_content":"r","tool_calls":[{"id":"1"}]},{"tool_calls":[{"id":"2"}],"reasoning_content":"","role":"assistant"}]}"#.to_owned(),
            vec![]
        )
    );
}

#[test]
fn gemini_bodies_change_by_the_profile_alone() {
    let body =
        r#"{"contents":[],"model":"x","generationConfig":{"temperature":2,"topP":0.5,"stopSequences":["a","b"]}}"#;
    assert_eq!(spliced(DialectName::Gemini, body, "other", &Profile::default()), (body.to_owned(), vec![]));
    let profile = Profile { max_stop: Some(1), no_sampling: true, ..Profile::default() };
    assert_eq!(
        spliced(DialectName::Gemini, body, "other", &profile),
        (
            r#"{"contents":[],"model":"x","generationConfig":{"stopSequences":["a"]}}"#.to_owned(),
            ["generationConfig.temperature", "generationConfig.topP", "generationConfig.stopSequences"]
                .map(str::to_owned)
                .to_vec()
        )
    );
}

#[test]
fn what_byte_ranges_cannot_do_is_left_to_the_codec() {
    let asks = |dialect, body: &str, profile: &Profile| {
        let body = Bytes::copy_from_slice(body.as_bytes());
        needs_reencode(dialect, &scanned(dialect, &body), profile)
    };
    let budget = r#"{"model":"m","thinking":{"type":"enabled","budget_tokens":2000}}"#;
    let thinking = |thinking| Profile { thinking, ..Profile::default() };
    assert!(asks(DialectName::AnthropicMessages, budget, &thinking(Thinking::Effort)));
    assert!(!asks(DialectName::AnthropicMessages, budget, &thinking(Thinking::Budget)));
    let adaptive = r#"{"model":"m","thinking":{"type":"adaptive"}}"#;
    assert!(asks(DialectName::AnthropicMessages, adaptive, &thinking(Thinking::Budget)));
    assert!(!asks(DialectName::AnthropicMessages, adaptive, &thinking(Thinking::AlwaysOn)));
    let picture = |url| {
        format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}]}}"#
        )
    };
    let inline_only = Profile { images_inline_only: true, ..Profile::default() };
    assert!(asks(DialectName::OpenaiChat, &picture("https://x/y.png"), &inline_only));
    assert!(!asks(DialectName::OpenaiChat, &picture("data:image/png;base64,AA"), &inline_only));
    assert!(!asks(DialectName::OpenaiChat, &picture("https://x/y.png"), &Profile::default()));
}

/// A body of members that profiles care for, and of some that nobody knows.
fn body() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        Just(Value::Null),
        (-4_i64..400).prop_map(|number| json!(number as f64 / 4.0)),
        (0_u64..300).prop_map(Value::from)
    ];
    let member = prop_oneof![
        (
            prop::sample::select(vec![
                "temperature",
                "top_p",
                "top_k",
                "max_tokens",
                "max_completion_tokens",
                "seed",
                "random_seed",
                "topP"
            ]),
            number
        ),
        (
            prop::sample::select(vec!["stop", "stop_sequences"]),
            prop::sample::select(vec![json!("a"), json!([]), json!(["a"]), json!(["a", "\"]", "c"])])
        ),
        (Just("stream"), prop::sample::select(vec![json!(true), json!(false), json!(null)])),
        (
            Just("stream_options"),
            prop::sample::select(vec![
                json!(null),
                json!({}),
                json!({"include_usage": false, "x": 1}),
                json!({"x": {"include_usage": 2}}),
                json!(3)
            ])
        ),
        (
            Just("reasoning_effort"),
            prop::sample::select(vec![
                json!("none"),
                json!("low"),
                json!("medium"),
                json!("max"),
                json!("odd"),
                json!(1)
            ])
        ),
        (
            Just("tool_choice"),
            prop::sample::select(vec![
                json!("auto"),
                json!("none"),
                json!("required"),
                json!({"type": "tool", "name": "f"}),
                json!({"type": "any", "disable_parallel_tool_use": true})
            ])
        ),
        (Just("response_format"), prop::sample::select(vec![json!({"type": "json_object"}), json!({"type": "text"})])),
        (Just("messages"), prop::collection::vec(message(), 0..4).prop_map(Value::from)),
        (
            prop::sample::select(vec!["logit_bias", "é\"x", ""]),
            prop::sample::select(vec![json!({"a": [1, "}"]}), json!("\\\",{")])
        ),
    ];
    let config = prop::collection::vec(member.clone(), 0..6).prop_map(|members| {
        (
            "generationConfig",
            members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<serde_json::Map<_, _>>().into(),
        )
    });
    prop::collection::vec(prop_oneof![8 => member, 1 => config], 0..14).prop_map(|members| {
        let mut object: serde_json::Map<String, Value> =
            members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        object.insert("model".to_owned(), "asked".into());
        object.into()
    })
}

fn message() -> impl Strategy<Value = Value> {
    let member = prop::sample::select(vec![
        ("role", json!("developer")),
        ("role", json!("system")),
        ("role", json!("user")),
        ("name", json!("n")),
        ("content", json!(null)),
        ("content", json!("\"name\":")),
        ("reasoning", json!("r")),
        ("reasoning_content", json!("c")),
        ("tool_calls", json!([{"id": "1", "name": "x"}])),
        ("tool_calls", json!([])),
        ("other", json!({"name": 1})),
    ]);
    prop::collection::vec(member, 0..7).prop_map(|members| {
        members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
    })
}

fn profile() -> impl Strategy<Value = Profile> {
    let names = prop::sample::subsequence(
        vec!["seed", "logit_bias", "stream_options", "messages.name", "é\"x", "generationConfig.topP", "model", ""],
        0..5,
    );
    let flags = any::<[bool; 8]>();
    let numbers =
        (prop::option::of(0_usize..3), prop::option::of(0..8_u8), prop::option::of(0_u64..200), 0..3_u8, 0..3_u8);
    let efforts = prop::sample::subsequence(vec!["minimal", "low", "high", "max"], 0..4);
    (names, flags, numbers, efforts, prop::option::of(prop::sample::select(vec!["reasoning", "reasoning_content"])))
        .prop_map(|(drop, flags, (max_stop, temperature, max_output_tokens, cap, instructions), efforts, reasoning)| {
            Profile {
                drop: drop.into_iter().map(str::to_owned).collect(),
                rename: if flags[0] { [("seed".to_owned(), "random_seed".to_owned())].into() } else { [].into() },
                no_sampling: flags[1],
                temperature_xor_top_p: flags[2],
                tool_choice_auto_only: flags[3],
                no_json_object: flags[4],
                empty_content_string: flags[5],
                reasoning_required_with_tools: flags[6],
                stream_usage: if flags[7] { StreamUsage::Unasked } else { StreamUsage::StreamOptions },
                max_stop,
                max_temperature: temperature.map(|quarters| f64::from(quarters) / 4.0),
                max_output_tokens,
                output_cap: [OutputCap::AsWritten, OutputCap::MaxTokens, OutputCap::MaxCompletionTokens]
                    [usize::from(cap)],
                instructions: [Instructions::AsWritten, Instructions::System, Instructions::Developer]
                    [usize::from(instructions)],
                efforts: efforts.into_iter().map(str::to_owned).collect(),
                reasoning_field: reasoning.map(str::to_owned),
                ..Profile::default()
            }
        })
}

/// Numbers as numbers: what a profile writes may be spelled with or without a fraction.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(array) => array.iter().map(plain).collect::<Vec<_>>().into(),
        Value::Object(object) => {
            object.iter().map(|(key, value)| (key.clone(), plain(value))).collect::<serde_json::Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn a_splice_means_what_the_same_edit_on_a_tree_means(
        body in body(),
        profile in profile(),
        dialect in prop::sample::select(DialectName::ALL.to_vec()),
        pretty in any::<bool>(),
        model in prop::sample::select(vec!["asked", "gpt-\"5\"", "a/b:c"]),
    ) {
        let text = if pretty { serde_json::to_vec_pretty(&body) } else { serde_json::to_vec(&body) };
        let text = Bytes::from(text.unwrap());
        let before = scanned(dialect, &text);
        let out = splice(dialect, &text, &before, model, &profile, &mut Drops::new());
        let meant = slow::splice(dialect, &body, model, &profile);
        let got: Value = serde_json::from_slice(&out).map_err(|error| TestCaseError::fail(format!("{error}: {out:?}")))?;
        prop_assert_eq!(plain(&got), plain(&meant), "{:?}", out);

        // What means the same is the same, byte for byte.
        let after = scanned(dialect, &out);
        for field in &before.fields {
            if meant.get(&*field.key) == body.get(&*field.key)
                && let Some(kept) = after.fields.iter().find(|kept| kept.key == field.key)
            {
                prop_assert_eq!(&text[field.value_range.clone()], &out[kept.value_range.clone()]);
            }
        }
        // Doing it again changes nothing.
        let again = splice(dialect, &out, &after, model, &profile, &mut Drops::new());
        prop_assert_eq!(again, out);
    }
}
