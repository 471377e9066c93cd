//! Cuts at an exact place: what the client gets is what was promised, to the byte.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]

mod common;

use bytes::Bytes;
use canon::DialectName;
use common::{ask, body, body_with_tool, events, is_finished, provider, read, read_within, request, streamed_text};
use http::Method;
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use simulator::{
    Answer, Chunks, Count, Cut, CutBy, CutPoint, Ended, FaultRule, InMemory, Injection, Injector, Pace, Provider,
    Simulator,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use upstream::{Call, Endpoint, Transport};

const OPENAI: DialectName = DialectName::OpenaiChat;
const ANTHROPIC: DialectName = DialectName::AnthropicMessages;
const GEMINI: DialectName = DialectName::Gemini;
const AGES: Duration = Duration::from_secs(3600);

const REFERENCE: &str = "A naïve “fox”\n漢字\t🦊 \\ \u{1}end.";
const THOUGHT: &str = "Höm, \"let\" me\nthink 🤔.";

fn reciting(dialect: DialectName) -> Provider {
    provider(dialect).answering(Answer::exactly(REFERENCE).in_chunks(Chunks::Characters(5)))
}

fn cutting(provider: Provider, cut: Cut) -> Simulator {
    Simulator::new(provider.failing([FaultRule::new(cut.into())]))
}

/// What a stream brings, and whether it broke and by a reset.
async fn stream(simulator: &Simulator) -> (Vec<u8>, Option<bool>) {
    let response = simulator.call(ask(simulator.dialect(), "recite", true)).await.unwrap();
    let (bytes, broken) = read(response.into_body()).await;
    (bytes, broken.map(simulator::BrokenBody::is_reset))
}

/// The whole events of a stream, and what is left of one.
fn divided(bytes: &[u8]) -> (String, Vec<u8>) {
    let end = bytes.windows(2).rposition(|pair| pair == b"\n\n").map_or(0, |at| at + 2);
    (String::from_utf8(bytes[..end].to_vec()).unwrap(), bytes[end..].to_vec())
}

/// Bytes of a text as they stand in JSON; the text may end within a character.
fn escaped(bytes: &[u8]) -> Vec<u8> {
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap(),
    };
    let quoted = Value::from(whole).to_string();
    [&quoted.as_bytes()[1..quoted.len() - 1], &bytes[whole.len()..]].concat()
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn text_is_cut_after_exactly_so_many_bytes_in_whole_events() {
    for dialect in DialectName::ALL {
        for at in 0..=REFERENCE.len() {
            let simulator = cutting(reciting(dialect), Cut::text(u32::try_from(at).unwrap()));
            let (bytes, is_reset) = stream(&simulator).await;
            assert_eq!(is_reset, Some(false));
            let (whole, rest) = divided(&bytes);
            let floor = floor(REFERENCE, at);
            assert_eq!(streamed_text(dialect, &whole), REFERENCE[..floor], "{dialect} at {at}");
            assert_eq!(rest.is_empty(), floor == at, "{dialect} at {at}");
            assert!(rest.ends_with(&REFERENCE.as_bytes()[floor..at]), "{dialect} at {at}");
            assert!(!is_finished(dialect, &whole));
            assert_eq!(simulator.journal()[0].text, at as u64, "{dialect} at {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_torn_event_holds_exactly_the_rest_of_the_bytes() {
    for dialect in DialectName::ALL {
        for at in 0..=REFERENCE.len() {
            let simulator = cutting(reciting(dialect), Cut::text(u32::try_from(at).unwrap()).torn());
            let (bytes, _) = stream(&simulator).await;
            let (whole, rest) = divided(&bytes);
            let shown = streamed_text(dialect, &whole).len();
            assert!(REFERENCE.starts_with(&streamed_text(dialect, &whole)) && shown <= at);
            let quoted = [b":\"".as_slice(), &escaped(&REFERENCE.as_bytes()[shown..at])].concat();
            assert!(rest.ends_with(&quoted), "{dialect} at {at}: {}", String::from_utf8_lossy(&rest));
            assert_eq!(simulator.journal()[0].text, at as u64);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn characters_are_counted_as_well() {
    for (count, (at, _)) in (0..).zip(REFERENCE.char_indices()) {
        let cut = Cut { at: CutPoint::Text(Count::Characters(count)), ..Cut::text(0) };
        let (bytes, _) = stream(&cutting(reciting(OPENAI), cut)).await;
        let (whole, rest) = divided(&bytes);
        assert_eq!((streamed_text(OPENAI, &whole).as_str(), rest.as_slice()), (&REFERENCE[..at], b"".as_slice()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_shorter_than_the_count_is_whole() {
    for dialect in DialectName::ALL {
        let healthy = stream(&Simulator::new(reciting(dialect))).await;
        for cut in [Cut::text(1000), Cut::wire(1_000_000), Cut::reasoning(0), Cut::arguments(5)] {
            let (bytes, broken) = stream(&cutting(reciting(dialect), cut)).await;
            assert_eq!((bytes, broken), healthy, "{cut:?} {dialect}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_ending_is_what_it_says() {
    for dialect in DialectName::ALL {
        for cut in [Cut::text(9), Cut::text(9).torn(), Cut::wire(700), Cut::events(2)] {
            let (dropped, is_reset) = stream(&cutting(reciting(dialect), cut)).await;
            assert_eq!(is_reset, Some(false));
            assert_eq!(stream(&cutting(reciting(dialect), cut.by(CutBy::Reset))).await, (dropped.clone(), Some(true)));
            assert_eq!(stream(&cutting(reciting(dialect), cut.by(CutBy::Close))).await, (dropped.clone(), None));

            let hanging = cutting(reciting(dialect), cut.by(CutBy::Hang));
            let mut body = hanging.call(ask(dialect, "recite", true)).await.unwrap().into_body();
            let mut shown = Vec::new();
            while let Ok(frame) = tokio::time::timeout(AGES, body.frame()).await {
                shown.extend_from_slice(frame.unwrap().unwrap().data_ref().unwrap());
            }
            assert_eq!(shown, dropped, "{cut:?} {dialect}");
            drop(body);
            assert!(matches!(hanging.journal()[0].ended, Ended::Cancelled { .. }));

            let (failed, broken) = stream(&cutting(reciting(dialect), cut.by(CutBy::Error))).await;
            assert_eq!(broken, None);
            assert!(failed.starts_with(&dropped), "{cut:?} {dialect}");
            let error = &failed[dropped.len()..];
            let is_open = !dropped.ends_with(b"\n\n");
            assert!(String::from_utf8_lossy(error).contains("error") && error.starts_with(b"\n\n") == is_open);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn half_speed_begins_at_the_cut_and_loses_nothing() {
    let pace = Pace { interval: Duration::from_millis(100), ..Pace::instant() };
    let time = async |dialect, cut: Option<Cut>| {
        let simulator = match cut {
            Some(cut) => cutting(reciting(dialect).at_pace(pace.clone()), cut.by(CutBy::Slow)),
            None => Simulator::new(reciting(dialect).at_pace(pace.clone())),
        };
        let begun = Instant::now();
        let (bytes, broken) = stream(&simulator).await;
        let text = String::from_utf8(bytes).unwrap();
        assert!(broken.is_none() && is_finished(dialect, &text));
        assert_eq!(streamed_text(dialect, &text), REFERENCE, "{cut:?} {dialect}");
        begun.elapsed()
    };
    for dialect in DialectName::ALL {
        let usual = time(dialect, None).await;
        for cut in [Cut::text(0), Cut::text(7).torn(), Cut::events(0), Cut::wire(0)] {
            let slow = time(dialect, Some(cut)).await;
            assert!(slow > usual + Duration::from_millis(200) && slow <= usual * 2, "{cut:?} {dialect}: {slow:?}");
        }
        let late = time(dialect, Some(Cut::text(u32::try_from(REFERENCE.len()).unwrap()))).await;
        assert_eq!(late, usual, "{dialect}: nothing is behind it");
    }
}

#[tokio::test(start_paused = true)]
async fn the_wire_is_cut_after_every_byte_of_the_body() {
    for dialect in DialectName::ALL {
        let (healthy, _) = stream(&Simulator::new(reciting(dialect))).await;
        for at in 0..=healthy.len() {
            let (bytes, is_reset) = stream(&cutting(reciting(dialect), Cut::wire(u32::try_from(at).unwrap()))).await;
            assert_eq!((bytes.as_slice(), is_reset), (&healthy[..at], Some(false)), "{dialect}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_wire_is_cut_in_arrays_in_compressed_and_in_whole_bodies_too() {
    let array = async |simulator: &Simulator| {
        let (mut parts, asked) = ask(GEMINI, "recite", true).into_parts();
        parts.uri = "/v1beta/models/m-1:streamGenerateContent".parse().unwrap();
        read(simulator.call(http::Request::from_parts(parts, asked)).await.unwrap().into_body()).await.0
    };
    let healthy = array(&Simulator::new(reciting(GEMINI))).await;
    assert_eq!(array(&cutting(reciting(GEMINI), Cut::wire(333))).await, healthy[..333]);

    let gzip = || FaultRule::new("gzip".parse().unwrap());
    let (packed, _) = stream(&Simulator::new(reciting(OPENAI).failing([gzip()]))).await;
    let both = reciting(OPENAI).failing([gzip(), FaultRule::new(Cut::wire(100).into())]);
    assert_eq!(stream(&Simulator::new(both)).await.0, packed[..100]);

    for dialect in DialectName::ALL {
        let whole = async |simulator: &Simulator| {
            let response = simulator.call(ask(dialect, "recite", false)).await.unwrap();
            let announced = http_body::Body::size_hint(response.body()).exact().unwrap();
            let (bytes, broken) = read(response.into_body()).await;
            (announced, bytes, broken.is_some())
        };
        let (_, healthy, _) = whole(&Simulator::new(reciting(dialect))).await;
        for at in [0, 1, healthy.len() / 2, healthy.len() - 1] {
            let cut = Cut::wire(u32::try_from(at).unwrap());
            let expected = (healthy.len() as u64, healthy[..at].to_vec(), true);
            assert_eq!(whole(&cutting(reciting(dialect), cut)).await, expected, "{dialect}");
            let closed = (at as u64, healthy[..at].to_vec(), false);
            assert_eq!(whole(&cutting(reciting(dialect), cut.by(CutBy::Close))).await, closed, "{dialect}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_streamed_is_cut_within_its_text() {
    for dialect in DialectName::ALL {
        for at in 0..=REFERENCE.len() {
            let simulator = cutting(reciting(dialect), Cut::text(u32::try_from(at).unwrap()));
            let (bytes, broken) = read(simulator.call(ask(dialect, "recite", false)).await.unwrap().into_body()).await;
            assert!(broken.is_some() && bytes.ends_with(&escaped(&REFERENCE.as_bytes()[..at])), "{dialect} at {at}");
            assert_eq!(simulator.journal()[0].text, at as u64);
        }
        let failing = cutting(reciting(dialect), Cut::text(3).by(CutBy::Error));
        let (bytes, _) = read(failing.call(ask(dialect, "recite", false)).await.unwrap().into_body()).await;
        assert!(serde_json::from_slice::<Value>(&bytes).unwrap()["error"].is_object(), "{dialect}");
    }
}

fn calling(dialect: DialectName) -> Provider {
    let answer = Answer::exactly("I shall look.")
        .then_calling("get_weather", json!({"city": "Zürich", "days": 3}))
        .then_calling("get_weather", json!({"city": "東京"}))
        .in_chunks(Chunks::Bytes(4));
    provider(dialect).answering(answer)
}

/// The JSON of every call's arguments as whole events bring it.
fn arguments(dialect: DialectName, stream: &str) -> String {
    let piece = |event: &Value| match dialect {
        OPENAI => event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned),
        ANTHROPIC => event["delta"]["partial_json"].as_str().map(str::to_owned),
        GEMINI => {
            let arguments = &event["candidates"][0]["content"]["parts"][0]["functionCall"]["args"];
            arguments.is_object().then(|| arguments.to_string())
        }
    };
    events(stream).iter().filter_map(piece).collect()
}

#[tokio::test(start_paused = true)]
async fn arguments_of_parallel_calls_are_cut_after_every_byte() {
    let all = r#"{"city":"Zürich","days":3}{"city":"東京"}"#;
    for dialect in DialectName::ALL {
        let (healthy, _) = stream(&Simulator::new(calling(dialect))).await;
        let healthy = String::from_utf8(healthy).unwrap();
        assert_eq!(
            (arguments(dialect, &healthy), streamed_text(dialect, &healthy)),
            (all.to_owned(), "I shall look.".to_owned())
        );
        for at in 0..=all.len() {
            let cut = Cut::arguments(u32::try_from(at).unwrap());
            let (bytes, broken) = stream(&cutting(calling(dialect), cut)).await;
            let (whole, rest) = divided(&bytes);
            let shown = arguments(dialect, &whole);
            assert!(broken.is_some() && all.starts_with(&shown) && shown.len() <= at, "{dialect} at {at}");
            assert!(!is_finished(dialect, &whole) && streamed_text(dialect, &whole) == "I shall look.");
            if dialect == GEMINI {
                assert!(rest.ends_with(&all.as_bytes()[shown.len()..at]), "at {at}");
            } else {
                assert_eq!(shown.len(), floor(all, at), "{dialect} at {at}");
                assert!(rest.ends_with(&all.as_bytes()[shown.len()..at]), "{dialect} at {at}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn arguments_of_calls_made_up_are_cut_as_well() {
    for dialect in DialectName::ALL {
        for streamed in [true, false] {
            let simulator = cutting(provider(dialect), Cut::arguments(10));
            let asked = request(dialect, &body_with_tool(dialect, "hello"), streamed);
            let (bytes, broken) = read(simulator.call(asked).await.unwrap().into_body()).await;
            assert!(broken.is_some() && !String::from_utf8(bytes).unwrap().contains("Paris"), "{dialect} {streamed}");
        }
    }
}

fn thinking(dialect: DialectName) -> (Provider, Value) {
    let mut asked = body(dialect, "recite");
    match dialect {
        OPENAI => {}
        ANTHROPIC => asked["thinking"] = json!({"type": "enabled", "budget_tokens": 2048}),
        GEMINI => asked["generationConfig"] = json!({"thinkingConfig": {"includeThoughts": true}}),
    }
    (provider(dialect).answering(Answer::exactly(REFERENCE).after_reasoning(THOUGHT)), asked)
}

fn thought(dialect: DialectName, stream: &str) -> String {
    let piece = |event: &Value| match dialect {
        OPENAI => event["choices"][0]["delta"]["reasoning_content"].as_str().map(str::to_owned),
        ANTHROPIC => event["delta"]["thinking"].as_str().map(str::to_owned),
        GEMINI => {
            let part = &event["candidates"][0]["content"]["parts"][0];
            part["text"].as_str().filter(|_| part["thought"] == true).map(str::to_owned)
        }
    };
    events(stream).iter().filter_map(piece).collect()
}

#[tokio::test(start_paused = true)]
async fn reasoning_is_cut_after_every_byte_and_before_any_text() {
    for dialect in DialectName::ALL {
        let (healthy, asked) = thinking(dialect);
        let text = common::whole(Simulator::new(healthy).call(request(dialect, &asked, true)).await.unwrap()).await;
        assert_eq!((thought(dialect, &text).as_str(), streamed_text(dialect, &text).as_str()), (THOUGHT, REFERENCE));
        for at in 0..=THOUGHT.len() {
            let (provider, asked) = thinking(dialect);
            let simulator = cutting(provider, Cut::reasoning(u32::try_from(at).unwrap()));
            let response = simulator.call(request(dialect, &asked, true)).await.unwrap();
            let (bytes, broken) = read(response.into_body()).await;
            let (whole, rest) = divided(&bytes);
            assert!(broken.is_some() && streamed_text(dialect, &whole).is_empty(), "{dialect} at {at}");
            assert_eq!(thought(dialect, &whole), THOUGHT[..floor(THOUGHT, at)], "{dialect} at {at}");
            assert!(rest.ends_with(&THOUGHT.as_bytes()[floor(THOUGHT, at)..at]));
            assert_eq!(simulator.journal()[0].text, 0);
        }
    }
}

fn call(dialect: DialectName, streamed: bool) -> Call {
    let (parts, body) = ask(dialect, "recite", streamed).into_parts();
    Call {
        endpoint: Arc::new(Endpoint { https: true, host: "sim-a".to_owned(), port: 443, path: String::new() }),
        method: Method::POST,
        path: parts.uri.to_string(),
        headers: parts.headers,
        body,
        connect: Duration::from_secs(3),
    }
}

#[tokio::test(start_paused = true)]
async fn injected_cuts_fall_in_the_same_places() {
    let injected = async |dialect, cut: Cut, streamed| {
        let healthy = InMemory::new().with(&Simulator::new(reciting(dialect)));
        let injector = Injector::new(Arc::new(healthy), dialect, &Injection::new(cut.into()));
        let mut body = injector.send(call(dialect, streamed)).await.ok().unwrap().body;
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return (Bytes::from(all), true) };
            all.extend_from_slice(frame.data_ref().unwrap());
        }
        (all.into(), false)
    };
    for dialect in DialectName::ALL {
        for streamed in [true, false] {
            for at in 0..REFERENCE.len() {
                let at = u32::try_from(at).unwrap();
                for cut in [Cut::text(at), Cut::text(at).torn(), Cut::wire(at * 7), Cut::text(at).by(CutBy::Close)] {
                    let own = cutting(reciting(dialect), cut).call(ask(dialect, "recite", streamed)).await.unwrap();
                    let (own, broken) = read(own.into_body()).await;
                    assert_eq!(injected(dialect, cut, streamed).await, (own.into(), broken.is_some()), "{cut:?}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_journal_tells_what_was_sent_and_billed_by_the_callers_id() {
    let pace = Pace { interval: Duration::from_secs(1), ..Pace::instant() };
    let simulator = Simulator::new(reciting(OPENAI).at_pace(pace));
    let with_id = |name: &'static str, id: &str| {
        let mut asked = ask(OPENAI, "recite", true);
        asked.headers_mut().insert(name, id.parse().unwrap());
        asked
    };
    let mut body = simulator.call(with_id("x-request-id", "first")).await.unwrap().into_body();
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
    }
    drop(body);
    let response = simulator.call(with_id("idempotency-key", &"k".repeat(300))).await.unwrap();
    let usage = events(&common::whole(response).await).pop().unwrap()["usage"].clone();
    let journal = simulator.journal();
    assert_eq!(journal[0].request_id.as_deref(), Some("first"));
    // The prelude and two events of five characters each: "A naïve “fo".
    assert_eq!((journal[0].text, journal[0].output_tokens), ("A naïve “f".len() as u64, 3));
    assert!(matches!(journal[0].ended, Ended::Cancelled { .. }));
    assert_eq!(journal[1].request_id.as_ref().unwrap().len(), 128);
    assert_eq!(journal[1].text, REFERENCE.len() as u64);
    assert_eq!(json!(journal[1].output_tokens), usage["completion_tokens"]);
    assert_eq!(json!(journal[1].prompt_tokens), usage["prompt_tokens"]);

    let refusing = Simulator::new(reciting(OPENAI).failing([FaultRule::new("503".parse().unwrap())]));
    refusing.call(ask(OPENAI, "recite", true)).await.unwrap();
    assert_eq!((refusing.journal()[0].prompt_tokens, refusing.journal()[0].output_tokens), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn ended_entries_are_taken_out_of_the_journal_and_open_ones_stay() {
    let simulator = Simulator::new(reciting(OPENAI));
    common::whole(simulator.call(ask(OPENAI, "recite", true)).await.unwrap()).await;
    let open = simulator.call(ask(OPENAI, "recite", true)).await.unwrap();
    common::whole(simulator.call(ask(OPENAI, "recite", true)).await.unwrap()).await;
    let ordinals = |entries: Vec<simulator::Entry>| entries.iter().map(|entry| entry.ordinal).collect::<Vec<_>>();
    assert_eq!(ordinals(simulator.take_journal()), [0, 2]);
    common::whole(open).await;
    assert_eq!(ordinals(simulator.take_journal()), [1]);
    assert_eq!(simulator.journal(), []);
}

#[tokio::test(start_paused = true)]
async fn tokens_billed_are_those_of_usage_whatever_was_asked() {
    for dialect in DialectName::ALL {
        let mut thinks = thinking(dialect);
        thinks.0 = thinks.0.answering(Answer { reasoning: None, ..Answer::exactly(REFERENCE) });
        for (provider, asked) in
            [thinks, (calling(dialect), body(dialect, "x")), (provider(dialect), body(dialect, "x"))]
        {
            let simulator = Simulator::new(provider);
            for streamed in [true, false] {
                let text = common::whole(simulator.call(request(dialect, &asked, streamed)).await.unwrap()).await;
                let all = if streamed { events(&text) } else { vec![serde_json::from_str(&text).unwrap()] };
                let usage = all.iter().rev().find_map(|event| {
                    [&event["usage"], &event["usageMetadata"]].into_iter().find(|usage| usage.is_object()).cloned()
                });
                let usage = usage.unwrap();
                let billed = match dialect {
                    OPENAI => usage["completion_tokens"].as_u64().unwrap(),
                    ANTHROPIC => usage["output_tokens"].as_u64().unwrap(),
                    GEMINI => {
                        usage["candidatesTokenCount"].as_u64().unwrap()
                            + usage["thoughtsTokenCount"].as_u64().unwrap_or(0)
                    }
                };
                let entry = simulator.take_journal().pop().unwrap();
                assert_eq!(entry.output_tokens, billed, "{dialect} {streamed}: {text}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_in_an_answer_of_64_kib_is_exact() {
    let long: String = REFERENCE.chars().cycle().take(40_000).collect();
    let recited = Answer::exactly(long.clone()).in_chunks(Chunks::Random(9));
    for at in [1, 1000, 33_333, long.len() - 1] {
        let simulator = cutting(provider(OPENAI).answering(recited.clone()), Cut::text(u32::try_from(at).unwrap()));
        let response = simulator.call(ask(OPENAI, "recite", true)).await.unwrap();
        let (bytes, _) = read_within(response.into_body(), AGES).await.unwrap();
        assert_eq!(streamed_text(OPENAI, &divided(&bytes).0), long[..floor(&long, at)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_in_any_chunks_is_cut_at_any_byte(
        reference in "\\PC{1,80}",
        chunk in 1_usize..9,
        place in 0.0_f64..=1.0,
        torn: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            for dialect in DialectName::ALL {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a short text")]
                let at = (reference.len() as f64 * place) as usize;
                let cut = Cut { torn, ..Cut::text(u32::try_from(at).unwrap()) };
                let chunks = [Chunks::Bytes(chunk), Chunks::Characters(chunk), Chunks::Random(chunk), Chunks::Words];
                let answer = Answer::exactly(reference.clone()).in_chunks(chunks[chunk % 4]);
                let simulator = cutting(provider(dialect).answering(answer), cut);
                let (bytes, _) = stream(&simulator).await;
                let (whole, rest) = divided(&bytes);
                let shown = streamed_text(dialect, &whole);
                assert!(reference.starts_with(&shown) && shown.len() <= at);
                assert!(rest.ends_with(&escaped(&reference.as_bytes()[shown.len()..at])));
                if !torn {
                    assert_eq!(shown.len(), floor(&reference, at));
                }
                assert_eq!(simulator.journal()[0].text, at as u64);
            }
        });
    }
}
