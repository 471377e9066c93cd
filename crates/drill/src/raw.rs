//! A scenario as it is written: unknown fields refused, nothing checked across fields.

use crate::units::Share;
use config::Span;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::fmt;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawScenario {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) about: String,
    #[serde(default)]
    pub(crate) config: RawConfig,
    /// Callers arrive for so long.
    pub(crate) duration: Span,
    /// The hour it begins at, in UTC, for prices and rules that look at the clock.
    #[serde(default)]
    pub(crate) starts: Option<Spanned<String>>,
    /// Gateways behind one balancer, each with health of its own.
    #[serde(default)]
    pub(crate) replicas: Option<Spanned<u32>>,
    /// Length of a row of the table.
    #[serde(default)]
    pub(crate) rows: Option<Span>,
    pub(crate) load: Vec<Spanned<RawLoad>>,
    /// Laws by target id; `*` for all that are not named.
    pub(crate) targets: BTreeMap<String, Spanned<RawLaw>>,
    #[serde(default)]
    pub(crate) timeline: Vec<Spanned<RawFault>>,
    pub(crate) expect: Vec<Spanned<RawExpectation>>,
}

/// A path, or the configuration itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum RawConfig {
    #[default]
    None,
    Path(String),
    Inline,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a request")]
pub(crate) struct RawLoad {
    /// What bars call it.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// The logical model; the only one by default.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// Requests a second, Poisson.
    pub(crate) rate: f64,
    /// Its requests are turns of conversations; `rate` is how many begin.
    #[serde(default)]
    pub(crate) conversation: Option<RawConversation>,
    /// Other rates from then on.
    #[serde(default)]
    pub(crate) phases: Vec<RawPhase>,
    #[serde(default)]
    pub(crate) prompt_tokens: Option<RawSpread>,
    #[serde(default)]
    pub(crate) output_tokens: Option<RawSpread>,
    #[serde(default)]
    pub(crate) streamed: Option<Share>,
    #[serde(default)]
    pub(crate) sdk: RawSdk,
    /// `x-mainstay-timeout`.
    #[serde(default)]
    pub(crate) timeout: Option<Span>,
    /// The cap on output tokens that its requests state.
    #[serde(default)]
    pub(crate) max_output_tokens: Option<u64>,
    #[serde(default)]
    pub(crate) tools: bool,
    #[serde(default)]
    pub(crate) images: bool,
    #[serde(default)]
    pub(crate) json_schema: bool,
    #[serde(default)]
    pub(crate) reasoning: bool,
    /// The name of the caller's key.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// The end user the body names.
    #[serde(default)]
    pub(crate) user: Option<String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Where the figures come from.
    #[serde(default)]
    pub(crate) source: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPhase {
    pub(crate) at: Span,
    pub(crate) rate: f64,
}

/// What the conversations of a load are like.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConversation {
    pub(crate) turns: u32,
    /// Tokens by which the prompt grows from turn to turn.
    #[serde(default)]
    pub(crate) adds: u64,
    /// From the end of an answer to the next turn.
    pub(crate) pause: Span,
    #[serde(default)]
    pub(crate) known_by: RawKnownBy,
}

/// What a gateway knows a conversation by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawKnownBy {
    /// `session_id` of its requests.
    #[default]
    Name,
    /// What it begins with.
    Opening,
}

/// What the caller's SDK does with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawSdk {
    /// The SDKs of OpenAI and Anthropic as shipped: two retries, none where `x-should-retry: false` is said.
    #[default]
    Official,
    /// Two retries whatever the answer says.
    Stubborn,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSpread {
    pub(crate) median: f64,
    #[serde(default)]
    pub(crate) sigma: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSpanSpread {
    pub(crate) median: Span,
    #[serde(default)]
    pub(crate) sigma: f64,
}

/// How a healthy target behaves.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLaw {
    pub(crate) first_token: RawSpanSpread,
    pub(crate) tokens_per_second: f64,
    /// How long an error answer takes; one round trip by default.
    #[serde(default)]
    pub(crate) refuses_after: Option<Span>,
    /// Of each credential.
    #[serde(default)]
    pub(crate) requests_per_minute: Option<f64>,
    /// Of each credential, prompt and output.
    #[serde(default)]
    pub(crate) tokens_per_minute: Option<f64>,
    /// Its answers tell what is left of those, as `x-ratelimit-*` do.
    #[serde(default)]
    pub(crate) tells_limits: bool,
    /// How long it keeps the prompt of a conversation that nobody goes on with; not at all by default.
    #[serde(default)]
    pub(crate) keeps_prompts: Option<Span>,
    /// Calls at a time; one more is answered 503.
    #[serde(default)]
    pub(crate) capacity: Option<u32>,
    /// Where the figures come from.
    #[serde(default)]
    pub(crate) source: String,
}

