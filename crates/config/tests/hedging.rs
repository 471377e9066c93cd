//! `hedge:` and `race:` of a model: what is read, and what is refused.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use catalog::Ratio;
use support::{load, refused};

const OPENAI: &str = "providers:\n  openai: { keys: [sk-1] }\n";

#[test]
fn hedge_and_race_are_read_and_what_comes_to_nothing_is_refused() {
    use routing::{Hedge, HedgeAfter, Hedging};
    let chat =
        |targets: &str, lines: &str| format!("{OPENAI}models:\n  chat:\n    targets: [{targets}]\n    {lines}\n");
    let two = |lines: &str| chat("openai/gpt-5.1, openai/gpt-5-mini", lines);
    let hedging = |lines: &str| {
        let snapshot = load(&two(lines)).unwrap_or_else(|error| panic!("{error}"));
        snapshot.resolve("chat").unwrap().settings.hedging
    };
    let hedge = |after, budget: &str| Hedging::Hedge(Hedge { after, budget: Ratio::parse(budget).unwrap() });
    assert_eq!(hedging("rescue: resume"), Hedging::Off);
    for on in ["hedge: on", "hedge: true", "hedge: {}", "hedge: { after: p95, budget: 5% }"] {
        assert_eq!(hedging(on), hedge(HedgeAfter::P95, "5%"), "{on}");
    }
    let fixed = HedgeAfter::Fixed(std::time::Duration::from_millis(1_500));
    assert_eq!(hedging("hedge: { after: 1.5s, budget: 0.1 }"), hedge(fixed, "10%"));
    assert_eq!(hedging("hedge: off"), Hedging::Off);
    assert_eq!(hedging("race: 2"), Hedging::Race);
    assert_eq!(hedging("race: 1"), Hedging::Off);
    for (wrong, said) in [
        ("race: 3", "3 attempts race, each for a whole prompt: expected 2 (the two best), or 1 for no race"),
        ("race: 0", "`race` is 0: expected 2, or 1"),
        ("{ race: 2, hedge: on }", "one of them"),
        ("hedge: { budget: 60% }", "`budget` is 60 %: expected more than 0 % and at most 50 %"),
        ("hedge: { budget: 0% }", "more than 0 %"),
        ("hedge: { after: 0s }", "no time at all"),
        ("hedge: { after: p90 }", "`p95`, or a length of time"),
        ("hedge: sometimes", "`on`, `off`, or a mapping"),
        ("{ hedge: on, max_attempts: 1 }", "`max_attempts` is 1"),
    ] {
        let lines = wrong.trim_start_matches("{ ").trim_end_matches(" }");
        let lines = if wrong.starts_with('{') { lines.replace(", ", "\n    ") } else { wrong.to_owned() };
        let error = refused(&two(&lines));
        assert!(error.contains(said), "{wrong}: {error}");
    }
    for alone in ["hedge: on", "race: 2"] {
        assert!(refused(&chat("openai/gpt-5.1", alone)).contains("expected two `targets`"), "{alone}");
    }
}
