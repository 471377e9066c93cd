//! The attempt machine and its plan against scripted targets on virtual time.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod beside;
mod by_size;
mod guards;
mod harness;
mod invariants;
mod limits;
mod nearest;
mod objectives;
mod plans;
mod prices;
mod rescue;
mod ruled;
mod scenarios;
mod sessions;
mod slow;
mod soak;
mod speed;
mod storms;
mod strategies;
mod table;
mod tiers;
mod watch;
