//! The driver of the attempt machine: its actions become calls of the simulated targets, and what comes of those
//! becomes its events, under the limits that the gateway's own driver keeps.

use crate::door::Seat;
use crate::fault;
use crate::record::{Call, CallKind, Outcome};
use crate::run::{Happening, Incoming, Simulation, hint_of};
use crate::world::{Ask, Reply, Speech};
use canon::{Fault, FaultClass, Instant, LimitReading, Origin, Phase, Usage};
use catalog::Usd;
use routing::{Action, AttemptId, Event, Machine, Overtaken, RescueFailure, RescueMode, Start};
use std::time::Duration;

/// A stream at less than half of its target's usual speed for so long is too slow; looked at after whole seconds.
const SLOW_STEPS: u32 = 10;
const SLOW_STEP: Duration = Duration::from_secs(1);
/// Streams shorter than this say nothing about a pace.
const TELLING: u32 = 16;

/// What is heard of a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum News {
    /// The first content.
    Content,
    /// The whole answer.
    Complete,
    /// A fault; after so many tokens.
    Fault(Fault, u32),
}

/// A call under way.
#[derive(Debug)]
struct Running {
    attempt: AttemptId,
    call: usize,
    replica: usize,
    ask: Ask,
    site: usize,
    credential: usize,
    speech: Option<Speech>,
    /// What the head of its answer says of limits.
    told: [Option<LimitReading>; 2],
    /// What its provider says of its prompt, where that is a conversation's.
    read: Option<Usage>,
}

/// A probe that goes on after its hedge has served the caller.
#[derive(Debug)]
pub(crate) struct Beyond {
    exchange: u64,
    probe: Overtaken,
    running: Running,
}

/// One exchange at one gateway.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) incoming: Incoming,
    pub(crate) replica: usize,
    /// Its places behind the doors it has passed.
    pub(crate) seats: Vec<Seat>,
    machine: Machine,
    rescue: RescueMode,
    running: Vec<Running>,
    is_committed: bool,
    /// Tokens the caller has.
    shown: u32,
    /// The timer that is set.
    timer: Option<Instant>,
    /// The attempt that ended last, and its call.
    latest: Option<(AttemptId, usize)>,
    /// What the provider of that one said of its prompt.
    read: Option<Usage>,
}

impl Exchange {
    pub(crate) fn new(incoming: Incoming, replica: usize, machine: Machine, rescue: RescueMode) -> Self {
        Self {
            incoming,
            replica,
            seats: Vec::new(),
            machine,
            rescue,
            running: Vec::new(),
            is_committed: false,
            shown: 0,
            timer: None,
            latest: None,
            read: None,
        }
    }

    /// With its places behind the doors it has passed.
    pub(crate) fn behind(self, seats: Vec<Seat>) -> Self {
        Self { seats, ..self }
    }

    /// How a fault of a committed stream, or of whoever was to go on with it, is told.
    fn fault_event(&self, attempt: AttemptId, fault: Fault) -> Event {
        let served = self.machine.served_by().map(|served| served.attempt);
        if !self.is_committed || self.rescue != RescueMode::Resume {
            Event::Failed { attempt, fault, altered: false }
        } else if served == Some(attempt) {
            Event::Broken { attempt, fault, can_go_on: true }
        } else {
            Event::NotRescued { attempt, fault, failure: RescueFailure::Fault }
        }
    }
}

