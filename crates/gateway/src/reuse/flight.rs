//! One exchange under way whose answer several callers share, or that is recorded to be given again.
//!
//! No task drives it: whoever has read everything there is polls the exchange itself, with a waker that wakes all who
//! take part, and the others find the piece on the [`Tape`]. So the quickest reader sets the pace, a slow one delays
//! nobody, and a caller that hangs up leaves the exchange to the rest. Nothing but those who take part holds it: with
//! the last of them it is dropped, and the upstream call with it.

use crate::Shared;
use crate::memory::Held;
use crate::readers::lock;
use crate::respond::GatewayBody;
use crate::settle::Watch;
use crate::witness::{Keeper, Witness};
use bytes::{Bytes, BytesMut};
use canon::{CallerError, DialectName, FinishReason, Instant};
use dialect::StreamShape;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use store::{Cache, End, Entry, Form, Freshness, Key, Read, ReaderId, Room, Tape};

/// Most of an answer that is kept for those behind the quickest reader, and most of one that is given again.
const LONGEST: usize = 8 << 20;

type Running = Pin<Box<dyn Future<Output = Response<GatewayBody>> + Send>>;

/// What becomes of the answer beyond those who wait for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose {
    /// The question it answers.
    pub key: Key,
    /// What its bytes look like.
    pub form: Form,
    /// Kept in the cache for so long.
    pub cache: Option<Freshness>,
    /// When the first caller's exchange must be over.
    pub deadline: Instant,
}

/// An exchange under way.
pub(crate) struct Flight {
    inner: Mutex<Inner>,
    wakers: Arc<Wakers>,
    takes_more: AtomicBool,
    bound: Mutex<Bound>,
    watch: Watch,
    purpose: Purpose,
    shared: Arc<Shared>,
}

struct Inner {
    stage: Stage,
    head: Option<Head>,
    tape: Tape<HeldRoom>,
    /// The answer may be given again.
    is_recorded: bool,
}

enum Stage {
    /// Before the commit.
    Reaching(Running),
    /// The answer is read.
    Answering(Box<GatewayBody>),
    /// Nothing follows. Also while the exchange is polled, so that a panic in it ends it for everybody.
    Over,
}

/// The idempotency keys whose requests this exchange answers.
enum Bound {
    /// It is under way.
    To(Vec<Key>),
    /// It ended, with this answer or without.
    Settled(Option<Arc<Entry>>),
}

/// The head of the answer.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its length, where it came whole.
    length: Option<u64>,
}

struct HeldRoom(Held);

impl Room for HeldRoom {
    fn take(&mut self, bytes: usize) -> bool {
        self.0.grow(bytes)
    }
    fn give(&mut self, bytes: usize) {
        self.0.give_back(bytes);
    }
}

impl Flight {
    /// An exchange that begins when it is first waited for. `watch` is told by its settlement.
    pub(crate) fn new(shared: &Arc<Shared>, running: Running, watch: Watch, purpose: Purpose) -> Self {
        let tape = Tape::new(LONGEST, HeldRoom(shared.budget.nothing()));
        Self {
            inner: Mutex::new(Inner { stage: Stage::Reaching(running), head: None, tape, is_recorded: true }),
            wakers: Arc::default(),
            takes_more: AtomicBool::new(true),
            bound: Mutex::new(Bound::To(Vec::new())),
            watch,
            purpose,
            shared: shared.clone(),
        }
    }

    /// Whether another caller can still have all of it.
    pub(crate) fn takes_more(&self) -> bool {
        self.takes_more.load(Ordering::Acquire)
    }

    /// When the first caller's exchange must be over.
    pub(crate) fn deadline(&self) -> Instant {
        self.purpose.deadline
    }

    /// Binds an idempotency key to its answer: `Err` = it has ended, with this answer or without.
    pub(crate) fn bind(&self, id: Key) -> Result<(), Option<Arc<Entry>>> {
        match &mut *lock(&self.bound) {
            Bound::To(ids) => ids.push(id),
            Bound::Settled(entry) => return Err(entry.clone()),
        }
        Ok(())
    }

    /// Another caller takes part, from the beginning; `None` when that is gone.
    pub(crate) fn join(self: &Arc<Self>) -> Option<Participant> {
        let reader = lock(&self.inner).tape.open()?;
        Some(Participant { flight: self.clone(), reader })
    }

    /// Polls the exchange once on behalf of everybody. `true` = something came of it, and the others were woken.
    fn advance(&self, inner: &mut Inner, reader: ReaderId) -> bool {
        let waker = Waker::from(self.wakers.clone());
        let mut cx = Context::from_waker(&waker);
        match std::mem::replace(&mut inner.stage, Stage::Over) {
            Stage::Reaching(mut running) => match running.as_mut().poll(&mut cx) {
                Poll::Pending => {
                    inner.stage = Stage::Reaching(running);
                    return false;
                }
                Poll::Ready(response) => self.reached(inner, response),
            },
            Stage::Answering(mut body) => match Pin::new(body.as_mut()).poll_frame(&mut cx) {
                Poll::Pending => {
                    inner.stage = Stage::Answering(body);
                    return false;
                }
                Poll::Ready(Some(Ok(frame))) => self.brought(inner, body, frame),
                Poll::Ready(Some(Err(never))) => match never {},
                Poll::Ready(None) => self.over(inner),
            },
            Stage::Over => self.over(inner),
        }
        self.wakers.remove(reader);
        self.wakers.wake_all();
        true
    }

