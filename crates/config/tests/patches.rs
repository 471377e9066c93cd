//! What targets are given for themselves: patches that mean something, and what is said of those that do not.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use support::{load, refused};

const OPENAI: &str = "providers:\n  openai: { keys: [\"${OPENAI_API_KEY}\"] }\n";

fn patched(target: &str) -> String {
    format!("{OPENAI}models:\n  chat:\n    targets:\n      - target: openai/gpt-5.1\n{target}")
}

#[test]
fn a_patch_is_of_one_target_and_counts_in_what_it_is_sent() {
    let source = patched(
        "        prompt: { append_system: \"Answer in plain prose; no headings.\" }\n        \
         parameters: { at_most: { max_tokens: 4096 }, set: { reasoning_effort: low } }\n        \
         keys: [\"${OPENAI_API_KEY}\", sk-2]\n      - openai/gpt-5-mini\n",
    );
    let snapshot = load(&source).unwrap();
    let model = snapshot.resolve("chat").unwrap();
    let (patched, plain) = (&model.targets[0], &model.targets[1]);
    assert_eq!(
        patched.patch.as_ref().unwrap().names(),
        ["prompt.append_system", "parameters.max_tokens", "parameters.reasoning_effort"]
    );
    assert_eq!(plain.patch, None);
    let needs = routing::Needs { estimated_tokens: 100, ..routing::Needs::default() };
    assert_eq!((patched.prompt_tokens(&needs), plain.prompt_tokens(&needs)), (109, 100));
    assert_eq!((patched.output_cap(&needs), plain.output_cap(&needs)), (Some(4096), None));
    assert_eq!((patched.credentials.len(), plain.credentials.len()), (2, 1));
    assert!(snapshot.has_own_credentials(patched) && !snapshot.has_own_credentials(plain));
    assert_eq!(patched.credentials[0].id, plain.credentials[0].id, "a key is the same key wherever it stands");
}

#[test]
fn what_is_wrong_with_a_patch_is_said_at_its_line() {
    for (target, line, expected) in [
        ("        prompt: { append_system: \"\" }\n", 7, "is empty"),
        ("        prompt:\n          append_examples: [{ user: a, assistant: \" \" }]\n", 8, "write both"),
        ("        parameters:\n          set:\n            stream: true\n", 9, "`stream` is no parameter"),
        (
            "        parameters:\n          default: { max_tokens: 5 }\n          at_most: { max_completion_tokens: 9 }\n",
            8,
            "by another name",
        ),
        (
            "        parameters:\n          at_most: { temperature: 0.5 }\n          at_least: { temperature: 0.6 }\n",
            9,
            "the other way round",
        ),
        ("        keys: []\n", 7, "no key"),
        ("        keys: [\"${NOT_SET}\"]\n", 7, "NOT_SET is not set"),
        ("        prompt: { suffix: a }\n", 7, "append_system"),
    ] {
        let error = refused(&patched(target));
        let is_there = [format!("mainstay.yaml:{line}"), format!("line {line} ")].iter().any(|at| error.contains(at));
        assert!(error.contains(expected) && is_there, "{error}");
    }
    let nested = format!(
        "{OPENAI}models:\n  a: {{ targets: [openai/m] }}\n  b: {{ targets: [{{ target: a, parameters: {{ set: {{ seed: \
         1 }} }} }}] }}\n"
    );
    assert!(refused(&nested).contains("`parameters` is said of the targets it lists"), "{}", refused(&nested));
}
