//! What a stream or an answer of this dialect shows in passing, without building it.
//!
//! One pass of a typed reader over the frame both validates it and looks at the few fields that matter; nothing is
//! allocated for a content frame but the list of choices. Frames with usage or an error are read in full. What the
//! caller is shown is recorded from the same pass: the text as the reader meets it, the rest by looking closer at the
//! few frames that hold more than text.

use super::answer_decode::{json_start, usage_of};
use super::probe::{Probe, Said, Word};
use super::reasoning::{self, Details};
use super::stream_decode::{MOST_CANDIDATES, error_in, residue_error};
use super::{finish, usage};
use crate::profile::Profile;
use crate::shown::{Obstacle, Shown};
use crate::{Sniffed, Sniffer, StreamEnd, sse};
use canon::{FinishReason, Tag, Usage};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Watches one stream or one answer.
#[derive(Debug)]
pub(super) struct ChatSniffer {
    reasoning_outside_output: bool,
    usage: Usage,
    candidates: Vec<Candidate>,
    model_known: bool,
    failed: bool,
    /// A whole answer, not a stream: some providers send `message` and `delta` in both.
    whole: bool,
    shown: Option<Box<Shown>>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    index: u32,
    called: bool,
    refused: bool,
    finished: bool,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    error: Probe,
    x_groq: Option<IgnoredAny>,
    #[serde(borrow)]
    object: Word<'a>,
    #[serde(borrow)]
    model: Word<'a>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Choice<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    message: Option<Delta<'a>>,
    #[serde(borrow)]
    finish_reason: Word<'a>,
    logprobs: Probe,
    error: Probe,
    usage: Option<IgnoredAny>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Said<'a>,
    refusal: Probe,
    reasoning_content: Probe,
    reasoning: Probe,
    #[serde(borrow)]
    reasoning_details: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    function_call: Probe,
    images: Probe,
    audio: Probe,
    annotations: Probe,
}

impl Sniffed {
    fn blank() -> Self {
        Self {
            tag: None,
            only_usage: false,
            malformed: false,
            usage: None,
            finish: None,
            error: None,
            model: None,
            terminator: false,
        }
    }
}

impl ChatSniffer {
    pub(super) fn new(profile: &Profile) -> Self {
        Self {
            reasoning_outside_output: profile.reasoning_outside_output,
            usage: Usage::default(),
            candidates: Vec::new(),
            model_known: false,
            failed: false,
            whole: false,
            shown: None,
        }
    }

    fn look(&mut self, event: &[u8], data: &[u8]) -> Sniffed {
        let mut sniffed = Sniffed::blank();
        // The whole frame is checked for UTF-8 at once: strings that are skipped would not be.
        let Ok(chunk) = std::str::from_utf8(data).map_err(drop).and_then(parse) else {
            sniffed.malformed = true;
            return sniffed;
        };
        if !self.model_known
            && let Some(model) = chunk.model.0.as_deref().filter(|model| !model.is_empty())
        {
            self.model_known = true;
            sniffed.model = Some(model.to_owned());
        }
        let choices = chunk.choices.as_deref().unwrap_or_default();
        let may_fail = chunk.error != Probe::Nothing
            || chunk.x_groq.is_some()
            || choices.iter().any(|choice| choice.error != Probe::Nothing)
            || (chunk.choices.is_none() && (event == b"error" || chunk.object.0.as_deref() == Some("error")));
        let may_state_usage =
            chunk.usage.is_some() || chunk.x_groq.is_some() || choices.iter().any(|choice| choice.usage.is_some());
        let elsewhere = chunk.x_groq.is_some() || choices.iter().any(|choice| choice.usage.is_some());
        match chunk.usage {
            // The common case: usage in its usual place, and nothing else that needs the whole frame.
            Some(stated) if !may_fail && !elsewhere => self.take_usage(stated, &mut sniffed),
            _ if may_fail || may_state_usage => self.look_closely(event, data, &mut sniffed),
            _ => {}
        }
        let failed = sniffed.error.is_some();
        let mut tag = None;
        // A frame that reports a failure is not passed on.
        let mut shown = self.shown.take();
        let mut record = shown.as_deref_mut().filter(|_| !failed);
        if let Some(shown) = record.as_deref_mut().filter(|shown| !shown.begun) {
            name(shown, data, !choices.is_empty());
        }
        for (position, choice) in choices.iter().enumerate() {
            let seen = self.choice(position, choice, (data, record.as_deref_mut()), failed, &mut sniffed);
            tag = stronger(tag, seen);
        }
        self.shown = shown;
        sniffed.only_usage = choices.is_empty() && sniffed.usage.is_some() && !failed;
        sniffed.tag = Some(match tag {
            _ if failed => Tag::Fault,
            Some(tag) => tag,
            None if sniffed.finish.is_some() => Tag::Done,
            None if sniffed.only_usage => Tag::Usage,
            None => Tag::Prelude,
        });
        sniffed.terminator = sniffed.finish.is_some() && self.is_complete();
        sniffed
    }

