//! What Mainstay knows about targets and credentials, and what it concludes from that.
//!
//! [`Health`] is the process-wide register: get-or-create by stable ids, so that state survives a reload of the
//! configuration. A [`TargetHealth`] holds the breaker, the baselines and the rank of one target, a
//! [`CredentialHealth`] the parks of one credential and the mirrors of its limits, a [`RetryBudget`] and a
//! [`PanicGate`] belong to one logical model, a [`ProviderHealth`] gathers the evidence that a whole provider cannot be
//! reached. A [`Door`] keeps more from coming in than a model, or the whole gateway, may have in flight.
//!
//! Pure: `now` is an argument, randomness comes from the seed given to [`Health::new`]. What every plan reads of a
//! target that is well is read without a lock. The rest sits behind mutexes held for nanoseconds and never across
//! anything that can block; a poisoned lock is recovered, because one exchange's panic must not take health away from
//! all others.

mod baseline;
mod breaker;
mod budget;
mod by_size;
mod cap;
mod concurrency;
mod credential;
mod door;
mod histogram;
mod latency;
mod lesson;
mod limits;
mod mirror;
mod panic_gate;
mod provider;
mod rank;
mod recent;
mod register;
mod settings;
mod size;
mod speeds;
mod target;
mod window;

pub use breaker::{BreakerStanding, Refused, StartKind};
pub use budget::RetryBudget;
pub use concurrency::{Bound, BoundPlace, Concurrency};
pub use credential::{CredentialHealth, ParkReason, Parked};
pub use door::{Asker, Called, Door, DoorSettings, Entered, News, Ticket};
pub use latency::{Quantiles, first_token_limit, idle_limit};
pub use lesson::{Lesson, lesson};
pub use limits::{LimitReservation, Limits};
pub use panic_gate::PanicGate;
pub use provider::ProviderHealth;
pub use register::Health;
pub use settings::BreakerSettings;
pub use target::{Permit, Standing, Suspicion, TargetHealth};
pub use window::{lower_bound, wilson_lower_bound};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks even after another thread panicked while holding the lock: the state is a set of counters, each valid alone.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
