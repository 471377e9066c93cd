//! Conversations: requests that go on with one another, and what their prompts cost where providers keep them.
//!
//! A turn comes a pause after the answer to the one before it, with a prompt that has grown. What a target has lately
//! read of a conversation it reads from its cache; what it has not, it writes there. Beside that stands what the same
//! turns would have cost at the target that answered the first of them: perfect caching.

use crate::drive::Exchange;
use crate::raw::{RawConversation, RawKnownBy};
use crate::record::{Outcome, Record, Request};
use crate::run::{Happening, Incoming, Simulation};
use crate::world::{Ask, Site};
use canon::{Instant, Usage};
use catalog::{Moment, Prices, Usd};
use routing::Session;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::time::Duration;

/// Conversations of more turns than this are no traffic anybody has.
const MOST_TURNS: u32 = 1_000;

/// What the conversations of a load are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conversation {
    turns: u32,
    adds: u64,
    pause: Duration,
    known_by: RawKnownBy,
}

/// Which turn of which conversation a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TurnOf {
    /// Index in [`Record::talks`].
    pub(crate) talk: usize,
    /// From 0.
    number: u32,
}

/// One conversation, as it went.
#[derive(Debug, Clone)]
pub(crate) struct Talk {
    pub(crate) began: Instant,
    /// Index of its load.
    pub(crate) load: usize,
    /// How often another target answered than had answered the turn before.
    pub(crate) moves: u32,
    /// Who answered last.
    at: Option<usize>,
    /// What its prompts cost.
    cost: Usd,
    /// What they would have cost at the target that answered first, had nobody else been asked.
    perfect: Usd,
    /// That target, what its cache would hold, and until when.
    home: Option<(usize, u64, Instant)>,
    /// A price was not known.
    is_unpriced: bool,
}

impl Conversation {
    /// Checks what is written.
    pub(crate) fn of(raw: RawConversation) -> Result<Self, String> {
        if !(1..=MOST_TURNS).contains(&raw.turns) {
            return Err(format!("`turns` is {}: expected 1 to {MOST_TURNS}", raw.turns));
        }
        Ok(Self { turns: raw.turns, adds: raw.adds, pause: raw.pause.0, known_by: raw.known_by })
    }

    /// What a gateway knows it by at this turn.
    pub(crate) fn session(self, tenant: Option<&str>, turn: TurnOf) -> Session {
        let own = (turn.talk as u64).to_le_bytes();
        match self.known_by {
            RawKnownBy::Name => Session::named(tenant, "session_id", &own),
            // The history holds an answer for each turn before this one.
            RawKnownBy::Opening => Session::derived(tenant, turn.number, |hasher| hasher.write(&own)),
        }
    }
}

impl TurnOf {
    /// The first turn of a new conversation.
    pub(crate) fn first(record: &mut Record, load: usize, now: Instant) -> Self {
        record.talks.push(Talk {
            began: now,
            load,
            moves: 0,
            at: None,
            cost: Usd::ZERO,
            perfect: Usd::ZERO,
            home: None,
            is_unpriced: false,
        });
        Self { talk: record.talks.len() - 1, number: 0 }
    }
}

impl Talk {
    /// What its prompts cost, in what they would have cost with perfect caching; `None` where prices are not known, or
    /// nothing was answered.
    pub(crate) fn input_cost(&self) -> Option<f64> {
        let is_known = !self.is_unpriced && self.perfect > Usd::ZERO;
        is_known.then(|| self.cost.pico() as f64 / self.perfect.pico() as f64)
    }
}

