//! A caller that has announced when it hangs up: who is asked by then, what it is told, and what that costs.

use crate::harness::{Call, Ended, Outcome, Pool, Sim, at, secs};
use canon::FaultClass;
use routing::Needs;

/// The caller waits for so long.
const PATIENCE: f64 = 3.6;
/// What a silent target has to itself of that.
const ALONE: f64 = PATIENCE * 0.6;

fn needs(streamed: bool) -> Needs {
    Needs { streamed, ..Needs::default() }
}

/// One request, streamed or not, with a deadline of two minutes: the script says what each target does.
fn one(targets: usize, streamed: bool, script: impl FnMut(Call) -> Outcome) -> Ended {
    let mut sim = Sim::new(Pool::of(targets).build(), 1, script);
    let exchange = sim.request_with(at(0.0), needs(streamed), secs(120.0));
    sim.announce(exchange, at(PATIENCE));
    sim.run().remove(0)
}

fn hangs_then(next: Outcome) -> impl FnMut(Call) -> Outcome {
    move |call| if call.target == 0 { Outcome::Hangs } else { next.clone() }
}

fn seconds(ended: &Ended) -> f64 {
    ended.committed.unwrap().saturating_since(at(0.0)).as_secs_f64()
}

#[test]
fn beside_a_target_that_hangs_the_next_is_asked_in_time() {
    let ended = one(2, true, hangs_then(Outcome::quick()));
    assert_eq!((ended.served, ended.reason), (Some(1), Some("read_timeout")));
    assert_eq!(
        (ended.beside.as_slice(), ended.calls.as_slice()),
        ([None, Some("read_timeout")].as_slice(), &[0, 1][..])
    );
    assert!((seconds(&ended) - ALONE - 0.2).abs() < 1e-6, "{}", seconds(&ended));
    let ended = one(2, false, hangs_then(Outcome::quick()));
    assert_eq!(
        (ended.served, ended.at),
        (Some(1), at(ALONE + 1.0)),
        "the whole answer is there before the caller goes"
    );
}

#[test]
fn an_answer_that_comes_at_the_last_moment_is_not_given_up_for_another() {
    let late = |call: Call| if call.target == 0 { Outcome::Answer { first: 3.4, total: 9.0 } } else { Outcome::Hangs };
    let ended = one(2, true, late);
    assert_eq!((ended.served, ended.reason, ended.calls.as_slice()), (Some(0), None, &[0, 1][..]));
    assert_eq!(ended.called_off.len(), 1);
    let whole = |call: Call| if call.target == 0 { Outcome::Answer { first: 0.2, total: 3.4 } } else { Outcome::Hangs };
    assert_eq!(one(2, false, whole).served, Some(0));
}

#[test]
fn a_stream_that_has_begun_outlives_the_announced_time() {
    let ended = one(2, true, |_| Outcome::Answer { first: 1.0, total: 100.0 });
    assert_eq!((ended.served, ended.at, ended.calls.len()), (Some(0), at(100.0), 1));
}

#[test]
fn when_nobody_answers_the_error_comes_before_the_caller_goes_and_blames_no_target() {
    for (targets, streamed) in [(1, true), (2, true), (3, true), (1, false), (2, false), (3, false)] {
        let model = Pool::of(targets).build();
        let mut sim = Sim::new(model.clone(), 1, |_| Outcome::Hangs);
        for i in 0..8 {
            let exchange = sim.request_with(at(f64::from(i) * 10.0), needs(streamed), secs(120.0));
            sim.announce(exchange, at(f64::from(i) * 10.0 + PATIENCE));
        }
        for (i, ended) in sim.run().into_iter().enumerate() {
            let error = ended.error.unwrap();
            assert_eq!(
                (error.status, error.code.as_ref(), error.fault),
                (504, "deadline_exceeded", Some(FaultClass::TimedOut))
            );
            assert!(error.message.starts_with("no answer in the 3600 ms that `x-test` leaves"), "{}", error.message);
            assert_eq!(ended.at, at(i as f64 * 10.0 + PATIENCE));
        }
        assert!(model.targets.iter().all(|target| target.health.standing(at(90.0)).is_healthy()));
    }
}

#[test]
fn a_time_beyond_the_deadline_changes_nothing() {
    let deadline = 5.0;
    let ends = |announced: Option<f64>| {
        let mut sim = Sim::new(Pool::of(2).build(), 1, hangs_then(Outcome::quick()));
        let exchange = sim.request_with(at(0.0), needs(true), secs(deadline));
        if let Some(announced) = announced {
            sim.announce(exchange, at(announced));
        }
        sim.run().remove(0)
    };
    let (with, without) = (ends(Some(deadline)), ends(None));
    assert_eq!((with.committed, with.reason, with.beside), (without.committed, without.reason, without.beside));
    assert_eq!(without.reason, Some("timed_out"), "the first had three fifths of the deadline and was given up");
}

#[test]
fn who_fails_at_once_costs_none_of_the_time_and_the_rest_is_divided_as_well() {
    let script =
        |call: Call| [Outcome::fails(FaultClass::Overloaded), Outcome::Hangs, Outcome::quick()][call.target].clone();
    let ended = one(3, true, script);
    assert_eq!((ended.served, ended.calls.as_slice()), (Some(2), &[0, 1, 2][..]));
    assert!((seconds(&ended) - ALONE - 0.2).abs() < 1e-6, "{}", seconds(&ended));
    let script =
        |call: Call| [Outcome::Hangs, Outcome::fails(FaultClass::Overloaded), Outcome::quick()][call.target].clone();
    let ended = one(3, true, script);
    assert_eq!(
        (ended.served, ended.reason),
        (Some(2), Some("read_timeout")),
        "one that fails leaves its place to the next"
    );
    assert!((seconds(&ended) - ALONE - 0.2).abs() < 1e-6, "{}", seconds(&ended));
}

/// Requests ten a second; `usual` of them are answered after half a second, then the script says.
fn busy(usual: usize, more: usize, mut script: impl FnMut(Call) -> Outcome) -> Vec<Ended> {
    let mut sim = Sim::new(Pool::of(2).build(), 1, move |call| {
        if call.exchange < usual { Outcome::Answer { first: 0.5, total: 1.0 } } else { script(call) }
    });
    for i in 0..usual + more {
        let arrives = i as f64 / 10.0;
        let exchange = sim.request_with(at(arrives), needs(true), secs(120.0));
        sim.announce(exchange, at(arrives + PATIENCE));
    }
    sim.run().split_off(usual)
}

#[test]
fn where_answers_usually_come_late_the_second_calls_keep_to_the_retry_budget() {
    let ended = busy(0, 600, |call| Outcome::Answer { first: if call.target == 0 { 3.0 } else { 3.5 }, total: 5.0 });
    assert!(ended.iter().all(|ended| ended.served == Some(0)));
    let beside = ended.iter().filter(|ended| ended.calls.len() == 2).count();
    assert!((1..=10 + 60 + 12).contains(&beside), "a burst, a tenth, and one in five seconds: {beside}");
}

#[test]
fn what_is_surely_late_is_asked_elsewhere_whatever_the_retry_budget_holds() {
    let ended = busy(400, 60, hangs_then(Outcome::quick()));
    assert!(ended.iter().all(|ended| ended.served == Some(1)), "every caller has its answer");
    let asked = ended.iter().filter(|ended| ended.calls.contains(&0)).count();
    assert!(asked < 60, "and the target that hangs loses its rank: {asked}");
}
