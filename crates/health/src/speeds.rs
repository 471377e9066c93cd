//! How quick a target is, against its own past: the first tokens by prompt size, the output speed, and the calls that
//! wait. Verdicts are [`crate::rank`]'s; here is the evidence.

use crate::baseline::{Baseline, FIRST_TOKEN, Lateness, ONE_VOICE, PACE, SURE};
use crate::rank::{Judged, Rank, Slowness};
use crate::recent::{Place, Recent, Seen};
use crate::size::PromptSize;
use canon::Instant;
use std::time::Duration;

/// What is known of a target's speed. Read without a lock; verdicts are written under the target's.
#[derive(Debug)]
pub(crate) struct Speeds {
    first_tokens: [Baseline; PromptSize::CLASSES],
    pub(crate) pace: Baseline,
    recent: Recent,
}

/// A call whose first token is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    size: PromptSize,
    /// `None` = there were too many to watch it as well.
    place: Option<Place>,
}

impl Watched {
    /// Of its prompt.
    pub(crate) fn size(self) -> PromptSize {
        self.size
    }
}

/// A verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slow {
    pub(crate) slowness: Slowness,
    /// The prompts it is about; `None` = all.
    pub(crate) size: Option<PromptSize>,
}

/// What a verdict is about and what it rests on, both the target's.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) rank: Rank,
    /// The sum of evidence of slow streams.
    pace: f64,
}

impl Judgement {
    pub(crate) fn new() -> Self {
        Self { rank: Rank::new(), pace: 0.0 }
    }
}

impl Speeds {
    pub(crate) fn new() -> Self {
        Self {
            first_tokens: std::array::from_fn(|_| Baseline::new(FIRST_TOKEN)),
            pace: Baseline::new(PACE),
            recent: Recent::new(),
        }
    }

    /// A call starts whose first token is waited for.
    pub(crate) fn watch(&self, prompt_tokens: u64, now: Instant) -> Watched {
        let size = PromptSize::of(prompt_tokens);
        let outlived = |size, age| self.lateness(size, age) == Lateness::Outlived;
        Watched { size, place: self.recent.enter(size, now, outlived) }
    }

    /// Nobody waits for the call any more, and it says nothing.
    pub(crate) fn unwatch(&self, watched: Watched) {
        self.leave(watched, None);
    }

    fn leave(&self, watched: Watched, said: Option<f64>) {
        match watched.place {
            Some(place) => self.recent.leave(place, said),
            None => self.recent.leave_unwatched(),
        }
    }

    fn lateness(&self, size: PromptSize, age: Duration) -> Lateness {
        self.first_token(size).map_or(Lateness::InTime, |usual| usual.lateness(age))
    }

    fn first_token(&self, size: PromptSize) -> Option<&Baseline> {
        self.first_tokens.get(size.index())
    }

