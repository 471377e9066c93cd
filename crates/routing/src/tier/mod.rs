//! How much work a request asks for, told from the request alone.
//!
//! [`Features`] are what is seen of it, [`Score`] makes points of them. Nothing here was fitted to data: see
//! `docs/TIERS.md` for what the score is worth on public labelled prompts.

mod features;
mod score;
mod text;

pub use features::Features;
pub use score::{Feature, MOST_POINTS, Part, Score};
