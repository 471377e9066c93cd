//! The checks of a stream: what is held of it before the commit, and what is looked at when it ends.
//!
//! ```text
//!            first word      first sentence     end
//! Head ────────────────────────────────────────▶      `refusal` waits for the sentence, else the first word opens
//! Whole ──────────────────────────────────────────▶   for the evaluator
//! Open  ─────────────────────────────────────────▶    nothing is held; the end is looked at all the same
//! ```

use super::verdict::{self, Said};
use super::{Check, Outcome, Record, head};
use crate::inquiry::Inquiry;
use canon::{Fault, FinishReason};
use dialect::Shown;
use dialect::shown::Obstacle;
use routing::{Checks, Target};
use std::sync::Arc;

/// What watches one stream.
pub(crate) struct Inspection {
    checks: Checks,
    evaluated: bool,
    inquiry: Arc<Inquiry>,
    target: Arc<Target>,
    stage: Stage,
    /// The caller has seen something of it: what does not pass is written down.
    committed: bool,
    over: bool,
}

/// Whether it holds what is no text and no call. Sources and probabilities belong to a text, where there is one.
fn holds_something_else(shown: &Shown) -> bool {
    match shown.obstacle {
        None => false,
        Some(Obstacle::Citations | Obstacle::Logprobs) => shown.text.trim_start().is_empty(),
        Some(Obstacle::Candidates | Obstacle::Refusal | Obstacle::Media | Obstacle::Opaque) => true,
    }
}

impl Said {
    /// What a stream says.
    pub(crate) fn in_stream(shown: &Shown, finish: Option<FinishReason>) -> Self {
        Self { text: shown.text.clone(), finish, calls: shown.tool_calls > 0, other: holds_something_else(shown) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Whole,
    Open,
}

impl Inspection {
    pub(super) fn new(checks: Checks, evaluated: bool, inquiry: &Arc<Inquiry>, target: &Arc<Target>) -> Self {
        let stage = match (checks.empty || checks.refusal, evaluated) {
            (true, _) => Stage::Head,
            (false, true) => Stage::Whole,
            (false, false) => Stage::Open,
        };
        let (inquiry, target) = (inquiry.clone(), target.clone());
        Self { checks, evaluated, inquiry, target, stage, committed: false, over: false }
    }

    /// Whether the answer is to be held back still.
    pub(crate) fn holds(&self) -> bool {
        !self.committed && !self.over && self.stage != Stage::Open
    }

    /// Whether nothing is left to look at.
    pub(crate) fn is_done(&self) -> bool {
        self.over || (!self.holds() && !self.checks.json && !self.checks.truncated)
    }

    /// The caller gets something of it.
    pub(crate) fn commit(&mut self) {
        self.committed = true;
    }

    /// Looks at what there is of the answer. `reasoning_opens` = reasoning is shown to the caller.
    ///
    /// # Errors
    /// What there is does not pass.
    pub(crate) fn look(&mut self, shown: &Shown, reasoning_opens: bool) -> Result<(), Fault> {
        if self.stage != Stage::Head || self.committed {
            return Ok(());
        }
        let opens = if shown.tool_calls > 0 || holds_something_else(shown) {
            true
        } else if !self.checks.refusal {
            !shown.text.trim_start().is_empty() || (reasoning_opens && shown.reasoning)
        } else {
            let settled = head::settled(&shown.text);
            if let Some(finding) = settled.and_then(|head| head::refusal(head, &self.target)) {
                return Err(finding.into_fault());
            }
            settled.is_some()
        };
        if opens {
            self.stage = if self.evaluated { Stage::Whole } else { Stage::Open };
        }
        Ok(())
    }

    /// More came than can be held, or than there is room for: it goes as it comes.
    pub(crate) fn let_go(&mut self, why: &str) -> Option<Record> {
        let check = match self.stage {
            Stage::Whole => Check::Evaluation,
            Stage::Head if self.checks.refusal => Check::Refusal,
            Stage::Head => Check::Empty,
            Stage::Open => return None,
        };
        self.stage = Stage::Open;
        self.evaluated = false;
        Some(Record::new(&self.target, check, Outcome::Skipped, Some(why.to_owned())))
    }

    /// The answer ended.
    ///
    /// # Errors
    /// It does not pass, and nobody has seen anything of it.
    pub(crate) fn end(&mut self, shown: &Shown, finish: Option<FinishReason>) -> Result<Option<Record>, Fault> {
        if std::mem::replace(&mut self.over, true) {
            return Ok(None);
        }
        let said = Said::in_stream(shown, finish);
        // What went out as the beginning of an answer is not called a refusal at its end.
        let checks = Checks { refusal: self.checks.refusal && !self.committed, ..self.checks };
        let Some(finding) = verdict::at_end(checks, &said, &self.inquiry, &self.target) else { return Ok(None) };
        if !self.committed {
            return Err(finding.into_fault());
        }
        Ok(Some(Record::new(&self.target, finding.check, Outcome::Recorded, Some(finding.why))))
    }
}
