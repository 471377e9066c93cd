use super::*;
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::collections::HashMap;

fn at(ms: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(ms))
}

fn settings(max_in_flight: usize, queue: usize) -> DoorSettings {
    DoorSettings { queue, ..DoorSettings::of(max_in_flight) }
}

/// Somebody without a deadline comes.
fn come(door: &Door<u32>, who: u32, priority: Priority, now: u64) -> (Entered, News<u32>) {
    door.enter(Asker { priority, deadline: Instant::FAR_FUTURE }, || who, at(now))
}

fn waits(door: &Door<u32>, who: u32, priority: Priority, now: u64) -> Ticket {
    match come(door, who, priority, now) {
        (Entered::Waits(ticket), _) => ticket,
        other => panic!("{who} waits: {other:?}"),
    }
}

/// One leaves: who is let in, and who is refused.
fn one_leaves(door: &Door<u32>, now: u64) -> (Vec<u32>, Vec<u32>) {
    let news = door.exit(None, at(now));
    let of = |is_in: bool| news.iter().filter(|(_, it)| (*it == Called::In) == is_in).map(|(who, _)| *who).collect();
    (of(true), of(false))
}

#[test]
fn while_there_is_room_nobody_waits_and_beyond_it_the_oldest_of_the_highest_priority_is_next() {
    let door = Door::new(settings(2, 10));
    assert_eq!(come(&door, 1, Priority::Low, 0).0, Entered::In);
    assert_eq!(come(&door, 2, Priority::Low, 0).0, Entered::In);
    waits(&door, 3, Priority::Normal, 1);
    waits(&door, 4, Priority::High, 2);
    waits(&door, 5, Priority::Normal, 3);
    waits(&door, 6, Priority::High, 4);
    let order: Vec<_> = (0..4).map(|_| one_leaves(&door, 10).0).collect();
    assert_eq!(order, [[4], [6], [3], [5]]);
    assert_eq!((door.in_flight(), door.waiting()), (2, 0));
    assert_eq!(one_leaves(&door, 10), (vec![], vec![]));
}

#[test]
fn a_line_in_which_somebody_has_waited_in_vain_serves_the_newest_first_and_sends_the_rest_away_soon() {
    let door = Door::new(settings(1, 100));
    assert_eq!(come(&door, 0, Priority::Normal, 0).0, Entered::In);
    // One comes each 100 ms, and one leaves each 400 ms: four times what can be served.
    let (mut served, mut refused) = (Vec::new(), Vec::new());
    for tick in 1..=100_u32 {
        let now = u64::from(tick) * 100;
        let (entered, news) = come(&door, tick, Priority::Normal, now);
        assert!(!matches!(entered, Entered::In));
        let (mut is_in, mut is_out): (Vec<_>, Vec<_>) = news.into_iter().partition(|(_, it)| *it == Called::In);
        if tick % 4 == 0 {
            is_out.extend(door.exit(None, at(now)));
            let (more, out): (Vec<_>, Vec<_>) = is_out.drain(..).partition(|(_, it)| *it == Called::In);
            (is_in, is_out) = (is_in.into_iter().chain(more).collect(), out);
        }
        served.extend(is_in.into_iter().map(|(who, _)| (who, now, now - u64::from(who) * 100)));
        refused.extend(is_out.into_iter().map(|(who, _)| who));
    }
    // The seventh came at 700 ms, and is the first to wait for two seconds.
    let (well, overloaded): (Vec<&(u32, u64, u64)>, Vec<_>) = served.iter().partition(|(_, now, _)| *now < 2_700);
    assert!(well.iter().map(|(who, ..)| *who).eq(1..=6), "{well:?}");
    assert!(overloaded.len() >= 15 && overloaded.iter().all(|(.., waited)| *waited <= 250), "{overloaded:?}");
    assert!(door.waiting() <= 3, "nobody stands behind them: {}", door.waiting());
    assert_eq!(served.len() + refused.len() + door.waiting(), 100);
}

