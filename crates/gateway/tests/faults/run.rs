//! One cell: a primary that breaks, a healthy fallback and a gateway, all behind sockets; one exchange, and everything
//! that is checked about it.

use crate::answers::{TEXT, TOOL, answer, arguments};
use crate::breaker::{Breaker, Plan};
use crate::cell::{Cell, Phase, Way};
use crate::expected::{Expected, Outcome, expected};
use crate::heard::{Heard, hear};
use crate::seen::{self, Seen};
use crate::statuses::LIMIT;
use crate::support::memory::Answer;
use crate::support::snapshot;
use crate::wire::{self, Ask, Response};
use bytes::Bytes;
use canon::DialectName;
use gateway::Gateway;
use gateway::server::{ShutdownTimes, serve};
use health::Health;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use simulator::{Behaviour, Ended, FaultRule, Pace, Provider, Server, Simulator};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use upstream::{Call, Endpoint, Settings, Transport, Upstream};

const PRIMARY: &str = "sim-primary";
const FALLBACK: &str = "sim-fallback";
/// The exchange in all.
const DEADLINE: Duration = Duration::from_secs(4);
/// What a busy machine may add. Short of the deadline, which must end none of these exchanges.
const SLACK: Duration = Duration::from_secs(3);
/// When a caller has waited so long, it hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what an exchange leaves behind may take to be gone.
const AFTERMATH: Duration = Duration::from_secs(2);

struct Rig {
    primary: Breaker,
    fallback: Server,
    address: SocketAddr,
    gateway: Arc<Gateway>,
    shown: Arc<Notify>,
    _serving: JoinSet<()>,
}

impl Rig {
    async fn start(cell: &Cell) -> Self {
        let shown = Arc::new(Notify::new());
        let says = Behaviour { answer: answer(cell.phase), pace: Pace::instant(), seed: 7, ..Behaviour::default() };
        let fault = match (cell.phase, cell.way) {
            (Phase::Headers, Way::Status(fault)) => Some(fault),
            (Phase::Headers, Way::InBandError) => Some(simulator::FaultKind::ErrorIn200),
            (Phase::Headers, Way::Html) => Some(simulator::FaultKind::HtmlIn200),
            _ => None,
        };
        let provider = Provider::new(PRIMARY, cell.primary).behaving(says.clone());
        let simulator = Simulator::new(provider.failing(fault.map(FaultRule::new)));
        let primary = Breaker::start(Plan { simulator, phase: cell.phase, way: cell.way, shown: Arc::clone(&shown) })
            .await
            .unwrap();
        let provider = Provider::new(FALLBACK, cell.fallback).behaving(says);
        let fallback = Server::start(Simulator::new(provider)).await.unwrap();
        let transport = Arc::new(Upstream::new(Settings::default()).unwrap());
        let scheme = if cell.phase == Phase::Tls { "https" } else { "http" };
        if cell.phase == Phase::Tls {
            read_the_roots(&transport, fallback.address()).await;
        }
        let providers = [
            (PRIMARY, cell.primary, format!("{scheme}://{}", primary.address)),
            (FALLBACK, cell.fallback, format!("http://{}", fallback.address())),
        ];
        let snapshot = snapshot(&configuration(&providers), &Arc::new(Health::new(1)));
        let gateway = Arc::new(Gateway::new(snapshot, transport, 1).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(serve(Arc::clone(&gateway), listener, ShutdownTimes::default(), std::future::pending()));
        Self { primary, fallback, address, gateway, shown, _serving: serving }
    }
}

/// The system's certificates are read at the first handshake, which takes an unoptimised build longer than the limits.
/// Who has no TLS will do.
async fn read_the_roots(transport: &Upstream, address: SocketAddr) {
    let call = Call {
        endpoint: Arc::new(Endpoint::parse(&format!("https://{address}")).unwrap()),
        method: http::Method::POST,
        path: "/".to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        connect: PATIENCE,
    };
    assert!(transport.send(call).await.is_err(), "there is no TLS");
}

/// `rescue:` is left at its default.
fn configuration(providers: &[(&str, DialectName, String)]) -> String {
    let mut rows = String::new();
    for (name, dialect, base) in providers {
        let (root, like) = match dialect {
            DialectName::OpenaiChat => ("v1", "openai"),
            DialectName::AnthropicMessages => ("v1", "anthropic"),
            DialectName::Gemini => ("v1beta", "gemini"),
        };
        let row = format!("dialect: {dialect}, base_url: \"{base}/{root}\", errors_like: {like}, keys: [sk-sim]");
        let _ = writeln!(rows, "  {name}: {{ {row} }}");
    }
    let (limit, deadline) = (LIMIT.as_millis(), DEADLINE.as_millis());
    format!(
        "providers:\n{rows}\
         models:\n  chat:\n    targets: [{PRIMARY}/m-primary, {FALLBACK}/m-fallback]\n    timeouts:\n      \
         {{ connect: {limit}ms, first_token: {limit}ms, response: {limit}ms, idle: {limit}ms, deadline: {deadline}ms }}\n"
    )
}

/// What is found wrong.
#[derive(Default)]
struct Complaints(Vec<String>);

impl Complaints {
    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: &T, wanted: &T) {
        self.check(found == wanted, || format!("{what}: {}, expected {}", short(found), short(wanted)));
    }

