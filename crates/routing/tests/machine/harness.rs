//! A small discrete-event driver of the attempt machine: scripted targets on virtual time, and every rule that must
//! hold for any script checked on every action.

use crate::books::Books;
use crate::exchange::{Exchange, check_repeats, everything, usage};
use crate::hedges::{self, First, Second};
use crate::met::{self, Way};
pub(crate) use crate::pool::{Pool, Spec};
use crate::watch::{Told, Watch};
use canon::{CallerError, Fault, FaultClass, Instant, Origin, Phase};
use routing::{
    Action, AttemptId, CalledOff, Event, ExchangeFacts, FirstByte, Hedging, Machine, Model, Needs, Overtaken,
    RescueFailure, RescueMode, Start, TranscriptCursor, estimate, plan,
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
    /// It is to go on with a stream that broke.
    pub(crate) is_rescue: bool,
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
    /// The caller has announced that it hangs up if nothing has come by now.
    FirstByte,
    HangsUp,
    /// The n-th of the models to come is in force.
    Reloads(usize),
}

pub(crate) struct Sim<F> {
    pub(crate) model: Arc<Model>,
    script: F,
    /// Answers are paid for, and news comes twice.
    in_earnest: bool,
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
    books: Books,
}

impl<F: FnMut(Call) -> Outcome> Sim<F> {
    pub(crate) fn new(model: Arc<Model>, seed: u64, script: F) -> Self {
        Self {
            model,
            script,
            in_earnest: false,
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
            books: Books::default(),
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

    /// Answers are paid for, and some news comes twice.
    pub(crate) fn in_earnest(mut self) -> Self {
        self.in_earnest = true;
        self
    }

    /// The caller's SDK repeats this one; or it may not be asked twice.
    pub(crate) fn state(&mut self, exchange: usize, is_retry: bool, may_hedge: bool) {
        let exchange = &mut self.exchanges[exchange];
        (exchange.is_retry, exchange.may_hedge) = (is_retry, may_hedge);
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
            first_byte: None,
            needs,
            is_retry: self.are_retries,
            may_hedge: true,
            machine: None,
            model: None,
            running: Vec::new(),
            committed: None,
            serving: None,
            cursor: TranscriptCursor::default(),
            calls: Vec::new(),
            estimates: Vec::new(),
            first: None,
            second: None,
            hedges: 0,
            hung_up: false,
            ended: None,
        });
        self.schedule(arrives, exchange, Happening::Arrives);
        self.schedule(arrives + deadline, exchange, Happening::Deadline);
        exchange
    }

    /// The caller of an exchange hangs up if nothing has come by then.
    pub(crate) fn announce(&mut self, exchange: usize, by: Instant) {
        self.exchanges[exchange].first_byte = Some(by);
        self.schedule(by, exchange, Happening::FirstByte);
    }

    pub(crate) fn hang_up(&mut self, exchange: usize, when: Instant) {
        self.schedule(when, exchange, Happening::HangsUp);
    }

