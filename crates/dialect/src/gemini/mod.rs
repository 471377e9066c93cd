//! The `gemini` dialect: Google's `generateContent` and `streamGenerateContent` (AI Studio `v1beta`; Vertex speaks the
//! same bodies).
//!
//! Protobuf JSON rules hold inbound: camelCase and `snake_case` keys, `null` for absent, enums as names or numbers, a
//! lone object where a list is expected. Model and kind of call come from the path ([`PathFacts`]).
//!
//! Fields with no canonical form go into [`Request::extra`](canon::Request::extra) under their whole path
//! (`generationConfig.speechConfig`, `contents[0].parts[1].videoMetadata`), so that other dialects report exactly what
//! they drop and this one puts back what has a place outside `contents` and `tools`. A key of the caller's that looks
//! like a path stands quoted (`["generationConfig.topK"]`) and goes back as the one key it was.

mod answer;
mod cite;
mod contents_encode;
mod error;
mod json;
mod logprobs;
mod media;
mod names;
mod partial;
mod request_decode;
mod request_encode;
mod schema;
mod sniff;
mod stream_decode;
mod stream_encode;
mod turn_decode;
mod usage;
mod words;

use crate::profile::Profile;
use crate::{
    BadRequest, EncodedRequest, Inbound, Inexpressible, Malformed, Outbound, PathFacts, Shown, Sniffer, StreamDecoder,
    StreamEncoder, StreamShape, continuation,
};
use bytes::Bytes;
use canon::{Answer, CallerError, Drops, Request};
use std::fmt::Write as _;

/// The dialect.
pub struct Gemini;

impl Inbound for Gemini {
    fn decode_request(&self, path: &PathFacts, body: &[u8]) -> Result<Request, BadRequest> {
        request_decode::decode(path, body)
    }

    fn encode_answer(&self, answer: &Answer, drops: &mut Drops) -> Bytes {
        answer::encode(answer, drops)
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

impl Outbound for Gemini {
    fn encode_request(
        &self,
        request: &Request,
        model: &str,
        profile: &Profile,
        drops: &mut Drops,
    ) -> Result<EncodedRequest, Inexpressible> {
        continuation::check(request, profile)?;
        let body = request_encode::encode(request, profile, drops)?;
        Ok(EncodedRequest { path: path(model, request.stream), body })
    }

    fn decode_answer(&self, body: &[u8], _profile: &Profile) -> Result<Answer, Malformed> {
        answer::decode(body)
    }

    fn stream_decoder(&self, _profile: &Profile) -> Box<dyn StreamDecoder> {
        Box::new(stream_decode::Decoder::default())
    }

    fn sniffer(&self, _profile: &Profile) -> Box<dyn Sniffer> {
        Box::new(sniff::GeminiSniffer::default())
    }

    fn path(&self, model: &str, stream: bool) -> String {
        path(model, stream)
    }
}

/// Path and query after the base URL. Everything in the model id but unreserved characters is percent-encoded, slashes
/// and colons too: a model id can never reach another resource or another method.
fn path(model: &str, stream: bool) -> String {
    let (collection, id) = match model.split_once('/') {
        Some(("models", id)) => ("models", id),
        Some(("tunedModels", id)) => ("tunedModels", id),
        _ => ("models", model),
    };
    let mut out = format!("/{collection}/");
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out.push_str(if stream { ":streamGenerateContent?alt=sse" } else { ":generateContent" });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_model_and_the_kind_of_call() {
        assert_eq!(path("gemini-3-flash", false), "/models/gemini-3-flash:generateContent");
        assert_eq!(path("models/gemini-3-flash", true), "/models/gemini-3-flash:streamGenerateContent?alt=sse");
        assert_eq!(path("tunedModels/my-one", false), "/tunedModels/my-one:generateContent");
    }

    #[test]
    fn a_model_id_cannot_leave_its_path_segment() {
        for evil in ["../files", "a/../b", "x:deleteModel?y=", "a#b", "a b", "ü", "..", "%2e%2e/x"] {
            let path = path(evil, false);
            let id = path.strip_prefix("/models/").unwrap().strip_suffix(":generateContent").unwrap();
            assert!(!id.contains(['/', ':', '?', '#', ' ']), "{evil} became {path}");
            assert!(path.is_ascii());
        }
    }
}