    fn check(&mut self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            self.0.push(what());
        }
    }
}

fn short(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    if text.chars().count() <= 300 { text } else { format!("{}…", text.chars().take(300).collect::<String>()) }
}

/// Runs a cell. Returns what is wrong with it.
pub(crate) async fn run(cell: Cell) -> Vec<String> {
    let rig = Rig::start(&cell).await;
    let wanted = expected(&cell);
    let has_tool = matches!(cell.phase, Phase::MidToolCall | Phase::MidToolCallAfterText);
    let ask = Ask {
        dialect: cell.caller,
        model: "chat",
        text: "Tell me about the harbour.",
        tool: has_tool,
        streamed: cell.streamed,
        as_array: false,
    };
    let began = Instant::now();
    let response = match wire::ask_and_tell(rig.address, &ask, PATIENCE, || rig.shown.notify_one()).await {
        None => return vec!["it hangs".to_owned()],
        Some(Err(error)) => return vec![format!("the connection broke: {error}")],
        Some(Ok(response)) => response,
    };
    let took = began.elapsed();
    let mut complaints = Complaints::default();
    let most = wanted.silence + SLACK;
    complaints.check(took <= most, || format!("took {} ms, at most {} are right", took.as_millis(), most.as_millis()));
    complaints.check(took >= wanted.silence, || format!("took {} ms, less than the limit", took.as_millis()));
    outcome(&mut complaints, &cell, wanted, response);
    complaints.equal("requests at the primary", &rig.primary.requests(), &wanted.arrived);
    let helped = usize::from(matches!(wanted.outcome, Outcome::Fallback(_) | Outcome::Rescued));
    complaints.equal("requests at the fallback", &rig.fallback.simulator().journal().len(), &helped);
    complaints.0.extend(left_behind(&rig).await);
    complaints.0
}

