//! Probes of targets: the calls, and what they came to.

use super::under_way::Asking;
use super::{LIMIT, LOOK, Signals};
use crate::attempt::{ERROR_BODY_LIMIT, Overflow, collect};
use crate::memory::ByteBudget;
use crate::readers::lock;
use crate::{Current, Gateway, clock, wire};
use ::signals::{Next, ProbeCall, Probing, Seen};
use canon::{Drops, Fault, FaultClass, Instant, Message, Origin, Part, Phase, Request, Role, Usage};
use catalog::{Moment, Usd, classify, limits};
use config::Snapshot;
use http::{HeaderMap, Method, header};
use routing::{Probe, Target, probe_tokens};
use std::sync::Arc;
use std::time::Duration;
use upstream::{Call, Endpoint, Reply, Transport};

/// DNS, TCP and TLS of a probe.
const CONNECT: Duration = Duration::from_secs(3);
/// The longest probe of a model that reasons first.
const REASONING_LIMIT: Duration = Duration::from_secs(60);
/// Most of a list of models that is read.
const LIST_LIMIT: usize = 1 << 20;
/// Most of an answer of one token that is read.
const ANSWER_LIMIT: usize = 256 << 10;
/// What is asked.
const PROMPT: &str = "Hi";

/// A target that is to be probed.
pub(super) struct Order {
    /// Its id.
    pub(super) id: Arc<str>,
    target: Arc<Target>,
    probing: Probing,
}

/// The targets that a configuration wants probed.
pub(super) fn orders(snapshot: &Snapshot) -> Vec<Order> {
    let order = |(target, probing): (Arc<Target>, Probing)| Order { id: target.id.as_str().into(), target, probing };
    snapshot.probed().into_iter().map(order).collect()
}

/// The probes of one target so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Probed {
    last: Option<Instant>,
    report: Report,
}

#[derive(Debug, Clone, Copy, Default)]
struct Report {
    made: u64,
    failed: u64,
    cost: Usd,
    unpriced: u64,
}

/// The probes of one target since the process began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// The target.
    pub target: String,
    /// Those that were made.
    pub made: u64,
    /// Of these, those that came to nothing.
    pub failed: u64,
    /// What they cost, as far as prices and counts are known.
    pub cost: Usd,
    /// Those whose cost is not known.
    pub unpriced: u64,
}

/// What a probe brought.
enum Brought {
    /// A list of models, and whether the target's own is on it.
    List { has_model: bool },
    /// An answer, and what was counted of it.
    Answer(Box<Usage>),
}

impl Gateway {
    /// The probes of every target so far, by target.
    pub fn probes(&self) -> Vec<ProbeReport> {
        let probed = lock(&self.signals.probed);
        let mut reports: Vec<ProbeReport> = probed
            .iter()
            .map(|(target, probed)| {
                let Report { made, failed, cost, unpriced } = probed.report;
                ProbeReport { target: target.to_string(), made, failed, cost, unpriced }
            })
            .collect();
        reports.sort_by(|a, b| a.target.cmp(&b.target));
        reports
    }

    /// Begins a probe, where one is due.
    pub(super) fn probe<'g>(&'g self, order: &Order, current: &Arc<Current>, now: Instant) -> Option<Asking<'g>> {
        let target = &order.target;
        let last_probe = lock(&self.signals.probed).get(&order.id).and_then(|probed| probed.last);
        let breaker = target.health.standing(now).breaker;
        let seen = Seen { breaker, last_call: target.health.last_call(), last_probe };
        if !order.probing.is_due(&seen, now) {
            return None;
        }
        let asked_at = Moment::from_unix(u64::try_from(clock::unix_seconds()).unwrap_or(0));
        let probe = match order.probing.call {
            ProbeCall::ModelList => Probe::list(target, now),
            ProbeCall::Token => Probe::token(target, Some(asked_at), now),
        }?;
        lock(&self.signals.probed).entry(order.id.clone()).or_default().last = Some(now);
        let asking = Ask {
            id: order.id.clone(),
            call: order.probing.call,
            asked_at,
            began: now,
            transport: current.transport(&target.id).clone(),
            endpoint: current.endpoints.get(&target.provider.name).cloned(),
        };
        Some(Box::pin(async move {
            let brought = asking.ask(&probe, &self.shared.budget, self.clock().now()).await;
            asking.settle(probe, brought, &self.signals, self.clock().now());
            Next::In(LOOK)
        }))
    }
}

/// A probe on its way.
struct Ask {
    id: Arc<str>,
    call: ProbeCall,
    asked_at: Moment,
    began: Instant,
    transport: Arc<dyn Transport>,
    endpoint: Option<Arc<Endpoint>>,
}

impl Ask {
    async fn ask(&self, probe: &Probe, budget: &ByteBudget, now: Instant) -> Result<Brought, Fault> {
        let target = probe.target();
        let limit = if target.facts.reasoning_model { REASONING_LIMIT } else { LIMIT };
        let asking = async {
            let reply = self.transport.send(self.call(probe)?).await?;
            tell_limits(probe, &reply.headers, now);
            if !reply.status.is_success() {
                return Err(refused(target, reply, budget).await);
            }
            match self.call {
                ProbeCall::ModelList => list(target, reply, budget).await,
                ProbeCall::Token => answer(target, reply, budget).await,
            }
        };
        let timed_out = |_| Fault { may_be_billed: true, ..Fault::timed_out(Phase::FirstToken, limit) };
        tokio::time::timeout(limit, asking).await.unwrap_or_else(|elapsed| Err(timed_out(elapsed)))
    }

