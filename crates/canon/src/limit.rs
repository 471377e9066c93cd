//! What a provider says of its own limits: how much it allows, how much is left, and when it is whole again.

use std::time::Duration;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Requests.
    Requests,
    /// Tokens of prompts and answers together.
    Tokens,
    /// Tokens of prompts.
    InputTokens,
    /// Tokens of answers.
    OutputTokens,
}

impl LimitKind {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// A place in a table of them.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// One limit, as an answer's headers tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitReading {
    /// What it counts.
    pub kind: LimitKind,
    /// How much is allowed at once.
    pub limit: u64,
    /// How much of that is left.
    pub remaining: u64,
    /// Until all of it is left again; `None` = not said.
    pub reset: Option<Duration>,
}

/// What one call takes of limits, besides being one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Tokens of the prompt, an estimate.
    pub input_tokens: u64,
    /// Tokens of the answer that it may well take.
    pub output_tokens: u64,
}

impl Load {
    /// What it takes of a limit of this kind.
    #[inline]
    pub fn of(&self, kind: LimitKind) -> u64 {
        match kind {
            LimitKind::Requests => 1,
            LimitKind::Tokens => self.input_tokens.saturating_add(self.output_tokens),
            LimitKind::InputTokens => self.input_tokens,
            LimitKind::OutputTokens => self.output_tokens,
        }
    }
}
