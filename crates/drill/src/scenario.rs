//! A scenario that fits together: the configuration loads, targets exist, bars can be measured.

use crate::bar::{Bar, Names};
use crate::error::ScenarioError;
use crate::fault::PlannedFault;
use crate::load::Load;
use crate::raw::{RawConfig, RawExpectation, RawFault, RawLaw, RawLoad, RawOver, RawScenario};
use crate::timeline;
use crate::units::Spread;
use crate::world::Law;
use canon::Instant;
use catalog::Catalog;
use config::{Environment, Loader, Snapshot, WhenExhausted};
use health::Health;
use routing::ModelSettings;
use serde_saphyr::{Location, Spanned};
use std::sync::Arc;
use std::time::Duration;

/// One round trip across a continent: how long an error answer takes where a law does not say.
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// A Monday at noon, where a scenario does not say when it begins.
const NOON: u64 = MONDAY + 12 * 3600;
/// Monday, 23 November 2026, 00:00 UTC.
const MONDAY: u64 = 1_795_392_000;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Rows of a table whose scenario does not say how long they are.
const ROWS: u32 = 24;

/// A text with the name it has in errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedText {
    /// A file name.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What a scenario is applied to, in the place of what it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Over {
    /// The configuration.
    pub config: Option<NamedText>,
    /// The model that every load asks for.
    pub model: Option<String>,
}

/// A target and its law.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) id: String,
    pub(crate) law: Law,
    pub(crate) credentials: usize,
}

/// A bar with its window.
#[derive(Debug, Clone)]
pub(crate) struct Expectation {
    pub(crate) text: String,
    pub(crate) bar: Bar,
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    /// Index of the load whose requests alone count.
    pub(crate) of: Option<usize>,
    pub(crate) over: RawOver,
}

/// A checked scenario, ready to run.
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// Parts of the configuration that a drill leaves out.
    pub notes: Vec<String>,
    pub(crate) duration: Duration,
    /// Seconds since the Unix epoch at the begin.
    pub(crate) starts: u64,
    pub(crate) replicas: usize,
    pub(crate) rows: Duration,
    pub(crate) loads: Vec<Load>,
    pub(crate) places: Vec<Place>,
    pub(crate) faults: Vec<PlannedFault>,
    pub(crate) expectations: Vec<Expectation>,
    /// Whether every law, load and fault says where it comes from.
    pub(crate) is_sourced: bool,
    config: NamedText,
    environment: Environment,
    catalog: Arc<Catalog>,
}

impl Scenario {
    /// Reads a scenario, or applies it to something else: `over` takes the place of what it names. `read` reads the
    /// configuration that it names, relative to itself.
    ///
    /// # Errors
    /// Names the line of the scenario, or of the configuration.
    pub fn load(
        scenario: &NamedText,
        over: Over,
        read: &dyn Fn(&str) -> Result<NamedText, String>,
    ) -> Result<Self, ScenarioError> {
        let NamedText { name: origin, text } = scenario;
        let mut raw: RawScenario = serde_saphyr::from_str(text).map_err(|error| ScenarioError::yaml(origin, &error))?;
        if let Some(model) = over.model {
            raw.load.iter_mut().for_each(|load| load.value.model = Some(model.clone()));
        }
        let config = match (over.config, &raw.config) {
            (Some(given), _) => given,
            (None, RawConfig::Path(path)) => read(path).map_err(ScenarioError::plain)?,
            (None, RawConfig::Inline) => NamedText { name: origin.clone(), text: inline(text) },
            (None, RawConfig::None) => {
                return Err(ScenarioError::plain(format!(
                    "{origin}: no `config`: expected a path or a configuration, or --config FILE"
                )));
            }
        };
        let catalog = Catalog::builtin().map_err(|error| ScenarioError::plain(error.to_string()))?;
        let environment = placeholders(&config.text, &catalog);
        let mut built = Self {
            name: raw.name.clone(),
            about: raw.about.trim().to_owned(),
            notes: Vec::new(),
            duration: raw.duration.0,
            starts: NOON,
            replicas: 1,
            rows: raw.rows.map_or_else(|| round_rows(raw.duration.0), |rows| rows.0.max(Duration::from_millis(100))),
            loads: Vec::new(),
            places: Vec::new(),
            faults: Vec::new(),
            expectations: Vec::new(),
            is_sourced: true,
            config,
            environment,
            catalog,
        };
        let snapshot = built.snapshot(&Arc::new(Health::new(0))).map_err(ScenarioError::plain)?;
        Check { origin, source: text, built: &mut built }.all(&raw, &snapshot)?;
        built.notes = notes(&built.loads, &snapshot);
        Ok(built)
    }

    /// The configuration in force over this health, with nothing known yet of what answers cost.
    ///
    /// # Errors
    /// Says why the configuration does not load, which [`Scenario::load`] has found to load.
    pub fn snapshot(&self, health: &Arc<Health>) -> Result<Snapshot, String> {
        let loader = Loader {
            ledger: &Arc::default(),
            catalog: &self.catalog,
            health,
            environment: &self.environment,
            // What a configuration injects belongs to a gateway's own drill; the timeline says what breaks here.
            allow_injection: true,
        };
        loader.load(&self.config.name, &self.config.text).map_err(|error| error.to_string())
    }

