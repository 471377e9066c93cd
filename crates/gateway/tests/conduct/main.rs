//! How the whole gateway conducts itself towards providers that fail, on virtual time; and, over sockets, that a caller
//! who sent too much can read why.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod announced;
mod attempts;
mod credentials;
mod hedging;
mod large;
mod limits;
mod outage;
mod regions;
