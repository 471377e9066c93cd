//! The providers of a drill over sockets: simulated ones, each behind a socket of its own, which do call by call what
//! the scenario's laws and timeline say; and the way out of the gateways, which leads to those sockets whatever address
//! the configuration names.

use super::stage::Stage;
use ::drill::{Answered, Break, ErrorAnswer, Reply, Speech};
use canon::{DialectName, Fault};
use http::{HeaderName, HeaderValue};
use simulator::{
    Answer, Chunks, Conduct, Cut, CutBy, FaultKind, HintForm, Pace, Provider, RetryHint, Server, Simulator,
};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpSocket;
use upstream::{Call, Endpoint, Settings, Transport, Upstream};

/// Tokens of one event. Providers bundle tokens under load; here it keeps the machine from measuring itself, as a debug
/// build spends most of a request on its events.
const BUNDLE: u32 = 25;
/// Bytes of a token: five digits and a space.
const TOKEN: u32 = 6;

/// The whole answer of so many tokens. Every provider says the same, so that one can go on where another broke off, and
/// no word comes twice, so that a loss or a repetition shows.
pub(crate) fn words(tokens: u32) -> String {
    let mut text = String::new();
    for number in 0..tokens {
        // Writing to a string cannot fail.
        let _ = write!(text, "{number:05} ");
    }
    text
}

/// The fault that answers with this error, if the simulated providers know it.
pub(crate) fn status_fault(error: &ErrorAnswer) -> Option<FaultKind> {
    let retry = error.retry_after.map(|after| RetryHint { after, form: HintForm::Native });
    match (error.status, error.code.as_deref(), retry) {
        (429, None, retry) => Some(FaultKind::RateLimited429 { retry }),
        (503, None, retry) => Some(FaultKind::Unavailable503 { retry }),
        (429, Some("insufficient_quota"), None) => Some(FaultKind::QuotaExhausted429),
        (status, None, None) => status.to_string().parse().ok(),
        (_, Some(_), _) | (_, None, Some(_)) => None,
    }
}

/// What a simulated provider does to answer so.
pub(crate) fn conduct(answered: &Answered, streamed: bool) -> Option<Conduct> {
    let late = |after: &Duration, fault| vec![FaultKind::SlowHeaders { by: *after }, fault];
    let (faults, speech) = match &answered.reply {
        Reply::Refuses { after, error } => (late(after, status_fault(error)?), None),
        Reply::Breaks { .. } => (vec![FaultKind::ResetBeforeHeaders], None),
        Reply::Empty { after } => (late(after, FaultKind::EmptyStream), None),
        Reply::Unroutable | Reply::Silent => (vec![FaultKind::HangBeforeHeaders], None),
        Reply::Speaks(speech) => (speech.breaks.map(cut).into_iter().collect(), Some(*speech)),
    };
    let speech = speech.unwrap_or(Speech { first: Duration::ZERO, gap: Duration::ZERO, tokens: 1, breaks: None });
    let interval = if streamed { speech.gap * BUNDLE } else { speech.gap };
    let pace = Pace { first_token: speech.first, interval, tokens: speech.tokens };
    let answer = Answer::exactly(words(speech.tokens)).in_chunks(Chunks::Bytes((TOKEN * BUNDLE) as usize));
    let header = |(name, value): &(String, String)| {
        Some((HeaderName::try_from(name.as_str()).ok()?, HeaderValue::try_from(value.as_str()).ok()?))
    };
    let headers = answered.headers.iter().filter_map(header).collect();
    Some(Conduct { pace, answer, faults, headers })
}

fn cut(breaks: Break) -> FaultKind {
    let by = if breaks.silent { CutBy::Hang } else { CutBy::Drop };
    Cut::text(breaks.after.saturating_mul(TOKEN)).by(by).into()
}

/// The running providers. Dropping them ends them.
pub(crate) struct Providers {
    servers: Vec<Server>,
    /// Addresses by the base URL that the configuration names.
    by_base: HashMap<String, SocketAddr>,
    /// A port that nobody listens on while this is held.
    closed: TcpSocket,
}

