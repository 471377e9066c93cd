//! One run: callers, gateways and providers on virtual time.
//!
//! A heap of events and nothing else moves time. What a gateway decides is decided by the code that a gateway runs:
//! the plan, the attempt machine and health of [`routing`] and [`health`] over the real configuration. How its actions
//! become calls and events is `drive.rs`; how targets answer is `world.rs`.

use crate::door::{Comer, Doors};
use crate::drive::{Beyond, Exchange, News};
use crate::load::{Arrivals, Load, Refusal};
use crate::record::{Outcome, Record, Request, Sample, Turn};
use crate::scenario::Scenario;
use crate::standing::Watched;
use crate::talk::TurnOf;
use crate::world::{Ask, Site};
use canon::{DialectName, FaultClass, Instant};
use health::{Health, Ticket};
use routing::{AttemptId, Event, ExchangeFacts, Machine, Model, Needs, Target, plan_ruled};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// What happens next.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The next request of a load.
    Arrival { load: usize },
    /// An SDK tries again by itself.
    Retry(Incoming),
    /// The next turn of a conversation.
    Speaks(Incoming),
    /// News of a call.
    Told { exchange: u64, attempt: AttemptId, news: News },
    /// A time the machine wanted to be told of.
    Timer { exchange: u64 },
    /// The exchange's deadline.
    Deadline { exchange: u64 },
    /// One who waits at a door has waited for long enough.
    GivesUp { exchange: u64, ticket: Ticket },
    /// The end of a row of the table.
    Row,
}

struct Entry {
    at: Instant,
    /// Equal times happen in the order they were scheduled.
    sequence: u64,
    happening: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest, as a heap gives its greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// One gateway.
pub(crate) struct Replica {
    /// The model of each load.
    pub(crate) models: Vec<Arc<Model>>,
    pub(crate) watched: Watched,
    pub(crate) doors: Doors,
}

/// What a request brings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    pub(crate) request: usize,
    pub(crate) load: usize,
    pub(crate) ask: Ask,
    pub(crate) streamed: bool,
    /// How often its SDK has tried before.
    pub(crate) retries: u32,
    /// Which turn of a conversation it is.
    pub(crate) turn: Option<TurnOf>,
}

pub(crate) struct Simulation<'s> {
    pub(crate) scenario: &'s Scenario,
    pub(crate) sites: Vec<Site>,
    pub(crate) replicas: Vec<Replica>,
    heap: BinaryHeap<Entry>,
    sequence: u64,
    pub(crate) next_exchange: u64,
    /// Those who wait at a door, by the number of the exchange that they will be.
    pub(crate) comers: HashMap<u64, Comer>,
    pub(crate) exchanges: HashMap<u64, Exchange>,
    /// Probes whose hedge served the caller.
    pub(crate) beyond: Vec<Beyond>,
    /// Until when a gateway has heard that it must not call: by replica, site and credential.
    pub(crate) hints: HashMap<(usize, usize, usize), Instant>,
    /// By load.
    arrivals: Vec<Arrivals>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) record: Record,
}

/// Runs a scenario once.
pub(crate) fn run(scenario: &Scenario, seed: u64) -> Result<Record, String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut replicas = Vec::new();
    for _ in 0..scenario.replicas {
        replicas.push(Replica::new(scenario, rng.u64(..))?);
    }
    let sites = scenario.places.iter().map(|place| Site::new(&place.law, place.credentials, rng.u64(..))).collect();
    let arrivals = scenario.loads.iter().map(|load| Arrivals::new(load, scenario.duration, rng.u64(..))).collect();
    let mut simulation = Simulation {
        scenario,
        sites,
        replicas,
        heap: BinaryHeap::new(),
        sequence: 0,
        next_exchange: 0,
        comers: HashMap::new(),
        exchanges: HashMap::new(),
        beyond: Vec::new(),
        hints: HashMap::new(),
        arrivals,
        rng,
        record: Record::default(),
    };
    for load in 0..scenario.loads.len() {
        simulation.schedule_arrival(load);
    }
    simulation.schedule(Instant::from_origin(scenario.rows), Happening::Row);
    while let Some(Entry { at, happening, .. }) = simulation.heap.pop() {
        simulation.happen(happening, at);
    }
    Ok(simulation.record)
}

impl Replica {
    fn new(scenario: &Scenario, seed: u64) -> Result<Self, String> {
        let snapshot = scenario.snapshot(&Arc::new(Health::new(seed)))?;
        let resolve = |load: &Load| snapshot.resolve(&load.model).map_err(|unknown| unknown.to_string());
        let models: Vec<Arc<Model>> = scenario.loads.iter().map(resolve).collect::<Result<_, _>>()?;
        let watched = Watched::new(&scenario.places, &models);
        let doors = Doors::of(&snapshot, &scenario.loads);
        Ok(Self { models, watched, doors })
    }
}

