//! Histories in which everything is right, in every order in which logs can be read.

use crate::support::{by_writer, valid};
use history::{Checker, Event, GatewayEvent, Policy, Record, Report, Source, check};
use std::time::Duration;

/// A policy for records in the order of time.
pub(crate) fn ordered() -> Policy {
    Policy { ordered: Some(Duration::from_secs(5)), ..Policy::default() }
}

#[test]
fn a_valid_history_is_a_proof_in_any_interleaving() {
    for seed in 0..40 {
        let records = valid(50, seed);
        let report = check(records.clone(), Policy::default());
        assert!(report.is_proof(), "seed {seed}: {report}");
        assert_eq!(check(records.clone(), ordered()), report, "seed {seed}: in order, requests are forgotten early");
        assert_eq!(check(by_writer(records), Policy::default()), report, "seed {seed}: one log after the other");
    }
}

#[test]
fn the_world_of_these_tests_does_all_the_things_there_are() {
    let report = check(valid(2000, 1), Policy::default());
    let counts = report.counts;
    for (count, what) in [
        (counts.answered, "answered"),
        (counts.ended_honestly, "ended honestly"),
        (counts.refused, "refused"),
        (counts.hung_up, "hung up"),
    ] {
        assert!(count > 20, "{count} {what}");
    }
    assert_eq!(counts.requests, 2000);
    assert_eq!(counts.seen_by_client, 2000);
    assert!(counts.attempts > counts.seen_by_provider && counts.seen_by_provider > 2000, "{report}");
    assert!(counts.sources_compared > 1500 && counts.bills_compared == counts.seen_by_provider, "{report}");
}

#[test]
fn what_is_over_is_forgotten_when_records_come_in_order() {
    let mut checker = Checker::new(ordered());
    let mut most = 0;
    for record in valid(20_000, 3) {
        checker.feed(Source::default(), record);
        most = most.max(checker.held());
    }
    // A thousand requests a second begin; each lives well below a second, and five more pass before it is forgotten.
    assert!(most < 7000, "{most} requests held at once");
    assert!(checker.finish().is_proof());
}

#[test]
fn a_log_that_was_cut_off_while_the_gateway_ran_is_inconclusive_and_no_violation() {
    let mut records = valid(200, 4);
    records.truncate(records.len() / 2);
    let report = check(records, Policy::default());
    assert_eq!(report.total(), 0, "{report}");
    assert!(report.gaps.open > 0 && !report.is_proof());
}

#[test]
fn a_request_without_an_end_is_a_violation_once_the_log_went_on_long_enough() {
    let mut records = valid(200, 4);
    records.truncate(records.len() / 2);
    records.push(Record { at: records.last().unwrap().at + 700_000_000, id: None, event: Event::Lost(0) });
    let report = check(records, Policy::default());
    assert!(report.total() > 0 && report.gaps.open == 0, "{report}");
}

#[test]
fn requests_in_flight_when_a_process_died_are_excused() {
    let mut records = valid(200, 5);
    records.truncate(records.len() / 2);
    let at = records.last().unwrap().at + 1;
    let process = |at, event| Record { at, id: None, event: Event::Gateway(event) };
    records.push(process(at, GatewayEvent::Started {}));
    records.push(process(at + 1, GatewayEvent::Drained {}));
    let report = check(records, Policy::default());
    assert!(report.died > 0, "{report}");
    assert!(report.violations.iter().all(|it| it.sentence.contains("client")), "{report}");
}

#[test]
fn an_id_that_two_requests_share_proves_nothing() {
    let records = valid(1, 6);
    let doubled: Vec<Record> = records.iter().chain(&records).cloned().collect();
    let report = check(doubled, Policy::default());
    assert_eq!((report.total(), report.gaps.repeated), (0, 1), "{report}");
    assert!(!report.is_proof());
}

#[test]
fn a_report_says_what_was_found() {
    let report: Report = check(valid(3, 7), Policy::default());
    let text = report.to_string();
    assert!(text.contains("3 requests") && text.ends_with("0 violations"), "{text}");
}

#[test]
fn a_log_that_is_not_in_the_order_it_promised_is_told() {
    let disordered = |records: Vec<Record>| {
        let mut checker = Checker::new(ordered());
        for record in records {
            checker.feed(Source::default(), record);
        }
        checker.is_disordered()
    };
    assert!(!disordered(valid(20_000, 8)));
    assert!(disordered(by_writer(valid(20_000, 8))));
}

/// How many requests: `MAINSTAY_SOAK`, by default few enough for every run.
fn soak() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the size of a test")]
    let asked = std::env::var("MAINSTAY_SOAK").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(2000)
}

#[test]
fn logs_of_any_length_are_read_side_by_side_and_checked() {
    let mut logs = [Vec::new(), Vec::new(), Vec::new()];
    for record in valid(soak(), 9) {
        let log = match &record.event {
            Event::Client(_) => &mut logs[0],
            Event::Gateway(_) | Event::Lost(_) => &mut logs[1],
            Event::Simulator(_) => &mut logs[2],
        };
        serde_json::to_writer(&mut *log, &record).unwrap();
        log.push(b'\n');
    }
    let bytes: usize = logs.iter().map(Vec::len).sum();
    for policy in [ordered(), Policy::default()] {
        let inputs = ["client", "gateway", "simulator"].iter().zip(&logs).map(|(name, log)| {
            let input: Box<dyn std::io::BufRead> = Box::new(log.as_slice());
            ((*name).to_owned(), input)
        });
        let mut checker = Checker::new(policy.clone());
        let mut most = 0;
        for read in history::Merge::new(inputs) {
            let (source, record) = read.unwrap();
            checker.feed(source, record);
            most = most.max(checker.held());
        }
        println!("{bytes} bytes, at most {most} requests held, ordered: {}", policy.ordered.is_some());
        assert!(checker.finish().is_proof());
    }
}
