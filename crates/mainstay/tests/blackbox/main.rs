//! The binary as an operator and a caller meet it: commands, start, reload, shutdown, bad input.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bad_input;
mod commands;
mod drill;
mod history;
mod process;
mod promises;
mod serving;
