//! `stop_reason`, both ways.

use canon::FinishReason;

/// The canonical reason of a `stop_reason`.
pub(super) fn read(native: &str) -> FinishReason {
    match native {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextFull,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        "pause_turn" => FinishReason::Pause,
        _ => FinishReason::Other,
    }
}

/// The `stop_reason` of a canonical reason. What this API has no word for keeps its own: its clients are told to
/// expect new ones, and a wrong word would hide the failure.
pub(super) fn write(reason: FinishReason, native: Option<&str>, stop_sequence: bool) -> String {
    match reason {
        FinishReason::Stop if stop_sequence => "stop_sequence",
        FinishReason::Stop => "end_turn",
        FinishReason::Length => "max_tokens",
        FinishReason::ContextFull => "model_context_window_exceeded",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter => "refusal",
        FinishReason::Pause => "pause_turn",
        FinishReason::BrokenOutput | FinishReason::ProviderError | FinishReason::Other => native.unwrap_or("other"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_with_a_word_of_its_own_comes_back_as_itself() {
        for reason in [
            FinishReason::Stop,
            FinishReason::Length,
            FinishReason::ContextFull,
            FinishReason::ToolCalls,
            FinishReason::ContentFilter,
            FinishReason::Pause,
        ] {
            assert_eq!(read(&write(reason, Some("foreign"), false)), reason);
        }
        assert_eq!(read(&write(FinishReason::Stop, None, true)), FinishReason::Stop);
    }

    #[test]
    fn a_word_this_build_does_not_know_is_kept() {
        assert_eq!(read("compaction"), FinishReason::Other);
        assert_eq!(write(FinishReason::Other, Some("compaction"), false), "compaction");
    }
}
