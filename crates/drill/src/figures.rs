//! Measures the figures of bars over the record of a run.

use crate::bar::{Figure, Quantile, Unit};
use crate::record::{Call, CallKind, Outcome, Record, Request, State, Turn};
use crate::talk::Talk;
use canon::Instant;
use catalog::Usd;

/// Requests over which a share is looked at, as one can feel it: four seconds of ten a second.
const TRAILING: usize = 40;

/// A window of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    /// Index of the load whose requests alone count; `None` = all.
    pub(crate) load: Option<usize>,
}

impl Window {
    pub(crate) fn has(self, at: Instant) -> bool {
        at >= self.from && at < self.to
    }

    pub(crate) fn has_request(self, request: &Request) -> bool {
        self.has(request.arrived) && self.load.is_none_or(|load| load == request.load)
    }

    fn has_call(self, call: &Call) -> bool {
        self.has(call.at) && self.load.is_none_or(|load| load == call.load)
    }
}

/// Measures one figure; `None` = it never came to that, or there is nothing to measure.
pub(crate) fn measure(record: &Record, figure: &Figure, unit: Unit, window: Window) -> Option<f64> {
    let requests = || record.requests.iter().filter(move |request| window.has_request(request));
    let calls = || record.calls.iter().filter(move |call| window.has_call(call));
    let at_site = |site: usize| move |call: &&Call| call.site == site;
    let count = |number: usize| Some(number as f64);
    match figure {
        Figure::Requests => count(requests().count()),
        Figure::ClientErrors => counted(requests(), unit, |request| !has_ended(request, Outcome::Answered)),
        Figure::Goodput => {
            let is_meant = |request: &&Request| window.load.is_none_or(|load| load == request.load);
            let answered =
                |request: &&Request| request.ended.is_some_and(|(at, how)| how == Outcome::Answered && window.has(at));
            let whole = record.requests.iter().filter(is_meant).filter(answered).count();
            Some(whole as f64 / since(window.from, window.to))
        }
        Figure::BrokenStreams => count(requests().filter(|request| has_ended(request, Outcome::Broken)).count()),
        Figure::Attempts(None) => count(calls().count()),
        Figure::Attempts(Some(site)) => count(calls().filter(at_site(*site)).count()),
        Figure::Faults(site, class) => {
            let here = |call: &&Call| site.is_none_or(|site| call.site == site);
            let failed = calls().filter(here).filter(|call| call.fault == Some(*class)).count();
            if unit == Unit::Percent { ratio(failed, calls().filter(here).count()) } else { count(failed) }
        }
        Figure::Share(site) => ratio(calls().filter(at_site(*site)).count(), calls().count()),
        Figure::Served(site) => {
            let served = requests().filter_map(|request| request.served);
            let here = served.clone().filter(|(by, _)| by == site).count();
            ratio(here, served.count())
        }
        Figure::Amplification => ratio(calls().count(), requests().count()),
        Figure::Added(q) => quantile(requests().filter_map(added), *q),
        Figure::FirstContent(q) => quantile(requests().filter_map(|it| Some(since(it.arrived, it.content?))), *q),
        Figure::FirstContentBeside(q, load) => {
            let of = |window| measure(record, &Figure::FirstContent(*q), Unit::Seconds, window);
            let beside = of(Window { load: Some(*load), ..window })?;
            Some(of(window)? / beside)
        }
        Figure::ErrorTime(q) => {
            let refused = requests().filter(|request| has_ended(request, Outcome::Refused));
            quantile(refused.filter_map(|it| Some(since(it.arrived, it.ended?.0))), *q)
        }
        Figure::WaitedOver(limit) => counted(requests(), unit, |request| {
            let waited = request.content.or(request.ended.map(|(at, _)| at));
            waited.is_none_or(|at| at.saturating_since(request.arrived) > *limit)
        }),
        Figure::RequestsUntilShare(site, most) => requests_until(requests(), *site, |share| share <= *most),
        Figure::RequestsUntilLeft(site, most) => {
            requests_until(requests(), *site, |share| share <= *most).map(|number| number - TRAILING as f64)
        }
        Figure::TimeToShare(site, least) => time_to(requests(), *site, *least, window),
        Figure::FirstAttempt(site) => {
            let meant = |call: &&Call| site.is_none_or(|site| call.site == site);
            calls().find(meant).map(|call| since(window.from, call.at))
        }
        Figure::FirstSuccess => first_content(record, window).map(|at| since(window.from, at)),
        Figure::ErrorsAfterSuccess(within) => {
            let from = first_content(record, window)?;
            measure(record, &Figure::ClientErrors, unit, Window { from, to: from + *within, ..window })
        }
        Figure::Trips(site) => count(trips(record, *site).filter(|at| window.has(*at)).count()),
        Figure::ClosedAfter(site) => closed_after(record, *site, window),
        Figure::RampShare(site, within) => {
            let ramps = |turn: &&Turn| turn.site == *site && turn.state == State::Ramping && window.has(turn.at);
            let from = record.turns.iter().find(ramps)?.at;
            measure(record, &Figure::Share(*site), unit, Window { from, to: from + *within, ..window })
        }
        Figure::RestGrowth(site) => rest_growth(record, *site, window),
        Figure::Early(site) => count(calls().filter(at_site(*site)).filter(|call| call.is_early).count()),
        Figure::Hedges => {
            let hedges = calls().filter(|call| call.kind == CallKind::Hedge).count();
            if unit == Unit::Percent { ratio(hedges, requests().count()) } else { count(hedges) }
        }
        Figure::InputCost(q) => quantile(talks(record, window).filter_map(Talk::input_cost), *q),
        Figure::Moves(q) => quantile(talks(record, window).map(|talk| f64::from(talk.moves)), *q),
        Figure::ExtraCost => extra_cost(calls()),
        Figure::Rescues => count(calls().filter(|call| call.kind == CallKind::Rescue).count()),
    }
}

