//! Requests by the thousand through a whole gateway while everything goes wrong at random, every one of them checked
//! from the histories that client, gateway and providers write.
//!
//! `MAINSTAY_SOAK` says how many requests; by default few enough for every run. On virtual time a million of them take
//! minutes. A seed that fails is named, with the history of a request that failed, and `MAINSTAY_SOAK_SEED` repeats it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "tests"
)]

mod caller;
mod client;
mod weather;

#[path = "../support/mod.rs"]
mod support;

use caller::{Caller, Door};
use fastrand::Rng;
use gateway::drain::Life;
use gateway::server::{self, ShutdownTimes};
use gateway::{Gateway, History, Tags};
use health::Health;
use history::{Event, GatewayEvent, Memory, Policy, Record, Recorder, Report};
use simulator::{InMemory, Server};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};
use upstream::{Endpoint, Settings, Upstream};
use weather::{Haste, Weather};

/// Requests of one process, from its start to its drain.
const OF_ONE_PROCESS: u64 = 1000;
/// Callers at the same time.
const CALLERS: usize = 50;

/// What is asked of the run, from the environment.
fn asked(name: &str, usual: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the size of a test")]
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn whatever_goes_wrong_every_request_has_one_true_end() {
    run(asked("MAINSTAY_SOAK", 2000), Haste::Virtual, &Policy::default());
}

#[test]
fn whatever_goes_wrong_over_sockets_every_request_has_one_true_end() {
    // Real time: whoever is asked must also get the processor.
    let second = Duration::from_secs(1);
    let policy = Policy { cancel_within: 3 * second, slack: second, ..Policy::default() };
    run(asked("MAINSTAY_SOAK_SOCKETS", 400), Haste::Real, &policy);
}

fn run(requests: u64, haste: Haste, policy: &Policy) {
    let first = asked("MAINSTAY_SOAK_SEED", 1);
    let mut total = history::Counts::default();
    let (mut rescues, mut rescued) = (0, 0);
    for seed in first..first + requests.div_ceil(OF_ONE_PROCESS) {
        let (report, records) = process(seed, requests.min(OF_ONE_PROCESS), haste, policy);
        let history = report.violations.first().map(|first| of_request(&records, &first.id)).unwrap_or_default();
        assert!(report.is_proof(), "MAINSTAY_SOAK_SEED={seed}: {report}\n{history}");
        let counts = report.counts;
        total.requests += counts.requests;
        total.answered += counts.answered;
        total.ended_honestly += counts.ended_honestly;
        total.refused += counts.refused;
        total.shared += counts.shared;
        rescues += records.iter().filter(|record| is_rescue(record)).count();
        rescued += records.iter().filter(|record| is_rescued(record)).count();
    }
    let history::Counts { requests, answered, ended_honestly, refused, shared, .. } = total;
    println!(
        "{requests} requests: {answered} answered, {ended_honestly} ended honestly, {refused} refused; {shared} shared \
         exchanges; {rescues} rescues tried, {rescued} answers of several parts; 0 violations"
    );
    assert!(answered > requests / 4, "a run in which nearly nothing is answered shows little");
    let is_long = requests >= 2000;
    assert!(!is_long || (rescued > 0 && shared > 0), "a run without rescues or shared exchanges shows little");
}

fn is_rescue(record: &Record) -> bool {
    let kind = history::AttemptKind::Rescue;
    matches!(&record.event, Event::Gateway(GatewayEvent::AttemptStarted { kind: it, .. }) if *it == kind)
}

fn is_rescued(record: &Record) -> bool {
    matches!(&record.event, Event::Gateway(GatewayEvent::Settled { segments: Some(parts), .. }) if parts.len() > 1)
}

/// What was written of one request, and of the exchange that it began for several.
fn of_request(records: &[Record], id: &str) -> String {
    let request = id.split('+').next();
    let own = records.iter().filter(|record| record.id.as_deref().and_then(|it| it.split('+').next()) == request);
    own.map(|record| serde_json::to_string(record).unwrap() + "\n").collect()
}

/// One life of a gateway: it starts, serves, is reloaded, is drained.
fn process(seed: u64, requests: u64, haste: Haste, policy: &Policy) -> (Report, Vec<Record>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(haste == Haste::Virtual).build().unwrap();
    let local = LocalSet::new();
    let memory = runtime.block_on(local.run_until(async move {
        let origin = tokio::time::Instant::now();
        let now = move || u64::try_from(origin.elapsed().as_micros()).unwrap();
        let memory = Arc::new(Memory::new(now));
        let recorder: Arc<dyn Recorder> = memory.clone();
        recorder.record(None, Event::Gateway(GatewayEvent::Started {}));
        match haste {
            Haste::Virtual => serve(seed, requests, &recorder).await,
            Haste::Real => serve_over_sockets(seed, requests, &recorder).await,
        }
        memory
    }));
    // Tasks that are left are dropped here; what they were about is in flight no more.
    drop(local);
    drop(runtime);
    memory.record(None, Event::Gateway(GatewayEvent::Drained {}));
    let records = memory.take();
    (history::check(records.clone(), policy.clone()), records)
}

async fn serve(seed: u64, requests: u64, recorder: &Arc<dyn Recorder>) {
    let mut rng = Rng::with_seed(seed);
    let weather = Weather::new(&mut rng, recorder, Haste::Virtual);
    let transport = weather.providers.iter().fold(InMemory::new(), InMemory::with);
    let health = Arc::new(Health::new(seed));
    let snapshot = |turn| {
        let yaml = Weather::configuration(turn, Haste::Virtual, |name| format!("http://{name}"));
        support::snapshot(&yaml, &health)
    };
    let gateway = Gateway::new(snapshot(0), Arc::new(transport), seed).unwrap();
    let gateway = Rc::new(gateway.with_history(History { recorder: recorder.clone(), tags: Tags::All }));
    let left = Rc::new(Cell::new(requests));
    let door = Door::Direct(gateway.clone());
    let mut callers = callers(seed, &mut rng, &left, &door, recorder);
    turn_the_weather(&mut rng, &weather, &left, |turn| gateway.replace(snapshot(turn)).unwrap()).await;
    gateway.drain().advance(Life::Draining);
    tokio::time::sleep(Duration::from_millis(rng.u64(0..20_000))).await;
    gateway.drain().advance(Life::Over);
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    // Probes that were overtaken go on for at most the time of an attempt.
    tokio::time::sleep(Duration::from_secs(300)).await;
}

async fn serve_over_sockets(seed: u64, requests: u64, recorder: &Arc<dyn Recorder>) {
    let mut rng = Rng::with_seed(seed);
    let weather = Weather::new(&mut rng, recorder, Haste::Real);
    let mut servers = Vec::new();
    for provider in &weather.providers {
        servers.push(Server::start(provider.clone()).await.unwrap());
    }
    let health = Arc::new(Health::new(seed));
    let snapshot = |turn| {
        let at = |name: &str| servers.iter().find(|server| server.simulator().name() == name).unwrap().address();
        let yaml = Weather::configuration(turn, Haste::Real, |name| format!("http://{}", at(name)));
        support::snapshot(&yaml, &health)
    };
    let gateway = Gateway::new(snapshot(0), Arc::new(Upstream::new(Settings::default()).unwrap()), seed).unwrap();
    let gateway = Arc::new(gateway.with_history(History { recorder: recorder.clone(), tags: Tags::Loopback }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let second = Duration::from_secs(1);
    let times = ShutdownTimes { accept: second / 2, drain: second, slow_reader: 5 * second };
    let serving = gateway.clone();
    let serving = tokio::task::spawn_local(async move {
        let stopped = async { stopped.await.unwrap() };
        server::serve(serving, listener, times, stopped).await;
    });
    let left = Rc::new(Cell::new(requests));
    let client = Rc::new(Upstream::new(Settings::default()).unwrap());
    let door = Door::Socket { client, endpoint: Arc::new(endpoint) };
    let mut callers = callers(seed, &mut rng, &left, &door, recorder);
    turn_the_weather(&mut rng, &weather, &left, |turn| gateway.replace(snapshot(turn)).unwrap()).await;
    stop.send(()).unwrap();
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    serving.await.unwrap();
    // What was cancelled last is still to be noticed.
    tokio::time::sleep(second).await;
}

fn callers(seed: u64, rng: &mut Rng, left: &Rc<Cell<u64>>, door: &Door, recorder: &Arc<dyn Recorder>) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (door, recorder) = (door.clone(), recorder.clone());
        let caller = Caller { door, recorder, rng: rng.fork(), name: format!("{seed}-{number}") };
        callers.spawn_local(caller.ask_while(left.clone()));
    }
    callers
}

/// Providers get better and worse, and the configuration is reloaded, until only the last requests are left: those meet
/// a gateway that is going down.
async fn turn_the_weather(rng: &mut Rng, weather: &Weather, left: &Cell<u64>, reload: impl Fn(usize)) {
    let mut turn = 0;
    while left.get() > CALLERS as u64 {
        tokio::time::sleep(weather.lasts(rng)).await;
        weather.change(rng);
        if rng.u32(0..4) == 0 {
            turn += 1;
            reload(turn);
        }
    }
}
