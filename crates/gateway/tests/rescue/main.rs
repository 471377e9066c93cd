//! Streams that break after something of them was shown, and go on.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod limits;
#[path = "../support/heard.rs"]
mod read;
#[path = "../../../rescue/tests/laws/recorded.rs"]
mod recorded;
mod seams;
mod texts;
