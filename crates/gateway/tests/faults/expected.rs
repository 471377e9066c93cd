//! What each cell must come to, as a function of the cell.

use crate::cell::{Cell, Phase, Way};
use crate::statuses::{self, LIMIT, Setting};
use canon::{DialectName, FaultClass};
use simulator::FaultKind;
use std::time::Duration;

/// How an exchange ends for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The primary's complete answer.
    Primary,
    /// The fallback's complete answer, because of this; the caller never saw the primary.
    Fallback(FaultClass),
    /// The complete answer in one stream, begun by the primary and ended by the fallback.
    Rescued,
    /// The provider's reason, with this status, in its own words (a part of them).
    Reason(u16, FaultClass, &'static str),
    /// A complete answer that says why there is none.
    Blocked,
}

/// An outcome and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) outcome: Outcome,
    /// Attempts at the primary.
    pub(crate) attempts: usize,
    /// Requests the primary has read.
    pub(crate) arrived: usize,
    /// The gateway has waited for so long at least.
    pub(crate) silence: Duration,
}

fn once(outcome: Outcome) -> Expected {
    Expected { outcome, attempts: 1, arrived: 1, silence: Duration::ZERO }
}

fn silent(outcome: Outcome) -> Expected {
    Expected { silence: LIMIT, ..once(outcome) }
}

fn unreachable() -> Expected {
    Expected { arrived: 0, ..once(Outcome::Fallback(FaultClass::Unreachable)) }
}

fn of_status(fault: FaultKind, cell: &Cell) -> Expected {
    let at = Setting { streamed: cell.streamed, as_array: false, caller: cell.caller, primary: cell.primary };
    let statuses::Expected { outcome, attempts, arrived } = statuses::expected(fault, at);
    let outcome = match outcome {
        statuses::Outcome::Primary => Outcome::Primary,
        statuses::Outcome::Fallback(class) => Outcome::Fallback(class),
        statuses::Outcome::Caller(status, class, words) => Outcome::Reason(status, class, words),
        statuses::Outcome::Blocked => Outcome::Blocked,
        statuses::Outcome::HonestEnd(class) => unimplemented!("no status breaks a stream: {class:?}"),
    };
    Expected { outcome, attempts, arrived, silence: Duration::ZERO }
}

/// The expectation for a cell.
pub(crate) fn expected(cell: &Cell) -> Expected {
    match cell.phase {
        Phase::Connect | Phase::Tls => before_the_request(cell.way),
        Phase::Headers => at_the_head(cell),
        _ if !cell.streamed => in_a_whole_answer(cell),
        // Nothing was shown: whatever came is forgotten.
        Phase::FirstToken | Phase::MidToolCall => before_content(cell),
        Phase::MidText | Phase::MidToolCallAfterText | Phase::LastEvent => after_content(cell.way),
        // Gemini's finish reason is not always its last word. An error behind it is believed as long as the caller was
        // not told the finish, which waits for the end where it is translated.
        Phase::AfterFinish
            if cell.way == Way::InBandError && cell.primary == DialectName::Gemini && cell.caller != cell.primary =>
        {
            once(Outcome::Rescued)
        }
        // The answer is complete, however its stream ends.
        Phase::AfterFinish => once(Outcome::Primary),
    }
}

fn before_the_request(way: Way) -> Expected {
    match way {
        Way::Hang => Expected { arrived: 0, ..silent(Outcome::Fallback(FaultClass::TimedOut)) },
        Way::Slow => once(Outcome::Primary),
        _ => unreachable(),
    }
}

fn at_the_head(cell: &Cell) -> Expected {
    match cell.way {
        Way::Reset | Way::Close | Way::Garbage => once(Outcome::Fallback(FaultClass::Unreachable)),
        Way::Hang | Way::Late => silent(Outcome::Fallback(FaultClass::TimedOut)),
        Way::Slow | Way::PlainText => once(Outcome::Primary),
        Way::Status(fault) => of_status(fault, cell),
        Way::InBandError => of_status(FaultKind::ErrorIn200, cell),
        Way::Html => once(Outcome::Fallback(FaultClass::BadAnswer)),
        Way::Compression => once(Outcome::Fallback(FaultClass::StreamBroken)),
        Way::Malformed => unimplemented!("a head that is not HTTP is garbage"),
    }
}

/// A whole answer counts when HTTP and JSON both say that it is whole; until then the caller has seen nothing.
fn in_a_whole_answer(cell: &Cell) -> Expected {
    let is_whole = cell.phase == Phase::AfterFinish;
    match cell.way {
        Way::Close if is_whole => once(Outcome::Primary),
        Way::Close | Way::Malformed => once(Outcome::Fallback(FaultClass::BadAnswer)),
        Way::Hang | Way::Late => silent(Outcome::Fallback(FaultClass::TimedOut)),
        Way::Slow => once(Outcome::Primary),
        _ => once(Outcome::Fallback(FaultClass::StreamBroken)),
    }
}

fn before_content(cell: &Cell) -> Expected {
    match cell.way {
        Way::Hang | Way::Late => silent(Outcome::Fallback(FaultClass::TimedOut)),
        Way::Slow | Way::Malformed => once(Outcome::Primary),
        Way::InBandError => match cell.primary {
            // OpenAI says that it failed, and is asked once more; the others say that they are overloaded.
            DialectName::OpenaiChat => {
                Expected { attempts: 2, arrived: 2, ..once(Outcome::Fallback(FaultClass::ServerError)) }
            }
            DialectName::AnthropicMessages | DialectName::Gemini => once(Outcome::Fallback(FaultClass::Overloaded)),
        },
        _ => once(Outcome::Fallback(FaultClass::StreamBroken)),
    }
}

fn after_content(way: Way) -> Expected {
    match way {
        Way::Hang | Way::Late => silent(Outcome::Rescued),
        // A malformed event is left out, and the answer goes on.
        Way::Slow | Way::Malformed => once(Outcome::Primary),
        _ => once(Outcome::Rescued),
    }
}
