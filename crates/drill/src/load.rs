//! Callers of one kind: how many come, what they ask for, and what rules can read of their requests.

use crate::live::Form;
use crate::raw::{RawLoad, RawSdk, RawSpread};
use crate::talk::{Conversation, TurnOf};
use crate::units::{Spread, exponential};
use crate::world::Ask;
use canon::{Instant, Priority};
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

/// What an SDK hears of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The hint.
    pub retry_after: Option<Duration>,
    /// `x-should-retry`.
    pub should_retry: Option<bool>,
}

/// Callers of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) name: Option<String>,
    pub(crate) model: String,
    /// From then on so many a second; the first from the start.
    pub(crate) rates: Vec<(Instant, f64)>,
    /// Its requests are the turns of such conversations.
    pub(crate) conversation: Option<Conversation>,
    prompt_tokens: Spread,
    output_tokens: Spread,
    /// 0–1.
    streamed: f64,
    sdk: RawSdk,
    timeout: Option<Duration>,
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
            conversation: raw.conversation.map(Conversation::of).transpose()?,
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
    pub(crate) fn needs(&self, ask: Ask, streamed: bool, turn: Option<TurnOf>, unix_seconds: u64) -> Needs {
        let asked_at = Some(Moment::from_unix(unix_seconds));
        let session = self.conversation.zip(turn).map(|(it, turn)| it.session(self.key.as_deref(), turn));
        Needs { estimated_tokens: ask.prompt_tokens, streamed, asked_at, session, ..self.needs }
    }

    /// How long its SDK waits before it tries again; `None` = it takes the error as the answer. The official ones obey
    /// `x-should-retry`, others do not.
    pub(crate) fn retry(&self, refusal: Refusal, retries: u32, rng: &mut fastrand::Rng) -> Option<Duration> {
        const MOST: u32 = 2;
        const LONGEST_HINT: Duration = Duration::from_secs(60);
        let Refusal { status, retry_after, should_retry } = refusal;
        let by_status = matches!(status, 408 | 409 | 429) || status >= 500;
        let wants = match self.sdk {
            RawSdk::Official => should_retry.unwrap_or(by_status),
            RawSdk::Stubborn => by_status,
        };
        if !wants || retries >= MOST {
            return None;
        }
        let usual = Duration::from_millis(500 << retries).mul_f64(1.0 - rng.f64() / 4.0);
        Some(retry_after.filter(|after| *after <= LONGEST_HINT).unwrap_or(usual))
    }

    /// The priority that its requests ask for, in the header or the label that a gateway reads it from.
    pub(crate) fn asked_priority(&self) -> Option<Priority> {
        let header = self.headers.get("x-mainstay-priority").and_then(|word| Priority::parse(word));
        header.or_else(|| Priority::parse(self.labels.get("priority")?))
    }

    /// How long an exchange of it may take, where its model allows so long.
    pub(crate) fn deadline(&self, configured: Option<Duration>) -> Option<Duration> {
        match (configured, self.timeout) {
            (Some(configured), Some(asked)) => Some(configured.min(asked)),
            (one, other) => one.or(other),
        }
    }

    /// What its requests say on the wire.
    pub(crate) fn form(&self) -> Form {
        let mut headers: Vec<(String, String)> = self.headers.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
        if let Some(timeout) = self.timeout {
            headers.push(("x-mainstay-timeout".to_owned(), format!("{}ms", timeout.as_millis())));
        }
        if !self.labels.is_empty() {
            let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            headers.push(("x-mainstay-labels".to_owned(), labels.join(", ")));
        }
        let (model, user) = (self.model.clone(), self.user.clone());
        Form { model, headers, user, max_output_tokens: self.needs.max_output_tokens }
    }

    /// What its requests need that is not written into their bodies over sockets.
    pub(crate) fn only_virtual(&self) -> impl Iterator<Item = String> {
        let Needs { tools, images, json_schema, reasoning, .. } = self.needs;
        let key = self.key.is_some();
        let parts = [
            ("tools", tools),
            ("images", images),
            ("json_schema", json_schema),
            ("reasoning", reasoning),
            ("key", key),
            ("conversation", self.conversation.is_some()),
        ];
        parts.into_iter().filter(|(_, is_asked)| *is_asked).map(|(part, _)| format!("`{part}` of a load"))
    }
}

/// When callers of a load come, and what for. A change of rate draws the next arrival anew: a Poisson stream has no
/// memory.
#[derive(Debug)]
pub(crate) struct Arrivals {
    rng: fastrand::Rng,
    end: Instant,
    due: Option<Instant>,
}

impl Arrivals {
    /// Until the scenario's end.
    pub(crate) fn new(load: &Load, duration: Duration, seed: u64) -> Self {
        let (rng, end) = (fastrand::Rng::with_seed(seed), Instant::from_origin(duration));
        let mut arrivals = Self { rng, end, due: None };
        arrivals.due = arrivals.after(load, Instant::ORIGIN);
        arrivals
    }

    /// When the next one comes.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// It is here: what it asks for, and whether it is streamed.
    pub(crate) fn next(&mut self, load: &Load) -> Option<(Ask, bool)> {
        let now = self.due?;
        self.due = self.after(load, now);
        Some(load.draw(&mut self.rng))
    }

    fn after(&mut self, load: &Load, mut from: Instant) -> Option<Instant> {
        while from < self.end {
            let rate = load.rates.iter().rev().find(|(at, _)| *at <= from).map_or(0.0, |(_, rate)| *rate);
            let change = load.rates.iter().map(|(at, _)| *at).find(|at| *at > from).unwrap_or(self.end).min(self.end);
            let arrival = if rate > 0.0 { from + exponential(rate, &mut self.rng) } else { change };
            if arrival < change {
                return Some(arrival);
            }
            from = change;
        }
        None
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
