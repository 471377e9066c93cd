//! Laws of the `anthropic-messages` codec, over generated requests and streams.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests say what went wrong by panicking"
)]

#[path = "anthropic_support/mod.rs"]
mod support;

use bytes::Bytes;
use canon::{
    DialectName, Drops, Event, FinishReason, Media, MediaSource, Message, Part, ProviderBound, Reasoning, Request,
    Role, Tool, ToolCall, ToolChoice, ToolKind, ToolResult, Usage,
};
use dialect::profile::Profile;
use dialect::{PathFacts, sse};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::HashSet;
use support::{DIALECT, decode_stream, encode_stream, fold, merge_texts, normal};

fn decode(body: &[u8]) -> Request {
    dialect::inbound(DIALECT).decode_request(&PathFacts::default(), body).unwrap()
}

fn encode(request: &Request) -> (Bytes, Drops) {
    let mut drops = Drops::new();
    let encoded = dialect::outbound(DIALECT).encode_request(request, "m", &Profile::default(), &mut drops).unwrap();
    (encoded.body, drops)
}

fn text() -> impl Strategy<Value = Part> {
    "[a-zé \n\"\\\\]{0,8}".prop_map(Part::text)
}

fn own(value: String) -> ProviderBound {
    ProviderBound { dialect: DIALECT, value }
}

fn thought() -> impl Strategy<Value = Part> {
    ("[a-z]{0,6}", "[A-Z]{1,6}", any::<bool>()).prop_map(|(text, bound, redacted)| {
        Part::Reasoning(if redacted {
            Reasoning { text: String::new(), signature: None, redacted: Some(own(bound)) }
        } else {
            Reasoning { text, signature: Some(own(bound)), redacted: None }
        })
    })
}

fn picture() -> impl Strategy<Value = Part> {
    "[A-Za-z0-9]{4}".prop_map(|data| {
        Part::Image(Media {
            media_type: Some("image/png".to_owned()),
            source: MediaSource::Base64(data),
            detail: None,
            cache: None,
        })
    })
}

fn call(id: Option<String>, name: String, arguments: String) -> Part {
    Part::ToolCall(ToolCall { id, name, arguments, signature: None, cache: None, kind: ToolKind::Function })
}

fn result(call_id: Option<String>, name: Option<String>, parts: Vec<Part>, is_error: bool) -> Part {
    Part::ToolResult(ToolResult { call_id, name, parts, json: false, is_error, cache: None })
}

fn tool(name: &str) -> Tool {
    Tool {
        name: name.to_owned(),
        description: Some(format!("does {name}")),
        parameters: Some(json!({ "type": "object" })),
        strict: None,
        cache: None,
        kind: ToolKind::Function,
    }
}

/// One exchange of a well-formed history: the user speaks, the assistant answers, perhaps through tools.
fn exchange(number: usize) -> impl Strategy<Value = Vec<Message>> {
    let user = proptest::collection::vec(prop_oneof![3 => text(), 1 => picture()], 1..3);
    let thoughts = proptest::collection::vec(thought(), 0..2);
    let said = proptest::collection::vec(text(), 0..2);
    let calls = proptest::collection::vec(("[fg]", "[a-z]{0,4}", any::<bool>()), 0..3);
    (user, thoughts, said, calls).prop_map(move |(user, thoughts, said, calls)| {
        let turn = |role, parts| Message { role, parts, name: None };
        let mut assistant: Vec<Part> = thoughts.into_iter().chain(said).collect();
        let mut results = Vec::new();
        for (at, (name, value, failed)) in calls.into_iter().enumerate() {
            let id = Some(format!("toolu_{number}_{at}"));
            assistant.push(call(id.clone(), name.clone(), json!({ "v": value }).to_string()));
            results.push(result(id, Some(name), vec![Part::text(value)], failed));
        }
        let mut turns = vec![turn(Role::User, user), turn(Role::Assistant, assistant)];
        if !results.is_empty() {
            turns.push(turn(Role::User, results));
        }
        turns
    })
}

