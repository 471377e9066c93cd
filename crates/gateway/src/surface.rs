//! Surfaces: which dialect a path speaks and what is asked of it.
//!
//! Routing is decided on the parsed path alone, never on `Host`. Model names hold slashes and colons, so the few routes
//! are matched by hand.

use canon::DialectName;
use dialect::PathFacts;
use http::{HeaderMap, Method};

/// What a request line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// A chat answer.
    Chat(DialectName, PathFacts),
    /// The list of models, in a dialect's shape.
    Models(DialectName),
    /// One model of that list.
    Model(DialectName, String),
    /// Reports of incidents, where the configuration takes any.
    Incidents,
    /// Whether the process lives.
    HealthLive,
    /// Whether it takes traffic.
    HealthReady,
    /// The path exists, the method does not.
    WrongMethod {
        /// The dialect the answer is written in.
        dialect: DialectName,
        /// The methods that exist.
        allow: &'static str,
    },
    /// No such path.
    Unknown(DialectName),
}

/// Model lists that are Google's alone. `/v1/models`, the default of its SDKs, is shared with the other vendors.
const GEMINI_LISTS: [&str; 2] = ["/v1beta/models", "/v1alpha/models"];

/// Decides what a request line asks for.
pub fn route(method: &Method, path: &str, query: Option<&str>, headers: &HeaderMap) -> Route {
    match path {
        "/v1/chat/completions" => only_post(method, DialectName::OpenaiChat, PathFacts::default()),
        "/v1/messages" => only_post(method, DialectName::AnthropicMessages, PathFacts::default()),
        "/v1/models" => only_get(method, models_dialect(headers), Route::Models),
        _ if GEMINI_LISTS.contains(&path) => only_get(method, DialectName::Gemini, Route::Models),
        "/health/live" => only_get(method, DialectName::OpenaiChat, |_| Route::HealthLive),
        "/health/ready" => only_get(method, DialectName::OpenaiChat, |_| Route::HealthReady),
        "/mainstay/incidents" => Route::Incidents,
        _ => nested(method, path, query, headers),
    }
}

fn nested(method: &Method, path: &str, query: Option<&str>, headers: &HeaderMap) -> Route {
    let google = GEMINI_LISTS.iter().find_map(|list| path.strip_prefix(list)?.strip_prefix('/'));
    let Some(name) = google.or_else(|| path.strip_prefix("/v1/models/")) else {
        return Route::Unknown(error_dialect(path, headers));
    };
    // Google's SDKs say `v1` unless told otherwise, so the verb tells, not the version.
    if let Some(facts) = generation(name, query) {
        return only_post(method, DialectName::Gemini, facts);
    }
    let dialect = if google.is_some() { DialectName::Gemini } else { models_dialect(headers) };
    only_get(method, dialect, |d| Route::Model(d, percent_decode(name)))
}

/// `MODEL:generateContent` or `MODEL:streamGenerateContent`, where it is one.
fn generation(name: &str, query: Option<&str>) -> Option<PathFacts> {
    let (model, verb) = name.rsplit_once(':')?;
    let stream = match verb {
        "generateContent" => false,
        "streamGenerateContent" => true,
        _ => return None,
    };
    Some(PathFacts { model: Some(percent_decode(model)), stream, json_array: stream && !wants_sse(query) })
}

fn only_post(method: &Method, dialect: DialectName, facts: PathFacts) -> Route {
    if method == Method::POST { Route::Chat(dialect, facts) } else { Route::WrongMethod { dialect, allow: "POST" } }
}

fn only_get(method: &Method, dialect: DialectName, route: impl FnOnce(DialectName) -> Route) -> Route {
    if method == Method::GET || method == Method::HEAD {
        route(dialect)
    } else {
        Route::WrongMethod { dialect, allow: "GET, HEAD" }
    }
}

/// `/v1/models` is shared by three vendors. Anthropic's SDKs always send `anthropic-version`, Google's their key or
/// name.
fn models_dialect(headers: &HeaderMap) -> DialectName {
    if headers.contains_key("anthropic-version") {
        DialectName::AnthropicMessages
    } else if headers.contains_key("x-goog-api-key") || headers.contains_key("x-goog-api-client") {
        DialectName::Gemini
    } else {
        DialectName::OpenaiChat
    }
}

