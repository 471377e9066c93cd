//! `serve`: find the configuration, start, reload on change, drain on SIGTERM.

use crate::cli::Serve;
use crate::load::{Origin, Source};
use crate::simulated::Simulated;
use crate::{first_run, say};
use config::Snapshot;
use gateway::server::{self, ShutdownTimes};
use gateway::{Gateway, History, Tags};
use history::Recorder;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use upstream::{ProxySettings, Settings, Transport, Upstream};

/// How often the file is looked at. Polling survives editors and orchestrators that replace the file or a link to it.
const WATCH: Duration = Duration::from_secs(1);

/// Starts the gateway and runs it to the end of the process.
pub(crate) async fn run(options: &Serve, recorder: Option<Arc<dyn Recorder>>) -> Result<(), String> {
    let mut source = Source::find(&options.configured)?;
    let simulated = match &source.origin {
        Origin::Simulated(_) => {
            let simulated = Simulated::start(recorder.as_ref()).await?;
            source.origin = Origin::Simulated(simulated.configuration());
            Some(simulated)
        }
        Origin::File(_) | Origin::Environment => None,
    };
    // Taken before the file is read, so that no change is missed in between.
    let seen = source.written();
    let snapshot = Arc::new(source.load()?);
    let address = address(options, &snapshot)?;
    let listener = TcpListener::bind(address).await.map_err(|error| bind_error(address, &error))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let times = ShutdownTimes {
        accept: snapshot.drain_accept,
        drain: snapshot.drain,
        slow_reader: snapshot.limits.caller_idle,
    };
    let mut gateway = Gateway::new(snapshot.clone(), transport(&source)?, fastrand::u64(..))?;
    if let Some(recorder) = recorder {
        let tags = if options.tag_attempts { Tags::All } else { Tags::Loopback };
        gateway = gateway.with_history(History { recorder, tags });
    }
    let gateway = Arc::new(gateway);
    // Before anybody can know that the process runs: a signal without its handler ends it.
    let stop = stop_signal()?;
    let hangup = signal(SignalKind::hangup()).map_err(|error| format!("signals cannot be handled: {error}"))?;
    say(&first_run::greeting(&source.origin, &snapshot, address))?;
    let watching = watch(&gateway, &source, address, (hangup, seen));
    tokio::select! {
        () = server::serve(gateway.clone(), listener, times, stop) => {}
        result = watching => return result,
    }
    drop(simulated);
    Ok(())
}

/// `--listen` wins; it is held to the same rule as the configuration's address.
fn address(options: &Serve, snapshot: &Snapshot) -> Result<SocketAddr, String> {
    let Some(address) = options.listen else { return Ok(snapshot.listen) };
    may_listen(address, snapshot)?;
    Ok(address)
}

/// Whoever reaches an address beyond loopback needs a key, unless the operator says otherwise. A reload is held to it
/// as well: it changes the keys, and the address stays.
fn may_listen(address: SocketAddr, snapshot: &Snapshot) -> Result<(), String> {
    if !address.ip().is_loopback() && snapshot.keys.is_empty() && !snapshot.allow_open {
        return Err(format!(
            "{address} can be reached from other machines and no `keys` are configured: add keys, or set \
             `allow_open: true`"
        ));
    }
    Ok(())
}

fn bind_error(address: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("{address} is in use by another program: stop it, or start with `--listen 127.0.0.1:PORT`")
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

/// The way out, with the environment's proxies.
pub(crate) fn transport(source: &Source) -> Result<Arc<dyn Transport>, String> {
    let proxies = ProxySettings::from_variables(source.environment()).map_err(|error| error.to_string())?;
    let settings = Settings { proxies, ..Settings::default() };
    let upstream = Upstream::new(settings).map_err(|error| error.to_string())?;
    Ok(Arc::new(upstream))
}

/// Resolves at the first SIGTERM or SIGINT; a second one ends the process at once.
fn stop_signal() -> Result<impl Future<Output = ()>, String> {
    let of = |kind| signal(kind).map_err(|error| format!("signals cannot be handled: {error}"));
    let mut terminate = of(SignalKind::terminate())?;
    let mut interrupt = of(SignalKind::interrupt())?;
    Ok(async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::info!("draining: a second signal ends the process at once");
        #[expect(clippy::disallowed_methods, reason = "one task a process, waiting for the second signal")]
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            std::process::exit(130);
        });
    })
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Reloads on SIGHUP and when the file changes. A broken file is refused and told; the old configuration stays.
async fn watch(
    gateway: &Gateway,
    source: &Source,
    address: SocketAddr,
    (mut hangup, mut seen): (Signal, Option<(SystemTime, u64)>),
) -> Result<(), String> {
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(WATCH) => false,
        };
        let written = source.written();
        if !asked && (written == seen || written.is_none()) {
            continue;
        }
        seen = written;
        let reloaded = source.load().and_then(|snapshot| {
            may_listen(address, &snapshot)?;
            gateway.replace(Arc::new(snapshot))
        });
        match reloaded {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(error) => tracing::error!(error, "the new configuration is refused; the old one stays in force"),
        }
    }
}
