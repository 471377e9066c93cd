//! The plan of an exchange: filter, then order, with the reason each other target was left out.
//!
//! Health is read here and taken in the machine: a plan reserves nothing, so that `explain` can print one without
//! changing anything.

use crate::merit::Merits;
use crate::objectives::Forecast;
use crate::price::{Estimate, estimate_with_cached};
use crate::session::Told;
use crate::split::Ticket;
use crate::strategy::Entrant;
use crate::tier::{self, Assigned, TierChoice, Tiers};
use crate::{
    AppliedRule, Model, Needs, Quality, Score, Seat, SpendLimit, Strategy, Target, filter, guard, ruled, session,
    strategy,
};
use canon::{Instant, Load};
use catalog::{Rate, Ratio, Usd};
use health::{Bound, BreakerStanding, ParkReason, Standing};
use rules::{Moment, NoLookup, Ruling};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a target is not a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExclusionReason {
    /// The model is known not to take what the request needs.
    Lacks {
        /// `tools`, `images`, `documents`, `audio`, `json_schema`.
        capability: &'static str,
    },
    /// The estimated prompt is larger than the context window.
    WindowTooSmall {
        /// Tokens it takes.
        window: u64,
        /// Tokens the request is estimated at.
        estimated: u64,
    },
    /// It stands in a tier below the lowest that may serve the request.
    BelowTier,
    /// It is not as good as the model's targets have to be.
    BelowQuality {
        /// What it is; `None` = unknown, which no floor takes.
        quality: Option<Quality>,
        /// What they have to be.
        floor: Quality,
    },
    /// The breaker rests.
    BreakerOpen {
        /// Until its next probe.
        until: Instant,
        /// It rests for prompts of this size, and for others not.
        for_size: bool,
    },
    /// Half-open, and its one probe is in flight.
    ProbeInFlight,
    /// Half-open, and only synthetic probes may test it.
    AwaitsProbe,
    /// The provider does not have the model.
    ModelMissing {
        /// Until it is asked again.
        until: Instant,
    },
    /// Every credential is parked or off.
    Parked {
        /// Until the first is usable.
        until: Instant,
        /// Why that one is parked.
        reason: ParkReason,
    },
    /// As many calls are in flight as it may have.
    AtLimit {
        /// So many.
        limit: usize,
    },
    /// What is left of its provider's limits is for requests of higher priority.
    Reserved,
    /// No credential is configured.
    NoCredential,
    /// Its price is unknown, and it has to keep to one.
    PriceUnknown {
        /// Which guard: `max_price`, `max_price_ratio`, `spend`.
        guard: &'static str,
    },
    /// The request may cost more there than it is allowed to.
    AbovePrice {
        /// The most it may cost.
        price: Usd,
        /// What is allowed.
        limit: Usd,
    },
    /// Its tokens are dearer than they are allowed to be.
    AboveRate {
        /// `input` or `output`.
        of: &'static str,
        /// What a million costs.
        rate: Rate,
        /// What is allowed.
        limit: Rate,
    },
    /// The request may cost too much there, beside what it may cost at the primary.
    AboveRatio {
        /// The most it may cost.
        price: Usd,
        /// The most it may cost at the primary.
        primary: Usd,
        /// What is allowed.
        ratio: Ratio,
    },
    /// What may be spent on it is spent.
    Spent {
        /// Within the window, requests in flight included.
        spent: Usd,
        /// What the request is expected to cost.
        price: Usd,
        /// What is allowed.
        limit: SpendLimit,
    },
    /// A rule leaves it out: [`Exclusion::rule`].
    Rule {
        /// For what the request is, not for what was measured of targets.
        of_request: bool,
    },
}

