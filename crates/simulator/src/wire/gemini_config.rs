//! Tools, safety settings and the generation config of `gemini` requests.

use super::check::present;
use super::gemini::signs;
use super::gemini_read::{fields, function_name, list};
use super::{Asked, Choice, Offered};
use crate::error::Invalid;
use serde_json::{Map, Value};

const GENERATION: [&str; 22] = [
    "stopSequences",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "_responseJsonSchema",
    "responseModalities",
    "candidateCount",
    "maxOutputTokens",
    "temperature",
    "topP",
    "topK",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "enableEnhancedCivicAnswers",
    "speechConfig",
    "thinkingConfig",
    "imageConfig",
    "mediaResolution",
    "responseFormat",
];
const SCHEMA: [&str; 22] = [
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "items",
    "properties",
    "required",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "anyOf",
    "propertyOrdering",
    "default",
];
/// The types of a schema, by protobuf's numbers.
const TYPES: [&str; 8] = ["TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"];
/// The modes of function calling, by protobuf's numbers.
const MODES: [&str; 5] = ["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"];
/// The categories of harm, by protobuf's numbers; the early ones belong to models long retired.
const CATEGORIES: [&str; 12] = [
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
/// The thresholds of a safety setting, by protobuf's numbers.
const THRESHOLDS: [&str; 6] = [
    "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
    "BLOCK_LOW_AND_ABOVE",
    "BLOCK_MEDIUM_AND_ABOVE",
    "BLOCK_ONLY_HIGH",
    "BLOCK_NONE",
    "OFF",
];

pub(crate) fn tools(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
    let kinds = [
        "functionDeclarations",
        "googleSearch",
        "googleSearchRetrieval",
        "codeExecution",
        "urlContext",
        "googleMaps",
        "computerUse",
        "fileSearch",
    ];
    for (place, tool) in list(body, "tools").iter().enumerate() {
        let at = format!("tools[{place}]");
        let tool = fields(tool, &kinds, &at)?;
        for (place, declaration) in list(&tool, "functionDeclarations").iter().enumerate() {
            declared(declaration, &format!("{at}.function_declarations[{place}]"), asked)?;
        }
    }
    let Some(config) = body.get("toolConfig") else { return Ok(()) };
    let config = fields(
        config,
        &["functionCallingConfig", "retrievalConfig", "includeServerSideToolInvocations"],
        "tool_config",
    )?;
    let Some(calling) = config.get("functionCallingConfig") else { return Ok(()) };
    let calling = fields(calling, &["mode", "allowedFunctionNames"], "tool_config.function_calling_config")?;
    let named = calling.get("mode").cloned().unwrap_or_else(|| "AUTO".into());
    let mode = enumerated(&named, &MODES).ok_or_else(|| {
        not_enumerated("tool_config.function_calling_config.mode", "FunctionCallingConfig.Mode", &named)
    })?;
    let allowed: Vec<&str> = list(&calling, "allowedFunctionNames").iter().filter_map(Value::as_str).collect();
    if !allowed.is_empty() && !matches!(mode, "ANY" | "VALIDATED") {
        return Err(Invalid::new(
            "Function calling config: allowed_function_names should only be set when the function calling mode is ANY.",
        ));
    }
    if let Some(name) = allowed.iter().find(|name| !asked.tools.iter().any(|tool| tool.name == **name)) {
        return Err(Invalid::new(format!("allowed_function_names contains a function that is not declared: {name}")));
    }
    asked.choice = match (mode, allowed.first()) {
        ("ANY", Some(name)) => Choice::Named((*name).to_owned()),
        ("ANY", None) => Choice::Some,
        ("NONE", _) => Choice::Never,
        _ => Choice::Auto,
    };
    Ok(())
}

fn declared(declaration: &Value, at: &str, asked: &mut Asked) -> Result<(), Invalid> {
    let known =
        ["name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior"];
    let declaration = fields(declaration, &known, at)?;
    let name = declaration.get("name").and_then(Value::as_str).unwrap_or_default();
    function_name(name, at)?;
    let schema = match (declaration.get("parameters"), declaration.get("parametersJsonSchema")) {
        (Some(_), Some(_)) => {
            return Err(Invalid::new(format!(
                "* GenerateContentRequest.{at}: parameters and parameters_json_schema are mutually exclusive\n"
            )));
        }
        (Some(schema), None) => {
            subset(schema, &format!("{at}.parameters"))?;
            schema.clone()
        }
        (None, Some(schema)) => schema.clone(),
        (None, None) => serde_json::json!({"type": "object"}),
    };
    asked.tools.push(Offered { name: name.to_owned(), schema });
    Ok(())
}

/// The name of an enumeration's value: protobuf's JSON takes names in any case, and numbers.
fn enumerated<'a>(value: &Value, names: &[&'a str]) -> Option<&'a str> {
    match value {
        Value::String(text) => names.iter().find(|name| name.eq_ignore_ascii_case(text)).copied(),
        number => names.get(usize::try_from(number.as_u64()?).ok()?).copied(),
    }
}

fn not_enumerated(at: &str, kind: &str, value: &Value) -> Invalid {
    let message =
        format!("Invalid value at '{at}' (type.googleapis.com/google.ai.generativelanguage.v1beta.{kind}), {value}");
    Invalid::new(message).field(at)
}

