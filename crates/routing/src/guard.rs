//! Price guards: what a target may cost, alone, beside the primary, and within a stretch of time.
//!
//! Guards judge by the most a request may cost (nothing from the cache, the caller's cap used up), so that what they
//! let through keeps to them. A target of unknown price passes none.

use crate::price::Estimate;
use crate::{ExclusionReason, Needs, SpendLimit, Target};
use canon::Instant;
use catalog::{Rate, Ratio, Usd};

/// The most a target may cost. What is not set is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MaxPrice {
    /// One request.
    pub request: Option<Usd>,
    /// Its input.
    pub input: Option<Rate>,
    /// Its output.
    pub output: Option<Rate>,
}

/// The guards of a target: its own, else its model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Guards {
    /// What it may cost, whether it is the primary or not.
    pub max_price: Option<MaxPrice>,
    /// What it may cost of what the primary does, unless it is the primary.
    pub max_price_ratio: Option<Ratio>,
    /// What it may cost in all within a stretch of time.
    pub spend: Option<SpendLimit>,
}

/// Why the target may not serve a request of this cost.
pub(crate) fn barred(target: &Target, needs: &Needs, estimate: &Estimate, now: Instant) -> Option<ExclusionReason> {
    let guards = &target.guards;
    if let Some(max) = &guards.max_price
        && let Some(reason) = above(target, max, needs, estimate)
    {
        return Some(reason);
    }
    spent(target, guards.spend?, estimate, now)
}

fn above(target: &Target, max: &MaxPrice, needs: &Needs, estimate: &Estimate) -> Option<ExclusionReason> {
    let (Some(prices), Some(most)) = (target.facts.prices.as_ref(), estimate.most) else {
        return Some(ExclusionReason::PriceUnknown { guard: "max_price" });
    };
    let rates = prices.at(needs.asked_at, estimate.input_tokens);
    if let Some(limit) = max.request.filter(|limit| most > *limit) {
        return Some(ExclusionReason::AbovePrice { price: most, limit });
    }
    let rate = |of: &'static str, rate: Rate, limit: Option<Rate>| {
        limit.filter(|limit| rate > *limit).map(|limit| ExclusionReason::AboveRate { of, rate, limit })
    };
    rate("input", rates.input, max.input).or_else(|| rate("output", rates.output, max.output))
}

fn spent(target: &Target, limit: SpendLimit, estimate: &Estimate, now: Instant) -> Option<ExclusionReason> {
    let Some(price) = estimate.most else { return Some(ExclusionReason::PriceUnknown { guard: "spend" }) };
    let spent = target.ledger.spending.spent(limit.window, now);
    (spent.plus(price) > limit.limit).then_some(ExclusionReason::Spent { spent, price, limit })
}

/// Why the target may not serve what the primary was to serve at its price.
pub(crate) fn too_dear_beside(target: &Target, estimate: &Estimate, primary: &Estimate) -> Option<ExclusionReason> {
    let ratio = target.guards.max_price_ratio?;
    let (Some(price), Some(base)) = (estimate.most, primary.most) else {
        return Some(ExclusionReason::PriceUnknown { guard: "max_price_ratio" });
    };
    (!ratio.allows(price, base)).then_some(ExclusionReason::AboveRatio { price, primary: base, ratio })
}
