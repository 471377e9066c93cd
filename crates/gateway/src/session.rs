//! Which conversation a request belongs to, in the words of callers and of the agents people use.
//!
//! In this order: `session_id` in the body, the header `x-session-id`, `prompt_cache_key`, the agents' own headers,
//! else what the conversation begins with. Read for models that keep sessions alone.

use bytes::Bytes;
use dialect::scan::{Scan, blank};
use http::HeaderMap;
use routing::Session;

/// In the body; a word for gateways, which no provider is sent.
const FIELD: &str = "session_id";
const HEADER: &str = "x-session-id";
const CACHE_KEY: &str = "prompt_cache_key";
/// Of Claude Code, and of Codex.
const AGENTS: [&str; 2] = ["x-claude-code-session-id", "session_id"];

/// The conversation of a request, and its body without what was said for the gateway.
pub(crate) fn session(tenant: Option<&str>, headers: &HeaderMap, scan: &mut Scan, body: Bytes) -> (Session, Bytes) {
    let header = |name: &'static str| {
        let value = headers.get(name).map(http::HeaderValue::as_bytes).filter(|value| !value.is_empty());
        value.map(|value| Session::named(tenant, name, value))
    };
    let field = |name: &str| scan.word(&body, name).map(|word| Session::named(tenant, name, word));
    let named = field(FIELD)
        .or_else(|| header(HEADER))
        .or_else(|| field(CACHE_KEY))
        .or_else(|| AGENTS.into_iter().find_map(header));
    let session =
        named.unwrap_or_else(|| Session::derived(tenant, scan.model_turns, |hasher| scan.hash_opening(&body, hasher)));
    (session, blank(body, scan, FIELD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use canon::DialectName;
    use dialect::PathFacts;
    use dialect::scan::scan;
    use http::HeaderValue;

    fn of(tenant: Option<&str>, headers: &[(&'static str, &'static str)], body: &str) -> (Session, Bytes) {
        let mut scanned = scan(DialectName::OpenaiChat, &PathFacts::default(), body.as_bytes()).unwrap();
        let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value)));
        session(tenant, &headers.collect(), &mut scanned, Bytes::copy_from_slice(body.as_bytes()))
    }

    const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;

    #[test]
    fn of_several_names_the_first_in_the_order_of_places_counts() {
        let whole = r#"{"model":"m","session_id":"a","prompt_cache_key":"c","messages":[]}"#;
        let places = [
            ("session_id", whole),
            ("x-session-id", r#"{"model":"m","prompt_cache_key":"c","messages":[]}"#),
            ("prompt_cache_key", r#"{"model":"m","prompt_cache_key":"c","messages":[]}"#),
            ("x-claude-code-session-id", BODY),
            ("session_id", BODY),
        ];
        let headers = [("x-session-id", "b"), ("x-claude-code-session-id", "d"), ("session_id", "e")];
        let said = [b"a", b"b", b"c", b"d", b"e"];
        for (index, (place, body)) in places.into_iter().enumerate() {
            let headers = match index {
                0 | 1 => &headers[..],
                2 | 3 => &headers[1..],
                _ => &headers[2..],
            };
            assert_eq!(of(Some("t"), headers, body).0, Session::named(Some("t"), place, said[index]), "{index}");
        }
    }

    #[test]
    fn names_that_say_nothing_are_passed_over() {
        let empty =
            r#"{"model":"m","session_id":"","prompt_cache_key":null,"messages":[{"role":"user","content":"hello"}]}"#;
        assert_eq!(of(None, &[("x-session-id", "")], empty).0, of(None, &[], BODY).0);
        assert_ne!(of(Some("t"), &[], BODY).0, of(None, &[], BODY).0, "two tenants are two conversations");
    }

    #[test]
    fn what_was_said_for_the_gateway_goes_no_further() {
        let (_, body) = of(None, &[], r#"{"model":"m","messages":[],"session_id":"a"}"#);
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
            serde_json::json!({"model":"m","messages":[]})
        );
    }
}
