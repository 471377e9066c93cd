//! `contents` and `systemInstruction` of a request to canonical turns.

use super::json::{At, boolean, has, list, object, string, take, wrong_type, wrong_value};
use super::media;
use crate::BadRequest;
use canon::{DialectName, MediaSource, Message, Part, ProviderBound, Reasoning, Role, ToolCall, ToolKind, ToolResult};
use serde_json::{Map, Value};

/// Put where a signature is due but none can be had: Google documents it for history of other vendors.
pub(super) const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The kinds of part with a canonical form.
const KNOWN: [&str; 5] = ["text", "inlineData", "fileData", "functionCall", "functionResponse"];

/// Reads turns; what has no place in them collects in `rest`, under its path.
pub(super) struct TurnDecoder<'a> {
    /// Where leftovers go: [`canon::Request::extra`].
    pub(super) rest: &'a mut Map<String, Value>,
}

impl TurnDecoder<'_> {
    /// One `Content`. `instruction` = it is `systemInstruction`, whose role means nothing.
    pub(super) fn turn(&mut self, value: Value, instruction: bool, at: &At<'_>) -> Result<Message, BadRequest> {
        let mut map = object(value, at)?;
        let role_at = at.key("role");
        let role = take(&mut map, "role", at)?.map(|v| string(v, &role_at)).transpose()?;
        let role = match role.as_deref() {
            _ if instruction => Role::System,
            None | Some("" | "user" | "function") => Role::User,
            Some("model") => Role::Assistant,
            Some("system") => Role::System,
            Some(other) => return Err(wrong_value(&role_at, "\"user\" or \"model\"", other)),
        };
        let parts = match take(&mut map, "parts", at)? {
            Some(value) => self.parts(value, &at.key("parts"))?,
            None => Vec::new(),
        };
        self.keep(map, at);
        Ok(Message { role, parts, name: None })
    }

    /// Keeps what nothing here understands.
    pub(super) fn keep(&mut self, map: Map<String, Value>, at: &At<'_>) {
        for (key, value) in map {
            if !value.is_null() {
                self.rest.insert(at.key(&key).to_string(), value);
            }
        }
    }

    fn parts(&mut self, value: Value, at: &At<'_>) -> Result<Vec<Part>, BadRequest> {
        let mut parts = Vec::new();
        for (i, item) in list(value, at)?.into_iter().enumerate() {
            parts.extend(self.part(item, &at.index(i))?);
        }
        Ok(parts)
    }

    fn part(&mut self, value: Value, at: &At<'_>) -> Result<Option<Part>, BadRequest> {
        let mut map = match value {
            Value::Object(map) => map,
            other => return Err(wrong_type(at, "an object with `text`, `inlineData` or another kind of part", &other)),
        };
        if !KNOWN.iter().any(|kind| has(&map, kind)) {
            return part_without_data(map, at);
        }
        let thought = take(&mut map, "thought", at)?.map(|v| boolean(&v, &at.key("thought"))).transpose()?;
        let signature = signature(&mut map, at)?;
        let part = if let Some(text) = take(&mut map, "text", at)? {
            let text = string(text, &at.key("text"))?;
            if thought == Some(true) {
                Part::Reasoning(Reasoning { text, signature, redacted: None })
            } else {
                Part::Text { text, citations: Vec::new(), cache: None, signature }
            }
        } else if let Some(call) = take(&mut map, "functionCall", at)? {
            self.call(call, signature, &at.key("functionCall"))?
        } else if let Some(result) = take(&mut map, "functionResponse", at)? {
            self.result(result, &at.key("functionResponse"))?
        } else {
            let mut part = self.media(&mut map, at)?;
            if let Part::Image(image) = &mut part {
                image.detail = detail(&mut map, at)?;
            }
            part
        };
        self.keep(map, at);
        Ok(Some(part))
    }

    fn call(&mut self, value: Value, signature: Option<ProviderBound>, at: &At<'_>) -> Result<Part, BadRequest> {
        let mut map = object(value, at)?;
        let id = take(&mut map, "id", at)?.map(|v| string(v, &at.key("id"))).transpose()?.filter(|id| !id.is_empty());
        let name = name(&mut map, at)?;
        let arguments = match take(&mut map, "args", at)? {
            Some(args) => Value::Object(object(args, &at.key("args"))?).to_string(),
            None => "{}".to_owned(),
        };
        self.keep(map, at);
        Ok(Part::ToolCall(ToolCall { id, name, arguments, signature, cache: None, kind: ToolKind::Function }))
    }

    fn result(&mut self, value: Value, at: &At<'_>) -> Result<Part, BadRequest> {
        let mut map = object(value, at)?;
        let call_id =
            take(&mut map, "id", at)?.map(|v| string(v, &at.key("id"))).transpose()?.filter(|id| !id.is_empty());
        let name = Some(name(&mut map, at)?);
        let response = match take(&mut map, "response", at)? {
            Some(response) => object(response, &at.key("response"))?,
            None => Map::new(),
        };
        let Said { text, json, is_error } = Said::of(response);
        let mut parts = vec![Part::text(text)];
        if let Some(more) = take(&mut map, "parts", at)? {
            parts.extend(self.parts(more, &at.key("parts"))?);
        }
        self.keep(map, at);
        Ok(Part::ToolResult(ToolResult { call_id, name, parts, json, is_error, cache: None }))
    }

    fn media(&mut self, map: &mut Map<String, Value>, at: &At<'_>) -> Result<Part, BadRequest> {
        let (key, inner) = match take(map, "inlineData", at)? {
            Some(inner) => ("inlineData", inner),
            None => ("fileData", take(map, "fileData", at)?.unwrap_or_default()),
        };
        let at = at.key(key);
        let mut inner = object(inner, &at)?;
        let media_type = take(&mut inner, "mimeType", &at)?.map(|v| string(v, &at.key("mimeType"))).transpose()?;
        let title = take(&mut inner, "displayName", &at)?.map(|v| string(v, &at.key("displayName"))).transpose()?;
        let source = if key == "inlineData" {
            let data = take(&mut inner, "data", &at)?.unwrap_or_else(|| Value::String(String::new()));
            MediaSource::Base64(media::standard_base64(string(data, &at.key("data"))?))
        } else {
            let uri_at = at.key("fileUri");
            let uri = take(&mut inner, "fileUri", &at)?.ok_or_else(|| super::json::missing(&uri_at, "a URI"))?;
            media::file_source(string(uri, &uri_at)?)
        };
        self.keep(inner, &at);
        Ok(media::part(media_type, source, title))
    }
}

