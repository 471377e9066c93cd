//! Drills: a timeline of faults against a configuration, on virtual time, held against bars.
//!
//! A [`Scenario`] says who asks for what, how each target behaves when it is well, what breaks when, and what is
//! expected. [`Scenario::drill`] runs it: callers arrive, gateways decide with the code that a gateway runs (the
//! configuration's snapshot, the plan, the attempt machine, health), simulated targets answer. Hours pass in seconds,
//! and the same seed gives the same run, which the [`Report`]'s trace hashes show.
//!
//! What is left out of a run on virtual time: bytes. Dialects, translation, caches, queues and sockets are in a
//! [`Live`] run, whose gateways, providers and callers are real and whose laws, figures and bars are the same.
//!
//! Pure: no clock, no sockets, no environment; files are read by whoever calls, randomness comes from the seed.

mod bar;
mod door;
mod drive;
mod error;
mod fault;
mod figures;
mod live;
mod load;
mod raw;
mod record;
mod run;
mod scenario;
mod standing;
mod table;
mod talk;
mod timeline;
mod units;
mod verdict;
mod world;

pub use error::ScenarioError;
pub use live::{Answered, Arrival, Form, Live, Started};
pub use load::Refusal;
pub use record::{CallKind, Outcome};
pub use scenario::{NamedText, Over, Scenario};
pub use verdict::{Report, Verdict};
pub use world::{Ask, Break, ErrorAnswer, Reply, Speech};