/// Conversations that began in the window.
fn talks(record: &Record, window: Window) -> impl Iterator<Item = &Talk> {
    let counts = move |talk: &&Talk| window.has(talk.began) && window.load.is_none_or(|load| load == talk.load);
    record.talks.iter().filter(counts)
}

pub(crate) fn has_ended(request: &Request, outcome: Outcome) -> bool {
    request.ended.is_some_and(|(_, how)| how == outcome)
}

/// What a request waited before the attempt that served it was started.
pub(crate) fn added(request: &Request) -> Option<f64> {
    Some(since(request.arrived, request.served?.1))
}

/// When an answer to anybody began within the window.
fn first_content(record: &Record, window: Window) -> Option<Instant> {
    let counts = |request: &&Request| window.load.is_none_or(|load| load == request.load);
    record.requests.iter().filter(counts).filter_map(|request| request.content).filter(|at| window.has(*at)).min()
}

fn since(from: Instant, to: Instant) -> f64 {
    to.saturating_since(from).as_secs_f64()
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn counted<'r>(
    requests: impl Iterator<Item = &'r Request>,
    unit: Unit,
    is_counted: impl Fn(&Request) -> bool,
) -> Option<f64> {
    let (all, counted) = requests.fold((0, 0), |(all, counted), it| (all + 1, counted + usize::from(is_counted(it))));
    if unit == Unit::Percent { ratio(counted, all) } else { Some(counted as f64) }
}

pub(crate) fn quantile(values: impl Iterator<Item = f64>, q: Quantile) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the length")]
    let rank = (sorted.len() as f64 * q.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// What calls cost that brought no whole answer, beside those that did; `None` where a price is unknown.
fn extra_cost<'r>(mut calls: impl Iterator<Item = &'r Call>) -> Option<f64> {
    let (extra, whole) = calls.try_fold((Usd::ZERO, Usd::ZERO), |(extra, whole), call| {
        let billed = call.billed?;
        Some(if call.fault.is_some() { (extra.plus(billed), whole) } else { (extra, whole.plus(billed)) })
    })?;
    (whole > Usd::ZERO).then(|| extra.pico() as f64 / whole.pico() as f64)
}

/// Requests until a site's share of the last forty first attempts fits.
fn requests_until<'r>(
    requests: impl Iterator<Item = &'r Request>,
    site: usize,
    fits: impl Fn(f64) -> bool,
) -> Option<f64> {
    trailing(requests, site).find(|(_, _, share)| fits(*share)).map(|(number, ..)| number as f64)
}

