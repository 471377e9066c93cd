//! The configuration as it is written: every field optional, unknown ones refused, nothing checked across fields.
//!
//! The JSON Schema, the reference and the errors come from these types.

use crate::feeds::{RawFeed, RawWebhook};
use crate::hedging::RawHedge;
use crate::mirror::RawMirror;
use crate::objectives::RawObjectives;
use crate::overload::{RawConcurrency, RawOverload, priority_schema};
use crate::pages::RawStatusPages;
use crate::patch::{self, RawParameters, RawPrompt};
use crate::price::{RawMaxPrice, RawSpend};
use crate::probes::RawProbes;
use crate::quality::{RawChecks, RawEvaluate};
use crate::reuse::{RawCache, RawCacheStore, RawCoalesce, RawIdempotency, RawQueue, RawWhenExhausted};
use crate::rulebook::RawRule;
use crate::sessions::RawSessions;
use crate::spot::RawPriceFeed;
use crate::strategy::{RawQuality, RawStrategy};
use crate::tiers::RawTier;
use crate::units::{Size, Span};
use canon::{Priority, Secret};
use catalog::{Prices, Ratio, RawProvider};
use routing::tier::Scorer;
use routing::{Across, Hold, RescueMode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// The configuration file of Mainstay.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// Where to listen: `127.0.0.1:4000`. Any address but loopback needs `keys`.
    pub listen: Option<String>,
    /// Serve callers without a key although the address is not loopback.
    pub allow_open: bool,
    /// Providers: rows of the catalogue need only `keys`; any field can be overridden, and a new name adds a provider.
    pub providers: BTreeMap<String, RawProvider>,
    /// Logical models: the names callers ask for.
    pub models: BTreeMap<String, RawModel>,
    /// Rules that move traffic by what a request is and by what is measured of targets; an earlier one is stronger.
    pub rules: Vec<RawRule>,
    /// Callers and what they may use; none = whoever reaches the address.
    pub keys: Vec<RawKey>,
    /// Bounds of what callers may send.
    pub limits: RawLimits,
    /// Timeouts of every model that states none of its own.
    pub timeouts: RawTimeouts,
    /// When a target is left alone, and how it comes back.
    pub health: RawHealth,
    /// Read the status pages of the configured providers, where the catalogue or a row names one: `on`, or
    /// `{ every: 60s }`; off by default. See docs/SIGNALS.md.
    pub status_pages: RawStatusPages,
    /// Lists of incidents that are read now and then. See docs/SIGNALS.md.
    pub incident_feeds: Vec<RawFeed>,
    /// Take incidents at `POST /mainstay/incidents` from whoever knows the secret; off by default.
    pub incident_webhook: Option<RawWebhook>,
    /// Prices that are read now and then: spot prices. See docs/SIGNALS.md.
    pub price_feed: Option<RawPriceFeed>,
    /// Where cached answers are kept; which models cache is said at each.
    pub cache: RawCacheStore,
    /// Which identical requests in flight share one upstream call, for every model that states nothing of its own; off
    /// by default.
    pub coalesce: Option<RawCoalesce>,
    /// The queues of models whose `when_exhausted` lists `queue`.
    pub queue: RawQueue,
    /// How many exchanges the gateway has in flight at once, and who waits; no limit by default. See docs/OVERLOAD.md.
    pub overload: Option<RawOverload>,
    /// The same request sent twice under one `Idempotency-Key`.
    pub idempotency: RawIdempotency,
    /// How long streams may go on after SIGTERM.
    pub drain: Option<Span>,
    /// How long connections are still accepted after SIGTERM, so that load balancers notice.
    pub drain_accept: Option<Span>,
}

