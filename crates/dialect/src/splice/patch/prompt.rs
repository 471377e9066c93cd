//! The prompt of a patch: system text around the caller's own, and example turns within the conversation.
//!
//! System text is joined to the caller's own rather than put beside it, where there is one: many chat templates take
//! one system message, at the beginning. Nothing that is there already is moved or written anew.

use super::turns::{self, Speaker, Turn};
use super::{Edits, Object, quoted};
use canon::DialectName;
use std::ops::Range;

/// What stands between the caller's own text and a patch's.
const BETWEEN: &str = "\n\n";
/// Characters of a text that `explain` shows.
const SHOWN: usize = 48;

/// What is put into the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PromptPatch {
    /// Before the caller's own instructions.
    pub prepend_system: Option<String>,
    /// After them.
    pub append_system: Option<String>,
    /// Before the caller's first turn.
    pub prepend_examples: Vec<Example>,
    /// Before the last question of the user.
    pub append_examples: Vec<Example>,
}

/// A question, and how it is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// What the user says.
    pub user: String,
    /// What the model says to that.
    pub assistant: String,
}

/// On which side of the caller's own text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

impl PromptPatch {
    pub(super) fn bytes(&self) -> u64 {
        let system = self.prepend_system.iter().chain(&self.append_system).map(String::len);
        let examples = self.prepend_examples.iter().chain(&self.append_examples);
        system.chain(examples.map(|it| it.user.len() + it.assistant.len())).sum::<usize>() as u64
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        let names = [
            (self.prepend_system.is_some(), "prepend_system"),
            (self.append_system.is_some(), "append_system"),
            (!self.prepend_examples.is_empty(), "prepend_examples"),
            (!self.append_examples.is_empty(), "append_examples"),
        ];
        names.into_iter().filter_map(|(is_there, name)| is_there.then_some(name))
    }

    pub(super) fn describe(&self) -> Vec<String> {
        let text = |text: &Option<String>, place| {
            let text = text.as_ref()?;
            let mut shown: String = text.chars().take(SHOWN).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            Some(format!("system text of {} characters {place} the caller's: {shown:?}", text.chars().count()))
        };
        let examples = |examples: &[Example], place| {
            let characters: usize =
                examples.iter().map(|it| it.user.chars().count() + it.assistant.chars().count()).sum();
            let count = examples.len();
            let noun = if count == 1 { "example" } else { "examples" };
            (count > 0).then(|| format!("{count} {noun} of {characters} characters {place}"))
        };
        let all = [
            text(&self.prepend_system, "before"),
            text(&self.append_system, "after"),
            examples(&self.prepend_examples, "before the caller's first turn"),
            examples(&self.append_examples, "before the user's last question"),
        ];
        all.into_iter().flatten().collect()
    }

    /// `goes_on`: the request goes on with an answer that was begun.
    pub(super) fn apply(&self, dialect: DialectName, goes_on: bool, top: &mut Object<'_>, edits: &mut Edits) {
        match dialect {
            DialectName::OpenaiChat => self.openai_chat(goes_on, top, edits),
            DialectName::AnthropicMessages => {
                self.anthropic_system(top, edits);
                self.conversation(dialect, "messages", goes_on, top, edits);
            }
            DialectName::Gemini => {
                self.gemini_system(top, edits);
                self.conversation(dialect, "contents", goes_on, top, edits);
            }
        }
    }

    /// The instructions are messages here: those the conversation begins with are the caller's own.
    fn openai_chat(&self, goes_on: bool, top: &Object<'_>, edits: &mut Edits) {
        let Some(field) = top.place(&["messages"]) else { return };
        let array = &field.value_range;
        let Some(turns) = turns::turns(DialectName::OpenaiChat, top.body, array) else { return };
        let head = turns.iter().take_while(|turn| turn.speaker == Speaker::Instructor).count();
        let message = |text: &str| format!("{{\"role\":\"system\",\"content\":{}}}", quoted(text));
        let own = turns.get(..head).unwrap_or_default();
        let mut join = |turn: Option<&Turn>, text: &str, side| {
            turn.and_then(|turn| turn.content.as_ref())
                .is_some_and(|content| join(top.body, content, PartShape::Typed, text, side, edits))
        };
        let before = self.prepend_system.as_deref().filter(|text| !join(own.first(), text, Side::Before));
        let after = self.append_system.as_deref().filter(|text| !join(own.last(), text, Side::After));
        let rows = Rows { turns: &turns, array, goes_on };
        match (before, after) {
            (Some(before), Some(after)) if head == 0 => {
                rows.write(0, &[message(&format!("{before}{BETWEEN}{after}"))], edits);
            }
            (before, after) => {
                for (text, at) in before.zip(Some(0)).into_iter().chain(after.zip(Some(head))) {
                    rows.write(at, &[message(text)], edits);
                }
            }
        }
        self.examples(DialectName::OpenaiChat, head, &rows, edits);
    }