#[test]
fn that_the_low_ones_stand_in_line_says_nothing_about_the_high_ones() {
    let door = Door::new(settings(1, 100));
    assert_eq!(come(&door, 0, Priority::Low, 0).0, Entered::In);
    for tick in 1..=40_u32 {
        let _waits = come(&door, tick, Priority::Low, u64::from(tick) * 100);
    }
    let high = waits(&door, 100, Priority::High, 4_000);
    assert_eq!(high.until(), at(6_000), "the low ones have a quarter of a second");
    let low = waits(&door, 101, Priority::Low, 4_000);
    assert_eq!(low.until(), at(4_250));
    let (next, refused) = one_leaves(&door, 5_500);
    assert_eq!(next, [100]);
    assert!(refused.contains(&101));
}

#[test]
fn in_a_full_line_the_lowest_priority_gives_way_and_equals_do_not() {
    let door = Door::new(settings(1, 2));
    assert_eq!(come(&door, 0, Priority::Low, 0).0, Entered::In);
    waits(&door, 1, Priority::Low, 0);
    waits(&door, 2, Priority::Normal, 1);
    assert!(matches!(come(&door, 3, Priority::Low, 2).0, Entered::Refused { .. }));
    let (entered, news) = come(&door, 4, Priority::Normal, 3);
    assert!(matches!(entered, Entered::Waits(_)));
    assert!(matches!(news.as_slice(), [(1, Called::Refused { .. })]), "{news:?}");
    assert!(matches!(come(&door, 5, Priority::Normal, 4).0, Entered::Refused { .. }));
    let (entered, news) = come(&door, 6, Priority::High, 5);
    assert!(matches!(entered, Entered::Waits(_)));
    assert!(matches!(news.as_slice(), [(4, Called::Refused { .. })]), "the newest has lost least: {news:?}");
}

#[test]
fn who_would_have_to_wait_for_too_long_is_refused_at_once_and_told_when_to_come_back() {
    let door = Door::new(settings(2, 100));
    for who in 0..2 {
        assert_eq!(come(&door, who, Priority::Normal, 0).0, Entered::In);
    }
    assert_eq!(door.exit(Some(at(0)), at(2_000)), []);
    assert_eq!(come(&door, 3, Priority::Normal, 2_000).0, Entered::In);
    // Two stay for two seconds each: one a second is let in, and two seconds is the longest wait.
    for who in 10..13 {
        waits(&door, who, Priority::Normal, 2_000);
    }
    let hint = Duration::from_secs(4);
    assert_eq!(come(&door, 20, Priority::Normal, 2_000).0, Entered::Refused { retry_after: hint });
    waits(&door, 21, Priority::High, 2_000);
    let asker = Asker { priority: Priority::High, deadline: at(2_900) };
    let (entered, _) = door.enter(asker, || 22, at(2_000));
    assert!(matches!(entered, Entered::Refused { .. }), "one goes before it, and that takes a second");
}

#[test]
fn a_place_that_is_given_up_is_nobodys_and_a_deadline_that_has_passed_is_not_let_in() {
    let door = Door::new(settings(1, 10));
    assert_eq!(come(&door, 0, Priority::Normal, 0).0, Entered::In);
    let gone = waits(&door, 1, Priority::Normal, 0);
    let (Entered::Waits(ticket), _) = door.enter(Asker { priority: Priority::Normal, deadline: at(500) }, || 2, at(0))
    else {
        panic!("it waits")
    };
    assert_eq!(ticket.until(), at(500));
    waits(&door, 3, Priority::Normal, 1);
    assert!(door.leave(&gone, at(100)));
    assert_eq!(one_leaves(&door, 600), (vec![3], vec![2]));
    assert!(!door.leave(&gone, at(600)) && !door.leave(&ticket, at(600)));
}

