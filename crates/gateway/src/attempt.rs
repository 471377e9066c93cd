//! One attempt, up to the commit gate: send, classify the head, and read until there is something of the answer.
//!
//! Nothing reaches the caller from here, status line included, so a 200 that turns into an error, an empty stream or
//! silence still fails over invisibly.

use crate::Current;
use crate::body::NextFrame;
use crate::clock::{self, Clock};
use crate::inquiry::Inquiry;
use crate::memory::{ByteBudget, Held, no_room};
use crate::quality::{Quality, Record, Said};
use crate::stream::{Facts, Framing, NextProgress, Progress, Reader, Shares, Stream, Terms, Translation, finish_fault};
use crate::wire::{self, Prepared};
use crate::witness::{self, Witness};
use bytes::{Bytes, BytesMut};
use canon::{Drops, Fault, FaultClass, Instant, Origin, Phase};
use catalog::{Provider, classify, limits};
use dialect::StreamShape;
use dialect::profile::Profile;
use http::HeaderMap;
use routing::{PhaseLimits, Start};
use std::sync::Arc;
use std::time::Duration;
use upstream::{AnswerBody, Call, Reply};

/// Longest prelude before the first content.
const PRELUDE_LIMIT: usize = 64 << 10;
/// Most of an error body that is read.
pub(crate) const ERROR_BODY_LIMIT: usize = 256 << 10;
/// Longest wait for the rest of an error body.
const ERROR_BODY_TIME: Duration = Duration::from_secs(2);
/// Largest answer that is not streamed.
const ANSWER_LIMIT: usize = 64 << 20;

/// What an attempt brought: something of the answer.
pub(crate) struct Ready {
    /// The provider's headers.
    pub headers: HeaderMap,
    /// The answer, whole or under way.
    pub answer: Served,
    /// The provider speaks the caller's dialect.
    pub same_dialect: bool,
    /// What a whole answer says, where an evaluator is to read it.
    said: Option<Said>,
}

/// An answer past the gate.
pub(crate) enum Served {
    /// Whole, in the caller's dialect.
    Whole(Bytes, Box<Facts>, Held),
    /// Under way; the first content is in its output.
    Stream(Box<Stream>),
}

impl Served {
    /// What was learned of it.
    pub(crate) fn facts(&mut self) -> &mut Facts {
        match self {
            Self::Whole(_, facts, _) => facts,
            Self::Stream(stream) => &mut stream.facts,
        }
    }
}

/// A failed attempt.
pub(crate) struct Failed {
    /// Why.
    pub fault: Fault,
    /// The request was altered for this target, so a 4xx is not the caller's fault.
    pub altered: bool,
    /// What this target could not take of the request.
    pub drops: Drops,
    /// Which checks its answer failed.
    pub checks: Vec<Record>,
}

/// What every attempt of an exchange is made from. Shared, because a probe outlives the exchange that began it.
pub(crate) struct Exchange {
    /// The caller's request.
    pub inquiry: Arc<Inquiry>,
    /// How the caller's stream must look.
    pub shape: StreamShape,
    /// The clock.
    pub clock: Clock,
    /// What answers that are not streamed may hold.
    pub budget: ByteBudget,
    /// What is kept for the rescue of streams.
    pub transcripts: ByteBudget,
    /// How streams are read.
    pub terms: Terms,
    /// What answers must pass.
    pub quality: Quality,
    /// The caller asked for the story of the exchange.
    pub traced: bool,
    /// The configuration that was in force when it began.
    pub current: Arc<Current>,
    /// Attempts of this exchange before it waited: its numbers go on from there.
    pub earlier: u32,
    /// Follows the exchange while a history is kept.
    pub witness: Option<Arc<Witness>>,
}

impl Exchange {
    /// Shares of nothing yet.
    pub(crate) fn shares(&self) -> Shares {
        Shares { held: self.budget.nothing(), transcript: self.transcripts.nothing() }
    }
}

/// What an attempt works with.
pub(crate) struct Attempt {
    /// Request and surroundings.
    pub exchange: Arc<Exchange>,
    /// Target, credential, limits.
    pub start: Start,
}