    /// No verdict can follow from the calls that wait: none does, or all of them are in time.
    #[inline]
    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        self.recent.is_quiet(now)
    }

    /// The verdict of the latest calls, those that wait included.
    pub(crate) fn slowness(&self, now: Instant) -> Option<Slow> {
        let change = self.recent.change();
        let (mut in_time_until, mut are_in_time) = (u64::MAX, true);
        let (mut outlived, mut most) = (0, 0.0);
        let (mut oldest, mut well) = (u64::MAX, 0);
        let mut smallest: Option<PromptSize> = None;
        for (began, size, seen) in self.recent.calls(now) {
            smallest = Some(smallest.filter(|known| known.index() <= size.index()).unwrap_or(size));
            match seen {
                Seen::Waits { age } => match self.lateness(size, age) {
                    Lateness::InTime => {
                        let from = self.first_token(size).and_then(Baseline::late_from);
                        in_time_until = in_time_until.min(from.map_or(u64::MAX, |from| began.saturating_add(from)));
                    }
                    Lateness::Late => {
                        are_in_time = false;
                        most += ONE_VOICE;
                    }
                    Lateness::Outlived => {
                        are_in_time = false;
                        outlived += 1;
                        oldest = oldest.min(began);
                        most += ONE_VOICE;
                    }
                },
                Seen::Said(said) if said < 0.0 => well = well.max(began),
                Seen::Said(said) => most += said,
            }
        }
        // One straggler is no hang where calls that began after it were answered.
        if outlived > 0 && outlived >= self.recent.waiting() && well < oldest {
            return Some(Slow { slowness: Slowness::Outlived, size: None });
        }
        // Logarithms only when they could make a verdict.
        if most < SURE {
            if are_in_time {
                self.recent.all_is_quiet(change, in_time_until);
            }
            return None;
        }
        let said = |size, age| {
            let usual = self.first_token(size).and_then(Baseline::usual);
            usual.map_or(0.0, |usual| usual.evidence_of_waiting(age))
        };
        let of = |size: PromptSize| self.recent.sum(now, |it| it == size, said);
        let is_well = |size: PromptSize| {
            let answers =
                self.recent.calls(now).any(|(_, it, seen)| it == size && matches!(seen, Seen::Said(it) if it < 0.0));
            answers && of(size) < ONE_VOICE
        };
        let size = smallest
            .filter(|smallest| is_well(*smallest))
            .and_then(|smallest| PromptSize::all().find(|size| *size != smallest && of(*size) >= SURE));
        let slowness = Slowness::FirstToken;
        match size {
            Some(_) => Some(Slow { slowness, size }),
            None => (self.recent.sum(now, |_| true, said) >= SURE).then_some(Slow { slowness, size: None }),
        }
    }

    /// The target loses its rank.
    pub(crate) fn lose_rank(&self, slowness: Slowness, judgement: &mut Judgement, now: Instant) {
        self.begin_anew(judgement.rank.lose(slowness, now), judgement);
    }

    /// Prompts of a size begin anew: the size has lost its rank, or has it again.
    pub(crate) fn begin_anew_of(&self, size: PromptSize, from: Instant) {
        self.recent.begin_anew_of(size, from);
    }

    /// A first token came, or was waited for in vain, after `took`. `own` = the rank of the prompt's size, where it has
    /// one. Returns the verdict, which is the caller's to carry out where it is about a size.
    pub(crate) fn first_token_took(
        &self,
        took: Duration,
        watched: Watched,
        (judgement, own): (&mut Judgement, Option<&mut Rank>),
        now: Instant,
    ) -> Option<Slow> {
        let baseline = self.first_token(watched.size)?;
        let usual = baseline.usual();
        self.leave(watched, usual.map(|usual| usual.evidence(took)));
        if let Some(rank) = own.filter(|rank| !rank.is_usual()) {
            let judged = usual.map_or(Judged::No, |usual| rank.judge(usual.is_back(took), false, now));
            match judged {
                Judged::No => {}
                Judged::Regained => self.begin_anew_of(watched.size, now),
                Judged::Slow { until } => self.begin_anew_of(watched.size, until),
                Judged::UsualNow => {
                    baseline.forget();
                    self.begin_anew_of(watched.size, now);
                }
            }
        } else if judgement.rank.is_usual() {
            match self.slowness(now) {
                Some(slow) if slow.size.is_some() => return Some(slow),
                Some(slow) => self.lose_rank(slow.slowness, judgement, now),
                None => {
                    baseline.record(took, now);
                    self.recent.changed();
                }
            }
        } else if let Some(usual) = usual {
            self.judge(usual.is_back(took), false, judgement, now);
        }
        None
    }

    /// Nobody waits any more for a first token that had not come after `age`.
    pub(crate) fn waited_for(&self, age: Duration, watched: Watched) {
        let usual = self.first_token(watched.size).and_then(Baseline::usual);
        self.leave(watched, usual.map(|usual| usual.evidence_of_waiting(age)));
    }

    /// The time that 95 % of the first tokens to prompts of so many tokens come within; `None` until enough have come.
    pub(crate) fn late_first_token(&self, prompt_tokens: u64) -> Option<Duration> {
        self.first_token(PromptSize::of(prompt_tokens))?.late()
    }

    /// A first token was given up after `age` that would have taken longer; while the target is as usual.
    pub(crate) fn took_longer_than(&self, age: Duration, watched: Watched, now: Instant) {
        if let Some(baseline) = self.first_token(watched.size) {
            baseline.record_longer_than(age, now);
            self.recent.changed();
        }
    }

    /// A stream ended that took `pace` from one event to the next.
    pub(crate) fn pace_was(&self, pace: Duration, judgement: &mut Judgement, now: Instant) {
        let usual = self.pace.usual();
        if judgement.rank.is_usual() {
            judgement.pace = usual.map_or(0.0, |usual| (judgement.pace + usual.evidence(pace)).max(0.0));
            if judgement.pace >= SURE {
                self.lose_rank(Slowness::Pace, judgement, now);
            } else {
                self.pace.record(pace, now);
            }
        } else if let Some(usual) = usual {
            self.judge(usual.is_back(pace), true, judgement, now);
        }
    }

    /// An answer of a target that has lost its rank.
    fn judge(&self, is_back: bool, pace: bool, judgement: &mut Judgement, now: Instant) {
        match judgement.rank.judge(is_back, pace, now) {
            Judged::No => {}
            Judged::Regained => self.begin_anew(now, judgement),
            Judged::Slow { until } => self.begin_anew(until, judgement),
            Judged::UsualNow => {
                self.first_tokens.iter().chain([&self.pace]).for_each(Baseline::forget);
                self.begin_anew(now, judgement);
            }
        }
    }

    /// After a verdict, what began before `from` is told.
    fn begin_anew(&self, from: Instant, judgement: &mut Judgement) {
        judgement.pace = 0.0;
        self.recent.begin_anew(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, proptest};

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    proptest! {
        #[test]
        fn while_all_is_quiet_no_verdict_would_be_found(
            steps in prop::collection::vec((0_u8..4, 0.0..2.0_f64, 0_usize..4), 1..120),
            known in 0..200_u32,
        ) {
            let (speeds, mut judgement) = (Speeds::new(), Judgement::new());
            let mut now = 10.0;
            for _ in 0..known {
                now += 0.1;
                let watched = speeds.watch(500, at(now - 0.5));
                speeds.first_token_took(Duration::from_millis(500), watched, (&mut judgement, None), at(now));
            }
            let mut waiting = Vec::new();
            for (what, later, which) in steps {
                now += later;
                match what {
                    0 => waiting.push((speeds.watch(500, at(now)), now)),
                    1 if !waiting.is_empty() => {
                        let (watched, began) = waiting.remove(which % waiting.len());
                        let took = Duration::from_secs_f64(now - began);
                        speeds.first_token_took(took, watched, (&mut judgement, None), at(now));
                    }
                    2 if !waiting.is_empty() => speeds.unwatch(waiting.remove(which % waiting.len()).0),
                    _ => {}
                }
                let quiet = speeds.is_quiet(at(now));
                let verdict = speeds.slowness(at(now));
                prop_assert!(!quiet || waiting.is_empty() || verdict.is_none(), "{verdict:?} at {now}");
            }
        }
    }
}
