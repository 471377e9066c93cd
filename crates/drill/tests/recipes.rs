//! The recipes of `examples/recipes`: each passes its drill, and each of its numbers matters.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use drill::{NamedText, Over, Report, Scenario};
use std::path::{Path, PathBuf};

/// A number of a recipe, as it is written, and with its value doubled or halved: the drill then fails.
const NUMBERS: [(&str, &str, &str); 47] = [
    ("three-failures-then-rest", "consecutive: 3", "consecutive: 6"),
    ("three-failures-then-rest", " rest: 120s", " rest: 60s"),
    ("three-failures-then-rest", "max_rest: 120s", "max_rest: 60s"),
    ("hard-timeout", "first_token: 8s", "first_token: 16s"),
    ("hard-timeout", "response: 15s", "response: 30s"),
    ("503-at-once-429-after-a-pause", "delay: 500ms", "delay: 1000ms"),
    ("fallback-within-150-percent", "max_price_ratio: 150%", "max_price_ratio: 300%"),
    ("fallback-within-150-percent", "input: 1.00", "input: 0.50"),
    ("fallback-within-150-percent", "output: 4.00", "output: 2.00"),
    ("fallback-within-150-percent", "input: 2.00", "input: 1.00"),
    ("fallback-within-150-percent", "output: 6.50", "output: 3.25"),
    ("fallback-within-150-percent", "input: 1.40", "input: 2.80"),
    ("fallback-within-150-percent", "output: 5.60", "output: 11.20"),
    ("reintroduce-at-one-percent", "ramp_start: 0.01", "ramp_start: 0.02"),
    ("reintroduce-at-one-percent", "ramp: 10m", "ramp: 5m"),
    ("nightly-bulk", "max_wait: 2s", "max_wait: 4s"),
    ("nearest-region-first", "connect: 1s", "connect: 2s"),
    ("regional-primary", "connect: 1s", "connect: 2s"),
    ("quality-tiers", "from: 1000", "from: 2000"),
    ("quality-tiers", "from: 4000", "from: 8000"),
    ("429-on-a-fifth-demotes", "duration(\"5m\")) > 0.20", "duration(\"5m\")) > 0.40"),
    ("429-on-a-fifth-demotes", "duration(\"5m", "duration(\"150s"),
    ("429-on-a-fifth-demotes", "min_samples: 20", "min_samples: 40"),
    ("short-prompts-leave-a-limited-vendor", "max_wait: 5s", "max_wait: 2500ms"),
    ("short-prompts-leave-a-limited-vendor", "duration(\"200ms", "duration(\"400ms"),
    ("short-prompts-leave-a-limited-vendor", "tokens < 32000", "tokens < 64000"),
    ("slow-p95-shifts-traffic", "duration(\"2s\")", "duration(\"4s\")"),
    ("slow-p95-shifts-traffic", "min_samples: 40", "min_samples: 80"),
    ("three-times-the-median-is-a-failure", "first_token: 2700ms", "first_token: 5400ms"),
    ("peak-hour-prices-move-bulk", "input: 0.40", "input: 0.80"),
    ("peak-hour-prices-move-bulk", "output: 1.60", "output: 3.20"),
    ("peak-hour-prices-move-bulk", "input: 0.70", "input: 0.35"),
    ("peak-hour-prices-move-bulk", "output: 2.80", "output: 1.40"),
    ("peak-hour-prices-move-bulk", "from: \"01:00\"", "from: \"02:00\""),
    ("peak-hour-prices-move-bulk", "to: \"10:00\"", "to: \"05:00\""),
    ("peak-hour-prices-move-bulk", "> 0.0011", "> 0.0022"),
    ("cheapest-acceptable-first", "min_quality: 0.7", "min_quality: 0.35"),
    ("cheapest-acceptable-first", "quality: 0.9", "quality: 0.45"),
    ("cheapest-acceptable-first", "quality: 0.8", "quality: 0.4"),
    ("cheapest-acceptable-first", "quality: 0.5", "quality: 1.0"),
    ("cheapest-acceptable-first", "input: 0.70", "input: 0.35"),
    ("cheapest-acceptable-first", "output: 2.80", "output: 1.40"),
    ("cheapest-acceptable-first", "input: 0.60", "input: 1.20"),
    ("cheapest-acceptable-first", "output: 2.40", "output: 4.80"),
    ("race-for-real-time-chat", "race: 2", "race: 1"),
    // What is no number, but must matter as well.
    ("strict", "profile: strict", "profile: default"),
    ("503-at-once-429-after-a-pause", "overloaded: next", "overloaded: { delay: 500ms }"),
];

