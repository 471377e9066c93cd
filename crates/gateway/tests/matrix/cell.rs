//! One cell: two simulated providers and a gateway of its own, one exchange, and everything that is checked about it.

use crate::expected::{Expected, LIMIT, Outcome, Setting, expected};
use crate::seen::{self, Seen};
use crate::wire::{self, Ask, Response};
use bytes::Bytes;
use canon::{DialectName, FaultClass};
use catalog::Catalog;
use config::{Environment, Loader};
use gateway::Gateway;
use gateway::server::{ShutdownTimes, serve};
use health::Health;
use http_body_util::BodyExt;
use simulator::{Behaviour, Ended, FaultKind, FaultRule, Pace, Provider, Server, Simulator};
use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use upstream::{Call, Endpoint, Settings, Transport, Upstream};

pub(crate) const PRIMARY: &str = "sim-primary";
pub(crate) const FALLBACK: &str = "sim-fallback";
/// The exchange in all.
const DEADLINE: Duration = Duration::from_secs(2);
/// What a busy machine may add. Short of the deadline, which must end none of these exchanges.
const SLACK: Duration = Duration::from_millis(1200);
/// When a caller has waited so long, it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(6);

const QUESTION: &str = "Which way is north?";
const TOOL_QUESTION: &str = "What is the weather in Paris?";

/// A fault, and who meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) fault: FaultKind,
    pub(crate) at: Setting,
    pub(crate) fallback: DialectName,
}

impl Cell {
    /// Megabytes go through it.
    pub(crate) fn is_heavy(&self) -> bool {
        matches!(self.fault, FaultKind::HugeEvent { .. } | FaultKind::EarlyResponse { .. })
    }
}

impl Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { fault, at, fallback } = self;
        let how = match (at.streamed, at.as_array) {
            (true, true) => "streamed as an array",
            (true, false) => "streamed",
            (false, _) => "whole",
        };
        write!(f, "{fault} {how}, caller {}, primary {}, fallback {fallback}", at.caller, at.primary)
    }
}

/// A gateway between a caller and two providers.
pub(crate) struct Rig {
    pub(crate) primary: Server,
    pub(crate) fallback: Server,
    pub(crate) address: SocketAddr,
    gateway: Arc<Gateway>,
    _serving: JoinSet<()>,
}

