//! `history check` over logs of three writers, and the logs that processes write.

use crate::process::{Running, Upstream, folder, holds, mainstay, run, text};
use simulator::FaultRule;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const GATEWAY: &str = r#"{"at":1,"gateway":{"started":{}}}
{"at":20,"id":"r1","gateway":{"received":{}}}
{"at":30,"id":"r1","gateway":{"attempt_started":{"attempt":0,"target":"a/m","credential":0,"kind":"first"}}}
{"at":60,"id":"r1","gateway":{"committed":{"attempt":0}}}
{"at":80,"id":"r1","gateway":{"attempt_ended":{"attempt":0,"read":[2,5],"tokens":{"input":3,"output":4}}}}
{"at":90,"id":"r1","gateway":{"settled":{"outcome":"answered","served":{"attempt":0},"segments":[{"from":{"attempt":0},"text":[2,5]}],"tokens":{"input":3,"output":4}}}}
{"at":200,"gateway":{"drained":{}}}
"#;
const CLIENT: &str = r#"{"at":10,"id":"r1","client":{"sent":{}}}
{"at":100,"id":"r1","client":{"end":{"outcome":"complete","text":[2,5]}}}
"#;
const SIMULATOR: &str = r#"{"at":40,"id":"r1","simulator":{"asked":{"attempt":0,"provider":"a"}}}
{"at":70,"id":"r1","simulator":{"finished":{"attempt":0,"how":"complete","finish":true,"text":[2,5],"billed":{"input":3,"output":4}}}}
"#;

fn logs(folder: &Path, client: &str) {
    for (name, log) in [("gateway.log", GATEWAY), ("client.log", client), ("simulator.log", SIMULATOR)] {
        std::fs::write(folder.join(name), log).unwrap();
    }
}

#[test]
fn three_logs_that_agree_are_a_proof_in_any_order_of_files() {
    let folder = folder();
    logs(&folder, CLIENT);
    for files in [["gateway.log", "client.log", "simulator.log"], ["simulator.log", "client.log", "gateway.log"]] {
        let output = run(&folder, &[&["history", "check"], &files[..]].concat());
        let said = text(&output.stdout);
        assert!(output.status.success(), "{said}{}", text(&output.stderr));
        assert!(said.contains("1 requests, 1 answered") && said.ends_with("0 violations\n"), "{said}");
    }
}

