//! The line at a door: who is let in next, who is refused.
//!
//! A class for each priority; the greatest goes first. Within a class the oldest goes first while the class is well:
//! waiting is fair then. A class in which somebody has waited for the longest wait in vain, or would have to, is
//! overloaded until its line is empty. There the newest goes first, because the oldest is the one whose caller has
//! given up, or soon will; and nobody waits for longer than the short wait, because a line that stands does nothing but
//! make everybody late (after `CoDel` and adaptive LIFO: Nichols and Jacobson, "Controlling Queue Delay", ACM Queue
//! 2012; Maurer, "Fail at Scale", ACM Queue 2015). Classes are judged apart: that the low ones stand in line says
//! nothing about the high ones.

use super::{Asker, Called, DoorSettings, News, Ticket};
use canon::{Instant, Priority};
use std::collections::BTreeMap;
use std::time::Duration;

/// The shortest and the longest hint that a refusal gives: HTTP knows whole seconds, and nobody should plan further
/// ahead than a load lasts.
const LEAST_HINT: Duration = Duration::from_secs(1);
const LONGEST_HINT: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Waiting<W> {
    entered: Instant,
    /// The ticket's.
    until: Instant,
    waker: W,
}

/// Those of one priority, by the order in which they came.
#[derive(Debug)]
struct Class<W> {
    waiting: BTreeMap<u64, Waiting<W>>,
    /// Somebody has waited in vain, or would have, and since then there has been somebody in line.
    is_overloaded: bool,
}

/// All who wait.
#[derive(Debug)]
pub(super) struct Line<W> {
    pub(super) settings: DoorSettings,
    /// The lowest first.
    classes: [Class<W>; Priority::COUNT],
    sequence: u64,
}

impl<W> Class<W> {
    /// How long one may wait in it.
    fn longest_wait(&self, settings: &DoorSettings) -> Duration {
        if self.is_overloaded { settings.overload_wait.min(settings.max_wait) } else { settings.max_wait }
    }

    fn take(&mut self, sequence: u64) -> Option<Waiting<W>> {
        let taken = self.waiting.remove(&sequence);
        self.is_overloaded &= !self.waiting.is_empty();
        taken
    }

    fn oldest(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|(sequence, _)| *sequence)
    }

    fn newest(&self) -> Option<u64> {
        self.waiting.last_key_value().map(|(sequence, _)| *sequence)
    }
}

impl<W> Line<W> {
    pub(super) fn new(settings: DoorSettings) -> Self {
        let classes = std::array::from_fn(|_| Class { waiting: BTreeMap::new(), is_overloaded: false });
        Self { settings, classes, sequence: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.classes.iter().map(|class| class.waiting.len()).sum()
    }

    /// Takes a place, or not. `pace` is the usual time between two that are let in, where it is known.
    pub(super) fn enter(
        &mut self,
        asker: Asker,
        waker: W,
        pace: Option<Duration>,
        now: Instant,
        news: &mut News<W>,
    ) -> Result<Ticket, Called> {
        let refused = self.refused(pace);
        let through = pace.map_or(Duration::ZERO, |pace| pace.saturating_mul(self.before(asker.priority)));
        let Some(class) = self.classes.get_mut(asker.priority.index()) else { return Err(refused) };
        let until = asker.deadline.min(now + class.longest_wait(&self.settings));
        class.is_overloaded |= through > self.settings.max_wait && !class.waiting.is_empty();
        if until <= now || now + through > until || !self.make_room(asker.priority, refused, news) {
            return Err(refused);
        }
        self.sequence += 1;
        let sequence = self.sequence;
        if let Some(class) = self.classes.get_mut(asker.priority.index()) {
            class.waiting.insert(sequence, Waiting { entered: now, until, waker });
        }
        Ok(Ticket { priority: asker.priority, sequence, until })
    }

    /// How many are let in before one of this priority that comes now.
    fn before(&self, priority: Priority) -> u32 {
        let above = self.classes.iter().skip(priority.index() + 1).map(|class| class.waiting.len()).sum::<usize>();
        let own = self.classes.get(priority.index()).filter(|class| !class.is_overloaded);
        u32::try_from(above + own.map_or(0, |class| class.waiting.len())).unwrap_or(u32::MAX)
    }

    /// In a full line somebody of the lowest priority gives way, if that is lower than this one's: the newest, who has
    /// lost least. In an overloaded class the oldest gives way, also to one of its own priority.
    fn make_room(&mut self, priority: Priority, refused: Called, news: &mut News<W>) -> bool {
        if self.len() < self.settings.queue {
            return true;
        }
        let Some((index, lowest)) = self.classes.iter_mut().enumerate().find(|(_, it)| !it.waiting.is_empty()) else {
            return false;
        };
        let is_overloaded = lowest.is_overloaded;
        let gives_way = index < priority.index() || (index == priority.index() && is_overloaded);
        let who = if is_overloaded { lowest.oldest() } else { lowest.newest() };
        let Some(waiting) = who.filter(|_| gives_way).and_then(|who| lowest.take(who)) else { return false };
        news.push((waiting.waker, refused));
        true
    }

    /// Who has waited for too long is told so.
    pub(super) fn expire(&mut self, pace: Option<Duration>, now: Instant, news: &mut News<W>) {
        let refused = self.refused(pace);
        for class in &mut self.classes {
            while let Some((sequence, oldest)) = class.waiting.first_key_value() {
                let (sequence, waited) = (*sequence, now.saturating_since(oldest.entered));
                if waited < class.longest_wait(&self.settings) {
                    break;
                }
                class.is_overloaded |= waited >= self.settings.max_wait;
                news.extend(class.take(sequence).map(|waiting| (waiting.waker, refused)));
            }
        }
    }

    /// Who is let in next. One whose time is up is told so, and the next is.
    pub(super) fn next(&mut self, pace: Option<Duration>, now: Instant, news: &mut News<W>) -> Option<W> {
        let refused = self.refused(pace);
        for class in self.classes.iter_mut().rev() {
            loop {
                let who = if class.is_overloaded { class.newest() } else { class.oldest() };
                let Some(waiting) = who.and_then(|who| class.take(who)) else { break };
                if waiting.until > now {
                    return Some(waiting.waker);
                }
                news.push((waiting.waker, refused));
            }
        }
        None
    }

    /// Gives up a place; whether there was one.
    pub(super) fn leave(&mut self, ticket: &Ticket, now: Instant) -> bool {
        let Some(class) = self.classes.get_mut(ticket.priority.index()) else { return false };
        let Some(waiting) = class.waiting.get(&ticket.sequence) else { return false };
        class.is_overloaded |= now.saturating_since(waiting.entered) >= self.settings.max_wait;
        class.take(ticket.sequence).is_some()
    }

    /// A refusal now: whoever comes back when all who wait are through may find room.
    pub(super) fn refused(&self, pace: Option<Duration>) -> Called {
        let all = u32::try_from(self.len()).unwrap_or(u32::MAX).saturating_add(1);
        let through = pace.map_or(LEAST_HINT, |pace| pace.saturating_mul(all));
        Called::Refused { retry_after: through.clamp(LEAST_HINT, LONGEST_HINT) }
    }
}
