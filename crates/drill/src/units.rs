//! Words of a scenario for shares and distributions.

use catalog::Written;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// A share of something, 0–1; written `40%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

/// Reads a share.
pub(crate) fn parse_share(text: &str) -> Option<f64> {
    let percent: f64 = text.trim().strip_suffix('%')?.trim().parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a share such as 40%";
        deserializer.deserialize_any(Written { parse: |text| parse_share(text).map(Self), expected: EXPECTED })
    }
}

/// A number that varies: lognormal around its median, or always the median while `sigma` is 0. Latencies and sizes of
/// LLM traffic are skewed to the right, so that a mean and a deviation would describe neither half.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) sigma: f64,
}

impl Spread {
    pub(crate) const fn always(median: f64) -> Self {
        Self { median, sigma: 0.0 }
    }

    pub(crate) fn draw(self, rng: &mut fastrand::Rng) -> f64 {
        if self.sigma == 0.0 { self.median } else { self.median * (self.sigma * standard_normal(rng)).exp() }
    }
}

/// Box and Muller's transform of two uniform numbers.
fn standard_normal(rng: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// How long until the next arrival of a Poisson stream.
pub(crate) fn exponential(rate: f64, rng: &mut fastrand::Rng) -> Duration {
    Duration::try_from_secs_f64(-(1.0 - rng.f64()).ln() / rate).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_a_percent_sign() {
        assert_eq!(parse_share("0.5%"), Some(0.005));
        assert_eq!(parse_share("0.5"), None);
        assert_eq!(parse_share("101%"), None);
    }

    #[test]
    fn half_of_what_is_drawn_is_below_the_median_and_sigma_is_the_spread_of_its_logarithm() {
        let mut rng = fastrand::Rng::with_seed(1);
        let spread = Spread { median: 2.0, sigma: 0.4 };
        let drawn: Vec<f64> = (0..20_000).map(|_| spread.draw(&mut rng).ln()).collect();
        let below = drawn.iter().filter(|x| **x < 2.0_f64.ln()).count() as f64 / 20_000.0;
        let mean = drawn.iter().sum::<f64>() / 20_000.0;
        let deviation = (drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0).sqrt();
        assert!((below - 0.5).abs() < 0.02 && (deviation - 0.4).abs() < 0.01, "{below} {deviation}");
    }

    #[test]
    fn arrivals_come_at_their_rate() {
        let mut rng = fastrand::Rng::with_seed(1);
        let total: f64 = (0..20_000).map(|_| exponential(5.0, &mut rng).as_secs_f64()).sum();
        assert!((20_000.0 / total - 5.0).abs() < 0.15);
    }
}
