//! A stream whose caller is kept company while its request waits in the queue (`queue: { keep_alive: … }`).
//!
//! Its status line went with the first comment, so whatever happens after it is told in the stream: an error is the
//! dialect's error event. Comments are for `openai-chat` and `anthropic-messages`, whose readers skip them; Gemini's
//! take every line for JSON, so their callers wait in silence.

use crate::clock::Clock;
use crate::respond::{self, GatewayBody};
use crate::witness::Keeper;
use bytes::{BufMut, Bytes, BytesMut};
use canon::{DialectName, Instant};
use http::{HeaderValue, Response, header};
use http_body::{Body, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

const COMMENT: &[u8] = b": mainstay: waiting for a target\n\n";

/// An exchange that goes on behind its own status line.
pub(crate) type Running = Pin<Box<dyn Future<Output = Response<GatewayBody>> + Send>>;

/// What an exchange and those who keep its caller company tell each other.
#[derive(Debug, Default)]
pub(crate) struct Vigil {
    /// The exchange waits in the queue at the moment.
    pub is_waiting: AtomicBool,
    /// The status line has gone to the caller.
    pub has_head: AtomicBool,
}

/// How a caller is kept company.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Company {
    /// Pause between two comments.
    pub pause: Duration,
    /// The caller's dialect.
    pub dialect: DialectName,
}

/// The body of such a stream.
pub struct DelayedBody {
    stage: Stage,
    company: Company,
    timer: Pin<Box<Sleep>>,
    clock: Clock,
    /// When the caller was last given something; `None` while it waits for more.
    handed_over: Option<Instant>,
    /// Settles the exchange's history, unless what comes out of it does.
    keeper: Keeper,
}

enum Stage {
    Waiting(Running),
    Answering(Box<GatewayBody>),
    Over,
}

/// Runs an exchange; as soon as it waits after a pause, its caller gets the status line and the first comment.
pub(crate) async fn keep_company(
    mut running: Running,
    vigil: &Vigil,
    company: Company,
    clock: Clock,
) -> Response<GatewayBody> {
    let mut pause = Box::pin(tokio::time::sleep(company.pause));
    let answered = std::future::poll_fn(|cx| {
        if let Poll::Ready(response) = running.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        ready!(pause.as_mut().poll(cx));
        if vigil.is_waiting.load(Ordering::Acquire) { Poll::Ready(None) } else { Poll::Pending }
    });
    if let Some(response) = answered.await {
        return response;
    }
    vigil.has_head.store(true, Ordering::Release);
    let timer = Box::pin(tokio::time::sleep(Duration::ZERO));
    let keeper = Keeper::new(None);
    let body = DelayedBody { stage: Stage::Waiting(running), company, timer, clock, handed_over: None, keeper };
    let mut response = Response::new(GatewayBody::Delayed(Arc::new(Mutex::new(body))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    respond::complete(headers);
    response
}

impl DelayedBody {
    /// Follows what this caller is given.
    pub(crate) fn followed(&mut self, keeper: Keeper) {
        self.keeper = keeper;
    }

    /// Cancels the exchange of a caller that has not asked for more since `limit` ago.
    pub(crate) fn cut_off_if_unread(&mut self, limit: Duration) {
        let now = self.clock.now();
        if self.handed_over.is_some_and(|at| now.saturating_since(at) >= limit) {
            self.stage = Stage::Over;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match &mut self.stage {
                Stage::Over => return Poll::Ready(None),
                Stage::Answering(body) => {
                    let frame = ready!(Pin::new(body.as_mut()).poll_frame(cx));
                    match frame.map(|Ok(frame)| frame.into_data()) {
                        Some(Ok(bytes)) => return Poll::Ready(Some(bytes)),
                        Some(Err(_trailers)) => {}
                        None => self.stage = Stage::Over,
                    }
                }
                Stage::Waiting(running) => match running.as_mut().poll(cx) {
                    Poll::Ready(response) => {
                        let failed = !response.status().is_success();
                        if !failed {
                            std::mem::replace(&mut self.keeper, Keeper::new(None)).responds(&response);
                        }
                        let mut body = response.into_body();
                        if failed {
                            self.stage = Stage::Over;
                            let event = error_event(self.company.dialect, &mut body);
                            if let Some(witness) = self.keeper.witness() {
                                witness.failed_in_stream(&event);
                            }
                            return Poll::Ready(Some(event));
                        }
                        self.stage = Stage::Answering(Box::new(body));
                    }
                    Poll::Pending => {
                        ready!(self.timer.as_mut().poll(cx));
                        self.timer.as_mut().reset(tokio::time::Instant::now() + self.company.pause);
                        let comment = Bytes::from_static(COMMENT);
                        if let Some(witness) = self.keeper.witness() {
                            witness.kept_company(&comment);
                        }
                        return Poll::Ready(Some(comment));
                    }
                },
            }
        }
    }
}

/// An error body as an event of a stream that has begun.
fn error_event(dialect: DialectName, body: &mut GatewayBody) -> Bytes {
    let error = match body {
        GatewayBody::Whole(bytes, _) => bytes.take().unwrap_or_default(),
        GatewayBody::Relay(_)
        | GatewayBody::Watched(_)
        | GatewayBody::Shared(_)
        | GatewayBody::Delayed(_)
        | GatewayBody::Lingering(_) => Bytes::new(),
    };
    let mut out = BytesMut::with_capacity(error.len() + 32);
    if dialect == DialectName::AnthropicMessages {
        out.put_slice(b"event: error\n");
    }
    out.put_slice(b"data: ");
    out.put_slice(&error);
    out.put_slice(b"\n\n");
    out.freeze()
}

impl Body for DelayedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.handed_over = None;
        let bytes = ready!(self.poll(cx));
        self.handed_over = bytes.as_ref().map(|_| self.clock.now());
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.stage {
            Stage::Over => true,
            Stage::Answering(body) => body.is_end_stream(),
            Stage::Waiting(_) => false,
        }
    }
}
