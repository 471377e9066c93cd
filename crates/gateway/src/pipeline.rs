//! The way of a request, phase by phase. Each phase consumes the one before:
//! `Received → Admitted → Planned → Committed`, and only a committed exchange has anything to say.

use crate::announced::Announced;
use crate::body::{BodyError, Buffered, ReadLimits};
use crate::inquiry::Inquiry;
use crate::memory::Held;
use crate::respond::{self, GatewayBody, names};
use crate::ruling::Found;
use crate::server::MAX_HEAD;
use crate::settle::{self, Earlier, Settlement};
use crate::surface::{self, Route};
use crate::witness::{Keeper, Witness};
use crate::{Current, Gateway, auth, body, clock, linger, models, reuse, session, tier};
use bytes::{Bytes, BytesMut};
use canon::{CallerError, DialectName, Instant, Priority};
use config::{CallerKey, Snapshot};
use dialect::{PathFacts, StreamShape, scan};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use routing::{Labels, Model, Plan, Sticky};
use std::sync::Arc;

/// A request whose head was read.
struct Received<B> {
    dialect: DialectName,
    path: PathFacts,
    query: Option<String>,
    headers: HeaderMap,
    body: B,
    request_id: Arc<str>,
    started: Instant,
    witness: Option<Arc<Witness>>,
}

/// A request of a known caller, read and scanned, with the model it asks for. Cheap to clone: an exchange that waits
/// for a target is planned anew.
#[derive(Clone)]
pub(crate) struct Admitted {
    /// The caller's request.
    pub inquiry: Arc<Inquiry>,
    /// The logical model.
    pub model: Arc<Model>,
    /// The caller's key, by name.
    pub caller: Option<Arc<str>>,
    /// Its share of the byte budget.
    pub held: Arc<Held>,
    /// The exchange's id.
    pub request_id: Arc<str>,
    /// When it was accepted.
    pub started: Instant,
    /// Follows the exchange while a history is kept.
    pub witness: Option<Arc<Witness>>,
}

/// An admitted request with its candidates.
pub(crate) struct Planned {
    /// The caller's request.
    pub inquiry: Arc<Inquiry>,
    /// The logical model.
    pub model: Arc<Model>,
    /// The candidates, and who was left out.
    pub plan: Plan,
    /// What is written down at the end.
    pub settlement: Settlement,
    /// How the caller's stream must look.
    pub shape: StreamShape,
    /// Its share of the byte budget.
    pub held: Arc<Held>,
    /// It asks an evaluator: what it says is not evaluated in turn.
    pub is_evaluation: bool,
    /// Nobody waits for its first byte: the head has gone to the caller, or there is none.
    pub is_unawaited: bool,
}

/// A body that can be read off after an early refusal.
pub trait CallerBody: Body<Data = Bytes> + Unpin {
    /// The connection's own body, when there is a connection.
    fn into_incoming(self) -> Option<Incoming>;
}

impl CallerBody for Incoming {
    fn into_incoming(self) -> Option<Incoming> {
        Some(self)
    }
}

impl CallerBody for http_body_util::Full<Bytes> {
    fn into_incoming(self) -> Option<Incoming> {
        None
    }
}