/// A logical model.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawModel {
    /// In which order targets are tried: `priority` (the default), `weighted`, `cheapest`, `fastest`, `balanced`,
    /// `auto`, `nearest`.
    pub strategy: RawStrategy,
    /// What `strategy: auto` asks of targets: the cheapest that is predicted to meet it comes first.
    pub objectives: Option<RawObjectives>,
    /// What the model is for: chooses among the qualities its targets state by task.
    pub task: Option<String>,
    /// How good a target must be, from 0 to 1; a target of unknown quality is not good enough for any floor.
    pub min_quality: Option<f64>,
    /// Its tiers, the lowest first; each target then stands in one. See docs/TIERS.md.
    pub tiers: Vec<RawTier>,
    /// The tier of requests that name none; the highest by default.
    pub default_tier: Option<String>,
    /// What the `from` of its tiers is compared with: `prompt_length` in tokens (the default), or `complexity` in
    /// points.
    pub tier_score: Option<Scorer>,
    /// `provider/model`, the name of another model, or a mapping with options.
    pub targets: Vec<RawTarget>,
    /// What any target may cost, the first included: dollars a request, or `{ request, input, output }`, of which the
    /// last two are per million tokens.
    pub max_price: Option<RawMaxPrice>,
    /// What a fallback may cost of what the primary does: `1.5`, or `150%`.
    pub max_price_ratio: Option<Ratio>,
    /// Limits of the phases of a call.
    pub timeouts: RawTimeouts,
    /// What to do after a fault, by class, where the default does not suit.
    pub on: BTreeMap<RawClass, RawOn>,
    /// `strict` also stops on rejected credentials and unsupported parameters.
    pub profile: RawProfile,
    /// Most targets one exchange may try; 4 by default.
    pub max_targets: Option<u32>,
    /// Most attempts of one exchange that may reach a model's work; 3 by default.
    pub max_attempts: Option<u32>,
    /// How a resting target is asked whether it is back.
    pub probe: RawProbe,
    /// Start a second attempt, elsewhere, when the first token is late: `on`, or a mapping with `after` and `budget`;
    /// off by default.
    pub hedge: Option<RawHedge>,
    /// 2: start two attempts at once, at two targets; whichever answers first serves. Off by default.
    pub race: Option<u32>,
    /// What to do for a stream that breaks after part of the answer was sent: `resume` (the default), `restart`,
    /// `error`, or a mapping with options.
    pub rescue: Option<RawRescue>,
    /// Which cheap checks an answer must pass.
    pub checks: Option<RawChecks>,
    /// A model that scores answers before they are given; off by default.
    pub evaluate: Option<RawEvaluate>,
    /// Keep conversations at the target that serves them, for their tone and the provider's prompt cache: `on`, or a
    /// mapping with `ttl` and `on_fault`; off by default.
    pub sessions: Option<RawSessions>,
    /// Copy a share of the requests to another target, whose answers go to nobody: `{ target, share: 5% }`.
    pub mirror: Option<RawMirror>,
    /// Keep complete answers and give them again for the same question; off by default.
    pub cache: Option<RawCache>,
    /// Which identical requests in flight share one upstream call.
    pub coalesce: Option<RawCoalesce>,
    /// What is done when no target can serve, in this order; the error at once by default.
    pub when_exhausted: Option<Vec<RawWhenExhausted>>,
    /// The queue of this model.
    pub queue: RawQueue,
    /// How many exchanges of this model are in flight at once, and who waits; no limit by default.
    pub overload: Option<RawOverload>,
}

/// Stop on more faults than usual, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawProfile {
    /// Go on wherever another target may do.
    #[default]
    Default,
    /// Stop on rejected credentials and unsupported parameters.
    Strict,
}

/// How a resting target is asked whether it is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawProbe {
    /// With a caller's request, hedged to a healthy peer.
    #[default]
    Live,
    /// With a caller's request, without a hedge.
    Off,
    /// With the gateway's own calls for a token alone: callers' requests pass a target over until it has recovered. How
    /// often is said under `health`, `probe`.
    Synthetic,
}

/// What to do for a stream that breaks: a mode, or a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RawRescue {
    /// `resume`, `restart` or `error`.
    Mode(RescueMode),
    /// With options.
    Full(RawFullRescue),
}