#[test]
fn one_log_behind_the_other_on_standard_input_is_the_same() {
    let mut child =
        mainstay(&folder(), &["history", "check", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    write!(child.stdin.take().unwrap(), "{GATEWAY}{CLIENT}{SIMULATOR}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stdout));
}

#[test]
fn a_violation_is_told_in_a_sentence_and_ends_with_an_error() {
    let folder = folder();
    logs(&folder, &CLIENT.replace("[2,5]", "[1,5]"));
    let output = run(&folder, &["history", "check", "client.log", "gateway.log", "simulator.log"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(said.contains("text_missing r1: the client has a text of 1 bytes"), "{said}");
    assert!(text(&output.stderr).contains("1 violations"));
}

#[test]
fn a_log_with_gaps_is_no_proof() {
    let folder = folder();
    logs(&folder, &format!("{CLIENT}{{\"at\":300,\"lost\":7}}\n"));
    let output = run(&folder, &["history", "check", "client.log", "gateway.log", "simulator.log"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("7 records were lost"), "{}", text(&output.stdout));
}

#[test]
fn an_unreadable_line_and_a_missing_file_are_named() {
    let folder = folder();
    logs(&folder, &format!("{CLIENT}\n{{\"at\":1,\"id\":\"x\",\"client\":{{\"gone\":{{}}}}}}\n"));
    let output = run(&folder, &["history", "check", "gateway.log", "client.log"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("client.log:4: "), "{}", text(&output.stderr));
    let output = run(&folder, &["history", "check", "nowhere.log"]);
    assert!(text(&output.stderr).contains("nowhere.log: "), "{}", text(&output.stderr));
}

#[test]
fn what_a_gateway_and_a_simulated_provider_write_fits_together() {
    let folder = folder();
    let log = folder.join("simulator.log");
    let options = ["simulate", "--listen", "127.0.0.1:0", "--history", log.to_str().unwrap()];
    let mut simulator = mainstay(&folder, &options).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(simulator.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.trim().rsplit("http://").next().unwrap();
    let yaml = format!(
        "providers:\n  sim: {{ dialect: openai-chat, base_url: \"http://{address}/v1\", keys: [sk-1] }}\n\
         models:\n  chat: {{ targets: [sim/m] }}\ndrain_accept: 0s\n"
    );
    let mut gateway = Running::start_with(&["--listen", "127.0.0.1:0", "--history", "gateway.log"], &yaml);
    for _ in 0..3 {
        assert_eq!(gateway.ask("chat").status, 200);
    }
    assert_eq!(gateway.ask("nothing").status, 404);
    gateway.signal("TERM");
    assert_eq!(gateway.ended(), Some(0));
    let id = simulator.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert!(holds(|| simulator.try_wait().unwrap().is_some()), "it ends");
    let gateway_log = gateway.file.with_file_name("gateway.log");
    let output = run(&folder, &["history", "check", gateway_log.to_str().unwrap(), log.to_str().unwrap()]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains("4 requests, 3 answered") && said.contains("3 attempts by providers"), "{said}");
    let written = std::fs::read_to_string(gateway_log).unwrap();
    assert!(!written.contains("Hello") && !written.contains("sk-1"), "no word of a prompt, no key: {written}");
}

#[test]
fn a_report_puts_arms_side_by_side_and_calls_by_target_and_region() {
    let (down, up) = (Upstream::start(), Upstream::start());
    down.server.simulator().set_faults([FaultRule::new("unavailable_503".parse().unwrap())]);
    let yaml = format!(
        "providers:\n{}{}models:\n  chat:\n    strategy: {{ weighted: {{ sticky: user, experiment: tone }} }}\n    targets:\n      \
         - {{ target: down/m, label: warm, weight: 1, region: eu }}\n      \
         - {{ target: up/m, label: plain, weight: 0, prices: {{ input: 1, output: 2 }} }}\n  bare: {{ targets: [up/m] }}\n\
         drain_accept: 0s\n",
        down.row("down"),
        up.row("up"),
    );
    let mut gateway = Running::start_with(&["--listen", "127.0.0.1:0", "--history", "gateway.log"], &yaml);
    assert_eq!((gateway.ask("chat").status, gateway.ask("bare").status), (200, 200));
    gateway.signal("TERM");
    assert_eq!(gateway.ended(), Some(0));
    let log = gateway.file.with_file_name("gateway.log");
    let report = |by: &[&str]| {
        let output = run(&folder(), &[&["history", "report", log.to_str().unwrap()], by].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let cells = |said: &str, name: &str| -> Vec<String> {
        let line = said.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{said}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    let by_arm = report(&[]);
    assert!(
        by_arm.starts_with("experiment tone\n") && by_arm.contains("1 requests take part in no experiment"),
        "{by_arm}"
    );
    let warm = cells(&by_arm, "warm");
    assert_eq!((&*warm[1], &*warm[2], warm.last().unwrap().as_str()), ("1", "100.00", "1"), "{by_arm}");
    let by_target = report(&["--by", "target"]);
    let (failed, served) = (cells(&by_target, "down/m#warm"), cells(&by_target, "up/m#plain"));
    let cost = |cells: &[String]| cells.iter().find_map(|cell| cell.strip_prefix('$')?.parse::<f64>().ok()).unwrap();
    assert_eq!((&*failed[2], cost(&failed), &*served[1], &*served[2]), ("0.00", 0.0, "1", "100.00"), "{by_target}");
    assert!(
        cost(&warm) > 0.0 && (cost(&warm) - cost(&served)).abs() < 1e-9,
        "it costs what its answer does: {by_arm}{by_target}"
    );
    let by_region = report(&["--by", "region"]);
    assert_eq!(cells(&by_region, "eu")[1], "1", "{by_region}");
    assert!(by_region.contains("(none stated)"), "{by_region}");
}

#[test]
fn a_report_of_a_log_without_experiments_says_so() {
    let folder = folder();
    logs(&folder, CLIENT);
    let said = text(&run(&folder, &["history", "report", "gateway.log", "client.log"]).stdout);
    assert_eq!(said, "nothing to compare\n1 requests take part in no experiment\n");
    let output = run(&folder, &["history", "report", "gateway.log", "--by", "colour"]);
    assert!(text(&output.stderr).contains("[possible values: experiment, target, region]"), "{}", text(&output.stderr));
}
