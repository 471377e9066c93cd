//! Whatever is written, loading answers; whatever is loaded, a request is judged.

use crate::world::{World, at, compile, judge, rule};
use proptest::prelude::*;

/// Words that expressions are made of, and some that they are not.
fn words() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(vec![
        "request",
        ".",
        "tokens",
        "tools",
        "labels",
        "target",
        "(",
        ")",
        "'a/1'",
        "\"b/1\"",
        "rate",
        "'rate_limited'",
        "duration",
        "'5m'",
        ",",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "<",
        ">",
        "==",
        "!=",
        "in",
        "[",
        "]",
        "1",
        "0.5",
        "9223372036854775807",
        "true",
        "?",
        ":",
        "has",
        "now",
        "getHours",
        "slow",
        "rate_limited_for",
        "'",
        "\\",
        "ö",
        "size",
        "int",
        "double",
        "//",
        "\n",
        "{",
    ]);
    proptest::collection::vec(word, 0..40).prop_map(|words| words.join(" "))
}

/// Expressions that are well typed, numbers at the ends of their range among them.
fn condition() -> impl Strategy<Value = String> {
    let int = prop_oneof![
        Just("request.tokens".to_owned()),
        Just("9223372036854775807".to_owned()),
        Just("samples('a/1', duration('1s'))".to_owned()),
        (-3_i64..3).prop_map(|n| n.to_string()),
    ];
    let int = int.prop_recursive(4, 32, 2, |inner| {
        let op = proptest::sample::select(vec!["+", "-", "*", "/", "%"]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            inner.prop_map(|a| format!("int(double({a}) * 1e3)").replace("1e3", "1000.0")),
        ]
    });
    let leaf = prop_oneof![
        (int.clone(), proptest::sample::select(vec!["<", "==", ">="]), int)
            .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        Just("request.labels.none == 'x'".to_owned()),
        Just("target('a/1').slow".to_owned()),
        Just("rate('b/1', 'any', duration('1h')) > 0.5".to_owned()),
    ];
    leaf.prop_recursive(4, 32, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_text_loads_or_is_refused_at_a_place_within_it(text in prop_oneof![words(), ".{0,200}"]) {
        if let Err(wrong) = compile(&[rule(&text)]) {
            let span = wrong.span.unwrap();
            prop_assert!(span.start <= span.end && text.get(span.clone()).is_some(), "{span:?} of {text:?}");
            prop_assert!(!wrong.message.is_empty());
        }
    }

    #[test]
    fn whatever_is_well_typed_is_judged_to_hold_to_fail_or_not_to_hold(text in condition()) {
        match compile(&[rule(&text)]) {
            Err(wrong) => prop_assert!(wrong.message.contains("parts") || wrong.message.contains("deep"), "{text}: {}", wrong.message),
            Ok(set) => {
                let world = World::default().of(&set);
                judge(&set, &world, at(1.0), |ruling| assert!(ruling.held.len() + ruling.failed.len() <= 2));
            }
        }
    }
}