impl Gateway {
    /// Answers one request. Never fails: whatever happens becomes a response in the caller's dialect.
    pub async fn handle<B: CallerBody>(&self, request: Request<B>) -> Response<GatewayBody> {
        let started = self.shared.clock.now();
        let (parts, body) = request.into_parts();
        let seed = self.next_seed();
        let request_id: Arc<str> = request_id(&parts.headers, seed).into();
        let current = self.current.load_full();
        let snapshot = &current.snapshot;
        let query = parts.uri.query();
        let is_anthropic = parts.headers.contains_key("anthropic-version");
        let mut keeper = Keeper::new(None);
        let mut response = match surface::route(&parts.method, parts.uri.path(), query, &parts.headers) {
            Route::Chat(dialect, path) => {
                let history = self.history.as_ref();
                let witness = history.map(|it| Witness::new(it, request_id.clone(), dialect, path.json_array));
                keeper = Keeper::new(witness.clone());
                let received = Received {
                    witness,
                    dialect,
                    path,
                    query: query.map(str::to_owned),
                    headers: parts.headers,
                    body,
                    request_id: request_id.clone(),
                    started,
                };
                // Boxed: the connection keeps room for this future while a stream is relayed, long after it is done.
                Box::pin(self.chat(&current, received, seed)).await
            }
            Route::Models(dialect) => match auth::check(&snapshot.keys, &parts.headers, query) {
                Ok(key) => models::list(snapshot, dialect, key),
                Err(error) => respond::error(dialect, &error),
            },
            Route::Model(dialect, name) => match auth::check(&snapshot.keys, &parts.headers, query) {
                Ok(key) => models::one(snapshot, dialect, &name, key),
                Err(error) => respond::error(dialect, &error),
            },
            // Boxed, as nobody but a feed's own sender comes here.
            Route::Incidents => Box::pin(self.take_reports(&current, &parts, body)).await,
            Route::HealthLive => respond::json(&serde_json::json!({ "status": "live" })),
            Route::HealthReady => self.ready(),
            Route::WrongMethod { dialect, allow } => wrong_method(dialect, allow),
            Route::Unknown(dialect) => unknown_path(dialect, parts.uri.path()),
        };
        respond::set(response.headers_mut(), names::REQUEST_ID, &request_id);
        if !response.body().is_stream() && !response.headers().contains_key(names::COST) {
            respond::complete(response.headers_mut());
        }
        if is_anthropic && !response.headers().contains_key(names::ANTHROPIC_REQUEST_ID) {
            respond::set(response.headers_mut(), names::ANTHROPIC_REQUEST_ID, &request_id);
        }
        keeper.responds(&response);
        if parts.version == http::Version::HTTP_2 {
            response = response.map(|body| self.readers.watch(body));
        }
        response
    }

    async fn chat<B: CallerBody>(
        &self,
        current: &Arc<Current>,
        received: Received<B>,
        seed: u64,
    ) -> Response<GatewayBody> {
        let request_id = received.request_id.clone();
        let wants_trace = wants_trace(&received.headers);
        match self.admit(&current.snapshot, received).await {
            Ok(admitted) => reuse::answer(&self.shared, current, admitted, seed).await,
            Err(mut refusal) => {
                if wants_trace {
                    respond::tell(&mut refusal, &settle::story_of_refusal(&request_id));
                }
                refusal
            }
        }
    }

    async fn admit<B: CallerBody>(
        &self,
        snapshot: &Snapshot,
        received: Received<B>,
    ) -> Result<Admitted, Response<GatewayBody>> {
        let Received { dialect, path, query, headers, mut body, request_id, started, witness } = received;
        // Key, content type and declared length are checked before the body is asked for, so before `100 Continue`.
        let key = match precheck(snapshot, &headers, query.as_deref()) {
            Ok(key) => key,
            Err(error) => return Err(refuse(dialect, &error, &headers, body)),
        };
        let limits = ReadLimits { bytes: snapshot.limits.body, idle: snapshot.limits.caller_idle };
        let buffered = match body::read(&headers, &mut body, &self.shared.budget, limits).await {
            Ok(buffered) => buffered,
            // Nothing more is on its way that would have to be read off.
            Err(BodyError::Slow) => return Err(respond::error(dialect, &body_error(&BodyError::Slow))),
            Err(error) => return Err(refuse(dialect, &body_error(&error), &headers, body)),
        };
        let Buffered { bytes, held } = buffered;
        let plain = |error: CallerError| respond::error(dialect, &error);
        let mut scan = scan::scan(dialect, &path, &bytes).map_err(|bad| {
            plain(CallerError { parameter: bad.parameter, ..CallerError::new(400, bad.code, bad.message) })
        })?;
        let (name, suffix) = snapshot.split_tier(&scan.model);
        auth::may_use(key, name).map_err(plain)?;
        let model = snapshot.resolve(name).map_err(|unknown| {
            plain(CallerError {
                parameter: Some("model".to_owned()),
                ..CallerError::new(404, "model_not_found", unknown.to_string())
            })
        })?;
        let sticky = model.sticky();
        let (session, bytes) = if model.settings.sessions.is_some() || sticky == Some(Sticky::Session) {
            let (session, bytes) = session::session(key.map(|key| &*key.name), &headers, &mut scan, bytes);
            (Some(session), bytes)
        } else {
            (None, bytes)
        };
        let inquiry = Inquiry::new(dialect, path, owned(headers), bytes, scan).of(session);
        let mut inquiry = inquiry.kept_by(sticky, key.map(|key| &*key.name));
        inquiry.tier = tier::read(&model, &inquiry, suffix).map_err(plain)?;
        inquiry.rescue().map_err(plain)?;
        inquiry.priority = priority(key, snapshot, &model, &inquiry);
        inquiry.announced = Announced::read(&inquiry.headers, started, || self.shared.clock.now());
        Ok(Admitted {
            inquiry: Arc::new(inquiry),
            model,
            caller: key.map(|k| Arc::from(k.name.as_str())),
            held: Arc::new(held),
            request_id,
            started,
            witness,
        })
    }

