//! A request to go on with a partial answer, and what is said then.
//!
//! It is read as a model reads it, from the words of the request: the last turn asks to go on and quotes the end of
//! the assistant turn before it. What the quotation is, is found by looking for the longest end of that turn that the
//! instruction holds; quotation marks, tags and line ends around it show where it begins.

use crate::continues::{Continues, Manner};
use crate::error::Invalid;
use crate::rewording;
use crate::schema::pieces;
use crate::wire::{Asked, Heard};

/// Shorter quotations are taken to be chance, unless they are the whole partial answer.
const SHORTEST: usize = 8;
/// Characters before an opening mark that a text and an instruction may happen to share.
const BEFORE: usize = 8;
/// What a model repeats, rewords or loops when nothing was quoted.
const TAIL: usize = 48;

/// How it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// The partial answer is the last turn.
    Native,
    /// By an instruction that quotes this.
    Instructed { quoted: String },
    /// By a token that says how many bytes of the answer there are already.
    Token(usize),
}

/// A partial answer to go on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GoingOn {
    partial: String,
    form: Form,
}

/// Finds out whether the request asks to go on, and which prompt it is that is answered.
pub(crate) fn recognise(asked: &mut Asked) -> Result<(), Invalid> {
    asked.going_on = match &asked.token {
        Some(token) => {
            let begun = position(token).ok_or_else(|| Invalid::new("Invalid continuation token."))?;
            Some(GoingOn { partial: String::new(), form: Form::Token(begun) })
        }
        None => partial_answer(&asked.turns, asked.continues_last),
    };
    let before = match asked.going_on.as_ref().map(|going_on| &going_on.form) {
        Some(Form::Native) => asked.turns.len().saturating_sub(1),
        Some(Form::Instructed { .. }) => asked.turns.len().saturating_sub(2),
        Some(Form::Token(_)) | None => asked.turns.len(),
    };
    let mut prompts = asked.turns.iter().take(before).rev().filter(|turn| !turn.is_model);
    let prompt = prompts.next().cloned().unwrap_or_default();
    asked.results = prompt.results;
    // A turn of tool results alone answers what was said before it.
    asked.last_user = match prompt.text {
        text if text.is_empty() => {
            prompts.find(|turn| !turn.text.is_empty()).map(|turn| turn.text.clone()).unwrap_or_default()
        }
        text => text,
    };
    Ok(())
}

fn partial_answer(turns: &[Heard], continues_last: bool) -> Option<GoingOn> {
    let (last, before) = turns.split_last()?;
    if last.is_model {
        return continues_last.then(|| GoingOn { partial: last.text.clone(), form: Form::Native });
    }
    let partial = before.last().filter(|turn| !turn.calls)?;
    let quoted = quotation(&partial.text, &last.text)?;
    Some(GoingOn { partial: partial.text.clone(), form: Form::Instructed { quoted } })
}

/// What the instruction quotes of the end of the partial answer; `None`: it does not ask to go on.
fn quotation(partial: &str, instruction: &str) -> Option<String> {
    let said = instruction.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let goes_on = has(&["continu", "go on", "going on", "carry on", "resume", "pick up", "complete", "finish"]);
    let exactly = has(&[
        "repeat",
        "exact",
        "verbatim",
        "start with",
        "begin with",
        "cut off",
        "interrupt",
        "broke",
        "stopped",
        "left off",
        "unfinished",
        "incomplete",
    ]);
    if !goes_on || !exactly || partial.trim().is_empty() {
        return None;
    }
    let plain = quoted_end(partial, instruction);
    let read = if instruction.contains('\\') { quoted_end(partial, &unescaped(instruction)) } else { None };
    let found =
        if read.as_ref().map_or(0, String::len) > plain.as_ref().map_or(0, String::len) { read } else { plain }?;
    let shortest = SHORTEST.min(partial.trim().chars().count());
    (found.chars().count() >= shortest).then_some(found)
}

fn quoted_end(partial: &str, instruction: &str) -> Option<String> {
    // An assistant turn may have lost the white space at its end, or kept it where the quotation has not.
    let whole = longest_end(partial, instruction);
    let trimmed = longest_end(partial.trim_end(), instruction);
    let (from, found) = if trimmed.1.len() > whole.1.len() { trimmed } else { whole };
    found.get(opening(instruction, from, found.len())..).map(str::to_owned)
}

/// With the escapes of JSON strings undone, for an instruction that quotes that way.
fn unescaped(instruction: &str) -> String {
    let mut out = String::with_capacity(instruction.len());
    let mut rest = instruction;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let (letter, taken) = match after.as_bytes().first() {
            Some(b'n') => (Some('\n'), 1),
            Some(b'r') => (Some('\r'), 1),
            Some(b't') => (Some('\t'), 1),
            Some(b'u') => {
                let code = after.get(1..5).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                (code.and_then(char::from_u32), 5)
            }
            Some(mark @ (b'"' | b'\\' | b'/')) => (Some(char::from(*mark)), 1),
            _ => (None, 0),
        };
        match letter {
            Some(letter) => out.push(letter),
            None => out.push('\\'),
        }
        rest = if letter.is_some() { after.get(taken..).unwrap_or_default() } else { after };
    }
    out + rest
}

