//! Cuts at an exact place: after so many bytes of the body, or of the answer's text, reasoning or arguments.

use crate::cut::{Cut, CutBy, CutPoint};
use crate::fault::FaultKind;
use crate::frame::{Frame, FrameKind};
use crate::steps::{Chunk, Step};
use crate::tamper::{ending, half};
use crate::tear::{Strand, Torn};
use bytes::Bytes;
use canon::DialectName;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severed {
    /// It is still to be sent, whole.
    No,
    /// It was sent, and tokens come at half the pace from here on.
    Slowed,
    /// Its part before the cut was sent, and what the cut does.
    Ended,
}

/// Bytes and characters of a text that went by.
#[derive(Debug, Clone, Copy, Default)]
struct Passed {
    bytes: usize,
    characters: usize,
}

impl Passed {
    fn add(&mut self, text: &str) {
        self.bytes += text.len();
        self.characters += text.chars().count();
    }
}

/// The cuts within a text that one stream is to suffer.
#[derive(Debug)]
pub(crate) struct Severing {
    dialect: DialectName,
    cuts: Vec<(Cut, Passed)>,
}

impl Severing {
    pub(crate) fn new(dialect: DialectName, faults: &[FaultKind]) -> Self {
        let cuts = faults.iter().filter_map(|fault| match fault {
            FaultKind::CutMidText { cut } if counted(*cut).is_some() => Some((*cut, Passed::default())),
            _ => None,
        });
        Self { dialect, cuts: cuts.collect() }
    }

    /// Sends what is left of an event that a cut falls into.
    pub(crate) fn event(&mut self, frame: &Frame, out: &mut Vec<Step>) -> Severed {
        for place in 0..self.cuts.len() {
            let Some((cut, passed)) = self.cuts.get_mut(place) else { break };
            let Some(strand) = counted(*cut).filter(|strand| may_hold(frame.kind, *strand)) else { continue };
            let Some(torn) = Torn::of_event(self.dialect, strand, &frame.bytes) else { continue };
            let Some(at) = within(*cut, &torn.text, *passed) else {
                passed.add(&torn.text);
                continue;
            };
            let part = Part { torn, at, is_text: strand == Strand::Text, tokens: frame.tokens };
            let (cut, _) = self.cuts.remove(place);
            if cut.by == CutBy::Slow {
                part.slowed(cut.torn, out);
                return Severed::Slowed;
            }
            let is_open = part.begun(cut.torn, out);
            if is_open && cut.by == CutBy::Error {
                out.push(Step::Data(Chunk::bare(END_OF_EVENT, 1)));
            }
            out.extend(ending(self.dialect, cut.by));
            return Severed::Ended;
        }
        Severed::No
    }
}

/// An error is an event of its own, behind one that was left without its end.
const END_OF_EVENT: &[u8] = b"\n\n";

/// An event and the place of the cut in its text.
struct Part {
    torn: Torn,
    at: usize,
    is_text: bool,
    tokens: u32,
}

impl Part {
    fn chunk(&self, bytes: Bytes, events: u32, text: usize, tokens: u32) -> Step {
        Step::Data(Chunk { bytes, events, text: if self.is_text { text } else { 0 }, tokens })
    }

    /// What comes before the cut; true: the last event of it has no end.
    fn begun(&self, is_torn: bool, out: &mut Vec<Step>) -> bool {
        let Self { torn, at, tokens, .. } = self;
        let is_whole = *at == torn.text.len() && !is_torn;
        let divides = torn.is_divisible() && !is_torn;
        let middle = if is_whole {
            *at
        } else if divides {
            torn.boundary(*at)
        } else {
            0
        };
        let mut tokens = if *at > 0 { *tokens } else { 0 };
        if middle > 0 {
            out.push(self.chunk(torn.event(0, middle), 1, middle, std::mem::take(&mut tokens)));
        }
        let is_open = *at > middle || (!divides && !is_whole);
        if is_open {
            out.push(self.chunk(torn.up_to(middle, *at), 0, at - middle, tokens));
        }
        is_open
    }

    /// All of it, divided at the cut.
    fn slowed(&self, is_torn: bool, out: &mut Vec<Step>) {
        let Self { torn, at, tokens, .. } = self;
        let all = torn.text.len();
        let middle = torn.boundary(*at);
        if is_torn {
            let (first, whole) = (torn.up_to(0, *at), torn.event(0, all));
            let rest = whole.slice(first.len().min(whole.len())..);
            out.extend([self.chunk(first, 0, *at, *tokens), self.chunk(rest, 1, all - at, 0)]);
        } else if middle == 0 || middle == all || !torn.is_divisible() {
            out.push(self.chunk(torn.event(0, all), 1, all, *tokens));
        } else {
            let (first, rest) = (torn.event(0, middle), torn.event(middle, all));
            out.extend([self.chunk(first, 1, middle, *tokens), self.chunk(rest, 1, all - middle, 0)]);
        }
    }
}

