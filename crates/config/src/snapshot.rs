//! What a valid configuration becomes: everything an exchange looks up, indexed, immutable, replaced as a whole.

use crate::feeds::{IncidentFeed, IncidentWebhook};
use crate::mirror;
use crate::probes;
use crate::reuse::{Reuse, ReuseLimits, WhenExhausted};
use crate::spot::PriceFeed;
use canon::{Priority, Secret};
use catalog::{ModelFacts, Provider, StatusPage};
use dialect::profile::Profile;
use health::{BreakerSettings, CredentialHealth, DoorSettings, Health, ProviderHealth};
use routing::{
    Credential, Guards, Ledger, Model, ModelLedger, ModelRules, ModelSettings, Node, Overrides, Rulebook, Target,
};
use rules::{RuleSet, Tally};
use signals::{PriceSheet, Probing};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Most `provider/model` names kept resolved; a flood of invented names must not fill the memory.
const MOST_DIRECT: usize = 1024;

/// A configuration in force.
#[derive(Clone)]
pub struct Snapshot {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Callers; empty = open.
    pub keys: Vec<CallerKey>,
    /// Serve callers without a key on any address.
    pub allow_open: bool,
    /// Bounds of what callers may send.
    pub limits: Limits,
    /// How long streams may go on after SIGTERM.
    pub drain: Duration,
    /// How long connections are still accepted after SIGTERM.
    pub drain_accept: Duration,
    /// Faults to inject, by target id.
    pub injections: BTreeMap<String, Injection>,
    /// Lists of incidents that are read now and then.
    pub incident_feeds: Vec<IncidentFeed>,
    /// Prices that are read now and then.
    pub price_feed: Option<PriceFeed>,
    /// Incidents that are told; `None` = nobody may.
    pub incident_webhook: Option<IncidentWebhook>,
    /// Bounds of what is kept to be used again.
    pub reuse_limits: ReuseLimits,
    /// How many exchanges may be in flight at once in all; `None` = as many as come.
    pub door: Option<DoorSettings>,
    /// The same of single models, by name.
    pub doors: BTreeMap<String, DoorSettings>,
    reuse: BTreeMap<String, Arc<Reuse>>,
    direct_reuse: Arc<Reuse>,
    models: BTreeMap<String, Arc<Model>>,
    pools: Arc<BTreeMap<String, Pool>>,
    health: Arc<Health>,
    ledger: Arc<Ledger>,
    breaker: BreakerSettings,
    probes: Vec<Probing>,
    pages_every: Option<Duration>,
    direct_settings: ModelSettings,
    direct: Direct,
    /// Prices that were told, by target.
    sheet: PriceSheet,
    rulebook: Option<Arc<Rulebook>>,
    /// Of the targets that rules read, by id.
    tallies: BTreeMap<String, Arc<Tally>>,
}

/// The `provider/model` names that were asked for. A copy of a configuration resolves them anew.
#[derive(Default)]
struct Direct(Mutex<BTreeMap<String, Arc<Model>>>);

impl Clone for Direct {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// What a snapshot is made of, models aside.
pub(crate) struct Parts {
    pub(crate) listen: SocketAddr,
    pub(crate) keys: Vec<CallerKey>,
    pub(crate) allow_open: bool,
    pub(crate) limits: Limits,
    pub(crate) drain: Duration,
    pub(crate) drain_accept: Duration,
    pub(crate) reuse_limits: ReuseLimits,
    pub(crate) door: Option<DoorSettings>,
    pub(crate) direct_reuse: Reuse,
    pub(crate) health: Arc<Health>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) breaker: BreakerSettings,
    pub(crate) probes: Vec<Probing>,
    pub(crate) pages_every: Option<Duration>,
    pub(crate) direct: ModelSettings,
    pub(crate) pools: BTreeMap<String, Pool>,
}

