//! A caller that hangs up unless something has come by a moment that it has announced.
//!
//! Until the commit that moment is the deadline; a stream that has begun has the deadline of the exchange.
//!
//! A target that has been silent for three fifths of the time is not given up for it, as it is where the operator has
//! set the time: nobody knows whether answers usually take that long for this caller, who may be used to the last
//! moment. The next candidate is asked beside it, and whoever is quicker serves. That is charged to the retry budget,
//! unless the answer is later than twice the usual: then it is the failover that is free elsewhere too.

use super::beside::Beside;
use super::limits::SHARE_OF_REST;
use super::start::{Charge, Order};
use super::{Action, Machine, Start};
use canon::Instant;
use std::f64::consts::LN_2;

/// When a caller that has had nothing yet stops waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstByte {
    /// The first byte, or the whole of an answer that is not streamed, has to be on its way by then.
    pub by: Instant,
    /// Where the caller says so: the name of the header.
    pub announced_in: &'static str,
}

impl Machine {
    /// For a caller that waits for the first byte until then, and for the rest of a stream until the deadline.
    #[must_use]
    pub fn heard_by(mut self, first_byte: Option<FirstByte>) -> Self {
        self.first_byte = first_byte.filter(|first_byte| first_byte.by < self.facts.deadline);
        self
    }

    /// Until when the first byte is waited for, where that is sooner than the deadline.
    pub fn first_byte(&self) -> Option<FirstByte> {
        self.first_byte
    }

    /// When the caller must have an answer or an error: before the commit what it has announced counts as well. Send
    /// [`super::Event::DeadlinePassed`] then.
    pub fn due(&self) -> Instant {
        match self.first_byte {
            Some(first_byte) if self.served.is_none() => first_byte.by,
            _ => self.facts.deadline,
        }
    }

    /// When another candidate is to be asked beside the attempt that starts now, with `own` reasons or because the
    /// caller hangs up soon.
    pub(super) fn hurried(&mut self, own: Option<Instant>, order: &Order, now: Instant) -> Option<Instant> {
        let Some(first_byte) = self.first_byte else { return own };
        if order.is_hedge || self.served.is_some() {
            return own;
        }
        let at = own.into_iter().chain([three_fifths(now, first_byte.by)]).min();
        if let Some(running) = self.running.last_mut() {
            running.hedge_at = at;
        }
        at
    }

    /// One of two attempts has failed: another takes its place, if it is time for one.
    pub(super) fn hurry_on(&mut self, now: Instant) -> Action {
        match self.try_in_hurry(now) {
            Ok(start) => Action::Hedge(start),
            Err(at) => {
                if let (Some(running), Some(_)) = (self.running.first_mut(), at) {
                    running.hedge_at = at;
                }
                self.steady()
            }
        }
    }

    /// Asks the next candidate beside the attempt that is running, if it is time; else says when it will be.
    pub(super) fn try_in_hurry(&mut self, now: Instant) -> Result<Start, Option<Instant>> {
        let first_byte = self.first_byte.ok_or(None)?;
        let first = self.running.first().and_then(|running| self.record(running.attempt)).ok_or(None)?;
        let at = three_fifths(first.started, first_byte.by);
        if now < at {
            return Err(Some(at));
        }
        if self.served.is_some() || now >= first_byte.by {
            return Err(None);
        }
        let waited = now.saturating_since(first.started);
        let is_late = first.target.ledger.speed.beside_usual(self.facts.needs.class(), waited) > LN_2;
        let track = self.find_next(None, now).ok_or(None)?;
        if !is_late && !self.model.budget.try_charge(self.cost, now) {
            return Err(None);
        }
        let charge = if is_late { Charge::UnlessHealthy } else { Charge::Paid };
        let order = Order { is_hedge: true, charge, ..Order::next(track) };
        let Ok(start) = self.start(order, now) else {
            self.refund_hedge(!is_late, now);
            return Err(None);
        };
        if let Some(record) = self.record_mut(start.attempt) {
            record.beside = Some(Beside::ReadTimeout);
        }
        Ok(start)
    }
}

/// What an attempt has to itself of the time until the caller hangs up.
fn three_fifths(from: Instant, until: Instant) -> Instant {
    from + until.saturating_since(from).mul_f64(SHARE_OF_REST)
}
