//! `check` and `explain`: what the configuration means, before any traffic.

use crate::cli::{Configured, Explain};
use crate::load::{Origin, Source};
use crate::say;
use crate::serve::transport;
use canon::{DialectName, Instant};
use catalog::{Moment, Usd};
use config::Snapshot;
use dialect::PathFacts;
use dialect::scan::Scan;
use gateway::Gateway;
use routing::tier::{Features, Said, Score};
use routing::{Labels, Model, Needs, Sticky, Unit, plan_ruled, probe_price};
use rules::{Lookup, Request, Standing, Told, Verdict};
use signals::ProbeCall;
use std::fmt::Write as _;
use std::sync::Arc;

/// `check`: loads, and says what there is.
pub(crate) fn check(options: &Configured) -> Result<(), String> {
    let source = Source::find(options)?;
    let snapshot = load(&source)?;
    gateway::check(&snapshot)?;
    let models: Vec<String> = snapshot
        .models()
        .map(|model| {
            let targets: Vec<&str> = model.targets.iter().map(|t| t.id.as_str()).collect();
            format!("  {}: {}", model.name, targets.join(" → "))
        })
        .collect();
    let providers: Vec<&str> = snapshot.providers().map(|p| p.name.as_str()).collect();
    say(&format!(
        "valid\nlisten: {}\nproviders: {}\nmodels:\n{}",
        snapshot.listen,
        providers.join(", "),
        models.join("\n")
    ))
}

fn load(source: &Source) -> Result<Snapshot, String> {
    if matches!(source.origin, Origin::Simulated(_)) {
        return Err("there is no configuration: name one with --config FILE, or set a provider's key".to_owned());
    }
    source.load()
}

/// `explain`: prints the plan of a request.
pub(crate) async fn explain(options: &Explain) -> Result<(), String> {
    let mut source = Source::find(&options.configured)?;
    if matches!(source.origin, Origin::Simulated(_)) {
        source.origin = Origin::Simulated(crate::simulated::example_configuration());
    }
    let (snapshot, unread) = loaded(&source, options.signals).await?;
    let (name, suffix) = snapshot.split_tier(&options.model);
    let model = snapshot.resolve(name).map_err(|unknown| unknown.to_string())?;
    let Read { scan, body, complexity } = match &options.request {
        Some(file) => read_request(file, options)?,
        None => Read::default(),
    };
    let labels = Labels::read(&scan, &body, options.labels.as_deref());
    let said = Said { header: options.tier.as_deref(), label: labels.label("tier"), suffix };
    let tiers = model.settings.tiers.as_ref();
    let tier = tiers.map(|tiers| tiers.read(said, &scan, &body)).transpose().map_err(|unknown| unknown.to_string())?;
    let at = asked_at(options.at.as_deref())?;
    let user = labels.user().or_else(|| labels.label("user")).filter(|_| model.sticky() == Some(Sticky::User));
    let unit = user.map(|user| Unit::of_user(options.key.as_deref(), user));
    let needs = Needs { asked_at: Some(at), tier: tier.flatten(), unit, ..Needs::from(&scan) };
    let asked = Asked(labels);
    let request = Request {
        key: options.key.as_deref(),
        ..needs.for_rules(&model, Some(dialect_named(&options.dialect)?.as_str()), &asked)
    };
    let moment = rules::Moment { now: Instant::ORIGIN, unix_seconds: i64::try_from(at.unix()).ok() };
    let told = model.tell_rules(&needs, &request, moment);
    let mut rng = fastrand::Rng::with_seed(0);
    let ruling = model.rule(&needs, &request, moment, &mut rng);
    let plan = plan_ruled(&model, &needs, &ruling, Instant::ORIGIN, &mut rng);
    let others = told.iter().filter_map(not_holding).collect::<String>();
    let overridden = model.overridden(&ruling);
    let hedging = overridden.as_ref().unwrap_or(&model).hedging_told(&plan, &needs);
    let hedging = hedging.map(|text| format!("  {text}\n")).unwrap_or_default();
    let reversal = plan.reversal(&model).map(|text| format!("  {text}\n")).unwrap_or_default();
    let trials = plan.primary.map(|drawn| model.trials(drawn, None)).unwrap_or_default();
    let trials = trials.iter().fold(String::new(), |text, trial| text + &format!("  experiment {trial}\n"));
    let beside = probes(&snapshot, &model, at) + &incidents(&model) + &unread;
    say(&format!(
        "{plan}{trials}{hedging}{}{reversal}{others}{complexity}{}{}{beside}",
        mirror(&model),
        price_lists(&model, &needs),
        patches(&snapshot, &model)
    ))
}

