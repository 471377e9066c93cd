//! What this request is expected to cost at a target, and the guards that follow from it.

use crate::spend::Reservation;
use crate::{Model, Needs, Target};
use canon::{Instant, Usage};
use catalog::Usd;
use std::fmt;

/// Output tokens of an answer nobody limits, until the model's own answers tell: a chat answer of a page.
const UNKNOWN_OUTPUT: u64 = 512;
/// Output tokens between the moment that a call is called off and the one that its provider hears of it: a fifth of a
/// second at eighty tokens a second.
const ON_THE_WAY: u64 = 16;

/// The expected cost of one request at one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Of those, read from the provider's cache.
    pub cached_tokens: u64,
    /// Output tokens, of all answers asked for.
    pub output_tokens: u64,
    /// What it is expected to cost; `None` where the target's price is unknown.
    pub price: Option<Usd>,
    /// The most it may cost: nothing comes from the cache, and the caller's cap on output is used up.
    pub most: Option<Usd>,
}

/// Estimates the cost of a request at a target.
///
/// The output is what the model's answers usually are, at most what the caller or the target caps it at; without either
/// it is taken for a page. The cached part is what this target has lately read from its cache.
pub fn estimate(model: &Model, target: &Target, needs: &Needs) -> Estimate {
    estimate_with_cached(model, target, needs, None)
}

/// With so many tokens read from the cache, where that has a price of its own; `None` = as many as usual.
pub(crate) fn estimate_with_cached(model: &Model, target: &Target, needs: &Needs, cached: Option<u64>) -> Estimate {
    let answers = u64::from(needs.answers.max(1));
    let stated = target.output_cap(needs);
    let cap = match (stated, target.facts.max_output_tokens) {
        (Some(asked), Some(possible)) => Some(asked.min(possible)),
        (asked, possible) => asked.or(possible),
    };
    let usual = model.ledger.usual_output().unwrap_or(UNKNOWN_OUTPUT);
    let expected = cap.map_or(usual, |cap| usual.min(cap));
    // A cap nobody stated is no plan to use it up.
    let longest = stated.and(cap).unwrap_or(expected);
    let input_tokens = target.prompt_tokens(needs);
    let output_tokens = expected.saturating_mul(answers);
    let Some(prices) = target.facts.prices.as_ref() else {
        return Estimate { input_tokens, cached_tokens: 0, output_tokens, price: None, most: None };
    };
    let rates = prices.at(needs.asked_at, input_tokens);
    let most = rates.input.of(input_tokens).plus(rates.output.of(longest.saturating_mul(answers)));
    let usual = || target.ledger.usually_cached(input_tokens);
    let (cached_tokens, cached) = rates.cached_input.map_or((0, Usd::ZERO), |rate| {
        let tokens = cached.unwrap_or_else(usual).min(input_tokens);
        (tokens, rate.of(tokens))
    });
    let uncached = rates.input.of(input_tokens - cached_tokens);
    let price = uncached.plus(cached).plus(rates.output.of(output_tokens));
    Estimate { input_tokens, cached_tokens, output_tokens, price: Some(price), most: Some(most) }
}

/// What an attempt of this estimate is expected to cost when it is called off at the first token of another, at a provider
/// that stops with its caller: the prompt, and what it may have written before it is told so.
pub(crate) fn called_off(target: &Target, estimate: &Estimate, needs: &Needs) -> Option<Usd> {
    let rates = target.facts.prices.as_ref()?.at(needs.asked_at, estimate.input_tokens);
    let written = estimate.output_tokens.min(ON_THE_WAY);
    let unwritten = rates.output.of(estimate.output_tokens - written);
    Some(Usd::from_pico(estimate.price?.pico().saturating_sub(unwritten.pico())))
}

/// As `explain` prints it.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.price {
            None => write!(f, "price unknown"),
            Some(price) => {
                write!(f, "≈ {price} for {} in", self.input_tokens)?;
                if self.cached_tokens > 0 {
                    write!(f, " ({} from the cache)", self.cached_tokens)?;
                }
                write!(f, " and {} out", self.output_tokens)
            }
        }
    }
}

/// Takes the most an attempt may cost, so that what is in flight cannot come to more than the limit; `None` where the
/// target has spent what it may.
pub(crate) fn reserve(model: &Model, target: &Target, needs: &Needs, now: Instant) -> Option<Reservation> {
    let Estimate { price, most, .. } = estimate(model, target, needs);
    let taken = target.ledger.spending.reserve(most.unwrap_or_default(), target.guards.spend, now).ok()?;
    Some(taken.expected(price.unwrap_or_default()))
}

/// What an answer of this target cost; `None` where a price it needs is unknown, or the counts it is made of.
pub(crate) fn cost(target: &Target, usage: &Usage, needs: &Needs) -> Option<Usd> {
    target.facts.prices.as_ref()?.cost(usage, needs.asked_at)
}

/// Learns what a complete answer tells of the next ones.
pub(crate) fn learn(model: &Model, target: &Target, usage: &Usage, needs: &Needs) {
    if let Some(output) = usage.output_tokens {
        model.ledger.observe_output(output / u64::from(needs.answers.max(1)));
    }
    if let Some(input) = usage.input_tokens {
        target.ledger.observe_cached(usage.cached_input_tokens.unwrap_or(0), input);
    }
}