/// What to do for a stream that breaks, with options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFullRescue {
    /// `resume`: another target goes on where it broke. `restart`: another answers anew, for callers who sent
    /// `x-mainstay-restart: accept`. `error`: the dialect's error event.
    pub mode: RescueMode,
    /// `same_model`: only targets of the same model may go on.
    pub across: Across,
    /// Hold text back to the end of a `word` or a `sentence`, so that a switch falls on a boundary.
    pub hold: Hold,
}

/// A target: `provider/model`, or a mapping.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum RawTarget {
    /// `openai/gpt-5.1`.
    Name(String),
    /// With options.
    Full(Box<RawFullTarget>),
}

/// By hand, so that an error names the field and its line: an untagged enum only says that nothing fits.
impl<'de> Deserialize<'de> for RawTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetVisitor)
    }
}

struct TargetVisitor;

impl<'de> Visitor<'de> for TargetVisitor {
    type Value = RawTarget;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`provider/model`, or a mapping with `target`")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<RawTarget, E> {
        Ok(RawTarget::Name(name.to_owned()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RawTarget, A::Error> {
        let full = RawFullTarget::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(RawTarget::Full(Box::new(full)))
    }
}

/// A target with options.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFullTarget {
    /// `provider/model`, or the name of another model, which then is one target with a strategy of its own.
    pub target: String,
    /// Why it is here; shown by `explain`.
    pub why: Option<String>,
    /// Its share under `strategy: weighted`; 1 by default.
    pub weight: Option<u32>,
    /// The tier of the model it stands in.
    pub tier: Option<String>,
    /// Tells two targets of the same provider and model apart.
    pub label: Option<String>,
    /// Where it runs.
    pub region: Option<String>,
    /// What it costs, where the catalogue does not know it or you pay something else.
    pub prices: Option<Prices>,
    /// How good it is, from 0 to 1: a number, or one for each task, `{ chat: 0.8, code: 0.6 }`.
    pub quality: Option<RawQuality>,
    /// What it may cost, instead of what the model says.
    pub max_price: Option<RawMaxPrice>,
    /// What it may cost as a fallback of what the primary does, instead of what the model says.
    pub max_price_ratio: Option<Ratio>,
    /// What may be spent on it within a stretch of time: `{ limit: $5, window: 1h }`.
    pub spend: Option<RawSpend>,
    /// System text and example turns that its requests alone are given.
    pub prompt: Option<RawPrompt>,
    /// Parameters that its requests alone are given.
    pub parameters: Option<RawParameters>,
    /// Credentials of its own, instead of its provider's.
    #[serde(default, deserialize_with = "patch::secrets")]
    #[schemars(with = "Option<Vec<String>>")]
    pub keys: Option<Vec<Secret>>,
    /// How many calls it may have in flight: a number; `aimd`, by its 429s and 529s; `gradient`, by the latency of a
    /// backend of one's own. Beyond it the next target is asked; as many as come by default.
    pub concurrency: Option<RawConcurrency>,
    /// Inject a fault into a share of its calls; refused unless the gateway runs with `--allow-injection`.
    pub inject: Option<RawInject>,
}

/// A fault to inject.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawInject {
    /// A fault of the simulator: `unavailable_503`, `hang_before_headers`, `cut_mid_text:after=5`, …
    pub fault: String,
    /// Share of calls, 0–100.
    #[serde(default = "all")]
    pub percent: f64,
    /// From this long after the configuration was loaded.
    pub from: Option<Span>,
    /// Until this long after the configuration was loaded.
    pub until: Option<Span>,
    /// Seed of the draw, so that a run can be repeated.
    #[serde(default)]
    pub seed: u64,
}

fn all() -> f64 {
    100.0
}

/// Limits of the phases of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawTimeouts {
    /// DNS, TCP and TLS.
    pub connect: Option<Span>,
    /// From the request sent to the first token of a streamed call, while another candidate exists.
    pub first_token: Option<Span>,
    /// From the request sent to the whole answer of a call that is not streamed.
    pub response: Option<Span>,
    /// Between two tokens.
    pub idle: Option<Span>,
    /// One attempt in all.
    pub attempt: Option<Span>,
    /// The exchange in all.
    pub deadline: Option<Span>,
}

