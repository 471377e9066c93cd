//! `history check`: reads the logs of a run and says what they prove.

use crate::cli::CheckHistory;
use crate::say;
use history::{Checker, Merge, Policy};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

/// How long after its end a request is kept, for records that come late.
const LINGER: Duration = Duration::from_secs(60);

/// Prints what was found; an error when it is not a proof.
pub(crate) fn run(options: &CheckHistory) -> Result<(), String> {
    let policy = Policy {
        max_attempts: options.max_attempts,
        max_targets: options.max_targets,
        cancel_within: Duration::from_millis(options.cancel_within),
        ..Policy::default()
    };
    // Read side by side, logs of any length need little memory. Logs that are not in the order of time need another
    // reading, which standard input does not give.
    let is_repeatable = options.logs.iter().all(|log| !is_standard_input(log));
    let mut checker = read(options, Policy { ordered: is_repeatable.then_some(LINGER), ..policy.clone() })?;
    if checker.is_disordered() {
        checker = read(options, Policy { ordered: None, ..policy })?;
    }
    let report = checker.finish();
    say(&report.to_string())?;
    if report.total() > 0 {
        return Err(format!("{} violations", report.total()));
    }
    if !report.is_conclusive() {
        return Err("no violation was found, and the logs have gaps: this is no proof".to_owned());
    }
    Ok(())
}

fn is_standard_input(log: &Path) -> bool {
    log.as_os_str() == "-"
}

fn read(options: &CheckHistory, policy: Policy) -> Result<Checker, String> {
    let logs: Result<Vec<_>, String> =
        options.logs.iter().map(|log| Ok((log.display().to_string(), open(log)?))).collect();
    let mut checker = Checker::new(policy);
    for read in Merge::new(logs?) {
        let (source, record) = read.map_err(|unreadable| unreadable.to_string())?;
        checker.feed(source, record);
    }
    Ok(checker)
}

/// A log to read.
pub(crate) fn open(log: &Path) -> Result<Box<dyn BufRead>, String> {
    if is_standard_input(log) {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let file = File::open(log).map_err(|error| format!("{}: {error}", log.display()))?;
    Ok(Box::new(BufReader::with_capacity(1 << 16, file)))
}
