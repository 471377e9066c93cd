//! The faults of a body, applied event by event, so that the same code breaks simulated answers and real ones.

use crate::cut::{Cut, CutBy, CutPoint};
use crate::error;
use crate::fault::FaultKind;
use crate::frame::{Frame, FrameKind};
use crate::sever::{Severed, Severing, sever_whole};
use crate::steps::{Chunk, FLUSH, Step};
use bytes::Bytes;
use canon::DialectName;
use std::time::Duration;

/// Applies the faults drawn for one answer.
#[derive(Debug)]
pub(crate) struct Tamper {
    dialect: DialectName,
    faults: Vec<FaultKind>,
    content: u32,
    arguments: u32,
    malformed_sent: bool,
    severing: Severing,
    is_slow: bool,
    ended: bool,
}

impl Tamper {
    pub(crate) fn new(dialect: DialectName, faults: &[FaultKind]) -> Self {
        Self {
            dialect,
            faults: faults.to_vec(),
            content: 0,
            arguments: 0,
            malformed_sent: false,
            severing: Severing::new(dialect, faults),
            is_slow: faults.contains(&FaultKind::HalfSpeed),
            ended: false,
        }
    }

    /// Whether tokens come at half the pace from here on.
    pub(crate) fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// Whether nothing that follows matters any more.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// The steps that one event of the stream becomes.
    pub(crate) fn event(&mut self, frame: &Frame, out: &mut Vec<Step>) {
        for place in 0..self.faults.len() {
            if let Some(fault) = self.faults.get(place).copied()
                && !self.ended
            {
                self.strike(fault, frame, out);
            }
        }
        if self.ended {
            return;
        }
        match self.severing.event(frame, out) {
            Severed::No => self.emit(frame, out),
            Severed::Slowed => self.is_slow = true,
            Severed::Ended => {
                self.ended = true;
                return;
            }
        }
        self.content += u32::from(frame.kind.is_content());
        self.arguments += u32::from(frame.kind == FrameKind::ToolArguments);
    }

    /// The steps at the clean end of the stream: a fault that had no chance yet strikes now.
    pub(crate) fn end(&mut self, out: &mut Vec<Step>) {
        let end = Frame::new(FrameKind::Finish, Bytes::new());
        for fault in std::mem::take(&mut self.faults) {
            if !self.ended && !matches!(fault, FaultKind::MalformedEvent { .. }) {
                self.strike(fault, &end, out);
            }
        }
        self.ended = true;
    }

    fn strike(&mut self, fault: FaultKind, frame: &Frame, out: &mut Vec<Step>) {
        let is_due = |after: u32| {
            (self.content >= after && frame.kind.is_content())
                || matches!(frame.kind, FrameKind::Finish | FrameKind::Tail)
        };
        let last = match fault {
            FaultKind::EmptyStream => vec![],
            FaultKind::ErrorBeforeContent => vec![error_event(self.dialect)],
            FaultKind::ErrorAfterPrelude if !matches!(frame.kind, FrameKind::Prelude | FrameKind::Other) => {
                vec![error_event(self.dialect)]
            }
            FaultKind::CutMidText { cut: Cut { at: CutPoint::Events(after), by, .. } } if is_due(after) => {
                if by == CutBy::Slow {
                    self.is_slow = true;
                    return;
                }
                ending(self.dialect, by)
            }
            FaultKind::CutInsideEvent { after } if is_due(after) => cut(half(&frame.bytes)),
            FaultKind::CutMidToolCall if self.cuts_call(frame) => {
                let is_whole = self.dialect == DialectName::Gemini && frame.kind == FrameKind::ToolArguments;
                cut(if is_whole { within_call(&frame.bytes) } else { Bytes::new() })
            }
            FaultKind::Stall { after } if is_due(after) => vec![Step::Hang],
            FaultKind::StallWithKeepalives { after, every } if is_due(after) => {
                vec![Step::KeepAlive { bytes: keep_alive(self.dialect), every }]
            }
            FaultKind::MalformedEvent { after } if !self.malformed_sent && is_due(after) => {
                self.malformed_sent = true;
                out.push(Step::Data(Chunk::bare(b"data: {\"choices\": [{\"del\n\n".as_slice(), 1)));
                return;
            }
            _ => return,
        };
        out.extend(last);
        self.ended = true;
    }

    /// A call is cut after the first piece of its arguments; an answer without calls before its finish.
    fn cuts_call(&self, frame: &Frame) -> bool {
        match frame.kind {
            FrameKind::ToolArguments => self.arguments > 0 || self.dialect == DialectName::Gemini,
            FrameKind::Finish | FrameKind::Tail => true,
            FrameKind::Other | FrameKind::ToolStart => self.arguments > 0,
            FrameKind::Prelude | FrameKind::Reasoning | FrameKind::Text => false,
        }
    }

    fn emit(&self, frame: &Frame, out: &mut Vec<Step>) {
        let has = |fault: FaultKind| self.faults.contains(&fault);
        if has(FaultKind::MissingTerminator) && matches!(frame.kind, FrameKind::Finish | FrameKind::Tail) {
            return;
        }
        let mut bytes = frame.bytes.clone();
        if self.content == 0
            && frame.kind.is_content()
            && let Some(size) = self.faults.iter().find_map(|fault| match fault {
                FaultKind::HugeEvent { bytes } => Some(*bytes as usize),
                _ => None,
            })
        {
            bytes = padded(&bytes, size);
        }
        let chunk = Chunk { bytes: bytes.clone(), events: 1, text: frame.text, tokens: frame.tokens };
        if has(FaultKind::SplitUtf8) {
            split(chunk, out);
        } else {
            out.push(Step::Data(chunk));
        }
        if has(FaultKind::DuplicateFinish) && frame.kind == FrameKind::Finish {
            out.push(Step::Data(Chunk::bare(bytes, 1)));
        }
    }

