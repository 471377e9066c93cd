//! Writes `tools` and `tool_choice`.

use super::blocks::{Context, object, with_cache};
use super::history::History;
use super::names::escape_tool;
use super::{DIALECT, thinking};
use canon::{Tool, ToolChoice, ToolKind};
use serde_json::{Map, Value, json};

/// `tools` and `tool_choice`, each if there is one.
pub(super) struct Written {
    /// `tools`.
    pub(super) tools: Vec<Value>,
    /// `tool_choice`.
    pub(super) choice: Option<Value>,
}

/// Writes the tools on offer and which of them is to be called.
pub(super) fn write(ctx: &mut Context<'_>, history: &History, thinking: &thinking::Written) -> Written {
    let mut tools = offered(ctx);
    if tools.is_empty() {
        if !history.tools_called.is_empty() {
            ctx.drops.add("tools", "the history calls tools that are not offered: declared, and not to be called");
            tools = history.tools_called.iter().map(|name| bare_tool(name)).collect();
            return Written { tools, choice: Some(json!({ "type": "none" })) };
        }
        if matches!(ctx.request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_))) {
            ctx.drops.add("tool_choice", "no tool is offered");
        }
        return Written { tools, choice: None };
    }
    let choice = choice(ctx, thinking);
    Written { tools, choice }
}

/// A tool known only by its name.
fn bare_tool(name: &str) -> Value {
    json!({ "name": name, "input_schema": { "type": "object" } })
}

fn offered(ctx: &mut Context<'_>) -> Vec<Value> {
    let allowed = match &ctx.request.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) => Some(names.as_slice()),
        _ => None,
    };
    let mut names: Vec<String> = Vec::new();
    let mut written = Vec::new();
    for (index, tool) in ctx.request.tools.iter().enumerate() {
        if allowed.is_some_and(|allowed| !allowed.contains(&tool.name)) {
            continue;
        }
        let path = format!("tools[{index}]");
        let Some((name, value)) = tool_value(ctx, tool, &path) else { continue };
        if names.contains(&name) {
            ctx.drops.add(path, "a tool of this name is on offer already");
            continue;
        }
        names.push(name);
        written.push(value);
    }
    written
}

/// One tool and the name that must not repeat.
fn tool_value(ctx: &mut Context<'_>, tool: &Tool, path: &str) -> Option<(String, Value)> {
    let schema = match &tool.kind {
        ToolKind::Vendor(DIALECT, value) => return Some((tool.name.clone(), value.clone())),
        ToolKind::Vendor(..) => {
            ctx.drops.add(path, "a tool that another vendor runs");
            return None;
        }
        ToolKind::Custom(_) => {
            ctx.drops.add(format!("{path}.type"), "free-text tools became tools with one string argument");
            json!({ "type": "object", "properties": { "input": { "type": "string" } }, "required": ["input"] })
        }
        ToolKind::Function => Value::Object(input_schema(ctx, tool.parameters.as_ref(), path)),
    };
    let (name, reversible) = escape_tool(&tool.name);
    if !reversible {
        ctx.drops.add(format!("{path}.name"), "anthropic-messages takes tool names of at most 128 characters");
    }
    let mut map = Map::new();
    map.insert("name".to_owned(), name.as_str().into());
    if let Some(description) = &tool.description {
        map.insert("description".to_owned(), description.as_str().into());
    }
    map.insert("input_schema".to_owned(), schema);
    // `strict: false` is the default, and a field that older models reject.
    if tool.strict == Some(true) {
        map.insert("strict".to_owned(), true.into());
    }
    let mut map = with_cache(map, tool.cache.as_ref());
    ctx.overlay.restore(path, &mut map);
    Some((name, Value::Object(map)))
}

/// A schema whose type is `object`, which the API demands.
fn input_schema(ctx: &mut Context<'_>, parameters: Option<&Value>, path: &str) -> Map<String, Value> {
    match parameters {
        None => object(json!({ "type": "object" })),
        Some(Value::Object(schema)) if schema.contains_key("type") || ctx.same_dialect() => schema.clone(),
        Some(Value::Object(schema)) => {
            let mut typed = object(json!({ "type": "object" }));
            typed.extend(schema.iter().map(|(key, value)| (key.clone(), value.clone())));
            typed
        }
        Some(_) => {
            ctx.drops.add(format!("{path}.parameters"), "no JSON Schema object");
            object(json!({ "type": "object" }))
        }
    }
}

/// `tool_choice`; forcing is degraded where the target rejects it.
fn choice(ctx: &mut Context<'_>, thinking: &thinking::Written) -> Option<Value> {
    let asked = ctx.request.tool_choice.as_ref();
    let mut choice = match asked {
        None if ctx.request.parallel_tool_calls == Some(false) => json!({ "type": "auto" }),
        None => return None,
        Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) => json!({ "type": "auto" }),
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => json!({ "type": "any" }),
        Some(ToolChoice::Named(name)) => json!({ "type": "tool", "name": escape_tool(name).0 }),
        Some(ToolChoice::None) => return Some(json!({ "type": "none" })),
    };
    if choice.get("type").is_some_and(|kind| kind != "auto") {
        let refusal = if ctx.profile.no_forced_tools || ctx.profile.tool_choice_auto_only {
            Some("the model rejects forced tool use: left to it")
        } else if thinking.budget.is_some() {
            Some("forced tool use and a thinking budget exclude each other: left to the model")
        } else {
            None
        };
        if let Some(reason) = refusal {
            ctx.drops.add("tool_choice", reason);
            choice = json!({ "type": "auto" });
        }
    }
    let mut choice = object(choice);
    if let Some(parallel) = ctx.request.parallel_tool_calls {
        choice.insert("disable_parallel_tool_use".to_owned(), (!parallel).into());
    }
    ctx.overlay.restore("tool_choice", &mut choice);
    Some(Value::Object(choice))
}
