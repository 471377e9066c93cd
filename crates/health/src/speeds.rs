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

    /// Nothing waits for its first token.
    pub(crate) fn is_idle(&self) -> bool {
        self.recent.waiting() == 0
    }

    /// The verdict of the latest calls, those that wait included.
    pub(crate) fn slowness(&self, now: Instant) -> Option<Slowness> {
        let (mut outlived, mut most) = (0, 0.0);
        let (mut oldest, mut well) = (u64::MAX, 0);
        for (began, seen) in self.recent.calls(now) {
            match seen {
                Seen::Waits { size, age } => match self.lateness(size, age) {
                    Lateness::InTime => {}
                    Lateness::Late => most += ONE_VOICE,
                    Lateness::Outlived => {
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
            return Some(Slowness::Outlived);
        }
        // Logarithms only when they could make a verdict.
        if most < SURE {
            return None;
        }
        let said = |size, age| {
            let usual = self.first_token(size).and_then(Baseline::usual);
            usual.map_or(0.0, |usual| usual.evidence_of_waiting(age))
        };
        (self.recent.sum(now, said) >= SURE).then_some(Slowness::FirstToken)
    }

    /// The target loses its rank.
    pub(crate) fn lose_rank(&self, slowness: Slowness, judgement: &mut Judgement, now: Instant) {
        self.begin_anew(judgement.rank.lose(slowness, now), judgement);
    }

    /// A first token came, or was waited for in vain, after `took`.
    pub(crate) fn first_token_took(&self, took: Duration, watched: Watched, judgement: &mut Judgement, now: Instant) {
        let Some(baseline) = self.first_token(watched.size) else { return };
        let usual = baseline.usual();
        self.leave(watched, usual.map(|usual| usual.evidence(took)));
        if judgement.rank.is_usual() {
            match self.slowness(now) {
                Some(slowness) => self.lose_rank(slowness, judgement, now),
                None => baseline.record(took, now),
            }
        } else if let Some(usual) = usual {
            self.judge(usual.is_back(took), false, judgement, now);
        }
    }

    /// Nobody waits any more for a first token that had not come after `age`.
    pub(crate) fn waited_for(&self, age: Duration, watched: Watched) {
        let usual = self.first_token(watched.size).and_then(Baseline::usual);
        self.leave(watched, usual.map(|usual| usual.evidence_of_waiting(age)));
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
