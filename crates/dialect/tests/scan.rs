//! The head scan against a slow reader of the same bodies, and what it finds in each dialect.

#![expect(
    clippy::expect_used,
    clippy::format_collect,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "slow/json.rs"]
mod slow;

use canon::DialectName;
use dialect::scan::{Scan, scan};
use dialect::{BadRequest, PathFacts};
use proptest::prelude::*;
use serde_json::Value;
use slow::is_json;
use std::path::PathBuf;

fn of(dialect: DialectName, body: &str) -> Scan {
    let path = PathFacts { model: Some("m".to_owned()), ..PathFacts::default() };
    scan(dialect, &path, body.as_bytes()).unwrap_or_else(|bad| panic!("{bad:?} for {body}"))
}

fn openai(body: &str) -> Scan {
    of(DialectName::OpenaiChat, body)
}

fn refusal(body: impl AsRef<[u8]>) -> BadRequest {
    scan(DialectName::OpenaiChat, &PathFacts::default(), body.as_ref()).expect_err("refused")
}

/// JSON, nearly JSON, and noise.
fn json_like() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"\"",
        "\"a\"",
        "\"a\\n\\u00e9\\\\\"",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"",
        "\\",
        "0",
        "-0",
        "01",
        "1.5e-3",
        "1.",
        "-",
        "1e999",
        "true",
        "false",
        "null",
        "nul",
        " ",
        "\n",
        "\t",
        "\u{0}",
        "é",
        "\"日本\"",
        "\"a\tb\"",
        "\"long enough to leave the words looked at in line\"",
        "\"long enough to leave the words\\\" looked at\u{1} in line\"",
    ]);
    let tokens = prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat().into_bytes());
    let broken = (any_value(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(value, at, byte)| {
        let mut text = value.to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        text
    });
    prop_oneof![tokens, broken, any_value().prop_map(|value| serde_json::to_vec_pretty(&value).unwrap())]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1_000_000_i64..1_000_000).prop_map(|number| Value::from(number as f64 / 64.0)),
        ".{0,40}".prop_map(Value::from),
        "[a-z\"\\\\\n]{0,80}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((".{0,12}", inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn json_is_what_a_slow_reader_says_it_is(text in json_like()) {
        let inside = [b"{\"model\":\"m\",\"x\":", text.as_slice(), b"}"].concat();
        let got = scan(DialectName::OpenaiChat, &PathFacts::default(), &inside);
        prop_assert_eq!(got.as_ref().err().is_none_or(|bad| bad.code == "duplicate_key"), is_json(&inside), "{:?}", got);
        let got = scan(DialectName::OpenaiChat, &PathFacts::default(), &text);
        prop_assert_eq!(got.err().is_none_or(|bad| bad.code != "invalid_json"), is_json(&text));
    }

    #[test]
    fn fields_lie_where_the_scan_says(members in prop::collection::btree_map(".{0,20}", any_value(), 0..40)) {
        let mut object: serde_json::Map<String, Value> = members.into_iter().collect();
        object.insert("model".to_owned(), "m".into());
        object.remove("stream");
        let text = serde_json::to_string_pretty(&object).unwrap();
        let scan = openai(&text);
        prop_assert_eq!(scan.fields.len(), object.len());
        for field in scan.fields {
            prop_assert_eq!(serde_json::from_str::<String>(&text[field.key_range]).unwrap(), field.key.clone());
            prop_assert_eq!(&serde_json::from_str::<Value>(&text[field.value_range]).unwrap(), &object[&*field.key]);
        }
    }
}

