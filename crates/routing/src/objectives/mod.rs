//! Objectives of a model, and whether a target is predicted to meet them.
//!
//! Each is about single answers: `first_token_p95: 2s` allows one first token in twenty to come later than two seconds,
//! `tokens_per_second: 20` one streamed answer in twenty to be written more slowly, `success: 99.9%` one call in a
//! thousand to fail. So a prediction is a count, and needs no law of latencies: [`verdict`] says when it is surely bad.
//! First tokens are judged by the size of the prompt: a target that is late for long prompts is left for those alone.
//!
//! A [`Judge`] belongs to a target's books and is found by the objectives: models that ask for the same share it, and a
//! reload of the configuration finds it again.

mod forecast;
mod verdict;

pub use forecast::{Forecast, Outlook, Standing};

use crate::speed::{Class, PACED, micros};
use canon::Instant;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use verdict::Verdict;

/// Answers that may be later than `first_token_p95`, or written more slowly than `tokens_per_second`.
const ONE_IN_TWENTY: f64 = 0.05;
/// Weight of the latest answer in what `explain` tells: half of it is of the last twenty-two.
const LATEST: f64 = 1.0 / 32.0;
/// Standard deviations of the logarithm from the median to the 95th percentile, were it normal.
const P95: f64 = 1.645;
/// The spread of logarithms before answers tell, and how many answers that is worth.
const SPREAD: (f64, f64) = (0.5, 4.0);
/// A target that is on trial and was not asked for so long, for prompts of this size, is to be asked soon.
const DUE: Duration = Duration::from_secs(5);

/// What `strategy: auto` asks of targets; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Objectives {
    /// Of streamed answers, 95 % have begun by then.
    pub first_token_p95: Option<Duration>,
    /// Of streamed answers, 95 % are written at least as quickly; in thousandths of a token a second.
    pub millitokens_per_second: Option<u32>,
    /// Of a million calls, so many may fail; between 1 and 999,999.
    pub failures_per_million: Option<u32>,
}

impl Objectives {
    /// Tokens a second.
    fn speed(&self) -> Option<f64> {
        self.millitokens_per_second.map(|speed| f64::from(speed) / 1e3)
    }

    /// The share of calls that may fail.
    fn failures(&self) -> Option<f64> {
        self.failures_per_million.map(|failures| f64::from(failures) / 1e6)
    }
}

/// `first_token_p95 2s, tokens_per_second 20, success 99.9%`.
impl fmt::Display for Objectives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.first_token_p95.map(|limit| format!("first_token_p95 {limit:?}")),
            self.speed().map(|speed| format!("tokens_per_second {speed}")),
            self.failures_per_million.map(|failures| format!("success {}%", f64::from(1_000_000 - failures) / 1e4)),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// The judges of one target, one for each set of objectives that some model asks of it.
#[derive(Debug, Default)]
pub(crate) struct Judges {
    any: AtomicBool,
    list: Mutex<Vec<Weak<Judge>>>,
}

impl Judges {
    /// The judge of these objectives.
    pub(crate) fn of(&self, objectives: Objectives) -> Arc<Judge> {
        let mut list = lock(&self.list);
        list.retain(|judge| judge.strong_count() > 0);
        let known = list.iter().filter_map(Weak::upgrade).find(|judge| judge.objectives == objectives);
        known.unwrap_or_else(|| {
            let judge = Arc::new(Judge::new(objectives));
            list.push(Arc::downgrade(&judge));
            self.any.store(true, Ordering::Release);
            judge
        })
    }

    fn tell(&self, what: impl Fn(&Judge)) {
        if self.any.load(Ordering::Acquire) {
            lock(&self.list).iter().filter_map(Weak::upgrade).for_each(|judge| what(&judge));
        }
    }

    /// A call begins.
    pub(crate) fn started(&self, class: Class, now: Instant) {
        self.tell(|judge| judge.started(class, now));
    }

    /// A first token came.
    pub(crate) fn first_token(&self, class: Class, took: Duration, now: Instant) {
        self.tell(|judge| judge.first_token(class, took, now));
    }

    /// A call failed that had waited in vain for its first token.
    pub(crate) fn silent(&self, class: Class, waited: Duration, now: Instant) {
        self.tell(|judge| judge.silent(class, waited, now));
    }