fn well_formed_request() -> impl Strategy<Value = Request> {
    let history = (exchange(0), exchange(1), exchange(2)).prop_map(|(a, b, c)| [a, b, c].concat());
    let choice = prop_oneof![
        Just(None),
        Just(Some(ToolChoice::Auto)),
        Just(Some(ToolChoice::Required)),
        Just(Some(ToolChoice::None)),
        Just(Some(ToolChoice::Named("f".to_owned()))),
    ];
    (history, choice, proptest::option::of("[a-z ]{1,9}"), any::<bool>(), 1_u64..9000, proptest::option::of(0..=100_u8))
        .prop_map(|(history, tool_choice, system, stream, cap, temperature)| {
            let system = system.map(|text| Message { role: Role::System, parts: vec![Part::text(text)], name: None });
            let mut request = Request {
                model: "m".to_owned(),
                messages: system.into_iter().chain(history).collect(),
                tools: vec![tool("f"), tool("g")],
                tool_choice,
                stream,
                max_output_tokens: Some(cap),
                user: stream.then(|| "u".to_owned()),
                stop: vec!["END".to_owned()],
                extra_dialect: Some(DIALECT),
                ..Request::default()
            };
            request.sampling.temperature = temperature.map(|hundredths| f64::from(hundredths) / 100.0);
            request
        })
}

/// Turns as other vendors let them be: any order, ids missing, repeated or odd, arguments of any kind.
fn messy_request() -> impl Strategy<Value = Request> {
    let id = || proptest::option::of(prop_oneof!["[ab]", "call[.:][01]", ""]);
    let name = || prop_oneof!["[fg]", "[a-z][.:/][a-z]"];
    let part = prop_oneof![
        text(),
        picture(),
        (id(), name(), prop_oneof![Just("{}".to_owned()), "[\\[{\"a:1}]{0,6}"]).prop_map(|(i, n, a)| call(i, n, a)),
        (id(), proptest::option::of(name()), text(), any::<bool>()).prop_map(|(i, n, t, e)| result(i, n, vec![t], e)),
        ("[a-z]{1,3}", any::<bool>()).prop_map(|(text, signed)| {
            let bound = ProviderBound { dialect: DialectName::Gemini, value: "S".to_owned() };
            Part::Reasoning(Reasoning { text, signature: signed.then_some(bound), redacted: None })
        }),
    ];
    let role = prop_oneof![
        Just(Role::User),
        Just(Role::Assistant),
        Just(Role::User),
        Just(Role::Assistant),
        Just(Role::System),
        Just(Role::Developer)
    ];
    let message =
        (role, proptest::collection::vec(part, 0..4)).prop_map(|(role, parts)| Message { role, parts, name: None });
    proptest::collection::vec(message, 0..8).prop_map(|messages| Request {
        model: "m".to_owned(),
        messages,
        extra_dialect: Some(DialectName::OpenaiChat),
        ..Request::default()
    })
}

fn kind(block: &Value) -> &str {
    block["type"].as_str().unwrap()
}

/// Every rule of the API about turns and blocks.
fn check_history(body: &Value) {
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages[0]["role"], "user");
    let mut ids = HashSet::new();
    for (at, message) in messages.iter().enumerate() {
        let blocks = message["content"].as_array().unwrap();
        let assistant = message["role"] == "assistant";
        assert_eq!(assistant, at % 2 == 1, "speakers take turns");
        assert!(!blocks.is_empty());
        let calls: Vec<&str> =
            blocks.iter().filter(|b| kind(b) == "tool_use").map(|b| b["id"].as_str().unwrap()).collect();
        assert!(assistant || calls.is_empty());
        let next = messages.get(at + 1).map_or(&[][..], |next| next["content"].as_array().unwrap());
        for (place, id) in calls.iter().enumerate() {
            assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') && !id.is_empty());
            assert!(ids.insert((*id).to_owned()), "{id} twice");
            assert_eq!(next[place]["tool_use_id"], **id, "results stand first, in the order of the calls");
        }
        let results = next.iter().filter(|block| kind(block) == "tool_result").count();
        assert_eq!(results, calls.len(), "no result without its call");
        for block in blocks {
            match kind(block) {
                "text" => assert!(!block["text"].as_str().unwrap().trim().is_empty()),
                "tool_use" => assert!(block["input"].is_object()),
                "thinking" => assert_ne!(block["signature"], ""),
                _ => {}
            }
        }
    }
    let last = messages.last().unwrap();
    if last["role"] == "assistant"
        && let Some(text) = last["content"].as_array().unwrap().last().unwrap()["text"].as_str()
    {
        assert_eq!(text, text.trim_end());
    }
}

