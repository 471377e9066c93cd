//! One event of a stream, with what it is for: faults strike by meaning, whatever the dialect.

use bytes::Bytes;

/// What an event carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Before any content: a role, the start of a message or of a text block.
    Prelude,
    /// Thinking.
    Reasoning,
    /// Text.
    Text,
    /// A tool call begins.
    ToolStart,
    /// A piece of a tool call's arguments, or the whole call where the dialect does not split it.
    ToolArguments,
    /// The finish reason.
    Finish,
    /// Usage, `[DONE]`, `message_stop`.
    Tail,
    /// Pings, block ends.
    Other,
}

impl FrameKind {
    /// Whether it is something the caller was waiting for.
    pub(crate) fn is_content(self) -> bool {
        matches!(self, Self::Text | Self::ToolStart | Self::ToolArguments)
    }

    /// Whether the pace of tokens applies to it.
    pub(crate) fn is_token(self) -> bool {
        self.is_content() || self == Self::Reasoning
    }
}

/// One whole event as it goes over the wire, blank line included.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: FrameKind,
    pub(crate) bytes: Bytes,
    /// Bytes of the answer's text in it, unescaped; 0 in real traffic.
    pub(crate) text: usize,
    /// Tokens of output in it; 0 in real traffic.
    pub(crate) tokens: u32,
}

impl Frame {
    /// These bytes as they are.
    pub(crate) fn new(kind: FrameKind, bytes: impl Into<Bytes>) -> Self {
        Self { kind, bytes: bytes.into(), text: 0, tokens: 0 }
    }

    /// With so much of the answer in it.
    pub(crate) fn saying(self, text: usize, tokens: u32) -> Self {
        Self { text, tokens, ..self }
    }

    /// An event of `data:` alone.
    pub(crate) fn data(kind: FrameKind, value: &serde_json::Value) -> Self {
        Self::new(kind, format!("data: {value}\n\n"))
    }

    /// An event with its name, which is also the `type` of its data.
    pub(crate) fn named(kind: FrameKind, value: &serde_json::Value) -> Self {
        let name = value.get("type").and_then(serde_json::Value::as_str).unwrap_or_default();
        Self::new(kind, format!("event: {name}\ndata: {value}\n\n"))
    }
}
