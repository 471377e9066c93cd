//! Loading a configuration as a test has it.

use catalog::Catalog;
use config::{Environment, Loader, Snapshot};
use health::Health;
use std::sync::Arc;

pub(crate) fn load_with(source: &str, environment: &[(&str, &str)], health: &Arc<Health>) -> Result<Snapshot, String> {
    let catalog = Catalog::builtin().unwrap();
    let environment: Environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let loader = Loader {
        catalog: &catalog,
        health,
        ledger: &Arc::default(),
        environment: &environment,
        allow_injection: false,
    };
    loader.load("mainstay.yaml", source).map_err(|error| error.to_string())
}