/// The configuration, with what is reported of its targets where that is wanted; and what of that could not be read.
async fn loaded(source: &Source, with_signals: bool) -> Result<(Arc<Snapshot>, String), String> {
    let snapshot = Arc::new(source.load()?);
    if !with_signals {
        return Ok((snapshot, String::new()));
    }
    let gateway = Gateway::new(snapshot, transport(source)?, 0)?;
    gateway.read_signals().await;
    let unread = gateway.unread_signals();
    let text = if unread.is_empty() { String::new() } else { format!("unread\n  {}\n", unread.join("\n  ")) };
    Ok((gateway.snapshot(), text + &price_feed(&gateway)))
}

/// What the price feed told.
fn price_feed(gateway: &Gateway) -> String {
    if gateway.snapshot().price_feed.is_none() {
        return String::new();
    }
    let told = gateway.price_feed();
    let mut text = format!(
        "price feed: {} prices in force, {} of targets that no model lists, {} that are none\n",
        told.in_force, told.unknown, told.malformed
    );
    for refused in told.refused {
        let _ = writeln!(text, "  refused: {refused}");
    }
    text
}

/// What is reported of the model's targets.
fn incidents(model: &Model) -> String {
    let mut text = String::new();
    for target in model.targets.iter() {
        // Reports are stamped by a clock that began with the process, a moment ago.
        let Some(suspicion) = target.health.suspicion(Instant::ORIGIN) else { continue };
        let heading = if text.is_empty() { "incidents, for which a fault fewer opens a target\n" } else { "" };
        let _ = writeln!(text, "{heading}  {}: {}", target.id, suspicion.why);
    }
    text
}

fn asked_at(text: Option<&str>) -> Result<Moment, String> {
    let Some(text) = text else {
        return Ok(Moment::from_unix(u64::try_from(gateway::clock::unix_seconds()).unwrap_or(0)));
    };
    Moment::parse(text).ok_or_else(|| format!("`{text}` is no moment: expected UTC, such as 2026-11-23T09:30"))
}

/// How the model's targets are probed, and what that costs.
fn probes(snapshot: &Snapshot, model: &Model, at: Moment) -> String {
    let mut text = String::new();
    for (target, probing) in snapshot.probed() {
        if !model.targets.iter().any(|own| own.id == target.id) {
            continue;
        }
        let heading = if text.is_empty() { "probes\n" } else { "" };
        let every = probing.every.as_secs_f64();
        let idle = probing.idle.map(|idle| format!(", and after {} s without a call", idle.as_secs_f64()));
        let cost = match (probing.call, probe_price(&target, Some(at))) {
            (ProbeCall::ModelList, _) => "free".to_owned(),
            (ProbeCall::Token, None) => "price unknown".to_owned(),
            (ProbeCall::Token, Some(price)) => {
                let day = Usd::from_pico(price.pico().saturating_mul(probing.most_a_day()));
                format!("at most {price} each, {day} a day")
            }
        };
        let call = probing.call.as_str();
        let idle = idle.unwrap_or_default();
        let _ = writeln!(text, "{heading}  {}: {call} every {every} s while half-open{idle}; {cost}", target.id);
    }
    text
}

