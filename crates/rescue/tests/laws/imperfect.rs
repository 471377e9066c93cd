//! Continuers that do not do as they were asked: nothing is ever released but what truly follows.

use crate::support::{Outcome, asked, cuts, feed, read};
use crate::{recorded, texts};
use rescue::Means;
use std::collections::BTreeMap;

/// How a continuer goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Manner {
    RepeatsASentence,
    RephrasesTheAnchor,
    AnewInOtherWords,
    SureContinuing,
    SureContinuingOnANewLine,
    SureContinuingWithoutTheAnchor,
    GoesOnWithoutTheAnchor,
    HalfTheAnchor,
    QuotesTheAnchorFirst,
    InQuotationMarks,
    InAFence,
    PlainMarks,
    PlainLineEnds,
    AnotherLanguage,
    AnotherScript,
    Refuses,
    LoopsTheAnchor,
    GoesBack,
}

use Manner::*;

const MANNERS: [Manner; 18] = [
    RepeatsASentence,
    RephrasesTheAnchor,
    AnewInOtherWords,
    SureContinuing,
    SureContinuingOnANewLine,
    SureContinuingWithoutTheAnchor,
    GoesOnWithoutTheAnchor,
    HalfTheAnchor,
    QuotesTheAnchorFirst,
    InQuotationMarks,
    InAFence,
    PlainMarks,
    PlainLineEnds,
    AnotherLanguage,
    AnotherScript,
    Refuses,
    LoopsTheAnchor,
    GoesBack,
];

/// What a continuer sends, and what may be released of it, if anything.
struct Said {
    sent: String,
    allowed: Option<String>,
}

/// Recorded answers, and cuts of each: the table in `docs/RESCUE.md` is of such a run.
const TEXTS: usize = 150;
const CUTS: usize = 20;

const GERMAN: &str = "Im Übrigen sei gesagt, dass der Anbieter hier in einer anderen Sprache fortfährt, als hätte er die \
Anweisung nie gelesen. Das kommt vor, besonders bei kleinen Modellen, und hilft niemandem.";
const JAPANESE: &str = "続きは日本語で書かれています。モデルは指示を読みましたが、別の言語で答えてしまいました。";
const REFUSAL: &str = "I'm sorry, but I can't continue this text. Is there anything else I can help you with?";

impl Manner {
    /// `place` is what the continuer repeats or spoils: the quotation, or natively the end of what it was given.
    fn says(self, given: &str, place: &str, native: bool, rest: &str) -> Said {
        let quote = if native { "" } else { place };
        let (before, _) = given.split_at(given.len() - quote.len().min(given.len()));
        let said = |sent: String| Said { sent, allowed: Some(rest.to_owned()) };
        let wrong = |sent: String| Said { sent, allowed: None };
        match self {
            RepeatsASentence => said(format!("{}{quote}{rest}", last_sentence(before))),
            RephrasesTheAnchor => wrong(format!("{}{rest}", reworded(place))),
            AnewInOtherWords => wrong(reworded(&format!("{given}{rest}"))),
            SureContinuing => said(format!("Sure, continuing: {quote}{rest}")),
            SureContinuingOnANewLine => said(format!("Sure, continuing from where it stopped:\n\n{quote}{rest}")),
            SureContinuingWithoutTheAnchor => wrong(format!("Sure, continuing: {rest}")),
            GoesOnWithoutTheAnchor => said(rest.to_owned()),
            HalfTheAnchor => said(format!("{}{rest}", half(place))),
            QuotesTheAnchorFirst => said(format!("You wrote:\n{place}\n\nHere is how it goes on:\n\n{quote}{rest}")),
            InQuotationMarks => wrong(format!("\"{quote}{rest}\"")),
            InAFence => wrong(format!("```\n{quote}{rest}\n```")),
            PlainMarks => Said { sent: plain(&format!("{quote}{rest}")), allowed: Some(plain(rest)) },
            PlainLineEnds => {
                let lines = |text: &str| text.replace("\r\n", "\n");
                Said { sent: lines(&format!("{quote}{rest}")), allowed: Some(lines(rest)) }
            }
            AnotherLanguage => wrong(GERMAN.to_owned()),
            AnotherScript => wrong(JAPANESE.to_owned()),
            Refuses => wrong(REFUSAL.to_owned()),
            LoopsTheAnchor => wrong(place.repeat(12)),
            GoesBack => wrong(format!("{quote}{}{rest}", half(given))),
        }
    }
}

/// The last sentence or line, begun or whole.
fn last_sentence(text: &str) -> &str {
    let body = text.trim_end().trim_end_matches(['.', '!', '?', '。']);
    let start = body
        .rfind(['.', '!', '?', '。', '\n'])
        .map_or(0, |at| at + body.get(at..).unwrap().chars().next().unwrap().len_utf8());
    text.get(start..).unwrap().trim_start_matches(' ')
}

fn half(text: &str) -> &str {
    let middle = text.chars().count() / 2;
    text.get(text.char_indices().nth(middle).map_or(0, |(at, _)| at)..).unwrap()
}

/// Every third word, and of text without spaces every seventh character, is another one.
fn reworded(text: &str) -> String {
    let other = ["indeed", "rather", "namely", "however"];
    let mut count = 0;
    text.split_inclusive([' ', '\n'])
        .map(|word| {
            count += 1;
            let space: String = word.chars().filter(|c| c.is_whitespace()).collect();
            if word.chars().count() > 20 {
                word.chars().enumerate().map(|(at, c)| if at % 7 == 3 { '異' } else { c }).collect()
            } else if count % 3 == 2 {
                format!("{}{space}", other[count % other.len()])
            } else {
                word.to_owned()
            }
        })
        .collect()
}

