//! A whole answer, in no dialect.

use crate::{Part, Usage};
use serde_json::Value;

/// What a provider answered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The provider's id.
    pub id: Option<String>,
    /// The model that served, as the provider names it.
    pub model: Option<String>,
    /// Unix seconds.
    pub created: Option<i64>,
    /// The choices; empty when the prompt was blocked.
    pub candidates: Vec<Candidate>,
    /// Token counts.
    pub usage: Usage,
    /// The prompt was blocked (Gemini `promptFeedback`).
    pub prompt_block: Option<PromptBlock>,
    /// Provider fields worth keeping: `system_fingerprint`, `service_tier`.
    pub extra: Vec<(String, Value)>,
}

/// One choice of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Counts from 0.
    pub index: u32,
    /// Text, refusal, reasoning, tool calls, media, in order.
    pub parts: Vec<Part>,
    /// Why it ended; `None` = the provider did not say (not finished).
    pub finish: Option<FinishReason>,
    /// The provider's own word for it.
    pub native_finish: Option<String>,
    /// The stop sequence that was hit.
    pub stop_sequence: Option<String>,
    /// Sources not tied to one part (Gemini grounding and citation metadata).
    pub citations: Vec<Citation>,
    /// Safety ratings.
    pub safety: Vec<SafetyRating>,
    /// Log probabilities as `openai-chat` writes them.
    pub logprobs: Option<Value>,
}

/// Why a candidate ended: the unified column of `providers.md` §3.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model was done, or a stop sequence was hit.
    Stop,
    /// The output cap was reached.
    Length,
    /// The context window was full.
    ContextFull,
    /// The model wants tools run.
    ToolCalls,
    /// Safety, policy or a refusal.
    ContentFilter,
    /// The provider paused; the turn is to be sent again as it is.
    Pause,
    /// The model's output was broken (malformed call): class `bad_answer`.
    BrokenOutput,
    /// The provider failed while answering: class by its native word.
    ProviderError,
    /// A word this build does not know; the native word is kept.
    Other,
}

/// A blocked prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptBlock {
    /// The provider's own word: `SAFETY`, `PROHIBITED_CONTENT`, …
    pub reason: String,
    /// The provider's text, where there is one.
    pub message: Option<String>,
}

/// A safety rating, Gemini's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafetyRating {
    /// `HARM_CATEGORY_…`.
    pub category: String,
    /// `NEGLIGIBLE`, `LOW`, `MEDIUM`, `HIGH`.
    pub probability: Option<String>,
    /// Whether it blocked.
    pub blocked: bool,
}

/// Where a statement of the answer comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Citation {
    /// A web address.
    pub url: Option<String>,
    /// A title.
    pub title: Option<String>,
    /// The quoted text of the source.
    pub quoted: Option<String>,
    /// Start in the answer's text, in characters, where known.
    pub start: Option<u64>,
    /// End in the answer's text, in characters, where known.
    pub end: Option<u64>,
    /// The index of the caller's document it points into.
    pub document: Option<u64>,
    /// The source dialect's own object, so that the same dialect gets it back whole.
    pub native: Option<(crate::DialectName, Value)>,
}
