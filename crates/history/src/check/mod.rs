//! The checker: takes records one by one, judges each request once all its witnesses have spoken.
//!
//! What can be told at once (a second terminal, an attempt after the end) is told at once; the rest is [`judge`]d when
//! the request is over, and then the request is forgotten if the records come in order.

mod again;
mod judge;
mod story;

use crate::policy::{Policy, micros};
use crate::record::{ClientEvent, Event, GatewayEvent, Record, SimulatorEvent};
use crate::report::{Kind, Report};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use story::{Ended, Finished, Settled, Started, Story};

/// Which log a record came from. One process of a gateway writes one log at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Source(pub u16);

/// Checks the records of one log, in any order.
pub fn check(records: impl IntoIterator<Item = Record>, policy: Policy) -> Report {
    let mut checker = Checker::new(policy);
    for record in records {
        checker.feed(Source::default(), record);
    }
    checker.finish()
}

/// Where a gateway's process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It writes.
    Running,
    /// It said that nothing is in flight any more.
    Drained,
}

/// Takes records, gives a report.
#[derive(Debug)]
pub struct Checker {
    policy: Policy,
    stories: HashMap<Arc<str>, Story>,
    /// Requests that were settled, oldest first, to be judged when nothing more can come. Only for ordered records.
    ripening: VecDeque<(u64, Arc<str>)>,
    targets: HashMap<Box<str>, u32>,
    names: Vec<Box<str>>,
    /// Processes of gateways, by source.
    lives: HashMap<u16, Life>,
    /// The latest time of any record.
    latest: u64,
    /// A record came so late that its request may have been forgotten.
    is_disordered: bool,
    /// Some gateway wrote something.
    has_gateway: bool,
    report: Report,
}