impl ExclusionReason {
    /// A short code for headers and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Lacks { .. } => "lacks_capability",
            Self::WindowTooSmall { .. } => "context_window",
            Self::BelowTier => "tier",
            Self::BelowQuality { .. } => "min_quality",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::ProbeInFlight | Self::AwaitsProbe => "half_open",
            Self::ModelMissing { .. } | Self::Parked { reason: ParkReason::NotEntitled, .. } => "model_missing",
            Self::Parked { reason: ParkReason::RateLimited, .. } => "rate_limited",
            Self::Parked { reason: ParkReason::QuotaExhausted, .. } => "quota_exhausted",
            Self::Parked { reason: ParkReason::AuthRejected, .. } => "auth_rejected",
            Self::AtLimit { .. } => "at_limit",
            Self::Reserved => "reserved",
            Self::NoCredential => "no_credential",
            Self::PriceUnknown { .. } => "price_unknown",
            Self::AbovePrice { .. } | Self::AboveRate { .. } => "max_price",
            Self::AboveRatio { .. } => "max_price_ratio",
            Self::Spent { .. } => "spend_limit",
            Self::Rule { .. } => "rule",
        }
    }

    /// When the reason may be gone, where time alone can do that.
    pub fn until(&self) -> Option<Instant> {
        match self {
            Self::BreakerOpen { until, .. } | Self::ModelMissing { until } | Self::Parked { until, .. } => Some(*until),
            Self::Lacks { .. }
            | Self::WindowTooSmall { .. }
            | Self::BelowTier
            | Self::BelowQuality { .. }
            | Self::ProbeInFlight
            | Self::AwaitsProbe
            | Self::AtLimit { .. }
            | Self::Reserved
            | Self::NoCredential
            | Self::PriceUnknown { .. }
            | Self::AbovePrice { .. }
            | Self::AboveRate { .. }
            | Self::AboveRatio { .. }
            | Self::Spent { .. }
            | Self::Rule { .. } => None,
        }
    }

    /// Whether the request itself, not health, excludes the target.
    pub fn is_incapable(&self) -> bool {
        match self {
            Self::Lacks { .. } | Self::WindowTooSmall { .. } | Self::BelowTier | Self::BelowQuality { .. } => true,
            Self::Rule { of_request } => *of_request,
            Self::BreakerOpen { .. }
            | Self::ProbeInFlight
            | Self::AwaitsProbe
            | Self::AtLimit { .. }
            | Self::Reserved
            | Self::ModelMissing { .. }
            | Self::Parked { .. }
            | Self::NoCredential
            | Self::PriceUnknown { .. }
            | Self::AbovePrice { .. }
            | Self::AboveRate { .. }
            | Self::AboveRatio { .. }
            | Self::Spent { .. } => false,
        }
    }

    /// Whether a price guard excludes the target: nothing may be tried there, however badly others are.
    pub fn is_guard(&self) -> bool {
        match self {
            Self::PriceUnknown { .. }
            | Self::AbovePrice { .. }
            | Self::AboveRate { .. }
            | Self::AboveRatio { .. }
            | Self::Spent { .. } => true,
            Self::Lacks { .. }
            | Self::WindowTooSmall { .. }
            | Self::BelowTier
            | Self::BelowQuality { .. }
            | Self::BreakerOpen { .. }
            | Self::ProbeInFlight
            | Self::AwaitsProbe
            | Self::AtLimit { .. }
            | Self::Reserved
            | Self::ModelMissing { .. }
            | Self::Parked { .. }
            | Self::NoCredential
            | Self::Rule { .. } => false,
        }
    }

    /// The reason in words.
    pub fn describe(&self, now: Instant) -> String {
        let in_seconds = |until: &Instant| seconds(until.saturating_since(now));
        match self {
            Self::Lacks { capability } => format!("does not take {capability}"),
            Self::WindowTooSmall { window, estimated } => {
                format!("context window of {window} tokens is smaller than the estimated prompt of {estimated}")
            }
            Self::BelowTier => "stands in a tier below the lowest that may serve the request".to_owned(),
            Self::BelowQuality { quality: Some(quality), floor } => {
                format!("quality of {quality} is below the floor of {floor}")
            }
            Self::BelowQuality { quality: None, floor } => format!("quality is unknown, and the floor is {floor}"),
            Self::BreakerOpen { until, for_size: false } => format!("breaker open, probed in {}", in_seconds(until)),
            Self::BreakerOpen { until, for_size: true } => {
                format!("breaker open for prompts of this size, probed in {}", in_seconds(until))
            }
            Self::ProbeInFlight => "half-open, a probe is in flight".to_owned(),
            Self::AwaitsProbe => "half-open, waits for a synthetic probe".to_owned(),
            Self::ModelMissing { until } => {
                format!("the provider does not have the model, asked again in {}", in_seconds(until))
            }
            Self::Parked { until, reason } => {
                format!("every credential is parked ({}), the first for {}", reason.as_str(), in_seconds(until))
            }
            Self::AtLimit { limit } => format!("has as many calls in flight as it may, {limit}"),
            Self::Reserved => "what is left of its provider's limits is for higher priorities".to_owned(),
            Self::NoCredential => "no credential is configured".to_owned(),
            Self::PriceUnknown { guard } => format!("a price is unknown that `{guard}` needs"),
            Self::AbovePrice { price, limit } => format!("may cost {price}, above the limit of {limit} a request"),
            Self::AboveRate { of, rate, limit } => {
                format!("a million tokens of {of} cost {rate}, above the limit of {limit}")
            }
            Self::AboveRatio { price, primary, ratio } => {
                format!("may cost {price}, above {ratio} of the primary's {primary}")
            }
            Self::Spent { spent, price, limit: SpendLimit { limit, window } } => {
                let window = seconds(*window);
                format!("{spent} of {limit} were spent within {window}, and this request may cost {price}")
            }
            Self::Rule { .. } => "a rule leaves it out".to_owned(),
        }
    }
}

