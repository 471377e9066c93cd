//! A same-dialect stream or answer in passing: usage, finish and faults, without building a tree.
//!
//! Every Gemini chunk carries usage, so every chunk is read; but only its bones and its text: the rest is validated and
//! skipped.

use super::stream_decode::read_residue;
use super::usage::Counts;
use super::words::{Enumeration, finish_reason};
use crate::shown::{Obstacle, Shown};
use crate::sse::Frame;
use crate::{Sniffed, Sniffer, StreamEnd};
use canon::{FinishReason, Tag};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What was learned so far.
#[derive(Debug, Default)]
pub(super) struct GeminiSniffer {
    model_told: bool,
    blocked: bool,
    failed: bool,
    candidates: Vec<Progress>,
    shown: Option<Box<Shown>>,
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
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Word<'a>>,
    #[serde(borrow, default)]
    continuation_token: Option<Word<'a>>,
    #[serde(default)]
    citation_metadata: Option<IgnoredAny>,
    #[serde(default)]
    grounding_metadata: Option<IgnoredAny>,
    #[serde(default)]
    logprobs_result: Option<IgnoredAny>,
    #[serde(default)]
    index: Option<u32>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Option<Vec<Piece<'a>>>,
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

/// A part, and what of it is recorded.
struct Piece<'a> {
    is: Part,
    text: Option<Cow<'a, str>>,
    call: Option<&'a RawValue>,
    signed: bool,
    media: bool,
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

    fn record(&mut self) {
        self.shown.get_or_insert_with(|| Box::new(Shown::with_room()));
    }

    fn stop_recording(&mut self) {
        self.shown = None;
    }

    fn shown(&self) -> Option<&Shown> {
        self.shown.as_deref()
    }

    fn shown_mut(&mut self) -> Option<&mut Shown> {
        self.shown.as_deref_mut()
    }
}

impl GeminiSniffer {
    fn bytes(&mut self, data: &[u8]) -> Sniffed {
        let first = data.iter().find(|b| !b.is_ascii_whitespace());
        if first == Some(&b'[') {
            // One JSON array, or an error wrapped in one.
            let Ok(chunks) = serde_json::from_slice::<Vec<Chunk<'_>>>(data) else { return nothing(true) };
            let all = chunks.into_iter().map(|chunk| self.chunk(chunk, data));
            return all.reduce(merge).unwrap_or_else(|| nothing(false));
        }
        match serde_json::from_slice::<Chunk<'_>>(data) {
            Ok(chunk) => self.chunk(chunk, data),
            Err(_) => nothing(true),
        }
    }

    fn chunk(&mut self, chunk: Chunk<'_>, data: &[u8]) -> Sniffed {
        let mut out = nothing(false);
        if let Some(error) = chunk.error {
            self.failed = true;
            out.tag = Some(Tag::Fault);
            out.error = Some(error);
            return out;
        }
        if let Some(shown) = self.shown.as_deref_mut().filter(|shown| !shown.begun) {
            shown.name(response_id(data).as_deref(), chunk.model_version.as_deref(), None);
            shown.begun = true;
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
            if let Some(shown) = self.shown.as_deref_mut() {
                shown.hinder(Obstacle::Refusal);
            }
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
        progress.called |= parts.iter().any(|part| part.is == Part::Call);
        let pending = parts.last().is_some_and(|part| part.is == Part::OwnTool);
        if let Some(Word(word)) = &candidate.finish_reason
            && !(pending && word == "STOP")
        {
            progress.finished = true;
            out.finish = Some((finish_reason(word, progress.called), word.clone().into_owned()));
        }
        let finished = progress.finished;
        if let Some(shown) = self.shown.as_deref_mut() {
            shown.finished = finished;
            show(candidate, parts, shown);
        }
        parts.iter().map(|part| part.is).max().unwrap_or(Part::Nothing)
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

/// The id of the answer, which every chunk has and one is read for.
fn response_id(data: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head<'a> {
        #[serde(borrow)]
        response_id: Option<Word<'a>>,
    }
    let head: Option<Head<'_>> = match serde_json::from_slice(data) {
        Ok(head) => Some(head),
        Err(_) => serde_json::from_slice::<Vec<Head<'_>>>(data).ok().and_then(|chunks| chunks.into_iter().next()),
    };
    head?.response_id.map(|word| word.0)
}

