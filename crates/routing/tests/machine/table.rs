//! The fault table: for every class, what happens next.

use crate::harness::{Call, Ended, Outcome, Pool, Sim, Spec, at, fault, limited, secs};
use canon::{Fault, FaultClass, Scope};
use catalog::ModelFacts;
use routing::{ClassPolicy, FaultProfile, Needs, Step};
use std::time::Duration;

/// One exchange; the script says what each call meets.
fn exchange(pool: &Pool, script: impl FnMut(Call) -> Outcome) -> Ended {
    let mut sim = Sim::new(pool.build(), 1, script);
    sim.request(at(1.0));
    sim.run().remove(0)
}

/// The first target meets this on every call, the others answer.
fn primary_meets(pool: &Pool, outcome: &Outcome) -> Ended {
    exchange(pool, |call| if call.target == 0 { outcome.clone() } else { Outcome::quick() })
}

fn primary_fails(class: FaultClass) -> Ended {
    primary_meets(&Pool::of(2), &Outcome::fails(class))
}

fn keys(count: usize) -> Spec {
    Spec { keys: count, ..Spec::default() }
}

fn window(tokens: Option<u64>) -> Spec {
    Spec { facts: ModelFacts { context_window: tokens, ..ModelFacts::default() }, ..Spec::default() }
}

#[test]
fn every_class_takes_its_default_step_with_one_healthy_fallback() {
    for class in FaultClass::ALL {
        let ended = primary_fails(class);
        let expected: &[usize] = match class {
            FaultClass::ServerError => &[0, 0, 1],
            FaultClass::ContentBlocked | FaultClass::InvalidRequest => &[0],
            FaultClass::RateLimited
            | FaultClass::QuotaExhausted
            | FaultClass::Overloaded
            | FaultClass::Unreachable
            | FaultClass::TimedOut
            | FaultClass::TooSlow
            | FaultClass::StreamBroken
            | FaultClass::BadAnswer
            | FaultClass::ContextExceeded
            | FaultClass::ModelMissing
            | FaultClass::AuthRejected
            | FaultClass::UnsupportedParameter
            | FaultClass::Cancelled => &[0, 1],
        };
        assert_eq!(ended.calls, expected, "{class}");
        if expected.len() > 1 {
            assert_eq!((ended.served, ended.fallback, ended.reason), (Some(1), 1, Some(class.as_str())), "{class}");
        }
    }
}

#[test]
fn a_provider_that_says_that_its_caller_is_gone_is_told_as_what_it_is() {
    let hung_up = || Fault { status: Some(499), ..fault(FaultClass::Cancelled) };
    let ended = exchange(&Pool::of(2), |_| Outcome::Fails { fault: hung_up(), after: 0.0 });
    let error = ended.error.unwrap();
    assert_eq!((error.status, error.code.as_str(), error.retryable), (502, "upstream_error", true), "nobody hung up");
    assert_eq!((ended.calls.as_slice(), ended.called_off.len()), ([0, 1].as_slice(), 0));
}

#[test]
fn an_answer_of_the_primary_is_no_fallback() {
    let ended = exchange(&Pool::of(2), |_| Outcome::quick());
    assert_eq!((ended.calls.as_slice(), ended.served, ended.fallback), (&[0][..], Some(0), 0));
    assert_eq!(ended.reason, None);
    assert_eq!((ended.committed, ended.at), (Some(at(1.2)), at(2.0)));
}

#[test]
fn a_server_error_is_asked_once_more_and_one_answer_there_is_enough() {
    let ended = exchange(&Pool::of(2), |call| {
        if call.before == 0 { Outcome::fails(FaultClass::ServerError) } else { Outcome::quick() }
    });
    assert_eq!((ended.calls, ended.served), (vec![0, 0], Some(0)));
    assert!(ended.committed.unwrap() <= at(1.25), "full jitter of 50 ms");
}

#[test]
fn a_failover_on_a_503_waits_for_nothing() {
    assert_eq!(primary_fails(FaultClass::Overloaded).committed, Some(at(1.2)));
}

