//! Where the targets of a gateway stand, as far as traffic has seen it.

use crate::record::State;
use crate::scenario::Place;
use canon::Instant;
use health::BreakerStanding;
use routing::{Model, Target};
use std::fmt::Write as _;
use std::sync::Arc;

/// The targets of one gateway.
pub(crate) struct Watched {
    /// By site.
    pub(crate) targets: Vec<Arc<Target>>,
    /// By site: the state that was seen last.
    states: Vec<State>,
}

impl Watched {
    /// The targets of these models, in the order of the places.
    pub(crate) fn new(places: &[Place], models: &[Arc<Model>]) -> Self {
        let find =
            |id: &str| models.iter().flat_map(|model| model.targets.iter()).find(|target| target.id == id).cloned();
        let targets: Vec<_> = places.iter().filter_map(|place| find(&place.id)).collect();
        let states = vec![State::Closed; targets.len()];
        Self { targets, states }
    }

    /// Sites whose breaker has changed its state, and until when it rests.
    pub(crate) fn turns(&mut self, now: Instant) -> impl Iterator<Item = (usize, State, Option<Instant>)> {
        self.targets.iter().zip(&mut self.states).enumerate().filter_map(move |(site, (target, seen))| {
            let (state, until) = state_of(target.health.standing(now).breaker);
            (state != std::mem::replace(seen, state)).then_some((site, state, until))
        })
    }

    /// As the table writes them, by site.
    pub(crate) fn words(&self, now: Instant) -> Vec<String> {
        self.targets.iter().map(|target| standing_words(target, now)).collect()
    }
}

fn state_of(breaker: BreakerStanding) -> (State, Option<Instant>) {
    match breaker {
        BreakerStanding::Closed => (State::Closed, None),
        BreakerStanding::Ramping { .. } => (State::Ramping, None),
        BreakerStanding::HalfOpen { .. } => (State::HalfOpen, None),
        BreakerStanding::Open { until } => (State::Open, Some(until)),
        BreakerStanding::Off { until } => (State::Off, Some(until)),
    }
}

fn standing_words(target: &Target, now: Instant) -> String {
    let standing = target.health.standing(now);
    let parked = target.credentials.iter().filter_map(|it| it.health.usable(&target.model, now).err());
    let until = parked.map(|parked| parked.until).min();
    let is_parked = target.credentials.iter().all(|it| it.health.usable(&target.model, now).is_err());
    let mut words = match standing.breaker {
        BreakerStanding::Closed => String::new(),
        BreakerStanding::Ramping { share } => format!("ramp {:.0}%", share * 100.0),
        BreakerStanding::HalfOpen { .. } => "half-open".to_owned(),
        BreakerStanding::Open { until } => format!("open {:.0}s", until.saturating_since(now).as_secs_f64()),
        BreakerStanding::Off { .. } => "off".to_owned(),
    };
    let mut add = |word: &str| {
        // Writing to a string cannot fail.
        let _ = write!(words, "{}{word}", if words.is_empty() { "" } else { " " });
    };
    if let Some(until) = until.filter(|_| is_parked) {
        add(&format!("parked {:.0}s", until.saturating_since(now).as_secs_f64()));
    }
    if standing.degraded {
        add("degraded");
    }
    if standing.slow {
        add("slow");
    }
    words
}
