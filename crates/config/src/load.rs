//! From text to a snapshot: parse, read the environment, check, resolve against the catalogue.

use crate::error::ConfigError;
use crate::feeds;
use crate::feeds::{RawFeed, RawWebhook};
use crate::hedging;
use crate::nearest;
use crate::objectives;
use crate::overload;
use crate::pages;
use crate::price::{self, RawGuards};
use crate::probes;
use crate::quality;
use crate::raw::{
    Raw, RawClass, RawFullTarget, RawKey, RawModel, RawOn, RawProbe, RawProfile, RawRescue, RawStep, RawTarget,
};
use crate::raw::{RawHealth, RawTimeouts};
use crate::reuse::{self, OfModel, RawCoalesce, RawQueue, Reuse};
use crate::rulebook::{self, Checked};
use crate::sessions;
use crate::snapshot::{CallerKey, Injection, Limits, Parts, Pool, Snapshot};
use crate::split;
use crate::spot;
use crate::strategy::{self, RawQuality};
use crate::tiers;
use canon::{FaultClass, Secret};
use catalog::{Catalog, Prices, Provider, RawProvider};
use health::{BreakerSettings, Health};
use routing::{
    ClassPolicy, Evaluate, FaultProfile, Guards, Ledger, ModelSettings, OnFault, ProbeMode, Quality, Rescue, Step,
    Timeouts,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Where the gateway listens when nothing says otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:4000";
/// The deadline of an exchange when nothing says otherwise: the read timeout official SDKs have.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);

/// The environment variables a configuration may read.
pub type Environment = BTreeMap<String, String>;

/// What loading needs besides the text.
pub struct Loader<'a> {
    /// The shipped catalogue.
    pub catalog: &'a Catalog,
    /// Health that survives reloads: targets and credentials are found again by their ids.
    pub health: &'a Arc<Health>,
    /// What was learned of money; survives reloads as health does.
    pub ledger: &'a Arc<Ledger>,
    /// The environment.
    pub environment: &'a Environment,
    /// `--allow-injection` was given.
    pub allow_injection: bool,
}

impl Loader<'_> {
    /// Loads a configuration. `origin` names the text in errors: a file name.
    pub fn load(&self, origin: &str, source: &str) -> Result<Snapshot, ConfigError> {
        let raw: Raw = if source.trim().is_empty() {
            Raw::default()
        } else {
            serde_saphyr::from_str(source).map_err(|error| ConfigError::yaml(origin, &error))?
        };
        Build { loader: self, origin, source }.snapshot(raw)
    }

    /// The configuration of the environment alone: every shipped provider whose key is set, `None` when none is.
    pub fn discover(&self) -> Option<String> {
        let mut found = Vec::new();
        for (name, provider) in &self.catalog.providers {
            let key = provider.key_env.iter().find(|var| self.environment.get(*var).is_some_and(|v| !v.is_empty()));
            if let Some(var) = key {
                found.push(format!("  {name}: {{ keys: [\"${{{var}}}\"] }}"));
            }
        }
        (!found.is_empty()).then(|| format!("providers:\n{}\n", found.join("\n")))
    }
}

/// What stands at the top of the file for every model.
struct Defaults<'a> {
    timeouts: &'a RawTimeouts,
    coalesce: Option<RawCoalesce>,
    queue: RawQueue,
}

/// Makes a snapshot of a file.
pub(crate) struct Build<'a> {
    loader: &'a Loader<'a>,
    origin: &'a str,
    source: &'a str,
}