/// Why a candidate stands lower than the strategy would put it in full health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Demotion {
    /// Recovering; this request is not in its share.
    Ramping,
    /// A chronic flapper.
    Degraded,
    /// Slower than its own baseline.
    Slow,
    /// The request is beyond what is left of its provider's limits, or of what it may take in ten seconds.
    NearLimit,
    /// Its provider cannot be reached by other targets.
    ProviderUnreachable,
    /// A rule avoids it, or prefers another, for what was measured of targets.
    Rule,
}

impl Demotion {
    /// A short code for headers and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Ramping => "ramping",
            Self::Degraded => "degraded",
            Self::Slow => "too_slow",
            Self::NearLimit => "near_limit",
            Self::ProviderUnreachable => "provider_unreachable",
            Self::Rule => "rule",
        }
    }
}

/// A target that may be tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Index in [`Model::targets`].
    pub target: usize,
    /// Where it stood when the plan was made.
    pub standing: Standing,
    /// It is what the strategy would choose first with everything healthy.
    pub is_primary: bool,
    /// Why it stands lower than it would.
    pub demoted: Option<Demotion>,
    /// What the request is expected to cost there.
    pub estimate: Estimate,
    /// What the strategy makes of it; `None` where it rates nobody.
    pub score: Option<Score>,
}

impl Candidate {
    /// It is predicted to miss an objective of its model.
    pub(crate) fn misses(&self) -> bool {
        matches!(&self.score, Some(Score::Forecast(forecast)) if forecast.misses())
    }
}

/// A target that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// Index in [`Model::targets`].
    pub target: usize,
    /// Why.
    pub reason: ExclusionReason,
    /// The name of the rule, where one leaves it out.
    pub rule: Option<Arc<str>>,
}

impl Exclusion {
    fn new(target: usize, reason: ExclusionReason) -> Self {
        Self { target, reason, rule: None }
    }

    /// The reason in words, with the rule's name.
    pub fn describe(&self, now: Instant) -> String {
        match &self.rule {
            Some(rule) => format!("left out by rule `{rule}`"),
            None => self.reason.describe(now),
        }
    }
}

