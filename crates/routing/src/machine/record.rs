//! What the machine remembers of its attempts, and what it tells of them.

use super::beside::Beside;
use super::{AttemptId, CalledOff, Machine, Served};
use crate::speed::{Class, Watch};
use crate::spend::Reservation;
use crate::{Target, Trial, price, split};
use canon::{AttemptReport, Fault, FaultClass, Instant, Origin, Usage};
use catalog::Usd;
use health::{BoundPlace, LimitReservation, Permit};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whether Mainstay called the attempt off, which says nothing against its target. A provider may say that it was called
/// off when it was not.
pub(super) fn is_called_off(fault: &Fault) -> bool {
    fault.class == FaultClass::Cancelled && fault.origin == Origin::Mainstay
}

/// A candidate's way through the exchange.
#[derive(Debug)]
pub(super) struct Track {
    /// Index in the model's targets.
    pub(super) target: usize,
    pub(super) attempts: u32,
    /// Not to be started again by the search for the next candidate.
    pub(super) closed: bool,
    /// The one same-target retry, or the one wait, is spent.
    pub(super) retried: bool,
    pub(super) reached_work: bool,
    pub(super) tried_credentials: Vec<usize>,
    /// A rate limit with a hint: usable again then.
    pub(super) limited_until: Option<Instant>,
    /// Apart, as few tracks have one and thirty are made.
    pub(super) last_fault: Option<Box<Fault>>,
    /// It was asked to go on with a broken stream.
    pub(super) asked_to_rescue: bool,
    /// And would not take a begun answer.
    pub(super) asked_in_words: bool,
}

impl Track {
    pub(super) fn new(target: usize) -> Self {
        Self {
            target,
            attempts: 0,
            closed: false,
            retried: false,
            reached_work: false,
            tried_credentials: Vec::new(),
            limited_until: None,
            last_fault: None,
            asked_to_rescue: false,
            asked_in_words: false,
        }
    }
}

/// An attempt in flight. Dropping it releases its permit as cancelled.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) attempt: AttemptId,
    pub(super) track: usize,
    pub(super) credential: usize,
    pub(super) permit: Permit,
    /// What the call takes of its credential's limits.
    pub(super) taken: Option<LimitReservation>,
    /// Its place among those that the target may have in flight.
    pub(super) place: Option<BoundPlace>,
    pub(super) hedge_at: Option<Instant>,
    /// The hedge is paid for and has not been started.
    pub(super) hedge_paid: bool,
}

/// One attempt, settled or not.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) target: Arc<Target>,
    pub(super) track: usize,
    pub(super) started: Instant,
    pub(super) first_content: Option<Instant>,
    pub(super) last: Instant,
    pub(super) fault: Option<Fault>,
    pub(super) rescue: bool,
    /// It was started beside another.
    pub(super) beside: Option<Beside>,
    /// Its share of what its target may cost.
    pub(super) reservation: Reservation,
    /// Its answer is waited for.
    pub(super) watch: Watch,
}

impl Record {
    /// Its first token came.
    pub(super) fn heard(&mut self, class: Class, now: Instant) {
        self.watch.answered(now);
        let Some((near, region)) = self.target.near.as_ref().zip(self.target.region.as_deref()) else { return };
        if !self.rescue {
            let took = now.saturating_since(self.started);
            near.heard(region, self.target.ledger.speed.beside_usual(class, took), now);
        }
    }

    fn report(&self) -> AttemptReport {
        let fault = self.fault.as_ref();
        let ms = |until: Instant| u64::try_from(until.saturating_since(self.started).as_millis()).unwrap_or(u64::MAX);
        AttemptReport {
            target: self.target.id.clone(),
            region: self.target.region.clone(),
            fault: fault.map(|fault| fault.class),
            status: fault.and_then(|fault| fault.status),
            code: fault.and_then(|fault| fault.code.clone()),
            message: fault.map(|fault| fault.message.clone()).filter(|message| !message.is_empty()),
            ms: ms(self.last),
            first_token_ms: self.first_content.map(ms),
            rescue: self.rescue,
            beside: self.beside.map(Beside::as_str),
            may_be_billed: fault.is_some_and(|fault| fault.may_be_billed),
        }
    }
}

impl Machine {
    /// Every attempt so far, in order, those in flight included.
    pub fn attempts(&self) -> Vec<AttemptReport> {
        self.records.iter().map(Record::report).collect()
    }

    /// How many attempts were made so far.
    pub fn attempts_made(&self) -> usize {
        self.records.len()
    }