/// One step of a stream another dialect's decoder may give out, by channel.
#[derive(Debug, Clone)]
enum Step {
    Text(String),
    Thought(String, bool),
    Redacted(String),
    Call(Vec<String>),
    Ping,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(
        prop_oneof![
            "[a-zé\"\n]{1,5}".prop_map(Step::Text),
            ("[a-z]{1,5}", any::<bool>()).prop_map(|(text, signed)| Step::Thought(text, signed)),
            "[A-Z]{1,4}".prop_map(Step::Redacted),
            proptest::collection::vec("[a-z]{1,3}", 0..3).prop_map(Step::Call),
            Just(Step::Ping),
        ],
        0..10,
    )
}

/// The events of some steps. `parallel` starts every call before any of them ends.
fn events_of(steps: &[Step], parallel: bool) -> Vec<Event> {
    let candidate = 0;
    let mut events =
        vec![Event::Start { id: Some("msg_1".to_owned()), model: Some("m".to_owned()), created: None, extra: vec![] }];
    let mut rest = Vec::new();
    let mut calls = 0;
    for step in steps {
        match step {
            Step::Text(text) => events.push(Event::Text { candidate, text: text.clone(), signature: None }),
            Step::Thought(text, signed) => {
                let signature = signed.then(|| own("S".to_owned()));
                events.push(Event::Reasoning { candidate, text: text.clone(), signature });
            }
            Step::Redacted(data) => {
                events.push(Event::RedactedReasoning { candidate, data: own(data.clone()) });
            }
            Step::Call(pieces) => {
                let call = calls;
                calls += 1;
                let (id, name) = (Some(format!("toolu_{call}")), "f".to_owned());
                events.push(Event::ToolCallStart { candidate, call, id, name, signature: None });
                let arguments = json!({ "v": pieces.concat() }).to_string();
                let (head, tail) = arguments.split_at(arguments.len() / 2);
                let delta = |piece: &str| Event::ToolCallDelta { candidate, call, arguments: piece.to_owned() };
                events.push(delta(head));
                let end = [delta(tail), Event::ToolCallEnd { candidate, call }];
                if parallel { rest.extend(end) } else { events.extend(end) }
            }
            Step::Ping => events.push(Event::Ping),
        }
    }
    events.extend(rest);
    events.push(Event::Finish {
        candidate,
        reason: FinishReason::ToolCalls,
        native: Some("tool_use".to_owned()),
        stop_sequence: None,
    });
    events.push(Event::Usage(Usage { input_tokens: Some(5), output_tokens: Some(7), ..Usage::default() }));
    events.push(Event::Done);
    events
}

