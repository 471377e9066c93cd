//! Every shipped scenario, with thirty seeds: of those one may miss a bar.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use drill::{NamedText, Over, Scenario};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|it| it == "yaml"));
    files.sort();
    files
}

fn load(file: &Path) -> Scenario {
    let text = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        std::fs::read_to_string(path).map(|text| NamedText { name, text }).map_err(|error| error.to_string())
    };
    let beside = |name: &str| text(&file.with_file_name(name));
    Scenario::load(&text(file).unwrap(), Over::default(), &beside).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_scenario_meets_its_bars_and_the_same_seed_gives_the_same_run() {
    let runs = files("scenarios").into_iter().map(|file| std::thread::spawn(move || missed_bars(&file)));
    let runs: Vec<_> = runs.collect();
    let missed: Vec<String> = runs.into_iter().flat_map(|run| run.join().unwrap()).collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

fn missed_bars(file: &Path) -> Vec<String> {
    let report = load(file).drill(1, 30).unwrap();
    let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
    let again = load(file).drill(30, 1).unwrap();
    assert_eq!(report.traces.last(), again.traces.last(), "{stem}: the same seed gives the same run");
    let different: HashSet<u64> = report.traces.iter().copied().collect();
    assert_eq!(different.len(), 30, "{stem}: another seed gives another run");
    let missed = report.verdicts.iter().filter(|it| !it.is_met);
    missed.map(|verdict| format!("{stem}: {verdict}\n{}", report.table)).collect()
}

#[test]
fn every_law_every_load_and_every_fault_says_where_it_comes_from() {
    for file in files("scenarios") {
        assert!(load(&file).is_sourced(), "{}", file.display());
    }
}
