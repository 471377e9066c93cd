//! The gateway: surfaces, the pipeline, the driver of the attempt machine, stream bodies.
//!
//! ```text
//! accept → authenticate → admit → scan → resolve → plan → attempt* → commit → relay → settle
//! ```
//!
//! One pipeline for every surface; a surface is a codec, never a second pipeline. Each phase consumes the previous
//! phase's type ([`pipeline`]), so that a forgotten step does not compile. [`drive`] runs the attempt machine up to the
//! commit, [`relay`] after it. Nothing here decides: plans and next steps are `routing`'s, verdicts are `health`'s.

pub mod clock;
pub mod drain;
pub mod linger;
pub mod memory;
pub mod relay;
pub mod respond;
pub mod server;
pub mod surface;

mod announced;
mod attempt;
mod auth;
mod body;
mod delayed;
mod door;
mod drive;
mod exchange;
mod inquiry;
mod mirror;
mod models;
mod pace;
mod pipeline;
mod quality;
mod queue;
mod readers;
mod rescuing;
mod reuse;
mod ruling;
mod session;
mod settle;
mod signals;
mod stream;
mod tier;
mod wire;
mod witness;

use arc_swap::ArcSwap;
use clock::Clock;
use config::Snapshot;
use drain::Drain;
use memory::ByteBudget;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use upstream::{Endpoint, Transport};

pub use mirror::MirrorCounts;
pub use respond::GatewayBody;
pub use signals::{PriceFeedReport, ProbeReport};
pub use witness::{History, Tags};

/// Transcripts may take this part of the byte budget, so that they never keep requests out.
const TRANSCRIPT_SHARE: usize = 4;

/// The running gateway, shared by every connection.
pub struct Gateway {
    current: ArcSwap<Current>,
    transport: Arc<dyn Transport>,
    shared: Arc<Shared>,
    readers: readers::Readers,
    signals: signals::Signals,
    /// The prices that are told; held while another configuration is put in force.
    fed: Mutex<signals::Fed>,
    /// Kept where somebody is to check what happened; off by default.
    history: Option<History>,
    /// Seeds every random choice of an exchange; counted up, so that a run is repeatable from its first seed.
    seed: AtomicU64,
}

/// What every exchange of the process works with, whatever the configuration in force.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) budget: ByteBudget,
    /// The part of the budget for what is kept to rescue streams.
    pub(crate) transcripts: ByteBudget,
    pub(crate) drain: Drain,
    pub(crate) kept: reuse::Kept,
    pub(crate) queues: queue::Queues,
    pub(crate) mirrors: mirror::Mirrors,
    pub(crate) doors: Arc<door::DoorRegister>,
}

/// The configuration in force, with what is derived from it once.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Where each provider listens, by name.
    pub(crate) endpoints: HashMap<String, Arc<Endpoint>>,
    /// Transports that break calls on purpose, by target id.
    injectors: HashMap<String, Arc<dyn Transport>>,
    transport: Arc<dyn Transport>,
    /// What requests pass before they are planned.
    pub(crate) doors: door::Doors,
    /// What is read beside the traffic.
    polls: Arc<[Arc<signals::Poll>]>,
}

impl Current {
    fn new(
        snapshot: Arc<Snapshot>,
        transport: Arc<dyn Transport>,
        register: &door::DoorRegister,
    ) -> Result<Self, String> {
        let endpoints = endpoints(&snapshot)?;
        let injectors = injectors(&snapshot, &transport)?;
        let doors = door::Doors::of(&snapshot, register);
        let polls = signals::polls(&snapshot)?.into();
        Ok(Self { snapshot, endpoints, injectors, transport, doors, polls })
    }

    /// The way out for a target.
    pub(crate) fn transport(&self, target: &str) -> &Arc<dyn Transport> {
        self.injectors.get(target).unwrap_or(&self.transport)
    }
}

/// Checks what only the gateway can check of a configuration: addresses and injected faults.
///
/// # Errors
/// Names the provider or target.
pub fn check(snapshot: &Snapshot) -> Result<(), String> {
    endpoints(snapshot)?;
    signals::polls(snapshot)?;
    snapshot.injections.iter().try_for_each(|(target, injection)| fault_of(target, injection).map(drop))
}

fn endpoints(snapshot: &Snapshot) -> Result<HashMap<String, Arc<Endpoint>>, String> {
    snapshot
        .providers()
        .map(|provider| {
            let endpoint = Endpoint::parse(&provider.base_url)
                .map_err(|error| format!("providers.{}.base_url: {error}", provider.name))?;
            Ok((provider.name.clone(), Arc::new(endpoint)))
        })
        .collect()
}

fn fault_of(target: &str, injection: &config::Injection) -> Result<simulator::FaultKind, String> {
    injection.fault.parse().map_err(|error| format!("{target}: inject.fault: {error}"))
}

