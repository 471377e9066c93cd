//! Copies of requests that go to a model's mirror: measured, and given to nobody.
//!
//! A copy begins beside the first attempt and is an exchange of its own: nothing of it is waited for, charged to the
//! caller, or told to anybody but the log, the history and the counts. The body is shared with the caller's exchange,
//! not copied. What is in flight is bounded, a copy beyond that is not made and counted, and all of them end when the
//! process begins to drain.

use crate::drain::Life;
use crate::drive::{self, Driven};
use crate::exchange::Exchanging;
use crate::pipeline::{Admitted, wants_trace};
use crate::readers::lock;
use crate::respond::{GatewayBody, names};
use crate::settle::{Completed, Earlier, Watch};
use crate::witness::Keeper;
use crate::{Current, Gateway, Shared};
use catalog::Usd;
use http_body::Body;
use routing::Mirror;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The counts of every model that has or had a mirror.
#[derive(Default)]
pub(crate) struct Mirrors(Mutex<BTreeMap<String, Arc<Tally>>>);

/// What became of the copies of one model.
#[derive(Default)]
struct Tally {
    in_flight: AtomicUsize,
    sent: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    full: AtomicU64,
    held_back: AtomicU64,
    /// Of all answers.
    milliseconds: AtomicU64,
    output_tokens: AtomicU64,
    picodollars: AtomicU64,
}

/// What became of the copies of one model, since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct MirrorCounts {
    /// In flight now.
    pub in_flight: usize,
    /// Sent so far.
    pub sent: u64,
    /// Of those, answered whole.
    pub answered: u64,
    /// Of those, ended in a fault.
    pub failed: u64,
    /// Not made, as too many were in flight.
    pub full: u64,
    /// Not made, as the target was not well, could not take the request, or had just room for callers.
    pub held_back: u64,
    /// From the start of a copy to the end of its answer, over all answers.
    pub milliseconds: u64,
    /// Of all answers.
    pub output_tokens: u64,
    /// What the answers cost, as far as prices are known. No caller's cost holds any of it.
    pub cost: Usd,
}

impl Tally {
    fn counts(&self) -> MirrorCounts {
        let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
        MirrorCounts {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            sent: count(&self.sent),
            answered: count(&self.answered),
            failed: count(&self.failed),
            full: count(&self.full),
            held_back: count(&self.held_back),
            milliseconds: count(&self.milliseconds),
            output_tokens: count(&self.output_tokens),
            cost: Usd::from_pico(count(&self.picodollars)),
        }
    }
}

impl Mirrors {
    fn of(&self, model: &str) -> Arc<Tally> {
        let mut all = lock(&self.0);
        match all.get(model) {
            Some(known) => known.clone(),
            None => all.entry(model.to_owned()).or_default().clone(),
        }
    }
}

impl Gateway {
    /// What became of the copies that models with a mirror made, by model.
    pub fn mirrors(&self) -> Vec<(String, MirrorCounts)> {
        let all = lock(&self.shared.mirrors.0);
        all.iter().map(|(model, tally)| (model.clone(), tally.counts())).collect()
    }
}

/// A place among the copies in flight; given back on drop.
struct Place(Arc<Tally>);

impl Place {
    fn take(tally: Arc<Tally>, most: usize) -> Result<Self, Arc<Tally>> {
        let more = |held: usize| (held < most).then_some(held + 1);
        match tally.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Self(tally)),
            Err(_) => Err(tally),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Copies the request of an exchange that begins, if its turn has come. What the caller's trace tells of it, where one
/// is asked for.
pub(crate) fn copy(of: &Exchanging) -> Option<Box<Value>> {
    let mirror = of.admitted.model.settings.mirror.as_ref()?;
    let tally = || of.shared.mirrors.of(&of.admitted.model.name);
    let (word, tally) = if of.shared.drain.life() != Life::Serving {
        ("draining", tally())
    } else if mirror.takes(of.seed) {
        begin(of, mirror, tally())
    } else {
        if !wants_trace(&of.admitted.inquiry.headers) {
            return None;
        }
        ("not_drawn", tally())
    };
    wants_trace(&of.admitted.inquiry.headers).then(|| {
        let target = mirror.model.targets.first().map(|target| &*target.id);
        Box::new(json!({ "target": target, "copy": word, "so_far": tally.counts() }))
    })
}

fn begin(of: &Exchanging, mirror: &Arc<Mirror>, tally: Arc<Tally>) -> (&'static str, Arc<Tally>) {
    let place = match Place::take(tally, mirror.in_flight) {
        Ok(place) => place,
        Err(tally) => {
            let times = tally.full.fetch_add(1, Ordering::Relaxed) + 1;
            if times.is_power_of_two() {
                let model = &*of.admitted.model.name;
                tracing::warn!(model, times, "no copy for the mirror: as many as may be are in flight");
            }
            return ("full", tally);
        }
    };
    let tally = place.0.clone();
    let copy = Copy {
        shared: of.shared.clone(),
        current: of.current.clone(),
        admitted: of.admitted.clone(),
        mirror: mirror.clone(),
        seed: of.seed,
        place,
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "at most `in_flight` of the model's mirror, and no longer than a drain"
    )]
    tokio::spawn(copy.run());
    ("sent", tally)
}

