//! How many calls a target may have in flight: a number, or what it is found to bear.
//!
//! Of a shared provider latency says nothing about room, and 429s and 529s do: [`Cap`]. A backend of one's own (vLLM,
//! `SGLang`) queues what it cannot compute, so that its latency tells when it is full. Its number is that of Gradient2
//! (Netflix, `concurrency-limits`): it grows by a few while answers begin as quickly as usual, and shrinks in the
//! proportion in which they are later than that and a tolerance. Times are compared by their logarithms, each with what
//! is usual for prompts of its size, so that who gets the long prompts does not look full. What is usual is learned
//! while the backend is at most half as busy as it may be: under load it would come to look usual to be late.

use crate::cap::Cap;
use crate::lock;
use crate::size::PromptSize;
use canon::Instant;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where the number begins, and its bounds: Gradient2's, but that a backend always has two calls.
const FIRST: f64 = 20.0;
const LEAST: f64 = 2.0;
const MOST: f64 = 1_000.0;
/// How much later than usual is tolerated: below it lies the noise of batches, above it a queue.
const TOLERANCE: f64 = 2.0;
/// The calls by which it grows at most, so that a backend is found to bear more.
const HEADROOM: f64 = 4.0;
/// Weight of what was found last.
const SMOOTHING: f64 = 0.2;
/// It is not halved for a single window, however late that was.
const LEAST_GRADIENT: f64 = 0.5;
/// What is left after the backend said to be full.
const BACK_OFF: f64 = 0.7;
/// A window is so long, and has so many answers.
const WINDOW: Duration = Duration::from_secs(1);
const WINDOW_SAMPLES: u32 = 10;
/// Samples of which what is usual is the mean; then the latest have this weight.
const WARM: u32 = 10;
const LATEST: f64 = 2.0 / 601.0;
/// Prompt sizes of streamed calls, then of those whose answers come whole.
const CLASSES: usize = 2 * PromptSize::CLASSES;

/// What the configuration says of a target's calls in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// At most so many.
    Fixed(u32),
    /// What its 429s and 529s leave of what it had; as many as come until there are any.
    Aimd,
    /// What its latency says that it bears.
    Gradient,
}

/// What is usual: a mean of logarithms of seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Usual {
    mean: f64,
    samples: u32,
}

/// Answers of the last while.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    began: Option<Instant>,
    /// Of how much later than usual they were, by logarithm.
    sum: f64,
    samples: u32,
}

/// The number of one backend.
#[derive(Debug)]
struct Gradient {
    limit: f64,
    usual: [Usual; CLASSES],
    window: Window,
    shrunk: Option<Instant>,
}

/// What bounds a target's calls in flight, and how many there are.
#[derive(Debug)]
pub struct Bound {
    stated: Concurrency,
    in_flight: AtomicUsize,
    gradient: Mutex<Gradient>,
    cap: Mutex<Cap>,
}

/// One of the calls that a target may have in flight; given back when it is dropped.
#[derive(Debug)]
pub struct BoundPlace(Arc<Bound>);

impl Bound {
    pub(crate) fn new(stated: Concurrency) -> Self {
        let usual = [Usual::default(); CLASSES];
        let gradient = Gradient { limit: FIRST, usual, window: Window::default(), shrunk: None };
        Self { stated, in_flight: AtomicUsize::new(0), gradient: Mutex::new(gradient), cap: Mutex::default() }
    }

    /// As the configuration says.
    pub fn stated(&self) -> Concurrency {
        self.stated
    }

    /// Most that may be in flight now; `None` = as many as come.
    pub fn limit(&self, now: Instant) -> Option<usize> {
        match self.stated {
            Concurrency::Fixed(most) => usize::try_from(most).ok(),
            Concurrency::Aimd => lock(&self.cap).most(now).map(whole),
            Concurrency::Gradient => Some(whole(lock(&self.gradient).limit)),
        }
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether there is no room for another call.
    pub fn is_full(&self, now: Instant) -> bool {
        self.limit(now).is_some_and(|most| self.in_flight() >= most)
    }

    /// Takes the place of one call; `None` = there is none.
    pub fn enter(self: &Arc<Self>, now: Instant) -> Option<BoundPlace> {
        let most = self.limit(now).unwrap_or(usize::MAX);
        let one_more = |in_flight: usize| (in_flight < most).then_some(in_flight + 1);
        let entered = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        entered.is_ok().then(|| BoundPlace(Arc::clone(self)))
    }

    /// An answer began after so long, with so many in flight, itself included.
    fn learn(&self, prompt_tokens: u64, streamed: bool, took: Duration, in_flight: usize, now: Instant) {
        match self.stated {
            Concurrency::Fixed(_) => {}
            Concurrency::Aimd => lock(&self.cap).answered(counted(in_flight)),
            Concurrency::Gradient => {
                let size = PromptSize::of(prompt_tokens).index();
                let class = if streamed { size } else { PromptSize::CLASSES + size };
                lock(&self.gradient).answered(class, took, in_flight, now);
            }
        }
    }
}

fn counted(in_flight: usize) -> u32 {
    u32::try_from(in_flight).unwrap_or(u32::MAX)
}

fn whole(limit: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of calls")]
    let whole = limit.max(1.0) as usize;
    whole
}

impl BoundPlace {
    /// The call's answer began after so long: a first token, or the whole of an answer that is not streamed. Silence
    /// that was given up counts as such.
    pub fn answered(&self, prompt_tokens: u64, streamed: bool, took: Duration, now: Instant) {
        self.0.learn(prompt_tokens, streamed, took, self.0.in_flight(), now);
    }

