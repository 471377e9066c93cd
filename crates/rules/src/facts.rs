//! What a rule can ask about, by name: the tables that the checker reads, and the documentation is tested against.

use std::fmt;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    Int,
    Double,
    Text,
    Duration,
    /// Texts by name.
    Map(Map),
    /// The kinds of content of a request.
    Modalities,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Double => "double",
            Self::Text => "string",
            Self::Duration => "duration",
            Self::Map(_) => "map of strings",
            Self::Modalities => "list of strings",
        })
    }
}

/// Texts of a request by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Map {
    Labels,
    Headers,
}

/// A fact of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestFact {
    Model,
    Dialect,
    Tokens,
    MaxOutputTokens,
    Stream,
    Tools,
    JsonSchema,
    Reasoning,
    User,
    Key,
}

/// A kind of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modality {
    /// Every request has text.
    Text,
    /// Pictures.
    Image,
    /// Documents.
    Document,
    /// Sound.
    Audio,
}

impl Modality {
    pub(crate) const ALL: [(&'static str, Self); 4] =
        [("text", Self::Text), ("image", Self::Image), ("document", Self::Document), ("audio", Self::Audio)];
}

/// A fact of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetFact {
    /// Its breaker is closed, and it is no chronic flapper: a bool.
    Healthy,
    /// `closed`, `ramping`, `half_open`, `open` or `off`: a string.
    Breaker,
    /// Lately slower than its own baseline: a bool.
    Slow,
    /// A chronic flapper: a bool.
    Degraded,
    /// No credential is usable: a bool.
    Parked,
    /// Since the first 429 without a success since, on every usable credential: a duration.
    RateLimitedFor,
    /// Median time to the first token of recent calls: a duration.
    FirstTokenP50,
    /// The 95th percentile of it.
    FirstTokenP95,
    /// The 99th percentile of it.
    FirstTokenP99,
    /// Calls under way: an int.
    InFlight,
    /// US dollars that the request is expected to cost there: a double.
    Price,
    /// US dollars per million tokens of prompt: a double.
    InputPrice,
    /// US dollars per million tokens of answer: a double.
    OutputPrice,
    /// Tokens it takes: an int.
    ContextWindow,
    /// Where it runs: a string.
    Region,
}

impl TargetFact {
    /// Whether it changes with the traffic.
    pub(crate) fn is_measured(self) -> bool {
        match self {
            Self::Healthy
            | Self::Breaker
            | Self::Slow
            | Self::Degraded
            | Self::Parked
            | Self::RateLimitedFor
            | Self::FirstTokenP50
            | Self::FirstTokenP95
            | Self::FirstTokenP99
            | Self::InFlight => true,
            Self::Price | Self::InputPrice | Self::OutputPrice | Self::ContextWindow | Self::Region => false,
        }
    }

    /// Whether it depends on the request: prices do, by its size and the time it is asked.
    pub(crate) fn is_of_request(self) -> bool {
        matches!(self, Self::Price | Self::InputPrice | Self::OutputPrice)
    }