/// What a model lists, with what the models among that list.
#[derive(Default)]
pub(crate) struct Listed {
    pub(crate) targets: Vec<Arc<Target>>,
    /// Empty when no model is among it.
    pub(crate) nodes: Vec<Node>,
    /// How many targets each that is written brings: one, or those of a model.
    pub(crate) brought: Vec<usize>,
}

/// A configured provider with its credentials.
pub(crate) struct Pool {
    provider: Arc<Provider>,
    keys: Vec<Key>,
    health: Arc<ProviderHealth>,
}

struct Key {
    id: String,
    secret: Secret,
    health: Arc<CredentialHealth>,
}

impl Pool {
    pub(crate) fn new(provider: Provider, keys: Vec<Secret>, health: &Health) -> Self {
        let name = &provider.name;
        let keys = if keys.is_empty() { vec![Secret::new("")] } else { keys };
        Self { health: health.provider(name), keys: named(name, keys, health), provider: Arc::new(provider) }
    }
}

fn named(provider: &str, keys: Vec<Secret>, health: &Health) -> Vec<Key> {
    let key = |secret| {
        let id = format!("{provider}/{}", fingerprint(&secret));
        Key { health: health.credential(&id), id, secret }
    };
    keys.into_iter().map(key).collect()
}

/// Keys as a target with this model uses them.
fn credentials(keys: &[Key], model: &str) -> Vec<Credential> {
    let of = |key: &Key| Credential::new(key.id.clone(), key.secret.clone(), Arc::clone(&key.health), model);
    keys.iter().map(of).collect()
}

/// Eight hex digits of the key's hash: stable across reloads, tells keys apart, gives nothing away.
fn fingerprint(secret: &Secret) -> String {
    use sha2::{Digest, Sha256};
    let hash: [u8; 32] = Sha256::digest(secret.expose().as_bytes()).into();
    hash.iter().take(4).fold(String::new(), |mut text, byte| {
        use fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerKey {
    /// The name in logs.
    pub name: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// Models it may use; empty = all. A trailing `*` stands for any ending.
    pub models: Vec<String>,
    /// Who is served first when requests wait.
    pub priority: Priority,
}

impl CallerKey {
    /// Whether it may use a model.
    pub fn allows(&self, model: &str) -> bool {
        self.models.is_empty()
            || self.models.iter().any(|allowed| match allowed.strip_suffix('*') {
                Some(prefix) => model.starts_with(prefix),
                None => allowed == model,
            })
    }
}

/// A fault to inject into a share of a target's calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// The simulator's name of it.
    pub fault: String,
    /// Share of calls, 0–100.
    pub percent: f64,
    /// From this long after the configuration was loaded.
    pub from: Option<Duration>,
    /// Until this long after the configuration was loaded.
    pub until: Option<Duration>,
    /// Seed of the draw.
    pub seed: u64,
}

/// Bounds of what callers may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request body, after decompression.
    pub body: usize,
    /// Longest silence while a body arrives, and while a caller does not read.
    pub caller_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: 32 << 20, caller_idle: Duration::from_secs(30) }
    }
}

/// A name that is neither a logical model nor `provider/model` of a configured provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownModel {
    /// What was asked for.
    pub asked: String,
    /// What there is, at most ten names.
    pub known: Vec<String>,
    /// Configured providers.
    pub providers: Vec<String>,
}

impl fmt::Display for UnknownModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.asked.chars().take(120).collect();
        write!(f, "there is no model `{shown}`")?;
        if !self.known.is_empty() {
            write!(f, ": known are {}", self.known.join(", "))?;
        }
        write!(f, "; `provider/model` works for {}", self.providers.join(", "))
    }
}

