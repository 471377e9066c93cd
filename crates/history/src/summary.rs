//! What a history comes to by experiment and arm, by target or by region: for comparing, where the checker proves.
//!
//! A request counts for the arm it was drawn for, whoever served it: an arm whose failures are answered by another must
//! not look the better for it. What is told by target and region are the calls that were made there.

use crate::record::{Event, GatewayEnd, GatewayEvent, Origin, Record, Tokens};
use canon::FaultClass;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// What is put together in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Requests, by experiment and by the arm they were drawn for.
    Experiment,
    /// Calls, by target.
    Target,
    /// Calls, by the region of their target.
    Region,
}

/// Reads records one by one; the records of one request come in the order of what happened.
#[derive(Debug)]
pub struct Summary {
    by: By,
    open: HashMap<Box<str>, Exchange>,
    rows: BTreeMap<(Box<str>, Box<str>), Row>,
    left_out: u64,
}

/// What a summary came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Summed {
    /// By group (an experiment; empty for targets and regions) and name (an arm, a target, a region; empty = the
    /// target states no region).
    pub rows: BTreeMap<(Box<str>, Box<str>), Row>,
    /// Requests that no row speaks of: they take part in no experiment, or no call was made for them.
    pub left_out: u64,
    /// Requests that were not over when the log ended, or whose process died. They are in no row.
    pub open: u64,
}

/// What is said of an arm, a target or a region.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// How many there were: requests of an arm, calls of a target or region.
    pub count: u64,
    /// Of those: with a whole answer.
    pub answered: u64,
    /// Given up: the caller hung up, or another call was quicker. They are no failures.
    pub given_up: u64,
    /// Requests of the arm that another one served.
    pub elsewhere: u64,
    /// Stated by providers: of all attempts for an arm, of its own calls for a target or region.
    pub tokens: Tokens,
    /// What the answers cost whose price is known, in picodollars.
    pub picodollars: u64,
    /// Answers whose price is not known.
    pub unpriced: u64,
    /// From the request to the first content (for an arm), or from the call to it; in microseconds.
    first_content: Vec<u32>,
}

impl Row {
    /// Share of whole answers among what was not given up; `None` where nothing is left.
    pub fn answered_share(&self) -> Option<f64> {
        let judged = self.count.saturating_sub(self.given_up);
        (judged > 0).then(|| self.answered as f64 / judged as f64)
    }

    /// The first content came within this time for so many of a hundred that had any: the nearest rank. `None` where
    /// none had.
    pub fn first_content(&self, percent: usize) -> Option<Duration> {
        let mut times = self.first_content.clone();
        times.sort_unstable();
        let rank = times.len().saturating_mul(percent).div_ceil(100).max(1);
        times.get(rank - 1).map(|micros| Duration::from_micros(u64::from(*micros)))
    }

    fn heard(&mut self, since: u64, at: u64) {
        self.first_content.push(u32::try_from(at.saturating_sub(since)).unwrap_or(u32::MAX));
    }

    fn paid(&mut self, picodollars: Option<u64>) {
        self.picodollars = self.picodollars.saturating_add(picodollars.unwrap_or(0));
        self.unpriced += u64::from(picodollars.is_none());
    }
}

/// An exchange under way.
#[derive(Debug, Default)]
struct Exchange {
    began: u64,
    arms: Vec<Box<str>>,
    calls: Vec<Call>,
    /// When the first content went to the caller, and whose it was.
    committed: Option<(u64, u32)>,
}

#[derive(Debug)]
struct Call {
    number: u32,
    began: u64,
    target: Box<str>,
    region: Option<Box<str>>,
    /// `None` = it was not over when the exchange was.
    ended: Option<(Option<FaultClass>, Option<Tokens>)>,
}

/// The end of an exchange.
struct Ended<'a> {
    outcome: GatewayEnd,
    served: Option<Origin>,
    tokens: Tokens,
    picodollars: Option<u64>,
    elsewhere: &'a [Box<str>],
}

impl Summary {
    /// A summary of nothing yet.
    pub fn new(by: By) -> Self {
        Self { by, open: HashMap::new(), rows: BTreeMap::new(), left_out: 0 }
    }

    /// Takes one record.
    pub fn feed(&mut self, record: Record) {
        let Record { at, id: Some(id), event: Event::Gateway(event) } = record else { return };
        match event {
            GatewayEvent::Received {} | GatewayEvent::Began {} => {
                self.open.insert(id, Exchange { began: at, ..Exchange::default() });
            }
            GatewayEvent::Settled { outcome, served, tokens, picodollars, elsewhere, .. } => {
                if let Some(exchange) = self.open.remove(&id) {
                    self.settled(&exchange, &Ended { outcome, served, tokens, picodollars, elsewhere: &elsewhere });
                }
            }
            event => {
                if let Some(exchange) = self.open.get_mut(&id) {
                    exchange.learn(at, event);
                }
            }
        }
    }

