//! The day: every way of choosing over the same requests, beside an oracle that knows what each task needs.

use crate::serve::{Bill, Failing, Run, moment};
use crate::trace::{Request, Trace};
use catalog::{Catalog, Usd};
use config::{Environment, Loader, Snapshot};
use health::Health;
use routing::{Model, Target};
use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

const CONFIG: &str = include_str!("../../../../examples/cost/day.yaml");
/// The tiers, the lowest first; a model of each name lists their targets.
pub(crate) const TIERS: [&str; 3] = ["bulk", "standard", "premium"];
/// Of all calls, so many are refused with a 503: an availability of 99.5 %.
const REFUSED: f64 = 0.005;
/// Ways of choosing: the model of the configuration, and whether the application labels its requests.
pub(crate) const WAYS: [(&str, &str, bool); 6] = [
    ("`cheapest` with tiers, labels", "assistant", true),
    ("always premium, its cheapest target", "premium", false),
    ("prompt length only", "by-length", false),
    ("complexity score only", "by-complexity", false),
    ("random tier", "random", false),
    ("always bulk, its cheapest target", "bulk", false),
];

/// The configuration with health and books of its own.
pub(crate) fn snapshot(seed: u64) -> Result<Snapshot, Box<dyn Error>> {
    let catalog = Catalog::builtin()?;
    let keys = catalog.providers.values().flat_map(|provider| &provider.key_env);
    // Nobody is called, and no key is read.
    let environment: Environment = keys.map(|name| (name.clone(), "no-key".to_owned())).collect();
    let health = Arc::new(Health::new(seed));
    let loader = Loader {
        catalog: &catalog,
        health: &health,
        ledger: &Arc::default(),
        environment: &environment,
        allow_injection: false,
    };
    Ok(loader.load("day.yaml", CONFIG)?)
}

pub(crate) fn model(snapshot: &Snapshot, name: &str) -> Result<Arc<Model>, Box<dyn Error>> {
    Ok(snapshot.resolve(name).map_err(|unknown| unknown.to_string())?)
}

/// Knows what each task needs, how long the answer will be, and every price; and its targets never fail.
pub(crate) struct Oracle {
    /// With the number of its tier.
    targets: Vec<(usize, Arc<Target>)>,
}

impl Oracle {
    pub(crate) fn new(snapshot: &Snapshot) -> Result<Self, Box<dyn Error>> {
        let mut targets = Vec::new();
        for (number, tier) in TIERS.into_iter().enumerate() {
            targets.extend(model(snapshot, tier)?.targets.iter().map(|target| (number, Arc::clone(target))));
        }
        Ok(Self { targets })
    }

    /// Each target with its list price and where that was read, as rows of a table.
    pub(crate) fn price_rows(&self) -> Vec<String> {
        let row = |(number, target): &(usize, Arc<Target>)| {
            let prices = target.facts.prices.as_ref()?;
            let (source, read) = (prices.source.as_deref()?, prices.read.as_deref()?);
            let tier = TIERS.get(*number)?;
            Some(format!("| `{}` | {tier} | {} | {} | {source}, {read} |", target.id, prices.input, prices.output))
        };
        self.targets.iter().filter_map(row).collect()
    }

    /// The number of each target's tier.
    pub(crate) fn tiers(&self) -> HashMap<String, usize> {
        self.targets.iter().map(|(number, target)| (target.id.clone(), *number)).collect()
    }

    /// The tier a request needs, by number, and the least it costs there or above.
    pub(crate) fn of(&self, request: &Request) -> (usize, Usd) {
        let floor = TIERS.iter().position(|tier| *tier == request.task.floor()).unwrap_or(TIERS.len());
        let fits = |target: &Target| target.facts.context_window.is_none_or(|window| window >= request.input_tokens);
        let able = self.targets.iter().filter(|(tier, target)| *tier >= floor && fits(target));
        let usage = request.usage();
        let costs = able.filter_map(|(_, target)| target.facts.prices.as_ref()?.cost(&usage, Some(moment(request.at))));
        (floor, costs.min().unwrap_or(Usd::MAX))
    }
}

/// What a day came to.
pub(crate) struct Day {
    pub(crate) oracle: Usd,
    /// In the order of [`WAYS`].
    pub(crate) bills: Vec<Bill>,
}

impl Day {
    /// All ways over the same requests; of the traffic, so large a share.
    pub(crate) fn new(seed: u64, share: f64) -> Result<Self, Box<dyn Error>> {
        let failing = Failing { share: REFUSED, outage: None };
        let mut runs = Vec::new();
        for (_, name, is_labelled) in WAYS {
            let snapshot = snapshot(seed)?;
            let tiers = Oracle::new(&snapshot)?.tiers();
            let run = Run::new(model(&snapshot, name)?, failing, tiers, seed);
            runs.push(if is_labelled { run.labelled() } else { run });
        }
        let knows = Oracle::new(&snapshot(seed)?)?;
        let mut oracle = Usd::ZERO;
        for request in Trace::new(seed, (0.0, 24.0), share) {
            let (floor, least) = knows.of(&request);
            oracle = oracle.plus(least);
            for run in &mut runs {
                run.take(&request, floor, least)?;
            }
        }
        Ok(Self { oracle, bills: runs.into_iter().map(Run::bill).collect() })
    }

    /// What a way spent, of what the oracle did; once as it is, once with what was below its floor asked again.
    pub(crate) fn of_oracle(&self, bill: &Bill) -> [f64; 2] {
        [bill.spent(), bill.with_asked_again()].map(|spent| spent.as_dollars() / self.oracle.as_dollars())
    }
}
