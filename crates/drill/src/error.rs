//! Errors that name the line of the scenario.

use serde_saphyr::Location;
use std::fmt;

/// What is wrong with a scenario. Its `Display` is what the operator reads: the place, the line, the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioError {
    rendered: String,
}

impl ScenarioError {
    /// The YAML does not have the expected form.
    pub(crate) fn yaml(origin: &str, error: &serde_saphyr::Error) -> Self {
        Self { rendered: format!("{origin}: {}", error.render()) }
    }

    /// Something does not fit together at this place.
    pub(crate) fn at(origin: &str, source: &str, place: Location, message: &str) -> Self {
        let line = usize::try_from(place.line()).unwrap_or(0);
        let text = source.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim_end();
        Self { rendered: format!("{origin}:{line}:{}: {message}\n{line:>5} | {text}", place.column()) }
    }

    /// An error that says its place itself, or has none.
    pub fn plain(message: impl Into<String>) -> Self {
        Self { rendered: message.into() }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered)
    }
}

impl std::error::Error for ScenarioError {}
