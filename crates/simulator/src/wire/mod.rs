//! The three native dialects, read and written as JSON by hand.
//!
//! Reading is as strict as the provider: an unknown field, a wrong order of roles, an unanswered tool call are refused
//! in the provider's own words, so that a translation that gets them wrong is caught.

mod anthropic;
mod anthropic_config;
mod anthropic_read;
mod check;
mod gemini;
mod gemini_config;
mod gemini_read;
mod openai;
mod openai_config;
mod openai_prefill;
mod openai_read;

use crate::answer::Reply;
use crate::continues::{Continues, NativeWay};
use crate::error::Invalid;
use crate::frame::Frame;
use crate::going_on::{self, GoingOn};
use crate::simulator::Provider;
use canon::DialectName;
use http::HeaderMap;
use serde_json::Value;

/// A tool the caller offers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Offered {
    pub(crate) name: String,
    pub(crate) schema: Value,
}

/// Whether a tool is to be called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Choice {
    #[default]
    Auto,
    Never,
    Some,
    Named(String),
}

/// One turn of the conversation, messages of one side put together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    pub(crate) is_model: bool,
    pub(crate) text: String,
    /// The turn holds tool calls.
    pub(crate) calls: bool,
    /// Name (or id) and text of the tool results in it.
    pub(crate) results: Vec<(String, String)>,
}

/// What a request asks for, whatever its dialect.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// Gemini without `alt=sse`: one JSON array instead of events.
    pub(crate) as_array: bool,
    pub(crate) turns: Vec<Heard>,
    /// What the system says.
    pub(crate) instructions: String,
    /// The text of the prompt: the last user turn, if it does not ask to go on with a partial answer.
    pub(crate) last_user: String,
    pub(crate) images: usize,
    pub(crate) documents: usize,
    pub(crate) sounds: usize,
    pub(crate) tools: Vec<Offered>,
    pub(crate) choice: Choice,
    pub(crate) parallel: bool,
    /// Name (or id) and text of the tool results in the prompt.
    pub(crate) results: Vec<(String, String)>,
    pub(crate) schema: Option<Value>,
    pub(crate) json: bool,
    pub(crate) reasoning: bool,
    /// The dialect shows reasoning only as a number.
    pub(crate) hides_reasoning: bool,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stops: Vec<String>,
    pub(crate) candidates: usize,
    pub(crate) shows_usage: bool,
    /// The last turn is a partial answer to go on with in the provider's native way.
    pub(crate) continues_last: bool,
    /// A token to go on from.
    pub(crate) token: Option<String>,
    /// What is to be gone on with, however that was asked.
    pub(crate) going_on: Option<GoingOn>,
    /// Text events carry a token that lags so many of them behind.
    pub(crate) gives_tokens: Option<u32>,
    pub(crate) caches: bool,
}

impl Asked {
    /// Adds a message of this side to its turn.
    pub(crate) fn hear(&mut self, is_model: bool, change: impl FnOnce(&mut Heard)) {
        if self.turns.last().is_none_or(|turn| turn.is_model != is_model) {
            self.turns.push(Heard { is_model, ..Heard::default() });
        }
        if let Some(turn) = self.turns.last_mut() {
            change(turn);
        }
    }
}

/// What a path is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// The model list.
    Models,
    /// One model's entry.
    Model(String),
    /// An answer; Gemini names model and streaming in the path.
    Answer { model: Option<String>, stream: bool, as_array: bool, is_beta: bool },
}

/// Finds what a method and path are for in this dialect; any prefix before the known part is accepted.
pub(crate) fn route(dialect: DialectName, method: &http::Method, uri: &http::Uri) -> Option<Route> {
    let path = uri.path().trim_end_matches('/');
    if method == http::Method::GET {
        let (_, rest) = path.rsplit_once("/models")?;
        return match rest.strip_prefix('/') {
            Some(name) => Some(Route::Model(check::percent_decoded(name))),
            None => rest.is_empty().then_some(Route::Models),
        };
    }
    if method != http::Method::POST {
        return None;
    }
    let is_beta = path.split('/').any(|part| part == "beta");
    let plain = |suffix: &str| {
        let answer = Route::Answer { model: None, stream: false, as_array: false, is_beta };
        path.ends_with(suffix).then_some(answer)
    };
    match dialect {
        DialectName::OpenaiChat => plain("/chat/completions"),
        DialectName::AnthropicMessages => plain("/messages"),
        DialectName::Gemini => {
            let (model, verb) = path.rsplit_once("/models/")?.1.rsplit_once(':')?;
            let stream = match verb {
                "generateContent" => false,
                "streamGenerateContent" => true,
                _ => return None,
            };
            let is_sse = uri.query().unwrap_or_default().split('&').any(|pair| pair == "alt=sse");
            Some(Route::Answer {
                model: Some(check::percent_decoded(model)),
                stream,
                as_array: stream && !is_sse,
                is_beta,
            })
        }
    }
}

