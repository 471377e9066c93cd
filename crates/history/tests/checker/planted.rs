//! One violation is planted in a valid history, of each kind in turn: exactly it is found.

use crate::support::{by_writer, valid};
use crate::valid::ordered;
use canon::{FaultClass, Phase};
use fastrand::Rng;
use history::{
    AttemptKind, ClientEnd, ClientEvent, Event, GatewayEnd, GatewayEvent, Kind, Policy, ProviderEnd, Record,
    SimulatorEvent, Tally, Tokens, check,
};

const SECOND: u64 = 1_000_000;

/// Changes one request's records so that one thing is wrong; `false` = this request has nothing of the sort.
type Plant = fn(&mut Vec<Record>) -> bool;

const PLANTS: &[(&str, Kind, Plant)] = &[
    ("the gateway does not settle", Kind::LostTerminal, |all| remove(all, settled)),
    ("the client does not end", Kind::LostTerminal, |all| remove(all, ended)),
    ("the gateway settles twice", Kind::DoubleTerminal, |all| double(all, settled)),
    ("the client ends twice", Kind::DoubleTerminal, |all| double(all, ended)),
    ("the client is refused what was answered", Kind::TerminalsDisagree, |all| {
        end(all, ClientEnd::Complete, ClientEnd::Refused { status: 500 })
    }),
    ("the client sees another status", Kind::TerminalsDisagree, |all| {
        end(all, ClientEnd::Refused { status: 502 }, ClientEnd::Refused { status: 503 })
    }),
    ("the connection breaks although all was answered", Kind::TerminalsDisagree, |all| {
        end(all, ClientEnd::Complete, ClientEnd::Broken)
    }),
    ("an answer is cut silently", Kind::SilentCut, |all| end(all, ClientEnd::HonestError, ClientEnd::SilentCut)),
    ("a broken answer ends as if it were whole", Kind::FakeEnd, |all| {
        end(all, ClientEnd::HonestError, ClientEnd::Complete)
    }),
    ("the provider never sent the end", Kind::FakeEnd, |all| {
        is_answered(all) && finished(all, |_, _, finish, _| finish.replace(false) == Some(true))
    }),
    ("the attempt that served had failed", Kind::FakeEnd, |all| {
        is_answered(all)
            && ended_attempt(all, |fault, _| fault.is_none() && fault.replace(FaultClass::StreamBroken).is_none())
    }),
    ("nobody served", Kind::FakeEnd, |all| {
        // Without text nothing else shows who served.
        ledger(all, |outcome, served, segments, _| {
            *outcome == GatewayEnd::Answered && segments.is_empty() && served.take().is_some()
        })
    }),
    ("a byte is missing", Kind::TextMissing, |all| text(all, |bytes| bytes.checked_sub(1))),
    ("a byte is doubled", Kind::TextAdded, |all| text(all, |bytes| Some(bytes + 1))),
    ("a byte is another", Kind::TextChanged, |all| text(all, |bytes| (bytes > 0).then_some(bytes))),
    ("a byte of the framing is missing", Kind::TextMissing, |all| {
        on(all, |event| match event {
            Event::Client(ClientEvent::End { outcome: ClientEnd::Complete, body: Some(body), .. })
                if body.bytes > 0 =>
            {
                *body = Tally::from((body.bytes - 1, 1));
                true
            }
            _ => false,
        })
    }),
    ("the provider said something else", Kind::NotFromProvider, |all| {
        is_answered(all)
            && finished(all, |text, _, finish, _| match text {
                Some(text) if *finish == Some(true) && text.bytes > 0 => {
                    *text = Tally::from((text.bytes, 1));
                    true
                }
                _ => false,
            })
    }),
    ("the provider said less", Kind::NotFromProvider, |all| {
        finished(all, |text, marks, finish, _| match text {
            Some(text) if *finish == Some(true) && text.bytes > 0 => {
                marks.clear();
                *text = Tally::from((text.bytes - 1, 1));
                true
            }
            _ => false,
        })
    }),
    ("the ledger has more than was read", Kind::NotFromProvider, |all| {
        let more = Tally::of("more");
        let mut total = Tally::EMPTY;
        let changed = ledger(all, |outcome, _, segments, _| match segments.last_mut() {
            Some(last) if *outcome == GatewayEnd::Answered => {
                last.text = last.text.then(more);
                total = segments.iter().fold(Tally::EMPTY, |all, segment| all.then(segment.text));
                true
            }
            Some(_) | None => false,
        });
        changed && set_text(all, total)
    }),
    ("an attempt begins after the end", Kind::AttemptAfterSettle, |all| {
        let Some(place) = all.iter().position(|it| settled(&it.event)) else { return false };
        let mut start = all[place].clone();
        start.event = attempt(77, "late/model", AttemptKind::Fallback);
        let mut end = start.clone();
        end.event = refused(77);
        let later = all.split_off(place + 1);
        all.extend([start, end]);
        all.extend(later);
        true
    }),
    ("an attempt begins after the deadline", Kind::AttemptAfterDeadline, |all| {
        let starts: Vec<u64> = all.iter().filter(|it| started(&it.event)).map(|it| it.at).collect();
        let [at] = starts[..] else { return false };
        on(all, |event| match event {
            Event::Gateway(GatewayEvent::Planned { deadline, .. }) => {
                *deadline = Some(at - 30_000);
                true
            }
            _ => false,
        })
    }),
    ("too many attempts", Kind::TooManyAttempts, |all| {
        let worked = worked(all);
        worked > 1 && plan(all, |attempts, _| *attempts = Some(worked - 1))
    }),
    ("too many rescues", Kind::TooManyAttempts, |all| {
        let Some(place) = all.iter().position(|it| settled(&it.event)) else { return false };
        let before = all[place].clone();
        let rescue = |number: u32| {
            let target = format!("rescuer-{number}/model");
            [attempt(number, &target, AttemptKind::Rescue), refused(number)]
                .map(|event| Record { event, ..before.clone() })
        };
        let rescues: Vec<Record> = (50..55).flat_map(rescue).collect();
        all.splice(place..place, rescues);
        true
    }),
    ("too many targets", Kind::TooManyTargets, |all| {
        let mut targets: Vec<String> = all.iter().filter_map(|it| target(&it.event)).collect();
        targets.sort_unstable();
        targets.dedup();
        let starts = all.iter().filter(|it| started(&it.event)).count();
        // Where each attempt has its own target and each reached its work, so many targets were worked on.
        let each = targets.len() == starts && worked(all) as usize == starts;
        each && starts > 1 && plan(all, |_, most| *most = Some(1))
    }),
    ("a target is asked twice", Kind::TargetTwice, |all| again(all, FaultClass::Overloaded)),
    ("a silent target is asked twice", Kind::SilentTargetTwice, |all| again(all, FaultClass::TimedOut)),
    ("two attempts at once", Kind::TwoInFlight, |all| {
        let begins = |it: &Record, number| matches!(&it.event, Event::Gateway(GatewayEvent::AttemptStarted { attempt, .. }) if *attempt == number);
        let Some(first) = all.iter().position(|it| begins(it, 0)) else { return false };
        let Some(second) = all.iter().position(|it| begins(it, 1) && is_fallback(&it.event)) else { return false };
        let mut early = all.remove(second);
        early.at = all[first].at;
        all.insert(first + 1, early);
        true
    }),
    ("the provider bills more than was counted", Kind::BillingMismatch, |all| {
        finished(all, |_, _, finish, billed| {
            let billed = billed.as_mut().filter(|_| *finish == Some(true));
            billed.map(|billed| billed.output += 1).is_some()
        })
    }),
    ("the exchange is settled with another sum", Kind::BillingMismatch, |all| {
        ledger(all, |_, _, _, tokens| {
            tokens.input += 1;
            true
        })
    }),
    ("a fault that the provider billed is not said to be so", Kind::BillingMismatch, |all| {
        ended_attempt(all, |fault, may_be_billed| {
            *fault == Some(FaultClass::StreamBroken) && std::mem::replace(may_be_billed, false)
        })
    }),
    ("a cancel does not arrive", Kind::CancelMissing, |all| remove(all, cancelled)),
    ("a cancel arrives late", Kind::CancelLate, |all| {
        let late = all.iter_mut().find(|it| cancelled(&it.event));
        late.map(|it| it.at += SECOND).is_some()
    }),
    ("an attempt never ends", Kind::Leak, |all| {
        let last = all.iter().rposition(|it| matches!(it.event, Event::Gateway(GatewayEvent::AttemptEnded { .. })));
        let is_answered = is_answered(all);
        last.filter(|_| is_answered).map(|place| all.remove(place)).is_some()
    }),
    ("a provider is asked for an attempt that was not made", Kind::Contradiction, |all| {
        let Some(place) = all.iter().position(|it| started(&it.event)) else { return false };
        let mut asked = all[place].clone();
        asked.event = Event::Simulator(SimulatorEvent::Asked { attempt: 88, provider: "p".into() });
        let mut done = asked.clone();
        done.event = Event::Simulator(SimulatorEvent::Finished {
            attempt: 88,
            how: ProviderEnd::Complete,
            finish: None,
            text: None,
            marks: Vec::new(),
            billed: None,
        });
        all.splice(place..place, [asked, done]);
        true
    }),
    ("a provider is asked twice", Kind::Contradiction, |all| {
        double(all, |event| matches!(event, Event::Simulator(SimulatorEvent::Asked { .. })))
    }),
    ("an attempt ends that did not begin", Kind::Contradiction, |all| {
        let Some(place) = all.iter().position(|it| settled(&it.event)) else { return false };
        let mut end = all[place].clone();
        end.event = refused(99);
        all.insert(place, end);
        true
    }),
    ("the ledger names an attempt that was not made", Kind::Contradiction, |all| {
        ledger(all, |outcome, _, segments, _| match segments.first_mut() {
            Some(first) if *outcome == GatewayEnd::EndedHonestly => {
                first.from = history::Origin::Attempt(66);
                true
            }
            Some(_) | None => false,
        })
    }),
];

