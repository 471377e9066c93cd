//! The same request sent twice: one answer for an `Idempotency-Key`, within its window.
//!
//! ```text
//!            claim                 settle(answer)               the window is over, or no room
//!  (nothing) ─────▶ under way ──────────────────────▶ answered ─────────────────────────────▶ (nothing)
//!      ▲                │ settle(none), or everybody hung up
//!      └────────────────┘
//! ```
//!
//! An exchange that ended without an answer binds nobody: the next request of the key is a new one. Bounded in bytes;
//! past the bound the oldest answers are forgotten first, and a request whose answer was forgotten is a new one too.

use crate::{Entry, Key, lock};
use canon::Instant;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// So many keys are not worth a look for dead ones.
const FEW: usize = 64;

/// What the first request of a key is bound to.
#[derive(Debug)]
pub enum Bound<F> {
    /// An exchange under way.
    Flight(Arc<F>),
    /// An answer that was already there.
    Answer(Arc<Entry>),
}

/// What a request with an `Idempotency-Key` is.
#[derive(Debug)]
pub enum Claim<F> {
    /// The first of its key.
    First(Bound<F>),
    /// The same again, while the first is under way.
    InFlight(Arc<F>),
    /// The same again, and answered.
    Answered(Arc<Entry>),
    /// Another request under the same key: 409.
    Conflict,
}

/// The requests of the window, by tenant and key ([`Key::of_idempotency`]).
#[derive(Debug)]
pub struct Idempotency<F> {
    inner: Mutex<Inner<F>>,
}

#[derive(Debug)]
struct Inner<F> {
    known: HashMap<Key, Record<F>>,
    /// Answered, in the order in which they were: the first is the oldest.
    order: VecDeque<(Key, u64)>,
    sequence: u64,
    bytes: usize,
    limit: usize,
    window: Duration,
    sweep_at: usize,
}

#[derive(Debug)]
struct Record<F> {
    request: Key,
    state: State<F>,
}

#[derive(Debug)]
enum State<F> {
    UnderWay(Weak<F>),
    Answered { entry: Arc<Entry>, until: Instant, sequence: u64 },
}

impl<F> Record<F> {
    fn is_bound(&self) -> bool {
        match &self.state {
            State::UnderWay(flight) => flight.strong_count() > 0,
            State::Answered { .. } => true,
        }
    }
}

impl<F> Idempotency<F> {
    /// Keeps answers for `window`, in at most `limit` bytes.
    pub fn new(window: Duration, limit: usize) -> Self {
        let (known, order) = (HashMap::new(), VecDeque::new());
        Self { inner: Mutex::new(Inner { known, order, sequence: 0, bytes: 0, limit, window, sweep_at: FEW }) }
    }

    /// Changes the window of answers to come, and the bound.
    pub fn configure(&self, window: Duration, limit: usize) {
        let mut inner = lock(&self.inner);
        (inner.window, inner.limit) = (window, limit);
        inner.fit();
    }

    /// Claims a key for a request (its [`crate::Question::fingerprint`]). `bind` is called for the first alone, with
    /// the list locked, so that two at once cannot both be it.
    pub fn claim(&self, id: Key, request: Key, now: Instant, bind: impl FnOnce() -> Bound<F>) -> Claim<F> {
        let mut inner = lock(&self.inner);
        inner.expire(now);
        if let Some(Record { request: known, state }) = inner.known.get(&id).filter(|record| record.is_bound()) {
            if *known != request {
                return Claim::Conflict;
            }
            match state {
                State::Answered { entry, .. } => return Claim::Answered(Arc::clone(entry)),
                State::UnderWay(flight) => {
                    if let Some(flight) = flight.upgrade() {
                        return Claim::InFlight(flight);
                    }
                }
            }
        }
        let bound = bind();
        match &bound {
            Bound::Flight(flight) => {
                let state = State::UnderWay(Arc::downgrade(flight));
                inner.insert(id, Record { request, state });
            }
            Bound::Answer(entry) => inner.answer(id, request, Arc::clone(entry), now),
        }
        drop(inner);
        Claim::First(bound)
    }

    /// The exchange a key is bound to is over, with an answer or without.
    pub fn settle(&self, id: Key, answer: Option<&Arc<Entry>>, now: Instant) {
        let mut inner = lock(&self.inner);
        let Some(record) = inner.known.get(&id) else { return };
        if matches!(record.state, State::Answered { .. }) {
            return;
        }
        let request = record.request;
        inner.known.remove(&id);
        if let Some(entry) = answer {
            inner.answer(id, request, Arc::clone(entry), now);
        }
    }

    /// Bytes of the answers it keeps.
    pub fn bytes(&self) -> usize {
        lock(&self.inner).bytes
    }

    /// Keys it knows.
    pub fn len(&self) -> usize {
        lock(&self.inner).known.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<F> Inner<F> {
    fn answer(&mut self, id: Key, request: Key, entry: Arc<Entry>, now: Instant) {
        self.forget(id);
        self.bytes += entry.weight();
        self.sequence += 1;
        let sequence = self.sequence;
        self.order.push_back((id, sequence));
        self.insert(id, Record { request, state: State::Answered { entry, until: now + self.window, sequence } });
        self.fit();
    }

    /// Exchanges that everybody hung up on leave their keys behind; whenever the list has doubled they are swept out.
    fn insert(&mut self, id: Key, record: Record<F>) {
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, record| record.is_bound());
            self.sweep_at = (self.known.len() * 2).max(FEW);
        }
        self.known.insert(id, record);
    }

