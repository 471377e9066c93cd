//! The simulator's faults in a share of real calls.
//!
//! An [`Injector`] decorates an `upstream::Transport`: whoever holds the transport (the gateway, for a target with
//! `inject:`) wraps it, and neither the pipeline above nor the connections below know. Each target has its own, since
//! the share is counted by its calls. Faults of the connection and of the head replace the call; faults of the stream
//! are applied to the provider's own events as they pass, and end the call where they end the stream. Faults that live
//! below a transport (`gzip`, `goaway`, `one_stream_per_connection`) change nothing here.

use crate::behaviour::{Draw, FaultRule};
use crate::duration;
use crate::error::{self, Refusal};
use crate::fault::FaultKind;
use crate::memory::{broken, unreachable};
use crate::sever::WireCut;
use crate::sniff;
use crate::steps::{Chunk, Polled, Step, Steps};
use crate::tamper::{Tamper, as_whole};
use crate::turn::ConnectionFault;
use bytes::{Bytes, BytesMut};
use canon::{DialectName, Fault, Origin, Phase};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::Full;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use upstream::{Call, Reply, Transport};

/// The clock of injected dates, at the injector's start.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// A fault for a share of a target's calls, as `inject:` and the command line give it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Injection {
    /// The fault, e.g. `unavailable_503`, `rate_limited_429:retry_after=2`, `cut_mid_text`.
    pub fault: FaultKind,
    /// Share of calls, 0–100.
    #[serde(default = "all")]
    pub percent: f64,
    /// From this long after the start.
    #[serde(default, with = "duration::plain")]
    #[schemars(with = "String")]
    pub from: Duration,
    /// Until this long after the start.
    #[serde(default, with = "duration::optional")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Duration>,
    /// Seed of the draw.
    #[serde(default)]
    pub seed: u64,
}

fn all() -> f64 {
    100.0
}

impl Injection {
    /// The fault for every call.
    pub fn new(fault: FaultKind) -> Self {
        Self { fault, percent: all(), from: Duration::ZERO, until: None, seed: 0 }
    }
}

/// A transport that fails a share of the calls in the way of its injection, and passes the others through untouched.
pub struct Injector {
    inner: Arc<dyn Transport>,
    dialect: DialectName,
    rule: FaultRule,
    seed: u64,
    started: Instant,
    seen: AtomicU64,
}

impl Injector {
    /// Wraps a transport whose calls speak `dialect`; the injection's window begins now.
    pub fn new(inner: Arc<dyn Transport>, dialect: DialectName, injection: &Injection) -> Self {
        let rule = FaultRule {
            percent: injection.percent,
            from: injection.from,
            until: injection.until,
            ..FaultRule::new(injection.fault)
        };
        Self { inner, dialect, rule, seed: injection.seed, started: Instant::now(), seen: AtomicU64::new(0) }
    }

    fn draw(&self) -> Option<FaultKind> {
        let elapsed = Instant::now().saturating_duration_since(self.started);
        let ordinal = self.seen.fetch_add(1, Ordering::Relaxed);
        self.rule.hits(&Draw { elapsed, ordinal, seed: self.seed, place: 0 }).then_some(self.rule.fault)
    }
}

impl Transport for Injector {
    fn send(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>> {
        let Some(fault) = self.draw() else {
            return self.inner.send(call);
        };
        let inner = Arc::clone(&self.inner);
        let dialect = self.dialect;
        let now = SystemTime::UNIX_EPOCH + EPOCH + Instant::now().saturating_duration_since(self.started);
        Box::pin(async move {
            let connection = match fault {
                FaultKind::Refuse => Some(ConnectionFault::Refused),
                FaultKind::ResetBeforeHeaders => Some(ConnectionFault::Reset),
                FaultKind::TlsFailure => Some(ConnectionFault::Tls),
                _ => None,
            };
            if let Some(connection) = connection {
                return Err(unreachable(connection));
            }
            match fault {
                FaultKind::Unroutable => {
                    tokio::time::sleep(call.connect).await;
                    return Err(Fault { origin: Origin::Transport, ..Fault::timed_out(Phase::Connect, call.connect) });
                }
                FaultKind::HangBeforeHeaders => std::future::pending::<()>().await,
                FaultKind::SlowHeaders { by } => tokio::time::sleep(by).await,
                _ => {}
            }
            let model = sniff::model(&call);
            if let Some(refusal) = error::of_fault(dialect, fault, &model, now) {
                return Ok(refused(refusal, now));
            }
            let reply = inner.send(call).await?;
            if !reply.status.is_success() {
                return Ok(reply);
            }
            let is_stream = is_event_stream(&reply.headers);
            if !is_stream && let Some(refusal) = error::of_fault(dialect, as_whole(fault), &model, now) {
                return Ok(refused(refusal, now));
            }
            Ok(tampered(reply, dialect, fault, is_stream))
        })
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/event-stream"))
}

fn refused(refusal: Refusal, now: SystemTime) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(refusal.content_type));
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(now)) {
        headers.insert(header::DATE, date);
    }
    for (name, value) in &refusal.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = http_body_util::BodyExt::map_err(Full::new(refusal.body), |never| match never {});
    Reply { status, headers, body: Box::pin(body) }
}

