//! Rows as they are written, in the data files and in a user's configuration: every field optional, unknown ones
//! refused.

use crate::prices::Prices;
use crate::provider::{Auth, Capabilities};
use crate::quirks::Quirks;
use canon::{DialectName, FaultClass, LimitKind, Scope, Secret};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A provider row as written. In the configuration every field overrides the shipped row's; lists of models and errors
/// are added to it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawProvider {
    /// `openai-chat`, `anthropic-messages` or `gemini`.
    #[schemars(schema_with = "dialect_schema")]
    pub dialect: Option<DialectName>,
    /// Scheme, host and path prefix: `http://10.0.0.7:8000/v1`.
    pub base_url: Option<String>,
    /// `bearer` (the default), `none`, or `header: x-api-key`.
    pub auth: Option<Auth>,
    /// Credentials. The catalogue ships none and reads none; they are here so that one type reads the whole row.
    #[serde(deserialize_with = "secrets")]
    #[schemars(with = "Option<Vec<String>>")]
    pub keys: Option<Vec<Secret>>,
    /// Environment variables the keys are usually in.
    pub key_env: Option<Vec<String>>,
    /// The provider may be called without a key.
    pub keyless: Option<bool>,
    /// Headers sent with every request.
    pub headers: Option<BTreeMap<String, String>>,
    /// More headers of the caller that may cross to the provider; a trailing `*` stands for any ending.
    pub request_headers: Option<Vec<String>>,
    /// More headers of the provider that may cross to the caller; a trailing `*` stands for any ending.
    pub response_headers: Option<Vec<String>>,
    /// The headers in which the provider tells its limits, with every answer, added to its dialect's: a target is
    /// passed over before they are used up.
    pub limits: Option<Vec<LimitHeaders>>,
    /// The path of the model list after the base URL.
    pub models_path: Option<String>,
    /// Where the provider reports its incidents; read only where the configuration has `status_pages`.
    pub status_page: Option<StatusPage>,
    /// A streamed call that is cancelled is billed for its prompt and for what was written by then. Left out: the whole
    /// answer may be billed.
    pub cancel_stops_billing: Option<bool>,
    /// Deviations from the dialect that hold for every model.
    pub quirks: Option<Quirks>,
    /// The shipped provider whose error rules a new provider shares; its dialect's alone by default.
    pub errors_like: Option<String>,
    /// What the provider's errors mean, most specific first; tried before the shipped rules.
    pub errors: Option<Vec<Rule>>,
    /// Phrases that begin a refusal of any of its models, added to the shipped ones; `*` stands for any run. Looked for
    /// where a model has `checks: { refusal: on }`.
    pub refusals: Option<Vec<String>>,
    /// What is known of its models.
    pub models: Option<Vec<ModelRow>>,
}

/// The headers in which one limit is told, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitHeaders {
    /// `requests`, `tokens`, `input_tokens` or `output_tokens`.
    #[schemars(with = "String")]
    pub counts: LimitKind,
    /// How much is allowed at once.
    pub limit: String,
    /// How much of that is left.
    pub remaining: String,
    /// When all of it is left again: a duration, seconds, a date or an epoch. Unsaid, a minute.
    pub reset: Option<String>,
}

/// Where a provider reports its incidents.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusPage {
    /// The page as JSON, of Statuspage (`…/api/v2/summary.json`, `components.json`, `incidents/unresolved.json`) or of
    /// incident.io.
    pub url: String,
    /// Which components of the page are which of the provider's models, by patterns: `{ "Chat Completions": ["*"] }`.
    /// Components that are not written concern none of them; without any, all of the page concerns all of them.
    #[serde(default)]
    pub components: BTreeMap<String, Vec<String>>,
}

/// What the catalogue says of a model, or of every model a pattern names.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelRow {
    /// The provider's id, or a pattern: `claude-*-4-5*`.
    pub id: String,
    /// Tokens of context.
    pub context_window: Option<u64>,
    /// Most tokens of output.
    pub max_output_tokens: Option<u64>,
    /// What it costs.
    pub prices: Option<Prices>,
    /// What it takes and does; what is not written is unknown.
    pub capabilities: Option<Capabilities>,
    /// It reasons before its first token.
    pub reasoning_model: Option<bool>,
    /// The day the provider withdraws it: `2026-12-11`.
    pub retires: Option<String>,
    /// Phrases that begin a refusal of this model.
    #[serde(default)]
    pub refusals: Vec<String>,
    /// Deviations over the provider's own.
    #[serde(default)]
    pub quirks: Quirks,
}

