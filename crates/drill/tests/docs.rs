//! What the documentation shows of drills is so.

#![expect(clippy::unwrap_used, reason = "tests")]

use drill::{NamedText, Over, Scenario};
use std::path::Path;

const CONFIG: &str = r#"
providers:
  openai: { keys: ["${OPENAI_API_KEY}"] }
  in-house: { dialect: openai-chat, base_url: "http://10.0.0.7:8000/v1", keyless: true }
models:
  chat: { targets: [openai/gpt-5.1, in-house/our-finetune-7] }
  other: { targets: [in-house/our-finetune-7] }
"#;

fn read(path: &str) -> NamedText {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    NamedText { name: path.to_owned(), text: std::fs::read_to_string(file).unwrap() }
}

fn over(model: Option<&str>) -> Over {
    let config = NamedText { name: "mine.yaml".to_owned(), text: CONFIG.to_owned() };
    Over { config: Some(config), model: model.map(str::to_owned) }
}

fn nothing_beside(path: &str) -> Result<NamedText, String> {
    Err(format!("{path} is not read"))
}

#[test]
fn the_scenario_of_the_documentation_runs() {
    let page = read("docs/DRILLS.md").text;
    let example = page.split("```yaml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let scenario = NamedText { name: "docs/DRILLS.md".to_owned(), text: example.to_owned() };
    let scenario = Scenario::load(&scenario, over(None), &nothing_beside).unwrap_or_else(|error| panic!("{error}"));
    let report = scenario.drill(1, 1).unwrap();
    assert_eq!(report.verdicts.len(), 3);
    assert!(report.table.contains("20s + openai/gpt-5.1: 429"), "{}", report.table);
}

#[test]
fn a_storm_that_names_places_runs_over_any_configuration() {
    let storm = read("scenarios/s04-sole-primary-down.yaml");
    let scenario = Scenario::load(&storm, over(Some("chat")), &nothing_beside).unwrap();
    let report = scenario.drill(1, 1).unwrap();
    assert!(report.table.contains("openai/gpt-5.1") && report.missed() == 0, "{report}");
    let refused = Scenario::load(&storm, over(None), &nothing_beside).err().unwrap().to_string();
    assert!(refused.contains("say which `model`"), "{refused}");
}

#[test]
fn every_storm_is_in_the_documentation() {
    let page = read("docs/DRILLS.md").text;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().replace(".yaml", "");
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}
