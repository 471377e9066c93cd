//! `OpenAI` chat completions, and the many APIs that copy it.
//!
//! One reader and one writer serve them all: reading tolerates every deviation seen in the wild (missing indexes,
//! several finish reasons, reasoning under three names, errors inside a 200), writing follows `OpenAI`'s own
//! specification and bends only where the target's [`Profile`](crate::profile::Profile) says so.
//!
//! Beyond the specification, answers written here carry `reasoning_content` (the field most compatible providers use
//! for the model's thinking), `reasoning_details` (`OpenRouter`'s field for signed or encrypted thinking of this
//! dialect), `images` (`OpenRouter`'s field for pictures made by the model) and `stop_reason` (`vLLM`'s field for the
//! stop sequence that was hit). Official SDKs keep unknown fields and ignore them.

mod answer_decode;
mod answer_encode;
mod citation;
mod error;
mod finish;
mod ids;
mod media;
mod message_decode;
mod message_encode;
mod names;
mod part_decode;
mod part_encode;
mod probe;
mod reader;
mod reasoning;
mod request_decode;
mod request_encode;
mod sniff;
mod stream_decode;
mod stream_encode;
mod tool_decode;
mod tool_encode;
mod tool_stream;
mod usage;

use crate::profile::Profile;
use crate::{
    BadRequest, EncodedRequest, Inbound, Inexpressible, Malformed, Outbound, PathFacts, Shown, Sniffer, StreamDecoder,
    StreamEncoder, StreamShape, continuation,
};
use bytes::Bytes;
use canon::{Answer, CallerError, Drops, Request};

/// The dialect's entry in the registry.
#[derive(Debug, Clone, Copy)]
pub struct OpenaiChat;

impl Inbound for OpenaiChat {
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
        Bytes::from(error::body(error).to_string())
    }
}

impl Outbound for OpenaiChat {
    fn encode_request(
        &self,
        request: &Request,
        model: &str,
        profile: &Profile,
        drops: &mut Drops,
    ) -> Result<EncodedRequest, Inexpressible> {
        continuation::check(request, profile)?;
        let body = request_encode::encode(request, model, profile, drops)?;
        let before = profile.continuation_path.as_deref().filter(|_| request.continues.is_some()).unwrap_or_default();
        Ok(EncodedRequest { path: format!("{before}{}", self.path(model, request.stream)), body })
    }

    fn decode_answer(&self, body: &[u8], profile: &Profile) -> Result<Answer, Malformed> {
        answer_decode::decode(body, profile)
    }

    fn stream_decoder(&self, profile: &Profile) -> Box<dyn StreamDecoder> {
        Box::new(stream_decode::Decoder::new(profile))
    }

    fn sniffer(&self, profile: &Profile) -> Box<dyn Sniffer> {
        Box::new(sniff::ChatSniffer::new(profile))
    }

    fn path(&self, _model: &str, _stream: bool) -> String {
        "/chat/completions".to_owned()
    }
}
