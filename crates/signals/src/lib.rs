//! What is asked beside the traffic, and when.
//!
//! An [`Agenda`] says which of the recurring jobs of a process are due; [`Probing`] says whether a target is to be asked
//! whether it is well. Who asks, and over which connection, is the gateway's affair: nothing here waits, and no request
//! ever waits for anything here.
//!
//! Pure: `now` is an argument, randomness comes from a seed.

mod agenda;
mod probing;

pub use agenda::{Agenda, Next};
pub use probing::{ProbeCall, Probing, Seen};
