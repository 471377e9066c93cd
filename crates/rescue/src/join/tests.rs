use super::*;
use crate::anchor::{anchor, proof};

const SHOWN: &str = "Failover that works needs three things: a verdict that is true, a target that is well, and a \
caller who never learns that anything went wro";
const REST: &str = "ng. The first is the hardest, for status codes mislead.";

/// What is released of `pieces`, joined to nothing.
fn run(shown: &str, mode: Mode, pieces: &[&str]) -> Result<String, Verdict> {
    let mut join = Join::new(Arc::from(shown), mode);
    let mut out = String::new();
    for piece in pieces {
        match join.push(piece) {
            Step::Held => {}
            Step::Release(text) => out.push_str(text),
            Step::NoJoin(verdict) => {
                assert_eq!(out, "", "released before it was refused");
                return Err(verdict);
            }
        }
    }
    match join.finish() {
        Step::Held => panic!("held at the end"),
        Step::Release(text) => Ok(out + text),
        Step::NoJoin(verdict) => Err(verdict),
    }
}

fn native(shown: &str, sent: &str) -> Result<String, Verdict> {
    run(shown, Mode::Native(proof(shown).unwrap()), &[sent])
}

/// What a native target was not given and has to say.
fn unsaid(shown: &str) -> &str {
    proof(shown).unwrap().of(shown)
}

fn anchored(shown: &str, sent: &str) -> Result<String, Verdict> {
    let whole = run(shown, Mode::Anchored(anchor(shown)), &[sent]);
    let pieces: Vec<String> = sent.chars().map(String::from).collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    assert_eq!(run(shown, Mode::Anchored(anchor(shown)), &pieces), whole, "chunking changes the join");
    whole
}

fn passage(shown: &str) -> &str {
    anchor(shown).of(shown)
}

#[test]
fn a_native_continuation_passes_once_it_has_said_the_last_words() {
    let mut join = Join::new(Arc::from(SHOWN), Mode::Native(proof(SHOWN).unwrap()));
    assert_eq!(unsaid(SHOWN), "anything went wro");
    assert_eq!(join.push(" anything"), Step::Held);
    assert_eq!(join.push(" went wrong. "), Step::Release("ng. "));
    assert_eq!(join.push("The first"), Step::Release("The first"));
    assert_eq!(join.finish(), Step::Release(""));
    assert_eq!((join.via(), join.held()), (Some(Via::Continued), 0));
}

#[test]
fn white_space_at_the_seam_is_neither_doubled_nor_lost() {
    let shown = "The quick brown fox jumps \n\n";
    assert_eq!(native(shown, " brown fox jumps \n\n  over"), Ok("  over".to_owned()));
    assert_eq!(native(shown, "brown fox jumps \n\n  over"), Ok("  over".to_owned()));
    assert_eq!(native(shown, "brown fox jumps\n\nover"), Err(Verdict::SeamWhitespace));
    assert_eq!(native("The quick brown fox ", "quick brown foxes"), Err(Verdict::SeamWhitespace));
    assert_eq!(native("The quick brown fox\r", "quick brown fox\r\njumps"), Ok("\njumps".to_owned()));
}

#[test]
fn an_end_at_the_end_of_what_was_shown_is_a_join() {
    assert_eq!(native(SHOWN, unsaid(SHOWN)), Ok(String::new()));
    assert_eq!(native("The quick brown fox\n\n", "quick brown fox\n"), Ok(String::new()));
    assert_eq!(native(SHOWN, ""), Err(Verdict::Empty));
    assert_eq!(anchored(SHOWN, passage(SHOWN)), Ok(String::new()));
    let spaced = format!("{SHOWN}ng.\n\n");
    assert_eq!(anchored(&spaced, passage(&spaced).trim_end()), Ok(String::new()));
}

#[test]
fn a_native_target_may_repeat_what_it_was_given() {
    assert_eq!(native(SHOWN, &format!("{SHOWN}{REST}")), Ok(REST.to_owned()));
    let spaced = format!("{SHOWN}ng. ");
    assert_eq!(native(&spaced, &format!("{spaced}The first")), Ok("The first".to_owned()));
    // Said twice: what repeats it and what goes on with it are told apart by the words that were not given.
    let line = "| the same | row |\n";
    let twice = format!("| a table of equal rows |\n{line}{line}");
    assert_eq!(native(&twice, &format!("{}{line}end", unsaid(&twice))), Ok(format!("{line}end")));
    assert_eq!(native(&twice, &format!("{twice}{line}end")), Ok(format!("{line}end")));
}

