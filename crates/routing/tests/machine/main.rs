//! The attempt machine and its plan against scripted targets on virtual time.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod beside;
mod books;
mod by_size;
mod exchange;
mod first_byte;
mod guards;
mod harness;
mod hedges;
mod invariants;
mod limits;
mod met;
mod nearest;
mod objectives;
mod plans;
mod pool;
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
