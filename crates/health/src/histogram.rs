//! Durations counted in cells whose width grows with them, over a rolling hour, without a lock.
//!
//! Eight cells an octave: a quantile is off by a sixteenth at most, which is far below what any rule here turns on, and
//! keeps the five prompt sizes of a thousand targets in tens of megabytes. Two threads that record in the moment a
//! window begins anew may lose a sample to each other; nothing that rests on a median notices.

use canon::Instant;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

const CELLS_AN_OCTAVE: usize = 8;
const SUB_BITS: u32 = 3;
/// Sixteen microseconds and all below are one cell.
const LOWEST_OCTAVE: u32 = 4;
/// Up to eighteen minutes.
const OCTAVES: usize = 26;
const CELLS: usize = OCTAVES * CELLS_AN_OCTAVE;
/// Windows of the hour: one is forgotten every ten minutes.
const WINDOWS: usize = 6;
const WINDOW: Duration = Duration::from_secs(10 * 60);
/// Standard deviations to the lower end of what the 95 % may be. Too early costs a hedge that others need more, and
/// the budget sees to that; too late, and those that it is for have nearly been answered.
const SURE_OF_LATE: f64 = 2.0;

/// One window's counts.
#[derive(Debug)]
struct Window {
    /// Which ten minutes of the time line it counts; zero = none yet.
    epoch: AtomicU64,
    cells: [AtomicU32; CELLS],
}

impl Window {
    fn new() -> Self {
        Self { epoch: AtomicU64::new(0), cells: [const { AtomicU32::new(0) }; CELLS] }
    }
}

/// The last hour.
#[derive(Debug)]
pub(crate) struct Histogram {
    windows: [Window; WINDOWS],
}

/// What the middle of the counted durations is, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    pub(crate) count: u32,
    pub(crate) median: Duration,
    /// 84 % are quicker: one standard deviation above the median, were they normal.
    pub(crate) upper: Duration,
    /// 95 % are quicker: the lower end of what that may be.
    pub(crate) late: Duration,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { windows: std::array::from_fn(|_| Window::new()) }
    }

    pub(crate) fn record(&self, duration: Duration, now: Instant) {
        let epoch = epoch(now);
        let index = usize::try_from(epoch % WINDOWS as u64).unwrap_or(0);
        let Some(window) = self.windows.get(index) else { return };
        let known = window.epoch.load(Ordering::Acquire);
        if known != epoch && window.epoch.compare_exchange(known, epoch, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            window.cells.iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
        }
        if let Some(cell) = window.cells.get(cell_of(duration)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.windows.iter().for_each(|window| window.epoch.store(0, Ordering::Release));
    }

    pub(crate) fn shape(&self, now: Instant) -> Shape {
        let cells = self.counted(now);
        let count = sum(&cells);
        let [median, upper] = [50, 84].map(|percent| quantile(&cells, count, percent));
        let late = at_rank(&cells, surely_within_95_percent(count));
        Shape { count, median, upper, late }
    }

    /// One of those that are longer than `age`, each in its turn; `age` itself where none is.
    pub(crate) fn one_of_longer(&self, age: Duration, turn: u32, now: Instant) -> Duration {
        let mut cells = self.counted(now);
        cells.iter_mut().take(cell_of(age) + 1).for_each(|cell| *cell = 0);
        match sum(&cells) {
            0 => age,
            longer => quantile(&cells, longer, spread_out(turn)),
        }
    }

    fn counted(&self, now: Instant) -> [u32; CELLS] {
        let newest = epoch(now);
        let oldest = newest.saturating_sub(WINDOWS as u64 - 1).max(1);
        let mut cells = [0_u32; CELLS];
        for window in &self.windows {
            let epoch = window.epoch.load(Ordering::Acquire);
            if !(oldest..=newest).contains(&epoch) {
                continue;
            }
            for (sum, cell) in cells.iter_mut().zip(&window.cells) {
                *sum = sum.saturating_add(cell.load(Ordering::Relaxed));
            }
        }
        cells
    }
}

/// Per cents that are spread evenly however many turns there are: steps of the golden section.
pub(crate) fn spread_out(turn: u32) -> u64 {
    const STEP: u64 = 618;
    (u64::from(turn) * STEP % 1_000) / 10
}