impl Build<'_> {
    fn snapshot(&self, raw: Raw) -> Result<Snapshot, ConfigError> {
        let rules = rulebook::check(self.origin, self.source, &raw)?;
        let pools = self.pools(raw.providers)?;
        let listen = self.listen(raw.listen.as_deref())?;
        let keys = self.keys(raw.keys)?;
        if keys.is_empty() && !listen.ip().is_loopback() && !raw.allow_open {
            return Err(self.at(
                &["listen"],
                &format!(
                    "{listen} can be reached from other machines and no `keys` are configured: add keys, listen on \
                     127.0.0.1, or set `allow_open: true` to serve whoever reaches it"
                ),
            ));
        }
        let defaults = Limits::default();
        let parts = Parts {
            listen,
            keys,
            allow_open: raw.allow_open,
            limits: Limits {
                body: raw.limits.body.map_or(defaults.body, |s| s.0),
                caller_idle: raw.limits.caller_idle.map_or(defaults.caller_idle, |s| s.0),
            },
            drain: raw.drain.map_or(Duration::from_secs(30), |s| s.0),
            drain_accept: raw.drain_accept.map_or(Duration::from_secs(5), |s| s.0),
            reuse_limits: reuse::limits(raw.cache, raw.idempotency),
            direct_reuse: self.direct_reuse(raw.coalesce, raw.queue)?,
            door: overload::of_gateway(raw.overload).map_err(|wrong| self.at(&["overload"], &wrong))?,
            health: self.loader.health.clone(),
            ledger: self.loader.ledger.clone(),
            breaker: breaker(&raw.health),
            pages_every: pages::every(raw.status_pages).map_err(|wrong| self.at(&["status_pages"], &wrong))?,
            probes: probes::probes(&raw.health.probe)
                .map_err(|(key, message)| self.at(&["health", "probe", key], &message))?,
            direct: ModelSettings {
                timeouts: timeouts(&RawTimeouts::default(), &raw.timeouts),
                ..ModelSettings::default()
            },
            pools,
        };
        let mut snapshot = Snapshot::new(parts);
        if let Some(raw) = &raw.price_feed {
            let feed = spot::price_feed(raw, self.expand(&raw.from)?);
            snapshot.price_feed = Some(feed.map_err(|(key, message)| self.at(&["price_feed", key], &message))?);
        }
        self.feeds(&mut snapshot, &raw.incident_feeds, raw.incident_webhook.as_ref())?;
        snapshot.watch(rules.set.watched());
        for name in self.order_of_models(&snapshot, &raw.models)? {
            let Some(model) = raw.models.get(&name) else { continue };
            let defaults = Defaults { timeouts: &raw.timeouts, coalesce: raw.coalesce, queue: raw.queue };
            self.model(&mut snapshot, &name, model, &defaults)?;
        }
        self.check_evaluators(&snapshot)?;
        self.rule(&mut snapshot, rules)?;
        Ok(snapshot)
    }

    fn feeds(&self, snapshot: &mut Snapshot, raw: &[RawFeed], webhook: Option<&RawWebhook>) -> Result<(), ConfigError> {
        for (i, raw) in raw.iter().enumerate() {
            let index = i.to_string();
            let url = self.expand(&raw.url)?;
            let feed =
                feeds::feed(raw, url).map_err(|(key, message)| self.at(&["incident_feeds", &index, key], &message))?;
            snapshot.incident_feeds.push(feed);
        }
        if let Some(raw) = webhook {
            let secret = self.expand(&raw.secret)?;
            let webhook = feeds::webhook(raw, &secret);
            snapshot.incident_webhook =
                Some(webhook.map_err(|message| self.at(&["incident_webhook", "secret"], &message))?);
        }
        Ok(())
    }

    fn rule(&self, snapshot: &mut Snapshot, rules: Checked) -> Result<(), ConfigError> {
        if rules.set.is_empty() || snapshot.rule(rules.set, rules.overrides) {
            return Ok(());
        }
        Err(self.at(&["rules"], "a target that a rule reads is not there: expected the targets that models list"))
    }

    pub(crate) fn at(&self, path: &[&str], message: &str) -> ConfigError {
        ConfigError::at(self.origin, self.source, path, message)
    }

    fn listen(&self, listen: Option<&str>) -> Result<SocketAddr, ConfigError> {
        let text = self.expand(listen.unwrap_or(DEFAULT_LISTEN))?;
        let text = text.replace("localhost:", "127.0.0.1:");
        text.parse().map_err(|_| {
            self.at(&["listen"], &format!("`{text}` is no address: expected ADDRESS:PORT, such as {DEFAULT_LISTEN}"))
        })
    }

    /// Replaces every `${NAME}` by the environment's value; `$${` stands for `${`.
    pub(crate) fn expand(&self, text: &str) -> Result<String, ConfigError> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(literal) = before.strip_suffix('$') {
                out.push_str(literal);
                out.push_str("${");
                rest = after;
                continue;
            }
            out.push_str(before);
            let Some((name, tail)) = after.split_once('}') else {
                return Err(ConfigError::on(self.origin, self.source, "${", "`${` without a closing `}`"));
            };
            match self.loader.environment.get(name).filter(|value| !value.is_empty()) {
                Some(value) => out.push_str(value),
                None => {
                    return Err(ConfigError::on(
                        self.origin,
                        self.source,
                        &format!("${{{name}}}"),
                        &format!("the environment variable {name} is not set: set it, or take `${{{name}}}` out"),
                    ));
                }
            }
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn pools(&self, rows: BTreeMap<String, RawProvider>) -> Result<BTreeMap<String, Pool>, ConfigError> {
        let mut pools = BTreeMap::new();
        for (name, mut row) in rows {
            if let Some(url) = &row.base_url {
                row.base_url = Some(self.expand(url)?);
            }
            if let Some(headers) = &mut row.headers {
                for value in headers.values_mut() {
                    *value = self.expand(value)?;
                }
            }
            let mut keys = Vec::new();
            for key in row.keys.take().unwrap_or_default() {
                keys.push(Secret::new(self.expand(key.expose())?));
            }
            let models: Vec<String> = row.models.iter().flatten().map(|row| row.id.clone()).collect();
            let provider = self.loader.catalog.with_overrides(&name, row).map_err(|error| {
                let path = path_of_row(&error.field, &name, &models);
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                self.at(&path, &format!("found {}, expected {}", error.found, error.expected))
            })?;
            if keys.is_empty() && !provider.keyless && provider.auth != catalog::Auth::None {
                keys = self.usual_keys(&provider);
            }
            let needs_key = !provider.keyless && provider.auth != catalog::Auth::None;
            if keys.is_empty() && needs_key {
                return Err(self.at(
                    &["providers", &name],
                    &format!(
                        "no key: add `keys: [\"${{NAME}}\"]`{}, or `keyless: true` if it needs none",
                        provider.key_env.first().map(|var| format!(" or set {var}")).unwrap_or_default()
                    ),
                ));
            }
            let pool = Pool::new(provider, keys, self.loader.health);
            pools.insert(name, pool);
        }
        Ok(pools)
    }

    fn usual_keys(&self, provider: &Provider) -> Vec<Secret> {
        let set = |var: &String| self.loader.environment.get(var).filter(|v| !v.is_empty());
        provider.key_env.iter().find_map(set).map(|value| vec![Secret::new(value.clone())]).unwrap_or_default()
    }

    fn keys(&self, raw: Vec<RawKey>) -> Result<Vec<CallerKey>, ConfigError> {
        let mut keys: Vec<CallerKey> = Vec::new();
        for (i, key) in raw.into_iter().enumerate() {
            let index = i.to_string();
            let path = ["keys", index.as_str()];
            let hash = match (&key.key, &key.key_sha256) {
                (Some(plain), None) => {
                    let plain = self.expand(plain)?;
                    if plain.is_empty() {
                        return Err(self.at(&path, &format!("the key of `{}` is empty", key.name)));
                    }
                    Sha256::digest(plain.as_bytes()).into()
                }
                (None, Some(hex)) => from_hex(hex).ok_or_else(|| {
                    self.at(&path, "`key_sha256` is not 64 hex digits: `printf %s \"$KEY\" | sha256sum` prints them")
                })?,
                _ => return Err(self.at(&path, "expected `key` or `key_sha256`, one of them")),
            };
            if keys.iter().any(|k| k.name == key.name) {
                return Err(self.at(&path, &format!("two keys are named `{}`", key.name)));
            }
            if keys.iter().any(|k| k.hash == hash) {
                return Err(self.at(&path, &format!("`{}` has the same key as another entry", key.name)));
            }
            keys.push(CallerKey { name: key.name, hash, models: key.models, priority: key.priority });
        }
        Ok(keys)
    }

    fn model(
        &self,
        snapshot: &mut Snapshot,
        name: &str,
        raw: &RawModel,
        defaults: &Defaults<'_>,
    ) -> Result<(), ConfigError> {
        let path = ["models", name];
        if raw.targets.is_empty() {
            return Err(self.at(&path, "no `targets`: expected at least one `provider/model`"));
        }
        self.check_on(name, raw)?;
        let overload =
            overload::of_model(raw.overload).map_err(|wrong| self.at(&["models", name, "overload"], &wrong))?;
        let mut settings = ModelSettings {
            reserve: overload.reserve,
            tiers: None,
            experiment: split::experiment(raw).map_err(|message| self.at(&["models", name, "strategy"], &message))?,
            strategy: strategy::strategy(name, raw)
                .map_err(|(key, message)| self.at(&["models", name, key], &message))?,
            min_quality: raw
                .min_quality
                .map(strategy::quality)
                .transpose()
                .map_err(|message| self.at(&["models", name, "min_quality"], &message))?,
            timeouts: timeouts(&raw.timeouts, defaults.timeouts),
            on: on_fault(raw),
            profile: match raw.profile {
                RawProfile::Default => FaultProfile::Default,
                RawProfile::Strict => FaultProfile::Strict,
            },
            max_targets: raw.max_targets.unwrap_or(ModelSettings::default().max_targets).max(1),
            max_attempts: raw.max_attempts.unwrap_or(ModelSettings::default().max_attempts).max(1),
            probe: match raw.probe {
                RawProbe::Live => ProbeMode::Live,
                RawProbe::Off => ProbeMode::Off,
                RawProbe::Synthetic => ProbeMode::Synthetic,
            },
            hedging: hedging::hedging(raw.hedge, raw.race)
                .map_err(|(field, wrong)| self.at(&["models", name, field], &wrong))?
                .unwrap_or_default(),
            rescue: rescue(raw.rescue),
            checks: quality::checks(raw.checks),
            evaluate: self.evaluate(name, raw)?,
            sessions: sessions::sessions(raw.sessions)
                .map_err(|wrong| self.at(&["models", name, "sessions"], &wrong))?,
            mirror: None,
        };
        let guards = RawGuards { max_price: raw.max_price, max_price_ratio: raw.max_price_ratio, spend: None };
        let guards = self.guards(&path, guards)?;
        let mut listed = self.listed(snapshot, name, raw, guards)?;
        settings.mirror = self.mirror(snapshot, name, raw.mirror.as_ref(), &settings.timeouts)?;
        split::check(settings.strategy, &listed).map_err(|message| self.at(&["models", name, "strategy"], &message))?;
        objectives::judge(settings.strategy, &mut listed).map_err(|target| {
            let message =
                "has `objectives` of its own, which are not those here: expected the same, or another strategy";
            self.at(&["models", name, "targets", &target.to_string()], message)
        })?;
        nearest::watch(settings.strategy, &snapshot.model_ledger(name), &mut listed)
            .map_err(|(target, message)| self.at(&["models", name, "targets", &target.to_string()], &message))?;
        self.check_quality(name, raw, &settings, &listed.targets)?;
        if let Some((field, wrong)) = hedging::nobody_to_hedge_with(&settings, listed.targets.len()) {
            return Err(self.at(&["models", name, field], wrong));
        }
        settings.tiers = tiers::tiers(raw, &listed).map_err(|(place, message)| {
            let path: Vec<&str> = path.iter().copied().chain(place.iter().map(String::as_str)).collect();
            self.at(&path, &message)
        })?;
        snapshot.add(name, settings, self.reuse(name, raw, defaults)?, listed);
        snapshot.doors.extend(overload.door.map(|door| (name.to_owned(), door)));
        Ok(())
    }

    fn evaluate(&self, name: &str, raw: &RawModel) -> Result<Option<Arc<Evaluate>>, ConfigError> {
        let Some(raw) = &raw.evaluate else { return Ok(None) };
        let evaluate = quality::evaluate(raw).map_err(|message| self.at(&["models", name, "evaluate"], &message))?;
        Ok(Some(Arc::new(evaluate)))
    }

    /// Whoever is to score answers must be a model, which is known when all of them are.
    fn check_evaluators(&self, snapshot: &Snapshot) -> Result<(), ConfigError> {
        for model in snapshot.models() {
            let Some(evaluate) = &model.settings.evaluate else { continue };
            if let Err(unknown) = snapshot.resolve(&evaluate.model) {
                return Err(self.at(&["models", &model.name, "evaluate"], &unknown.to_string()));
            }
        }
        Ok(())
    }

    fn reuse(&self, name: &str, raw: &RawModel, defaults: &Defaults<'_>) -> Result<Reuse, ConfigError> {
        let own = OfModel {
            cache: raw.cache.as_ref(),
            coalesce: raw.coalesce,
            when_exhausted: raw.when_exhausted.as_deref(),
            queue: raw.queue,
        };
        reuse::of_model(&own, defaults.coalesce, defaults.queue)
            .map_err(|(field, message)| self.at(&["models", name, field], &message))
    }

    /// What stands at the top of the file holds for names that no model is configured for.
    fn direct_reuse(&self, coalesce: Option<RawCoalesce>, queue: RawQueue) -> Result<Reuse, ConfigError> {
        let none = OfModel { cache: None, coalesce, when_exhausted: None, queue };
        reuse::of_model(&none, None, RawQueue::default()).map_err(|(field, message)| self.at(&[field], &message))
    }

    /// What the fault table never does is refused, rather than read and left undone.
    fn check_on(&self, name: &str, raw: &RawModel) -> Result<(), ConfigError> {
        for (class, policy) in &raw.on {
            let fault = FaultClass::from(*class);
            let path = ["models", name, "on", fault.as_str()];
            let (step, max_wait) = match policy {
                RawOn::Step(step) => (Some(*step), None),
                RawOn::Full(full) => (full.next_step, full.max_wait),
            };
            if max_wait.is_some() && *class != RawClass::RateLimited {
                return Err(
                    self.at(&path, "`max_wait` waits for the hint of a rate limit: expected under `rate_limited`")
                );
            }
            if max_wait.is_some() && step.is_some() {
                return Err(self.at(&path, "`max_wait` stays and `next_step` goes: expected one of them"));
            }
            let never_again = matches!(class, RawClass::TimedOut | RawClass::ContextExceeded);
            if step == Some(RawStep::Same) && never_again {
                let reason = "the same target is never asked again after this fault: expected `next` or `stop`";
                return Err(self.at(&path, reason));
            }
        }
        Ok(())
    }

    pub(crate) fn target(
        &self,
        snapshot: &mut Snapshot,
        path: &[&str],
        raw: &RawTarget,
    ) -> Result<routing::Target, ConfigError> {
        let full = match raw {
            RawTarget::Name(name) => RawFullTarget { target: name.clone(), ..RawFullTarget::default() },
            RawTarget::Full(full) => full.as_ref().clone(),
        };
        let Some((provider, model)) = full.target.split_once('/').filter(|(p, m)| !p.is_empty() && !m.is_empty())
        else {
            return Err(self.at(
                path,
                &format!("`{}` is no target: expected `provider/model`, or a name under `models`", full.target),
            ));
        };
        if snapshot.pool(provider).is_none() {
            return Err(self.at(path, &self.unknown_provider(snapshot, provider)));
        }
        if let Some(inject) = &full.inject {
            if !self.loader.allow_injection {
                return Err(self.at(
                    path,
                    "`inject` breaks calls on purpose: start the gateway with --allow-injection, or take it out",
                ));
            }
            if !(0.0..=100.0).contains(&inject.percent) {
                return Err(self.at(path, &format!("inject.percent is {}: expected 0 to 100", inject.percent)));
            }
        }
        let mut target = snapshot
            .make_target(provider, model, full.label.as_deref())
            .ok_or_else(|| self.at(path, &self.unknown_provider(snapshot, provider)))?;
        target.patch = self.patch(&target, path, full.prompt.as_ref(), full.parameters.as_ref())?;
        if let Some(keys) = &full.keys {
            target.credentials = self.own_credentials(snapshot, &target, path, keys)?;
        }
        if let Some(prices) = full.prices {
            target.facts.prices = Some(self.prices(path, prices)?);
        }
        let guards = RawGuards { max_price: full.max_price, max_price_ratio: full.max_price_ratio, spend: full.spend };
        target.guards = self.guards(path, guards)?;
        target.weight = full.weight.unwrap_or(1);
        target.region = full.region;
        target.bound = full.concurrency.map(|raw| self.loader.health.bound(&target.id, overload::concurrency(raw)));
        target.why = full.why;
        if let Some(inject) = full.inject {
            snapshot.injections.insert(
                target.id.clone(),
                Injection {
                    fault: inject.fault,
                    percent: inject.percent,
                    from: inject.from.map(|s| s.0),
                    until: inject.until.map(|s| s.0),
                    seed: inject.seed,
                },
            );
        }
        Ok(target)
    }

    pub(crate) fn quality(
        &self,
        path: &[&str],
        raw: &RawTarget,
        task: Option<&str>,
    ) -> Result<Option<Quality>, ConfigError> {
        let RawTarget::Full(full) = raw else { return Ok(None) };
        let Some(quality) = &full.quality else { return Ok(None) };
        strategy::quality_for(quality, task).map_err(|message| {
            let path: Vec<&str> = path.iter().copied().chain(["quality"]).collect();
            self.at(&path, &message)
        })
    }

    /// A floor nobody reaches, and a task nobody is rated for, can only be mistakes.
    fn check_quality(
        &self,
        name: &str,
        raw: &RawModel,
        settings: &ModelSettings,
        targets: &[Arc<routing::Target>],
    ) -> Result<(), ConfigError> {
        if let Some(floor) = settings.min_quality
            && !targets.iter().any(|target| target.quality.is_some_and(|quality| quality >= floor))
        {
            let message = format!("no target is known to reach {floor}: state a `quality`, or take the floor out");
            return Err(self.at(&["models", name, "min_quality"], &message));
        }
        let is_rated = |target: &RawTarget| match target {
            RawTarget::Full(full) => matches!(full.quality, Some(RawQuality::ByTask(_))),
            RawTarget::Name(_) => false,
        };
        if raw.task.is_some() && !raw.targets.iter().any(is_rated) {
            let message =
                "no target states its quality by task: expected `quality: { TASK: 0.8 }` at one, or no `task`";
            return Err(self.at(&["models", name, "task"], message));
        }
        Ok(())
    }

    fn guards(&self, of: &[&str], raw: RawGuards) -> Result<Guards, ConfigError> {
        price::guards(raw).map_err(|(key, message)| {
            let path: Vec<&str> = of.iter().copied().chain([key]).collect();
            self.at(&path, &message)
        })
    }

    fn prices(&self, target: &[&str], prices: Prices) -> Result<Arc<Prices>, ConfigError> {
        match prices.flaw() {
            None => Ok(Arc::new(prices)),
            Some((field, found, expected)) => {
                let path: Vec<&str> = target.iter().copied().chain(["prices"]).chain(field.split('.')).collect();
                Err(self.at(&path, &format!("found {found}, expected {expected}")))
            }
        }
    }

    fn unknown_provider(&self, snapshot: &Snapshot, provider: &str) -> String {
        if let Some(shipped) = self.loader.catalog.providers.get(provider) {
            let hint = shipped.key_env.first().map_or_else(String::new, |var| format!("{{ keys: [\"${{{var}}}\"] }}"));
            return format!("provider `{provider}` is not configured: add `{provider}: {hint}` under `providers`");
        }
        let known: Vec<&str> = snapshot.providers().map(|p| p.name.as_str()).collect();
        let near = known.iter().find(|name| distance(name, provider) <= 2);
        match near {
            Some(near) => format!("there is no provider `{provider}`: did you mean `{near}`?"),
            None => format!("there is no provider `{provider}`: configured are {}", known.join(", ")),
        }
    }
}

