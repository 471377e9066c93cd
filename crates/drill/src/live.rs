//! A run on real time: whoever has gateways, providers and callers on sockets tells here what they see, and asks here
//! how a provider answers. The scenario, the laws of the targets, the arrivals, the figures and the bars are those of a
//! run on virtual time with the same seed.

use crate::bar::Figure;
use crate::fault::PlannedFault;
use crate::load::{Arrivals, Load, Refusal};
use crate::record::{Call, CallKind, Outcome, Record, Request, Sample, Turn};
use crate::scenario::Scenario;
use crate::standing::Watched;
use crate::verdict::{Judged, Report};
use crate::world::{Ask, ErrorAnswer, Reply, Site};
use canon::{FaultClass, Instant};
use config::Snapshot;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A request that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// When, after the begin.
    pub at: Duration,
    /// Index of its load.
    pub load: usize,
    /// What it asks for.
    pub ask: Ask,
    /// Whether the answer is streamed.
    pub streamed: bool,
}

/// What the requests of a load say besides their sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// The model asked for.
    pub model: String,
    /// Their headers: those the scenario gives, `x-mainstay-timeout` and `x-mainstay-labels`.
    pub headers: Vec<(String, String)>,
    /// The end user the body names.
    pub user: Option<String>,
    /// The cap on output tokens.
    pub max_output_tokens: Option<u64>,
}

/// An upstream call that a gateway begins.
#[derive(Debug, Clone, Copy)]
pub struct Started<'a> {
    /// The request it is made for.
    pub request: usize,
    /// The gateway.
    pub replica: usize,
    /// The target's id.
    pub target: &'a str,
    /// Index of the credential.
    pub credential: usize,
    /// Why it is made.
    pub kind: CallKind,
}

/// How a target answers a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// What comes.
    pub reply: Reply,
    /// Headers in which its provider tells its limits.
    pub headers: Vec<(String, String)>,
}

/// What is known of a call beyond the record.
struct Detail {
    replica: usize,
    credential: usize,
    /// Until when its provider said that it must not be called again.
    limited_until: Option<Instant>,
    /// It is still counted at its target.
    is_there: bool,
}

/// A run under way.
pub struct Live {
    scenario: Arc<Scenario>,
    sites: Vec<Site>,
    /// By replica.
    watched: Vec<Watched>,
    arrivals: Vec<Arrival>,
    /// By call.
    details: Vec<Detail>,
    /// By replica, site and credential.
    hints: HashMap<(usize, usize, usize), Instant>,
    rng: fastrand::Rng,
    record: Record,
    open: usize,
}

impl Live {
    /// A run with this seed, before its first request.
    pub fn new(scenario: Arc<Scenario>, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        // The seeds of the gateways come first, as on virtual time.
        (0..scenario.replicas).for_each(|_| {
            let _of_a_gateway = rng.u64(..);
        });
        let sites = scenario.places.iter().map(|it| Site::new(&it.law, it.credentials, rng.u64(..))).collect();
        let mut arrivals = Vec::new();
        for (load, of) in scenario.loads.iter().enumerate() {
            let mut times = Arrivals::new(of, scenario.duration, rng.u64(..));
            while let Some(at) = times.due() {
                let Some((ask, streamed)) = times.next(of) else { break };
                arrivals.push(Arrival { at: at.since_origin(), load, ask, streamed });
            }
        }
        arrivals.sort_by_key(|arrival| arrival.at);
        Self {
            scenario,
            sites,
            watched: Vec::new(),
            arrivals,
            details: Vec::new(),
            hints: HashMap::new(),
            rng,
            record: Record::default(),
            open: 0,
        }
    }

    /// The requests to send, in the order of time. The n-th is the request of number n.
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// What the requests of a load say.
    pub fn form(&self, load: usize) -> Option<Form> {
        self.scenario.loads.get(load).map(Load::form)
    }

    /// The next gateway runs this configuration.
    ///
    /// # Errors
    /// Names a model that it does not have.
    pub fn watch(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        let resolve = |name: &str| snapshot.resolve(name).map_err(|unknown| unknown.to_string());
        let models: Result<Vec<_>, _> = self.scenario.loads.iter().map(|load| resolve(&load.model)).collect();
        self.watched.push(Watched::new(&self.scenario.places, &models?));
        Ok(())
    }

    /// The next request is due; what is measured counts from here, whenever it is sent.
    pub fn arrived(&mut self) {
        if let Some(arrival) = self.arrivals.get(self.record.requests.len()) {
            self.record.requests.push(Request::arrived(Instant::from_origin(arrival.at), arrival.load));
            self.open += 1;
        }
    }

    /// Requests that have arrived and not ended.
    pub fn open(&self) -> usize {
        self.open
    }

    /// A gateway begins a call; its number. `None` = the scenario has no such target.
    pub fn started(&mut self, call: Started<'_>, now: Instant) -> Option<usize> {
        let site = self.scenario.places.iter().position(|place| place.id == call.target)?;
        let request = self.record.requests.get_mut(call.request)?;
        request.first_site.get_or_insert(site);
        let load = request.load;
        let heard = self.hints.get(&(call.replica, site, call.credential));
        let is_early = heard.is_some_and(|until| now < *until);
        self.record.calls.push(Call { at: now, load, site, kind: call.kind, is_early, fault: None, billed: None });
        let (replica, credential) = (call.replica, call.credential);
        self.details.push(Detail { replica, credential, limited_until: None, is_there: false });
        Some(self.record.calls.len() - 1)
    }

