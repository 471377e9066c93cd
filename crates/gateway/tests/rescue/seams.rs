//! Text cut anywhere goes on as if nothing had happened, whoever goes on with it and however badly.

use crate::read::{Heard, hear};
use crate::support::hello;
use crate::support::memory::{Plan, World, rule};
use crate::texts::{self, Text};
use canon::DialectName;
use simulator::{Answer, Behaviour, Chunks, Continues, Manner, NativeWay, Pace};
use std::collections::BTreeMap;

const WAYS: [&str; 5] = ["drop", "reset", "close", "error", "hang"];

/// Two providers that say `text`; the fallback goes on in this way.
fn world(primary: DialectName, fallback: DialectName, native: bool) -> World {
    let keys = if native { "[sk-f], quirks: { continuation: prefill }" } else { "[sk-f]" };
    Plan { primary, fallback, fallback_keys: keys, ..Plan::default() }.build()
}

fn says(text: &str, continues: Continues) -> Behaviour {
    let answer = Answer::exactly(text).in_chunks(Chunks::Characters(9));
    Behaviour { answer, pace: Pace::instant(), continues, ..Behaviour::default() }
}

async fn cut(world: &World, caller: DialectName, text: &str, fault: &str, continues: Continues) -> Heard {
    let behaviour = says(text, continues);
    world.primary.set_behaviour(Behaviour { faults: vec![rule(fault)], ..behaviour.clone() });
    world.fallback.set_behaviour(behaviour);
    hear(caller, &world.send(hello(caller, true)).await)
}

/// What must hold of every stream, however it ended.
fn check(heard: &Heard, shown: &str, what: &str) {
    assert!(heard.oddities.is_empty(), "{what}: {heard:#?}");
    assert!(heard.ids.len() <= 1 && heard.created.len() <= 1 && heard.models.len() <= 1, "{what}: {heard:#?}");
    assert!(heard.text.starts_with(shown), "{what}: what was shown stays: {heard:#?}");
    assert!(heard.is_complete() != heard.is_honest_error(), "{what}: {heard:#?}");
}

/// What of a text cut after so many bytes is whole characters.
fn shown(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
    text.get(..end).unwrap()
}

/// Cuts every text at every byte; dialects and ways of breaking off rotate. Returns joined and honest errors.
async fn sweep(texts: &[Text], native: bool, manner: Manner) -> (usize, usize) {
    let all = DialectName::ALL;
    let (mut joined, mut honest) = (0, 0);
    let mut turn = 0;
    for text in texts {
        for bytes in 0..=text.said.len() {
            turn += 1;
            let (caller, primary, fallback) = (all[turn % 3], all[turn / 3 % 3], all[turn / 9 % 3]);
            // Gemini goes on natively by a token alone, which is a test of its own.
            let native = native && fallback != DialectName::Gemini;
            let continues = Continues { manner, native: native.then_some(NativeWay::Trailing), ..Continues::default() };
            // A world a cut: no breaker opens, nothing is learned.
            let world = world(primary, fallback, native);
            let fault = format!("cut_after_text:bytes={bytes},by={}", WAYS[turn % WAYS.len()]);
            let heard = cut(&world, caller, &text.said, &fault, continues).await;
            let what = format!("{}: {caller}, {primary} then {fallback}, {fault}, {continues:?}", text.name);
            check(&heard, shown(&text.said, bytes), &what);
            if heard.is_complete() {
                assert_eq!(heard.text, text.said, "{what}");
                joined += 1;
            } else {
                // Of a text that says the same again, nobody can tell for sure whether it repeats or goes on.
                assert!(text.repeats, "{what}: {heard:#?}");
                honest += 1;
            }
        }
    }
    (joined, honest)
}

fn report(who: &str, texts: &[Text], (joined, honest): (usize, usize)) {
    let bytes: usize = texts.iter().map(|text| text.said.len() + 1).sum();
    println!("{who}: {} texts, {bytes} cuts, {joined} whole again, {honest} honest errors", texts.len());
    assert_eq!(joined + honest, bytes);
}

