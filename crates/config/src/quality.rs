//! Which checks an answer must pass: as it is written, and checked.

use crate::units::Span;
use routing::{Checks, Criterion, Evaluate};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// The longest wait for an evaluator when nothing says otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The lowest score that passes when nothing says otherwise.
const THRESHOLD: f64 = 0.7;

/// The cheap checks of a model's answers. Before the first content an answer that does not pass one is a `bad_answer`,
/// and the next target is asked; after it that is written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawChecks {
    /// Nothing was said, or white space alone; on by default.
    pub empty: Option<bool>,
    /// JSON mode or a JSON Schema was asked for, and the answer is no JSON, or does not follow the schema; on by
    /// default.
    pub json: Option<bool>,
    /// The answer ends because a limit was reached (finish reason `length`); off by default.
    pub truncated: Option<bool>,
    /// The answer begins as refusals do; off by default. The first sentence, or 200 characters, are held back for it.
    pub refusal: Option<bool>,
}

/// A model that scores answers before they are given. Whole answers are held back for it, 1 MiB at most; one that
/// scores too low is a `bad_answer`, and the next target is asked. Where there are no scores in time, the answer
/// passes.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawEvaluate {
    /// The model that is asked: one under `models`, or `provider/model`.
    pub model: String,
    /// What is scored, from 0 to 1: some of `relevance`, `safety`, `coherence`; all by default.
    #[serde(default)]
    pub criteria: Option<Vec<Criterion>>,
    /// The lowest score that passes, for every criterion; 0.7 by default.
    #[serde(default)]
    pub threshold: Option<f64>,
    /// Longest wait for the scores; 5s by default.
    #[serde(default)]
    pub timeout: Option<Span>,
}

pub(crate) fn checks(raw: Option<RawChecks>) -> Checks {
    let (raw, default) = (raw.unwrap_or_default(), Checks::default());
    Checks {
        empty: raw.empty.unwrap_or(default.empty),
        json: raw.json.unwrap_or(default.json),
        truncated: raw.truncated.unwrap_or(default.truncated),
        refusal: raw.refusal.unwrap_or(default.refusal),
    }
}

/// # Errors
/// Says what is wrong with it.
pub(crate) fn evaluate(raw: &RawEvaluate) -> Result<Evaluate, String> {
    let criteria = raw.criteria.clone().unwrap_or_else(|| Criterion::ALL.to_vec());
    if criteria.is_empty() {
        return Err("no `criteria`: expected some of relevance, safety, coherence".to_owned());
    }
    let mut seen = Vec::new();
    for criterion in &criteria {
        if seen.contains(criterion) {
            return Err(format!("`criteria` lists {} twice", criterion.as_str()));
        }
        seen.push(*criterion);
    }
    let threshold = raw.threshold.unwrap_or(THRESHOLD);
    if !(threshold > 0.0 && threshold <= 1.0) {
        return Err(format!("`threshold` is {threshold}: expected more than 0, and 1 at most"));
    }
    let timeout = raw.timeout.map_or(TIMEOUT, |span| span.0);
    if timeout.is_zero() {
        return Err("`timeout` of 0s waits for no score: expected more, or no `evaluate`".to_owned());
    }
    Ok(Evaluate { model: raw.model.clone(), criteria, threshold, timeout })
}
