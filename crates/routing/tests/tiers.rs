//! The complexity score on labelled prompts it was not fitted to: the program that prints the table, and what must hold
//! of its figures.

#[path = "../examples/tiers/curve.rs"]
#[expect(dead_code, reason = "what the printed table alone needs")]
mod curve;
#[path = "../examples/tiers/data.rs"]
mod data;

use curve::Curve;
use data::Labelled;
use routing::tier::Scorer;

fn labelled(prompt: &str, weak: bool, strong: bool) -> Labelled {
    Labelled { prompt: prompt.to_owned(), weak, strong }
}

#[test]
fn a_score_that_tells_nothing_keeps_half_and_one_that_knows_all_keeps_more_than_everything() {
    let prompts =
        [labelled("a", false, true), labelled("b", true, true), labelled("c", true, false), labelled("d", false, true)];
    let nothing = Curve::of(&prompts, |_| 0);
    assert!((nothing.apgr() - 0.5).abs() < 1e-9 && (nothing.kept(0.3) - 0.3).abs() < 1e-9);
    let all = Curve::of(&prompts, curve::oracle);
    // Half of the requests gain two answers, a quarter gains nothing, the last quarter loses one.
    assert!((all.kept(0.5) - 2.0).abs() < 1e-9 && (all.needed(1.0) - 0.25).abs() < 1e-9);
    assert!((all.apgr() - (0.5 + 0.5 + 0.375)).abs() < 1e-9, "{}", all.apgr());
}

#[test]
fn the_figures_of_the_documentation_are_those_of_the_labelled_prompts() {
    let Some(folder) = data::folder() else {
        eprintln!("SKIPPED: no labelled prompts; set MAINSTAY_ROUTING_DATA to their folder");
        return;
    };
    let docs = include_str!("../../../docs/TIERS.md");
    let sets = [data::mmlu(&folder), data::gsm8k(&folder)].map(|prompts| prompts.expect("readable"));
    for (prompts, published) in sets.iter().zip([[0.586, 1.285], [0.601, 1.125]]) {
        let length = Curve::of(prompts, curve::length).apgr();
        let oracle = Curve::of(prompts, curve::oracle).apgr();
        // The way of measuring is the published one when it finds the published figures.
        assert!((length - published[0]).abs() < 0.01 && (oracle - published[1]).abs() < 0.01, "{length} {oracle}");
        let complexity = Curve::of(prompts, curve::complexity).apgr();
        let is_default = Scorer::default() == Scorer::Complexity;
        assert_eq!(is_default, complexity > length, "what tells less is not the default: {complexity} beside {length}");
        for figure in [length, complexity] {
            assert!(docs.contains(&format!("| {figure:.3} |")), "docs/TIERS.md does not say {figure:.3}");
        }
    }
}
