//! A small discrete-event driver of the attempt machine: scripted targets on virtual time, and every rule that must
//! hold for any script checked on every action.

use crate::watch::{Told, Watch};
use canon::{CallerError, Fault, FaultClass, Instant, Origin, Phase, Secret};
use catalog::{Catalog, ModelFacts, RawProvider};
use health::{BreakerSettings, Concurrency, Health};
use routing::{
    Action, AttemptId, CalledOff, Credential, Event, ExchangeFacts, Guards, Hedging, Ledger, Machine, Model,
    ModelSettings, Needs, Node, Overtaken, Quality, Rescue, RescueFailure, RescueMode, Start, Step, Stickiness,
    Strategy, Target, plan,
};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn at(seconds: f64) -> Instant {
    Instant::from_origin(Duration::from_secs_f64(seconds))
}

pub(crate) fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

pub(crate) fn fault(class: FaultClass) -> Fault {
    Fault { status: status(class), ..Fault::new(class, Origin::Head, format!("{class} says the provider")) }
}

fn status(class: FaultClass) -> Option<u16> {
    match class {
        FaultClass::RateLimited => Some(429),
        FaultClass::QuotaExhausted => Some(402),
        FaultClass::Overloaded => Some(503),
        FaultClass::ServerError => Some(500),
        FaultClass::ContextExceeded
        | FaultClass::ContentBlocked
        | FaultClass::UnsupportedParameter
        | FaultClass::InvalidRequest => Some(400),
        FaultClass::ModelMissing => Some(404),
        FaultClass::AuthRejected => Some(401),
        _ => None,
    }
}

pub(crate) fn limited(hint: f64) -> Fault {
    Fault { retry_after: Some(secs(hint)), ..fault(FaultClass::RateLimited) }
}

/// Builds a model whose targets are called `p0/m`, `p1/m`, …
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) settings: ModelSettings,
    pub(crate) breaker: BreakerSettings,
    pub(crate) seed: u64,
    pub(crate) nodes: Vec<Node>,
    targets: Vec<Spec>,
}

#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) keys: usize,
    pub(crate) weight: u32,
    pub(crate) facts: ModelFacts,
    pub(crate) guards: Guards,
    pub(crate) quality: Option<Quality>,
    pub(crate) same_model: Option<&'static str>,
    pub(crate) bound: Option<Concurrency>,
    pub(crate) region: Option<&'static str>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            keys: 1,
            weight: 1,
            facts: ModelFacts::default(),
            guards: Guards::default(),
            quality: None,
            same_model: None,
            bound: None,
            region: None,
        }
    }
}

impl Pool {
    pub(crate) fn of(count: usize) -> Self {
        Self::with(vec![Spec::default(); count])
    }

    pub(crate) fn with(targets: Vec<Spec>) -> Self {
        // Rescue has scenarios of its own; without it what breaks ends.
        let rescue = Rescue { mode: RescueMode::Error, ..Rescue::default() };
        let settings = ModelSettings { rescue, ..ModelSettings::default() };
        Self { settings, breaker: BreakerSettings::default(), seed: 1, nodes: Vec::new(), targets }
    }

    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    pub(crate) fn build(&self) -> Arc<Model> {
        let (health, ledger) = self.state();
        self.build_over(&health, &ledger)
    }

    /// What outlives a reload.
    pub(crate) fn state(&self) -> (Health, Ledger) {
        (Health::new(self.seed), Ledger::default())
    }

