//! An exchange from plan to answer, and what is done when nothing can serve (`when_exhausted`).
//!
//! A model without `when_exhausted` is planned and driven once. Otherwise the steps are taken in their order when there
//! is no candidate, or when the attempt machine gave up for a fault that time or another target may heal; after the
//! last one comes the error. A step that waits leaves 100 ms to those after it. While others wait in the model's queue
//! a new request does not overtake them.

use crate::delayed::{self, Company, Vigil};
use crate::door::Seats;
use crate::drive::{self, Driven};
use crate::mirror;
use crate::pipeline::{Admitted, Planned, wants_trace};
use crate::queue::{Queue, Waited, Waiter};
use crate::respond::{self, GatewayBody};
use crate::settle::{self, Earlier, Watch};
use crate::{Current, Shared};
use canon::{CallerError, DialectName, FaultClass, Instant};
use config::{Reuse, WhenExhausted};
use health::Asker;
use http::Response;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::Key;

/// What a step leaves to those after it.
const LEFT_OVER: Duration = Duration::from_millis(100);
/// An exchange that failed so often at targets in good health is itself what fails.
const MOST_HEALTHY_FAILURES: u32 = 2;
/// Pause before such an exchange takes a place in the queue, doubled each time.
const AFTER_HEALTHY_FAILURE: Duration = Duration::from_millis(250);

/// An exchange to run.
pub(crate) struct Exchanging {
    /// The process.
    pub shared: Arc<Shared>,
    /// The configuration that was in force when it began.
    pub current: Arc<Current>,
    /// The request.
    pub admitted: Admitted,
    /// Seed of its random choices.
    pub seed: u64,
    /// Told when the answer is complete.
    pub watch: Option<Watch>,
    /// What the trace says of the cache: `miss`, or `none` where there is none.
    pub cache: &'static str,
    /// Where a stale answer would be; `None` = the caller takes none, or none is kept.
    pub stale: Option<Key>,
    /// Its places behind the doors it has passed.
    pub seats: Option<Arc<Seats>>,
    /// What the trace tells of its copy for the mirror.
    pub mirror: Option<Box<serde_json::Value>>,
}

impl Exchanging {
    /// Runs it. Never fails: whatever happens becomes a response in the caller's dialect.
    pub(crate) async fn run(mut self) -> Response<GatewayBody> {
        let mut earlier = Earlier::default();
        if self.current.doors.is_any() {
            match self.pass_the_doors().await {
                Ok(waited) => earlier.queued = waited,
                Err(error) => return self.turned_away(&error),
            }
        }
        self.mirror = mirror::copy(&self);
        let rules = self.current.snapshot.reuse(&self.admitted.model.name).clone();
        if rules.when_exhausted.is_empty() {
            let now = if earlier.queued.is_zero() { self.admitted.started } else { self.now() };
            let planned = self.plan(earlier, now);
            return match self.drive(planned).await {
                Driven::Answered(response) | Driven::GaveUp { response, .. } => response,
            };
        }
        let queue = rules.when_exhausted.contains(&WhenExhausted::Queue).then(|| {
            let queue = self.shared.queues.of(&self.admitted.model.name);
            queue.arrived(self.admitted.started);
            queue
        });
        let inquiry = &self.admitted.inquiry;
        let clock = self.shared.clock;
        let vigil = Arc::new(Vigil::default());
        let dialect = inquiry.dialect;
        let has_comments = inquiry.scan.stream && dialect != DialectName::Gemini && queue.is_some();
        let company = rules.queue.keep_alive.filter(|_| has_comments).map(|pause| Company { pause, dialect });
        let [deadline, patience] = self.limits();
        let steps = Steps {
            deadline,
            patience,
            company_from: company.map(|company| clock.now() + company.pause),
            exchange: self,
            rules,
            queue,
            earlier,
            healthy_failures: 0,
            vigil: vigil.clone(),
        };
        let running = Box::pin(steps.run());
        match company {
            Some(company) => delayed::keep_company(running, &vigil, company, clock).await,
            None => running.await,
        }
    }

