//! A target's patch is in what that target is sent, and in nothing else.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use bytes::Bytes;
use canon::DialectName;
use http::{HeaderValue, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use support::memory::{Plan, World};
use support::{body, request, snapshot_over};

const PATCH: &str = "[{ target: primary/m-1, \
    prompt: { prepend_system: SALT-one, append_system: SALT-two, \
              prepend_examples: [{ user: SALT-q, assistant: SALT-a }], \
              append_examples: [{ user: SALT-r, assistant: SALT-b }] }, \
    parameters: { set: { temperature: 0.25 }, at_most: { max_tokens: 77 } } }, fallback/m-2]";
const SALTS: [&str; 6] = ["SALT-one", "SALT-two", "SALT-q", "SALT-a", "SALT-r", "SALT-b"];

fn world(primary: DialectName, fallback: DialectName, targets: &'static str) -> World {
    Plan { primary, fallback, targets, ..Plan::default() }.build()
}

/// What was sent to a host.
fn sent(world: &World, host: &str) -> Vec<Bytes> {
    world.spy.sent().into_iter().filter(|sent| sent.host == host).map(|sent| sent.body).collect()
}

fn json_of(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap()
}

/// A request of several turns with instructions of its own, of which no two are alike.
fn asked(dialect: DialectName, seed: u64) -> Value {
    let mut body = body(dialect, "Hello");
    let mut turns = vec![("user", "First."), ("assistant", "Second."), ("user", "Third.")];
    turns.truncate(1 + 2 * usize::from(seed % 2 == 1));
    let says = |(who, text): &(&str, &str)| match dialect {
        DialectName::Gemini if *who == "assistant" => json!({"role": "model", "parts": [{"text": text}]}),
        DialectName::Gemini => json!({"role": who, "parts": [{"text": text}]}),
        _ if seed % 3 == 1 => json!({"role": who, "content": [{"type": "text", "text": text}]}),
        _ => json!({"role": who, "content": text}),
    };
    let turns: Vec<Value> = turns.iter().map(says).collect();
    let instructions = format!("Own {seed}.");
    let has_own = seed % 4 < 2;
    match dialect {
        DialectName::OpenaiChat => {
            let own = has_own.then(|| json!({"role": "system", "content": instructions}));
            body["messages"] = own.into_iter().chain(turns).collect();
            if seed % 5 < 2 {
                body["max_tokens"] = json!(seed + 10);
            }
        }
        DialectName::AnthropicMessages => {
            body["messages"] = turns.into();
            if has_own {
                body["system"] = if seed % 3 == 1 {
                    json!([{"type": "text", "text": instructions, "cache_control": {"type": "ephemeral"}}])
                } else {
                    json!(instructions)
                };
            }
        }
        DialectName::Gemini => {
            body["contents"] = turns.into();
            if has_own {
                body["systemInstruction"] = json!({"parts": [{"text": instructions}]});
            }
            if seed % 5 < 2 {
                body["generationConfig"] = json!({"maxOutputTokens": seed + 10, "topP": 0.5});
            }
        }
    }
    body
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_sent_to_the_byte_what_it_would_be_sent_if_there_were_no_patch() {
    let mut seed = 0;
    for dialect in DialectName::ALL {
        for primary in DialectName::ALL {
            for fallback in DialectName::ALL {
                let patched = world(primary, fallback, PATCH);
                let plain = world(primary, fallback, "[primary/m-1, fallback/m-2]");
                for world in [&patched, &plain] {
                    world.break_primary("unavailable_503");
                }
                for _ in 0..3 {
                    seed += 1;
                    let stream = seed % 2 == 0;
                    for world in [&patched, &plain] {
                        world.send(request(dialect, asked(dialect, seed), stream)).await.served_by("fallback");
                    }
                }
                assert_eq!(sent(&patched, "fallback"), sent(&plain, "fallback"), "{dialect} {primary} {fallback}");
                let texts = |world: &World| {
                    sent(world, "primary").iter().map(|it| String::from_utf8_lossy(it).into_owned()).collect::<Vec<_>>()
                };
                let (patched, plain) = (texts(&patched), texts(&plain));
                assert!(!patched.is_empty(), "the breaker is closed at first");
                assert!(patched.iter().all(|text| SALTS.iter().all(|salt| text.contains(salt))), "{patched:?}");
                assert!(plain.iter().all(|text| SALTS.iter().all(|salt| !text.contains(salt))), "{plain:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_is_sent_its_patch_in_the_words_of_its_dialect_whatever_the_callers() {
    for dialect in DialectName::ALL {
        for primary in DialectName::ALL {
            for stream in [false, true] {
                let world = world(primary, DialectName::OpenaiChat, PATCH);
                let answer = world.send(request(dialect, asked(dialect, 5), stream)).await;
                answer.served_by("primary");
                let body = json_of(&sent(&world, "primary")[0]);
                let at = format!("{dialect} {primary}: {body}");
                let (temperature, cap, turns) = match primary {
                    DialectName::OpenaiChat => (
                        &body["temperature"],
                        body.get("max_tokens").unwrap_or(&body["max_completion_tokens"]),
                        &body["messages"],
                    ),
                    DialectName::AnthropicMessages => (&body["temperature"], &body["max_tokens"], &body["messages"]),
                    DialectName::Gemini => {
                        let config = &body["generationConfig"];
                        (&config["temperature"], &config["maxOutputTokens"], &body["contents"])
                    }
                };
                assert_eq!(*temperature, json!(0.25), "{at}");
                // 1,024 from an Anthropic caller, 15 from the others.
                let asked = if dialect == DialectName::AnthropicMessages { 77 } else { 15 };
                assert_eq!(*cap, json!(asked), "{at}");
                let texts = turns.to_string();
                let order: Vec<usize> = ["SALT-q", "SALT-a", "First.", "Second.", "SALT-r", "SALT-b", "Third."]
                    .iter()
                    .map(|text| texts.find(text).unwrap_or_else(|| panic!("{text} is not in {at}")))
                    .collect();
                assert!(order.is_sorted(), "{at}");
                let instructions = match primary {
                    DialectName::OpenaiChat => body["messages"][0].to_string(),
                    DialectName::AnthropicMessages => body["system"].to_string(),
                    DialectName::Gemini => body["systemInstruction"].to_string(),
                };
                let order: Vec<usize> = ["SALT-one", "Own 5.", "SALT-two"]
                    .iter()
                    .map(|text| instructions.find(text).unwrap_or_else(|| panic!("{text} is not in {at}")))
                    .collect();
                assert!(order.is_sorted(), "{at}");
                // What the caller said and did not get is told, and nothing of what was written into the prompt.
                let dropped = answer.header("x-mainstay-dropped").unwrap();
                assert_eq!(dropped.contains("max_tokens"), dialect == DialectName::AnthropicMessages, "{dropped}");
                assert!(!format!("{:?}", answer.headers).contains("SALT"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_goes_on_elsewhere_carries_nothing_of_the_patch_it_began_under() {
    for dialect in DialectName::ALL {
        let world = world(dialect, dialect, PATCH);
        world.break_primary("cut_mid_text:after=5");
        let answer = world.send(request(dialect, asked(dialect, 5), true)).await;
        assert_eq!(answer.status, 200);
        let rescues = sent(&world, "fallback");
        assert!(!rescues.is_empty(), "{dialect}: {}", answer.text());
        for rescue in rescues {
            assert!(!String::from_utf8_lossy(&rescue).contains("SALT"), "{dialect}: {rescue:?}");
            let rescue = json_of(&rescue);
            let temperature = rescue.get("temperature").or_else(|| rescue["generationConfig"].get("temperature"));
            assert_eq!(temperature, None, "{rescue}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_on_with_a_stream_does_so_under_a_patch_of_its_own() {
    const OTHER: &str = "[primary/m-1, { target: fallback/m-2, prompt: { append_system: SALT-two, \
                          append_examples: [{ user: SALT-r, assistant: SALT-b }] } }]";
    for dialect in DialectName::ALL {
        let world = world(dialect, dialect, OTHER);
        world.break_primary("cut_mid_text:after=5");
        world.send(request(dialect, asked(dialect, 5), true)).await;
        let rescue = String::from_utf8_lossy(&sent(&world, "fallback")[0]).into_owned();
        assert!(rescue.contains("SALT-two"), "{dialect}: {rescue}");
        // The example stands before the question, and the answer that was begun behind it.
        let (example, question) = (rescue.find("SALT-r").unwrap(), rescue.find("Third.").unwrap());
        assert!(example < question, "{dialect}: {rescue}");
        assert!(!String::from_utf8_lossy(&sent(&world, "primary")[0]).contains("SALT"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_parameter_that_the_provider_refuses_is_left_out_and_told() {
    const SET: &str = "[{ target: primary/m-1, parameters: { set: { temperature: 0.5, seed: 3 } } }]";
    let plan = Plan { targets: SET, ..Plan::default() };
    let yaml = plan
        .yaml("http://primary", "http://fallback")
        .replace("keys: [sk-1]", "keys: [sk-1], quirks: { no_sampling: true, rename: { seed: random_seed } }");
    let world = plan.build();
    world.gateway.replace(snapshot_over(&yaml, &world.health, &std::sync::Arc::default())).unwrap();
    let answer = world.hello().await;
    assert_eq!(answer.header("x-mainstay-dropped"), Some("temperature"));
    let body = json_of(&sent(&world, "primary")[0]);
    assert_eq!((body.get("temperature"), body.get("seed"), &body["random_seed"]), (None, None, &json!(3)), "{body}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_made_under_a_patch_is_not_given_where_the_patch_does_not_hold() {
    let cached = |targets| Plan { targets, ..Plan::default() }.model("cache: { ttl: 10m }");
    let world = cached(PATCH).build();
    let says = |answer: &support::memory::Answer| answer.header("x-mainstay-cache").unwrap().to_owned();
    assert_eq!(says(&world.hello().await), "miss");
    assert_eq!(says(&world.hello().await), "hit");
    for (targets, expected) in [
        ("[primary/m-1, fallback/m-2]", "miss"),
        ("[{ target: primary/m-1, prompt: { append_system: SALT-three } }, fallback/m-2]", "miss"),
        (PATCH, "hit"),
    ] {
        let yaml = cached(targets).yaml("http://primary", "http://fallback");
        world.gateway.replace(snapshot_over(&yaml, &world.health, &std::sync::Arc::default())).unwrap();
        assert_eq!(says(&world.hello().await), expected, "{targets}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_with_keys_of_its_own_is_called_with_them_alone() {
    const OWN: &str = "[{ target: primary/m-1, keys: [sk-own] }, { target: primary/m-1, label: b }, fallback/m-2]";
    let world = world(DialectName::OpenaiChat, DialectName::OpenaiChat, OWN);
    world.break_primary("unavailable_503");
    world.hello().await.served_by("fallback");
    let keys: Vec<String> = world
        .spy
        .sent()
        .iter()
        .filter(|sent| sent.host == "primary")
        .map(|sent| sent.headers["authorization"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!(keys, ["Bearer sk-own", "Bearer sk-1"]);
}

#[tokio::test(start_paused = true)]
async fn the_story_names_what_patches_changed_and_shows_none_of_it() {
    let traced = |dialect| -> Request<Full<Bytes>> {
        let mut request = request(dialect, asked(dialect, 5), false);
        request.headers_mut().insert("x-mainstay-trace", HeaderValue::from_static("1"));
        request
    };
    for dialect in DialectName::ALL {
        let world = world(dialect, dialect, PATCH);
        world.break_primary("unavailable_503");
        let answer = world.send(traced(dialect)).await;
        let patches = answer.json()["mainstay"]["patches"].clone();
        let expected = [
            "prompt.prepend_system",
            "prompt.append_system",
            "prompt.prepend_examples",
            "prompt.append_examples",
            "parameters.max_tokens",
            "parameters.temperature",
        ];
        assert_eq!(patches, json!({ "primary/m-1": expected }), "the fallback has none");
        assert!(!answer.text().contains("SALT"), "{}", answer.text());
    }
}
