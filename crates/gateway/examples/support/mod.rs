//! A model to measure, and the measuring: in the package that decides in the binary, built as it is built there, and
//! with the binary's allocator.

use canon::Instant;
use catalog::Catalog;
use config::{Environment, Loader, Snapshot};
use health::Health;
use routing::Model;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub(crate) const TARGETS: usize = 30;
/// Requests a run: short enough for some runs not to be interrupted by whatever else the machine does.
const ROUNDS: u32 = 200;
/// The quickest of these runs is told.
const REPEATS: u32 = 500;
/// When a run begins: later than what a model was warmed with.
const BEGINS: Duration = Duration::from_secs(600);

/// What a configuration is made to.
pub(crate) fn load(yaml: &str) -> Result<Snapshot, Box<dyn Error>> {
    let catalog = Catalog::builtin()?;
    let (health, ledger, environment) = (Arc::new(Health::new(1)), Arc::default(), Environment::new());
    let loader = Loader {
        catalog: &catalog,
        health: &health,
        ledger: &ledger,
        environment: &environment,
        allow_injection: false,
    };
    Ok(loader.load("cost.yaml", yaml)?)
}

/// A model of it.
pub(crate) fn model(config: &Snapshot, name: &str) -> Result<Arc<Model>, Box<dyn Error>> {
    Ok(config.resolve(name).map_err(|unknown| unknown.to_string())?)
}

/// The point in time of a request of a run.
pub(crate) fn now(round: u32) -> Instant {
    Instant::from_origin(BEGINS + Duration::from_micros(u64::from(round)))
}

/// Nanoseconds of one request.
pub(crate) fn nanos(mut request: impl FnMut(Instant)) -> f64 {
    (0..REPEATS)
        .map(|_| {
            let began = std::time::Instant::now();
            (0..ROUNDS).for_each(|round| request(now(round)));
            began.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
        })
        .fold(f64::INFINITY, f64::min)
}
