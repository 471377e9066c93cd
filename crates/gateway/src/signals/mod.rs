//! What is asked beside the traffic: probes of targets, status pages, feeds of incidents and prices; and incidents that
//! are told.
//!
//! One task does all of it ([`Gateway::tend`]): what is due, and when, is the `signals` crate's to say. At most a few
//! jobs are under way at once, each within a time limit; no request ever waits for one.

mod fetch;
mod poll;
mod price_feed;
mod probe;
mod under_way;
mod webhook;

pub(crate) use price_feed::Fed;
pub use price_feed::PriceFeedReport;
pub use probe::ProbeReport;

use crate::{Current, Gateway};
use ::signals::{Agenda, Book, Next};
use canon::Instant;
use poll::Polled;
pub(crate) use poll::{Poll, polls};
use probe::Probed;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use under_way::UnderWay;

/// Most jobs under way at once.
const MOST: usize = 4;
/// Longest any of them takes, unless a model needs more for its first token.
const LIMIT: Duration = Duration::from_secs(10);
/// How often a target is looked at that may be probed. Looking asks nobody.
const LOOK: Duration = Duration::from_secs(1);

/// What recurs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Job {
    /// The target of this id may have to be probed.
    Probe(Arc<str>),
    /// What has this name is to be read.
    Read(Arc<str>),
}

/// What is known from asking beside the traffic. It survives a reload.
pub(crate) struct Signals {
    seed: u64,
    changed: Notify,
    /// By target.
    probed: Mutex<HashMap<Arc<str>, Probed>>,
    /// By name.
    polled: Mutex<HashMap<Arc<str>, Polled>>,
    /// The incidents that are reported.
    book: Mutex<Book>,
}

impl Signals {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            changed: Notify::new(),
            probed: Mutex::default(),
            polled: Mutex::default(),
            book: Mutex::default(),
        }
    }

    /// Another configuration is in force.
    pub(crate) fn configuration_changed(&self) {
        self.changed.notify_one();
    }
}

/// What a configuration wants to be asked.
struct Wanted {
    current: Arc<Current>,
    probes: Vec<probe::Order>,
    jobs: Vec<Job>,
}

impl Wanted {
    fn of(current: Arc<Current>) -> Self {
        let probes = probe::orders(&current.snapshot);
        let asked = probes.iter().map(|order| Job::Probe(order.id.clone()));
        let read = current.polls.iter().map(|poll| Job::Read(poll.name.clone()));
        let jobs = asked.chain(read).collect();
        Self { current, probes, jobs }
    }
}

impl Gateway {
    /// Does what is done beside the traffic, for as long as it is polled: probes, and reading status pages and feeds.
    /// Run it once; the server does.
    pub async fn tend(&self) {
        let mut agenda = Agenda::new(self.signals.seed);
        let mut under_way = UnderWay::default();
        let mut wanted = Wanted::of(self.current.load_full());
        agenda.keep(&wanted.jobs, self.clock().now());
        loop {
            let now = self.clock().now();
            while under_way.len() < MOST
                && let Some(job) = agenda.take_due(now)
            {
                match self.begin(&job, &wanted, now) {
                    Some(asking) => under_way.push(job, asking),
                    None => agenda.done(&job, Next::In(LOOK), now),
                }
            }
            let has_room = under_way.len() < MOST;
            let due = agenda.next_due().filter(|_| has_room);
            tokio::select! {
                over = under_way.next() => agenda.done(&over.job, over.next, self.clock().now()),
                () = tokio::time::sleep_until(self.clock().runtime(due.unwrap_or(now))), if due.is_some() => {}
                () = self.signals.changed.notified() => {
                    let before = std::mem::replace(&mut wanted, Wanted::of(self.current.load_full()));
                    if Arc::ptr_eq(&before.current.polls, &wanted.current.polls) {
                        // Prices alone are others: what is read is the same.
                        continue;
                    }
                    let now = self.clock().now();
                    agenda.keep(&wanted.jobs, now);
                    let snapshot = &wanted.current.snapshot;
                    self.signals.keep(&wanted.current.polls, snapshot.incident_webhook.is_some());
                    self.signals.weigh(&wanted.current.snapshot, now);
                }
            }
        }
    }

    /// Begins a job that is due; `None` = there is nothing to do.
    fn begin<'g>(&'g self, job: &Job, wanted: &Wanted, now: Instant) -> Option<under_way::Asking<'g>> {
        match job {
            Job::Probe(id) => {
                let order = wanted.probes.iter().find(|order| order.id == *id)?;
                self.probe(order, &wanted.current, now)
            }
            Job::Read(name) => {
                let poll = wanted.current.polls.iter().find(|poll| poll.name == *name)?;
                Some(self.read(poll.clone(), wanted.current.clone()))
            }
        }
    }
}
