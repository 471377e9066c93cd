//! Making the upstream call for one attempt: the caller's own bytes spliced, or the canonical request encoded.

use crate::inquiry::Inquiry;
use bytes::Bytes;
use canon::{Drops, Fault, FaultClass, Request};
use catalog::{Auth, Provider};
use dialect::PathFacts;
use dialect::scan::Scan;
use dialect::splice::{self, patch::Origin};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use routing::{Credential, Target};
use std::sync::Arc;
use std::time::Duration;
use upstream::{Call, Endpoint};

/// Who calls.
pub(crate) const USER_AGENT: &str = concat!("mainstay/", env!("CARGO_PKG_VERSION"));

/// What no allow-list opens: who the caller is, the connection's own headers, and what the gateway says of its body.
const NEVER_CROSSING: [&str; 20] = [
    "authorization",
    "x-api-key",
    "x-goog-api-key",
    "api-key",
    "cookie",
    "host",
    "connection",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "accept-encoding",
    "content-length",
    "content-encoding",
    "content-type",
    "idempotency-key",
];

/// A call ready to be sent, and what was lost on the way.
pub(crate) struct Prepared {
    /// The call.
    pub call: Call,
    /// What the target cannot take.
    pub drops: Drops,
    /// The request is not byte for byte the caller's meaning any more (translated, clamped, fields dropped): a 4xx to
    /// it is not the caller's fault.
    pub altered: bool,
    /// Same dialect in and out.
    pub same_dialect: bool,
}

/// Builds the call of one attempt. A request the target's dialect cannot say is a fault that excludes the target.
pub(crate) fn prepare(
    inquiry: &Inquiry,
    target: &Target,
    credential: Option<&Credential>,
    endpoint: Arc<Endpoint>,
    connect: Duration,
    attempt: u32,
) -> Result<Prepared, Fault> {
    let same_dialect = target.provider.dialect == inquiry.dialect;
    let mut drops = Drops::new();
    let (path, body, altered) =
        if same_dialect && !splice::needs_reencode(inquiry.dialect, &inquiry.scan, &target.profile) {
            let path = dialect::outbound(inquiry.dialect).path(&target.model, inquiry.scan.stream);
            let Inquiry { dialect, body, scan, .. } = inquiry;
            let body = match &target.patch {
                None => splice::splice(*dialect, body, scan, &target.model, &target.profile, &mut drops),
                Some(patch) => {
                    let origin = Origin { states_cap: scan.max_output_tokens.is_some(), goes_on: false };
                    let patched = patch.apply(*dialect, body, scan, origin, &mut drops);
                    spliced(target, &patched, &mut drops)?
                }
            };
            (path, body, !drops.is_empty() || target.patch.is_some())
        } else {
            let (path, body) = encode(inquiry, target, &mut drops)?;
            (path, patched(inquiry, target, body, false, &mut drops)?, true)
        };
    let headers = headers(inquiry, target, credential, same_dialect, attempt)?;
    let call = Call { endpoint, method: Method::POST, path, headers, body, connect };
    Ok(Prepared { call, drops, altered, same_dialect })
}

/// Builds the call of a rescue: a request the gateway made itself.
pub(crate) fn prepare_rescue(
    inquiry: &Inquiry,
    request: &Request,
    target: &Target,
    credential: Option<&Credential>,
    endpoint: Arc<Endpoint>,
    limits: (Duration, u32),
) -> Result<Prepared, Fault> {
    let (connect, attempt) = limits;
    let same_dialect = target.provider.dialect == inquiry.dialect;
    let mut drops = Drops::new();
    let (path, body) = write(request, target, &mut drops)?;
    // Asked again as a whole, the request has no more turns than the caller wrote.
    let goes_on = inquiry.canonical().is_ok_and(|own| request.messages.len() > own.messages.len());
    let body = patched(inquiry, target, body, goes_on, &mut drops)?;
    let headers = headers(inquiry, target, credential, same_dialect, attempt)?;
    let call = Call { endpoint, method: Method::POST, path, headers, body, connect };
    Ok(Prepared { call, drops, altered: true, same_dialect })
}

fn encode(inquiry: &Inquiry, target: &Target, drops: &mut Drops) -> Result<(String, Bytes), Fault> {
    let request = inquiry.canonical().map_err(|bad| Fault {
        code: Some(bad.code.to_owned()),
        parameter: bad.parameter.clone(),
        status: Some(400),
        ..Fault::new(FaultClass::InvalidRequest, canon::Origin::Mainstay, bad.message.clone())
    })?;
    write(request, target, drops)
}

fn write(request: &Request, target: &Target, drops: &mut Drops) -> Result<(String, Bytes), Fault> {
    let outbound = dialect::outbound(target.provider.dialect);
    let encoded = outbound.encode_request(request, &target.model, &target.profile, drops).map_err(|cannot| Fault {
        parameter: Some(cannot.path.clone()),
        ..Fault::new(
            FaultClass::UnsupportedParameter,
            canon::Origin::Mainstay,
            format!("{}: {}", cannot.path, cannot.reason),
        )
    })?;
    Ok((encoded.path, encoded.body))
}

