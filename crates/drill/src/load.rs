//! Callers of one kind: how many come, what they ask for, and what rules can read of their requests.

use crate::raw::{RawLoad, RawSdk, RawSpread};
use crate::units::Spread;
use crate::world::Ask;
use canon::Instant;
use catalog::Moment;
use routing::Needs;
use routing::tier::{Assigned, AssignedBy, Tiers};
use rules::Lookup;
use std::collections::BTreeMap;
use std::time::Duration;

/// A prompt and an answer of a chat, where a load says nothing: medians of a coding agent's steps (arXiv 2606.30560,
/// table 1: 857 fresh prompt tokens, 252 tokens of output).
const PROMPT: Spread = Spread::always(857.0);
const OUTPUT: Spread = Spread::always(252.0);

/// Callers of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) name: Option<String>,
    pub(crate) model: String,
    /// From then on so many a second; the first from the start.
    pub(crate) rates: Vec<(Instant, f64)>,
    prompt_tokens: Spread,
    output_tokens: Spread,
    /// 0–1.
    streamed: f64,
    sdk: RawSdk,
    pub(crate) timeout: Option<Duration>,
    /// What every request needs, sizes and times aside.
    needs: Needs,
    pub(crate) key: Option<String>,
    user: Option<String>,
    labels: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
}

impl Load {
    /// Checks what is written.
    pub(crate) fn of(raw: &RawLoad, model: String) -> Result<Self, String> {
        let mut rates = vec![(Instant::ORIGIN, raw.rate)];
        rates.extend(raw.phases.iter().map(|phase| (Instant::from_origin(phase.at.0), phase.rate)));
        let is_fit = |(_, rate): &(Instant, f64)| rate.is_finite() && *rate >= 0.0;
        if !rates.iter().all(is_fit) || !rates.is_sorted_by_key(|(at, _)| *at) {
            return Err("expected rates of 0 and more, and phases in the order of time".to_owned());
        }
        let spread = |written: Option<RawSpread>, usual| {
            written.map_or(usual, |it| Spread { median: it.median, sigma: it.sigma })
        };
        Ok(Self {
            name: raw.name.clone(),
            model,
            rates,
            prompt_tokens: spread(raw.prompt_tokens, PROMPT),
            output_tokens: spread(raw.output_tokens, OUTPUT),
            streamed: raw.streamed.map_or(1.0, |share| share.0),
            sdk: raw.sdk,
            timeout: raw.timeout.map(|span| span.0),
            needs: Needs {
                max_output_tokens: raw.max_output_tokens,
                tools: raw.tools,
                images: raw.images,
                json_schema: raw.json_schema,
                reasoning: raw.reasoning,
                ..Needs::default()
            },
            key: raw.key.clone(),
            user: raw.user.clone(),
            labels: raw.labels.clone(),
            headers: raw.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect(),
        })
    }

    /// Its requests belong to the tier that its label says, as they do at a gateway; a label means nothing to a model
    /// without tiers.
    pub(crate) fn placed(mut self, tiers: Option<&Tiers>) -> Result<Self, String> {
        if let Some((tiers, said)) = tiers.zip(self.labels.get("tier")) {
            let known = || tiers.names().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
            let unknown = || format!("there is no tier `{said}`: known are {}", known());
            let tier = tiers.find(said).ok_or_else(unknown)?;
            self.needs.tier = Some(Assigned { tier, by: AssignedBy::Label });
        }
        Ok(self)
    }

    /// Draws a request: what it asks for, and whether it is streamed.
    pub(crate) fn draw(&self, rng: &mut fastrand::Rng) -> (Ask, bool) {
        let output = whole(self.output_tokens.draw(rng));
        let ask = Ask {
            prompt_tokens: whole(self.prompt_tokens.draw(rng)),
            output_tokens: u32::try_from(self.needs.max_output_tokens.map_or(output, |cap| output.min(cap)))
                .unwrap_or(u32::MAX)
                .max(1),
        };
        (ask, rng.f64() < self.streamed)
    }

    /// What a request of it needs.
    pub(crate) fn needs(&self, ask: Ask, streamed: bool, unix_seconds: u64) -> Needs {
        let asked_at = Some(Moment::from_unix(unix_seconds));
        Needs { estimated_tokens: ask.prompt_tokens, streamed, asked_at, ..self.needs }
    }

    /// Its SDK tries again whatever it is told.
    pub(crate) fn is_stubborn(&self) -> bool {
        self.sdk == RawSdk::Stubborn
    }
}

impl Lookup for Load {
    fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

fn whole(number: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let whole = number.round().clamp(0.0, 1e9) as u64;
    whole
}
