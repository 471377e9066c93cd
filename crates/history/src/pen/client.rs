//! The client's pen.

use crate::record::{ClientEnd, ClientEvent, Event};
use crate::recorder::Recorder;
use crate::tally::Tally;
use std::sync::Arc;

/// Writes down what a client sees of one request.
pub struct ClientPen {
    recorder: Arc<dyn Recorder>,
    id: Box<str>,
    text: Option<Tally>,
    body: Tally,
    ended: bool,
}

impl ClientPen {
    /// The request is about to be sent under this `x-request-id`.
    pub fn sent(recorder: Arc<dyn Recorder>, id: &str) -> Self {
        recorder.record(Some(id), Event::Client(ClientEvent::Sent {}));
        Self { recorder, id: id.into(), text: None, body: Tally::EMPTY, ended: false }
    }

    /// The head of the answer is here.
    pub fn head(&self, status: u16) {
        self.write(ClientEvent::Head { status });
    }

    /// Text of the answer arrived. A client that reads text calls this at least once, be it with nothing.
    pub fn text(&mut self, text: &str) {
        self.text.get_or_insert(Tally::EMPTY).add(text);
    }

    /// Bytes of the body arrived.
    pub fn body(&mut self, bytes: &[u8]) {
        self.body.add(bytes);
    }

    /// It is over.
    pub fn end(mut self, outcome: ClientEnd) {
        self.write_end(outcome);
    }

    fn write_end(&mut self, outcome: ClientEnd) {
        self.ended = true;
        self.write(ClientEvent::End { outcome, text: self.text, body: Some(self.body) });
    }

    fn write(&self, event: ClientEvent) {
        self.recorder.record(Some(&self.id), Event::Client(event));
    }
}

/// A client that goes away hangs up.
impl Drop for ClientPen {
    fn drop(&mut self) {
        if !self.ended {
            self.write_end(ClientEnd::HungUp);
        }
    }
}
