//! What a simulated provider does: its pace, its words, how it goes on with a partial answer, and the faults on its
//! time line.

use crate::continues::Continues;
use crate::duration;
use crate::fault::FaultKind;
use crate::script::Answer;
use std::time::Duration;

/// How fast a provider answers, and how much it says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// From the request to the first token.
    #[serde(with = "duration::plain")]
    pub first_token: Duration,
    /// Between two tokens.
    #[serde(with = "duration::plain")]
    pub interval: Duration,
    /// Words of a text answer; the sentence it always says may be longer.
    pub tokens: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first_token: Duration::from_millis(20), interval: Duration::from_millis(2), tokens: 32 }
    }
}

impl Pace {
    /// No waits at all.
    pub fn instant() -> Self {
        Self { first_token: Duration::ZERO, interval: Duration::ZERO, ..Self::default() }
    }
}

/// Up and down in turn, beginning up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flap {
    /// How long the provider is well.
    #[serde(with = "duration::plain")]
    pub up: Duration,
    /// How long the fault lasts then.
    #[serde(with = "duration::plain")]
    pub down: Duration,
}

impl Flap {
    fn is_down(self, elapsed: Duration) -> bool {
        let period = self.up + self.down;
        if period.is_zero() {
            return false;
        }
        elapsed.as_nanos() % period.as_nanos() >= self.up.as_nanos()
    }
}

/// One fault on the time line: what, for which share of the requests, and when.
///
/// Several rules combine: a slow head and a cut, gzip and split UTF-8. Where two cannot both happen (two error
/// answers), the first in the list wins.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// The fault, in its one-line form: `unavailable_503`, `rate_limited_429:retry_after=2`.
    pub fault: FaultKind,
    /// The share of requests it hits, 0–100, drawn from the seed for each.
    #[serde(default = "all")]
    pub percent: f64,
    /// Not before this long after the behaviour was set.
    #[serde(default, with = "duration::plain", skip_serializing_if = "Duration::is_zero")]
    pub from: Duration,
    /// Not from here on.
    #[serde(default, with = "duration::optional", skip_serializing_if = "Option::is_none")]
    pub until: Option<Duration>,
    /// Spare this many requests first, counted since the behaviour was set.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skip: u64,
    /// Hit no more than this many requests after those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Only in the down phases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flap: Option<Flap>,
}

fn all() -> f64 {
    100.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde calls")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<FaultKind> for FaultRule {
    fn from(fault: FaultKind) -> Self {
        Self { fault, percent: all(), from: Duration::ZERO, until: None, skip: 0, requests: None, flap: None }
    }
}

impl FaultRule {
    /// The fault for every request, at once and for ever.
    pub fn new(fault: FaultKind) -> Self {
        fault.into()
    }

    /// For this share of the requests, 0–100.
    pub fn percent(self, percent: f64) -> Self {
        Self { percent, ..self }
    }

    /// From one point of the time line to another.
    pub fn between(self, from: Duration, until: Duration) -> Self {
        Self { from, until: Some(until), ..self }
    }

    /// For the next `count` requests only.
    pub fn for_requests(self, count: u64) -> Self {
        Self { requests: Some(count), ..self }
    }

    /// Well for `up`, faulty for `down`, and again.
    pub fn flapping(self, up: Duration, down: Duration) -> Self {
        Self { flap: Some(Flap { up, down }), ..self }
    }

    /// Whether the rule's window is open, its percentage aside.
    pub(crate) fn is_open(&self, elapsed: Duration, ordinal: u64) -> bool {
        elapsed >= self.from
            && self.until.is_none_or(|until| elapsed < until)
            && ordinal >= self.skip
            && self.requests.is_none_or(|count| ordinal - self.skip < count)
            && self.flap.is_none_or(|flap| flap.is_down(elapsed.saturating_sub(self.from)))
    }

    /// Whether the rule hits this request: open, and drawn. The draw depends on the seed, the rule's place in the list
    /// and the request's ordinal alone.
    pub(crate) fn hits(&self, at: &Draw) -> bool {
        self.is_open(at.elapsed, at.ordinal) && at.below(self.percent)
    }
}

/// The circumstances of one draw.
pub(crate) struct Draw {
    /// Since the behaviour was set.
    pub elapsed: Duration,
    /// Requests before this one, since the behaviour was set.
    pub ordinal: u64,
    /// The seed.
    pub seed: u64,
    /// The rule's place in the list.
    pub place: u64,
}

impl Draw {
    fn below(&self, percent: f64) -> bool {
        percent >= 100.0 || mixed(self.seed, self.place, self.ordinal).f64() * 100.0 < percent
    }
}