impl Simulation<'_> {
    pub(crate) fn schedule(&mut self, at: Instant, happening: Happening) {
        self.sequence += 1;
        self.heap.push(Entry { at, sequence: self.sequence, happening });
    }

    fn happen(&mut self, happening: Happening, now: Instant) {
        match happening {
            Happening::Arrival { load } => self.arrive(load, now),
            Happening::Retry(incoming) => self.come(incoming, now),
            Happening::Speaks(incoming) => self.speaks(incoming, now),
            Happening::Told { exchange, attempt, news } => self.told(exchange, attempt, news, now),
            Happening::Timer { exchange } => self.next(exchange, Event::Elapsed, now),
            Happening::Deadline { exchange } => self.next(exchange, Event::DeadlinePassed, now),
            Happening::GivesUp { exchange, ticket } => self.gives_up(exchange, ticket, now),
            Happening::Row => self.row(now),
        }
    }

    fn schedule_arrival(&mut self, load: usize) {
        if let Some(at) = self.arrivals.get(load).and_then(Arrivals::due) {
            self.schedule(at, Happening::Arrival { load });
        }
    }

    fn arrive(&mut self, load: usize, now: Instant) {
        let Some(of) = self.scenario.loads.get(load) else { return };
        let Some((ask, streamed)) = self.arrivals.get_mut(load).and_then(|arrivals| arrivals.next(of)) else { return };
        self.schedule_arrival(load);
        let request = self.record.requests.len();
        self.record.requests.push(Request::arrived(now, load));
        let turn = of.conversation.map(|_| TurnOf::first(&mut self.record, load, now));
        self.come(Incoming { request, load, ask, streamed, retries: 0, turn }, now);
    }

    /// A request that is let in is planned, and its exchange begins.
    pub(crate) fn begin(&mut self, exchange: u64, comer: Comer, now: Instant) {
        let Comer { incoming, replica, seed, began, seats, .. } = comer;
        let model = self.replicas.get(replica).and_then(|it| it.models.get(incoming.load));
        let (Some(model), Some(load)) = (model.cloned(), self.scenario.loads.get(incoming.load)) else { return };
        let unix_seconds = self.scenario.starts + now.since_origin().as_secs();
        let priority = self.replicas.get(replica).map(|it| it.doors.priority(incoming.load)).unwrap_or_default();
        let needs = Needs { priority, ..load.needs(incoming.ask, incoming.streamed, incoming.turn, unix_seconds) };
        let mut rng = fastrand::Rng::with_seed(seed);
        let asked = rules::Request {
            key: load.key.as_deref(),
            ..needs.for_rules(&model, Some(DialectName::OpenaiChat.as_str()), load)
        };
        let moment = rules::Moment { now, unix_seconds: i64::try_from(unix_seconds).ok() };
        let ruling = model.rule(&needs, &asked, moment, &mut rng);
        let plan = plan_ruled(&model, &needs, &ruling, now, &mut rng);
        let model = model.overridden(&ruling).map_or_else(|| Arc::clone(&model), Arc::new);
        let limit = load.deadline(model.settings.timeouts.deadline);
        let facts = ExchangeFacts {
            started: began,
            deadline: limit.map_or(Instant::FAR_FUTURE, |limit| began + limit),
            needs,
            // Their own SDKs' retries are no fresh requests.
            is_callers_retry: incoming.retries > 0,
            may_hedge: true,
            seed,
            rescue: model.settings.rescue.mode,
        };
        let deadline = facts.deadline;
        let machine = Machine::new(Arc::clone(&model), plan, facts);
        if deadline < Instant::FAR_FUTURE {
            self.schedule(deadline, Happening::Deadline { exchange });
        }
        let rescue = model.settings.rescue.mode;
        self.exchanges.insert(exchange, Exchange::new(incoming, replica, machine, rescue).behind(seats));
        self.next(exchange, Event::Begin, now);
    }

    /// An SDK will try again.
    pub(crate) fn schedule_retry(&mut self, incoming: Incoming, at: Instant) {
        self.schedule(at, Happening::Retry(Incoming { retries: incoming.retries + 1, ..incoming }));
    }

    /// A request is over.
    pub(crate) fn end(&mut self, incoming: Incoming, outcome: Outcome, now: Instant) {
        self.record.hash.add_at(now, &[incoming.request as u64, outcome as u64]);
        if let Some(request) = self.record.requests.get_mut(incoming.request) {
            request.ended = Some((now, outcome));
        }
        self.turn_over(incoming, outcome, now);
    }

    /// Notes which breakers have changed their state.
    pub(crate) fn watch(&mut self, replica: usize, now: Instant) {
        let Some(gateway) = self.replicas.get_mut(replica) else { return };
        for (site, state, until) in gateway.watched.turns(now) {
            self.record.hash.add_at(now, &[site as u64, state as u64]);
            self.record.turns.push(Turn { at: now, replica, site, state, until });
        }
    }

    fn row(&mut self, now: Instant) {
        let Some(gateway) = self.replicas.first() else { return };
        self.record.samples.push(Sample { at: now, standing: gateway.watched.words(now) });
        if now < Instant::from_origin(self.scenario.duration) {
            self.schedule(now + self.scenario.rows, Happening::Row);
        }
    }

    pub(crate) fn site_of(&self, replica: usize, target: &Arc<Target>) -> Option<usize> {
        self.replicas.get(replica)?.watched.targets.iter().position(|it| it.id == target.id)
    }

    pub(crate) fn target(&self, replica: usize, site: usize) -> Option<&Arc<Target>> {
        self.replicas.get(replica)?.watched.targets.get(site)
    }

    /// What the SDK does with an error. Every final error of a gateway says `x-should-retry: false`.
    pub(crate) fn retry_of(
        &mut self,
        incoming: Incoming,
        status: u16,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        let refusal = Refusal { status, retry_after, should_retry: Some(false) };
        self.scenario.loads.get(incoming.load)?.retry(refusal, incoming.retries, &mut self.rng)
    }
}

/// What a fault teaches the record: until when a credential must not be called.
pub(crate) fn hint_of(class: FaultClass, retry_after: Option<Duration>, now: Instant) -> Option<Instant> {
    (class == FaultClass::RateLimited).then(|| retry_after.map(|after| now + after)).flatten()
}