    /// The model over what an earlier one has learned.
    pub(crate) fn build_over(&self, health: &Health, ledger: &Ledger) -> Arc<Model> {
        let catalog = Catalog::builtin().unwrap();
        let targets = self.targets.iter().enumerate().map(|(index, spec)| {
            let name = format!("p{index}");
            let raw = RawProvider {
                dialect: Some(canon::DialectName::OpenaiChat),
                base_url: Some("http://127.0.0.1:1/v1".to_owned()),
                ..RawProvider::default()
            };
            let provider = Arc::new(catalog.with_overrides(&name, raw).unwrap());
            let id = format!("{name}/m");
            let credentials = (0..spec.keys).map(|key| {
                let id = format!("{name}/{key}");
                let shared = health.credential(&id);
                Credential::new(id, Secret::new(""), shared, "m")
            });
            Arc::new(Target {
                profile: Arc::new(provider.profile.clone()),
                provider,
                model: "m".to_owned(),
                facts: spec.facts.clone(),
                credentials: credentials.collect(),
                weight: spec.weight,
                region: spec.region.map(str::to_owned),
                why: None,
                same_model: spec.same_model.map_or_else(|| id.clone(), str::to_owned),
                health: health.target(&id, &self.breaker),
                provider_health: health.provider(&name),
                quality: spec.quality,
                min_quality: None,
                via: None,
                guards: spec.guards,
                ledger: ledger.target(&id),
                bound: spec.bound.map(|stated| health.bound(&id, stated)),
                tally: None,
                near: (self.settings.strategy == Strategy::Nearest).then(|| {
                    let near = ledger.model("chat").near();
                    near.compare(&self.targets.iter().filter_map(|spec| spec.region).collect::<Vec<_>>());
                    near
                }),
                judge: match self.settings.strategy {
                    Strategy::Auto(objectives) => Some(ledger.target(&id).judge(objectives)),
                    _ => None,
                },
                patch: None,
                id,
            })
        });
        Arc::new(Model {
            name: "chat".to_owned(),
            settings: self.settings.clone(),
            targets: targets.collect(),
            nodes: self.nodes.clone(),
            budget: health.budget("chat"),
            panic_gate: health.panic_gate("chat"),
            ledger: ledger.model("chat"),
            rules: None,
        })
    }
}

/// What a scripted target does with one call.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// First content after `first`, the whole answer after `total`.
    Answer { first: f64, total: f64 },
    /// Fails after this long without content.
    Fails { fault: Fault, after: f64 },
    /// First content, then a fault.
    Breaks { first: f64, fault: Fault, after: f64 },
    /// Says nothing, ever.
    Hangs,
}

impl Outcome {
    pub(crate) fn quick() -> Self {
        Self::Answer { first: 0.2, total: 1.0 }
    }

    pub(crate) fn fails(class: FaultClass) -> Self {
        Self::Fails { fault: fault(class), after: 0.0 }
    }
}

/// A call as a scripted target sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) exchange: usize,
    pub(crate) target: usize,
    pub(crate) credential: usize,
    pub(crate) at: Instant,
    /// How many calls this exchange has made at this target before.
    pub(crate) before: usize,
}

/// How an exchange ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) at: Instant,
    pub(crate) served: Option<usize>,
    pub(crate) fallback: usize,
    pub(crate) reason: Option<&'static str>,
    pub(crate) error: Option<CallerError>,
    pub(crate) broken: bool,
    pub(crate) hung_up: bool,
    /// When the first content was released.
    pub(crate) committed: Option<Instant>,
    /// Targets in the order they were called.
    pub(crate) calls: Vec<usize>,
    pub(crate) faults: Vec<Option<FaultClass>>,
    pub(crate) beside: Vec<Option<&'static str>>,
    pub(crate) called_off: Vec<CalledOff>,
    pub(crate) rescues: Vec<bool>,
    pub(crate) hedges: usize,
}

#[derive(Debug, Clone)]
enum Happening {
    Arrives,
    Told(Event),
    Timer,
    Deadline,
    HangsUp,
    /// The n-th of the models to come is in force.
    Reloads(usize),
}

struct Exchange {
    started: Instant,
    deadline: Instant,
    needs: Needs,
    machine: Option<Machine>,
    /// In force when it arrived.
    model: Option<Arc<Model>>,
    running: Vec<(AttemptId, usize, bool)>,
    committed: Option<Instant>,
    calls: Vec<Call>,
    hedges: usize,
    ended: Option<Ended>,
}

impl Exchange {
    fn rescue(&self) -> RescueMode {
        self.model.as_ref().map_or(RescueMode::Error, |model| model.settings.rescue.mode)
    }
}

pub(crate) struct Sim<F> {
    pub(crate) model: Arc<Model>,
    script: F,
    altered: bool,
    are_retries: bool,
    queue: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    happenings: HashMap<u64, Happening>,
    sequence: u64,
    exchanges: Vec<Exchange>,
    rng: fastrand::Rng,
    pub(crate) calls: Vec<Call>,
    /// Probes whose hedge served the caller, by exchange.
    overtaken: Vec<(usize, Overtaken)>,
    /// Until when a credential must not be called.
    parked: HashMap<(usize, usize), Instant>,
    to_come: Vec<Arc<Model>>,
    /// From when until when the process does not run.
    suspended: Vec<(Instant, Instant)>,
    /// What holds after every event.
    pub(crate) watch: Watch,
}

