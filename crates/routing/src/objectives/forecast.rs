//! What is predicted of a target for one request, as `auto` orders by it and `explain` tells it.

use super::verdict::{Stands, Verdict};
use canon::Instant;
use catalog::Usd;
use std::fmt;

/// Whether an objective is predicted to be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is not known to be missed.
    Met,
    /// It is missed.
    Missed {
        /// Seconds until it is looked at anew.
        seconds: u16,
    },
    /// It was missed, and is looked at anew.
    OnTrial,
}

/// One objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// What is predicted: seconds, tokens a second, or a share. `None` = nobody knows.
    pub predicted: Option<f32>,
    /// What is asked for.
    pub asked: f32,
    /// Whether it is met.
    pub standing: Standing,
    /// By what factor it was missed when that was last told; 1 where it is met.
    short: f32,
}

impl Outlook {
    pub(super) fn new(asked: f32, predicted: Option<f32>, verdict: &Verdict, now: Instant) -> Self {
        let (standing, short) = match verdict.stands(now) {
            Stands::Met => (Standing::Met, 1.0),
            Stands::Missed { until } => {
                let seconds = until.saturating_since(now).as_secs() + 1;
                (Standing::Missed { seconds: u16::try_from(seconds).unwrap_or(u16::MAX) }, verdict.short())
            }
            Stands::OnTrial => (Standing::OnTrial, verdict.short()),
        };
        Self { predicted, asked, standing, short }
    }

    pub(super) fn met(asked: f32, predicted: Option<f32>) -> Self {
        Self { predicted, asked, standing: Standing::Met, short: 1.0 }
    }
}

/// What is predicted of a target for one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Seconds within which 95 % of first tokens come; `None` = that is not asked for, or the answer is not streamed.
    pub first_token: Option<Outlook>,
    /// Tokens a second that 95 % of answers reach; `None` = that is not asked for.
    pub speed: Option<Outlook>,
    /// The share of calls that are completed; `None` = that is not asked for.
    pub success: Option<Outlook>,
    /// It was not asked for so long that a trial would take too long.
    pub(crate) is_due: bool,
    /// How much of its load it has since it returned, 0 to 1.
    pub(crate) share: f64,
}

impl Forecast {
    fn outlooks(&self) -> impl Iterator<Item = (Of, &Outlook)> {
        [(Of::FirstToken, &self.first_token), (Of::Speed, &self.speed), (Of::Success, &self.success)]
            .into_iter()
            .filter_map(|(of, outlook)| Some((of, outlook.as_ref()?)))
    }

    fn missed(&self) -> impl Iterator<Item = (Of, &Outlook)> {
        self.outlooks().filter(|(_, outlook)| outlook.standing != Standing::Met)
    }

    /// An objective is predicted to be missed.
    pub fn misses(&self) -> bool {
        self.missed().next().is_some()
    }

    /// What it misses is looked at anew.
    pub(crate) fn is_on_trial(&self) -> bool {
        self.misses() && self.missed().all(|(_, outlook)| outlook.standing == Standing::OnTrial)
    }

    /// By what factor it misses the objective that it misses most.
    pub(crate) fn short(&self) -> f32 {
        self.outlooks().map(|(_, outlook)| outlook.short).fold(1.0, f32::max)
    }

    /// What would have to change for `second`, which stands behind `first`, to stand before it.
    pub(crate) fn reversal(first: (&str, Self, Option<Usd>), second: (&str, Self, Option<Usd>)) -> Option<String> {
        let ((leader, one, price), (follower, other, price_there)) = (first, second);
        if one.misses() {
            let (least, most) = (one.short(), other.short());
            return Some(format!(
                "{follower} comes first when it meets the objectives, or misses them by less than a factor of \
                 {least:.2}, as {leader} does; it misses them by {most:.2}"
            ));
        }
        let mut needed: Vec<String> = other.missed().map(|(of, outlook)| of.change(outlook)).collect();
        match (price, price_there) {
            (Some(price), Some(there)) if there >= price => {
                needed.push(format!("this request costs less than {price} there, not {there}"));
            }
            (Some(price), None) => needed.push(format!("its price is known, and less than {price} for this request")),
            (Some(_) | None, _) => {}
        }
        let also = if other.misses() { "" } else { ", or when an objective is missed there" };
        (!needed.is_empty()).then(|| format!("{follower} comes before {leader} when {}{also}", needed.join(", and ")))
    }
}

/// Which objective.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    FirstToken,
    Speed,
    Success,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Self::FirstToken => "first_token_p95",
            Self::Speed => "tokens_per_second",
            Self::Success => "success",
        }
    }

    fn value(self, value: f32) -> String {
        match self {
            Self::FirstToken => format!("{value:.2} s"),
            Self::Speed => format!("{value:.1}"),
            Self::Success => format!("{:.2} %", f64::from(value) * 100.0),
        }
    }

    fn change(self, outlook: &Outlook) -> String {
        let verb = if self == Self::FirstToken { "falls" } else { "rises" };
        let asked = self.value(outlook.asked);
        match outlook.predicted {
            Some(predicted) => format!("its {} {verb} from {} to {asked}", self.name(), self.value(predicted)),
            None => format!("its {} {verb} to {asked}", self.name()),
        }
    }
}

/// `first_token_p95 2.91 s, missed (2.00 s is asked for; looked at anew in 24 s), tokens_per_second 45.0, met, …`.
impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (of, outlook)) in self.outlooks().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            let predicted = outlook.predicted.map_or_else(|| "unknown".to_owned(), |it| of.value(it));
            write!(f, "{} {predicted}", of.name())?;
            let asked = of.value(outlook.asked);
            match outlook.standing {
                Standing::Met if outlook.predicted.is_none() => f.write_str(", not known to be missed")?,
                Standing::Met => write!(f, ", met ({asked} asked)")?,
                Standing::Missed { seconds } => write!(f, ", missed ({asked} asked, judged anew in {seconds} s)")?,
                Standing::OnTrial => write!(f, ", on trial ({asked} asked)")?,
            }
        }
        if self.share < 1.0 {
            write!(f, "; back, first for {:.0} %", self.share * 100.0)?;
        }
        Ok(())
    }
}