    fn anthropic_system(&self, top: &mut Object<'_>, edits: &mut Edits) {
        let Some(whole) = self.whole_system() else { return };
        let Some(field) = top.place(&["system"]) else { return top.add("system", &quoted(&whole)) };
        if !self.join_both(top.body, &field.value_range, PartShape::Typed, edits) {
            edits.replace(field.value_range.clone(), quoted(&whole));
        }
    }

    fn gemini_system(&self, top: &mut Object<'_>, edits: &mut Edits) {
        let Some(whole) = self.whole_system() else { return };
        let parts = format!("[{}]", PartShape::Bare.part(&whole));
        let Some(field) = top.place(&["systemInstruction", "system_instruction"]) else {
            return top.add("systemInstruction", &format!("{{\"parts\":{parts}}}"));
        };
        let place = &field.value_range;
        let Some(members) = turns::members(top.body, place) else {
            if !self.join_both(top.body, place, PartShape::Bare, edits) {
                edits.replace(place.clone(), format!("{{\"parts\":{parts}}}"));
            }
            return;
        };
        match members.iter().find(|(key, _)| key == "parts") {
            None => {
                let comma = if members.is_empty() { "" } else { "," };
                edits.replace(place.start + 1..place.start + 1, format!("\"parts\":{parts}{comma}"));
            }
            Some((_, own)) if self.join_both(top.body, own, PartShape::Bare, edits) => {}
            // Google takes one part where it lists several.
            Some((_, own)) => self.wrap(own, edits),
        }
    }

    /// Makes an array of a part, with those of the patch around it.
    fn wrap(&self, own: &Range<usize>, edits: &mut Edits) {
        let part = |text: &String, side| PartShape::Bare.part(&joined(text, side));
        let before = self.prepend_system.as_ref().map(|text| part(text, Side::Before) + ",").unwrap_or_default();
        let after = self.append_system.as_ref().map(|text| format!(",{}", part(text, Side::After)));
        edits.replace(own.start..own.start, format!("[{before}"));
        edits.replace(own.end..own.end, after.unwrap_or_default() + "]");
    }

    /// Both texts, where the caller has none to join them to.
    fn whole_system(&self) -> Option<String> {
        match (&self.prepend_system, &self.append_system) {
            (Some(before), Some(after)) => Some(format!("{before}{BETWEEN}{after}")),
            (one, other) => one.clone().or_else(|| other.clone()),
        }
    }

    /// Joins both to what is there; false where that is neither text nor a list.
    fn join_both(&self, body: &[u8], place: &Range<usize>, shape: PartShape, edits: &mut Edits) -> bool {
        let both = [(&self.prepend_system, Side::Before), (&self.append_system, Side::After)];
        let mut texts = both.into_iter().filter_map(|(text, side)| text.as_deref().zip(Some(side)));
        texts.all(|(text, side)| join(body, place, shape, text, side, edits))
    }

    fn conversation(&self, dialect: DialectName, key: &str, goes_on: bool, top: &Object<'_>, edits: &mut Edits) {
        if self.prepend_examples.is_empty() && self.append_examples.is_empty() {
            return;
        }
        let Some(field) = top.place(&[key]) else { return };
        let array = &field.value_range;
        if let Some(turns) = turns::turns(dialect, top.body, array) {
            return self.examples(dialect, 0, &Rows { turns: &turns, array, goes_on }, edits);
        }
        // Google takes one turn where it lists several.
        if dialect == DialectName::Gemini && top.body.get(array.clone()) != Some(b"null") {
            let all = self.prepend_examples.iter().chain(&self.append_examples).map(|it| it.turns(dialect));
            edits.replace(array.start..array.start, format!("[{},", all.collect::<Vec<_>>().join(",")));
            edits.replace(array.end..array.end, "]".to_owned());
        }
    }