/// A request on its way to a mirror.
struct Copy {
    shared: Arc<Shared>,
    current: Arc<Current>,
    admitted: Admitted,
    mirror: Arc<Mirror>,
    seed: u64,
    place: Place,
}

impl Copy {
    async fn run(self) {
        let drain = self.shared.drain.clone();
        let mut over = Box::pin(async move { drain.reached(Life::Draining).await });
        let mut asking = Box::pin(self.ask());
        std::future::poll_fn(|cx| {
            if over.as_mut().poll(cx).is_ready() {
                return std::task::Poll::Ready(());
            }
            asking.as_mut().poll(cx)
        })
        .await;
    }

    async fn ask(self) {
        let Self { shared, current, admitted, mirror, seed, place } = self;
        let tally = &place.0;
        let began = shared.clock.now();
        if let Some(obstacle) = mirror.obstacle(&admitted.inquiry.needs(), began) {
            tally.held_back.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(model = &*mirror.model.name, obstacle, "no copy for the mirror");
            return;
        }
        tally.sent.fetch_add(1, Ordering::Relaxed);
        // In the history it is an exchange that no client knows.
        let witness = admitted.witness.as_ref().map(|witness| witness.of_flight());
        let keeper = Keeper::new(witness.clone());
        let request_id = format!("{}+mirror", admitted.request_id).into();
        let copied = Admitted { model: mirror.model.clone(), witness, request_id, started: began, ..admitted };
        let watch = Watch::default();
        let mut planned = copied.plan(Earlier::default(), began, seed);
        planned.settlement.watch = Some(watch.clone());
        planned.is_evaluation = true;
        planned.is_unawaited = true;
        let driven = drive::drive(&shared, &current, planned, seed).await;
        let (Driven::Answered(response) | Driven::GaveUp { response, .. }) = driven;
        keeper.responds(&response);
        let reason = response.headers().get(names::REASON).and_then(|reason| reason.to_str().ok()).unwrap_or("?");
        let reason = reason.to_owned();
        read_to_end(response.into_body()).await;
        let ms = u64::try_from(shared.clock.now().saturating_since(began).as_millis()).unwrap_or(u64::MAX);
        if let Some(completed) = watch.get() {
            answered(tally, &mirror, completed, ms);
        } else {
            tally.failed.fetch_add(1, Ordering::Relaxed);
            tracing::info!(model = &*mirror.model.name, ms, reason, "a copy was not answered whole");
        }
    }
}

fn answered(tally: &Tally, mirror: &Mirror, completed: &Completed, ms: u64) {
    let output_tokens = completed.usage.output_tokens.unwrap_or(0);
    let target = mirror.model.targets.first();
    let prices = target.and_then(|target| target.facts.prices.as_ref());
    let cost = prices.and_then(|prices| prices.cost(&completed.usage, None));
    tally.answered.fetch_add(1, Ordering::Relaxed);
    tally.milliseconds.fetch_add(ms, Ordering::Relaxed);
    tally.output_tokens.fetch_add(output_tokens, Ordering::Relaxed);
    tally.picodollars.fetch_add(cost.map_or(0, Usd::pico), Ordering::Relaxed);
    let cost = cost.map(Usd::as_dollars);
    tracing::debug!(
        model = &*mirror.model.name,
        target = completed.target,
        region = target.and_then(|target| target.region.as_deref()),
        ms,
        output_tokens,
        cost,
        "a copy was answered"
    );
}

/// What comes is read and dropped.
async fn read_to_end(mut body: GatewayBody) {
    while std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_some() {}
}
