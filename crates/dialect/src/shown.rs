//! What a caller has of an answer whose stream broke: enough for another target to go on with it in the same stream.
//!
//! Where bytes pass untouched, the [`Sniffer`](crate::Sniffer) keeps it beside its other work; where a stream is
//! translated, [`Shown::take`] keeps it from the canonical events. Both say the same of the same frames. Only plain
//! text of the first candidate can be gone on with: whatever else goes by is counted, or named as the [`Obstacle`].

use canon::Event;
use std::fmt;

/// What a caller has of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shown {
    /// The beginning of the stream went by (the role, `message_start`, a chunk): it cannot be begun again.
    pub begun: bool,
    /// The provider's id of the answer.
    pub id: Option<String>,
    /// The model that serves, as the provider names it.
    pub model: Option<String>,
    /// Unix seconds.
    pub created: Option<i64>,
    /// Text of candidate 0, unescaped, all text parts joined in order.
    pub text: String,
    /// Reasoning went by (any at all).
    pub reasoning: bool,
    /// A signature over reasoning, or encrypted reasoning, went by: only the model that made it reads it.
    pub signed: bool,
    /// The last token to go on with that the provider gave (Gemini 4 `continuationToken`).
    pub continuation_token: Option<String>,
    /// Numbers of content blocks used up (`anthropic-messages`): one more than the highest index.
    pub blocks: u32,
    /// The content block that was begun and not closed (`anthropic-messages`).
    pub open_block: Option<OpenBlock>,
    /// Numbers of tool calls used up: calls that went by, whole or in part.
    pub tool_calls: u32,
    /// The last of these calls may be in part.
    pub open_call: bool,
    /// The candidate's finish reason went by: nothing is left to go on with.
    pub finished: bool,
    /// Why it cannot be gone on with, the first reason seen; `None` = nothing speaks against it.
    pub obstacle: Option<Obstacle>,
}

/// A content block of an `anthropic-messages` stream that is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenBlock {
    /// Its index.
    pub index: u32,
    /// What it holds.
    pub kind: BlockKind,
}

/// What a content block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// Text.
    Text,
    /// Reasoning, plain or encrypted.
    Thinking,
    /// A tool call.
    Tool,
    /// Anything else.
    Other,
}

/// Why an answer cannot be gone on with by another target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// More than one candidate.
    Candidates,
    /// Log probabilities: the seam would have none, or another model's.
    Logprobs,
    /// A refusal: the model had decided.
    Refusal,
    /// Sources, whose places in the text would be another answer's.
    Citations,
    /// Pictures or sound.
    Media,
    /// Content of one vendor alone (server-side tools), or some that could not be read.
    Opaque,
}

impl Obstacle {
    /// The word for logs and resume hints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Candidates => "candidates",
            Self::Logprobs => "logprobs",
            Self::Refusal => "refusal",
            Self::Citations => "citations",
            Self::Media => "media",
            Self::Opaque => "opaque",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A state of [`Shown`] to come back to. It holds no text and no names: it is good for the value it was taken of, for
/// as long as that one's text has only grown; names are stated once and stay.
#[derive(Debug, Clone)]
pub struct Mark {
    text: usize,
    continuation_token: Option<String>,
    reasoning: bool,
    signed: bool,
    begun: bool,
    blocks: u32,
    open_block: Option<OpenBlock>,
    tool_calls: u32,
    open_call: bool,
    finished: bool,
    obstacle: Option<Obstacle>,
}

impl Shown {
    /// Nothing yet, with room for the text of a short answer, so that it does not grow step by step.
    pub(crate) fn with_room() -> Self {
        Self { text: String::with_capacity(128), ..Self::default() }
    }

    /// Where it stands now. Taken before each frame that may have to be held, so it costs no allocation.
    pub fn mark(&self) -> Mark {
        Mark {
            text: self.text.len(),
            continuation_token: self.continuation_token.clone(),
            reasoning: self.reasoning,
            signed: self.signed,
            begun: self.begun,
            blocks: self.blocks,
            open_block: self.open_block,
            tool_calls: self.tool_calls,
            open_call: self.open_call,
            finished: self.finished,
            obstacle: self.obstacle,
        }
    }

