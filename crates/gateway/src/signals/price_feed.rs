//! The prices that a feed told, and the configuration with them.
//!
//! A configuration is replaced as a whole, prices included, so every exchange is planned and paid by the prices it
//! began with, and nothing is looked up on its way.

use crate::readers::lock;
use crate::{Current, Gateway, clock};
use ::signals::{PriceSheet, Told, may_follow, read_prices};
use catalog::{Moment, Prices};
use config::{PriceFeed, Snapshot};
use routing::Target;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a feed told, over the configuration as it is written.
pub(crate) struct Fed {
    /// The configuration without it.
    base: Arc<Snapshot>,
    sheet: PriceSheet,
    /// What was written of those targets when their prices were taken.
    written: BTreeMap<String, Option<Arc<Prices>>>,
    report: PriceFeedReport,
}

/// What a price feed told the last time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceFeedReport {
    /// Prices in force that it told.
    pub in_force: usize,
    /// Prices of targets that no model lists, and none is mirrored by.
    pub unknown: usize,
    /// Entries that are no prices.
    pub malformed: usize,
    /// Steps that were refused, in words.
    pub refused: Vec<String>,
}

impl Fed {
    pub(crate) fn over(base: Arc<Snapshot>) -> Self {
        Self { base, sheet: PriceSheet::new(), written: BTreeMap::new(), report: PriceFeedReport::default() }
    }

    /// Another configuration: what was told stays, but for targets of which something else is written now.
    pub(crate) fn rebase(&mut self, base: Arc<Snapshot>) -> Arc<Snapshot> {
        let is_fed = base.price_feed.is_some();
        let is_written = |id: &String, was: &Option<Arc<Prices>>| {
            listed(&base, id).is_some_and(|target| target.facts.prices == *was)
        };
        let stays = |id: &String| is_fed && self.written.get(id).is_some_and(|was| is_written(id, was));
        self.sheet.retain(|id, _| stays(id));
        self.written.retain(|id, _| self.sheet.contains_key(id));
        self.report.in_force = self.sheet.len();
        self.base = base;
        self.configuration()
    }

    /// The configuration with what was told.
    fn configuration(&self) -> Arc<Snapshot> {
        if self.sheet.is_empty() { self.base.clone() } else { Arc::new(self.base.priced(self.sheet.clone())) }
    }

    /// Takes what is told as far as it may be taken; whether anything has changed.
    fn take(&mut self, told: Told, feed: &PriceFeed, moment: Moment) -> bool {
        let mut report = PriceFeedReport { malformed: told.malformed, ..PriceFeedReport::default() };
        let mut has_changed = false;
        for (target, prices) in told.prices {
            let Some(known) = listed(&self.base, &target) else {
                report.unknown += 1;
                continue;
            };
            let written = known.facts.prices.clone();
            let in_force = self.sheet.get(&target).cloned().or_else(|| written.clone());
            if in_force.as_deref() == Some(&prices) {
                continue;
            }
            if let Err(step) = may_follow(in_force.as_deref(), &prices, feed.max_change, Some(moment)) {
                report.refused.push(format!("{target}: {step} is more than {}", feed.max_change));
                continue;
            }
            self.sheet.insert(target.clone(), Arc::new(prices));
            self.written.entry(target).or_insert(written);
            has_changed = true;
        }
        report.in_force = self.sheet.len();
        self.report = report;
        has_changed
    }
}

/// The target of an id, where a model lists it, or is mirrored by it.
fn listed<'b>(base: &'b Snapshot, id: &str) -> Option<&'b Arc<Target>> {
    let mirrors = || base.models().filter_map(|model| Some(&model.settings.mirror.as_ref()?.callers));
    base.models().flat_map(|model| model.targets.iter()).chain(mirrors()).find(|target| target.id == id)
}

impl Gateway {
    /// What the price feed told the last time.
    pub fn price_feed(&self) -> PriceFeedReport {
        lock(&self.fed).report.clone()
    }

    /// Takes the prices of a feed, and puts the configuration with them in force.
    pub(super) fn take_prices(&self, feed: &PriceFeed, document: &[u8]) -> Result<(), String> {
        let told = read_prices(document)?;
        let moment = Moment::from_unix(clock::since_1970().as_secs());
        let mut fed = lock(&self.fed);
        if fed.base.price_feed.as_ref() != Some(feed) {
            return Ok(());
        }
        let before = fed.report.refused.clone();
        if fed.take(told, feed, moment) {
            let snapshot = fed.configuration();
            let current = self.current.load_full();
            self.current.store(Arc::new(Current { snapshot, ..Current::clone(&current) }));
            self.signals.configuration_changed();
        }
        let report = &fed.report;
        for refused in report.refused.iter().filter(|refused| !before.contains(refused)) {
            tracing::warn!(refused, "a step of a price is refused, and the price in force stays");
        }
        tracing::debug!(
            in_force = report.in_force,
            unknown = report.unknown,
            malformed = report.malformed,
            "prices are read"
        );
        Ok(())
    }
}
