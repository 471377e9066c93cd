//! One simulated provider: what it is, its time line, and what it has seen.

use crate::behaviour::{Behaviour, FaultRule, Pace};
use crate::body::SimBody;
use crate::conduct::{Conduct, Conductor};
use crate::continues::Continues;
use crate::fault::FaultKind;
use crate::journal::{Entry, Journal};
use crate::script::Answer;
use crate::telling::Telling;
use crate::turn::{ConnectionFault, Turn};
use crate::wire;
use bytes::Bytes;
use canon::DialectName;
use history::Recorder;
use http::{HeaderMap, Request, Response, request};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

/// The wall clock of every simulated provider at its start: 2026-01-01T00:00:00Z.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// A simulated provider, as a script describes it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Its name, which its answers say.
    pub name: String,
    /// The dialect it speaks.
    pub dialect: DialectName,
    /// The models it has; empty = any, and the list shows one that is named after the provider.
    #[serde(default)]
    pub models: Vec<String>,
    /// Answers without a key too. A key that begins with `bad` is always refused.
    #[serde(default)]
    pub keyless: bool,
    /// Pace and faults.
    #[serde(default)]
    pub behaviour: Behaviour,
}

impl Provider {
    /// A healthy provider that has any model.
    pub fn new(name: impl Into<String>, dialect: DialectName) -> Self {
        Self { name: name.into(), dialect, models: Vec::new(), keyless: false, behaviour: Behaviour::default() }
    }

    /// With this behaviour.
    pub fn behaving(self, behaviour: Behaviour) -> Self {
        Self { behaviour, ..self }
    }

    /// With these faults and its pace as it is.
    pub fn failing(mut self, faults: impl IntoIterator<Item = FaultRule>) -> Self {
        self.behaviour.faults = faults.into_iter().collect();
        self
    }

    /// At this pace.
    pub fn at_pace(mut self, pace: Pace) -> Self {
        self.behaviour.pace = pace;
        self
    }

    /// Saying this.
    pub fn answering(mut self, answer: Answer) -> Self {
        self.behaviour.answer = answer;
        self
    }

    /// Going on with partial answers in this way.
    pub fn continuing(mut self, continues: impl Into<Continues>) -> Self {
        self.behaviour.continues = continues.into();
        self
    }

    pub(crate) fn listed(&self) -> Vec<String> {
        if self.models.is_empty() { vec![format!("{}-model", self.name)] } else { self.models.clone() }
    }
}

struct State {
    /// Shared with the requests under way: an answer may be long.
    behaviour: Arc<Behaviour>,
    set_at: Duration,
    /// Requests since the behaviour was set.
    seen: u64,
    /// Requests since the simulator was made.
    ordinal: u64,
}

struct Inner {
    provider: Provider,
    state: Mutex<State>,
    journal: Arc<Journal>,
    changed: tokio::sync::watch::Sender<()>,
    history: OnceLock<Arc<dyn Recorder>>,
    conductor: OnceLock<Arc<dyn Conductor>>,
}

/// A simulated provider. Clones are the same provider.
#[derive(Clone)]
pub struct Simulator {
    inner: Arc<Inner>,
}

impl Simulator {
    /// Starts the provider's time line now.
    pub fn new(provider: Provider) -> Self {
        let behaviour = Arc::new(provider.behaviour.clone());
        let state = State { behaviour, set_at: Duration::ZERO, seen: 0, ordinal: 0 };
        let (changed, _) = tokio::sync::watch::channel(());
        let (state, journal) = (Mutex::new(state), Journal::new());
        let (history, conductor) = (OnceLock::new(), OnceLock::new());
        Self { inner: Arc::new(Inner { provider, state, journal, changed, history, conductor }) }
    }

    /// The provider's name.
    pub fn name(&self) -> &str {
        &self.inner.provider.name
    }

    /// The dialect it speaks.
    pub fn dialect(&self) -> DialectName {
        self.inner.provider.dialect
    }

    /// The models its list shows.
    pub fn models(&self) -> Vec<String> {
        self.inner.provider.listed()
    }

