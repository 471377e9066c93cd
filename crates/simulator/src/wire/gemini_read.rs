//! Reads `gemini` requests as strictly as the provider. Protobuf's JSON takes field names in both cases.

use super::check::{is_name, present};
use super::gemini::{SIGNATURE, signs};
use super::{Asked, Choice, Offered};
use crate::error::Invalid;
use serde_json::{Map, Value};

const FIELDS: [&str; 9] = [
    "model",
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "store",
];
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
const PART_DATA: [&str; 9] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
];
const PART_FLAGS: [&str; 5] = ["thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"];
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
/// What histories of other vendors carry instead of a signature.
const SENTINELS: [&str; 2] = ["skip_thought_signature_validator", "context_engineering_is_the_way_to_go"];

/// `snake_case` becomes `camelCase`; a leading underscore stays.
fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut is_next_upper = false;
    for letter in name.chars() {
        if letter == '_' && !out.is_empty() {
            is_next_upper = true;
        } else if std::mem::take(&mut is_next_upper) {
            out.extend(letter.to_uppercase());
        } else {
            out.push(letter);
        }
    }
    out
}

/// An object under its canonical field names, without the null ones.
fn fields(value: &Value, known: &[&str], at: &str) -> Result<Map<String, Value>, Invalid> {
    let object = value.as_object().ok_or_else(|| {
        Invalid::new(format!("Invalid value at '{at}' (type.googleapis.com/google.protobuf.Message)")).field(at)
    })?;
    let mut out = Map::new();
    for (name, value) in object {
        let canonical = camel(name);
        if !known.contains(&canonical.as_str()) {
            let place = if at.is_empty() { String::new() } else { format!(" at '{at}'") };
            return Err(Invalid::new(format!(
                "Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."
            ))
            .field(at));
        }
        if !value.is_null() {
            out.insert(canonical, value.clone());
        }
    }
    Ok(out)
}

fn list<'a>(object: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    object.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn read(body: &Value, model: &str) -> Result<Asked, Invalid> {
    let body = fields(body, &FIELDS, "")?;
    let mut asked = Asked {
        model: model.to_owned(),
        parallel: true,
        candidates: 1,
        shows_usage: true,
        caches: body.contains_key("cachedContent"),
        ..Asked::default()
    };
    if let Some(instruction) = body.get("systemInstruction") {
        let instruction = fields(instruction, &["parts", "role"], "system_instruction")?;
        parts(&instruction, "system_instruction", &mut Turn::default(), &mut asked)?;
    }
    contents(&body, &mut asked)?;
    tools(&body, &mut asked)?;
    safety(&body)?;
    if let Some(config) = body.get("generationConfig") {
        generation(&fields(config, &GENERATION, "generation_config")?, &mut asked)?;
    }
    Ok(asked)
}

/// One entry of `contents`.
#[derive(Default)]
struct Turn {
    is_user: bool,
    text: String,
    calls: usize,
    /// The first call carries a signature.
    is_signed: bool,
    results: Vec<(String, String)>,
}

fn contents(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
    if list(body, "contents").is_empty() {
        return Err(Invalid::new("* GenerateContentRequest.contents: contents is not specified\n"));
    }
    let mut turns: Vec<Turn> = Vec::new();
    for (place, content) in list(body, "contents").iter().enumerate() {
        let at = format!("contents[{place}]");
        let content = fields(content, &["parts", "role"], &at)?;
        let is_user = match content.get("role").and_then(Value::as_str) {
            None | Some("user" | "function") => true,
            Some("model") => false,
            Some(_) => return Err(Invalid::new("Please use a valid role: user, model.")),
        };
        let mut turn = Turn { is_user, ..Turn::default() };
        if list(&content, "parts").is_empty() {
            return Err(Invalid::new(format!(
                "* GenerateContentRequest.{at}.parts: contents.parts must not be empty.\n"
            )));
        }
        parts(&content, &at, &mut turn, asked)?;
        turns.push(turn);
    }
    order(&turns, asked)?;
    match turns.pop() {
        Some(last) if last.is_user => {
            asked.last_user = last.text;
            asked.results = last.results;
            Ok(())
        }
        _ => Err(Invalid::new(
            "Please ensure that single turn requests end with a user role or the role field is not set.",
        )),
    }
}

