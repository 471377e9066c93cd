//! Facts that a test sets.

use canon::{FaultClass, Instant};
use rules::{Actions, Counts, Lookup, Moment, Request, RuleSet, Ruling, TargetFact, Targets, Value, Written, Wrong};
use std::collections::HashMap;
use std::time::Duration;

/// Targets that every test may name; a model lists all of them, in this order.
pub(crate) const IDS: [&str; 4] = ["a/1", "b/1", "b/2", "c/1"];

/// A fact's value, owned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Known {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(&'static str),
    Seconds(f64),
}

/// What is known of targets and of the request.
#[derive(Default)]
pub(crate) struct World {
    /// By the id of a watched target.
    pub(crate) facts: HashMap<(&'static str, TargetFact), Known>,
    pub(crate) counts: HashMap<(&'static str, Option<FaultClass>), Counts>,
    pub(crate) last_heard: HashMap<&'static str, Instant>,
    /// What was spent within a window.
    pub(crate) spent: HashMap<&'static str, (Duration, f64)>,
    pub(crate) labels: HashMap<&'static str, &'static str>,
    pub(crate) headers: HashMap<&'static str, &'static str>,
    pub(crate) user: Option<&'static str>,
    /// The order in which the set at hand numbers its targets.
    watched: Vec<String>,
}

impl World {
    fn id(&self, target: usize) -> &'static str {
        IDS.into_iter().find(|id| *id == self.watched[target]).unwrap()
    }

    pub(crate) fn of(mut self, set: &RuleSet) -> Self {
        self.watched = set.watched().to_vec();
        self
    }

    pub(crate) fn fact(mut self, target: &'static str, fact: TargetFact, value: Known) -> Self {
        self.facts.insert((target, fact), value);
        self
    }
}

impl Targets for World {
    fn fact(&self, target: usize, fact: TargetFact, _: u32, _: Instant) -> Option<Value<'_>> {
        Some(match self.facts.get(&(self.id(target), fact))? {
            Known::Bool(it) => Value::Bool(*it),
            Known::Int(it) => Value::Int(*it),
            Known::Double(it) => Value::Double(*it),
            Known::Text(it) => Value::Text(it),
            Known::Seconds(it) => Value::duration(Duration::from_secs_f64(*it)),
        })
    }

    fn counts(&self, target: usize, class: Option<FaultClass>, _: Duration, _: Instant) -> Counts {
        self.counts.get(&(self.id(target), class)).copied().unwrap_or_default()
    }

    fn spent(&self, target: usize, window: Duration, _: Instant) -> Option<f64> {
        self.spent.get(self.id(target)).filter(|(length, _)| *length == window).map(|(_, dollars)| *dollars)
    }

    fn last_heard(&self, target: usize) -> Option<Instant> {
        self.last_heard.get(self.id(target)).copied()
    }
}

impl Lookup for World {
    fn user(&self) -> Option<&str> {
        self.user
    }
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).copied()
    }
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).copied()
    }
}

/// A request with tools and a picture, of 1,000 tokens.
pub(crate) fn request(lookup: &World) -> Request<'_> {
    Request {
        model: "chat",
        dialect: Some("openai-chat"),
        tokens: 1_000,
        max_output_tokens: None,
        stream: true,
        tools: true,
        images: true,
        documents: false,
        audio: false,
        json_schema: false,
        reasoning: false,
        key: Some("bot"),
        lookup,
    }
}

pub(crate) fn at(seconds: f64) -> Moment {
    Moment { now: Instant::from_origin(Duration::from_secs_f64(seconds)), unix_seconds: Some(0) }
}

/// A rule that prefers `c/1`.
pub(crate) fn rule(condition: &str) -> Written<'_> {
    let actions = Actions { prefer: vec!["c/1".to_owned()], ..Actions::default() };
    Written { name: None, condition, until: None, hold: None, min_samples: None, actions }
}

pub(crate) fn compile(written: &[Written<'_>]) -> Result<RuleSet, Wrong> {
    RuleSet::compile(written, &IDS)
}

/// Judges a request of the world, and gives what holds to a closure.
pub(crate) fn judge<T>(set: &RuleSet, world: &World, moment: Moment, look: impl FnOnce(&Ruling<'_>) -> T) -> T {
    let reach = set.reach(&IDS);
    let mut rng = fastrand::Rng::with_seed(1);
    look(&set.judge(&reach, &request(world), world, moment, &mut rng))
}

/// Whether the only rule of a set holds.
pub(crate) fn holds(set: &RuleSet, world: &World, moment: Moment) -> bool {
    judge(set, world, moment, |ruling| !ruling.held.is_empty())
}
