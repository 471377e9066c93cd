//! Walking a body with an eye on the members a dialect cares for; the dialects say which in their own files.

use super::json::{Cursor, Parsed, Text};
use super::tokens::{self, Medium};
use super::{Field, MOST_FIELDS, Scan};
use crate::BadRequest;
use std::borrow::Cow;
use std::ops::Range;

/// The pass over one body.
pub(super) struct Walker<'b> {
    pub(super) cursor: Cursor<'b>,
    pub(super) scan: Scan,
    is_ascii: bool,
    /// Quarters of a token of the text so far.
    quarters: u64,
    /// Whole tokens so far: messages, media.
    tokens: u64,
    bad_key: Option<BadRequest>,
    /// Results of tools so far.
    pub(super) tool_results: usize,
    /// How often Gemini's `generationConfig` stands in the body, in either spelling.
    pub(super) config_seen: usize,
    /// Who says the message that is being read.
    pub(super) speaker: Speaker,
    /// The caller's first turn was read.
    is_open: bool,
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Speaker {
    /// A caller, a tool, or nobody says who.
    #[default]
    Caller,
    /// The model.
    Model,
    /// Whoever gives the model its instructions.
    Instructor,
}

/// What is known of a medium while the object that holds it is read: its members come in any order.
#[derive(Debug, Default)]
pub(super) struct MediumSeen {
    pub(super) kind: Option<Medium>,
    pub(super) data: Option<Text>,
    pub(super) is_remote: bool,
    /// The data are the text itself, not base64.
    pub(super) is_text: bool,
}

impl<'b> Walker<'b> {
    pub(super) fn new(body: &'b [u8], is_ascii: bool) -> Self {
        Self {
            cursor: Cursor::new(body),
            scan: Scan { fields: Vec::with_capacity(12), ..Scan::default() },
            is_ascii,
            quarters: 0,
            tokens: 0,
            bad_key: None,
            tool_results: 0,
            config_seen: 0,
            speaker: Speaker::Caller,
            is_open: false,
        }
    }

    /// Reads the top-level object; `member` reads the value of a key.
    pub(super) fn root(&mut self, member: fn(&mut Self, &[u8]) -> Parsed<()>) -> Parsed<()> {
        self.members(|walker, key, key_text| {
            let start = walker.cursor.at();
            member(walker, key)?;
            let value_range = start..walker.cursor.at();
            if walker.bad_key.is_none() {
                walker.field(key, key_text, value_range);
            }
            Ok(())
        })
    }

    fn field(&mut self, key: &[u8], key_text: &Text, value_range: Range<usize>) {
        let bad = |code, message: String, key: Option<String>| BadRequest { code, message, parameter: key };
        let Some(key) = self.cursor.characters(key_text).and_then(|_| known(key)) else {
            let at = key_text.inside.start;
            self.bad_key = Some(bad("invalid_json", format!("the key at byte {at} has half a surrogate pair"), None));
            return;
        };
        if self.scan.fields.len() == MOST_FIELDS {
            let message = format!("the body has more than {MOST_FIELDS} top-level fields");
            self.bad_key = Some(bad("invalid_value", message, None));
            return;
        }
        self.scan.fields.push(Field { key, key_range: key_text.quoted(), value_range });
    }

    /// The scan, once the body is known to be JSON.
    pub(super) fn finish(mut self) -> Result<Scan, BadRequest> {
        if let Some(bad) = self.bad_key {
            return Err(bad);
        }
        let config = (self.config_seen > 1).then_some("generationConfig");
        if let Some(key) = config.or_else(|| repeated(&self.scan.fields)) {
            let message = format!("`{key}` stands twice in the body");
            return Err(BadRequest { code: "duplicate_key", message, parameter: Some(key.to_owned()) });
        }
        self.scan.estimated_tokens = self.tokens + self.quarters.div_ceil(4);
        Ok(self.scan)
    }

    /// Reads an object's members: `each` must read the value, on whose first byte the cursor stands. A value of any
    /// other kind is stepped over.
    pub(super) fn members(&mut self, mut each: impl FnMut(&mut Self, &[u8], &Text) -> Parsed<()>) -> Parsed<()> {
        if self.cursor.token() != b'{' {
            return self.cursor.skip();
        }
        let mut more = self.cursor.enter()?;
        while more {
            let key_text = self.cursor.key()?;
            self.cursor.token();
            // No key that is asked for has half a surrogate pair.
            let key = self.cursor.characters(&key_text).unwrap_or(Cow::Borrowed(b""));
            each(self, &key, &key_text)?;
            more = self.cursor.another()?;
        }
        Ok(())
    }

    /// Reads an array's elements, and says how many there were; an object is taken for an array of one.
    pub(super) fn elements(&mut self, mut each: impl FnMut(&mut Self, usize) -> Parsed<()>) -> Parsed<usize> {
        match self.cursor.token() {
            b'[' => {}
            b'{' => return each(self, 0).map(|()| 1),
            _ => return self.cursor.skip().map(|()| 0),
        }
        let mut count = 0;
        let mut more = self.cursor.enter()?;
        while more {
            self.cursor.token();
            each(self, count)?;
            count += 1;
            more = self.cursor.another()?;
        }
        Ok(count)
    }

    /// Reads a value and gives its bytes.
    pub(super) fn value(&mut self) -> Parsed<(&'b [u8], Range<usize>)> {
        self.cursor.token();
        let start = self.cursor.at();
        self.cursor.skip()?;
        let range = start..self.cursor.at();
        Ok((self.cursor.bytes(range.clone()), range))
    }

