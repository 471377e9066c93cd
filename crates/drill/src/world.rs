//! The providers of a drill: how each target answers a call that starts now.

use crate::fault::{FaultKind, PlannedFault};
use crate::units::Spread;
use canon::{Instant, LimitKind, LimitReading, Usage};
use std::collections::HashMap;
use std::time::Duration;

/// How a healthy target behaves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Law {
    /// Seconds to the first token.
    pub(crate) first_token: Spread,
    pub(crate) tokens_per_second: f64,
    /// How long an error answer takes.
    pub(crate) refuses_after: Duration,
    pub(crate) requests_per_minute: Option<f64>,
    pub(crate) tokens_per_minute: Option<f64>,
    pub(crate) tells_limits: bool,
    pub(crate) keeps_prompts: Option<Duration>,
    pub(crate) capacity: Option<u32>,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens that the whole answer has, at least one.
    pub output_tokens: u32,
}

impl Ask {
    /// What a whole answer is billed for.
    pub(crate) fn usage(self) -> Usage {
        self.usage_of(self.output_tokens)
    }

    /// What an answer is billed for that is so many tokens long.
    pub(crate) fn usage_of(self, output_tokens: u32) -> Usage {
        Usage {
            input_tokens: Some(self.prompt_tokens),
            output_tokens: Some(u64::from(output_tokens)),
            ..Usage::default()
        }
    }
}

/// How a target answers a call, as it is on the wire.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// An error answer.
    Refuses {
        /// From the call's start.
        after: Duration,
        /// What it says.
        error: ErrorAnswer,
    },
    /// The connection is refused, or reset after the request was sent.
    Breaks {
        /// From the call's start.
        after: Duration,
        /// The request had been sent.
        was_sent: bool,
    },
    /// A clean answer with nothing in it.
    Empty {
        /// From the call's start.
        after: Duration,
    },
    /// The connection is never made.
    Unroutable,
    /// Nothing ever comes.
    Silent,
    /// Tokens.
    Speaks(Speech),
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The provider's own code.
    pub code: Option<String>,
    /// The hint.
    pub retry_after: Option<Duration>,
}

/// An answer as it comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speech {
    /// From the call's start to the first token.
    pub first: Duration,
    /// Between two tokens.
    pub gap: Duration,
    /// How many there are, at least one.
    pub tokens: u32,
    /// Where it breaks, if it does.
    pub breaks: Option<Break>,
}

/// Where an answer breaks, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// Tokens that come.
    pub after: u32,
    /// It goes silent, rather than being cut.
    pub silent: bool,
}

impl Speech {
    /// How many tokens there are so long after the call's start, where nothing breaks.
    pub(crate) fn written_after(&self, time: Duration) -> u32 {
        let Some(since) = time.checked_sub(self.first) else { return 0 };
        let more = since
            .as_nanos()
            .checked_div(self.gap.as_nanos())
            .map_or(self.tokens, |more| u32::try_from(more).unwrap_or(u32::MAX));
        more.saturating_add(1).min(self.tokens)
    }

    /// From the call's start to the n-th token.
    pub(crate) fn at_token(&self, n: u32) -> Duration {
        self.first + self.gap.saturating_mul(n.saturating_sub(1))
    }
}

/// A token bucket as providers keep them: a minute's worth, refilled all the time.
#[derive(Debug, Clone)]
struct Bucket {
    per_minute: f64,
    level: f64,
    seen: Instant,
}

impl Bucket {
    fn new(per_minute: f64) -> Self {
        Self { per_minute, level: per_minute, seen: Instant::ORIGIN }
    }

    fn refill(&mut self, now: Instant) {
        let earned = now.saturating_since(self.seen).as_secs_f64() * self.per_minute / 60.0;
        self.level = (self.level + earned).min(self.per_minute);
        self.seen = self.seen.max(now);
    }

    fn reading(&self, kind: LimitKind) -> LimitReading {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a level of a bucket is no less than 0"
        )]
        let whole = |number: f64| number.max(0.0) as u64;
        let missing = (self.per_minute - self.level).max(0.0);
        let reset = Some(Duration::from_secs_f64(missing * 60.0 / self.per_minute));
        LimitReading { kind, limit: whole(self.per_minute), remaining: whole(self.level), reset }
    }

    /// Takes the amount, or says how long until it is there.
    fn missing(&mut self, amount: f64, now: Instant) -> Option<Duration> {
        self.refill(now);
        let short = amount.min(self.per_minute) - self.level;
        (short > 0.0).then(|| Duration::from_secs_f64(short * 60.0 / self.per_minute))
    }
}