/// The target's patch, written into a body that an encoder made for it.
fn patched(inquiry: &Inquiry, target: &Target, body: Bytes, goes_on: bool, drops: &mut Drops) -> Result<Bytes, Fault> {
    let Some(patch) = &target.patch else { return Ok(body) };
    let scan = scan_of(target, &body)?;
    let origin = Origin { states_cap: inquiry.scan.max_output_tokens.is_some(), goes_on };
    let patched = patch.apply(target.provider.dialect, &body, &scan, origin, drops);
    spliced(target, &patched, drops)
}

/// What the target's patch says of who serves, written into a question of the gateway's own. The rest of it is about
/// what is written: text and bounds would make a probe dearer, and not truer.
pub(crate) fn patched_probe(target: &Target, body: Bytes) -> Result<Bytes, Fault> {
    let Some(patch) = target.patch.as_ref().and_then(|patch| patch.of_service()) else { return Ok(body) };
    let scan = scan_of(target, &body)?;
    let mut drops = Drops::new();
    let patched = patch.apply(target.provider.dialect, &body, &scan, Origin::default(), &mut drops);
    spliced(target, &patched, &mut drops)
}

/// What a patch wrote is shaped by the target's profile, as what a caller writes is.
fn spliced(target: &Target, patched: &Bytes, drops: &mut Drops) -> Result<Bytes, Fault> {
    let scan = scan_of(target, patched)?;
    Ok(splice::splice(target.provider.dialect, patched, &scan, &target.model, &target.profile, drops))
}

fn scan_of(target: &Target, body: &[u8]) -> Result<Scan, Fault> {
    let path = PathFacts { model: Some(target.model.clone()), ..PathFacts::default() };
    dialect::scan::scan(target.provider.dialect, &path, body).map_err(|bad| {
        let message = format!("{}: its patch does not fit the request: {}", target.id, bad.message);
        Fault::new(FaultClass::InvalidRequest, canon::Origin::Mainstay, message)
    })
}

fn headers(
    inquiry: &Inquiry,
    target: &Target,
    credential: Option<&Credential>,
    same_dialect: bool,
    attempt: u32,
) -> Result<HeaderMap, Fault> {
    let accept = if inquiry.scan.stream { "text/event-stream" } else { "application/json" };
    let mut headers = usual(&target.provider, accept);
    if same_dialect {
        // By the catalogue's allow-list. Credentials, cookies and what a client library says about itself stay here.
        for name in inquiry.headers.keys() {
            let text = name.as_str();
            if !crosses(&target.provider, text) {
                continue;
            }
            headers.remove(name);
            for value in inquiry.headers.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
    }
    if let Some(key) = inquiry.headers.get("idempotency-key").and_then(|v| v.to_str().ok()) {
        // The bare key would make a provider replay one attempt's answer to the next.
        if let Ok(value) = HeaderValue::try_from(format!("{key}-{attempt}")) {
            headers.insert(HeaderName::from_static("idempotency-key"), value);
        }
    }
    if let Some(credential) = credential.filter(|c| !c.secret.is_empty()) {
        authorize(&mut headers, &target.provider.auth, credential)?;
    }
    Ok(headers)
}

/// The headers of every call to a provider, its own included.
fn usual(provider: &Provider, accept: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    for (name, value) in &provider.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
            headers.insert(name, value);
        }
    }
    headers
}

/// The headers of a call to a provider that the gateway makes for itself.
pub(crate) fn own_headers(provider: &Provider, credential: Option<&Credential>) -> Result<HeaderMap, Fault> {
    let mut headers = usual(provider, "application/json");
    if let Some(credential) = credential.filter(|c| !c.secret.is_empty()) {
        authorize(&mut headers, &provider.auth, credential)?;
    }
    Ok(headers)
}

/// Whether a caller's header goes to a provider of its dialect.
pub(crate) fn crosses(provider: &Provider, name: &str) -> bool {
    !NEVER_CROSSING.contains(&name) && provider.passes_request_header(name)
}

fn authorize(headers: &mut HeaderMap, auth: &Auth, credential: &Credential) -> Result<(), Fault> {
    let unusable = || {
        Fault::new(
            FaultClass::AuthRejected,
            canon::Origin::Mainstay,
            format!("credential {} has characters no header can carry", credential.id),
        )
    };
    let (name, text) = match auth {
        Auth::Bearer => (header::AUTHORIZATION, format!("Bearer {}", credential.secret.expose())),
        Auth::Header(name) => {
            (HeaderName::try_from(name.as_str()).map_err(|_| unusable())?, credential.secret.expose().to_owned())
        }
        Auth::None => return Ok(()),
    };
    let mut value = HeaderValue::try_from(text).map_err(|_| unusable())?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}