impl Rig {
    pub(crate) async fn start(at: Setting, fallback: DialectName, faults: &[FaultRule]) -> Self {
        let pace =
            Pace { first_token: Duration::from_millis(10), interval: Duration::from_millis(1), ..Pace::default() };
        let provider = |name: &str, dialect| Provider::new(name, dialect).at_pace(pace.clone());
        let primary = provider(PRIMARY, at.primary).failing(faults.iter().cloned());
        let primary = Server::start(Simulator::new(primary)).await.unwrap();
        let fallback = Server::start(Simulator::new(provider(FALLBACK, fallback))).await.unwrap();
        let is = |kind: FaultKind| faults.iter().any(|rule| rule.fault == kind);
        let speaks_http2 = is(FaultKind::Goaway) || is(FaultKind::OneStreamPerConnection);
        let scheme = if is(FaultKind::TlsFailure) { "https" } else { "http" };
        let settings = Settings {
            h2c_hosts: if speaks_http2 { vec![primary.address().to_string()] } else { Vec::new() },
            ..Settings::default()
        };
        let yaml = configuration([(&primary, scheme), (&fallback, "http")]);
        let catalog = Catalog::builtin().unwrap();
        let environment = Environment::default();
        let health = Arc::new(Health::new(1));
        let loader = Loader {
            catalog: &catalog,
            health: &health,
            ledger: &Arc::default(),
            environment: &environment,
            allow_injection: false,
        };
        let snapshot = Arc::new(loader.load("matrix.yaml", &yaml).map_err(|error| error.to_string()).unwrap());
        let transport = Arc::new(Upstream::new(settings).unwrap());
        if scheme == "https" {
            read_the_roots(&transport, primary.address()).await;
        }
        let gateway = Arc::new(Gateway::new(snapshot, transport, 1).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(serve(Arc::clone(&gateway), listener, ShutdownTimes::default(), std::future::pending()));
        Self { primary, fallback, address, gateway, _serving: serving }
    }
}

/// The system's certificates are read at the first handshake, which takes an unoptimised build longer than the limits.
async fn read_the_roots(transport: &Upstream, address: SocketAddr) {
    let endpoint = Arc::new(Endpoint::parse(&format!("https://{address}")).unwrap());
    let call = Call {
        endpoint,
        method: http::Method::POST,
        path: "/".to_owned(),
        headers: http::HeaderMap::new(),
        body: Bytes::new(),
        connect: PATIENCE,
    };
    assert!(transport.send(call).await.is_err(), "garbage is no TLS");
}

/// Waits a moment for what an exchange leaves behind: nothing is held, and no call goes on.
async fn left_behind(rig: &Rig) -> Complaints {
    let mut complaints = Complaints::default();
    for _ in 0..100 {
        complaints = Complaints::default();
        complaints.equal("bytes held", &rig.gateway.held_bytes(), &0);
        for server in [&rig.primary, &rig.fallback] {
            let open = server.simulator().journal().into_iter().filter(|entry| entry.ended == Ended::Open).count();
            complaints.equal("calls that go on", &open, &0);
        }
        if complaints.0.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    complaints
}

fn configuration(providers: [(&Server, &str); 2]) -> String {
    let mut rows = String::new();
    for (server, scheme) in providers {
        let (name, dialect) = (server.simulator().name(), server.simulator().dialect());
        let (root, like) = match dialect {
            DialectName::OpenaiChat => ("v1", "openai"),
            DialectName::AnthropicMessages => ("v1", "anthropic"),
            DialectName::Gemini => ("v1beta", "gemini"),
        };
        let url = format!("{scheme}://{}/{root}", server.address());
        let _ = writeln!(
            rows,
            "  {name}: {{ dialect: {dialect}, base_url: \"{url}\", errors_like: {like}, keys: [sk-sim] }}"
        );
    }
    let (limit, deadline) = (LIMIT.as_millis(), DEADLINE.as_millis());
    format!(
        "providers:\n{rows}\
         models:\n  chat:\n    targets: [{PRIMARY}/m-primary, {FALLBACK}/m-fallback]\n    rescue: error\n    timeouts:\n      \
         {{ connect: {limit}ms, first_token: {limit}ms, response: {limit}ms, idle: {limit}ms, deadline: {deadline}ms }}\n"
    )
}

/// What is found wrong.
#[derive(Default)]
pub(crate) struct Complaints(pub(crate) Vec<String>);

impl Complaints {
    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: &T, wanted: &T) {
        if found != wanted {
            self.0.push(format!("{what}: {}, expected {}", short(found), short(wanted)));
        }
    }

    pub(crate) fn check(&mut self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            self.0.push(what());
        }
    }
}

fn short(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    if text.chars().count() <= 160 { text } else { format!("{}…", text.chars().take(160).collect::<String>()) }
}

/// Runs a cell. Returns what is wrong with it.
pub(crate) async fn run(cell: Cell) -> Vec<String> {
    let Cell { fault, at, fallback } = cell;
    let rig = Rig::start(at, fallback, &[FaultRule::new(fault)]).await;
    let has_tool = fault == FaultKind::CutMidToolCall;
    // An answer to come before the request was sent needs a request that takes its time.
    let long = "north ".repeat(200_000);
    let text = match fault {
        FaultKind::CutMidToolCall => TOOL_QUESTION,
        FaultKind::EarlyResponse { .. } => &long,
        _ => QUESTION,
    };
    let Setting { streamed, as_array, caller, .. } = at;
    let ask = Ask { dialect: caller, model: "chat", text, tool: has_tool, streamed, as_array };
    let wanted = expected(fault, at);
    if fault == FaultKind::OneStreamPerConnection {
        let (one, two, three) =
            tokio::join!(judged(&rig, &ask, cell), judged(&rig, &ask, cell), judged(&rig, &ask, cell));
        let mut complaints = Complaints([one, two, three].concat());
        complaints.equal("requests at the primary", &rig.primary.simulator().journal().len(), &3);
        return complaints.0;
    }
    let mut complaints = Complaints(judged(&rig, &ask, cell).await);
    complaints.equal("requests at the primary", &rig.primary.simulator().journal().len(), &wanted.arrived);
    let served = usize::from(matches!(wanted.outcome, Outcome::Fallback(_)));
    complaints.equal("requests at the fallback", &rig.fallback.simulator().journal().len(), &served);
    if let FaultKind::RateLimited429 { .. } = fault {
        let again = wire::ask(rig.address, &ask, PATIENCE).await;
        let who = again.and_then(Result::ok).map(|response| response.header("x-mainstay-provider").to_owned());
        complaints.equal("who serves while the primary is parked", &who.as_deref(), &Some(FALLBACK));
        complaints.equal("requests at the parked primary", &rig.primary.simulator().journal().len(), &1);
    }
    complaints.0.extend(left_behind(&rig).await.0);
    complaints.0
}

