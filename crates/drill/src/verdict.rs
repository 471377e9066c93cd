//! Runs a scenario and holds what happened against its bars.

use crate::bar::Unit;
use crate::figures::{Window, measure};
use crate::raw::RawOver;
use crate::record::Record;
use crate::run::run;
use crate::scenario::{Expectation, Scenario};
use crate::table;
use std::fmt;

/// Of so many runs one may miss a bar: a bar holds at the seed that 95 % of the seeds are no worse than.
const ONE_MAY_MISS_OF: usize = 20;

/// What became of one bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The bar as it is written.
    pub bar: String,
    /// Whether it was met.
    pub is_met: bool,
    /// Runs that missed it.
    pub missed_by: usize,
    /// The figure of each run; `None` = it never came to that.
    pub figures: Vec<Option<f64>>,
    /// The figure that is reported: the worst, or the mean where the bar is one of the mean. `None` = never.
    pub figure: Option<f64>,
    unit: Unit,
    over: RawOver,
}

/// What became of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The scenario's name.
    pub name: String,
    /// The seeds, in order.
    pub seeds: Vec<u64>,
    /// What each run hashes to: equal for equal runs. None over sockets, where no two runs are equal.
    pub traces: Vec<u64>,
    /// One for each bar.
    pub verdicts: Vec<Verdict>,
    /// The timeline of the first run.
    pub table: String,
    /// What of the configuration was left out.
    pub notes: Vec<String>,
}

impl Scenario {
    /// Runs the scenario with `seeds` seeds from `first` on, and judges it.
    ///
    /// # Errors
    /// Says why the configuration does not load, which [`Scenario::load`] has found to load.
    pub fn drill(&self, first: u64, seeds: usize) -> Result<Report, String> {
        let (mut judged, mut traces) = (Judged::default(), Vec::new());
        for seed in (0..seeds.max(1) as u64).map(|i| first.wrapping_add(i)) {
            let record = run(self, seed)?;
            judged.add(self, seed, &record);
            traces.push(record.hash.0);
        }
        Ok(Report { traces, notes: self.notes.clone(), ..judged.report(self) })
    }
}

/// What is kept of runs.
#[derive(Default)]
pub(crate) struct Judged {
    seeds: Vec<u64>,
    /// By run and by bar.
    figures: Vec<Vec<Option<f64>>>,
    /// Of the first run.
    table: String,
}

impl Judged {
    /// One more run.
    pub(crate) fn add(&mut self, scenario: &Scenario, seed: u64, record: &Record) {
        if self.seeds.is_empty() {
            self.table = table::render(scenario, record);
        }
        self.seeds.push(seed);
        self.figures.push(scenario.expectations.iter().map(|expectation| figure(record, expectation)).collect());
    }

    /// Holds the runs against the bars; without traces and notes.
    pub(crate) fn report(self, scenario: &Scenario) -> Report {
        let of_bar = |bar: usize| self.figures.iter().map(|of_run| of_run.get(bar).copied().flatten()).collect();
        let bars = scenario.expectations.iter().enumerate();
        let verdicts = bars.map(|(bar, expectation)| judge(expectation, of_bar(bar))).collect();
        let (name, table) = (scenario.name.clone(), self.table);
        Report { name, seeds: self.seeds, traces: Vec::new(), verdicts, table, notes: Vec::new() }
    }
}

fn figure(record: &Record, expectation: &Expectation) -> Option<f64> {
    let window = Window { from: expectation.from, to: expectation.to, load: expectation.of };
    measure(record, &expectation.bar.figure, expectation.bar.unit, window)
}

fn judge(expectation: &Expectation, figures: Vec<Option<f64>>) -> Verdict {
    let compare = expectation.bar.compare;
    let is_met = |figure: &Option<f64>| figure.is_some_and(|figure| compare.is_met(figure));
    let missed_by = figures.iter().filter(|figure| !is_met(figure)).count();
    let (is_met, figure) = match expectation.over {
        RawOver::Each => {
            let worst = figures.iter().copied().min_by(|a, b| {
                let margin = |figure: &Option<f64>| figure.map_or(f64::NEG_INFINITY, |it| compare.margin(it));
                margin(a).total_cmp(&margin(b))
            });
            (missed_by <= figures.len() / ONE_MAY_MISS_OF, worst.flatten())
        }
        RawOver::Mean => {
            let all: Option<Vec<f64>> = figures.iter().copied().collect();
            let mean = all.map(|all| all.iter().sum::<f64>() / all.len() as f64);
            (is_met(&mean), mean)
        }
    };
    let bar = expectation.text.clone();
    Verdict { bar, is_met, missed_by, figures, figure, unit: expectation.bar.unit, over: expectation.over }
}

impl Report {
    /// Bars that were missed.
    pub fn missed(&self) -> usize {
        self.verdicts.iter().filter(|verdict| !verdict.is_met).count()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_met { "met   " } else { "MISSED" };
        let figure = self.figure.map_or_else(|| "never".to_owned(), |figure| self.unit.show(figure));
        write!(f, "{word}  {}  {figure}", self.bar)?;
        if self.figures.len() > 1 {
            match self.over {
                RawOver::Each => {
                    write!(f, " at worst, missed by {} of {} seeds", self.missed_by, self.figures.len())?;
                }
                RawOver::Mean => write!(f, " in the mean of {} seeds", self.figures.len())?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.name)?;
        writeln!(f, "{}", self.table)?;
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        for verdict in &self.verdicts {
            writeln!(f, "{verdict}")?;
        }
        match (self.seeds.first(), self.seeds.last()) {
            (Some(first), Some(last)) if first != last => write!(f, "\nseeds {first}-{last}, ")?,
            (first, _) => write!(f, "\nseed {}, ", first.copied().unwrap_or_default())?,
        }
        if self.traces.is_empty() {
            writeln!(f, "over sockets")?;
        } else {
            writeln!(f, "trace {:016x}", self.traces.iter().fold(0_u64, |all, trace| all.rotate_left(1) ^ trace))?;
        }
        let missed = self.missed();
        write!(f, "{} expectations met, {missed} missed", self.verdicts.len() - missed)
    }
}