impl<F: FnMut(Call) -> Outcome> Sim<F> {
    pub(crate) fn new(model: Arc<Model>, seed: u64, script: F) -> Self {
        Self {
            model,
            script,
            altered: false,
            are_retries: false,
            queue: BinaryHeap::new(),
            happenings: HashMap::new(),
            sequence: 0,
            exchanges: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            calls: Vec::new(),
            overtaken: Vec::new(),
            parked: HashMap::new(),
            to_come: Vec::new(),
            suspended: Vec::new(),
            watch: Watch::default(),
        }
    }

    /// From then on another configuration is in force; exchanges under way keep theirs.
    pub(crate) fn reload(&mut self, when: Instant, model: Arc<Model>) {
        self.to_come.push(model);
        self.schedule(when, usize::MAX, Happening::Reloads(self.to_come.len() - 1));
    }

    /// The process does not run from then to then: what happens meanwhile is heard of afterwards.
    pub(crate) fn suspend(&mut self, from: Instant, to: Instant) {
        self.suspended.push((from, to));
    }

    /// A timer rings that the machine may not have asked for.
    pub(crate) fn ring(&mut self, exchange: usize, when: Instant) {
        self.schedule(when, exchange, Happening::Timer);
    }

    /// When something that happens then is heard of.
    fn heard(&self, when: Instant) -> Instant {
        let asleep = self.suspended.iter().filter(|(from, to)| *from <= when && when < *to);
        asleep.map(|(_, to)| *to).max().map_or(when, |to| self.heard(to))
    }

    /// Every request counts as altered for its target.
    pub(crate) fn altered(mut self) -> Self {
        self.altered = true;
        self
    }

    /// Every request is what its caller's SDK sends again.
    pub(crate) fn retries(mut self) -> Self {
        self.are_retries = true;
        self
    }

    pub(crate) fn request(&mut self, arrives: Instant) -> usize {
        self.request_with(arrives, Needs { streamed: true, ..Needs::default() }, secs(120.0))
    }

    pub(crate) fn request_with(&mut self, arrives: Instant, needs: Needs, deadline: Duration) -> usize {
        let exchange = self.exchanges.len();
        self.exchanges.push(Exchange {
            started: arrives,
            deadline: arrives + deadline,
            needs,
            machine: None,
            model: None,
            running: Vec::new(),
            committed: None,
            calls: Vec::new(),
            hedges: 0,
            ended: None,
        });
        self.schedule(arrives, exchange, Happening::Arrives);
        self.schedule(arrives + deadline, exchange, Happening::Deadline);
        exchange
    }

    pub(crate) fn hang_up(&mut self, exchange: usize, when: Instant) {
        self.schedule(when, exchange, Happening::HangsUp);
    }

    /// Runs everything to its end and returns how each exchange ended.
    pub(crate) fn run(&mut self) -> Vec<Ended> {
        self.watch.begins(&self.model);
        while let Some(Reverse((now, sequence, exchange))) = self.queue.pop() {
            let Some(happening) = self.happenings.remove(&sequence) else { continue };
            self.happen(exchange, happening, self.heard(now));
        }
        self.overtaken.clear();
        for target in self.to_come.iter().chain([&self.model]).flat_map(|model| model.targets.iter()) {
            assert_eq!(target.health.in_flight(), 0, "every permit is released");
        }
        self.exchanges.iter().map(|exchange| exchange.ended.clone().expect("every exchange ends")).collect()
    }

    fn schedule(&mut self, when: Instant, exchange: usize, happening: Happening) {
        self.sequence += 1;
        self.happenings.insert(self.sequence, happening);
        self.queue.push(Reverse((when, self.sequence, exchange)));
    }

