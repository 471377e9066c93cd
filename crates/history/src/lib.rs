//! The history of a run: what client, gateway and simulated providers saw of each request, and a checker of it.
//!
//! Each of the three writes an append-only log of [`Record`]s, keyed by request and attempt. [`Checker`] reads them in
//! any order and proves, or says where it is not so, that
//!
//! - every request had exactly one terminal outcome, the same for the gateway and for the client;
//! - what was delivered is exactly the segments of the gateway's ledger, and those are what the providers sent;
//! - no answer was presented as whole that was not;
//! - attempts obey the policy;
//! - tokens are the providers' own figures;
//! - every cancel arrived, and nothing leaked.
//!
//! [`Summary`] reads the same records for what they come to: by experiment and arm, by target, by region.
//!
//! A writer knows only its own side: the client decodes what it got, the simulator tells what it sent, and nobody's
//! figures are derived from another's. Texts are compared by [`Tally`], so no log holds a word of them.
//!
//! Pure: files, channels and clocks belong to whoever holds a [`Recorder`].

mod check;
mod pen;
mod policy;
mod read;
mod record;
mod recorder;
mod report;
mod summary;
mod tally;

pub use check::{Checker, Source, check};
pub use pen::{ATTEMPT_HEADER, ClientPen, GatewayPen, SimulatorPen, Way, attempt_tag, parse_attempt_tag};
pub use policy::Policy;
pub use read::{Merge, Unreadable};
pub use record::{
    AttemptKind, ClientEnd, ClientEvent, Event, GatewayEnd, GatewayEvent, MOST_MARKS, Origin, ProviderEnd, Record,
    Segment, SimulatorEvent, Tokens,
};
pub use recorder::{Live, Memory, Recorder};
pub use report::{Counts, Gaps, Kind, Report, Violation};
pub use summary::{By, Row, Summary, Summed};
pub use tally::Tally;
