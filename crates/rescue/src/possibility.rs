//! What can be done about an answer that broke, from what the caller has seen of it.

use canon::{OutputFormat, Request, ToolChoice};

/// What the caller has of the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered<'a> {
    /// The text of the first candidate, all of it.
    pub text: &'a str,
    /// Reasoning went by, whole or in part.
    pub reasoning: bool,
    /// Reasoning went by with a signature, or encrypted.
    pub signed_reasoning: bool,
    /// Tool calls of which anything went by.
    pub tool_calls: u32,
    /// Text or a finish reason of more than one candidate went by.
    pub several_candidates: bool,
    /// Log probabilities went by.
    pub logprobs: bool,
    /// A refusal in the model's words went by.
    pub refusal: bool,
    /// Sources went by.
    pub citations: bool,
    /// Pictures or sound went by.
    pub media: bool,
    /// A block with no canonical form went by (server-side tools).
    pub opaque: bool,
}

/// Why an answer cannot be gone on with; a label of logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Obstacle {
    /// More than one candidate was asked for or shown: they do not advance together.
    Candidates,
    /// Log probabilities belong to one model's tokens.
    Logprobs,
    /// A signature covers the thinking of one answer of one model.
    SignedReasoning,
    /// A part of a tool call was shown. Held to completeness, a call is made again whole instead.
    ToolCall,
    /// A tool must be called, and text was shown: no target says text it was not asked for the same way again.
    ForcedTool,
    /// A part of a structured answer was shown: the grammar begins anew with each call.
    Structured,
    /// The model had refused: that is an answer.
    Refusal,
    /// Sources count characters or blocks of one answer.
    Citations,
    /// Media was shown.
    Media,
    /// A block of one dialect was shown that has no canonical form.
    Opaque,
}

impl Obstacle {
    /// The name logs and metrics write.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Candidates => "candidates",
            Self::Logprobs => "logprobs",
            Self::SignedReasoning => "signed_reasoning",
            Self::ToolCall => "tool_call",
            Self::ForcedTool => "forced_tool",
            Self::Structured => "structured",
            Self::Refusal => "refusal",
            Self::Citations => "citations",
            Self::Media => "media",
            Self::Opaque => "opaque",
        }
    }
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Possibility {
    /// Nothing of the answer itself was shown: the whole call is made again.
    Again,
    /// Text was shown: another target is asked to go on with it.
    Resume,
    /// The stream ends with an honest error.
    Impossible(Obstacle),
}

/// Says what can be done about the broken answer to `request`.
pub fn possibility(request: &Request, delivered: &Delivered<'_>) -> Possibility {
    if let Some(obstacle) = shown_obstacle(delivered) {
        return Possibility::Impossible(obstacle);
    }
    if delivered.text.is_empty() {
        return Possibility::Again;
    }
    asked_obstacle(request).map_or(Possibility::Resume, Possibility::Impossible)
}

/// What was shown and cannot be taken back.
fn shown_obstacle(delivered: &Delivered<'_>) -> Option<Obstacle> {
    [
        (delivered.several_candidates, Obstacle::Candidates),
        (delivered.logprobs, Obstacle::Logprobs),
        (delivered.signed_reasoning, Obstacle::SignedReasoning),
        (delivered.tool_calls > 0, Obstacle::ToolCall),
        (delivered.refusal, Obstacle::Refusal),
        (delivered.citations, Obstacle::Citations),
        (delivered.media, Obstacle::Media),
        (delivered.opaque, Obstacle::Opaque),
    ]
    .into_iter()
    .find_map(|(stands, obstacle)| stands.then_some(obstacle))
}

/// What was asked for and cannot be had in two parts.
fn asked_obstacle(request: &Request) -> Option<Obstacle> {
    let forced = match &request.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. }) => true,
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Allowed { required: false, .. }) | None => false,
    };
    let structured = match request.output {
        OutputFormat::JsonObject | OutputFormat::JsonSchema { .. } => true,
        OutputFormat::Text => false,
    };
    let logprobs = request.sampling.logprobs == Some(true) || request.sampling.top_logprobs.is_some_and(|n| n > 0);
    [
        (request.n.is_some_and(|n| n > 1), Obstacle::Candidates),
        (logprobs, Obstacle::Logprobs),
        (structured, Obstacle::Structured),
        (forced, Obstacle::ForcedTool),
    ]
    .into_iter()
    .find_map(|(stands, obstacle)| stands.then_some(obstacle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_any_text_the_whole_call_is_made_again() {
        let wanted = Request { n: Some(3), output: OutputFormat::JsonObject, ..Request::default() };
        assert_eq!(possibility(&wanted, &Delivered::default()), Possibility::Again);
        let reasoning = Delivered { reasoning: true, ..Delivered::default() };
        assert_eq!(possibility(&wanted, &reasoning), Possibility::Again);
    }

    #[test]
    fn plain_text_is_gone_on_with() {
        let delivered = Delivered { text: "Hello", reasoning: true, ..Delivered::default() };
        assert_eq!(possibility(&Request::default(), &delivered), Possibility::Resume);
    }

    #[test]
    fn what_was_shown_and_cannot_be_taken_back_is_an_obstacle_even_without_text() {
        let with = |delivered: Delivered<'_>| possibility(&Request::default(), &delivered);
        let call = Delivered { tool_calls: 1, ..Delivered::default() };
        assert_eq!(with(call), Possibility::Impossible(Obstacle::ToolCall));
        let signed = Delivered { reasoning: true, signed_reasoning: true, ..Delivered::default() };
        assert_eq!(with(signed), Possibility::Impossible(Obstacle::SignedReasoning));
        let several = Delivered { text: "a", several_candidates: true, ..Delivered::default() };
        assert_eq!(with(several), Possibility::Impossible(Obstacle::Candidates));
    }

    #[test]
    fn what_was_asked_for_in_one_piece_is_not_stitched() {
        let delivered = Delivered { text: "{", ..Delivered::default() };
        let with = |request: Request| possibility(&request, &delivered);
        let structured = Request { output: OutputFormat::JsonObject, ..Request::default() };
        assert_eq!(with(structured), Possibility::Impossible(Obstacle::Structured));
        let several = Request { n: Some(2), ..Request::default() };
        assert_eq!(with(several), Possibility::Impossible(Obstacle::Candidates));
        let mut logprobs = Request::default();
        logprobs.sampling.logprobs = Some(true);
        assert_eq!(with(logprobs), Possibility::Impossible(Obstacle::Logprobs));
        let forced = Request { tool_choice: Some(ToolChoice::Named("f".to_owned())), ..Request::default() };
        assert_eq!(with(forced), Possibility::Impossible(Obstacle::ForcedTool));
    }
}