fn time_to<'r>(requests: impl Iterator<Item = &'r Request>, site: usize, least: f64, window: Window) -> Option<f64> {
    trailing(requests, site).find(|(_, _, share)| *share >= least).map(|(_, at, _)| since(window.from, at))
}

/// The number of each request, its arrival, and the site's share of the last forty first attempts up to it.
fn trailing<'r>(
    requests: impl Iterator<Item = &'r Request>,
    site: usize,
) -> impl Iterator<Item = (usize, Instant, f64)> {
    let mut last = [false; TRAILING];
    requests.enumerate().filter_map(move |(index, request)| {
        if let Some(slot) = last.get_mut(index % TRAILING) {
            *slot = request.first_site == Some(site);
        }
        let there = last.iter().filter(|it| **it).count();
        (index + 1 >= TRAILING).then(|| (index + 1, request.arrived, there as f64 / TRAILING as f64))
    })
}

/// When a site's breaker opened although it was serving, in any gateway.
pub(crate) fn trips(record: &Record, site: usize) -> impl Iterator<Item = Instant> {
    let mut resting = Vec::new();
    record.turns.iter().filter(move |turn| turn.site == site).filter_map(move |turn| {
        let was_resting = resting.contains(&turn.replica);
        match turn.state {
            State::Open | State::HalfOpen if !was_resting => resting.push(turn.replica),
            State::Open | State::HalfOpen | State::Off => {}
            State::Closed | State::Ramping => resting.retain(|replica| *replica != turn.replica),
        }
        (turn.state == State::Open && !was_resting).then_some(turn.at)
    })
}

/// The first time in the window at which the breaker closed, or stood closed from the begin on.
fn closed_after(record: &Record, site: usize, window: Window) -> Option<f64> {
    let turns = || record.turns.iter().filter(move |turn| turn.site == site && turn.replica == 0);
    let before = turns().take_while(|turn| turn.at < window.from).last();
    if before.is_none_or(|turn| turn.state == State::Closed) {
        return Some(0.0);
    }
    turns().find(|turn| window.has(turn.at) && turn.state == State::Closed).map(|turn| since(window.from, turn.at))
}

