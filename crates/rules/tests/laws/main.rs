//! Rules as configurations use them: what the language says, what it refuses, and the laws of what follows.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bounds;
mod documented;
mod language;
mod latches;
mod rulings;
mod world;