fn sum(cells: &[u32; CELLS]) -> u32 {
    cells.iter().fold(0_u32, |sum, cell| sum.saturating_add(*cell))
}

fn quantile(cells: &[u32; CELLS], count: u32, percent: u64) -> Duration {
    at_rank(cells, (u64::from(count) * percent).div_ceil(100))
}

/// The rank of the lower end of what the 95 % may be, of so many samples (95 % sure): where one in twenty is late by
/// much, what lies just above is as late as they are.
fn surely_within_95_percent(count: u32) -> u64 {
    let count = f64::from(count);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the count")]
    let rank = (0.95 * count - SURE_OF_LATE * (0.95 * 0.05 * count).sqrt()).max(0.0) as u64;
    rank
}

fn at_rank(cells: &[u32; CELLS], rank: u64) -> Duration {
    let rank = rank.max(1);
    let mut seen = 0;
    for (index, cell) in cells.iter().enumerate() {
        seen += u64::from(*cell);
        if seen >= rank {
            return middle_of(index);
        }
    }
    Duration::ZERO
}

/// Windows are numbered from one, so that a fresh one (zero) belongs to none.
fn epoch(at: Instant) -> u64 {
    at.since_origin().as_secs() / WINDOW.as_secs() + 1
}

fn cell_of(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1 << LOWEST_OCTAVE);
    let octave = micros.ilog2();
    let sub = usize::try_from(micros >> (octave - SUB_BITS)).unwrap_or(0) % CELLS_AN_OCTAVE;
    ((octave - LOWEST_OCTAVE) as usize * CELLS_AN_OCTAVE + sub).min(CELLS - 1)
}

fn middle_of(cell: usize) -> Duration {
    let octave = u32::try_from(cell / CELLS_AN_OCTAVE).unwrap_or(0) + LOWEST_OCTAVE;
    let width = 1_u64 << (octave - SUB_BITS);
    let low = (1_u64 << octave) + width * (cell % CELLS_AN_OCTAVE) as u64;
    Duration::from_micros(low + width / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    proptest! {
        #[test]
        fn a_duration_is_told_to_a_sixteenth(micros in 16_u64..1_000_000_000) {
            let told = middle_of(cell_of(Duration::from_micros(micros))).as_secs_f64() * 1e6;
            let off = (told - micros as f64).abs() / micros as f64;
            prop_assert!(off <= 1.0 / 16.0 + 1e-9, "{micros} µs is told as {told}");
        }
    }

    #[test]
    fn the_middle_and_the_spread_are_those_of_what_was_recorded() {
        let histogram = Histogram::new();
        (1..=100).for_each(|i| histogram.record(Duration::from_millis(i * 10), at(1)));
        let shape = histogram.shape(at(1));
        assert_eq!(shape.count, 100);
        assert!((shape.median.as_secs_f64() - 0.5).abs() < 0.5 / 16.0, "{shape:?}");
        assert!((shape.upper.as_secs_f64() - 0.84).abs() < 0.84 / 16.0, "{shape:?}");
        let late = 0.95 - 2.0 * (0.95_f64 * 0.05 / 100.0).sqrt();
        assert!((shape.late.as_secs_f64() - late).abs() < late / 16.0, "what p95 surely is at least: {shape:?}");
    }

    #[test]
    fn an_hour_is_remembered_and_no_more() {
        let histogram = Histogram::new();
        histogram.record(Duration::from_secs(1), at(5));
        histogram.record(Duration::from_secs(1), at(1_000));
        assert_eq!(histogram.shape(at(3_599)).count, 2);
        assert_eq!(histogram.shape(at(3_600)).count, 1);
        histogram.record(Duration::from_secs(1), at(9_000));
        assert_eq!(histogram.shape(at(9_000)).count, 1);
        histogram.clear();
        assert_eq!(histogram.shape(at(9_000)).count, 0);
    }

    #[test]
    fn nothing_is_out_of_range() {
        let histogram = Histogram::new();
        histogram.record(Duration::ZERO, at(1));
        histogram.record(Duration::from_secs(1 << 40), at(1));
        assert_eq!(histogram.shape(at(1)).count, 2);
    }
}