fn error_dialect(path: &str, headers: &HeaderMap) -> DialectName {
    if path.starts_with("/v1beta/") || path.starts_with("/v1alpha/") {
        DialectName::Gemini
    } else {
        models_dialect(headers)
    }
}

fn wants_sse(query: Option<&str>) -> bool {
    query.is_some_and(|q| q.split('&').any(|pair| pair == "alt=sse" || pair == "$alt=sse"))
}

/// The value of a query parameter, percent-decoded.
pub(crate) fn query_value(query: Option<&str>, name: &str) -> Option<String> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| percent_decode(value))
    })
}

/// Percent-decoding; a broken escape stays as it is, and bytes that are not UTF-8 are replaced.
pub(crate) fn percent_decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(&byte) = bytes.next() {
        if byte == b'%' {
            let rest = bytes.as_slice();
            let hex = |b: Option<&u8>| b.and_then(|b| (*b as char).to_digit(16));
            if let (Some(high), Some(low)) = (hex(rest.first()), hex(rest.get(1))) {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                bytes.nth(1);
                continue;
            }
        }
        out.push(byte);
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &Method, path: &str, query: Option<&str>) -> Route {
        route(method, path, query, &HeaderMap::new())
    }

    #[test]
    fn a_gemini_path_carries_model_and_kind_of_call() {
        let expected = PathFacts { model: Some("openai/gpt-5.1:thinking".to_owned()), stream: true, json_array: false };
        assert_eq!(
            of(&Method::POST, "/v1beta/models/openai/gpt-5.1%3Athinking:streamGenerateContent", Some("key=x&alt=sse")),
            Route::Chat(DialectName::Gemini, expected)
        );
    }

    #[test]
    fn a_gemini_stream_without_alt_sse_is_a_json_array() {
        match of(&Method::POST, "/v1beta/models/m:streamGenerateContent", None) {
            Route::Chat(_, facts) => assert!(facts.json_array),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn model_lists_speak_anthropic_to_anthropic_headers() {
        let mut headers = HeaderMap::new();
        assert_eq!(route(&Method::GET, "/v1/models", None, &headers), Route::Models(DialectName::OpenaiChat));
        headers.insert("anthropic-version", http::HeaderValue::from_static("2023-06-01"));
        assert_eq!(route(&Method::GET, "/v1/models", None, &headers), Route::Models(DialectName::AnthropicMessages));
    }

    #[test]
    fn googles_sdks_are_served_under_every_version_they_say() {
        for version in ["v1", "v1beta", "v1alpha"] {
            let expected = PathFacts { model: Some("m".to_owned()), stream: false, json_array: false };
            assert_eq!(
                of(&Method::POST, &format!("/{version}/models/m:generateContent"), None),
                Route::Chat(DialectName::Gemini, expected)
            );
            let mut headers = HeaderMap::new();
            headers.insert("x-goog-api-key", http::HeaderValue::from_static("k"));
            assert_eq!(
                route(&Method::GET, &format!("/{version}/models"), None, &headers),
                Route::Models(DialectName::Gemini)
            );
            assert_eq!(
                route(&Method::GET, &format!("/{version}/models/m"), None, &headers),
                Route::Model(DialectName::Gemini, "m".to_owned())
            );
        }
    }

    #[test]
    fn a_colon_in_a_model_name_is_no_verb() {
        assert_eq!(
            of(&Method::GET, "/v1/models/ollama/llama3:8b", None),
            Route::Model(DialectName::OpenaiChat, "ollama/llama3:8b".to_owned())
        );
    }

    #[test]
    fn a_wrong_method_names_the_right_one() {
        assert_eq!(
            of(&Method::GET, "/v1/chat/completions", None),
            Route::WrongMethod { dialect: DialectName::OpenaiChat, allow: "POST" }
        );
    }

    #[test]
    fn broken_percent_escapes_stay_as_they_are() {
        assert_eq!(percent_decode("a%2Fb%zz%4"), "a/b%zz%4");
    }
}
