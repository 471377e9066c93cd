//! Providers that go on with a partial answer, natively and by instruction, well and badly.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]

mod common;

use canon::DialectName;
use common::{body, provider, request, streamed_text, text, whole};
use proptest::prelude::*;
use serde_json::{Value, json};
use simulator::{Answer, Chunks, Continues, Manner, NativeWay, Pace, Provider, Simulator};

const OPENAI: DialectName = DialectName::OpenaiChat;
const ANTHROPIC: DialectName = DialectName::AnthropicMessages;
const GEMINI: DialectName = DialectName::Gemini;

const REFERENCE: &str = "The harbour is quiet. Seven “lanterns”\u{a0}swing — 漢字 and 🦊 wait.\r\nNobody counts them twice, \
                         for the ferry returns at dawn. Then the maps are folded. And that's all.";

fn turn(dialect: DialectName, is_model: bool, said: &str) -> Value {
    match dialect {
        OPENAI | ANTHROPIC => json!({"role": if is_model { "assistant" } else { "user" }, "content": said}),
        GEMINI => json!({"role": if is_model { "model" } else { "user" }, "parts": [{"text": said}]}),
    }
}

fn turns(dialect: DialectName) -> &'static str {
    match dialect {
        OPENAI | ANTHROPIC => "messages",
        GEMINI => "contents",
    }
}

/// A conversation that ends with a partial answer and, if there is one, an instruction.
fn after(dialect: DialectName, partial: &str, instruction: Option<&str>) -> Value {
    let mut asked = body(dialect, "Tell me about the harbour.");
    let list = asked[turns(dialect)].as_array_mut().unwrap();
    list.push(turn(dialect, true, partial));
    list.extend(instruction.map(|said| turn(dialect, false, said)));
    asked
}

/// An instruction that quotes the last characters of the partial answer; and what it quotes.
fn instruction(partial: &str) -> (String, &str) {
    let start = partial.char_indices().rev().nth(39).map_or(0, |(at, _)| at);
    let quoted = &partial[start..];
    let said = "Your answer was cut off. Repeat the text between the tags exactly, then continue from there.";
    (format!("{said}\n<tail>{quoted}</tail>"), quoted)
}

async fn said(simulator: &Simulator, asked: &Value) -> String {
    let dialect = simulator.dialect();
    let answer = whole(simulator.call(request(dialect, asked, false)).await.unwrap()).await;
    let streamed = whole(simulator.call(request(dialect, asked, true)).await.unwrap()).await;
    let answer = text(dialect, &serde_json::from_str(&answer).unwrap());
    assert_eq!(streamed_text(dialect, &streamed), answer, "streamed and whole");
    answer
}

async fn refusal(simulator: &Simulator, asked: &Value) -> (u16, String) {
    let response = simulator.call(request(simulator.dialect(), asked, true)).await.unwrap();
    (response.status().as_u16(), whole(response).await)
}

fn reciting(dialect: DialectName, continues: impl Into<Continues>) -> Simulator {
    Simulator::new(provider(dialect).answering(Answer::exactly(REFERENCE)).continuing(continues))
}