    /// What it came to.
    pub fn finish(self) -> Summed {
        Summed { rows: self.rows, left_out: self.left_out, open: self.open.len() as u64 }
    }

    fn settled(&mut self, exchange: &Exchange, ended: &Ended<'_>) {
        let spoken_of = match self.by {
            By::Experiment => {
                exchange.arms.iter().for_each(|arm| self.drawn(arm, exchange, ended));
                !exchange.arms.is_empty()
            }
            By::Target | By::Region => {
                exchange.calls.iter().for_each(|call| self.called(call, exchange, ended));
                !exchange.calls.is_empty()
            }
        };
        self.left_out += u64::from(!spoken_of);
    }

    fn drawn(&mut self, trial: &str, exchange: &Exchange, ended: &Ended<'_>) {
        let (experiment, arm) = trial.split_once('=').unwrap_or((trial, ""));
        let row = self.row(experiment, arm);
        row.count += 1;
        row.tokens = row.tokens.plus(ended.tokens);
        let mut told = ended.elsewhere.iter().filter_map(|told| told.split_once(';'));
        row.elsewhere += u64::from(told.any(|(drawn, _)| drawn == trial));
        match ended.outcome {
            GatewayEnd::Answered => row.answered += 1,
            GatewayEnd::HungUp => row.given_up += 1,
            GatewayEnd::EndedHonestly | GatewayEnd::Refused { .. } => {}
        }
        if let Some((at, _)) = exchange.committed {
            row.heard(exchange.began, at);
            row.paid(ended.picodollars);
        }
    }

    fn called(&mut self, call: &Call, exchange: &Exchange, ended: &Ended<'_>) {
        let name = match self.by {
            By::Region => call.region.as_deref().unwrap_or_default(),
            By::Target | By::Experiment => &call.target,
        };
        let row = self.row("", name);
        row.count += 1;
        let (fault, tokens) = call.ended.unwrap_or((Some(FaultClass::Cancelled), None));
        row.tokens = row.tokens.plus(tokens.unwrap_or_default());
        match fault {
            None => row.answered += 1,
            Some(FaultClass::Cancelled) => row.given_up += 1,
            Some(_) => {}
        }
        if let Some((at, _)) = exchange.committed.filter(|(_, number)| *number == call.number) {
            row.heard(call.began, at);
        }
        if ended.served == Some(Origin::Attempt(call.number)) {
            row.paid(ended.picodollars);
        }
    }

    fn row(&mut self, group: &str, name: &str) -> &mut Row {
        self.rows.entry((group.into(), name.into())).or_default()
    }
}

