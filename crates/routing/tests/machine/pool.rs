//! A pool of targets as a test describes it, and the model that is built of it.

use canon::Secret;
use catalog::{Catalog, ModelFacts, RawProvider};
use health::{BreakerSettings, Concurrency, Health};
use routing::{Credential, Guards, Ledger, Model, ModelSettings, Node, Quality, Rescue, RescueMode, Strategy, Target};
use std::sync::Arc;

/// Builds a model whose targets are called `p0/m`, `p1/m`, …
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) settings: ModelSettings,
    pub(crate) breaker: BreakerSettings,
    pub(crate) seed: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) targets: Vec<Spec>,
}

#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) keys: usize,
    pub(crate) weight: u32,
    pub(crate) facts: ModelFacts,
    pub(crate) guards: Guards,
    pub(crate) quality: Option<Quality>,
    pub(crate) same_model: Option<&'static str>,
    pub(crate) bound: Option<Concurrency>,
    pub(crate) region: Option<&'static str>,
    pub(crate) cancel_stops_billing: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            keys: 1,
            weight: 1,
            facts: ModelFacts::default(),
            guards: Guards::default(),
            quality: None,
            same_model: None,
            bound: None,
            region: None,
            cancel_stops_billing: false,
        }
    }
}

impl Pool {
    pub(crate) fn of(count: usize) -> Self {
        Self::with(vec![Spec::default(); count])
    }

    pub(crate) fn with(targets: Vec<Spec>) -> Self {
        // Rescue has scenarios of its own; without it what breaks ends.
        let rescue = Rescue { mode: RescueMode::Error, ..Rescue::default() };
        let settings = ModelSettings { rescue, ..ModelSettings::default() };
        Self { settings, breaker: BreakerSettings::default(), seed: 1, nodes: Vec::new(), targets }
    }

    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    pub(crate) fn build(&self) -> Arc<Model> {
        let (health, ledger) = self.state();
        self.build_over(&health, &ledger)
    }

    /// What outlives a reload.
    pub(crate) fn state(&self) -> (Health, Ledger) {
        (Health::new(self.seed), Ledger::default())
    }

    /// The model over what an earlier one has learned.
    pub(crate) fn build_over(&self, health: &Health, ledger: &Ledger) -> Arc<Model> {
        let catalog = Catalog::builtin().unwrap();
        let targets = self.targets.iter().enumerate().map(|(index, spec)| {
            let name = format!("p{index}");
            let raw = RawProvider {
                dialect: Some(canon::DialectName::OpenaiChat),
                base_url: Some("http://127.0.0.1:1/v1".to_owned()),
                cancel_stops_billing: Some(spec.cancel_stops_billing),
                ..RawProvider::default()
            };
            let provider = Arc::new(catalog.with_overrides(&name, raw).unwrap());
            let id = format!("{name}/m");
            let kept = ledger.target(&id);
            spec.guards.spend.iter().for_each(|limit| kept.spending.watch(limit.window));
            let credentials = (0..spec.keys).map(|key| {
                let id = format!("{name}/{key}");
                let shared = health.credential(&id);
                Credential::new(id, Secret::new(""), shared, "m")
            });
            Arc::new(Target {
                profile: Arc::new(provider.profile.clone()),
                provider,
                model: "m".to_owned(),
                facts: spec.facts.clone(),
                credentials: credentials.collect(),
                weight: spec.weight,
                region: spec.region.map(str::to_owned),
                why: None,
                same_model: spec.same_model.map_or_else(|| id.clone(), str::to_owned),
                health: health.target(&id, &self.breaker),
                provider_health: health.provider(&name),
                quality: spec.quality,
                min_quality: None,
                via: None,
                guards: spec.guards,
                ledger: kept,
                bound: spec.bound.map(|stated| health.bound(&id, stated)),
                tally: None,
                near: (self.settings.strategy == Strategy::Nearest).then(|| {
                    let near = ledger.model("chat").near();
                    near.compare(&self.targets.iter().filter_map(|spec| spec.region).collect::<Vec<_>>());
                    near
                }),
                judge: match self.settings.strategy {
                    Strategy::Auto(objectives) => Some(ledger.target(&id).judge(objectives)),
                    _ => None,
                },
                patch: None,
                id,
            })
        });
        Arc::new(Model {
            name: "chat".to_owned(),
            settings: self.settings.clone(),
            targets: targets.collect(),
            nodes: self.nodes.clone(),
            budget: health.budget("chat"),
            panic_gate: health.panic_gate("chat"),
            ledger: ledger.model("chat"),
            rules: None,
        })
    }
}
