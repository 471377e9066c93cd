//! A logical model and its targets, as the configuration resolves them. One value serves every exchange until the
//! next reload; what changes under traffic is behind the health handles.

use crate::tier::Tiers;
use crate::{
    Balance, Checks, Evaluate, Experiment, Guards, Hedging, Judge, Mirror, ModelLedger, ModelRules, Near, Needs,
    Objectives, Quality, Sessions, SpeedBy, Split, TargetLedger,
};
use canon::{FaultClass, Instant, Secret};
use catalog::{ModelFacts, Provider};
use dialect::profile::Profile;
use dialect::splice::patch::Patch;
use health::{Bound, CredentialHealth, Limits, PanicGate, ProviderHealth, RetryBudget, TargetHealth};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One key of a provider.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Stable and not secret: `openai/1`.
    pub id: String,
    /// The key; empty for a provider that is called without one.
    pub secret: Secret,
    /// Its parks, shared by every target that uses it.
    pub health: Arc<CredentialHealth>,
    /// What is known of its limits on the target's model: [`CredentialHealth::limits`].
    pub limits: Arc<Limits>,
}

impl Credential {
    /// A key as a target with this model uses it.
    pub fn new(id: String, secret: Secret, health: Arc<CredentialHealth>, model: &str) -> Self {
        Self { id, secret, limits: health.limits(model), health }
    }

    /// A call of this model was answered.
    pub(crate) fn answered(&self, model: &str, now: Instant) {
        self.health.succeeded(model, now);
        self.limits.answered();
    }
}

/// A provider's model with its options.
#[derive(Debug, Clone)]
pub struct Target {
    /// `provider/model`, or with a label where two targets differ in options alone. The id of its health.
    pub id: String,
    /// The provider's row.
    pub provider: Arc<Provider>,
    /// The provider's own model id; also what rate limits are keyed by.
    pub model: String,
    /// What it takes and how it spells it.
    pub profile: Arc<Profile>,
    /// What is known of the model.
    pub facts: ModelFacts,
    /// The pool, in the order of preference. A provider without keys has one credential whose secret is empty.
    pub credentials: Vec<Credential>,
    /// Share in `weighted`.
    pub weight: u32,
    /// Where it runs.
    pub region: Option<String>,
    /// Why it was chosen, in the operator's words.
    pub why: Option<String>,
    /// Equal for targets that run the same model at different providers or in different regions.
    pub same_model: String,
    /// Its breaker.
    pub health: Arc<TargetHealth>,
    /// The evidence about its provider.
    pub provider_health: Arc<ProviderHealth>,
    /// How good it is at the model's task; `None` = unknown.
    pub quality: Option<Quality>,
    /// What its own model asks of its quality, besides the one that is asked for; `None` = nothing.
    pub min_quality: Option<Quality>,
    /// The model it comes from, where that is another than the one that is asked for.
    pub via: Option<Arc<str>>,
    /// What it may cost.
    pub guards: Guards,
    /// What it has cost.
    pub ledger: Arc<TargetLedger>,
    /// How many calls it may have in flight; `None` = as many as come.
    pub bound: Option<Arc<Bound>>,
    /// Its ended calls, where a rule reads them.
    pub tally: Option<Arc<rules::Tally>>,
    /// Whether it meets the objectives of the model that lists it; `None` = it has none.
    pub judge: Option<Arc<Judge>>,
    /// Which region is the nearest, where the model that lists it goes by that.
    pub near: Option<Arc<Near>>,
    /// What its requests are changed by.
    pub patch: Option<Arc<Patch>>,
}

impl Target {
    /// Tokens of the prompt that it is sent, an estimate.
    pub fn prompt_tokens(&self, needs: &Needs) -> u64 {
        needs.estimated_tokens.saturating_add(self.patch.as_ref().map_or(0, |patch| patch.tokens()))
    }

    /// The cap on the output that it is sent.
    pub fn output_cap(&self, needs: &Needs) -> Option<u64> {
        self.patch.as_ref().map_or(needs.max_output_tokens, |patch| patch.output_cap(needs.max_output_tokens))
    }
}

/// The order of candidates; each has a file in `strategy/` and a line in its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// As written; health decides who is skipped or demoted.
    #[default]
    Priority,
    /// By weight.
    Weighted,
    /// By weight, a user or a conversation always alike.
    Sticky(Split),
    /// By the estimated price of the request.
    Cheapest,
    /// By speed.
    Fastest(SpeedBy),
    /// By the weighted mean of price, speed, reliability and quality.
    Balanced(Balance),
    /// By price, among those predicted to meet the objectives.
    Auto(Objectives),
    /// By region, the nearest first.
    Nearest,
}

impl Strategy {
    /// The name in configuration and `explain`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Weighted | Self::Sticky(_) => "weighted",
            Self::Cheapest => "cheapest",
            Self::Fastest(_) => "fastest",
            Self::Balanced(_) => "balanced",
            Self::Auto(_) => "auto",
            Self::Nearest => "nearest",
        }
    }
}

/// Limits of the phases; `None` = learned from the target's own traffic, or no limit for `attempt` and `deadline`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// DNS, TCP and TLS.
    pub connect: Duration,
    /// To the first token of a streamed call; applied only while another candidate exists.
    pub first_token: Option<Duration>,
    /// Between two tokens.
    pub idle: Option<Duration>,
    /// To the whole answer of a call not streamed.
    pub response: Option<Duration>,
    /// One attempt in all.
    pub attempt: Option<Duration>,
    /// The exchange in all; the driver makes [`crate::ExchangeFacts::deadline`] of it.
    pub deadline: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_token: None,
            idle: None,
            response: None,
            attempt: None,
            deadline: None,
        }
    }
}