    fn take_usage(&mut self, stated: &RawValue, sniffed: &mut Sniffed) {
        let empty = stated.get().trim_start_matches(['{', ' ']).starts_with('}');
        if let Ok(figures) = serde_json::from_str::<usage::Stated>(stated.get())
            && !empty
        {
            self.usage.update(&figures.settle(self.reasoning_outside_output));
            sniffed.usage = Some(self.usage.clone());
        }
    }

    /// Reads a frame in full: it states usage, or a failure.
    fn look_closely(&mut self, event: &[u8], data: &[u8], sniffed: &mut Sniffed) {
        let Ok(frame) = serde_json::from_slice::<Map<String, Value>>(data) else { return };
        if let Some(stated) = usage_of(&frame) {
            self.usage.update(&usage::decode(stated, self.reasoning_outside_output));
            sniffed.usage = Some(self.usage.clone());
        }
        sniffed.error = error_in(event, &frame);
        self.failed |= sniffed.error.is_some();
    }

    fn choice(
        &mut self,
        position: usize,
        choice: &Choice<'_>,
        (data, mut shown): (&[u8], Option<&mut Shown>),
        failed: bool,
        sniffed: &mut Sniffed,
    ) -> Option<Tag> {
        let index = choice.index.unwrap_or_else(|| u32::try_from(position).unwrap_or(u32::MAX));
        let known = self.candidates.iter().position(|candidate| candidate.index == index);
        if known.is_none() && self.candidates.len() < MOST_CANDIDATES {
            self.candidates.push(Candidate { index, called: false, refused: false, finished: false });
        }
        let place = known.unwrap_or(self.candidates.len() - 1);
        let candidate = self.candidates.get_mut(place).filter(|candidate| candidate.index == index)?;
        let mut tag = None;
        if let Some(shown) = shown.as_deref_mut()
            && shown.is_first(index)
            && choice.logprobs != Probe::Nothing
        {
            shown.hinder(Obstacle::Logprobs);
        }
        let mut shown = shown.filter(|_| index == 0);
        let (delta, message) = (choice.delta.as_ref(), choice.message.as_ref());
        if let Some(delta) = if self.whole { message.or(delta) } else { delta.or(message) } {
            candidate.called |= delta.calls();
            candidate.refused |= delta.refusal != Probe::Nothing;
            tag = match delta.content {
                Said::List => stronger(delta.tag(), list_content(data, position, shown.as_deref_mut())),
                Said::Nothing | Said::Text(_) | Said::Something => delta.tag(),
            };
            if let Some(shown) = shown.as_deref_mut() {
                delta.show(shown);
            }
        }
        let native = choice.finish_reason.0.as_deref().unwrap_or_default();
        if let Some(reason) = finish::decode(native).filter(|_| !failed && !candidate.finished) {
            candidate.finished = true;
            if let Some(shown) = shown {
                (shown.finished, shown.open_call) = (true, false);
            }
            let reason = finish::settle(reason, candidate.called, candidate.refused);
            sniffed.finish.get_or_insert_with(|| (reason, native.to_owned()));
        }
        tag
    }

