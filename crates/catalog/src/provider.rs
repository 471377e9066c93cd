//! A resolved row: everything the gateway needs to know about a provider, checked and with its defaults filled in.

use crate::errors::ErrorMap;
use crate::glob;
use crate::prices::Prices;
use crate::quirks::Quirks;
use crate::raw::{LimitHeaders, ModelRow, StatusPage};
use crate::refusal::Refusals;
use canon::DialectName;
use dialect::profile::{Continuation, Profile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How a credential is shown to the provider.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// `Authorization: Bearer KEY`.
    #[default]
    Bearer,
    /// `NAME: KEY`.
    Header(String),
    /// Nothing is sent.
    None,
}

/// A provider of the catalogue, after the user's overrides.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// The name in `provider/model`, in logs and in metrics.
    pub name: String,
    /// What it speaks.
    pub dialect: DialectName,
    /// Scheme, host and path prefix, without a trailing slash; the dialect's path is appended.
    pub base_url: String,
    /// How the key is sent.
    pub auth: Auth,
    /// Environment variables its keys are usually in, the usual one first.
    pub key_env: Vec<String>,
    /// It may be called without a key. A key, where one is configured, is sent all the same.
    pub keyless: bool,
    /// Sent with every request: `anthropic-version: 2023-06-01`.
    pub headers: Vec<(String, String)>,
    /// Headers of the caller that may cross to it, in lower case; a trailing `*` stands for any ending.
    pub request_headers: Vec<String>,
    /// Headers of its answers that may cross to the caller, in lower case; a trailing `*` stands for any ending.
    pub response_headers: Vec<String>,
    /// The headers in which it tells its limits with every answer.
    pub limits: Vec<LimitHeaders>,
    /// The path of its model list after the base URL; `None` = it has none.
    pub models_path: Option<String>,
    /// Where it reports its incidents; `None` = nobody knows.
    pub status_page: Option<StatusPage>,
    /// A streamed call that is cancelled is billed for its prompt and for what was written by then, not for the whole
    /// answer.
    pub cancel_stops_billing: bool,
    /// Deviations that hold for every model.
    pub profile: Profile,
    /// What its errors mean: its own rules, then its dialect's, then what the status alone says.
    pub error_map: Arc<ErrorMap>,
    /// What its refusals begin with, whichever the model.
    pub refusals: Refusals,
    /// What is known of its models, by id or pattern.
    pub models: Vec<ModelRow>,
    pub(crate) quirks: Quirks,
}

/// Facts of a model. `None` = nobody documents it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelFacts {
    /// Tokens of input and output together, or of input where the provider counts them apart.
    pub context_window: Option<u64>,
    /// Most tokens of output.
    pub max_output_tokens: Option<u64>,
    /// What it costs.
    pub prices: Option<Arc<Prices>>,
    /// What it takes and does.
    pub capabilities: Capabilities,
    /// It reasons before its first token, so that token may be long in coming.
    pub reasoning_model: bool,
    /// The day the provider withdraws it, `2026-12-11`.
    pub retires: Option<String>,
}

/// What a model takes and does. `None` = unknown, which excludes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// Function calling.
    pub tools: Option<bool>,
    /// Images in the prompt.
    pub images: Option<bool>,
    /// PDF and other documents in the prompt.
    pub documents: Option<bool>,
    /// Audio in the prompt.
    pub audio: Option<bool>,
    /// Output bound to a JSON Schema.
    pub json_schema: Option<bool>,
    /// Reasoning that can be asked for.
    pub reasoning: Option<bool>,
}

/// One model of one provider: its facts, and the profile its encoder gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What is known of it.
    pub facts: ModelFacts,
    /// The provider's deviations with the model's own over them.
    pub profile: Profile,
    /// Whether any row names it. A model that none names is served all the same.
    pub known: bool,
}

impl Provider {
    /// What is known of a model of this provider.
    ///
    /// Every row that names it counts: patterns in the order they are written (general ones first), then exact ids. A
    /// later row wins field by field.
    pub fn model(&self, id: &str) -> Model {
        let patterns = self.models.iter().filter(|row| !glob::is_exact(&row.id) && glob::matches(&row.id, id));
        let exact = self.models.iter().filter(|row| glob::is_exact(&row.id) && row.id == id);
        let mut facts = ModelFacts::default();
        let mut quirks = self.quirks.clone();
        let mut known = false;
        for row in patterns.chain(exact) {
            known = true;
            facts = facts.overlaid_with(row);
            quirks = quirks.overlaid_with(&row.quirks);
        }
        // A profile that does not parse was refused when the row was loaded.
        let mut profile = if known { quirks.profile().unwrap_or_default() } else { self.profile.clone() };
        profile.max_output_tokens = profile.max_output_tokens.or(facts.max_output_tokens);
        self.place_continuation(&mut profile);
        Model { facts, profile, known }
    }

    /// Fits the path of continuations to the address: it stands there already, or it is put after it. An address that
    /// ends in a version (`/v1`) has no such path under it.
    fn place_continuation(&self, profile: &mut Profile) {
        let Some(path) = profile.continuation_path.as_deref() else { return };
        let last = self.base_url.rsplit('/').next().unwrap_or_default();
        let digits = last.strip_prefix('v').unwrap_or_default();
        if self.base_url.ends_with(path) {
            profile.continuation_path = None;
        } else if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            (profile.continuation, profile.continuation_path) = (Continuation::None, None);
        }
    }

    /// Ids of the rows that name exactly one model, in the order they are written.
    pub fn model_ids(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|row| row.id.as_str()).filter(|id| glob::is_exact(id))
    }

    /// The phrase that this beginning of an answer of a model is a refusal by; `None` = it is none that is known.
    pub fn refusal(&self, model: &str, beginning: &str) -> Option<&str> {
        let rows = self.models.iter().filter(|row| glob::matches(&row.id, model));
        self.refusals.phrase_of(beginning, rows.flat_map(|row| &row.refusals))
    }

    /// Whether a header of the caller (lower case) may cross to this provider.
    pub fn passes_request_header(&self, name: &str) -> bool {
        self.request_headers.iter().any(|pattern| glob::matches(pattern, name))
    }

    /// Whether a header of this provider's answer (lower case) may cross to the caller.
    pub fn passes_response_header(&self, name: &str) -> bool {
        self.response_headers.iter().any(|pattern| glob::matches(pattern, name))
    }
}

impl ModelFacts {
    fn overlaid_with(self, over: &ModelRow) -> Self {
        let (under_can, over_can) = (self.capabilities, over.capabilities.unwrap_or_default());
        Self {
            context_window: over.context_window.or(self.context_window),
            max_output_tokens: over.max_output_tokens.or(self.max_output_tokens),
            prices: over.prices.clone().map(Arc::new).or(self.prices),
            capabilities: Capabilities {
                tools: over_can.tools.or(under_can.tools),
                images: over_can.images.or(under_can.images),
                documents: over_can.documents.or(under_can.documents),
                audio: over_can.audio.or(under_can.audio),
                json_schema: over_can.json_schema.or(under_can.json_schema),
                reasoning: over_can.reasoning.or(under_can.reasoning),
            },
            reasoning_model: over.reasoning_model.unwrap_or(self.reasoning_model),
            retires: over.retires.clone().or(self.retires),
        }
    }
}
