//! Reads `gemini` requests as strictly as the provider. Protobuf's JSON takes field names in both cases.

use super::Asked;
use super::check::is_name;
use super::gemini::{SIGNATURE, signs};
use super::gemini_config::{generation, safety, tools};
use crate::continues::{Continues, NativeWay};
use crate::error::Invalid;
use canon::DialectName;
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
pub(crate) fn fields(value: &Value, known: &[&str], at: &str) -> Result<Map<String, Value>, Invalid> {
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

pub(crate) fn list<'a>(object: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    object.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn read(body: &Value, model: &str, continues: Continues) -> Result<Asked, Invalid> {
    let way = continues.way(DialectName::Gemini);
    let token = (way == Some(NativeWay::Token)).then_some("continuationToken");
    let known: Vec<&str> = FIELDS.into_iter().chain(token).collect();
    let body = fields(body, &known, "")?;
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
        let mut turn = Turn::default();
        parts(&instruction, "system_instruction", &mut turn, &mut asked)?;
        asked.instructions = turn.text;
    }
    let prefills = way == Some(NativeWay::Trailing) && !continues.refuses_prefill;
    contents(&body, &mut asked, prefills)?;
    asked.token = body.get("continuationToken").and_then(Value::as_str).map(str::to_owned);
    tools(&body, &mut asked)?;
    safety(&body)?;
    if let Some(config) = body.get("generationConfig") {
        generation(config, &mut asked)?;
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

fn contents(body: &Map<String, Value>, asked: &mut Asked, prefills: bool) -> Result<(), Invalid> {
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
    let ends_with_model = turns.last().is_some_and(|turn| !turn.is_user);
    if ends_with_model && !prefills {
        return Err(Invalid::new(
            "Please ensure that single turn requests end with a user role or the role field is not set.",
        ));
    }
    asked.continues_last = ends_with_model;
    for turn in turns {
        asked.hear(!turn.is_user, |heard| {
            heard.text.push_str(&turn.text);
            heard.calls |= turn.calls > 0;
            heard.results.extend(turn.results);
        });
    }
    Ok(())
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

pub(crate) fn function_name(name: &str, at: &str) -> Result<(), Invalid> {
    let is_begun = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    if is_begun && is_name(name, "_.:-", 128) {
        return Ok(());
    }
    Err(Invalid::new(format!(
        "Invalid function name at '{at}'. Must start with a letter or an underscore. Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128."
    )))
}