#[tokio::test(start_paused = true)]
async fn an_instructed_model_repeats_the_quotation_and_goes_on_at_every_place() {
    for dialect in DialectName::ALL {
        let simulator = reciting(dialect, Continues::instructed());
        for (at, _) in REFERENCE.char_indices().skip(1) {
            let partial = &REFERENCE[..at];
            let (asks, quoted) = instruction(partial);
            let answer = said(&simulator, &after(dialect, partial, Some(&asks))).await;
            assert_eq!(answer, format!("{quoted}{}", &REFERENCE[at..]), "{dialect} at {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_partial_answer_that_lost_its_last_spaces_is_gone_on_with_all_the_same() {
    let simulator = reciting(OPENAI, Continues::instructed());
    let partial = "The harbour is quiet. ";
    let (asks, quoted) = instruction(partial);
    let answer = said(&simulator, &after(OPENAI, partial.trim_end(), Some(&asks))).await;
    assert_eq!(answer, REFERENCE, "{quoted:?} is all of it");
    let answer = said(&simulator, &after(OPENAI, partial, Some(&asks.replace("quiet. <", "quiet.<")))).await;
    assert_eq!(answer, REFERENCE);
}

fn natives() -> [(DialectName, NativeWay); 6] {
    [
        (OPENAI, NativeWay::Trailing),
        (OPENAI, NativeWay::Prefix),
        (OPENAI, NativeWay::Partial),
        (OPENAI, NativeWay::FinalMessage),
        (ANTHROPIC, NativeWay::Usual),
        (GEMINI, NativeWay::Trailing),
    ]
}

fn natively(dialect: DialectName, way: NativeWay, partial: &str) -> Value {
    let mut asked = after(dialect, partial, None);
    match way {
        NativeWay::Prefix | NativeWay::BetaPrefix => asked["messages"][1]["prefix"] = json!(true),
        NativeWay::Partial => asked["messages"][1]["partial"] = json!(true),
        NativeWay::FinalMessage => {
            asked["add_generation_prompt"] = json!(false);
            asked["continue_final_message"] = json!(true);
        }
        NativeWay::Usual | NativeWay::Trailing | NativeWay::Token => {}
    }
    asked
}

#[tokio::test(start_paused = true)]
async fn a_native_continuation_is_exactly_the_rest() {
    for (dialect, way) in natives() {
        let simulator = reciting(dialect, way);
        for (at, _) in REFERENCE.char_indices().skip(1) {
            let partial = REFERENCE[..at].trim_end();
            let answer = said(&simulator, &natively(dialect, way, partial)).await;
            assert_eq!(answer, REFERENCE[partial.len()..], "{dialect} {way:?} at {at}");
        }
        let repeating = reciting(dialect, Continues::from(way).repeating_prefix());
        assert_eq!(said(&repeating, &natively(dialect, way, "The harbour")).await, REFERENCE, "{dialect} {way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_providers_way_is_refused_in_its_words_or_a_finished_turn() {
    let plain = |dialect| after(dialect, "The harbour", None);
    let refusing = |dialect, continues: Continues| reciting(dialect, continues.refusing_prefill());
    let cases = [
        (reciting(ANTHROPIC, Continues::instructed()), plain(ANTHROPIC), "does not support assistant message prefill"),
        (refusing(ANTHROPIC, Continues::native()), plain(ANTHROPIC), "does not support assistant message prefill"),
        (reciting(GEMINI, Continues::native()), plain(GEMINI), "single turn requests end with a user role"),
        (refusing(GEMINI, NativeWay::Trailing.into()), plain(GEMINI), "single turn requests end with a user role"),
        (refusing(OPENAI, Continues::native()), plain(OPENAI), "Last message must have role `user` or"),
        (reciting(OPENAI, NativeWay::Prefix), plain(OPENAI), "{\"object\":\"error\",\"message\":\"Expected last role"),
        (
            reciting(OPENAI, Continues::instructed()),
            natively(OPENAI, NativeWay::Prefix, "x"),
            "Unknown parameter: 'messages[1].prefix'",
        ),
        (
            reciting(OPENAI, Continues::native()),
            natively(OPENAI, NativeWay::FinalMessage, "x"),
            "Unknown parameter: 'add_generation_prompt'",
        ),
    ];
    for (simulator, asked, expected) in cases {
        let (status, said) = refusal(&simulator, &asked).await;
        assert!(status == 400 && said.contains(expected), "{asked}: {said}");
    }
    let mut both = natively(OPENAI, NativeWay::FinalMessage, "x");
    both["add_generation_prompt"] = json!(true);
    let (status, said_so) = refusal(&reciting(OPENAI, NativeWay::FinalMessage), &both).await;
    assert!(status == 400 && said_so.contains("Cannot set both"), "{said_so}");
    let afresh = [Continues::instructed(), NativeWay::Partial.into(), NativeWay::FinalMessage.into()];
    for continues in afresh {
        assert_eq!(said(&reciting(OPENAI, continues), &plain(OPENAI)).await, REFERENCE, "{continues}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_prefix_in_beta_is_taken_under_its_path_alone() {
    let simulator = reciting(OPENAI, NativeWay::BetaPrefix);
    let asked = request(OPENAI, &natively(OPENAI, NativeWay::BetaPrefix, "The harbour"), false);
    let (mut parts, sent) = asked.into_parts();
    let refused = simulator.call(http::Request::from_parts(parts.clone(), sent.clone())).await.unwrap();
    assert_eq!(refused.status(), 400);
    assert!(whole(refused).await.contains("beta API only"));
    parts.uri = "/beta/chat/completions".parse().unwrap();
    let answer = whole(simulator.call(http::Request::from_parts(parts, sent)).await.unwrap()).await;
    assert_eq!(text(OPENAI, &serde_json::from_str(&answer).unwrap()), REFERENCE["The harbour".len()..]);
}

#[tokio::test(start_paused = true)]
async fn old_claude_models_take_a_prefill_and_thinking_excludes_it() {
    let simulator = reciting(ANTHROPIC, Continues::instructed());
    let mut asked = after(ANTHROPIC, "The harbour", None);
    asked["model"] = json!("claude-sonnet-4-5-20250929");
    assert_eq!(said(&simulator, &asked).await, REFERENCE["The harbour".len()..]);
    asked["thinking"] = json!({"type": "enabled", "budget_tokens": 2048});
    let (status, refused) = refusal(&simulator, &asked).await;
    assert!(status == 400 && refused.contains("thinking is enabled"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_token_goes_on_from_where_it_was_given() {
    for lag in [0, 2] {
        let continues = Continues { lag, ..Continues::native() };
        let simulator = reciting(GEMINI, continues);
        let asked = body(GEMINI, "Tell me about the harbour.");
        let stream = whole(simulator.call(request(GEMINI, &asked, true)).await.unwrap()).await;
        let (mut shown, mut places) = (String::new(), vec![0]);
        for event in common::events(&stream) {
            let candidate = &event["candidates"][0];
            shown += candidate["content"]["parts"][0]["text"].as_str().unwrap();
            places.push(shown.len());
            let Some(token) = candidate["continuationToken"].as_str() else { continue };
            let mut again = asked.clone();
            again["continuationToken"] = json!(token);
            let rest = said(&simulator, &again).await;
            assert!(REFERENCE.ends_with(&rest));
            let from = REFERENCE.len() - rest.len();
            assert_eq!(from, places[places.len() - 1 - lag as usize], "after {shown:?}");
        }
        assert_eq!(shown, REFERENCE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_ends_an_answer_with_a_token_to_go_on_from() {
    let simulator = reciting(GEMINI, Continues::native());
    let mut asked = body(GEMINI, "Tell me about the harbour.");
    asked["generationConfig"] = json!({"maxOutputTokens": 4});
    let answer = whole(simulator.call(request(GEMINI, &asked, false)).await.unwrap()).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["candidates"][0]["finishReason"], "MAX_TOKENS");
    let begun = text(GEMINI, &answer);
    let mut again = body(GEMINI, "Tell me about the harbour.");
    again["continuationToken"] = answer["candidates"][0]["continuationToken"].clone();
    assert_eq!(begun + &said(&simulator, &again).await, REFERENCE);
    // The limit is one for the whole answer: it is spent.
    again["generationConfig"] = json!({"maxOutputTokens": 4});
    assert_eq!(said(&simulator, &again).await, "");
    again["generationConfig"] = json!({"maxOutputTokens": 6});
    assert_eq!(said(&simulator, &again).await, "Seven “lanterns”\u{a0}s");
}

#[tokio::test(start_paused = true)]
async fn each_imperfect_manner_spoils_the_continuation_in_its_own_way() {
    let at = REFERENCE.find("returns").unwrap();
    let partial = &REFERENCE[..at];
    let rest = &REFERENCE[at..];
    let (asks, quoted) = instruction(partial);
    let mut all = Vec::new();
    for (name, manner) in Manner::NAMES {
        let answer = said(&reciting(OPENAI, manner), &after(OPENAI, partial, Some(&asks))).await;
        let exact = format!("{quoted}{rest}");
        let is_as_named = match manner {
            // What is quoted has no marks to make plain here.
            Manner::Exact | Manner::Normalises => answer == exact,
            Manner::Anew => answer == REFERENCE,
            Manner::RepeatsSentence => answer.ends_with(&exact) && answer.len() > exact.len(),
            Manner::RephrasesAnchor => answer.ends_with(rest) && !answer.contains(quoted),
            Manner::AnewInOtherWords => answer != REFERENCE && answer.contains("harbour") && !answer.contains(quoted),
            Manner::Preface => answer == format!("Sure, continuing: {exact}"),
            Manner::PrefaceWithoutAnchor => answer == format!("Sure, continuing: {rest}"),
            Manner::OtherLanguage => !answer.contains("ferry") && !answer.contains("dawn"),
            Manner::Refuses => answer == "I'm sorry, but I can't continue that.",
            Manner::Loops => answer.starts_with(&quoted.repeat(2)) && !answer.contains(rest),
            Manner::Skips => {
                answer.starts_with(quoted) && answer.ends_with("maps are folded. And that's all.") && answer != exact
            }
        };
        assert!(is_as_named, "{name}: {answer}");
        all.push(answer);
        // Asked for the first time, every one of them answers well.
        assert_eq!(said(&reciting(OPENAI, manner), &body(OPENAI, "Tell me.")).await, REFERENCE, "{name}");
    }
    let (asks, _) = instruction(&REFERENCE[..REFERENCE.find("wait").unwrap()]);
    let partial = &REFERENCE[..REFERENCE.find("wait").unwrap()];
    let plain = said(&reciting(OPENAI, Manner::Normalises), &after(OPENAI, partial, Some(&asks))).await;
    assert!(plain.contains("\"lanterns\" swing - 漢字") && plain.contains("wait.\nNobody"), "{plain}");
}

#[tokio::test(start_paused = true)]
async fn imperfect_manners_hold_for_the_native_way_too() {
    let continues = Continues { native: Some(NativeWay::Prefix), ..Manner::Skips.into() };
    let answer = said(&reciting(OPENAI, continues), &natively(OPENAI, NativeWay::Prefix, "The harbour")).await;
    assert!(REFERENCE.ends_with(&answer) && answer.starts_with(" “lanterns”"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_beginning_is_gone_on_with_in_own_words() {
    for dialect in DialectName::ALL {
        let simulator = Simulator::new(provider(dialect));
        let partial = "This is sim-other speaking as m-9. You sai";
        let (asks, quoted) = instruction(partial);
        let answer = said(&simulator, &after(dialect, partial, Some(&asks))).await;
        assert!(answer.starts_with(quoted) && answer.len() > quoted.len() + 5, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn words_of_the_prompt_are_the_same_from_every_provider() {
    let pace = Pace { tokens: 60, ..Pace::instant() };
    let speaker = |name: &str, dialect, seed| {
        let mut provider = Provider::new(name, dialect).at_pace(pace.clone()).answering(Answer::of_prompt());
        provider.behaviour.seed = seed;
        Simulator::new(provider)
    };
    let reference = said(&speaker("first", OPENAI, 1), &body(OPENAI, "Tell me about the harbour.")).await;
    assert!(reference.split_whitespace().count() >= 60);
    assert_ne!(reference, said(&speaker("first", OPENAI, 1), &body(OPENAI, "Tell me of the sea.")).await);
    for dialect in DialectName::ALL {
        let simulator = speaker("second", dialect, 2);
        assert_eq!(said(&simulator, &body(dialect, "Tell me about the harbour.")).await, reference, "{dialect}");
        let partial = &reference[..reference.char_indices().nth(130).unwrap().0];
        let (asks, quoted) = instruction(partial);
        let answer = said(&simulator, &after(dialect, partial, Some(&asks))).await;
        assert_eq!(answer, format!("{quoted}{}", &reference[partial.len()..]), "{dialect}");
    }
}

#[tokio::test(start_paused = true)]
async fn usage_is_that_of_the_part() {
    let simulator = reciting(OPENAI, NativeWay::Trailing);
    let usage = async |asked: &Value| {
        let answer = whole(simulator.call(request(OPENAI, asked, false)).await.unwrap()).await;
        let usage = serde_json::from_str::<Value>(&answer).unwrap()["usage"].clone();
        (usage["prompt_tokens"].as_u64().unwrap(), usage["completion_tokens"].as_u64().unwrap())
    };
    let (prompt, all) = usage(&body(OPENAI, "Tell me about the harbour.")).await;
    let partial = "The harbour is quiet. ";
    let (longer, rest) = usage(&after(OPENAI, partial, None)).await;
    assert_eq!(all - rest, partial.split_inclusive(' ').count() as u64);
    assert!(longer > prompt);
    let journal = simulator.journal();
    assert_eq!((journal[1].prompt_tokens, journal[1].output_tokens), (longer, rest));
    assert_eq!(journal[1].text, (REFERENCE.len() - partial.len()) as u64);
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_conversation_is_not_taken_for_an_instruction() {
    let simulator = Simulator::new(provider(OPENAI));
    let asked = after(OPENAI, "The harbour is quiet today.", Some("Please repeat the exact opposite."));
    assert!(said(&simulator, &asked).await.contains("You said: “Please repeat the exact opposite.”"));
}

#[tokio::test(start_paused = true)]
async fn an_evaluator_gives_its_scores_in_the_form_it_is_asked_for() {
    let scores = [("relevance", 0.9), ("safety", 1.0), ("coherence", 0.2)];
    let expected = json!({"relevance": 0.9, "safety": 1.0, "coherence": 0.2});
    for dialect in DialectName::ALL {
        let simulator = Simulator::new(provider(dialect).answering(Answer::scoring(scores)));
        let asked = body(dialect, "Score the answer for relevance, safety and coherence. Answer with JSON.");
        assert_eq!(serde_json::from_str::<Value>(&said(&simulator, &asked).await).unwrap(), expected, "{dialect}");
        assert!(said(&simulator, &body(dialect, "hello")).await.contains("You said"), "{dialect}");
    }
    let simulator = Simulator::new(provider(OPENAI).answering(Answer::scoring(scores)));
    let number = json!({"type": "number", "minimum": 0, "maximum": 1});
    let schema = json!({"type": "object", "required": ["coherence", "relevance", "reason"], "properties": {
        "coherence": number, "reason": {"type": "string"},
        "relevance": {"type": "object", "required": ["score"], "properties": {"score": number}},
    }});
    let mut asked = body(OPENAI, "Judge it.");
    asked["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": schema}});
    let given: Value = serde_json::from_str(&said(&simulator, &asked).await).unwrap();
    assert_eq!((&given["coherence"], &given["relevance"]["score"]), (&json!(0.2), &json!(0.9)));
    assert_eq!(given["reason"], "reason text");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_recited_and_gone_on_with(
        reference in "\\PC{1,120}|([a-c\"'`<>\\n ]{1,60})|([\u{4e00}-\u{4e20}]{1,60})",
        cut in 1_usize..120,
        chunk in 1_usize..9,
        seed: u64,
    ) {
        prop_assume!(!reference.trim().is_empty());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            for dialect in DialectName::ALL {
                let chunks = [Chunks::Bytes(chunk), Chunks::Characters(chunk), Chunks::Random(chunk), Chunks::Words, Chunks::Whole];
                let answer = Answer::exactly(reference.clone()).in_chunks(chunks[chunk % 5]);
                let mut provider = provider(dialect).answering(answer);
                provider.behaviour.seed = seed;
                let simulator = Simulator::new(provider);
                assert_eq!(said(&simulator, &body(dialect, "recite")).await, reference);
                let at = reference.char_indices().nth(cut).map_or(reference.len(), |(at, _)| at);
                let partial = &reference[..at];
                if partial.trim().is_empty() {
                    continue;
                }
                // No mark that the text could hold too.
                let asks = format!("You were cut off. Repeat exactly and continue: ⟦{partial}⟧");
                let answer = said(&simulator, &after(dialect, partial, Some(&asks))).await;
                assert_eq!(answer, reference);
            }
        });
    }
}