/// The longest end of `text` that `within` holds, with its last place there.
fn longest_end<'a>(text: &'a str, within: &str) -> (usize, &'a str) {
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    // Every end of an end that is held is held too.
    let first = starts.partition_point(|at| !within.contains(text.get(*at..).unwrap_or_default()));
    let found = starts.get(first).and_then(|at| text.get(*at..)).unwrap_or_default();
    (within.rfind(found).unwrap_or(0), found)
}

/// How many bytes of what was found at `from` belong to what opens the quotation: a mark or a line end that the text
/// happens to have before the quoted piece too.
fn opening(instruction: &str, from: usize, length: usize) -> usize {
    let after = instruction.get(from + length..).unwrap_or_default();
    let tag = |lead: &str| {
        let name = after.strip_prefix(lead)?.strip_prefix("</")?.split_once('>')?.0;
        Some(format!("<{name}>{lead}"))
    };
    let pairs =
        [("\n```", "```\n"), ("\n\"\"\"", "\"\"\"\n"), ("\n---", "---\n"), ("```", "```"), ("\"\"\"", "\"\"\"")];
    let marks = [("\"", "\""), ("”", "“"), ("»", "«"), ("`", "`"), ("'", "'"), ("]]", "[["), ("\n", "\n")];
    let paired = || pairs.into_iter().chain(marks).find(|(close, _)| after.starts_with(close));
    let Some(open) = tag("\n").or_else(|| tag("")).or_else(|| paired().map(|(_, open)| open.to_owned())) else {
        return 0;
    };
    // A text may well have line ends of its own.
    let most = if open == "\n" { 1 } else { open.len() + BEFORE };
    let found = instruction.get(from..from + length).unwrap_or_default();
    let begins = |at: &usize| instruction.get(..from + at).is_some_and(|before| before.ends_with(&open));
    found.char_indices().map(|(at, _)| at).take_while(|at| *at <= most).find(begins).unwrap_or(0)
}

/// A token for an answer of which so many bytes are there. It is Base64 in whole groups, as bytes in JSON are.
pub(crate) fn token(bytes: usize) -> String {
    format!("c2lt{bytes:012}")
}

fn position(token: &str) -> Option<usize> {
    token.strip_prefix("c2lt").filter(|digits| digits.len() == 12)?.parse().ok()
}

impl GoingOn {
    /// Whether the provider's own way was used.
    pub(crate) fn is_native(&self) -> bool {
        match self.form {
            Form::Native | Form::Token(_) => true,
            Form::Instructed { .. } => false,
        }
    }

    /// Tokens of the answer that a limit counts although they were sent before: with a token, all of them.
    pub(crate) fn spent(&self, reference: &str, begins_at: usize) -> usize {
        match self.form {
            Form::Token(_) => pieces(reference.get(..begins_at).unwrap_or_default()).len(),
            Form::Native | Form::Instructed { .. } => 0,
        }
    }

    /// What is said, and how many bytes of the reference come before it.
    pub(crate) fn said(&self, continues: Continues, reference: &str) -> (String, usize) {
        if let Form::Token(begun) = self.form {
            let at = (0..=begun.min(reference.len())).rev().find(|at| reference.is_char_boundary(*at)).unwrap_or(0);
            return (reference.get(at..).unwrap_or_default().to_owned(), at);
        }
        let rest = rest(reference, &self.partial, self.quoted());
        let said = self.in_manner(continues.manner, reference, &rest);
        let begins_at = reference.len() - rest.len().min(reference.len());
        if continues.repeats_prefix && self.form == Form::Native {
            return (format!("{}{said}", self.partial), 0);
        }
        (said, begins_at)
    }

    /// What was quoted; natively asked, nothing.
    fn quoted(&self) -> &str {
        match &self.form {
            Form::Instructed { quoted } => quoted,
            Form::Native | Form::Token(_) => "",
        }
    }

    /// What a manner that plays with the quotation plays with.
    fn anchor(&self) -> &str {
        match &self.form {
            Form::Instructed { quoted } => quoted,
            Form::Native | Form::Token(_) => {
                let place = self.partial.char_indices().rev().nth(TAIL - 1).map_or(0, |(at, _)| at);
                self.partial.get(place..).unwrap_or_default()
            }
        }
    }