    fn happen(&mut self, index: usize, happening: Happening, now: Instant) {
        if let Happening::Reloads(number) = happening {
            self.model = self.to_come[number].clone();
            self.watch.reloaded();
            return;
        }
        if let Happening::Told(event) = &happening
            && self.hear_overtaken(index, event, now)
        {
            return;
        }
        let exchange = &mut self.exchanges[index];
        if exchange.ended.is_some() {
            return;
        }
        let event = match happening {
            Happening::Arrives => {
                let plan = plan(&self.model, &exchange.needs, now, &mut self.rng);
                let facts = ExchangeFacts {
                    started: exchange.started,
                    deadline: exchange.deadline,
                    needs: exchange.needs,
                    is_callers_retry: self.are_retries,
                    may_hedge: true,
                    seed: self.rng.u64(..),
                    rescue: self.model.settings.rescue.mode,
                };
                exchange.model = Some(Arc::clone(&self.model));
                exchange.machine = Some(Machine::new(Arc::clone(&self.model), plan, facts));
                Event::Begin
            }
            Happening::Told(event) => event,
            Happening::Timer => Event::Elapsed,
            Happening::Deadline => Event::DeadlinePassed,
            Happening::HangsUp => Event::HungUp,
            Happening::Reloads(_) => return,
        };
        if let Event::Failed { attempt, fault, .. } = &event
            && let Some(call) = exchange.running.iter().find(|(id, _, _)| id == attempt).map(|(_, call, _)| *call)
        {
            let call = exchange.calls[call];
            let target = exchange.model.as_ref().map(|model| &model.targets[call.target].id);
            self.watch.failed(target.unwrap(), fault.class);
            if let (FaultClass::RateLimited, Some(hint)) = (fault.class, fault.retry_after) {
                let until = self.parked.entry((call.target, call.credential)).or_default();
                *until = (*until).max(now + hint);
            }
        }
        let event = self.after_the_commit(index, event);
        let told = Told::of(&event);
        let exchange = &mut self.exchanges[index];
        let hung_up = event == Event::HungUp;
        let was_running = exchange.running.len();
        if let Event::Failed { attempt, .. }
        | Event::Broken { attempt, .. }
        | Event::NotRescued { attempt, .. }
        | Event::Completed { attempt } = &event
        {
            exchange.running.retain(|(id, _, _)| id != attempt);
        }
        let model = exchange.model.clone().unwrap();
        if matches!(event, Event::DeadlinePassed) {
            // Who was silent to the end for as long as anybody is ever given is to blame.
            for (_, call, _) in &exchange.running {
                self.watch.failed(&model.targets[exchange.calls[*call].target].id, FaultClass::TimedOut);
            }
        }
        self.watch.before(&model, told, now);
        let action = exchange.machine.as_mut().unwrap().next(event, now);
        self.watch.after(&model, index, told, Some(&action), now);
        self.act(index, action, was_running, hung_up, now);
    }

    /// How the driver tells faults of a stream that may be rescued.
    fn after_the_commit(&self, index: usize, event: Event) -> Event {
        let exchange = &self.exchanges[index];
        let rescues = exchange.rescue() != RescueMode::Error && exchange.committed.is_some();
        match event {
            Event::Failed { attempt, fault, .. } if rescues => {
                let served = exchange.machine.as_ref().unwrap().served_by().unwrap().attempt;
                if attempt == served {
                    return Event::Broken { attempt, fault, can_go_on: true };
                }
                let failure = match fault.code.as_deref() {
                    Some("no_join") => RescueFailure::NoJoin,
                    Some("prefill") => RescueFailure::PrefillRefused,
                    Some("not_continued") => RescueFailure::NotContinued,
                    _ => RescueFailure::Fault,
                };
                Event::NotRescued { attempt, fault, failure }
            }
            event => event,
        }
    }

    /// What comes of a probe that goes on alone is between it and its target.
    fn hear_overtaken(&mut self, exchange: usize, event: &Event, now: Instant) -> bool {
        let (Event::FirstContent { attempt } | Event::Completed { attempt } | Event::Failed { attempt, .. }) = event
        else {
            return false;
        };
        let is_meant = |(of, left): &(usize, Overtaken)| *of == exchange && left.attempt() == *attempt;
        let Some(place) = self.overtaken.iter().position(is_meant) else { return false };
        let (_, left) = self.overtaken.swap_remove(place);
        let model = self.exchanges[exchange].model.clone().unwrap();
        match event {
            Event::Failed { fault, .. } => {
                let told = Told::fault(fault.class);
                model.targets.iter().for_each(|target| self.watch.failed(&target.id, fault.class));
                self.watch.before(&model, told, now);
                left.failed(fault, now);
                self.watch.after(&model, exchange, told, None, now);
            }
            _ => left.succeeded(now),
        }
        true
    }

