//! `simulate`: one simulated provider, or faults in front of a real one.

use crate::cli::Simulate;
use crate::explain::dialect_named;
use crate::say;
use history::Recorder;
use simulator::{FaultKind, FaultRule, Injection, Pace, Provider, ProxyOptions, ServeOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use upstream::{Endpoint, ProxySettings, Settings, Upstream};

/// Runs until it is stopped.
pub(crate) async fn run(options: &Simulate, recorder: Option<Arc<dyn Recorder>>) -> Result<(), String> {
    let faults = faults(options)?;
    match &options.upstream {
        Some(upstream) => in_front_of(upstream, options, faults).await,
        None => alone(options, faults, recorder).await,
    }
}

fn faults(options: &Simulate) -> Result<Vec<FaultRule>, String> {
    if !(0.0..=100.0).contains(&options.percent) {
        return Err(format!("--percent {}: expected 0 to 100", options.percent));
    }
    options
        .fault
        .iter()
        .map(|text| {
            let kind: FaultKind = text.parse().map_err(|error| format!("--fault {text}: {error}"))?;
            Ok(FaultRule::new(kind).percent(options.percent))
        })
        .collect()
}

async fn alone(options: &Simulate, faults: Vec<FaultRule>, recorder: Option<Arc<dyn Recorder>>) -> Result<(), String> {
    let dialect = dialect_named(&options.dialect)?;
    let mut provider = Provider::new("simulated", dialect).at_pace(Pace::default()).failing(faults);
    provider.behaviour.seed = options.seed;
    let serve = ServeOptions { host: options.listen.ip(), port: options.listen.port(), providers: vec![provider] };
    let serving =
        simulator::serve(serve).await.map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    for (server, recorder) in serving.servers.iter().zip(recorder.iter().cycle()) {
        server.simulator().write_history(recorder.clone());
    }
    let address = serving.servers.first().map_or(options.listen, simulator::Server::address);
    say(&format!("a simulated {dialect} provider listens on http://{address}"))?;
    stopped().await
}

async fn in_front_of(upstream: &str, options: &Simulate, faults: Vec<FaultRule>) -> Result<(), String> {
    let upstream = Endpoint::parse(upstream).map_err(|error| format!("--upstream: {error}"))?;
    let mut faults = faults.into_iter();
    let injection = faults.next().map(|rule| Injection {
        percent: options.percent,
        seed: options.seed,
        ..Injection::new(rule.fault)
    });
    if faults.next().is_some() {
        return Err("--upstream takes one --fault: start another one in front of this one for a second".to_owned());
    }
    let proxy = ProxyOptions {
        address: options.listen,
        upstream: upstream.clone(),
        dialect: dialect_named(&options.dialect)?,
        injection,
        connect: Duration::from_secs(3),
    };
    let proxies = ProxySettings::from_variables(crate::load::environment()).map_err(|error| error.to_string())?;
    let settings = Settings { proxies, ..Settings::default() };
    let transport = Upstream::new(settings).map_err(|error| error.to_string())?;
    let proxying = simulator::proxy(proxy, Arc::new(transport))
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    say(&format!("http://{} stands in front of {upstream}", proxying.address()))?;
    stopped().await
}

async fn stopped() -> Result<(), String> {
    let told = |error| format!("signals cannot be handled: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(told)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(told),
        _ = terminate.recv() => Ok(()),
    }
}