    /// How the target answers a call that reaches it now.
    pub fn answer(&mut self, call: usize, ask: Ask, now: Instant) -> Option<Answered> {
        let site = self.record.calls.get(call)?.site;
        let detail = self.details.get_mut(call)?;
        let credential = detail.credential;
        let faults = self.scenario.faults.iter().filter(|fault| fault.is_in_force(site, credential, now));
        let place = self.sites.get_mut(site)?;
        let reply = place.call(credential, ask, faults, now);
        let is_let_through = matches!(reply, Reply::Speaks(_));
        let told = if is_let_through { place.tells(credential) } else { [None; 2] };
        detail.is_there = true;
        if let Reply::Refuses { after, error } = &reply {
            detail.limited_until = error.retry_after.map(|hint| now + *after + hint);
        }
        let provider = self.watched.first().and_then(|watched| watched.targets.get(site)).map(|it| &it.provider);
        let names = provider.into_iter().flat_map(|provider| &provider.limits);
        let headers =
            names.filter_map(|names| Some((names, told.into_iter().flatten().find(|it| it.kind == names.counts)?)));
        let headers = headers.flat_map(|(names, reading)| {
            let reset =
                names.reset.clone().zip(reading.reset).map(|(name, it)| (name, format!("{}ms", it.as_millis())));
            let counts = [(&names.limit, reading.limit), (&names.remaining, reading.remaining)];
            counts.map(|(name, count)| (name.clone(), count.to_string())).into_iter().chain(reset)
        });
        Some(Answered { reply, headers: headers.collect() })
    }

    /// A call is over; no class = it brought a whole answer.
    pub fn left(&mut self, call: usize, class: Option<FaultClass>) {
        let (Some(call), Some(detail)) = (self.record.calls.get_mut(call), self.details.get_mut(call)) else { return };
        if std::mem::take(&mut detail.is_there)
            && let Some(site) = self.sites.get_mut(call.site)
        {
            site.leave();
        }
        call.fault = class;
        if let Some(until) = detail.limited_until.filter(|_| class == Some(FaultClass::RateLimited)) {
            let hint = self.hints.entry((detail.replica, call.site, detail.credential)).or_default();
            *hint = (*hint).max(until);
        }
    }

    /// The gateway gives the caller this call's answer.
    pub fn serves(&mut self, request: usize, call: usize) {
        let by = self.record.calls.get(call).map(|call| (call.site, call.at));
        if let Some(request) = self.record.requests.get_mut(request) {
            request.served = request.served.or(by);
        }
    }

    /// The caller has the first content, or the whole answer where it is not streamed.
    pub fn content(&mut self, request: usize, now: Instant) {
        if let Some(request) = self.record.requests.get_mut(request) {
            request.content.get_or_insert(now);
        }
    }

    /// The caller has all there is.
    pub fn ended(&mut self, request: usize, outcome: Outcome, now: Instant) {
        if let Some(request) = self.record.requests.get_mut(request).filter(|request| request.ended.is_none()) {
            request.ended = Some((now, outcome));
            self.open = self.open.saturating_sub(1);
        }
    }

    /// How long the caller's SDK waits before it tries again; `None` = it takes the error as the answer.
    pub fn retry(&mut self, load: usize, refusal: Refusal, retries: u32) -> Option<Duration> {
        self.scenario.loads.get(load)?.retry(refusal, retries, &mut self.rng)
    }

    /// Looks where a gateway's targets stand; `there` is now on the gateway's own time line.
    pub fn look(&mut self, replica: usize, there: Instant, now: Instant) {
        let Some(watched) = self.watched.get_mut(replica) else { return };
        for (site, state, until) in watched.turns(there) {
            let until = until.map(|until| now + until.saturating_since(there));
            self.record.turns.push(Turn { at: now, replica, site, state, until });
        }
    }

    /// A row of the table ends; `there` is now on the first gateway's own time line.
    pub fn row(&mut self, there: Instant, now: Instant) {
        if let Some(watched) = self.watched.first() {
            self.record.samples.push(Sample { at: now, standing: watched.words(there) });
        }
    }
}

impl Scenario {
    /// Gateways behind one balancer.
    pub fn replicas(&self) -> usize {
        self.replicas
    }

    /// Length of a row of the table.
    pub fn rows(&self) -> Duration {
        self.rows
    }

    /// Requests a second at the busiest time.
    pub fn busiest(&self) -> f64 {
        let most = |rates: &[(Instant, f64)]| rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        self.loads.iter().map(|load| most(&load.rates)).sum()
    }

    /// The error answers of the timeline.
    pub fn error_answers(&self) -> impl Iterator<Item = ErrorAnswer> {
        self.faults.iter().filter_map(PlannedFault::error_answer)
    }

    /// What only a run on virtual time has: faults that loopback sockets cannot have, and what no request says in
    /// words.
    pub fn only_virtual(&self) -> Vec<String> {
        let unroutable = self.faults.iter().any(PlannedFault::is_unroutable);
        let mut all: Vec<String> = unroutable
            .then(|| "the fault `unroutable`: on loopback every address can be reached".to_owned())
            .into_iter()
            .collect();
        if self.expectations.iter().any(|it| it.bar.figure == Figure::ExtraCost) {
            all.push("the figure `extra_cost`: simulated providers behind sockets send no bills".to_owned());
        }
        all.extend(self.loads.iter().flat_map(Load::only_virtual));
        all
    }

    /// Judges runs on real time.
    pub fn judge<'l>(&self, runs: impl Iterator<Item = (u64, &'l Live)>) -> Report {
        let mut judged = Judged::default();
        runs.for_each(|(seed, live)| judged.add(self, seed, &live.record));
        judged.report(self)
    }
}
