//! A caller's request, read and scanned: what every attempt of the exchange is made from.

use crate::announced::Announced;
use crate::clock;
use crate::ruling::LABELS;
use bytes::Bytes;
use canon::{CallerError, DialectName, Priority, Request};
use catalog::Moment;
use dialect::scan::{Field, Scan};
use dialect::{BadRequest, PathFacts};
use http::HeaderMap;
use routing::tier::Assigned;
use routing::{Labels, Needs, RescueMode, Session, Sticky, Unit};
use std::sync::OnceLock;
use std::time::Duration;

/// The scanned request. The canonical form is made once, by the first attempt that needs it.
pub(crate) struct Inquiry {
    /// The dialect it came in, and the answer goes out in.
    pub dialect: DialectName,
    /// What the path said.
    pub path: PathFacts,
    /// The caller's headers.
    pub headers: HeaderMap,
    /// The body, shared by every attempt.
    pub body: Bytes,
    /// What routing needs to know of it.
    pub scan: Scan,
    /// The conversation it belongs to, where its model keeps sessions.
    session: Option<Session>,
    /// Whom the splits of its model keep to their arms.
    pub unit: Option<Unit>,
    /// Its tier, where a label or its text says so.
    pub tier: Option<Assigned>,
    /// Who is served first, where somebody goes by that.
    pub priority: Priority,
    /// How long its caller waits for the first byte, where it says so.
    pub announced: Option<Announced>,
    asked_at: Moment,
    canonical: OnceLock<Result<Request, BadRequest>>,
}

impl Inquiry {
    /// Wraps a scanned body.
    pub(crate) fn new(dialect: DialectName, path: PathFacts, headers: HeaderMap, body: Bytes, scan: Scan) -> Self {
        let asked_at = Moment::from_unix(u64::try_from(clock::unix_seconds()).unwrap_or(0));
        Self {
            dialect,
            path,
            headers,
            body,
            scan,
            session: None,
            unit: None,
            tier: None,
            priority: Priority::default(),
            announced: None,
            asked_at,
            canonical: OnceLock::new(),
        }
    }

    /// As part of a conversation.
    pub(crate) fn of(self, session: Option<Session>) -> Self {
        Self { session, ..self }
    }

    /// With whom the splits of its model keep to their arms.
    pub(crate) fn kept_by(mut self, sticky: Option<Sticky>, tenant: Option<&str>) -> Self {
        self.unit = match sticky {
            None => None,
            Some(Sticky::Session) => self.session.and_then(Unit::of_session),
            Some(Sticky::User) => {
                let header = self.headers.get(LABELS).and_then(|value| value.to_str().ok());
                let labels = Labels::read(&self.scan, &self.body, header);
                // A dialect that has no place for the user names it in a label.
                labels.user().or_else(|| labels.label("user")).map(|user| Unit::of_user(tenant, user))
            }
        };
        self
    }

    /// What it needs of a target.
    pub(crate) fn needs(&self) -> Needs {
        let Self { session, unit, tier, priority, asked_at, .. } = *self;
        Needs { asked_at: Some(asked_at), session, unit, tier, priority, ..Needs::from(&self.scan) }
    }

