//! The checker over whole histories: valid ones, and ones with one violation planted.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod planted;
mod valid;