#[test]
fn nesting_is_taken_as_far_as_the_decoders_take_it() {
    for depth in 120..135 {
        let body = format!("{{\"model\":\"m\",\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let decoded = serde_json::from_str::<Value>(&body).is_ok();
        assert_eq!(scan(DialectName::OpenaiChat, &PathFacts::default(), body.as_bytes()).is_ok(), decoded, "{depth}");
    }
    assert_eq!(refusal("[".repeat(1 << 20)).code, "invalid_json");
}

#[test]
fn a_key_that_stands_twice_is_refused_however_it_is_spelled() {
    for body in
        [r#"{"model":"a","model":"b"}"#, r#"{"model":"a","mod\u0065l":"b"}"#, r#"{"model":"a","x":1,"y":2,"x":1}"#]
    {
        assert_eq!(refusal(body).code, "duplicate_key", "{body}");
    }
    let many: String = (0..40).map(|key| format!("\"k{key}\":1,")).collect();
    assert_eq!(refusal(format!("{{{many}\"k7\":2,\"model\":\"m\"}}")).parameter.as_deref(), Some("k7"));
    let path = PathFacts { model: Some("m".to_owned()), ..PathFacts::default() };
    let twice = br#"{"generationConfig":{},"generation_config":{}}"#;
    assert_eq!(scan(DialectName::Gemini, &path, twice).unwrap_err().code, "duplicate_key");
    assert!(openai(r#"{"model":"a","x":{"y":1,"y":2}}"#).n == 1, "only the top level decides policy");
}

#[test]
fn too_many_fields_are_refused_without_comparing_them() {
    let many: String = (0..200_000).map(|key| format!("\"k{key}\":1,")).collect();
    assert_eq!(refusal(format!("{{{many}\"model\":\"m\"}}")).code, "invalid_value");
}

#[test]
fn refusals_name_the_field_the_place_and_what_was_expected() {
    let bad = refusal("{\"model\": \"m\",\n \"x\": tru}");
    assert_eq!((bad.code, bad.parameter), ("invalid_json", None));
    assert_eq!(bad.message, "the body is not JSON: line 2 column 7 (byte 21): expected a value, found `t`");
    let bad = refusal("{\"model\": \"m\"");
    assert!(bad.message.ends_with("line 1 column 14 (byte 13): expected `,` or `}`, it ends there"), "{}", bad.message);
    let bad = refusal(r#"{"model":"m","stream":"yes"}"#);
    assert_eq!((bad.code, bad.parameter.as_deref()), ("invalid_type", Some("stream")));
    assert_eq!(bad.message, "`stream` is a string, and has to be true or false");
    let bad = refusal(r#"{"model":null}"#);
    assert_eq!(bad.message, "`model` is null, and has to be a string");
    assert_eq!(refusal("{}").code, "missing_field");
    assert!(refusal("{}").message.contains("`model`"));
    assert_eq!(refusal(" [1]").message, "the body is an array, and has to be an object");
    assert_eq!(refusal("").code, "invalid_json");
    assert_eq!(refusal(b"{\"model\":\"\xff\"}").code, "invalid_json");
    assert_eq!(refusal("{\"model\":\"m\"} {}").code, "invalid_json");
    assert_eq!(refusal(r#"{"model":"\ud800"}"#).code, "invalid_json");
    assert_eq!(refusal("{\"\\ud800\":1,\"model\":\"m\"}").code, "invalid_json");
    assert_eq!(scan(DialectName::Gemini, &PathFacts::default(), b"{}").unwrap_err().code, "missing_field");
}

#[test]
fn openai_chat_facts_are_found() {
    let scan = openai(
        r#"{"model":"gpt\u002d5","stream":true,"n":3,"max_tokens":10,"max_completion_tokens":20,
        "stream_options":{"include_obfuscation":false,"include_usage":true},
        "response_format":{"json_schema":{"name":"x","schema":{}},"type":"json_schema"},
        "tools":[{"type":"function","function":{"name":"f"}}],
        "messages":[{"role":"developer","content":"hi"},{"name":"bo","role":"user","content":[
            {"type":"text","text":"abcd"},{"image_url":{"url":"https://x/y.png"},"type":"image_url"},
            {"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}},
            {"type":"file","file":{"file_data":"data:application/pdf;base64,JVBERi0","filename":"a.pdf"}}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"1","content":"ok"}]}"#,
    );
    assert_eq!((scan.model.as_str(), scan.stream, scan.n, scan.max_output_tokens), ("gpt-5", true, 3, Some(20)));
    assert!(scan.stream_usage && scan.has_json_schema && scan.has_tools && scan.has_developer_role);
    assert!(scan.has_images && scan.has_remote_images && scan.has_audio && scan.has_documents);
    assert!(scan.has_tool_history && scan.shows_reasoning);
    assert_eq!(scan.places.null_contents.len(), 1);
    assert_eq!(scan.places.tool_turns.len(), 1);
    assert_eq!(scan.places.members.len(), 1);
    assert!(scan.estimated_tokens > 2100 && scan.estimated_tokens < 2300, "{}", scan.estimated_tokens);
}

#[test]
fn openai_chat_facts_are_not_invented() {
    let scan = openai(
        r#"{"model":"m","stream":null,"tools":[],"functions":null,"response_format":{"type":"json_object"},
        "messages":[{"role":"user","content":"\"type\":\"image_url\" {\"role\":\"developer\"}"},
        {"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],
        "metadata":{"type":"file","messages":[{"role":"developer"}]},"max_tokens":null}"#,
    );
    assert!(!scan.stream && !scan.has_tools && !scan.has_json_schema && !scan.has_developer_role && !scan.stream_usage);
    assert!(scan.has_images && !scan.has_remote_images && !scan.has_documents && !scan.has_tool_history);
    assert_eq!((scan.n, scan.max_output_tokens), (1, None));
}

#[test]
fn anthropic_messages_facts_are_found() {
    let scan = of(
        DialectName::AnthropicMessages,
        r#"{"model":"claude","max_tokens":9,"system":[{"type":"text","text":"be kind"}],"thinking":{"type":"enabled","budget_tokens":1024},
        "output_config":{"effort":"low","format":{"type":"json_schema","schema":{}}},"tools":[{"name":"f","input_schema":{}}],
        "messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://x"}},
            {"type":"document","source":{"type":"text","media_type":"text/plain","data":"0123456789"}}]},
            {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"a":1}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"xyz"}]}]}]}"#,
    );
    assert_eq!((scan.model.as_str(), scan.max_output_tokens), ("claude", Some(9)));
    assert!(scan.has_images && scan.has_remote_images && scan.has_documents && !scan.has_audio && scan.has_tools);
    assert!(scan.has_json_schema && scan.shows_reasoning && scan.stream_usage && scan.has_tool_history);
    assert!(scan.thinking.budget && scan.thinking.effort && !scan.thinking.adaptive && !scan.thinking.disabled);
    assert!(scan.text_bytes >= "be kind0123456789xyz".len() + "{\"a\":1}".len());
}

