//! The doors of the gateway and of its models (`overload:`): who may begin, who waits, who is refused.
//!
//! A request passes its model's door, then the gateway's: who waits for a model that is full must not stand in the way
//! of other models. Its places are held to the last byte of the answer. Who is next is [`health::Door`]'s to say; here
//! it is waited for, and a caller that hangs up gives its place back at once. Answers that need nobody (cached, shared,
//! replayed) pass no door.

use crate::clock::Clock;
use crate::readers::lock;
use canon::{CallerError, Instant};
use config::Snapshot;
use health::{Asker, Called, Door, DoorSettings, Entered, News, Ticket};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

type Waker = oneshot::Sender<Called>;
type GatewayDoor = Door<Waker>;

/// Every door there ever was, by model, the gateway's own under `None`: who is in flight is counted across reloads.
#[derive(Default)]
pub(crate) struct DoorRegister(Mutex<HashMap<Option<String>, Arc<GatewayDoor>>>);

impl DoorRegister {
    fn door(&self, of: Option<&str>, settings: DoorSettings) -> Arc<GatewayDoor> {
        let mut doors = lock(&self.0);
        let door = doors.entry(of.map(str::to_owned)).or_insert_with(|| Arc::new(Door::new(settings)));
        door.configure(settings);
        door.clone()
    }
}

/// The doors of a configuration.
#[derive(Clone)]
pub(crate) struct Doors {
    whole: Option<Arc<GatewayDoor>>,
    models: HashMap<String, Arc<GatewayDoor>>,
}

impl Doors {
    /// As a configuration has them, from now on.
    pub(crate) fn of(snapshot: &Snapshot, register: &DoorRegister) -> Self {
        Self {
            whole: snapshot.door.map(|settings| register.door(None, settings)),
            models: snapshot
                .doors
                .iter()
                .map(|(name, settings)| (name.clone(), register.door(Some(name), *settings)))
                .collect(),
        }
    }

    /// Whether any request passes a door.
    pub(crate) fn is_any(&self) -> bool {
        self.whole.is_some() || !self.models.is_empty()
    }

    /// Brings an exchange of a model through its doors.
    ///
    /// # Errors
    /// What its caller is told who is not let in.
    pub(crate) async fn pass(
        &self,
        model: &str,
        asker: Asker,
        clock: Clock,
    ) -> Result<Option<Arc<Seats>>, CallerError> {
        let own = self.models.get(model);
        if own.is_none() && self.whole.is_none() {
            return Ok(None);
        }
        let mut seats = Seats::default();
        if let Some(door) = own {
            let who = || format!("model `{model}`");
            seats.model = Some(sit(door, asker, clock).await.map_err(|after| refusal(&who(), after))?);
        }
        if let Some(door) = &self.whole {
            seats.whole = Some(sit(door, asker, clock).await.map_err(|after| refusal("the gateway", after))?);
        }
        Ok(Some(Arc::new(seats)))
    }
}

/// The places of one exchange behind its doors, given back when nobody has them any more.
#[derive(Default)]
pub(crate) struct Seats {
    model: Option<Seat>,
    whole: Option<Seat>,
}

impl Seats {
    /// Whether there are any.
    #[cfg(test)]
    fn taken(&self) -> usize {
        usize::from(self.model.is_some()) + usize::from(self.whole.is_some())
    }
}

struct Seat {
    door: Arc<GatewayDoor>,
    entered: Instant,
    clock: Clock,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let now = self.clock.now();
        tell(&self.door, self.door.exit(Some(self.entered), now), now);
    }
}

/// Hands the news on. A place that nobody takes, as its caller is gone, is given back.
fn tell(door: &GatewayDoor, mut news: News<Waker>, now: Instant) {
    while let Some((waker, called)) = news.pop() {
        if waker.send(called) == Err(Called::In) {
            news.extend(door.exit(None, now));
        }
    }
}

/// Takes a place behind a door; an error says after which time to come back.
async fn sit(door: &Arc<GatewayDoor>, asker: Asker, clock: Clock) -> Result<Seat, Duration> {
    let now = clock.now();
    if door.walk_in() {
        return Ok(Seat { door: door.clone(), entered: now, clock });
    }
    let called = Box::pin(stand_in_line(door, asker, clock)).await;
    match called {
        Called::In => Ok(Seat { door: door.clone(), entered: clock.now(), clock }),
        Called::Refused { retry_after } => Err(retry_after),
    }
}

