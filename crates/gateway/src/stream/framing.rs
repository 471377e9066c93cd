//! What stands around the events of a same-dialect stream.

use bytes::BytesMut;
use canon::DialectName;
use dialect::sse::Frame;

/// What stands around the events that pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// What the provider put there.
    Received,
    /// Elements of one JSON array, as Gemini streams to those who do not ask for events.
    Array {
        /// The first element is written.
        begun: bool,
    },
}

impl Framing {
    /// Events as they come, or an array.
    pub(crate) fn new(is_array: bool) -> Self {
        if is_array { Self::Array { begun: false } } else { Self::Received }
    }

    pub(super) fn write(&mut self, frame: &Frame, out: &mut BytesMut) {
        match self {
            Self::Received => out.extend_from_slice(&frame.raw),
            Self::Array { .. } => self.element(&frame.data, out),
        }
    }

    pub(super) fn element(&mut self, json: &[u8], out: &mut BytesMut) {
        let before: &[u8] = if *self == (Self::Array { begun: false }) { b"[" } else { b",\r\n" };
        out.extend_from_slice(before);
        out.extend_from_slice(json);
        *self = Self::Array { begun: true };
    }

    pub(super) fn close(self, out: &mut BytesMut) {
        match self {
            Self::Received => {}
            Self::Array { begun: true } => out.extend_from_slice(b"]"),
            Self::Array { begun: false } => out.extend_from_slice(b"[]"),
        }
    }
}

/// The event that ends a whole stream of this dialect, behind its finish reason.
pub(super) fn terminator(dialect: DialectName) -> &'static [u8] {
    match dialect {
        DialectName::OpenaiChat => b"data: [DONE]\n\n",
        DialectName::AnthropicMessages => b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        DialectName::Gemini => b"",
    }
}