    /// The target says to be full: the call that says so is still in flight.
    pub fn overloaded(&self, now: Instant) {
        match self.0.stated {
            Concurrency::Fixed(_) => {}
            Concurrency::Aimd => lock(&self.0.cap).overloaded(counted(self.0.in_flight()), now),
            Concurrency::Gradient => lock(&self.0.gradient).overloaded(now),
        }
    }
}

impl Drop for BoundPlace {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gradient {
    fn answered(&mut self, class: usize, took: Duration, in_flight: usize, now: Instant) {
        let seconds = took.max(Duration::from_millis(1)).as_secs_f64().ln();
        let busy = in_flight as f64;
        // Where it may have no more than the least, what it takes with that is what is usual.
        let is_at_ease = busy <= self.limit / 2.0 || self.limit <= LEAST;
        let Some(usual) = self.usual.get_mut(class) else { return };
        let later = if usual.samples == 0 { 0.0 } else { seconds - usual.mean };
        if is_at_ease || usual.samples < WARM {
            usual.samples = usual.samples.saturating_add(1);
            usual.mean += later * LATEST.max(1.0 / f64::from(usual.samples));
            if usual.samples == 1 {
                usual.mean = seconds;
            }
        }
        let began = *self.window.began.get_or_insert(now);
        self.window.sum += later;
        self.window.samples += 1;
        if self.window.samples >= WINDOW_SAMPLES && now.saturating_since(began) >= WINDOW {
            let later = self.window.sum / f64::from(self.window.samples);
            self.window = Window::default();
            self.move_by((TOLERANCE / later.exp()).clamp(LEAST_GRADIENT, 1.0), busy);
        }
    }

    fn move_by(&mut self, gradient: f64, busy: f64) {
        // A number that is not used says nothing about whether it could be higher.
        if gradient >= 1.0 && busy < self.limit / 2.0 {
            return;
        }
        let found = self.limit * gradient + HEADROOM;
        self.limit = (self.limit * (1.0 - SMOOTHING) + found * SMOOTHING).clamp(LEAST, MOST);
    }

    fn overloaded(&mut self, now: Instant) {
        // Calls that were in flight together bring the same news.
        if self.shrunk.is_some_and(|at| now.saturating_since(at) < 2 * WINDOW) {
            return;
        }
        self.shrunk = Some(now);
        self.limit = (self.limit * BACK_OFF).max(LEAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, proptest};

    fn at(ms: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(ms))
    }

    /// A backend that computes so many at once and shares itself among all it is given. Time passes in steps of 100 ms;
    /// in each come as many as `offered` has in flight and the bound allows. Answers begin after half a second in a
    /// backend at ease. Returns the bound's limit at the end, and the mean time to an answer in the last half.
    fn run(
        bound: &Bound,
        capacity: f64,
        offered: usize,
        from: u64,
        seconds: u64,
        tokens: fn(u64) -> u64,
    ) -> (usize, f64) {
        let mut rng = fastrand::Rng::with_seed(from + 1);
        let mut waiting: Vec<(u64, u64)> = Vec::new();
        let (mut took, mut count) = (0.0, 0.0);
        for step in 0..seconds * 10 {
            let now = (from + step) * 100;
            let in_flight = waiting.len();
            let (done, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, ends)| *ends <= now);
            waiting = rest;
            for (number, (began, _)) in done.into_iter().enumerate() {
                let time = Duration::from_millis(now - began);
                bound.learn(tokens(began / 100), true, time, in_flight - number, at(now));
                if step > seconds * 5 {
                    (took, count) = (took + time.as_secs_f64(), count + 1.0);
                }
            }
            while waiting.len() < offered.min(bound.limit(at(now)).unwrap()) {
                let busy = (waiting.len() as f64 / capacity).max(1.0);
                let size = if tokens(now / 100) > 8_000 { 8.0 } else { 1.0 };
                let time = 500.0 * size * busy * (0.3 * (rng.f64() * 2.0 - 1.0)).exp();
                let took = Duration::from_secs_f64(time / 1000.0).as_millis();
                waiting.push((now, now + u64::try_from(took).unwrap()));
                if waiting.len() as f64 >= capacity * 40.0 {
                    break;
                }
            }
        }
        (bound.limit(at((from + seconds * 10) * 100)).unwrap(), took / f64::max(count, 1.0))
    }