    /// Whether it rests on a number of samples.
    pub(crate) fn is_sampled(self) -> bool {
        matches!(self, Self::FirstTokenP50 | Self::FirstTokenP95 | Self::FirstTokenP99)
    }
}

/// What follows `request.`, with its type and meaning.
pub(crate) const REQUEST: [(&str, Type, &str, Option<RequestFact>); 13] = [
    ("model", Type::Text, "the model asked for", Some(RequestFact::Model)),
    ("dialect", Type::Text, "the dialect it came in, such as `openai-chat`", Some(RequestFact::Dialect)),
    ("tokens", Type::Int, "prompt tokens, an estimate", Some(RequestFact::Tokens)),
    (
        "max_output_tokens",
        Type::Int,
        "the cap on output tokens; unknown where the caller set none",
        Some(RequestFact::MaxOutputTokens),
    ),
    ("stream", Type::Bool, "the caller gets a stream", Some(RequestFact::Stream)),
    ("tools", Type::Bool, "tools are offered", Some(RequestFact::Tools)),
    ("json_schema", Type::Bool, "output bound to a JSON Schema is asked for", Some(RequestFact::JsonSchema)),
    ("reasoning", Type::Bool, "the caller asked for reasoning", Some(RequestFact::Reasoning)),
    ("modalities", Type::Modalities, "some of `text`, `image`, `document`, `audio`", None),
    (
        "user",
        Type::Text,
        "the end user the body names (`user`, `safety_identifier`, `metadata.user_id`); unknown where it names none",
        Some(RequestFact::User),
    ),
    ("key", Type::Text, "the name of the caller's key; unknown without keys", Some(RequestFact::Key)),
    ("labels", Type::Map(Map::Labels), "texts of the body's `metadata`, and of the header `x-mainstay-labels`", None),
    (
        "headers",
        Type::Map(Map::Headers),
        "the caller's headers, by lower-case name; credentials are not among them",
        None,
    ),
];

/// What follows `target("…").`, with its type and meaning.
pub(crate) const TARGET: [(&str, Type, &str, TargetFact); 15] = [
    ("healthy", Type::Bool, "its breaker is closed, and it is no chronic flapper", TargetFact::Healthy),
    ("breaker", Type::Text, "`closed`, `ramping`, `half_open`, `open` or `off`", TargetFact::Breaker),
    ("slow", Type::Bool, "lately slower than its own baseline", TargetFact::Slow),
    ("degraded", Type::Bool, "a chronic flapper", TargetFact::Degraded),
    ("parked", Type::Bool, "no credential is usable", TargetFact::Parked),
    (
        "rate_limited_for",
        Type::Duration,
        "time since the first 429 with no success since, on all usable credentials; 0 while one of them is free of it",
        TargetFact::RateLimitedFor,
    ),
    (
        "first_token_p50",
        Type::Duration,
        "median time to the first token of recent streamed calls; unknown below `min_samples`",
        TargetFact::FirstTokenP50,
    ),
    ("first_token_p95", Type::Duration, "its 95th percentile", TargetFact::FirstTokenP95),
    ("first_token_p99", Type::Duration, "its 99th percentile", TargetFact::FirstTokenP99),
    ("in_flight", Type::Int, "calls under way", TargetFact::InFlight),
    (
        "price",
        Type::Double,
        "US dollars that this request is expected to cost there; unknown where its prices are",
        TargetFact::Price,
    ),
    (
        "input_price",
        Type::Double,
        "US dollars per million prompt tokens, for a request of this size now; unknown where nobody states it",
        TargetFact::InputPrice,
    ),
    ("output_price", Type::Double, "US dollars per million tokens of answer, likewise", TargetFact::OutputPrice),
    ("context_window", Type::Int, "tokens it takes; unknown where the catalogue has none", TargetFact::ContextWindow),
    ("region", Type::Text, "where it runs, as the configuration says", TargetFact::Region),
];

/// Part of the time of day, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockPart {
    Hours,
    Minutes,
    DayOfWeek,
}

pub(crate) const CLOCK: [(&str, ClockPart, &str); 3] = [
    ("getHours", ClockPart::Hours, "0 to 23, in UTC, or at an offset: `now.getHours(\"+02:00\")`"),
    ("getMinutes", ClockPart::Minutes, "0 to 59"),
    ("getDayOfWeek", ClockPart::DayOfWeek, "0 = Sunday to 6 = Saturday"),
];

/// Functions, as they are called, with the type they give.
pub(crate) const FUNCTIONS: [(&str, &str, &str); 10] = [
    ("target(\"provider/model\")", "target", "a target that a model of this file lists"),
    (
        "rate(\"provider/model\", \"class\", duration(\"5m\"))",
        "double",
        "share of the target's calls that ended so within the window (1s to 1h); `any` = every fault but the caller's \
         own; unknown below `min_samples`",
    ),
    ("samples(\"provider/model\", duration(\"5m\"))", "int", "calls of the target that ended within the window"),
    (
        "spent(\"provider/model\", duration(\"24h\"))",
        "double",
        "US dollars spent on the target within the window (1s to 31 days), calls in flight at their expected cost; unknown \
         where its prices are",
    ),
    ("duration(\"90s\")", "duration", "a length of time: `ms`, `s`, `m`, `h`, also `1m30s`"),
    ("has(request.labels.team)", "bool", "whether something is known: a label, a header, a fact that may be unknown"),
    ("size(request.user)", "int", "characters of a string"),
    ("int(1.9)", "int", "a double without its fraction"),
    ("double(1)", "double", "an int as a double"),
    ("text.startsWith(\"a\")", "bool", "also `endsWith` and `contains`"),
];

/// A name of the language, for its reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documented {
    /// As it is written.
    pub name: String,
    /// Its type.
    pub of: String,
    /// What it is.
    pub meaning: String,
}

/// Every name of the language: what `docs/RULES.md` must list.
pub fn documented() -> Vec<Documented> {
    let entry = |name: String, of: String, meaning: &str| Documented { name, of, meaning: meaning.to_owned() };
    let request =
        REQUEST.iter().map(|(name, of, meaning, _)| entry(format!("request.{name}"), of.to_string(), meaning));
    let target =
        TARGET.iter().map(|(name, of, meaning, _)| entry(format!("target(…).{name}"), of.to_string(), meaning));
    let clock = CLOCK.iter().map(|(name, _, meaning)| entry(format!("now.{name}()"), "int".to_owned(), meaning));
    let functions = FUNCTIONS.iter().map(|(name, of, meaning)| entry((*name).to_owned(), (*of).to_owned(), meaning));
    request.chain(target).chain(clock).chain(functions).collect()
}
