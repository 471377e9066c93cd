//! Answers that are used again: looked up before anything is planned, recorded when they are complete.
//!
//! ```text
//!  Idempotency-Key known? ─▶ its answer, the exchange under way, or 409
//!  cache fresh?           ─▶ the kept answer
//!  coalescing             ─▶ the exchange under way of the same question
//!  else                   ─▶ an exchange of its own, recorded where there is a reason to
//! ```
//!
//! Where nothing of this is configured and no `Idempotency-Key` is sent, the exchange runs as if this module were not
//! there. What a caller's `cache-control` says is respected: `no-cache` asks for a new answer (and shares none under
//! way), `no-store` keeps none, `max-age` bounds the age. A request for a trace is answered from the cache but neither
//! fills it nor is shared, as its body tells its own story. Answers with several candidates are not cached, because
//! one of them may be blocked without the others.

mod flight;
mod replay;

pub(crate) use flight::SharedBody;

use crate::exchange::Exchanging;
use crate::pipeline::{Admitted, wants_trace};
use crate::respond::{self, GatewayBody, names};
use crate::settle::Watch;
use crate::witness::Keeper;
use crate::{Current, Shared, clock::Clock, drive, ruling, wire};
use canon::{CallerError, Instant};
use config::{Coalesce, Reuse, ReuseLimits};
use flight::{Flight, Head, Participant, Purpose};
use http::{HeaderMap, HeaderValue, Response, header};
use replay::Why;
use std::sync::Arc;
use std::time::Duration;
use store::{
    Asked, Bound, Cache, Claim, Entry, Flights, Form, Found, Freshness, Idempotency, Joined, Key, Lookup, MemoryCache,
    Question,
};

/// A caller that has less time left than this does not begin anew.
const TOO_LATE: Duration = Duration::from_millis(100);

/// What is kept, for all models.
pub(crate) struct Kept {
    cache: MemoryCache,
    idempotency: Idempotency<Flight>,
    flights: Flights<Key, Flight>,
}

impl Kept {
    /// Nothing yet.
    pub(crate) fn new(limits: &ReuseLimits) -> Self {
        Self {
            cache: MemoryCache::new(limits.cache_memory as u64),
            idempotency: Idempotency::new(limits.idempotency_window, limits.idempotency_memory),
            flights: Flights::default(),
        }
    }

    /// Bounds from a new configuration.
    pub(crate) fn configure(&self, limits: &ReuseLimits) {
        self.cache.resize(limits.cache_memory as u64);
        self.idempotency.configure(limits.idempotency_window, limits.idempotency_memory);
    }

    /// The latest answer to a question, however old, for when nothing can serve because of `reason`.
    pub(crate) fn stale(
        &self,
        key: &Key,
        admitted: &Admitted,
        now: Instant,
        reason: &str,
    ) -> Option<Response<GatewayBody>> {
        match self.cache.get(key, now) {
            Lookup::Hit(found) | Lookup::Stale(found) => Some(replay::respond(&found, admitted, Why::Stale(reason))),
            Lookup::Miss => None,
        }
    }
}

/// Answers an admitted request.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    current: &Arc<Current>,
    admitted: Admitted,
    seed: u64,
) -> Response<GatewayBody> {
    let rules = current.snapshot.reuse(&admitted.model.name);
    let id = idempotency_key(&admitted, &current.snapshot.reuse_limits);
    let anything = rules.cache.is_some() || rules.coalesce != Coalesce::Off || id.is_some();
    let asked = if anything { Asking::read(&admitted, rules) } else { None };
    let Some(asking) = asked else {
        let (shared, current) = (shared.clone(), current.clone());
        let (watch, cache, stale, seats) = (None, respond::NONE, None, None);
        return Exchanging { shared, current, admitted, seed, watch, cache, stale, seats, mirror: None }.run().await;
    };
    let word = asking.word();
    let reusing = Reusing { shared, current, admitted, seed, asking, id };
    let mut response = reusing.answer().await;
    if response.headers().get(names::CACHE).is_none_or(|said| said == respond::NONE) {
        response.headers_mut().insert(names::CACHE, HeaderValue::from_static(word));
    }
    response
}

