//! A `generateContent` body to the canonical request.

use super::json::{
    At, boolean, camel, integer, list, missing, natural, natural32, number, object, string, strings, take, wrong_type,
    wrong_value,
};
use super::schema::to_json_schema;
use super::turn_decode::TurnDecoder;
use super::words::Enumeration;
use crate::{BadRequest, PathFacts};
use canon::{DialectName, Effort, OutputFormat, Request, Role, SafetySetting, Tool, ToolChoice, ToolKind};
use serde_json::{Map, Value, json};

/// Reads a request.
pub(super) fn decode(path: &PathFacts, body: &[u8]) -> Result<Request, BadRequest> {
    let root: Value = serde_json::from_slice(body).map_err(|e| BadRequest {
        code: "invalid_json",
        message: format!("the body is not JSON: {e}"),
        parameter: None,
    })?;
    let at = At::ROOT;
    let mut map = object(root, &at)?;
    let mut request = Request {
        stream: path.stream,
        stream_usage: path.stream,
        extra_dialect: Some(DialectName::Gemini),
        ..Request::default()
    };
    let named = take(&mut map, "model", &at)?.map(|v| string(v, &at.key("model"))).transpose()?;
    let model = path.model.clone().or(named).ok_or_else(|| missing(&at.key("model"), "a model in the path"))?;
    request.model = model.strip_prefix("models/").map_or_else(|| model.clone(), str::to_owned);

    turns(&mut map, &mut request)?;
    if let Some(value) = take(&mut map, "tools", &at)? {
        tools(value, &mut request, &at.key("tools"))?;
    }
    if let Some(value) = take(&mut map, "toolConfig", &at)? {
        tool_config(value, &mut request, &at.key("toolConfig"))?;
    }
    if let Some(value) = take(&mut map, "generationConfig", &at)? {
        generation_config(value, &mut request, &at.key("generationConfig"))?;
    }
    if let Some(value) = take(&mut map, "safetySettings", &at)? {
        safety(value, &mut request, &at.key("safetySettings"))?;
    }
    if let Some(value) = take(&mut map, "labels", &at)? {
        request.metadata = object(value, &at.key("labels"))?;
    }
    TurnDecoder { rest: &mut request.extra }.keep(map, &at);
    Ok(request)
}

fn turns(map: &mut Map<String, Value>, request: &mut Request) -> Result<(), BadRequest> {
    let at = At::ROOT;
    let mut decoder = TurnDecoder { rest: &mut request.extra };
    if let Some(value) = take(map, "systemInstruction", &at)? {
        let system = decoder.turn(value, true, &at.key("systemInstruction"))?;
        if !system.parts.is_empty() {
            request.messages.push(system);
        }
    }
    let contents_at = at.key("contents");
    let contents = take(map, "contents", &at)?.ok_or_else(|| missing(&contents_at, "a list of turns"))?;
    let contents = list(contents, &contents_at)?;
    if contents.is_empty() {
        return Err(missing(&contents_at.index(0), "a turn"));
    }
    let mut some = false;
    for (i, value) in contents.into_iter().enumerate() {
        let at = contents_at.index(i);
        let turn = decoder.turn(value, false, &at)?;
        if !turn.parts.is_empty() {
            some = true;
            request.messages.push(turn);
        } else if turn.role == Role::User {
            return Err(missing(&at.key("parts"), "at least one part"));
        }
        // A model that had nothing to say (cut off, blocked) is often kept so in a history: it says nothing here
        // either.
    }
    if some { Ok(()) } else { Err(missing(&contents_at.index(0).key("parts"), "at least one part")) }
}

fn tools(value: Value, request: &mut Request, at: &At<'_>) -> Result<(), BadRequest> {
    for (i, tool) in list(value, at)?.into_iter().enumerate() {
        let at = at.index(i);
        let mut map = object(tool, &at)?;
        if let Some(functions) = take(&mut map, "functionDeclarations", &at)? {
            let at = at.key("functionDeclarations");
            for (j, function) in list(functions, &at)?.into_iter().enumerate() {
                let tool = declaration(function, request, &at.index(j))?;
                request.tools.push(tool);
            }
        }
        for (key, value) in map {
            if value.is_null() {
                continue;
            }
            let name = camel(&key);
            let definition = json!({ name.as_str(): value });
            request.tools.push(Tool {
                name,
                description: None,
                parameters: None,
                strict: None,
                cache: None,
                kind: ToolKind::Vendor(DialectName::Gemini, definition),
            });
        }
    }
    Ok(())
}

