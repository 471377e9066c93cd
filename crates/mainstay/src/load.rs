//! Finding and loading the configuration: a file, else the environment's keys, else simulated providers.

use crate::cli::Configured;
use catalog::Catalog;
use config::{Environment, Loader, Snapshot};
use health::Health;
use routing::Ledger;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The file that is read when none is named.
const USUAL_FILE: &str = "mainstay.yaml";

/// Loads configurations again and again over the same health.
pub(crate) struct Source {
    catalog: Arc<Catalog>,
    health: Arc<Health>,
    ledger: Arc<Ledger>,
    environment: Environment,
    allow_injection: bool,
    /// What is loaded.
    pub(crate) origin: Origin,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file.
    File(PathBuf),
    /// Keys found in the environment.
    Environment,
    /// Nothing was found: simulated providers, whose configuration is this text.
    Simulated(String),
}

impl Source {
    /// Looks for a configuration.
    pub(crate) fn find(options: &Configured) -> Result<Self, String> {
        let catalog = Catalog::builtin().map_err(|error| format!("the built-in catalogue: {error}"))?;
        let usual = Path::new(USUAL_FILE);
        let mut source = Self {
            catalog,
            health: Arc::new(Health::new(fastrand::u64(..))),
            ledger: Arc::default(),
            environment: environment(),
            allow_injection: options.allow_injection,
            origin: Origin::Environment,
        };
        source.origin = match &options.config {
            Some(file) => Origin::File(file.clone()),
            None if usual.exists() => Origin::File(usual.to_owned()),
            None if source.loader().discover().is_some() => Origin::Environment,
            None => Origin::Simulated(String::new()),
        };
        Ok(source)
    }

    fn loader(&self) -> Loader<'_> {
        Loader {
            catalog: &self.catalog,
            health: &self.health,
            ledger: &self.ledger,
            environment: &self.environment,
            allow_injection: self.allow_injection,
        }
    }

    /// Loads what there is now.
    pub(crate) fn load(&self) -> Result<Snapshot, String> {
        let (name, text) = match &self.origin {
            Origin::File(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
                (file.display().to_string(), text)
            }
            Origin::Environment => ("the environment".to_owned(), self.loader().discover().unwrap_or_default()),
            Origin::Simulated(text) => ("the simulated providers".to_owned(), text.clone()),
        };
        self.loader().load(&name, &text).map_err(|error| error.to_string())
    }

    /// When the file was last written; `None` for everything that is no file.
    pub(crate) fn written(&self) -> Option<(SystemTime, u64)> {
        match &self.origin {
            Origin::File(file) => {
                let metadata = std::fs::metadata(file).ok()?;
                Some((metadata.modified().ok()?, metadata.len()))
            }
            Origin::Environment | Origin::Simulated(_) => None,
        }
    }

    /// The environment, for the proxies.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// The environment, read once; a variable that is not UTF-8 cannot be meant.
pub(crate) fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