/// The prices the plan was made with, and where they come from.
fn price_lists(model: &Model, needs: &Needs) -> String {
    let mut text = String::new();
    for target in model.targets.iter() {
        let Some(prices) = &target.facts.prices else { continue };
        let rates = prices.at(needs.asked_at, needs.estimated_tokens);
        let heading = if text.is_empty() { "prices, per million tokens\n" } else { "" };
        let cached = rates.cached_input.map(|rate| format!(", {rate} from the cache")).unwrap_or_default();
        let source = match (&prices.source, &prices.read) {
            (Some(page), Some(read)) => format!(" ({page}, read {read})"),
            (Some(page), None) => format!(" ({page})"),
            (None, _) => " (configured)".to_owned(),
        };
        let _ = writeln!(text, "{heading}  {}: {} in{cached}, {} out{source}", target.id, rates.input, rates.output);
    }
    text
}

/// Where copies of the model's requests go.
fn mirror(model: &Model) -> String {
    let Some(mirror) = &model.settings.mirror else { return String::new() };
    let share = f64::from(mirror.share) / 10_000.0;
    let target = mirror.callers.id.as_str();
    format!("  mirror: {share} % of requests are copied to {target}, at most {} at a time\n", mirror.in_flight)
}

/// What the requests of each target alone are changed by.
fn patches(snapshot: &Snapshot, model: &Model) -> String {
    let mut text = String::new();
    for target in model.targets.iter() {
        let own = snapshot.has_own_credentials(target).then(|| match target.credentials.len() {
            1 => "a credential of its own".to_owned(),
            more => format!("{more} credentials of its own"),
        });
        let patch = target.patch.iter().flat_map(|patch| patch.describe());
        for line in patch.chain(own) {
            let heading = if text.is_empty() { "patches, of requests to this target alone\n" } else { "" };
            let _ = writeln!(text, "{heading}  {}: {line}", target.id);
        }
    }
    text
}

/// A request that is read from a file: of its headers only the labels are known.
struct Asked(Labels);

impl Lookup for Asked {
    fn user(&self) -> Option<&str> {
        self.0.user()
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.0.label(name)
    }

    fn header(&self, _: &str) -> Option<&str> {
        None
    }
}

/// Why a rule does not hold; those that do are in the plan.
fn not_holding(told: &Told) -> Option<String> {
    let why = match told.standing {
        Standing::Holds | Standing::Returns { .. } => return None,
        Standing::NoConcern => "lists no target of this model".to_owned(),
        Standing::NotForIt(Verdict::Unknown) => "something it asks of the request is not known".to_owned(),
        Standing::NotForIt(_) => "the request is not one it is for".to_owned(),
        Standing::NotNow(Verdict::True) => "what it measures is so, but not for long enough yet".to_owned(),
        Standing::NotNow(Verdict::False) => "what it measures is not so".to_owned(),
        Standing::NotNow(Verdict::Unknown) => "nothing is known yet of what it measures".to_owned(),
        Standing::Fails(failure) => format!("it fails: {}", failure.as_str()),
    };
    Some(format!("  rule `{}` does not hold: {why}\n", told.name))
}

/// A request that was read.
#[derive(Default)]
struct Read {
    scan: Scan,
    body: Vec<u8>,
    /// Its complexity in words.
    complexity: String,
}

fn read_request(file: &std::path::Path, options: &Explain) -> Result<Read, String> {
    let dialect = dialect_named(&options.dialect)?;
    let body = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let path = PathFacts { model: Some(options.model.clone()), ..PathFacts::default() };
    let scan = dialect::scan::scan(dialect, &path, &body)
        .map_err(|bad| format!("{}: {} ({})", file.display(), bad.message, bad.code))?;
    let complexity = Score::of(&Features::read(&scan, &body));
    Ok(Read { scan, body, complexity: format!("  complexity {complexity}\n") })
}

/// A dialect by its name.
pub(crate) fn dialect_named(name: &str) -> Result<DialectName, String> {
    DialectName::ALL.into_iter().find(|d| d.as_str() == name).ok_or_else(|| {
        let known: Vec<&str> = DialectName::ALL.iter().map(|d| d.as_str()).collect();
        format!("there is no dialect `{name}`: expected one of {}", known.join(", "))
    })
}
