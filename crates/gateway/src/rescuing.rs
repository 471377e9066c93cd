//! Going on with a stream that broke after something of it was shown: what is asked of whom, and the attempt that asks.
//!
//! The decision who is asked is the attempt machine's, what text proves is the crate `rescue`'s. Here both meet the
//! wire.

use crate::attempt::{Attempt, Exchange, not_a_stream};
use crate::stream::{Joining, NO_JOIN, NextProgress, Progress, Reader, Seen, Stream, Translation};
use crate::wire;
use crate::witness;
use canon::{Fault, FaultClass, Origin, Request, Usage};
use dialect::profile::Continuation;
use dialect::shown::Obstacle;
use dialect::{Shown, StreamEncoder};
use rescue::{Asked, Delivered, Join, Means, Possibility, StopSpan};
use routing::{RescueFailure, RescueMode, Start};
use std::sync::Arc;

/// What can be done for a stream that broke.
pub(crate) enum Remedy {
    /// Somebody may go on.
    GoOn(Box<Broken>),
    /// The caller has as much as it asked for: only the end is missing.
    Complete(Box<Seen>),
    /// Nothing, and why, for the log.
    Nothing {
        /// The seen stream's encoder, to end it with.
        encoder: Option<Box<dyn StreamEncoder>>,
        /// Why.
        obstacle: &'static str,
    },
}

/// A broken stream, ready to be gone on with.
pub(crate) struct Broken {
    shown: Shown,
    text: Arc<str>,
    encoder: Option<Box<dyn StreamEncoder>>,
    /// What all parts so far have used.
    used: Usage,
    /// The caller's request, from which every form is made.
    request: Arc<Request>,
    /// Nothing but reasoning was shown, or the caller accepts a new answer: the whole call is made again.
    again: bool,
    /// The target that gave the continuation token.
    by: String,
    /// Targets that are asked in words, whatever they could do natively.
    in_words: Vec<String>,
}

/// A call that takes over.
pub(crate) struct TakeOver {
    request: Request,
    joining: Joining,
    shown: Option<Shown>,
    /// Asked to go on with its own turn, not in words.
    natively: bool,
}

/// A call that did not take over.
pub(crate) struct NotTakenOver {
    /// What it ended in.
    pub fault: Fault,
    /// What that means for the rescue.
    pub failure: RescueFailure,
}

/// Says what can be done for a stream of which the caller has `seen`, broken at the target `by`.
pub(crate) fn assess(exchange: &Exchange, mode: RescueMode, seen: Seen, by: &str) -> Remedy {
    let nothing = |seen: Seen, obstacle| Remedy::Nothing { encoder: seen.encoder, obstacle };
    let Ok(request) = exchange.inquiry.canonical() else { return nothing(seen, "unreadable_request") };
    let used = used(exchange, &seen);
    let again = match mode {
        RescueMode::Error => return nothing(seen, "not_wanted"),
        RescueMode::Restart if exchange.inquiry.accepts_restart() => true,
        RescueMode::Restart if !seen.shown.is_empty() => return nothing(seen, "restart_not_accepted"),
        RescueMode::Restart => true,
        RescueMode::Resume => match rescue::possibility(request, &delivered(&seen.shown)) {
            Possibility::Again => true,
            Possibility::Resume => false,
            Possibility::Impossible(obstacle) => return nothing(seen, obstacle.as_str()),
        },
    };
    let delivered = used.output_tokens;
    if !again && matches!(rescue::ask(request, &seen.shown.text, Means::Prefill, delivered), Asked::LengthReached) {
        return Remedy::Complete(Box::new(Seen { usage: used, ..seen }));
    }
    Remedy::GoOn(Box::new(Broken {
        text: seen.shown.text.as_str().into(),
        shown: seen.shown,
        encoder: seen.encoder,
        used,
        request: Arc::new(request.clone()),
        again,
        by: by.to_owned(),
        in_words: Vec::new(),
    }))
}

