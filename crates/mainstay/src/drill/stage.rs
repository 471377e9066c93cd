//! What all parts of a drill over sockets share: the run's record, its clock, and which call is which.
//!
//! A gateway writes its history to the stage, which is how the stage knows what each upstream call is for; the call
//! itself carries the attempt's tag past the way out, where it is sent to the provider's socket, to the provider, which
//! asks the stage how to answer.

use super::providers;
use ::drill::{Answered, Ask, CallKind, Live, Reply, Started};
use canon::Instant;
use history::{ATTEMPT_HEADER, AttemptKind, Event, GatewayEvent, Origin, Record, Recorder, attempt_tag};
use http::HeaderMap;
use simulator::{Conduct, Conductor};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A request as gateways know it.
pub(crate) fn request_id(request: usize, retries: u32) -> String {
    format!("drill-{request}-{retries}")
}

/// The number of a request, also of one whose answer is shared or recorded.
fn request_of(id: &str) -> Option<usize> {
    let (id, _) = id.split_once('+').unwrap_or((id, ""));
    let (number, _) = id.strip_prefix("drill-")?.split_once('-')?;
    number.parse().ok()
}

/// An upstream call between its start and its end.
struct Running {
    call: usize,
    ask: Ask,
    streamed: bool,
    /// How it is answered, once it is on its way.
    answered: Option<Answered>,
}

struct Inner {
    live: Live,
    /// By the attempt's tag.
    running: HashMap<String, Running>,
}

/// One run.
pub(crate) struct Stage {
    begin: tokio::time::Instant,
    inner: Mutex<Inner>,
}

impl Stage {
    /// The run begins now.
    pub(crate) fn new(live: Live) -> Self {
        let inner = Inner { live, running: HashMap::new() };
        Self { begin: tokio::time::Instant::now(), inner: Mutex::new(inner) }
    }

    /// When it began.
    pub(crate) fn begin(&self) -> tokio::time::Instant {
        self.begin
    }

    /// Now, on the scenario's time line.
    pub(crate) fn now(&self) -> Instant {
        Instant::from_origin(self.begin.elapsed())
    }

    /// Tells the run something, or asks it.
    pub(crate) fn live<T>(&self, act: impl FnOnce(&mut Live) -> T) -> T {
        act(&mut self.lock().live)
    }

    /// A call with this head leaves its gateway: how the target answers. `None` = it belongs to no request.
    pub(crate) fn leaves(&self, head: &HeaderMap) -> Option<Reply> {
        let tag = head.get(ATTEMPT_HEADER)?.to_str().ok()?;
        let now = self.now();
        let mut inner = self.lock();
        let Inner { live, running } = &mut *inner;
        let running = running.get_mut(tag)?;
        running.answered = live.answer(running.call, running.ask, now);
        running.answered.as_ref().map(|answered| answered.reply.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // One that panicked ended its own request; the run goes on.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, replica: usize, id: &str, event: &GatewayEvent) {
        let Some(request) = request_of(id) else { return };
        let now = self.now();
        let mut inner = self.lock();
        let Inner { live, running } = &mut *inner;
        match event {
            GatewayEvent::AttemptStarted { attempt, target, region: _, credential, kind } => {
                let kind = match kind {
                    AttemptKind::Hedge => CallKind::Hedge,
                    AttemptKind::Rescue => CallKind::Rescue,
                    AttemptKind::First
                    | AttemptKind::Retry
                    | AttemptKind::Credential
                    | AttemptKind::Fallback
                    | AttemptKind::Probe => CallKind::Try,
                };
                let Some(arrival) = live.arrivals().get(request).copied() else { return };
                let credential = *credential as usize;
                let call = live.started(Started { request, replica, target, credential, kind }, now);
                if let Some(call) = call {
                    let (ask, streamed) = (arrival.ask, arrival.streamed);
                    running.insert(attempt_tag(id, *attempt), Running { call, ask, streamed, answered: None });
                }
            }
            GatewayEvent::AttemptEnded { attempt, fault, .. } => {
                // Kept for whoever serves: the attempt that ends an exchange ends before it is settled.
                if let Some(running) = running.get(&attempt_tag(id, *attempt)) {
                    live.left(running.call, *fault);
                }
            }
            GatewayEvent::Committed { attempt }
            | GatewayEvent::Settled { served: Some(Origin::Attempt(attempt)), .. } => {
                if let Some(running) = running.get(&attempt_tag(id, *attempt)) {
                    live.serves(request, running.call);
                }
            }
            GatewayEvent::Started {}
            | GatewayEvent::Received {}
            | GatewayEvent::Began {}
            | GatewayEvent::Planned { .. }
            | GatewayEvent::Cancelled { .. }
            | GatewayEvent::Settled { .. }
            | GatewayEvent::Drained {} => {}
        }
    }
}

impl Conductor for Stage {
    fn conduct(&self, head: &HeaderMap) -> Option<Conduct> {
        let tag = head.get(ATTEMPT_HEADER)?.to_str().ok()?;
        let inner = self.lock();
        let running = inner.running.get(tag)?;
        providers::conduct(running.answered.as_ref()?, running.streamed)
    }
}

/// One gateway's way to tell the stage what it does.
pub(crate) struct Scribe {
    /// Where it is told.
    pub(crate) stage: std::sync::Arc<Stage>,
    /// The gateway.
    pub(crate) replica: usize,
}

impl Recorder for Scribe {
    fn now(&self) -> u64 {
        u64::try_from(self.stage.begin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn write(&self, record: Record) {
        if let (Some(id), Event::Gateway(event)) = (&record.id, &record.event) {
            self.stage.told(self.replica, id, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_its_id_whoever_shares_its_answer() {
        assert_eq!(request_of(&request_id(17, 2)), Some(17));
        assert_eq!(request_of("drill-17-0+3"), Some(17));
        assert_eq!(request_of("req_17"), None);
    }
}
