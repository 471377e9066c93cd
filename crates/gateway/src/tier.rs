//! The tier of a request: what its labels say, and what is told of it.

use crate::inquiry::Inquiry;
use crate::ruling::LABELS;
use canon::CallerError;
use routing::tier::{Assigned, AssignedBy, Features, Said, Score, TierChoice};
use routing::{Labels, Model, Plan};
use serde_json::{Value, json};
use std::sync::Arc;

/// The header that says a request's tier.
const TIER: &str = "x-mainstay-tier";

/// The tier that labels or the text give a request; `suffix` is the one at the end of the model's name.
///
/// # Errors
/// A label that names no tier of the model.
pub(crate) fn read(model: &Model, inquiry: &Inquiry, suffix: Option<usize>) -> Result<Option<Assigned>, CallerError> {
    let Some(tiers) = &model.settings.tiers else { return Ok(None) };
    let Inquiry { headers, scan, body, .. } = inquiry;
    // What is no text names no tier either.
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let labels = Labels::read(scan, body, text(LABELS));
    let said = Said { header: text(TIER), label: labels.label("tier"), suffix };
    tiers.read(said, scan, body).map_err(|unknown| CallerError::new(400, "unknown_tier", unknown.to_string()))
}

/// What is told of an exchange's tiers.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    model: Arc<Model>,
    choice: TierChoice,
    /// The parts of the score, where the complexity decided and the caller asked for the story.
    score: Option<Score>,
}

impl Told {
    /// Of a plan; `None` = the model has no tiers.
    pub(crate) fn of(plan: &Plan, model: &Arc<Model>, inquiry: &Inquiry) -> Option<Box<Self>> {
        let choice = plan.tier.clone()?;
        let scored = matches!(choice.by, AssignedBy::Complexity(_)) && crate::pipeline::wants_trace(&inquiry.headers);
        let score = scored.then(|| Score::of(&Features::read(&inquiry.scan, &inquiry.body)));
        Some(Box::new(Self { model: model.clone(), choice, score }))
    }

    /// The tier a target stands in.
    pub(crate) fn of_target(&self, target: &str) -> Option<&str> {
        let index = self.model.targets.iter().position(|it| it.id == target)?;
        Some(self.model.settings.tiers.as_ref()?.name_of_target(index)?)
    }

    /// For the trace.
    pub(crate) fn story(&self) -> Value {
        let mut story = json!(self.choice);
        if let (Some(score), Some(story)) = (&self.score, story.as_object_mut()) {
            story.insert("complexity".to_owned(), json!(score));
        }
        story
    }
}