fn injectors(
    snapshot: &Snapshot,
    transport: &Arc<dyn Transport>,
) -> Result<HashMap<String, Arc<dyn Transport>>, String> {
    let mut injectors: HashMap<String, Arc<dyn Transport>> = HashMap::new();
    for (target, injection) in &snapshot.injections {
        let provider = target.split_once('/').map_or(target.as_str(), |(provider, _)| provider);
        let dialect = snapshot.providers().find(|p| p.name == provider).map(|p| p.dialect);
        let dialect = dialect.ok_or_else(|| format!("{target}: its provider is not configured"))?;
        let injection = simulator::Injection {
            fault: fault_of(target, injection)?,
            percent: injection.percent,
            from: injection.from.unwrap_or_default(),
            until: injection.until,
            seed: injection.seed,
        };
        injectors.insert(target.clone(), Arc::new(simulator::Injector::new(transport.clone(), dialect, &injection)));
    }
    Ok(injectors)
}

/// A provider whose row changed may have the model it lacked; one that is called elsewhere or otherwise has said
/// nothing yet about its keys.
fn forget_what_no_longer_holds(old: &Snapshot, new: &Snapshot) {
    for target in new.models().flat_map(|model| model.targets.iter()) {
        let row = &target.provider;
        let Some(known) = old.providers().find(|known| known.name == row.name).filter(|known| *known != row) else {
            continue;
        };
        target.health.relisted();
        if known.base_url != row.base_url || known.auth != row.auth {
            target.credentials.iter().for_each(|credential| credential.health.reset());
        }
    }
}

impl Gateway {
    /// A gateway over a configuration and a way out.
    ///
    /// # Errors
    /// Names the provider whose base URL cannot be used.
    pub fn new(snapshot: Arc<Snapshot>, transport: Arc<dyn Transport>, seed: u64) -> Result<Self, String> {
        let base = snapshot.clone();
        let budget = ByteBudget::new(memory::default_limit());
        let doors = Arc::<door::DoorRegister>::default();
        let kept = reuse::Kept::new(&snapshot.reuse_limits);
        let current = Current::new(snapshot, transport.clone(), &doors)?;
        Ok(Self {
            shared: Arc::new(Shared {
                clock: Clock::start(),
                transcripts: budget.part(budget.limit() / TRANSCRIPT_SHARE),
                budget,
                drain: Drain::new(),
                kept,
                queues: queue::Queues::default(),
                mirrors: mirror::Mirrors::default(),
                doors,
            }),
            current: ArcSwap::from_pointee(current),
            transport,
            readers: readers::Readers::default(),
            signals: signals::Signals::new(seed),
            fed: Mutex::new(signals::Fed::over(base)),
            history: None,
            seed: AtomicU64::new(seed),
        })
    }

    /// With this many bytes for everything exchanges hold, instead of a quarter of the memory.
    pub fn with_byte_budget(self, bytes: usize) -> Self {
        let budget = ByteBudget::new(bytes);
        let shared = Shared {
            clock: self.shared.clock,
            transcripts: budget.part(bytes / TRANSCRIPT_SHARE),
            budget,
            drain: self.shared.drain.clone(),
            kept: reuse::Kept::new(&self.snapshot().reuse_limits),
            queues: queue::Queues::default(),
            mirrors: mirror::Mirrors::default(),
            doors: self.shared.doors.clone(),
        };
        Self { shared: Arc::new(shared), ..self }
    }

    /// Writing a history of every exchange.
    pub fn with_history(self, history: History) -> Self {
        Self { history: Some(history), ..self }
    }

    /// Puts a new configuration in force; exchanges under way keep theirs.
    ///
    /// # Errors
    /// As for [`Gateway::new`]; the old configuration stays.
    pub fn replace(&self, snapshot: Arc<Snapshot>) -> Result<(), String> {
        let mut fed = readers::lock(&self.fed);
        // What cannot be put in force must leave the prices as they are.
        Current::new(snapshot.clone(), self.transport.clone(), &self.shared.doors)?;
        let snapshot = fed.rebase(snapshot);
        let new = Arc::new(Current::new(snapshot, self.transport.clone(), &self.shared.doors)?);
        self.shared.kept.configure(&new.snapshot.reuse_limits);
        new.snapshot.take_over(&self.snapshot());
        let old = self.current.swap(new.clone());
        forget_what_no_longer_holds(&old.snapshot, &new.snapshot);
        self.signals.configuration_changed();
        Ok(())
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load().snapshot.clone()
    }

    /// The life of the process, to end it.
    pub fn drain(&self) -> &Drain {
        &self.shared.drain
    }

    /// The gateway's time line.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Bytes held by exchanges at the moment.
    pub fn held_bytes(&self) -> usize {
        self.shared.budget.held()
    }

    /// Bytes held at the moment of what callers have of open streams, so that another target can go on with them.
    pub fn transcript_bytes(&self) -> usize {
        self.shared.transcripts.held()
    }

    /// Streams that went on without a transcript since the start, as there was no room for it.
    pub fn streams_without_transcript(&self) -> usize {
        self.shared.transcripts.refused()
    }

    /// Cuts off callers of HTTP/2 streams that have not read for `limit`; the server looks every second.
    pub fn cut_off_slow_readers(&self, limit: std::time::Duration) {
        self.readers.cut_off(limit);
    }

    fn next_seed(&self) -> u64 {
        self.seed.fetch_add(1, Ordering::Relaxed)
    }
}
