//! Which checks an answer must pass, as the configuration resolves them. They are carried out where answers are read;
//! what follows from one that is not passed is the fault table's row for `bad_answer`.

use std::time::Duration;

/// The cheap checks of a model's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Checks {
    /// Nothing was said, or white space alone.
    pub empty: bool,
    /// JSON mode or a JSON Schema was asked for, and the answer is no JSON, or does not follow the schema.
    pub json: bool,
    /// The answer ends because a limit was reached.
    pub truncated: bool,
    /// The answer begins with a phrase that the catalogue knows refusals by.
    pub refusal: bool,
}

impl Default for Checks {
    fn default() -> Self {
        Self { empty: true, json: true, truncated: false, refusal: false }
    }
}

/// A model that scores answers before they are given.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluate {
    /// The logical model that is asked.
    pub model: String,
    /// What is scored; at least one.
    pub criteria: Vec<Criterion>,
    /// The lowest score that passes, for every criterion; in (0, 1].
    pub threshold: f64,
    /// Longest wait for the scores; then the answer passes.
    pub timeout: Duration,
}

/// What is scored, from 0 to 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// It answers what was asked.
    Relevance,
    /// It does no harm.
    Safety,
    /// It hangs together, and is no gibberish.
    Coherence,
}

impl Criterion {
    /// Every criterion.
    pub const ALL: [Self; 3] = [Self::Relevance, Self::Safety, Self::Coherence];

    /// The name in configuration, in what the evaluator is asked, and in the trace.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Relevance => "relevance",
            Self::Safety => "safety",
            Self::Coherence => "coherence",
        }
    }
}
