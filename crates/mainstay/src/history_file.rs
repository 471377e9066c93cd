//! `--history FILE`: records go to a file, one JSON line each, and nobody waits for the disk.
//!
//! A bounded channel leads to one thread that writes. When the thread cannot keep up, records are dropped and counted,
//! and the log itself says how many are missing.

use history::{Event, GatewayEvent, Record, Recorder};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::{Duration, UNIX_EPOCH};
use tokio::time::Instant;

/// Records that may wait for the thread, some tens of megabytes.
const WAITING: usize = 1 << 17;
/// How long the end of the process waits for the last of them.
const LAST: Duration = Duration::from_secs(10);

/// A history in a file.
pub(crate) struct HistoryFile {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
    /// Unix time at the start, in microseconds; the monotonic clock counts from there.
    origin: u64,
    started: Instant,
}

enum Message {
    Record(Record),
    /// Everything before this is to be in the file when it is answered.
    Close(SyncSender<Result<(), String>>),
}

impl HistoryFile {
    /// Appends to this file.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>, String> {
        let told = |error: std::io::Error| format!("--history {}: {error}", path.display());
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(told)?;
        let (sender, receiver) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let origin = gateway::clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let history = Arc::new(Self {
            sender,
            lost: lost.clone(),
            origin: u64::try_from(origin.as_micros()).unwrap_or(u64::MAX),
            started: Instant::now(),
        });
        let (lost, clock) = (lost, Clock { origin: history.origin, started: history.started });
        let writer = Writer { file: BufWriter::new(file), lost, clock, failed: None };
        std::thread::Builder::new().name("history".to_owned()).spawn(move || writer.run(&receiver)).map_err(told)?;
        Ok(history)
    }

    /// The process that writes takes requests from now on.
    pub(crate) fn begin(&self) {
        self.record(None, Event::Gateway(GatewayEvent::Started {}));
    }

    /// Nothing is in flight any more.
    pub(crate) fn drained(&self) {
        self.record(None, Event::Gateway(GatewayEvent::Drained {}));
    }

    /// Waits until everything is in the file.
    pub(crate) fn close(&self) -> Result<(), String> {
        let (sender, closed) = sync_channel(1);
        self.sender.send(Message::Close(sender)).map_err(|_| "the history's thread is gone".to_owned())?;
        closed.recv_timeout(LAST).map_err(|_| "the history could not be written in time".to_owned())?
    }
}

impl Recorder for HistoryFile {
    fn now(&self) -> u64 {
        Clock { origin: self.origin, started: self.started }.now()
    }

    fn write(&self, record: Record) {
        match self.sender.try_send(Message::Record(record)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Clock {
    origin: u64,
    started: Instant,
}

impl Clock {
    fn now(self) -> u64 {
        self.origin.saturating_add(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

struct Writer {
    file: BufWriter<File>,
    lost: Arc<AtomicU64>,
    clock: Clock,
    /// The first error; after it nothing is written, and everything is counted as lost.
    failed: Option<String>,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        loop {
            let message = match receiver.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Disconnected) => return self.flush(),
                // What is there is shown to whoever reads along before the thread rests.
                Err(TryRecvError::Empty) => {
                    self.flush();
                    match receiver.recv_timeout(Duration::from_secs(3600)) {
                        Ok(message) => message,
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            };
            match message {
                Message::Record(record) => self.record(&record),
                Message::Close(closed) => {
                    self.tell_loss();
                    self.flush();
                    // Who asked may have stopped waiting.
                    let _ = closed.send(self.failed.clone().map_or(Ok(()), Err));
                }
            }
        }
    }

    fn record(&mut self, record: &Record) {
        if self.failed.is_some() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.tell_loss();
        self.line(record);
    }

    fn tell_loss(&mut self) {
        let lost = if self.failed.is_none() { self.lost.swap(0, Ordering::Relaxed) } else { 0 };
        if lost > 0 {
            self.line(&Record { at: self.clock.now(), id: None, event: Event::Lost(lost) });
        }
    }

    fn line(&mut self, record: &Record) {
        let written = serde_json::to_writer(&mut self.file, record).map_err(std::io::Error::from);
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        self.check(written);
    }

    fn flush(&mut self) {
        if self.failed.is_none() {
            let flushed = self.file.flush();
            self.check(flushed);
        }
    }

    fn check(&mut self, done: std::io::Result<()>) {
        if let Err(error) = done {
            tracing::error!(%error, "the history cannot be written: it ends here");
            self.failed = Some(format!("the history could not be written: {error}"));
        }
    }
}
