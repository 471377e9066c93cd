//! The demo, shortened: every request is answered to the letter, whatever the primary does.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

/// The numbers of the last line: requests, answered, ended honestly, cut silently.
fn counts(line: &str) -> Vec<u64> {
    line.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect()
}

#[test]
fn the_demo_answers_every_request_and_streams_that_broke_went_on() {
    let history = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("demo-{}.log", std::process::id()));
    let history = history.to_str().unwrap();
    let mainstay = || Command::new(env!("CARGO_BIN_EXE_mainstay"));
    let run = mainstay().args(["demo", "--seconds", "20", "--history", history]).output().unwrap();
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
    // What client, gateway and providers wrote of it agrees.
    let check = mainstay().args(["history", "check", "--cancel-within", "1000", history]).output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success(), "{said}{}", String::from_utf8_lossy(&check.stderr));
    // One more was asked before anything broke, to know the right answer.
    assert!(said.contains(&format!("{} requests by clients", requests + 1)), "{said}");
}