#[test]
fn gemini_facts_are_found_in_both_spellings() {
    for (config, part, mime) in
        [("generationConfig", "inlineData", "mimeType"), ("generation_config", "inline_data", "mime_type")]
    {
        let body = format!(
            r#"{{"contents":[{{"role":"user","parts":[{{"text":"hello"}},{{"{part}":{{"data":"AAAA","{mime}":"image/png"}}}},
            {{"{part}":{{"{mime}":"audio/wav","data":"AAAA"}}}},{{"{part}":{{"{mime}":"application/pdf","data":"AAAA"}}}}]}}],
            "{config}":{{"candidateCount":2,"max_output_tokens":7,"responseJsonSchema":{{}},"thinkingConfig":{{"includeThoughts":true}}}},
            "tools":[{{"functionDeclarations":[]}}]}}"#
        );
        let scan = of(DialectName::Gemini, &body);
        assert_eq!((scan.model.as_str(), scan.n, scan.max_output_tokens), ("m", 2, Some(7)));
        assert!(scan.has_images && scan.has_audio && scan.has_documents && scan.has_json_schema && scan.has_tools);
        assert!(scan.shows_reasoning && scan.stream_usage && scan.model_range.is_none());
        assert_eq!(scan.places.config_fields.len(), 4);
    }
}

#[test]
fn escapes_and_scripts_do_not_change_the_estimate_much() {
    let ascii =
        openai(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "four".repeat(1000)));
    assert!((1000..1010).contains(&ascii.estimated_tokens), "{}", ascii.estimated_tokens);
    let chinese =
        openai(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "日".repeat(1000)));
    assert!((1000..1010).contains(&chinese.estimated_tokens), "{}", chinese.estimated_tokens);
    let escaped =
        openai(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "\\u65e5".repeat(1000)));
    assert!((1000..1010).contains(&escaped.estimated_tokens), "{}", escaped.estimated_tokens);
    let data = openai(&format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":"data:image/png;base64,{}"}}]}}]}}"#,
        "A".repeat(1_000_000)
    ));
    assert!(data.estimated_tokens < 2000 && data.text_bytes == 0, "media are no text");
}

/// The prompts of recorded exchanges with the input tokens their providers counted.
fn recorded() -> Vec<(DialectName, String, Value, u64)> {
    #[expect(clippy::disallowed_methods, reason = "where the recordings are is a matter of the machine")]
    let root = std::env::var("MAINSTAY_RECORDINGS").map_or_else(
        |_| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/recordings")),
        PathBuf::from,
    );
    let kinds = [
        ("openai", DialectName::OpenaiChat, "/usage/prompt_tokens"),
        ("anthropic", DialectName::AnthropicMessages, "/usage/input_tokens"),
        ("gemini", DialectName::Gemini, "/usageMetadata/promptTokenCount"),
    ];
    let mut prompts = Vec::new();
    for (provider, dialect, pointer) in kinds {
        for entry in std::fs::read_dir(root.join(provider)).into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let exchange: Value = serde_json::from_str(&text).unwrap();
            let body = &exchange["request"]["body"];
            let count = exchange["response"]["body"].pointer(pointer).and_then(Value::as_u64);
            let is_chat = body.get("messages").is_some() || body.get("contents").is_some();
            if let (true, Some(count)) = (is_chat, count) {
                prompts.push((dialect, entry.path().display().to_string(), body.clone(), count));
            }
        }
    }
    prompts
}

/// Media and JSON Schema in a request, as the decoder read it.
fn decoded_facts(request: &canon::Request) -> [bool; 5] {
    let mut facts = [false, false, false, matches!(request.output, canon::OutputFormat::JsonSchema { .. }), false];
    let mut parts: Vec<&canon::Part> = request.messages.iter().flat_map(|message| &message.parts).collect();
    while let Some(part) = parts.pop() {
        match part {
            canon::Part::Image(_) | canon::Part::Video(_) => facts[0] = true,
            canon::Part::Audio(_) => facts[1] = true,
            canon::Part::Document(_) => facts[2] = true,
            canon::Part::ToolCall(_) => facts[4] = true,
            canon::Part::ToolResult(result) => {
                facts[4] = true;
                parts.extend(&result.parts);
            }
            _ => {}
        }
    }
    facts
}