impl Simulation<'_> {
    /// A call with a turn's prompt has reached a model: what the provider says it read, and what that costs.
    pub(crate) fn read_prompt(&mut self, of: &Exchange, site: usize, now: Instant) -> Option<Usage> {
        let Incoming { turn, ask, .. } = of.incoming;
        let turn = turn?;
        let prices = self.prices(of.replica, site);
        let cached = self.sites.get_mut(site)?.read_prompt(turn.talk, ask.prompt_tokens, now);
        let usage = usage_of(ask.prompt_tokens, cached, prices.as_deref());
        let cost = prices.and_then(|prices| prices.cost(&usage, Some(self.moment(now))));
        if let Some(talk) = self.record.talks.get_mut(turn.talk) {
            talk.cost = talk.cost.plus(cost.unwrap_or_default());
            talk.is_unpriced |= cost.is_none();
        }
        Some(usage)
    }

    /// A request is over: an answered turn is followed by the next one, until the conversation or the drill ends.
    pub(crate) fn turn_over(&mut self, incoming: Incoming, outcome: Outcome, now: Instant) {
        let Some(turn) = incoming.turn.filter(|_| outcome == Outcome::Answered) else { return };
        self.compare(incoming, turn);
        let conversation = self.scenario.loads.get(incoming.load).and_then(|load| load.conversation);
        let Some(conversation) = conversation.filter(|it| turn.number + 1 < it.turns) else { return };
        let at = now + conversation.pause;
        if at < Instant::from_origin(self.scenario.duration) {
            let prompt_tokens = incoming.ask.prompt_tokens + conversation.adds;
            let next = Incoming {
                ask: Ask { prompt_tokens, ..incoming.ask },
                turn: Some(TurnOf { number: turn.number + 1, ..turn }),
                retries: 0,
                ..incoming
            };
            self.schedule(at, Happening::Speaks(next));
        }
    }

    /// The next turn of a conversation comes.
    pub(crate) fn speaks(&mut self, incoming: Incoming, now: Instant) {
        let request = self.record.requests.len();
        self.record.requests.push(Request::arrived(now, incoming.load));
        self.come(Incoming { request, ..incoming }, now);
    }

    /// What an answered turn would have cost with perfect caching, and whether the conversation has moved.
    fn compare(&mut self, incoming: Incoming, turn: TurnOf) {
        let request = self.record.requests.get(incoming.request);
        let Some((arrived, (by, _))) = request.and_then(|it| Some((it.arrived, it.served?))) else { return };
        let Some(talk) = self.record.talks.get(turn.talk) else { return };
        let prompt = incoming.ask.prompt_tokens;
        let (home, held, until) = talk.home.unwrap_or((by, 0, arrived));
        let keeps = self.sites.get(home).and_then(Site::keeps_prompts);
        let cached = keeps.map(|_| if arrived < until { held.min(prompt) } else { 0 });
        let prices = self.prices(0, home);
        let usage = usage_of(prompt, cached, prices.as_deref());
        let perfect = prices.and_then(|prices| prices.cost(&usage, Some(self.moment(arrived))));
        let Some(talk) = self.record.talks.get_mut(turn.talk) else { return };
        talk.moves += u32::from(talk.at.is_some_and(|at| at != by));
        talk.at = Some(by);
        talk.home = Some((home, prompt, arrived + keeps.unwrap_or_default()));
        talk.perfect = talk.perfect.plus(perfect.unwrap_or_default());
        talk.is_unpriced |= perfect.is_none();
    }

    fn prices(&self, replica: usize, site: usize) -> Option<Arc<Prices>> {
        self.target(replica, site)?.facts.prices.clone()
    }

    /// When that is on the calendar.
    pub(crate) fn moment(&self, now: Instant) -> Moment {
        Moment::from_unix(self.scenario.starts + now.since_origin().as_secs())
    }
}

/// What a provider states of a prompt: the part that it writes to its cache only where it has a price for that.
fn usage_of(prompt: u64, cached: Option<u64>, prices: Option<&Prices>) -> Usage {
    let is_write_priced = prices.is_some_and(|prices| prices.cache_write.is_some());
    Usage {
        input_tokens: Some(prompt),
        cached_input_tokens: cached,
        cache_write_tokens: cached.filter(|_| is_write_priced).map(|cached| prompt.saturating_sub(cached)),
        output_tokens: Some(0),
        ..Usage::default()
    }
}