/// `rescue:` of a model, or of a rule.
pub(crate) fn rescue(raw: Option<RawRescue>) -> Rescue {
    match raw {
        None => Rescue::default(),
        Some(RawRescue::Mode(mode)) => Rescue { mode, ..Rescue::default() },
        Some(RawRescue::Full(full)) => Rescue { mode: full.mode, across: full.across, hold: full.hold },
    }
}

fn timeouts(own: &RawTimeouts, defaults: &RawTimeouts) -> Timeouts {
    let pick = |own: Option<crate::units::Span>, default: Option<crate::units::Span>| own.or(default).map(|s| s.0);
    Timeouts {
        connect: pick(own.connect, defaults.connect).unwrap_or(Timeouts::default().connect),
        first_token: pick(own.first_token, defaults.first_token),
        idle: pick(own.idle, defaults.idle),
        response: pick(own.response, defaults.response),
        attempt: pick(own.attempt, defaults.attempt),
        deadline: Some(pick(own.deadline, defaults.deadline).unwrap_or(DEFAULT_DEADLINE)),
    }
}

fn on_fault(raw: &RawModel) -> OnFault {
    let step = |step: RawStep| match step {
        RawStep::Next => Step::Next,
        RawStep::Stop => Step::Stop,
        RawStep::Same => Step::SameThenNext,
    };
    let mut on = OnFault::default();
    for (class, policy) in &raw.on {
        let policy = match policy {
            RawOn::Step(next) => ClassPolicy { step: Some(step(*next)), ..ClassPolicy::default() },
            RawOn::Full(full) => ClassPolicy {
                step: full.next_step.map(step),
                max_wait: full.max_wait.map(|s| s.0),
                delay: full.delay.map(|s| s.0).unwrap_or_default(),
            },
        };
        on.set(FaultClass::from(*class), policy);
    }
    on
}

