//! What answers are used again for, and what happens when nothing can serve: as it is written, checked, and in force.

use crate::units::{Size, Span};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;
use store::Freshness;

/// A model's response cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawCache {
    /// How long an answer is given again in the place of asking; 10m by default, 0s = never.
    pub ttl: Option<Span>,
    /// For so much longer it is kept for `stale_cache`; 1d by default.
    pub stale_for: Option<Span>,
}

/// Where cached answers are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawCacheStore {
    /// Most bytes of memory for the cached answers of all models; 64MiB by default.
    pub memory: Option<Size>,
}

/// Which identical requests in flight share one upstream call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawCoalesce {
    /// None.
    Off,
    /// Those that ask for the same answer every time: `temperature: 0`, or a `seed`.
    Deterministic,
    /// All; callers that ask at the same moment are given the same sample.
    Always,
}

/// What is done when no target can serve, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawWhenExhausted {
    /// Wait in a bounded queue, if a target is due back before the deadline.
    Queue,
    /// Give the latest cached answer to the same question, marked as stale.
    StaleCache,
    /// The error, at once. Always the last.
    Error,
}

/// The queue of requests that wait for a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawQueue {
    /// Most requests that wait for one model; 4096 by default.
    pub size: Option<u32>,
    /// Callers that stream are sent a comment this often while they wait; off by default, as their status line goes
    /// with the first one.
    pub keep_alive: Option<Span>,
}

/// The same request sent twice under one `Idempotency-Key`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawIdempotency {
    /// How long an answer is given again for its key; 24h by default, 0s = keys are not looked at.
    pub window: Option<Span>,
    /// Most bytes of memory for those answers; past it the oldest are forgotten. 64MiB by default.
    pub memory: Option<Size>,
}

/// Which identical requests in flight share one upstream call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coalesce {
    /// None.
    #[default]
    Off,
    /// Those that ask for the same answer every time.
    Deterministic,
    /// All.
    Always,
}

/// A step when no target can serve. After the last one comes the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenExhausted {
    /// Wait in the queue.
    Queue,
    /// Give a stale answer.
    StaleCache,
}

/// What a model does with answers beyond giving each to whoever asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reuse {
    /// Kept for the same question: how long; `None` = not at all.
    pub cache: Option<Freshness>,
    /// Shared in flight.
    pub coalesce: Coalesce,
    /// When no target can serve.
    pub when_exhausted: Vec<WhenExhausted>,
    /// The queue.
    pub queue: QueueRules,
}

/// The rules of a model's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRules {
    /// Most that wait.
    pub size: usize,
    /// Pause between two comments to a caller that streams.
    pub keep_alive: Option<Duration>,
}

impl Default for QueueRules {
    fn default() -> Self {
        Self { size: 4096, keep_alive: None }
    }
}

/// What all models share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReuseLimits {
    /// Bytes of cached answers.
    pub cache_memory: usize,
    /// How long an `Idempotency-Key` is bound; zero = not at all.
    pub idempotency_window: Duration,
    /// Bytes of answers kept for such keys.
    pub idempotency_memory: usize,
}

impl Default for ReuseLimits {
    fn default() -> Self {
        Self {
            cache_memory: 64 << 20,
            idempotency_window: Duration::from_secs(24 * 3600),
            idempotency_memory: 64 << 20,
        }
    }
}

const TTL: Duration = Duration::from_secs(600);
const STALE_FOR: Duration = Duration::from_secs(24 * 3600);
/// A comment more often than this is traffic, not a sign of life.
const SHORTEST_KEEP_ALIVE: Duration = Duration::from_secs(1);

/// What a model says.
pub(crate) struct OfModel<'a> {
    pub(crate) cache: Option<&'a RawCache>,
    pub(crate) coalesce: Option<RawCoalesce>,
    pub(crate) when_exhausted: Option<&'a [RawWhenExhausted]>,
    pub(crate) queue: RawQueue,
}