    /// Runs everything to its end and returns how each exchange ended.
    pub(crate) fn run(&mut self) -> Vec<Ended> {
        self.watch.begins(&self.model);
        let mut last = Instant::ORIGIN;
        while let Some(Reverse((now, sequence, exchange))) = self.queue.pop() {
            let Some(happening) = self.happenings.remove(&sequence) else { continue };
            last = last.max(self.heard(now));
            self.happen(exchange, happening, self.heard(now));
        }
        assert!(self.overtaken.is_empty(), "a probe that goes on ends by its own limits");
        for model in self.to_come.iter().chain([&self.model]) {
            self.books.check(model);
            if self.in_earnest {
                self.books.close(model, last);
            }
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
                    is_callers_retry: exchange.is_retry,
                    may_hedge: exchange.may_hedge,
                    seed: self.rng.u64(..),
                    rescue: self.model.settings.rescue.mode,
                };
                exchange.model = Some(Arc::clone(&self.model));
                let announced = exchange.first_byte.map(|by| FirstByte { by, announced_in: "x-test" });
                exchange.machine = Some(Machine::new(Arc::clone(&self.model), plan, facts).heard_by(announced));
                Event::Begin
            }
            Happening::Told(event) => event,
            Happening::Timer => Event::Elapsed,
            Happening::FirstByte if exchange.committed.is_some() => return,
            Happening::Deadline | Happening::FirstByte => Event::DeadlinePassed,
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
        let told = Told::of(index, &event);
        let exchange = &mut self.exchanges[index];
        let model = exchange.model.clone().unwrap();
        let (was_serving, is_committed) = (exchange.serving, exchange.committed.is_some());
        let (is_last, is_word) = (exchange.hears(&event), exchange.leaves_the_word(&event));
        let was_running = exchange.running.len();
        let concerned = exchange.concerns(&event);
        if exchange.running.len() < was_running {
            for target in &concerned {
                self.books.over(&model.targets[*target]);
            }
        }
        if matches!(event, Event::DeadlinePassed) {
            // Who was silent to the end for as long as anybody is ever given is to blame.
            for target in &concerned {
                self.watch.failed(&model.targets[*target].id, FaultClass::TimedOut);
            }
        }
        if is_committed && exchange.serving != was_serving {
            self.watch.met.on(Way::RescueJoins);
        }
        if let Event::NotRescued { failure, .. } = &event {
            self.watch.met.add(met::rescue(failure));
        }
        let is_due = event == Event::Elapsed && model.settings.hedging != Hedging::Off && exchange.running.len() == 1;
        let room = if is_due { hedges::room(&model, &exchange.needs, now) } else { Vec::new() };
        self.echo(index, &event, now);
        let exchange = &mut self.exchanges[index];
        self.watch.before(&model, now);
        let action = exchange.machine.as_mut().unwrap().next(event, now);
        self.watch.after(&model, told, &concerned, Some(&action), now);
        if is_word {
            // Where the caller is about to hang up, another takes its place.
            let is_replaced = matches!(action, Action::Hedge(_)) && exchange.first_byte.is_some();
            assert!(is_replaced || matches!(action, Action::Continue { .. }), "the first has the word: {action:?}");
            self.watch.met.on(Way::OneOfTwoFails);
        }
        assert!(is_last || !matches!(action, Action::Done), "done without an answer, and the caller waits");
        self.act(index, action, &room, now);
        self.books.check(&model);
    }

    /// Some news comes twice: of what is settled nobody wants to hear again.
    fn echo(&mut self, index: usize, event: &Event, now: Instant) {
        let is_settled = matches!(event, Event::Failed { .. } | Event::FirstContent { .. } | Event::Progress { .. });
        if self.in_earnest && is_settled && self.rng.u32(0..16) == 0 {
            self.watch.met.on(Way::Echo);
            self.schedule(now + secs(0.1), index, Happening::Told(event.clone()));
        }
    }

    /// How the driver tells faults of a stream that may be rescued.
    fn after_the_commit(&self, index: usize, event: Event) -> Event {
        let exchange = &self.exchanges[index];
        let rescues = exchange.rescue() != RescueMode::Error && exchange.committed.is_some();
        match event {
            Event::Failed { attempt, fault, .. } if rescues => {
                let served = exchange.machine.as_ref().unwrap().served_by().unwrap().attempt;
                if attempt == served {
                    let can_go_on = fault.code.as_deref() != Some("cannot_go_on");
                    return Event::Broken { attempt, fault, can_go_on };
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
        let target = self.exchanges[exchange].calls[attempt.0 as usize].target;
        self.books.over(&model.targets[target]);
        if let Event::Failed { fault, .. } = event {
            let told = Told::fault(exchange, fault.class);
            self.watch.failed(&model.targets[target].id, fault.class);
            self.watch.before(&model, now);
            left.failed(fault, now);
            self.watch.after(&model, told, &[target], None, now);
        } else {
            self.watch.met.on(Way::ProbeGoesOn);
            left.succeeded(now);
        }
        self.books.check(&model);
        true
    }

    fn act(&mut self, index: usize, action: Action, room: &[bool], now: Instant) {
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
                assert!(exchange.committed.is_none(), "and nothing after the commit");
                exchange.hedges += 1;
                let told = exchange.machine.as_ref().unwrap().attempts();
                if told[start.attempt.0 as usize].beside == Some("read_timeout") {
                    exchange.hurries(&start, now);
                    return self.start(index, &start, now);
                }
                let second = Second {
                    model: exchange.model.as_ref().unwrap(),
                    machine: exchange.machine.as_ref().unwrap(),
                    needs: &exchange.needs,
                    is_retry: exchange.is_retry,
                    may_hedge: exchange.may_hedge,
                    first: exchange.first.unwrap(),
                    calls: exchange.calls.len(),
                    room,
                    start: &start,
                    now,
                };
                let way = self.watch.hedges.second(&second);
                self.watch.met.on(way);
                exchange.second = (!matches!(way, Way::HedgeOfProbe)).then_some(start.attempt);
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
                assert!(!exchange.running.is_empty(), "there is something to wait for");
                if let Some(hedge_at) = hedge_at.filter(|at| *at > now) {
                    self.schedule(hedge_at, index, Happening::Timer);
                }
            }
            Action::Commit { attempt, cancel } => {
                assert!(exchange.committed.is_none(), "one commit");
                exchange.committed = Some(now);
                assert_eq!(exchange.serving, Some(attempt), "who is first to answer serves");
                let others = exchange.running.iter().map(|(id, _, _)| *id).filter(|id| *id != attempt);
                assert_eq!(others.collect::<Vec<_>>(), Vec::from_iter(cancel), "and whoever else runs is cancelled");
                if let Some(loser) = cancel {
                    let report = &exchange.machine.as_ref().unwrap().attempts()[loser.0 as usize];
                    assert!(report.fault == Some(FaultClass::Cancelled) && report.may_be_billed, "{report:?}");
                    self.watch.met.on(if loser > attempt { Way::FirstWins } else { Way::SecondWins });
                }
                let left = exchange.machine.as_mut().unwrap().take_overtaken();
                assert!(left.as_ref().is_none_or(|left| Some(left.attempt()) == cancel));
                self.leave(index, Some(attempt), left.as_ref().map(Overtaken::attempt));
                self.overtaken.extend(left.map(|left| (index, left)));
            }
            Action::End(end) => {
                assert!(exchange.committed.is_some());
                assert_eq!(end.cursor, exchange.cursor, "what the caller has is what the one that served gave");
                if end.cursor.bytes > 0 {
                    self.watch.met.on(Way::EndsInPart);
                }
                self.end(index, Some(end.error), true, now);
            }
            Action::GiveUp(give_up) => {
                assert!(exchange.committed.is_none());
                self.end(index, Some(give_up.error), false, now);
            }
            Action::Done => self.end(index, None, false, now),
        }
    }

    /// Whoever runs is called off, but who is kept; who goes on alone is still in flight.
    fn leave(&mut self, index: usize, kept: Option<AttemptId>, goes_on: Option<AttemptId>) {
        let exchange = &mut self.exchanges[index];
        let model = exchange.model.as_ref().unwrap();
        for (_, call, _) in exchange.running.iter().filter(|(id, _, _)| ![kept, goes_on].contains(&Some(*id))) {
            self.books.over(&model.targets[exchange.calls[*call].target]);
        }
        exchange.running.retain(|(id, _, _)| Some(*id) == kept);
    }

    fn start(&mut self, index: usize, start: &Start, now: Instant) {
        let exchange = &mut self.exchanges[index];
        let rescues = exchange.rescue() != RescueMode::Error;
        assert!(exchange.committed.is_none() || rescues, "no attempt after the commit but to rescue");
        let first_byte = exchange.first_byte.filter(|_| exchange.committed.is_none());
        let due = first_byte.map_or(exchange.deadline, |by| by.min(exchange.deadline));
        assert!(now < due, "no attempt after the deadline");
        assert!(start.limits.attempt_until <= due);
        let before = exchange.calls.iter().filter(|call| call.target == start.target_index).count();
        let call = Call {
            exchange: index,
            target: start.target_index,
            credential: start.credential,
            at: now,
            before,
            is_rescue: exchange.committed.is_some(),
        };
        let parked = self.parked.get(&(call.target, call.credential));
        assert!(parked.is_none_or(|until| now >= *until), "never called again before the hint");
        let model = exchange.model.clone().unwrap();
        let expected = estimate(&model, &start.target, &exchange.needs);
        if self.books.started(&start.target, &expected, now) {
            self.watch.met.on(Way::SpendGuarded);
        }
        let first = First { target: call.target, at: now, hedge_at: start.hedge_at, is_probe: start.is_probe };
        if exchange.calls.is_empty() {
            // Where the caller is about to hang up, the second is due sooner.
            let late = start.hedge_at.filter(|_| exchange.first_byte.is_none());
            let first = First { hedge_at: late, ..first };
            self.watch.hedges.first(&model, &exchange.needs, exchange.is_retry, first);
        }
        if exchange.running.is_empty() {
            exchange.first = Some(first);
        }
        assert_eq!(start.attempt.0 as usize, exchange.calls.len(), "attempts are numbered from zero");
        exchange.running.push((start.attempt, exchange.calls.len(), start.is_probe));
        exchange.calls.push(call);
        exchange.estimates.push(expected);
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
            // At the deadline the exchange is over by then, and a probe that goes on alone ends by this.
            let fault = Fault::timed_out(phase, limit.saturating_since(now));
            self.schedule(limit, index, failed(fault));
            return;
        }
        if let Some(content) = content {
            self.schedule(content, index, Happening::Told(Event::FirstContent { attempt }));
            let cursor = |part: u64| TranscriptCursor { bytes: part * 100 + u64::from(attempt.0), events: part };
            if streamed {
                self.schedule(content, index, Happening::Told(Event::Progress { attempt, cursor: cursor(1) }));
            }
            if let Some((end, _)) = last.as_ref().filter(|_| streamed) {
                let half = content + end.saturating_since(content) / 2;
                self.schedule(half, index, Happening::Told(Event::Progress { attempt, cursor: cursor(2) }));
            }
        }
        match last {
            Some((when, happening)) if streamed || when <= whole.0 => self.schedule(when, index, happening),
            _ => {
                let fault = Fault::timed_out(whole.1, whole.0.saturating_since(now));
                self.schedule(whole.0, index, failed(fault));
            }
        }
    }

    fn end(&mut self, index: usize, error: Option<CallerError>, broken: bool, now: Instant) {
        let exchange = &mut self.exchanges[index];
        let machine = exchange.machine.as_ref().unwrap();
        let served = machine.served_by();
        assert_eq!(served.as_ref().map(|served| served.attempt), exchange.serving, "who serves");
        let reports = machine.attempts();
        assert_eq!(reports.len(), exchange.calls.len());
        let is_whole = error.is_none() && !exchange.hung_up;
        for (number, report) in reports.iter().enumerate() {
            let serves = served.as_ref().is_some_and(|served| served.attempt.0 as usize == number);
            assert_eq!(report.fault.is_none(), serves && is_whole, "one answer, and a reason for everybody else");
        }
        if let Some(error) = &error {
            assert_eq!(error.attempts, reports, "all attempts are listed");
        }
        if let (true, true, Some(served)) = (self.in_earnest, is_whole, &served) {
            let usage = usage(&exchange.needs, &exchange.estimates[served.attempt.0 as usize], &mut self.rng);
            machine.account(&usage, now);
            machine.cost(&usage).into_iter().for_each(|cost| self.books.paid(&served.target, cost, now));
        }
        exchange.ended = Some(Ended {
            at: now,
            served: served.as_ref().map(|served| exchange.calls[served.attempt.0 as usize].target),
            fallback: served.as_ref().map_or(0, |served| served.fallback),
            reason: machine.reason(),
            error,
            broken,
            hung_up: exchange.hung_up,
            committed: exchange.committed,
            calls: exchange.calls.iter().map(|call| call.target).collect(),
            faults: reports.iter().map(|report| report.fault).collect(),
            beside: reports.iter().map(|report| report.beside).collect(),
            called_off: machine.called_off().collect(),
            rescues: reports.iter().map(|report| report.rescue).collect(),
            hedges: exchange.hedges,
        });
        // Dropping the machine releases whatever it still held.
        let mut machine = exchange.machine.take().unwrap();
        for event in everything(AttemptId(u32::try_from(reports.len()).unwrap().saturating_sub(1))) {
            assert!(matches!(machine.next(event, now), Action::Done), "what is over stays over");
        }
        assert_eq!(machine.attempts(), reports, "and is not rewritten");
        let left = machine.take_overtaken();
        drop(machine);
        self.leave(index, None, left.as_ref().map(Overtaken::attempt));
        self.overtaken.extend(left.map(|left| (index, left)));
        let model = self.exchanges[index].model.clone().unwrap();
        check_repeats(&self.exchanges[index], &model.settings);
    }
}
