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
    reason = "tests"
)]

mod caller;
mod client;
mod weather;

#[path = "../support/mod.rs"]
mod support;

use caller::Caller;
use fastrand::Rng;
use gateway::drain::Life;
use gateway::{Gateway, History, Tags};
use health::Health;
use history::{Event, GatewayEvent, Memory, Policy, Record, Recorder, Report};
use simulator::InMemory;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::LocalSet;
use weather::Weather;

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
    let requests = asked("MAINSTAY_SOAK", 2000);
    let first = asked("MAINSTAY_SOAK_SEED", 1);
    let mut total = (0, 0, 0, 0);
    for seed in first..first + requests.div_ceil(OF_ONE_PROCESS) {
        let (report, records) = process(seed, requests.min(OF_ONE_PROCESS));
        let history = report.violations.first().map(|first| of_request(&records, &first.id)).unwrap_or_default();
        assert!(report.is_proof(), "MAINSTAY_SOAK_SEED={seed}: {report}\n{history}");
        let counts = report.counts;
        total.0 += counts.requests;
        total.1 += counts.answered;
        total.2 += counts.ended_honestly;
        total.3 += counts.refused;
    }
    let (requests, answered, honest, refused) = total;
    println!("{requests} requests: {answered} answered, {honest} ended honestly, {refused} refused, 0 violations");
    assert!(answered > requests / 4, "a run in which nearly nothing is answered shows little");
}

/// What was written of one request.
fn of_request(records: &[Record], id: &str) -> String {
    let own = records.iter().filter(|record| record.id.as_deref() == Some(id));
    own.map(|record| serde_json::to_string(record).unwrap() + "\n").collect()
}

/// One life of a gateway on virtual time: starts, serves, is reloaded, is drained.
fn process(seed: u64, requests: u64) -> (Report, Vec<Record>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(LocalSet::new().run_until(async move {
        let origin = tokio::time::Instant::now();
        let now = move || u64::try_from(origin.elapsed().as_micros()).unwrap();
        let memory = Arc::new(Memory::new(now));
        let recorder: Arc<dyn Recorder> = memory.clone();
        recorder.record(None, Event::Gateway(GatewayEvent::Started {}));
        serve(seed, requests, &recorder).await;
        recorder.record(None, Event::Gateway(GatewayEvent::Drained {}));
        let records = memory.take();
        (history::check(records.clone(), Policy::default()), records)
    }))
}

async fn serve(seed: u64, requests: u64, recorder: &Arc<dyn Recorder>) {
    let mut rng = Rng::with_seed(seed);
    let weather = Weather::new(&mut rng, recorder);
    let memory = weather.providers.iter().fold(InMemory::new(), InMemory::with);
    let health = Arc::new(Health::new(seed));
    let snapshot = |turn| support::snapshot(&Weather::configuration(turn), &health);
    let gateway = Gateway::new(snapshot(0), Arc::new(memory), seed).unwrap();
    let history = History { recorder: recorder.clone(), tags: Tags::All };
    let gateway = Rc::new(gateway.with_history(history));
    let left = Rc::new(Cell::new(requests));
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..CALLERS {
        let caller = Caller {
            gateway: gateway.clone(),
            recorder: recorder.clone(),
            rng: rng.fork(),
            name: format!("{seed}-{number}"),
        };
        callers.spawn_local(caller.ask_while(left.clone()));
    }
    let mut turn = 0;
    // The last requests meet a gateway that is going down.
    while left.get() > CALLERS as u64 {
        tokio::time::sleep(Duration::from_millis(rng.u64(50..2000))).await;
        weather.change(&mut rng);
        if rng.u32(0..4) == 0 {
            turn += 1;
            gateway.replace(snapshot(turn)).unwrap();
        }
    }
    gateway.drain().advance(Life::Draining);
    tokio::time::sleep(Duration::from_millis(rng.u64(0..20_000))).await;
    gateway.drain().advance(Life::Over);
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    // Probes that were overtaken go on for at most the time of an attempt.
    tokio::time::sleep(Duration::from_secs(300)).await;
}