impl Providers {
    /// Starts one for each provider: name, dialect, base URL.
    pub(crate) async fn start<'a>(
        stage: &Arc<Stage>,
        providers: impl Iterator<Item = (&'a str, DialectName, &'a str)>,
    ) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the simulated providers do not start: {error}");
        let closed = TcpSocket::new_v4().map_err(failed)?;
        closed.bind(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(failed)?;
        let mut all = Self { servers: Vec::new(), by_base: HashMap::new(), closed };
        for (name, dialect, base) in providers {
            let base = Endpoint::parse(base).map_err(|error| error.to_string())?.to_string();
            if all.by_base.contains_key(&base) {
                continue;
            }
            let simulator = Simulator::new(Provider { keyless: true, ..Provider::new(name, dialect) });
            simulator.conducted_by(stage.clone());
            let server = Server::start(simulator).await.map_err(failed)?;
            all.by_base.insert(base, server.address());
            all.servers.push(server);
        }
        Ok(all)
    }

    /// A gateway's way out to them.
    pub(crate) fn way_out(&self, stage: &Arc<Stage>) -> Result<Arc<dyn Transport>, String> {
        let upstream = Upstream::new(Settings::default()).map_err(|error| error.to_string())?;
        let closed = self.closed.local_addr().map_err(|error| error.to_string())?;
        Ok(Arc::new(WayOut { upstream, stage: stage.clone(), by_base: self.by_base.clone(), closed }))
    }

    /// Calls the journals forget, so that a long run stays small.
    pub(crate) fn forget(&self) {
        self.servers.iter().for_each(|server| server.simulator().clear_journal());
    }
}

struct WayOut {
    upstream: Upstream,
    stage: Arc<Stage>,
    by_base: HashMap<String, SocketAddr>,
    closed: SocketAddr,
}

impl Transport for WayOut {
    fn send(&self, mut call: Call) -> Pin<Box<dyn Future<Output = Result<upstream::Reply, Fault>> + Send>> {
        let is_refused = matches!(self.stage.leaves(&call.headers), Some(Reply::Breaks { was_sent: false, .. }));
        let address = if is_refused { Some(&self.closed) } else { self.by_base.get(&call.endpoint.to_string()) };
        // A base URL that no model's target has leads where it says.
        if let Some(address) = address {
            let path = call.endpoint.path.clone();
            let (host, port) = (address.ip().to_string(), address.port());
            call.endpoint = Arc::new(Endpoint { https: false, host, port, path });
        }
        self.upstream.send(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, code: Option<&str>, seconds: Option<u64>) -> ErrorAnswer {
        ErrorAnswer { status, code: code.map(str::to_owned), retry_after: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn an_error_answer_is_a_fault_that_simulated_providers_know_or_none() {
        let known = |status, code, seconds| status_fault(&error(status, code, seconds)).map(FaultKind::name);
        assert_eq!(known(503, None, None), Some("unavailable_503"));
        assert_eq!(known(429, None, Some(30)), Some("rate_limited_429"));
        assert_eq!(known(429, Some("insufficient_quota"), None), Some("quota_exhausted_429"));
        assert_eq!(known(500, None, None), Some("server_error_500"));
        assert_eq!(known(418, None, None), None);
        assert_eq!(known(500, None, Some(3)), None);
    }

    #[test]
    fn a_stream_comes_in_bundles_at_the_speed_of_its_tokens() {
        let gap = Duration::from_millis(20);
        let breaks = Some(Break { after: 15, silent: false });
        let speech = Speech { first: Duration::from_secs(2), gap, tokens: 100, breaks };
        let headers = vec![("x-ratelimit-limit-requests".to_owned(), "9".to_owned())];
        let answered = Answered { reply: Reply::Speaks(speech), headers };
        let streamed = conduct(&answered, true).unwrap();
        assert_eq!(streamed.headers["x-ratelimit-limit-requests"], "9");
        assert_eq!((streamed.pace.interval, streamed.answer.text.unwrap().len()), (gap * 25, 600));
        assert_eq!(streamed.faults, [FaultKind::from(Cut::text(90))]);
        assert_eq!(conduct(&answered, false).unwrap().pace.interval, gap);
    }
}
