//! Conversations that stay with their target, so that tone and prompt cache survive.
//!
//! A session is a key ([`Session`]) and a soft pin ([`crate::Pins`]): an exchange of a pinned conversation is offered
//! to its target first, unless that cannot serve it or health has lowered it. The pin is set when an answer is
//! complete, moves when somebody else had to give one, and ends when the cache it protects does. A conversation that
//! has moved stays moved: going back would write the prefix into a cold cache a second time.

use crate::pins::Pin;
use crate::strategy::Ordered;
use crate::tier::{Assigned, Step, Tiers};
use crate::{Candidate, Demotion, Model, Needs, Plan, Score, Strategy, Target, TargetLedger, ruled};
use canon::{FaultClass, Instant};
use rules::Ruling;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// How long a pin lives that nobody uses: Anthropic keeps a cache for 5 minutes after its last use, OpenAI for 5 to 10.
const TTL: Duration = Duration::from_secs(5 * 60);
/// Prompts from this many tokens on are cached (OpenAI; Anthropic's models from 1,024 or more). A long prompt in a cold
/// cache is slow anywhere, and dear: a conversation that has one leaves its target when that fails, not when it is
/// slow.
const LEAST_CACHED: u64 = 1_024;

/// Which conversation a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Session {
    key: u64,
    /// Of one that nobody named: turns of the model in its history.
    turns: Option<u32>,
}

impl Session {
    /// The conversation a caller names. `place` is where the name stands, as the same word may mean something else
    /// elsewhere; names of two tenants are two conversations.
    pub fn named(tenant: Option<&str>, place: &str, name: &[u8]) -> Self {
        let mut hasher = keyed(tenant, place);
        hasher.write(name);
        Self { key: hasher.finish(), turns: None }
    }

    /// A conversation that nobody names, by what it begins with; `write` says that. It is followed to its target only
    /// when it has gone on since: a history that holds `turns` turns of the model is one no longer than it was when the
    /// same prompt is sent again.
    pub fn derived(tenant: Option<&str>, turns: u32, write: impl FnOnce(&mut DefaultHasher)) -> Self {
        let mut hasher = keyed(tenant, "");
        write(&mut hasher);
        Self { key: hasher.finish(), turns: Some(turns) }
    }

    /// What it is known by, where somebody named it.
    pub(crate) fn name(self) -> Option<u64> {
        self.turns.is_none().then_some(self.key)
    }

    /// Whether the request goes on with what stands there.
    fn follows(self, pin: &Pin<Arc<TargetLedger>>) -> bool {
        self.turns.is_none_or(|turns| turns > 0 && turns != pin.turns)
    }

    /// Whether the request may be the first of its conversation: nothing says that it is one.
    fn is_beginning(self) -> bool {
        self.turns == Some(0)
    }
}

fn keyed(tenant: Option<&str>, place: &str) -> DefaultHasher {
    let mut hasher = DefaultHasher::new();
    for text in [tenant.unwrap_or_default(), place] {
        hasher.write_usize(text.len());
        hasher.write(text.as_bytes());
    }
    hasher
}

/// What becomes of a conversation whose target fails.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Stickiness {
    /// Another target answers, and the conversation goes on there.
    #[default]
    Move,
    /// Its target is asked once more where that may help, then as `move`.
    RetryThenMove,
    /// Another target answers, and the next turn is for its own again.
    Stay,
}

/// `sessions:` of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    /// How long a pin lives after its last use.
    pub ttl: Duration,
    /// What becomes of it when its target fails.
    pub on_fault: Stickiness,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { ttl: TTL, on_fault: Stickiness::default() }
    }
}

/// The session of a planned exchange.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seat {
    /// The target the conversation stands at: an index in [`Model::targets`]. `None` = it has none yet.
    pub pinned: Option<usize>,
    /// That target is the primary of this exchange, and would not be without the session.
    pub diverts: bool,
}

/// What `explain` and the trace tell of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Told<'a> {
    /// Where the conversation stood when the plan was made; `None` = nowhere yet.
    pub target: Option<&'a str>,
    /// The strategy would have put another target first.
    pub instead_of_the_primary: bool,
}

/// The pin an exchange follows.
pub(crate) fn pin(model: &Model, needs: &Needs, now: Instant) -> Option<Pin<Arc<TargetLedger>>> {
    model.settings.sessions?;
    let session = needs.session?;
    model.ledger.pins.get(session.key, now).filter(|pin| session.follows(pin))
}

/// Whether a conversation is pinned below its own tier: it goes back as soon as that serves again.
pub(crate) fn is_below(model: &Model, pin: &Pin<Arc<TargetLedger>>, tiers: &Tiers, asked: Assigned) -> bool {
    let pinned = (0..model.targets.len()).find(|target| is_at(model, *target, &pin.to));
    pinned.and_then(|target| tiers.step(asked, target)).is_some_and(Step::is_down)
}

