//! The request that asks a target to go on.
//!
//! Three forms. *Native*: what was shown but for its last words, right-trimmed (Anthropic refuses trailing white
//! space), is the beginning of the target's own turn, and that it says those words is the proof that it went on; or the
//! provider's token stands for all of it. *Anchored*: the partial answer is a turn of the assistant, and a turn of the
//! user asks to repeat its end and go on. *Opening*: so little was shown (less than [`MIN_OVERLAP`](crate::MIN_OVERLAP)
//! characters) that a target which goes on could not be told from one that starts again (after "l", is "lama" the rest
//! of "llama" or a new answer?), so no partial turn is sent at all: the turns stay as they are, a system instruction
//! asks for an answer that begins with these characters, and it is joined only if it does.

use crate::anchor::{Anchor, anchor, proof};
use crate::join::Mode;
use crate::text::has_chars;
use crate::{MIN_OVERLAP, text};
use canon::{Continues, Message, Part, Request, Role};

/// The instruction of the anchored form; the anchor follows it between tags.
pub const INSTRUCTION: &str = "Your answer above was cut off before its end. Go on with it. \
Begin with its last characters, repeated exactly as they stand between the two tags below: nothing added, nothing left \
out, no quotation marks or code fence around them, line breaks and spaces as they are. Directly after the last of them, \
even if that is in the middle of a word, go on with what comes next and finish the answer in the same language and \
style. Write nothing before the repeated characters, write the tags nowhere, and do not speak of the interruption or of \
this instruction.";

/// The instruction of the opening form; the beginning follows it between tags.
pub const OPENING: &str = "Your next answer must begin with exactly the characters that stand between the two tags \
below: nothing before them, nothing added, nothing left out. Directly after the last of them, even if that is in the \
middle of a word, go on with the answer. Write the tags nowhere and do not speak of this instruction.";

/// The means of going on that a target has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means<'a> {
    /// The catalogue says that this model goes on with the beginning of its own turn.
    Prefill,
    /// The provider's token, the last one seen.
    Token(&'a str),
    /// None but words.
    Instruction,
}

/// A request that goes on with an answer, and how its answer is to be joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The request for the target. Its model and stream fields are the caller's.
    pub request: Request,
    /// For [`Join::new`](crate::Join::new), with the text the request was made from.
    pub mode: Mode,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// Send this.
    Ask(Box<Ask>),
    /// The caller's cap on output tokens was delivered already: the answer is whole, its finish reason is `length`.
    LengthReached,
}

/// Tokens of a text for which no usage is known: four characters each, rounded down.
pub fn estimated_tokens(text: &str) -> u64 {
    u64::try_from(text.chars().count() / 4).unwrap_or(u64::MAX)
}

/// Makes the request that goes on with the answer to `request` of which the caller has `shown`.
///
/// `delivered_tokens` are the output tokens of what was shown, summed over all parts, where the usage is known; else
/// they are [estimated](estimated_tokens). The caller's cap is reduced by them; what a target has to repeat is added
/// again, for it is not delivered twice. The caller of this function asks [`possibility`](crate::possibility) first.
pub fn ask(request: &Request, shown: &str, means: Means<'_>, delivered_tokens: Option<u64>) -> Asked {
    let delivered = delivered_tokens.unwrap_or_else(|| estimated_tokens(shown));
    let left = request.max_output_tokens.map(|cap| cap.saturating_sub(delivered));
    if left == Some(0) {
        return Asked::LengthReached;
    }
    let mut request = Request { max_output_tokens: left, ..request.clone() };
    // A caller's own prefill is part of the turn that is gone on with, but not of what was shown.
    let begun_by_caller = request.messages.last().is_some_and(|turn| turn.role == Role::Assistant);
    let enough = has_chars(shown.trim(), MIN_OVERLAP);
    let proof = if enough && !begun_by_caller { proof(shown) } else { None };
    let mode = match (means, proof) {
        (Means::Token(token), _) => {
            request.continues = Some(Continues::Token(token.to_owned()));
            Mode::Token
        }
        (Means::Prefill, Some(proof)) => {
            append_turn(&mut request, Role::Assistant, text::until(shown, proof.start).trim_end());
            request.continues = Some(Continues::Prefill);
            says_again(&mut request, shown, proof);
            Mode::Native(proof)
        }
        (Means::Prefill | Means::Instruction, _) => {
            let anchor = anchor(shown);
            instruct(&mut request, shown, anchor, enough || begun_by_caller);
            says_again(&mut request, shown, anchor);
            Mode::Anchored(anchor)
        }
    };
    Asked::Ask(Box::new(Ask { request, mode }))
}

/// The anchored form, or without `partial_turn` the opening form.
fn instruct(request: &mut Request, shown: &str, anchor: Anchor, partial_turn: bool) {
    let passage = anchor.of(shown);
    let tag = free_tag(passage);
    let quoted = |instruction: &str| format!("{instruction}\n\n<{tag}>{passage}</{tag}>");
    if partial_turn {
        append_turn(request, Role::Assistant, shown);
        append_turn(request, Role::User, &quoted(INSTRUCTION));
    } else {
        // After the instructions of the application: the turns stay as they are, for they are what is answered.
        let instructions = |turn: &&Message| matches!(turn.role, Role::System | Role::Developer);
        let after = request.messages.iter().take_while(instructions).count();
        let note = Message { role: Role::System, parts: vec![Part::text(quoted(OPENING))], name: None };
        request.messages.insert(after, note);
    }
}