/// What the parts so far used: as stated, and estimated where a provider says it only at the end.
fn used(exchange: &Exchange, seen: &Seen) -> Usage {
    let written = rescue::estimated_tokens(&seen.shown.text);
    Usage {
        input_tokens: seen.usage.input_tokens.or(Some(exchange.inquiry.scan.estimated_tokens)),
        output_tokens: Some(seen.usage.output_tokens.unwrap_or(0).max(written)),
        ..seen.usage.clone()
    }
}

fn delivered(shown: &Shown) -> Delivered<'_> {
    let is = |obstacle| shown.obstacle == Some(obstacle);
    Delivered {
        text: &shown.text,
        reasoning: shown.reasoning,
        signed_reasoning: shown.signed,
        tool_calls: shown.tool_calls,
        several_candidates: is(Obstacle::Candidates),
        logprobs: is(Obstacle::Logprobs),
        refusal: is(Obstacle::Refusal),
        citations: is(Obstacle::Citations),
        media: is(Obstacle::Media),
        opaque: is(Obstacle::Opaque),
    }
}

impl Broken {
    /// What is asked of this target.
    pub(crate) fn take_over(&self, start: &Start) -> TakeOver {
        let shown = Some(self.shown.clone());
        let whole = || TakeOver {
            request: Request { stream: true, ..(*self.request).clone() },
            joining: Joining::again(self.used.clone()),
            shown: shown.clone(),
            natively: false,
        };
        if self.again {
            return whole();
        }
        let means = self.means(start);
        match rescue::ask(&self.request, &self.text, means, self.used.output_tokens) {
            // What is left of the cap was looked at before anybody was asked.
            Asked::LengthReached => whole(),
            Asked::Ask(ask) => {
                let rescue::Ask { mut request, mode } = *ask;
                request.stream = true;
                if start.target.profile.continuation.cap_is_cumulative() && matches!(means, Means::Token(_)) {
                    request.max_output_tokens = self.request.max_output_tokens;
                }
                let stops = StopSpan::new(&self.request.stop, &self.text);
                TakeOver {
                    joining: Joining::new(Join::new(self.text.clone(), mode), stops, self.used.clone()),
                    natively: request.continues.is_some(),
                    request,
                    shown,
                }
            }
        }
    }

    fn means(&self, start: &Start) -> Means<'_> {
        let target = &start.target;
        if self.in_words.contains(&target.id) || !target.profile.can_continue(&self.request) {
            return Means::Instruction;
        }
        match (&self.shown.continuation_token, target.profile.continuation) {
            (Some(token), Continuation::Token) if target.id == self.by => Means::Token(token),
            (_, Continuation::Token | Continuation::None) => Means::Instruction,
            (
                _,
                Continuation::Prefill
                | Continuation::Prefix
                | Continuation::Partial
                | Continuation::ContinueFinalMessage,
            ) => {
                if target.health.refuses_prefill() {
                    Means::Instruction
                } else {
                    Means::Prefill
                }
            }
        }
    }

    /// What asking this target to go on natively came to: one that refuses is asked in words from now on, by every
    /// exchange; one that went on with other words only for the rest of this one.
    pub(crate) fn learn(&mut self, start: &Start, failure: RescueFailure) {
        match failure {
            RescueFailure::PrefillRefused => start.target.health.learn_prefill_refused(),
            RescueFailure::NotContinued => {}
            RescueFailure::Fault | RescueFailure::NoJoin => return,
        }
        self.in_words.push(start.target.id.clone());
    }

    /// The encoder of the broken stream, to end it with.
    pub(crate) fn into_encoder(self) -> Option<Box<dyn StreamEncoder>> {
        self.encoder
    }

    /// An encoder in the middle of the caller's stream.
    pub(crate) fn resume(self, exchange: &Exchange) -> Box<dyn StreamEncoder> {
        let inbound = dialect::inbound(exchange.inquiry.dialect);
        let shown = self.shown;
        self.encoder.unwrap_or_else(|| inbound.resume_encoder(exchange.shape.clone(), &shown))
    }

    /// Whether the caller reads a new answer in the same stream, and has text of the old one.
    pub(crate) fn is_restart(&self) -> bool {
        self.again && !self.text.is_empty()
    }
}