fn order(turns: &[Turn], asked: &Asked) -> Result<(), Invalid> {
    let current = turns.iter().rposition(|turn| turn.is_user && turn.results.is_empty()).unwrap_or(0);
    for (place, turn) in turns.iter().enumerate() {
        let before = place.checked_sub(1).and_then(|place| turns.get(place));
        if turn.calls > 0 {
            if !before.is_some_and(|before| before.is_user) {
                return Err(Invalid::new(
                    "Please ensure that function call turn comes immediately after a user turn or after a function response turn.",
                ));
            }
            let answers = turns.get(place + 1).map_or(0, |next| next.results.len());
            if answers != turn.calls {
                return Err(Invalid::new(
                    "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
                ));
            }
            if signs(&asked.model) && !turn.is_signed && place > current {
                return Err(Invalid::new(
                    "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance.",
                ));
            }
        }
        if !turn.results.is_empty() && before.is_none_or(|before| before.calls == 0) {
            return Err(Invalid::new(
                "Please ensure that function response turn comes immediately after a function call turn.",
            ));
        }
    }
    Ok(())
}

fn parts(content: &Map<String, Value>, at: &str, turn: &mut Turn, asked: &mut Asked) -> Result<(), Invalid> {
    let known: Vec<&str> = PART_DATA.into_iter().chain(PART_FLAGS).collect();
    for (place, part) in list(content, "parts").iter().enumerate() {
        let at = format!("{at}.parts[{place}]");
        let part = fields(part, &known, &at)?;
        let mut data = PART_DATA.into_iter().filter_map(|name| part.get(name).map(|value| (name, value)));
        let Some((name, value)) = data.next() else {
            return Err(Invalid::new(format!(
                "* GenerateContentRequest.{at}.data: required oneof field 'data' must have one initialized field\n"
            )));
        };
        if data.next().is_some() {
            return Err(Invalid::new(format!("Invalid value at '{at}' (oneof), oneof field 'data' is already set.")));
        }
        if let Some(signature) = part.get("thoughtSignature") {
            let signature = signature.as_str().unwrap_or_default();
            if !signature.starts_with(SIGNATURE) && !SENTINELS.contains(&signature) {
                return Err(Invalid::new("Thought signature is not valid."));
            }
            turn.is_signed |= name == "functionCall" && turn.calls == 0;
        }
        one_part(name, value, &at, turn, asked)?;
    }
    Ok(())
}

fn one_part(name: &str, value: &Value, at: &str, turn: &mut Turn, asked: &mut Asked) -> Result<(), Invalid> {
    let invalid = |what: &str, kind: &str| {
        Err(Invalid::new(format!("Invalid value at '{at}.{what}' (type.googleapis.com/{kind})")).field(at))
    };
    match name {
        "text" => match value.as_str() {
            Some(text) => turn.text.push_str(text),
            None => return invalid("text", "TYPE_STRING"),
        },
        "inlineData" => {
            let data = fields(value, &["mimeType", "data", "displayName"], &format!("{at}.inline_data"))?;
            let mime = data.get("mimeType").and_then(Value::as_str).unwrap_or_default();
            if mime.is_empty() || !data.get("data").is_some_and(Value::is_string) {
                return invalid("inline_data", "TYPE_BYTES");
            }
            count(mime, asked);
        }
        "fileData" => {
            let data = fields(value, &["mimeType", "fileUri", "displayName"], &format!("{at}.file_data"))?;
            if !data.get("fileUri").is_some_and(Value::is_string) {
                return invalid("file_data.file_uri", "TYPE_STRING");
            }
            count(data.get("mimeType").and_then(Value::as_str).unwrap_or("image/jpeg"), asked);
        }
        "functionCall" => {
            let call = fields(value, &["id", "name", "args"], &format!("{at}.function_call"))?;
            function_name(call.get("name").and_then(Value::as_str).unwrap_or_default(), at)?;
            if call.get("args").is_some_and(|args| !args.is_object()) {
                return invalid("function_call.args", "google.protobuf.Struct");
            }
            turn.calls += 1;
        }
        "functionResponse" => {
            let known = ["id", "name", "response", "parts", "willContinue", "scheduling"];
            let answer = fields(value, &known, &format!("{at}.function_response"))?;
            let name = answer.get("name").and_then(Value::as_str).unwrap_or_default();
            function_name(name, at)?;
            match answer.get("response") {
                Some(response @ Value::Object(_)) => {
                    turn.results.push((name.to_owned(), response.to_string()));
                }
                _ => return invalid("function_response.response", "google.protobuf.Struct"),
            }
        }
        _ => {}
    }
    Ok(())
}