/// Puts the pinned target first: with everything healthy, and now if health has not lowered it. What a rule prefers or
/// avoids goes before that.
pub(crate) fn seat(
    model: &Model,
    needs: &Needs,
    pin: Option<&Pin<Arc<TargetLedger>>>,
    ruling: &Ruling<'_>,
    ordered: &mut Ordered,
) -> Option<Seat> {
    let on_fault = model.settings.sessions?.on_fault;
    needs.session?;
    let pinned = pin.and_then(|pin| (0..model.targets.len()).find(|&target| is_at(model, target, &pin.to)));
    let place = pinned.and_then(|pinned| ordered.healthy.iter().position(|&target| target == pinned));
    let own = pinned.and_then(|pinned| ordered.now.iter().find(|placed| placed.target == pinned));
    // Prices of nested models say nothing about what this one goes by.
    let goes_by_price = model.settings.strategy == Strategy::Cheapest;
    let moving_pays = goes_by_price && on_fault != Stickiness::Stay && is_dearer(own, ordered.now.first());
    let leaves = on_fault != Stickiness::Stay
        && own.is_some_and(Candidate::misses)
        && !ordered.now.iter().all(Candidate::misses);
    let (Some(pinned), Some(place), false) = (pinned, place, moving_pays || leaves) else {
        return Some(Seat { pinned, diverts: false });
    };
    lead(&mut ordered.healthy, place);
    let is_warm = pin.is_some_and(|pin| pin.tokens >= LEAST_CACHED);
    let keeps_the_slow = is_warm || on_fault == Stickiness::Stay;
    let may_lead = |demoted: Option<Demotion>| demoted.is_none() || keeps_the_slow && demoted == Some(Demotion::Slow);
    let now = ordered.now.iter().position(|placed| placed.target == pinned && may_lead(placed.demoted));
    if let Some(now) = now {
        lead(&mut ordered.now, now);
    }
    ruled::reorder(ruling, ordered);
    Some(Seat { pinned: Some(pinned), diverts: place > 0 && ordered.healthy.first() == Some(&pinned) })
}

/// Whether the first was found cheaper than the conversation's own, cold prefix included.
fn is_dearer(own: Option<&Candidate>, first: Option<&Candidate>) -> bool {
    let price = |placed: Option<&Candidate>| match placed?.score? {
        Score::Price { price } => price,
        Score::Speed { .. } | Score::Balanced { .. } | Score::Forecast(_) | Score::Nearest(_) => None,
    };
    price(first).zip(price(own)).is_some_and(|(first, own)| first < own)
}

/// Puts the one at `place` first and leaves the others in their order.
fn lead<T>(order: &mut [T], place: usize) {
    if let Some(before) = order.get_mut(..=place) {
        before.rotate_right(1);
    }
}

fn is_at(model: &Model, target: usize, to: &Arc<TargetLedger>) -> bool {
    model.targets.get(target).is_some_and(|target| Arc::ptr_eq(&target.ledger, to))
}

/// Tokens of a conversation that a target has in its cache, as moving costs: the prefix is warm where the conversation
/// stands and cold everywhere else. `None` = there is no conversation.
pub(crate) fn cached(target: &Target, pin: Option<&Pin<Arc<TargetLedger>>>) -> Option<u64> {
    pin.map(|pin| if Arc::ptr_eq(&target.ledger, &pin.to) { pin.tokens } else { 0 })
}

/// A whole answer went out: the conversation stands where that came from.
pub(crate) fn settle(model: &Model, plan: &Plan, needs: &Needs, served: &Target, now: Instant) {
    let (Some(sessions), Some(session)) = (model.settings.sessions, needs.session) else { return };
    let seen = plan.session.as_ref().and_then(|seat| seat.pinned);
    let fresh = || Pin {
        to: Arc::clone(&served.ledger),
        until: now + sessions.ttl,
        tokens: needs.estimated_tokens,
        turns: session.turns.unwrap_or(0),
    };
    model.ledger.pins.settle(session.key, sessions.ttl, now, |current| {
        let Some(current) = current else { return Some(fresh()) };
        if session.is_beginning() {
            // The latest of those that began so; one that goes on is not disturbed.
            return (current.turns == 0).then(fresh);
        }
        if !session.follows(current) {
            return None;
        }
        let stands_here = Arc::ptr_eq(&current.to, &served.ledger);
        let is_gone = !model.targets.iter().any(|target| Arc::ptr_eq(&target.ledger, &current.to));
        // Moved meanwhile by another turn: it stays moved.
        let is_as_planned = seen.is_some_and(|seen| is_at(model, seen, &current.to));
        let may_move = sessions.on_fault != Stickiness::Stay;
        (stands_here || is_gone || may_move && is_as_planned).then(fresh)
    });
}

/// Whether asking the target that failed so once more may keep the conversation where it is.
pub(crate) fn is_worth_a_retry(class: FaultClass) -> bool {
    match class {
        FaultClass::Overloaded
        | FaultClass::ServerError
        | FaultClass::Unreachable
        | FaultClass::TooSlow
        | FaultClass::StreamBroken
        | FaultClass::BadAnswer => true,
        // Its hint is waited for instead.
        FaultClass::RateLimited
        | FaultClass::QuotaExhausted
        | FaultClass::TimedOut
        | FaultClass::ContextExceeded
        | FaultClass::ContentBlocked
        | FaultClass::ModelMissing
        | FaultClass::AuthRejected
        | FaultClass::UnsupportedParameter
        | FaultClass::InvalidRequest
        | FaultClass::Cancelled => false,
    }
}