    fn is_complete(&self) -> bool {
        !self.failed && !self.candidates.is_empty() && self.candidates.iter().all(|candidate| candidate.finished)
    }
}

fn parse(text: &str) -> Result<Chunk<'_>, ()> {
    serde_json::from_str(text).map_err(drop)
}

/// What shows more of the answer: content before calls before reasoning.
fn stronger(one: Option<Tag>, other: Option<Tag>) -> Option<Tag> {
    let rank = |tag: Option<Tag>| match tag {
        Some(Tag::Content) => 3,
        Some(Tag::Tool) => 2,
        Some(_) => 1,
        None => 0,
    };
    if rank(other) > rank(one) { other } else { one }
}

impl Delta<'_> {
    fn calls(&self) -> bool {
        self.tool_calls.is_some_and(is_filled_list) || self.function_call != Probe::Nothing
    }

    /// What it is, list content aside.
    fn tag(&self) -> Option<Tag> {
        let shown = [self.refusal, self.images, self.audio, self.annotations];
        let said = matches!(self.content, Said::Text(_) | Said::Something);
        if said || shown.iter().any(|probe| *probe != Probe::Nothing) {
            Some(Tag::Content)
        } else if self.calls() {
            Some(Tag::Tool)
        } else if self.thinks() {
            Some(Tag::Reasoning)
        } else {
            None
        }
    }

    fn thinks(&self) -> bool {
        self.reasoning_content != Probe::Nothing
            || self.reasoning != Probe::Nothing
            || self.reasoning_details.is_some_and(says_something)
    }

    /// Records what it shows, list content aside.
    fn show(&self, shown: &mut Shown) {
        if let Said::Text(text) = &self.content {
            shown.text.push_str(text);
        }
        if self.thinks() {
            shown.reasoning = true;
            shown.signed |= self.reasoning_details.is_some_and(is_signed);
        }
        if self.calls() {
            if let Some(calls) = self.tool_calls {
                count(calls, shown);
            }
            shown.tool_calls = shown.tool_calls.max(1);
            shown.open_call = true;
        }
        let obstacles = [
            (self.refusal != Probe::Nothing, Obstacle::Refusal),
            (self.images != Probe::Nothing || self.audio != Probe::Nothing, Obstacle::Media),
            (self.annotations != Probe::Nothing, Obstacle::Citations),
            (matches!(self.content, Said::Something), Obstacle::Opaque),
        ];
        for (_, obstacle) in obstacles.into_iter().filter(|(found, _)| *found) {
            shown.hinder(obstacle);
        }
    }
}

/// A piece of a tool call, as far as it says which.
#[derive(serde::Deserialize)]
struct Fragment<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// Counts the calls that pieces belong to. Without an index, the piece with the id is the first of its call.
fn count(calls: &RawValue, shown: &mut Shown) {
    let Ok(fragments) = serde_json::from_str::<Vec<Fragment<'_>>>(calls.get()) else {
        return shown.hinder(Obstacle::Opaque);
    };
    for fragment in fragments {
        match (fragment.index, fragment.id) {
            (Some(index), _) => shown.tool_calls = shown.tool_calls.max(index.saturating_add(1)),
            (None, Some(id)) if id.get() != "\"\"" => shown.tool_calls = shown.tool_calls.saturating_add(1),
            (None, _) => {}
        }
    }
}

fn is_filled_list(raw: &RawValue) -> bool {
    raw.get().strip_prefix('[').is_some_and(|rest| !rest.trim_ascii_start().starts_with(']'))
}

fn says_something(raw: &RawValue) -> bool {
    serde_json::from_str(raw.get()).is_ok_and(|probe: Probe| probe != Probe::Nothing)
}

/// Whether `reasoning_details` hold what must come back unaltered.
fn is_signed(raw: &RawValue) -> bool {
    let mut details = Details::default();
    details.add(serde_json::from_str(raw.get()).ok().as_ref());
    details.take_signature().is_some()
}

