//! When a stream counts as broken, what a rescue may cost, and what the caller can choose.

use crate::read::{Heard, hear};
use crate::support::memory::{Plan, World, read, rule};
use crate::support::{body, hello, request};
use canon::DialectName;
use http::HeaderValue;
use http_body_util::BodyExt;
use serde_json::json;
use simulator::{Answer, Behaviour, Chunks, Manner, Pace};
use std::time::Duration;

const OPENAI: DialectName = DialectName::OpenaiChat;

fn text(words: usize) -> String {
    (0..words).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ")
}

fn paced(text: &str, interval: Duration) -> Behaviour {
    let pace = Pace { first_token: Duration::from_millis(20), interval, ..Pace::default() };
    Behaviour { answer: Answer::exactly(text), pace, ..Behaviour::default() }
}

fn world(plan: Plan, text: &str, interval: Duration) -> World {
    let world = plan.build();
    world.primary.set_behaviour(paced(text, interval));
    world.fallback.set_behaviour(paced(text, interval));
    world
}

async fn streamed(world: &World) -> Heard {
    hear(OPENAI, &world.send(hello(OPENAI, true)).await)
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed_after_ten_times_the_usual_gap_or_five_seconds_keep_alives_or_not() {
    let said = text(60);
    for (fault, interval) in [("stall_with_keepalives:after=30", 20), ("stall:after=30", 20), ("stall:after=30", 700)] {
        let interval = Duration::from_millis(interval);
        let world = world(Plan::default(), &said, interval);
        for _ in 0..3 {
            assert_eq!(streamed(&world).await.text, said);
        }
        world.break_primary(fault);
        world.fallback.set_behaviour(paced(&said, Duration::ZERO));
        let began = tokio::time::Instant::now();
        let heard = streamed(&world).await;
        assert!(heard.is_complete() && heard.text == said, "{fault}: {heard:#?}");
        // The rest of the time are the thirty events before it, and the first tokens of both.
        let answer = interval * 30 + Duration::from_millis(100);
        let noticed = began.elapsed().saturating_sub(answer);
        let limit = (interval * 10).max(Duration::from_secs(5)) + Duration::from_millis(500);
        assert!(noticed <= limit, "{fault} at {interval:?}: {noticed:?} > {limit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_of_the_usual_speed_for_ten_seconds_is_rescued() {
    let said = text(900);
    let world = world(Plan::default(), &said, Duration::from_millis(50));
    for _ in 0..6 {
        assert_eq!(streamed(&world).await.text, said);
    }
    let fast = Duration::from_secs(45);
    // A quarter of the speed from the twentieth event on would take three minutes.
    world.primary.set_behaviour(paced(&said, Duration::from_millis(200)));
    let began = tokio::time::Instant::now();
    let heard = streamed(&world).await;
    assert!(heard.is_complete() && heard.text == said, "{heard:#?}");
    assert!(began.elapsed() < fast + Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(world.fallback.journal().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_never_mistaken_for_a_slow_provider() {
    let said = text(400);
    let world = world(Plan::default(), &said, Duration::from_millis(20));
    for _ in 0..6 {
        assert_eq!(streamed(&world).await.text, said);
    }
    let mut response = world.gateway.handle(hello(OPENAI, true)).await;
    let mut frames = 0;
    while let Some(frame) = response.body_mut().frame().await {
        frame.unwrap();
        frames += 1;
        tokio::time::sleep(Duration::from_secs(if frames % 7 == 0 { 20 } else { 2 })).await;
    }
    assert!(frames > 5);
    assert_eq!(world.fallback.journal().len(), 0, "nobody was asked to go on");
}

#[tokio::test(start_paused = true)]
async fn what_is_done_is_the_models_setting_or_the_callers_word() {
    let said = text(40);
    for (setting, header, goes_on) in [
        ("rescue: resume", None, true),
        ("rescue: error", None, false),
        ("rescue: error", Some("resume"), true),
        ("rescue: resume", Some("error"), false),
        ("rescue: { mode: restart }", None, false),
    ] {
        let world = world(Plan::default().model(setting), &said, Duration::from_millis(1));
        world.break_primary("cut_after_text:bytes=60");
        let mut request = hello(OPENAI, true);
        if let Some(word) = header {
            request.headers_mut().insert("x-mainstay-rescue", HeaderValue::from_static(word));
        }
        let heard = hear(OPENAI, &world.send(request).await);
        assert_eq!(heard.is_complete(), goes_on, "{setting}, {header:?}: {heard:#?}");
        assert_eq!(heard.is_honest_error(), !goes_on, "{setting}, {header:?}: {heard:#?}");
    }
    let world = world(Plan::default(), &said, Duration::from_millis(1));
    let mut request = hello(OPENAI, true);
    request.headers_mut().insert("x-mainstay-rescue", HeaderValue::from_static("perhaps"));
    let answer = world.send(request).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("`resume`, `restart` and `error`"), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_accepts_a_restart_reads_a_documented_event_and_then_the_whole_answer() {
    let said = text(40);
    let world = world(Plan::default().model("rescue: restart"), &said, Duration::from_millis(1));
    world.break_primary("cut_after_text:bytes=60");
    let mut request = hello(OPENAI, true);
    request.headers_mut().insert("x-mainstay-restart", HeaderValue::from_static("accept"));
    let answer = world.send(request).await;
    let (before, after) =
        answer.text().split_once("\"mainstay\":{\"restart\":true}").map(|(a, b)| (a.len(), b.len())).unwrap();
    assert!(before > 0 && after > 0);
    let heard = hear(OPENAI, &answer);
    assert!(heard.is_complete() && heard.text.ends_with(&said), "{heard:#?}");
}

#[tokio::test(start_paused = true)]
async fn across_same_model_asks_nobody_else() {
    let said = text(40);
    let world = world(Plan::default().model("rescue: { across: same_model }"), &said, Duration::from_millis(1));
    world.break_primary("cut_after_text:bytes=60");
    let heard = streamed(&world).await;
    assert!(heard.is_honest_error(), "{heard:#?}");
    assert_eq!(world.fallback.journal().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_refuses_the_prefill_is_asked_in_words_and_remembered() {
    let said = text(40);
    let plan =
        Plan { fallback_keys: "[sk-f], quirks: { continuation: prefill }", ..Plan::of(DialectName::AnthropicMessages) };
    let world = world(plan, &said, Duration::from_millis(1));
    for calls in [2, 3] {
        world.break_primary("cut_after_text:bytes=60");
        let heard = hear(OPENAI, &world.send(hello(OPENAI, true)).await);
        assert!(heard.is_complete() && heard.text == said, "{heard:#?}");
        assert_eq!(world.fallback.journal().len(), calls, "the refusal is learned");
    }
}

#[tokio::test(start_paused = true)]
async fn usage_is_the_sum_of_the_parts_and_the_cap_what_is_left() {
    let said = text(60);
    let world = world(Plan::default(), &said, Duration::from_millis(1));
    world.break_primary("cut_after_text:bytes=100");
    let mut asked = body(OPENAI, "Hello");
    asked["stream_options"] = json!({ "include_usage": true });
    asked["max_tokens"] = json!(400);
    let heard = hear(OPENAI, &world.send(request(OPENAI, asked, true)).await);
    assert_eq!(heard.text, said, "{heard:#?}");
    let (input, output) = heard.usage.expect("usage was asked for");
    let fallback = &world.fallback.journal()[0];
    assert!(input > fallback.prompt_tokens, "{input}: the prompt was read twice");
    assert!(output >= fallback.output_tokens + 100 / 4, "{output}");
    let sent: serde_json::Value = serde_json::from_slice(&world.spy.sent()[1].body).unwrap();
    let left = sent["max_completion_tokens"].as_u64().or(sent["max_tokens"].as_u64()).unwrap();
    assert!(left < 400 && left > 300, "{left}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_reached_its_cap_before_the_cut_is_complete() {
    let said = text(60);
    let world = world(Plan::default(), &said, Duration::from_millis(1));
    world.break_primary("cut_after_text:bytes=200");
    let mut asked = body(OPENAI, "Hello");
    asked["max_tokens"] = json!(40);
    for _ in 0..3 {
        let heard = hear(OPENAI, &world.send(request(OPENAI, asked.clone(), true)).await);
        assert_eq!(heard.finish.as_deref(), Some("length"), "{heard:#?}");
        assert!(heard.terminated && heard.error.is_none());
    }
    assert_eq!(world.fallback.journal().len(), 0);
    world.hello().await.served_by("fallback");
}

#[tokio::test(start_paused = true)]
async fn text_is_held_back_to_the_end_of_a_sentence_where_the_operator_wants_it() {
    let said =
        "One sentence stands here. A second one follows it at once! And a third is not yet at its end, but will be.";
    let world = world(Plan::default().model("rescue: { hold: sentence }"), said, Duration::from_millis(1));
    for fault in ["refuse", "cut_after_text:bytes=70"] {
        world
            .fallback
            .set_behaviour(Behaviour { continues: Manner::Refuses.into(), ..paced(said, Duration::from_millis(1)) });
        world.primary.set_behaviour(Behaviour {
            faults: if fault == "refuse" { Vec::new() } else { vec![rule(fault)] },
            answer: Answer::exactly(said).in_chunks(Chunks::Characters(4)),
            ..paced(said, Duration::from_millis(1))
        });
        let heard = streamed(&world).await;
        if fault == "refuse" {
            assert_eq!(heard.text, said);
        } else {
            assert!(heard.is_honest_error(), "{heard:#?}");
            assert_eq!(heard.text.trim_end(), "One sentence stands here. A second one follows it at once!");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn past_the_budget_of_transcripts_streams_go_on_without_rescue() {
    let said = text(4_000);
    let plan = Plan::default();
    let world = world(plan, &said, Duration::ZERO);
    let yaml = Plan::default().yaml("http://primary", "http://fallback");
    let snapshot = crate::support::snapshot(&yaml, &world.health);
    let gateway = gateway::Gateway::new(snapshot, std::sync::Arc::new(world.spy.clone()), 1).unwrap();
    let gateway = gateway.with_byte_budget(64 << 10);
    let answer = read(gateway.handle(hello(OPENAI, true)).await).await;
    assert_eq!(hear(OPENAI, &answer).text, said, "the stream itself is whole");
    world.break_primary("cut_after_text:bytes=25000");
    let heard = hear(OPENAI, &read(gateway.handle(hello(OPENAI, true)).await).await);
    assert!(heard.is_honest_error(), "{heard:#?}");
    assert_eq!(gateway.held_bytes(), 0, "everything is given back");
}

#[tokio::test(start_paused = true)]
async fn the_transcripts_of_ten_thousand_open_streams_stay_within_their_budget() {
    const STREAMS: usize = 10_000;
    let said = text(200);
    let world = world(Plan::default(), &said, Duration::from_secs(3600));
    // A stream gives its first event and then takes its time.
    let slow = Behaviour {
        answer: Answer::exactly(format!("{said} and more")).in_chunks(Chunks::Characters(said.len())),
        ..paced(&said, Duration::from_secs(3600))
    };
    world.primary.set_behaviour(slow);
    let yaml = Plan::default().model("timeouts: { idle: 2h }").yaml("http://primary", "http://fallback");
    let snapshot = crate::support::snapshot(&yaml, &world.health);
    let gateway = gateway::Gateway::new(snapshot, std::sync::Arc::new(world.spy.clone()), 1).unwrap();
    // Room for the requests, and a quarter of it for about half of the transcripts.
    let budget = STREAMS * said.len() * 2;
    let gateway = gateway.with_byte_budget(budget);
    let mut open = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        let mut response = gateway.handle(hello(OPENAI, true)).await;
        assert_eq!(response.status(), 200);
        response.body_mut().frame().await.unwrap().unwrap();
        assert!(gateway.transcript_bytes() <= budget / 4);
        open.push(response);
    }
    let without = gateway.streams_without_transcript();
    assert!((STREAMS / 10..STREAMS).contains(&without), "{without} streams went on without");
    assert!(gateway.transcript_bytes() > budget / 8);
    drop(open);
    assert_eq!((gateway.transcript_bytes(), gateway.held_bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_hangs_up_during_a_rescue_cancels_it() {
    let said = text(60);
    let world = world(Plan::default(), &said, Duration::from_millis(1));
    world.break_primary("cut_after_text:bytes=60");
    world.break_fallback("hang_before_headers");
    let mut response = world.gateway.handle(hello(OPENAI, true)).await;
    let reading = async {
        while let Some(frame) = response.body_mut().frame().await {
            frame.unwrap();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(2), reading).await.is_err(), "it waits for the fallback");
    assert_eq!(world.fallback.journal().len(), 1);
    drop(response);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(matches!(world.fallback.journal()[0].ended, simulator::Ended::Cancelled { .. }));
    assert_eq!(world.gateway.held_bytes(), 0);
}