/// Ordered candidates and exclusions with reasons.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The logical model.
    pub model: String,
    /// Its targets, which candidates and exclusions are numbers of.
    pub targets: Arc<[Arc<Target>]>,
    /// The strategy that ordered it.
    pub strategy: Strategy,
    /// First to last.
    pub candidates: Vec<Candidate>,
    /// Everybody else.
    pub excluded: Vec<Exclusion>,
    /// Index in [`Model::targets`] of what the strategy would choose first with everything healthy; `None` when no
    /// target can serve the request at all.
    pub primary: Option<usize>,
    /// Targets that can serve the request, in the order full health would give: a target's rank here is its number as
    /// a fallback.
    pub healthy_order: Vec<usize>,
    /// The request's tier, where the model has tiers.
    pub tier: Option<TierChoice>,
    /// The rules that hold for the request.
    pub rules: Vec<AppliedRule>,
    /// The session of the request, where it belongs to one and the model keeps them.
    pub session: Option<Seat>,
    /// When it was made.
    pub made: Instant,
}

/// Plans an exchange: who can serve `needs`, and in which order. Nothing else being known of the request (who asks, in
/// which dialect, with which labels, at which hour), no rule about that holds.
pub fn plan(model: &Model, needs: &Needs, now: Instant, rng: &mut fastrand::Rng) -> Plan {
    let request = needs.for_rules(model, None, &NoLookup);
    let ruling = model.rule(needs, &request, Moment { now, unix_seconds: None }, rng);
    plan_ruled(model, needs, &ruling, now, rng)
}

/// Plans an exchange under the rules that hold for it: [`Model::rule`].
pub fn plan_ruled(model: &Model, needs: &Needs, ruling: &Ruling<'_>, now: Instant, rng: &mut fastrand::Rng) -> Plan {
    let tiers = model.settings.tiers.as_deref().map(|tiers| (tiers, tiers.ruled(tiers.assigned(needs), ruling)));
    let mut excluded = Vec::new();
    let mut capable = Vec::with_capacity(model.targets.len());
    for (index, target) in model.targets.iter().enumerate() {
        match unfit(model, tiers, needs, index, target) {
            None => capable.push(index),
            Some(reason) => excluded.push(Exclusion::new(index, reason)),
        }
    }
    if capable.is_empty() {
        readmit_largest_window(&mut excluded, &mut capable);
    }

    let sifted = ruling.sift(&capable);
    let gauge = strategy::gauge(model);
    let fell = |pin: &_| tiers.is_some_and(|(tiers, asked)| session::is_below(model, pin, tiers, asked));
    let pin = session::pin(model, needs, now).filter(|pin| !fell(pin));
    let mut entrants = Vec::with_capacity(capable.len());
    let load = filter::load(model, needs);
    for &index in &capable {
        let Some(target) = model.targets.get(index) else { continue };
        let ruled_out = ruled::ruled_out(ruling, &sifted, index);
        if let Some((rule, reason)) = &ruled_out {
            let rule = Some(Arc::clone(rule));
            excluded.push(Exclusion { rule, ..Exclusion::new(index, *reason) });
            if reason.is_incapable() {
                continue;
            }
        }
        let standing = target.health.standing_for(needs.estimated_tokens, now);
        let estimate = estimate_with_cached(model, target, needs, session::cached(target, pin.as_ref()));
        let left_out = match ruled_out {
            Some((_, reason)) => Some(reason),
            None => unavailable(model, target, needs, (&standing, &estimate, &load), now)
                .inspect(|reason| excluded.push(Exclusion::new(index, *reason))),
        };
        entrants.push(Entrant {
            target: index,
            weight: target.weight,
            standing,
            available: left_out.is_none(),
            provider_unreachable: target.provider_health.is_unreachable(now),
            merits: Merits::of(target, needs, &estimate, gauge, now),
            estimate,
            score: outlook(target, needs, now),
            near_limit: !filter::has_room(target, &load, now),
            ticket: Ticket::new(needs.unit, &target.id),
        });
    }
    let mut ordered = match tiers {
        None => strategy::order_of(model, &mut entrants, rng),
        Some((tiers, asked)) => tier::order(model, tiers, asked, &mut entrants, rng),
    };
    ruled::reorder(ruling, &mut ordered);
    let primary = ordered.healthy.first().copied();
    exclude_the_dearer(model, primary, &entrants, &mut excluded);
    let session = session::seat(model, needs, pin.as_ref(), ruling, &mut ordered);
    let primary = ordered.healthy.first().copied();
    let mut candidates = ordered.now;
    if !excluded.is_empty() {
        let is_out = |index: usize| excluded.iter().any(|exclusion: &Exclusion| exclusion.target == index);
        candidates.retain(|candidate| !is_out(candidate.target));
        excluded.sort_by_key(|exclusion| exclusion.target);
    }
    if let Some(candidate) = candidates.iter_mut().find(|candidate| primary == Some(candidate.target)) {
        candidate.is_primary = true;
    }
    Plan {
        model: model.name.clone(),
        targets: Arc::clone(&model.targets),
        strategy: model.settings.strategy,
        candidates,
        excluded,
        primary,
        healthy_order: ordered.healthy,
        tier: tiers.and_then(|(tiers, assigned)| tiers.choice(assigned)),
        rules: ruled::applied(ruling, &sifted),
        session,
        made: now,
    }
}