impl Exchange {
    fn learn(&mut self, at: u64, event: GatewayEvent) {
        match event {
            // A plan after a wait draws again.
            GatewayEvent::Planned { arms, .. } => self.arms = arms,
            GatewayEvent::AttemptStarted { attempt, target, region, .. } => {
                self.calls.push(Call { number: attempt, began: at, target, region, ended: None });
            }
            GatewayEvent::AttemptEnded { attempt, fault, tokens, .. } => {
                if let Some(call) = self.calls.iter_mut().find(|call| call.number == attempt) {
                    call.ended.get_or_insert((fault, tokens));
                }
            }
            GatewayEvent::Committed { attempt } => {
                self.committed.get_or_insert((at, attempt));
            }
            GatewayEvent::Started {}
            | GatewayEvent::Received {}
            | GatewayEvent::Began {}
            | GatewayEvent::Cancelled { .. }
            | GatewayEvent::Settled { .. }
            | GatewayEvent::Drained {} => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summed(by: By, lines: &str) -> Summed {
        let mut summary = Summary::new(by);
        lines.lines().for_each(|line| summary.feed(serde_json::from_str(line).unwrap()));
        summary.finish()
    }

    fn row(summed: &Summed, group: &str, name: &str) -> Row {
        summed.rows[&(group.into(), name.into())].clone()
    }

    /// One exchange: drawn for `arms`, calls at `a/m` in `eu`, and after a fault at `b/m`.
    fn exchange(id: &str, began: u64, arms: &str, fails_over: bool, end: &str) -> String {
        let line = |at: u64, event: &str| format!("{{\"at\":{at},\"id\":\"{id}\",\"gateway\":{event}}}\n");
        let mut lines = line(began, r#"{"received":{}}"#);
        lines += &line(began, &format!(r#"{{"planned":{{"candidates":2,"arms":{arms}}}}}"#));
        let first = r#"{"attempt_started":{"attempt":0,"target":"a/m","region":"eu","credential":0,"kind":"first"}}"#;
        lines += &line(began + 10, first);
        let served = u32::from(fails_over);
        if fails_over {
            lines += &line(began + 20, r#"{"attempt_ended":{"attempt":0,"fault":"overloaded"}}"#);
            let next = r#"{"attempt_started":{"attempt":1,"target":"b/m","credential":0,"kind":"fallback"}}"#;
            lines += &line(began + 30, next);
        }
        lines += &line(began + 300, &format!(r#"{{"committed":{{"attempt":{served}}}}}"#));
        let tokens = r#"{"input":3,"output":4}"#;
        lines += &line(began + 400, &format!(r#"{{"attempt_ended":{{"attempt":{served},"tokens":{tokens}}}}}"#));
        let end = format!(r#"{{"settled":{{{end},"served":{{"attempt":{served}}},"tokens":{tokens}}}}}"#);
        lines + &line(began + 500, &end)
    }

    #[test]
    fn a_request_counts_for_each_arm_it_was_drawn_for_whoever_served() {
        let both = r#"["tone=warm","price=low"]"#;
        let log = exchange("1", 0, r#"["tone=warm"]"#, false, r#""outcome":"answered","picodollars":5"#)
            + &exchange(
                "2",
                1000,
                both,
                true,
                r#""outcome":"answered","picodollars":7,"elsewhere":["tone=warm;served=plain"]"#,
            )
            + &exchange("3", 2000, r#"["tone=plain"]"#, false, r#""outcome":"hung_up""#)
            + &exchange("4", 3000, r#"["tone=plain"]"#, false, r#""outcome":"ended_honestly""#)
            + &exchange("5", 4000, "[]", false, r#""outcome":"answered""#);
        let summed = summed(By::Experiment, &log);
        let warm = row(&summed, "tone", "warm");
        assert_eq!((warm.count, warm.answered, warm.elsewhere, warm.picodollars), (2, 2, 1, 12));
        assert_eq!(warm.tokens, Tokens { input: 6, output: 8 });
        assert_eq!(warm.first_content(50), Some(Duration::from_micros(300)), "from the request on");
        let low = row(&summed, "price", "low");
        assert_eq!((low.count, low.elsewhere), (1, 0), "of that experiment its own arm served");
        let plain = row(&summed, "tone", "plain");
        assert_eq!((plain.count, plain.given_up, plain.unpriced), (2, 1, 2));
        assert_eq!(plain.answered_share(), Some(0.0), "who hung up tells nothing, a broken stream is no answer");
        assert_eq!((summed.rows.len(), summed.left_out, summed.open), (3, 1, 0));
    }

    #[test]
    fn calls_count_where_they_were_made_and_only_who_served_is_paid() {
        let log = exchange("1", 0, "[]", true, r#""outcome":"answered","picodollars":7"#)
            + &exchange("2", 1000, "[]", false, r#""outcome":"answered","picodollars":5"#);
        let targets = summed(By::Target, &log);
        let a = row(&targets, "", "a/m");
        assert_eq!((a.count, a.answered, a.picodollars), (2, 1, 5));
        assert_eq!(a.first_content(95), Some(Duration::from_micros(290)), "from the call on");
        let b = row(&targets, "", "b/m");
        assert_eq!((b.count, b.answered, b.picodollars, b.unpriced), (1, 1, 7, 0));
        let regions = summed(By::Region, &log);
        assert_eq!((row(&regions, "", "eu"), row(&regions, "", "")), (a, b), "no region is a row of its own");
    }

    #[test]
    fn what_was_called_off_is_no_failure_and_what_is_not_over_is_in_no_row() {
        let begun = exchange("1", 0, "[]", false, r#""outcome":"answered","picodollars":5"#);
        let hedge = r#"{"at":50,"id":"1","gateway":{"attempt_started":{"attempt":9,"target":"h/m","credential":0,"kind":"hedge"}}}"#;
        let (head, tail) = begun.split_at(begun.find("{\"at\":300").unwrap());
        let log = format!("{head}{hedge}\n{tail}") + begun.lines().next().unwrap().replace("\"1\"", "\"2\"").as_str();
        let summed = summed(By::Target, &log);
        let hedge = row(&summed, "", "h/m");
        assert_eq!((hedge.count, hedge.given_up, hedge.answered_share()), (1, 1, None));
        assert_eq!((hedge.first_content(50), summed.open), (None, 1));
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let mut row = Row::default();
        (1..=20).rev().for_each(|at| row.heard(0, at));
        let at = |percent| row.first_content(percent).unwrap().as_micros();
        assert_eq!([at(0), at(50), at(95), at(96), at(100)], [1, 10, 19, 20, 20]);
    }
}
