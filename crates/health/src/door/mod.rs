//! A door: so many may be in flight behind it, more wait in a bounded line, and who cannot be let in is told at once.
//!
//! Work that is begun and not finished in time is the most expensive way to fail: beyond what the targets can take at
//! once, everything becomes late together, callers give up and come again, and the overload outlasts its cause. So the
//! number in flight is bounded where requests come in, before anything is spent on them.
//!
//! While nobody waits and there is room, coming in is one exchange of a counter. What is waited with is the owner's
//! (`W`): a channel in the gateway, a number in a drill; the door hands it back with the news, and the owner tells it.

mod line;
#[cfg(test)]
mod tests;

use crate::lock;
use canon::{Instant, Priority};
use line::Line;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The latest stay has this part of the mean.
const LATEST: u64 = 16;

/// How many a door lets in, and how long others wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoorSettings {
    /// Most that are in flight.
    pub max_in_flight: usize,
    /// Most that wait; 0 = nobody waits.
    pub queue: usize,
    /// The longest wait. A line in which somebody has waited for so long in vain is overloaded.
    pub max_wait: Duration,
    /// The longest wait in an overloaded line.
    pub overload_wait: Duration,
}

impl DoorSettings {
    /// So many in flight; as many wait, for two seconds, and in overload for a quarter of one.
    pub fn of(max_in_flight: usize) -> Self {
        Self {
            max_in_flight,
            queue: max_in_flight,
            max_wait: Duration::from_secs(2),
            overload_wait: Duration::from_millis(250),
        }
    }
}

/// One who asks to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Who goes first.
    pub priority: Priority,
    /// After this, being let in is of no use.
    pub deadline: Instant,
}

/// A place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    priority: Priority,
    sequence: u64,
    until: Instant,
}

impl Ticket {
    /// When to give up: [`Door::leave`] then.
    pub fn until(&self) -> Instant {
        self.until
    }
}

/// What becomes of one who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// Let in: owes one [`Door::exit`].
    In,
    /// Waits, and is told by the door's news.
    Waits(Ticket),
    /// Not let in.
    Refused {
        /// When it may be worth coming back.
        retry_after: Duration,
    },
}

/// What becomes of one who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// Let in: owes one [`Door::exit`].
    In,
    /// Not let in.
    Refused {
        /// When it may be worth coming back.
        retry_after: Duration,
    },
}

/// What whoever called the door has to tell those who wait.
pub type News<W> = Vec<(W, Called)>;

/// A door, shared by all who come to it.
#[derive(Debug)]
pub struct Door<W> {
    max_in_flight: AtomicUsize,
    in_flight: AtomicUsize,
    waiting: AtomicUsize,
    /// Mean stay of those who left, µs; zero = unknown.
    stay: AtomicU64,
    line: Mutex<Line<W>>,
}

impl<W> Door<W> {
    /// An open door.
    pub fn new(settings: DoorSettings) -> Self {
        Self {
            max_in_flight: AtomicUsize::new(settings.max_in_flight),
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            stay: AtomicU64::new(0),
            line: Mutex::new(Line::new(settings)),
        }
    }

    /// Other settings from now on; who is in stays in, and who waits waits on.
    pub fn configure(&self, settings: DoorSettings) {
        lock(&self.line).settings = settings;
        self.max_in_flight.store(settings.max_in_flight, Ordering::SeqCst);
    }

    /// How many are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Comes in if that takes no waiting, and says whether.
    pub fn walk_in(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && self.take()
    }

    /// Asks to be let in. `waker` makes what the news is told with; it may be in the news that this call returns.
    pub fn enter(&self, asker: Asker, waker: impl FnOnce() -> W, now: Instant) -> (Entered, News<W>) {
        if self.walk_in() {
            return (Entered::In, Vec::new());
        }
        let mut news = Vec::new();
        let entered = self.stand_in_line(asker, waker, now, &mut news);
        (entered, news)
    }

    fn stand_in_line(&self, asker: Asker, waker: impl FnOnce() -> W, now: Instant, news: &mut News<W>) -> Entered {
        let mut line = lock(&self.line);
        self.serve(&mut line, now, news);
        if line.len() == 0 && self.take() {
            return Entered::In;
        }
        match line.enter(asker, waker(), self.pace(), now, news) {
            Ok(ticket) => {
                // Somebody who left meanwhile has looked for waiters before this one was to be seen.
                self.waiting.store(line.len(), Ordering::SeqCst);
                self.serve(&mut line, now, news);
                Entered::Waits(ticket)
            }
            Err(Called::In) => Entered::In,
            Err(Called::Refused { retry_after }) => Entered::Refused { retry_after },
        }
    }

    /// One who was let in leaves; `entered` is when that was, or `None` for one who has done nothing.
    pub fn exit(&self, entered: Option<Instant>, now: Instant) -> News<W> {
        if let Some(entered) = entered {
            self.learn(now.saturating_since(entered));
        }
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        let mut news = Vec::new();
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.serve(&mut lock(&self.line), now, &mut news);
        }
        news
    }

    /// One who waits gives up. `false` = it waits no longer: what became of it is in some news.
    pub fn leave(&self, ticket: &Ticket, now: Instant) -> bool {
        let mut line = lock(&self.line);
        let left = line.leave(ticket, now);
        self.waiting.store(line.len(), Ordering::SeqCst);
        left
    }

    /// A refusal as it would be now.
    pub fn refusal(&self) -> Called {
        lock(&self.line).refused(self.pace())
    }

    /// Those who have waited for too long go out, and as many come in as there is room for.
    fn serve(&self, line: &mut Line<W>, now: Instant, news: &mut News<W>) {
        let pace = self.pace();
        line.expire(pace, now, news);
        while line.len() > 0 && self.take() {
            match line.next(pace, now, news) {
                Some(waker) => news.push((waker, Called::In)),
                None => {
                    self.in_flight.fetch_sub(1, Ordering::SeqCst);
                }
            }
        }
        self.waiting.store(line.len(), Ordering::SeqCst);
    }

    /// Takes one of the places behind the door.
    fn take(&self) -> bool {
        let most = self.max_in_flight.load(Ordering::SeqCst);
        let one_more = |in_flight: usize| (in_flight < most).then_some(in_flight + 1);
        self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok()
    }

    fn learn(&self, stay: Duration) {
        let latest = u64::try_from(stay.as_micros()).unwrap_or(u64::MAX >> 1).max(1);
        let next = |mean: u64| {
            let moved = mean.saturating_sub(mean / LATEST).saturating_add(latest / LATEST).max(1);
            Some(if mean == 0 { latest } else { moved })
        };
        let _changed = self.stay.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The usual time between two that leave a full house.
    fn pace(&self) -> Option<Duration> {
        let stay = self.stay.load(Ordering::Relaxed);
        let most = u64::try_from(self.max_in_flight.load(Ordering::Relaxed)).unwrap_or(u64::MAX).max(1);
        (stay > 0).then(|| Duration::from_micros(stay / most))
    }
}
