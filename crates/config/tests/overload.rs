//! `overload:` in a configuration: what it means, and errors that point at the line.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use config::Snapshot;
use health::{Concurrency, DoorSettings, Health};
use std::sync::Arc;
use std::time::Duration;
use support::load_with;

const HEAD: &str = "providers:\n  a: { dialect: openai-chat, base_url: http://a/v1, keyless: true }\nmodels:\n  chat:\n    \
                    targets: [a/m]\n";

fn load(lines: &str) -> Result<Snapshot, String> {
    support::load(&format!("{HEAD}{lines}"))
}

#[test]
fn a_door_is_of_the_gateway_or_of_a_model_and_nobody_has_one_by_default() {
    let none = load("").unwrap();
    assert!(none.door.is_none() && none.doors.is_empty() && !none.goes_by_priority("chat"));
    let of_model = load("    overload: { max_in_flight: 40, queue: { size: 7 } }\n").unwrap();
    assert!(of_model.door.is_none());
    assert_eq!(of_model.doors["chat"], DoorSettings { queue: 7, ..DoorSettings::of(40) });
    assert!(of_model.goes_by_priority("chat") && !of_model.goes_by_priority("a/m"));
    let whole = load("overload: { max_in_flight: 9, queue: { max_wait: 100ms } }\n").unwrap();
    let (max_wait, overload_wait) = (Duration::from_millis(100), Duration::from_millis(100));
    let expected = DoorSettings { max_in_flight: 9, queue: 9, max_wait, overload_wait };
    assert_eq!(whole.door, Some(expected), "in overload nobody waits for longer than otherwise");
    assert!(whole.goes_by_priority("a/m"));
}

#[test]
fn what_makes_no_sense_is_refused_at_its_line() {
    for (lines, said) in [
        ("    overload: { max_in_flight: 0 }\n", "lets nobody in"),
        ("    overload: { max_in_flight: 5, queue: { max_wait: 0s } }\n", "expected 1ms to 10m"),
        ("overload: { max_in_flight: 5, queue: { max_wait: 20m } }\n", "expected 1ms to 10m"),
        ("overload: { max_in_flight: 5, queue: { overload_wait: 3s } }\n", "expected at most `max_wait`"),
        ("overload: { max_in_flite: 5 }\n", "max_in_flight"),
        ("overload: { queue: { size: 5 } }\n", "says nothing: expected `max_in_flight`"),
        ("overload: { max_in_flight: 5, reserve: 10% }\n", "expected under `overload` of a model"),
        ("    overload: {}\n", "expected `max_in_flight` or `reserve`"),
        ("    overload: { reserve: 60% }\n", "expected 1% to 40%"),
        ("    overload: { reserve: 10%, queue: { size: 3 } }\n", "expected with `max_in_flight`"),
    ] {
        let error = load(lines).err().unwrap();
        assert!(error.contains(said) && error.contains(":6"), "{lines}: {error}");
    }
}

#[test]
fn a_target_says_how_many_calls_it_may_have_in_flight() {
    let source = |word: &str| {
        format!(
            "providers:\n  a: {{ dialect: openai-chat, base_url: http://a/v1, keyless: true }}\nmodels:\n  chat:\n    \
             targets: [{{ target: a/m, concurrency: {word} }}]\n    overload: {{ reserve: 10% }}\n"
        )
    };
    let health = Arc::new(Health::new(1));
    let load = |word: &str| load_with(&source(word), &[], &health);
    let bound = |word: &str| {
        let model = load(word).unwrap().resolve("chat").unwrap();
        assert!((model.settings.reserve - 0.1).abs() < 1e-9);
        model.targets[0].bound.clone().unwrap()
    };
    assert_eq!(bound("40").stated(), Concurrency::Fixed(40));
    assert_eq!(bound("aimd").stated(), Concurrency::Aimd);
    let gradient = bound("gradient");
    assert_eq!(gradient.stated(), Concurrency::Gradient);
    assert!(Arc::ptr_eq(&gradient, &bound("gradient")), "what was found out stays");
    for wrong in ["0", "-3", "many", "[]"] {
        let error = load(wrong).err().unwrap();
        assert!(error.contains("a number of calls from 1 on, `aimd` or `gradient`") && error.contains(":5"), "{error}");
    }
}