fn declaration(value: Value, request: &mut Request, at: &At<'_>) -> Result<Tool, BadRequest> {
    let mut map = object(value, at)?;
    let name_at = at.key("name");
    let name = take(&mut map, "name", at)?.ok_or_else(|| missing(&name_at, "the function's name"))?;
    let name = string(name, &name_at)?;
    let description = take(&mut map, "description", at)?.map(|v| string(v, &at.key("description"))).transpose()?;
    let own = take(&mut map, "parameters", at)?;
    let standard = take(&mut map, "parametersJsonSchema", at)?;
    let parameters = match (own, standard) {
        (Some(_), Some(_)) => {
            let message = format!("`{at}` has both `parameters` and `parametersJsonSchema`, expected one of them");
            return Err(BadRequest { code: "invalid_value", message, parameter: Some(at.to_string()) });
        }
        (Some(own), None) => Some(to_json_schema(Value::Object(object(own, &at.key("parameters"))?))),
        (None, Some(standard)) => Some(Value::Object(object(standard, &at.key("parametersJsonSchema"))?)),
        (None, None) => None,
    };
    TurnDecoder { rest: &mut request.extra }.keep(map, at);
    let description = description.filter(|d| !d.is_empty());
    Ok(Tool { name, description, parameters, strict: None, cache: None, kind: ToolKind::Function })
}

fn tool_config(value: Value, request: &mut Request, at: &At<'_>) -> Result<(), BadRequest> {
    let mut map = object(value, at)?;
    if let Some(value) = take(&mut map, "functionCallingConfig", at)? {
        let at = at.key("functionCallingConfig");
        let mut calling = object(value, &at)?;
        let mode = take(&mut calling, "mode", &at)?;
        let names = take(&mut calling, "allowedFunctionNames", &at)?;
        let names = names.map(|v| strings(v, &at.key("allowedFunctionNames"))).transpose()?.unwrap_or_default();
        let mode_at = at.key("mode");
        let mode = match mode {
            None => "AUTO".to_owned(),
            Some(value) => Enumeration::Mode
                .read(&value)
                .ok_or_else(|| wrong_type(&mode_at, "\"AUTO\", \"ANY\", \"NONE\" or \"VALIDATED\"", &value))?
                .to_ascii_uppercase(),
        };
        let mut validated = false;
        request.tool_choice = match (mode.as_str(), names.as_slice()) {
            ("AUTO" | "MODE_UNSPECIFIED", _) => Some(ToolChoice::Auto),
            ("NONE", _) => Some(ToolChoice::None),
            ("ANY", []) => Some(ToolChoice::Required),
            ("ANY", [only]) => Some(ToolChoice::Named(only.clone())),
            ("ANY", _) => Some(ToolChoice::Allowed { names, required: true }),
            ("VALIDATED", []) => {
                validated = true;
                Some(ToolChoice::Auto)
            }
            ("VALIDATED", _) => Some(ToolChoice::Allowed { names, required: false }),
            (other, _) => return Err(wrong_value(&mode_at, "\"AUTO\", \"ANY\", \"NONE\" or \"VALIDATED\"", other)),
        };
        if validated {
            // Auto elsewhere; the check of the call against its schema is Gemini's alone.
            calling.insert("mode".to_owned(), json!("VALIDATED"));
        }
        TurnDecoder { rest: &mut request.extra }.keep(calling, &at);
    }
    TurnDecoder { rest: &mut request.extra }.keep(map, at);
    Ok(())
}

fn generation_config(value: Value, request: &mut Request, at: &At<'_>) -> Result<(), BadRequest> {
    let mut map = object(value, at)?;
    macro_rules! read {
        ($key:literal, $reader:ident) => {
            take(&mut map, $key, at)?.map(|v| $reader(&v, &at.key($key))).transpose()?
        };
    }
    request.sampling.temperature = read!("temperature", number);
    request.sampling.top_p = read!("topP", number);
    request.sampling.top_k = read!("topK", natural);
    request.sampling.frequency_penalty = read!("frequencyPenalty", number);
    request.sampling.presence_penalty = read!("presencePenalty", number);
    request.sampling.seed = read!("seed", integer);
    request.sampling.logprobs = read!("responseLogprobs", boolean);
    request.sampling.top_logprobs = read!("logprobs", natural32);
    request.n = read!("candidateCount", natural32);
    request.max_output_tokens = read!("maxOutputTokens", natural);
    if let Some(value) = take(&mut map, "stopSequences", at)? {
        request.stop = strings(value, &at.key("stopSequences"))?;
    }
    if let Some(value) = take(&mut map, "thinkingConfig", at)? {
        thinking(value, request, &at.key("thinkingConfig"))?;
    }
    output(&mut map, request, at)?;
    TurnDecoder { rest: &mut request.extra }.keep(map, at);
    Ok(())
}

