//! What the gateway writes into a history while one is kept: see the crate `history`.
//!
//! A witness follows one exchange from outside: it reads the providers' bytes as they arrive and the caller's bytes as
//! they leave, each with the codec of their dialect, and never what the gateway believes of them. It decides nothing
//! and changes nothing but one header of the upstream call. Without a history there is none, and nothing is read twice.

use crate::readers::lock;
use crate::respond::GatewayBody;
use bytes::{Bytes, BytesMut};
use canon::{DialectName, Event, Fault, FaultClass, Part, Usage};
use catalog::Usd;
use dialect::profile::Profile;
use dialect::sse::{self, Decoder, Frame};
use dialect::{StreamDecoder, outbound};
use history::{ATTEMPT_HEADER, GatewayEnd, GatewayPen, Origin, Recorder, Tokens, Way, attempt_tag};
use http::{HeaderName, HeaderValue, Response, header};
use http_body::Body;
use routing::{AttemptId, Machine, Model, Plan, Start};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use upstream::{AnswerBody, Call, Reply, Transport};

/// More time than a deadline leaves: there is none.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Longest event and longest whole answer that is read along.
const LONGEST: usize = 64 << 20;

/// A history that the gateway writes.
#[derive(Clone)]
pub struct History {
    /// Where records go.
    pub recorder: Arc<dyn Recorder>,
    /// Which providers are told the request's id and the attempt's number, so that a simulated one can write its own
    /// log.
    pub tags: Tags,
}

/// Which upstream calls carry `x-mainstay-attempt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    /// Those to this machine: nothing of a caller's request leaves it that would not leave it without a history.
    Loopback,
    /// All of them.
    All,
}

/// Follows one exchange.
pub(crate) struct Witness {
    history: History,
    pen: GatewayPen,
    dialect: DialectName,
    as_array: bool,
    /// Attempts of this exchange before it waited: the numbers of a machine go on from there.
    earlier: AtomicU32,
    /// Exchanges that were begun for this request and whose answers are recorded or shared.
    flights: AtomicU32,
    /// What is handed over, read along.
    shown: Mutex<Reading>,
}

impl Witness {
    /// An exchange begins; `as_array` = its stream is one JSON array.
    pub(crate) fn new(history: &History, id: Arc<str>, dialect: DialectName, as_array: bool) -> Arc<Self> {
        let pen = GatewayPen::received(history.recorder.clone(), id);
        Self::with(history, pen, dialect, as_array)
    }