/// The steps of an answer that is not streamed, if the cut falls into it; `said` is the whole of it.
pub(crate) fn sever_whole(dialect: DialectName, cut: Cut, said: &Chunk) -> Option<Vec<Step>> {
    if cut.by == CutBy::Slow {
        return None;
    }
    let begun = |chunk: Chunk| Some([vec![Step::Data(chunk)], ending(dialect, cut.by)].concat());
    let Some(strand) = counted(cut) else {
        // The bytes of a body are counted where they leave.
        let is_half = matches!(cut.at, CutPoint::Events(_));
        return if is_half { begun(Chunk { tokens: said.tokens, ..Chunk::bare(half(&said.bytes), 0) }) } else { None };
    };
    let mut passed = Passed::default();
    for torn in Torn::of_whole(dialect, strand, &said.bytes) {
        if let Some(at) = within(cut, &torn.text, passed) {
            let text = if strand == Strand::Text { passed.bytes + at } else { 0 };
            return begun(Chunk { bytes: torn.up_to(0, at), events: 0, text, tokens: said.tokens });
        }
        passed.add(&torn.text);
    }
    None
}

/// The text that a cut counts.
fn counted(cut: Cut) -> Option<Strand> {
    match cut.at {
        CutPoint::Text(_) => Some(Strand::Text),
        CutPoint::Reasoning(_) => Some(Strand::Reasoning),
        CutPoint::Arguments(_) => Some(Strand::Arguments),
        CutPoint::Events(_) | CutPoint::Wire(_) => None,
    }
}

fn may_hold(kind: FrameKind, strand: Strand) -> bool {
    match strand {
        Strand::Text => kind == FrameKind::Text,
        Strand::Reasoning => kind == FrameKind::Reasoning,
        Strand::Arguments => kind == FrameKind::ToolArguments,
    }
}

fn within(cut: Cut, text: &str, passed: Passed) -> Option<usize> {
    match cut.at {
        CutPoint::Text(count) | CutPoint::Reasoning(count) | CutPoint::Arguments(count) => {
            count.within(text, passed.bytes, passed.characters)
        }
        CutPoint::Events(_) | CutPoint::Wire(_) => None,
    }
}

/// Cuts a body after an exact count of its bytes, compression and all, wherever that falls.
#[derive(Debug)]
pub(crate) struct WireCut {
    dialect: DialectName,
    by: CutBy,
    left: usize,
    /// The bytes before end an event.
    is_between: bool,
    is_past: bool,
}

impl WireCut {
    /// The first such cut among the faults.
    pub(crate) fn new(dialect: DialectName, faults: &[FaultKind]) -> Option<Self> {
        faults.iter().find_map(|fault| match fault {
            FaultKind::CutMidText { cut: Cut { at: CutPoint::Wire(bytes), by, .. } } => {
                Some(Self { dialect, by: *by, left: *bytes as usize, is_between: true, is_past: false })
            }
            _ => None,
        })
    }

    /// Whether nothing that follows matters any more.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_past && self.by != CutBy::Slow
    }

    /// Whether tokens come at half the pace from here on.
    pub(crate) fn is_slow(&self) -> bool {
        self.is_past && self.by == CutBy::Slow
    }

    /// The same steps up to the cut, and what it does there.
    pub(crate) fn pass(&mut self, steps: Vec<Step>) -> Vec<Step> {
        let mut out = Vec::with_capacity(steps.len());
        for step in steps {
            match step {
                _ if self.is_ended() => break,
                Step::Wait(time) if self.is_slow() => out.push(Step::Wait(time * 2)),
                Step::Data(chunk) if !self.is_past => self.take(chunk, &mut out),
                other => out.push(other),
            }
        }
        out
    }

    fn take(&mut self, chunk: Chunk, out: &mut Vec<Step>) {
        let length = chunk.bytes.len();
        if length < self.left {
            self.left -= length;
            self.is_between = chunk.bytes.ends_with(END_OF_EVENT);
            out.push(Step::Data(chunk));
            return;
        }
        self.is_past = true;
        if self.by == CutBy::Slow {
            out.push(Step::Data(chunk));
            return;
        }
        let first = chunk.bytes.slice(..self.left);
        if !first.is_empty() {
            self.is_between = first.ends_with(END_OF_EVENT);
            // What an event says counts as said once all of it was sent.
            out.push(Step::Data(if self.left == length { chunk } else { Chunk::bare(first, 0) }));
        }
        if self.by == CutBy::Error && !self.is_between {
            out.push(Step::Data(Chunk::bare(END_OF_EVENT, 1)));
        }
        out.extend(ending(self.dialect, self.by));
    }
}
