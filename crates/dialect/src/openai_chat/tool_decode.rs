//! Tools, tool calls and tool choices of a request.

use super::part_decode::cache_hint;
use super::reader::{Fields, invalid, wrong};
use crate::BadRequest;
use canon::{DialectName, Tool, ToolCall, ToolChoice, ToolKind};
use serde_json::Value;

/// Reads `tools`.
pub(super) fn tools(items: Vec<Value>) -> Result<Vec<Tool>, BadRequest> {
    items.into_iter().enumerate().map(|(i, item)| tool(item, &format!("tools[{i}]"))).collect()
}

/// Reads the deprecated `functions`.
pub(super) fn functions(items: Vec<Value>) -> Result<Vec<Tool>, BadRequest> {
    let read = |(i, item)| function(Fields::read(item, &format!("functions[{i}]"))?);
    items.into_iter().enumerate().map(read).collect()
}

fn tool(value: Value, path: &str) -> Result<Tool, BadRequest> {
    let whole = value.clone();
    let mut fields = Fields::read(value, path)?;
    let kind = fields.required_string("type")?;
    let cache = cache_hint(&mut fields);
    match kind.as_str() {
        "function" => Ok(Tool { cache, ..function(fields.required_fields("function")?)? }),
        "custom" => {
            let mut custom = fields.required_fields("custom")?;
            Ok(Tool {
                name: custom.required_string("name")?,
                description: custom.string("description")?,
                parameters: None,
                strict: None,
                cache,
                kind: ToolKind::Custom(custom.take("format")),
            })
        }
        _ => Ok(Tool {
            name: fields.string("name")?.unwrap_or(kind),
            description: None,
            parameters: None,
            strict: None,
            cache: None,
            kind: ToolKind::Vendor(DialectName::OpenaiChat, whole),
        }),
    }
}

fn function(mut fields: Fields) -> Result<Tool, BadRequest> {
    Ok(Tool {
        name: fields.required_string("name")?,
        description: fields.string("description")?,
        parameters: fields.object("parameters")?.map(Value::Object),
        strict: fields.boolean("strict")?,
        cache: None,
        kind: ToolKind::Function,
    })
}

/// Reads one entry of an assistant message's `tool_calls`.
pub(super) fn call(value: Value, path: &str) -> Result<ToolCall, BadRequest> {
    let mut fields = Fields::read(value, path)?;
    let id = fields.string("id")?.filter(|id| !id.is_empty());
    let cache = cache_hint(&mut fields);
    if let Some(mut custom) = fields.fields("custom")? {
        let arguments = custom.string("input")?.unwrap_or_default();
        let name = custom.required_string("name")?;
        return Ok(ToolCall { id, name, arguments, signature: None, cache, kind: ToolKind::Custom(None) });
    }
    Ok(ToolCall { id, cache, ..function_call(fields.required_fields("function")?)? })
}

/// Reads `{name, arguments}`; servers that take an object for `arguments` mean its JSON text.
pub(super) fn function_call(mut fields: Fields) -> Result<ToolCall, BadRequest> {
    let name = fields.required_string("name")?;
    let arguments = match fields.take("arguments") {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(object @ Value::Object(_)) => object.to_string(),
        Some(other) => return Err(wrong(&fields.at("arguments"), &other, "a string of JSON")),
    };
    let arguments = if arguments.is_empty() { "{}".to_owned() } else { arguments };
    Ok(ToolCall { id: None, name, arguments, signature: None, cache: None, kind: ToolKind::Function })
}