    /// An exchange begins for this request whose answer is recorded or shared with others: it outlives any of them, so
    /// it has an id of its own.
    pub(crate) fn of_flight(&self) -> Arc<Self> {
        let number = self.flights.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}+{number}", self.pen.id()).into();
        let pen = GatewayPen::began(self.history.recorder.clone(), id);
        Self::with(&self.history, pen, self.dialect, self.as_array)
    }

    fn with(history: &History, pen: GatewayPen, dialect: DialectName, as_array: bool) -> Arc<Self> {
        Arc::new(Self {
            history: history.clone(),
            pen,
            dialect,
            as_array,
            earlier: AtomicU32::new(0),
            flights: AtomicU32::new(0),
            shown: Mutex::new(Reading::Nothing),
        })
    }

    /// The number of an attempt in the whole exchange.
    fn number(&self, attempt: AttemptId) -> u32 {
        self.earlier.load(Ordering::Relaxed).saturating_add(attempt.0)
    }

    /// The candidates and the limits of a round are known; `earlier` attempts were made before it.
    pub(crate) fn planned(&self, earlier: u32, plan: &Plan, left: Duration, model: &Model) {
        self.earlier.store(earlier, Ordering::Relaxed);
        let left = (left < FOR_EVER).then_some(left);
        let candidates = u32::try_from(plan.candidates.len()).unwrap_or(u32::MAX);
        let most = (model.settings.max_attempts, model.settings.max_targets);
        let trials = plan.primary.map(|drawn| model.trials(drawn, None)).unwrap_or_default();
        let arms = trials.iter().map(|trial| trial.to_string().into()).collect();
        self.pen.planned(candidates, left, most, arms);
    }

    /// An attempt begins.
    pub(crate) fn started(&self, start: &Start, is_hedge: bool) {
        let way = match (is_hedge, start.is_probe) {
            (true, _) => Way::Hedge,
            (false, true) => Way::Probe,
            (false, false) => Way::Next,
        };
        let credential = u32::try_from(start.credential).unwrap_or(u32::MAX);
        let at = (&*start.target.id, start.target.region.as_deref());
        self.pen.attempt_started(self.number(start.attempt), at, credential, way);
    }

    /// An attempt is over; no fault = it brought a whole answer.
    pub(crate) fn ended(&self, attempt: AttemptId, fault: Option<&Fault>) {
        self.pen.attempt_ended(self.number(attempt), fault);
    }

    /// The gate opens for this attempt; others still running are given up.
    pub(crate) fn serves(&self, attempt: AttemptId, others: impl Iterator<Item = AttemptId>) {
        others.for_each(|other| self.given_up(self.number(other)));
        self.pen.committed(self.number(attempt));
    }

    fn given_up(&self, attempt: u32) {
        let fault = Fault::new(FaultClass::Cancelled, canon::Origin::Mainstay, "");
        self.pen.attempt_ended(attempt, Some(&Fault { may_be_billed: true, ..fault }));
    }

    /// The probe that lost to its hedge goes on by itself. Keep what this returns until it is over.
    pub(crate) fn goes_on(self: &Arc<Self>, attempt: AttemptId) -> Beyond {
        let attempt = self.number(attempt);
        self.pen.goes_on(attempt);
        Beyond { witness: self.clone(), attempt }
    }

    /// Another attempt goes on with the broken answer; so many bytes of its text repeat what the caller had.
    pub(crate) fn goes_on_with(&self, attempt: AttemptId, skipped: usize) {
        self.pen.joined(self.number(attempt), skipped);
    }

    /// A limit of the caller's own ends the answer before its provider does.
    pub(crate) fn limited(&self, attempt: AttemptId) {
        self.pen.limited(self.number(attempt));
    }

    /// A caller that waits for a target gets a sign of life.
    pub(crate) fn kept_company(&self, comment: &Bytes) {
        self.pen.handed_over(comment);
    }

    /// Nobody could answer, which a stream that has begun has to say itself.
    pub(crate) fn failed_in_stream(&self, event: &Bytes) {
        self.pen.handed_over(event);
        self.pen.released("");
        self.pen.decided(GatewayEnd::EndedHonestly);
    }

    /// What the answer, or the part of one that there is, came to.
    pub(crate) fn paid(&self, usage: &Usage, machine: &Machine) {
        let elsewhere = machine.trials().into_iter().filter(|trial| trial.served.is_some());
        let elsewhere = elsewhere.map(|trial| trial.to_string().into()).collect();
        self.pen.paid(machine.cost(usage).map(Usd::pico), elsewhere);
    }

    /// The exchange is answered.
    pub(crate) fn answered(&self, machine: &Machine) {
        if let Some(served) = machine.served_by() {
            self.pen.serves(Origin::Attempt(self.number(served.attempt)));
            self.ended(served.attempt, None);
        }
        self.pen.decided(GatewayEnd::Answered);
    }

    /// The committed stream broke and was ended honestly.
    pub(crate) fn broken(&self, fault: &Fault, machine: &Machine) {
        if let Some(served) = machine.served_by() {
            self.ended(served.attempt, Some(fault));
        }
        self.pen.decided(GatewayEnd::EndedHonestly);
    }

    /// The exchange ends in another way.
    pub(crate) fn decided(&self, outcome: GatewayEnd) {
        self.pen.decided(outcome);
    }

    /// A streamed answer is about to be handed over, or one in one piece.
    pub(crate) fn hands_over(&self, is_stream: bool) {
        let profile = Profile::default();
        *lock(&self.shown) = if is_stream {
            Reading::stream(self.dialect, &profile, self.as_array)
        } else {
            Reading::whole(self.dialect, &profile)
        };
        self.pen.released("");
    }

    /// Whether an answer is read as events; a kept stream may be given again in one piece.
    fn is_stream(&self, response: &Response<GatewayBody>) -> bool {
        let kind = response.headers().get(header::CONTENT_TYPE);
        self.as_array || kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
    }

    /// Bytes of an answer leave.
    pub(crate) fn handed_over(&self, bytes: &Bytes) {
        self.pen.handed_over(bytes);
        lock(&self.shown).feed(bytes, &mut |read| self.released(&read));
    }

    /// All of it left; says whether it was whole.
    fn has_left(&self) -> bool {
        lock(&self.shown).end(&mut |read| self.released(&read))
    }

    fn released(&self, read: &Read<'_>) {
        if let Read::Text(text) = read {
            self.pen.released(text);
        }
    }

    /// Another exchange's answer was handed over to its end: a true one, or an error event.
    pub(crate) fn shared(&self) {
        if self.pen.is_decided() {
            return;
        }
        let is_whole = self.has_left();
        self.pen.decided(if is_whole { GatewayEnd::Answered } else { GatewayEnd::EndedHonestly });
    }

    /// The response is on its way: whole answers and refusals leave now.
    fn responds(&self, response: &Response<GatewayBody>) {
        let is_answer = response.status().is_success();
        if !self.pen.is_decided() {
            if is_answer {
                self.pen.serves(Origin::Stored);
                self.pen.decided(GatewayEnd::Answered);
            } else {
                self.pen.decided(GatewayEnd::Refused { status: response.status().as_u16() });
            }
        }
        // What goes out before a refused request is read off is no part of an answer.
        let GatewayBody::Whole(Some(bytes), _) = response.body() else { return };
        if is_answer {
            self.hands_over(self.is_stream(response));
        }
        self.handed_over(bytes);
        self.pen.released("");
        self.has_left();
    }

    /// Puts the attempt's tag on its call.
    fn tag(&self, call: &mut Call, attempt: AttemptId) {
        let host = call.endpoint.host.as_str();
        let is_near = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if self.history.tags == Tags::Loopback && !is_near {
            return;
        }
        if let Ok(value) = HeaderValue::try_from(attempt_tag(self.pen.id(), self.number(attempt))) {
            call.headers.insert(HeaderName::from_static(ATTEMPT_HEADER), value);
        }
    }

    /// Follows a call to the end of its answer.
    async fn follow(
        self: &Arc<Self>,
        start: &Start,
        streamed: bool,
        sending: impl Future<Output = Result<Reply, Fault>>,
    ) -> Result<Reply, Fault> {
        let attempt = self.number(start.attempt);
        let mut call = Calling { witness: self.clone(), attempt, is_over: false };
        let sent = sending.await;
        call.is_over = sent.is_err();
        let Reply { status, headers, body } = sent?;
        let target = &start.target;
        // Some providers answer a streamed call with one JSON object.
        let is_json =
            headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let reading = match (status.is_success(), streamed && !is_json) {
            (false, _) => Reading::Nothing,
            (true, true) => Reading::stream(target.provider.dialect, &target.profile, false),
            (true, false) => Reading::whole(target.provider.dialect, &target.profile),
        };
        let body = Followed { inner: body, reading, call };
        Ok(Reply { status, headers, body: Box::pin(body) })
    }

    fn read(&self, attempt: u32, read: &Read<'_>) {
        match read {
            Read::Text(text) => self.pen.read(attempt, text),
            Read::Usage(usage) => {
                if usage.input_tokens.is_some() || usage.output_tokens.is_some() {
                    let input = usage.input_tokens.unwrap_or(0);
                    self.pen.stated(attempt, Tokens { input, output: usage.output_tokens.unwrap_or(0) });
                }
            }
        }
    }
}