/// Blocks count up, one at a time, and every delta belongs to the open one.
fn check_blocks(stream: &[u8]) {
    let (frames, residue) = sse::frames(Bytes::copy_from_slice(stream));
    assert!(residue.is_empty());
    let (mut next, mut open) = (0, false);
    for frame in frames {
        let data: Value = serde_json::from_slice(&frame.data).unwrap();
        assert_eq!(data["type"].as_str().unwrap().as_bytes(), &frame.event[..]);
        match data["type"].as_str().unwrap() {
            "content_block_start" => {
                assert!(!open && data["index"] == next);
                open = true;
            }
            "content_block_delta" => assert!(open && data["index"] == next),
            "content_block_stop" => {
                assert!(open && data["index"] == next);
                (open, next) = (false, next + 1);
            }
            "message_delta" | "message_stop" => assert!(!open),
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn a_well_formed_request_comes_back_as_its_normal_form(request in well_formed_request()) {
        let (body, drops) = encode(&request);
        let expected = normal(request);
        // Blank texts alone make no turn, and a conversation without its first turn is another matter.
        let first = expected.messages.iter().find(|message| message.role != Role::System);
        prop_assume!(first.is_some_and(|first| first.role == Role::User));
        prop_assert!(drops.is_empty(), "{drops:?}");
        prop_assert_eq!(normal(decode(&body)), expected);
    }

    #[test]
    fn any_history_is_written_as_the_api_demands(request in messy_request()) {
        let (body, _) = encode(&request);
        check_history(&serde_json::from_slice(&body).unwrap());
    }

    #[test]
    fn what_was_put_right_once_stays_as_it_is(mut request in messy_request()) {
        // An escaped name that comes in as a caller's own is escaped once more, so that it too can be read back.
        for part in request.messages.iter_mut().flat_map(|message| &mut message.parts) {
            if let Part::ToolCall(call) = part {
                call.name.truncate(1);
            }
        }
        let (first, _) = encode(&request);
        let (second, drops) = encode(&decode(&first));
        prop_assert!(drops.is_empty(), "{drops:?}");
        let [first, second]: [Value; 2] = [&first, &second].map(|body| serde_json::from_slice(body).unwrap());
        prop_assert_eq!(&second["messages"], &first["messages"]);
    }

    #[test]
    fn any_stream_is_written_in_blocks_that_never_overlap_and_says_the_same(
        steps in steps(), parallel in any::<bool>()
    ) {
        let events = events_of(&steps, parallel);
        let (stream, drops) = encode_stream(&events);
        prop_assert!(drops.is_empty(), "{drops:?}");
        check_blocks(&stream);
        let (again, malformed) = decode_stream(&stream);
        prop_assert!(malformed.is_empty());
        prop_assert_eq!(again.last(), Some(&Event::Done));
        let (mut first, mut second) = (fold(&events), fold(&again));
        if parallel {
            // Calls that overlapped come one after the other, what stood between them after the first of them.
            for answer in [&mut first, &mut second] {
                let parts = &mut answer.candidates[0].parts;
                parts.sort_by_key(|part| matches!(part, Part::ToolCall(_)));
            }
        }
        merge_texts(&mut first);
        merge_texts(&mut second);
        prop_assert_eq!(second, first);
    }

    #[test]
    fn a_cut_stream_never_ends_with_done(steps in steps(), share in 0.0..1.0_f64) {
        let events = events_of(&steps, false);
        let before_finish = &events[..events.len() - 3];
        let (stream, _) = encode_stream(before_finish);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
        let cut = (stream.len() as f64 * share) as usize;
        let (again, _) = decode_stream(&stream[..cut]);
        prop_assert!(!again.contains(&Event::Done));
    }

    #[test]
    fn nothing_a_provider_or_caller_sends_is_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), at in 0_usize..400) {
        let good = br#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}],
            "content":[{"type":"text","text":"x"}],"type":"content_block_start","index":0,"content_block":{"type":"text"}}"#;
        let mut body = good.to_vec();
        let at = at.min(body.len());
        body.splice(at..at, bytes.iter().copied());
        for body in [&bytes, &body] {
            let _ = dialect::inbound(DIALECT).decode_request(&PathFacts::default(), body);
            let _ = dialect::outbound(DIALECT).decode_answer(body, &Profile::default());
            let mut sniffer = dialect::outbound(DIALECT).sniffer(&Profile::default());
            sniffer.sniff_answer(body);
            let frame = sse::Frame { raw: Bytes::new(), event: Bytes::new(), data: Bytes::copy_from_slice(body) };
            sniffer.sniff(&frame);
            let mut events = Vec::new();
            let mut decoder = dialect::outbound(DIALECT).stream_decoder(&Profile::default());
            let _ = decoder.decode(&frame, &mut events);
            decoder.end(body, &mut events);
        }
    }
}
