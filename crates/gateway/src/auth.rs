//! Who calls: the key of the request, checked in constant time.
//!
//! Each dialect's usual header is read on every surface, so that an SDK needs nothing but its base URL and key.

use crate::surface::query_value;
use canon::CallerError;
use config::CallerKey;
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Finds the key a request carries: `authorization: Bearer`, `x-api-key`, `x-goog-api-key`, `?key=`.
fn presented(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim).filter(|v| !v.is_empty());
    if let Some(key) = text("x-api-key").or_else(|| text("x-goog-api-key")).or_else(|| text("api-key")) {
        return Some(key.to_owned());
    }
    if let Some(value) = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()) {
        let (scheme, key) = value.split_once(' ').unwrap_or(("", value));
        if scheme.is_empty() || scheme.eq_ignore_ascii_case("bearer") {
            return Some(key.trim().to_owned());
        }
    }
    query_value(query, "key")
}

/// Checks the caller. `Ok(None)` = no keys are configured and the address is open.
pub(crate) fn check<'a>(
    keys: &'a [CallerKey],
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Option<&'a CallerKey>, CallerError> {
    if keys.is_empty() {
        return Ok(None);
    }
    let Some(key) = presented(headers, query) else {
        return Err(CallerError::new(
            401,
            "missing_api_key",
            "no API key: send it as `Authorization: Bearer KEY`, `x-api-key` or `x-goog-api-key`",
        ));
    };
    let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    // Every key is compared, so that the time taken does not tell which one came close.
    let mut found = None;
    for candidate in keys {
        if bool::from(candidate.hash.ct_eq(&hash)) {
            found = Some(candidate);
        }
    }
    match found {
        Some(key) => Ok(Some(key)),
        None => Err(CallerError::new(401, "invalid_api_key", "this API key is not one of the gateway's `keys`")),
    }
}

/// Whether a request carries the secret of this SHA-256 as `Authorization: Bearer`.
pub(crate) fn is_bearer(secret: &[u8; 32], headers: &HeaderMap) -> bool {
    let carried = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, carried)) = carried.and_then(|value| value.split_once(' ')) else { return false };
    let hash: [u8; 32] = Sha256::digest(carried.trim().as_bytes()).into();
    scheme.eq_ignore_ascii_case("bearer") && bool::from(secret.ct_eq(&hash))
}

/// Whether a caller may use a model.
pub(crate) fn may_use(key: Option<&CallerKey>, model: &str) -> Result<(), CallerError> {
    match key {
        Some(key) if !key.allows(model) => Err(CallerError::new(
            403,
            "model_not_allowed",
            format!(
                "key `{}` may not use model `{model}`: add it to the key's `models` in the configuration",
                key.name
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<CallerKey> {
        vec![CallerKey {
            name: "bot".to_owned(),
            hash: Sha256::digest(b"sk-bot").into(),
            models: vec!["chat".to_owned()],
            priority: canon::Priority::default(),
        }]
    }

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, http::HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn each_dialects_usual_header_is_read() {
        for headers in
            [with("authorization", "Bearer sk-bot"), with("x-api-key", "sk-bot"), with("x-goog-api-key", "sk-bot")]
        {
            assert_eq!(check(&keys(), &headers, None).expect("known").map(|k| k.name.as_str()), Some("bot"));
        }
        assert!(check(&keys(), &HeaderMap::new(), Some("alt=sse&key=sk-bot")).is_ok());
    }

    #[test]
    fn a_missing_and_a_wrong_key_are_told_apart() {
        let missing = check(&keys(), &HeaderMap::new(), None).expect_err("missing");
        let wrong = check(&keys(), &with("x-api-key", "sk-other"), None).expect_err("wrong");
        assert_eq!((missing.status, missing.code.as_str()), (401, "missing_api_key"));
        assert_eq!((wrong.status, wrong.code.as_str()), (401, "invalid_api_key"));
        assert!(!wrong.message.contains("sk-other"));
    }

    #[test]
    fn a_key_reaches_only_its_models() {
        let keys = keys();
        assert!(may_use(keys.first(), "chat").is_ok());
        assert_eq!(may_use(keys.first(), "other").expect_err("not allowed").status, 403);
    }
}
