//! A refusal sent before the request was read whole.
//!
//! Closing a connection with unread bytes makes the kernel reset it, and the caller, still sending, never reads the
//! answer. So the answer goes out at once and the rest of the request is read off, bounded in bytes and time.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Most bytes read off.
const MOST_BYTES: usize = 128 << 20;
/// Longest time reading off.
const MOST_TIME: Duration = Duration::from_secs(10);

/// The refusal's body, then silence while the request is read off.
pub struct Lingering {
    answer: Option<Bytes>,
    rest: Option<Incoming>,
    read: usize,
    until: Pin<Box<Sleep>>,
}

impl Lingering {
    /// Sends `answer`, then reads off `rest`.
    pub(crate) fn new(answer: Bytes, rest: Incoming) -> Self {
        Self { answer: Some(answer), rest: Some(rest), read: 0, until: Box::pin(tokio::time::sleep(MOST_TIME)) }
    }
}

impl Lingering {
    /// Changes the refusal before it is sent.
    pub(crate) fn rewrite(&mut self, change: impl FnOnce(&Bytes) -> Bytes) {
        self.answer = self.answer.as_ref().map(change);
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(answer) = self.answer.take() {
            return Poll::Ready(Some(Ok(Frame::data(answer))));
        }
        loop {
            let this = &mut *self;
            let Some(rest) = &mut this.rest else { return Poll::Ready(None) };
            if this.read > MOST_BYTES || this.until.as_mut().poll(cx).is_ready() {
                this.rest = None;
                return Poll::Ready(None);
            }
            match Pin::new(rest).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => this.read += frame.data_ref().map_or(0, Bytes::len),
                Poll::Ready(Some(Err(_)) | None) => this.rest = None,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_none() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // Not exact: hyper drops a body once it has all the bytes it was promised, and with it the reading off.
        SizeHint::default()
    }
}
