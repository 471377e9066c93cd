//! What speaks for a target besides its place in the list: price, speed, reliability, quality.

use crate::near::Nearness;
use crate::objectives::Forecast;
use crate::price::Estimate;
use crate::strategy::Entrant;
use crate::{Model, Needs, Target};
use canon::Instant;
use catalog::Usd;
use std::fmt;

/// How good a target is at a task, from 0 to 1. In thousandths, so that floors are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quality(u16);

impl Quality {
    /// The best there is.
    const BEST: u16 = 1_000;

    /// From a number between 0 and 1; `None` for any other.
    pub fn new(number: f64) -> Option<Self> {
        let thousandths = (number * f64::from(Self::BEST)).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
        (0.0..=1.0).contains(&number).then_some(Self(thousandths as u16))
    }

    fn share(self) -> f64 {
        f64::from(self.0) / f64::from(Self::BEST)
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.share())
    }
}

/// What `fastest` goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(schemars::JsonSchema)]
pub enum SpeedBy {
    /// Time to the first token; to the whole answer where it is not streamed.
    #[default]
    FirstToken,
    /// Tokens a second.
    Throughput,
    /// Time to the end of an answer of the usual length.
    Total,
}

impl SpeedBy {
    /// The name in configuration and `explain`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstToken => "first_token",
            Self::Throughput => "throughput",
            Self::Total => "total",
        }
    }
}

/// How much each part counts in `balanced`; what they are multiples of does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Balance {
    /// The estimated price of the request.
    pub price: u32,
    /// The time to its end.
    pub speed: u32,
    /// The share of calls that are answered.
    pub reliability: u32,
    /// The quality for the model's task.
    pub quality: u32,
}

impl Default for Balance {
    fn default() -> Self {
        Self { price: 1, speed: 1, reliability: 1, quality: 1 }
    }
}

impl Balance {
    fn sum(self) -> f64 {
        [self.price, self.speed, self.reliability, self.quality].into_iter().map(f64::from).sum::<f64>().max(1.0)
    }
}

/// Which merits a strategy goes by; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gauge {
    /// None.
    Nothing,
    /// The time to the answer.
    Answer,
    /// All there are.
    All,
}

/// What is known of a target for one request. Nothing is, where no strategy asks.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Merits {
    /// Seconds to the first token, or to the whole answer where it is not streamed.
    answer: Option<f64>,
    /// Seconds a token.
    pace: Option<f64>,
    /// Seconds to the end of the answer.
    total: Option<f64>,
    pub(crate) success: f64,
    pub(crate) quality: Option<Quality>,
}

impl Merits {
    /// Speed is read where a strategy goes by it: as it is now.
    pub(crate) fn of(target: &Target, needs: &Needs, estimate: &Estimate, gauge: Gauge, now: Instant) -> Self {
        if gauge == Gauge::Nothing {
            return Self::default();
        }
        let speed = &target.ledger.speed;
        let answer = speed.answer_in(needs.class(), now);
        if gauge == Gauge::Answer {
            return Self { answer, ..Self::default() };
        }
        let pace = speed.pace();
        let writing = pace.map(|pace| pace * estimate.output_tokens as f64);
        let total = if needs.streamed { answer.zip(writing).map(|(answer, writing)| answer + writing) } else { answer };
        Self { answer, pace, total, success: speed.success(), quality: target.quality }
    }

    /// Seconds to what is gone by; `None` = nobody knows.
    pub(crate) fn seconds(&self, by: SpeedBy) -> Option<f64> {
        match by {
            SpeedBy::FirstToken => self.answer,
            SpeedBy::Throughput => self.pace,
            SpeedBy::Total => self.total,
        }
    }
}

/// What a strategy thinks of a candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Score {
    /// `cheapest`: the less the better; nobody knows comes last.
    Price {
        /// What the request is expected to cost.
        price: Option<Usd>,
    },
    /// `fastest`: the quicker, the likelier first.
    Speed {
        /// What it goes by.
        by: SpeedBy,
        /// Seconds to what it goes by; for `throughput`, seconds a token. `None` = taken for the quickest.
        seconds: Option<f64>,
        /// Its part of the weights of all, health aside: how often it comes first.
        share: f64,
    },
    /// `balanced`: the more the better; each part is between 0 and 1.
    Balanced {
        /// The cheapest price divided by its own; 0 = unknown.
        price: f64,
        /// The quickest time divided by its own; 1 = unknown.
        speed: f64,
        /// The share of its calls that are answered.
        reliability: f64,
        /// For the model's task; 0 = unknown.
        quality: f64,
        /// The weighted mean of the four.
        total: f64,
    },
    /// `nearest`: where its region stands.
    Nearest(Nearness),
    /// `auto`: whether it is predicted to meet the objectives.
    Forecast(Forecast),
}

