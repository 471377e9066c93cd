//! Rules at work: the facts they read, and what they do to a plan and to a model's settings.

use crate::filter::usable_credential;
use crate::plan::ExclusionReason;
use crate::price::estimate;
use crate::strategy::Ordered;
use crate::{Demotion, Hedging, Model, ModelSettings, Needs, Rescue, Target};
use canon::{Fault, FaultClass, Instant};
use catalog::{Rate, Rates};
use health::{BreakerStanding, ParkReason};
use rules::{Counts, Lookup, Moment, Reach, Request, RuleSet, Ruling, Sifted, TargetFact, Targets, Told, Value};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a rule's `set` replaces of a model's settings while it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overrides {
    /// DNS, TCP and TLS.
    pub connect: Option<Duration>,
    /// To the first token.
    pub first_token: Option<Duration>,
    /// Between two tokens.
    pub idle: Option<Duration>,
    /// To the whole answer of a call not streamed.
    pub response: Option<Duration>,
    /// One attempt in all.
    pub attempt: Option<Duration>,
    /// The exchange in all.
    pub deadline: Option<Duration>,
    /// What is done for streams that break.
    pub rescue: Option<Rescue>,
    /// What is started beside the first attempt.
    pub hedging: Option<Hedging>,
}

impl Overrides {
    fn apply(&self, settings: &mut ModelSettings) {
        let timeouts = &mut settings.timeouts;
        timeouts.connect = self.connect.unwrap_or(timeouts.connect);
        timeouts.first_token = self.first_token.or(timeouts.first_token);
        timeouts.idle = self.idle.or(timeouts.idle);
        timeouts.response = self.response.or(timeouts.response);
        timeouts.attempt = self.attempt.or(timeouts.attempt);
        timeouts.deadline = self.deadline.or(timeouts.deadline);
        settings.rescue = self.rescue.unwrap_or(settings.rescue);
        settings.hedging = self.hedging.unwrap_or(settings.hedging);
    }
}

/// The rules of a configuration with the targets they read.
#[derive(Debug)]
pub struct Rulebook {
    set: Arc<RuleSet>,
    /// In the order of [`RuleSet::watched`].
    watched: Vec<Arc<Target>>,
    /// By rule.
    overrides: Vec<Option<Overrides>>,
}

impl Rulebook {
    /// `find` gives the target of an id; every id of [`RuleSet::watched`] has one. `overrides` are the rules' `set`, by
    /// rule. `None` when a watched target is not found.
    pub fn new(
        set: RuleSet,
        overrides: Vec<Option<Overrides>>,
        find: impl Fn(&str) -> Option<Arc<Target>>,
    ) -> Option<Self> {
        let watched: Vec<Arc<Target>> = set.watched().iter().map(|id| find(id)).collect::<Option<_>>()?;
        for (target, window) in set.spends() {
            watched.get(*target)?.ledger.spending.watch(*window);
        }
        Some(Self { set: Arc::new(set), watched, overrides })
    }

    /// The same rules, with what they remember, over targets that have changed.
    #[must_use]
    pub fn with_targets(&self, changed: impl Fn(&Arc<Target>) -> Arc<Target>) -> Self {
        Self {
            set: Arc::clone(&self.set),
            watched: self.watched.iter().map(changed).collect(),
            overrides: self.overrides.clone(),
        }
    }

    /// Goes on with what the rules of the configuration before knew.
    pub fn take_over(&self, old: &Self) {
        self.set.take_over(&old.set);
    }
}

/// The rules as they concern one model.
#[derive(Debug)]
pub struct ModelRules {
    book: Arc<Rulebook>,
    reach: Reach,
    /// What the rules read; of targets that the model lists, as it lists them: prices and regions are its own.
    watched: Vec<Arc<Target>>,
}

impl ModelRules {
    /// The rules for a model with these targets.
    pub fn new(book: &Arc<Rulebook>, targets: &[Arc<Target>]) -> Self {
        let ids: Vec<&str> = targets.iter().map(|target| target.id.as_str()).collect();
        let own =
            |watched: &Arc<Target>| targets.iter().find(|target| target.id == watched.id).unwrap_or(watched).clone();
        Self { reach: book.set.reach(&ids), watched: book.watched.iter().map(own).collect(), book: Arc::clone(book) }
    }
}

/// A rule that held when a plan was made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AppliedRule {
    /// Its name.
    #[serde(serialize_with = "as_text")]
    pub rule: Arc<str>,
    /// Its `only` was passed over: none of its targets is able to serve the request.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub passed_over: bool,
}

