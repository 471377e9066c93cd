//! Providers and models as data: where a provider is, what it takes, what it costs, and what its errors mean.
//!
//! A provider is one file in `data/providers` and one folder of fixtures; no Rust. The same row type, [`RawProvider`],
//! reads a user's configuration, where it adds a provider or overrides fields of a shipped one. What differs between
//! providers is said here as data and acted on elsewhere: quirks by the encoders, facts by the filters, [`classify`]d
//! faults by the attempt machine.
//!
//! A fact nobody documents is unknown, never guessed: a model the catalogue does not know is served with unknown facts.
//!
//! Pure: no sockets, no clock, no environment. The data is embedded and parsed once.

pub mod classify;
mod errors;
mod glob;
pub mod limits;
mod load;
mod money;
mod prices;
mod provider;
mod quirks;
mod raw;
mod refusal;
mod written;

pub use errors::{ErrorMap, Signal};
pub use glob::Pattern;
pub use load::{Catalog, CatalogError};
pub use money::{Rate, Ratio, Usd};
pub use prices::{Day, Moment, PriceChange, Prices, Rates, TimeOfDay};
pub use provider::{Auth, Capabilities, Model, ModelFacts, Provider};
pub use quirks::Quirks;
pub use raw::{HintUse, LimitHeaders, ModelRow, RawProvider, Rule, StatusPage, StatusRange};
pub use refusal::Refusals;
pub use written::Written;
