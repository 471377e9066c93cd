//! Finish reasons, both ways. The table is the union of what `OpenAI` and the compatible providers send; a word nobody
//! knows yet stays readable as [`FinishReason::Other`] with its native spelling beside it.

use canon::FinishReason;

/// Reads `finish_reason`; `None` = not finished (`DashScope` writes the string `null`, others an empty one).
pub(super) fn decode(native: &str) -> Option<FinishReason> {
    let known = match native {
        "" | "null" => return None,
        "stop" | "eos" | "end_turn" | "stop_sequence" | "completed" => FinishReason::Stop,
        "length" | "max_tokens" => FinishReason::Length,
        "model_length" | "model_context_window_exceeded" => FinishReason::ContextFull,
        "tool_calls" | "function_call" | "tool_use" => FinishReason::ToolCalls,
        "content_filter" | "sensitive" | "refusal" | "safety" => FinishReason::ContentFilter,
        "pause_turn" => FinishReason::Pause,
        "error" | "insufficient_system_resource" | "aborted" | "network_error" => FinishReason::ProviderError,
        _ => {
            let lower = native.to_ascii_lowercase();
            return if lower == native { Some(FinishReason::Other) } else { decode(&lower) };
        }
    };
    Some(known)
}

/// What the reason means once the rest of the answer is known: a forced call and some servers end tool calls with
/// `stop`, and `OpenAI` ends refusals with `stop`.
pub(super) fn settle(reason: FinishReason, has_tool_call: bool, has_refusal: bool) -> FinishReason {
    match reason {
        FinishReason::Stop if has_tool_call => FinishReason::ToolCalls,
        FinishReason::Stop if has_refusal => FinishReason::ContentFilter,
        other => other,
    }
}

/// Writes `finish_reason`. A refusal ends with `stop`, as `OpenAI` ends it: SDKs read `message.refusal`, and some throw
/// on `content_filter`. Broken output and provider failures become `error` (`OpenRouter`'s and Mistral's word): any
/// word of `OpenAI`'s own list would call a failed answer a good one.
pub(super) fn encode(reason: FinishReason, native: Option<&str>, has_refusal: bool) -> String {
    let word = match reason {
        FinishReason::ContentFilter if has_refusal => "stop",
        FinishReason::Stop | FinishReason::Pause => "stop",
        FinishReason::Length | FinishReason::ContextFull => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::BrokenOutput | FinishReason::ProviderError => "error",
        FinishReason::Other => native.unwrap_or("stop"),
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_word_has_its_meaning() {
        let table = [
            ("stop", FinishReason::Stop),
            ("eos", FinishReason::Stop),
            ("length", FinishReason::Length),
            ("model_length", FinishReason::ContextFull),
            ("model_context_window_exceeded", FinishReason::ContextFull),
            ("tool_calls", FinishReason::ToolCalls),
            ("function_call", FinishReason::ToolCalls),
            ("content_filter", FinishReason::ContentFilter),
            ("sensitive", FinishReason::ContentFilter),
            ("error", FinishReason::ProviderError),
            ("insufficient_system_resource", FinishReason::ProviderError),
            ("network_error", FinishReason::ProviderError),
            ("aborted", FinishReason::ProviderError),
            ("MAX_TOKENS", FinishReason::Length),
            ("something_new", FinishReason::Other),
            ("SOMETHING_NEW", FinishReason::Other),
        ];
        for (word, meaning) in table {
            assert_eq!(decode(word), Some(meaning), "{word}");
        }
    }

    #[test]
    fn the_string_null_is_not_a_finish() {
        assert_eq!(decode("null"), None);
        assert_eq!(decode(""), None);
    }

    #[test]
    fn a_failed_answer_is_never_written_as_a_good_one() {
        for reason in [FinishReason::ProviderError, FinishReason::BrokenOutput] {
            assert_eq!(encode(reason, Some("network_error"), false), "error");
        }
    }

    #[test]
    fn a_refusal_ends_with_stop_as_openai_ends_it() {
        assert_eq!(settle(FinishReason::Stop, false, true), FinishReason::ContentFilter);
        assert_eq!(encode(FinishReason::ContentFilter, None, true), "stop");
        assert_eq!(encode(FinishReason::ContentFilter, None, false), "content_filter");
    }

    #[test]
    fn an_unknown_word_passes_through() {
        assert_eq!(encode(FinishReason::Other, Some("steered"), false), "steered");
    }
}