fn plain(text: &str) -> String {
    let mark = |c| match c {
        '“' | '”' | '„' => '"',
        '‘' | '’' => '\'',
        '–' | '—' => '-',
        '\u{a0}' | '\u{202f}' => ' ',
        other => other,
    };
    text.chars().map(mark).collect()
}

/// How often a manner ended how.
#[derive(Debug, Default)]
struct Count {
    joined: usize,
    wrong: usize,
    refused: BTreeMap<&'static str, usize>,
}

/// Every manner at about `places` cuts of every text.
fn run(means: Means<'_>, texts: &[(String, String)], places: usize) -> BTreeMap<Manner, Count> {
    let mut counts: BTreeMap<Manner, Count> = BTreeMap::new();
    for (name, reference) in texts {
        let all: Vec<usize> = cuts(reference).collect();
        for cut in all.iter().step_by(all.len().div_ceil(places)) {
            let (shown, rest) = reference.split_at(*cut);
            let ask = asked(shown, means);
            let read = read(&ask.request);
            let native = read.prefill.is_some();
            let given = read.prefill.unwrap_or_else(|| shown.to_owned());
            let rest = if native { reference.strip_prefix(&given).unwrap() } else { rest };
            let tail = given.char_indices().rev().nth(79).map_or(0, |(at, _)| at);
            let place = if native { given.get(tail..).unwrap() } else { &read.quote };
            for manner in MANNERS {
                let said = manner.says(&given, place, native, rest);
                if manner == GoesBack && half(&given).chars().count() < rescue::MIN_OVERLAP {
                    continue;
                }
                // Of a text that is not there in other words, nothing can be told.
                let as_it_should = [format!("{place}{rest}"), rest.to_owned()].contains(&said.sent);
                if as_it_should && said.allowed.is_none() {
                    continue;
                }
                let count = counts.entry(manner).or_default();
                match feed(shown, &ask, &said.sent, &[5, 2, 11]) {
                    Outcome::No(verdict) => *count.refused.entry(verdict.as_str()).or_default() += 1,
                    Outcome::Joined(text) if is_true(shown, &text, &given, &said, read.partial) => count.joined += 1,
                    Outcome::Joined(text) => {
                        if count.wrong == 0 {
                            println!("WRONG {name} {means:?} {manner:?} at {cut}: {:?}", text.get(..40));
                        }
                        count.wrong += 1;
                    }
                }
            }
        }
    }
    counts
}

/// Whether what was released follows what was shown.
fn is_true(shown: &str, released: &str, given: &str, said: &Said, partial: bool) -> bool {
    let joined = format!("{shown}{released}");
    // Without a partial turn the target gave a whole answer of its own, and the caller has all of it.
    let whole = joined.trim_start() == said.sent.trim_start();
    let follows = said.allowed.as_ref().is_some_and(|rest| joined == format!("{given}{rest}"));
    follows || (whole && !partial)
}

fn seam_texts(most: usize) -> Vec<(String, String)> {
    let own = texts::ANSWERS.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let recorded = recorded::answers(most).into_iter();
    own.chain(recorded.map(|answer| (format!("{}/{}", answer.provider, answer.model), answer.text))).collect()
}

fn print(title: &str, counts: &BTreeMap<Manner, Count>) {
    println!("\n{title}\n\n| continuer | joined | not joined | wrong | verdicts |\n| --- | --- | --- | --- | --- |");
    for (manner, count) in counts {
        let not: usize = count.refused.values().sum();
        let mut verdicts: Vec<(usize, &str)> = count.refused.iter().map(|(name, count)| (*count, *name)).collect();
        verdicts.sort_by_key(|verdict| std::cmp::Reverse(*verdict));
        let verdicts: Vec<String> = verdicts.iter().map(|(count, name)| format!("`{name}` {count}")).collect();
        println!("| {manner:?} | {} | {not} | {} | {} |", count.joined, count.wrong, verdicts.join(", "));
    }
}

#[test]
fn an_instructed_target_never_leads_to_a_wrong_join() {
    let texts = seam_texts(TEXTS);
    let counts = run(Means::Instruction, &texts, CUTS);
    print(&format!("Asked by instruction: {} texts", texts.len()), &counts);
    for (manner, count) in &counts {
        assert_eq!(count.wrong, 0, "{manner:?}");
    }
    // What can be saved is saved.
    for manner in [RepeatsASentence, SureContinuing, SureContinuingOnANewLine] {
        let count = &counts[&manner];
        assert!(count.joined > count.refused.values().sum::<usize>(), "{manner:?} {count:?}");
    }
}

#[test]
fn a_native_target_never_leads_to_a_wrong_join() {
    let texts = seam_texts(TEXTS);
    let counts = run(Means::Prefill, &texts, CUTS);
    print(&format!("Asked natively: {} texts", texts.len()), &counts);
    for (manner, count) in &counts {
        assert_eq!(count.wrong, 0, "{manner:?}");
    }
    let goes_on = &counts[&GoesOnWithoutTheAnchor];
    assert!(goes_on.joined > 9 * goes_on.refused.values().sum::<usize>(), "{goes_on:?}");
}