async fn stand_in_line(door: &GatewayDoor, asker: Asker, clock: Clock) -> Called {
    let (waker, heard) = oneshot::channel();
    let now = clock.now();
    let (entered, news) = door.enter(asker, || waker, now);
    tell(door, news, now);
    let ticket = match entered {
        Entered::In => return Called::In,
        Entered::Refused { retry_after } => return Called::Refused { retry_after },
        Entered::Waits(ticket) => ticket,
    };
    let mut standing = Standing { door, ticket, heard, clock, is_over: false };
    let called = match tokio::time::timeout_at(clock.runtime(ticket.until()), &mut standing.heard).await {
        Ok(called) => called.ok(),
        Err(_) if door.leave(&ticket, clock.now()) => Some(door.refusal()),
        // Somebody is about to say what became of it.
        Err(_) => (&mut standing.heard).await.ok(),
    };
    standing.is_over = true;
    called.unwrap_or_else(|| door.refusal())
}

/// A place in the line that is given up when its owner goes, whichever way.
struct Standing<'d> {
    door: &'d GatewayDoor,
    ticket: Ticket,
    heard: oneshot::Receiver<Called>,
    clock: Clock,
    is_over: bool,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if self.is_over || self.door.leave(&self.ticket, self.clock.now()) {
            return;
        }
        // Whoever tells it after this finds nobody, and gives the place back.
        self.heard.close();
        if self.heard.try_recv() == Ok(Called::In) {
            let now = self.clock.now();
            tell(self.door, self.door.exit(None, now), now);
        }
    }
}

fn refusal(who: &str, retry_after: Duration) -> CallerError {
    CallerError {
        retryable: true,
        retry_after: Some(retry_after),
        ..CallerError::new(
            503,
            "overloaded",
            format!("{who} has as many exchanges in flight as it may, and more wait than can be served in time"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canon::Priority;
    use std::task::Poll;

    const MS: Duration = Duration::from_millis(1);

    fn asker(clock: Clock, within: Duration) -> Asker {
        Asker { priority: Priority::Normal, deadline: clock.now() + within }
    }

    fn door(most: usize) -> Arc<GatewayDoor> {
        Arc::new(Door::new(DoorSettings { queue: 10, ..DoorSettings::of(most) }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_handed_on_when_its_exchange_ends_and_nobody_waits_past_its_time() {
        let (clock, door) = (Clock::start(), door(1));
        let first = sit(&door, asker(clock, 60_000 * MS), clock).await.ok().unwrap();
        let mut second = Box::pin(sit(&door, asker(clock, 60_000 * MS), clock));
        let mut third = Box::pin(sit(&door, asker(clock, 500 * MS), clock));
        assert!(futures_pending(&mut second).await && futures_pending(&mut third).await);
        let refused = third.await.err().unwrap();
        let waited = clock.now().since_origin();
        assert!((500 * MS..=502 * MS).contains(&waited), "{waited:?}");
        assert_eq!(refused, Duration::from_secs(1));
        drop(first);
        let second = second.await.ok().unwrap();
        assert_eq!((door.in_flight(), door.waiting()), (1, 0));
        drop(second);
        assert_eq!(door.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_in_the_line_or_just_as_it_is_called_leaves_no_place_taken() {
        let (clock, door) = (Clock::start(), door(1));
        let first = sit(&door, asker(clock, 60_000 * MS), clock).await.ok().unwrap();
        let mut gone = Box::pin(sit(&door, asker(clock, 60_000 * MS), clock));
        assert!(futures_pending(&mut gone).await);
        drop(gone);
        assert_eq!(door.waiting(), 0);
        let mut called = Box::pin(sit(&door, asker(clock, 60_000 * MS), clock));
        assert!(futures_pending(&mut called).await);
        drop(first);
        assert_eq!(door.in_flight(), 1, "it was called, and has not heard it");
        drop(called);
        assert_eq!(door.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_model_takes_no_place_of_the_gateway() {
        let clock = Clock::start();
        let doors = Doors { whole: Some(door(2)), models: HashMap::from([("slow".to_owned(), door(1))]) };
        let asker = asker(clock, 60_000 * MS);
        let pass = |model: &'static str| Box::pin(doors.pass(model, asker, clock));
        let first = pass("slow").await.unwrap().unwrap();
        assert_eq!(first.taken(), 2);
        let mut waits = pass("slow");
        assert!(futures_pending(&mut waits).await);
        let other = pass("other").await.unwrap().unwrap();
        assert_eq!(other.taken(), 1);
        drop(first);
        assert_eq!(waits.await.unwrap().unwrap().taken(), 2);
    }

    async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())).await
    }
}