fn idempotency_key(admitted: &Admitted, limits: &ReuseLimits) -> Option<Key> {
    if limits.idempotency_window.is_zero() {
        return None;
    }
    let text = admitted.inquiry.headers.get("idempotency-key")?.to_str().ok().filter(|text| !text.is_empty())?;
    Some(Key::of_idempotency(admitted.caller.as_deref(), text))
}

/// What a request asks, and which of the ways to an answer are open to it.
struct Asking {
    key: Key,
    request: Key,
    form: Form,
    /// A fresh answer from the cache will do.
    looks_up: bool,
    /// An older one will not do.
    max_age: Option<Duration>,
    /// Its answer is kept for the next.
    cache: Option<Freshness>,
    /// When nothing can serve, a stale one will do.
    takes_stale: bool,
    /// An exchange under way of the same question will do.
    coalesces: bool,
}

impl Asking {
    /// What is said of the cache where an answer did not come from it.
    fn word(&self) -> &'static str {
        let caching = self.looks_up || self.cache.is_some_and(|freshness| !freshness.ttl.is_zero());
        if caching { "miss" } else { respond::NONE }
    }

    fn read(admitted: &Admitted, rules: &Reuse) -> Option<Self> {
        let inquiry = &admitted.inquiry;
        let shape = admitted.shape();
        let form = if inquiry.scan.stream {
            Form::Stream { usage: shape.usage, json_array: shape.json_array }
        } else {
            Form::Whole
        };
        let facts = facts(admitted);
        let question = Question {
            tenant: admitted.caller.as_deref(),
            model: &admitted.model.name,
            dialect: inquiry.dialect,
            form,
            facts: &facts,
            body: &inquiry.body,
        };
        let Asked { key, deterministic } = question.read()?;
        let directives = Directives::of(&inquiry.headers);
        let traced = wants_trace(&inquiry.headers);
        let shares = match rules.coalesce {
            Coalesce::Off => false,
            Coalesce::Deterministic => deterministic,
            Coalesce::Always => true,
        };
        let keeps = !directives.no_store && !traced && inquiry.scan.n <= 1;
        Some(Self {
            key,
            request: question.fingerprint()?,
            form,
            looks_up: rules.cache.is_some_and(|cache| !cache.ttl.is_zero()) && !directives.no_cache,
            max_age: directives.max_age,
            cache: rules.cache.filter(|_| keeps),
            takes_stale: rules.cache.is_some() && !directives.no_cache,
            coalesces: shares && !traced && !directives.no_cache,
        })
    }
}

/// What changes an answer beside body and model: who may serve, what rules go by in choosing among them, and what
/// crosses to them from the caller's headers.
fn facts(admitted: &Admitted) -> Vec<String> {
    let targets = &admitted.model.targets;
    let mut facts: Vec<String> = targets.iter().map(|target| target.id.clone()).collect();
    let patch = |target: &Arc<routing::Target>| Some(format!("{} {}", target.id, target.patch.as_ref()?.identity()));
    facts.extend(targets.iter().filter_map(patch));
    let inquiry = &admitted.inquiry;
    if let Some(unit) = inquiry.unit {
        facts.push(format!("arms: {:?}", admitted.model.draws(unit)));
    }
    if let Some(tiers) = &admitted.model.settings.tiers {
        // An answer of a lower tier is none of a higher one.
        facts.push(format!("tier: {}", tiers.assigned(&inquiry.needs()).tier));
    }
    for (name, value) in &inquiry.headers {
        let crosses = |target: &Arc<routing::Target>| {
            target.provider.dialect == inquiry.dialect && wire::crosses(&target.provider, name.as_str())
        };
        if !TRACING.contains(&name.as_str()) && targets.iter().any(crosses) {
            facts.push(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        }
    }
    facts.extend(ruling::looked_up(admitted));
    facts
}

/// Headers that cross and say nothing to the model.
const TRACING: [&str; 2] = ["traceparent", "tracestate"];

/// What the caller's `cache-control` asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Directives {
    no_cache: bool,
    no_store: bool,
    max_age: Option<Duration>,
}

impl Directives {
    fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        let values = headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
        for directive in values.flat_map(|value| value.split(',')).map(str::trim) {
            if directive.eq_ignore_ascii_case("no-cache") {
                directives.no_cache = true;
            } else if directive.eq_ignore_ascii_case("no-store") {
                directives.no_store = true;
            } else if let Some((name, seconds)) = directive.split_once('=')
                && name.trim().eq_ignore_ascii_case("max-age")
                && let Ok(seconds) = seconds.trim().trim_matches('"').parse()
            {
                directives.max_age = Some(Duration::from_secs(seconds));
            }
        }
        directives
    }
}