/// A part of a kind only Gemini has, or one that carries nothing but a signature.
fn part_without_data(mut map: Map<String, Value>, at: &At<'_>) -> Result<Option<Part>, BadRequest> {
    let bare = map.keys().all(|k| matches!(k.as_str(), "thought" | "thoughtSignature" | "thought_signature"));
    if !bare {
        return Ok(Some(Part::Opaque { dialect: DialectName::Gemini, value: Value::Object(map) }));
    }
    Ok(signature(&mut map, at)?.map(|signature| Part::Text {
        text: String::new(),
        citations: Vec::new(),
        cache: None,
        signature: Some(signature),
    }))
}

fn name(map: &mut Map<String, Value>, at: &At<'_>) -> Result<String, BadRequest> {
    let name_at = at.key("name");
    let value = take(map, "name", at)?.ok_or_else(|| super::json::missing(&name_at, "the function's name"))?;
    string(value, &name_at)
}

fn signature(map: &mut Map<String, Value>, at: &At<'_>) -> Result<Option<ProviderBound>, BadRequest> {
    let value = take(map, "thoughtSignature", at)?.map(|v| string(v, &at.key("thoughtSignature"))).transpose()?;
    // The sentinel is nobody's signature; it is put in again where it is due.
    let value = value.filter(|v| !v.is_empty() && v != NO_SIGNATURE);
    Ok(value.map(|value| ProviderBound { dialect: DialectName::Gemini, value }))
}

/// `mediaResolution` of a part is `OpenAI`'s `detail` where both have the word.
fn detail(map: &mut Map<String, Value>, at: &At<'_>) -> Result<Option<String>, BadRequest> {
    let Some(value) = take(map, "mediaResolution", at)? else { return Ok(None) };
    let level = value.get("level").unwrap_or(&value).as_str().unwrap_or_default();
    let word = match level {
        "MEDIA_RESOLUTION_LOW" => "low",
        "MEDIA_RESOLUTION_HIGH" => "high",
        _ => {
            map.insert("mediaResolution".to_owned(), value);
            return Ok(None);
        }
    };
    Ok(Some(word.to_owned()))
}

/// What a `functionResponse.response` says: under the documented keys `output` and `error`, or as a whole.
struct Said {
    text: String,
    json: bool,
    is_error: bool,
}

impl Said {
    fn of(response: Map<String, Value>) -> Self {
        let stated = |key: &str| response.get(key).filter(|v| !v.is_null());
        let alone = response.len() == 1;
        // An error object that itself holds `error` would read differently once unwrapped.
        let nested = stated("error").and_then(|e| e.get("error")).is_some();
        if let (true, Some(output)) = (alone, stated("output")) {
            return Self::unwrapped(output, false);
        }
        if let (true, false, Some(error)) = (alone, nested, stated("error")) {
            return Self::unwrapped(error, true);
        }
        let is_error = stated("error").is_some() && stated("output").is_none();
        Self { text: Value::Object(response).to_string(), json: true, is_error }
    }

    fn unwrapped(value: &Value, is_error: bool) -> Self {
        match value {
            Value::String(text) => Self { text: text.clone(), json: false, is_error },
            other => Self { text: other.to_string(), json: true, is_error },
        }
    }
}