/// Why a target cannot serve the request even in full health.
fn unfit(
    model: &Model,
    tiers: Option<(&Tiers, Assigned)>,
    needs: &Needs,
    index: usize,
    target: &Target,
) -> Option<ExclusionReason> {
    if let Some(reason) = filter::below_tier(tiers, index) {
        return Some(reason);
    }
    if let Some(reason) = filter::incapable(target, needs) {
        return Some(reason);
    }
    filter::below_floor(model, target)
}

/// Why a target that could serve the request is not to be asked now.
fn unavailable(
    model: &Model,
    target: &Target,
    needs: &Needs,
    (standing, estimate, load): (&Standing, &Estimate, &Load),
    now: Instant,
) -> Option<ExclusionReason> {
    if let Some(reason) = guard::barred(target, needs, estimate, now) {
        return Some(reason);
    }
    if let Some(reason) = filter::unavailable(model, target, standing, now) {
        return Some(reason);
    }
    filter::without_room(model, target, needs, load, now)
}

/// What is known of a target before strategies are asked, where its model goes by that.
fn outlook(target: &Target, needs: &Needs, now: Instant) -> Option<Score> {
    let forecast = target.judge.as_ref().map(|judge| Score::Forecast(judge.forecast(needs.class(), now)));
    forecast.or_else(|| Some(Score::Nearest(target.near.as_ref()?.nearness(target.region.as_deref()?))))
}

/// A fallback has its price beside the primary's, whatever else keeps it out: it must not be waited for either.
fn exclude_the_dearer(model: &Model, primary: Option<usize>, entrants: &[Entrant], excluded: &mut Vec<Exclusion>) {
    let Some(base) = entrants.iter().find(|entrant| Some(entrant.target) == primary) else { return };
    for entrant in entrants.iter().filter(|entrant| entrant.target != base.target) {
        let Some(target) = model.targets.get(entrant.target) else { continue };
        let Some(reason) = guard::too_dear_beside(target, &entrant.estimate, &base.estimate) else { continue };
        match excluded.iter_mut().find(|exclusion| exclusion.target == entrant.target) {
            // What a rule leaves out stays out at any price.
            Some(exclusion) if exclusion.rule.is_some() => {}
            Some(exclusion) => exclusion.reason = reason,
            None => excluded.push(Exclusion::new(entrant.target, reason)),
        }
    }
}

/// The prompt's size is an estimate, and an estimate alone must not refuse a request: the largest window is tried.
fn readmit_largest_window(excluded: &mut Vec<Exclusion>, capable: &mut Vec<usize>) {
    let window = |exclusion: &Exclusion| match exclusion.reason {
        ExclusionReason::WindowTooSmall { window, .. } => Some(window),
        _ => None,
    };
    let Some(largest) = excluded.iter().filter_map(window).max() else { return };
    excluded.retain(|exclusion| {
        let readmitted = window(exclusion) == Some(largest);
        if readmitted {
            capable.push(exclusion.target);
        }
        !readmitted
    });
}

