//! The native ways in which `openai-chat` providers go on with a partial answer, and their refusals.

use super::Asked;
use super::check::present;
use super::openai_read::wrong;
use crate::continues::{Continues, NativeWay};
use crate::error::Invalid;
use canon::DialectName;
use serde_json::{Map, Value};

fn way(continues: Continues) -> Option<NativeWay> {
    continues.way(DialectName::OpenaiChat)
}

/// The fields of a request that only servers of this way know.
pub(crate) fn flags(continues: Continues) -> &'static [&'static str] {
    match way(continues) {
        Some(NativeWay::FinalMessage) => &["add_generation_prompt", "continue_final_message"],
        _ => &[],
    }
}

/// The field of an assistant message that only providers of this way know.
pub(crate) fn message_flag(continues: Continues) -> Option<&'static str> {
    match way(continues)? {
        NativeWay::Prefix | NativeWay::BetaPrefix => Some("prefix"),
        NativeWay::Partial => Some("partial"),
        NativeWay::Usual | NativeWay::Trailing | NativeWay::FinalMessage | NativeWay::Token => None,
    }
}

/// Finds out whether the last turn is to be gone on with; refuses what the provider would refuse.
pub(crate) fn last_turn(
    body: &Map<String, Value>,
    asked: &mut Asked,
    continues: Continues,
    is_beta: bool,
) -> Result<(), Invalid> {
    let last = body.get("messages").and_then(Value::as_array).and_then(|messages| messages.last());
    let is_model = last.and_then(|message| message.get("role")).is_some_and(|role| role == "assistant");
    let says = |flag: &str| last.and_then(|message| message.get(flag)) == Some(&Value::Bool(true));
    if is_model && continues.refuses_prefill {
        return Err(Invalid::new("Last message must have role `user` or `tool`.").code("invalid_message"));
    }
    asked.continues_last = match way(continues) {
        Some(NativeWay::Trailing) => is_model,
        Some(NativeWay::Prefix) => {
            if is_model && !says("prefix") {
                // Mistral's words and envelope.
                return Err(Invalid::new(
                    "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant",
                )
                .code("3230")
                .flat("invalid_request_message_order"));
            }
            is_model
        }
        Some(NativeWay::BetaPrefix) => {
            let continues_last = is_model && says("prefix");
            if continues_last && !is_beta {
                return Err(Invalid::new("The prefix of an assistant message is supported by the beta API only."));
            }
            continues_last
        }
        Some(NativeWay::Partial) => {
            let continues_last = is_model && says("partial");
            if continues_last && asked.reasoning {
                return Err(Invalid::new("Partial mode is not supported when thinking is enabled.").field("messages"));
            }
            if continues_last && asked.json {
                return Err(Invalid::new("partial mode is not supported with response_format json_object")
                    .field("response_format"));
            }
            continues_last
        }
        Some(NativeWay::FinalMessage) => final_message(body, is_model)?,
        Some(NativeWay::Usual | NativeWay::Token) | None => false,
    };
    Ok(())
}

/// vLLM's pair of flags, which exclude each other: the generation prompt is on unless it is switched off.
fn final_message(body: &Map<String, Value>, is_model: bool) -> Result<bool, Invalid> {
    let continues = present(body, "continue_final_message") == Some(&Value::Bool(true));
    let generates = present(body, "add_generation_prompt") != Some(&Value::Bool(false));
    if continues && generates {
        let message = "Cannot set both `continue_final_message` and `add_generation_prompt` to True.";
        return Err(wrong("continue_final_message", "invalid_value", message));
    }
    if continues && !is_model {
        let message = "`continue_final_message` is set but the final message is not from the assistant.";
        return Err(wrong("continue_final_message", "invalid_value", message));
    }
    Ok(continues)
}
