//! Reads a whole answer.

use super::names::unescape_tool;
use super::{DIALECT, citation, finish, usage};
use crate::Malformed;
use canon::{Answer, Candidate, FinishReason, Part, ProviderBound, Reasoning, ToolCall, ToolKind};
use serde_json::Value;

/// Fields of the answer that callers of the same dialect get back.
pub(super) const KEPT: [&str; 3] = ["stop_details", "container", "context_management"];

/// Reads a whole answer. An error object or anything without `content` is malformed.
pub(super) fn decode(body: &[u8]) -> Result<Answer, Malformed> {
    let value: Value = serde_json::from_slice(body).map_err(|error| Malformed(format!("not JSON: {error}")))?;
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        return Err(Malformed(format!("an error instead of an answer: {error}")));
    }
    let Some(Value::Array(content)) = value.get("content") else {
        return Err(Malformed("the answer has no content".to_owned()));
    };
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut characters = 0;
    let mut parts = Vec::with_capacity(content.len());
    for block in content {
        parts.extend(part(block, &mut characters)?);
    }
    let native = text("stop_reason");
    let finish = native.as_deref().map(finish::read);
    if finish == Some(FinishReason::ContentFilter)
        && let Some(why) = explanation(value.get("stop_details"))
    {
        parts.push(Part::Refusal(why));
    }
    let stated = value.get("usage").unwrap_or(&Value::Null);
    let mut extra: Vec<(String, Value)> = KEPT
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), value.get(*key).filter(|kept| !kept.is_null())?.clone())))
        .collect();
    if let Some(tier) = stated.get("service_tier").filter(|tier| tier.is_string()) {
        extra.push(("service_tier".to_owned(), tier.clone()));
    }
    Ok(Answer {
        id: text("id"),
        model: text("model"),
        created: None,
        candidates: vec![Candidate {
            index: 0,
            parts,
            finish,
            native_finish: native,
            stop_sequence: text("stop_sequence"),
            citations: Vec::new(),
            safety: Vec::new(),
            logprobs: None,
        }],
        usage: usage::read(stated),
        prompt_block: None,
        extra,
    })
}

/// Why the model refused, in the provider's words.
pub(super) fn explanation(details: Option<&Value>) -> Option<String> {
    details?.get("explanation")?.as_str().filter(|why| !why.is_empty()).map(str::to_owned)
}

/// One content block; an empty text block says nothing and is none.
fn part(block: &Value, characters: &mut u64) -> Result<Option<Part>, Malformed> {
    let text = |key: &str| block.get(key).and_then(Value::as_str);
    let required = |key: &str| text(key).ok_or_else(|| Malformed(format!("a content block without {key}")));
    Ok(Some(match required("type")? {
        "text" => {
            let text = required("text")?;
            let start = *characters;
            *characters += text.chars().count() as u64;
            let span = start..*characters;
            let citations = block.get("citations").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            if text.is_empty() && citations.is_empty() {
                return Ok(None);
            }
            Part::Text {
                text: text.to_owned(),
                citations: citations.iter().map(|c| citation::read(c.clone(), Some(span.clone()))).collect(),
                cache: None,
                signature: None,
            }
        }
        "thinking" => Part::Reasoning(Reasoning {
            text: required("thinking")?.to_owned(),
            signature: text("signature").filter(|signature| !signature.is_empty()).map(bound),
            redacted: None,
        }),
        "redacted_thinking" => Part::Reasoning(Reasoning {
            text: String::new(),
            signature: None,
            redacted: Some(bound(required("data")?)),
        }),
        "tool_use" => Part::ToolCall(ToolCall {
            id: text("id").map(str::to_owned),
            name: unescape_tool(required("name")?),
            arguments: block.get("input").filter(|input| !input.is_null()).map_or("{}".to_owned(), Value::to_string),
            signature: None,
            cache: None,
            kind: ToolKind::Function,
        }),
        _ => Part::Opaque { dialect: DIALECT, value: block.clone() },
    }))
}

/// A value only Anthropic can read.
pub(super) fn bound(value: &str) -> ProviderBound {
    ProviderBound { dialect: DIALECT, value: value.to_owned() }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