/// How `balanced` rates everybody.
pub(crate) fn balance(entrants: &mut [Entrant], weights: Balance) {
    let cheapest = entrants.iter().filter_map(|it| it.estimate.price).min().map(Usd::as_dollars);
    let quickest = quickest(entrants, SpeedBy::Total);
    let sum = weights.sum();
    for entrant in entrants {
        let price = match (cheapest, entrant.estimate.price) {
            (Some(cheapest), Some(price)) => part(cheapest, price.as_dollars()),
            _ => 0.0,
        };
        let speed = match (quickest, entrant.merits.seconds(SpeedBy::Total)) {
            (Some(quickest), Some(seconds)) => part(quickest, seconds),
            _ => 1.0,
        };
        let (reliability, quality) = (entrant.merits.success, entrant.merits.quality.map_or(0.0, Quality::share));
        let total = (price * f64::from(weights.price)
            + speed * f64::from(weights.speed)
            + reliability * f64::from(weights.reliability)
            + quality * f64::from(weights.quality))
            / sum;
        entrant.score = Some(Score::Balanced { price, speed, reliability, quality, total });
    }
}

/// The least of those that are known.
pub(crate) fn quickest(entrants: &[Entrant], by: SpeedBy) -> Option<f64> {
    entrants.iter().filter_map(|it| it.merits.seconds(by)).min_by(f64::total_cmp)
}

/// How near to the best, 0 to 1. What costs nothing is as good as can be.
fn part(best: f64, own: f64) -> f64 {
    if own <= best { 1.0 } else { best / own }
}

impl Score {
    /// What would have to change for `second`, which stands behind `first`, to stand before it.
    pub(crate) fn reversal(model: &Model, first: (&str, Self), second: (&str, Self)) -> Option<String> {
        let ((leader, one), (follower, other)) = (first, second);
        match (one, other) {
            (Self::Price { price: Some(one) }, Self::Price { price: Some(other) }) => {
                let less = 100.0 * (1.0 - one.as_dollars() / other.as_dollars().max(f64::MIN_POSITIVE));
                Some(format!(
                    "{follower} comes first when this request costs less than {one} there, {less:.1} % less than now, or \
                     more than {other} at {leader}"
                ))
            }
            (Self::Price { price: Some(one) }, Self::Price { price: None }) => Some(format!(
                "{follower} comes first when its price is known and this request costs less than {one} there"
            )),
            (Self::Speed { by, share: one, .. }, Self::Speed { share: other, .. }) => Some(format!(
                "{follower} comes first for {:.1} % of requests and {leader} for {:.1} %; as often when its {} is within \
                 1.25 of the quickest",
                other * 100.0,
                one * 100.0,
                by.as_str(),
            )),
            (Self::Balanced { total: one, .. }, Self::Balanced { total: other, .. }) => {
                Some(format!("{follower} comes first {}", Self::balanced_reversal(model, one - other, second.1)))
            }
            (Self::Nearest(one), Self::Nearest(other)) if one.place != other.place => {
                Some(Nearness::reversal(leader, follower))
            }
            _ => None,
        }
    }

    fn balanced_reversal(model: &Model, gap: f64, follower: Self) -> String {
        let (Self::Balanced { price, speed, reliability, quality, .. }, crate::Strategy::Balanced(weights)) =
            (follower, model.settings.strategy)
        else {
            return String::new();
        };
        let parts = [
            ("price", price, weights.price),
            ("speed", speed, weights.speed),
            ("reliability", reliability, weights.reliability),
            ("quality", quality, weights.quality),
        ];
        let needed: Vec<String> = parts
            .into_iter()
            .filter(|(_, _, weight)| *weight > 0)
            .map(|(name, part, weight)| (name, part, part + gap * weights.sum() / f64::from(weight)))
            .filter(|(_, _, needed)| *needed <= 1.0)
            .map(|(name, part, needed)| format!("{name} rises from {part:.3} to {needed:.3}"))
            .collect();
        if needed.is_empty() {
            format!("when several of its parts rise: it lacks {gap:.3}, more than any one of them can bring")
        } else {
            format!("when its {}", needed.join(", or its "))
        }
    }
}

/// As `explain` prints it.
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Price { .. } => Ok(()),
            Self::Nearest(nearness) => write!(f, "{nearness}"),
            Self::Forecast(forecast) => write!(f, "{forecast}"),
            Self::Speed { by, seconds, share } => {
                write!(f, "first for {:.1} % of requests, ", share * 100.0)?;
                match (by, seconds) {
                    (_, None) => write!(f, "{} unknown, taken for the quickest", by.as_str()),
                    (SpeedBy::Throughput, Some(seconds)) => {
                        write!(f, "{:.1} tokens a second", 1.0 / seconds.max(f64::MIN_POSITIVE))
                    }
                    (SpeedBy::FirstToken | SpeedBy::Total, Some(seconds)) => {
                        write!(f, "{} {seconds:.2} s", by.as_str())
                    }
                }
            }
            Self::Balanced { price, speed, reliability, quality, total } => write!(
                f,
                "score {total:.3} = price {price:.3}, speed {speed:.3}, reliability {reliability:.3}, quality {quality:.3}"
            ),
        }
    }
}
