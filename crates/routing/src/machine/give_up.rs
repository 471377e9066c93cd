//! What the caller is told when there is no answer, or no more of it.
//!
//! The caller sees the primary's fault (the first candidate's), with every attempt listed; a fallback's own complaint
//! never masks it. No invented status codes: 503 no candidate, 502 bad upstream, 504 deadline, 429 only when every
//! candidate is limited. Faults of the caller's class keep the provider's 4xx.

use super::record::Record;
use super::{Action, AttemptId, GiveUp, HonestEnd, Machine};
use crate::ExclusionReason;
use crate::filter::usable_credential;
use canon::{CallerError, Fault, FaultClass, Instant, Origin, Phase};
use health::{BreakerStanding, ParkReason};
use std::fmt::Write as _;
use std::time::Duration;

/// Named when everything rests and nobody knows for how long.
const SOON: Duration = Duration::from_secs(1);
/// Named when every target is too dear: a price changes by the hour, and a spend window of an hour frees something a
/// minute.
const PRICED_OUT: Duration = Duration::from_secs(60);

impl Machine {
    /// Every candidate is spent, or there never was one.
    pub(super) fn give_up_exhausted(&mut self, now: Instant) -> Action {
        let error = if self.is_all_limited() {
            let mut error = CallerError::new(429, "rate_limited", self.story("every target is rate limited", now));
            error.fault = Some(FaultClass::RateLimited);
            error.retryable = true;
            error.retry_after = Some(self.nearest(now));
            error
        } else {
            match self.primary_fault() {
                Some((attempt, target, fault)) => {
                    self.told = Some(attempt);
                    self.shown(&target, &fault, now)
                }
                None => self.no_candidate(now),
            }
        };
        self.over(error, now)
    }

    /// A fault the caller must see at once.
    pub(super) fn give_up_stopped(&mut self, attempt: AttemptId, now: Instant) -> Action {
        let stopped = self.record(attempt).and_then(|record| Some((record.target.id.clone(), record.fault.clone()?)));
        match stopped {
            Some((target, fault)) => {
                self.told = Some(attempt);
                let error = self.shown(&target, &fault, now);
                self.over(error, now)
            }
            None => self.give_up_exhausted(now),
        }
    }

    /// The deadline passed before an answer.
    pub(super) fn give_up_deadline(&mut self, now: Instant) -> Action {
        let error = self.deadline_error(now);
        self.over(error, now)
    }

    /// A committed stream broke.
    pub(super) fn end(&mut self, fault: Fault) -> Action {
        let served = self.served.and_then(|attempt| self.record(attempt));
        let now = served.map_or(Instant::ORIGIN, |record| record.last);
        let target = served.map(|record| record.target.id.clone()).unwrap_or_default();
        let mut error = if fault.phase == Some(Phase::Deadline) {
            self.deadline_error(now)
        } else {
            self.shown(&target, &fault, now)
        };
        error.message = format!("the answer is incomplete: {target}: {}", describe(&fault));
        error.attempts = self.attempts();
        self.over = true;
        Action::End(HonestEnd { fault, error, cursor: self.cursor })
    }

    fn over(&mut self, mut error: CallerError, now: Instant) -> Action {
        self.cancel_running(None, now);
        self.pending = None;
        self.over = true;
        error.attempts = self.attempts();
        Action::GiveUp(GiveUp { error })
    }

    /// The first candidate's last word.
    fn primary_fault(&self) -> Option<(AttemptId, String, Fault)> {
        let first = self.records.first()?;
        let mut latest = self.records.iter().enumerate().rev().filter(|(_, record)| record.track == first.track);
        latest.find_map(|(number, record)| {
            let attempt = AttemptId(u32::try_from(number).unwrap_or(u32::MAX));
            Some((attempt, record.target.id.clone(), record.fault.clone()?))
        })
    }

