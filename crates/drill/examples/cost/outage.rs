//! Two hours without the primary: what fallbacks cost with price guards and without, against the caps.

use crate::day::{Oracle, model, snapshot};
use crate::serve::{Bill, Failing, Paid, Run};
use crate::trace::Trace;
use catalog::Usd;
use std::error::Error;
use std::time::Duration;

/// The hours that are run, and those in which the primary answers 503.
const HOURS: (f64, f64) = (10.0, 14.0);
const OUT: (f64, f64) = (11.0, 13.0);
const PRIMARY: &str = "anthropic/claude-sonnet-5";
/// The stretch that spending is capped in.
const WINDOW: Duration = Duration::from_secs(3_600);

/// What the hours came to, under one model.
pub(crate) struct Outage {
    pub(crate) bill: Bill,
}

impl Outage {
    pub(crate) fn new(name: &str, seed: u64) -> Result<Self, Box<dyn Error>> {
        let snapshot = snapshot(seed)?;
        let oracle = Oracle::new(&snapshot)?;
        let failing = Failing { share: 0.0, outage: Some((PRIMARY, OUT)) };
        let mut run = Run::new(model(&snapshot, name)?, failing, oracle.tiers(), seed);
        for request in Trace::new(seed, HOURS, 1.0) {
            let (floor, least) = oracle.of(&request);
            run.take(&request, floor, least)?;
        }
        Ok(Self { bill: run.bill() })
    }

    fn of<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a Paid> {
        self.bill.paid.iter().filter(move |paid| paid.target.id == target)
    }

    /// Of all answers, the target's.
    pub(crate) fn share(&self, target: &str) -> f64 {
        self.of(target).count() as f64 / self.bill.paid.len().max(1) as f64
    }

    /// The most that was paid to a target within any hour, from payment to payment.
    pub(crate) fn dearest_hour(&self, target: &str) -> Usd {
        let mut paid: Vec<&Paid> = self.of(target).collect();
        paid.sort_by_key(|paid| paid.at);
        let (mut first, mut sum, mut dearest) = (0, Usd::ZERO, Usd::ZERO);
        for latest in &paid {
            sum = sum.plus(latest.cost);
            while let Some(oldest) = paid.get(first).filter(|oldest| oldest.at + WINDOW <= latest.at) {
                sum = sum.minus(oldest.cost);
                first += 1;
            }
            dearest = dearest.max(sum);
        }
        dearest
    }

    /// The dearest answer.
    pub(crate) fn dearest_request(&self) -> Usd {
        self.bill.paid.iter().map(|paid| paid.cost).max().unwrap_or_default()
    }

    /// The most an answer cost, of what the primary would have charged for it.
    pub(crate) fn dearest_ratio(&self) -> f64 {
        let ratio = |paid: &Paid| paid.cost.as_dollars() / paid.at_primary.as_dollars();
        self.bill.paid.iter().map(ratio).fold(0.0, f64::max)
    }
}