    fn ready(&self) -> Response<GatewayBody> {
        if self.shared.drain.life() == crate::drain::Life::Serving {
            return respond::json(&serde_json::json!({ "status": "ready" }));
        }
        let mut response = respond::json(&serde_json::json!({ "status": "draining" }));
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        response
    }
}

/// What can be refused by the head alone.
fn precheck<'a>(
    snapshot: &'a Snapshot,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Option<&'a CallerKey>, CallerError> {
    // hyper looks at its limit only between two reads, so that a head that arrives at once may be past it.
    let head: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if head > MAX_HEAD {
        return Err(CallerError::new(
            431,
            "request_headers_too_large",
            format!("the headers are {head} bytes; send at most {} KiB of them", MAX_HEAD >> 10),
        ));
    }
    let key = auth::check(&snapshot.keys, headers, query)?;
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        let kind = kind.to_str().unwrap_or("?");
        let essence = kind.split(';').next().unwrap_or(kind).trim();
        // curl's default for `-d` is a form; the body tells soon enough whether it is JSON.
        let readable = essence.eq_ignore_ascii_case("application/json")
            || essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
            || essence.eq_ignore_ascii_case("text/plain")
            || essence.to_ascii_lowercase().ends_with("+json");
        if !readable {
            return Err(CallerError::new(
                415,
                "unsupported_content_type",
                format!("content-type `{essence}` is not readable here: send `application/json`"),
            ));
        }
    }
    Ok(key)
}

/// `x-mainstay-trace: 1`.
pub(crate) fn wants_trace(headers: &HeaderMap) -> bool {
    headers.get("x-mainstay-trace").is_some_and(|v| v == "1" || v == "true")
}

/// Who is served first where requests wait: what the key says, or what the caller says of a request that may wait
/// longer than that, in a header or a label. Read only where somebody goes by it.
fn priority(key: Option<&CallerKey>, snapshot: &Snapshot, model: &Model, inquiry: &Inquiry) -> Priority {
    if !snapshot.goes_by_priority(&model.name) {
        return Priority::default();
    }
    let header = inquiry.headers.get("x-mainstay-priority").and_then(|word| Priority::parse(word.to_str().ok()?));
    let label = || {
        let labelled = inquiry.scan.fields.iter().any(|field| field.key == "metadata");
        let labels = labelled.then(|| Labels::read(&inquiry.scan, &inquiry.body, None))?;
        Priority::parse(labels.label("priority")?)
    };
    Priority::of(key.map(|key| key.priority), header.or_else(label))
}

impl Admitted {
    /// What the caller's bytes must look like if it streams.
    pub(crate) fn shape(&self) -> StreamShape {
        let inquiry = &self.inquiry;
        StreamShape {
            usage: inquiry.scan.stream_usage || inquiry.dialect != DialectName::OpenaiChat,
            json_array: inquiry.path.json_array,
            fallback_id: self.request_id.to_string(),
            fallback_model: self.model.name.clone(),
            created: clock::unix_seconds(),
        }
    }

    /// Finds the candidates as things stand; `earlier` is what this exchange has been through.
    pub(crate) fn plan(self, earlier: Earlier, now: Instant, seed: u64) -> Planned {
        let Found { plan, overridden } = self.find(now, seed);
        let settlement = Settlement {
            request_id: self.request_id.clone(),
            model: Arc::from(self.model.name.as_str()),
            caller: self.caller.clone(),
            started: self.started,
            trace: wants_trace(&self.inquiry.headers).then(|| settle::told_of(&plan, &self.model)),
            rules: plan.rules.clone(),
            tier: tier::Told::of(&plan, &self.model, &self.inquiry),
            earlier,
            cache: respond::NONE,
            watch: None,
            witness: self.witness.clone(),
            seats: None,
        };
        let shape = self.shape();
        let Self { inquiry, model, held, .. } = self;
        let model = overridden.unwrap_or(model);
        Planned { inquiry, model, plan, settlement, shape, held, is_evaluation: false, is_unawaited: false }
    }
}