    /// A streamed answer of so many tokens was written in this time.
    pub(crate) fn wrote(&self, tokens: u64, took: Duration, now: Instant) {
        if tokens >= PACED && !took.is_zero() {
            self.tell(|judge| judge.wrote(took.as_secs_f64() / tokens as f64, now));
        }
    }

    /// A call was completed, or failed.
    pub(crate) fn ended(&self, failed: bool, now: Instant) {
        self.tell(|judge| judge.ended(failed, now));
    }
}

/// Whether one target is predicted to meet objectives.
#[derive(Debug)]
pub struct Judge {
    objectives: Objectives,
    asked: Asked,
    inner: Mutex<Inner>,
    told: Told,
    /// When a call last began (µs), by class.
    tried: [AtomicU64; Class::COUNT],
}

/// The objectives as forecasts tell them: seconds, tokens a second, a share.
#[derive(Debug)]
struct Asked {
    first_token: Option<f32>,
    speed: Option<f32>,
    success: Option<f32>,
}

/// What is read without a lock while all is well: every plan reads it of every target.
#[derive(Debug)]
struct Told {
    is_well: AtomicBool,
    first_tokens: [Predicted; Class::SIZES],
    speed: Predicted,
    success: Predicted,
}

/// Bits of an `f32`; not a number = nobody knows.
#[derive(Debug)]
struct Predicted(AtomicU32);

impl Predicted {
    fn unknown() -> Self {
        Self(AtomicU32::new(f32::NAN.to_bits()))
    }

    fn tell(&self, predicted: Option<f32>) {
        self.0.store(predicted.unwrap_or(f32::NAN).to_bits(), Ordering::Relaxed);
    }

    fn get(&self) -> Option<f32> {
        Some(f32::from_bits(self.0.load(Ordering::Relaxed))).filter(|predicted| !predicted.is_nan())
    }
}

#[derive(Debug)]
struct Inner {
    first_tokens: [Kept; Class::SIZES],
    speed: Kept,
    success: Verdict,
}

impl Inner {
    fn is_well(&self, now: Instant) -> bool {
        let kept = self.first_tokens.iter().chain([&self.speed]).map(|kept| &kept.verdict);
        kept.chain([&self.success]).all(|verdict| verdict.is_usual(now))
    }
}

/// An objective whose answers have a duration.
#[derive(Debug)]
struct Kept {
    verdict: Verdict,
    /// Of logarithms of seconds.
    mean: f64,
    variance: f64,
    answers: u32,
    /// Seconds within which 95 % stay; `None` before there are answers.
    p95: Option<f64>,
}

impl Kept {
    fn new() -> Self {
        Self { verdict: Verdict::new(), mean: 0.0, variance: 0.0, answers: 0, p95: None }
    }

    fn add(&mut self, seconds: f64) {
        let share = LATEST.max(1.0 / f64::from(self.answers.saturating_add(1)));
        let off = seconds.max(1e-9).ln() - self.mean;
        self.mean += share * off;
        self.variance = (1.0 - share) * (self.variance + share * off * off);
        self.answers = self.answers.saturating_add(1);
        let answers = f64::from(self.answers).min(1.0 / LATEST);
        let spread = (self.variance.sqrt() * answers + SPREAD.0 * SPREAD.1) / (answers + SPREAD.1);
        self.p95 = Some((self.mean + P95 * spread).exp());
    }