/// A fault class, as configuration writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawClass {
    RateLimited,
    QuotaExhausted,
    Overloaded,
    ServerError,
    Unreachable,
    TimedOut,
    StreamBroken,
    BadAnswer,
    ContextExceeded,
    ContentBlocked,
    ModelMissing,
    AuthRejected,
    UnsupportedParameter,
    InvalidRequest,
}

/// What to do after a fault: a next step, or a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RawOn {
    /// `next`, `stop` or `same`.
    Step(RawStep),
    /// With options.
    Full(RawFullOn),
}

/// The next step after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawStep {
    /// Another target.
    Next,
    /// The caller gets the fault.
    Stop,
    /// The same target once more, then another.
    Same,
}

/// A next step with options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFullOn {
    /// The next step.
    pub next_step: Option<RawStep>,
    /// For `rate_limited`: wait for the same target if its hint is at most this long, rather than go on.
    pub max_wait: Option<Span>,
    /// Wait this long before the next target.
    pub delay: Option<Span>,
}

/// A caller.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawKey {
    /// The name in logs.
    pub name: String,
    /// The key; `${NAME}` reads the environment.
    pub key: Option<String>,
    /// SHA-256 of the key in hex, instead of `key`: `printf %s "$KEY" | sha256sum`.
    pub key_sha256: Option<String>,
    /// Models it may use; none = all. A trailing `*` stands for any ending.
    #[serde(default)]
    pub models: Vec<String>,
    /// Who is served first when requests wait; the header `x-mainstay-priority` can lower it.
    #[serde(default)]
    #[schemars(schema_with = "priority_schema")]
    pub priority: Priority,
}

/// Bounds of what callers may send.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawLimits {
    /// Most bytes of a request body, after decompression; 32MiB by default.
    pub body: Option<Size>,
    /// Longest silence while a body arrives, and while a caller does not read; 30s by default.
    pub caller_idle: Option<Span>,
}

/// When a target is left alone, and how it comes back.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawHealth {
    /// Hard faults in a row that open the breaker; 3 by default.
    pub consecutive: Option<u32>,
    /// Samples before the failure ratio counts; 8 by default.
    pub min_samples: Option<u32>,
    /// Failure ratio that opens the breaker when it is surely exceeded; 0.25 by default.
    pub failure_ratio: Option<f64>,
    /// The window the ratio is counted in; 30s by default.
    pub window: Option<Span>,
    /// The first rest; 2s by default.
    pub rest: Option<Span>,
    /// The longest rest; 15s by default.
    pub max_rest: Option<Span>,
    /// How long a recovered target takes to its full share; 60s by default.
    pub ramp: Option<Span>,
    /// The share a recovered target begins with, 0–1; 0.05 by default.
    pub ramp_start: Option<f64>,
    /// Calls of the gateway's own, that tell whether targets are well: a mapping, or a list of them of which the first
    /// that concerns a target holds. None by default. See docs/SIGNALS.md.
    pub probe: RawProbes,
}

impl From<RawClass> for canon::FaultClass {
    fn from(class: RawClass) -> Self {
        match class {
            RawClass::RateLimited => Self::RateLimited,
            RawClass::QuotaExhausted => Self::QuotaExhausted,
            RawClass::Overloaded => Self::Overloaded,
            RawClass::ServerError => Self::ServerError,
            RawClass::Unreachable => Self::Unreachable,
            RawClass::TimedOut => Self::TimedOut,
            RawClass::StreamBroken => Self::StreamBroken,
            RawClass::BadAnswer => Self::BadAnswer,
            RawClass::ContextExceeded => Self::ContextExceeded,
            RawClass::ContentBlocked => Self::ContentBlocked,
            RawClass::ModelMissing => Self::ModelMissing,
            RawClass::AuthRejected => Self::AuthRejected,
            RawClass::UnsupportedParameter => Self::UnsupportedParameter,
            RawClass::InvalidRequest => Self::InvalidRequest,
        }
    }
}
