//! What is asked beside the traffic, and when.
//!
//! [`read_page`] reads what a provider reports of itself, [`read_reports`] and [`read_items`] what others do, into
//! [`Incident`]s, and a [`Book`] keeps what every source reports as long as it is believed. An [`Agenda`] says which of
//! the recurring jobs of a process are due; [`Probing`] says whether a target is to be asked whether it is well. Who
//! asks, and over which connection, is the gateway's affair: nothing here waits, and no request ever waits for anything
//! here.
//!
//! Pure: `now` is an argument, randomness comes from a seed.

mod agenda;
mod feed;
mod incident;
mod page;
mod prices;
mod probing;
mod when;

pub use agenda::{Agenda, Next};
pub use feed::{Now, Report, read_items, read_reports};
pub use incident::{About, Book, Changes, Concern, Incident, MOST_INCIDENTS};
pub use page::read_page;
pub use prices::{PriceSheet, Told, TooFar, may_follow, read_prices};
pub use probing::{ProbeCall, Probing, Seen};