fn breaker(raw: &RawHealth) -> BreakerSettings {
    let default = BreakerSettings::default();
    BreakerSettings {
        consecutive: raw.consecutive.unwrap_or(default.consecutive),
        min_samples: raw.min_samples.unwrap_or(default.min_samples),
        failure_ratio: raw.failure_ratio.unwrap_or(default.failure_ratio),
        window: raw.window.map_or(default.window, |s| s.0),
        rest: raw.rest.map_or(default.rest, |s| s.0),
        rest_cap: raw.max_rest.map_or(default.rest_cap, |s| s.0),
        ramp: raw.ramp.map_or(default.ramp, |s| s.0),
        ramp_start: raw.ramp_start.unwrap_or(default.ramp_start),
        ..default
    }
}

/// The way to a field of a provider's row. A model is named by its id, `models[gpt-5.1]`, and found by its number.
fn path_of_row(field: &str, provider: &str, models: &[String]) -> Vec<String> {
    let model = field.strip_prefix(&format!("providers.{provider}.models[")).and_then(|rest| rest.split_once("]."));
    let number = model.and_then(|(id, _)| models.iter().position(|known| known == id));
    match (model, number) {
        (Some((_, rest)), Some(number)) => {
            let row = ["providers", provider, "models"].map(str::to_owned);
            row.into_iter().chain([number.to_string()]).chain(rest.split('.').map(str::to_owned)).collect()
        }
        _ => field.split('.').map(str::to_owned).collect(),
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.trim().chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).filter_map(|pair| Some(pair.first()? * 16 + pair.get(1)?)).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

/// Edits between two short names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let up = *cell;
            let best = (diagonal + usize::from(from != *to)).min(up + 1).min(left + 1);
            diagonal = up;
            *cell = best;
            left = best;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}
