//! `history report`: what the logs of gateways come to, by experiment and arm, by target or by region.

use crate::cli::{By, ReportHistory};
use crate::history_check::open;
use crate::say;
use catalog::Usd;
use history::{Merge, Row, Summary, Summed};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// Prints the table.
pub(crate) fn run(options: &ReportHistory) -> Result<(), String> {
    let logs: Result<Vec<_>, String> =
        options.logs.iter().map(|log: &std::path::PathBuf| Ok((name(log), open(log)?))).collect();
    let mut summary = Summary::new(match options.by {
        By::Experiment => history::By::Experiment,
        By::Target => history::By::Target,
        By::Region => history::By::Region,
    });
    for read in Merge::new(logs?) {
        summary.feed(read.map_err(|unreadable| unreadable.to_string())?.1);
    }
    say(table(options.by, &summary.finish()).trim_end())
}

fn name(log: &Path) -> String {
    log.display().to_string()
}

fn table(by: By, summed: &Summed) -> String {
    let (what, counted) = match by {
        By::Experiment => ("arm", "requests"),
        By::Target => ("target", "calls"),
        By::Region => ("region", "calls"),
    };
    let names = summed.rows.keys().map(|(_, name)| shown(name).chars().count());
    let width = names.max().unwrap_or(0).max(what.len());
    let mut text = String::new();
    let mut group = None;
    for ((of, name), row) in &summed.rows {
        if group.replace(of) != Some(of) {
            let title = if by == By::Experiment { format!("experiment {of}\n") } else { String::new() };
            let _ = write!(
                text,
                "{title}  {what:width$}  {counted:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>11}  {:>11}  {:>14}",
                "answered", "given up", "first p50", "first p95", "tokens in", "tokens out", "cost"
            );
            text.push_str(if by == By::Experiment { "  elsewhere\n" } else { "\n" });
        }
        let _ = write!(text, "  {:width$}  {}", shown(name), figures(row));
        let _ = if by == By::Experiment { writeln!(text, "  {:>9}", row.elsewhere) } else { writeln!(text) };
    }
    notes(by, summed, &mut text);
    text
}

fn shown(name: &str) -> &str {
    if name.is_empty() { "(none stated)" } else { name }
}

fn figures(row: &Row) -> String {
    let share = row.answered_share().map_or("-".to_owned(), |share| format!("{:.2} %", share * 100.0));
    let seconds = |time: Option<Duration>| time.map_or("-".to_owned(), |time| format!("{:.3} s", time.as_secs_f64()));
    format!(
        "{:>9}  {share:>9}  {:>9}  {:>9}  {:>9}  {:>11}  {:>11}  {:>14}",
        row.count,
        row.given_up,
        seconds(row.first_content(50)),
        seconds(row.first_content(95)),
        row.tokens.input,
        row.tokens.output,
        format!("{}{}", Usd::from_pico(row.picodollars), if row.unpriced > 0 { " +" } else { "" }),
    )
}

fn notes(by: By, summed: &Summed, text: &mut String) {
    if summed.rows.is_empty() {
        text.push_str("nothing to compare\n");
    }
    let unpriced: u64 = summed.rows.values().map(|row| row.unpriced).sum();
    let left_out = match by {
        By::Experiment => "requests take part in no experiment",
        By::Target | By::Region => "requests were answered or refused without a call",
    };
    for (count, what) in [
        (unpriced, "answers have no known price: a cost with a + is at least that"),
        (summed.left_out, left_out),
        (summed.open, "requests were not over when the log ended"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{count} {what}");
        }
    }
}
