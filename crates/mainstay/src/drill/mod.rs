//! `drill`: runs scenarios and says what became of their bars.

mod caller;
mod providers;
mod sockets;
mod stage;

use crate::cli::{self, Drill};
use crate::say;
use ::drill::{NamedText, Over, Report, Scenario};
use std::path::Path;
use std::sync::Arc;

/// Prints the timeline and a verdict for each bar; an error when one was missed.
pub(crate) async fn run(options: &Drill) -> Result<(), String> {
    let scenarios: Vec<Arc<Scenario>> =
        options.scenarios.iter().map(|file| load(options, file)).collect::<Result<_, _>>()?;
    let reports = match options.over {
        cli::Over::VirtualTime => {
            let drill = |scenario: &Arc<Scenario>| scenario.drill(options.seed, options.seeds as usize);
            scenarios.iter().map(drill).collect::<Result<Vec<Report>, String>>()?
        }
        cli::Over::Sockets => sockets::run(&scenarios, options.seed, options.seeds).await?,
    };
    let texts: Vec<String> = reports.iter().map(ToString::to_string).collect();
    say(&texts.join("\n\n"))?;
    match reports.iter().map(Report::missed).sum() {
        0 => Ok(()),
        missed => Err(format!("{missed} expectations missed")),
    }
}

fn load(options: &Drill, file: &Path) -> Result<Arc<Scenario>, String> {
    let over = Over { config: options.config.as_deref().map(read).transpose()?, model: options.model.clone() };
    let beside = |path: &str| read(&file.with_file_name(path));
    Scenario::load(&read(file)?, over, &beside).map(Arc::new).map_err(|error| error.to_string())
}

fn read(file: &Path) -> Result<NamedText, String> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    Ok(NamedText { name, text })
}