    /// The time the caller gives the whole exchange: `x-mainstay-timeout` in seconds, or with a unit (`1500ms`, `20s`).
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let text = self.headers.get("x-mainstay-timeout")?.to_str().ok()?.trim();
        let (number, scale) = match text.strip_suffix("ms") {
            Some(number) => (number, 0.001),
            None => (text.strip_suffix('s').unwrap_or(text), 1.0),
        };
        let seconds: f64 = number.trim().parse().ok()?;
        Duration::try_from_secs_f64(seconds * scale).ok().filter(|d| !d.is_zero())
    }

    /// `x-mainstay-rescue: resume | restart | error`: what is done if the stream breaks, where the caller says so.
    ///
    /// # Errors
    /// Names the words it may be.
    pub(crate) fn rescue(&self) -> Result<Option<RescueMode>, CallerError> {
        let Some(word) = self.headers.get("x-mainstay-rescue") else { return Ok(None) };
        match word.as_bytes() {
            b"resume" => Ok(Some(RescueMode::Resume)),
            b"restart" => Ok(Some(RescueMode::Restart)),
            b"error" => Ok(Some(RescueMode::Error)),
            _ => Err(CallerError::new(
                400,
                "invalid_header",
                "`x-mainstay-rescue` is none of `resume`, `restart` and `error`",
            )),
        }
    }

    /// `x-mainstay-restart: accept`: the caller knows what to do with an answer that begins anew in the same stream.
    pub(crate) fn accepts_restart(&self) -> bool {
        self.headers.get("x-mainstay-restart").is_some_and(|word| word == "accept")
    }

    /// `x-mainstay-release: early`: tool calls and structured output are not held to completeness.
    pub(crate) fn releases_early(&self) -> bool {
        self.headers.get("x-mainstay-release").is_some_and(|word| word == "early")
    }

    /// JSON mode or JSON Schema output is asked for.
    pub(crate) fn is_structured(&self) -> bool {
        let says = |fields: &[Field], keys: &[&str], word: &[u8]| {
            fields.iter().filter(|field| keys.contains(&&*field.key)).any(|field| {
                let value = self.body.get(field.value_range.clone()).unwrap_or_default();
                value.windows(word.len()).any(|window| window == word)
            })
        };
        self.scan.has_json_schema
            || says(&self.scan.fields, &["response_format"], b"json_object")
            || says(&self.scan.places.config_fields, &["responseMimeType", "response_mime_type"], b"application/json")
    }

    /// Whether two targets may be asked at a time: nothing in it is bound to one provider (signed or encrypted
    /// reasoning, a cached prompt, a stored conversation, a container), and it has no provider call servers of the
    /// caller's, which may change something there.
    pub(crate) fn may_be_asked_twice(&self) -> bool {
        const BOUND_FIELDS: [&str; 6] =
            ["previous_response_id", "conversation", "container", "mcp_servers", "cachedContent", "cached_content"];
        const BOUND_CONTENT: [&[u8]; 5] = [
            b"\"signature\"",
            b"\"redacted_thinking\"",
            b"\"thoughtSignature\"",
            b"\"thought_signature\"",
            b"\"encrypted_content\"",
        ];
        let has = |word: &&[u8]| memchr::memmem::find(&self.body, word).is_some();
        !self.scan.fields.iter().any(|field| BOUND_FIELDS.contains(&&*field.key))
            && (self.scan.model_turns == 0 || !BOUND_CONTENT.iter().any(has))
    }

    /// Whether the caller's SDK says that this request is its own retry.
    pub(crate) fn is_callers_retry(&self) -> bool {
        self.headers.get("x-stainless-retry-count").is_some_and(|count| count != "0")
    }

    /// The canonical request; an error when the body is not a request of its dialect.
    pub(crate) fn canonical(&self) -> Result<&Request, &BadRequest> {
        self.canonical.get_or_init(|| dialect::inbound(self.dialect).decode_request(&self.path, &self.body)).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_be_asked_twice(body: &'static str) -> bool {
        let path = PathFacts { model: Some("m".to_owned()), ..PathFacts::default() };
        let scan = dialect::scan::scan(DialectName::AnthropicMessages, &path, body.as_bytes()).unwrap();
        let body = Bytes::from_static(body.as_bytes());
        Inquiry::new(DialectName::AnthropicMessages, path, HeaderMap::new(), body, scan).may_be_asked_twice()
    }

    #[test]
    fn what_one_provider_alone_can_read_or_what_has_it_act_elsewhere_is_asked_once() {
        const SIGNED: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"},{"role":"assistant",
            "content":[{"type":"thinking","thinking":"b","signature":"c2ln"}]},{"role":"user","content":"d"}]}"#;
        const SAID: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"\"signature\": e"},
            {"role":"assistant","content":"\"signature\""},{"role":"user","content":"d"}]}"#;
        const SERVERS: &str = r#"{"model":"m","max_tokens":9,"mcp_servers":[],"messages":[]}"#;
        assert!(!may_be_asked_twice(SIGNED) && !may_be_asked_twice(SERVERS));
        assert!(may_be_asked_twice(SAID), "a word of the text binds nothing");
    }
}