#[test]
fn every_kind_of_violation_is_planted() {
    for kind in Kind::ALL {
        assert!(PLANTS.iter().any(|(_, planted, _)| *planted == kind), "{kind}");
    }
}

#[test]
fn exactly_what_was_planted_is_found() {
    for (name, kind, plant) in PLANTS {
        let mut planted = 0;
        for seed in 0..20 {
            let Some((id, records)) = with(*plant, seed) else { continue };
            planted += 1;
            let in_order = check(records.clone(), ordered());
            let apart = check(by_writer(records), Policy::default());
            for report in [in_order, apart] {
                let found: Vec<_> = report.violations.iter().map(|it| (it.kind, &*it.id)).collect();
                assert_eq!(found, [(*kind, &*id)], "{name}, seed {seed}: {report}");
                assert!(!report.is_proof());
            }
        }
        assert!(planted > 5, "{name}: planted {planted} times only");
    }
}

#[test]
fn with_records_lost_what_is_absent_is_inconclusive_and_what_is_there_still_counts() {
    for (name, kind, plant) in PLANTS {
        let Some((_, mut records)) = (0..40).find_map(|seed| with(*plant, seed)) else { panic!("{name}") };
        records.push(Record { at: records.last().unwrap().at, id: None, event: Event::Lost(5) });
        let report = check(records, Policy::default());
        let (violations, doubts) = if kind.may_be_loss() { (0, 1) } else { (1, 0) };
        assert_eq!((report.total(), report.doubts.values().sum::<u64>()), (violations, doubts), "{name}: {report}");
        assert!(!report.is_conclusive());
        assert!(report.to_string().contains("inconclusive: 5 records were lost"), "{report}");
    }
}