/// Refuses before the body was read; what the caller is still sending is read off, so that the answer arrives.
pub(crate) fn refuse<B: CallerBody>(
    dialect: DialectName,
    error: &CallerError,
    headers: &HeaderMap,
    body: B,
) -> Response<GatewayBody> {
    let mut response = respond::error(dialect, error);
    // A caller that waits for `100 Continue` has sent nothing and will not.
    let waits = headers.get(header::EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if body.is_end_stream() || waits {
        return response;
    }
    if let (GatewayBody::Whole(answer, _), Some(rest)) = (response.body_mut(), body.into_incoming()) {
        let answer = answer.take().unwrap_or_default();
        *response.body_mut() = GatewayBody::Lingering(Box::new(linger::Lingering::new(answer, rest)));
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The headers in an allocation of their own. As hyper hands them on they are parts of the connection's read buffer,
/// which could not be used again as long as the exchange has them.
fn owned(mut headers: HeaderMap) -> HeaderMap {
    let length = headers.values().map(HeaderValue::len).sum();
    let mut all = BytesMut::with_capacity(length);
    headers.values().for_each(|value| all.extend_from_slice(value.as_bytes()));
    let mut all = all.freeze();
    for value in headers.values_mut() {
        let own = all.split_to(value.len().min(all.len()));
        if let Ok(mut own) = HeaderValue::from_maybe_shared(own) {
            own.set_sensitive(value.is_sensitive());
            *value = own;
        }
    }
    headers
}

pub(crate) fn body_error(error: &BodyError) -> CallerError {
    match error {
        BodyError::TooLarge { limit } => CallerError::new(
            413,
            "request_too_large",
            format!("the request body is larger than {} MiB, the gateway's `limits.body`", limit >> 20),
        ),
        BodyError::NoMemory => CallerError {
            retryable: true,
            retry_after: Some(std::time::Duration::from_secs(1)),
            ..CallerError::new(503, "overloaded", "the gateway holds as many bytes as it may; try again shortly")
        },
        BodyError::Slow => {
            CallerError::new(408, "request_timeout", "the request body stopped arriving before it was complete")
        }
        BodyError::Gone => CallerError::new(400, "incomplete_body", "the request body ended before it was complete"),
        BodyError::Encoding(encoding) => CallerError::new(
            415,
            "unsupported_content_encoding",
            format!("content-encoding `{encoding}` is not readable here: send gzip, deflate, br, zstd or none"),
        ),
        BodyError::Corrupt => {
            CallerError::new(400, "invalid_content_encoding", "the compressed request body cannot be decompressed")
        }
    }
}

pub(crate) fn wrong_method(dialect: DialectName, allow: &'static str) -> Response<GatewayBody> {
    let error = CallerError::new(405, "method_not_allowed", format!("this path takes {allow}"));
    let mut response = respond::error(dialect, &error);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

pub(crate) fn unknown_path(dialect: DialectName, path: &str) -> Response<GatewayBody> {
    let shown: String = path.chars().take(120).collect();
    respond::error(
        dialect,
        &CallerError::new(
            404,
            "unknown_path",
            format!(
                "nothing is served at `{shown}`: there are /v1/chat/completions, /v1/messages, \
                 /v1beta/models/MODEL:generateContent (also under /v1 and /v1alpha), /v1/models and /health/ready"
            ),
        ),
    )
}

/// The caller's own id when it is fit for a log, else a fresh one.
fn request_id(headers: &HeaderMap, seed: u64) -> String {
    let given = headers.get(names::REQUEST_ID).and_then(|v| v.to_str().ok()).filter(|id| {
        !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    });
    if let Some(id) = given {
        return id.to_owned();
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut id = String::with_capacity(36);
    id.push_str("req_");
    id.extend(std::iter::repeat_with(|| char::from_digit(rng.u32(0..16), 16).unwrap_or('0')).take(32));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_their_own_are_the_same_headers() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "1"), ("b", ""), ("a", "22"), ("c", "\u{e9}"), ("a", "333")] {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers.get_mut("b").unwrap().set_sensitive(true);
        let own = owned(headers.clone());
        assert_eq!(own, headers);
        assert!(own["b"].is_sensitive() && !own["a"].is_sensitive());
    }

    #[test]
    fn an_id_fit_for_a_log_is_kept_and_any_other_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.insert(names::REQUEST_ID, HeaderValue::from_static("abc-1.2_3"));
        assert_eq!(request_id(&headers, 1), "abc-1.2_3");
        headers.insert(names::REQUEST_ID, HeaderValue::from_static("a b"));
        let made = request_id(&headers, 1);
        assert!(made.starts_with("req_") && made.len() == 36, "{made}");
        assert_eq!(made, request_id(&HeaderMap::new(), 1), "the same seed makes the same id");
    }
}