#[test]
fn a_repetition_that_could_be_the_text_itself_is_no_join() {
    assert_eq!(native(&"哈".repeat(40), &"哈".repeat(60)), Err(Verdict::Ambiguous));
}

#[test]
fn a_native_target_that_says_anything_else_is_no_join() {
    let other = "Failover that works needs three things, and none of them is easy to come by.";
    assert_eq!(native(SHOWN, other), Err(Verdict::RestartedDifferently));
    assert_eq!(native(SHOWN, "Sure, here is the answer"), Err(Verdict::Preamble));
    assert_eq!(native(SHOWN, "I’m sorry, but I can't"), Err(Verdict::Refused));
    assert_eq!(native(SHOWN, " something went wrong. The first"), Err(Verdict::AnchorMissing));
    assert_eq!(native(SHOWN, REST), Err(Verdict::AnchorMissing));
    // Further in, the words prove nothing: they are few.
    assert_eq!(
        native(SHOWN, &format!("caller who never learns that {}{REST}", unsaid(SHOWN))),
        Err(Verdict::AnchorMissing)
    );
}

#[test]
fn a_last_sentence_said_again_is_no_join() {
    let shown = "Breakers open fast. They close slowly and with care.";
    let again = format!("{} They close slowly and with care. Then", unsaid(shown));
    assert_eq!(native(shown, &again), Err(Verdict::Looping));
    let table = "| a | b |\n|---|---|\n| the same | row |\n| the same | row |\n";
    let row = "| the same | row |\n";
    assert_eq!(native(table, &format!("{}{row}end", unsaid(table))), Ok(format!("{row}end")));
}

#[test]
fn an_earlier_passage_said_again_is_no_join() {
    let shown = format!("{SHOWN}{REST} Now for something else, which has not been said before");
    let looping = format!("{}{SHOWN}{REST}", unsaid(&shown));
    assert_eq!(native(&shown, &looping), Err(Verdict::Looping));
}

#[test]
fn what_is_not_given_is_never_all_there_is() {
    assert_eq!(proof("Antidisest"), None);
    assert_eq!(proof("  \n wordwordword"), None);
    let spoken = |shown: &'static str| proof(shown).map(|it| it.of(shown));
    assert_eq!(spoken("One two three four five"), Some("three four five"));
}

#[test]
fn nothing_is_released_before_the_anchor() {
    let mut join = Join::new(Arc::from(SHOWN), Mode::Anchored(anchor(SHOWN)));
    assert_eq!(join.push("\n\n"), Step::Held);
    assert_eq!(join.push(passage(SHOWN)), Step::Held);
    assert_eq!(join.push(REST), Step::Release(REST));
    assert_eq!(join.via(), Some(Via::Anchor));
}

#[test]
fn the_whole_answer_anew_is_joined_if_it_is_verbatim() {
    assert_eq!(anchored(SHOWN, &format!("{SHOWN}{REST}")), Ok(REST.to_owned()));
    assert_eq!(anchored("It", "It works."), Ok(" works.".to_owned()));
    assert_eq!(anchored("\n\nIt", "It works."), Ok(" works.".to_owned()));
    assert_eq!(anchored("\n\n", "It works."), Ok("It works.".to_owned()));
    assert_eq!(anchored("\n\n", "\n\n\nIt works."), Ok("\nIt works.".to_owned()));
    assert_eq!(anchored("It", "Works."), Err(Verdict::AnchorMissing));
}

#[test]
fn more_of_the_end_than_was_asked_for_is_removed_too() {
    let from_word = &SHOWN[SHOWN.find("three things").unwrap()..];
    assert_eq!(anchored(SHOWN, &format!("{from_word}{REST}")), Ok(REST.to_owned()));
}

#[test]
fn a_plain_preamble_is_removed_and_a_quotation_is_not_trusted() {
    let with = |preamble: &str| anchored(SHOWN, &format!("{preamble}{}{REST}", passage(SHOWN)));
    assert_eq!(with("Sure, continuing:\n\n"), Ok(REST.to_owned()));
    assert_eq!(with("… "), Ok(REST.to_owned()));
    for wrapped in ["\"", "```rust\n", "```\n", "Here it is: \"", "Sure:\n\n> ", "**"] {
        assert_eq!(with(wrapped), Err(Verdict::Wrapped), "{wrapped}");
    }
    assert_eq!(with("Of course I remember that "), Err(Verdict::Preamble));
    let quoted = format!("You said:\n{0}\n\nSo I go on:\n\n{0}{REST}", passage(SHOWN));
    assert_eq!(anchored(SHOWN, &quoted), Err(Verdict::Preamble));
}

