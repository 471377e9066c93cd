//! The `anthropic-messages` dialect: Anthropic's Messages API, `POST /v1/messages`.
//!
//! Inbound it reads requests and writes answers, streams and errors the way the official SDKs read them. Outbound it
//! writes requests that the API accepts whatever history they come from, and reads answers, streams and the errors
//! inside them.
//!
//! Rules worth knowing before reading on:
//!
//! - **Unknown fields inside the body** (a tool's `defer_loading`, a block's `caller`) have no canonical place. The
//!   decoder keeps each in `Request::extra` under its path (`tools[0].defer_loading`): this dialect's encoder writes it
//!   back to where it stood, every other one reports that very path as dropped. A key of the caller's that looks like a
//!   path stands quoted (`["tools[0].strict"]`) and goes back as the one key it was.
//! - **Reasoning of another vendor** is shown as a `thinking` block with an empty signature. An empty signature marks
//!   the block as unsigned: read back from a history it is no [`canon::ProviderBound`] and never reaches a Claude.
//! - **Tool names** a Claude rejects are escaped (`a.b` → `a_x2E_b`) and unescaped in its answers.
//!
//! Source of the wire rules: Anthropic's public API reference, version 2023-06-01.

mod answer_decode;
mod answer_encode;
mod blocks;
mod citation;
mod content_decode;
mod error;
mod finish;
mod history;
mod names;
mod overlay;
mod pairing;
mod read;
mod request_decode;
mod request_encode;
mod schema;
mod sniff;
mod stream_decode;
mod stream_encode;
mod thinking;
mod tools;
mod usage;

use crate::profile::Profile;
use crate::{
    BadRequest, EncodedRequest, Inbound, Inexpressible, Malformed, Outbound, PathFacts, Shown, Sniffer, StreamDecoder,
    StreamEncoder, StreamShape, continuation,
};
use bytes::Bytes;
use canon::{Answer, CallerError, DialectName, Drops, Request};

/// This dialect's name, for values only it can read.
const DIALECT: DialectName = DialectName::AnthropicMessages;

/// The dialect.
pub struct AnthropicMessages;

impl Inbound for AnthropicMessages {
    fn decode_request(&self, _path: &PathFacts, body: &[u8]) -> Result<Request, BadRequest> {
        request_decode::decode(body)
    }

    fn encode_answer(&self, answer: &Answer, drops: &mut Drops) -> Bytes {
        answer_encode::encode(answer, drops)
    }

    fn stream_encoder(&self, shape: StreamShape) -> Box<dyn StreamEncoder> {
        Box::new(stream_encode::Encoder::new(shape))
    }

    fn resume_encoder(&self, shape: StreamShape, shown: &Shown) -> Box<dyn StreamEncoder> {
        Box::new(stream_encode::Encoder::resume(shape, shown))
    }

    fn encode_error(&self, error: &CallerError) -> Bytes {
        error::encode(error)
    }
}

impl Outbound for AnthropicMessages {
    fn encode_request(
        &self,
        request: &Request,
        model: &str,
        profile: &Profile,
        drops: &mut Drops,
    ) -> Result<EncodedRequest, Inexpressible> {
        continuation::check(request, profile)?;
        let body = request_encode::encode(request, model, profile, drops)?;
        Ok(EncodedRequest { path: self.path(model, request.stream), body })
    }

    fn decode_answer(&self, body: &[u8], _profile: &Profile) -> Result<Answer, Malformed> {
        answer_decode::decode(body)
    }

    fn stream_decoder(&self, _profile: &Profile) -> Box<dyn StreamDecoder> {
        Box::new(stream_decode::Decoder::default())
    }

    fn sniffer(&self, _profile: &Profile) -> Box<dyn Sniffer> {
        Box::new(sniff::Sniff::default())
    }

    fn path(&self, _model: &str, _stream: bool) -> String {
        "/messages".to_owned()
    }
}
