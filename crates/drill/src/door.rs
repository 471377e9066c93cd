//! The doors that requests pass before they are planned (`overload:`), as a gateway's do.
//!
//! Who is next is the gateway's own [`health::Door`]; here those who wait are numbers, and the timers of those who give
//! up are events.

use crate::drive::Exchange;
use crate::load::Load;
use crate::record::Outcome;
use crate::run::{Happening, Incoming, Simulation};
use canon::{Instant, Priority};
use config::Snapshot;
use health::{Asker, Called, Door, Entered, News, Ticket};
use std::collections::BTreeMap;
use std::time::Duration;

/// The doors of one gateway, and who goes first at them.
#[derive(Debug)]
pub(crate) struct Doors {
    whole: Option<Door<u64>>,
    models: BTreeMap<String, Door<u64>>,
    /// By load.
    priorities: Vec<Priority>,
}

/// Which door.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    Model(String),
    Whole,
}

/// A place behind a door.
#[derive(Debug)]
pub(crate) struct Seat {
    door: Which,
    entered: Instant,
}

/// A request on its way through the doors.
#[derive(Debug)]
pub(crate) struct Comer {
    pub(crate) incoming: Incoming,
    pub(crate) replica: usize,
    pub(crate) seed: u64,
    /// When the gateway took it in.
    pub(crate) began: Instant,
    asker: Asker,
    /// Those it has passed.
    pub(crate) seats: Vec<Seat>,
    /// Those it has yet to pass, the last first.
    ahead: Vec<Which>,
    ticket: Option<Ticket>,
}

impl Doors {
    pub(crate) fn of(snapshot: &Snapshot, loads: &[Load]) -> Self {
        let key = |load: &Load| snapshot.keys.iter().find(|key| Some(&key.name) == load.key.as_ref());
        let priority = |load: &Load| Priority::of(key(load).map(|key| key.priority), load.asked_priority());
        Self {
            whole: snapshot.door.map(Door::new),
            models: snapshot.doors.iter().map(|(name, settings)| (name.clone(), Door::new(*settings))).collect(),
            priorities: loads.iter().map(priority).collect(),
        }
    }

    /// The priority of a load's requests.
    pub(crate) fn priority(&self, load: usize) -> Priority {
        self.priorities.get(load).copied().unwrap_or_default()
    }

    fn get(&self, which: &Which) -> Option<&Door<u64>> {
        match which {
            Which::Model(name) => self.models.get(name),
            Which::Whole => self.whole.as_ref(),
        }
    }

    /// A model's own, then the gateway's; the last first.
    fn ahead(&self, model: &str) -> Vec<Which> {
        let whole = self.whole.is_some().then_some(Which::Whole);
        let own = self.models.contains_key(model).then(|| Which::Model(model.to_owned()));
        whole.into_iter().chain(own).collect()
    }
}

impl Simulation<'_> {
    /// A request comes to a gateway.
    pub(crate) fn come(&mut self, incoming: Incoming, now: Instant) {
        let replica = self.rng.usize(0..self.replicas.len());
        let seed = self.rng.u64(..);
        let (Some(gateway), Some(load)) = (self.replicas.get(replica), self.scenario.loads.get(incoming.load)) else {
            return;
        };
        let configured = gateway.models.get(incoming.load).and_then(|model| model.settings.timeouts.deadline);
        let limit = load.deadline(configured);
        let asker = Asker {
            priority: gateway.doors.priority(incoming.load),
            deadline: limit.map_or(Instant::FAR_FUTURE, |limit| now + limit),
        };
        let ahead = gateway.doors.ahead(&load.model);
        let comer = Comer { incoming, replica, seed, began: now, asker, seats: Vec::new(), ahead, ticket: None };
        let exchange = self.next_exchange;
        self.next_exchange += 1;
        self.pass(exchange, comer, now);
    }

    /// Passes the doors ahead, up to one where it has to wait.
    fn pass(&mut self, exchange: u64, mut comer: Comer, now: Instant) {
        while let Some(door) = comer.ahead.last() {
            let Some(found) = self.replicas.get(comer.replica).and_then(|it| it.doors.get(door)) else { return };
            let (entered, news) = found.enter(comer.asker, || exchange, now);
            let replica = comer.replica;
            match entered {
                Entered::In => comer.sit(now),
                Entered::Refused { retry_after } => {
                    self.turn_away(comer, retry_after, now);
                    return self.tell(replica, news, now);
                }
                Entered::Waits(ticket) => {
                    comer.ticket = Some(ticket);
                    self.schedule(ticket.until(), Happening::GivesUp { exchange, ticket });
                    self.comers.insert(exchange, comer);
                    return self.tell(replica, news, now);
                }
            }
            self.tell(replica, news, now);
        }
        self.begin(exchange, comer, now);
    }

    /// Those who waited hear what became of them.
    fn tell(&mut self, replica: usize, news: News<u64>, now: Instant) {
        for (exchange, called) in news {
            let Some(mut comer) = self.comers.remove(&exchange) else { continue };
            debug_assert_eq!(comer.replica, replica, "a door is one gateway's");
            match called {
                Called::In => {
                    comer.sit(now);
                    self.pass(exchange, comer, now);
                }
                Called::Refused { retry_after } => self.turn_away(comer, retry_after, now),
            }
        }
    }

    /// One has waited for as long as it may.
    pub(crate) fn gives_up(&mut self, exchange: u64, ticket: Ticket, now: Instant) {
        let waits = |comer: &Comer| comer.ticket == Some(ticket);
        if !self.comers.get(&exchange).is_some_and(waits) {
            return;
        }
        let Some(comer) = self.comers.remove(&exchange) else { return };
        let door = comer.ahead.last().and_then(|door| self.replicas.get(comer.replica)?.doors.get(door));
        let Some(Called::Refused { retry_after }) = door.filter(|door| door.leave(&ticket, now)).map(Door::refusal)
        else {
            return;
        };
        self.turn_away(comer, retry_after, now);
    }

    /// The request is refused at a door; what its SDK makes of that.
    fn turn_away(&mut self, mut comer: Comer, retry_after: Duration, now: Instant) {
        const OVERLOADED: u16 = 503;
        for seat in comer.seats.drain(..) {
            let door = self.replicas.get(comer.replica).and_then(|it| it.doors.get(&seat.door));
            let news = door.map(|door| door.exit(None, now)).unwrap_or_default();
            self.tell(comer.replica, news, now);
        }
        match self.retry_of(comer.incoming, OVERLOADED, Some(retry_after)) {
            Some(pause) => self.schedule_retry(comer.incoming, now + pause),
            None => self.end(comer.incoming, Outcome::Refused, now),
        }
    }

    /// An exchange is over: its places are free.
    pub(crate) fn leave_doors(&mut self, of: &mut Exchange, now: Instant) {
        for seat in of.seats.drain(..) {
            let door = self.replicas.get(of.replica).and_then(|it| it.doors.get(&seat.door));
            let news = door.map(|door| door.exit(Some(seat.entered), now)).unwrap_or_default();
            self.tell(of.replica, news, now);
        }
    }
}

impl Comer {
    /// It is through the next door.
    fn sit(&mut self, now: Instant) {
        self.ticket = None;
        self.seats.extend(self.ahead.pop().map(|door| Seat { door, entered: now }));
    }
}
