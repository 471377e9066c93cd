//! The demo, shortened: every request is answered to the letter, whatever the primary does.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

/// The numbers of the last line: requests, answered, ended honestly, cut silently.
fn counts(line: &str) -> Vec<u64> {
    line.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect()
}

#[test]
fn the_demo_answers_every_request_and_streams_that_broke_went_on() {
    let run = Command::new(env!("CARGO_BIN_EXE_mainstay")).args(["demo", "--seconds", "20"]).output().unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{text}\n{}", String::from_utf8_lossy(&run.stderr));
    let last = text.lines().last().unwrap();
    assert!(!last.contains("refused") && !last.contains("wrong"), "{text}");
    let [requests, answered, honest, silent] = counts(last)[..] else { panic!("{last}") };
    assert!(requests > 0);
    assert_eq!((answered, honest, silent), (requests, 0, 0), "{text}");
    let went_on = text.lines().find(|line| line.contains("broke in the middle and went on")).unwrap();
    assert!(counts(went_on)[0] >= 3, "{text}");
    // A stream is cut only while the primary cuts streams; its end may be counted a second later.
    for row in text.lines().filter(|row| row.ends_with(" ms")) {
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let went_on: u64 = cells[6].parse().unwrap();
        assert!(went_on == 0 || ["primary cuts streams", "primary is well"].contains(&cells[1]), "{row}");
    }
}
