//! Which targets are probed, how, and whether one is to be asked now.
//!
//! Two kinds of call, which prove different things. A list of models comes back only from a provider that can be
//! reached and that takes the credential; it costs nothing and says nothing of generation, so it never counts as a
//! success of the target. A token is what a caller would get, and counts as an answer does.
//!
//! A target that rests is left alone until its rest is over: the rest is the breaker's to say. A target with callers
//! tells enough by itself.

use canon::Instant;
use catalog::Pattern;
use health::BreakerStanding;
use std::time::Duration;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeCall {
    /// The provider's list of models: whether it is reached, and takes the credential. Free.
    ModelList,
    /// An answer of one token: whether the model answers. It is paid for.
    Token,
}

impl ProbeCall {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ModelList => "model_list",
            Self::Token => "token",
        }
    }
}

/// How some targets are probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probing {
    /// What is asked for.
    pub call: ProbeCall,
    /// The least time between two probes of a target.
    pub every: Duration,
    /// Ask a target that is well after so long without a call; `None` = leave it alone.
    pub idle: Option<Duration>,
    /// The ids of the targets.
    pub targets: Vec<Pattern>,
}

/// What a target shows of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Where its breaker stands.
    pub breaker: BreakerStanding,
    /// When a call to it last began or was answered.
    pub last_call: Instant,
    /// When it was last probed.
    pub last_probe: Option<Instant>,
}

impl Probing {
    /// Whether it concerns the target of this id.
    pub fn concerns(&self, target: &str) -> bool {
        self.targets.iter().any(|pattern| pattern.matches(target))
    }

    /// Whether a target is to be asked now.
    pub fn is_due(&self, seen: &Seen, now: Instant) -> bool {
        if seen.last_probe.is_some_and(|last| now.saturating_since(last) < self.every) {
            return false;
        }
        match seen.breaker {
            BreakerStanding::HalfOpen { ready, .. } => ready,
            BreakerStanding::Closed => self.idle.is_some_and(|idle| now.saturating_since(seen.last_call) >= idle),
            // Only a list can say that a missing model is back.
            BreakerStanding::Off { .. } => self.call == ProbeCall::ModelList,
            BreakerStanding::Open { .. } | BreakerStanding::Ramping { .. } => false,
        }
    }

    /// The most probes of one target a day, for what they cost at most.
    pub fn most_a_day(&self) -> u64 {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        u64::try_from(DAY.as_nanos() / self.every.as_nanos().max(1)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    fn probing(call: ProbeCall, idle: Option<u64>) -> Probing {
        let idle = idle.map(Duration::from_secs);
        Probing { call, every: Duration::from_secs(5), idle, targets: vec![Pattern::new("*")] }
    }

    fn seen(breaker: BreakerStanding) -> Seen {
        Seen { breaker, last_call: at(90), last_probe: None }
    }

    #[test]
    fn a_target_is_asked_when_its_rest_is_over_and_nobody_asks_it() {
        for call in [ProbeCall::ModelList, ProbeCall::Token] {
            let probing = probing(call, None);
            let due = |breaker| probing.is_due(&seen(breaker), at(100));
            assert!(due(BreakerStanding::HalfOpen { ready: true, promising: false }));
            assert!(!due(BreakerStanding::HalfOpen { ready: false, promising: false }), "somebody's call is in flight");
            assert!(!due(BreakerStanding::Open { until: at(101) }), "it rests");
            assert!(!due(BreakerStanding::Ramping { share: 0.1 }), "its callers ask");
            assert!(!due(BreakerStanding::Closed), "it is well");
            assert_eq!(due(BreakerStanding::Off { until: at(500) }), call == ProbeCall::ModelList);
        }
    }

    #[test]
    fn two_probes_are_never_nearer_than_the_interval() {
        let probing = probing(ProbeCall::Token, None);
        let seen =
            Seen { last_probe: Some(at(100)), ..seen(BreakerStanding::HalfOpen { ready: true, promising: false }) };
        assert!(!probing.is_due(&seen, at(104)));
        assert!(probing.is_due(&seen, at(105)));
        assert_eq!(probing.most_a_day(), 17_280);
    }

    #[test]
    fn an_idle_target_is_asked_only_where_that_is_wanted() {
        let asked = |idle, now| probing(ProbeCall::Token, idle).is_due(&seen(BreakerStanding::Closed), at(now));
        assert!(!asked(None, 10_000));
        assert!(!asked(Some(60), 149), "its last call was a minute ago but for a second");
        assert!(asked(Some(60), 150));
    }
}