/// A generator that depends on three numbers and nothing else.
pub(crate) fn mixed(seed: u64, place: u64, ordinal: u64) -> fastrand::Rng {
    let mut outer = fastrand::Rng::with_seed(seed ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    fastrand::Rng::with_seed(outer.u64(..) ^ ordinal.wrapping_mul(0xD1B5_4A32_D192_ED03))
}

/// Everything a provider does on its time line.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// Decides every draw and every made-up id.
    pub seed: u64,
    /// Speed and length of the answers.
    pub pace: Pace,
    /// What it says.
    pub answer: Answer,
    /// What it does when it is asked to go on with an answer that broke off: `instructed`, `native:way=prefix`,
    /// `loops`, ….
    pub continues: Continues,
    /// The faults.
    pub faults: Vec<FaultRule>,
    /// From here on the provider is well, whatever the rules say.
    #[serde(with = "duration::optional", skip_serializing_if = "Option::is_none")]
    pub recover_at: Option<Duration>,
}

impl Behaviour {
    /// The faults that hit request number `ordinal`, in the order of the list.
    pub(crate) fn drawn(&self, elapsed: Duration, ordinal: u64) -> Vec<FaultKind> {
        if self.recover_at.is_some_and(|at| elapsed >= at) {
            return Vec::new();
        }
        let hit = |place: usize, rule: &FaultRule| {
            rule.hits(&Draw { elapsed, ordinal, seed: self.seed, place: place as u64 })
        };
        self.faults.iter().enumerate().filter(|(place, rule)| hit(*place, rule)).map(|(_, rule)| rule.fault).collect()
    }

    /// Whether every connection meets this kind now: its window is open, for all requests and any number of them (a
    /// connection that is not made counts as no request).
    pub(crate) fn always(&self, elapsed: Duration, ordinal: u64, is_kind: impl Fn(FaultKind) -> bool) -> bool {
        self.recover_at.is_none_or(|at| elapsed < at)
            && self.faults.iter().any(|rule| {
                is_kind(rule.fault)
                    && rule.percent >= 100.0
                    && rule.requests.is_none()
                    && rule.is_open(elapsed, ordinal)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_window_opens_and_closes_on_the_time_line() {
        let rule = FaultRule::new(FaultKind::ServerError500).between(at(5), at(10));
        assert_eq!([4, 5, 9, 10].map(|second| rule.is_open(at(second), 0)), [false, true, true, false]);
    }

    #[test]
    fn a_count_of_requests_bounds_a_rule() {
        let rule = FaultRule { skip: 1, ..FaultRule::new(FaultKind::ServerError500).for_requests(2) };
        assert_eq!([0, 1, 2, 3].map(|ordinal| rule.is_open(at(0), ordinal)), [false, true, true, false]);
    }

    #[test]
    fn flapping_begins_up() {
        let rule = FaultRule::new(FaultKind::ServerError500).flapping(at(2), at(3));
        assert_eq!([0, 1, 2, 4, 5, 7].map(|s| rule.is_open(at(s), 0)), [false, false, true, true, false, true]);
    }

    #[test]
    fn a_percentage_is_met_within_its_band_and_follows_the_seed() {
        let behaviour = Behaviour {
            seed: 7,
            faults: vec![FaultRule::new(FaultKind::ServerError500).percent(20.0)],
            ..Behaviour::default()
        };
        let hits = |behaviour: &Behaviour| -> Vec<bool> {
            (0..2000).map(|ordinal| !behaviour.drawn(at(0), ordinal).is_empty()).collect()
        };
        let first = hits(&behaviour);
        let count = first.iter().filter(|hit| **hit).count();
        assert!((340..=460).contains(&count), "{count} of 2000");
        assert_eq!(first, hits(&behaviour));
        assert_ne!(first, hits(&Behaviour { seed: 8, ..behaviour }));
    }

    #[test]
    fn recovery_ends_every_rule() {
        let behaviour = Behaviour {
            faults: vec![FaultRule::new(FaultKind::Refuse)],
            recover_at: Some(at(3)),
            ..Behaviour::default()
        };
        assert_eq!(behaviour.drawn(at(2), 0), [FaultKind::Refuse]);
        assert_eq!(behaviour.drawn(at(3), 0), []);
    }

    #[test]
    fn a_script_reads_from_a_file_and_refuses_unknown_fields() {
        let script = r#"{"seed":3,"pace":{"first_token":"100ms"},"faults":[
            {"fault":"429:retry_after=2","percent":20,"from":"5s","until":10},
            {"fault":"cut_mid_text:after=4","flap":{"up":"2s","down":"1s"}}]}"#;
        let behaviour: Behaviour = serde_json::from_str(script).unwrap();
        assert_eq!(behaviour.pace.first_token, Duration::from_millis(100));
        assert_eq!(behaviour.faults[0].until, Some(at(10)));
        assert_eq!(behaviour.faults[1].fault, crate::Cut::events(4).into());
        let again: Behaviour = serde_json::from_str(&serde_json::to_string(&behaviour).unwrap()).unwrap();
        assert_eq!(again, behaviour);
        assert!(serde_json::from_str::<Behaviour>(r#"{"sed":3}"#).unwrap_err().to_string().contains("sed"));
    }
}