/// What an exchange leaves behind: nothing is held, and no call goes on.
async fn left_behind(rig: &Rig) -> Vec<String> {
    let began = Instant::now();
    loop {
        let mut complaints = Complaints::default();
        complaints.equal("bytes held", &rig.gateway.held_bytes(), &0);
        let journal = rig.fallback.simulator().journal();
        let open = journal.into_iter().filter(|entry| entry.ended == Ended::Open).count();
        complaints.equal("calls to the fallback that go on", &open, &0);
        complaints.equal("connections to the primary that go on", &rig.primary.open(), &0);
        if complaints.0.is_empty() || began.elapsed() > AFTERMATH {
            return complaints.0;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn outcome(complaints: &mut Complaints, cell: &Cell, wanted: Expected, response: Response) {
    let status = if let Outcome::Reason(status, ..) = wanted.outcome { status } else { 200 };
    complaints.equal("status", &response.status, &status);
    complaints.check(response.is_whole, || "the body ends without HTTP's end of it".to_owned());
    complaints.check(!response.header("x-request-id").is_empty(), || "no x-request-id".to_owned());
    let is_stream = response.header("content-type").starts_with("text/event-stream");
    complaints.equal("whether it streams", &is_stream, &(cell.streamed && status == 200));
    if response.status != status || is_stream != (cell.streamed && status == 200) {
        complaints.0.push(String::from_utf8_lossy(&response.body).chars().take(600).collect());
        return;
    }
    let provider = match wanted.outcome {
        Outcome::Primary | Outcome::Rescued | Outcome::Blocked => Some((PRIMARY, 1, "none")),
        Outcome::Fallback(class) => Some((FALLBACK, wanted.attempts + 1, class.as_str())),
        Outcome::Reason(..) => None,
    };
    if let Some((provider, attempts, reason)) = provider {
        headers(complaints, &response, provider, attempts, reason);
    }
    match wanted.outcome {
        Outcome::Primary | Outcome::Rescued | Outcome::Fallback(_) if is_stream => {
            let heard = hear(cell.caller, &as_answer(response));
            streamed(complaints, cell, &heard, model(provider.map_or("", |(name, ..)| name)));
        }
        Outcome::Primary | Outcome::Rescued | Outcome::Fallback(_) => {
            let seen = seen::whole(cell.caller, &response.body);
            whole(complaints, cell, &seen, model(provider.map_or("", |(name, ..)| name)));
        }
        Outcome::Reason(_, class, words) => {
            let seen = seen::whole(cell.caller, &response.body);
            let error = seen.errors.first().cloned().unwrap_or_default();
            complaints.equal("oddities", &seen.oddities, &Vec::new());
            complaints.equal("metadata.fault", &error.fault.as_str(), &class.as_str());
            complaints.equal("metadata.attempts", &error.attempts, &1);
            complaints.check(error.message.contains(words), || format!("the reason is {:?}", error.message));
        }
        Outcome::Blocked => {
            let read = if is_stream { seen::stream } else { seen::whole };
            let seen = read(cell.caller, &response.body);
            complaints.equal("oddities", &seen.oddities, &Vec::new());
            let reason = seen.block.as_deref().or_else(|| seen.finishes.first().map(String::as_str));
            let word = match cell.caller {
                DialectName::OpenaiChat => "content_filter",
                DialectName::AnthropicMessages => "refusal",
                DialectName::Gemini => "PROHIBITED_CONTENT",
            };
            complaints.equal("the reason", &reason, &Some(word));
            complaints.equal("text", &seen.text.as_str(), &"");
        }
    }
}

fn headers(complaints: &mut Complaints, response: &Response, provider: &str, attempts: usize, reason: &str) {
    for (name, wanted) in [
        ("x-mainstay-provider", provider),
        ("x-mainstay-model", model(provider)),
        ("x-mainstay-attempts", &attempts.to_string()),
        ("x-mainstay-fallback", if provider == FALLBACK { "1" } else { "0" }),
        ("x-mainstay-reason", reason),
    ] {
        complaints.equal(name, &response.header(name), &wanted);
    }
}

fn model(provider: &str) -> &'static str {
    if provider == PRIMARY { "m-primary" } else { "m-fallback" }
}

fn as_answer(response: Response) -> Answer {
    let mut headers = HeaderMap::new();
    for (name, value) in &response.headers {
        headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
    }
    Answer { status: response.status, headers, body: response.body.into() }
}

/// The finish of a complete answer, in the caller's words.
fn finish(cell: &Cell) -> &'static str {
    let calls = matches!(cell.phase, Phase::MidToolCall | Phase::MidToolCallAfterText);
    match (cell.caller, calls) {
        (DialectName::OpenaiChat, true) => "tool_calls",
        (DialectName::OpenaiChat, false) => "stop",
        (DialectName::AnthropicMessages, true) => "tool_use",
        (DialectName::AnthropicMessages, false) => "end_turn",
        (DialectName::Gemini, _) => "STOP",
    }
}

/// The complete reference, in one well-formed stream of one answer.
fn streamed(complaints: &mut Complaints, cell: &Cell, heard: &Heard, model: &str) {
    complaints.equal("oddities", &heard.oddities, &Vec::new());
    complaints.equal("the error", &heard.error, &None);
    content(complaints, cell, &heard.text, &heard.calls);
    complaints.equal("the finish", &heard.finish.as_deref(), &Some(finish(cell)));
    complaints.check(heard.is_complete(), || "no terminator".to_owned());
    complaints.equal("ids", &heard.ids.len(), &1);
    complaints.equal("created", &heard.created.len(), &usize::from(cell.caller == DialectName::OpenaiChat));
    complaints.equal("models", &heard.models, &vec![model.to_owned()]);
    // What comes behind the finish reason may be lost with the connection.
    if cell.phase != Phase::AfterFinish {
        usage(complaints, heard.usage.map(|(_, output)| (1, output)));
    }
}

fn whole(complaints: &mut Complaints, cell: &Cell, seen: &Seen, model: &str) {
    complaints.equal("oddities", &seen.oddities, &Vec::new());
    complaints.equal("errors", &seen.errors, &Vec::new());
    content(complaints, cell, &seen.text, &seen.calls);
    complaints.equal("finishes", &seen.finishes, &vec![finish(cell).to_owned()]);
    complaints.equal("model", &seen.model.as_str(), &model);
    usage(complaints, seen.usage);
}

fn content(complaints: &mut Complaints, cell: &Cell, text: &str, calls: &[(String, String)]) {
    let (says, calls_tool) = match cell.phase {
        Phase::MidToolCall => ("", true),
        Phase::MidToolCallAfterText => (TEXT, true),
        _ => (TEXT, false),
    };
    complaints.equal("text", &text, &says);
    let read = |(name, arguments): &(String, String)| {
        (name.clone(), serde_json::from_str(arguments).unwrap_or(Value::String(arguments.clone())))
    };
    let calls: Vec<(String, Value)> = calls.iter().map(read).collect();
    let wanted = if calls_tool { vec![(TOOL.to_owned(), arguments())] } else { Vec::new() };
    complaints.equal("tool calls", &calls, &wanted);
}

fn usage(complaints: &mut Complaints, usage: Option<(u64, u64)>) {
    complaints.check(usage.is_some_and(|(input, output)| input > 0 && output > 0), || format!("usage: {usage:?}"));
}
