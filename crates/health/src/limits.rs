//! The limits of one credential on one model, as every target that uses both shares them.

use crate::lock;
use crate::mirror::Mirror;
use canon::{Instant, LimitKind, LimitReading, Load};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What is told and felt of a provider's limits.
#[derive(Debug)]
pub struct Limits {
    mirror: Mutex<Mirror>,
    /// A limit is told or felt, so that who plans must look.
    is_known: AtomicBool,
    /// A call of fewer tokens has room for sure, so that who plans need not look: [`Mirror::sure_room`].
    sure_room: AtomicU64,
}

/// What a call in flight takes of its credential's limits; given back when it is dropped.
#[derive(Debug)]
pub struct LimitReservation {
    limits: Arc<Limits>,
    load: Load,
    told: bool,
}

impl Default for Limits {
    fn default() -> Self {
        let mirror = Mirror::default();
        let sure_room = AtomicU64::new(mirror.sure_room());
        Self { mirror: Mutex::new(mirror), is_known: AtomicBool::new(false), sure_room }
    }
}

impl Limits {
    /// Changes the mirror, and says to those who take no lock what that leaves.
    fn change(&self, change: impl FnOnce(&mut Mirror)) {
        let mut mirror = lock(&self.mirror);
        change(&mut mirror);
        self.sure_room.store(mirror.sure_room(), Ordering::Release);
    }

    fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    /// Whether a call like this is within what the provider allows, as far as is known.
    #[inline]
    pub fn has_room(&self, load: &Load, now: Instant) -> bool {
        load.of(LimitKind::Tokens) < self.sure_room.load(Ordering::Acquire) || self.has_room_now(load, now)
    }

    fn has_room_now(&self, load: &Load, now: Instant) -> bool {
        lock(&self.mirror).has_room(load, now)
    }

    /// Whether a call like this leaves this part of every limit, 0–1, to others, as far as is known.
    pub fn leaves(&self, part: f64, load: &Load, now: Instant) -> bool {
        !self.is_known() || lock(&self.mirror).leaves(part, load, now)
    }

    /// Whether more calls are in flight than the last 429 or 529 left room for: another credential of the same target
    /// is to be preferred.
    pub fn is_crowded(&self, now: Instant) -> bool {
        self.is_known() && lock(&self.mirror).is_crowded(now)
    }

    /// A call starts.
    pub fn reserve(self: &Arc<Self>, load: Load, now: Instant) -> LimitReservation {
        self.change(|mirror| mirror.reserve(&load, now));
        LimitReservation { limits: Arc::clone(self), load, told: false }
    }

    /// What an answer's headers said.
    pub fn told(&self, readings: impl Iterator<Item = LimitReading>, now: Instant) {
        let mut readings = readings.peekable();
        if readings.peek().is_none() {
            return;
        }
        self.change(|mirror| readings.for_each(|reading| mirror.told(&reading, now)));
        self.is_known.store(true, Ordering::Release);
    }

    /// An answer came.
    pub fn answered(&self) {
        if self.is_known() {
            self.change(Mirror::answered);
        }
    }

    pub(crate) fn limited(&self, now: Instant) {
        self.change(|mirror| mirror.limited(now));
        self.is_known.store(true, Ordering::Release);
    }

    pub(crate) fn overloaded(&self, now: Instant) {
        lock(&self.mirror).overloaded(now);
        self.is_known.store(true, Ordering::Release);
    }

    /// The credential is another one now. Calls in flight give back what they took of the one before, which is no less
    /// than nothing.
    pub(crate) fn reset(&self) {
        self.change(|mirror| *mirror = Mirror::default());
        self.is_known.store(false, Ordering::Release);
    }
}

impl LimitReservation {
    /// An answer has begun: the provider's own count has the call in it.
    pub fn counted(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            self.limits.change(|mirror| mirror.release(&self.load));
        }
    }
}

impl Drop for LimitReservation {
    fn drop(&mut self) {
        self.counted();
        lock(&self.limits.mirror).end();
    }
}
