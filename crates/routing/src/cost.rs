//! What a request costs beside a typical one of its model: what the retry budget counts in.
//!
//! One retry of a prompt of 200k tokens is worth hundreds of short ones, so that a budget of requests bounds nothing. A
//! request is worth what it is expected to cost at its first candidate over what requests of its model cost in the
//! mean: in money where the price is known, in tokens where it is not.

use crate::ledger::Mean;
use crate::price::Estimate;
use crate::{Model, Plan};
use catalog::Usd;

/// However cheap a request is, the calls it makes count.
const LEAST: f64 = 0.1;
/// What the budget holds at most: the dearest request may take all of it, once.
const MOST: f64 = 10.0;
/// The latest request has this part of the mean.
const LATEST: u64 = 64;

/// What requests of a model cost in the mean.
#[derive(Debug, Default)]
pub(crate) struct Typical {
    /// Picodollars.
    price: Mean,
    tokens: Mean,
}

impl Typical {
    /// What a request of this estimate costs beside those before it, which it joins; 1 until there are enough of them.
    fn compare(&self, estimate: &Estimate) -> f64 {
        let (mean, cost) = match estimate.price.filter(|price| *price > Usd::ZERO) {
            Some(price) => (&self.price, price.pico()),
            None => (&self.tokens, estimate.input_tokens.saturating_add(estimate.output_tokens)),
        };
        let usual = mean.get();
        mean.add_over(cost, LATEST);
        usual.filter(|usual| *usual > 0).map_or(1.0, |usual| (cost as f64 / usual as f64).clamp(LEAST, MOST))
    }
}

/// What the request of a plan costs, in typical requests of its model.
pub(crate) fn relative(model: &Model, plan: &Plan) -> f64 {
    plan.candidates.first().map_or(1.0, |first| model.ledger.typical.compare(&first.estimate))
}
