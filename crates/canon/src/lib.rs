//! The canonical types every dialect meets in: request, answer, stream event, usage, finish reason and fault.
//!
//! Canonical is a *superset* of the dialects (the union, not the intersection). Whatever a target cannot express is
//! dropped by its encoder and written into a [`Drops`] report; nothing is lost silently.
//!
//! Pure: no tokio, no sockets, no clock, no environment, no randomness.

mod answer;
mod drops;
mod error;
mod event;
mod fault;
mod instant;
mod limit;
mod priority;
mod request;
mod secret;
mod usage;

pub use answer::{Answer, Candidate, Citation, FinishReason, PromptBlock, SafetyRating};
pub use drops::{Dropped, Drops};
pub use error::{AttemptReport, CallerError, Delivered};
pub use event::{Event, Tag};
pub use fault::{Fault, FaultClass, Origin, Phase, Scope};
pub use instant::Instant;
pub use limit::{LimitKind, LimitReading, Load};
pub use priority::Priority;
pub use request::{
    CacheHint, Continues, Document, Effort, Media, MediaSource, Message, OutputFormat, Part, ProviderBound, Reasoning,
    ReasoningRequest, Request, Role, SafetySetting, Sampling, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
};
pub use secret::Secret;
pub use usage::Usage;

/// A wire format, by the name the configuration and the metrics use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DialectName {
    /// `OpenAI` chat completions, and every API that copies it.
    OpenaiChat,
    /// Anthropic Messages.
    AnthropicMessages,
    /// Google Gemini `generateContent`.
    Gemini,
}

impl DialectName {
    /// Every dialect, in the order the documentation lists them.
    pub const ALL: [Self; 3] = [Self::OpenaiChat, Self::AnthropicMessages, Self::Gemini];

    /// The name as configuration, logs and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenaiChat => "openai-chat",
            Self::AnthropicMessages => "anthropic-messages",
            Self::Gemini => "gemini",
        }
    }
}

impl std::fmt::Display for DialectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
