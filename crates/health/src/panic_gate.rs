//! Limited panic: with every target open, a trickle still goes to the one nearest its probe.
//!
//! "Send to all" assumes that targets are fungible and retries are free; both are false here. At most
//! max(1 a second, 5 % of the load) passes, the rest fails fast.

use crate::lock;
use canon::Instant;
use std::sync::Mutex;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(1);
/// One in twenty.
const EVERY: u32 = 20;

/// The gate of one logical model.
#[derive(Debug, Default)]
pub struct PanicGate {
    inner: Mutex<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    last: Option<Instant>,
    refused: u32,
}

impl PanicGate {
    /// Whether this request may pass. Between two that pass lies a second, or nineteen that did not.
    pub fn admit(&self, now: Instant) -> bool {
        let mut gate = lock(&self.inner);
        let rested = gate.last.is_none_or(|last| now.saturating_since(last) >= INTERVAL);
        if rested || gate.refused + 1 >= EVERY {
            *gate = Gate { last: Some(now), refused: 0 };
            true
        } else {
            gate.refused += 1;
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(per_second: u32, seconds: u32) -> usize {
        let gate = PanicGate::default();
        (0..per_second * seconds)
            .filter(|i| gate.admit(Instant::from_origin(Duration::from_secs(1) * *i / per_second)))
            .count()
    }

    #[test]
    fn one_a_second_passes_at_low_rates_and_a_twentieth_at_high_ones() {
        assert_eq!(admitted(5, 60), 60);
        assert_eq!(admitted(100, 60), 300);
    }
}