    /// Whether every law, every load and every fault says where its figures or its shape come from.
    pub fn is_sourced(&self) -> bool {
        self.is_sourced
    }

    /// How long callers arrive.
    pub fn duration(&self) -> Duration {
        self.duration
    }
}

/// The lines of the configuration alone, each where it was, so that its errors name lines of the scenario.
fn inline(source: &str) -> String {
    let mut inside = false;
    let mut text = String::with_capacity(source.len());
    for line in source.lines() {
        let is_top = line.starts_with(|c: char| !c.is_whitespace() && c != '#');
        if is_top {
            inside = line.starts_with("config:");
        }
        if inside {
            text.push_str(&line.replacen("config:", "       ", usize::from(is_top)));
        }
        text.push('\n');
    }
    text
}

/// A drill calls nobody, so no key is needed and none is read: every variable has a value that is no secret.
fn placeholders(text: &str, catalog: &Catalog) -> Environment {
    let named = text.split("${").skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name.to_owned()));
    let usual = catalog.providers.values().flat_map(|provider| provider.key_env.iter().cloned());
    named.chain(usual).map(|name| (name.clone(), format!("drill-{name}"))).collect()
}

/// `mon 09:30`, in UTC.
fn moment(text: &str) -> Option<u64> {
    let (day, time) = text.trim().split_once(' ')?;
    let (hour, minute) = time.trim().split_once(':')?;
    let day = DAYS.iter().position(|it| *it == day)? as u64;
    let number = |text: &str, below: u64| text.parse::<u64>().ok().filter(|number| *number < below);
    Some(MONDAY + day * 86_400 + number(hour, 24)? * 3_600 + number(minute, 60)? * 60)
}

fn round_rows(duration: Duration) -> Duration {
    const STEPS: [u64; 11] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800];
    let wanted = duration / ROWS;
    let fits = STEPS.into_iter().map(Duration::from_secs).find(|step| *step >= wanted);
    fits.unwrap_or(wanted)
}

