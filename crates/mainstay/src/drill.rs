//! `drill`: runs a scenario and says what became of its bars.

use crate::cli::Drill;
use crate::say;
use ::drill::{NamedText, Over, Scenario};
use std::path::Path;

/// Prints the timeline and a verdict for each bar; an error when one was missed.
pub(crate) fn run(options: &Drill) -> Result<(), String> {
    let over = Over { config: options.config.as_deref().map(read).transpose()?, model: options.model.clone() };
    let beside = |path: &str| read(&options.scenario.with_file_name(path));
    let scenario = Scenario::load(&read(&options.scenario)?, over, &beside).map_err(|error| error.to_string())?;
    let report = scenario.drill(options.seed, options.seeds as usize)?;
    say(&report.to_string())?;
    match report.missed() {
        0 => Ok(()),
        missed => Err(format!("{missed} expectations missed")),
    }
}

fn read(file: &Path) -> Result<NamedText, String> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    Ok(NamedText { name, text })
}
