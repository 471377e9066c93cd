//! Google's enumerations: names, numbers (`$alt=json;enum-encoding=int`), and what a finish reason means.

use canon::FinishReason;
use serde_json::Value;

/// `Candidate.FinishReason` of `v1beta`, by number. (Vertex numbers 5 to 9 otherwise; numbers above 4 are only seen
/// there when asked for.)
const FINISH: [&str; 20] = [
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "IMAGE_SAFETY",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_OTHER",
    "NO_IMAGE",
    "IMAGE_RECITATION",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
];

/// `PromptFeedback.BlockReason` by number.
const BLOCK: [&str; 6] =
    ["BLOCK_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY"];

/// `HarmCategory` by number.
const CATEGORY: [&str; 12] = [
    "HARM_CATEGORY_UNSPECIFIED",
    "HARM_CATEGORY_DEROGATORY",
    "HARM_CATEGORY_TOXICITY",
    "HARM_CATEGORY_VIOLENCE",
    "HARM_CATEGORY_SEXUAL",
    "HARM_CATEGORY_MEDICAL",
    "HARM_CATEGORY_DANGEROUS",
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
    "HARM_CATEGORY_CIVIC_INTEGRITY",
];

/// `HarmBlockThreshold` by number.
const THRESHOLD: [&str; 6] = [
    "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
    "BLOCK_LOW_AND_ABOVE",
    "BLOCK_MEDIUM_AND_ABOVE",
    "BLOCK_ONLY_HIGH",
    "BLOCK_NONE",
    "OFF",
];

/// `HarmProbability` by number.
const PROBABILITY: [&str; 5] = ["HARM_PROBABILITY_UNSPECIFIED", "NEGLIGIBLE", "LOW", "MEDIUM", "HIGH"];

/// `FunctionCallingConfig.Mode` by number.
const MODE: [&str; 5] = ["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"];

/// `Type` by number.
const TYPE: [&str; 8] = ["TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"];

/// Which enumeration a word belongs to.
#[derive(Clone, Copy)]
pub(super) enum Enumeration {
    Finish,
    Block,
    Category,
    Threshold,
    Probability,
    Mode,
    Type,
}

impl Enumeration {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Finish => &FINISH,
            Self::Block => &BLOCK,
            Self::Category => &CATEGORY,
            Self::Threshold => &THRESHOLD,
            Self::Probability => &PROBABILITY,
            Self::Mode => &MODE,
            Self::Type => &TYPE,
        }
    }

    /// The name of a number; the number itself as text when it is unknown.
    pub(super) fn name_of(self, number: i64) -> String {
        let known = usize::try_from(number).ok().and_then(|i| self.names().get(i));
        known.map_or_else(|| number.to_string(), |name| (*name).to_owned())
    }

    /// The name of a JSON value, which is a name or a number.
    pub(super) fn read(self, value: &Value) -> Option<String> {
        match value {
            Value::String(name) => Some(name.clone()),
            Value::Number(number) => number.as_i64().map(|n| self.name_of(n)),
            _ => None,
        }
    }
}

/// What a finish reason means. `called` = the candidate holds a function call: Gemini says `STOP` then too.
pub(super) fn finish_reason(native: &str, called: bool) -> FinishReason {
    match native {
        "STOP" if called => FinishReason::ToolCalls,
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" | "CONTINUATION" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR"
        | "ESCALATION" => FinishReason::ContentFilter,
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MALFORMED_RESPONSE"
        | "MISSING_THOUGHT_SIGNATURE"
        | "NO_IMAGE" => FinishReason::BrokenOutput,
        // The account is limited for policy violations, said inside a 200.
        "PUP_LIMITED_DISABLED" => FinishReason::ProviderError,
        _ => FinishReason::Other,
    }
}

/// The word a Gemini SDK reads for a finish, and the text beside it (`finishMessage`) when the provider's own word says
/// more. A native word that is Gemini's own comes back unchanged.
pub(super) fn finish_word(reason: FinishReason, native: Option<&str>) -> (&str, Option<&str>) {
    let called = reason == FinishReason::ToolCalls;
    // A word unknown to both sides passes when it looks like Google's; its SDK takes new ones.
    let googles = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    if let Some(word) = native
        && finish_reason(word, called) == reason
        && (reason != FinishReason::Other || googles(word))
    {
        return (word, None);
    }
    match reason {
        FinishReason::Stop | FinishReason::ToolCalls => ("STOP", None),
        FinishReason::Length => ("MAX_TOKENS", None),
        FinishReason::ContextFull => ("MAX_TOKENS", native),
        FinishReason::ContentFilter => ("SAFETY", native),
        FinishReason::BrokenOutput => ("MALFORMED_RESPONSE", native),
        FinishReason::Pause | FinishReason::ProviderError | FinishReason::Other => ("OTHER", native),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_means_tool_calls_when_there_are_any() {
        assert_eq!(finish_reason("STOP", true), FinishReason::ToolCalls);
        assert_eq!(finish_reason("STOP", false), FinishReason::Stop);
        assert_eq!(finish_reason("MAX_TOKENS", true), FinishReason::Length);
    }

    #[test]
    fn every_known_finish_reason_comes_back_as_its_own_word() {
        let more = ["CONTINUATION", "MODEL_ARMOR", "ESCALATION", "PUP_LIMITED_DISABLED"];
        for word in FINISH.iter().chain(&more) {
            assert_eq!(finish_word(finish_reason(word, false), Some(word)), (*word, None));
        }
    }

    #[test]
    fn a_foreign_word_stands_beside_the_nearest_own_one() {
        assert_eq!(finish_word(FinishReason::ContentFilter, Some("refusal")), ("SAFETY", Some("refusal")));
        assert_eq!(finish_word(FinishReason::Pause, Some("pause_turn")), ("OTHER", Some("pause_turn")));
        assert_eq!(finish_word(FinishReason::Other, Some("compaction")), ("OTHER", Some("compaction")));
        assert_eq!(finish_word(FinishReason::Other, Some("BRAND_NEW")), ("BRAND_NEW", None));
        assert_eq!(finish_word(FinishReason::ToolCalls, Some("tool_use")), ("STOP", None));
    }

    #[test]
    fn numbers_are_names_and_unknown_numbers_stay_visible() {
        assert_eq!(Enumeration::Finish.name_of(2), "MAX_TOKENS");
        assert_eq!(Enumeration::Finish.name_of(99), "99");
        assert_eq!(Enumeration::Type.name_of(6), "OBJECT");
    }
}