    /// Takes its places behind the doors; says how long that took.
    async fn pass_the_doors(&mut self) -> Result<Duration, CallerError> {
        let began = self.now();
        let Admitted { inquiry, model, started, .. } = &self.admitted;
        let asker = Asker { priority: inquiry.priority, deadline: drive::patience(inquiry, model, *started) };
        self.seats = self.current.doors.pass(&model.name, asker, self.shared.clock).await?;
        Ok(self.now().saturating_since(began))
    }

    /// The answer to one who is not let in.
    fn turned_away(&self, error: &CallerError) -> Response<GatewayBody> {
        let Admitted { inquiry, model, caller, request_id, .. } = &self.admitted;
        tracing::warn!(
            request_id = &**request_id,
            model = &*model.name,
            caller = caller.as_deref(),
            status = error.status,
            "not answered: overloaded"
        );
        let mut response = respond::error(inquiry.dialect, error);
        if wants_trace(&inquiry.headers) {
            respond::tell(&mut response, &settle::story_of_refusal(request_id));
        }
        response
    }

    fn plan(&self, earlier: Earlier, now: Instant) -> Planned {
        let seed = self.seed.wrapping_add(earlier.attempts.len() as u64);
        let mut planned = self.admitted.clone().plan(earlier, now, seed);
        planned.settlement.watch.clone_from(&self.watch);
        planned.settlement.cache = self.cache;
        let trace = planned.settlement.trace.as_mut().and_then(serde_json::Value::as_object_mut);
        if let (Some(mirror), Some(trace)) = (&self.mirror, trace) {
            trace.insert("mirror".to_owned(), (**mirror).clone());
        }
        planned.settlement.seats.clone_from(&self.seats);
        planned
    }

    /// When it is over at the latest, and until when a caller waits that has had nothing yet: by the model as the rules
    /// leave it when the exchange begins.
    fn limits(&self) -> [Instant; 2] {
        let Admitted { inquiry, model, started, .. } = &self.admitted;
        let overridden = self.admitted.overridden(*started, self.seed);
        let model = overridden.as_ref().unwrap_or(model);
        [drive::deadline(inquiry, model, *started), drive::patience(inquiry, model, *started)]
    }

    async fn drive(&self, planned: Planned) -> Driven {
        drive::drive(&self.shared, &self.current, planned, self.seed).await
    }

    fn now(&self) -> Instant {
        self.shared.clock.now()
    }
}

/// What an exchange comes to, step by step.
struct Steps {
    exchange: Exchanging,
    rules: Arc<Reuse>,
    queue: Option<Arc<Queue>>,
    /// When it is over at the latest.
    deadline: Instant,
    /// Until when a caller waits that has had nothing yet.
    patience: Instant,
    /// From when on a caller whose request waits is kept company.
    company_from: Option<Instant>,
    earlier: Earlier,
    healthy_failures: u32,
    vigil: Arc<Vigil>,
}

/// What a round of steps came to.
enum Stepped {
    /// It is this request's turn again.
    Again,
    /// The answer.
    Answer(Response<GatewayBody>),
    /// Nothing is left but the error; after a wait, one that says how things stand now.
    Spent {
        /// Time went by.
        waited: bool,
    },
}

impl Steps {
    async fn run(mut self) -> Response<GatewayBody> {
        let mut its_turn = false;
        let rules = self.rules.clone();
        loop {
            let planned = self.planned();
            let nobody = planned.plan.candidates.is_empty();
            let stepped = if nobody {
                self.step("no_target_available", &rules.when_exhausted).await
            } else if !its_turn && self.queue.as_ref().is_some_and(|queue| queue.is_waited_in()) {
                self.step("no_target_available", &[WhenExhausted::Queue]).await
            } else {
                match self.exchange.drive(planned).await {
                    Driven::Answered(response) => return response,
                    Driven::GaveUp { response, error } if !may_pass(&error) => return response,
                    Driven::GaveUp { response, error } => match self.after(&error).await {
                        Stepped::Spent { waited: false } => return response,
                        stepped => stepped,
                    },
                }
            };
            match stepped {
                Stepped::Again => its_turn = true,
                Stepped::Answer(response) => return response,
                Stepped::Spent { .. } => return self.last().await,
            }
        }
    }

    fn planned(&self) -> Planned {
        let planned = self.exchange.plan(self.earlier.clone(), self.exchange.now());
        Planned { is_unawaited: self.vigil.has_head.load(Ordering::Acquire), ..planned }
    }