impl Simulation<'_> {
    /// News of a call comes in.
    pub(crate) fn told(&mut self, exchange: u64, attempt: AttemptId, news: News, now: Instant) {
        let is_meant = |it: &Beyond| it.exchange == exchange && it.probe.attempt() == attempt;
        if let Some(place) = self.beyond.iter().position(is_meant) {
            let Beyond { probe, running, .. } = self.beyond.swap_remove(place);
            self.leave(&running, &news, now);
            match news {
                News::Content | News::Complete => probe.succeeded(now),
                News::Fault(fault, _) => probe.failed(&fault, now),
            }
            return;
        }
        let Some(of) = self.exchanges.get_mut(&exchange) else { return };
        let Some(place) = of.running.iter().position(|it| it.attempt == attempt) else { return };
        if matches!(news, News::Content | News::Complete)
            && let Some(running) = of.running.get_mut(place)
        {
            let told = std::mem::take(&mut running.told);
            let target = self.replicas.get(of.replica).and_then(|it| it.watched.targets.get(running.site));
            if let Some(credential) = target.and_then(|target| target.credentials.get(running.credential)) {
                credential.limits.told(told.into_iter().flatten(), now);
            }
        }
        let event = match news {
            News::Content => Event::FirstContent { attempt },
            News::Complete | News::Fault(..) => {
                let running = of.running.swap_remove(place);
                of.latest = Some((attempt, running.call));
                of.read.clone_from(&running.read);
                let event = match &news {
                    News::Fault(fault, tokens) => {
                        of.shown += tokens;
                        let credential = (of.replica, running.site, running.credential);
                        if let Some(until) = hint_of(fault.class, fault.retry_after, now) {
                            let hint = self.hints.entry(credential).or_default();
                            *hint = (*hint).max(until);
                        }
                        of.fault_event(attempt, fault.clone())
                    }
                    News::Content | News::Complete => Event::Completed { attempt },
                };
                let (replica, streamed) = (of.replica, of.incoming.streamed);
                if streamed && news == News::Complete {
                    self.observe(replica, &running);
                }
                self.leave(&running, &news, now);
                event
            }
        };
        self.next(exchange, event, now);
    }

    /// What the gateway tells health of a stream that came to its end.
    fn observe(&self, replica: usize, running: &Running) {
        let (Some(target), Some(speech)) = (self.target(replica, running.site), running.speech) else { return };
        target.health.observe_gap(speech.gap);
        if speech.tokens > TELLING {
            target.health.observe_pace(speech.gap);
        }
    }

    /// A call is over at its target.
    fn leave(&mut self, running: &Running, news: &News, now: Instant) {
        if let Some(site) = self.sites.get_mut(running.site) {
            site.leave();
        }
        let class = match news {
            News::Fault(fault, _) => Some(fault.class),
            News::Content | News::Complete => None,
        };
        let billed = self.bill(running, *news == News::Complete, now);
        if let Some(call) = self.record.calls.get_mut(running.call) {
            (call.fault, call.billed) = (class, billed);
        }
        let word = class.map_or("whole", FaultClass::as_str);
        self.record.hash.add_at(now, &[running.call as u64]);
        self.record.hash.add_bytes(word.as_bytes());
    }

    /// What the provider bills for a call that is over: nothing where it wrote nothing and never would,
    /// the whole answer where it came, or where the provider goes on without its caller.
    fn bill(&self, running: &Running, is_whole: bool, now: Instant) -> Option<Usd> {
        let Some(speech) = running.speech else { return Some(Usd::ZERO) };
        let target = self.target(running.replica, running.site)?;
        let started = self.record.calls.get(running.call)?.at;
        let is_stopped = !is_whole && target.provider.cancel_stops_billing;
        let last = speech.breaks.map_or(speech.tokens, |breaks| breaks.after);
        let written = if is_stopped { speech.written_after(now.saturating_since(started)).min(last) } else { last };
        let whole = running.ask.usage_of(written);
        let usage = match &running.read {
            Some(read) => Usage { output_tokens: whole.output_tokens, ..read.clone() },
            None => whole,
        };
        target.facts.prices.as_ref()?.cost(&usage, Some(self.moment(started)))
    }

    /// Asks the machine what to do, and does it.
    pub(crate) fn next(&mut self, exchange: u64, event: Event, now: Instant) {
        let Some(mut of) = self.exchanges.remove(&exchange) else { return };
        let timer_came = event == Event::Elapsed;
        let is_complete = matches!(event, Event::Completed { .. });
        let action = of.machine.next(event, now);
        if is_complete && matches!(action, Action::Done) {
            let usage = of.incoming.ask.usage();
            let read = of.read.take().unwrap_or_default();
            let Usage { cached_input_tokens, cache_write_tokens, .. } = read;
            of.machine.account(&Usage { cached_input_tokens, cache_write_tokens, ..usage }, now);
        }
        if timer_came {
            of.timer = None;
        }
        let replica = of.replica;
        if self.act(exchange, &mut of, action, now) {
            self.exchanges.insert(exchange, of);
        } else {
            self.leave_doors(&mut of, now);
        }
        self.watch(replica, now);
    }

    /// Carries an action out; whether the exchange goes on.
    fn act(&mut self, exchange: u64, of: &mut Exchange, action: Action, now: Instant) -> bool {
        match action {
            Action::Try(start) => self.start(exchange, of, &start, CallKind::Try, now),
            Action::Hedge(start) => self.start(exchange, of, &start, CallKind::Hedge, now),
            Action::Rescue(start) => self.start(exchange, of, &start, CallKind::Rescue, now),
            Action::Wait { until } => self.set_timer(exchange, of, until),
            Action::Continue { hedge_at } => {
                if let Some(at) = hedge_at {
                    self.set_timer(exchange, of, at);
                }
            }
            Action::Commit { attempt, .. } => self.commit(exchange, of, attempt, now),
            Action::End(_) => return self.over(of, Outcome::Broken, now),
            Action::Done => {
                self.note_server(of, now);
                return self.over(of, Outcome::Answered, now);
            }
            Action::GiveUp(give_up) => {
                self.over_calls(of, now);
                let error = give_up.error;
                return match self.retry_of(of.incoming, error.status, error.retry_after) {
                    None => self.over(of, Outcome::Refused, now),
                    Some(pause) => {
                        self.schedule_retry(of.incoming, now + pause);
                        false
                    }
                };
            }
        }
        true
    }

    fn over(&mut self, of: &mut Exchange, outcome: Outcome, now: Instant) -> bool {
        self.over_calls(of, now);
        self.end(of.incoming, outcome, now);
        false
    }

    /// Whatever still runs is dropped.
    fn over_calls(&mut self, of: &mut Exchange, now: Instant) {
        for running in std::mem::take(&mut of.running) {
            self.cancel(&running, now);
        }
    }

    fn cancel(&mut self, running: &Running, now: Instant) {
        let fault = Fault::new(FaultClass::Cancelled, Origin::Mainstay, "");
        self.leave(running, &News::Fault(fault, 0), now);
    }

    fn set_timer(&mut self, exchange: u64, of: &mut Exchange, at: Instant) {
        if of.timer != Some(at) {
            of.timer = Some(at);
            self.schedule(at, Happening::Timer { exchange });
        }
    }

    fn commit(&mut self, exchange: u64, of: &mut Exchange, attempt: AttemptId, now: Instant) {
        of.is_committed = true;
        self.note_server(of, now);
        let losers = of.running.extract_if(.., |running| running.attempt != attempt);
        let losers: Vec<Running> = losers.collect();
        let mut probe = of.machine.take_overtaken();
        for running in losers {
            match probe.take_if(|probe| probe.attempt() == running.attempt) {
                Some(probe) => self.beyond.push(Beyond { exchange, probe, running }),
                None => self.cancel(&running, now),
            }
        }
    }

    /// Who serves, and since when.
    fn note_server(&mut self, of: &Exchange, now: Instant) {
        let Some(served) = of.machine.served_by().map(|served| served.attempt) else { return };
        let running = of.running.iter().map(|running| (running.attempt, running.call));
        let call = running.chain(of.latest).find(|(attempt, _)| *attempt == served);
        let call = call.and_then(|(_, call)| self.record.calls.get(call));
        let by = call.map(|call| (call.site, call.at));
        if let Some(request) = self.record.requests.get_mut(of.incoming.request) {
            request.content.get_or_insert(now);
            request.served = request.served.or(by);
        }
    }

    fn start(&mut self, exchange: u64, of: &mut Exchange, start: &Start, kind: CallKind, now: Instant) {
        let Some(site) = self.site_of(of.replica, &start.target) else { return };
        let credential = start.credential;
        let heard = self.hints.get(&(of.replica, site, credential));
        let is_early = heard.is_some_and(|until| now < *until);
        let call = self.record.calls.len();
        self.record.calls.push(Call {
            at: now,
            load: of.incoming.load,
            site,
            kind,
            is_early,
            fault: None,
            billed: None,
        });
        self.record.hash.add_at(now, &[of.incoming.request as u64, site as u64, kind as u64]);
        if let Some(request) = self.record.requests.get_mut(of.incoming.request) {
            request.first_site.get_or_insert(site);
        }
        let ask =
            Ask { output_tokens: of.incoming.ask.output_tokens.saturating_sub(of.shown).max(1), ..of.incoming.ask };
        let faults = self.scenario.faults.iter().filter(|fault| fault.is_in_force(site, credential, now));
        let Some(place) = self.sites.get_mut(site) else { return };
        let reply = place.call(credential, ask, faults, now);
        let speech = if let Reply::Speaks(speech) = reply { Some(speech) } else { None };
        let told = place.tells(credential);
        let read = speech.and_then(|_| self.read_prompt(of, site, now));
        let (attempt, replica) = (start.attempt, of.replica);
        of.running.push(Running { attempt, call, replica, ask, site, credential, speech, told, read });
        if let Some(at) = start.hedge_at {
            self.set_timer(exchange, of, at);
        }
        for (at, news) in heard_of(&reply, start, of.incoming.streamed, now).into_iter().flatten() {
            self.schedule(at, Happening::Told { exchange, attempt: start.attempt, news });
        }
    }
}