    /// Goes back: the frames looked at since were held, and thrown away.
    pub fn rewind(&mut self, mark: &Mark) {
        let mut text = std::mem::take(&mut self.text);
        text.truncate(mark.text);
        // Names stand in the first frame: they were shown if anything was.
        *self = Self {
            begun: mark.begun,
            id: self.id.take().filter(|_| mark.begun),
            model: self.model.take().filter(|_| mark.begun),
            created: self.created.filter(|_| mark.begun),
            text,
            reasoning: mark.reasoning,
            signed: mark.signed,
            continuation_token: mark.continuation_token.clone(),
            blocks: mark.blocks,
            open_block: mark.open_block,
            tool_calls: mark.tool_calls,
            open_call: mark.open_call,
            finished: mark.finished,
            obstacle: mark.obstacle,
        };
    }

    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let held = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
        size_of::<Self>() + self.text.capacity() + held(&self.id) + held(&self.model) + held(&self.continuation_token)
    }

    /// Whether nothing of the answer itself went by: no text, no reasoning, no call, nothing that stands in the way.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && !self.reasoning && self.tool_calls == 0 && self.obstacle.is_none()
    }

    /// Takes a canonical event that the caller was shown. Blocks are `anthropic-messages`' own and are not counted
    /// here.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Start { id, model, created, .. } => {
                self.begun = true;
                self.name(id.as_deref(), model.as_deref(), *created);
            }
            Event::Text { candidate, text, signature } => {
                if self.is_first(*candidate) {
                    self.text.push_str(text);
                    self.signed |= signature.is_some();
                }
            }
            Event::Refusal { candidate, .. } => self.hinder_in(*candidate, Obstacle::Refusal),
            Event::Reasoning { candidate, text, signature } => {
                if self.is_first(*candidate) {
                    self.reasoning |= !text.is_empty();
                    self.signed |= signature.is_some();
                }
            }
            Event::RedactedReasoning { candidate, .. } => {
                if self.is_first(*candidate) {
                    self.reasoning = true;
                    self.signed = true;
                }
            }
            Event::ToolCallStart { candidate, call, .. } => {
                if self.is_first(*candidate) {
                    self.tool_calls = self.tool_calls.max(call.saturating_add(1));
                    self.open_call = true;
                }
            }
            Event::ToolCallEnd { candidate, call } => {
                if self.is_first(*candidate) && call.saturating_add(1) == self.tool_calls {
                    self.open_call = false;
                }
            }
            Event::ToolCallDelta { candidate, .. } => {
                self.is_first(*candidate);
            }
            Event::Citation { candidate, .. } => self.hinder_in(*candidate, Obstacle::Citations),
            Event::Logprobs { candidate, .. } => self.hinder_in(*candidate, Obstacle::Logprobs),
            Event::Opaque { candidate, value, .. } => {
                let media = value.get("inlineData").is_some() || value.get("message").is_some();
                self.hinder_in(*candidate, if media { Obstacle::Media } else { Obstacle::Opaque });
            }
            Event::PromptBlocked(_) => self.hinder(Obstacle::Refusal),
            Event::Finish { candidate, .. } => {
                if self.is_first(*candidate) {
                    self.finished = true;
                    self.open_call = false;
                }
            }
            Event::Usage(_) | Event::Error(_) | Event::Ping | Event::Done | Event::Fault(_) => {}
        }
    }

    /// The head of the stream, as far as it is stated; the first statement counts.
    pub(crate) fn name(&mut self, id: Option<&str>, model: Option<&str>, created: Option<i64>) {
        let keep = |held: &mut Option<String>, stated: Option<&str>| {
            if held.is_none() {
                *held = stated.filter(|text| !text.is_empty()).map(str::to_owned);
            }
        };
        keep(&mut self.id, id);
        keep(&mut self.model, model);
        self.created = self.created.or(created.filter(|seconds| *seconds > 0));
    }

    /// Names what stands in the way; the first counts.
    pub(crate) fn hinder(&mut self, obstacle: Obstacle) {
        self.obstacle.get_or_insert(obstacle);
    }

    fn hinder_in(&mut self, candidate: u32, obstacle: Obstacle) {
        if self.is_first(candidate) {
            self.hinder(obstacle);
        }
    }

    /// Whether it is the one candidate there may be.
    pub(crate) fn is_first(&mut self, candidate: u32) -> bool {
        if candidate != 0 {
            self.hinder(Obstacle::Candidates);
        }
        candidate == 0
    }
}