    fn call(&self, probe: &Probe) -> Result<Call, Fault> {
        let target = probe.target();
        let endpoint = self.endpoint.clone().ok_or_else(|| {
            Fault::new(FaultClass::Unreachable, Origin::Mainstay, format!("{} has no address", target.provider.name))
        })?;
        let mut headers = wire::own_headers(&target.provider, probe.credential())?;
        if self.call == ProbeCall::ModelList {
            headers.remove(header::CONTENT_TYPE);
            let path = target.provider.models_path.clone().unwrap_or_else(|| "/models".to_owned());
            return Ok(Call {
                endpoint,
                method: Method::GET,
                path,
                headers,
                body: bytes::Bytes::new(),
                connect: CONNECT,
            });
        }
        let mut drops = Drops::new();
        let outbound = dialect::outbound(target.provider.dialect);
        let encoded = outbound
            .encode_request(&question(target), &target.model, &target.profile, &mut drops)
            .map_err(|cannot| Fault::new(FaultClass::UnsupportedParameter, Origin::Mainstay, cannot.reason))?;
        let (path, body) = (encoded.path, wire::patched_probe(target, encoded.body)?);
        Ok(Call { endpoint, method: Method::POST, path, headers, body, connect: CONNECT })
    }

    /// Judges the target, and writes down what it cost.
    fn settle(&self, probe: Probe, brought: Result<Brought, Fault>, signals: &Signals, now: Instant) {
        let is_paid = self.call == ProbeCall::Token;
        let target = Arc::clone(probe.target());
        let asked_at = Some(self.asked_at);
        let ms = u64::try_from(now.saturating_since(self.began).as_millis()).unwrap_or(u64::MAX);
        let (cost, fault) = match brought {
            Ok(Brought::List { has_model }) => {
                probe.listed(has_model);
                (None, None)
            }
            Ok(Brought::Answer(usage)) => (Some(probe.answered(&usage, asked_at, now)), None),
            Err(fault) => {
                let may_cost = is_paid && fault.may_be_billed;
                let cost = probe.failed(&fault, asked_at, now);
                (may_cost.then_some(cost), Some(fault))
            }
        };
        let total = {
            let mut probed = lock(&signals.probed);
            let report = &mut probed.entry(self.id.clone()).or_default().report;
            report.made += 1;
            report.failed += u64::from(fault.is_some());
            report.cost = report.cost.plus(cost.flatten().unwrap_or_default());
            report.unpriced += u64::from(cost == Some(None));
            *report
        };
        tracing::info!(
            target = &*self.id,
            region = target.region,
            call = self.call.as_str(),
            ms,
            cost = cost.flatten().map(Usd::as_dollars),
            fault = fault.as_ref().map(|fault| fault.class.as_str()),
            message = fault.as_ref().map(|fault| fault.message.as_str()),
            probes = total.made,
            probes_cost = total.cost.as_dollars(),
            "probed"
        );
    }
}

/// The smallest question there is.
fn question(target: &Target) -> Request {
    let text = Part::Text { text: PROMPT.to_owned(), citations: Vec::new(), cache: None, signature: None };
    Request {
        messages: vec![Message { role: Role::User, parts: vec![text], name: None }],
        max_output_tokens: Some(probe_tokens(target)),
        ..Request::default()
    }
}

fn tell_limits(probe: &Probe, headers: &HeaderMap, now: Instant) {
    let target = probe.target();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(credential) = probe.credential() {
        let readings = limits::read(&target.provider, &header, clock::wall());
        credential.limits.told(readings, now);
    }
}

async fn refused(target: &Target, reply: Reply, budget: &ByteBudget) -> Fault {
    let Reply { status, headers, body } = reply;
    let body = collect(body, ERROR_BODY_LIMIT, Overflow::Cut, &mut budget.nothing()).await.unwrap_or_default();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    classify::head(&target.provider, status.as_u16(), &header, &body, clock::wall())
}

async fn list(target: &Target, reply: Reply, budget: &ByteBudget) -> Result<Brought, Fault> {
    let body = collect(reply.body, LIST_LIMIT, Overflow::Cut, &mut budget.nothing()).await?;
    let is_json = body.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| b"{[".contains(byte));
    if !is_json {
        return Err(classify::unreadable(&target.provider, &body));
    }
    // Gemini writes `models/gemini-3-pro`, everybody else the bare id.
    let ends = format!("{}\"", target.model);
    let mut places = body.windows(ends.len()).enumerate().filter(|(_, window)| *window == ends.as_bytes());
    let has_model =
        places.any(|(at, _)| at.checked_sub(1).and_then(|before| body.get(before)).is_some_and(|b| b"\"/".contains(b)));
    Ok(Brought::List { has_model })
}

async fn answer(target: &Target, reply: Reply, budget: &ByteBudget) -> Result<Brought, Fault> {
    let body = collect(reply.body, ANSWER_LIMIT, Overflow::Fault, &mut budget.nothing()).await?;
    let sniffed = dialect::outbound(target.provider.dialect).sniffer(&target.profile).sniff_answer(&body);
    if sniffed.malformed {
        return Err(classify::unreadable(&target.provider, &body));
    }
    match &sniffed.error {
        Some(error) => Err(classify::in_body(&target.provider, error, clock::wall())),
        None => Ok(Brought::Answer(Box::new(sniffed.usage.unwrap_or_default()))),
    }
}