async fn judged(rig: &Rig, ask: &Ask<'_>, cell: Cell) -> Vec<String> {
    let began = Instant::now();
    let response = match wire::ask(rig.address, ask, PATIENCE).await {
        None => return vec!["it hangs".to_owned()],
        Some(Err(error)) => return vec![format!("the connection broke: {error}")],
        Some(Ok(response)) => response,
    };
    let took = began.elapsed();
    let wanted = expected(cell.fault, cell.at);
    let mut complaints = Complaints::default();
    let silences = u32::from(waits_out_a_silence(wanted));
    let most = LIMIT * silences + SLACK;
    complaints.check(took <= most, || format!("took {} ms, at most {} are right", took.as_millis(), most.as_millis()));
    complaints.check(took >= LIMIT * silences, || format!("took {} ms, less than the limit", took.as_millis()));
    outcome(&mut complaints, cell, ask, &response, wanted).await;
    complaints.0
}

fn waits_out_a_silence(wanted: Expected) -> bool {
    let timed_out = FaultClass::TimedOut;
    wanted.outcome == Outcome::Fallback(timed_out) || wanted.outcome == Outcome::HonestEnd(timed_out)
}

async fn outcome(complaints: &mut Complaints, cell: Cell, ask: &Ask<'_>, response: &Response, wanted: Expected) {
    let at = cell.at;
    let status = match wanted.outcome {
        Outcome::Caller(status, ..) => status,
        Outcome::Primary | Outcome::Fallback(_) | Outcome::Blocked | Outcome::HonestEnd(_) => 200,
    };
    complaints.equal("status", &response.status, &status);
    complaints.check(response.is_whole, || "the body ends without HTTP's end of it".to_owned());
    let is_stream = response.header("content-type").starts_with("text/event-stream");
    complaints.equal("whether it streams", &is_stream, &(at.streamed && !at.as_array && status == 200));
    let seen = match (is_stream, at.as_array && status == 200) {
        (true, _) => seen::stream(at.caller, &response.body),
        (false, true) => seen::array(&response.body),
        (false, false) => seen::whole(at.caller, &response.body),
    };
    complaints.equal("oddities", &seen.oddities, &Vec::new());
    complaints.check(!response.header("x-request-id").is_empty(), || "no x-request-id".to_owned());
    match wanted.outcome {
        Outcome::Primary => {
            headers(complaints, response, PRIMARY, 1, "none");
            complete(complaints, cell, ask, &seen, PRIMARY).await;
        }
        Outcome::Fallback(class) => {
            headers(complaints, response, FALLBACK, wanted.attempts + 1, class.as_str());
            complete(complaints, cell, ask, &seen, FALLBACK).await;
        }
        Outcome::Caller(_, class, words) => {
            complaints.equal("x-mainstay-attempts", &response.header("x-mainstay-attempts"), &"1");
            let error = seen.errors.first().cloned().unwrap_or_default();
            complaints.equal("errors", &seen.errors.len(), &1);
            complaints.equal("metadata.fault", &error.fault.as_str(), &class.as_str());
            complaints.equal("metadata.attempts", &error.attempts, &1);
            complaints.check(error.message.contains(words), || format!("the reason is {:?}", error.message));
            complaints.equal("text", &seen.text.as_str(), &"");
        }
        Outcome::Blocked => {
            headers(complaints, response, PRIMARY, 1, "none");
            complaints.equal("errors", &seen.errors, &Vec::new());
            complaints.equal("text", &seen.text.as_str(), &"");
            let reason = seen.block.as_deref().or_else(|| seen.finishes.first().map(String::as_str));
            let word = match at.caller {
                DialectName::OpenaiChat => "content_filter",
                DialectName::AnthropicMessages => "refusal",
                DialectName::Gemini => "PROHIBITED_CONTENT",
            };
            complaints.equal("the reason", &reason, &Some(word));
        }
        Outcome::HonestEnd(class) => {
            headers(complaints, response, PRIMARY, 1, "none");
            honest_end(complaints, cell, ask, &seen, class.as_str()).await;
        }
    }
}

fn headers(complaints: &mut Complaints, response: &Response, provider: &str, attempts: usize, reason: &str) {
    let fallback = provider == FALLBACK;
    for (name, wanted) in [
        ("x-mainstay-provider", provider),
        ("x-mainstay-model", model(provider)),
        ("x-mainstay-attempts", &attempts.to_string()),
        ("x-mainstay-fallback", if fallback { "1" } else { "0" }),
        ("x-mainstay-reason", reason),
    ] {
        complaints.equal(name, &response.header(name), &wanted);
    }
}

fn model(provider: &str) -> &'static str {
    if provider == PRIMARY { "m-primary" } else { "m-fallback" }
}

