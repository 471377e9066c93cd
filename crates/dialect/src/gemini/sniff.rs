//! A same-dialect stream or answer in passing: usage, finish and faults, without building a tree.
//!
//! Every Gemini chunk carries usage, so every chunk is read; but only its bones: text is looked at for being there, the
//! rest is validated and skipped.

use super::stream_decode::read_residue;
use super::usage::Counts;
use super::words::{Enumeration, finish_reason};
use crate::sse::Frame;
use crate::{Sniffed, Sniffer, StreamEnd};
use canon::{FinishReason, Tag};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// What was learned so far.
#[derive(Debug, Default)]
pub(super) struct GeminiSniffer {
    model_told: bool,
    blocked: bool,
    failed: bool,
    candidates: Vec<Progress>,
}

#[derive(Debug)]
struct Progress {
    index: u32,
    called: bool,
    finished: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow, default)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(default)]
    usage_metadata: Option<Counts>,
    #[serde(borrow, default)]
    model_version: Option<Cow<'a, str>>,
    #[serde(default)]
    prompt_feedback: Option<Feedback>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(default)]
    content: Option<Content>,
    #[serde(borrow, default)]
    finish_reason: Option<Word<'a>>,
    #[serde(default)]
    index: Option<u32>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Option<Vec<Part>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    #[serde(default)]
    block_reason: Option<Value>,
    #[serde(default)]
    block_reason_message: Option<String>,
}

/// What a part is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Nothing,
    Signature,
    Thought,
    Call,
    Content,
    /// Google runs code or a tool of its own: content, and `STOP` beside it is not the end.
    OwnTool,
}

/// An enumeration's name or number.
struct Word<'a>(Cow<'a, str>);

impl Sniffer for GeminiSniffer {
    fn sniff(&mut self, frame: &Frame) -> Sniffed {
        if frame.data.is_empty() {
            return nothing(false);
        }
        self.bytes(&frame.data)
    }

    fn sniff_answer(&mut self, body: &[u8]) -> Sniffed {
        let mut sniffed = self.bytes(body);
        // An answer that says nothing is no answer, whatever its finish reason.
        if matches!(sniffed.tag, Some(Tag::Done | Tag::Prelude | Tag::Usage)) {
            sniffed.tag = None;
        }
        sniffed
    }

    fn end(&mut self, residue: &[u8]) -> StreamEnd {
        if let Some(value) = read_residue(residue) {
            let sniffed = self.bytes(value.to_string().as_bytes());
            if let Some(error) = sniffed.error {
                return StreamEnd::Error(error);
            }
        }
        if !self.failed && self.complete() { StreamEnd::Complete } else { StreamEnd::Incomplete }
    }
}

impl GeminiSniffer {
    fn bytes(&mut self, data: &[u8]) -> Sniffed {
        let first = data.iter().find(|b| !b.is_ascii_whitespace());
        if first == Some(&b'[') {
            // One JSON array, or an error wrapped in one.
            let Ok(chunks) = serde_json::from_slice::<Vec<Chunk<'_>>>(data) else { return nothing(true) };
            let all = chunks.into_iter().map(|chunk| self.chunk(chunk));
            return all.reduce(merge).unwrap_or_else(|| nothing(false));
        }
        match serde_json::from_slice::<Chunk<'_>>(data) {
            Ok(chunk) => self.chunk(chunk),
            Err(_) => nothing(true),
        }
    }

    fn chunk(&mut self, chunk: Chunk<'_>) -> Sniffed {
        let mut out = nothing(false);
        if let Some(error) = chunk.error {
            self.failed = true;
            out.tag = Some(Tag::Fault);
            out.error = Some(error);
            return out;
        }
        out.usage = chunk.usage_metadata.map(|c| c.usage()).filter(|u| !u.is_empty());
        if !self.model_told
            && let Some(model) = chunk.model_version.filter(|m| !m.is_empty())
        {
            self.model_told = true;
            out.model = Some(model.into_owned());
        }
        let candidates = chunk.candidates.unwrap_or_default();
        let mut seen = Part::Nothing;
        for candidate in &candidates {
            seen = seen.max(self.candidate(candidate, &mut out));
        }
        let alone = candidates.is_empty() && self.candidates.is_empty();
        if let Some(reason) = chunk.prompt_feedback.and_then(|f| f.block(alone)) {
            self.blocked = true;
            // Ends the answer without being content of one: the gate may still send it elsewhere.
            out.finish = Some((FinishReason::ContentFilter, reason));
        }
        out.terminator = self.complete();
        out.tag = Some(match seen {
            Part::OwnTool | Part::Content => Tag::Content,
            Part::Call => Tag::Tool,
            Part::Signature | Part::Nothing if out.finish.is_some() => Tag::Done,
            Part::Thought | Part::Signature => Tag::Reasoning,
            Part::Nothing if candidates.is_empty() && out.usage.is_some() => Tag::Usage,
            Part::Nothing => Tag::Prelude,
        });
        out
    }

    fn candidate(&mut self, candidate: &Candidate<'_>, out: &mut Sniffed) -> Part {
        let parts = candidate.content.as_ref().and_then(|c| c.parts.as_deref()).unwrap_or_default();
        let progress = self.progress(candidate.index.unwrap_or(0));
        if !parts.is_empty() {
            progress.finished = false;
        }
        progress.called |= parts.contains(&Part::Call);
        let pending = parts.last() == Some(&Part::OwnTool);
        if let Some(Word(word)) = &candidate.finish_reason
            && !(pending && word == "STOP")
        {
            progress.finished = true;
            out.finish = Some((finish_reason(word, progress.called), word.clone().into_owned()));
        }
        parts.iter().copied().max().unwrap_or(Part::Nothing)
    }

    fn progress(&mut self, index: u32) -> &mut Progress {
        let at = self.candidates.iter().position(|c| c.index == index).unwrap_or(self.candidates.len());
        if at == self.candidates.len() {
            self.candidates.push(Progress { index, called: false, finished: false });
        }
        #[expect(clippy::indexing_slicing, reason = "`at` was found in the list or is its new last element")]
        &mut self.candidates[at]
    }

    fn complete(&self) -> bool {
        self.blocked || (!self.candidates.is_empty() && self.candidates.iter().all(|c| c.finished))
    }
}