fn as_text<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl fmt::Display for AppliedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed_over = if self.passed_over { ", but none of its `only` is able to serve" } else { "" };
        write!(f, "`{}` holds{passed_over}", self.rule)
    }
}

impl Needs {
    /// What rules read of a request with these needs.
    pub fn for_rules<'a>(&self, model: &'a Model, dialect: Option<&'a str>, lookup: &'a dyn Lookup) -> Request<'a> {
        Request {
            model: &model.name,
            dialect,
            tokens: self.estimated_tokens,
            max_output_tokens: self.max_output_tokens,
            stream: self.streamed,
            tools: self.tools,
            images: self.images,
            documents: self.documents,
            audio: self.audio,
            json_schema: self.json_schema,
            reasoning: self.reasoning,
            key: None,
            lookup,
        }
    }
}

impl Model {
    /// The rules that hold for a request to this model now.
    pub fn rule(&self, needs: &Needs, request: &Request<'_>, moment: Moment, rng: &mut fastrand::Rng) -> Ruling<'_> {
        let Some(rules) = &self.rules else { return Ruling::default() };
        let watched = Watched { targets: &rules.watched, model: self, needs };
        rules.book.set.judge(&rules.reach, request, &watched, moment, rng)
    }

    /// How every rule stands to a request to this model, without changing anything.
    pub fn tell_rules(&self, needs: &Needs, request: &Request<'_>, moment: Moment) -> Vec<Told> {
        let Some(rules) = &self.rules else { return Vec::new() };
        let watched = Watched { targets: &rules.watched, model: self, needs };
        rules.book.set.tell(&rules.reach, request, &watched, moment)
    }

    /// What rules look up of a request to this model: requests that differ in it may be served by different targets.
    pub fn looked_up(&self, lookup: &dyn Lookup) -> Vec<String> {
        self.rules.as_ref().map(|rules| rules.book.set.looked_up(&rules.reach, lookup)).unwrap_or_default()
    }

    /// The model with what the rules that hold `set`; `None` = as it is.
    pub fn overridden(&self, ruling: &Ruling<'_>) -> Option<Self> {
        let rules = self.rules.as_ref()?;
        if !ruling.held.iter().any(|held| held.sets) {
            return None;
        }
        let mut model = self.clone();
        // An earlier rule is stronger, so it comes last.
        for held in ruling.held.iter().rev() {
            if let Some(Some(overrides)) = rules.book.overrides.get(held.rule) {
                overrides.apply(&mut model.settings);
            }
        }
        Some(model)
    }
}

impl Target {
    /// A call with this credential ended; `None` = with its whole answer.
    pub(crate) fn ended(&self, credential: usize, fault: Option<&Fault>, now: Instant) {
        if let (Some(tally), Some(credential)) = (&self.tally, self.credentials.get(credential)) {
            tally.ended(&credential.id, fault, now);
        }
    }

    /// A call with this credential got the first of its answer.
    pub(crate) fn heard(&self, credential: usize, now: Instant) {
        if let (Some(tally), Some(credential)) = (&self.tally, self.credentials.get(credential)) {
            tally.answered(&credential.id, now);
        }
    }
}

/// What rules read of targets, for one request.
struct Watched<'a> {
    targets: &'a [Arc<Target>],
    model: &'a Model,
    needs: &'a Needs,
}

impl Watched<'_> {
    /// A price as people state it, for a request of this size at the time it is asked.
    fn rate(&self, target: &Target, pick: impl Fn(Rates) -> Rate) -> Option<Value<'static>> {
        const STATED_FOR: u64 = 1_000_000;
        let rates = target.facts.prices.as_ref()?.at(self.needs.asked_at, self.needs.estimated_tokens);
        Some(Value::Double(pick(rates).of(STATED_FOR).as_dollars()))
    }
}

