//! Rules: expressions over the request, the health of targets and their prices that move traffic.
//!
//! The language is the part of CEL (Common Expression Language) that has a static type and a bounded cost here: no
//! comprehensions, no regular expressions, no text made at run time. It is written out in this crate rather than taken
//! from a library, because a rule is checked whole when it is loaded (names, types, the character of what is wrong) and
//! then evaluated on every request without an allocation; `docs/RULES.md` is its reference.
//!
//! - [`RuleSet::compile`]: from texts to rules, or the place of what is wrong.
//! - [`RuleSet::judge`]: which rules hold for a request now. What a rule measures (rates, percentiles, parks) goes
//!   through a latch ([`LatchSettings`]), so that it does not flap once it has moved the traffic it measures.
//! - [`Ruling::sift`] and [`Ruling::reorder`]: what follows for the targets of a plan.
//!
//! Pure: facts come through [`Targets`] and [`Lookup`], time and randomness are arguments.

mod action;
mod ast;
mod check;
mod check_calls;
mod class_window;
mod eval;
mod facts;
mod latch;
mod lexer;
mod parser;
mod problem;
mod rule;
mod ruleset;
mod ruling;
mod tally;

pub use action::{Actions, Reach};
pub use eval::{Counts, Failure, Lookup, Moment, NoLookup, Request, Targets, Value};
pub use facts::{Documented, Modality, TargetFact, documented};
pub use latch::{Hold, Latch, LatchSettings, Seen, Verdict};
pub use problem::{Problem, Span};
pub use rule::Written;
pub use ruleset::{RuleSet, Standing, Told, Wrong};
pub use ruling::{Held, Ruling, Sifted};
pub use tally::Tally;