#[test]
fn a_stale_pooled_connection_is_replaced_on_the_same_target() {
    let stale = Fault { stale_connection: true, ..fault(FaultClass::Unreachable) };
    let ended = primary_meets(&Pool::of(2), &Outcome::Fails { fault: stale, after: 0.0 });
    assert_eq!(ended.calls, [0, 0, 1]);
}

#[test]
fn a_rate_limit_tries_another_credential_of_the_target_first() {
    let pool = Pool::with(vec![keys(2), keys(1)]);
    let ended = exchange(&pool, |call| match (call.target, call.credential) {
        (0, 0) => Outcome::Fails { fault: limited(30.0), after: 0.0 },
        _ => Outcome::quick(),
    });
    assert_eq!((ended.calls, ended.fallback), (vec![0, 0], 0));
}

#[test]
fn a_persistent_rate_limit_sees_two_calls_however_many_credentials_there_are() {
    let pool = Pool::with(vec![keys(5), keys(1)]);
    let ended = primary_meets(&pool, &Outcome::Fails { fault: limited(30.0), after: 0.0 });
    assert_eq!(ended.calls, [0, 0, 1]);
}

#[test]
fn a_rate_limit_of_the_whole_provider_does_not_burn_its_other_credentials() {
    let pool = Pool::with(vec![keys(3), keys(1)]);
    let wide = Fault { scope: Scope::Provider, ..limited(30.0) };
    assert_eq!(primary_meets(&pool, &Outcome::Fails { fault: wide, after: 0.0 }).calls, [0, 1]);
}

#[test]
fn a_rate_limit_prefers_another_target_of_the_same_model() {
    let same = Spec { same_model: Some("gpt"), ..Spec::default() };
    let pool = Pool::with(vec![same.clone(), Spec::default(), same]);
    assert_eq!(primary_meets(&pool, &Outcome::Fails { fault: limited(30.0), after: 0.0 }).calls, [0, 2]);
}

#[test]
fn a_short_hint_is_not_waited_for_while_another_candidate_exists() {
    let ended = primary_meets(&Pool::of(2), &Outcome::Fails { fault: limited(0.1), after: 0.0 });
    assert_eq!((ended.calls, ended.committed), (vec![0, 1], Some(at(1.2))));
}

fn waiting_pool(count: usize, max_wait: f64) -> Pool {
    let mut pool = Pool::of(count);
    let policy = ClassPolicy { max_wait: Some(secs(max_wait)), ..ClassPolicy::default() };
    pool.settings.on.set(FaultClass::RateLimited, policy);
    pool
}

#[test]
fn with_max_wait_the_hint_is_waited_for_and_the_exchange_stays_on_the_primary() {
    let ended = exchange(&waiting_pool(2, 2.0), |call| match (call.target, call.before) {
        (0, 0) => Outcome::Fails { fault: limited(1.5), after: 0.0 },
        _ => Outcome::quick(),
    });
    assert_eq!((ended.calls, ended.fallback, ended.committed), (vec![0, 0], 0, Some(at(2.7))));
}

#[test]
fn with_max_wait_a_longer_hint_or_none_goes_on_at_once() {
    for fault in [limited(2.5), fault(FaultClass::RateLimited)] {
        let ended = primary_meets(&waiting_pool(2, 2.0), &Outcome::Fails { fault, after: 0.0 });
        assert_eq!((ended.calls, ended.committed), (vec![0, 1], Some(at(1.2))));
    }
}

#[test]
fn with_max_wait_only_one_wait_is_made() {
    let ended = primary_meets(&waiting_pool(2, 2.0), &Outcome::Fails { fault: limited(1.0), after: 0.0 });
    assert_eq!(ended.calls, [0, 0, 1]);
}

#[test]
fn with_max_wait_a_park_of_an_earlier_exchange_is_waited_for_too() {
    let mut sim = Sim::new(waiting_pool(2, 2.0).build(), 1, |call| match (call.exchange, call.before) {
        (0, 0) => Outcome::Fails { fault: limited(1.5), after: 0.0 },
        _ => Outcome::quick(),
    });
    sim.request(at(1.0));
    sim.request(at(1.5));
    let ended = sim.run();
    assert_eq!((ended[1].calls.as_slice(), ended[1].committed), (&[0][..], Some(at(2.7))));
}