/// The rest that the first trip within the window began, against the last rest before it.
fn rest_growth(record: &Record, site: usize, window: Window) -> Option<f64> {
    let rests: Vec<(Instant, f64)> = record
        .turns
        .iter()
        .filter(|turn| turn.site == site && turn.replica == 0 && turn.state == State::Open)
        .filter_map(|turn| Some((turn.at, since(turn.at, turn.until?))))
        .collect();
    let trip = trips(record, site).find(|at| window.has(*at))?;
    let place = rests.iter().position(|(at, _)| *at == trip)?;
    let before = rests.get(place.checked_sub(1)?)?;
    Some(rests.get(place)?.1 / before.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    fn window(from: f64, to: f64) -> Window {
        Window { from: at(from), to: at(to), load: None }
    }

    fn request(arrived: f64, site: usize, outcome: Outcome) -> Request {
        Request {
            arrived: at(arrived),
            load: 0,
            first_site: Some(site),
            content: Some(at(arrived + 1.0)),
            served: Some((site, at(arrived + 0.1))),
            ended: Some((at(arrived + 2.0), outcome)),
        }
    }

    fn turn(seconds: f64, state: State, until: Option<f64>) -> Turn {
        Turn { at: at(seconds), replica: 0, site: 0, state, until: until.map(at) }
    }

    #[test]
    fn errors_are_those_of_requests_that_arrived_in_the_window() {
        let outcomes = [Outcome::Refused, Outcome::Answered, Outcome::Broken, Outcome::Answered];
        let requests = outcomes.iter().enumerate().map(|(i, it)| request(i as f64, 0, *it)).collect();
        let record = Record { requests, ..Record::default() };
        let errors = |unit, from, to| measure(&record, &Figure::ClientErrors, unit, window(from, to));
        assert_eq!(errors(Unit::Percent, 0.0, 9.0), Some(0.5));
        assert_eq!(errors(Unit::Count, 1.0, 3.0), Some(1.0));
        assert_eq!(errors(Unit::Percent, 7.0, 9.0), None, "nobody arrived");
        assert_eq!(measure(&record, &Figure::BrokenStreams, Unit::Count, window(0.0, 9.0)), Some(1.0));
        let goodput = |from, to| measure(&record, &Figure::Goodput, Unit::Times, window(from, to));
        assert_eq!(
            (goodput(0.0, 8.0), goodput(3.5, 5.5)),
            (Some(0.25), Some(0.5)),
            "by when they ended: at 3 s and 5 s"
        );
    }

    #[test]
    fn a_share_is_left_when_the_last_forty_say_so() {
        let requests = (0..100).map(|i| request(f64::from(i), usize::from(i >= 10), Outcome::Answered)).collect();
        let record = Record { requests, ..Record::default() };
        let figure = Figure::RequestsUntilShare(0, 0.05);
        assert_eq!(measure(&record, &figure, Unit::Count, window(0.0, 100.0)), Some(48.0));
        let figure = Figure::TimeToShare(1, 0.9);
        assert_eq!(measure(&record, &figure, Unit::Seconds, window(0.0, 100.0)), Some(45.0));
    }

    #[test]
    fn a_trip_is_an_opening_while_serving_and_not_a_failed_probe() {
        let turns = vec![
            turn(1.0, State::Open, Some(3.0)),
            turn(3.0, State::HalfOpen, None),
            turn(4.0, State::Open, Some(8.0)),
            turn(8.0, State::HalfOpen, None),
            turn(9.0, State::Ramping, None),
            turn(10.0, State::Open, Some(16.0)),
            turn(20.0, State::Closed, None),
        ];
        let record = Record { turns, ..Record::default() };
        let trips = |from, to| measure(&record, &Figure::Trips(0), Unit::Count, window(from, to));
        assert_eq!(trips(0.0, 30.0), Some(2.0));
        assert_eq!(trips(2.0, 9.5), Some(0.0));
        assert_eq!(measure(&record, &Figure::RestGrowth(0), Unit::Times, window(9.0, 30.0)), Some(1.5));
        assert_eq!(measure(&record, &Figure::ClosedAfter(0), Unit::Seconds, window(9.0, 30.0)), Some(11.0));
    }

    #[test]
    fn the_extra_cost_is_that_of_calls_that_brought_no_whole_answer() {
        let call = |fault, billed: Option<u64>| Call {
            at: at(1.0),
            load: 0,
            site: 0,
            kind: CallKind::Try,
            is_early: false,
            fault,
            billed: billed.map(Usd::from_pico),
        };
        let of = |calls| {
            let record = Record { calls, ..Record::default() };
            measure(&record, &Figure::ExtraCost, Unit::Percent, window(0.0, 9.0))
        };
        let cancelled = Some(canon::FaultClass::Cancelled);
        assert_eq!(of(vec![call(None, Some(60)), call(cancelled, Some(5)), call(None, Some(40))]), Some(0.05));
        assert_eq!(of(vec![call(None, Some(60)), call(cancelled, None)]), None, "a price is unknown");
        assert_eq!(of(Vec::new()), None);
    }

    #[test]
    fn a_first_content_is_held_against_that_of_another_load() {
        let late = |load, seconds: f64| Request {
            load,
            content: Some(at(1.0 + seconds)),
            ..request(1.0, 0, Outcome::Answered)
        };
        let record = Record { requests: vec![late(0, 3.0), late(1, 12.0)], ..Record::default() };
        let window = Window { load: Some(0), ..window(0.0, 9.0) };
        let figure = Figure::FirstContentBeside(Quantile(0.99), 1);
        assert_eq!(measure(&record, &figure, Unit::Percent, window), Some(0.25));
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values = || (1..=100).map(f64::from);
        assert_eq!(quantile(values(), Quantile(0.5)), Some(50.0));
        assert_eq!(quantile(values(), Quantile(1.0)), Some(100.0));
        assert_eq!(quantile(values(), Quantile(0.0)), Some(1.0));
        assert_eq!(quantile(std::iter::empty(), Quantile(0.5)), None);
    }
}