impl Attempt {
    /// Runs to the gate.
    pub(crate) async fn run(self) -> Result<Ready, Failed> {
        let unsent = |fault| Failed { fault, altered: true, drops: Drops::new(), checks: Vec::new() };
        let prepared = self.prepare(self.start.limits.connect).map_err(unsent)?;
        let Prepared { call, drops, altered, same_dialect } = prepared;
        let gate = self.gate();
        let ran = tokio::time::timeout_at(self.runtime(gate.at), self.reach(call, same_dialect)).await;
        let reached = ran.unwrap_or_else(|_| Err(gate.passed()));
        let shown = match reached {
            Ok(ready) => self.show(ready).await,
            Err(fault) => Err(fault),
        };
        let mut checks = Vec::new();
        let judged = match shown {
            Ok(ready) => self.evaluate(ready, &mut checks).await,
            Err(fault) => {
                checks.extend(Record::of(&self.start.target, &fault));
                Err(fault)
            }
        };
        match judged {
            Ok(mut ready) => {
                let facts = ready.answer.facts();
                facts.drops.extend(drops);
                facts.checks.extend(checks);
                Ok(ready)
            }
            Err(fault) => Err(Failed { fault, altered, drops, checks }),
        }
    }

    /// Has the answer scored, where an evaluator is configured and the whole of it is held.
    async fn evaluate(&self, mut ready: Ready, checks: &mut Vec<Record>) -> Result<Ready, Fault> {
        let Some(judge) = self.exchange.quality.judge() else { return Ok(ready) };
        let said = match &ready.answer {
            Served::Whole(..) => ready.said.take(),
            Served::Stream(stream) => stream.said(),
        };
        // A stream that could not be held says so itself.
        let Some(said) = said.filter(|said| said.finish.is_some()) else { return Ok(ready) };
        let limits = &self.start.limits;
        let (record, verdict) = judge.score(&self.exchange, &self.start.target, &said, limits.attempt_until).await;
        checks.push(record);
        verdict.map(|()| ready)
    }

    pub(crate) fn runtime(&self, at: Instant) -> tokio::time::Instant {
        self.exchange.clock.runtime(at)
    }

    /// Content that the caller's dialect shows only when it is complete, such as a tool call, does not open the gate:
    /// as long as nothing was sent, a fault can fail over. Its tokens must keep coming meanwhile.
    async fn show(&self, mut ready: Ready) -> Result<Ready, Fault> {
        if let Served::Stream(stream) = &mut ready.answer {
            let mut gate = self.idle_gate();
            while !stream.has_begun() {
                match tokio::time::timeout_at(self.runtime(gate.at), NextProgress(stream)).await {
                    Ok(progress) => match progress? {
                        Progress::Content => gate = self.idle_gate(),
                        Progress::Prelude => {}
                        Progress::Complete => break,
                    },
                    Err(_) => return Err(gate.passed()),
                }
            }
        }
        Ok(ready)
    }

    fn prepare(&self, connect: Duration) -> Result<Prepared, Fault> {
        let target = &self.start.target;
        let endpoint = self.exchange.current.endpoints.get(&target.provider.name).cloned().ok_or_else(|| {
            // The provider left the configuration while this exchange was under way.
            Fault::new(FaultClass::Unreachable, Origin::Mainstay, format!("{} has no address", target.provider.name))
        })?;
        let credential = target.credentials.get(self.start.credential);
        wire::prepare(
            &self.exchange.inquiry,
            target,
            credential,
            endpoint,
            connect,
            self.exchange.earlier.saturating_add(self.start.attempt.0),
        )
    }

    /// The limit that fires first on the way to the gate.
    pub(crate) fn gate(&self) -> Gate {
        let limits: &PhaseLimits = &self.start.limits;
        let now = self.exchange.clock.now();
        let (phase, limit) = if self.exchange.inquiry.scan.stream {
            (Phase::FirstToken, limits.first_token)
        } else {
            (Phase::Response, limits.response)
        };
        match limit.map(|limit| Gate { at: now + limit, phase, limit }) {
            Some(own) => own.or(self.attempt_gate(now)),
            None => self.attempt_gate(now),
        }
    }