    fn reached(&self, inner: &mut Inner, response: Response<GatewayBody>) {
        let (parts, mut body) = response.into_parts();
        let whole = match &mut body {
            GatewayBody::Whole(bytes, _) => Some(bytes.take().unwrap_or_default()),
            // What kept one caller company is no part of the answer.
            GatewayBody::Delayed(_) => {
                inner.is_recorded = false;
                None
            }
            GatewayBody::Relay(_) | GatewayBody::Watched(_) | GatewayBody::Shared(_) | GatewayBody::Lingering(_) => {
                None
            }
        };
        let length = whole.as_ref().map(|bytes| bytes.len() as u64);
        inner.head = Some(Head { status: parts.status, headers: parts.headers, length });
        match whole {
            // Nobody may poll to the end of a body whose length is known.
            Some(bytes) => {
                inner.tape.push(bytes);
                self.over(inner);
            }
            None => inner.stage = Stage::Answering(Box::new(body)),
        }
    }

    fn brought(&self, inner: &mut Inner, body: Box<GatewayBody>, frame: Frame<Bytes>) {
        if let Ok(bytes) = frame.into_data() {
            inner.tape.push(bytes);
        }
        if !inner.tape.is_from_start() {
            self.takes_more.store(false, Ordering::Release);
        }
        if body.is_end_stream() {
            self.over(inner);
        } else {
            inner.stage = Stage::Answering(body);
        }
    }

    /// Ends it once: what was complete is kept for those who ask later.
    fn over(&self, inner: &mut Inner) {
        if inner.tape.ended().is_some() {
            return;
        }
        self.takes_more.store(false, Ordering::Release);
        let succeeded = inner.head.as_ref().is_some_and(|head| head.status.is_success());
        let complete = succeeded && self.watch.get().is_some();
        inner.tape.end(if complete { End::Complete } else { End::Broken });
        let entry = self.entry(inner);
        let kept = &self.shared.kept;
        if let (Some(entry), Some(freshness)) = (entry.as_ref().filter(|_| self.may_be_cached()), self.purpose.cache) {
            kept.cache.put(self.purpose.key, entry.clone(), freshness);
        }
        let bound = std::mem::replace(&mut *lock(&self.bound), Bound::Settled(entry.clone()));
        if let Bound::To(ids) = bound {
            let now = self.shared.clock.now();
            for id in ids {
                kept.idempotency.settle(id, entry.as_ref(), now);
            }
        }
        kept.flights.leave(&self.purpose.key, self);
    }

    fn entry(&self, inner: &Inner) -> Option<Arc<Entry>> {
        if !inner.is_recorded {
            return None;
        }
        if self.purpose.cache.is_none() && matches!(&*lock(&self.bound), Bound::To(ids) if ids.is_empty()) {
            return None;
        }
        let (head, completed) = (inner.head.as_ref()?, self.watch.get()?);
        Some(Arc::new(Entry {
            form: self.purpose.form,
            head: super::replay::head_of(&head.headers),
            body: inner.tape.whole()?,
            usage: completed.usage.clone(),
            target: completed.target.clone(),
            model: completed.model.clone(),
            made: self.shared.clock.now(),
        }))
    }

    /// A blocked, paused or broken answer is no answer to the next one who asks.
    fn may_be_cached(&self) -> bool {
        let Some(completed) = self.watch.get().filter(|completed| completed.passed) else { return false };
        match completed.finish {
            Some(FinishReason::Stop | FinishReason::Length | FinishReason::ToolCalls) => true,
            Some(
                FinishReason::ContextFull
                | FinishReason::ContentFilter
                | FinishReason::Pause
                | FinishReason::BrokenOutput
                | FinishReason::ProviderError
                | FinishReason::Other,
            )
            | None => false,
        }
    }
}

/// One caller's part in an exchange. Dropping it is that caller's hang-up, and nobody else's.
pub(crate) struct Participant {
    flight: Arc<Flight>,
    reader: ReaderId,
}