/// The `OpenAPI` subset that `parameters` and `responseSchema` are limited to.
fn subset(schema: &Value, at: &str) -> Result<(), Invalid> {
    let schema = fields(schema, &SCHEMA, at)?;
    if let Some(kind) = schema.get("type")
        && enumerated(kind, &TYPES).is_none()
    {
        return Err(not_enumerated(&format!("{at}.type"), "Type", kind));
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        subset(property, &format!("{at}.properties[{name}]"))?;
    }
    if let Some(items) = schema.get("items") {
        subset(items, &format!("{at}.items"))?;
    }
    let mut options = list(&schema, "anyOf").iter().enumerate();
    options.try_for_each(|(place, one)| subset(one, &format!("{at}.any_of[{place}]")))
}

pub(crate) fn safety(body: &Map<String, Value>) -> Result<(), Invalid> {
    for (place, setting) in list(body, "safetySettings").iter().enumerate() {
        let at = format!("safety_settings[{place}]");
        let setting = fields(setting, &["category", "threshold"], &at)?;
        let value = |name: &str| setting.get(name).cloned().unwrap_or_default();
        if enumerated(&value("category"), &CATEGORIES).is_none() {
            return Err(not_enumerated(&format!("{at}.category"), "HarmCategory", &value("category")));
        }
        if enumerated(&value("threshold"), &THRESHOLDS).is_none() {
            let kind = "SafetySetting.HarmBlockThreshold";
            return Err(not_enumerated(&format!("{at}.threshold"), kind, &value("threshold")));
        }
    }
    Ok(())
}

pub(crate) fn generation(config: &Value, asked: &mut Asked) -> Result<(), Invalid> {
    let config = &fields(config, &GENERATION, "generation_config")?;
    let ranges = [
        ("temperature", 0.0, 2.0),
        ("topP", 0.0, 1.0),
        ("candidateCount", 1.0, 8.0),
        ("maxOutputTokens", 1.0, 65_536.0),
        ("presencePenalty", -2.0, 2.0),
        ("frequencyPenalty", -2.0, 2.0),
    ];
    for (name, lowest, highest) in ranges {
        let Some(value) = present(config, name) else { continue };
        if !value.as_f64().is_some_and(|number| (lowest..=highest).contains(&number)) {
            return Err(Invalid::new(format!(
                "* GenerateContentRequest.generation_config.{name}: {name} must be in the range [{lowest}, {highest}], got {value}\n"
            )));
        }
    }
    asked.max_tokens = config.get("maxOutputTokens").and_then(Value::as_u64);
    asked.candidates =
        config.get("candidateCount").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
    asked.stops = list(config, "stopSequences").iter().filter_map(|stop| stop.as_str().map(str::to_owned)).collect();
    if asked.stops.len() > 5 {
        return Err(Invalid::new(
            "* GenerateContentRequest.generation_config.stop_sequences: at most 5 stop sequences\n",
        ));
    }
    structured(config, asked)?;
    if let Some(thinking) = config.get("thinkingConfig") {
        let thinking = fields(
            thinking,
            &["includeThoughts", "thinkingBudget", "thinkingLevel"],
            "generation_config.thinking_config",
        )?;
        if thinking.contains_key("thinkingBudget") && thinking.contains_key("thinkingLevel") {
            return Err(Invalid::new("You can only set only one of thinking budget and thinking level."));
        }
        if let Some(level) = thinking.get("thinkingLevel") {
            let known = ["MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH", "THINKING_LEVEL_UNSPECIFIED"];
            if !level.as_str().is_some_and(|level| known.contains(&level.to_uppercase().as_str())) {
                return Err(Invalid::new(format!(
                    "Invalid value at 'generation_config.thinking_config.thinking_level' (type.googleapis.com/google.ai.generativelanguage.v1beta.ThinkingConfig.ThinkingLevel), {level}"
                )));
            }
        }
        asked.reasoning = thinking.get("thinkingBudget").is_none_or(|budget| *budget != 0);
        asked.hides_reasoning = thinking.get("includeThoughts") != Some(&Value::Bool(true));
    }
    Ok(())
}

fn structured(config: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
    let mime = config.get("responseMimeType").and_then(Value::as_str).unwrap_or("text/plain");
    if !["text/plain", "application/json", "text/x.enum"].contains(&mime) {
        return Err(Invalid::new(
            "* GenerateContentRequest.generation_config.response_mime_type: allowed mimetypes are `text/plain`, `application/json`, `application/xml`, `application/yaml` and `text/x.enum`.\n",
        ));
    }
    let json_schema = config.get("responseJsonSchema").or_else(|| config.get("_responseJsonSchema"));
    let schema = match (config.get("responseSchema"), json_schema) {
        (Some(_), Some(_)) => {
            return Err(Invalid::new(
                "* GenerateContentRequest.generation_config: response_schema and response_json_schema are mutually exclusive\n",
            ));
        }
        (Some(schema), None) => {
            subset(schema, "generation_config.response_schema")?;
            Some(schema)
        }
        (None, other) => other,
    };
    if schema.is_some() && mime == "text/plain" {
        return Err(Invalid::new(
            "* GenerateContentRequest.generation_config.response_mime_type: response_schema is only supported with response mime type `application/json` or `text/x.enum`.\n",
        ));
    }
    asked.json = mime == "application/json";
    if asked.json && !asked.tools.is_empty() && asked.model.starts_with("gemini-") && !signs(&asked.model) {
        return Err(Invalid::new("Function calling with a response mime type: 'application/json' is unsupported"));
    }
    asked.schema = schema.cloned();
    Ok(())
}
