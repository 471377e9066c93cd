//! The command line: `serve` (the default), `check`, `explain`, `schema`, `drill`, `simulate`, `history`, `demo`.

mod cli;
mod demo;
mod demo_client;
mod drill;
mod explain;
mod first_run;
mod history_check;
mod history_file;
mod history_report;
mod load;
mod serve;
mod simulate;
mod simulated;

use clap::Parser;
use cli::{Cli, Command, History};
use history::Recorder;
use history_file::HistoryFile;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// A request makes some hundred small allocations on whichever worker it runs. glibc's per-thread arenas grow and
/// shrink by system calls under that, which costs a third of the CPU of a small request; this one keeps what it has.
/// Without transparent huge pages, which would nearly double the memory of a thousand open streams.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the end of a process with a history waits for its tasks to be dropped.
const LAST_WORDS: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let command = cli.command.unwrap_or(Command::Serve(cli.serve));
    // These two tell what happens themselves.
    let log = !matches!(command, Command::Demo(_) | Command::Drill(_));
    start_logging(log);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the runtime does not start: {error}")),
    };
    let history = match command.history().map(HistoryFile::open).transpose() {
        Ok(history) => history,
        Err(error) => return fail(&error),
    };
    let has_gateway = command.has_gateway();
    if let Some(history) = history.as_ref().filter(|_| has_gateway) {
        history.begin();
    }
    let recorder = history.clone().map(|history| history as Arc<dyn Recorder>);
    let done = match command {
        Command::Serve(options) => runtime.block_on(serve::run(&options, recorder)),
        Command::Check(options) => explain::check(&options),
        Command::Explain(options) => runtime.block_on(explain::explain(&options)),
        Command::Schema => say(&format!("{:#}", config::schema())),
        Command::Drill(options) => runtime.block_on(drill::run(&options)),
        Command::Simulate(options) => runtime.block_on(simulate::run(&options, recorder)),
        Command::History(History::Check(options)) => history_check::run(&options),
        Command::History(History::Report(options)) => history_report::run(&options),
        Command::Demo(options) => runtime.block_on(demo::run(&options, recorder)),
    };
    // Connections that outlived the drain are dropped with the runtime rather than waited for.
    let ended = match history {
        None => {
            runtime.shutdown_background();
            Ok(())
        }
        Some(history) => {
            // What is dropped with them belongs to the history.
            runtime.shutdown_timeout(LAST_WORDS);
            if has_gateway && done.is_ok() {
                history.drained();
            }
            history.close()
        }
    };
    match done.and(ended) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

/// Prints to standard output; an error when nobody reads it any more.
fn say(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| format!("standard output: {error}"))
}

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "error: {message}");
    ExitCode::FAILURE
}

/// One JSON line an event on standard error; `RUST_LOG` chooses which, warnings and failovers by default.
fn start_logging(wanted: bool) {
    use tracing_subscriber::EnvFilter;
    if !wanted {
        return;
    }
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,gateway=info,mainstay=info"));
    let started = tracing_subscriber::fmt().json().with_writer(std::io::stderr).with_env_filter(filter).try_init();
    // A second subscriber cannot be installed; the first one does.
    drop(started);
}