/// Seeds of each drill, and of one that is to fail.
const SEEDS: usize = 10;
const SEEDS_TO_FAIL: usize = 5;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/recipes")
}

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let drills = entries.filter_map(|name| Some(name.to_str()?.strip_suffix(".drill.yaml")?.to_owned()));
    let mut names: Vec<String> = drills.collect();
    names.sort();
    names
}

fn read(file: &str) -> NamedText {
    let text = std::fs::read_to_string(folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    NamedText { name: file.to_owned(), text }
}

/// Drills a recipe, with its configuration altered.
fn drill(name: &str, seeds: usize, alter: impl Fn(&str) -> String) -> (Scenario, Report) {
    let config = read(&format!("{name}.yaml"));
    let over = Over { config: Some(NamedText { text: alter(&config.text), ..config }), model: None };
    let named = |path: &str| Ok(read(path));
    let scenario = Scenario::load(&read(&format!("{name}.drill.yaml")), over, &named);
    let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
    let report = scenario.drill(1, seeds).unwrap();
    (scenario, report)
}

#[test]
fn every_recipe_passes_its_drill_and_says_where_its_figures_come_from() {
    let names = names();
    assert!(names.len() >= 17, "{names:?}");
    let mut missed = Vec::new();
    for name in names {
        let (scenario, report) = drill(&name, SEEDS, str::to_owned);
        missed.extend((report.missed() > 0).then(|| report.to_string()));
        assert!(scenario.is_sourced(), "{name}");
        assert!(read(&format!("{name}.drill.yaml")).text.contains(&format!("config: {name}.yaml")), "{name}");
    }
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
}

#[test]
fn changing_any_number_of_a_recipe_by_a_factor_of_two_makes_its_drill_fail() {
    let halves = NUMBERS.chunks(NUMBERS.len().div_ceil(2));
    let passed: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> =
            halves.map(|half| scope.spawn(|| half.iter().filter_map(passes).collect::<Vec<_>>())).collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    });
    assert!(passed.is_empty(), "{}", passed.join("\n"));
}

/// The report of a changed recipe whose drill passes all the same.
fn passes((name, written, changed): &(&str, &str, &str)) -> Option<String> {
    let (_, report) = drill(name, SEEDS_TO_FAIL, |config| {
        assert_eq!(config.matches(written).count(), 1, "{name}: {written}");
        config.replace(written, changed)
    });
    (report.missed() == 0).then(|| format!("{name}: {changed}\n{report}"))
}

#[test]
fn no_number_of_a_recipe_is_left_out() {
    for name in names() {
        let config = read(&format!("{name}.yaml")).text;
        let lines = config.lines().map(|line| line.split('#').next().unwrap_or(line));
        let rules = lines.filter(|line| !line.contains("base_url"));
        let words: Vec<&str> =
            rules.flat_map(|line| line.split([' ', ',', '{', '}', '[', ']', '(', ')', '"', '\''])).collect();
        for number in words.iter().filter(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
            let is_tried = NUMBERS.iter().any(|(of, written, _)| *of == name && written.contains(number));
            assert!(is_tried, "{name}: {number}");
        }
    }
}

#[test]
fn every_recipe_is_in_the_documentation() {
    let page = std::fs::read_to_string(folder().join("../../docs/DRILLS.md")).unwrap();
    for name in names() {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}