    /// The steps of an answer that is not streamed.
    ///
    /// `said` is the body, with what the journal is to know of it.
    pub(crate) fn whole(&mut self, said: &Chunk, out: &mut Vec<Step>) {
        let mut body = said.bytes.clone();
        for fault in std::mem::take(&mut self.faults) {
            let last = match fault {
                FaultKind::EmptyStream => vec![],
                FaultKind::CutMidText { cut } => match sever_whole(self.dialect, cut, said) {
                    Some(steps) => steps,
                    None => continue,
                },
                FaultKind::CutMidToolCall | FaultKind::CutInsideEvent { .. } => cut(half(&body)),
                FaultKind::Stall { .. } => vec![Step::Data(Chunk::bare(half(&body), 0)), Step::Hang],
                FaultKind::StallWithKeepalives { every, .. } => {
                    vec![Step::KeepAlive { bytes: Bytes::from_static(b"\n"), every }]
                }
                FaultKind::MissingTerminator => vec![Step::Data(Chunk::bare(half(&body), 0))],
                FaultKind::MalformedEvent { .. } => {
                    let mut broken = half(&body).to_vec();
                    broken.extend_from_slice(b"}, {\"choices\": [{\"del");
                    vec![Step::Data(Chunk::bare(broken, 0))]
                }
                FaultKind::HugeEvent { bytes } => {
                    body = padded(&body, bytes as usize);
                    continue;
                }
                FaultKind::SplitUtf8 => {
                    let mut steps = Vec::new();
                    split(Chunk { bytes: body.clone(), ..said.clone() }, &mut steps);
                    steps
                }
                _ => continue,
            };
            out.extend(last);
            return;
        }
        out.push(Step::Data(Chunk { bytes: body, ..said.clone() }));
    }
}

/// What follows the last byte before a cut.
pub(crate) fn ending(dialect: DialectName, by: CutBy) -> Vec<Step> {
    match by {
        CutBy::Drop => cut(Bytes::new()),
        CutBy::Reset => vec![Step::Wait(FLUSH), Step::Break { is_reset: true }],
        CutBy::Hang => vec![Step::Hang],
        CutBy::Error => vec![error_event(dialect)],
        CutBy::Close | CutBy::Slow => vec![],
    }
}

/// What an answer that is not streamed does instead of a fault that only streams can have.
pub(crate) fn as_whole(fault: FaultKind) -> FaultKind {
    match fault {
        FaultKind::ErrorBeforeContent
        | FaultKind::ErrorAfterPrelude
        | FaultKind::CutMidText { cut: Cut { by: CutBy::Error, .. } } => FaultKind::ErrorIn200,
        other => other,
    }
}

fn error_event(dialect: DialectName) -> Step {
    Step::Data(Chunk::bare(error::in_stream(dialect), 1))
}

fn cut(before: Bytes) -> Vec<Step> {
    let mut steps = Vec::new();
    if !before.is_empty() {
        steps.push(Step::Data(Chunk::bare(before, 0)));
    }
    steps.extend([Step::Wait(FLUSH), Step::Break { is_reset: false }]);
    steps
}

pub(crate) fn half(bytes: &Bytes) -> Bytes {
    bytes.slice(..bytes.len() / 2)
}

/// The event of a whole call, up to the first bytes of its arguments.
fn within_call(bytes: &Bytes) -> Bytes {
    const ARGUMENTS: &[u8] = b"\"args\":";
    match bytes.windows(ARGUMENTS.len()).position(|window| window == ARGUMENTS) {
        Some(at) => bytes.slice(..(at + ARGUMENTS.len() + 1).min(bytes.len())),
        None => half(bytes),
    }
}

fn keep_alive(dialect: DialectName) -> Bytes {
    Bytes::from_static(match dialect {
        DialectName::AnthropicMessages => b"event: ping\ndata: {\"type\":\"ping\"}\n\n",
        DialectName::OpenaiChat | DialectName::Gemini => b": keep-alive\n\n",
    })
}

/// The same JSON, made `size` bytes longer by white space after its first brace.
fn padded(bytes: &Bytes, size: usize) -> Bytes {
    let Some(brace) = bytes.iter().position(|byte| *byte == b'{') else {
        return bytes.clone();
    };
    let mut long = Vec::with_capacity(bytes.len() + size);
    long.extend_from_slice(&bytes.slice(..=brace));
    long.resize(long.len() + size, b' ');
    long.extend_from_slice(&bytes.slice(brace + 1..));
    long.into()
}

/// Chunks that end after the first byte of each character of several.
fn split(mut chunk: Chunk, out: &mut Vec<Step>) {
    while let Some(lead) = chunk.bytes.iter().position(|byte| *byte >= 0xC0) {
        let first = chunk.bytes.split_to(lead + 1);
        out.extend([Step::Data(Chunk::bare(first, 0)), Step::Wait(Duration::from_millis(1))]);
    }
    out.push(Step::Data(chunk));
}
