//! Incidents that others report: feeds that are read, and a webhook that is told. As they are written, and checked.

use crate::pages::interval;
use crate::units::Span;
use catalog::Pattern;
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use signals::Concern;
use std::time::Duration;

/// Between two looks at a feed.
const EVERY: Duration = Duration::from_secs(60);
/// Feeds are somebody else's.
const SHORTEST: Duration = Duration::from_secs(10);
/// An item of a feed made for people is believed for so long after its date.
const ACTIVE_FOR: Duration = Duration::from_secs(2 * 3600);
/// A report that states no end is believed for so long.
const BELIEVED_FOR: Duration = Duration::from_secs(3600);
/// Nobody's report is believed for longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A list of incidents that is read now and then.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFeed {
    /// Where it is; `${NAME}` reads the environment.
    pub url: String,
    /// `json`: as docs/SIGNALS.md says. `rss`: RSS or Atom.
    pub format: RawFormat,
    /// The provider it speaks of, by name or pattern.
    pub provider: Option<String>,
    /// The targets it speaks of: `openai/gpt-5*`.
    pub target: Option<String>,
    /// The regions it speaks of.
    pub region: Option<String>,
    /// Of RSS and Atom only items whose title matches: `*API*`.
    pub title: Option<String>,
    /// Of RSS and Atom, how long after its date an item is believed that does not say it is over; 2h by default.
    pub active_for: Option<Span>,
    /// Between two looks; 60s by default.
    pub every: Option<Span>,
}

/// What a feed is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawFormat {
    /// JSON, as docs/SIGNALS.md says.
    Json,
    /// RSS or Atom.
    Rss,
}

/// Incidents that are told to the gateway at `POST /mainstay/incidents`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    /// Who tells must send it as `Authorization: Bearer SECRET`; `${NAME}` reads the environment.
    pub secret: String,
    /// How long a report is believed that states no end; 1h by default.
    pub believed_for: Option<Span>,
}

/// A list of incidents that is read now and then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentFeed {
    /// Where it is. It may hold a secret.
    pub url: String,
    /// How it is read.
    pub format: FeedFormat,
    /// Whom it may speak of.
    pub of: Concern,
    /// Between two looks.
    pub every: Duration,
}

/// How a feed is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedFormat {
    /// JSON, as docs/SIGNALS.md says.
    Json,
    /// RSS or Atom.
    Rss {
        /// Only items with such a title.
        title: Option<Pattern>,
        /// How long after its date an item is believed.
        active_for: Duration,
    },
}

/// Incidents that are told to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentWebhook {
    /// SHA-256 of the secret.
    pub secret: [u8; 32],
    /// How long a report is believed that states no end.
    pub believed_for: Duration,
    /// How long any report is believed.
    pub longest: Duration,
}

/// A feed, with its address expanded.
///
/// # Errors
/// The key, and what is wrong with it.
pub(crate) fn feed(raw: &RawFeed, url: String) -> Result<IncidentFeed, (&'static str, String)> {
    let pattern = |text: &Option<String>| text.as_deref().map(Pattern::new);
    let of = Concern { provider: pattern(&raw.provider), target: pattern(&raw.target), region: pattern(&raw.region) };
    let format = match raw.format {
        RawFormat::Json => {
            for (key, is_set) in [("title", raw.title.is_some()), ("active_for", raw.active_for.is_some())] {
                if is_set {
                    return Err((key, format!("`{key}` is for `format: rss`: JSON says itself what goes on")));
                }
            }
            FeedFormat::Json
        }
        RawFormat::Rss if of.is_empty() => {
            let message = "whom it speaks of is not said: expected `provider`, `target` or `region`";
            return Err(("format", message.to_owned()));
        }
        RawFormat::Rss => FeedFormat::Rss {
            title: pattern(&raw.title),
            active_for: raw.active_for.map_or(ACTIVE_FOR, |span| span.0).min(LONGEST),
        },
    };
    let every = interval(raw.every, EVERY, SHORTEST).map_err(|wrong| ("every", wrong))?;
    Ok(IncidentFeed { url, format, of, every })
}

/// The webhook, with its secret expanded.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn webhook(raw: &RawWebhook, secret: &str) -> Result<IncidentWebhook, String> {
    const LEAST: usize = 16;
    if secret.len() < LEAST {
        return Err(format!("the secret has {} characters: expected {LEAST} or more", secret.len()));
    }
    Ok(IncidentWebhook {
        secret: Sha256::digest(secret.as_bytes()).into(),
        believed_for: raw.believed_for.map_or(BELIEVED_FOR, |span| span.0).min(LONGEST),
        longest: LONGEST,
    })
}
