//! Drills over sockets: the gateway that the binary runs, listening on loopback, between real callers and simulated
//! providers on sockets of their own, in real time.
//!
//! Nothing is shortened: rests, ramps and limits are those of the configuration. Several runs go on at the same time,
//! each with gateways, health, providers and callers of its own.

use super::caller::Callers;
use super::providers::{Providers, status_fault};
use super::stage::{Scribe, Stage};
use ::drill::{Arrival, Live, Report, Scenario};
use config::Snapshot;
use gateway::server::{self, ShutdownTimes};
use gateway::{Gateway, History, Tags};
use health::Health;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep_until, timeout};

/// Most requests a second of all runs together: what one machine can send without measuring itself.
const BUSIEST: f64 = 500.0;
/// Most requests of one run under way.
const MOST_UNDER_WAY: usize = 2_048;
/// How long the last requests may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often breakers are looked at; on virtual time each change is seen.
const LOOK: Duration = Duration::from_millis(50);

/// Runs all scenarios with all seeds at the same time.
pub(crate) async fn run(scenarios: &[Arc<Scenario>], first: u64, seeds: u32) -> Result<Vec<Report>, String> {
    let seeds = u64::from(seeds.max(1));
    for scenario in scenarios {
        can_run(scenario)?;
    }
    let busiest = scenarios.iter().map(|scenario| scenario.busiest()).sum::<f64>() * seeds as f64;
    if busiest > BUSIEST {
        return Err(format!(
            "{busiest:.0} requests a second over sockets: expected at most {BUSIEST:.0} at the same time"
        ));
    }
    let mut runs = JoinSet::new();
    for (place, scenario) in scenarios.iter().enumerate() {
        for seed in (0..seeds).map(|more| first.wrapping_add(more)) {
            let scenario = scenario.clone();
            runs.spawn(async move { run_once(&scenario, seed).await.map(|live| ((place, seed), live)) });
        }
    }
    let mut done = BTreeMap::new();
    while let Some(run) = runs.join_next().await {
        let (key, live) = run.map_err(|error| format!("a run ended early: {error}"))??;
        done.insert(key, live);
    }
    let report = |(place, scenario): (usize, &Arc<Scenario>)| {
        let of_it = done.iter().filter(|((at, _), _)| *at == place);
        scenario.judge(of_it.map(|((_, seed), live)| (*seed, live)))
    };
    Ok(scenarios.iter().enumerate().map(report).collect())
}

fn can_run(scenario: &Scenario) -> Result<(), String> {
    let refuse = |what: &str| Err(format!("{}: over sockets there is no {what}", scenario.name));
    if let Some(what) = scenario.only_virtual().first() {
        return refuse(what);
    }
    match scenario.error_answers().find(|error| status_fault(error).is_none()) {
        Some(error) => refuse(&format!(
            "error answer {}: expected a status that simulated providers know, a hint with 429 and 503 alone, and no \
             `code` but `insufficient_quota`",
            error.status
        )),
        None => Ok(()),
    }
}

/// A gateway that listens.
struct Replica {
    gateway: Arc<Gateway>,
    address: SocketAddr,
}

async fn run_once(scenario: &Arc<Scenario>, seed: u64) -> Result<Live, String> {
    let mut live = Live::new(scenario.clone(), seed);
    let arrivals = live.arrivals().to_vec();
    let mut snapshots = Vec::new();
    for replica in 0..scenario.replicas() as u64 {
        let health = Arc::new(Health::new(seed.wrapping_add(replica)));
        let snapshot = Arc::new(scenario.snapshot(&health)?);
        live.watch(&snapshot)?;
        snapshots.push(snapshot);
    }
    let forms = (0..).map_while(|load| live.form(load)).collect();
    let stage = Arc::new(Stage::new(live));
    let providers = providers(&stage, snapshots.first()).await?;
    // Gateways and callers end with the set.
    let mut tasks = JoinSet::new();
    let mut replicas = Vec::new();
    for (replica, snapshot) in snapshots.into_iter().enumerate() {
        let transport = providers.way_out(&stage)?;
        let recorder = Arc::new(Scribe { stage: stage.clone(), replica });
        let gateway = Gateway::new(snapshot, transport, seed)?.with_history(History { recorder, tags: Tags::All });
        let gateway = Arc::new(gateway);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        tasks.spawn(server::serve(gateway.clone(), listener, ShutdownTimes::default(), std::future::pending()));
        replicas.push(Replica { gateway, address });
    }
    let addresses: Vec<SocketAddr> = replicas.iter().map(|replica| replica.address).collect();
    let callers = Arc::new(Callers::new(stage.clone(), &addresses, forms)?);
    let watching = watch(scenario, &stage, &replicas, &providers);
    tokio::select! {
        called = call(&stage, callers, &arrivals, seed) => called?,
        () = watching => {}
    }
    tasks.shutdown().await;
    // Connections that are still being closed hold the stage; what they see no longer counts.
    Ok(stage.live(|live| std::mem::replace(live, Live::new(scenario.clone(), seed))))
}

/// Those of all models' targets.
async fn providers(stage: &Arc<Stage>, snapshot: Option<&Arc<Snapshot>>) -> Result<Providers, String> {
    let models: Vec<_> = snapshot.into_iter().flat_map(|snapshot| snapshot.models()).collect();
    let targets = models.iter().flat_map(|model| model.targets.iter());
    let rows = targets.map(|target| {
        let provider = &target.provider;
        (provider.name.as_str(), provider.dialect, provider.base_url.as_str())
    });
    Providers::start(stage, rows).await
}

/// Open loop: each request is sent when it is due, and measured from then.
async fn call(stage: &Arc<Stage>, callers: Arc<Callers>, arrivals: &[Arrival], seed: u64) -> Result<(), String> {
    let mut under_way = JoinSet::new();
    for (request, arrival) in arrivals.iter().enumerate() {
        sleep_until(stage.begin() + arrival.at).await;
        stage.live(Live::arrived);
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= MOST_UNDER_WAY {
            return Err(format!("more than {MOST_UNDER_WAY} requests are under way after {:.0?}", arrival.at));
        }
        let (callers, arrival) = (callers.clone(), *arrival);
        let rng = fastrand::Rng::with_seed(seed.rotate_left(32) ^ request as u64);
        under_way.spawn(async move { callers.ask(request, arrival, rng).await });
    }
    // Whoever has no end by then has no answer, which is what the figures say of it.
    let _ = timeout(PATIENCE, async { while under_way.join_next().await.is_some() {} }).await;
    Ok(())
}

/// Looks at the breakers, and at the end of each row where the targets stand. Never ends.
async fn watch(scenario: &Scenario, stage: &Stage, replicas: &[Replica], providers: &Providers) {
    let mut ticks = interval(LOOK);
    let mut row = scenario.rows();
    loop {
        ticks.tick().await;
        let now = stage.now();
        stage.live(|live| {
            for (number, replica) in replicas.iter().enumerate() {
                live.look(number, replica.gateway.clock().now(), now);
            }
            if let Some(first) = replicas.first().filter(|_| now.since_origin() >= row) {
                live.row(first.gateway.clock().now(), canon::Instant::from_origin(row));
                row += scenario.rows();
                providers.forget();
            }
        });
    }
}
