//! The words the driver and the machine speak: events in, actions out.

use crate::{Needs, RescueMode, Target};
use canon::{CallerError, Fault, Instant};
use catalog::Usd;
use std::sync::Arc;
use std::time::Duration;

/// Numbers the attempts of an exchange, from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub u32);

/// What the machine knows of the exchange beyond the plan.
#[derive(Debug, Clone)]
pub struct ExchangeFacts {
    /// When the caller's request was accepted.
    pub started: Instant,
    /// When the caller must have an answer or an error; [`Instant::FAR_FUTURE`] = no deadline.
    pub deadline: Instant,
    /// What the request needs; `streamed` says that the first content commits.
    pub needs: Needs,
    /// The caller's SDK says that this is its own retry: it deposits nothing in the retry budget.
    pub is_callers_retry: bool,
    /// Nothing in the request forbids two attempts at a time: no content that is bound to one provider, and nothing
    /// that a provider does for it beyond answering.
    pub may_hedge: bool,
    /// Seed of the jitter.
    pub seed: u64,
    /// What is done for a stream that breaks: the model's setting, or the caller's.
    pub rescue: RescueMode,
}

/// Where a committed stream stands; kept for the rescue of a broken one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TranscriptCursor {
    /// Bytes released to the caller.
    pub bytes: u64,
    /// Whole events released to the caller.
    pub events: u64,
}

/// What happened. An event of an attempt that is already settled is ignored.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The exchange begins.
    Begin,
    /// An attempt failed, before the commit or after it.
    Failed {
        /// Which.
        attempt: AttemptId,
        /// Why.
        fault: Fault,
        /// The request was altered for this target (translated, clamped, prefilled), so that a 4xx may be Mainstay's
        /// fault rather than the caller's.
        altered: bool,
    },
    /// The first content arrived; of a rescue, the first that goes on from what was shown. For calls streamed upstream
    /// alone: a call not streamed only completes.
    FirstContent {
        /// Of which attempt.
        attempt: AttemptId,
    },
    /// Bytes of a committed stream were released to the caller.
    Progress {
        /// Of which attempt.
        attempt: AttemptId,
        /// How far.
        cursor: TranscriptCursor,
    },
    /// The committed stream broke, and the driver knows whether somebody else can go on with what was shown.
    Broken {
        /// Which attempt.
        attempt: AttemptId,
        /// Why.
        fault: Fault,
        /// Another target can go on, or answer anew without the caller noticing.
        can_go_on: bool,
    },
    /// A rescue came to nothing.
    NotRescued {
        /// Which attempt.
        attempt: AttemptId,
        /// What the attempt ended in.
        fault: Fault,
        /// Why.
        failure: RescueFailure,
    },
    /// The whole answer arrived, terminator included.
    Completed {
        /// Of which attempt.
        attempt: AttemptId,
    },
    /// The time of [`Action::Wait`] or of a `hedge_at` has come.
    Elapsed,
    /// The caller hung up.
    HungUp,
    /// The exchange's deadline has passed.
    DeadlinePassed,
}

/// Why a rescue came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RescueFailure {
    /// The call failed as any call can.
    Fault,
    /// The target refuses a begun answer; it may take the request in another form.
    PrefillRefused,
    /// Given the beginning of its own turn, or its token, it did not go on from there; it may do so when asked in
    /// words.
    NotContinued,
    /// What it said does not go on from what was shown.
    NoJoin,
}

/// Limits of one attempt. The driver reports the one that fires as [`Fault::timed_out`] with its phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseLimits {
    /// DNS, TCP and TLS.
    pub connect: Duration,
    /// To the first content of a call streamed upstream; `None` = the attempt's time is the only limit.
    pub first_token: Option<Duration>,
    /// To the whole answer of a call not streamed; `None` = the attempt's time is the only limit.
    pub response: Option<Duration>,
    /// Between two tokens.
    pub idle: Duration,
    /// When an attempt without a commit is over. After the commit only `idle` and the deadline apply.
    pub attempt_until: Instant,
}

/// An attempt to start now.
#[derive(Debug, Clone)]
pub struct Start {
    /// Its number.
    pub attempt: AttemptId,
    /// Index of the target in the model's list.
    pub target_index: usize,
    /// Whom to call.
    pub target: Arc<Target>,
    /// Index in the target's credentials.
    pub credential: usize,
    /// Its limits.
    pub limits: PhaseLimits,
    /// It holds the half-open slot.
    pub is_probe: bool,
    /// Send [`Event::Elapsed`] then if there is no content yet.
    pub hedge_at: Option<Instant>,
}

/// The honest end of a committed stream that broke: the dialect's error event, no terminator.
#[derive(Debug, Clone, PartialEq)]
pub struct HonestEnd {
    /// What broke it.
    pub fault: Fault,
    /// For the caller.
    pub error: CallerError,
    /// What the caller has.
    pub cursor: TranscriptCursor,
}

/// The end without an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct GiveUp {
    /// For the caller; with all attempts listed.
    pub error: CallerError,
}

/// What to do now.
#[derive(Debug, Clone)]
pub enum Action {
    /// Start this attempt.
    Try(Start),
    /// Start this attempt beside the one that is running.
    Hedge(Start),
    /// Nothing is running: send [`Event::Elapsed`] at `until`.
    Wait {
        /// Never after the deadline.
        until: Instant,
    },
    /// Keep waiting for what is running.
    Continue {
        /// Send [`Event::Elapsed`] then.
        hedge_at: Option<Instant>,
    },
    /// Release the attempt's content to the caller, and cancel the other one.
    Commit {
        /// Which serves.
        attempt: AttemptId,
        /// Which lost.
        cancel: Option<AttemptId>,
    },
    /// Start this attempt to go on with the broken stream.
    Rescue(Start),
    /// End the committed stream honestly.
    End(HonestEnd),
    /// Answer with this error. Whatever still runs is to be dropped.
    GiveUp(GiveUp),
    /// The exchange is settled. Whatever still runs is to be dropped.
    Done,
}

/// An attempt that was called off because another was quicker, and that its provider may bill all the same.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct CalledOff {
    /// Whom it was made at.
    pub target: String,
    /// Where that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Tokens of its prompt, an estimate.
    pub estimated_input_tokens: u64,
    /// What the provider is expected to bill for it: at most what a whole answer costs, and an estimate. `None` where
    /// the price is unknown.
    pub estimated_cost: Option<Usd>,
}

/// Who served, or whose fault is told.
#[derive(Debug, Clone)]
pub struct Served {
    /// The attempt.
    pub attempt: AttemptId,
    /// The target.
    pub target: Arc<Target>,
    /// 0 = the primary, else its rank in the order of full health.
    pub fallback: usize,
}
