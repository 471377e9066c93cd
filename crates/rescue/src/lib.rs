//! Going on with an answer whose stream broke after the caller had seen a part of it: text and decision, no I/O.
//!
//! The way of a rescue: [`possibility`] says whether what was shown can be gone on with at all; [`ask`] makes the
//! request for the next target and the [`Join`] that fits it; the target's text goes through the [`Join`], which
//! removes what the caller already has, then through [`StopSpan`], which sees stop sequences across the seam, then
//! through [`Hold`].
//!
//! One rule does not bend: a wrong join (a character doubled, lost, or not of the answer) is never released. Where the
//! text does not prove the seam, the answer of [`Join`] is a [`Verdict`], and the stream ends with an honest error.
//!
//! Pure: no tokio, no sockets, no clock, no environment. Bounds are counted in characters; time is the driver's.

mod anchor;
mod ask;
mod hold;
mod join;
mod phrases;
mod possibility;
mod stop;
mod text;
mod verdict;

pub use anchor::{ANCHOR_MAX, ANCHOR_MIN, Anchor, anchor};
pub use ask::{Ask, Asked, INSTRUCTION, Means, OPENING, ask, estimated_tokens};
pub use hold::{Granularity, Hold};
pub use join::{Join, Mode, Step, Via};
pub use possibility::{Delivered, Obstacle, Possibility, possibility};
pub use stop::{StopSpan, Stopped};
pub use verdict::Verdict;

/// Characters that must agree before an agreement is evidence and not chance.
pub const MIN_OVERLAP: usize = 16;
