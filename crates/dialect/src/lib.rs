//! The wire formats. One folder a dialect (request, answer, stream, error), plus what they share: the head scan, the
//! splice, the SSE decoder, the error envelope, the hint grammar.
//!
//! A dialect is two small traits: [`Inbound`] (what a surface needs: the caller's side) and [`Outbound`] (what a target
//! needs: the provider's side). [`inbound`] and [`outbound`] are the registry; adding a dialect is one folder and one
//! line in each.
//!
//! Pure: bytes in, canonical types out, and back. No sockets, no clock.

pub mod anthropic_messages;
pub mod gemini;
pub mod openai_chat;

mod continuation;
pub mod envelope;
pub mod hint;
mod place;
pub mod profile;
pub mod scan;
pub mod shown;
pub mod splice;
pub mod sse;

use bytes::{Bytes, BytesMut};
use canon::{Answer, CallerError, DialectName, Drops, Event, FinishReason, Request, Tag, Usage};
use profile::Profile;
pub use shown::Shown;

/// What the path of a request says that its body does not: Gemini puts the model and the kind of call there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathFacts {
    /// The model in the path (`/v1beta/models/{model}:generateContent`).
    pub model: Option<String>,
    /// `:streamGenerateContent`.
    pub stream: bool,
    /// Gemini without `alt=sse`: the stream is one JSON array.
    pub json_array: bool,
}

/// A body this dialect cannot read as a request; becomes a 400 in the caller's dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest {
    /// `invalid_json`, `invalid_type`, `missing_field`, `invalid_value`, `duplicate_key`.
    pub code: &'static str,
    /// One sentence naming the field, what was there and what was expected.
    pub message: String,
    /// The field's path: `messages[2].content`.
    pub parameter: Option<String>,
}

/// A request in a target's dialect.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedRequest {
    /// Path and query after the provider's base URL: `/chat/completions`, `/models/m:generateContent`.
    pub path: String,
    /// The JSON body.
    pub body: Bytes,
}

/// A request that cannot be said in the target's dialect at all (audio to Anthropic): the target is skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inexpressible {
    /// Where in the source: `messages[1].content[0]`.
    pub path: String,
    /// Why: `anthropic-messages takes no audio`.
    pub reason: &'static str,
}

/// An answer or a stream event that is not what the dialect promises; class `bad_answer` or a skipped event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

/// The caller's side of a dialect: requests in, answers out.
pub trait Inbound: Sync {
    /// Reads a request body.
    fn decode_request(&self, path: &PathFacts, body: &[u8]) -> Result<Request, BadRequest>;
    /// Writes a whole answer. `drops` takes what this dialect cannot show.
    fn encode_answer(&self, answer: &Answer, drops: &mut Drops) -> Bytes;
    /// A writer for one stream. `request` tells what the caller asked to see (usage, `n`); see [`StreamShape`].
    fn stream_encoder(&self, shape: StreamShape) -> Box<dyn StreamEncoder>;
    /// A writer in the middle of a stream of this dialect that `shown` was kept of: what it writes, after what the
    /// caller has, is one well-formed stream. Id, model and time stay; an open text block goes on, any other is closed;
    /// tool calls are numbered on.
    fn resume_encoder(&self, shape: StreamShape, shown: &Shown) -> Box<dyn StreamEncoder>;
    /// Writes an error body, with `metadata {fault, retryable, attempts[]}` inside the dialect's error object.
    fn encode_error(&self, error: &CallerError) -> Bytes;
}

/// The provider's side of a dialect: requests out, answers in.
pub trait Outbound: Sync {
    /// Writes a request for `model`, shaped by the target's profile. `drops` takes what the target cannot take.
    fn encode_request(
        &self,
        request: &Request,
        model: &str,
        profile: &Profile,
        drops: &mut Drops,
    ) -> Result<EncodedRequest, Inexpressible>;
    /// Reads a whole answer.
    fn decode_answer(&self, body: &[u8], profile: &Profile) -> Result<Answer, Malformed>;
    /// A reader for one stream, when it has to be translated.
    fn stream_decoder(&self, profile: &Profile) -> Box<dyn StreamDecoder>;
    /// A reader for one stream or answer of the *same* dialect as the caller's: the bytes pass untouched, this only
    /// learns usage, finish and faults from them. Must cost little more than a substring search on a content event.
    fn sniffer(&self, profile: &Profile) -> Box<dyn Sniffer>;
    /// Path and query of a call for `model` (same-dialect calls, whose body is not encoded here).
    fn path(&self, model: &str, stream: bool) -> String;
}

/// What a caller's stream must look like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamShape {
    /// Show usage (`stream_options.include_usage`; always in the other dialects).
    pub usage: bool,
    /// Gemini without `alt=sse`.
    pub json_array: bool,
    /// Used where the provider gave no id.
    pub fallback_id: String,
    /// Used where the provider named no model.
    pub fallback_model: String,
    /// Unix seconds, used where the provider gave none.
    pub created: i64,
}