#[test]
fn a_higher_limit_lets_in_those_who_wait_when_somebody_next_comes_or_goes() {
    let door = Door::new(settings(1, 10));
    assert_eq!(come(&door, 0, Priority::Normal, 0).0, Entered::In);
    waits(&door, 1, Priority::Normal, 0);
    door.configure(settings(3, 10));
    let (entered, news) = come(&door, 2, Priority::Normal, 1);
    assert_eq!((entered, news), (Entered::In, vec![(1, Called::In)]));
    door.configure(settings(0, 0));
    assert!(matches!(come(&door, 3, Priority::High, 2).0, Entered::Refused { .. }));
}

#[derive(Debug, Clone)]
enum Step {
    Comes { priority: Priority, deadline: u64 },
    Leaves,
    GivesUp(usize),
    Passes(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let priority = prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High)];
    let step = prop_oneof![
        4 => (priority, 0_u64..4_000).prop_map(|(priority, deadline)| Step::Comes { priority, deadline }),
        2 => Just(Step::Leaves),
        1 => any::<usize>().prop_map(Step::GivesUp),
        2 => (1_u64..700).prop_map(Step::Passes),
    ];
    prop::collection::vec(step, 1..200)
}

/// Everybody who came, and what became of them.
#[derive(Default)]
struct Book {
    waiting: HashMap<u32, (Priority, u64, Ticket)>,
    inside: Vec<u32>,
    over: usize,
}

proptest! {
    #[test]
    fn whatever_happens_everybody_leaves_once_and_in_time_and_the_higher_before_the_lower(
        steps in steps(), most in 1_usize..5, queue in 0_usize..6,
    ) {
        let door = Door::new(settings(most, queue));
        let (mut book, mut now, mut came) = (Book::default(), 0_u64, 0_u32);
        for step in steps {
            let news = match step {
                Step::Passes(ms) => { now += ms; continue }
                Step::Comes { priority, deadline } => {
                    came += 1;
                    let asker = Asker { priority, deadline: at(now + deadline) };
                    let (entered, news) = door.enter(asker, || came, at(now));
                    match entered {
                        Entered::In => book.inside.push(came),
                        Entered::Waits(ticket) => {
                            prop_assert!(ticket.until() <= at(now + deadline.min(2_000)));
                            book.waiting.insert(came, (priority, now + deadline, ticket));
                        }
                        Entered::Refused { retry_after } => {
                            prop_assert!(retry_after >= Duration::from_secs(1));
                            book.over += 1;
                        }
                    }
                    news
                }
                Step::Leaves if book.inside.is_empty() => continue,
                Step::Leaves => {
                    book.inside.pop();
                    book.over += 1;
                    door.exit(Some(at(now.saturating_sub(300))), at(now))
                }
                Step::GivesUp(which) => {
                    let mut all: Vec<u32> = book.waiting.keys().copied().collect();
                    all.sort_unstable();
                    if let Some(who) = which.checked_rem(all.len()).map(|index| all[index]) {
                        let (_, _, ticket) = book.waiting.remove(&who).unwrap();
                        prop_assert!(door.leave(&ticket, at(now)), "it waits still");
                        book.over += 1;
                    }
                    continue;
                }
            };
            let mut let_in = Vec::new();
            for (who, called) in news {
                let known = book.waiting.remove(&who);
                prop_assert!(known.is_some(), "{} is told once", who);
                let (priority, deadline, _) = known.unwrap();
                match called {
                    Called::In => {
                        prop_assert!(deadline > now, "{} is let in after its deadline", who);
                        let_in.push(priority);
                        book.inside.push(who);
                    }
                    Called::Refused { .. } => book.over += 1,
                }
            }
            let highest = book.waiting.values().map(|(priority, ..)| *priority).max();
            prop_assert!(let_in.iter().all(|it| Some(*it) >= highest), "a higher one waits on: {:?}", let_in);
            prop_assert_eq!(door.in_flight(), book.inside.len());
            prop_assert_eq!(door.waiting(), book.waiting.len());
            prop_assert!(book.inside.len() <= most && book.waiting.len() <= queue);
            prop_assert!(book.waiting.is_empty() || book.inside.len() == most, "nobody waits while there is room");
        }
        prop_assert_eq!(book.over + book.inside.len() + book.waiting.len(), came as usize);
    }
}