#[test]
fn an_anchor_that_occurs_more_than_once_is_a_seam_only_if_no_other_fits() {
    let shown = "ha ".repeat(200);
    assert!(!anchor(&shown).unique);
    let again = passage(&shown);
    assert_eq!(anchored(&shown, &format!("{again}and that was all.")), Ok("and that was all.".to_owned()));
    assert_eq!(anchored(&shown, &format!("{again}ha ha ha.")), Err(Verdict::Ambiguous));
    assert_eq!(anchored(&shown, &format!("{shown}and on")), Err(Verdict::Ambiguous));
    let blocks = format!("{SHOWN}{REST}{SHOWN}{REST}And then {SHOWN}{REST}{SHOWN}{REST}");
    assert!(!anchor(&blocks).unique);
    assert_eq!(anchored(&blocks, &format!("{}Fresh", passage(&blocks))), Ok("Fresh".to_owned()));
    assert_eq!(
        anchored(&blocks, &format!("{}And then {SHOWN}{REST}{SHOWN}{REST}", passage(&blocks))),
        Err(Verdict::Ambiguous)
    );
}

#[test]
fn what_goes_wrong_has_a_name() {
    let anchor = passage(SHOWN);
    assert!(anchor.contains("anything"));
    assert_eq!(anchored(SHOWN, ""), Err(Verdict::Empty));
    assert_eq!(anchored(SHOWN, "I'm sorry, I can't do that."), Err(Verdict::Refused));
    assert_eq!(anchored(SHOWN, &anchor.replace("anything", "something")), Err(Verdict::Rephrased));
    assert_eq!(anchored(SHOWN, &anchor.replace(' ', "\u{a0}")), Err(Verdict::Rephrased));
    assert_eq!(anchored(SHOWN, "Failover that works is rare."), Err(Verdict::RestartedDifferently));
    assert_eq!(anchored(SHOWN, REST), Err(Verdict::AnchorMissing));
    assert_eq!(anchored(SHOWN, &SHOWN[9..90]), Err(Verdict::Looping));
    let spaced = format!("{SHOWN}ng.\n\n");
    assert_eq!(anchored(&spaced, &format!("{} So", passage(&spaced).trim_end())), Err(Verdict::SeamWhitespace));
}

#[test]
fn a_target_that_never_comes_to_the_anchor_is_not_held_for_ever() {
    let mut join = Join::new(Arc::from(SHOWN), Mode::Anchored(anchor(SHOWN)));
    let pushes = (0..10_000).take_while(|_| join.push("words ") == Step::Held).count();
    assert!(pushes < 300, "{pushes}");
    assert_eq!(join.push("more"), Step::NoJoin(Verdict::AnchorMissing));
    assert_eq!(join.held(), 0);
}

#[test]
fn a_cut_inside_a_cluster_is_joined_by_code_point() {
    let (shown, rest) = (format!("{SHOWN}ng: 👩\u{200d}"), "💻 at work");
    assert_eq!(anchored(&shown, &format!("{}{rest}", passage(&shown))), Ok(rest.to_owned()));
    assert_eq!(native(&shown, &format!("{}{rest}", unsaid(&shown))), Ok(rest.to_owned()));
    // Another form of the same letter is another text.
    let composed = format!("{SHOWN}ng, caf\u{e9}");
    let decomposed = passage(&composed).replace('\u{e9}', "e\u{301}");
    assert_eq!(anchored(&composed, &format!("{decomposed} au lait")), Err(Verdict::Rephrased));
}

#[test]
fn a_token_may_lag_by_a_provable_piece() {
    let token = |sent: &str| run(SHOWN, Mode::Token, &[sent]);
    assert_eq!(token(REST), Ok(REST.to_owned()));
    assert_eq!(token("-uh. The first"), Ok("-uh. The first".to_owned()));
    assert_eq!(token(&format!("{}{REST}", &SHOWN[SHOWN.len() - 30..])), Ok(REST.to_owned()));
    assert_eq!(token(&format!("went wro{REST}")), Err(Verdict::Ambiguous));
}

#[test]
fn long_texts_of_few_letters_cost_linear_time() {
    // 256 KiB each, in deltas of one character: quadratic work would take minutes.
    let shown = "ab".repeat(128 * 1024);
    for mode in [Mode::Native(anchor(&shown)), Mode::Token, Mode::Anchored(anchor(&shown))] {
        let mut join = Join::new(Arc::from(shown.as_str()), mode);
        let mut seen = 0;
        for at in 0..shown.len() {
            match join.push(&shown[at..=at]) {
                Step::Held => {}
                Step::Release(text) => seen += text.len(),
                Step::NoJoin(_) => break,
            }
        }
        let _ = join.finish();
        assert!(seen <= shown.len());
    }
}