/// Records the head of the stream, which every frame before the first choice may state a part of.
fn name(shown: &mut Shown, data: &[u8], begins: bool) {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Head<'a> {
        #[serde(borrow)]
        id: Word<'a>,
        #[serde(borrow)]
        model: Word<'a>,
        created: Value,
    }
    let head: Head<'_> = serde_json::from_slice(data).unwrap_or_default();
    shown.name(head.id.0.as_deref(), head.model.0.as_deref(), head.created.as_i64());
    shown.begun = begins;
}

/// Reads the list content (Mistral) of one choice: what it is (reasoning, if it holds nothing but thinking).
fn list_content(data: &[u8], position: usize, mut shown: Option<&mut Shown>) -> Option<Tag> {
    let frame: Value = serde_json::from_slice(data).ok()?;
    let choice = frame.get("choices")?.get(position)?;
    let message = choice.get("delta").or_else(|| choice.get("message"))?;
    let mut tag = None;
    for chunk in message.get("content").and_then(Value::as_array).into_iter().flatten() {
        match (chunk.get("type").and_then(Value::as_str), chunk.get("text").and_then(Value::as_str)) {
            (Some("thinking"), _) => {
                tag = stronger(tag, Some(Tag::Reasoning));
                if let Some(shown) = shown.as_deref_mut() {
                    shown.reasoning |= !reasoning::thinking_chunk_text(chunk).is_empty();
                }
            }
            (Some("text"), Some("")) => {}
            (kind, text) => {
                tag = Some(Tag::Content);
                match (shown.as_deref_mut(), kind, text) {
                    (Some(shown), Some("text"), Some(text)) => shown.text.push_str(text),
                    (Some(shown), _, _) => shown.hinder(Obstacle::Opaque),
                    (None, _, _) => {}
                }
            }
        }
    }
    tag
}

impl Sniffer for ChatSniffer {
    fn sniff(&mut self, frame: &sse::Frame) -> Sniffed {
        let data = frame.data.trim_ascii();
        if data == b"[DONE]" {
            // Without a finish reason before it this ends a stream that failed: there is nothing to forward.
            let complete = self.is_complete();
            return Sniffed { tag: complete.then_some(Tag::Done), terminator: complete, ..Sniffed::blank() };
        }
        if data.is_empty() {
            return Sniffed::blank();
        }
        self.look(&frame.event, data)
    }

    /// `tag` is `None` when nothing was answered; `finish` then stays only if it says why (length, filter, failure).
    fn sniff_answer(&mut self, body: &[u8]) -> Sniffed {
        self.whole = true;
        let mut sniffed = self.look(b"", json_start(body));
        sniffed.only_usage = false;
        if sniffed.malformed || sniffed.error.is_some() {
            return sniffed;
        }
        if matches!(sniffed.tag, Some(Tag::Prelude | Tag::Usage | Tag::Done) | None) {
            sniffed.tag = None;
            let silent = |(reason, _): &(FinishReason, String)| match reason {
                FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Pause | FinishReason::Other => true,
                FinishReason::Length
                | FinishReason::ContextFull
                | FinishReason::ContentFilter
                | FinishReason::BrokenOutput
                | FinishReason::ProviderError => false,
            };
            sniffed.finish = sniffed.finish.filter(|finish| !silent(finish));
            sniffed.terminator = false;
        }
        sniffed
    }

    fn end(&mut self, residue: &[u8]) -> StreamEnd {
        for line in residue.split(|byte| *byte == b'\n' || *byte == b'\r') {
            let data = line.strip_prefix(b"data:").unwrap_or(line).trim_ascii();
            if data.starts_with(b"{")
                && let Some(error) = self.look(b"", data).error
            {
                return StreamEnd::Error(error);
            }
        }
        if let Some(error) = residue_error(residue) {
            return StreamEnd::Error(error);
        }
        if self.is_complete() { StreamEnd::Complete } else { StreamEnd::Incomplete }
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