    /// The limit between two tokens.
    pub(crate) fn idle_gate(&self) -> Gate {
        let now = self.exchange.clock.now();
        let limit = self.start.limits.idle;
        Gate { at: now + limit, phase: Phase::Idle, limit }.or(self.attempt_gate(now))
    }

    fn attempt_gate(&self, now: Instant) -> Gate {
        let at = self.start.limits.attempt_until;
        Gate { at, phase: Phase::Attempt, limit: at.saturating_since(now) }
    }

    async fn reach(&self, call: Call, same_dialect: bool) -> Result<Ready, Fault> {
        let transport = self.exchange.current.transport(&self.start.target.id).as_ref();
        let streamed = self.exchange.inquiry.scan.stream;
        let reply = witness::send(self.exchange.witness.as_ref(), &self.start, streamed, transport, call).await?;
        self.tell_limits(&reply.headers);
        if !reply.status.is_success() {
            return Err(self.classify_head(reply).await);
        }
        if self.exchange.inquiry.scan.stream {
            self.reach_content(reply, same_dialect).await
        } else {
            self.reach_end(reply, same_dialect).await
        }
    }

    /// What the provider says of its limits steers the requests that come.
    pub(crate) fn tell_limits(&self, headers: &HeaderMap) {
        let target = &self.start.target;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(credential) = target.credentials.get(self.start.credential) {
            let readings = limits::read(&target.provider, &header, clock::wall());
            credential.limits.told(readings, self.exchange.clock.now());
        }
    }

    pub(crate) async fn classify_head(&self, reply: Reply) -> Fault {
        let Reply { status, headers, body } = reply;
        let mut held = self.exchange.budget.nothing();
        let read = collect(body, ERROR_BODY_LIMIT, Overflow::Cut, &mut held);
        let read = tokio::time::timeout(ERROR_BODY_TIME, read).await;
        let body = read.ok().and_then(Result::ok).unwrap_or_default();
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        classify::head(&self.start.target.provider, status.as_u16(), &header, &body, clock::wall())
    }

    async fn reach_content(&self, reply: Reply, same_dialect: bool) -> Result<Ready, Fault> {
        let provider = &self.start.target.provider;
        if let Some(kind) = not_a_stream(&reply.headers) {
            let mut held = self.exchange.budget.nothing();
            let body = collect(reply.body, ERROR_BODY_LIMIT, Overflow::Cut, &mut held).await.unwrap_or_default();
            return Err(instead_of_stream(provider, &self.start.target.profile, kind, &body));
        }
        let outbound = dialect::outbound(provider.dialect);
        let profile = &self.start.target.profile;
        // Text is held back between its events, where bytes that pass cannot be cut.
        let reader = if same_dialect && self.exchange.terms.text == rescue::Granularity::None {
            Reader::Same {
                sniffer: outbound.sniffer(profile),
                show_usage: self.exchange.shape.usage,
                framing: Framing::new(self.exchange.shape.json_array),
            }
        } else {
            let inbound = dialect::inbound(self.exchange.inquiry.dialect);
            let encoder = inbound.stream_encoder(self.exchange.shape.clone());
            let decoder = outbound.stream_decoder(profile);
            Reader::Translated(Box::new(Translation::new(decoder, encoder, self.exchange.terms)))
        };
        let mut stream = Stream::new(reply.body, reader, provider.clone(), self.exchange.terms, self.exchange.shares());
        stream.inspect(self.exchange.quality.inspection(&self.exchange.inquiry, &self.start.target));
        if self.exchange.traced {
            stream.hold_terminator();
        }
        loop {
            match NextProgress(&mut stream).await? {
                Progress::Prelude if stream.output_len() > PRELUDE_LIMIT => {
                    return Err(Fault::new(
                        FaultClass::BadAnswer,
                        Origin::Body,
                        "more than 64 KiB of prelude before the first content",
                    ));
                }
                Progress::Prelude => {}
                Progress::Content | Progress::Complete => break,
            }
        }
        Ok(Ready { headers: reply.headers, answer: Served::Stream(Box::new(stream)), same_dialect, said: None })
    }

