//! What a simulated provider saw and did, request by request: the witness tests ask.

use crate::steps::Chunk;
use crate::telling::{Form, Telling};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Older entries are forgotten beyond this many.
const CAPACITY: usize = 8192;
/// Longer ids and paths are cut, so that an entry has a bound too.
const LONGEST_ID: usize = 128;
const LONGEST_PATH: usize = 1024;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum Ended {
    /// It has not.
    Open,
    /// With its last byte, a fault's last byte included.
    Complete {
        /// Since the simulator was made.
        at: Duration,
    },
    /// By a fault that broke the connection.
    Broken {
        /// Since the simulator was made.
        at: Duration,
    },
    /// The client hung up.
    Cancelled {
        /// Since the simulator was made.
        at: Duration,
    },
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// Requests before this one.
    pub ordinal: u64,
    /// When its head arrived, since the simulator was made.
    pub at: Duration,
    /// The id the caller gave it: `x-mainstay-attempt`, else `x-request-id`, else `x-client-request-id`, else
    /// `idempotency-key`; its first 128 characters.
    pub request_id: Option<String>,
    /// Method and path, at most 1,024 characters of it.
    pub path: String,
    /// The model it names, once the body is read.
    pub model: Option<String>,
    /// The faults applied, in their one-line form.
    pub faults: Vec<String>,
    /// The status answered; `None` when no head was sent.
    pub status: Option<u16>,
    /// Events of the stream sent whole.
    pub events: u64,
    /// Bytes of the body sent.
    pub bytes: u64,
    /// Bytes of the answer's text sent, unescaped, reasoning and tool calls left out; of an answer that is not
    /// streamed, only if it was sent whole or cut within its text.
    pub text: u64,
    /// Billed tokens of the prompt; 0 until a model works on it.
    pub prompt_tokens: u64,
    /// Billed tokens of output, reasoning included: of a stream what was sent, of a whole answer all of it once its
    /// first byte was sent.
    pub output_tokens: u64,
    /// Bytes of the request body.
    pub received: u64,
    /// How it ended.
    pub ended: Ended,
}

/// The entries of one simulator.
#[derive(Debug)]
pub(crate) struct Journal {
    started: Instant,
    entries: Mutex<VecDeque<Entry>>,
}

impl Journal {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), entries: Mutex::new(VecDeque::new()) })
    }

    /// Time since the simulator was made.
    pub(crate) fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.started)
    }

    /// A copy of every entry, oldest first.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Takes the entries that have ended, oldest first.
    pub(crate) fn take(&self) -> Vec<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (open, ended) = entries.drain(..).partition(|entry| entry.ended == Ended::Open);
        *entries = open;
        let ended: VecDeque<Entry> = ended;
        ended.into()
    }

    /// Forgets the entries; ordinals go on.
    pub(crate) fn clear(&self) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Opens an entry.
    pub(crate) fn open(
        self: &Arc<Self>,
        ordinal: u64,
        request_id: Option<&str>,
        path: &str,
        faults: Vec<String>,
    ) -> Record {
        let entry = Entry {
            ordinal,
            at: self.elapsed(),
            request_id: request_id.map(|id| id.chars().take(LONGEST_ID).collect()),
            path: path.chars().take(LONGEST_PATH).collect(),
            model: None,
            faults,
            status: None,
            events: 0,
            bytes: 0,
            text: 0,
            prompt_tokens: 0,
            output_tokens: 0,
            received: 0,
            ended: Ended::Open,
        };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= CAPACITY {
            entries.pop_front();
        }
        entries.push_back(entry);
        Record { journal: Arc::clone(self), ordinal, is_open: true, telling: None }
    }

    /// Writes down the status of an answer.
    pub(crate) fn status(&self, ordinal: u64, status: u16) {
        self.update(ordinal, |entry| entry.status = Some(status));
    }

    fn update(&self, ordinal: u64, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Entries lie in the order of their ordinals but for requests that arrive at the same moment.
        // Those that were taken leave gaps before the open ones.
        let place = entries.front().and_then(|first| usize::try_from(ordinal.checked_sub(first.ordinal)?).ok());
        let is_there = place.and_then(|place| entries.get(place)).is_some_and(|entry| entry.ordinal == ordinal);
        let place = if is_there { place } else { entries.iter().position(|entry| entry.ordinal == ordinal) };
        if let Some(entry) = place.and_then(|place| entries.get_mut(place)) {
            change(entry);
        }
    }
}

/// The open entry of one request. Dropped before its end, the client hung up.
pub(crate) struct Record {
    journal: Arc<Journal>,
    ordinal: u64,
    is_open: bool,
    /// Where a history is written of this request.
    telling: Option<Box<Telling>>,
}

impl Record {
    pub(crate) fn update(&self, change: impl FnOnce(&mut Entry)) {
        self.journal.update(self.ordinal, change);
    }

    /// With a history of it.
    pub(crate) fn told(self, telling: Option<Telling>) -> Self {
        let mut record = self;
        record.telling = telling.map(Box::new);
        record
    }

    /// A model reads a prompt of so many tokens.
    pub(crate) fn works(&mut self, prompt_tokens: u64) {
        self.update(|entry| entry.prompt_tokens = prompt_tokens);
        if let Some(telling) = &mut self.telling {
            telling.works(prompt_tokens);
        }
    }

    /// An answer begins in this form.
    pub(crate) fn begins(&mut self, form: Form) {
        if let Some(telling) = &mut self.telling {
            telling.begins(form);
        }
    }

    pub(crate) fn sent(&mut self, chunk: &Chunk) {
        if let Some(telling) = &mut self.telling {
            telling.sent(chunk);
        }
        self.update(|entry| {
            entry.bytes += chunk.bytes.len() as u64;
            entry.events += u64::from(chunk.events);
            entry.text += chunk.text as u64;
            entry.output_tokens += u64::from(chunk.tokens);
        });
    }

    pub(crate) fn complete(&mut self) {
        let at = self.journal.elapsed();
        self.end(Ended::Complete { at });
    }

    pub(crate) fn broken(&mut self) {
        let at = self.journal.elapsed();
        self.end(Ended::Broken { at });
    }

    fn end(&mut self, ended: Ended) {
        if std::mem::take(&mut self.is_open) {
            self.update(|entry| entry.ended = ended);
            if let Some(telling) = &mut self.telling {
                telling.ended(ended);
            }
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let at = self.journal.elapsed();
        self.end(Ended::Cancelled { at });
    }
}