    /// Reads a string; any other value is stepped over.
    pub(super) fn string(&mut self) -> Parsed<Option<Text>> {
        if self.cursor.token() == b'"' {
            return self.cursor.string().map(Some);
        }
        self.cursor.skip().map(|()| None)
    }

    /// Reads a string as a word of the dialect; empty when it is none.
    pub(super) fn word(&mut self) -> Parsed<Cow<'b, [u8]>> {
        let text = self.string()?;
        Ok(text.and_then(|text| self.cursor.characters(&text)).unwrap_or(Cow::Borrowed(b"")))
    }

    /// Reads a string the model will read.
    pub(super) fn text(&mut self) -> Parsed<()> {
        if let Some(text) = self.string()? {
            self.count_text(&text);
        }
        Ok(())
    }

    /// Reads a value the model will read as JSON: tools, schemas, arguments. Whether it is neither null nor empty.
    pub(super) fn json_text(&mut self) -> Parsed<bool> {
        let (bytes, _) = self.value()?;
        if bytes == b"null" {
            return Ok(false);
        }
        self.count(bytes, bytes.len());
        Ok(bytes.get(1..).is_some_and(|rest| !matches!(rest.trim_ascii(), b"]" | b"}")))
    }

    pub(super) fn count_text(&mut self, text: &Text) {
        let bytes = self.cursor.bytes(text.inside.clone());
        self.count(bytes, bytes.len() - text.short_escapes - 2 * text.unicode_escapes);
    }

    /// Counts text; `length` = its bytes with each escape taken for the character it stands for.
    fn count(&mut self, bytes: &[u8], length: usize) {
        self.scan.text_bytes += bytes.len();
        self.quarters += if self.is_ascii {
            length as u64
        } else {
            tokens::quarters(bytes).saturating_sub((bytes.len() - length) as u64)
        };
    }

    pub(super) fn count_message(&mut self) {
        self.tokens += tokens::MESSAGE;
    }

    /// Records a turn of the conversation that was read. `results` = results of tools before it.
    pub(super) fn end_turn(&mut self, is_users: bool, content: Option<Range<usize>>, results: usize) {
        self.scan.turns = self.scan.turns.saturating_add(1);
        if is_users && content.is_some() && self.tool_results == results {
            self.scan.ask = content;
        }
        self.scan.opening_messages += usize::from(!self.is_open);
        self.is_open |= self.speaker != Speaker::Instructor;
        self.scan.model_turns += u32::from(self.speaker == Speaker::Model);
        self.speaker = Speaker::Caller;
    }

    /// Records a medium, once the object that holds it was read.
    pub(super) fn count_medium(&mut self, seen: &MediumSeen) {
        let Some(kind) = seen.kind else { return };
        match kind {
            Medium::Image | Medium::Video => {
                self.scan.has_images = true;
                self.scan.has_remote_images |= seen.is_remote;
            }
            Medium::Audio => self.scan.has_audio = true,
            Medium::Document => self.scan.has_documents = true,
        }
        match &seen.data {
            Some(data) if seen.is_text => self.count_text(data),
            Some(data) => {
                let bytes = self.cursor.bytes(data.inside.clone());
                // A data URL's head does not count.
                let start = memchr::memchr(b',', bytes.get(..128.min(bytes.len())).unwrap_or_default());
                let base64 = bytes.get(start.map_or(0, |at| at + 1)..).unwrap_or_default();
                self.tokens += tokens::of_medium(kind, base64.len(), base64);
            }
            None => self.tokens += tokens::of_medium(kind, 0, b""),
        }
    }
}

/// A whole number.
pub(super) fn whole(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn repeated(fields: &[Field]) -> Option<&str> {
    if fields.len() <= 32 {
        let earlier = |at: usize| fields.get(..at).unwrap_or_default();
        let repeat =
            fields.iter().enumerate().find(|(at, field)| earlier(*at).iter().any(|other| other.key == field.key));
        return repeat.map(|(_, field)| &*field.key);
    }
    let mut keys: Vec<&str> = fields.iter().map(|field| &*field.key).collect();
    keys.sort_unstable();
    keys.windows(2).find_map(|pair| pair.first().filter(|one| Some(*one) == pair.last()).copied())
}

/// The key as text; the usual ones take no memory.
fn known(key: &[u8]) -> Option<Cow<'static, str>> {
    const USUAL: &[&str] = &[
        "model",
        "messages",
        "stream",
        "temperature",
        "max_tokens",
        "tools",
        "tool_choice",
        "stream_options",
        "top_p",
        "max_completion_tokens",
        "response_format",
        "stop",
        "n",
        "seed",
        "user",
        "reasoning_effort",
        "metadata",
        "system",
        "thinking",
        "top_k",
        "stop_sequences",
        "contents",
        "generationConfig",
        "systemInstruction",
        "toolConfig",
        "safetySettings",
        "parallel_tool_calls",
        "presence_penalty",
        "frequency_penalty",
        "output_config",
        "prompt_cache_key",
        "session_id",
    ];
    let key = std::str::from_utf8(key).ok()?;
    let usual = USUAL.iter().find(|usual| **usual == key);
    Some(usual.map_or_else(|| Cow::Owned(key.to_owned()), |usual| Cow::Borrowed(*usual)))
}