    fn fit(&mut self) {
        while self.bytes > self.limit {
            let Some((oldest, sequence)) = self.order.pop_front() else { return };
            self.forget_answer(oldest, sequence);
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((oldest, sequence)) = self.order.front().copied() {
            let is_over = match self.known.get(&oldest) {
                Some(Record { state: State::Answered { until, sequence: own, .. }, .. }) if *own == sequence => {
                    *until <= now
                }
                Some(_) | None => true,
            };
            if !is_over {
                return;
            }
            self.order.pop_front();
            self.forget_answer(oldest, sequence);
        }
    }

    /// Forgets an answer, if the key has not been bound anew.
    fn forget_answer(&mut self, id: Key, sequence: u64) {
        let is_same = self
            .known
            .get(&id)
            .is_some_and(|record| matches!(record.state, State::Answered { sequence: own, .. } if own == sequence));
        if is_same {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: Key) {
        if let Some(Record { state: State::Answered { entry, .. }, .. }) = self.known.remove(&id) {
            self.bytes -= entry.weight();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Form;
    use canon::Usage;

    const WINDOW: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    fn key(text: &str) -> Key {
        Key::of_idempotency(None, text)
    }

    fn entry(bytes: usize) -> Arc<Entry> {
        Arc::new(Entry {
            form: Form::Whole,
            head: Vec::new(),
            body: vec![b'x'; bytes].into(),
            usage: Usage::default(),
            target: String::new(),
            model: None,
            made: at(0),
        })
    }

    fn claim(known: &Idempotency<u8>, id: &str, request: &str, now: Instant) -> Claim<u8> {
        known.claim(key(id), key(request), now, || Bound::Flight(Arc::new(7)))
    }

    fn first(known: &Idempotency<u8>, id: &str, request: &str, now: Instant) -> Arc<u8> {
        match claim(known, id, request, now) {
            Claim::First(Bound::Flight(flight)) => flight,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_same_again_shares_the_exchange_then_the_answer_until_the_window_is_over() {
        let known = Idempotency::new(WINDOW, 1 << 20);
        let flight = first(&known, "k", "r", at(0));
        assert!(matches!(claim(&known, "k", "r", at(1)), Claim::InFlight(same) if Arc::ptr_eq(&same, &flight)));
        assert!(matches!(claim(&known, "other", "r", at(1)), Claim::First(_)));
        known.settle(key("k"), Some(&entry(10)), at(2));
        drop(flight);
        assert!(matches!(claim(&known, "k", "r", at(61)), Claim::Answered(_)));
        assert!(matches!(claim(&known, "k", "r", at(62)), Claim::First(_)));
        assert_eq!(known.bytes(), 0);
    }

    #[test]
    fn another_request_under_the_same_key_is_a_conflict_while_the_key_is_bound() {
        let known = Idempotency::new(WINDOW, 1 << 20);
        let flight = first(&known, "k", "r", at(0));
        assert!(matches!(claim(&known, "k", "s", at(1)), Claim::Conflict));
        known.settle(key("k"), Some(&entry(10)), at(2));
        drop(flight);
        assert!(matches!(claim(&known, "k", "s", at(3)), Claim::Conflict));
        assert!(matches!(claim(&known, "k", "s", at(63)), Claim::First(_)));
    }

    #[test]
    fn an_exchange_without_an_answer_binds_nobody() {
        let known = Idempotency::new(WINDOW, 1 << 20);
        let _flight = first(&known, "k", "r", at(0));
        known.settle(key("k"), None, at(1));
        assert!(matches!(claim(&known, "k", "s", at(2)), Claim::First(_)));
        // Everybody hung up: the claim before was dropped with its exchange.
        assert!(matches!(claim(&known, "k", "t", at(3)), Claim::First(_)));
    }

    #[test]
    fn an_answer_that_was_there_binds_the_key_at_once() {
        let known = Idempotency::<u8>::new(WINDOW, 1 << 20);
        let kept = entry(1);
        let bound = known.claim(key("k"), key("r"), at(0), || Bound::Answer(Arc::clone(&kept)));
        assert!(matches!(bound, Claim::First(Bound::Answer(_))));
        assert!(matches!(claim(&known, "k", "r", at(1)), Claim::Answered(_)));
    }

    #[test]
    fn past_the_bound_the_oldest_answers_are_forgotten_first() {
        let one = entry(1_000);
        let known = Idempotency::new(WINDOW, one.weight() * 3);
        for (n, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
            let _flight = first(&known, id, "r", at(n as u64));
            known.settle(key(id), Some(&one), at(n as u64));
            assert!(known.bytes() <= one.weight() * 3);
        }
        assert!(matches!(claim(&known, "b", "r", at(5)), Claim::Answered(_)));
        let again = first(&known, "a", "r", at(5));
        drop(again);
        known.configure(WINDOW, 0);
        assert_eq!(known.bytes(), 0);
        assert!(matches!(claim(&known, "d", "r", at(5)), Claim::First(_)));
    }

    #[test]
    fn nothing_is_left_of_exchanges_that_everybody_hung_up_on() {
        let known = Idempotency::new(WINDOW, 1 << 20);
        for n in 0..10_000 {
            drop(first(&known, &n.to_string(), "r", at(0)));
        }
        assert!(known.len() <= FEW, "{}", known.len());
    }

    #[test]
    fn nothing_is_left_of_keys_whose_window_is_over() {
        let known = Idempotency::new(WINDOW, 1 << 20);
        for n in 0..1_000_u64 {
            let id = n.to_string();
            let _flight = first(&known, &id, "r", at(n));
            known.settle(key(&id), Some(&entry(1)), at(n));
        }
        assert!(known.len() <= 61, "{}", known.len());
    }
}