    fn act(&mut self, index: usize, action: Action, was_running: usize, hung_up: bool, now: Instant) {
        let exchange = &mut self.exchanges[index];
        let slept = self.suspended.iter().any(|(_, to)| *to <= now && *to > exchange.started);
        assert!(now <= exchange.deadline || slept, "nothing happens after the deadline");
        match action {
            Action::Try(start) => {
                assert!(exchange.running.is_empty(), "one attempt in flight");
                self.start(index, &start, now);
            }
            Action::Hedge(start) => {
                assert_eq!(exchange.running.len(), 1, "a hedge runs beside one attempt");
                let hedging = exchange.model.as_ref().unwrap().settings.hedging;
                let asks_for_two = hedging != Hedging::Off && exchange.calls.len() == 1;
                assert!(
                    exchange.running[0].2 || asks_for_two,
                    "only a probe is hedged, or the first where that is asked for"
                );
                assert!(exchange.committed.is_none(), "and nothing after the commit");
                exchange.hedges += 1;
                self.start(index, &start, now);
            }
            Action::Rescue(start) => {
                assert!(exchange.committed.is_some() && exchange.running.is_empty(), "one attempt in flight");
                assert!(!start.is_probe && start.hedge_at.is_none());
                self.start(index, &start, now);
            }
            Action::Wait { until } => {
                assert!(exchange.running.is_empty() && exchange.committed.is_none());
                assert!(until >= now && until <= exchange.deadline, "a wait ends before the deadline");
                self.schedule(until, index, Happening::Timer);
            }
            Action::Continue { hedge_at } => {
                assert!(!exchange.running.is_empty(), "there is something to wait for ({was_running} before)");
                if let Some(hedge_at) = hedge_at.filter(|at| *at > now) {
                    self.schedule(hedge_at, index, Happening::Timer);
                }
            }
            Action::Commit { attempt, cancel } => {
                assert!(exchange.committed.is_none(), "one commit");
                exchange.committed = Some(now);
                assert_eq!(exchange.running.len() == 2, cancel.is_some());
                exchange.running.retain(|(id, _, _)| *id == attempt);
                assert_eq!(exchange.running.len(), 1);
                let left = exchange.machine.as_mut().unwrap().take_overtaken();
                self.overtaken.extend(left.map(|left| (index, left)));
            }
            Action::End(end) => {
                assert!(exchange.committed.is_some());
                self.end(index, Some(end.error), true, false, now);
            }
            Action::GiveUp(give_up) => {
                assert!(exchange.committed.is_none());
                self.end(index, Some(give_up.error), false, false, now);
            }
            Action::Done => self.end(index, None, false, hung_up, now),
        }
    }

    fn start(&mut self, index: usize, start: &Start, now: Instant) {
        let exchange = &mut self.exchanges[index];
        let rescues = exchange.rescue() != RescueMode::Error;
        assert!(exchange.committed.is_none() || rescues, "no attempt after the commit but to rescue");
        assert!(now < exchange.deadline, "no attempt after the deadline");
        assert!(start.limits.attempt_until <= exchange.deadline);
        let before = exchange.calls.iter().filter(|call| call.target == start.target_index).count();
        let call = Call { exchange: index, target: start.target_index, credential: start.credential, at: now, before };
        let parked = self.parked.get(&(call.target, call.credential));
        assert!(parked.is_none_or(|until| now >= *until), "never called again before the hint");
        exchange.running.push((start.attempt, exchange.calls.len(), start.is_probe));
        exchange.calls.push(call);
        self.calls.push(call);
        if let Some(hedge_at) = start.hedge_at {
            self.schedule(hedge_at, index, Happening::Timer);
        }
        let outcome = (self.script)(call);
        self.play(index, start, outcome, now);
    }

    fn play(&mut self, index: usize, start: &Start, outcome: Outcome, now: Instant) {
        let attempt = start.attempt;
        let streamed = self.exchanges[index].needs.streamed;
        let altered = self.altered;
        let failed = |fault| Happening::Told(Event::Failed { attempt, fault, altered });
        let silence = start.limits.first_token.map(|limit| (now + limit, Phase::FirstToken));
        let whole = (start.limits.attempt_until, Phase::Attempt);
        let (limit, phase) = silence.filter(|silence| silence.0 < whole.0).unwrap_or(whole);
        let (content, last) = match outcome {
            Outcome::Answer { first, total } => {
                (Some(now + secs(first)), Some((now + secs(total), Happening::Told(Event::Completed { attempt }))))
            }
            Outcome::Breaks { first, fault, after } => {
                (Some(now + secs(first)), Some((now + secs(after), failed(fault))))
            }
            Outcome::Fails { fault, after } => (None, Some((now + secs(after), failed(fault)))),
            Outcome::Hangs => (None, None),
        };
        let news = content.or(last.as_ref().map(|(when, _)| *when));
        if news.is_none_or(|news| news > limit) {
            if limit < self.exchanges[index].deadline {
                let fault = Fault::timed_out(phase, limit.saturating_since(now));
                self.schedule(limit, index, failed(fault));
            }
            return;
        }
        if let Some(content) = content {
            self.schedule(content, index, Happening::Told(Event::FirstContent { attempt }));
        }
        if let Some((when, happening)) = last
            && (streamed || when <= limit)
        {
            self.schedule(when, index, happening);
        }
    }