#[derive(Debug, Clone, Default)]
struct Limits {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

impl Limits {
    /// Admits a call, or says when to come back.
    fn admit(&mut self, tokens: f64, now: Instant) -> Result<(), Duration> {
        let requests = self.requests.as_mut().and_then(|bucket| bucket.missing(1.0, now));
        let wanted = self.tokens.as_mut().and_then(|bucket| bucket.missing(tokens, now));
        if let Some(wait) = requests.max(wanted) {
            return Err(wait);
        }
        for (bucket, amount) in [(&mut self.requests, 1.0), (&mut self.tokens, tokens)] {
            if let Some(bucket) = bucket {
                bucket.level -= amount;
            }
        }
        Ok(())
    }
}

/// A target as the world knows it. All replicas call the same one.
#[derive(Debug)]
pub(crate) struct Site {
    law: Law,
    /// By credential.
    limits: Vec<Limits>,
    in_flight: u32,
    /// What it keeps of conversations: tokens, and until when.
    prompts: HashMap<usize, (u64, Instant)>,
    rng: fastrand::Rng,
}

impl Site {
    pub(crate) fn new(law: &Law, credentials: usize, seed: u64) -> Self {
        let limits = Limits {
            requests: law.requests_per_minute.map(Bucket::new),
            tokens: law.tokens_per_minute.map(Bucket::new),
        };
        Self {
            law: law.clone(),
            limits: vec![limits; credentials],
            in_flight: 0,
            prompts: HashMap::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// How long it keeps the prompt of a conversation that nobody goes on with.
    pub(crate) fn keeps_prompts(&self) -> Option<Duration> {
        self.law.keeps_prompts
    }

    /// Reads the prompt of a conversation, and keeps it: how many of its tokens were kept from earlier ones. `None` = it
    /// keeps none.
    pub(crate) fn read_prompt(&mut self, talk: usize, tokens: u64, now: Instant) -> Option<u64> {
        let keeps = self.law.keeps_prompts?;
        let (held, until) = self.prompts.insert(talk, (tokens, now + keeps)).unwrap_or_default();
        Some(if now < until { held.min(tokens) } else { 0 })
    }

    /// A call is over, whichever way.
    pub(crate) fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// What the head of an answer that was let through now says of the limits of its credential.
    pub(crate) fn tells(&self, credential: usize) -> [Option<LimitReading>; 2] {
        let limits = self.limits.get(credential).filter(|_| self.law.tells_limits);
        let Some(limits) = limits else { return [None; 2] };
        let tell = |kind, bucket: &Option<Bucket>| bucket.as_ref().map(|bucket| bucket.reading(kind));
        [tell(LimitKind::Requests, &limits.requests), tell(LimitKind::Tokens, &limits.tokens)]
    }

    /// Answers a call that starts now. The caller owes one [`Site::leave`].
    pub(crate) fn call<'f>(
        &mut self,
        credential: usize,
        ask: Ask,
        faults: impl Iterator<Item = &'f PlannedFault>,
        now: Instant,
    ) -> Reply {
        self.in_flight += 1;
        let mut speech = Speech {
            first: seconds(self.law.first_token.draw(&mut self.rng)),
            gap: seconds(1.0 / self.law.tokens_per_second),
            tokens: ask.output_tokens.max(1),
            breaks: None,
        };
        let after = self.law.refuses_after;
        let refuses =
            |status, code, retry_after| Reply::Refuses { after, error: ErrorAnswer { status, code, retry_after } };
        for planned in faults {
            if self.rng.f64() >= planned.share {
                continue;
            }
            match &planned.kind {
                FaultKind::Status { status, code, retry_after } => {
                    return refuses(*status, code.clone(), *retry_after);
                }
                FaultKind::Refuse => return Reply::Breaks { after, was_sent: false },
                FaultKind::Reset => return Reply::Breaks { after, was_sent: true },
                FaultKind::Unroutable => return Reply::Unroutable,
                FaultKind::Hang => return Reply::Silent,
                FaultKind::Empty => return Reply::Empty { after: speech.first },
                FaultKind::SlowFirstToken { times } => speech.first = speech.first.mul_f64(*times),
                FaultKind::SlowTokens { times } => speech.gap = speech.gap.mul_f64(*times),
                FaultKind::Cut { after } => speech.breaks = Some(self.break_after(*after, speech.tokens, false)),
                FaultKind::Stall { after } => speech.breaks = Some(self.break_after(*after, speech.tokens, true)),
            }
        }
        let tokens = ask.prompt_tokens as f64 + f64::from(ask.output_tokens);
        if let Some(Err(wait)) = self.limits.get_mut(credential).map(|limits| limits.admit(tokens, now)) {
            return refuses(429, None, Some(wait));
        }
        if self.law.capacity.is_some_and(|capacity| self.in_flight > capacity) {
            return refuses(503, None, None);
        }
        Reply::Speaks(speech)
    }

    fn break_after(&mut self, after: Option<u32>, tokens: u32, silent: bool) -> Break {
        let last = tokens.saturating_sub(1).max(1);
        Break { after: after.unwrap_or_else(|| self.rng.u32(1..=last)).clamp(1, last), silent }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    fn law() -> Law {
        Law {
            first_token: Spread::always(2.0),
            tokens_per_second: 50.0,
            refuses_after: Duration::from_millis(50),
            requests_per_minute: None,
            tokens_per_minute: None,
            tells_limits: false,
            keeps_prompts: None,
            capacity: None,
        }
    }

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    fn call(site: &mut Site, faults: &[PlannedFault], now: f64) -> Reply {
        let ask = Ask { prompt_tokens: 900, output_tokens: 100 };
        let faults = faults.iter().filter(|fault| fault.is_in_force(0, 0, at(now)));
        site.call(0, ask, faults, at(now))
    }

    fn fault(kind: FaultKind, share: f64) -> PlannedFault {
        let (from, until) = (at(0.0), Instant::FAR_FUTURE);
        PlannedFault { from, until, site: None, credential: None, share, flap: None, kind, words: String::new() }
    }

    #[test]
    fn a_healthy_target_speaks_as_its_law_says() {
        let mut site = Site::new(&law(), 1, 1);
        let Reply::Speaks(speech) = call(&mut site, &[], 0.0) else { panic!("it speaks") };
        assert_eq!((speech.first, speech.tokens), (Duration::from_secs(2), 100));
        assert_eq!(speech.at_token(100), Duration::from_millis(2_000 + 99 * 20));
        let written = [1.9, 2.0, 2.05, 60.0].map(|seconds| speech.written_after(Duration::from_secs_f64(seconds)));
        assert_eq!(written, [0, 1, 3, 100]);
    }

    #[test]
    fn a_token_limit_is_a_minutes_bucket_and_its_429_says_when_there_is_enough_again() {
        let mut site = Site::new(&Law { tokens_per_minute: Some(6_000.0), ..law() }, 1, 1);
        for _ in 0..6 {
            assert!(matches!(call(&mut site, &[], 0.0), Reply::Speaks(_)));
        }
        let Reply::Refuses { error, .. } = call(&mut site, &[], 0.0) else { panic!("it is limited") };
        assert_eq!((error.status, error.retry_after), (429, Some(Duration::from_secs(10))));
        assert!(matches!(call(&mut site, &[], 9.9), Reply::Refuses { .. }));
        assert!(matches!(call(&mut site, &[], 10.0), Reply::Speaks(_)));
    }

    #[test]
    fn what_is_left_of_a_limit_is_told_where_the_law_says_so() {
        let limits = Law { tokens_per_minute: Some(6_000.0), ..law() };
        let mut site = Site::new(&Law { tells_limits: true, ..limits.clone() }, 1, 1);
        call(&mut site, &[], 0.0);
        let [None, Some(told)] = site.tells(0) else { panic!("it tells of tokens alone") };
        assert_eq!((told.limit, told.remaining, told.reset), (6_000, 5_000, Some(Duration::from_secs(10))));
        assert_eq!(Site::new(&limits, 1, 1).tells(0), [None; 2]);
    }

    #[test]
    fn a_prompt_is_kept_for_as_long_as_it_is_gone_on_with() {
        let mut site = Site::new(&Law { keeps_prompts: Some(Duration::from_secs(300)), ..law() }, 1, 1);
        assert_eq!(site.read_prompt(7, 1_000, at(0.0)), Some(0));
        assert_eq!(site.read_prompt(7, 1_500, at(299.0)), Some(1_000));
        assert_eq!(site.read_prompt(8, 1_500, at(299.0)), Some(0), "another conversation's is no help");
        assert_eq!(site.read_prompt(7, 1_600, at(599.0)), Some(0), "nobody read it for too long");
        assert_eq!(Site::new(&law(), 1, 1).read_prompt(7, 1_000, at(0.0)), None);
    }

    #[test]
    fn one_call_more_than_the_capacity_is_turned_away() {
        let mut site = Site::new(&Law { capacity: Some(2), ..law() }, 1, 1);
        assert!(matches!(call(&mut site, &[], 0.0), Reply::Speaks(_)));
        assert!(matches!(call(&mut site, &[], 0.0), Reply::Speaks(_)));
        let Reply::Refuses { error, .. } = call(&mut site, &[], 0.0) else { panic!("it is full") };
        assert_eq!(error.status, 503);
        site.leave();
        site.leave();
        assert!(matches!(call(&mut site, &[], 0.0), Reply::Speaks(_)));
    }

    #[test]
    fn a_share_of_the_calls_meets_a_fault() {
        let mut site = Site::new(&law(), 1, 1);
        let faults = [fault(FaultKind::Hang, 0.4)];
        let silent = (0..2_000).filter(|_| call(&mut site, &faults, 0.0) == Reply::Silent).count();
        assert!((740..=860).contains(&silent), "{silent}");
    }

    #[test]
    fn a_cut_falls_within_the_answer() {
        let mut site = Site::new(&law(), 1, 1);
        let places: Vec<u32> = (0..500)
            .filter_map(|_| match call(&mut site, &[fault(FaultKind::Cut { after: None }, 1.0)], 0.0) {
                Reply::Speaks(speech) => speech.breaks.map(|it| it.after),
                _ => None,
            })
            .collect();
        assert_eq!(places.len(), 500);
        assert!(places.iter().all(|after| (1..100).contains(after)) && places.iter().any(|after| *after > 80));
    }
}