    /// Replaces the behaviour; its time line and its counts of requests begin now.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        let now = self.inner.journal.elapsed();
        let mut state = self.state();
        state.behaviour = Arc::new(behaviour);
        state.set_at = now;
        state.seen = 0;
        drop(state);
        self.inner.changed.send_replace(());
    }

    /// Replaces the faults and keeps the rest of the behaviour; the time line begins now. No faults: healthy.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = FaultRule>) {
        let behaviour = Behaviour { faults: faults.into_iter().collect(), recover_at: None, ..self.behaviour() };
        self.set_behaviour(behaviour);
    }

    /// The behaviour in force.
    pub fn behaviour(&self) -> Behaviour {
        Behaviour::clone(&self.state().behaviour)
    }

    /// What it saw and did, oldest request first.
    pub fn journal(&self) -> Vec<Entry> {
        self.inner.journal.entries()
    }

    /// Takes the entries that have ended out of the journal, oldest first. A journal keeps 8,192 entries: a run of more
    /// requests takes them as it goes.
    pub fn take_journal(&self) -> Vec<Entry> {
        self.inner.journal.take()
    }

    /// Forgets the journal; the ordinals go on.
    pub fn clear_journal(&self) {
        self.inner.journal.clear();
    }

    /// Writes a history of every call that carries the tag of its attempt, from now on; only the first recorder counts.
    pub fn write_history(&self, recorder: Arc<dyn Recorder>) {
        let _is_first = self.inner.history.set(recorder);
    }

    /// Asks this conductor what to do with each call, from now on; only the first one counts.
    pub fn conducted_by(&self, conductor: Arc<dyn Conductor>) {
        let _is_first = self.inner.conductor.set(conductor);
    }

    /// Answers one request, on the time of the runtime. Dropping the future or the body is the client's hang-up.
    pub async fn call(&self, request: Request<Bytes>) -> Result<Response<SimBody>, ConnectionFault> {
        let (parts, body) = request.into_parts();
        let mut turn = self.begin(&parts);
        match turn.early() {
            Some(early) => Ok(early),
            None => turn.answer(body).await,
        }
    }

    /// Takes a request's head and draws its faults, so that an answer may come before the body is read.
    pub fn begin(&self, parts: &request::Parts) -> Turn {
        let now = self.inner.journal.elapsed();
        let mut state = self.state();
        let (seen, ordinal) = (state.seen, state.ordinal);
        state.seen += 1;
        state.ordinal += 1;
        let mut faults = state.behaviour.drawn(now.saturating_sub(state.set_at), seen);
        let mut behaviour = Arc::clone(&state.behaviour);
        drop(state);
        let mut more_headers = HeaderMap::new();
        if let Some(conduct) = self.inner.conductor.get().and_then(|conductor| conductor.conduct(&parts.headers)) {
            let Conduct { pace, answer, faults: conducted, headers } = conduct;
            let (seed, continues) = (behaviour.seed, behaviour.continues);
            behaviour = Arc::new(Behaviour { seed, continues, pace, answer, faults: Vec::new(), recover_at: None });
            (faults, more_headers) = (conducted, headers);
        }
        let path = parts.uri.path_and_query().map_or_else(|| parts.uri.path(), |path| path.as_str());
        let applied = faults.iter().map(ToString::to_string).collect();
        let record =
            self.inner.journal.open(ordinal, request_id(&parts.headers), &format!("{} {path}", parts.method), applied);
        let dialect = self.dialect();
        let telling = self.inner.history.get();
        let telling = telling.and_then(|it| Telling::new(Arc::clone(it), &parts.headers, dialect, self.name()));
        let record = record.told(telling);
        let door = wire::admit(dialect, self.inner.provider.keyless, &parts.uri, &parts.headers);
        let route = wire::route(dialect, &parts.method, &parts.uri);
        let refused = door.err().map(|invalid| invalid.refusal(dialect));
        Turn { simulator: self.clone(), faults, behaviour, ordinal, route, refused, more_headers, record: Some(record) }
    }

    /// Whether this kind of fault holds for every connection made now.
    pub(crate) fn always(&self, is_kind: impl Fn(FaultKind) -> bool) -> bool {
        let now = self.inner.journal.elapsed();
        let state = self.state();
        state.behaviour.always(now.saturating_sub(state.set_at), state.seen, is_kind)
    }

    /// Whether some rule may close the listener now or later.
    pub(crate) fn may_refuse(&self) -> bool {
        self.state().behaviour.faults.iter().any(|rule| rule.fault == FaultKind::Refuse)
    }

    /// Told whenever the behaviour is replaced.
    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.inner.changed.subscribe()
    }

    /// The provider's own wall clock.
    pub(crate) fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + EPOCH + self.inner.journal.elapsed()
    }

    pub(crate) fn provider(&self) -> &Provider {
        &self.inner.provider
    }

    /// Writes down the status of an answer.
    pub(crate) fn answered(&self, ordinal: u64, status: u16) {
        self.inner.journal.status(ordinal, status);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn request_id(headers: &HeaderMap) -> Option<&str> {
    ["x-mainstay-attempt", "x-request-id", "x-client-request-id", "idempotency-key"]
        .into_iter()
        .find_map(|name| headers.get(name).and_then(|id| id.to_str().ok()))
}
