//! The keys a configuration may have, and where they are shown: what the code accepts and no page tells of is as good
//! as not there.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::string_slice, reason = "tests")]

mod support;

use canon::FaultClass;
use health::Health;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Every kind of mapping that a file may hold, by the name of its type, with its keys. The file itself is `Raw`.
fn accepted() -> BTreeMap<String, BTreeSet<String>> {
    let schema = config::schema();
    let mut kinds = BTreeMap::new();
    collect("Raw", &schema, &mut kinds);
    let definitions = schema.get("$defs").and_then(Value::as_object).expect("the schema has definitions");
    definitions.iter().for_each(|(name, kind)| collect(name, kind, &mut kinds));
    kinds
}

/// Keys stated below a definition belong to it, wherever in it they stand; references have entries of their own.
fn collect(name: &str, schema: &Value, kinds: &mut BTreeMap<String, BTreeSet<String>>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = fields.get("properties") {
                kinds.entry(name.to_owned()).or_default().extend(properties.keys().cloned());
                properties.values().for_each(|property| collect(name, property, kinds));
            }
            let others = fields.iter().filter(|(key, _)| !matches!(key.as_str(), "properties" | "$defs"));
            others.for_each(|(_, value)| collect(name, value, kinds));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(name, value, kinds)),
        _ => {}
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn example() -> String {
    read(&root().join("mainstay.example.yaml"))
}

/// The pages for people who configure a gateway, code and all.
fn pages() -> String {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    let pages = files.iter().filter(|file| file.extension().is_some_and(|it| it == "md"));
    pages.map(|file| read(file)).collect()
}

/// Whether a text shows a key as a key: `key:`, or in a table or a sentence as `` `key` ``.
fn shows(text: &str, key: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(key).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + key.len()..].chars().next());
        let is_whole = !before.is_some_and(is_part) && !after.is_some_and(is_part);
        is_whole && (after == Some(':') || matches!(after, Some('`' | ',' | '.' | ' ')) && before == Some('`'))
    })
}

#[test]
fn every_key_that_is_accepted_is_shown_in_the_example_or_on_a_page() {
    let shown = example() + &pages();
    let kinds = accepted();
    assert!(kinds.len() > 20 && kinds.values().map(BTreeSet::len).sum::<usize>() > 100, "{kinds:?}");
    let missing = kinds.iter().flat_map(|(kind, keys)| {
        keys.iter().filter(|key| !shows(&shown, key)).map(move |key| format!("{key} of {kind}"))
    });
    let missing: Vec<String> = missing.collect();
    assert!(missing.is_empty(), "shown nowhere:\n{}", missing.join("\n"));
}

#[test]
fn the_example_shows_every_key_of_the_file_of_a_model_and_of_a_target() {
    let (example, kinds) = (example(), accepted());
    // What `on:` says is said by class, and a page lists those.
    let is_class = |key: &str| FaultClass::ALL.iter().any(|class| class.as_str() == key);
    let missing: Vec<String> = ["Raw", "RawModel", "RawFullTarget", "RawRule", "RawKey", "RawTier"]
        .into_iter()
        .flat_map(|kind| kinds[kind].iter().map(move |key| (kind, key)))
        .filter(|(_, key)| !is_class(key) && !shows(&example, key))
        .map(|(kind, key)| format!("{key} of {kind}"))
        .collect();
    assert!(missing.is_empty(), "not in mainstay.example.yaml:\n{}", missing.join("\n"));
}

#[test]
fn a_key_that_is_not_shown_is_found_missing() {
    assert!(shows("models: { chat: { max_price: 1 } }", "max_price"));
    assert!(shows("a guard such as `max_price`", "max_price"));
    assert!(!shows("models: { chat: { max_price_ratio: 1 } }", "max_price"));
    assert!(!shows("what may be asked for", "for"));
}

/// A line that is commented out, as it is written without its mark; `None` = another line, or a comment in words.
fn written(line: &str) -> Option<String> {
    let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
    let rest = rest.strip_prefix("# ")?;
    let (key, _) = rest.split_once(": ")?;
    key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then(|| format!("{indent}{rest}"))
}

#[test]
fn each_line_that_the_example_comments_out_is_as_valid_as_the_rest() {
    let example = example();
    let lines: Vec<&str> = example.lines().collect();
    let mut taken = 0;
    for (number, line) in lines.iter().enumerate() {
        let Some(written) = written(line) else { continue };
        let with = lines.iter().enumerate().map(|(at, line)| if at == number { written.as_str() } else { line });
        let text = with.collect::<Vec<_>>().join("\n");
        let environment =
            ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "DEEPSEEK_API_KEY", "SUPPORT_BOT_KEY", "INCIDENT_WEBHOOK_SECRET"]
                .map(|it| (it, it));
        if let Err(error) = support::load_with(&text, &environment, &Arc::new(Health::new(1))) {
            panic!("{error}");
        }
        taken += 1;
    }
    assert!(taken >= 8, "{taken} lines");
}

#[test]
fn the_provider_of_the_page_is_one_that_loads() {
    let page = read(&root().join("docs/PROVIDERS.md"));
    let code = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of YAML");
    let environment = [("OPENAI_API_KEY", "a"), ("HAULIER_KEY", "b")];
    let snapshot = support::load_with(code, &environment, &Arc::new(Health::new(1))).unwrap();
    let target = &snapshot.resolve("haulier/haul-large").unwrap().targets[0];
    assert_eq!((target.facts.context_window, target.facts.max_output_tokens), (Some(32_000), Some(8_000)));
}
