//! The fault matrix over real sockets: every fault, streamed and not, at every dialect, with one healthy fallback.
//!
//! What each cell must come to is written in `expected.rs`; `cell.rs` runs one and checks the outcome, the time, the
//! number of calls, who is named, and that nothing pretends to be complete. The callers speak the primary's dialect
//! (bytes pass) and each other one (everything is translated).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "tests")]

mod cell;
mod expected;
#[path = "../support/seen.rs"]
mod seen;
mod sequence;
#[path = "../support/wire.rs"]
mod wire;

use canon::DialectName;
use cell::Cell;
use expected::Setting;
use simulator::{FaultKind, HintForm, RetryHint};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Cells under way at a time, and of those that keep a processor busy: more, and they would wait for each other longer
/// than the limits.
const AT_ONCE: usize = 8;
const HEAVY_AT_ONCE: usize = 2;

/// Every kind of fault, with parameters that suit the limits, and the forms of some.
fn faults() -> Vec<FaultKind> {
    let mut all: Vec<FaultKind> = FaultKind::all()
        .map(|fault| match fault {
            // Often enough that keep-alives would be mistaken for life.
            FaultKind::StallWithKeepalives { after, .. } => {
                FaultKind::StallWithKeepalives { after, every: Duration::from_millis(50) }
            }
            other => other,
        })
        .collect();
    let late = Duration::from_millis(100);
    all.extend([
        FaultKind::SlowHeaders { by: late },
        FaultKind::SlowFirstToken { by: late },
        FaultKind::EarlyResponse { status: 413 },
    ]);
    let after = Duration::from_secs(2);
    let forms = [
        HintForm::Native,
        HintForm::Seconds,
        HintForm::Milliseconds,
        HintForm::Date,
        HintForm::Reset,
        HintForm::Body,
        HintForm::Text,
    ];
    all.extend(forms.map(|form| FaultKind::RateLimited429 { retry: Some(RetryHint { after, form }) }));
    all.push(FaultKind::Unavailable503 { retry: Some(RetryHint { after, form: HintForm::Seconds }) });
    all
}

fn cells() -> Vec<Cell> {
    let mut all = Vec::new();
    for (number, fault) in faults().into_iter().enumerate() {
        for streamed in [false, true] {
            for primary in DialectName::ALL {
                for (place, caller) in DialectName::ALL.into_iter().enumerate() {
                    let fallback = DialectName::ALL[(number + place + usize::from(streamed)) % DialectName::ALL.len()];
                    let at = Setting { streamed, as_array: false, caller, primary };
                    all.push(Cell { fault, at, fallback });
                    if streamed && caller == DialectName::Gemini {
                        all.push(Cell { fault, at: Setting { as_array: true, ..at }, fallback });
                    }
                }
            }
        }
    }
    all
}

/// Runs cells, so many at a time; prints those that differ and returns how many did.
async fn differing(mut waiting: Vec<Cell>, at_once: usize) -> usize {
    let mut running = JoinSet::new();
    let mut wrong = 0;
    loop {
        while running.len() < at_once
            && let Some(cell) = waiting.pop()
        {
            running.spawn(async move { (cell, cell::run(cell).await) });
        }
        let Some(done) = running.join_next().await else { return wrong };
        let (cell, complaints) = done.unwrap();
        if !complaints.is_empty() {
            println!("WRONG {cell}: {}", complaints.join("; "));
            wrong += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_comes_to_what_is_expected_of_it() {
    let began = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "a part of the matrix, by hand: MATRIX_ONLY=goaway")]
    let only = std::env::var("MATRIX_ONLY").unwrap_or_default();
    let mut all = cells();
    all.retain(|cell| cell.to_string().contains(&only));
    let count = all.len();
    let (heavy, light): (Vec<Cell>, Vec<Cell>) = all.into_iter().partition(Cell::is_heavy);
    let wrong = differing(light, AT_ONCE).await + differing(heavy, HEAVY_AT_ONCE).await;
    println!("{count} cells in {} ms, {wrong} differ", began.elapsed().as_millis());
    assert_eq!(wrong, 0, "of {count} cells differ from what is expected");
}