impl Plan {
    /// The id of a candidate's or an exclusion's target.
    pub fn id(&self, target: usize) -> &str {
        self.targets.get(target).map_or("", |target| &target.id)
    }

    /// Where a target runs, where the configuration says so.
    pub fn region(&self, target: usize) -> Option<&str> {
        self.targets.get(target)?.region.as_deref()
    }

    /// Whether a price guard or a rule keeps a target out.
    pub(crate) fn is_barred(&self, target: usize) -> bool {
        let bars = |reason: &ExclusionReason| reason.is_guard() || matches!(reason, ExclusionReason::Rule { .. });
        self.excluded.iter().any(|exclusion| exclusion.target == target && bars(&exclusion.reason))
    }

    /// What would have to change for the second candidate to stand before the first; `None` where the strategy rates
    /// nobody, or where health, a tier, a rule, a session or a nested model had a say.
    pub fn reversal(&self, model: &Model) -> Option<String> {
        let [first, second, ..] = self.candidates.as_slice() else { return None };
        let tier = |candidate: &Candidate| model.settings.tiers.as_ref()?.name_of_target(candidate.target);
        if tier(first) != tier(second) {
            return None;
        }
        let is_pinned = self.session.as_ref().is_some_and(|seat| seat.diverts);
        let by_score = self.rules.is_empty() && model.nodes.is_empty() && !is_pinned;
        if first.demoted.is_some() || second.demoted.is_some() || !by_score {
            return None;
        }
        match (first.score?, second.score?) {
            (Score::Forecast(one), Score::Forecast(other)) => {
                let one = (self.id(first.target), one, first.estimate.price);
                Forecast::reversal(one, (self.id(second.target), other, second.estimate.price))
            }
            (one, other) => Score::reversal(model, (self.id(first.target), one), (self.id(second.target), other)),
        }
    }

    /// What is told of the session; `None` where the request belongs to none.
    pub fn session_told(&self) -> Option<Told<'_>> {
        let Seat { pinned, diverts } = *self.session.as_ref()?;
        let planned = self.candidates.iter().map(|it| it.target);
        let mut all = planned.chain(self.excluded.iter().map(|it| it.target));
        let target = all.find(|index| Some(*index) == pinned).map(|index| self.id(index));
        Some(Told { target, instead_of_the_primary: diverts })
    }

    /// Why the primary is not the first candidate, as a short code; `None` when it is, or when there is no primary.
    pub fn diversion(&self) -> Option<&'static str> {
        let primary = self.primary?;
        if self.candidates.first().is_some_and(|candidate| candidate.is_primary) {
            return None;
        }
        let demoted = self
            .candidates
            .iter()
            .find(|candidate| candidate.is_primary)
            .map(|candidate| candidate.demoted.map_or("weight", Demotion::code));
        let excluded =
            self.excluded.iter().find(|exclusion| exclusion.target == primary).map(|exclusion| exclusion.reason.code());
        demoted.or(excluded)
    }
}

/// As `explain` prints it.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.strategy {
            Strategy::Auto(objectives) => writeln!(f, "{} (auto: {objectives})", self.model)?,
            Strategy::Sticky(split) => writeln!(f, "{} (weighted, sticky by {})", self.model, split.sticky.as_str())?,
            strategy => writeln!(f, "{} ({})", self.model, strategy.as_str())?,
        }
        for (rank, candidate) in self.candidates.iter().enumerate() {
            let role = if candidate.is_primary { ", primary" } else { "" };
            let via = self.targets.get(candidate.target).and_then(|target| target.via.as_ref());
            let via = via.map(|model| format!(" of {model}")).unwrap_or_default();
            let region = within(self.region(candidate.target));
            let standing = standing_text(&candidate.standing);
            let bound = self.targets.get(candidate.target).and_then(|target| target.bound.as_ref());
            let bound = bound.map(|bound| bound_text(bound, self.made)).unwrap_or_default();
            let id = self.id(candidate.target);
            write!(f, "  {}. {id}{via}{region} [{standing}{role}{bound}] {}", rank + 1, candidate.estimate)?;
            match candidate.demoted {
                Some(demotion) => writeln!(f, " demoted: {}", demotion.code())?,
                None => writeln!(f)?,
            }
            if let Some(score) = candidate.score.map(|score| score.to_string()).filter(|text| !text.is_empty()) {
                writeln!(f, "     {score}")?;
            }
        }
        if self.candidates.is_empty() {
            writeln!(f, "  no candidate")?;
        }
        if let Some(Told { target: Some(id), instead_of_the_primary }) = self.session_told() {
            let beside = if instead_of_the_primary { ", instead of the strategy's first" } else { "" };
            writeln!(f, "  session: stands at {id}{beside}")?;
        }
        for exclusion in &self.excluded {
            let region = within(self.region(exclusion.target));
            writeln!(f, "  -  {}{region}: {}", self.id(exclusion.target), exclusion.describe(self.made))?;
        }
        if let Some(tier) = &self.tier {
            writeln!(f, "  {tier}")?;
        }
        for rule in &self.rules {
            writeln!(f, "  rule {rule}")?;
        }
        Ok(())
    }
}

