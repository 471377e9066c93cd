//! What a request needs of a target, as far as the head scan tells.

use crate::speed::Class;
use crate::tier::Assigned;
use crate::{Session, Unit};
use canon::Priority;
use catalog::Moment;
use dialect::scan::Scan;

/// Needs of one request, and when it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a request, each read by name")]
pub struct Needs {
    /// Prompt tokens, an estimate.
    pub estimated_tokens: u64,
    /// Cap on output tokens, where stated.
    pub max_output_tokens: Option<u64>,
    /// Answers asked for at once; none and one are one.
    pub answers: u32,
    /// Function calling.
    pub tools: bool,
    /// Images in the prompt.
    pub images: bool,
    /// Documents in the prompt.
    pub documents: bool,
    /// Audio in the prompt.
    pub audio: bool,
    /// Output bound to a JSON Schema.
    pub json_schema: bool,
    /// The caller asked for reasoning: the first token may be long in coming.
    pub reasoning: bool,
    /// The caller gets a stream.
    pub streamed: bool,
    /// Its tier, where a label or its text says so. No part of the head: who plans reads it,
    /// [`crate::tier::Tiers::read`].
    #[serde(skip)]
    pub tier: Option<Assigned>,
    /// Who goes first where there is not enough for all. Who plans says it.
    #[serde(skip)]
    pub priority: Priority,
    /// When it was asked, for prices that change by the hour. No part of the request: who plans says it. `None` = no
    /// hour is known, and the prices are those of any.
    #[serde(skip)]
    pub asked_at: Option<Moment>,
    /// The conversation it belongs to. Who plans says it; `None` = to none.
    #[serde(skip)]
    pub session: Option<Session>,
    /// Whom splits keep to their arms. Who plans says it; `None` = nobody is known, and any arm will do.
    #[serde(skip)]
    pub unit: Option<Unit>,
}

impl Needs {
    /// What its answers are compared with.
    pub(crate) fn class(&self) -> Class {
        Class::of(self.estimated_tokens, self.streamed)
    }
}

impl From<&Scan> for Needs {
    fn from(scan: &Scan) -> Self {
        Self {
            estimated_tokens: scan.estimated_tokens,
            max_output_tokens: scan.max_output_tokens,
            answers: scan.n,
            tools: scan.has_tools,
            images: scan.has_images,
            documents: scan.has_documents,
            audio: scan.has_audio,
            json_schema: scan.has_json_schema,
            reasoning: asks_for_reasoning(scan),
            streamed: scan.stream,
            tier: None,
            priority: Priority::default(),
            asked_at: None,
            session: None,
            unit: None,
        }
    }
}

/// Whether the request asks a model to think first. That reasoning would be shown if there were any (`openai-chat`
/// shows it always) says nothing about it.
fn asks_for_reasoning(scan: &Scan) -> bool {
    let thinking = scan.thinking;
    thinking.budget
        || thinking.adaptive
        || thinking.effort
        || scan.fields.iter().any(|field| matches!(&*field.key, "reasoning_effort" | "reasoning"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dialect::PathFacts;
    use dialect::scan::scan;

    fn needs(dialect: canon::DialectName, body: &str) -> Needs {
        let path = PathFacts { model: Some("m".to_owned()), ..PathFacts::default() };
        Needs::from(&scan(dialect, &path, body.as_bytes()).unwrap())
    }

    #[test]
    fn only_a_request_that_asks_for_reasoning_is_waited_for_as_long_as_reasoning_takes() {
        use canon::DialectName::{AnthropicMessages, Gemini, OpenaiChat};
        for (dialect, body, expected) in [
            (OpenaiChat, r#"{"model":"m","messages":[]}"#, false),
            (OpenaiChat, r#"{"model":"m","messages":[],"reasoning_effort":"high"}"#, true),
            (AnthropicMessages, r#"{"model":"m","messages":[]}"#, false),
            (AnthropicMessages, r#"{"model":"m","messages":[],"thinking":{"type":"adaptive"}}"#, true),
            (Gemini, r#"{"contents":[]}"#, false),
            (Gemini, r#"{"contents":[],"generationConfig":{"thinkingConfig":{"thinkingLevel":"high"}}}"#, true),
        ] {
            assert_eq!(needs(dialect, body).reasoning, expected, "{body}");
        }
    }
}
