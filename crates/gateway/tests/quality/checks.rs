//! The cheap checks.

use crate::support::body;
use crate::{World, capped, says, structured, ways};
use canon::DialectName;
use serde_json::json;
use simulator::{Behaviour, Pace};

const REFUSAL: &str = "I'm sorry, but I can't assist with that request. Please ask me something else.";
const GOOD: &str = "{\"name\":\"Ada\"}";

#[tokio::test(start_paused = true)]
async fn white_space_in_the_place_of_an_answer_goes_to_the_next_target() {
    for (caller, target, stream) in ways() {
        let world = World::new(target, target, &[]).saying(" \n\t \n", "Good morning.");
        let told = world.hello(caller, stream).await;
        let way = format!("{caller} {target} {stream}: {told:?}");
        assert_eq!((told.text.as_str(), told.by.as_deref()), ("Good morning.", Some("fallback")), "{way}");
        // A dialect may leave white space out, so that nothing at all is left of the answer.
        let attempts = told.story["attempts"].as_array().unwrap();
        assert_eq!(attempts[0]["fault"], "bad_answer", "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_check_is_off_white_space_is_an_answer() {
    for (caller, target, stream) in ways() {
        let world = World::new(target, target, &["checks: { empty: off }"]).saying(" \n\t \n", "Good morning.");
        let told = world.hello(caller, stream).await;
        assert_eq!(told.by.as_deref(), Some("primary"), "{caller} {target} {stream}: {told:?}");
        assert_eq!(told.text.trim(), "", "{caller} {target} {stream}");
    }
}

#[tokio::test(start_paused = true)]
async fn broken_json_and_json_beside_the_schema_go_to_the_next_target_where_json_was_asked_for() {
    for (bad, check) in
        [("{\"name\": \"Ada\",", "json"), ("Sure! {\"name\":\"Ada\"}", "json"), ("{\"name\":1}", "schema")]
    {
        for (caller, target, stream) in ways() {
            let world = World::new(target, target, &[]).saying(bad, GOOD);
            let told = world.ask(caller, structured(caller, body(caller, "Who?")), stream).await;
            let way = format!("{caller} {target} {stream} {check}: {told:?}");
            assert_eq!((told.text.as_str(), told.by.as_deref()), (GOOD, Some("fallback")), "{way}");
            assert_eq!(told.outcomes(), [(check, "failed")], "{way}");
            assert_eq!(told.checks[0]["target"], "primary/m-1", "{way}");
            let plain = world.hello(caller, stream).await;
            assert_eq!((plain.text.as_str(), plain.by.as_deref()), (bad, Some("primary")), "not asked for: {way}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn json_that_is_as_asked_passes_and_where_the_check_is_off_anything_does() {
    for (caller, target, stream) in ways() {
        let asked = structured(caller, body(caller, "Who?"));
        let world = World::new(target, target, &[]).saying(GOOD, "{}");
        let told = world.ask(caller, asked.clone(), stream).await;
        assert_eq!((told.text.as_str(), told.outcomes().len()), (GOOD, 0), "{caller} {target} {stream}: {told:?}");
        let world = World::new(target, target, &["checks: { json: off }"]).saying("{", GOOD);
        let told = world.ask(caller, asked, stream).await;
        assert_eq!((told.text.as_str(), told.by.as_deref()), ("{", Some("primary")), "{caller} {target} {stream}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_caller_has_seen_something_a_broken_answer_is_written_down_and_stays() {
    for (caller, target, _) in ways() {
        let asked = structured(caller, body(caller, "Who?"));
        let world = World::new(target, target, &["rescue: error"]).saying("", GOOD);
        world.primary.set_behaviour(Behaviour { pace: Pace::default(), ..says("{\"name\": \"Ada, and more") });
        let told = world.ask(caller, asked, true).await;
        let way = format!("{caller} {target}: {told:?}");
        assert_eq!((told.text.as_str(), told.by.as_deref()), ("{\"name\": \"Ada, and more", Some("primary")), "{way}");
        assert_eq!(told.outcomes(), [("json", "recorded")], "{way}");
        assert_eq!(world.calls().1, 0, "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_did_not_pass_is_not_kept_for_the_next_one_who_asks() {
    let caller = DialectName::OpenaiChat;
    for (said, expected) in [("{\"name\": \"Ada, and more", "miss"), ("{\"name\": \"Ada Lovelace\"}", "hit")] {
        let world = World::new(caller, caller, &["rescue: error", "cache: {}"]);
        world.primary.set_behaviour(Behaviour { pace: Pace::default(), ..says(said) });
        for cache in ["miss", expected] {
            let asked = crate::support::request(caller, structured(caller, body(caller, "Who?")), true);
            let answer = crate::support::memory::read(world.gateway.handle(asked).await).await;
            assert_eq!((answer.status, answer.header("x-mainstay-cache")), (200, Some(cache)), "{said}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_cut_off_by_a_limit_goes_on_only_where_the_operator_wants_that() {
    for (caller, target, stream) in ways() {
        let asked = capped(caller, body(caller, "Count."), 3);
        let say = |world: World| {
            let world = world.saying("", "Done.");
            world.primary.set_behaviour(Behaviour { pace: Pace::default(), ..says("One two three four five six.") });
            world
        };
        let told = say(World::new(target, target, &[])).ask(caller, asked.clone(), stream).await;
        let way = format!("{caller} {target} {stream}: {told:?}");
        assert_eq!((told.by.as_deref(), told.outcomes().len()), (Some("primary"), 0), "{way}");
        let told = say(World::new(target, target, &["checks: { truncated: on }"])).ask(caller, asked, stream).await;
        let way = format!("{caller} {target} {stream}: {told:?}");
        if stream {
            assert_eq!(
                (told.by.as_deref(), told.outcomes()),
                (Some("primary"), vec![("truncated", "recorded")]),
                "{way}"
            );
        } else {
            assert_eq!((told.text.as_str(), told.outcomes()), ("Done.", vec![("truncated", "failed")]), "{way}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusing_primary_is_passed_over_without_a_trace_in_the_answer_where_the_operator_wants_that() {
    for (caller, target, stream) in ways() {
        for refusal in [REFUSAL, "I cannot help with that"] {
            let world = World::new(target, target, &["checks: { refusal: on }"]).saying(refusal, "Good morning.");
            let told = world.hello(caller, stream).await;
            let way = format!("{caller} {target} {stream}: {told:?}");
            assert_eq!((told.text.as_str(), told.by.as_deref()), ("Good morning.", Some("fallback")), "{way}");
            assert_eq!(told.outcomes(), [("refusal", "failed")], "{way}");
            let world = World::new(target, target, &[]).saying(refusal, "Good morning.");
            let told = world.hello(caller, stream).await;
            assert_eq!((told.text.as_str(), told.by.as_deref()), (refusal, Some("primary")), "off: {way}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_but_the_first_sentence_is_held_and_an_answer_that_is_none_passes_to_the_letter() {
    let answer = "I'm sorry to hear that. I can't help with that myself, but your doctor can. And so on, at length.";
    for (caller, target, stream) in ways() {
        let world = World::new(target, target, &["checks: { refusal: on }"]).saying(answer, "Good morning.");
        let told = world.hello(caller, stream).await;
        assert_eq!((told.text.as_str(), told.by.as_deref()), (answer, Some("primary")), "{caller} {target} {stream}");
    }
    // Half of the answer is on its way, and the caller has the first sentence.
    let world =
        World::new(DialectName::OpenaiChat, DialectName::OpenaiChat, &["checks: { refusal: on }", "rescue: error"]);
    let cut = crate::support::memory::rule("cut_after_text:bytes=60");
    world.primary.set_behaviour(Behaviour { faults: vec![cut], ..says(answer) });
    let heard = crate::read::hear(
        DialectName::OpenaiChat,
        &world.send(crate::support::hello(DialectName::OpenaiChat, true)).await,
    );
    assert!(heard.is_honest_error() && answer.starts_with(&heard.text) && heard.text.len() > 24, "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_blocked_is_told_to_the_caller_whatever_is_checked() {
    let all = "checks: { empty: on, json: on, truncated: on, refusal: on }";
    let evaluate = "evaluate: { model: critic }";
    for caller in DialectName::ALL {
        for target in DialectName::ALL {
            let world = World::new(target, target, &[all, evaluate]);
            world.primary.set_faults([crate::support::memory::rule("content_policy_400")]);
            let answer = world.send(crate::support::hello(caller, false)).await;
            assert_eq!(answer.header("x-mainstay-provider"), Some("primary"), "{caller} {target}: {}", answer.text());
            assert_eq!(world.calls(), (1, 0, 0), "{caller} {target}: {}", answer.text());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_pass_says_nothing_about_outages() {
    let world = World::new(DialectName::OpenaiChat, DialectName::OpenaiChat, &["checks: { refusal: on }"])
        .saying(REFUSAL, "Good morning.");
    for _ in 0..12 {
        assert_eq!(world.hello(DialectName::OpenaiChat, false).await.by.as_deref(), Some("fallback"));
    }
    assert_eq!(world.calls(), (12, 12, 0), "the primary is asked first every time: its breaker is closed");
}

#[tokio::test(start_paused = true)]
async fn when_nobody_passes_the_caller_is_told_which_check_it_was() {
    let world = World::new(DialectName::OpenaiChat, DialectName::OpenaiChat, &["checks: { refusal: on }"])
        .saying(REFUSAL, REFUSAL);
    let told = world.hello(DialectName::OpenaiChat, true).await;
    assert_eq!(told.status, 502, "{told:?}");
    assert_eq!(told.outcomes(), [("refusal", "failed"), ("refusal", "failed")]);
    assert!(told.story["attempts"].to_string().contains("check `refusal`"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn tool_calls_and_several_candidates_are_left_alone() {
    let lines = ["checks: { refusal: on, truncated: on }"];
    let world = World::new(DialectName::OpenaiChat, DialectName::OpenaiChat, &lines).saying(REFUSAL, "Good morning.");
    let mut two = body(DialectName::OpenaiChat, "Hello");
    two["n"] = json!(2);
    for stream in [false, true] {
        let answer = world.send(crate::support::request(DialectName::OpenaiChat, two.clone(), stream)).await;
        assert_eq!(answer.header("x-mainstay-provider"), Some("primary"), "{}", answer.text());
    }
    let calls = simulator::Answer::default().then_calling("look_up", json!({"place": "Oslo"}));
    world.primary.set_behaviour(Behaviour { answer: calls, ..says("") });
    let mut tools = structured(DialectName::OpenaiChat, body(DialectName::OpenaiChat, "Hello"));
    tools["tools"] = json!([{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]);
    for stream in [false, true] {
        let told = world.ask(DialectName::OpenaiChat, tools.clone(), stream).await;
        assert_eq!((told.by.as_deref(), told.outcomes().len()), (Some("primary"), 0), "{told:?}");
    }
}
