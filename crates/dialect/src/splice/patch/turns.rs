//! The turns of a body, read far enough to know where others may be written between them.

use crate::scan::Cursor;
use canon::DialectName;
use std::borrow::Cow;
use std::ops::Range;

/// Who says a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    /// System and developer messages (`openai-chat`).
    Instructor,
    /// The user asks.
    User,
    /// The model, a tool, or a user who hands on what a tool gave.
    Other,
}

/// One turn.
pub(super) struct Turn {
    pub(super) place: Range<usize>,
    pub(super) speaker: Speaker,
    pub(super) content: Option<Range<usize>>,
}

/// The turns of an array; `None` = it is none.
pub(super) fn turns(dialect: DialectName, body: &[u8], array: &Range<usize>) -> Option<Vec<Turn>> {
    let read = |place: Range<usize>| {
        let members = members(body, &place).unwrap_or_default();
        let find = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let role = find("role").and_then(|role| body.get(role)).unwrap_or_default();
        let content = find(if dialect == DialectName::Gemini { "parts" } else { "content" });
        let speaker = speaker(dialect, body, role, content.as_ref());
        Turn { place, speaker, content }
    };
    Some(elements(body, array)?.into_iter().map(read).collect())
}

fn speaker(dialect: DialectName, body: &[u8], role: &[u8], content: Option<&Range<usize>>) -> Speaker {
    match (dialect, role) {
        (DialectName::OpenaiChat, b"\"system\"" | b"\"developer\"") => Speaker::Instructor,
        (DialectName::OpenaiChat, b"\"user\"") => Speaker::User,
        (DialectName::AnthropicMessages, b"\"user\"") | (DialectName::Gemini, b"\"user\"" | b"")
            if !content.is_some_and(|content| is_result(body, content)) =>
        {
            Speaker::User
        }
        _ => Speaker::Other,
    }
}

/// Whether a part of the content is the result of a tool, which must follow its call.
fn is_result(body: &[u8], content: &Range<usize>) -> bool {
    elements(body, content).unwrap_or_default().iter().any(|part| {
        members(body, part).unwrap_or_default().iter().any(|(key, value)| {
            matches!(&**key, "functionResponse" | "function_response")
                || (key == "type" && body.get(value.clone()) == Some(br#""tool_result""#))
        })
    })
}

/// Where the elements of an array stand; `None` = it is none.
pub(super) fn elements(body: &[u8], array: &Range<usize>) -> Option<Vec<Range<usize>>> {
    let mut cursor = Cursor::new(body.get(array.clone())?);
    if cursor.token() != b'[' {
        return None;
    }
    let mut found = Vec::new();
    let mut more = cursor.enter().ok()?;
    while more {
        found.push(value(&mut cursor, array.start)?);
        more = cursor.another().ok()?;
    }
    Some(found)
}

/// The keys of an object, and where their values stand; `None` = it is none.
pub(super) fn members<'b>(body: &'b [u8], object: &Range<usize>) -> Option<Vec<(Cow<'b, str>, Range<usize>)>> {
    let mut cursor = Cursor::new(body.get(object.clone())?);
    if cursor.token() != b'{' {
        return None;
    }
    let mut found = Vec::new();
    let mut more = cursor.enter().ok()?;
    while more {
        let key = cursor.key().ok()?;
        let key = match cursor.characters(&key).unwrap_or_default() {
            Cow::Borrowed(key) => String::from_utf8_lossy(key),
            Cow::Owned(key) => Cow::Owned(String::from_utf8_lossy(&key).into_owned()),
        };
        found.push((key, value(&mut cursor, object.start)?));
        more = cursor.another().ok()?;
    }
    Some(found)
}

fn value(cursor: &mut Cursor<'_>, base: usize) -> Option<Range<usize>> {
    cursor.token();
    let begin = cursor.at();
    cursor.skip().ok()?;
    Some(base + begin..base + cursor.at())
}