/// One request on its way to an answer that may be there already.
struct Reusing<'a> {
    shared: &'a Arc<Shared>,
    current: &'a Arc<Current>,
    admitted: Admitted,
    seed: u64,
    asking: Asking,
    id: Option<Key>,
}

/// How a request gets its answer.
enum Way {
    /// It is kept.
    Kept(Found),
    /// This `Idempotency-Key` has it.
    Known(Arc<Entry>),
    /// From an exchange that begins with this request.
    Own(Arc<Flight>),
    /// From an exchange under way.
    Shared(Arc<Flight>),
    /// From an exchange under way of the same `Idempotency-Key`.
    Same(Arc<Flight>),
    /// Another request has this `Idempotency-Key`.
    Conflict,
}

impl Reusing<'_> {
    fn clock(&self) -> Clock {
        self.shared.clock
    }

    fn deadline(&self) -> Instant {
        drive::patience(&self.admitted.inquiry, &self.admitted.model, self.admitted.started)
    }

    async fn answer(self) -> Response<GatewayBody> {
        loop {
            let (flight, leads, same) = match self.way() {
                Way::Kept(found) => return replay::respond(&found, &self.admitted, Why::Hit),
                Way::Known(entry) => {
                    let age = self.clock().now().saturating_since(entry.made);
                    return replay::respond(&Found { entry, age }, &self.admitted, Why::Idempotent);
                }
                Way::Own(flight) => (flight, true, false),
                Way::Shared(flight) => (flight, false, false),
                Way::Same(flight) => (flight, false, true),
                Way::Conflict => return self.refuse(&conflict()),
            };
            let Some(participant) = flight.join() else {
                if same {
                    return self.refuse(&too_far_on());
                }
                // Its beginning went while this request was on its way to it.
                return self.take(self.begin().join(), true).await.unwrap_or_else(|| self.refuse(&internal()));
            };
            let led_until = flight.deadline();
            drop(flight);
            let response = self.take(Some(participant), leads).await.unwrap_or_else(|| self.refuse(&internal()));
            let now = self.clock().now();
            // The deadline that passed was another caller's, and this one has time left.
            let anew = !leads
                && response.status() == http::StatusCode::GATEWAY_TIMEOUT
                && now >= led_until
                && now + TOO_LATE < self.deadline();
            if !anew {
                return mark(response, leads, same);
            }
        }
    }

    /// Waits for the head of the answer.
    async fn take(&self, participant: Option<Participant>, leads: bool) -> Option<Response<GatewayBody>> {
        let mut participant = participant?;
        let head: Option<Head> = if leads {
            participant.head().await
        } else {
            let until = self.clock().runtime(self.deadline());
            match tokio::time::timeout_at(until, participant.head()).await {
                Ok(head) => head,
                Err(_) => return Some(self.refuse(&deadline_passed())),
            }
        };
        let (dialect, shape) = (self.admitted.inquiry.dialect, self.admitted.shape());
        head.map(|head| participant.respond(head, dialect, shape))
    }

    fn way(&self) -> Way {
        let now = self.clock().now();
        let Some(id) = self.id else { return self.unbound(now) };
        let mut way = None;
        let claim = self.shared.kept.idempotency.claim(id, self.asking.request, now, || {
            let (bound, found) = self.bind(id, now);
            way = Some(found);
            bound
        });
        match claim {
            Claim::Answered(entry) => Way::Known(entry),
            Claim::InFlight(flight) => Way::Same(flight),
            Claim::Conflict => Way::Conflict,
            Claim::First(_) => way.unwrap_or(Way::Conflict),
        }
    }

    /// Where the answer to a new `Idempotency-Key` comes from.
    fn bind(&self, id: Key, now: Instant) -> (Bound<Flight>, Way) {
        match self.unbound(now) {
            Way::Kept(found) => (Bound::Answer(found.entry.clone()), Way::Kept(found)),
            Way::Shared(flight) => match flight.bind(id) {
                Ok(()) => (Bound::Flight(flight.clone()), Way::Shared(flight)),
                Err(Some(entry)) => (Bound::Answer(entry.clone()), Way::Known(entry)),
                Err(None) => self.bind_own(id),
            },
            Way::Own(flight) => {
                let _under_way = flight.bind(id);
                (Bound::Flight(flight.clone()), Way::Own(flight))
            }
            Way::Known(_) | Way::Same(_) | Way::Conflict => self.bind_own(id),
        }
    }

    fn bind_own(&self, id: Key) -> (Bound<Flight>, Way) {
        let flight = self.begin();
        let _under_way = flight.bind(id);
        (Bound::Flight(flight.clone()), Way::Own(flight))
    }

    /// Without regard to `Idempotency-Key`.
    fn unbound(&self, now: Instant) -> Way {
        if let Some(found) = self.fresh(now) {
            return Way::Kept(found);
        }
        if !self.asking.coalesces {
            return Way::Own(self.begin());
        }
        match self.shared.kept.flights.join(&self.asking.key, Flight::takes_more, || self.begin()) {
            Joined::Lead(flight) => Way::Own(flight),
            Joined::Follow(flight) => Way::Shared(flight),
        }
    }

    fn fresh(&self, now: Instant) -> Option<Found> {
        if !self.asking.looks_up {
            return None;
        }
        match self.shared.kept.cache.get(&self.asking.key, now) {
            Lookup::Hit(found) => Some(found).filter(|found| self.asking.max_age.is_none_or(|most| found.age <= most)),
            Lookup::Stale(_) | Lookup::Miss => None,
        }
    }

    fn begin(&self) -> Arc<Flight> {
        let watch = Watch::default();
        let mut admitted = self.admitted.clone();
        admitted.witness = admitted.witness.map(|witness| witness.of_flight());
        let keeper = Keeper::new(admitted.witness.clone());
        let exchange = Exchanging {
            shared: self.shared.clone(),
            current: self.current.clone(),
            admitted,
            seed: self.seed,
            watch: Some(watch.clone()),
            cache: self.asking.word(),
            stale: Some(self.asking.key).filter(|_| self.asking.takes_stale),
            seats: None,
            mirror: None,
        };
        let purpose = Purpose {
            key: self.asking.key,
            form: self.asking.form,
            cache: self.asking.cache,
            deadline: self.deadline(),
        };
        let running = async move {
            let response = exchange.run().await;
            keeper.responds(&response);
            response
        };
        Arc::new(Flight::new(self.shared, Box::pin(running), watch, purpose))
    }

    fn refuse(&self, error: &CallerError) -> Response<GatewayBody> {
        respond::error(self.admitted.inquiry.dialect, error)
    }
}

