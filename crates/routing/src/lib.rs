//! Who serves an exchange: the plan (filter, then order), and the attempt machine that carries it out.
//!
//! [`plan`] says who *can* serve, in which order, and why each other target was left out. [`Machine`] takes the plan
//! through attempts, waits, hedges, commit and settle: `next(event, now)` answers each event with one
//! [`Action`]. The gateway drives it with sockets, tests with virtual time; both run the same code.
//!
//! Pure: no sockets, no clock; `now` is an argument and randomness comes from an injected seed.

mod cost;
mod filter;
mod guard;
mod hedging;
mod labels;
mod ledger;
mod machine;
mod merit;
mod mirror;
mod model;
mod near;
mod needs;
mod objectives;
mod pins;
mod plan;
mod price;
mod probe;
mod quality;
mod ruled;
mod session;
mod speed;
mod spend;
mod split;
mod strategy;
pub mod tier;

pub use guard::{Guards, MaxPrice};
pub use hedging::{Hedge, HedgeAfter, HedgeBudget, Hedging};
pub use labels::Labels;
pub use ledger::{Ledger, ModelLedger, TargetLedger};
pub use machine::{
    Action, AttemptId, CalledOff, Event, ExchangeFacts, FirstByte, GiveUp, HonestEnd, Machine, Overtaken, PhaseLimits,
    RescueFailure, Served, Start, TranscriptCursor,
};
pub use merit::{Balance, Quality, Score, SpeedBy};
pub use mirror::Mirror;
pub use model::{
    Across, ClassPolicy, Credential, FaultProfile, Group, Hold, Model, ModelSettings, Node, OnFault, ProbeMode, Rescue,
    RescueMode, Step, Strategy, Target, Timeouts,
};
pub use near::{Near, Nearness};
pub use needs::Needs;
pub use objectives::{Forecast, Judge, Objectives, Outlook, Standing};
pub use pins::{MOST_PINS, Pin, Pins};
pub use plan::{Candidate, Demotion, Exclusion, ExclusionReason, Plan, plan, plan_ruled};
pub use price::{Estimate, estimate};
pub use probe::{Probe, probe_price, probe_tokens};
pub use quality::{Checks, Criterion, Evaluate};
pub use ruled::{AppliedRule, ModelRules, Overrides, Rulebook};
pub use session::{Seat, Session, Sessions, Stickiness, Told};
pub use spend::{SpendLimit, Spending};
pub use split::{Experiment, Split, Sticky, Trial, Unit};