/// Reads provider events into canonical ones. Sans-I/O: the driver feeds frames and drains `out`.
pub trait StreamDecoder: Send {
    /// Reads one SSE frame. A malformed one is an error the driver counts and skips.
    fn decode(&mut self, frame: &sse::Frame, out: &mut Vec<Event>) -> Result<(), Malformed>;
    /// The connection ended. `residue` is what followed the last complete frame (Gemini reports failures so). Emits
    /// `Done` if the protocol's terminator, or a finish reason for every candidate begun, was seen; else nothing, and
    /// the driver makes it `stream_broken`.
    fn end(&mut self, residue: &[u8], out: &mut Vec<Event>);
    /// Whether the answer would be whole if nothing more came, although no `Finish` was emitted yet.
    fn may_be_whole(&self) -> bool {
        false
    }
    /// The last token to go on with that the provider gave (Gemini 4); see [`canon::Continues::Token`].
    fn continuation_token(&self) -> Option<&str> {
        None
    }
}

/// Writes canonical events as the caller's stream.
///
/// The events of several targets may be written one after the other, each beginning with its `Start`. The last `Start`
/// before anything was written names the answer. One that comes later says that another target goes on: id, model and
/// time stay, open reasoning is closed (its signature was never told), a call whose end never came is given up, and the
/// calls that follow, counted from 0 again, are numbered on. `Usage` replaces the figures it states: over several
/// targets the driver gives sums.
pub trait StreamEncoder: Send {
    /// Appends whole events of the dialect (never a part of one). `Done` writes the terminator.
    fn encode(&mut self, event: &Event, out: &mut BytesMut, drops: &mut Drops);
    /// Ends a broken stream: the dialect's error event, and no terminator.
    fn fail(&mut self, error: &CallerError, out: &mut BytesMut);
}

/// What a same-dialect stream or answer shows in passing.
pub trait Sniffer: Send {
    /// Looks at one SSE frame and says what it is and whether to pass it on.
    fn sniff(&mut self, frame: &sse::Frame) -> Sniffed;
    /// Looks at a whole, not streamed answer; the same facts.
    fn sniff_answer(&mut self, body: &[u8]) -> Sniffed;
    /// The connection ended after `residue`: whether the stream was complete, or an error it reported at the end.
    fn end(&mut self, residue: &[u8]) -> StreamEnd;
    /// From now on keeps what goes by. Called before the first frame; costs nothing where it is not called.
    fn record(&mut self);
    /// Keeps nothing any more and gives the memory back.
    fn stop_recording(&mut self);
    /// What went by so far; `None` = it is not recorded. A malformed frame is not in it, as it is not passed on.
    fn shown(&self) -> Option<&Shown>;
    /// The same, to [`rewind`](Shown::rewind) it.
    fn shown_mut(&mut self) -> Option<&mut Shown>;
}

/// One frame of a same-dialect stream, as far as it concerns the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Sniffed {
    /// What it is to the commit gate; `None` = nothing to forward (comment, malformed: see `malformed`).
    pub tag: Option<Tag>,
    /// The frame is a usage report and nothing else (left out when the caller did not ask).
    pub only_usage: bool,
    /// It could not be read; skipped and counted.
    pub malformed: bool,
    /// Usage stated here, cumulative.
    pub usage: Option<Usage>,
    /// A finish reason stated here, with the provider's own word.
    pub finish: Option<(FinishReason, String)>,
    /// The error object stated here, for the catalogue to classify.
    pub error: Option<serde_json::Value>,
    /// The model that serves, when stated for the first time.
    pub model: Option<String>,
    /// The whole protocol terminator (`[DONE]`, `message_stop`) or the last finish was reached.
    pub terminator: bool,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEnd {
    /// With its terminator, or after a finish reason for every candidate.
    Complete,
    /// Without.
    Incomplete,
    /// With an error written after the last frame.
    Error(serde_json::Value),
}

/// The caller's side of a dialect.
pub fn inbound(name: DialectName) -> &'static dyn Inbound {
    match name {
        DialectName::OpenaiChat => &openai_chat::OpenaiChat,
        DialectName::AnthropicMessages => &anthropic_messages::AnthropicMessages,
        DialectName::Gemini => &gemini::Gemini,
    }
}

/// The provider's side of a dialect.
pub fn outbound(name: DialectName) -> &'static dyn Outbound {
    match name {
        DialectName::OpenaiChat => &openai_chat::OpenaiChat,
        DialectName::AnthropicMessages => &anthropic_messages::AnthropicMessages,
        DialectName::Gemini => &gemini::Gemini,
    }
}