    fn shown(&self, target: &str, fault: &Fault, now: Instant) -> CallerError {
        let status = status_of(fault);
        let own = is_callers(fault.class);
        let is_priced_out = self.plan.excluded.iter().any(|exclusion| exclusion.reason.is_guard());
        let message = if own || (self.records.len() == 1 && !is_priced_out) {
            format!("{target}: {}", describe(fault))
        } else {
            self.story(&format!("{target}: {}", describe(fault)), now)
        };
        let code = match fault.class {
            FaultClass::ModelMissing => "model_not_found",
            FaultClass::TimedOut => "upstream_timeout",
            _ if own => fault.code.as_deref().unwrap_or(fault.class.as_str()),
            _ => "upstream_error",
        };
        let retryable = is_retryable(fault.class);
        CallerError {
            parameter: fault.parameter.clone(),
            fault: Some(fault.class),
            retryable,
            retry_after: fault.retry_after.filter(|_| retryable),
            ..CallerError::new(status, code, message)
        }
    }

    fn no_candidate(&self, now: Instant) -> CallerError {
        if self.plan.primary.is_none() && !self.plan.excluded.is_empty() {
            return CallerError::new(400, "no_capable_target", self.story("no target can serve this request", now));
        }
        let mut able =
            self.plan.excluded.iter().map(|it| &it.reason).filter(|reason| !reason.is_incapable()).peekable();
        if able.peek().is_some() && able.all(ExclusionReason::is_guard) {
            let story = self.story("no target may serve this request at its price", now);
            let error = CallerError::new(503, "no_target_within_price", story);
            return CallerError { retry_after: Some(PRICED_OUT), ..error };
        }
        CallerError {
            retryable: true,
            retry_after: Some(self.nearest(now)),
            ..CallerError::new(503, "no_target_available", self.story("no target is available", now))
        }
    }

    fn deadline_error(&self, now: Instant) -> CallerError {
        let limit = self.due().saturating_since(self.facts.started);
        let head = match self.first_byte.filter(|_| self.served.is_none()) {
            None => format!("the deadline of {} ms passed", limit.as_millis()),
            Some(first_byte) => {
                format!("no answer in the {} ms that `{}` leaves", limit.as_millis(), first_byte.announced_in)
            }
        };
        CallerError {
            fault: Some(self.primary_fault().map_or(FaultClass::TimedOut, |(_, _, fault)| fault.class)),
            retryable: true,
            ..CallerError::new(504, "deadline_exceeded", self.story(&head, now))
        }
    }

    /// The head, then what each attempt and each exclusion came to.
    fn story(&self, head: &str, now: Instant) -> String {
        let mut text = head.to_owned();
        for (index, record) in self.records.iter().enumerate() {
            let outcome = record.fault.as_ref().map_or_else(|| "unfinished".to_owned(), word_of);
            let _ = write!(text, "{}{} {outcome}", if index == 0 { " (tried: " } else { ", " }, record.target.id);
        }
        if !self.records.is_empty() {
            text.push(')');
        }
        for (index, exclusion) in self.plan.excluded.iter().enumerate() {
            let lead = if index == 0 { "; not tried: " } else { ", " };
            let _ = write!(text, "{lead}{} ({})", self.plan.id(exclusion.target), exclusion.describe(now));
        }
        text
    }

    /// Every candidate answered with a limit or is parked for one.
    fn is_all_limited(&self) -> bool {
        let limited = |record: &&Record| {
            record
                .fault
                .as_ref()
                .is_some_and(|fault| matches!(fault.class, FaultClass::RateLimited | FaultClass::QuotaExhausted))
        };
        let parked = |reason: &ExclusionReason| {
            matches!(
                reason,
                ExclusionReason::Parked { reason: ParkReason::RateLimited | ParkReason::QuotaExhausted, .. }
                    | ExclusionReason::Reserved
            )
        };
        let able = self
            .plan
            .excluded
            .iter()
            .map(|it| &it.reason)
            .filter(|reason| !reason.is_incapable() && !reason.is_guard());
        let mut able = able.peekable();
        let any = !self.records.is_empty() || able.peek().is_some();
        any && self.records.iter().all(|record| limited(&record)) && able.all(parked)
    }

