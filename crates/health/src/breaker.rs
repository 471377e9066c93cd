//! The breaker of one target.
//!
//! ```text
//!            trip                    rest is over               2 first tokens
//!  Closed ─────────▶ Open ───────────────────────▶ HalfOpen ───────────────────▶ Ramping
//!    ▲                ▲ ▲        failed probe          │                           │ │
//!    │                │ └──────────────────────────────┘                           │ │
//!    │                └──────────────────── a hard fault ──────────────────────────┘ │
//!    └───────────────────── 60 s of healthy growth of the share ─────────────────────┘
//! ```
//!
//! Four signals trip it, because each misses what another sees: a run of hard faults (quick, blind to a target that
//! fails every other call), a ratio the evidence is sure of (sees that, needs eight samples: of the window, or the
//! latest ones, which a busy target's good past does not water down), failures among the calls started lately that are
//! a thousand times likelier of a bad target than of this one as it usually is (sees that before the answers of calls
//! from before have all come), and first-token timeouts (each costs its caller so much that two are enough). A call
//! counts when it starts and is resolved by its first token: counting at completion would delay protection by a whole
//! answer.
//!
//! The rest doubles with every trip and every failed probe and loses one doubling per minute of healthy service; one
//! success does not reset it, or a flapping target would be let in at full speed each time. Jitter keeps
//! replicas from probing in step; until the longest rest is reached it never makes a rest shorter than twice the one
//! before. A trip also adds to a flap
//! penalty with a half-life; a failed probe does not, as it is the same outage still.
//!
//! Where somebody else reports an incident of a target, one fault fewer trips it, half the samples are enough,
//! and half-open asks for one success more. That is all a report does: it opens nothing and keeps nothing shut.
//!
//! While the share grows, one hard fault opens it again, but for a first token that did not come in time while calls that
//! began after it were answered: a target some of whose answers are late would else never get its share back.
//!
//! A verdict belongs to the epoch its call started in: calls from before a trip say nothing about the target after it.

use crate::BreakerSettings;
use crate::window::{Latest, Started, Window, wilson_lower_bound};
use canon::Instant;
use std::time::Duration;

const FLAP_PENALTY: f64 = 1_000.0;
/// Also the highest it gets: an hour of flapping is forgiven as quickly as a minute of it, ten minutes after its end.
const FLAP_DEGRADES: f64 = 3_000.0;
const FLAP_FORGIVEN: f64 = 750.0;
const FLAP_HALF_LIFE: Duration = Duration::from_secs(300);

/// What kind of call asks to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartKind {
    /// An ordinary call: a closed or ramping target.
    Live,
    /// May take the half-open slot; ordinary if the target has meanwhile recovered.
    Probe,
    /// Let through by the panic gate, whatever the breaker says.
    Panic,
}

/// Why a call may not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The breaker rests until then.
    Open {
        /// When it will take a probe.
        until: Instant,
    },
    /// Half-open, and the call does not want to be, or cannot be, the probe.
    HalfOpen,
    /// The model is missing; asked again at `until`.
    Off {
        /// When it will be tried again.
        until: Instant,
    },
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BreakerStanding {
    /// Takes everything.
    Closed,
    /// Recovered, takes this share (0–1) of what it would get.
    Ramping {
        /// Its share.
        share: f64,
    },
    /// Rest is over; two first tokens are needed.
    HalfOpen {
        /// No probe is in flight.
        ready: bool,
        /// A probe was answered: where nobody else serves, it is the best there is.
        promising: bool,
    },
    /// Rests.
    Open {
        /// When it will take a probe.
        until: Instant,
    },
    /// The model is missing until re-listed.
    Off {
        /// When it will be tried anyway.
        until: Instant,
    },
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { successes: u32, probe: Option<u64> },
    Ramping { grown: Duration, seen: Instant },
}

/// What a started call holds; given back with its verdict.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    sequence: u64,
    epoch: u64,
    pub(crate) kind: StartKind,
}