/// Sends a call, followed by the exchange's witness if there is one.
pub(crate) async fn send(
    witness: Option<&Arc<Witness>>,
    start: &Start,
    streamed: bool,
    transport: &dyn Transport,
    mut call: Call,
) -> Result<Reply, Fault> {
    match witness {
        None => transport.send(call).await,
        Some(witness) => {
            witness.tag(&mut call, start.attempt);
            witness.follow(start, streamed, transport.send(call)).await
        }
    }
}

/// Settles the exchange when nothing more is handed over to its caller.
pub(crate) struct Keeper(Option<Arc<Witness>>);

impl Keeper {
    /// Settles it when this is dropped.
    pub(crate) fn new(witness: Option<Arc<Witness>>) -> Self {
        Self(witness)
    }

    /// The response is on its way. What leaves later is followed by a keeper of its own.
    pub(crate) fn responds(mut self, response: &Response<GatewayBody>) {
        let Some(witness) = &self.0 else { return };
        match response.body() {
            GatewayBody::Relay(_) | GatewayBody::Watched(_) => self.0 = None,
            GatewayBody::Shared(body) => {
                if response.status().is_success() {
                    witness.hands_over(witness.is_stream(response));
                    witness.pen.serves(Origin::Shared);
                } else {
                    witness.pen.decided(GatewayEnd::Refused { status: response.status().as_u16() });
                }
                let witness = self.0.take();
                lock(body).followed(witness);
            }
            GatewayBody::Delayed(body) => {
                let keeper = Self(self.0.take());
                lock(body).followed(keeper);
            }
            GatewayBody::Whole(..) | GatewayBody::Lingering(_) => witness.responds(response),
        }
    }