#[test]
fn the_scan_and_the_decoders_agree_on_recorded_requests() {
    let prompts = recorded();
    if prompts.is_empty() {
        println!("SKIPPED: no recordings found; set MAINSTAY_RECORDINGS");
    }
    let path = PathFacts { model: Some("m".to_owned()), ..PathFacts::default() };
    for (dialect, file, body, _) in prompts {
        let text = body.to_string();
        let scan = scan(dialect, &path, text.as_bytes()).unwrap_or_else(|bad| panic!("{bad:?}: {file}"));
        let Ok(request) = dialect::inbound(dialect).decode_request(&path, text.as_bytes()) else { continue };
        assert_eq!(scan.model, request.model, "{file}");
        assert_eq!(scan.stream, request.stream, "{file}");
        assert_eq!(scan.max_output_tokens, request.max_output_tokens, "{file}");
        assert_eq!(scan.n, request.n.unwrap_or(1).max(1), "{file}");
        assert_eq!(scan.has_tools, !request.tools.is_empty(), "{file}");
        let found = [scan.has_images, scan.has_audio, scan.has_documents, scan.has_json_schema, scan.has_tool_history];
        assert_eq!(found, decoded_facts(&request), "{file}: images, audio, documents, schema, tool history");
    }
}

#[test]
fn estimates_of_recorded_text_prompts_are_near_what_providers_counted() {
    let prompts = recorded();
    if prompts.is_empty() {
        println!("SKIPPED: no recordings found; set MAINSTAY_RECORDINGS");
        return;
    }
    let path = PathFacts { model: Some("m".to_owned()), ..PathFacts::default() };
    for dialect in DialectName::ALL {
        let mut ratios: Vec<f64> = prompts
            .iter()
            .filter(|(of, ..)| *of == dialect)
            .filter_map(|(_, file, body, counted)| {
                let scan =
                    scan(dialect, &path, body.to_string().as_bytes()).unwrap_or_else(|bad| panic!("{bad:?}: {file}"));
                // Short prompts are all framing, which vendors count each in their own way; magic strings are no
                // language.
                let is_text = !scan.has_images
                    && !scan.has_audio
                    && !scan.has_documents
                    && !body.to_string().contains("MAGIC_STRING")
                    && body.get("mcp_servers").is_none();
                (is_text && *counted > 60).then_some(scan.estimated_tokens as f64 / *counted as f64)
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        let median = ratios.get(ratios.len() / 2).copied().unwrap_or(1.0);
        println!("{dialect}: {} prompts, estimate / counted: median {median:.2}, {ratios:.2?}", ratios.len());
        assert!((0.6..1.5).contains(&median), "{dialect}: {median}");
    }
}

#[test]
fn what_is_asked_now_is_the_last_turn_of_the_user_that_is_no_result_of_a_tool() {
    let texts = |dialect, body: &str| {
        let scan = of(dialect, body);
        let mut texts = Vec::new();
        dialect::scan::ask_texts(body.as_bytes(), &scan, |text| texts.push(String::from_utf8_lossy(text).into_owned()));
        (scan.turns, texts.join("|"))
    };
    let chat = r#"{"model":"m","messages":[{"role":"system","content":"be"},{"role":"user","content":"old"},
        {"role":"assistant","content":"so"},{"content":[{"type":"text","text":"a \"b\""},
        {"type":"image_url","image_url":{"url":"data:text"}},{"text":"c"}],"role":"user"},{"role":"tool","content":"r"}]}"#;
    assert_eq!(texts(DialectName::OpenaiChat, chat), (5, "a \\\"b\\\"|c".to_owned()));
    let claude = r#"{"model":"m","max_tokens":1,"system":"s","messages":[{"role":"user","content":"do it"},
        {"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":[{"type":"text","text":"r"}]},
        {"type":"text","text":"reminder"}]}]}"#;
    assert_eq!(texts(DialectName::AnthropicMessages, claude), (3, "do it".to_owned()));
    let gemini = r#"{"systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"parts":[{"text":"one"},{"text":"two"}]},
        {"role":"model","parts":[{"text":"m"}]},{"role":"user","parts":[{"functionResponse":{"response":{}}}]}]}"#;
    assert_eq!(texts(DialectName::Gemini, gemini), (3, "one|two".to_owned()));
    assert_eq!(texts(DialectName::OpenaiChat, r#"{"model":"m","messages":[]}"#), (0, String::new()));
}