impl Participant {
    /// Waits for the head of the answer; `None` when the exchange died of a panic.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        std::future::poll_fn(|cx| self.poll_head(cx)).await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Option<Head>> {
        let mut inner = lock(&self.flight.inner);
        loop {
            if inner.head.is_some() || inner.tape.ended().is_some() {
                return Poll::Ready(inner.head.clone());
            }
            self.flight.wakers.add(self.reader, cx.waker());
            if !self.flight.advance(&mut inner, self.reader) {
                return Poll::Pending;
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        let mut inner = lock(&self.flight.inner);
        loop {
            match inner.tape.read(self.reader) {
                Read::Piece(bytes) => return Poll::Ready(Piece::Next(bytes)),
                Read::Ended(_) => return Poll::Ready(Piece::End),
                Read::Lost => return Poll::Ready(Piece::Lost),
                Read::AtHead => {}
            }
            self.flight.wakers.add(self.reader, cx.waker());
            if !self.flight.advance(&mut inner, self.reader) {
                return Poll::Pending;
            }
        }
    }

    /// This caller's response.
    pub(crate) fn respond(self, head: Head, dialect: DialectName, shape: StreamShape) -> Response<GatewayBody> {
        let clock = self.flight.shared.clock;
        let body = SharedBody {
            participant: Some(self),
            length: head.length,
            begun: false,
            dialect,
            shape,
            clock,
            handed_over: None,
            keeper: Keeper::new(None),
        };
        let mut response = Response::new(GatewayBody::Shared(Arc::new(Mutex::new(body))));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        response
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        lock(&self.flight.inner).tape.close(self.reader);
        self.flight.wakers.remove(self.reader);
    }
}

enum Piece {
    Next(Bytes),
    End,
    Lost,
}

/// The answer of a shared exchange, as one caller reads it.
pub struct SharedBody {
    /// `None` once this caller has everything it will get.
    participant: Option<Participant>,
    length: Option<u64>,
    begun: bool,
    dialect: DialectName,
    shape: StreamShape,
    clock: crate::clock::Clock,
    /// When the caller was last given something; `None` while it waits for more.
    handed_over: Option<Instant>,
    /// Settles this caller's part of a history.
    keeper: Keeper,
}

impl SharedBody {
    /// Follows what this caller is given.
    pub(crate) fn followed(&mut self, witness: Option<Arc<Witness>>) {
        self.keeper = Keeper::new(witness);
    }

    /// This caller has all it will get of the answer.
    fn ended(&self) {
        if let Some(witness) = self.keeper.witness() {
            witness.shared();
        }
    }

    /// Whether it is a stream of events.
    pub(crate) fn is_stream(&self) -> bool {
        self.length.is_none()
    }

    /// Lets go of the exchange for a caller that has not asked for more since `limit` ago: see
    /// [`crate::relay::RelayBody::cut_off_if_unread`].
    pub(crate) fn cut_off_if_unread(&mut self, limit: Duration) {
        let now = self.clock.now();
        if self.handed_over.is_some_and(|at| now.saturating_since(at) >= limit) {
            self.participant = None;
        }
    }

    /// What this caller is told when what it needs next is gone: the dialect's error event, no terminator.
    fn lost(&self) -> Bytes {
        let error = CallerError {
            retryable: true,
            ..CallerError::new(
                502,
                "read_too_slowly",
                "the answer is shared with other callers and was read so slowly that a part of it is gone: ask again",
            )
        };
        let mut out = BytesMut::new();
        let inbound = dialect::inbound(self.dialect);
        if self.shape.json_array {
            out.extend_from_slice(if self.begun { b",\r\n" } else { b"[" });
            out.extend_from_slice(&inbound.encode_error(&error));
            out.extend_from_slice(b"]");
        } else {
            inbound.stream_encoder(self.shape.clone()).fail(&error, &mut out);
        }
        out.freeze()
    }
}

impl Body for SharedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.handed_over = None;
        let Some(participant) = &mut self.participant else { return Poll::Ready(None) };
        let bytes = match std::task::ready!(participant.poll_piece(cx)) {
            Piece::Next(bytes) => bytes,
            Piece::End => {
                self.ended();
                self.participant = None;
                return Poll::Ready(None);
            }
            Piece::Lost => {
                self.participant = None;
                self.lost()
            }
        };
        self.begun = true;
        self.handed_over = Some(self.clock.now());
        if let Some(witness) = self.keeper.witness() {
            witness.handed_over(&bytes);
            // Nobody may poll to the end of what is known to be over.
            if self.is_end_stream() {
                self.ended();
            }
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.participant.as_ref().is_none_or(|participant| {
            let inner = lock(&participant.flight.inner);
            inner.tape.has_read_all(participant.reader)
        })
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) if !self.begun => SizeHint::with_exact(length),
            Some(_) | None => SizeHint::default(),
        }
    }
}

/// Everybody who waits for the exchange.
#[derive(Default)]
struct Wakers(Mutex<Vec<(ReaderId, Waker)>>);

impl Wakers {
    fn add(&self, reader: ReaderId, waker: &Waker) {
        let mut wakers = lock(&self.0);
        match wakers.iter_mut().find(|(known, _)| *known == reader) {
            Some((_, known)) => known.clone_from(waker),
            None => wakers.push((reader, waker.clone())),
        }
    }

    fn remove(&self, reader: ReaderId) {
        lock(&self.0).retain(|(known, _)| *known != reader);
    }

    fn wake_all(&self) {
        let wakers = std::mem::take(&mut *lock(&self.0));
        for (_, waker) in wakers {
            waker.wake();
        }
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}
