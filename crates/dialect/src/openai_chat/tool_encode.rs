//! Tools, tool calls and tool choices of a request, written for a target.

use super::message_encode::fit_name;
use super::part_encode::Context;
use canon::{DialectName, Request, Tool, ToolCall, ToolChoice, ToolKind};
use serde_json::{Map, Value, json};

/// Writes `tools`, `tool_choice` and `parallel_tool_calls` into the body.
pub(super) fn tools(request: &Request, body: &mut Map<String, Value>, context: &mut Context<'_>) {
    let (choice, only) = choose(request, context);
    let mut written = Vec::with_capacity(request.tools.len());
    for (i, tool) in request.tools.iter().enumerate() {
        if only.is_none_or(|names| names.contains(&tool.name)) {
            written.extend(definition(tool, &format!("tools[{i}]"), context));
        }
    }
    if written.is_empty() {
        // A choice among no tools is refused; only one that demands a call says something.
        if let Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { .. }) = request.tool_choice {
            context.drops.add("tool_choice", "no tool is on offer");
        }
        return;
    }
    body.insert("tools".to_owned(), Value::Array(written));
    if let Some(choice) = choice {
        body.insert("tool_choice".to_owned(), choice_value(choice, request, context));
    }
    if let Some(parallel) = request.parallel_tool_calls {
        body.insert("parallel_tool_calls".to_owned(), Value::Bool(parallel));
    }
}

/// The choice the target can be told, and (where it cannot be told a subset) the only tools to offer.
fn choose<'r>(request: &'r Request, context: &mut Context<'_>) -> (Option<&'r ToolChoice>, Option<&'r [String]>) {
    const AUTO: Option<&ToolChoice> = Some(&ToolChoice::Auto);
    let profile = context.profile;
    let forced = "the target cannot be forced to call a tool";
    match request.tool_choice.as_ref() {
        Some(ToolChoice::Allowed { names, required }) if profile.tool_choice_auto_only => {
            if *required {
                context.drops.add("tool_choice", forced);
            }
            (AUTO, Some(names))
        }
        Some(ToolChoice::Required | ToolChoice::Named(_))
            if profile.tool_choice_auto_only || profile.no_forced_tools =>
        {
            context.drops.add("tool_choice", forced);
            (AUTO, None)
        }
        Some(ToolChoice::Allowed { names, required: true }) if profile.no_forced_tools => {
            context.drops.add("tool_choice", forced);
            (AUTO, Some(names))
        }
        choice => (choice, None),
    }
}

fn definition(tool: &Tool, path: &str, context: &mut Context<'_>) -> Option<Value> {
    let mut object = match &tool.kind {
        ToolKind::Vendor(DialectName::OpenaiChat, whole) => return Some(whole.clone()),
        ToolKind::Vendor(..) => {
            context.drops.add(path, "another vendor's own tool");
            return None;
        }
        ToolKind::Custom(format) => {
            let mut custom = Map::new();
            custom.insert("name".to_owned(), Value::String(fit_name(&tool.name, path, context)));
            insert(&mut custom, "description", tool.description.clone().map(Value::String));
            insert(&mut custom, "format", format.clone());
            json!({"type": "custom", "custom": custom})
        }
        ToolKind::Function => {
            let mut function = Map::new();
            function.insert("name".to_owned(), Value::String(fit_name(&tool.name, path, context)));
            insert(&mut function, "description", tool.description.clone().map(Value::String));
            insert(&mut function, "parameters", tool.parameters.clone());
            insert(&mut function, "strict", tool.strict.map(Value::Bool));
            json!({"type": "function", "function": function})
        }
    };
    context.cache(&mut object, tool.cache.as_ref(), path);
    Some(object)
}

fn insert(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value);
    }
}

fn choice_value(choice: &ToolChoice, request: &Request, context: &mut Context<'_>) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => reference(name, request, context),
        ToolChoice::Allowed { names, required } => {
            let tools: Vec<Value> = names.iter().map(|name| reference(name, request, context)).collect();
            let mode = if *required { "required" } else { "auto" };
            json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})
        }
    }
}

/// A tool by name, under the key of its kind.
fn reference(name: &str, request: &Request, context: &mut Context<'_>) -> Value {
    let custom = request.tools.iter().any(|tool| tool.name == name && matches!(tool.kind, ToolKind::Custom(_)));
    let wire = fit_name(name, "tool_choice", context);
    if custom {
        json!({"type": "custom", "custom": {"name": wire}})
    } else {
        json!({"type": "function", "function": {"name": wire}})
    }
}

/// Writes one entry of an assistant message's `tool_calls`.
pub(super) fn call(call: &ToolCall, id: &str, path: &str, context: &mut Context<'_>) -> Value {
    let name = fit_name(&call.name, path, context);
    // A turn that was cut off inside the call may have left nothing; targets parse what they are sent.
    let arguments = if call.arguments.is_empty() { "{}" } else { call.arguments.as_str() };
    let mut object = call_object(call, id, &name, arguments);
    context.cache(&mut object, call.cache.as_ref(), path);
    object
}

/// A whole tool call, as requests and answers write it.
pub(super) fn call_object(call: &ToolCall, id: &str, name: &str, arguments: &str) -> Value {
    match &call.kind {
        ToolKind::Custom(_) => {
            json!({"id": id, "type": "custom", "custom": {"name": name, "input": call.arguments}})
        }
        ToolKind::Function | ToolKind::Vendor(..) => {
            json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
        }
    }
}