    /// Who is followed.
    pub(crate) fn witness(&self) -> Option<&Witness> {
        self.0.as_deref()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(witness) = &self.0 {
            witness.pen.close();
        }
    }
}

/// An attempt that goes on beyond its exchange, until this is dropped.
pub(crate) struct Beyond {
    witness: Arc<Witness>,
    attempt: u32,
}

impl Drop for Beyond {
    fn drop(&mut self) {
        self.witness.given_up(self.attempt);
    }
}

/// A call under way. Dropped before it is over, it was cancelled.
struct Calling {
    witness: Arc<Witness>,
    attempt: u32,
    is_over: bool,
}

impl Drop for Calling {
    fn drop(&mut self) {
        if !self.is_over {
            self.witness.pen.cancelled(self.attempt);
        }
    }
}

/// A provider's body on its way to the gateway, read along.
struct Followed {
    /// Goes first, so that the call is dropped when its cancel is written down.
    inner: AnswerBody,
    reading: Reading,
    call: Calling,
}

impl Body for Followed {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        let polled = std::task::ready!(this.inner.as_mut().poll_frame(cx));
        let Calling { witness, attempt, is_over } = &mut this.call;
        let mut tell = |read: Read<'_>| witness.read(*attempt, &read);
        match &polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.reading.feed(data, &mut tell);
                }
            }
            Some(Err(_)) => *is_over = true,
            None => {
                *is_over = true;
                this.reading.end(&mut tell);
            }
        }
        Poll::Ready(polled)
    }
}