    /// The experiments the exchange takes part in: with the arm that it was drawn for, and the one that served instead.
    pub fn trials(&self) -> Vec<Trial<'_>> {
        let Some(drawn) = self.plan.primary.filter(|_| split::is_experimental(&self.model)) else { return Vec::new() };
        let served = self.served.and_then(|attempt| self.tracks.get(self.record(attempt)?.track));
        self.model.trials(drawn, served.map(|track| track.target))
    }

    /// What the patches of the targets that were asked change, by target; see [`dialect::splice::patch::Patch::names`].
    pub fn patches(&self) -> BTreeMap<&str, Vec<String>> {
        let targets = self.records.iter().map(|record| &record.target);
        targets.filter_map(|target| Some((&*target.id, target.patch.as_ref()?.names()))).collect()
    }

    /// Who serves, once that is decided: at the commit, or when a whole answer came.
    pub fn served_by(&self) -> Option<Served> {
        self.who(self.served?)
    }

    /// What the answer cost; `None` where nobody served, or where the price or the counts are unknown.
    pub fn cost(&self, usage: &Usage) -> Option<Usd> {
        let served = self.record(self.served?)?;
        price::cost(&served.target, usage, &self.facts.needs)
    }

    /// The whole answer went out, and this is what it came to: it is paid, and what it tells of the next ones learned.
    pub fn account(&self, usage: &Usage, now: Instant) {
        if let Some(served) = self.served.and_then(|attempt| self.record(attempt)) {
            served.reservation.settle(price::cost(&served.target, usage, &self.facts.needs), now);
            price::learn(&self.model, &served.target, usage, &self.facts.needs);
            let since = served.first_content.unwrap_or(served.started);
            let (tokens, took) = (usage.output_tokens.unwrap_or(0), served.last.saturating_since(since));
            served.target.ledger.speed.wrote(tokens, took);
            if self.facts.needs.streamed {
                served.target.ledger.judges.wrote(tokens, took, now);
            }
        }
    }

    /// Attempts that were called off because another was quicker; none where nothing was started beside another.
    pub fn called_off(&self) -> impl Iterator<Item = CalledOff> {
        let is_called_off = |record: &&Record| {
            let fault = record.fault.as_ref().filter(|fault| is_called_off(fault));
            self.served.is_some() && fault.is_some_and(|fault| fault.may_be_billed)
        };
        self.records.iter().filter(is_called_off).map(|record| {
            let estimate = price::estimate(&self.model, &record.target, &self.facts.needs);
            CalledOff {
                target: record.target.id.clone(),
                region: record.target.region.clone(),
                estimated_input_tokens: estimate.input_tokens,
                estimated_cost: estimate.price,
            }
        })
    }

    /// Whose fault the caller is told when nobody served: by default the first that was asked.
    pub fn told_of(&self) -> Option<Served> {
        self.who(self.told.unwrap_or(AttemptId(0)))
    }

    fn who(&self, attempt: AttemptId) -> Option<Served> {
        let record = self.record(attempt)?;
        let index = self.tracks.get(record.track)?.target;
        let fallback = self.plan.healthy_order.iter().position(|&target| target == index).unwrap_or(0);
        Some(Served { attempt, target: Arc::clone(&record.target), fallback })
    }

    /// Why another target than the primary serves, as a short code (a fault class or a standing); `None` when the
    /// primary serves or nobody does.
    pub fn fallback_reason(&self) -> Option<&'static str> {
        self.served_by().filter(|served| served.fallback > 0)?;
        let primary = self.plan.primary?;
        let faulted =
            self.tracks.iter().find(|track| track.target == primary).and_then(|track| track.last_fault.as_deref()).map(
                |fault| match fault {
                    // Whoever was started beside it was quicker.
                    fault if is_called_off(fault) => {
                        let beside = self.records.iter().find_map(|record| record.beside);
                        beside.map_or("half_open", Beside::as_str)
                    }
                    fault => fault.class.as_str(),
                },
            );
        faulted.or_else(|| self.plan.diversion()).or(Some("breaker_open"))
    }

    /// Why another target than the strategy's first serves: as [`Machine::fallback_reason`], or `session` where the
    /// conversation stands there, which is no fallback.
    pub fn reason(&self) -> Option<&'static str> {
        let stays = || {
            let served = self.record(self.served?)?;
            let seat = self.plan.session.as_ref().filter(|seat| seat.diverts)?;
            (self.tracks.get(served.track)?.target == seat.pinned?).then_some("session")
        };
        self.fallback_reason().or_else(stays)
    }

    pub(super) fn record(&self, attempt: AttemptId) -> Option<&Record> {
        self.records.get(attempt.0 as usize)
    }

    pub(super) fn record_mut(&mut self, attempt: AttemptId) -> Option<&mut Record> {
        self.records.get_mut(attempt.0 as usize)
    }
}
