//! Who goes on with a broken stream.

use crate::harness::{Call, Ended, Outcome, Pool, Sim, Spec, at, fault, secs};
use canon::{Fault, FaultClass};
use routing::{Across, RescueMode};

fn pool(targets: Vec<Spec>) -> Pool {
    let mut pool = Pool::with(targets);
    pool.settings.rescue.mode = RescueMode::Resume;
    pool
}

fn of(model: &'static str) -> Spec {
    Spec { same_model: Some(model), ..Spec::default() }
}

fn cut() -> Outcome {
    Outcome::Breaks { first: 0.2, fault: fault(FaultClass::StreamBroken), after: 0.5 }
}

fn coded(class: FaultClass, code: &str) -> Outcome {
    Outcome::Fails { fault: Fault { code: Some(code.to_owned()), ..fault(class) }, after: 0.1 }
}

fn one(pool: &Pool, script: impl FnMut(Call) -> Outcome) -> Ended {
    let mut sim = Sim::new(pool.build(), 1, script);
    sim.request(at(0.0));
    sim.run().remove(0)
}

#[test]
fn the_next_target_goes_on_with_a_stream_that_broke() {
    let ended = one(&pool(vec![Spec::default(); 3]), |call| if call.target == 0 { cut() } else { Outcome::quick() });
    assert_eq!((ended.calls, ended.served, ended.error), (vec![0, 1], Some(1), None));
    assert_eq!(ended.reason, Some("stream_broken"));
}

#[test]
fn targets_of_the_same_model_are_asked_first_and_alone_where_the_operator_says_so() {
    let script = |call: Call| match call.target {
        0 => cut(),
        2 => Outcome::fails(FaultClass::Overloaded),
        _ => Outcome::quick(),
    };
    let mut pool = pool(vec![of("a"), of("b"), of("a")]);
    let ended = one(&pool, script);
    assert_eq!((ended.calls, ended.served), (vec![0, 2, 1], Some(1)));
    pool.settings.rescue.across = Across::SameModel;
    let ended = one(&pool, script);
    assert_eq!(ended.calls, vec![0, 2, 0], "the one that broke is asked when there is nobody else");
    assert!(ended.broken);
}

#[test]
fn a_target_that_was_silent_is_not_asked_to_go_on() {
    let silent = || Outcome::Breaks { first: 0.2, fault: Fault::timed_out(canon::Phase::Idle, secs(5.0)), after: 5.2 };
    let ended = one(&pool(vec![Spec::default()]), |_| silent());
    assert_eq!(ended.calls, vec![0]);
    assert_eq!(ended.error.unwrap().fault, Some(FaultClass::TimedOut));
    let ended = one(&pool(vec![Spec::default()]), |call| if call.before == 0 { cut() } else { Outcome::quick() });
    assert_eq!((ended.calls, ended.error), (vec![0, 0], None), "one that was cut off is, when there is nobody else");
}

#[test]
fn a_refused_prefill_is_asked_again_in_the_other_form_once() {
    let refusing = |then: fn() -> Outcome| {
        move |call: Call| match (call.target, call.before) {
            (0, _) => cut(),
            (1, 0) => coded(FaultClass::InvalidRequest, "prefill"),
            (1, _) => then(),
            _ => Outcome::quick(),
        }
    };
    let pool = pool(vec![Spec::default(); 3]);
    let ended = one(&pool, refusing(Outcome::quick));
    assert_eq!((ended.calls, ended.served), (vec![0, 1, 1], Some(1)));
    let ended = one(&pool, refusing(|| coded(FaultClass::InvalidRequest, "prefill")));
    assert_eq!((ended.calls, ended.served), (vec![0, 1, 1, 2], Some(2)));
}

#[test]
fn a_target_that_does_not_go_on_natively_is_asked_in_words_once() {
    let other = |code: &'static str| {
        move |call: Call| match (call.target, call.before) {
            (0, _) => cut(),
            (1, 0) => coded(FaultClass::BadAnswer, "not_continued"),
            (1, _) => coded(FaultClass::BadAnswer, code),
            _ => Outcome::quick(),
        }
    };
    let pool = pool(vec![Spec::default(); 3]);
    for code in ["no_join", "not_continued"] {
        let ended = one(&pool, other(code));
        assert_eq!((ended.calls, ended.served), (vec![0, 1, 1, 2], Some(2)), "{code}");
    }
}

#[test]
fn when_no_join_is_found_one_more_target_is_asked_and_then_the_first_fault_is_told() {
    let ended = one(&pool(vec![Spec::default(); 4]), |call| match call.target {
        0 => cut(),
        _ => coded(FaultClass::BadAnswer, "no_join"),
    });
    assert_eq!(ended.calls, vec![0, 1, 2]);
    assert!(ended.broken);
    assert_eq!(ended.error.unwrap().fault, Some(FaultClass::StreamBroken), "not what became of the rescue");
}

#[test]
fn a_complaint_about_a_request_that_rescue_made_is_never_the_callers() {
    for class in [FaultClass::InvalidRequest, FaultClass::ContentBlocked, FaultClass::ContextExceeded] {
        let ended = one(&pool(vec![Spec::default(); 3]), |call| match call.target {
            0 => cut(),
            1 => Outcome::fails(class),
            _ => Outcome::quick(),
        });
        assert_eq!((ended.calls, ended.served, ended.error), (vec![0, 1, 2], Some(2), None), "{class}");
    }
}

#[test]
fn a_rescue_can_break_too_and_the_number_of_rescues_is_bounded() {
    let ended = one(&pool(vec![Spec::default(); 8]), |_| cut());
    assert_eq!(ended.calls, vec![0, 1, 2, 3, 4]);
    assert!(ended.broken);
}

#[test]
fn nobody_is_asked_after_the_deadline_or_for_a_caller_who_is_gone() {
    let pool = pool(vec![Spec::default(); 2]);
    let script = |call: Call| if call.target == 0 { cut() } else { Outcome::Hangs };
    let mut sim = Sim::new(pool.build(), 1, script);
    let needs = routing::Needs { streamed: true, ..routing::Needs::default() };
    sim.request_with(at(0.0), needs, secs(3.0));
    let gone = sim.request(at(10.0));
    sim.hang_up(gone, at(10.6));
    let ended = sim.run();
    assert_eq!((ended[0].error.as_ref().unwrap().status, ended[0].at), (504, at(3.0)));
    assert!(ended[1].hung_up);
}

#[test]
fn where_the_operator_wants_the_error_nobody_is_asked() {
    let mut pool = pool(vec![Spec::default(); 2]);
    pool.settings.rescue.mode = RescueMode::Error;
    let ended = one(&pool, |_| cut());
    assert_eq!(ended.calls, vec![0]);
    assert!(ended.broken);
}