/// What an operator writes for a class under `on:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The next candidate.
    Next,
    /// The caller gets the fault.
    Stop,
    /// The same target once more, then the next candidate.
    SameThenNext,
}

/// Overrides for one class; everything unset is the default of the fault table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassPolicy {
    /// The next step.
    pub step: Option<Step>,
    /// `rate_limited`: wait this long for the hint and stay on the target. Set, it holds while other candidates exist
    /// too; unset, 1 s is waited only when no other candidate is left.
    pub max_wait: Option<Duration>,
    /// Pause before the next candidate.
    pub delay: Duration,
}

/// A model's `on:` map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OnFault(BTreeMap<FaultClass, ClassPolicy>);

impl OnFault {
    /// Sets the policy of a class.
    pub fn set(&mut self, class: FaultClass, policy: ClassPolicy) {
        self.0.insert(class, policy);
    }

    /// The policy of a class.
    pub fn policy(&self, class: FaultClass) -> ClassPolicy {
        self.0.get(&class).copied().unwrap_or_default()
    }
}

/// `profile:` of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultProfile {
    /// The fault table.
    #[default]
    Default,
    /// Stops on `auth_rejected` and `unsupported_parameter` as well.
    Strict,
}

/// How a resting target is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeMode {
    /// By a live request, hedged to a healthy peer.
    #[default]
    Live,
    /// By the gateway's own calls alone, started with [`health::StartKind::Probe`]; live requests pass it over.
    Synthetic,
    /// By live requests, one at a time, without a hedge.
    Off,
}

/// What is done for a stream that breaks after something of the answer was shown.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RescueMode {
    /// Another target goes on where it broke.
    #[default]
    Resume,
    /// Another target answers anew, if the caller accepts that; see `x-mainstay-restart`.
    Restart,
    /// The dialect's error event.
    Error,
}

/// Who may go on with a broken answer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Across {
    /// Targets of the same model first, then any other.
    #[default]
    Any,
    /// Targets of the same model alone.
    SameModel,
}

/// How much of a text is held back, so that a switch falls on a boundary.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Nothing.
    #[default]
    None,
    /// The unfinished word.
    Word,
    /// The unfinished sentence.
    Sentence,
}

/// `rescue:` of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rescue {
    /// What is done.
    pub mode: RescueMode,
    /// By whom.
    pub across: Across,
    /// What is held back meanwhile.
    pub hold: Hold,
}

/// What the configuration says of a model, targets aside.
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// The order.
    pub strategy: Strategy,
    /// The arms of its split are told; `None` = they are not.
    pub experiment: Option<Arc<Experiment>>,
    /// The tiers its targets stand in; `None` = it has none.
    pub tiers: Option<Arc<Tiers>>,
    /// What targets must be as good as; `None` = nothing.
    pub min_quality: Option<Quality>,
    /// The limits.
    pub timeouts: Timeouts,
    /// Next steps by class.
    pub on: OnFault,
    /// What stops.
    pub profile: FaultProfile,
    /// Targets that may reach a model's work in one exchange.
    pub max_targets: u32,
    /// Attempts that may reach a model's work in one exchange.
    pub max_attempts: u32,
    /// How resting targets are probed.
    pub probe: ProbeMode,
    /// What is started beside the first attempt.
    pub hedging: Hedging,
    /// What is done for streams that break.
    pub rescue: Rescue,
    /// What answers must pass.
    pub checks: Checks,
    /// Who scores answers before they are given; `None` = nobody.
    pub evaluate: Option<Arc<Evaluate>>,
    /// How conversations stay with their targets; `None` = each request goes where the plan says.
    pub sessions: Option<Sessions>,
    /// The part of each known limit of a target, 0–1, that requests leave to each priority above theirs; 0 = nothing.
    pub reserve: f64,
    /// Where copies of requests go; `None` = nowhere.
    pub mirror: Option<Arc<Mirror>>,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            experiment: None,
            tiers: None,
            min_quality: None,
            timeouts: Timeouts::default(),
            on: OnFault::default(),
            profile: FaultProfile::default(),
            max_targets: 4,
            max_attempts: 3,
            probe: ProbeMode::default(),
            hedging: Hedging::default(),
            rescue: Rescue::default(),
            checks: Checks::default(),
            evaluate: None,
            sessions: None,
            reserve: 0.0,
            mirror: None,
        }
    }
}

/// What a model lists: a target, or another model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Index in [`Model::targets`].
    Target(usize),
    /// A model that stands in the list as one target.
    Group(Group),
}

/// A model among the targets of another. It brings its strategy and its targets; everything else is as the model says
/// that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Arc<str>,
    /// Its order.
    pub strategy: Strategy,
    /// The arms of its split are told; `None` = they are not.
    pub experiment: Option<Arc<Experiment>>,
    /// Share in `weighted`.
    pub weight: u32,
    /// What it lists.
    pub nodes: Vec<Node>,
}

/// The logical name a caller asks for, and what serves it.
#[derive(Debug, Clone)]
pub struct Model {
    /// The name.
    pub name: String,
    /// Its settings.
    pub settings: ModelSettings,
    /// Its targets, as written; of models among them the targets those list.
    pub targets: Arc<[Arc<Target>]>,
    /// How targets belong to models among the targets; empty when there are none.
    pub nodes: Vec<Node>,
    /// What trying again may cost in all: [`health::Health::budget`] of its name.
    pub budget: Arc<RetryBudget>,
    /// The trickle while everything is open: [`health::Health::panic_gate`] of its name.
    pub panic_gate: Arc<PanicGate>,
    /// How long its answers are: [`crate::Ledger::model`] of its name.
    pub ledger: Arc<ModelLedger>,
    /// The rules of the configuration, as they concern it; `None` = there are none.
    pub rules: Option<Arc<ModelRules>>,
}