/// The answer a provider gives when nothing is wrong, asked for in its own dialect.
async fn truth(cell: Cell, ask: &Ask<'_>, provider: &str) -> Seen {
    let (dialect, faults) = if provider == PRIMARY {
        // A huge event is in the answer itself.
        let huge = matches!(cell.fault, FaultKind::HugeEvent { .. }).then(|| FaultRule::new(cell.fault));
        (cell.at.primary, huge)
    } else {
        (cell.fallback, None)
    };
    let healthy = Simulator::new(Provider::new(provider, dialect).behaving(Behaviour {
        pace: Pace::instant(),
        faults: faults.into_iter().collect(),
        ..Behaviour::default()
    }));
    let ask = Ask { dialect, model: model(provider), streamed: false, as_array: false, ..*ask };
    let mut request = http::Request::post(ask.path());
    for (name, value) in ask.headers() {
        request = request.header(*name, *value);
    }
    let request = request.body(Bytes::from(ask.body().to_string())).unwrap();
    let body = healthy.call(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    seen::whole(dialect, &body)
}

async fn complete(complaints: &mut Complaints, cell: Cell, ask: &Ask<'_>, seen: &Seen, provider: &str) {
    let truth = truth(cell, ask, provider).await;
    complaints.equal("errors", &seen.errors, &Vec::new());
    complaints.equal("text", &seen.text, &truth.text);
    let parsed = |seen: &Seen| -> Vec<(String, serde_json::Value)> {
        let read = |(name, arguments): &(String, String)| {
            (name.clone(), serde_json::from_str(arguments).unwrap_or(serde_json::Value::Null))
        };
        seen.calls.iter().map(read).collect()
    };
    complaints.equal("tool calls", &parsed(seen), &parsed(&truth));
    complaints.check(!truth.text.is_empty() || !truth.calls.is_empty(), || "the true answer is empty".to_owned());
    complaints.equal("model", &seen.model.as_str(), &model(provider));
    complaints.check(seen.usage.is_some_and(|(input, output)| input > 0 && output > 0), || {
        format!("usage: {:?}", seen.usage)
    });
    let is_passed = provider == PRIMARY && cell.at.caller == cell.at.primary;
    let doubled = cell.fault == FaultKind::DuplicateFinish && cell.at.streamed && is_passed;
    let finish = match (cell.at.caller, truth.calls.is_empty()) {
        (DialectName::OpenaiChat, true) => "stop",
        (DialectName::OpenaiChat, false) => "tool_calls",
        (DialectName::AnthropicMessages, true) => "end_turn",
        (DialectName::AnthropicMessages, false) => "tool_use",
        (DialectName::Gemini, _) => "STOP",
    };
    // Complete events pass as they are, a second finish included; what Mainstay writes itself ends once.
    let most = if doubled { 2 } else { 1 };
    complaints.check((1..=most).contains(&seen.finishes.len()), || format!("finishes: {:?}", seen.finishes));
    complaints.check(seen.finishes.iter().all(|word| word == finish), || format!("finishes: {:?}", seen.finishes));
    if cell.at.streamed {
        complaints.check((1..=most).contains(&seen.terminators), || format!("terminators: {}", seen.terminators));
    }
}

async fn honest_end(complaints: &mut Complaints, cell: Cell, ask: &Ask<'_>, seen: &Seen, class: &str) {
    let truth = truth(cell, ask, PRIMARY).await;
    complaints.equal("finishes", &seen.finishes, &Vec::new());
    complaints.equal("model", &seen.model.as_str(), &model(PRIMARY));
    complaints.equal("terminators", &seen.terminators, &0);
    complaints.equal("errors", &seen.errors.len(), &1);
    complaints.equal("events after the error", &seen.after_error, &0);
    let error = seen.errors.first().cloned().unwrap_or_default();
    complaints.equal("metadata.fault", &error.fault.as_str(), &class);
    complaints.equal("metadata.attempts", &error.attempts, &1);
    complaints.check(truth.text.starts_with(&seen.text) || ask.tool, || {
        format!("the text {:?} is no beginning of {:?}", seen.text, truth.text)
    });
    let calls = seen
        .calls
        .iter()
        .zip(&truth.calls)
        .all(|(part, whole)| part.0 == whole.0 && whole.1.starts_with(&part.1) && part.1.len() < whole.1.len());
    complaints.check(calls, || format!("the calls {:?} are no beginning of {:?}", seen.calls, truth.calls));
    complaints.check(!seen.text.is_empty() || !seen.calls.is_empty(), || "broken off before any content".to_owned());
}