    fn record(&mut self, missed: bool, limit: f64, now: Instant) {
        let short = self.p95.unwrap_or(limit) / limit;
        self.verdict.record(missed, ONE_IN_TWENTY, |_| short, now);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a prediction needs no more than seven digits")]
fn short(number: f64) -> f32 {
    number as f32
}

impl Judge {
    fn new(objectives: Objectives) -> Self {
        let inner =
            Inner { first_tokens: std::array::from_fn(|_| Kept::new()), speed: Kept::new(), success: Verdict::new() };
        let asked = Asked {
            first_token: objectives.first_token_p95.map(|limit| limit.as_secs_f32()),
            speed: objectives.speed().map(short),
            success: objectives.failures().map(|allowed| short(1.0 - allowed)),
        };
        let told = Told {
            is_well: AtomicBool::new(true),
            first_tokens: std::array::from_fn(|_| Predicted::unknown()),
            speed: Predicted::unknown(),
            success: Predicted::unknown(),
        };
        let tried = [const { AtomicU64::new(0) }; Class::COUNT];
        Self { objectives, asked, inner: Mutex::new(inner), told, tried }
    }

    /// Changes what is known, and says to those who take no lock whether all is well.
    fn change(&self, now: Instant, change: impl FnOnce(&mut Inner)) {
        let mut inner = lock(&self.inner);
        change(&mut inner);
        self.told.is_well.store(inner.is_well(now), Ordering::Release);
    }

    fn started(&self, class: Class, now: Instant) {
        if let Some(tried) = self.tried.get(class.index()) {
            tried.store(micros(now), Ordering::Relaxed);
        }
    }

    fn first_token(&self, class: Class, took: Duration, now: Instant) {
        if let Some(limit) = self.objectives.first_token_p95 {
            self.first_token_took(class, took, took > limit, now);
        }
    }

    /// How long it would have taken nobody knows, but that it was late.
    fn silent(&self, class: Class, waited: Duration, now: Instant) {
        if self.objectives.first_token_p95.is_some_and(|limit| waited > limit) {
            self.first_token_took(class, waited, true, now);
        }
    }

    fn first_token_took(&self, class: Class, took: Duration, missed: bool, now: Instant) {
        let (Some(limit), Some(size)) = (self.objectives.first_token_p95, class.streamed_size()) else { return };
        self.change(now, |inner| {
            if let (Some(kept), Some(told)) = (inner.first_tokens.get_mut(size), self.told.first_tokens.get(size)) {
                kept.add(took.as_secs_f64());
                kept.record(missed, limit.as_secs_f64(), now);
                told.tell(kept.p95.map(short));
            }
        });
    }

    fn wrote(&self, seconds_a_token: f64, now: Instant) {
        let Some(limit) = self.objectives.speed().map(f64::recip) else { return };
        self.change(now, |inner| {
            inner.speed.add(seconds_a_token);
            inner.speed.record(seconds_a_token > limit, limit, now);
            self.told.speed.tell(inner.speed.p95.map(|seconds| short(seconds.recip())));
        });
    }

    fn ended(&self, failed: bool, now: Instant) {
        let Some(allowed) = self.objectives.failures() else { return };
        let factor = |verdict: &Verdict| verdict.share_missed().unwrap_or(1.0) / allowed;
        self.change(now, |inner| {
            inner.success.record(failed, allowed, factor, now);
            self.told.success.tell(inner.success.share_missed().map(|share| short(1.0 - share)));
        });
    }

    /// What is predicted for a request of this class.
    pub(crate) fn forecast(&self, class: Class, now: Instant) -> Forecast {
        let Told { is_well, first_tokens, speed, success } = &self.told;
        let size = class.streamed_size();
        let first_token = self.asked.first_token.zip(size.and_then(|size| first_tokens.get(size)));
        if is_well.load(Ordering::Acquire) {
            return Forecast {
                first_token: first_token.map(|(asked, told)| Outlook::met(asked, told.get())),
                speed: self.asked.speed.map(|asked| Outlook::met(asked, speed.get())),
                success: self.asked.success.map(|asked| Outlook::met(asked, success.get())),
                is_due: false,
                share: 1.0,
            };
        }
        let inner = lock(&self.inner);
        let kept = size.and_then(|size| inner.first_tokens.get(size)).filter(|_| first_token.is_some());
        let verdicts =
            [kept.map(|kept| &kept.verdict), self.asked.speed.map(|_| &inner.speed.verdict), Some(&inner.success)];
        let tried = self.tried.get(class.index()).map_or(0, |tried| tried.load(Ordering::Relaxed));
        Forecast {
            first_token: first_token
                .zip(kept)
                .map(|((asked, told), kept)| Outlook::new(asked, told.get(), &kept.verdict, now)),
            speed: self.asked.speed.map(|asked| Outlook::new(asked, speed.get(), &inner.speed.verdict, now)),
            success: self.asked.success.map(|asked| Outlook::new(asked, success.get(), &inner.success, now)),
            is_due: Duration::from_micros(micros(now).saturating_sub(tried)) >= DUE,
            share: verdicts.into_iter().flatten().map(|verdict| verdict.share(now)).fold(1.0, f64::min),
        }
    }
}

/// Locks even after another thread panicked while holding the lock: the state is a set of counters, each valid alone.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
