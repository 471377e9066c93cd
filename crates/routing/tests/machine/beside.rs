//! A second attempt beside the first: when it is started, when it is not, and what becomes of the one that loses.

use crate::harness::{Call, Ended, Outcome, Pool, Sim, Spec, at, fault, secs};
use crate::prices::priced;
use canon::{Fault, FaultClass};
use catalog::{Ratio, Usd};
use routing::{Guards, Hedge, HedgeAfter, Hedging, MaxPrice, Needs, Rescue, RescueMode, Session, Sessions, Stickiness};

const USUAL: f64 = 1.0;
const LATE: f64 = 10.0;

fn answers(first: f64) -> Outcome {
    Outcome::Answer { first, total: first + 1.0 }
}

fn hedged(mut pool: Pool) -> Pool {
    pool.settings.hedging = Hedging::Hedge(Hedge::default());
    pool
}

/// A hedge after two seconds that is always paid for.
fn hedged_after_two(mut pool: Pool) -> Pool {
    let budget = Ratio::of_millionths(1_000_000);
    pool.settings.hedging = Hedging::Hedge(Hedge { after: HedgeAfter::Fixed(secs(2.0)), budget });
    pool
}

fn racing(mut pool: Pool) -> Pool {
    pool.settings.hedging = Hedging::Race;
    pool
}

/// One request to a pool: the script says what each target does.
fn one(pool: &Pool, script: impl FnMut(Call) -> Outcome) -> Ended {
    let mut sim = Sim::new(pool.build(), 1, script);
    sim.request(at(1.0));
    sim.run().remove(0)
}

/// Four hundred usual answers of the first target, one in half a second, then what the script says.
fn after_the_usual(pool: &Pool, requests: usize, mut script: impl FnMut(Call) -> Outcome) -> Vec<Ended> {
    let mut sim = Sim::new(pool.build(), 1, |call| match call.exchange {
        0..400 => answers(USUAL),
        _ => script(call),
    });
    (0..400 + requests).for_each(|i| {
        sim.request(at(i as f64 * 0.5));
    });
    sim.run().split_off(400)
}

#[test]
fn a_first_token_later_than_its_targets_own_95_percent_is_hedged_and_the_quicker_one_serves() {
    let ended = after_the_usual(&hedged(Pool::of(3)), 1, |call| answers([LATE, USUAL, USUAL][call.target]));
    let ended = &ended[0];
    assert_eq!((ended.calls.as_slice(), ended.served), ([0, 1].as_slice(), Some(1)));
    let waited = ended.committed.unwrap().saturating_since(at(200.0)).as_secs_f64();
    assert!((1.9..2.2).contains(&waited), "the usual second, to a sixteenth, and the peer's own: {waited}");
    assert_eq!((ended.fallback, ended.reason), (1, Some("hedge")));
    assert_eq!(ended.beside, [None, Some("hedge")]);
    assert_eq!(ended.faults, [Some(FaultClass::Cancelled), None]);
    assert_eq!(ended.called_off.iter().map(|it| it.target.as_str()).collect::<Vec<_>>(), ["p0/m"]);
}

#[test]
fn the_first_serves_where_it_is_the_quicker_one_after_all_and_that_is_no_fallback() {
    let ended = after_the_usual(&hedged(Pool::of(2)), 1, |call| answers([USUAL * 1.5, LATE][call.target]));
    let ended = &ended[0];
    assert_eq!((ended.calls.as_slice(), ended.served, ended.reason), ([0, 1].as_slice(), Some(0), None));
    assert_eq!(ended.called_off[0].target, "p1/m");
}

#[test]
fn nothing_is_hedged_before_two_hundred_first_tokens_have_come() {
    let mut sim = Sim::new(hedged(Pool::of(2)).build(), 1, |call| {
        answers(if call.exchange % 20 == 19 && call.target == 0 { 2.9 } else { USUAL })
    });
    (0..600).for_each(|i| {
        sim.request(at(f64::from(i) * 0.5));
    });
    let hedges: Vec<usize> = sim.run().iter().map(|ended| ended.hedges).collect();
    assert_eq!(hedges[..200].iter().sum::<usize>(), 0);
    assert!(hedges[200..].iter().sum::<usize>() > 10);
}