/// A history with the plant in one of its requests, and that request's id.
fn with(plant: Plant, seed: u64) -> Option<(Box<str>, Vec<Record>)> {
    let records = valid(40, seed);
    let mut ids: Vec<Box<str>> = records.iter().filter_map(|it| it.id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    Rng::with_seed(seed).shuffle(&mut ids);
    for id in ids {
        let (mut own, mut others): (Vec<_>, Vec<_>) =
            records.iter().cloned().partition(|it| it.id.as_deref() == Some(&*id));
        if plant(&mut own) {
            others.extend(own);
            // The process' own first and last words stay where they are.
            others.sort_by_key(|it| it.at);
            let end = others.iter().position(|it| matches!(it.event, Event::Gateway(GatewayEvent::Drained {})))?;
            let mut end = others.remove(end);
            end.at = end.at.max(others.last()?.at);
            others.push(end);
            return Some((id, others));
        }
    }
    None
}

fn settled(event: &Event) -> bool {
    matches!(event, Event::Gateway(GatewayEvent::Settled { .. }))
}

fn ended(event: &Event) -> bool {
    matches!(event, Event::Client(ClientEvent::End { .. }))
}

fn started(event: &Event) -> bool {
    matches!(event, Event::Gateway(GatewayEvent::AttemptStarted { .. }))
}

fn is_fallback(event: &Event) -> bool {
    matches!(event, Event::Gateway(GatewayEvent::AttemptStarted { kind: AttemptKind::Fallback, .. }))
}

fn cancelled(event: &Event) -> bool {
    matches!(event, Event::Simulator(SimulatorEvent::Finished { how: ProviderEnd::Cancelled, .. }))
}

fn target(event: &Event) -> Option<String> {
    match event {
        Event::Gateway(GatewayEvent::AttemptStarted { target, .. }) => Some(target.to_string()),
        _ => None,
    }
}

fn is_answered(all: &[Record]) -> bool {
    let answered =
        |event: &Event| matches!(event, Event::Gateway(GatewayEvent::Settled { outcome: GatewayEnd::Answered, .. }));
    all.iter().any(|it| answered(&it.event))
}

/// Attempts that reached a model's work, those apart that were to rescue a broken answer.
fn worked(all: &[Record]) -> u32 {
    let is_rescue = |number: u32| {
        all.iter().any(|it| match &it.event {
            Event::Gateway(GatewayEvent::AttemptStarted { attempt, kind, .. }) => {
                *attempt == number && *kind == AttemptKind::Rescue
            }
            _ => false,
        })
    };
    let worked = |it: &&Record| match &it.event {
        Event::Gateway(GatewayEvent::AttemptEnded { attempt, .. }) if is_rescue(*attempt) => false,
        Event::Gateway(GatewayEvent::AttemptEnded { fault, phase, .. }) => match fault {
            None | Some(FaultClass::ServerError | FaultClass::StreamBroken) => true,
            Some(FaultClass::TimedOut) => *phase != Some(Phase::Connect),
            Some(_) => false,
        },
        _ => false,
    };
    u32::try_from(all.iter().filter(worked).count()).unwrap()
}

fn attempt(number: u32, target: &str, kind: AttemptKind) -> Event {
    let region = None;
    Event::Gateway(GatewayEvent::AttemptStarted { attempt: number, target: target.into(), region, credential: 0, kind })
}

fn refused(number: u32) -> Event {
    Event::Gateway(GatewayEvent::AttemptEnded {
        attempt: number,
        fault: Some(FaultClass::Overloaded),
        phase: None,
        may_be_billed: false,
        read: None,
        tokens: None,
    })
}

fn remove(all: &mut Vec<Record>, which: fn(&Event) -> bool) -> bool {
    let place = all.iter().position(|it| which(&it.event));
    place.map(|place| all.remove(place)).is_some()
}

fn double(all: &mut Vec<Record>, which: fn(&Event) -> bool) -> bool {
    let Some(place) = all.iter().position(|it| which(&it.event)) else { return false };
    all.insert(place, all[place].clone());
    true
}

fn on(all: &mut [Record], mut change: impl FnMut(&mut Event) -> bool) -> bool {
    all.iter_mut().any(|it| change(&mut it.event))
}

fn end(all: &mut [Record], from: ClientEnd, to: ClientEnd) -> bool {
    on(all, |event| match event {
        Event::Client(ClientEvent::End { outcome, .. }) if *outcome == from => {
            *outcome = to;
            true
        }
        _ => false,
    })
}

/// Changes the text a client has of a whole answer.
fn text(all: &mut [Record], change: impl Fn(u64) -> Option<u64>) -> bool {
    on(all, |event| match event {
        Event::Client(ClientEvent::End { outcome: ClientEnd::Complete, text: Some(text), .. }) => {
            change(text.bytes).map(|bytes| *text = Tally::from((bytes, 1))).is_some()
        }
        _ => false,
    })
}

fn set_text(all: &mut [Record], to: Tally) -> bool {
    on(all, |event| match event {
        Event::Client(ClientEvent::End { text, .. }) => text.replace(to).is_some(),
        _ => false,
    })
}

type ChangeFinished<'a> =
    &'a mut dyn FnMut(&mut Option<Tally>, &mut Vec<Tally>, &mut Option<bool>, &mut Option<Tokens>) -> bool;

fn finished(
    all: &mut [Record],
    mut change: impl FnMut(&mut Option<Tally>, &mut Vec<Tally>, &mut Option<bool>, &mut Option<Tokens>) -> bool,
) -> bool {
    let change: ChangeFinished<'_> = &mut change;
    on(all, |event| match event {
        Event::Simulator(SimulatorEvent::Finished { finish, text, marks, billed, .. }) => {
            change(text, marks, finish, billed)
        }
        _ => false,
    })
}

fn ended_attempt(all: &mut [Record], mut change: impl FnMut(&mut Option<FaultClass>, &mut bool) -> bool) -> bool {
    on(all, |event| match event {
        Event::Gateway(GatewayEvent::AttemptEnded { fault, may_be_billed, .. }) => change(fault, may_be_billed),
        _ => false,
    })
}

fn ledger(
    all: &mut [Record],
    mut change: impl FnMut(&mut GatewayEnd, &mut Option<history::Origin>, &mut Vec<history::Segment>, &mut Tokens) -> bool,
) -> bool {
    on(all, |event| match event {
        Event::Gateway(GatewayEvent::Settled { outcome, served, segments: Some(segments), tokens, .. }) => {
            change(outcome, served, segments, tokens)
        }
        _ => false,
    })
}

fn plan(all: &mut [Record], change: impl Fn(&mut Option<u32>, &mut Option<u32>)) -> bool {
    on(all, |event| match event {
        Event::Gateway(GatewayEvent::Planned { max_attempts, max_targets, .. }) => {
            change(max_attempts, max_targets);
            true
        }
        _ => false,
    })
}

/// A fallback after this fault asks the same target once more.
fn again(all: &mut [Record], after: FaultClass) -> bool {
    let mut last: Option<Box<str>> = None;
    let mut failed = false;
    on(all, |event| match event {
        Event::Gateway(GatewayEvent::AttemptStarted { target, kind, .. }) => {
            let name = last.replace(target.clone());
            match name.filter(|_| failed && *kind == AttemptKind::Fallback) {
                Some(name) => {
                    *target = name;
                    true
                }
                None => false,
            }
        }
        Event::Gateway(GatewayEvent::AttemptEnded { fault, .. }) => {
            failed = *fault == Some(after);
            false
        }
        _ => false,
    })
}