fn notes(loads: &[Load], snapshot: &Snapshot) -> Vec<String> {
    let talks = |model: &str| loads.iter().any(|load| load.model == model && load.conversation.is_some());
    let mut notes = Vec::new();
    for load in loads {
        let reuse = snapshot.reuse(&load.model);
        let left_out = [
            ("the queue", reuse.when_exhausted.contains(&WhenExhausted::Queue)),
            ("the stale cache", reuse.when_exhausted.contains(&WhenExhausted::StaleCache)),
            ("the cache", reuse.cache.is_some()),
            ("coalescing", reuse.coalesce != config::Coalesce::Off),
        ];
        let model = snapshot.resolve(&load.model).ok();
        let has = |is_on: fn(&ModelSettings) -> bool| model.as_ref().is_some_and(|model| is_on(&model.settings));
        let of_model = [
            ("the evaluator", has(|settings| settings.evaluate.is_some())),
            ("recovery by probes", has(|settings| settings.probe == routing::ProbeMode::Synthetic)),
            ("what sessions remember", !talks(&load.model) && has(|settings| settings.sessions.is_some())),
        ];
        for (what, is_on) in left_out.into_iter().chain(of_model) {
            let note = format!("{}: {what} is left out of a drill", load.model);
            if is_on && !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    notes
}

struct Check<'a> {
    origin: &'a str,
    source: &'a str,
    built: &'a mut Scenario,
}

impl Check<'_> {
    fn at(&self, place: Location, message: &str) -> ScenarioError {
        ScenarioError::at(self.origin, self.source, place, message)
    }

    fn all(&mut self, raw: &RawScenario, snapshot: &Snapshot) -> Result<(), ScenarioError> {
        if let Some(replicas) = &raw.replicas {
            if !(1..=64).contains(&replicas.value) {
                return Err(self.at(replicas.referenced, "expected 1 to 64 replicas"));
            }
            self.built.replicas = replicas.value as usize;
        }
        if let Some(starts) = &raw.starts {
            let message = "expected a day and an hour in UTC, such as `mon 09:30`";
            self.built.starts = moment(&starts.value).ok_or_else(|| self.at(starts.referenced, message))?;
        }
        if raw.load.is_empty() {
            return Err(ScenarioError::plain(format!("{}: `load` is empty: nobody asks for anything", self.origin)));
        }
        for load in &raw.load {
            self.load(load, snapshot, raw)?;
        }
        for (id, law) in &raw.targets {
            if id != "*" && self.site(id).is_none() {
                return Err(self.at(law.referenced, &self.unknown(id)));
            }
        }
        for fault in &raw.timeline {
            self.built.is_sourced &= !fault.value.source.trim().is_empty();
            let fault = self.fault(fault)?;
            self.built.faults.push(fault);
        }
        for expectation in &raw.expect {
            let expectation = self.expectation(expectation)?;
            self.built.expectations.push(expectation);
        }
        Ok(())
    }

    /// A target by its id, or by its place in the list of the models asked for: `@1`.
    fn site(&self, id: &str) -> Option<usize> {
        match id.strip_prefix('@') {
            Some(number) => number
                .parse()
                .ok()
                .filter(|number| (1..=self.built.places.len()).contains(number))
                .map(|it: usize| it - 1),
            None => self.built.places.iter().position(|place| place.id == id),
        }
    }

    fn unknown(&self, id: &str) -> String {
        let known: Vec<&str> = self.built.places.iter().map(|place| place.id.as_str()).collect();
        format!("there is no target `{id}`: the models asked for have {}", known.join(", "))
    }

    fn load(&mut self, raw: &Spanned<RawLoad>, snapshot: &Snapshot, all: &RawScenario) -> Result<(), ScenarioError> {
        let load = &raw.value;
        let name = match &load.model {
            Some(name) => name.clone(),
            None => match snapshot.models().collect::<Vec<_>>().as_slice() {
                [only] => only.name.clone(),
                _ => return Err(self.at(raw.referenced, "say which `model`: there is not exactly one")),
            },
        };
        let model = snapshot.resolve(&name).map_err(|unknown| self.at(raw.referenced, &unknown.to_string()))?;
        for target in model.targets.iter() {
            if self.site(&target.id).is_some() {
                continue;
            }
            let number = format!("@{}", self.built.places.len() + 1);
            let law = [target.id.as_str(), number.as_str(), "*"].into_iter().find_map(|id| all.targets.get(id));
            let Some(law) = law else {
                let message = format!("`targets` has no law for `{}`, and none for `*`", target.id);
                return Err(self.at(raw.referenced, &message));
            };
            self.built.is_sourced &= !law.value.source.trim().is_empty();
            let law = self.law(law)?;
            let credentials = target.credentials.len().max(1);
            self.built.places.push(Place { id: target.id.clone(), law, credentials });
        }
        self.built.is_sourced &= !load.source.trim().is_empty();
        let load = Load::of(load, name).and_then(|load| load.placed(model.settings.tiers.as_deref()));
        let load = load.map_err(|message| self.at(raw.referenced, &message))?;
        self.built.loads.push(load);
        Ok(())
    }

    fn law(&self, raw: &Spanned<RawLaw>) -> Result<Law, ScenarioError> {
        let law = &raw.value;
        let positive = |number: f64| number.is_finite() && number > 0.0;
        let limits = [law.requests_per_minute, law.tokens_per_minute];
        if !positive(law.tokens_per_second) || !limits.into_iter().flatten().all(positive) {
            return Err(self.at(raw.referenced, "expected speeds and limits above 0"));
        }
        Ok(Law {
            first_token: Spread { median: law.first_token.median.0.as_secs_f64(), sigma: law.first_token.sigma },
            tokens_per_second: law.tokens_per_second,
            refuses_after: law.refuses_after.map_or(ROUND_TRIP, |span| span.0),
            requests_per_minute: law.requests_per_minute,
            tokens_per_minute: law.tokens_per_minute,
            tells_limits: law.tells_limits,
            keeps_prompts: law.keeps_prompts.map(|span| span.0),
            capacity: law.capacity,
        })
    }

    fn fault(&self, raw: &Spanned<RawFault>) -> Result<PlannedFault, ScenarioError> {
        let site = match raw.value.target.as_str() {
            "*" => None,
            id => Some(self.site(id).ok_or_else(|| self.at(raw.referenced, &self.unknown(id)))?),
        };
        let credentials = site.and_then(|site| self.built.places.get(site)).map(|place| place.credentials);
        timeline::plan(&raw.value, site, credentials).map_err(|message| self.at(raw.referenced, &message))
    }

    fn expectation(&self, raw: &Spanned<RawExpectation>) -> Result<Expectation, ScenarioError> {
        let RawExpectation { bar: text, from, to, of, over, why } = &raw.value;
        let names = Names { site: &|id| self.site(id), load: &|name| self.load_named(name) };
        let bar = Bar::parse(text, &names).map_err(|message| self.at(raw.referenced, &message))?;
        let from = from.map_or(Instant::ORIGIN, |from| Instant::from_origin(from.0));
        let to = Instant::from_origin(to.map_or(self.built.duration, |to| to.0));
        if to <= from {
            return Err(self.at(raw.referenced, "the window ends before it begins"));
        }
        let of = match of {
            None => None,
            Some(name) => Some(self.load_named(name).ok_or_else(|| {
                self.at(raw.referenced, &format!("no load is called `{name}`: expected the `name` of one"))
            })?),
        };
        let text = if why.is_empty() { text.clone() } else { format!("{text} ({why})") };
        Ok(Expectation { text, bar, from, to, of, over: *over })
    }

    fn load_named(&self, name: &str) -> Option<usize> {
        self.built.loads.iter().position(|load| load.name.as_deref() == Some(name))
    }
}