#[test]
fn the_last_candidate_is_waited_for_when_its_hint_is_a_second_or_less() {
    let limited_once = |hint| {
        exchange(&Pool::of(1), move |call| {
            if call.before == 0 { Outcome::Fails { fault: limited(hint), after: 0.0 } } else { Outcome::quick() }
        })
    };
    assert_eq!(limited_once(0.9).served, Some(0));
    let error = limited_once(1.1).error.unwrap();
    assert_eq!((error.status, error.retry_after, error.retryable), (429, Some(secs(1.1)), true));
}

#[test]
fn without_a_hint_nobody_waits() {
    let ended = primary_meets(&Pool::of(1), &Outcome::fails(FaultClass::RateLimited));
    assert_eq!((ended.calls.as_slice(), ended.at), (&[0][..], at(1.0)));
    assert_eq!(ended.error.unwrap().status, 429);
}

#[test]
fn quota_and_key_faults_try_the_other_credentials() {
    for class in [FaultClass::QuotaExhausted, FaultClass::AuthRejected] {
        let pool = Pool::with(vec![keys(2), keys(1)]);
        assert_eq!(primary_meets(&pool, &Outcome::fails(class)).calls, [0, 0, 1], "{class}");
    }
}

#[test]
fn a_prompt_too_long_goes_to_a_larger_or_unknown_window_and_never_to_a_smaller_one() {
    for (next, calls) in [(Some(2_000), &[0, 2][..]), (None, &[0, 2]), (Some(1_000), &[0]), (Some(500), &[0])] {
        let pool = Pool::with(vec![window(Some(1_000)), window(Some(900)), window(next)]);
        let ended = primary_meets(&pool, &Outcome::fails(FaultClass::ContextExceeded));
        assert_eq!(ended.calls, calls, "{next:?}");
        if let Some(error) = ended.error {
            assert_eq!((error.status, error.fault), (400, Some(FaultClass::ContextExceeded)));
        }
    }
}

#[test]
fn content_policy_stops_unless_the_operator_says_next() {
    let ended = primary_fails(FaultClass::ContentBlocked);
    let error = ended.error.unwrap();
    assert_eq!((error.status, error.fault, error.retryable), (400, Some(FaultClass::ContentBlocked), false));
    assert!(error.message.contains("content_blocked says the provider"), "{}", error.message);

    let mut pool = Pool::of(2);
    let next = ClassPolicy { step: Some(Step::Next), ..ClassPolicy::default() };
    pool.settings.on.set(FaultClass::ContentBlocked, next);
    assert_eq!(primary_meets(&pool, &Outcome::fails(FaultClass::ContentBlocked)).served, Some(1));
}

#[test]
fn on_overrides_any_class() {
    let with = |class, policy| {
        let mut pool = Pool::of(2);
        pool.settings.on.set(class, policy);
        primary_meets(&pool, &Outcome::fails(class))
    };
    let step = |step| ClassPolicy { step: Some(step), ..ClassPolicy::default() };
    assert_eq!(with(FaultClass::Overloaded, step(Step::Stop)).error.unwrap().status, 502);
    assert_eq!(with(FaultClass::ServerError, step(Step::Next)).calls, [0, 1]);
    assert_eq!(with(FaultClass::StreamBroken, step(Step::Stop)).calls, [0]);
    let delayed = ClassPolicy { delay: Duration::from_millis(300), ..ClassPolicy::default() };
    assert_eq!(with(FaultClass::Overloaded, delayed).committed, Some(at(1.5)));
}

#[test]
fn a_silent_target_is_not_asked_again_whatever_the_override() {
    let mut pool = Pool::of(2);
    let again = ClassPolicy { step: Some(Step::SameThenNext), ..ClassPolicy::default() };
    pool.settings.on.set(FaultClass::TimedOut, again);
    assert_eq!(primary_meets(&pool, &Outcome::Hangs).calls, [0, 1]);
}