fn nothing(malformed: bool) -> Sniffed {
    Sniffed {
        tag: None,
        only_usage: false,
        malformed,
        usage: None,
        finish: None,
        error: None,
        model: None,
        terminator: false,
    }
}

/// Two chunks of one array as if they were one.
fn merge(first: Sniffed, second: Sniffed) -> Sniffed {
    let weight = |tag: Option<Tag>| match tag {
        None => 0,
        Some(Tag::Prelude) => 1,
        Some(Tag::Usage) => 2,
        Some(Tag::Done) => 3,
        Some(Tag::Reasoning) => 4,
        Some(Tag::Tool) => 5,
        Some(Tag::Content) => 6,
        Some(Tag::Fault) => 7,
    };
    Sniffed {
        tag: if weight(first.tag) > weight(second.tag) { first.tag } else { second.tag },
        only_usage: false,
        malformed: first.malformed || second.malformed,
        usage: second.usage.or(first.usage),
        finish: second.finish.or(first.finish),
        error: second.error.or(first.error),
        model: first.model.or(second.model),
        terminator: second.terminator,
    }
}

impl Feedback {
    fn block(&self, alone: bool) -> Option<String> {
        let stated = self.block_reason.as_ref().and_then(|v| Enumeration::Block.read(v));
        let implied = alone && self.block_reason_message.as_ref().is_some_and(|m| !m.is_empty());
        stated.or_else(|| implied.then(|| "BLOCK_REASON_UNSPECIFIED".to_owned()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Word<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a finish reason")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Word<'de>, E> {
                Ok(Word(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Word<'de>, E> {
                Ok(Word(Cow::Owned(v.to_owned())))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Word<'de>, E> {
                Ok(Word(Cow::Owned(Enumeration::Finish.name_of(v))))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Word<'de>, E> {
                Ok(Word(Cow::Owned(Enumeration::Finish.name_of(i64::try_from(v).unwrap_or(i64::MAX)))))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Part;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
                let (mut part, mut thought) = (Part::Nothing, false);
                while let Some(key) = map.next_key::<Key>()? {
                    let found = match key {
                        Key::Text => map.next_value::<Option<Filled>>()?.is_some_and(|f| f.0).then_some(Part::Content),
                        Key::Thought => {
                            thought = map.next_value::<Option<bool>>()?.unwrap_or(false);
                            None
                        }
                        Key::Is(kind) => map.next_value::<Option<IgnoredAny>>()?.map(|_| kind),
                        Key::Aside => map.next_value::<IgnoredAny>().map(|_| None)?,
                    };
                    part = part.max(found.unwrap_or(Part::Nothing));
                }
                Ok(if thought && part == Part::Content { Part::Thought } else { part })
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// A key of a part.
enum Key {
    Text,
    Thought,
    Is(Part),
    /// Says something about the part, but is not its content.
    Aside,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(match key {
                    "text" => Key::Text,
                    "thought" => Key::Thought,
                    "thoughtSignature" => Key::Is(Part::Signature),
                    "functionCall" => Key::Is(Part::Call),
                    "executableCode" | "toolCall" => Key::Is(Part::OwnTool),
                    "partMetadata" | "videoMetadata" | "mediaResolution" => Key::Aside,
                    _ => Key::Is(Part::Content),
                })
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

/// Whether a string says anything, without keeping it.
struct Filled(bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Filled;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E>(self, text: &str) -> Result<Filled, E> {
                Ok(Filled(!text.is_empty()))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}