/// Refuses what the provider's door would refuse: a missing or bad key, a missing version.
pub(crate) fn admit(dialect: DialectName, keyless: bool, uri: &http::Uri, headers: &HeaderMap) -> Result<(), Invalid> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bearer = text("authorization").strip_prefix("Bearer ").unwrap_or_default().trim();
    let key = match dialect {
        DialectName::OpenaiChat => bearer,
        DialectName::AnthropicMessages if text("x-api-key").is_empty() => bearer,
        DialectName::AnthropicMessages => text("x-api-key"),
        DialectName::Gemini if text("x-goog-api-key").is_empty() => {
            uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("key=")).unwrap_or(bearer)
        }
        DialectName::Gemini => text("x-goog-api-key"),
    };
    if !keyless && key.is_empty() {
        return Err(match dialect {
            DialectName::OpenaiChat => Invalid::new("You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).").status(401),
            DialectName::AnthropicMessages => Invalid::new("x-api-key header is required").status(401),
            DialectName::Gemini => Invalid::new("Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.").status(403),
        });
    }
    if key.starts_with("bad") {
        return Err(match dialect {
            DialectName::OpenaiChat => {
                Invalid::new("Incorrect API key provided: bad*. You can find your API key at https://platform.openai.com/account/api-keys.")
                    .status(401)
                    .code("invalid_api_key")
            }
            DialectName::AnthropicMessages => Invalid::new("invalid x-api-key").status(401),
            DialectName::Gemini => {
                Invalid::new("API key not valid. Please pass a valid API key.").code("API_KEY_INVALID")
            }
        });
    }
    if dialect == DialectName::AnthropicMessages {
        match text("anthropic-version") {
            "2023-06-01" | "2023-01-01" | "2026-10-21" => {}
            "" => return Err(Invalid::new("anthropic-version: header is required")),
            other => return Err(Invalid::new(format!("anthropic-version: \"{other}\" is not a valid version"))),
        }
    }
    Ok(())
}

/// Reads and checks a request body, and whether it asks to go on with a partial answer.
pub(crate) fn read(dialect: DialectName, route: &Route, body: &[u8], continues: Continues) -> Result<Asked, Invalid> {
    let value: Value = serde_json::from_slice(body).map_err(|error| match dialect {
        DialectName::OpenaiChat => Invalid::new(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
        ),
        DialectName::AnthropicMessages => {
            Invalid::new(format!("The request body is not valid JSON: {error}"))
        }
        DialectName::Gemini => Invalid::new(format!("Invalid JSON payload received. {error}")),
    })?;
    let mut asked = match dialect {
        DialectName::OpenaiChat => {
            openai_read::read(&value, continues, matches!(route, Route::Answer { is_beta: true, .. }))
        }
        DialectName::AnthropicMessages => anthropic_read::read(&value, continues),
        DialectName::Gemini => {
            let Route::Answer { model: Some(model), stream, as_array, .. } = route else {
                return Err(Invalid::new("models: no model in the path").status(404));
            };
            let asked = gemini_read::read(&value, model, continues)?;
            Ok(Asked { stream: *stream, as_array: *as_array, ..asked })
        }
    }?;
    if continues.way(dialect) == Some(NativeWay::Token) {
        asked.gives_tokens = Some(continues.lag);
    }
    going_on::recognise(&mut asked)?;
    Ok(asked)
}

/// The answer as one JSON value.
pub(crate) fn whole(dialect: DialectName, asked: &Asked, reply: &Reply) -> Value {
    match dialect {
        DialectName::OpenaiChat => openai::whole(asked, reply),
        DialectName::AnthropicMessages => anthropic::whole(asked, reply),
        DialectName::Gemini => gemini::whole(asked, reply),
    }
}

/// The answer as events.
pub(crate) fn frames(dialect: DialectName, asked: &Asked, reply: &Reply) -> Vec<Frame> {
    match dialect {
        DialectName::OpenaiChat => openai::frames(asked, reply),
        DialectName::AnthropicMessages => anthropic::frames(asked, reply),
        DialectName::Gemini => gemini::frames(asked, reply),
    }
}

/// The provider's model list, or one entry of it.
pub(crate) fn models(provider: &Provider, name: Option<&str>) -> Result<Value, Invalid> {
    let dialect = provider.dialect;
    let entry = |model: &str| match dialect {
        DialectName::OpenaiChat => openai::model(model, &provider.name),
        DialectName::AnthropicMessages => anthropic::model(model),
        DialectName::Gemini => gemini::model(model),
    };
    let listed = provider.listed();
    if let Some(name) = name {
        let is_listed = listed.iter().any(|model| model == name);
        return is_listed.then(|| entry(name)).ok_or_else(|| unknown_model(dialect, name));
    }
    let entries: Vec<Value> = listed.iter().map(|model| entry(model)).collect();
    Ok(match dialect {
        DialectName::OpenaiChat => serde_json::json!({"object": "list", "data": entries}),
        DialectName::AnthropicMessages => serde_json::json!({
            "data": entries, "has_more": false, "first_id": listed.first(), "last_id": listed.last(),
        }),
        DialectName::Gemini => serde_json::json!({"models": entries}),
    })
}

/// The provider's words for a model it does not have.
pub(crate) fn unknown_model(dialect: DialectName, model: &str) -> Invalid {
    match dialect {
        DialectName::OpenaiChat => {
            Invalid::new(format!("The model `{model}` does not exist or you do not have access to it."))
                .code("model_not_found")
        }
        DialectName::AnthropicMessages => Invalid::new(format!("model: {model}")),
        DialectName::Gemini => Invalid::new(format!(
            "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods."
        )),
    }
    .status(404)
}