fn tampered(mut reply: Reply, dialect: DialectName, fault: FaultKind, is_stream: bool) -> Reply {
    reply.headers.remove(header::CONTENT_LENGTH);
    let wait = match fault {
        FaultKind::SlowFirstToken { by } => by,
        _ => Duration::ZERO,
    };
    let body = InjectedBody {
        inner: Some(reply.body),
        buffer: BytesMut::new(),
        dialect,
        tamper: Tamper::new(dialect, &[fault]),
        wire: WireCut::new(dialect, &[fault]),
        steps: Steps::new(vec![Step::Wait(wait)]),
        is_stream,
        last_event: Instant::now(),
    };
    Reply { body: Box::pin(body), ..reply }
}

/// A real answer's body with a fault applied event by event.
struct InjectedBody {
    /// Gone once the provider has nothing more to say, or the fault has ended the answer.
    inner: Option<upstream::AnswerBody>,
    buffer: BytesMut,
    dialect: DialectName,
    tamper: Tamper,
    wire: Option<WireCut>,
    steps: Steps,
    is_stream: bool,
    last_event: Instant,
}

impl InjectedBody {
    fn is_ended(&self) -> bool {
        self.tamper.is_ended() || self.wire.as_ref().is_some_and(WireCut::is_ended)
    }

    fn is_slow(&self) -> bool {
        self.tamper.is_slow() || self.wire.as_ref().is_some_and(WireCut::is_slow)
    }

    fn queue(&mut self, steps: Vec<Step>) {
        let steps = match &mut self.wire {
            Some(wire) => wire.pass(steps),
            None => steps,
        };
        self.steps.extend(steps);
    }

    /// Turns what the buffer holds whole into steps.
    fn digest(&mut self, is_end: bool) {
        let mut steps = Vec::new();
        if !self.is_stream {
            if is_end {
                let body = Chunk::bare(self.buffer.split().freeze(), 1);
                self.tamper.whole(&body, &mut steps);
            }
            self.queue(steps);
            return;
        }
        while let Some(event) = sniff::next_event(&mut self.buffer, is_end) {
            if self.is_ended() {
                break;
            }
            let frame = sniff::frame(self.dialect, event);
            let now = Instant::now();
            if self.is_slow() && frame.kind.is_token() {
                // As long again as the provider itself took.
                steps.push(Step::Wait(now.saturating_duration_since(self.last_event)));
            }
            self.last_event = now;
            self.tamper.event(&frame, &mut steps);
        }
        if is_end && !self.tamper.is_ended() {
            self.tamper.end(&mut steps);
        }
        self.queue(steps);
    }
}

impl Body for InjectedBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        loop {
            match ready!(this.steps.poll(cx)) {
                Polled::Data(chunk) => return Poll::Ready(Some(Ok(Frame::data(chunk.bytes)))),
                Polled::Broken { .. } => return Poll::Ready(Some(Err(broken()))),
                Polled::Empty => {}
            }
            let Some(inner) = &mut this.inner else {
                return Poll::Ready(None);
            };
            let is_end = match ready!(inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.buffer.extend_from_slice(&data);
                    }
                    false
                }
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                None => true,
            };
            this.digest(is_end);
            if is_end || this.is_ended() {
                // Dropping the provider's body cancels what is left of the call.
                this.inner = None;
            }
        }
    }
}