    fn short(_: u64) -> u64 {
        500
    }

    #[test]
    fn a_backend_that_is_offered_too_much_is_given_about_what_it_bears_within_the_tolerance() {
        for capacity in [16.0, 64.0] {
            let bound = Bound::new(Concurrency::Gradient);
            run(&bound, capacity, 4, 0, 30, short);
            let (limit, took) = run(&bound, capacity, 10_000, 300, 1_200, short);
            let range = capacity * 1.2..capacity * 3.0;
            assert!(range.contains(&(limit as f64)), "{limit} for {capacity}");
            assert!(took < 0.5 * 3.0, "{took}");
        }
    }

    #[test]
    fn a_backend_that_loses_half_of_itself_is_given_less_within_a_minute() {
        let bound = Bound::new(Concurrency::Gradient);
        run(&bound, 64.0, 4, 0, 30, short);
        let (before, _) = run(&bound, 64.0, 10_000, 300, 1_200, short);
        let (after, _) = run(&bound, 16.0, 10_000, 12_300, 60, short);
        assert!(after * 2 < before, "{before} {after}");
    }

    #[test]
    fn who_gets_the_long_prompts_does_not_look_full() {
        let bound = Bound::new(Concurrency::Gradient);
        let half_long = |at: u64| if at.is_multiple_of(2) { 500 } else { 20_000 };
        run(&bound, 1_000.0, 8, 0, 60, half_long);
        let (limit, _) = run(&bound, 1_000.0, 400, 600, 600, half_long);
        assert!(limit > 60, "{limit}");
    }

    #[test]
    fn a_number_that_is_not_used_does_not_grow_and_a_529_lowers_it_once() {
        let bound = Bound::new(Concurrency::Gradient);
        for i in 0..1_000 {
            bound.learn(500, true, Duration::from_millis(300), 3, at(i * 200));
        }
        assert_eq!(bound.limit(at(200_000)), Some(20));
        let bound = Arc::new(bound);
        let place = bound.enter(at(0)).unwrap();
        place.overloaded(at(300_000));
        place.overloaded(at(300_500));
        assert_eq!(bound.limit(at(300_500)), Some(14));
    }

    #[test]
    fn a_stated_number_holds_and_a_place_comes_back_with_its_call() {
        let bound = Arc::new(Bound::new(Concurrency::Fixed(2)));
        let places = [bound.enter(at(0)).unwrap(), bound.enter(at(0)).unwrap()];
        assert!(bound.enter(at(0)).is_none() && bound.is_full(at(0)));
        places[0].overloaded(at(0));
        places[0].answered(500, true, Duration::from_secs(60), at(0));
        assert_eq!((bound.limit(at(0)), bound.in_flight()), (Some(2), 2));
        drop(places);
        assert!(bound.enter(at(0)).is_some() && !bound.is_full(at(0)));
    }

    #[test]
    fn what_429s_leave_is_felt_of_a_target_with_one_key_too_and_answers_give_it_back() {
        let bound = Arc::new(Bound::new(Concurrency::Aimd));
        assert_eq!(bound.limit(at(0)), None);
        let mut places: Vec<_> = (0..20).map(|_| bound.enter(at(0)).unwrap()).collect();
        places[0].overloaded(at(1_000));
        places[1].overloaded(at(1_500));
        assert_eq!(bound.limit(at(2_000)), Some(14));
        assert!(bound.enter(at(2_000)).is_none());
        places.truncate(13);
        places.push(bound.enter(at(2_000)).unwrap());
        (0..15).for_each(|_| places[0].answered(500, true, Duration::from_secs(1), at(3_000)));
        assert_eq!(bound.limit(at(3_000)), Some(15), "one more, after about as many answers");
        assert_eq!(bound.limit(at(700_000)), None, "forgotten after ten minutes");
    }

    proptest! {
        #[test]
        fn the_number_keeps_its_bounds_whatever_is_measured(
            samples in prop::collection::vec((any::<u64>(), any::<bool>(), 0_u64..100_000, 0_usize..5_000, 0_u64..3_000), 0..400),
        ) {
            let bound = Bound::new(Concurrency::Gradient);
            let mut now = 0;
            for (tokens, streamed, took, in_flight, passes) in samples {
                now += passes;
                bound.learn(tokens, streamed, Duration::from_millis(took), in_flight, at(now));
                if took.is_multiple_of(97) {
                    lock(&bound.gradient).overloaded(at(now));
                }
                prop_assert!((2..=1_000).contains(&bound.limit(at(now)).unwrap()));
            }
        }
    }
}