/// What a caller is told of an exchange that was not its own.
fn mark(mut response: Response<GatewayBody>, leads: bool, same: bool) -> Response<GatewayBody> {
    if !leads {
        let name = if same { names::REPLAYED } else { names::SHARED };
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
    response
}

fn conflict() -> CallerError {
    CallerError {
        parameter: Some("Idempotency-Key".to_owned()),
        ..CallerError::new(
            409,
            "idempotency_key_reused",
            "this Idempotency-Key was sent before with another request: send a new key with a new request, or the same \
             request as before",
        )
    }
}

fn too_far_on() -> CallerError {
    CallerError {
        retryable: true,
        retry_after: Some(Duration::from_secs(1)),
        ..CallerError::new(
            409,
            "idempotency_key_in_use",
            "the request with this Idempotency-Key is still being answered, and its answer is too long to be shared: \
             wait until it is over, or send a new key",
        )
    }
}

fn deadline_passed() -> CallerError {
    CallerError {
        retryable: true,
        ..CallerError::new(
            504,
            "deadline_exceeded",
            "the deadline passed while an identical request was being answered",
        )
    }
}

fn internal() -> CallerError {
    CallerError::new(500, "internal_error", "the exchange ended without an answer and without a reason")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_cache_control_is_read_in_every_spelling() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CACHE_CONTROL, HeaderValue::from_static(value));
            }
            Directives::of(&headers)
        };
        assert_eq!(of(&[]), Directives::default());
        assert_eq!(of(&["public, max-stale"]), Directives::default());
        assert!(of(&["No-Cache"]).no_cache && of(&["max-age=0, no-store"]).no_store);
        assert_eq!(of(&["private", "Max-Age = 60"]).max_age, Some(Duration::from_secs(60)));
    }
}