impl Attempt {
    /// Asks the target to take over, up to the first content that goes on from what was shown.
    pub(crate) async fn take_over(self, going: TakeOver) -> Result<Box<Stream>, NotTakenOver> {
        let natively = going.natively;
        self.joined(going).await.map_err(|fault| NotTakenOver { failure: failure(&fault, natively), fault })
    }

    async fn joined(&self, going: TakeOver) -> Result<Box<Stream>, Fault> {
        let TakeOver { request, joining, shown, .. } = going;
        let target = &self.start.target;
        let endpoint = self.exchange.current.endpoints.get(&target.provider.name).cloned().ok_or_else(|| {
            Fault::new(FaultClass::Unreachable, Origin::Mainstay, format!("{} has no address", target.provider.name))
        })?;
        let credential = target.credentials.get(self.start.credential);
        let number = self.exchange.earlier.saturating_add(self.start.attempt.0);
        let limits = (self.start.limits.connect, number);
        let prepared = wire::prepare_rescue(&self.exchange.inquiry, &request, target, credential, endpoint, limits)?;
        let mut gate = self.gate();
        let transport = self.exchange.current.transport(&target.id).as_ref();
        let sent = witness::send(self.exchange.witness.as_ref(), &self.start, true, transport, prepared.call);
        let sent = tokio::time::timeout_at(self.runtime(gate.at()), sent).await;
        let reply = sent.map_err(|_| gate.passed())??;
        self.tell_limits(&reply.headers);
        if !reply.status.is_success() {
            return Err(self.classify_head(reply).await);
        }
        if let Some(kind) = not_a_stream(&reply.headers) {
            return Err(Fault::new(
                FaultClass::BadAnswer,
                Origin::Body,
                format!("{} answered a streamed call with `{kind}`", target.provider.name),
            ));
        }
        let decoder = dialect::outbound(target.provider.dialect).stream_decoder(&target.profile);
        let reader = Translation::taking_over(decoder, joining, shown, self.exchange.terms);
        let mut stream = Box::new(Stream::new(
            reply.body,
            Reader::Translated(Box::new(reader)),
            target.provider.clone(),
            self.exchange.terms,
            self.exchange.shares(),
        ));
        stream.facts.drops.extend(prepared.drops);
        let mut inspection = self.exchange.quality.inspection(&self.exchange.inquiry, target);
        if let Some(inspection) = &mut inspection {
            inspection.commit();
        }
        stream.inspect(inspection);
        while !stream.has_joined() {
            let progress = tokio::time::timeout_at(self.runtime(gate.at()), NextProgress(&mut stream)).await;
            // Whatever it said, the provider may bill it.
            let may_be_billed = |fault| Fault { may_be_billed: true, ..fault };
            match progress.map_err(|_| gate.passed())?.map_err(may_be_billed)? {
                Progress::Content => gate = self.idle_gate(),
                Progress::Prelude => {}
                Progress::Complete => break,
            }
        }
        Ok(stream)
    }
}

/// What a fault of a call that was to take over means.
fn failure(fault: &Fault, natively: bool) -> RescueFailure {
    let no_join = fault.code.as_deref() == Some(NO_JOIN);
    let about_the_request = matches!(fault.class, FaultClass::InvalidRequest | FaultClass::UnsupportedParameter);
    match (no_join, natively) {
        (true, true) => RescueFailure::NotContinued,
        (true, false) => RescueFailure::NoJoin,
        (false, true) if about_the_request => RescueFailure::PrefillRefused,
        (false, _) => RescueFailure::Fault,
    }
}