impl serde::Serialize for Plan {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct CandidateView<'a> {
            target: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            region: Option<&'a str>,
            standing: String,
            primary: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            demoted: Option<Demotion>,
            #[serde(skip_serializing_if = "Option::is_none")]
            expected_cost: Option<Usd>,
        }
        #[derive(serde::Serialize)]
        struct ExclusionView<'a> {
            target: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            region: Option<&'a str>,
            code: &'static str,
            reason: String,
        }
        #[derive(serde::Serialize)]
        struct View<'a> {
            model: &'a str,
            strategy: &'static str,
            candidates: Vec<CandidateView<'a>>,
            excluded: Vec<ExclusionView<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            tier: Option<&'a TierChoice>,
            #[serde(skip_serializing_if = "<[AppliedRule]>::is_empty")]
            rules: &'a [AppliedRule],
            #[serde(skip_serializing_if = "Option::is_none")]
            session: Option<Told<'a>>,
        }
        View {
            model: &self.model,
            strategy: self.strategy.as_str(),
            candidates: self
                .candidates
                .iter()
                .map(|candidate| CandidateView {
                    target: self.id(candidate.target),
                    region: self.region(candidate.target),
                    standing: standing_text(&candidate.standing),
                    primary: candidate.is_primary,
                    demoted: candidate.demoted,
                    expected_cost: candidate.estimate.price,
                })
                .collect(),
            excluded: self
                .excluded
                .iter()
                .map(|exclusion| ExclusionView {
                    target: self.id(exclusion.target),
                    region: self.region(exclusion.target),
                    code: exclusion.reason.code(),
                    reason: exclusion.describe(self.made),
                })
                .collect(),
            tier: self.tier.as_ref(),
            rules: &self.rules,
            session: self.session_told(),
        }
        .serialize(serializer)
    }
}

/// ` in eu-central`; empty where no region is stated.
fn within(region: Option<&str>) -> String {
    region.map(|region| format!(" in {region}")).unwrap_or_default()
}

fn bound_text(bound: &Bound, now: Instant) -> String {
    let in_flight = bound.in_flight();
    match bound.limit(now) {
        Some(limit) => format!(", {in_flight} of {limit} in flight"),
        None => format!(", {in_flight} in flight"),
    }
}

fn standing_text(standing: &Standing) -> String {
    let mut text = match standing.breaker {
        BreakerStanding::Closed => "closed".to_owned(),
        BreakerStanding::Ramping { share } => format!("ramping at {:.0} %", share * 100.0),
        BreakerStanding::HalfOpen { .. } => "half-open, takes a probe".to_owned(),
        BreakerStanding::Open { .. } => "open".to_owned(),
        BreakerStanding::Off { .. } => "off".to_owned(),
    };
    if standing.degraded {
        text.push_str(", degraded");
    }
    if standing.slow {
        text.push_str(", slow");
    }
    if standing.for_size {
        text.push_str(", for prompts of this size");
    }
    text
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