/// What is heard of a call, and when: its first content if there is any, and its end if there is one.
fn heard_of(reply: &Reply, start: &Start, streamed: bool, now: Instant) -> [Option<(Instant, News)>; 2] {
    let gate = gate(start, streamed, now);
    let timed_out = || {
        let fault = Fault::timed_out(gate.phase, gate.at.saturating_since(now));
        [(gate.at < Instant::FAR_FUTURE).then_some((gate.at, News::Fault(fault, 0))), None]
    };
    let by =
        |at: Instant, fault: Fault| if at <= gate.at { [Some((at, News::Fault(fault, 0))), None] } else { timed_out() };
    match reply {
        Reply::Refuses { after, error } => by(now + *after, fault::of_answer(&start.target.provider, error)),
        Reply::Breaks { after, was_sent } => by(now + *after, fault::unreachable(*was_sent)),
        Reply::Empty { after } => by(now + *after, catalog::classify::empty_answer(&start.target.provider)),
        Reply::Unroutable => {
            let limit = start.limits.connect;
            by(now + limit, Fault::timed_out(Phase::Connect, limit))
        }
        Reply::Silent => timed_out(),
        Reply::Speaks(speech) if streamed => {
            let first = now + speech.first;
            if first > gate.at {
                return timed_out();
            }
            [Some((first, News::Content)), Some(end_of(speech, start, now))]
        }
        Reply::Speaks(speech) => match speech.breaks {
            Some(breaks) if breaks.silent => timed_out(),
            Some(breaks) => by(now + speech.at_token(breaks.after), fault::cut()),
            None => {
                let at = now + speech.at_token(speech.tokens);
                if at <= gate.at { [Some((at, News::Complete)), None] } else { timed_out() }
            }
        },
    }
}