/// Records what a candidate shows.
fn show(candidate: &Candidate<'_>, parts: &[Piece<'_>], shown: &mut Shown) {
    if !shown.is_first(candidate.index.unwrap_or(0)) {
        return;
    }
    for part in parts {
        shown.signed |= part.signed;
        match part.is {
            Part::Content if part.media => shown.hinder(Obstacle::Media),
            Part::Content => match part.text.as_deref() {
                None | Some("") => shown.hinder(Obstacle::Opaque),
                Some(text) => shown.text.push_str(text),
            },
            Part::Thought => shown.reasoning = true,
            Part::Call => show_call(part.call, shown),
            Part::OwnTool => shown.hinder(Obstacle::Opaque),
            Part::Nothing | Part::Signature => {}
        }
    }
    if let Some(Word(token)) = candidate.continuation_token.as_ref().filter(|token| !token.0.is_empty()) {
        shown.continuation_token = Some(token.clone().into_owned());
    }
    let obstacles = [
        (candidate.citation_metadata.is_some() || candidate.grounding_metadata.is_some(), Obstacle::Citations),
        (candidate.logprobs_result.is_some(), Obstacle::Logprobs),
    ];
    for (_, obstacle) in obstacles.into_iter().filter(|(found, _)| *found) {
        shown.hinder(obstacle);
    }
}

/// Records a call, or a piece of one whose arguments are streamed.
fn show_call(call: Option<&RawValue>, shown: &mut Shown) {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Call {
        name: Option<IgnoredAny>,
        will_continue: Option<bool>,
    }
    let call: Call = call.and_then(|call| serde_json::from_str(call.get()).ok()).unwrap_or_default();
    shown.tool_calls = shown.tool_calls.saturating_add(u32::from(call.name.is_some()));
    shown.open_call = call.will_continue == Some(true);
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

impl<'de: 'a, 'a> Deserialize<'de> for Piece<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Piece<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Piece<'de>, A::Error> {
                let mut piece = Piece { is: Part::Nothing, text: None, call: None, signed: false, media: false };
                let mut thought = false;
                while let Some(key) = map.next_key::<Key>()? {
                    let found = match key {
                        Key::Text => {
                            piece.text = map.next_value::<Option<Text<'de>>>()?.map(|text| text.0);
                            let filled = piece.text.as_ref().is_some_and(|text| !text.is_empty());
                            filled.then_some(Part::Content)
                        }
                        Key::Thought => {
                            thought = map.next_value::<Option<bool>>()?.unwrap_or(false);
                            None
                        }
                        Key::Call => {
                            piece.call = map.next_value::<Option<&'de RawValue>>()?;
                            piece.call.map(|_| Part::Call)
                        }
                        Key::Is(kind) => map.next_value::<Option<IgnoredAny>>()?.map(|_| kind),
                        Key::Media => map.next_value::<Option<IgnoredAny>>()?.map(|_| {
                            piece.media = true;
                            Part::Content
                        }),
                        Key::Aside => map.next_value::<IgnoredAny>().map(|_| None)?,
                    };
                    piece.signed |= found == Some(Part::Signature);
                    piece.is = piece.is.max(found.unwrap_or(Part::Nothing));
                }
                if thought && piece.is == Part::Content {
                    piece.is = Part::Thought;
                }
                Ok(piece)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// A key of a part.
enum Key {
    Text,
    Thought,
    Call,
    Media,
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
                    "functionCall" => Key::Call,
                    "inlineData" => Key::Media,
                    "executableCode" | "toolCall" => Key::Is(Part::OwnTool),
                    "partMetadata" | "videoMetadata" | "mediaResolution" => Key::Aside,
                    _ => Key::Is(Part::Content),
                })
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

/// A text, borrowed where it holds no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}