/// One line of the timeline.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawFault {
    pub(crate) at: Span,
    /// Healed then; the end of the drill by default.
    #[serde(default)]
    pub(crate) until: Option<Span>,
    /// A target's id, or `*`.
    pub(crate) target: String,
    /// Only calls with this credential of its provider, from 1.
    #[serde(default)]
    pub(crate) credential: Option<usize>,
    pub(crate) fault: RawFaultName,
    /// Of the calls; all by default.
    #[serde(default)]
    pub(crate) share: Option<Share>,
    /// Flapping: broken for `down`, well for `up`, and so on.
    #[serde(default)]
    pub(crate) down: Option<Span>,
    #[serde(default)]
    pub(crate) up: Option<Span>,
    /// The hint of an error answer.
    #[serde(default)]
    pub(crate) retry_after: Option<Span>,
    /// The provider's code of an error answer: `insufficient_quota`.
    #[serde(default)]
    pub(crate) code: Option<String>,
    /// How many times slower.
    #[serde(default)]
    pub(crate) times: Option<f64>,
    /// After so many tokens; any place of the answer by default.
    #[serde(default)]
    pub(crate) after: Option<u32>,
    /// Where the shape of the fault comes from.
    #[serde(default)]
    pub(crate) source: String,
}

/// A status, or a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RawFaultName {
    Status(u16),
    Word(String),
}

/// A bar, or a bar with its window.
#[derive(Debug)]
pub(crate) struct RawExpectation {
    pub(crate) bar: String,
    pub(crate) from: Option<Span>,
    pub(crate) to: Option<Span>,
    /// The load whose requests alone count.
    pub(crate) of: Option<String>,
    pub(crate) over: RawOver,
    pub(crate) why: String,
}

/// Whether each run must meet a bar, or all runs in the mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawOver {
    #[default]
    Each,
    Mean,
}

impl<'de> Deserialize<'de> for RawConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a configuration file, or a configuration")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<RawConfig, E> {
                Ok(RawConfig::Path(path.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawConfig, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(RawConfig::Inline)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for RawFaultName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = RawFaultName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an HTTP status such as 503, or one of ")?;
                f.write_str(&crate::fault::WORDS.join(", "))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<RawFaultName, E> {
                u16::try_from(number)
                    .ok()
                    .filter(|status| (400..600).contains(status))
                    .map(RawFaultName::Status)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<RawFaultName, E> {
                self.visit_u64(u64::try_from(number).unwrap_or(0))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<RawFaultName, E> {
                match word.parse() {
                    Ok(number) => self.visit_u64(number),
                    Err(_) if crate::fault::WORDS.contains(&word) => Ok(RawFaultName::Word(word.to_owned())),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for RawExpectation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            bar: String,
            #[serde(default)]
            from: Option<Span>,
            #[serde(default)]
            to: Option<Span>,
            #[serde(default)]
            of: Option<String>,
            #[serde(default)]
            over: RawOver,
            #[serde(default)]
            why: String,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawExpectation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a bar such as `client_errors <= 0.1%`, or a mapping with `bar`, `from`, `to`")
            }

            fn visit_str<E: de::Error>(self, bar: &str) -> Result<RawExpectation, E> {
                let over = RawOver::Each;
                Ok(RawExpectation { bar: bar.to_owned(), from: None, to: None, of: None, over, why: String::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawExpectation, A::Error> {
                let Full { bar, from, to, of, over, why } = Full::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawExpectation { bar, from, to, of, over, why })
            }
        }
        deserializer.deserialize_any(Either)
    }
}