#[tokio::test(start_paused = true)]
async fn text_cut_at_every_byte_is_whole_again_where_the_target_is_instructed() {
    let texts = texts::all(texts::count(12));
    let found = sweep(&texts, false, Manner::Exact).await;
    report("instructed", &texts, found);
}

#[tokio::test(start_paused = true)]
async fn text_cut_at_every_byte_is_whole_again_where_the_target_goes_on_natively() {
    let texts = texts::all(texts::count(12));
    let found = sweep(&texts, true, Manner::Exact).await;
    report("native", &texts, found);
}

#[tokio::test(start_paused = true)]
async fn text_cut_at_every_byte_is_whole_again_where_the_target_starts_anew() {
    let texts = texts::all(texts::count(12));
    let found = sweep(&texts, false, Manner::Anew).await;
    report("anew", &texts, found);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_does_not_do_as_asked_never_leads_to_a_wrong_join() {
    let texts: Vec<Text> = texts::all(texts::count(40)).into_iter().filter(|text| !text.repeats).collect();
    let mut verdicts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut turn = 0;
    for text in &texts {
        for (name, manner) in Manner::NAMES {
            for part in [3, 20, 55, 90] {
                turn += 1;
                let bytes = text.said.len() * part / 100;
                let all = DialectName::ALL;
                let (caller, primary, fallback) = (all[turn % 3], all[turn / 3 % 3], all[turn / 9 % 3]);
                let world = world(primary, fallback, false);
                let fault = format!("cut_after_text:bytes={bytes}");
                let heard = cut(&world, caller, &text.said, &fault, manner.into()).await;
                let what = format!("{name}: {}: {caller}, {primary} then {fallback}, {fault}", text.name);
                let shown = shown(&text.said, bytes);
                check(&heard, shown, &what);
                let count = verdicts.entry(name).or_default();
                if heard.is_complete() {
                    // Hardly anything was shown, and the answer is one of the target's own that begins with it; or a
                    // new one begins with everything shown, to the letter; or the target repeated the anchor and then
                    // left something out, or wrote plain marks for curly ones, which nobody can see.
                    let of_its_own = shown.trim().chars().count() < 16
                        || matches!(manner, Manner::Skips | Manner::AnewInOtherWords | Manner::Normalises);
                    assert!(heard.text == text.said || of_its_own, "{what}: {heard:#?}");
                    count.0 += 1;
                } else {
                    assert_eq!(heard.text, shown, "{what}: nothing is released without a join");
                    count.1 += 1;
                }
            }
        }
    }
    for (name, (joined, honest)) in &verdicts {
        println!("{name}: {joined} joined, {honest} honest errors");
    }
    let of = |name: &str| verdicts[name];
    assert_eq!(of("instructed").1, 0);
    for never in ["rephrases_anchor", "refuses", "loops", "other_language", "preface_without_anchor"] {
        assert!(of(never).1 > of(never).0, "{never}: {:?}", of(never));
    }
}

#[tokio::test(start_paused = true)]
async fn gemini_goes_on_by_its_own_token() {
    let text = &texts::all(1)[0].said;
    for lag in [0, 1, 3] {
        for events in 1..text.len() / 9 {
            let plan = Plan { keys: "[sk-1], quirks: { continuation: token }", ..Plan::of(DialectName::Gemini) };
            let world = plan.alone().build();
            let continues = Continues { native: Some(NativeWay::Token), lag, ..Continues::default() };
            let bytes = events * 9;
            let once = simulator::FaultRule { requests: Some(1), ..rule(&format!("cut_after_text:bytes={bytes}")) };
            world.primary.set_behaviour(Behaviour { faults: vec![once], ..says(text, continues) });
            let heard = hear(DialectName::Gemini, &world.send(hello(DialectName::Gemini, true)).await);
            let what = format!("lag {lag}, {events} events");
            check(&heard, shown(text, bytes), &what);
            // The nine characters of one event that come again prove no place: then it is asked in words.
            assert!(heard.is_complete(), "{what}: {heard:#?}");
            assert_eq!(heard.text, *text, "{what}");
        }
    }
}
