//! What a history is held to.

use std::time::Duration;

/// The rules that are parameters; the others follow from what the words mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Most attempts of one exchange that may reach a model's work; `None` = what the gateway's plan says, else 3.
    pub max_attempts: Option<u32>,
    /// Most targets whose work one exchange may reach; `None` = what the gateway's plan says, else 4.
    pub max_targets: Option<u32>,
    /// Most attempts of one exchange that go on with a broken answer; they count apart.
    pub max_rescues: u32,
    /// Most attempts of one exchange at one target, whatever the reasons.
    pub max_per_target: u32,
    /// How long a provider may take to notice that the gateway dropped a call.
    pub cancel_within: Duration,
    /// How far the clocks of a decision and of its record may be apart.
    pub slack: Duration,
    /// How long the log may go on after a request was last heard of before its missing end is a violation although no
    /// process said that it is over.
    pub patience: Duration,
    /// Records come in the order of their time, give or take this much: a request that is over for everybody is judged
    /// and forgotten so long after it was last heard of, and memory holds what is in flight. `None` = in any order, and
    /// memory holds every request.
    pub ordered: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_attempts: None,
            max_targets: None,
            max_rescues: 4,
            max_per_target: 3,
            cancel_within: Duration::from_millis(100),
            slack: Duration::from_millis(20),
            patience: Duration::from_secs(600),
            ordered: None,
        }
    }
}

/// The defaults of a gateway whose plan does not say.
pub(crate) const MAX_ATTEMPTS: u32 = 3;
pub(crate) const MAX_TARGETS: u32 = 4;

/// A duration as records count it.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