impl Snapshot {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            listen: parts.listen,
            keys: parts.keys,
            allow_open: parts.allow_open,
            limits: parts.limits,
            drain: parts.drain,
            drain_accept: parts.drain_accept,
            injections: BTreeMap::new(),
            incident_feeds: Vec::new(),
            price_feed: None,
            sheet: PriceSheet::new(),
            incident_webhook: None,
            reuse_limits: parts.reuse_limits,
            door: parts.door,
            doors: BTreeMap::new(),
            reuse: BTreeMap::new(),
            direct_reuse: Arc::new(parts.direct_reuse),
            models: BTreeMap::new(),
            pools: Arc::new(parts.pools),
            health: parts.health,
            ledger: parts.ledger,
            breaker: parts.breaker,
            probes: parts.probes,
            pages_every: parts.pages_every,
            direct_settings: parts.direct,
            direct: Direct::default(),
            rulebook: None,
            tallies: BTreeMap::new(),
        }
    }

    /// Targets of these ids keep tallies; before the first target is made.
    pub(crate) fn watch(&mut self, ids: &[String]) {
        self.tallies = ids.iter().map(|id| (id.clone(), Arc::default())).collect();
    }

    /// Puts rules over every model, once all models are there. False when a target that they read is not there.
    pub(crate) fn rule(&mut self, set: RuleSet, overrides: Vec<Option<Overrides>>) -> bool {
        let find =
            |id: &str| self.models().flat_map(|model| model.targets.iter()).find(|target| target.id == id).cloned();
        let Some(book) = Rulebook::new(set, overrides, find).map(Arc::new) else { return false };
        for model in self.models.values_mut() {
            let rules = Some(Arc::new(ModelRules::new(&book, &model.targets)));
            *model = Arc::new(Model { rules, ..Model::clone(model) });
        }
        self.rulebook = Some(book);
        true
    }

    /// Goes on with what the rules of the configuration before knew; before this one is in force.
    pub fn take_over(&self, old: &Self) {
        for (id, tally) in &self.tallies {
            if let Some(known) = old.tallies.get(id) {
                tally.adopt(known);
            }
        }
        if let (Some(book), Some(old)) = (&self.rulebook, &old.rulebook) {
            book.take_over(old);
        }
    }

    /// The same configuration with these prices in place of what it says of their targets. What is known of targets is
    /// shared with it.
    #[must_use]
    pub fn priced(&self, sheet: PriceSheet) -> Self {
        let mut priced = Self { sheet, ..self.clone() };
        let repriced = |target: &Arc<Target>| match priced.sheet.get(&target.id) {
            None => target.clone(),
            Some(prices) => {
                let facts = ModelFacts { prices: Some(prices.clone()), ..target.facts.clone() };
                Arc::new(Target { facts, ..Target::clone(target) })
            }
        };
        let targets = |model: &Model| model.targets.iter().map(repriced).collect::<Vec<_>>();
        let with_prices = |(name, model): (&String, &Arc<Model>)| {
            let mut model = Model { targets: targets(model).into(), ..Model::clone(model) };
            let mirror = model.settings.mirror.as_deref().map(|mirror| mirror::with_prices(mirror, &priced.sheet));
            model.settings.mirror = mirror.map(Arc::new);
            (name.clone(), Arc::new(model))
        };
        let models: BTreeMap<String, Arc<Model>> = self.models.iter().map(with_prices).collect();
        let book = self.rulebook.as_ref().map(|book| Arc::new(book.with_targets(repriced)));
        let ruled = |model: Arc<Model>| match &book {
            None => model,
            Some(book) => {
                let rules = Some(Arc::new(ModelRules::new(book, &model.targets)));
                Arc::new(Model { rules, ..Model::clone(&model) })
            }
        };
        priced.models = models.into_iter().map(|(name, model)| (name, ruled(model))).collect();
        priced.rulebook = book;
        priced
    }

    /// The logical models, by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The targets of the models that are probed, and how: each once, whichever models list it.
    pub fn probed(&self) -> Vec<(Arc<Target>, Probing)> {
        probes::probed(&self.probes, self.models())
    }

    /// The configured providers whose status pages are read, and how often.
    pub fn status_pages(&self) -> impl Iterator<Item = (&Provider, &StatusPage, Duration)> {
        let providers = self.pages_every.into_iter().flat_map(|every| self.providers().map(move |it| (it, every)));
        providers.filter_map(|(provider, every)| Some((&**provider, provider.status_page.as_ref()?, every)))
    }

    /// What the model of a name does with answers; `provider/model` has what stands at the top of the file.
    pub fn reuse(&self, model: &str) -> &Arc<Reuse> {
        self.reuse.get(model).unwrap_or(&self.direct_reuse)
    }

    /// Whether requests for the model of a name may wait for each other, so that somebody goes by their priority.
    pub fn goes_by_priority(&self, model: &str) -> bool {
        self.door.is_some()
            || self.doors.contains_key(model)
            || self.reuse(model).when_exhausted.contains(&WhenExhausted::Queue)
            || self.models.get(model).is_some_and(|model| model.settings.reserve > 0.0)
    }

    /// The configured providers, by name.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.pools.values().map(|pool| &pool.provider)
    }

    /// A name without the tier at its end, and that tier by number: `assistant:bulk` of a model with tiers. Any other
    /// name is left as it is.
    pub fn split_tier<'n>(&self, name: &'n str) -> (&'n str, Option<usize>) {
        let split = || {
            let (base, tier) = name.rsplit_once(':')?;
            let tiers = self.models.get(base)?.settings.tiers.as_ref()?;
            Some((base, Some(tiers.find(tier)?)))
        };
        if self.models.contains_key(name) { (name, None) } else { split().unwrap_or((name, None)) }
    }

    /// The model of a name: a logical one, else `provider/model`, else a model some configured provider is known for.
    pub fn resolve(&self, name: &str) -> Result<Arc<Model>, UnknownModel> {
        if let Some(model) = self.models.get(name) {
            return Ok(model.clone());
        }
        let mut direct = self.direct.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = direct.get(name) {
            return Ok(model.clone());
        }
        let targets = self.direct_targets(name);
        if targets.is_empty() {
            return Err(self.unknown(name));
        }
        let model = Arc::new(self.make_model(name, self.direct_settings.clone(), targets));
        if direct.len() >= MOST_DIRECT {
            direct.clear();
        }
        direct.insert(name.to_owned(), model.clone());
        Ok(model)
    }

    /// `provider/model`; else every configured provider whose catalogue row knows a model of this name, so that an
    /// application that asks for `gpt-5.1` needs no configuration at all.
    fn direct_targets(&self, name: &str) -> Vec<Arc<Target>> {
        let named = name
            .split_once('/')
            .filter(|(_, model)| is_model_id(model))
            .and_then(|(provider, model)| self.make_target(provider, model, None));
        if let Some(target) = named {
            return vec![Arc::new(target)];
        }
        if !is_model_id(name) {
            return Vec::new();
        }
        let knows = |pool: &&Pool| pool.provider.model(name).known;
        let providers = self.pools.values().filter(knows).map(|pool| pool.provider.name.as_str());
        providers.filter_map(|provider| self.make_target(provider, name, None).map(Arc::new)).collect()
    }

    fn unknown(&self, name: &str) -> UnknownModel {
        UnknownModel {
            asked: name.to_owned(),
            known: self.tiers_of(name).unwrap_or_else(|| self.models.keys().take(10).cloned().collect()),
            providers: self.pools.keys().cloned().collect(),
        }
    }

    /// What there is where a name means a tier of a model that has others.
    fn tiers_of(&self, name: &str) -> Option<Vec<String>> {
        let (base, _) = name.rsplit_once(':')?;
        let tiers = self.models.get(base)?.settings.tiers.as_ref()?;
        Some(tiers.names().map(|tier| format!("{base}:{tier}")).collect())
    }

    pub(crate) fn pool(&self, provider: &str) -> Option<&Pool> {
        self.pools.get(provider)
    }

    /// Credentials of one target alone. A key that its provider has too is one with that.
    pub(crate) fn credentials(&self, target: &Target, keys: Vec<Secret>) -> Vec<Credential> {
        credentials(&named(&target.provider.name, keys, &self.health), &target.model)
    }

    /// Whether a target has other credentials than its provider.
    pub fn has_own_credentials(&self, target: &Target) -> bool {
        let Some(pool) = self.pools.get(&target.provider.name) else { return false };
        !pool.keys.iter().map(|key| &key.id).eq(target.credentials.iter().map(|credential| &credential.id))
    }

    /// A target whose health, limits and accounts are its own, whoever else it serves under the same name.
    pub(crate) fn apart(&self, target: Target) -> Target {
        let id = format!("{}#mirror", target.id);
        let own = |credential: &Credential| {
            let id = format!("{}#mirror", credential.id);
            let health = self.health.credential(&id);
            Credential::new(id, credential.secret.clone(), health, &target.model)
        };
        Target {
            health: self.health.target(&id, &self.breaker),
            provider_health: self.health.provider(&format!("{}#mirror", target.provider.name)),
            ledger: self.ledger.target(&id),
            credentials: target.credentials.iter().map(own).collect(),
            tally: None,
            id,
            ..target
        }
    }

    pub(crate) fn make_target(&self, provider: &str, model: &str, label: Option<&str>) -> Option<Target> {
        let pool = self.pools.get(provider)?;
        let known = pool.provider.model(model);
        let id = match label {
            Some(label) => format!("{provider}/{model}#{label}"),
            None => format!("{provider}/{model}"),
        };
        let prices = self.sheet.get(&id).cloned().or(known.facts.prices);
        let facts = ModelFacts { prices, ..known.facts };
        Some(Target {
            health: self.health.target(&id, &self.breaker),
            quality: None,
            min_quality: None,
            via: None,
            guards: Guards::default(),
            bound: None,
            ledger: self.ledger.target(&id),
            tally: self.tallies.get(&id).cloned(),
            judge: None,
            near: None,
            id,
            provider: pool.provider.clone(),
            model: model.to_owned(),
            profile: Arc::<Profile>::new(known.profile),
            facts,
            credentials: credentials(&pool.keys, model),
            weight: 1,
            region: None,
            why: None,
            same_model: same_model(model),
            provider_health: pool.health.clone(),
            patch: None,
        })
    }

    pub(crate) fn make_model(&self, name: &str, settings: ModelSettings, targets: Vec<Arc<Target>>) -> Model {
        let rules = self.rulebook.as_ref().map(|book| Arc::new(ModelRules::new(book, &targets)));
        Model {
            name: name.to_owned(),
            rules,
            settings,
            targets: targets.into(),
            nodes: Vec::new(),
            budget: self.health.budget(name),
            panic_gate: self.health.panic_gate(name),
            ledger: self.ledger.model(name),
        }
    }

    pub(crate) fn model_ledger(&self, name: &str) -> Arc<ModelLedger> {
        self.ledger.model(name)
    }

    pub(crate) fn add(&mut self, name: &str, settings: ModelSettings, reuse: Reuse, listed: Listed) {
        self.reuse.insert(name.to_owned(), Arc::new(reuse));
        let model = Model { nodes: listed.nodes, ..self.make_model(name, settings, listed.targets) };
        self.models.insert(name.to_owned(), Arc::new(model));
    }
}

/// What may stand in a provider's model id: nothing that could leave its place in a path or a header.
fn is_model_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 256
        && !id.contains("..")
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/@+".contains(&b))
}

/// The same model at two providers often differs in its vendor prefix alone: `deepseek/deepseek-v4`, `deepseek-v4`.
fn same_model(id: &str) -> String {
    id.rsplit('/').next().unwrap_or(id).to_ascii_lowercase()
}