impl Targets for Watched<'_> {
    fn fact(&self, target: usize, fact: TargetFact, min_samples: u32, now: Instant) -> Option<Value<'_>> {
        let target = self.targets.get(target)?;
        let first_token = |pick: fn(&health::Quantiles) -> Duration| {
            let quantiles = target.health.first_tokens();
            (quantiles.count >= min_samples.max(1) as usize).then(|| Value::duration(pick(&quantiles)))
        };
        match fact {
            TargetFact::Healthy => Some(Value::Bool(target.health.standing(now).is_healthy())),
            TargetFact::Breaker => Some(Value::Text(match target.health.standing(now).breaker {
                BreakerStanding::Closed => "closed",
                BreakerStanding::Ramping { .. } => "ramping",
                BreakerStanding::HalfOpen { .. } => "half_open",
                BreakerStanding::Open { .. } => "open",
                BreakerStanding::Off { .. } => "off",
            })),
            TargetFact::Slow => Some(Value::Bool(target.health.standing(now).slow)),
            TargetFact::Degraded => Some(Value::Bool(target.health.standing(now).degraded)),
            TargetFact::Parked => Some(Value::Bool(usable_credential(target, now).is_err())),
            TargetFact::RateLimitedFor => rate_limited_for(target, now).map(Value::duration),
            TargetFact::FirstTokenP50 => first_token(|it| it.p50),
            TargetFact::FirstTokenP95 => first_token(|it| it.p95),
            TargetFact::FirstTokenP99 => first_token(|it| it.p99),
            TargetFact::InFlight => Some(Value::count(target.health.in_flight() as u64)),
            TargetFact::Price => {
                estimate(self.model, target, self.needs).price.map(|price| Value::Double(price.as_dollars()))
            }
            TargetFact::InputPrice => self.rate(target, |rates| rates.input),
            TargetFact::OutputPrice => self.rate(target, |rates| rates.output),
            TargetFact::ContextWindow => target.facts.context_window.map(Value::count),
            TargetFact::Region => target.region.as_deref().map(Value::Text),
        }
    }

    fn counts(&self, target: usize, class: Option<FaultClass>, window: Duration, now: Instant) -> Counts {
        let tally = self.targets.get(target).and_then(|target| target.tally.as_ref());
        tally.map_or_else(Counts::default, |tally| tally.within(class, window, now))
    }

    fn spent(&self, target: usize, window: Duration, now: Instant) -> Option<f64> {
        let target = self.targets.get(target)?;
        target.facts.prices.as_ref()?;
        Some(target.ledger.spending.spent(window, now).as_dollars())
    }

    fn last_heard(&self, target: usize) -> Option<Instant> {
        self.targets.get(target)?.tally.as_ref()?.last_heard()
    }
}

/// Over the credentials that a rate limit alone keeps from being used, if anything does.
fn rate_limited_for(target: &Target, now: Instant) -> Option<Duration> {
    let usable = target.credentials.iter().filter(|credential| match credential.health.usable(&target.model, now) {
        Ok(()) => true,
        Err(parked) => parked.reason == ParkReason::RateLimited,
    });
    target.tally.as_ref()?.rate_limited_for(usable.map(|credential| credential.id.as_str()), now)
}

/// The rule that leaves a target out, and the reason to give.
pub(crate) fn ruled_out(ruling: &Ruling<'_>, sifted: &Sifted, target: usize) -> Option<(Arc<str>, ExclusionReason)> {
    let (_, place) = sifted.excluded.iter().find(|(it, _)| *it == target)?;
    let held = ruling.held.get(*place)?;
    Some((Arc::clone(held.name), ExclusionReason::Rule { of_request: !held.is_diversion }))
}

/// Puts what rules prefer first and what they avoid last. Rules about the request alone say who the primary is; rules
/// that measure targets divert from it.
pub(crate) fn reorder(ruling: &Ruling<'_>, ordered: &mut Ordered) {
    if ruling.is_empty() {
        return;
    }
    ruling.reorder(&mut ordered.healthy, false, |target| (*target, true));
    ruling.reorder(&mut ordered.now, true, |placed| (placed.target, placed.demoted.is_none()));
    let primary = ordered.healthy.first().copied();
    let leads = ordered.now.first().is_some_and(|placed| Some(placed.target) == primary);
    let is_diverted = !leads && ruling.held.iter().any(|held| held.is_diversion);
    for placed in &mut ordered.now {
        let is_passed = is_diverted && Some(placed.target) == primary;
        if placed.demoted.is_none() && (is_passed || ruling.diverts_from(placed.target)) {
            placed.demoted = Some(Demotion::Rule);
        }
    }
}

/// What the plan tells of the rules.
pub(crate) fn applied(ruling: &Ruling<'_>, sifted: &Sifted) -> Vec<AppliedRule> {
    let applied = |(place, held): (usize, &rules::Held<'_>)| AppliedRule {
        rule: Arc::clone(held.name),
        passed_over: sifted.passed_over.contains(&place),
    };
    ruling.held.iter().enumerate().map(applied).collect()
}
