//! Loading a configuration as a test has it.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]

use catalog::Catalog;
use config::{Environment, Loader, Snapshot};
use health::Health;
use std::sync::Arc;

/// A configuration over health of its own, with OpenAI's key in the environment.
pub(crate) fn load(source: &str) -> Result<Snapshot, String> {
    load_with(source, &[("OPENAI_API_KEY", "sk-1")], &Arc::new(Health::new(1)))
}

/// What is said of a configuration that is refused.
pub(crate) fn refused(source: &str) -> String {
    load(source).err().unwrap_or_else(|| "it is not refused".to_owned())
}

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