    /// `head` = how many turns are instructions.
    fn examples(&self, dialect: DialectName, head: usize, rows: &Rows<'_>, edits: &mut Edits) {
        let question = rows.question().unwrap_or(head).max(head);
        for (examples, at) in [(&self.prepend_examples, head), (&self.append_examples, question)] {
            let turns: Vec<String> = examples.iter().map(|example| example.turns(dialect)).collect();
            rows.write(at, &turns, edits);
        }
    }
}

impl Example {
    /// Both turns, with a comma between them.
    fn turns(&self, dialect: DialectName) -> String {
        let turn = |role: &str, text: &str| match dialect {
            DialectName::OpenaiChat | DialectName::AnthropicMessages => {
                format!("{{\"role\":\"{role}\",\"content\":{}}}", quoted(text))
            }
            DialectName::Gemini => format!("{{\"role\":\"{role}\",\"parts\":[{}]}}", PartShape::Bare.part(text)),
        };
        let model = if dialect == DialectName::Gemini { "model" } else { "assistant" };
        format!("{},{}", turn("user", &self.user), turn(model, &self.assistant))
    }
}

/// An array of turns that others are written into.
struct Rows<'a> {
    turns: &'a [Turn],
    array: &'a Range<usize>,
    goes_on: bool,
}

impl Rows<'_> {
    /// The turn in which the user last asked. An answer that was begun belongs to what was asked before it; what stands
    /// behind it is the gateway's own.
    fn question(&self) -> Option<usize> {
        let answer = self.turns.iter().rposition(|turn| turn.speaker == Speaker::Other).filter(|_| self.goes_on);
        let before = self.turns.get(..answer.unwrap_or(self.turns.len()))?;
        before.iter().rposition(|turn| turn.speaker == Speaker::User)
    }

    /// Writes turns before the one at `at`, or behind the last.
    fn write(&self, at: usize, written: &[String], edits: &mut Edits) {
        if written.is_empty() {
            return;
        }
        let text = written.join(",");
        let (place, text) = match (self.turns.get(at), self.turns.last()) {
            (Some(next), _) => (next.place.start, text + ","),
            (None, Some(last)) => (last.place.end, format!(",{text}")),
            (None, None) => {
                let inside = self.array.start + 1;
                // Another one may be written there already.
                let comma = if edits.has_insertion(inside) { "," } else { "" };
                (inside, format!("{comma}{text}"))
            }
        };
        edits.replace(place..place, text);
    }
}

/// How a dialect writes a part of text.
#[derive(Debug, Clone, Copy)]
enum PartShape {
    /// With its type.
    Typed,
    /// Gemini's.
    Bare,
}

impl PartShape {
    fn part(self, text: &str) -> String {
        match self {
            Self::Typed => format!("{{\"type\":\"text\",\"text\":{}}}", quoted(text)),
            Self::Bare => format!("{{\"text\":{}}}", quoted(text)),
        }
    }
}

/// A text with what separates it from the caller's.
fn joined(text: &str, side: Side) -> String {
    match side {
        Side::Before => format!("{text}{BETWEEN}"),
        Side::After => format!("{BETWEEN}{text}"),
    }
}

/// Joins a text to a string or to a list of parts; false where it is neither.
fn join(body: &[u8], place: &Range<usize>, shape: PartShape, text: &str, side: Side, edits: &mut Edits) -> bool {
    let is_string = body.get(place.start) == Some(&b'"');
    let (at, written) = if is_string {
        // Nothing is in it, and nothing is to be written into it by the other side.
        let is_blank = place.len() == 2 && !edits.has_insertion(place.start + 1);
        let text = quoted(&if is_blank { text.to_owned() } else { joined(text, side) });
        let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned();
        (if side == Side::Before { place.start + 1 } else { place.end - 1 }, inside)
    } else {
        let Some(parts) = turns::elements(body, place) else { return false };
        if let (Some(first), Some(last)) = (parts.first(), parts.last()) {
            let part = shape.part(&joined(text, side));
            if side == Side::Before { (first.start, part + ",") } else { (last.end, format!(",{part}")) }
        } else {
            let inside = place.start + 1;
            let comma = if edits.has_insertion(inside) { "," } else { "" };
            (inside, format!("{comma}{}", shape.part(text)))
        }
    };
    edits.replace(at..at, written);
    true
}