impl Ticket {
    /// Numbers the started calls of a target.
    pub(crate) fn sequence(self) -> u64 {
        self.sequence
    }
}

#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// Counts trips and failed probes; verdicts of earlier epochs are void.
    epoch: u64,
    started: u64,
    /// Hard faults in a row, a first token ends it.
    run: u32,
    /// Streams broken after their first token in a row, a complete answer ends it.
    broken_run: u32,
    window: Window,
    latest_ends: Latest,
    latest_starts: Started,
    /// The latest started call that was answered.
    answered: u64,
    /// The latest three started calls that have a verdict, and whether it was a first-token timeout.
    latest: [Option<(u64, bool)>; 3],
    doublings: u32,
    /// The latest rest as it was drawn.
    rested: Duration,
    decayed: Instant,
    penalty: f64,
    penalty_at: Instant,
    degraded: bool,
    /// Somebody reports an incident; believed until then.
    reported_until: Option<Instant>,
    rng: fastrand::Rng,
}

impl Breaker {
    pub(crate) fn new(settings: &BreakerSettings, seed: u64) -> Self {
        Self {
            window: Window::new(settings.window),
            settings: settings.clone(),
            state: State::Closed,
            epoch: 0,
            started: 0,
            run: 0,
            broken_run: 0,
            latest_ends: Latest::default(),
            latest_starts: Started::default(),
            answered: 0,
            latest: [None; 3],
            doublings: 0,
            rested: Duration::ZERO,
            decayed: Instant::ORIGIN,
            penalty: 0.0,
            penalty_at: Instant::ORIGIN,
            degraded: false,
            reported_until: None,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// A fresh one with the same settings.
    pub(crate) fn sibling(&mut self) -> Self {
        Self::new(&self.settings, self.rng.u64(..))
    }

    /// So many hard faults in a row had another explanation, and have it no more.
    pub(crate) fn suspect(&mut self, faults: u32) {
        self.run = self.run.saturating_add(faults);
    }

    pub(crate) fn configure(&mut self, settings: &BreakerSettings) {
        if self.settings.window != settings.window {
            self.window = Window::new(settings.window);
        }
        self.settings.clone_from(settings);
    }

    pub(crate) fn standing(&mut self, now: Instant) -> BreakerStanding {
        self.advance(now);
        match self.state {
            State::Closed => BreakerStanding::Closed,
            State::Open { until } => BreakerStanding::Open { until },
            State::HalfOpen { successes, probe } => {
                BreakerStanding::HalfOpen { ready: probe.is_none(), promising: successes > 0 }
            }
            State::Ramping { grown, .. } => {
                let length = self.settings.ramp.as_secs_f64().max(f64::MIN_POSITIVE);
                let share = (grown.as_secs_f64() / length).clamp(self.settings.ramp_start.clamp(0.0, 1.0), 1.0);
                BreakerStanding::Ramping { share }
            }
        }
    }

    /// Closed and not degraded, which time alone never changes.
    pub(crate) fn is_well(&self) -> bool {
        matches!(self.state, State::Closed) && !self.degraded
    }

    pub(crate) fn is_degraded(&mut self, now: Instant) -> bool {
        self.decay_penalty(now);
        self.degraded
    }

    /// Somebody reports an incident, believed until then; `None` = nobody does.
    pub(crate) fn reported(&mut self, until: Option<Instant>) {
        self.reported_until = until;
    }

    fn is_reported(&self, now: Instant) -> bool {
        self.reported_until.is_some_and(|until| now < until)
    }

    /// Takes what the call needs, the half-open slot included.
    pub(crate) fn start(&mut self, kind: StartKind, now: Instant) -> Result<Ticket, Refused> {
        self.advance(now);
        let sequence = self.started + 1;
        let kind = match (&mut self.state, kind) {
            (State::Closed | State::Ramping { .. }, _) => StartKind::Live,
            (State::HalfOpen { probe: probe @ None, .. }, StartKind::Probe | StartKind::Panic) => {
                *probe = Some(sequence);
                StartKind::Probe
            }
            (State::HalfOpen { .. } | State::Open { .. }, StartKind::Panic) => StartKind::Panic,
            (State::HalfOpen { .. }, StartKind::Live | StartKind::Probe) => return Err(Refused::HalfOpen),
            (State::Open { until }, StartKind::Live | StartKind::Probe) => return Err(Refused::Open { until: *until }),
        };
        self.started = sequence;
        self.latest_starts.push(sequence, now);
        Ok(Ticket { sequence, epoch: self.epoch, kind })
    }

    /// The first token came: this is what the breaker calls success.
    pub(crate) fn first_token(&mut self, ticket: Ticket, now: Instant) {
        self.advance(now);
        self.free_slot(ticket);
        if ticket.epoch != self.epoch {
            return;
        }
        self.window.success(now);
        self.latest_ends.push(false, now);
        self.run = 0;
        self.note_latest(ticket.sequence, false);
        self.answered = self.answered.max(ticket.sequence);
        if self.doublings > 0 && now.saturating_since(self.decayed) >= self.settings.decay && self.is_serving() {
            self.doublings -= 1;
            self.decayed = now;
        }
        match (self.state, ticket.kind) {
            (State::HalfOpen { successes, probe }, StartKind::Probe | StartKind::Panic) => {
                self.probe_succeeded(successes + 1, probe, now);
            }
            (State::Open { .. }, StartKind::Panic) => self.probe_succeeded(1, None, now),
            (State::Closed | State::Ramping { .. } | State::Open { .. } | State::HalfOpen { .. }, _) => {}
        }
    }

    /// The whole answer came.
    pub(crate) fn completed(&mut self, ticket: Ticket) {
        if ticket.epoch == self.epoch {
            self.broken_run = 0;
        }
    }

    /// A hard fault. `first_token` is when the call's first token had come, if it had.
    pub(crate) fn failed(&mut self, ticket: Ticket, first_token: Option<Instant>, silent: bool, now: Instant) {
        self.advance(now);
        self.free_slot(ticket);
        if ticket.epoch != self.epoch {
            return;
        }
        self.window.failure(now);
        self.latest_ends.push(true, now);
        self.latest_starts.failed(ticket.sequence);
        if let Some(at) = first_token {
            self.window.retract_success(at);
            self.broken_run += 1;
        } else {
            self.run += 1;
            self.note_latest(ticket.sequence, silent);
        }
        match self.state {
            State::Closed | State::Ramping { .. } if self.must_trip(now) => self.open(true, now),
            State::Ramping { .. } if !(silent && ticket.sequence < self.answered) => self.open(true, now),
            // What one answer made look better is worse again, whoever finds out.
            State::HalfOpen { successes, .. } if ticket.kind == StartKind::Probe || successes > 0 => {
                self.open(false, now);
            }
            State::Closed | State::Ramping { .. } | State::HalfOpen { .. } | State::Open { .. } => {}
        }
    }

    /// The call ended without a verdict on the target.
    pub(crate) fn released(&mut self, ticket: Ticket) {
        self.free_slot(ticket);
        if ticket.epoch == self.epoch {
            self.latest_starts.void(ticket.sequence);
        }
    }

    fn must_trip(&self, now: Instant) -> bool {
        let &BreakerSettings { consecutive, min_samples, failure_ratio, .. } = &self.settings;
        let (failures, samples) = self.window.counts(now);
        let silent = self.latest.iter().flatten().filter(|(_, silent)| *silent).count();
        let oldest = now - self.settings.window;
        let is_reported = self.is_reported(now);
        let fewer = |usual: u32| if is_reported { usual.saturating_sub(1).max(1) } else { usual };
        let enough = min_samples.div_ceil(if is_reported { 2 } else { 1 });
        self.run >= fewer(consecutive)
            || self.broken_run >= fewer(consecutive)
            || silent >= fewer(self.settings.first_token_timeouts) as usize
            || (samples >= enough && wilson_lower_bound(failures, samples) > failure_ratio)
            || self.latest_ends.fail_too_often(enough, failure_ratio, oldest)
            || self.latest_starts.fail_too_often(consecutive, min_samples, failure_ratio, oldest)
    }

    /// Opens; `trip` says whether that is a new outage rather than a failed probe of the same one.
    fn open(&mut self, trip: bool, now: Instant) {
        let rest = self.rest();
        // Doublings past the cap would only have to be taken back.
        if self.settings.rest.saturating_mul(1 << self.doublings.min(30)) < self.settings.rest_cap {
            self.doublings += 1;
        }
        if trip {
            self.decay_penalty(now);
            self.penalty = (self.penalty + FLAP_PENALTY).min(FLAP_DEGRADES);
            // What decays away between two trips must not keep three quick ones below the threshold for ever.
            self.degraded |= self.penalty >= FLAP_DEGRADES;
        }
        self.state = State::Open { until: now + rest };
        self.epoch += 1;
        self.run = 0;
        self.broken_run = 0;
        self.latest = [None; 3];
        self.latest_ends = Latest::default();
        self.latest_starts.clear();
        self.window.clear();
    }

    /// The length of the next rest, with equal jitter.
    fn rest(&mut self) -> Duration {
        let rest = self.settings.rest.saturating_mul(1 << self.doublings.min(30));
        let drawn = rest.min(self.settings.rest_cap).mul_f64(0.5 + self.rng.f64() / 2.0);
        let doubles = self.doublings > 0 && rest < self.settings.rest_cap;
        self.rested = if doubles { drawn.max(self.rested * 2).min(rest) } else { drawn };
        self.rested
    }

    fn probe_succeeded(&mut self, successes: u32, probe: Option<u64>, now: Instant) {
        let needed = self.settings.probe_successes.saturating_add(u32::from(self.is_reported(now)));
        self.state = if successes >= needed {
            self.decayed = now;
            State::Ramping { grown: Duration::ZERO, seen: now }
        } else {
            State::HalfOpen { successes, probe }
        };
    }

    /// Moves on what time alone moves: the end of a rest, the growth of a ramp.
    fn advance(&mut self, now: Instant) {
        match self.state {
            State::Open { until } if now >= until => self.state = State::HalfOpen { successes: 0, probe: None },
            State::Ramping { grown, seen } => {
                let (failures, samples) = self.window.counts(now);
                let healthy = f64::from(samples - failures) >= self.settings.ramp_healthy * f64::from(samples);
                let grown = if healthy { grown + now.saturating_since(seen) } else { grown };
                self.state = if grown >= self.settings.ramp {
                    State::Closed
                } else {
                    State::Ramping { grown, seen: seen.max(now) }
                };
            }
            State::Closed | State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    /// It rests not, and is not half-open.
    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.state, State::Closed | State::Ramping { .. })
    }

    fn free_slot(&mut self, ticket: Ticket) {
        if let State::HalfOpen { probe, .. } = &mut self.state
            && *probe == Some(ticket.sequence)
        {
            *probe = None;
        }
    }

    fn note_latest(&mut self, sequence: u64, silent: bool) {
        if let Some(slot) = self.latest.iter_mut().min_by_key(|slot| slot.map_or(0, |(started, _)| started))
            && slot.is_none_or(|(started, _)| started < sequence)
        {
            *slot = Some((sequence, silent));
        }
    }

    fn decay_penalty(&mut self, now: Instant) {
        let halvings = now.saturating_since(self.penalty_at).as_secs_f64() / FLAP_HALF_LIFE.as_secs_f64();
        self.penalty *= 0.5_f64.powf(halvings);
        self.penalty_at = self.penalty_at.max(now);
        if self.penalty <= FLAP_FORGIVEN {
            self.degraded = false;
        }
    }
}
