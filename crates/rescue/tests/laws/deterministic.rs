//! Continuers that mean to give the reference: what the caller has at the end is the reference, or there is an honest
//! error where the text repeats itself.

use crate::support::{Faithful, Outcome, asked, cuts, feed};
use crate::{recorded, texts};
use proptest::prelude::*;
use rescue::{Means, Mode};
use std::collections::BTreeMap;

/// Cuts of each recorded answer, or `MAINSTAY_CUTS`; 0 = every place.
const CUTS: usize = 100;
const MEANS: [Means<'static>; 2] = [Means::Prefill, Means::Instruction];

fn rescued(reference: &str, cut: usize, means: Means<'_>, model: Faithful, sizes: &[usize]) -> Outcome {
    let shown = reference.get(..cut).unwrap();
    let ask = asked(shown, means);
    let sent = model.says(reference, cut, &ask.request);
    feed(shown, &ask, &sent, sizes)
}

fn cut_of(reference: &str, at: prop::sample::Index) -> usize {
    let cuts: Vec<usize> = cuts(reference).collect();
    *at.get(&cuts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_cut_anywhere_in_any_chunks_is_whole_again(
        reference in texts::ordinary(), at in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(1usize..30, 1..8), model in prop::sample::select(Faithful::ALL.to_vec()),
        means in prop::sample::select(MEANS.to_vec()),
    ) {
        let cut = cut_of(&reference, at);
        let rest = reference.get(cut..).unwrap().to_owned();
        prop_assert_eq!(rescued(&reference, cut, means, model, &sizes), Outcome::Joined(rest));
    }

    #[test]
    fn repetitive_text_is_whole_again_or_an_honest_error(
        reference in texts::repetitive(), at in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(1usize..30, 1..8), model in prop::sample::select(Faithful::ALL.to_vec()),
        means in prop::sample::select(MEANS.to_vec()),
    ) {
        let cut = cut_of(&reference, at);
        let rest = reference.get(cut..).unwrap();
        if let Outcome::Joined(text) = rescued(&reference, cut, means, model, &sizes) {
            prop_assert_eq!(text, rest);
        }
    }

    #[test]
    fn whatever_an_instructed_target_sends_what_is_released_follows_the_anchor(
        shown in "[ab \n]{16,120}|[a-c ]{0,8}[ab]{64,90}", pieces in prop::collection::vec("[ab \n]{1,6}|[ab]{20}", 0..6),
        whole in any::<bool>(), at in any::<prop::sample::Index>(), sizes in prop::collection::vec(1usize..30, 1..8),
    ) {
        let ask = asked(&shown, Means::Instruction);
        let Mode::Anchored(anchor) = ask.mode else { panic!("asked by instruction") };
        // The anchor, or all of it, somewhere among the pieces.
        let mut pieces = pieces;
        pieces.insert(at.index(pieces.len() + 1), if whole { shown.clone() } else { anchor.of(&shown).to_owned() });
        let sent = pieces.concat();
        if let Outcome::Joined(text) = feed(&shown, &ask, &sent, &sizes) {
            let (before, released) = sent.split_at(sent.len() - text.len());
            prop_assert_eq!(released, &text);
            let passage = anchor.of(&shown).trim();
            prop_assert!(passage.is_empty() || before.trim_end().ends_with(passage), "{:?} after {:?}", text, before);
        }
    }

    #[test]
    fn chunking_changes_nothing(
        reference in prop_oneof![texts::ordinary(), texts::repetitive()], at in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(1usize..30, 1..8), model in prop::sample::select(Faithful::ALL.to_vec()),
        means in prop::sample::select(MEANS.to_vec()),
    ) {
        let cut = cut_of(&reference, at);
        let at_once = rescued(&reference, cut, means, model, &[usize::MAX]);
        prop_assert_eq!(rescued(&reference, cut, means, model, &sizes), at_once);
    }
}

/// Cuts every text at every place, or for the long ones at most at `most` places; counts what is not joined.
fn sweep<'a>(texts: impl Iterator<Item = (String, &'a str)>, most: usize) -> (usize, BTreeMap<String, usize>) {
    let mut joins = 0;
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    for (name, reference) in texts {
        let places: Vec<usize> = cuts(reference).collect();
        for cut in places.iter().step_by(places.len().div_ceil(most)) {
            for (means, model) in MEANS.into_iter().flat_map(|means| Faithful::ALL.map(|model| (means, model))) {
                match rescued(reference, *cut, means, model, &[7, 1, 3]) {
                    Outcome::Joined(text) => {
                        assert_eq!(text, reference.get(*cut..).unwrap(), "{name}: {means:?}, {model:?}, cut at {cut}");
                        joins += 1;
                    }
                    Outcome::No(verdict) => {
                        println!("{name}: {means:?}, {model:?}, cut at {cut}: {verdict}");
                        *refused.entry(format!("{means:?} {model:?} {verdict}")).or_default() += 1;
                    }
                }
            }
        }
    }
    (joins, refused)
}

#[test]
fn our_own_answers_cut_at_every_place_are_whole_again() {
    let (joins, refused) = sweep(texts::ANSWERS.iter().map(|(name, text)| ((*name).to_owned(), *text)), usize::MAX);
    assert!(joins > 5_000);
    assert_eq!(refused, BTreeMap::new());
}

#[test]
fn recorded_answers_cut_everywhere_are_whole_again() {
    let answers = recorded::answers(200);
    let named = answers.iter().map(|answer| (format!("{}/{}", answer.provider, answer.model), answer.text.as_str()));
    #[expect(clippy::disallowed_methods, reason = "a test is told how long it may take")]
    let asked = std::env::var("MAINSTAY_CUTS").ok().and_then(|text| text.parse().ok());
    let most = match asked.unwrap_or(CUTS) {
        0 => usize::MAX,
        most => most,
    };
    let (joins, refused) = sweep(named, most);
    println!("{} recorded answers: {joins} joined, not joined: {refused:#?}", answers.len());
    // A recorded answer may repeat itself too; the honest error is then allowed, and rare.
    assert!(refused.values().sum::<usize>() * 1_000 <= joins, "{refused:#?}");
}