    /// How long until the first target may be tried again.
    fn nearest(&self, now: Instant) -> Duration {
        self.plan
            .healthy_order
            .iter()
            .filter(|index| !self.plan.is_barred(**index))
            .filter_map(|&index| self.model.targets.get(index))
            .filter_map(|target| {
                let rested = match target.health.standing_for(self.facts.needs.estimated_tokens, now).breaker {
                    BreakerStanding::Open { until } | BreakerStanding::Off { until } => until,
                    BreakerStanding::Closed | BreakerStanding::Ramping { .. } | BreakerStanding::HalfOpen { .. } => now,
                };
                let usable = match usable_credential(target, now) {
                    Ok(_) => now,
                    Err(parked) => parked?.until,
                };
                Some(rested.max(usable).saturating_since(now))
            })
            .min()
            .filter(|wait| !wait.is_zero())
            .unwrap_or(SOON)
    }
}

/// The provider's own words, or the class where it had none.
fn describe(fault: &Fault) -> String {
    if fault.message.is_empty() { word_of(fault) } else { fault.message.clone() }
}

fn word_of(fault: &Fault) -> String {
    match (fault.status, fault.phase) {
        (Some(status), _) => format!("{} ({status})", fault.class),
        (None, Some(phase)) => format!("{} ({})", fault.class, phase.as_str()),
        (None, None) => fault.class.to_string(),
    }
}

/// Classes that concern the request: the caller can act on them, and reads the provider's own code and text.
fn is_callers(class: FaultClass) -> bool {
    match class {
        FaultClass::ContextExceeded
        | FaultClass::ContentBlocked
        | FaultClass::UnsupportedParameter
        | FaultClass::InvalidRequest => true,
        FaultClass::RateLimited
        | FaultClass::QuotaExhausted
        | FaultClass::Overloaded
        | FaultClass::ServerError
        | FaultClass::Unreachable
        | FaultClass::TimedOut
        | FaultClass::TooSlow
        | FaultClass::StreamBroken
        | FaultClass::BadAnswer
        | FaultClass::ModelMissing
        | FaultClass::AuthRejected
        | FaultClass::Cancelled => false,
    }
}

fn status_of(fault: &Fault) -> u16 {
    match fault.class {
        FaultClass::ModelMissing => 404,
        FaultClass::TimedOut => 504,
        FaultClass::ContextExceeded
        | FaultClass::ContentBlocked
        | FaultClass::UnsupportedParameter
        | FaultClass::InvalidRequest => match fault.status {
            // A fault inside a 200, or one Mainstay found itself.
            Some(status @ 400..=499) if fault.origin != Origin::Mainstay => status,
            _ => 400,
        },
        FaultClass::RateLimited
        | FaultClass::QuotaExhausted
        | FaultClass::Overloaded
        | FaultClass::ServerError
        | FaultClass::Unreachable
        | FaultClass::TooSlow
        | FaultClass::StreamBroken
        | FaultClass::BadAnswer
        | FaultClass::AuthRejected
        | FaultClass::Cancelled => 502,
    }
}

fn is_retryable(class: FaultClass) -> bool {
    match class {
        FaultClass::RateLimited
        | FaultClass::Overloaded
        | FaultClass::ServerError
        | FaultClass::Unreachable
        | FaultClass::TimedOut
        | FaultClass::TooSlow
        | FaultClass::StreamBroken
        | FaultClass::BadAnswer
        | FaultClass::Cancelled => true,
        FaultClass::QuotaExhausted
        | FaultClass::ContextExceeded
        | FaultClass::ContentBlocked
        | FaultClass::ModelMissing
        | FaultClass::AuthRejected
        | FaultClass::UnsupportedParameter
        | FaultClass::InvalidRequest => false,
    }
}