    async fn reach_end(&self, reply: Reply, same_dialect: bool) -> Result<Ready, Fault> {
        let target = &self.start.target;
        let mut held = self.exchange.budget.nothing();
        let body = collect(reply.body, ANSWER_LIMIT, Overflow::Fault, &mut held).await?;
        let body = trim_blank_lines(body);
        let outbound = dialect::outbound(target.provider.dialect);
        let quality = &self.exchange.quality;
        let mut facts = Facts::default();
        let mut said = None;
        let bytes = if same_dialect {
            let sniffed = outbound.sniffer(&target.profile).sniff_answer(&body);
            if sniffed.malformed {
                return Err(classify::unreadable(&target.provider, &body));
            }
            if let Some(error) = &sniffed.error {
                return Err(classify::in_body(&target.provider, error, clock::wall()));
            }
            facts.usage = sniffed.usage.unwrap_or_default();
            facts.model = sniffed.model;
            facts.content = sniffed.tag.is_some();
            facts.finish = sniffed.finish;
            if quality.reads(&facts, body.len()) {
                said = outbound.decode_answer(&body, &target.profile).ok().map(|answer| said_in(&answer, &facts));
            }
            body
        } else {
            let mut answer = outbound
                .decode_answer(&body, &target.profile)
                .map_err(|_| classify::unreadable(&target.provider, &body))?;
            answer.created.get_or_insert(self.exchange.shape.created);
            facts.usage = answer.usage.clone();
            facts.model.clone_from(&answer.model);
            facts.content = answer.candidates.iter().any(|c| !c.parts.is_empty());
            facts.finish = finish_of(&answer);
            said = quality.reads(&facts, body.len()).then(|| said_in(&answer, &facts));
            dialect::inbound(self.exchange.inquiry.dialect).encode_answer(&answer, &mut facts.drops)
        };
        self.check_end(&facts)?;
        if let Some(fault) = quality.check(&self.exchange.inquiry, target, &facts, said.as_ref()) {
            return Err(fault);
        }
        Ok(Ready { headers: reply.headers, answer: Served::Whole(bytes, Box::new(facts), held), same_dialect, said })
    }

    fn check_end(&self, facts: &Facts) -> Result<(), Fault> {
        let provider = &self.start.target.provider;
        match &facts.finish {
            Some((reason, native)) => {
                match finish_fault(provider, *reason, native, facts.content, self.exchange.terms) {
                    Some(fault) => Err(fault),
                    None => Ok(()),
                }
            }
            None if facts.content || !self.exchange.terms.empty_is_fault => Ok(()),
            None => Err(classify::empty_answer(provider)),
        }
    }
}

/// The limit that fires next.
pub(crate) struct Gate {
    at: Instant,
    phase: Phase,
    limit: Duration,
}

impl Gate {
    /// When it passes.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Whichever comes first.
    fn or(self, other: Self) -> Self {
        if self.at < other.at { self } else { other }
    }

    /// What it means that the limit passed.
    pub(crate) fn passed(&self) -> Fault {
        let mut fault = Fault::timed_out(self.phase, self.limit);
        fault.may_be_billed = true;
        fault
    }
}

fn finish_of(answer: &canon::Answer) -> Option<(canon::FinishReason, String)> {
    if let Some(block) = &answer.prompt_block {
        return Some((canon::FinishReason::ContentFilter, block.reason.clone()));
    }
    let first = answer.candidates.first()?;
    first.finish.map(|reason| (reason, first.native_finish.clone().unwrap_or_default()))
}

fn said_in(answer: &canon::Answer, facts: &Facts) -> Said {
    Said::of(answer, facts.finish.as_ref().map(|(reason, _)| *reason))
}

