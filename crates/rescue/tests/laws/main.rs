//! The laws of a rescue, against continuers that share no code with the join.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod deterministic;
mod imperfect;
mod recorded;
mod support;
mod texts;