    /// Until when it may wait, from then on: where the caller is kept company before its patience ends, that ends no more.
    fn latest(&self, from: Instant) -> Instant {
        let is_kept_company = self.vigil.has_head.load(Ordering::Acquire)
            || self.company_from.is_some_and(|company| company.max(from) < self.patience);
        if is_kept_company { self.deadline } else { self.patience }
    }

    /// The exchange as it ends when no step helped.
    async fn last(&self) -> Response<GatewayBody> {
        match self.exchange.drive(self.planned()).await {
            Driven::Answered(response) | Driven::GaveUp { response, .. } => response,
        }
    }

    /// The machine gave up.
    async fn after(&mut self, error: &CallerError) -> Stepped {
        let went_upstream = error.attempts.len() > self.earlier.attempts.len();
        self.earlier.attempts.clone_from(&error.attempts);
        // A target that is still in good health after it may be failing at this request alone.
        let plan = self.exchange.plan(Earlier::default(), self.exchange.now()).plan;
        if went_upstream && plan.candidates.iter().any(|candidate| candidate.standing.is_healthy()) {
            self.healthy_failures += 1;
        }
        let rules = self.rules.clone();
        self.step(respond::reason_of(error), &rules.when_exhausted).await
    }

    async fn step(&mut self, reason: &str, steps: &[WhenExhausted]) -> Stepped {
        let began = self.exchange.now();
        for step in steps {
            match step {
                WhenExhausted::Queue => {
                    if self.wait().await == Waited::ItsTurn {
                        return Stepped::Again;
                    }
                }
                WhenExhausted::StaleCache => {
                    let Exchanging { shared, admitted, stale, .. } = &self.exchange;
                    let now = shared.clock.now();
                    let found = stale.as_ref().and_then(|key| shared.kept.stale(key, admitted, now, reason));
                    if let Some(response) = found {
                        return Stepped::Answer(response);
                    }
                }
            }
        }
        Stepped::Spent { waited: self.exchange.now() > began }
    }

    async fn wait(&mut self) -> Waited {
        let Some(queue) = self.queue.clone() else { return Waited::InVain };
        if self.healthy_failures > MOST_HEALTHY_FAILURES {
            return Waited::InVain;
        }
        let clock = self.exchange.shared.clock;
        let began = clock.now();
        let pause = match self.healthy_failures {
            0 => Duration::ZERO,
            failures => AFTER_HEALTHY_FAILURE.saturating_mul(1 << (failures - 1)),
        };
        let latest = self.latest(began + pause);
        let until = latest - LEFT_OVER;
        if !pause.is_zero() {
            if began + pause >= until {
                return Waited::InVain;
            }
            tokio::time::sleep_until(clock.runtime(began + pause)).await;
        }
        let admitted = &self.exchange.admitted;
        let waiter = Waiter {
            priority: admitted.inquiry.priority,
            deadline: latest,
            until,
            returned: !self.earlier.attempts.is_empty(),
            size: self.rules.queue.size,
        };
        let plan = |now| admitted.find(now, self.exchange.seed).plan;
        self.vigil.is_waiting.store(true, Ordering::Release);
        let waited = queue.wait(waiter, clock, plan).await;
        self.vigil.is_waiting.store(false, Ordering::Release);
        self.earlier.queued += clock.now().saturating_since(began);
        waited
    }
}

/// Whether time, or another target, may heal what the machine gave up for. The caller's own faults and the deadline
/// are not healed by waiting; a stale answer is no answer to them either.
fn may_pass(error: &CallerError) -> bool {
    let Some(class) = error.fault else { return error.retryable };
    match class {
        FaultClass::RateLimited
        | FaultClass::QuotaExhausted
        | FaultClass::Overloaded
        | FaultClass::ServerError
        | FaultClass::Unreachable
        | FaultClass::TimedOut
        | FaultClass::TooSlow
        | FaultClass::StreamBroken
        | FaultClass::BadAnswer
        | FaultClass::ModelMissing
        | FaultClass::AuthRejected
        | FaultClass::Cancelled => true,
        FaultClass::ContextExceeded
        | FaultClass::ContentBlocked
        | FaultClass::UnsupportedParameter
        | FaultClass::InvalidRequest => false,
    }
}