/// What an error means. All conditions that are written must hold; within a list any one does.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// HTTP statuses: `429` or `520-527`. An error inside a 200 that states no status is judged by the other
    /// conditions; it does not match a rule that has none.
    #[serde(default)]
    pub status: Vec<StatusRange>,
    /// `code`, `type`, `status` or a machine-readable reason of the error body; `*` stands for any run.
    #[serde(default)]
    pub code: Vec<String>,
    /// Text the message contains, case aside; `*` stands for any run.
    #[serde(default)]
    pub text: Vec<String>,
    /// Finish reasons, as the provider spells them; a rule with these concerns finish reasons alone.
    #[serde(default)]
    pub finish: Vec<String>,
    /// Response headers and the value they must have.
    #[serde(default)]
    pub header: BTreeMap<String, String>,
    /// Whether a limit the headers report must have nothing left (`true`) or all of them something (`false`).
    pub exhausted: Option<bool>,
    /// The class of the fault.
    #[schemars(schema_with = "class_schema")]
    pub class: FaultClass,
    /// What it concerns, where the class's usual scope is wrong.
    #[schemars(schema_with = "scope_schema")]
    pub scope: Option<Scope>,
    /// The parameter it is about, where the error does not name one; `prefill` = the begun answer of a request that
    /// goes on with it.
    pub parameter: Option<String>,
    /// Which hint to believe.
    #[serde(default)]
    pub hint: HintUse,
    /// Why, for the reader.
    pub note: Option<String>,
}

impl Rule {
    /// Whether it would match everything.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.status.is_empty()
            && self.code.is_empty()
            && self.text.is_empty()
            && self.finish.is_empty()
            && self.header.is_empty()
    }
}

/// Which hint of an error response to believe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HintUse {
    /// As the hint grammar says; for an exhausted quota without the one hour's limit.
    #[default]
    Stated,
    /// None: the provider sends one that is known to be wrong.
    Ignore,
    /// Until the next midnight in the zone of Google's quotas, whatever is stated.
    PacificMidnight,
}

/// HTTP statuses from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl StatusRange {
    /// Whether `status` lies in it.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StatusRangeVisitor)
    }
}

struct StatusRangeVisitor;

impl StatusRangeVisitor {
    fn checked<E: de::Error>(first: u16, last: u16) -> Result<StatusRange, E> {
        if (100..=599).contains(&first) && (first..=599).contains(&last) {
            Ok(StatusRange { first, last })
        } else {
            Err(E::custom(format!("status {first}-{last}: expected statuses between 100 and 599, lower first")))
        }
    }
}

impl Visitor<'_> for StatusRangeVisitor {
    type Value = StatusRange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an HTTP status such as 429, or a range such as 520-527")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<StatusRange, E> {
        let status = u16::try_from(value).unwrap_or(u16::MAX);
        Self::checked(status, status)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<StatusRange, E> {
        self.visit_u64(u64::try_from(value).unwrap_or(0))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<StatusRange, E> {
        let (first, last) = value.split_once('-').unwrap_or((value, value));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) => Self::checked(first, last),
            _ => Err(E::invalid_value(de::Unexpected::Str(value), &self)),
        }
    }
}

impl JsonSchema for StatusRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StatusRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An HTTP status such as 429, or a range such as 520-527.",
            "oneOf": [
                { "type": "integer", "minimum": 100, "maximum": 599 },
                { "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" },
            ]
        })
    }
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Secret>>, D::Error> {
    let keys = Option::<Vec<String>>::deserialize(deserializer)?;
    Ok(keys.map(|keys| keys.into_iter().map(Secret::new).collect()))
}

fn dialect_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": DialectName::ALL.map(DialectName::as_str) })
}

fn class_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": FaultClass::ALL.map(FaultClass::as_str) })
}

fn scope_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "enum": ["credential_model", "credential", "target", "model", "provider", "request", "caller", null]
    })
}