impl Default for Checker {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl Checker {
    /// A checker that knows nothing yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            stories: HashMap::new(),
            ripening: VecDeque::new(),
            targets: HashMap::new(),
            names: Vec::new(),
            lives: HashMap::new(),
            latest: 0,
            is_disordered: false,
            has_gateway: false,
            report: Report::default(),
        }
    }

    /// What was found so far. Requests that are not over are not in it.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whether records came in another order than the policy promised, so that the report is worth nothing.
    pub fn is_disordered(&self) -> bool {
        self.is_disordered
    }

    /// Requests held in memory.
    pub fn held(&self) -> usize {
        self.stories.len()
    }

    /// Takes one record. Records of one writer about one request come in the order of what happened.
    pub fn feed(&mut self, source: Source, record: Record) {
        let Record { at, id, event } = record;
        self.report.counts.records += 1;
        let linger = self.policy.ordered.map_or(u64::MAX, micros);
        self.is_disordered |= at.saturating_add(linger) < self.latest;
        self.latest = self.latest.max(at);
        match (event, id) {
            (Event::Lost(records), _) => self.report.gaps.lost = self.report.gaps.lost.saturating_add(records),
            (Event::Gateway(GatewayEvent::Started {}), _) => self.started(source),
            (Event::Gateway(GatewayEvent::Drained {}), _) => {
                self.has_gateway = true;
                self.lives.insert(source.0, Life::Drained);
            }
            (event, Some(id)) => self.of_request(source, at, &id, event),
            (Event::Client(_) | Event::Gateway(_) | Event::Simulator(_), None) => {
                self.report.add(Kind::Contradiction, "", "a record of a request without the request's id".to_owned());
            }
        }
        self.forget();
    }

    /// Judges what is left and gives the report.
    pub fn finish(mut self) -> Report {
        let mut stories: Vec<(Arc<str>, Story)> = std::mem::take(&mut self.stories).into_iter().collect();
        stories.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (id, story) in stories {
            self.judge(&id, &story);
        }
        self.report.weigh();
        self.report
    }

    /// A process begins; if the one before it did not say that it was done, it died.
    fn started(&mut self, source: Source) {
        self.has_gateway = true;
        if self.lives.insert(source.0, Life::Running) == Some(Life::Running) {
            for story in self.stories.values_mut() {
                story.died |= story.source == source.0 && story.gateway.received && story.gateway.settled.is_none();
            }
        }
    }

    fn of_request(&mut self, source: Source, at: u64, id: &str, event: Event) {
        let known = self.stories.get_key_value(id).map(|(id, _)| Arc::clone(id));
        let id = known.unwrap_or_else(|| Arc::from(id));
        // Taken out of the map's borrow, so that violations can be told meanwhile.
        let mut story = std::mem::take(self.stories.entry(Arc::clone(&id)).or_default());
        story.last = story.last.max(at);
        match event {
            Event::Client(event) => self.client(&id, &mut story, &event),
            Event::Gateway(event) => {
                self.has_gateway = true;
                self.gateway(source, at, &id, &mut story, event);
            }
            Event::Simulator(event) => self.simulator(at, &id, &mut story, event),
            Event::Lost(_) => {}
        }
        if let Some(place) = self.stories.get_mut(&id) {
            *place = story;
        }
    }

    fn client(&mut self, id: &str, story: &mut Story, event: &ClientEvent) {
        let client = &mut story.client;
        match *event {
            ClientEvent::Sent {} => story.repeated |= std::mem::replace(&mut client.sent, true),
            ClientEvent::Head { status } => client.head = Some(status),
            ClientEvent::Bytes { text } => client.text = Some(text),
            ClientEvent::End { outcome, text, body } => {
                client.ends += 1;
                if client.ends > 1 && !story.repeated {
                    self.report.add(Kind::DoubleTerminal, id, "the client says twice how it ended".to_owned());
                }
                if client.ends == 1 {
                    client.end = Some(outcome);
                    client.text = text.or(client.text);
                    client.body = body;
                }
            }
        }
    }

    fn gateway(&mut self, source: Source, at: u64, id: &str, story: &mut Story, event: GatewayEvent) {
        match event {
            GatewayEvent::Started {} | GatewayEvent::Drained {} => {}
            GatewayEvent::Received {} | GatewayEvent::Began {} => {
                story.source = source.0;
                story.gateway.is_request = matches!(event, GatewayEvent::Received {});
                story.repeated |= std::mem::replace(&mut story.gateway.received, true);
                // A request that comes after the end of its process belongs to one that began without saying so.
                self.lives.entry(source.0).and_modify(|life| *life = Life::Running);
            }
            GatewayEvent::Planned { deadline, max_attempts, max_targets, .. } => {
                story.gateway.round += 1;
                story.gateway.deadline = deadline;
                story.gateway.max_attempts = max_attempts;
                story.gateway.max_targets = max_targets;
            }
            GatewayEvent::AttemptStarted { attempt, target, region: _, credential, kind } => {
                let target = self.target(target);
                self.attempt_started(at, id, story, attempt, Started { target, credential, kind });
            }
            GatewayEvent::AttemptEnded { attempt, fault, phase, may_be_billed, read, tokens } => {
                let ended = Ended { at, fault, phase, may_be_billed, read, tokens };
                self.attempt_ended(id, story, attempt, ended);
            }
            GatewayEvent::Committed { attempt } => story.gateway.committed = Some(attempt),
            GatewayEvent::Cancelled { attempt } => {
                story.attempt(attempt).cancelled_at.get_or_insert(at);
            }
            GatewayEvent::Settled { outcome, served, segments, body, tokens, limited, .. } => {
                story.gateway.settles += 1;
                if story.gateway.settles > 1 && !story.repeated {
                    self.report.add(Kind::DoubleTerminal, id, "the gateway settled it twice".to_owned());
                }
                if story.gateway.settled.is_none() {
                    let segments = segments.map(Into::into);
                    let settled = Settled { outcome, served, segments, body, tokens, limited };
                    story.gateway.settled = Some(Box::new(settled));
                    if self.policy.ordered.is_some() {
                        self.ripening.push_back((at, Arc::from(id)));
                    }
                }
            }
        }
    }

    fn attempt_started(&mut self, at: u64, id: &str, story: &mut Story, number: u32, started: Started) {
        if story.repeated {
            return;
        }
        let mut found = Vec::new();
        if story.gateway.settled.is_some() {
            let sentence = format!("attempt {number} began after the exchange was settled");
            found.push((Kind::AttemptAfterSettle, sentence));
        } else {
            let latest = story.gateway.deadline.map(|deadline| deadline.saturating_add(micros(self.policy.slack)));
            if latest.is_some_and(|latest| at > latest) {
                let sentence = format!("attempt {number} began after the deadline");
                found.push((Kind::AttemptAfterDeadline, sentence));
            }
            found.extend(again::in_flight(story, number, started.kind));
            let name = self.names.get(started.target as usize).map_or("", |name| name);
            found.extend(again::same_target(story, number, started, name, self.policy.max_per_target));
        }
        let round = story.gateway.round;
        let attempt = story.attempt(number);
        attempt.round = round;
        if attempt.started.replace(started).is_some() {
            found.push((Kind::Contradiction, format!("attempt {number} began twice")));
        } else {
            story.in_flight += 1;
        }
        for (kind, sentence) in found {
            self.report.add(kind, id, sentence);
        }
    }

    fn attempt_ended(&mut self, id: &str, story: &mut Story, number: u32, ended: Ended) {
        if story.repeated {
            return;
        }
        let attempt = story.attempt(number);
        let was_begun = attempt.started.is_some();
        let was_ended = attempt.ended.is_some();
        if !was_ended {
            attempt.ended = Some(ended);
        }
        if !was_begun {
            self.report.add(Kind::Contradiction, id, format!("attempt {number} ended and had not begun"));
        } else if was_ended {
            self.report.add(Kind::Contradiction, id, format!("attempt {number} ended twice"));
        } else {
            story.in_flight = story.in_flight.saturating_sub(1);
        }
    }

    fn simulator(&mut self, at: u64, id: &str, story: &mut Story, event: SimulatorEvent) {
        match event {
            SimulatorEvent::Asked { attempt: number, provider } => {
                let attempt = story.attempt(number);
                attempt.asked += 1;
                if attempt.asked > 1 && !story.repeated {
                    let sentence = format!("attempt {number} was made once and {provider} was asked twice");
                    self.report.add(Kind::Contradiction, id, sentence);
                }
            }
            SimulatorEvent::Finished { attempt, how, finish, text, marks, billed } => {
                let finished = Finished { at, how, finish, text, marks: marks.into(), billed };
                story.attempt(attempt).finished.get_or_insert_with(|| Box::new(finished));
            }
        }
    }

    fn target(&mut self, name: Box<str>) -> u32 {
        if let Some(index) = self.targets.get(&name) {
            return *index;
        }
        let index = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.clone());
        self.targets.insert(name, index);
        index
    }

    /// Judges and forgets what is over, in a log whose records come in order.
    fn forget(&mut self) {
        let Some(linger) = self.policy.ordered.map(micros) else { return };
        while let Some((at, _)) = self.ripening.front() {
            if at.saturating_add(linger) > self.latest {
                return;
            }
            let Some((_, id)) = self.ripening.pop_front() else { return };
            let is_over = match self.stories.get(&id) {
                Some(story) if story.is_over() && story.last.saturating_add(linger) <= self.latest => true,
                Some(_) => false,
                None => continue,
            };
            if is_over {
                if let Some(story) = self.stories.remove(&id) {
                    self.judge(&id, &story);
                }
            } else {
                self.ripening.push_back((self.latest, id));
            }
        }
    }

    /// Whether somebody who has not said how a request ended will not say it any more.
    fn is_silent(&self, story: &Story) -> bool {
        let is_closed = match self.lives.get(&story.source) {
            Some(life) if story.gateway.received => *life == Life::Drained,
            Some(_) | None => !self.lives.is_empty() && self.lives.values().all(|life| *life == Life::Drained),
        };
        is_closed || story.last.saturating_add(micros(self.policy.patience)) < self.latest
    }
}