/// Something read along.
enum Read<'a> {
    /// Text of the first candidate.
    Text(&'a str),
    /// Token counts so far.
    Usage(&'a Usage),
}

/// An answer read along.
enum Reading {
    /// It has no text that could be read.
    Nothing,
    /// A stream of events.
    Stream {
        decoder: Decoder,
        codec: Box<dyn StreamDecoder>,
        usage: Usage,
        /// The events are elements of one JSON array.
        as_array: bool,
        /// Its end was read.
        ended: bool,
    },
    /// An answer that is read when it is whole.
    Whole { dialect: DialectName, profile: Profile, bytes: BytesMut },
}

impl Reading {
    fn stream(dialect: DialectName, profile: &Profile, as_array: bool) -> Self {
        let codec = outbound(dialect).stream_decoder(profile);
        Self::Stream { decoder: Decoder::new(LONGEST), codec, usage: Usage::default(), as_array, ended: false }
    }

    fn whole(dialect: DialectName, profile: &Profile) -> Self {
        Self::Whole { dialect, profile: profile.clone(), bytes: BytesMut::new() }
    }

    fn feed(&mut self, data: &Bytes, tell: &mut dyn FnMut(Read<'_>)) {
        match self {
            Self::Nothing => {}
            Self::Stream { decoder, codec, usage, as_array, ended } => {
                tell(Read::Text(""));
                let frames = if *as_array { elements(data) } else { whole_frames(decoder, data) };
                for frame in frames {
                    *ended |= events(codec.as_mut(), &frame, usage, tell);
                }
            }
            Self::Whole { bytes, .. } if bytes.len() + data.len() <= LONGEST => bytes.extend_from_slice(data),
            Self::Whole { .. } => *self = Self::Nothing,
        }
    }

    /// The answer ended; says whether as a whole one does. What comes in one piece is whole. Some providers leave out
    /// the blank line that closes their last event, and some have no terminator.
    fn end(&mut self, tell: &mut dyn FnMut(Read<'_>)) -> bool {
        match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => true,
            Self::Stream { decoder, mut codec, mut usage, mut ended, .. } => {
                let mut last = decoder.residue().to_vec();
                last.extend_from_slice(b"\n\n");
                let (frames, _) = sse::frames(last.into());
                for frame in frames {
                    ended |= events(codec.as_mut(), &frame, &mut usage, tell);
                }
                let mut last = Vec::new();
                codec.end(b"", &mut last);
                ended | told(&last, &mut usage, tell)
            }
            Self::Whole { dialect, profile, bytes } => {
                whole(dialect, &profile, &bytes, tell);
                true
            }
        }
    }
}

fn whole_frames(decoder: &mut Decoder, data: &Bytes) -> Vec<Frame> {
    decoder.push(data.clone());
    std::iter::from_fn(|| decoder.next_frame()?.ok()).collect()
}

/// The elements of a piece of a JSON array, which holds them whole, as events.
fn elements(data: &Bytes) -> Vec<Frame> {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || b"[],".contains(byte);
    let mut rest = data.as_ref();
    let mut all = BytesMut::new();
    loop {
        let begin = rest.iter().position(|byte| !is_between(byte));
        let Some(element) = begin.and_then(|at| rest.get(at..)) else { break };
        let mut values = serde_json::Deserializer::from_slice(element).into_iter::<&serde_json::value::RawValue>();
        let Some(Ok(value)) = values.next() else { break };
        all.extend_from_slice(b"data: ");
        // A line break would end the event's data.
        all.extend(value.get().bytes().filter(|byte| *byte != b'\n' && *byte != b'\r'));
        all.extend_from_slice(b"\n\n");
        rest = element.get(values.byte_offset()..).unwrap_or_default();
    }
    sse::frames(all.freeze()).0
}

/// Tells of an event; `true` = it ends the answer as it should.
fn events(codec: &mut dyn StreamDecoder, frame: &Frame, usage: &mut Usage, tell: &mut dyn FnMut(Read<'_>)) -> bool {
    let mut events = Vec::new();
    // A malformed event is left out by the gateway too.
    let _ = codec.decode(frame, &mut events);
    told(&events, usage, tell)
}

fn told(events: &[Event], usage: &mut Usage, tell: &mut dyn FnMut(Read<'_>)) -> bool {
    let mut ended = false;
    for event in events {
        match event {
            Event::Text { candidate: 0, text, .. } => tell(Read::Text(text)),
            Event::Usage(more) => {
                usage.update(more);
                tell(Read::Usage(usage));
            }
            Event::Finish { .. } | Event::PromptBlocked(_) | Event::Done => ended = true,
            _ => {}
        }
    }
    ended
}

fn whole(dialect: DialectName, profile: &Profile, bytes: &[u8], tell: &mut dyn FnMut(Read<'_>)) {
    let Ok(answer) = outbound(dialect).decode_answer(bytes, profile) else { return };
    tell(Read::Text(""));
    for part in answer.candidates.first().into_iter().flat_map(|first| &first.parts) {
        if let Part::Text { text, .. } = part {
            tell(Read::Text(text));
        }
    }
    tell(Read::Usage(&answer.usage));
}
