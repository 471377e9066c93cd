//! A conductor: whoever decides, call by call, what a simulated provider does. A drill over sockets has one.

use crate::behaviour::Pace;
use crate::fault::FaultKind;
use crate::script::Answer;
use http::HeaderMap;

/// What becomes of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Conduct {
    /// The speed of its answer.
    pub pace: Pace,
    /// What it is answered.
    pub answer: Answer,
    /// What breaks.
    pub faults: Vec<FaultKind>,
    /// Headers of the answer besides the usual ones: what the provider tells of its limits.
    pub headers: HeaderMap,
}

/// Decides in the place of a behaviour's pace, answer and faults.
pub trait Conductor: Send + Sync {
    /// What becomes of the call with this head, which begins now. `None` = what the behaviour says.
    fn conduct(&self, head: &HeaderMap) -> Option<Conduct>;
}