#[test]
fn strict_stops_on_a_rejected_key_and_on_an_unsupported_parameter() {
    for (class, status) in [(FaultClass::AuthRejected, 502), (FaultClass::UnsupportedParameter, 400)] {
        let mut pool = Pool::of(2);
        pool.settings.profile = FaultProfile::Strict;
        let ended = primary_meets(&pool, &Outcome::fails(class));
        assert_eq!((ended.calls.as_slice(), ended.error.unwrap().status), (&[0][..], status), "{class}");
    }
}

#[test]
fn strict_still_tries_the_other_credentials_of_a_rejected_key() {
    let mut pool = Pool::with(vec![keys(2), keys(1)]);
    pool.settings.profile = FaultProfile::Strict;
    let ended = primary_meets(&pool, &Outcome::fails(FaultClass::AuthRejected));
    assert_eq!(ended.calls, [0, 0]);
}

#[test]
fn a_400_to_a_request_that_was_altered_is_not_the_callers_fault() {
    let mut sim = Sim::new(Pool::of(2).build(), 1, |call| {
        if call.target == 0 { Outcome::fails(FaultClass::InvalidRequest) } else { Outcome::quick() }
    })
    .altered();
    sim.request(at(1.0));
    assert_eq!(sim.run()[0].calls, [0, 1]);
}

#[test]
fn a_fault_after_the_commit_ends_the_stream_honestly() {
    let broken = Outcome::Breaks { first: 0.2, fault: fault(FaultClass::StreamBroken), after: 2.0 };
    let ended = primary_meets(&Pool::of(2), &broken);
    assert_eq!((ended.calls.as_slice(), ended.broken, ended.at), (&[0][..], true, at(3.0)));
    assert!(ended.error.unwrap().message.contains("incomplete"));
}

#[test]
fn a_caller_who_does_not_stream_is_failed_over_until_the_whole_answer_is_there() {
    let broken = Outcome::Breaks { first: 0.2, fault: fault(FaultClass::StreamBroken), after: 2.0 };
    let mut sim =
        Sim::new(Pool::of(2).build(), 1, |call| if call.target == 0 { broken.clone() } else { Outcome::quick() });
    sim.request_with(at(1.0), Needs::default(), secs(60.0));
    let ended = sim.run().remove(0);
    assert_eq!((ended.calls, ended.served, ended.at), (vec![0, 1], Some(1), at(4.0)));
}

#[test]
fn what_is_refused_at_the_door_does_not_count() {
    let ended =
        exchange(
            &Pool::of(7),
            |call| {
                if call.target < 6 { Outcome::fails(FaultClass::Overloaded) } else { Outcome::quick() }
            },
        );
    assert_eq!(ended.served, Some(6));
}

#[test]
fn three_attempts_may_reach_a_models_work() {
    let ended = exchange(&Pool::of(7), |_| Outcome::fails(FaultClass::StreamBroken));
    assert_eq!(ended.calls, [0, 1, 2]);
}

#[test]
fn a_fallbacks_complaint_never_masks_the_primarys_fault() {
    for complaint in [FaultClass::UnsupportedParameter, FaultClass::ContextExceeded, FaultClass::AuthRejected] {
        let ended = exchange(&Pool::of(2), |call| {
            Outcome::fails(if call.target == 0 { FaultClass::Overloaded } else { complaint })
        });
        let error = ended.error.unwrap();
        assert_eq!((error.status, error.fault), (502, Some(FaultClass::Overloaded)), "{complaint}");
        assert_eq!(error.attempts.len(), 2);
        assert!(error.message.contains("p1/m"), "{}", error.message);
    }
}

#[test]
fn the_status_is_429_only_when_every_candidate_is_limited() {
    let both = exchange(&Pool::of(2), |call| {
        let hint = if call.target == 0 { 30.0 } else { 7.0 };
        Outcome::Fails { fault: limited(hint), after: 0.0 }
    });
    let error = both.error.unwrap();
    assert_eq!((error.status, error.retry_after), (429, Some(secs(7.0))));

    let one = exchange(&Pool::of(2), |call| {
        if call.target == 0 {
            Outcome::Fails { fault: limited(30.0), after: 0.0 }
        } else {
            Outcome::fails(FaultClass::Overloaded)
        }
    });
    assert_eq!(one.error.unwrap().status, 502);
}

