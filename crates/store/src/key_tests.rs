use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const FORM: Form = Form::Whole;

fn question(body: &[u8]) -> Question<'_> {
    Question { tenant: Some("bot"), model: "chat", dialect: DialectName::OpenaiChat, form: FORM, facts: &[], body }
}

fn key(body: &Value) -> Key {
    question(body.to_string().as_bytes()).read().unwrap().key
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1.0e9..1.0e9).prop_map(|n: f64| Value::from(n)),
        "[ -~é\n\"\\\\]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-z\"é]{0,4}", inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn bodies() -> impl Strategy<Value = Value> {
    prop::collection::vec(("[a-z]{1,6}", values()), 0..6).prop_map(|members| {
        Value::Object(members.into_iter().filter(|(key, _)| !LEFT_OUT.contains(&key.as_str())).collect())
    })
}

/// Writes a value with its keys shuffled, white space strewn in and characters escaped where they need not be.
fn rewritten(value: &Value, rng: &mut fastrand::Rng, out: &mut String) {
    let space = |rng: &mut fastrand::Rng, out: &mut String| {
        for _ in 0..rng.usize(..3) {
            out.push([' ', '\n', '\t', '\r'][rng.usize(..4)]);
        }
    };
    match value {
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                space(rng, out);
                rewritten(item, rng, out);
                space(rng, out);
            }
            space(rng, out);
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            for i in (1..members.len()).rev() {
                members.swap(i, rng.usize(..=i));
            }
            out.push('{');
            for (i, (key, item)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                space(rng, out);
                text(key, rng, out);
                space(rng, out);
                out.push(':');
                space(rng, out);
                rewritten(item, rng, out);
                space(rng, out);
            }
            space(rng, out);
            out.push('}');
        }
        Value::String(string) => text(string, rng, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

fn text(string: &str, rng: &mut fastrand::Rng, out: &mut String) {
    use std::fmt::Write as _;
    out.push('"');
    for unit in string.encode_utf16() {
        let plain = char::from_u32(u32::from(unit)).filter(|c| !matches!(c, '"' | '\\') && !c.is_control());
        match plain {
            Some(c) if rng.usize(..3) > 0 => out.push(c),
            _ => write!(out, "\\u{unit:04x}").unwrap(),
        }
    }
    out.push('"');
}

/// Every place in a value, as a change made there.
fn changed(value: &Value) -> Vec<Value> {
    let mut all = vec![match value {
        Value::Null => json!(false),
        Value::Bool(b) => json!(!b),
        Value::Number(_) => json!("a number"),
        Value::String(s) => json!(format!("{s}x")),
        Value::Array(items) => {
            let mut longer = items.clone();
            longer.push(Value::Null);
            Value::from(longer)
        }
        Value::Object(members) => {
            let mut longer = members.clone();
            longer.insert("one more".to_owned(), Value::Null);
            Value::Object(longer)
        }
    }];
    match value {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                for other in changed(item) {
                    let mut items = items.clone();
                    items[i] = other;
                    all.push(Value::from(items));
                }
                let mut fewer = items.clone();
                fewer.remove(i);
                all.push(Value::from(fewer));
            }
        }
        Value::Object(members) => {
            for (key, item) in members {
                for other in changed(item) {
                    let mut members = members.clone();
                    members.insert(key.clone(), other);
                    all.push(Value::Object(members));
                }
                let mut fewer = members.clone();
                fewer.shift_remove(key);
                all.push(Value::Object(fewer));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    all
}

proptest! {
    #[test]
    fn the_same_question_written_otherwise_has_the_same_key(body in bodies(), seed in any::<u64>()) {
        let mut other = String::new();
        rewritten(&body, &mut fastrand::Rng::with_seed(seed), &mut other);
        prop_assert_eq!(Some(key(&body)), question(other.as_bytes()).read().map(|asked| asked.key), "{} {}", body, other);
    }

    #[test]
    fn any_change_of_any_value_is_another_key(body in bodies()) {
        let original = key(&body);
        for other in changed(&body) {
            prop_assert_ne!(original, key(&other), "{} {}", body, other);
        }
    }

    #[test]
    fn reading_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[{}\\[\\]\",:\\\\a1 ]{0,40}") {
        let _ = question(&bytes).read();
        let _ = question(text.as_bytes()).read();
    }
}

#[test]
fn members_that_do_not_change_the_answer_do_not_count() {
    let plain = json!({"messages": [{"role": "user", "content": "hi"}], "temperature": 0.5});
    for member in LEFT_OUT {
        let mut body = plain.clone();
        body[member] = json!("anything");
        assert_eq!(key(&plain), key(&body), "{member}");
        let text = body.to_string();
        let plain = plain.to_string();
        assert_ne!(
            question(text.as_bytes()).fingerprint(),
            question(plain.as_bytes()).fingerprint(),
            "{member}: but it is another request"
        );
    }
    let nested = json!({"messages": [{"role": "user", "content": "hi", "user": "x"}], "temperature": 0.5});
    assert_ne!(key(&plain), key(&nested), "only at the top");
}

#[test]
fn everything_beside_the_body_that_changes_the_answer_counts() {
    let body = br#"{"messages":[]}"#;
    let one = question(body);
    let facts = ["anthropic-beta: x".to_owned()];
    let others = [
        Question { tenant: None, ..one },
        Question { tenant: Some("other"), ..one },
        Question { model: "chat2", ..one },
        Question { dialect: DialectName::Gemini, ..one },
        Question { form: Form::Stream { usage: false, json_array: false }, ..one },
        Question { form: Form::Stream { usage: true, json_array: false }, ..one },
        Question { form: Form::Stream { usage: true, json_array: true }, ..one },
        Question { facts: &facts, ..one },
    ];
    let keys: Vec<_> = std::iter::once(one).chain(others).map(|question| question.read().unwrap().key).collect();
    for (i, key) in keys.iter().enumerate() {
        assert!(!keys[i + 1..].contains(key), "{i}");
    }
}

#[test]
fn a_tenant_without_a_name_is_not_an_open_gateway_and_texts_do_not_run_together() {
    let body = br"{}";
    let named = |tenant, model| Question { tenant, model, ..question(body) }.read().unwrap().key;
    assert_ne!(named(None, "m"), named(Some(""), "m"));
    assert_ne!(named(Some("ab"), "c"), named(Some("a"), "bc"));
    assert_ne!(Key::of_idempotency(Some("ab"), "c"), Key::of_idempotency(Some("a"), "bc"));
    assert_ne!(Key::of_idempotency(None, "k"), Key::of_idempotency(Some(""), "k"));
}

#[test]
fn only_a_temperature_of_zero_or_a_seed_is_deterministic() {
    let is = |dialect, body: &str| Question { dialect, ..question(body.as_bytes()) }.read().unwrap().deterministic;
    let openai = |body| is(DialectName::OpenaiChat, body);
    assert!(openai(r#"{"temperature":0}"#) && openai(r#"{"temperature": 0.0 }"#) && openai(r#"{"seed":7}"#));
    for body in [
        "{}",
        r#"{"temperature":0.1}"#,
        r#"{"temperature":null}"#,
        r#"{"seed":null}"#,
        r#"{"temperature":"0"}"#,
        r#"{"top_p":0}"#,
        r#"{"messages":[{"temperature":0}]}"#,
        r#"{"generationConfig":{"temperature":0}}"#,
    ] {
        assert!(!openai(body), "{body}");
    }
    let gemini = |body| is(DialectName::Gemini, body);
    assert!(gemini(r#"{"generationConfig":{"temperature":0}}"#) && gemini(r#"{"generation_config":{"seed":3}}"#));
    assert!(!gemini(r#"{"generationConfig":{"topP":0}}"#));
}