fn thinking(value: Value, request: &mut Request, at: &At<'_>) -> Result<(), BadRequest> {
    let mut map = object(value, at)?;
    let asked = &mut request.reasoning;
    asked.show = take(&mut map, "includeThoughts", at)?.map(|v| boolean(&v, &at.key("includeThoughts"))).transpose()?;
    asked.budget_tokens =
        take(&mut map, "thinkingBudget", at)?.map(|v| integer(&v, &at.key("thinkingBudget"))).transpose()?;
    if asked.budget_tokens == Some(0) {
        asked.effort = Some(Effort::None);
    }
    if let Some(level) = take(&mut map, "thinkingLevel", at)? {
        let level_at = at.key("thinkingLevel");
        let word = string(level, &level_at)?;
        asked.effort = match word.to_ascii_uppercase().as_str() {
            "MINIMAL" => Some(Effort::Minimal),
            "LOW" => Some(Effort::Low),
            "MEDIUM" => Some(Effort::Medium),
            "HIGH" => Some(Effort::High),
            "XHIGH" => Some(Effort::Xhigh),
            "THINKING_LEVEL_UNSPECIFIED" => None,
            _ => {
                return Err(wrong_value(&level_at, "\"MINIMAL\", \"LOW\", \"MEDIUM\", \"HIGH\" or \"XHIGH\"", &word));
            }
        };
    }
    TurnDecoder { rest: &mut request.extra }.keep(map, at);
    Ok(())
}

/// JSON mode and schema. A form only Gemini has (`text/x.enum`, a schema without the JSON type) stays as it is.
fn output(map: &mut Map<String, Value>, request: &mut Request, at: &At<'_>) -> Result<(), BadRequest> {
    let mime_at = at.key("responseMimeType");
    let mime = take(map, "responseMimeType", at)?.map(|v| string(v, &mime_at)).transpose()?;
    match mime.as_deref() {
        None | Some("" | "text/plain") => return Ok(()),
        Some("application/json") => {}
        Some(other) => {
            map.insert("responseMimeType".to_owned(), json!(other));
            return Ok(());
        }
    }
    let own = take(map, "responseSchema", at)?.map(to_json_schema);
    let standard = match take(map, "responseJsonSchema", at)? {
        Some(schema) => Some(schema),
        // The name of the field while it was in preview.
        None => map.shift_remove("_responseJsonSchema").filter(|v| !v.is_null()),
    };
    request.output = match standard.or(own) {
        None => OutputFormat::JsonObject,
        Some(schema @ Value::Object(_)) => {
            OutputFormat::JsonSchema { name: None, description: None, schema, strict: None }
        }
        Some(other) => return Err(wrong_type(&at.key("responseSchema"), "a schema object", &other)),
    };
    Ok(())
}

fn safety(value: Value, request: &mut Request, at: &At<'_>) -> Result<(), BadRequest> {
    for (i, item) in list(value, at)?.into_iter().enumerate() {
        let at = at.index(i);
        let mut map = object(item, &at)?;
        let mut word = |key: &'static str, of: Enumeration| {
            let place = at.key(key);
            let value = take(&mut map, key, &at)?.ok_or_else(|| missing(&place, "a name of the enumeration"))?;
            of.read(&value).ok_or_else(|| wrong_type(&place, "a name of the enumeration", &value))
        };
        let category = word("category", Enumeration::Category)?;
        let threshold = word("threshold", Enumeration::Threshold)?;
        let method = take(&mut map, "method", &at)?.map(|v| string(v, &at.key("method"))).transpose()?;
        request.safety.push(SafetySetting { category, threshold, method });
        TurnDecoder { rest: &mut request.extra }.keep(map, &at);
    }
    Ok(())
}
