//! Recurring jobs, and when each is due.
//!
//! Every interval is jittered, so that neither the jobs of one process nor the replicas of a fleet fall into step. A
//! job that fails is asked for less and less often. A job under way is not due.

use canon::Instant;
use std::time::Duration;

/// Intervals are drawn from this part of their length upwards…
const LEAST: f64 = 0.9;
/// …over this much of it, so that their mean is their length.
const SPREAD: f64 = 0.2;
/// What is new is begun within this time, so that a start is no burst.
const BEGIN_WITHIN: Duration = Duration::from_secs(1);
/// The longest pause after failures, unless the interval itself is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// Doublings after which a pause is as long as any.
const MOST_DOUBLINGS: u32 = 16;

/// When a job is due again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// After this long: it did what it was for.
    In(Duration),
    /// After the interval, doubled with every failure in a row: it came to nothing.
    Failed {
        /// Its usual interval.
        every: Duration,
    },
}

/// Which jobs there are, and when each is due.
#[derive(Debug)]
pub struct Agenda<K> {
    entries: Vec<Entry<K>>,
    rng: fastrand::Rng,
}

#[derive(Debug)]
struct Entry<K> {
    job: K,
    due: Instant,
    failures: u32,
    is_running: bool,
}

impl<K: PartialEq + Clone> Agenda<K> {
    /// Without a job; the jitter follows from the seed.
    pub fn new(seed: u64) -> Self {
        Self { entries: Vec::new(), rng: fastrand::Rng::with_seed(seed) }
    }

    /// These are the jobs from now on. One that is known stays when it was due; a new one is due within a second.
    pub fn keep(&mut self, jobs: &[K], now: Instant) {
        self.entries.retain(|entry| jobs.contains(&entry.job));
        for job in jobs {
            if !self.entries.iter().any(|entry| entry.job == *job) {
                let due = now + BEGIN_WITHIN.mul_f64(self.rng.f64());
                self.entries.push(Entry { job: job.clone(), due, failures: 0, is_running: false });
            }
        }
    }

    /// Takes the job that is due for longest; it is under way until it is [`done`](Self::done).
    pub fn take_due(&mut self, now: Instant) -> Option<K> {
        let due = |entry: &&mut Entry<K>| !entry.is_running && entry.due <= now;
        let entry = self.entries.iter_mut().filter(due).min_by_key(|entry| entry.due)?;
        entry.is_running = true;
        Some(entry.job.clone())
    }

    /// A job is over. One that is no longer wanted is forgotten.
    pub fn done(&mut self, job: &K, next: Next, now: Instant) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.job == *job) else { return };
        entry.is_running = false;
        let pause = match next {
            Next::In(pause) => {
                entry.failures = 0;
                pause
            }
            Next::Failed { every } => {
                entry.failures = entry.failures.saturating_add(1);
                every.saturating_mul(1 << entry.failures.min(MOST_DOUBLINGS)).min(LONGEST_PAUSE.max(every))
            }
        };
        entry.due = now + pause.mul_f64(LEAST + SPREAD * self.rng.f64());
    }

    /// When the next job is due of those that are not under way.
    pub fn next_due(&self) -> Option<Instant> {
        self.entries.iter().filter(|entry| !entry.is_running).map(|entry| entry.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVERY: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    #[test]
    fn a_new_job_is_due_at_once_and_one_under_way_is_not() {
        let mut agenda = Agenda::new(1);
        agenda.keep(&["a"], at(10));
        assert_eq!(agenda.take_due(at(9)), None);
        assert_eq!(agenda.take_due(at(11)), Some("a"));
        assert_eq!((agenda.take_due(at(500)), agenda.next_due()), (None, None), "it is under way");
        agenda.done(&"a", Next::In(EVERY), at(20));
        let due = agenda.next_due().unwrap();
        assert!((at(74)..=at(86)).contains(&due), "{due:?}");
    }

    #[test]
    fn what_fails_is_asked_for_less_and_less_often_and_as_usual_once_it_succeeds() {
        let mut agenda = Agenda::new(2);
        agenda.keep(&["a"], at(0));
        let mut now = at(1);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            agenda.take_due(now).unwrap();
            agenda.done(&"a", Next::Failed { every: EVERY }, now);
            let due = agenda.next_due().unwrap();
            pauses.push(due.saturating_since(now));
            now = due;
        }
        assert!(pauses[0] > EVERY && pauses[1] > pauses[0] && pauses[2] > pauses[1], "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE.mul_f64(1.1)), "{pauses:?}");
        agenda.take_due(now).unwrap();
        agenda.done(&"a", Next::In(EVERY), now);
        assert!(agenda.next_due().unwrap() <= now + EVERY.mul_f64(1.1));
    }

    #[test]
    fn a_reload_keeps_the_time_of_what_is_known_and_forgets_what_is_not_wanted() {
        let mut agenda = Agenda::new(3);
        agenda.keep(&["a", "b"], at(0));
        let first = agenda.take_due(at(1)).unwrap();
        agenda.done(&first, Next::In(EVERY), at(1));
        let due = agenda.entries.iter().find(|entry| entry.job == first).unwrap().due;
        agenda.keep(&[first], at(30));
        assert_eq!(agenda.next_due(), Some(due));
        agenda.keep(&[], at(31));
        agenda.done(&first, Next::In(EVERY), at(32));
        assert_eq!(agenda.next_due(), None);
    }

    proptest! {
        #[test]
        fn no_job_is_taken_twice_at_once_nor_before_nine_tenths_of_its_interval(
            seed in any::<u64>(),
            steps in proptest::collection::vec((0_u64..100, any::<bool>(), any::<bool>()), 1..60),
        ) {
            let mut agenda = Agenda::new(seed);
            agenda.keep(&[0, 1, 2], at(0));
            let (mut now, mut running, mut ended) = (0, Vec::new(), [None; 3]);
            for (pause, is_over, is_well) in steps {
                now += pause;
                if is_over && let Some(job) = running.pop() {
                    let next = if is_well { Next::In(EVERY) } else { Next::Failed { every: EVERY } };
                    agenda.done(&job, next, at(now));
                    ended[job] = Some(now);
                } else if let Some(job) = agenda.take_due(at(now)) {
                    prop_assert!(!running.contains(&job));
                    let waited = ended[job].is_none_or(|ended| now - ended >= 54);
                    prop_assert!(waited);
                    running.push(job);
                }
            }
        }
    }
}
