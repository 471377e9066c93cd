//! Essentials of a proxy that is trusted: one test a sentence, named as the sentence.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod connections;
mod hang_up;
mod headers;
mod http2;
mod permits;
mod prices;
mod story;
mod streams;