/// How a stream ends that has begun.
fn end_of(speech: &Speech, start: &Start, now: Instant) -> (Instant, News) {
    let idle = start.limits.idle;
    let fault = |after: Duration, fault, tokens| (now + after, News::Fault(fault, tokens));
    if speech.gap > idle && speech.tokens > 1 {
        return fault(speech.first + idle, Fault::timed_out(Phase::Idle, idle), 1);
    }
    let end = match speech.breaks {
        None => (now + speech.at_token(speech.tokens), News::Complete),
        Some(breaks) if breaks.silent => {
            fault(speech.at_token(breaks.after) + idle, Fault::timed_out(Phase::Idle, idle), breaks.after)
        }
        Some(breaks) => fault(speech.at_token(breaks.after), fault::cut(), breaks.after),
    };
    match too_slow(speech, start) {
        Some((after, tokens)) if now + after < end.0 => {
            fault(after, Fault::new(FaultClass::TooSlow, Origin::Mainstay, "less than half of its usual speed"), tokens)
        }
        _ => end,
    }
}

/// When a stream is found to be too slow, after how many tokens.
fn too_slow(speech: &Speech, start: &Start) -> Option<(Duration, u32)> {
    let usual = start.target.health.usual_pace()?;
    if speech.gap <= usual * 2 || speech.gap.is_zero() {
        return None;
    }
    let tokens_a_step = SLOW_STEP.as_nanos().div_ceil(speech.gap.as_nanos());
    let tokens = u32::try_from(tokens_a_step).unwrap_or(u32::MAX).saturating_mul(SLOW_STEPS);
    Some((speech.first + speech.gap.saturating_mul(tokens), tokens.saturating_add(1)))
}

struct Gate {
    at: Instant,
    phase: Phase,
}

/// The limit that fires first on the way to the content, or to the whole answer.
fn gate(start: &Start, streamed: bool, now: Instant) -> Gate {
    let limits = &start.limits;
    let (phase, limit) =
        if streamed { (Phase::FirstToken, limits.first_token) } else { (Phase::Response, limits.response) };
    let whole = Gate { at: limits.attempt_until, phase: Phase::Attempt };
    limit.map(|limit| Gate { at: now + limit, phase }).filter(|own| own.at < whole.at).unwrap_or(whole)
}
