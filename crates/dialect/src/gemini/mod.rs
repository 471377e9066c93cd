//! Gemini

use crate::profile::Profile;
use crate::{
    BadRequest, EncodedRequest, Inbound, Inexpressible, Malformed, Outbound, PathFacts, Sniffer, StreamDecoder,
    StreamEncoder, StreamShape,
};
use bytes::Bytes;
use canon::{Answer, CallerError, Drops, Request};

/// The dialect.
pub struct Gemini;

impl Inbound for Gemini {
    fn decode_request(&self, _path: &PathFacts, _body: &[u8]) -> Result<Request, BadRequest> {
        todo!()
    }
    fn encode_answer(&self, _answer: &Answer, _drops: &mut Drops) -> Bytes {
        todo!()
    }
    fn stream_encoder(&self, _shape: StreamShape) -> Box<dyn StreamEncoder> {
        todo!()
    }
    fn encode_error(&self, _error: &CallerError) -> Bytes {
        todo!()
    }
}

impl Outbound for Gemini {
    fn encode_request(
        &self,
        _request: &Request,
        _model: &str,
        _profile: &Profile,
        _drops: &mut Drops,
    ) -> Result<EncodedRequest, Inexpressible> {
        todo!()
    }
    fn decode_answer(&self, _body: &[u8], _profile: &Profile) -> Result<Answer, Malformed> {
        todo!()
    }
    fn stream_decoder(&self, _profile: &Profile) -> Box<dyn StreamDecoder> {
        todo!()
    }
    fn sniffer(&self, _profile: &Profile) -> Box<dyn Sniffer> {
        todo!()
    }
    fn path(&self, _model: &str, _stream: bool) -> String {
        todo!()
    }
}
