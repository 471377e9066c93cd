//! `check` and `explain`: what the configuration means, before any traffic.

use crate::cli::{Configured, Explain};
use crate::load::{Origin, Source};
use crate::say;
use canon::{DialectName, Instant};
use config::Snapshot;
use dialect::PathFacts;
use routing::{Needs, plan};

/// `check`: loads, and says what there is.
pub(crate) fn check(options: &Configured) -> Result<(), String> {
    let source = Source::find(options)?;
    let snapshot = load(&source)?;
    gateway::check(&snapshot)?;
    let models: Vec<String> = snapshot
        .models()
        .map(|model| {
            let targets: Vec<&str> = model.targets.iter().map(|t| t.id.as_str()).collect();
            format!("  {}: {}", model.name, targets.join(" → "))
        })
        .collect();
    let providers: Vec<&str> = snapshot.providers().map(|p| p.name.as_str()).collect();
    say(&format!(
        "valid\nlisten: {}\nproviders: {}\nmodels:\n{}",
        snapshot.listen,
        providers.join(", "),
        models.join("\n")
    ))
}

fn load(source: &Source) -> Result<Snapshot, String> {
    if matches!(source.origin, Origin::Simulated(_)) {
        return Err("there is no configuration: name one with --config FILE, or set a provider's key".to_owned());
    }
    source.load()
}

/// `explain`: prints the plan of a request.
pub(crate) fn explain(options: &Explain) -> Result<(), String> {
    let mut source = Source::find(&options.configured)?;
    if matches!(source.origin, Origin::Simulated(_)) {
        source.origin = Origin::Simulated(crate::simulated::example_configuration());
    }
    let snapshot = source.load()?;
    let model = snapshot.resolve(&options.model).map_err(|unknown| unknown.to_string())?;
    let needs = match &options.request {
        Some(file) => read_needs(file, &options.dialect, &options.model)?,
        None => Needs::default(),
    };
    let mut rng = fastrand::Rng::with_seed(0);
    let plan = plan(&model, &needs, Instant::ORIGIN, &mut rng);
    say(&plan.to_string())
}

fn read_needs(file: &std::path::Path, dialect: &str, model: &str) -> Result<Needs, String> {
    let dialect = dialect_named(dialect)?;
    let body = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let path = PathFacts { model: Some(model.to_owned()), ..PathFacts::default() };
    let scan = dialect::scan::scan(dialect, &path, &body)
        .map_err(|bad| format!("{}: {} ({})", file.display(), bad.message, bad.code))?;
    Ok(Needs::from(&scan))
}

/// A dialect by its name.
pub(crate) fn dialect_named(name: &str) -> Result<DialectName, String> {
    DialectName::ALL.into_iter().find(|d| d.as_str() == name).ok_or_else(|| {
        let known: Vec<&str> = DialectName::ALL.iter().map(|d| d.as_str()).collect();
        format!("there is no dialect `{name}`: expected one of {}", known.join(", "))
    })
}
