//! What each writer holds while a request is under way: a pen, which knows what to write down when.

mod client;
mod gateway;
mod simulator;

pub use client::ClientPen;
pub use gateway::{GatewayPen, Way};
pub use simulator::SimulatorPen;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The header by which a simulated provider knows the attempt. It goes upstream only while a history is written.
pub const ATTEMPT_HEADER: &str = "x-mainstay-attempt";

/// The value of [`ATTEMPT_HEADER`]: the request's id and the attempt's number.
pub fn attempt_tag(id: &str, attempt: u32) -> String {
    format!("{id}/{attempt}")
}

/// Reads the value of [`ATTEMPT_HEADER`].
pub fn parse_attempt_tag(tag: &str) -> Option<(&str, u32)> {
    let (id, attempt) = tag.rsplit_once('/')?;
    Some((id, attempt.parse().ok()?)).filter(|(id, _)| !id.is_empty())
}

/// A lock whose holder panicked is still a lock: one exchange ended, its record goes on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_reads_as_it_was_written_and_anything_else_is_none() {
        assert_eq!(parse_attempt_tag(&attempt_tag("req_1/x", 3)), Some(("req_1/x", 3)));
        for tag in ["", "/", "/1", "a/", "a/b", "a"] {
            assert_eq!(parse_attempt_tag(tag), None, "{tag}");
        }
    }
}