#[test]
fn parked_targets_are_skipped_not_tried() {
    let mut sim = Sim::new(Pool::of(1).build(), 1, |_| Outcome::Fails { fault: limited(30.0), after: 0.0 });
    (0..20).for_each(|i| {
        sim.request(at(f64::from(i)));
    });
    let ended = sim.run();
    assert_eq!(sim.calls.len(), 1);
    let error = ended[10].error.clone().unwrap();
    assert_eq!((error.status, error.retry_after), (429, Some(secs(20.0))));
}

#[test]
fn silence_goes_to_the_next_after_the_first_token_limit() {
    let ended = primary_meets(&Pool::of(2), &Outcome::Hangs);
    assert_eq!((ended.calls, ended.committed), (vec![0, 1], Some(at(11.2))));
}

#[test]
fn an_attempt_gets_three_fifths_of_what_is_left_while_another_candidate_exists() {
    let mut sim =
        Sim::new(Pool::of(2).build(), 1, |call| if call.target == 0 { Outcome::Hangs } else { Outcome::quick() });
    sim.request_with(at(1.0), Needs { streamed: true, ..Needs::default() }, secs(5.0));
    assert_eq!(sim.run()[0].committed, Some(at(4.2)));
}

#[test]
fn the_last_candidate_gets_the_rest_of_the_deadline_and_then_the_caller_a_504() {
    let ended = primary_meets(&Pool::of(1), &Outcome::Answer { first: 50.0, total: 51.0 });
    assert_eq!(ended.committed, Some(at(51.0)));
    let ended = primary_meets(&Pool::of(1), &Outcome::Hangs);
    let error = ended.error.unwrap();
    assert_eq!((error.status, error.fault, ended.at), (504, Some(FaultClass::TimedOut), at(121.0)));
    assert_eq!(error.code, "deadline_exceeded");
}

#[test]
fn a_short_deadline_of_the_caller_does_not_count_against_the_target() {
    let model = Pool::of(1).build();
    let mut sim = Sim::new(model.clone(), 1, |_| Outcome::Answer { first: 1.0, total: 2.0 });
    for i in 0..50 {
        sim.request_with(at(f64::from(i)), Needs { streamed: true, ..Needs::default() }, secs(0.3));
    }
    assert!(sim.run().iter().all(|ended| ended.error.as_ref().unwrap().status == 504));
    assert!(model.targets[0].health.standing(at(50.0)).is_healthy());
}

#[test]
fn a_deadline_that_outlasts_any_patience_does() {
    let model = Pool::of(1).build();
    let mut sim = Sim::new(model.clone(), 1, |_| Outcome::Hangs);
    (0..3).for_each(|i| {
        sim.request(at(f64::from(i)));
    });
    sim.run();
    assert!(!model.targets[0].health.standing(at(123.0)).is_healthy());
}

#[test]
fn a_hang_up_settles_everything_and_teaches_nothing() {
    let model = Pool::of(2).build();
    let mut sim = Sim::new(model.clone(), 1, |_| Outcome::Hangs);
    for i in 0..10 {
        let exchange = sim.request(at(f64::from(i)));
        sim.hang_up(exchange, at(f64::from(i) + 0.5));
    }
    assert!(sim.run().iter().all(|ended| ended.hung_up));
    assert!(model.targets.iter().all(|target| target.health.standing(at(20.0)).is_healthy()));
}

#[test]
fn a_hang_up_in_a_wait_ends_it() {
    let mut sim = Sim::new(waiting_pool(1, 5.0).build(), 1, |_| Outcome::Fails { fault: limited(4.0), after: 0.0 });
    let exchange = sim.request(at(1.0));
    sim.hang_up(exchange, at(2.0));
    let ended = sim.run();
    assert_eq!((ended[0].hung_up, ended[0].at), (true, at(2.0)));
}