    fn in_manner(&self, manner: Manner, reference: &str, rest: &str) -> String {
        const PREFACE: &str = "Sure, continuing: ";
        let quoted = self.quoted();
        match manner {
            Manner::Exact => format!("{quoted}{rest}"),
            Manner::Anew => reference.to_owned(),
            Manner::RepeatsSentence => {
                let before = self.partial.trim_end().strip_suffix(quoted.trim_end()).unwrap_or(&self.partial);
                format!("{}{quoted}{rest}", rewording::last_sentence(before))
            }
            Manner::RephrasesAnchor => format!("{}{rest}", rewording::reworded(self.anchor())),
            Manner::AnewInOtherWords => rewording::reworded(reference),
            Manner::Preface => format!("{PREFACE}{quoted}{rest}"),
            Manner::PrefaceWithoutAnchor => format!("{PREFACE}{rest}"),
            Manner::OtherLanguage => rewording::in_german(rest.split_whitespace().count()),
            Manner::Refuses => "I'm sorry, but I can't continue that.".to_owned(),
            Manner::Loops => rewording::looped(self.anchor()),
            Manner::Skips => format!("{quoted}{}", rewording::without_first_words(rest)),
            Manner::Normalises => rewording::normalised(&format!("{quoted}{rest}")),
        }
    }
}

/// What follows the partial answer in the reference. A partial answer that is not its beginning is somebody else's: a
/// model goes on with it as well as it can, in its own words from about there on.
fn rest(reference: &str, partial: &str, quoted: &str) -> String {
    if let Some(rest) = reference.strip_prefix(partial) {
        // A quotation without the white space at the end of the partial answer is gone on with from its own end.
        let lost = partial.len() - partial.trim_end().len();
        let is_trimmed = lost > 0 && !quoted.is_empty() && !partial.ends_with(quoted);
        return if is_trimmed {
            reference.get(partial.len() - lost..).unwrap_or(rest).to_owned()
        } else {
            rest.to_owned()
        };
    }
    if let Some(rest) = reference.strip_prefix(partial.trim_end()) {
        return rest.trim_start().to_owned();
    }
    let begun = reference.char_indices().nth(partial.chars().count()).map_or(reference.len(), |(at, _)| at);
    match reference.get(begun..).and_then(|rest| rest.split_once(' ')) {
        Some((_, rest)) => format!(" {rest}"),
        None => " That is all.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKS: &str = "You were cut off. Repeat exactly this and continue: ";

    fn found(partial: &str, quote: &str) -> Option<String> {
        quotation(partial, &format!("{ASKS}{quote}"))
    }

    #[test]
    fn the_quotation_is_the_longest_end_that_the_instruction_holds() {
        let partial = "One two three.\nFour \"five six seven eight";
        assert_eq!(found(partial, "<x>five six seven eight</x>").unwrap(), "five six seven eight");
        assert_eq!(
            found(partial, "\"\"\"\nFour \"five six seven eight\n\"\"\"").unwrap(),
            "Four \"five six seven eight"
        );
        assert_eq!(found(partial, "<x>\nFour \"five six seven eight\n</x>").unwrap(), "Four \"five six seven eight");
        assert_eq!(found(partial, "\"five six seven eight\"").unwrap(), "five six seven eight");
        assert_eq!(found(partial, "“five six seven eight” and so on").unwrap(), "five six seven eight");
        assert_eq!(found("H", "<x>H</x>").unwrap(), "H");
        assert_eq!(found("漢字 です", "```\n漢字 です\n```").unwrap(), "漢字 です");
    }

    #[test]
    fn a_quotation_in_json_is_read_as_json() {
        let partial = "He said:\n\t\"naïve \\ words\"";
        assert_eq!(found(partial, &serde_json::json!(partial).to_string()).unwrap(), partial);
        assert_eq!(unescaped("\\u00e9 \\x \\"), "é \\x \\");
    }

    #[test]
    fn white_space_lost_on_the_way_does_not_hide_the_quotation() {
        assert_eq!(found("a long enough end \n", "<x>long enough end</x>").unwrap(), "long enough end");
        assert_eq!(found("a long enough end", "<x>long enough end \n</x>").unwrap(), "long enough end");
        assert_eq!(found("a long enough end \n", "<x>long enough end \n</x>").unwrap(), "long enough end \n");
    }

    #[test]
    fn an_ordinary_turn_is_not_an_instruction() {
        assert_eq!(quotation("The answer is 42.", "Repeat that."), None);
        assert_eq!(quotation("The answer is 42.", "Please continue exactly."), None);
        assert_eq!(quotation("The answer is 42.", "Why is the answer is 42. so famous?"), None);
    }

    #[test]
    fn the_rest_follows_the_given_text() {
        assert_eq!(rest("a b  c", "a b", ""), "  c");
        assert_eq!(rest("a b  c", "a b  ", ""), "c");
        assert_eq!(rest("a b\nc", "a b   ", ""), "c");
        assert_eq!(rest("a b  c", "a b  ", "b"), "  c");
        assert_eq!(rest("one two three four", "ein zwe", ""), " three four");
        assert_eq!(rest("one", "somebody else's words", ""), " That is all.");
    }

    #[test]
    fn tokens_read_back() {
        assert_eq!(position(&token(123)), Some(123));
        assert_eq!(position("c2ltx"), None);
    }
}
