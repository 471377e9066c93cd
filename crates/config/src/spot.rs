//! A price feed: as it is written, and checked.

use crate::pages::interval;
use crate::units::Span;
use catalog::Ratio;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(3600);
/// Prices that change more often than this are no prices to plan by.
const SHORTEST: Duration = Duration::from_secs(10);

/// Prices that are read now and then, in place of the catalogue's and of `prices:` at targets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPriceFeed {
    /// A file, or an address; `${NAME}` reads the environment.
    pub from: String,
    /// Between two looks; 1h by default.
    pub every: Option<Span>,
    /// The largest step of a price, of what is in force; 50% by default. A larger one is refused and told.
    pub max_change: Option<Ratio>,
}

/// Prices that are read now and then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceFeed {
    /// A file, or an address, which may hold a secret.
    pub from: String,
    /// Between two looks.
    pub every: Duration,
    /// The largest step of a price, of what is in force.
    pub max_change: Ratio,
}

/// The feed, with its place expanded.
///
/// # Errors
/// The key, and what is wrong with it.
pub(crate) fn price_feed(raw: &RawPriceFeed, from: String) -> Result<PriceFeed, (&'static str, String)> {
    let half = || Ratio::parse("50%").ok_or(("max_change", "no default".to_owned()));
    let max_change = raw.max_change.map_or_else(half, Ok)?;
    if max_change.is_zero() {
        return Err(("max_change", "`max_change` allows no change: expected more than 0".to_owned()));
    }
    if from.is_empty() {
        return Err(("from", "`from` names nothing: expected a file or an address".to_owned()));
    }
    let every = interval(raw.every, EVERY, SHORTEST).map_err(|wrong| ("every", wrong))?;
    Ok(PriceFeed { from, every, max_change })
}