fn count(mime: &str, asked: &mut Asked) {
    match mime.split('/').next().unwrap_or_default() {
        "image" => asked.images += 1,
        "audio" => asked.sounds += 1,
        _ => asked.documents += 1,
    }
}

fn function_name(name: &str, at: &str) -> Result<(), Invalid> {
    let is_begun = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    if is_begun && is_name(name, "_.:-", 128) {
        return Ok(());
    }
    Err(Invalid::new(format!(
        "Invalid function name at '{at}'. Must start with a letter or an underscore. Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128."
    )))
}

fn tools(body: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
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
    let mode = calling.get("mode").and_then(Value::as_str).unwrap_or("AUTO");
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
        ("AUTO" | "VALIDATED" | "MODE_UNSPECIFIED", _) => Choice::Auto,
        (other, _) => return Err(Invalid::new(format!("Invalid value at 'tool_config.function_calling_config.mode' (type.googleapis.com/google.ai.generativelanguage.v1beta.FunctionCallingConfig.Mode), \"{other}\"")).field("tool_config.function_calling_config.mode")),
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
            subset(schema, &format!("{at}.parameters"), true)?;
            schema.clone()
        }
        (None, Some(schema)) => schema.clone(),
        (None, None) => serde_json::json!({"type": "object"}),
    };
    asked.tools.push(Offered { name: name.to_owned(), schema });
    Ok(())
}

/// The `OpenAPI` subset that `parameters` and `responseSchema` are limited to.
fn subset(schema: &Value, at: &str, refuses_empty: bool) -> Result<(), Invalid> {
    let schema = fields(schema, &SCHEMA, at)?;
    if let Some(kind) = schema.get("type") {
        let known = ["STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"];
        if !kind.as_str().is_some_and(|kind| known.contains(&kind.to_uppercase().as_str())) {
            return Err(Invalid::new(format!(
                "Invalid value at '{at}.type' (type.googleapis.com/google.ai.generativelanguage.v1beta.Type), {kind}"
            ))
            .field(format!("{at}.type")));
        }
        let is_object = kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("object"));
        let is_empty = schema.get("properties").and_then(Value::as_object).is_some_and(Map::is_empty);
        if refuses_empty && is_object && is_empty {
            return Err(Invalid::new(format!(
                "* GenerateContentRequest.{at}.properties: should be non-empty for OBJECT type\n"
            )));
        }
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        subset(property, &format!("{at}.properties[{name}]"), refuses_empty)?;
    }
    if let Some(items) = schema.get("items") {
        subset(items, &format!("{at}.items"), refuses_empty)?;
    }
    list(&schema, "anyOf")
        .iter()
        .enumerate()
        .try_for_each(|(place, one)| subset(one, &format!("{at}.any_of[{place}]"), refuses_empty))
}

fn safety(body: &Map<String, Value>) -> Result<(), Invalid> {
    let categories =
        ["HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT", "CIVIC_INTEGRITY", "UNSPECIFIED"];
    let thresholds = [
        "OFF",
        "BLOCK_NONE",
        "BLOCK_ONLY_HIGH",
        "BLOCK_MEDIUM_AND_ABOVE",
        "BLOCK_LOW_AND_ABOVE",
        "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
    ];
    for (place, setting) in list(body, "safetySettings").iter().enumerate() {
        let at = format!("safety_settings[{place}]");
        let setting = fields(setting, &["category", "threshold"], &at)?;
        let text = |name: &str| setting.get(name).and_then(Value::as_str).unwrap_or_default();
        let category = text("category");
        if !category.strip_prefix("HARM_CATEGORY_").is_some_and(|name| categories.contains(&name)) {
            return Err(Invalid::new(format!("Invalid value at '{at}.category' (type.googleapis.com/google.ai.generativelanguage.v1beta.HarmCategory), \"{category}\"")).field(format!("{at}.category")));
        }
        let threshold = text("threshold");
        if !thresholds.contains(&threshold) {
            return Err(Invalid::new(format!("Invalid value at '{at}.threshold' (type.googleapis.com/google.ai.generativelanguage.v1beta.SafetySetting.HarmBlockThreshold), \"{threshold}\"")).field(format!("{at}.threshold")));
        }
    }
    Ok(())
}

fn generation(config: &Map<String, Value>, asked: &mut Asked) -> Result<(), Invalid> {
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
            subset(schema, "generation_config.response_schema", true)?;
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
