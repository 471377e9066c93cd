//! What is wrong with an answer that has come to its end.

use super::{Check, Finding, head, schema};
use crate::inquiry::Inquiry;
use canon::{FinishReason, OutputFormat};
use routing::{Checks, Target};
use serde_json::Value;

/// What an answer says, as far as it is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Its text.
    pub text: String,
    /// Why it ended.
    pub finish: Option<FinishReason>,
    /// It calls tools.
    pub calls: bool,
    /// It holds something else: media, a marked refusal, a block of one vendor.
    pub other: bool,
}

/// How an answer ended, as far as that bears on checks.
enum End {
    /// As the model wanted.
    Whole,
    /// At a limit.
    Limit,
    /// The provider blocked it, or it goes on in another request: not ours to judge.
    Untouched,
}

fn end_of(finish: Option<FinishReason>) -> End {
    match finish {
        None
        | Some(
            FinishReason::Stop
            | FinishReason::ToolCalls
            | FinishReason::BrokenOutput
            | FinishReason::ProviderError
            | FinishReason::Other,
        ) => End::Whole,
        Some(FinishReason::Length | FinishReason::ContextFull) => End::Limit,
        Some(FinishReason::ContentFilter | FinishReason::Pause) => End::Untouched,
    }
}

/// What does not pass; the first thing found.
pub(super) fn at_end(checks: Checks, said: &Said, inquiry: &Inquiry, target: &Target) -> Option<Finding> {
    match end_of(said.finish) {
        End::Untouched => return None,
        End::Limit => {
            // JSON that was cut off is broken for that reason alone, and an answer of white space may be all that the
            // cap of a caller left room for.
            return checks.truncated.then(|| Finding::new(Check::Truncated, "a limit cut it off"));
        }
        End::Whole => {}
    }
    if said.calls || said.other {
        return None;
    }
    if said.text.trim().is_empty() {
        return checks.empty.then(|| Finding::new(Check::Empty, "it is white space alone"));
    }
    if checks.refusal
        && let Some(finding) = head::refusal(&said.text, target)
    {
        return Some(finding);
    }
    if checks.json { json(&said.text, inquiry) } else { None }
}

/// Whether a text is the JSON that was asked for.
fn json(text: &str, inquiry: &Inquiry) -> Option<Finding> {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            let place = format!("it is no JSON from line {} column {} on", error.line(), error.column());
            return Some(Finding::new(Check::Json, place));
        }
    };
    let Ok(request) = inquiry.canonical() else { return None };
    match &request.output {
        OutputFormat::JsonSchema { schema, .. } => {
            let violation = schema::violation(schema, &value)?;
            Some(Finding::new(Check::Schema, violation.to_string()))
        }
        OutputFormat::JsonObject | OutputFormat::Text => None,
    }
}
