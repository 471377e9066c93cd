//! One step of a streamed answer, in no dialect.

use crate::{Citation, Fault, FinishReason, ProviderBound, Usage};
use serde_json::Value;

/// What a stream event is to the commit gate and the rescue: does the caller see something of the answer?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tag {
    /// Before anything of the answer: role, ids, pings.
    Prelude,
    /// Reasoning; content only if it is shown to the caller.
    Reasoning,
    /// Text, refusal, media.
    Content,
    /// A piece of a tool call.
    Tool,
    /// Token counts.
    Usage,
    /// The provider reports a failure inside its 200.
    Fault,
    /// The finish reason or the protocol's end.
    Done,
}

/// A canonical stream event. `candidate` is the index of the choice it belongs to (0 unless `n` > 1).
///
/// Order a decoder promises: `Start` first and once; per candidate deltas in wire order; `ToolCallStart` before the
/// `ToolCallDelta`s of its `call` and `ToolCallEnd` after them; `Finish` once a candidate, after its last delta;
/// `Usage` any time, cumulative; `Done` last and once, only when the protocol's own terminator (or end of stream after
/// a finish reason) was seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The head of the answer.
    Start {
        /// The provider's id of the answer.
        id: Option<String>,
        /// The model that serves, as the provider names it.
        model: Option<String>,
        /// Unix seconds.
        created: Option<i64>,
        /// Provider fields worth keeping: `system_fingerprint`, `service_tier`.
        extra: Vec<(String, Value)>,
    },
    /// A piece of text.
    Text {
        /// Which choice.
        candidate: u32,
        /// The piece; never empty.
        text: String,
        /// A signature that rides on the text part (Gemini).
        signature: Option<ProviderBound>,
    },
    /// A piece of a refusal.
    Refusal {
        /// Which choice.
        candidate: u32,
        /// The piece.
        text: String,
    },
    /// A piece of reasoning text.
    Reasoning {
        /// Which choice.
        candidate: u32,
        /// The piece; may be empty when only a signature comes.
        text: String,
        /// The signature that closes this block of reasoning.
        signature: Option<ProviderBound>,
    },
    /// Encrypted reasoning, whole.
    RedactedReasoning {
        /// Which choice.
        candidate: u32,
        /// The provider's own data.
        data: ProviderBound,
    },
    /// A tool call begins.
    ToolCallStart {
        /// Which choice.
        candidate: u32,
        /// Counts tool calls of this candidate from 0 (not content blocks).
        call: u32,
        /// The provider's id; encoders that need one make it up when it is missing.
        id: Option<String>,
        /// The tool.
        name: String,
        /// Gemini's `thoughtSignature`.
        signature: Option<ProviderBound>,
    },
    /// A piece of the arguments' JSON text.
    ToolCallDelta {
        /// Which choice.
        candidate: u32,
        /// Which call.
        call: u32,
        /// The piece.
        arguments: String,
    },
    /// The arguments are whole.
    ToolCallEnd {
        /// Which choice.
        candidate: u32,
        /// Which call.
        call: u32,
    },
    /// A source of the text so far.
    Citation {
        /// Which choice.
        candidate: u32,
        /// The source.
        citation: Citation,
    },
    /// Log probabilities as the `openai-chat` dialect writes them; other dialects drop and report them.
    Logprobs {
        /// Which choice.
        candidate: u32,
        /// The `logprobs` object.
        value: Value,
    },
    /// A candidate is finished.
    Finish {
        /// Which choice.
        candidate: u32,
        /// Why.
        reason: FinishReason,
        /// The provider's own word.
        native: Option<String>,
        /// The stop sequence that was hit, where the provider says.
        stop_sequence: Option<String>,
    },
    /// Token counts so far, cumulative.
    Usage(Usage),
    /// The provider reports a failure inside the stream. Not yet classified: the catalogue does that.
    Error(Value),
    /// The prompt was blocked; no candidate comes (Gemini `promptFeedback`).
    PromptBlocked(crate::PromptBlock),
    /// Provider-specific content that has no canonical form (server-side tool blocks, media out).
    Opaque {
        /// Which choice.
        candidate: u32,
        /// The dialect it belongs to.
        dialect: crate::DialectName,
        /// The provider's own JSON.
        value: Value,
    },
    /// A sign of life that carries nothing (`ping`).
    Ping,
    /// The stream ended as its protocol says.
    Done,
    /// The stream broke; made by the driver, never by a decoder.
    Fault(Fault),
}

impl Event {
    /// What this event is to the commit gate.
    pub fn tag(&self) -> Tag {
        match self {
            Self::Start { .. } | Self::Ping => Tag::Prelude,
            Self::Text { .. }
            | Self::Refusal { .. }
            | Self::Citation { .. }
            | Self::Logprobs { .. }
            | Self::Opaque { .. }
            | Self::PromptBlocked(_) => Tag::Content,
            Self::Reasoning { .. } | Self::RedactedReasoning { .. } => Tag::Reasoning,
            Self::ToolCallStart { .. } | Self::ToolCallDelta { .. } | Self::ToolCallEnd { .. } => Tag::Tool,
            Self::Usage(_) => Tag::Usage,
            Self::Error(_) | Self::Fault(_) => Tag::Fault,
            Self::Finish { .. } | Self::Done => Tag::Done,
        }
    }
}
