//! Answers that are used again: kept for the next equal request ([`Cache`]), for the same request sent twice
//! ([`Idempotency`]), or shared while they are still under way ([`Flights`], [`Tape`]).
//!
//! What is equal is decided in one place, [`Question`]: a digest over everything that can change the answer. What is
//! kept is an [`Entry`]: the bytes a caller was given, in the caller's dialect, and only ever of an answer that was
//! complete. Errors, blocked and cut answers are for the gateway to keep out.
//!
//! Everything here lives in this process and is bounded in bytes. Pure: no tokio, no sockets, no clock (`now` is an
//! argument), no randomness.

mod cache;
mod entry;
mod flights;
mod idempotency;
mod json;
mod key;
mod memory;
mod tape;

pub use cache::{Cache, Found, Freshness, Lookup};
pub use entry::{Entry, Form};
pub use flights::{Flights, Joined};
pub use idempotency::{Bound, Claim, Idempotency};
pub use key::{Asked, Key, Question};
pub use memory::MemoryCache;
pub use tape::{End, Read, ReaderId, Room, Tape};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks even after another thread panicked while holding the lock: every state in between is a valid one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