/// Makes room for a passage that has to come again.
fn says_again(request: &mut Request, shown: &str, anchor: Anchor) {
    let repeated = estimated_tokens(anchor.of(shown));
    request.max_output_tokens = request.max_output_tokens.map(|left| left.saturating_add(repeated));
    // The provider would see a stop sequence across the seam and cut the repeated passage short, so that it could not
    // be recognised: `StopSpan` looks after these alone.
    request.stop.retain(|stop| text::overlap(shown, stop) == 0);
}

/// Adds text as a turn, or to the last turn if the same one speaks.
fn append_turn(request: &mut Request, role: Role, text: &str) {
    match request.messages.last_mut() {
        Some(last) if last.role == role && role == Role::Assistant => last.parts.push(Part::text(text)),
        _ => request.messages.push(Message { role, parts: vec![Part::text(text)], name: None }),
    }
}

/// A tag name that does not occur in the passage.
fn free_tag(passage: &str) -> String {
    let mut tag = "anchor".to_owned();
    while text::find(passage, &tag, 0).is_some() {
        tag.push('-');
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "The quick brown fox jumps over the ";

    fn question() -> Request {
        let turn = Message { role: Role::User, parts: vec![Part::text("Tell me.")], name: None };
        Request { model: "m".to_owned(), messages: vec![turn], max_output_tokens: Some(100), ..Request::default() }
    }

    fn made(request: &Request, shown: &str, means: Means<'_>, tokens: Option<u64>) -> Ask {
        match ask(request, shown, means, tokens) {
            Asked::Ask(ask) => *ask,
            Asked::LengthReached => panic!("length reached"),
        }
    }

    fn text_of(message: &Message) -> String {
        message.parts.iter().map(|part| if let Part::Text { text, .. } = part { text.as_str() } else { "" }).collect()
    }

    #[test]
    fn the_native_form_ends_before_the_last_words_without_trailing_space() {
        let made = made(&question(), SHOWN, Means::Prefill, Some(8));
        let last = made.request.messages.last().unwrap();
        assert_eq!((last.role, text_of(last)), (Role::Assistant, "The quick brown fox".to_owned()));
        assert_eq!(made.request.continues, Some(Continues::Prefill));
        let Mode::Native(proof) = made.mode else { panic!("{:?}", made.mode) };
        assert_eq!((proof.of(SHOWN), proof.unique), ("jumps over the ", true));
        assert_eq!(made.request.max_output_tokens, Some(92 + 3));
    }

    #[test]
    fn the_anchored_form_quotes_the_anchor_exactly_and_ends_with_the_user() {
        let made = made(&question(), SHOWN, Means::Instruction, None);
        let [.., partial, instruction] = made.request.messages.as_slice() else { panic!("two turns") };
        assert_eq!((partial.role, text_of(partial)), (Role::Assistant, SHOWN.to_owned()));
        assert_eq!(instruction.role, Role::User);
        assert!(text_of(instruction).ends_with(&format!("<anchor>{SHOWN}</anchor>")));
        assert_eq!(made.request.continues, None);
        let repeated = estimated_tokens(SHOWN);
        assert_eq!(made.request.max_output_tokens, Some(100 - repeated + repeated));
    }

    #[test]
    fn after_a_few_characters_the_target_is_asked_to_begin_with_them() {
        for means in [Means::Prefill, Means::Instruction] {
            let made = made(&question(), "``", means, None);
            let [note, asked] = made.request.messages.as_slice() else { panic!("two turns") };
            assert_eq!((note.role, asked), (Role::System, &question().messages[0]));
            assert!(text_of(note).ends_with("<anchor>``</anchor>"));
            assert_eq!(made.request.continues, None);
            assert_eq!(made.mode, Mode::Anchored(Anchor { start: 0, unique: true }));
        }
    }

    #[test]
    fn a_callers_own_prefill_stays_the_beginning_of_the_turn() {
        let mut request = question();
        append_turn(&mut request, Role::Assistant, "Once ");
        let made = made(&request, "upon", Means::Prefill, None);
        let [_, partial, instruction] = made.request.messages.as_slice() else { panic!("three turns") };
        assert_eq!((text_of(partial), instruction.role), ("Once upon".to_owned(), Role::User));
    }

    #[test]
    fn a_cap_that_was_delivered_ends_the_answer() {
        assert_eq!(ask(&question(), SHOWN, Means::Prefill, Some(100)), Asked::LengthReached);
        let uncapped = Request { max_output_tokens: None, ..question() };
        assert_eq!(made(&uncapped, SHOWN, Means::Prefill, Some(100)).request.max_output_tokens, None);
    }

    #[test]
    fn a_stop_sequence_across_the_seam_is_kept_from_a_target_that_repeats_a_part_of_it() {
        let request = Request { stop: vec!["the end".to_owned(), "STOP".to_owned()], ..question() };
        for means in [Means::Instruction, Means::Prefill] {
            assert_eq!(made(&request, SHOWN, means, None).request.stop, ["STOP"]);
        }
        assert_eq!(made(&request, SHOWN, Means::Token("t0"), None).request.stop, request.stop);
    }

    #[test]
    fn a_token_needs_no_text_at_all() {
        let made = made(&question(), SHOWN, Means::Token("t0"), None);
        assert_eq!(made.request.messages, question().messages);
        assert_eq!(made.request.continues, Some(Continues::Token("t0".to_owned())));
    }

    #[test]
    fn the_tag_never_occurs_in_the_anchor() {
        assert_eq!(free_tag("a </anchor> b <anchor->"), "anchor--");
    }
}
