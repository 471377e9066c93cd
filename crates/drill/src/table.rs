//! The timeline of a run as a table: who served, what failed, what was tried, where breakers stood.

use crate::bar::{Quantile, Unit};
use crate::figures::{Window, added, has_ended, quantile};
use crate::record::{Outcome, Record};
use crate::scenario::Scenario;
use canon::Instant;
use std::fmt::Write as _;
use std::time::Duration;

/// Renders the table of a run.
pub(crate) fn render(scenario: &Scenario, record: &Record) -> String {
    let mut rows = vec![header(scenario)];
    let mut from = Instant::ORIGIN;
    for sample in &record.samples {
        let window = Window { from, to: sample.at, load: None };
        rows.extend(events(scenario, window).into_iter().map(|event| vec![event]));
        rows.push(row(scenario, record, window, &sample.standing));
        from = sample.at;
    }
    align(&rows)
}

fn header(scenario: &Scenario) -> Vec<String> {
    let mut cells: Vec<String> = ["until", "requests", "errors", "added p50"].map(str::to_owned).to_vec();
    cells.extend(scenario.places.iter().map(|place| place.id.clone()));
    cells
}

fn row(scenario: &Scenario, record: &Record, window: Window, standing: &[String]) -> Vec<String> {
    let requests: Vec<_> = record.requests.iter().filter(|request| window.has(request.arrived)).collect();
    let errors = requests.iter().filter(|request| !has_ended(request, Outcome::Answered)).count();
    let waited = quantile(requests.iter().filter_map(|request| added(request)), Quantile(0.5));
    let mut cells = vec![
        clock(window.to),
        requests.len().to_string(),
        if errors == 0 { "-".to_owned() } else { errors.to_string() },
        waited.map_or_else(|| "-".to_owned(), |waited| Unit::Seconds.show(waited)),
    ];
    for site in 0..scenario.places.len() {
        let served = requests.iter().filter(|request| request.served.is_some_and(|(by, _)| by == site)).count();
        let calls = record.calls.iter().filter(|call| call.site == site && window.has(call.at)).count();
        let mut cell = if calls == 0 && served == 0 { "-".to_owned() } else { format!("{served} of {calls}") };
        if let Some(words) = standing.get(site).filter(|words| !words.is_empty()) {
            let _ = write!(cell, " {words}");
        }
        cells.push(cell);
    }
    cells
}

/// What begins and ends within a row.
fn events(scenario: &Scenario, window: Window) -> Vec<String> {
    let mut events = Vec::new();
    for fault in &scenario.faults {
        for (at, mark) in [(fault.from, "+"), (fault.until, "-")] {
            if window.has(at) {
                events.push((at, format!("{} {mark} {}", clock(at), fault.words)));
            }
        }
    }
    events.sort_by_key(|(at, _)| *at);
    events.into_iter().map(|(_, words)| words).collect()
}

fn clock(at: Instant) -> String {
    let elapsed = at.since_origin();
    let tenths = (elapsed + Duration::from_millis(50)).as_millis() / 100;
    if tenths.is_multiple_of(10) { format!("{}s", tenths / 10) } else { format!("{}.{}s", tenths / 10, tenths % 10) }
}

/// Columns of equal width; a row of one cell is a line of its own.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > 1).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(&widths) {
            let _ = if row.len() == 1 { write!(line, "{cell}") } else { write!(line, "{cell:<width$}  ") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