/// Reads `tool_choice`, or the deprecated `function_call` at `path`.
pub(super) fn choice(value: Value, path: &str) -> Result<ToolChoice, BadRequest> {
    let expected = "auto, none, required, or an object naming a tool";
    if let Value::String(word) = &value {
        return match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" | "any" => Ok(ToolChoice::Required),
            other => Err(invalid(path, other, expected)),
        };
    }
    if !value.is_object() {
        return Err(wrong(path, &value, expected));
    }
    let mut fields = Fields::read(value, path)?;
    let kind = fields.string("type")?;
    match kind.as_deref() {
        Some("allowed_tools") => allowed(fields),
        Some(kind @ ("function" | "custom")) => match fields.fields(kind)? {
            Some(mut inner) => Ok(ToolChoice::Named(inner.required_string("name")?)),
            None => Ok(ToolChoice::Named(fields.required_string("name")?)),
        },
        Some("auto") => Ok(ToolChoice::Auto),
        Some("none") => Ok(ToolChoice::None),
        Some("required" | "any") => Ok(ToolChoice::Required),
        // The deprecated `function_call: {name}` has no type, and some clients leave it out.
        _ => match fields.fields("function")? {
            Some(mut inner) => Ok(ToolChoice::Named(inner.required_string("name")?)),
            None => Ok(ToolChoice::Named(fields.required_string("name")?)),
        },
    }
}

/// `{type: allowed_tools, allowed_tools: {mode, tools}}`, or the flat spelling of the Responses API.
fn allowed(mut fields: Fields) -> Result<ToolChoice, BadRequest> {
    let mut list = match fields.fields("allowed_tools")? {
        Some(inner) => inner,
        None => fields,
    };
    let required = match list.string("mode")?.as_deref() {
        None | Some("auto") => false,
        Some("required") => true,
        Some(other) => return Err(invalid(&list.at("mode"), other, "auto or required")),
    };
    let mut names = Vec::new();
    for (i, item) in list.array("tools")?.unwrap_or_default().into_iter().enumerate() {
        let mut tool = Fields::read(item, &list.at(&format!("tools[{i}]")))?;
        let kind = tool.string("type")?.unwrap_or_else(|| "function".to_owned());
        match tool.fields(&kind)? {
            Some(mut inner) => names.push(inner.required_string("name")?),
            None => names.push(tool.string("name")?.unwrap_or(kind)),
        }
    }
    Ok(ToolChoice::Allowed { names, required })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_of_tool_choice_is_read() {
        let named = ToolChoice::Named("f".to_owned());
        let table = [
            (json!("auto"), ToolChoice::Auto),
            (json!("none"), ToolChoice::None),
            (json!("required"), ToolChoice::Required),
            (json!("any"), ToolChoice::Required),
            (json!({"type": "function", "function": {"name": "f"}}), named.clone()),
            (json!({"type": "custom", "custom": {"name": "f"}}), named.clone()),
            (json!({"function": {"name": "f"}}), named.clone()),
            (json!({"name": "f"}), named),
            (
                json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
                    {"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}}]}}),
                ToolChoice::Allowed { names: vec!["f".to_owned(), "g".to_owned()], required: true },
            ),
        ];
        for (wire, meaning) in table {
            assert_eq!(choice(wire.clone(), "tool_choice"), Ok(meaning), "{wire}");
        }
        assert_eq!(choice(json!("sometimes"), "tool_choice").unwrap_err().code, "invalid_value");
        assert_eq!(choice(json!(1), "tool_choice").unwrap_err().code, "invalid_type");
    }

    #[test]
    fn a_vendor_tool_is_kept_whole() {
        let wire = json!({"type": "openrouter:web_search", "parameters": {"max_results": 3}});
        let tool = tools(vec![wire.clone()]).unwrap().remove(0);
        assert_eq!(tool.name, "openrouter:web_search");
        assert_eq!(tool.kind, ToolKind::Vendor(DialectName::OpenaiChat, wire));
    }

    #[test]
    fn arguments_written_as_an_object_become_their_json_text() {
        let wire = json!({"id": "1", "function": {"name": "f", "arguments": {"a": 1}}});
        assert_eq!(call(wire, "messages[0].tool_calls[0]").unwrap().arguments, r#"{"a":1}"#);
    }

    #[test]
    fn a_call_without_a_name_is_named_in_the_complaint() {
        let error = call(json!({"id": "1", "function": {}}), "messages[1].tool_calls[0]").unwrap_err();
        assert_eq!(error.parameter.as_deref(), Some("messages[1].tool_calls[0].function.name"));
    }
}