#[test]
fn hedges_never_cost_more_than_their_share_of_the_requests() {
    for targets in [2, 4] {
        let mut pool = Pool::of(targets);
        pool.settings.hedging = Hedging::Hedge(Hedge { after: HedgeAfter::Fixed(secs(2.0)), ..Hedge::default() });
        let ended = after_the_usual(&pool, 600, |call| {
            answers(if call.target == 0 && call.exchange % 3 == 0 { 2.9 } else { USUAL })
        });
        let hedges: usize = ended.iter().map(|ended| ended.hedges).sum();
        assert!((35..=40).contains(&hedges), "a third is late, and the budget pays for 10 saved and 30: {hedges}");
    }
}

#[test]
fn where_cancelling_stops_the_bill_a_hedge_costs_a_prompt_and_there_are_more_of_them() {
    let hedges = |cancel_stops_billing: bool, reasoning_model: bool| {
        let mut spec = priced(r#"{ "input": 1, "output": 10 }"#);
        spec.facts.reasoning_model = reasoning_model;
        let mut pool = Pool::with(vec![Spec { cancel_stops_billing, ..spec }; 2]);
        pool.settings.hedging = Hedging::Hedge(Hedge { after: HedgeAfter::Fixed(secs(2.0)), ..Hedge::default() });
        let ended = after_the_usual(&pool, 600, |call| {
            answers(if call.target == 0 && call.exchange % 3 == 0 { LATE } else { USUAL })
        });
        ended.iter().map(|ended| ended.hedges).sum::<usize>()
    };
    let (stops, goes_on) = (hedges(true, false), hedges(false, false));
    assert!((35..=40).contains(&goes_on), "ten saved and 30: {goes_on}");
    assert_eq!(stops, 200, "all that are late");
    assert_eq!(hedges(true, true), goes_on, "nobody knows what it has thought by then");
}

#[test]
fn what_is_surely_late_takes_the_last_hedges_of_a_budget_that_is_short() {
    let mut pool = Pool::of(2);
    pool.settings.hedging = Hedging::Hedge(Hedge { after: HedgeAfter::Fixed(secs(2.0)), ..Hedge::default() });
    // One in ten is just above what is late, one in twenty is late by much: twice as many as the budget pays for.
    let ended = after_the_usual(&pool, 2_000, |call| match (call.target, call.exchange % 20) {
        (0, 0) => answers(LATE),
        (0, 5 | 10) => answers(2.3),
        _ => answers(USUAL),
    });
    let hedged = |wanted: &dyn Fn(usize) -> bool| {
        ended.iter().enumerate().filter(|(i, it)| wanted(i % 20) && it.hedges > 0).count()
    };
    let (late, merely_slow) = (hedged(&|i| i == 0), hedged(&|i| i == 5 || i == 10));
    assert!(late >= 95, "{late} of 100 that are late by much");
    assert!(merely_slow <= 15, "{merely_slow} of 200 that are about to be answered");
}

#[test]
fn the_95_percent_stay_where_they_are_although_the_late_are_called_off() {
    let mut late = fastrand::Rng::with_seed(3);
    let ended = after_the_usual(&hedged(Pool::of(2)), 4_000, |call| {
        answers(if call.target == 0 && late.u32(0..25) == 0 { LATE } else { USUAL })
    });
    let count = |ended: &[Ended]| ended.iter().filter(|ended| ended.hedges > 0).count();
    let (early, latest) = (count(&ended[..1_000]), count(&ended[3_000..]));
    assert!((20..=60).contains(&early) && (20..=60).contains(&latest), "{early} {latest}");
    let by_the_second = ended.iter().filter(|ended| ended.served == Some(1)).count();
    assert!(by_the_second > 100, "{by_the_second}");
}

#[test]
fn what_is_not_streamed_is_not_hedged_and_what_the_callers_sdk_repeats_is_neither_hedged_nor_raced() {
    let pool = hedged_after_two(Pool::of(2));
    let mut sim = Sim::new(pool.build(), 1, |_| answers(LATE));
    sim.request_with(at(0.0), Needs::default(), secs(60.0));
    assert_eq!(sim.run()[0].calls, [0]);
    for pool in [pool, racing(Pool::of(2))] {
        let mut sim = Sim::new(pool.build(), 1, |_| answers(LATE)).retries();
        sim.request(at(0.0));
        assert_eq!(sim.run()[0].calls, [0]);
    }
}

#[test]
fn nothing_is_started_beside_another_while_a_target_rests_or_comes_back() {
    for pool in [hedged_after_two(Pool::of(3)), racing(Pool::of(3))] {
        let mut sim = Sim::new(pool.build(), 1, |call| match call.target {
            0 => Outcome::fails(FaultClass::Overloaded),
            1 => answers(LATE),
            _ => answers(USUAL),
        });
        (0..4).for_each(|tenth| {
            sim.request(at(f64::from(tenth) * 0.1));
        });
        sim.request(at(0.5));
        let ended = sim.run().remove(4);
        assert_eq!((ended.calls.as_slice(), ended.hedges), ([1].as_slice(), 0), "one of three rests");
    }
}

#[test]
fn nothing_is_started_beside_another_when_failing_over_has_used_up_the_retry_budget() {
    for pool in [hedged_after_two(Pool::of(2)), racing(Pool::of(2))] {
        let mut sim = Sim::new(pool.build(), 1, |call| answers([LATE, USUAL][call.target]));
        while sim.model.budget.try_charge(1.0, at(0.0)) {}
        sim.request(at(1.0));
        sim.request(at(60.0));
        let ended = sim.run();
        assert_eq!([ended[0].hedges, ended[1].hedges], [0, 1], "and again when it has filled up");
    }
}

#[test]
fn in_a_full_outage_nothing_is_hedged() {
    for answer in [Outcome::fails(FaultClass::Overloaded), Outcome::Hangs] {
        let (pool, silent) = (hedged(Pool::of(3)), matches!(answer, Outcome::Hangs));
        let ended = after_the_usual(&pool, 120, |_| answer.clone());
        let hedges: usize = ended.iter().map(|ended| ended.hedges).sum();
        // Of calls that hang nobody knows at once that all do: what was saved up is spent, at most.
        assert!(hedges <= if silent { 10 } else { 0 }, "{hedges}");
    }
}

#[test]
fn a_hedge_that_fails_leaves_the_word_to_the_first_whatever_its_fault() {
    for class in FaultClass::ALL {
        for pool in [hedged_after_two(Pool::of(2)), racing(Pool::of(2))] {
            let ended = one(&pool, |call| if call.target == 1 { Outcome::fails(class) } else { answers(4.0) });
            assert_eq!((ended.served, ended.reason), (Some(0), None), "{class}");
            assert_eq!(ended.faults, [None, Some(class)]);
        }
    }
}

#[test]
fn a_fault_the_caller_must_see_ends_the_race_when_the_first_says_so() {
    let ended = one(&racing(Pool::of(2)), |call| match call.target {
        0 => Outcome::Fails { fault: fault(FaultClass::InvalidRequest), after: 0.1 },
        _ => answers(USUAL),
    });
    assert_eq!(ended.error.unwrap().status, 400);
    assert_eq!(ended.at, at(1.1), "at once");
}

#[test]
fn when_both_fail_the_next_is_asked_and_when_nobody_is_left_the_firsts_fault_is_told() {
    for pool in [hedged_after_two(Pool::of(3)), racing(Pool::of(3))] {
        let overloaded =
            |call: Call| Outcome::Fails { fault: fault(FaultClass::Overloaded), after: 4.0 - call.target as f64 };
        let ended = one(&pool, |call| if call.target < 2 { overloaded(call) } else { answers(USUAL) });
        assert_eq!((ended.calls.as_slice(), ended.served), ([0, 1, 2].as_slice(), Some(2)));
        assert_eq!(ended.reason, Some("overloaded"));
    }
    for pool in [hedged_after_two(Pool::of(2)), racing(Pool::of(2))] {
        let ended = one(&pool, |call| match call.target {
            0 => Outcome::Fails { fault: fault(FaultClass::Overloaded), after: 4.0 },
            _ => Outcome::fails(FaultClass::AuthRejected),
        });
        let error = ended.error.unwrap();
        assert_eq!((error.status, error.fault), (502, Some(FaultClass::Overloaded)));
        assert_eq!(error.attempts.len(), 2);
    }
}

#[test]
fn a_race_starts_two_at_once_streamed_or_not_and_the_first_answer_serves() {
    for streamed in [false, true] {
        let mut sim = Sim::new(racing(Pool::of(3)).build(), 1, |call| answers([LATE, USUAL, USUAL][call.target]));
        sim.request_with(at(1.0), Needs { streamed, ..Needs::default() }, secs(60.0));
        let ended = sim.run().remove(0);
        assert_eq!((ended.calls.as_slice(), ended.served), ([0, 1].as_slice(), Some(1)));
        assert_eq!((ended.reason, ended.beside), (Some("race"), vec![None, Some("race")]));
        assert!(sim.calls.iter().all(|call| call.at == at(1.0)));
    }
}

#[test]
fn a_caller_who_hangs_up_ends_both() {
    for pool in [hedged_after_two(Pool::of(2)), racing(Pool::of(2))] {
        let mut sim = Sim::new(pool.build(), 1, |_| Outcome::Hangs);
        let exchange = sim.request(at(1.0));
        sim.hang_up(exchange, at(4.0));
        let ended = sim.run().remove(0);
        assert!(ended.hung_up && ended.calls.len() == 2, "the harness checks that every permit is released");
        assert_eq!(ended.faults, [Some(FaultClass::Cancelled); 2]);
        for target in sim.model.targets.iter() {
            assert!(target.health.standing(at(5.0)).is_healthy());
        }
    }
}

#[test]
fn a_winner_that_breaks_is_rescued_by_the_one_that_was_called_off_if_nobody_else_is_there() {
    for mut pool in [hedged_after_two(Pool::of(2)), racing(Pool::of(2))] {
        pool.settings.rescue = Rescue { mode: RescueMode::Resume, ..Rescue::default() };
        let cut = || Outcome::Breaks { first: 1.0, fault: Fault { ..fault(FaultClass::StreamBroken) }, after: 1.5 };
        let ended = one(&pool, |call| match (call.target, call.before) {
            (1, _) => cut(),
            (_, 0) => Outcome::Hangs,
            _ => answers(USUAL),
        });
        assert_eq!((ended.calls.as_slice(), ended.served, ended.broken), ([0, 1, 0].as_slice(), Some(0), false));
        assert_eq!(ended.rescues, [false, false, true]);
    }
}

#[test]
fn the_one_that_is_called_off_keeps_its_good_name() {
    let ended = after_the_usual(&hedged(Pool::of(2)), 400, |call| {
        answers(if call.target == 0 && call.exchange % 25 == 0 { LATE } else { USUAL })
    });
    assert!(ended.iter().filter(|ended| ended.served == Some(1)).count() >= 10);
    assert!(ended.iter().all(|ended| ended.calls[0] == 0), "it stays the first");
}

#[test]
fn a_conversation_stays_at_its_target_and_is_not_hedged() {
    for mut pool in [hedged_after_two(Pool::of(2)), racing(Pool::of(2))] {
        pool.settings.sessions = Some(Sessions { ttl: secs(300.0), on_fault: Stickiness::Move });
        let mut sim =
            Sim::new(pool.build(), 1, |_| answers(if pool.settings.hedging == Hedging::Race { 0.5 } else { 4.0 }));
        let needs =
            Needs { streamed: true, session: Some(Session::named(None, "session_id", b"a")), ..Needs::default() };
        for second in [0.0, 20.0, 40.0] {
            sim.request_with(at(second), needs, secs(60.0));
        }
        let ended = sim.run();
        assert_eq!(ended.iter().map(|ended| ended.hedges).collect::<Vec<_>>(), [1, 0, 0]);
    }
}

#[test]
fn a_hedge_costs_at_most_half_as_much_again_and_both_keep_to_the_price_of_one_request() {
    const CHEAP: &str = r#"{ "input": 1, "output": 10 }"#;
    const FIT: &str = r#"{ "input": 1.5, "output": 15 }"#;
    const DEAR: &str = r#"{ "input": 1.6, "output": 16 }"#;
    let second = |pool: &Pool| {
        let mut sim = Sim::new(pool.build(), 1, |call| answers([LATE, USUAL, USUAL][call.target]));
        // The first two fill the budget.
        for second in [0.0, 20.0, 40.0] {
            sim.request(at(second));
        }
        sim.run()[2].calls.get(1).copied()
    };
    let of = |prices: [&str; 3], limit: Option<&str>| {
        let max_price = limit.map(|limit| MaxPrice { request: Usd::parse(limit), ..MaxPrice::default() });
        let guards = Guards { max_price, ..Guards::default() };
        prices.map(|prices| Spec { guards, ..priced(prices) }).to_vec()
    };
    assert_eq!(second(&hedged_after_two(Pool::with(of([CHEAP, DEAR, FIT], None)))), Some(2));
    assert_eq!(second(&hedged_after_two(Pool::with(of([CHEAP, DEAR, DEAR], None)))), None);
    assert_eq!(second(&racing(Pool::with(of([CHEAP, DEAR, FIT], None)))), Some(1), "who races pays for two");
    // 512 tokens of output are expected: half a cent each.
    assert_eq!(second(&racing(Pool::with(of([CHEAP, CHEAP, CHEAP], Some("0.01"))))), None);
    assert_eq!(second(&racing(Pool::with(of([CHEAP, CHEAP, CHEAP], Some("0.0103"))))), Some(1));
}

#[test]
fn what_is_called_off_is_told_with_what_it_is_expected_to_cost() {
    let pool = racing(Pool::with(vec![priced(r#"{ "input": 1, "output": 10 }"#), Spec::default()]));
    let mut sim = Sim::new(pool.build(), 1, |call| answers([LATE, USUAL][call.target]));
    sim.request_with(at(1.0), Needs { estimated_tokens: 1_000, streamed: true, ..Needs::default() }, secs(60.0));
    let ended = sim.run().remove(0);
    assert_eq!(ended.called_off.len(), 1);
    assert_eq!(ended.called_off[0].estimated_input_tokens, 1_000);
    assert_eq!(ended.called_off[0].estimated_cost, Usd::parse("0.00612"));
}

#[test]
fn a_hedge_that_is_not_paid_for_yet_is_tried_again_while_its_caller_waits() {
    let mut pool = Pool::of(2);
    let budget = Ratio::of_millionths(500_000);
    pool.settings.hedging = Hedging::Hedge(Hedge { after: HedgeAfter::Fixed(secs(2.0)), budget });
    let mut sim = Sim::new(pool.build(), 1, |call| match (call.target, call.exchange) {
        (0, 0) => answers(LATE),
        _ => answers(USUAL),
    });
    for second in [0.0, 2.2] {
        sim.request(at(second));
    }
    let ended = sim.run();
    assert_eq!((ended[0].hedges, ended[0].served), (1, Some(1)));
    assert_eq!(ended[0].committed, Some(at(3.5)), "half of it is there at two seconds, all of it at two and a half");
}
