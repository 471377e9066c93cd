//! What a score is worth as a router: the share of requests that goes to the strong model, against how much of the
//! quality between the weak model and the strong one is kept.
//!
//! The quality kept (PGR) at a share is (answered − weak) ÷ (strong − weak); APGR is the area below it over all shares.
//! Requests of equal score go together, as a draw among them would on average: a score that tells nothing has exactly
//! 0.5.

use super::data::Labelled;
use canon::DialectName;
use dialect::PathFacts;
use dialect::scan::Scan;
use routing::tier::{Features, Score};

/// Shares of which the quality kept is shown.
pub(crate) const SHARES: [f64; 4] = [0.2, 0.4, 0.6, 0.8];
/// Qualities of which the share needed is shown.
pub(crate) const QUALITIES: [f64; 3] = [0.5, 0.8, 0.95];

/// Quality kept by share, as a line through points.
#[derive(Debug)]
pub(crate) struct Curve(Vec<(f64, f64)>);

impl Curve {
    /// The highest scores go to the strong model first.
    pub(crate) fn of(prompts: &[Labelled], score: impl FnMut(&Labelled) -> i64) -> Self {
        let scores: Vec<i64> = prompts.iter().map(score).collect();
        let mut order: Vec<(i64, &Labelled)> = scores.into_iter().zip(prompts).collect();
        order.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        let gains = |of: &[(i64, &Labelled)]| -> i64 {
            of.iter().map(|(_, it)| i64::from(it.strong) - i64::from(it.weak)).sum()
        };
        let gap = gains(&order) as f64;
        let count = prompts.len() as f64;
        let (mut sent, mut gained) = (0, 0);
        let mut points = vec![(0.0, 0.0)];
        for equal in order.chunk_by(|(a, _), (b, _)| a == b) {
            sent += equal.len();
            gained += gains(equal);
            points.push((sent as f64 / count, gained as f64 / gap));
        }
        Self(points)
    }

    /// The area below the line.
    pub(crate) fn apgr(&self) -> f64 {
        self.pairs().map(|((x, y), (next_x, next_y))| (next_x - x) * (y + next_y) / 2.0).sum()
    }

    /// The quality kept when this share goes to the strong model.
    pub(crate) fn kept(&self, share: f64) -> f64 {
        let across = self.pairs().find(|(_, (next_x, _))| *next_x >= share);
        across.map_or(1.0, |((x, y), (next_x, next_y))| y + (next_y - y) * (share - x) / (next_x - x))
    }

    /// The share that has to go to the strong model for this quality.
    pub(crate) fn needed(&self, quality: f64) -> f64 {
        let across = self.pairs().find(|(_, (_, next_y))| *next_y >= quality);
        across.map_or(1.0, |((x, y), (next_x, next_y))| x + (next_x - x) * (quality - y) / (next_y - y))
    }

    fn pairs(&self) -> impl Iterator<Item = ((f64, f64), (f64, f64))> {
        self.0.iter().copied().zip(self.0.iter().skip(1).copied())
    }
}

/// The length of the prompt as the gateway knows it: estimated tokens.
pub(crate) fn length(labelled: &Labelled) -> i64 {
    let (scan, _) = request(labelled);
    i64::try_from(scan.estimated_tokens).unwrap_or(i64::MAX)
}

/// The complexity score.
pub(crate) fn complexity(labelled: &Labelled) -> i64 {
    let (scan, body) = request(labelled);
    i64::from(Score::of(&Features::read(&scan, body.as_bytes())).thousandths())
}

/// A request that asks the prompt alone, as the gateway scans it.
fn request(labelled: &Labelled) -> (Scan, String) {
    let messages = [serde_json::json!({ "role": "user", "content": labelled.prompt })];
    let body = serde_json::json!({ "model": "m", "messages": messages }).to_string();
    let scan = dialect::scan::scan(DialectName::OpenaiChat, &PathFacts::default(), body.as_bytes());
    (scan.unwrap_or_default(), body)
}

/// Knows the labels: first where only the strong model answers, last where only the weak one does.
pub(crate) fn oracle(labelled: &Labelled) -> i64 {
    i64::from(labelled.strong) - i64::from(labelled.weak)
}

/// A draw.
pub(crate) fn random(seed: u64) -> impl FnMut(&Labelled) -> i64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    move |_| rng.i64(..)
}