    fn end(&mut self, index: usize, error: Option<CallerError>, broken: bool, hung_up: bool, now: Instant) {
        let exchange = &mut self.exchanges[index];
        let machine = exchange.machine.as_ref().unwrap();
        let served = machine.served_by();
        let reports = machine.attempts();
        assert_eq!(reports.len(), exchange.calls.len());
        if let Some(error) = &error {
            assert_eq!(error.attempts, reports, "all attempts are listed");
        }
        exchange.ended = Some(Ended {
            at: now,
            served: served.as_ref().map(|served| exchange.calls[served.attempt.0 as usize].target),
            fallback: served.as_ref().map_or(0, |served| served.fallback),
            reason: machine.reason(),
            error,
            broken,
            hung_up,
            committed: exchange.committed,
            calls: exchange.calls.iter().map(|call| call.target).collect(),
            faults: reports.iter().map(|report| report.fault).collect(),
            beside: reports.iter().map(|report| report.beside).collect(),
            called_off: machine.called_off().collect(),
            rescues: reports.iter().map(|report| report.rescue).collect(),
            hedges: exchange.hedges,
        });
        exchange.running.clear();
        // Dropping the machine releases whatever it still held.
        let mut machine = exchange.machine.take().unwrap();
        assert!(matches!(machine.next(Event::Elapsed, now), Action::Done), "what is over stays over");
        let model = self.exchanges[index].model.clone().unwrap();
        check_repeats(&self.exchanges[index], &model.settings);
    }
}

/// No target is tried twice for a fault that excludes it, and never more than its table row allows.
fn check_repeats(exchange: &Exchange, settings: &ModelSettings) {
    let retries = settings.sessions.is_some_and(|it| it.on_fault == Stickiness::RetryThenMove);
    let clings = |class: &FaultClass| {
        let helps = matches!(class, FaultClass::Overloaded | FaultClass::StreamBroken | FaultClass::BadAnswer)
            || *class == FaultClass::TooSlow;
        retries && helps && exchange.needs.session.is_some()
    };
    let asked_again = |class: &FaultClass| settings.on.policy(*class).step == Some(Step::SameThenNext) || clings(class);
    let ended = exchange.ended.as_ref().unwrap();
    let mut last: HashMap<usize, Vec<FaultClass>> = HashMap::new();
    // Rescue has rules of its own.
    let rescues = ended.faults.iter().zip(&ended.rescues);
    let ordinary: Vec<_> = rescues.map(|(fault, rescue)| fault.filter(|_| !rescue)).collect();
    for (call, fault) in exchange.calls.iter().zip(&ordinary).zip(&ended.rescues).filter(|it| !it.1).map(|it| it.0) {
        let faults = last.entry(call.target).or_default();
        if let Some(previous) = faults.last() {
            let allowed = matches!(
                previous,
                FaultClass::ServerError
                    | FaultClass::Unreachable
                    | FaultClass::RateLimited
                    | FaultClass::QuotaExhausted
                    | FaultClass::AuthRejected
            );
            let never = matches!(previous, FaultClass::TimedOut | FaultClass::ContextExceeded);
            assert!(allowed || (asked_again(previous) && !never), "{previous} is not asked again");
        }
        faults.extend(*fault);
        let count = |class| faults.iter().filter(|it| **it == class).count();
        let overloads = 1 + usize::from(asked_again(&FaultClass::Overloaded));
        assert!(count(FaultClass::RateLimited) <= 2 && count(FaultClass::Overloaded) <= overloads);
        assert!(count(FaultClass::ServerError) <= 2 && count(FaultClass::Unreachable) <= 2);
        assert!(faults.len() <= 4, "{faults:?}");
    }
    let worked = ordinary.iter().flatten().filter(|class| {
        matches!(
            class,
            FaultClass::ServerError | FaultClass::StreamBroken | FaultClass::BadAnswer | FaultClass::TimedOut
        )
    });
    assert!(worked.count() <= 3, "three attempts may reach a model's work: {:?}", ended.faults);
}