/// What is wrong, and under which field of the model.
pub(crate) type Wrong = (&'static str, String);

/// Checks what a model says, with what stands at the top of the file for all.
pub(crate) fn of_model(own: &OfModel<'_>, coalesce: Option<RawCoalesce>, queue: RawQueue) -> Result<Reuse, Wrong> {
    let when_exhausted = steps(own.when_exhausted)?;
    let stale = when_exhausted.contains(&WhenExhausted::StaleCache);
    let coalesce = match own.coalesce.or(coalesce) {
        None | Some(RawCoalesce::Off) => Coalesce::Off,
        Some(RawCoalesce::Deterministic) => Coalesce::Deterministic,
        Some(RawCoalesce::Always) => Coalesce::Always,
    };
    let queue =
        rules(RawQueue { size: own.queue.size.or(queue.size), keep_alive: own.queue.keep_alive.or(queue.keep_alive) });
    Ok(Reuse {
        cache: freshness(own.cache, stale)?,
        coalesce,
        queue: queue.map_err(|wrong| ("queue", wrong))?,
        when_exhausted,
    })
}

/// The rules of a queue, as the whole file or a model states them.
pub(crate) fn rules(raw: RawQueue) -> Result<QueueRules, String> {
    let default = QueueRules::default();
    if raw.size == Some(0) {
        return Err("a queue of 0 takes nobody: expected at least 1, or `when_exhausted` without `queue`".to_owned());
    }
    if let Some(pause) = raw.keep_alive.filter(|pause| pause.0 < SHORTEST_KEEP_ALIVE) {
        return Err(format!("`keep_alive` is {:?}: expected at least 1s", pause.0));
    }
    Ok(QueueRules {
        size: raw.size.and_then(|size| usize::try_from(size).ok()).unwrap_or(default.size),
        keep_alive: raw.keep_alive.map(|pause| pause.0),
    })
}

/// What all models share.
pub(crate) fn limits(cache: RawCacheStore, idempotency: RawIdempotency) -> ReuseLimits {
    let default = ReuseLimits::default();
    ReuseLimits {
        cache_memory: cache.memory.map_or(default.cache_memory, |size| size.0),
        idempotency_window: idempotency.window.map_or(default.idempotency_window, |span| span.0),
        idempotency_memory: idempotency.memory.map_or(default.idempotency_memory, |size| size.0),
    }
}

fn steps(raw: Option<&[RawWhenExhausted]>) -> Result<Vec<WhenExhausted>, Wrong> {
    let wrong = |message: &str| Err(("when_exhausted", message.to_owned()));
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let mut steps = Vec::new();
    for (at, step) in raw.iter().enumerate() {
        let step = match step {
            RawWhenExhausted::Queue => WhenExhausted::Queue,
            RawWhenExhausted::StaleCache => WhenExhausted::StaleCache,
            RawWhenExhausted::Error if at + 1 == raw.len() => return Ok(steps),
            RawWhenExhausted::Error => return wrong("nothing after `error` is ever done: expected it last"),
        };
        if steps.contains(&step) {
            return wrong("a step stands here twice: expected each of `queue`, `stale_cache`, `error` at most once");
        }
        steps.push(step);
    }
    if steps.is_empty() {
        return wrong(
            "no step: expected some of `queue`, `stale_cache`, `error`, in the order in which they are taken",
        );
    }
    Ok(steps)
}

fn freshness(cache: Option<&RawCache>, stale: bool) -> Result<Option<Freshness>, Wrong> {
    let Some(cache) = cache else {
        // Without a cache of its own, `stale_cache` alone is what answers are kept for.
        return Ok(stale.then_some(Freshness { ttl: Duration::ZERO, stale_for: STALE_FOR }));
    };
    let wrong = |message: &str| Err(("cache", message.to_owned()));
    let ttl = cache.ttl.map_or(TTL, |span| span.0);
    let stale_for = match cache.stale_for.map(|span| span.0) {
        Some(Duration::ZERO) if stale => {
            return wrong(
                "`stale_for` of 0s keeps nothing for `stale_cache`: expected more, or `when_exhausted` without it",
            );
        }
        Some(_) if !stale => {
            return wrong("`stale_for` keeps answers for `stale_cache`: expected `when_exhausted` to list it");
        }
        Some(stale_for) => stale_for,
        None if stale => STALE_FOR,
        None => Duration::ZERO,
    };
    if ttl.is_zero() && stale_for.is_zero() {
        return wrong("`ttl` of 0s keeps nothing: expected more, or no `cache`");
    }
    Ok(Some(Freshness { ttl, stale_for }))
}
