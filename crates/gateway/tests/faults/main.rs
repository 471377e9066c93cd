//! The generated fault matrix over real sockets: a primary that fails at every step of a call in every way there is,
//! streamed and not, and a healthy fallback that gives the same answer.
//!
//! `cell.rs` generates the combinations, `expected.rs` says what each must come to, `breaker.rs` is the provider that
//! fails there, and `run.rs` checks the outcome, the time, the number of calls, who is named, and what is left behind.
//! The rule in short: before anything was shown, the fallback's complete answer; after it, the same stream goes on to
//! the complete answer; after the finish reason, the primary's own; never a fake end and never a hang.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unimplemented,
    reason = "tests"
)]

mod answers;
mod breaker;
mod cell;
mod expected;
#[expect(dead_code, reason = "the other binaries look for other ends")]
#[path = "../support/heard.rs"]
mod heard;
mod run;
#[expect(dead_code, reason = "arrays are another matrix's")]
#[path = "../support/seen.rs"]
mod seen;
#[path = "../matrix/expected.rs"]
mod statuses;
#[path = "../support/mod.rs"]
mod support;
#[expect(dead_code, reason = "every caller here says when its answer begins")]
#[path = "../support/wire.rs"]
mod wire;

use cell::Cell;
use std::collections::HashMap;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

/// Cells under way at a time: more, and they would wait for each other longer than the limits.
const AT_ONCE: usize = 8;

/// A reason, and the cells it is the reason of.
type Known = (&'static str, fn(&Cell) -> bool);

/// What is known to differ and why, and in which cells. Each of them must still differ.
const KNOWN: [Known; 0] = [];

fn is_known(cell: &Cell) -> bool {
    KNOWN.iter().any(|(_, is_known)| is_known(cell))
}

/// Runs cells, so many at a time; prints those that are not as they should be and returns how many there are.
async fn differing(mut waiting: Vec<Cell>) -> usize {
    let mut running = JoinSet::new();
    let mut under_way: HashMap<Id, Cell> = HashMap::new();
    let mut wrong = 0;
    loop {
        while running.len() < AT_ONCE
            && let Some(cell) = waiting.pop()
        {
            under_way.insert(running.spawn(run::run(cell)).id(), cell);
        }
        let Some(done) = running.join_next_with_id().await else { return wrong };
        let (id, complaints) = match done {
            Ok((id, complaints)) => (id, complaints),
            Err(panicked) => (panicked.id(), vec![panicked.to_string()]),
        };
        let cell = under_way.remove(&id).unwrap();
        if complaints.is_empty() == is_known(&cell) {
            let what =
                if complaints.is_empty() { "is known to differ, and does not".into() } else { complaints.join("; ") };
            println!("WRONG {cell}: {what}");
            wrong += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cell_comes_to_what_is_expected_of_it() {
    let began = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "a part of the matrix, by hand: CELLS_ONLY=MidText")]
    let only = std::env::var("CELLS_ONLY").unwrap_or_default();
    let mut all = cell::cells();
    all.retain(|cell| cell.to_string().contains(&only));
    let count = all.len();
    let known = all.iter().filter(|cell| is_known(cell)).count();
    let wrong = differing(all.clone()).await;
    for (reason, is_known) in KNOWN {
        println!("{} cells are known to differ: {reason}", all.iter().filter(|cell| is_known(cell)).count());
    }
    println!("{count} cells in {} ms, {wrong} differ, {known} are known to", began.elapsed().as_millis());
    assert_eq!(wrong, 0, "of {count} cells differ from what is expected");
}
