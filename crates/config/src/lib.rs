//! Configuration: the raw YAML type ([`Raw`]), the checks, and the indexed [`Snapshot`] that exchanges run on.
//!
//! One definition generates the file format, its JSON Schema and the error texts. The environment is an argument, so
//! that loading is repeatable.

mod error;
mod feeds;
mod hedging;
mod listed;
mod load;
mod mirror;
mod nearest;
mod nested;
mod objectives;
mod overload;
mod pages;
mod patch;
mod price;
mod probes;
mod quality;
mod raw;
mod reuse;
mod rulebook;
mod sessions;
mod snapshot;
mod split;
mod spot;
mod strategy;
mod tiers;
mod units;

pub use error::ConfigError;
pub use feeds::{FeedFormat, IncidentFeed, IncidentWebhook};
pub use load::{DEFAULT_LISTEN, Environment, Loader};
pub use raw::Raw;
pub use reuse::{Coalesce, QueueRules, Reuse, ReuseLimits, WhenExhausted};
pub use snapshot::{CallerKey, Injection, Limits, Snapshot, UnknownModel};
pub use spot::PriceFeed;
pub use units::Span;

/// The JSON Schema of the configuration file, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Raw).to_value()
}