/// A 200 to a streamed call that is no event stream: the content type, when it says so.
pub(crate) fn not_a_stream(headers: &HeaderMap) -> Option<&str> {
    let kind = headers.get(http::header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = kind.split(';').next().unwrap_or(kind).trim();
    (essence.eq_ignore_ascii_case("application/json") || essence.eq_ignore_ascii_case("text/html")).then_some(kind)
}

/// Some providers answer a streamed call with one JSON object: an error inside a 200, a prompt that they refuse, or
/// something that is no answer.
fn instead_of_stream(provider: &Provider, profile: &Profile, kind: &str, body: &[u8]) -> Fault {
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(value) if value.get("error").is_some() || value.get("code").is_some() => {
            classify::in_body(provider, &value, clock::wall())
        }
        Ok(_) => {
            let answer = dialect::outbound(provider.dialect).decode_answer(body, profile);
            match answer.ok().and_then(|answer| answer.prompt_block) {
                Some(block) => classify::prompt_blocked(provider, &block),
                None => Fault::new(
                    FaultClass::BadAnswer,
                    Origin::Body,
                    format!("{} answered a streamed call with `{kind}`", provider.name),
                ),
            }
        }
        Err(_) => classify::unreadable(provider, body),
    }
}

/// Some providers send blank lines while an answer that is not streamed waits in their queue.
fn trim_blank_lines(body: Bytes) -> Bytes {
    let blank = body.iter().take_while(|b| b.is_ascii_whitespace()).count();
    if blank == 0 { body } else { body.slice(blank..) }
}

/// What becomes of a body that is longer than is read.
pub(crate) enum Overflow {
    /// The rest is left.
    Cut,
    /// It is a fault.
    Fault,
}

/// Reads a body, up to a limit.
pub(crate) async fn collect(
    mut body: AnswerBody,
    limit: usize,
    overflow: Overflow,
    held: &mut Held,
) -> Result<Bytes, Fault> {
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    while let Some(frame) = NextFrame(body.as_mut()).await {
        let frame = match (frame, &overflow) {
            (Ok(frame), _) => frame,
            // What breaks off still says what it said.
            (Err(_), Overflow::Cut) => break,
            (Err(fault), Overflow::Fault) => return Err(fault),
        };
        let Ok(data) = frame.into_data() else { continue };
        if !held.grow(data.len()) {
            return Err(no_room(FaultClass::BadAnswer));
        }
        match first.take() {
            None if whole.is_empty() => first = Some(data),
            None => whole.extend_from_slice(&data),
            Some(earlier) => {
                whole.reserve(earlier.len() + data.len());
                whole.extend_from_slice(&earlier);
                whole.extend_from_slice(&data);
            }
        }
        if whole.len() > limit {
            match overflow {
                Overflow::Cut => break,
                Overflow::Fault => {
                    return Err(Fault::new(
                        FaultClass::BadAnswer,
                        Origin::Body,
                        format!("the answer is larger than {} MiB", limit >> 20),
                    ));
                }
            }
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use canon::DialectName;

    fn refused(dialect: DialectName, body: &str) -> Fault {
        let row = catalog::RawProvider {
            dialect: Some(dialect),
            base_url: Some("http://127.0.0.1:1".to_owned()),
            ..catalog::RawProvider::default()
        };
        let provider = catalog::Catalog::builtin().unwrap().with_overrides("sim", row).unwrap();
        instead_of_stream(&provider, &Profile::default(), "application/json", body.as_bytes())
    }

    #[test]
    fn a_blocked_prompt_keeps_its_reason_although_it_does_not_come_as_a_stream() {
        let fault = refused(DialectName::Gemini, r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"}}"#);
        assert_eq!(fault.class, FaultClass::ContentBlocked);
        assert!(fault.message.contains("PROHIBITED_CONTENT"), "{}", fault.message);
    }

    #[test]
    fn json_in_the_place_of_a_stream_is_an_error_it_states_or_a_bad_answer() {
        let stated = refused(DialectName::OpenaiChat, r#"{"error":{"message":"slow","type":"server_error"}}"#);
        assert_eq!(stated.class, FaultClass::ServerError);
        let other = refused(DialectName::OpenaiChat, r#"{"hello":"world"}"#);
        assert_eq!(other.class, FaultClass::BadAnswer);
    }
}
