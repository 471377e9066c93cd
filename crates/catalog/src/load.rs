//! From rows as written to checked providers: the shipped data, and a user's rows over it.

use crate::errors::ErrorMap;
use crate::prices::Prices;
use crate::provider::{Auth, Provider};
use crate::quirks::Quirks;
use crate::raw::{LimitHeaders, ModelRow, RawProvider, Rule};
use crate::refusal::Refusals;
use canon::DialectName;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

// `PROVIDERS` and `DIALECTS`: name and text of every data file.
include!(concat!(env!("OUT_DIR"), "/data.rs"));
const COMMON: &str = include_str!("../data/common.yaml");

/// What a row says that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogError {
    /// The field: `providers.in-house.base_url`.
    pub field: String,
    /// What stands there.
    pub found: String,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.field, self.found, self.expected)
    }
}

impl std::error::Error for CatalogError {}

/// What every provider of a dialect has unless its row says otherwise.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DialectData {
    auth: Auth,
    headers: BTreeMap<String, String>,
    models_path: Option<String>,
    request_headers: Vec<String>,
    response_headers: Vec<String>,
    limits: Vec<LimitHeaders>,
    errors: Vec<Rule>,
}

/// What holds for every dialect.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CommonData {
    request_headers: Vec<String>,
    response_headers: Vec<String>,
    errors: Vec<Rule>,
    refusals: Refusals,
}

/// The shipped providers, and the data that rows are resolved against.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    /// The shipped providers, by name.
    pub providers: BTreeMap<String, Arc<Provider>>,
    rows: BTreeMap<String, RawProvider>,
    dialects: BTreeMap<DialectName, DialectData>,
    common: CommonData,
}

static BUILTIN: LazyLock<Result<Arc<Catalog>, CatalogError>> = LazyLock::new(|| Catalog::load().map(Arc::new));

impl Catalog {
    /// The shipped catalogue; parsed at the first call, shared afterwards.
    ///
    /// # Errors
    /// When the embedded data is broken, which the tests of this crate rule out.
    pub fn builtin() -> Result<Arc<Self>, CatalogError> {
        BUILTIN.clone()
    }

    fn load() -> Result<Self, CatalogError> {
        let mut catalog = Self {
            providers: BTreeMap::new(),
            rows: BTreeMap::new(),
            dialects: BTreeMap::new(),
            common: parse("common", COMMON)?,
        };
        for (name, text) in DIALECTS {
            let dialect = DialectName::ALL
                .into_iter()
                .find(|d| d.as_str() == *name)
                .ok_or_else(|| error(format!("dialects.{name}"), "a file of that name", "the name of a dialect"))?;
            catalog.dialects.insert(dialect, parse(name, text)?);
        }
        for (name, text) in PROVIDERS {
            catalog.rows.insert((*name).to_owned(), parse(name, text)?);
        }
        for (name, row) in catalog.rows.clone() {
            let provider = catalog.resolve(&name, row)?;
            catalog.providers.insert(name, Arc::new(provider));
        }
        Ok(catalog)
    }

    /// A provider from a user's row: the shipped one of that name with the row's fields over it, or a new one.
    ///
    /// The row's models and errors are added to the shipped ones and win over them. A row that changes the dialect of
    /// a shipped provider keeps nothing that belongs to the old dialect.
    ///
    /// # Errors
    /// Names the field, what it holds and what was expected.
    pub fn with_overrides(&self, name: &str, over: RawProvider) -> Result<Provider, CatalogError> {
        let row = match self.rows.get(name) {
            Some(shipped) => merge(shipped.clone(), over),
            None => over,
        };
        self.resolve(name, row)
    }

    fn resolve(&self, name: &str, row: RawProvider) -> Result<Provider, CatalogError> {
        let at = |field: &str| format!("providers.{name}.{field}");
        let dialect = row.dialect.ok_or_else(|| {
            error(
                at("dialect"),
                "nothing",
                "openai-chat, anthropic-messages or gemini (the catalogue has no such provider)",
            )
        })?;
        let base_url = row.base_url.ok_or_else(|| error(at("base_url"), "nothing", "the provider's base URL"))?;
        let of_dialect = self.dialects.get(&dialect).cloned().unwrap_or_default();

        let shared = match &row.errors_like {
            None => Vec::new(),
            Some(other) => match self.rows.get(other) {
                Some(row) => row.errors.clone().unwrap_or_default(),
                None => return Err(error(at("errors_like"), other, "the name of a shipped provider")),
            },
        };
        let rules = [row.errors.unwrap_or_default(), shared, of_dialect.errors, self.common.errors.clone()];

        let quirks = row.quirks.unwrap_or_default();
        let profile = quirks.profile().map_err(|e| error(at("quirks"), &e.to_string(), "fields of a profile"))?;
        let mut headers = of_dialect.headers;
        headers.extend(row.headers.unwrap_or_default());
        let provider = Provider {
            name: name.to_owned(),
            dialect,
            base_url: base_url.trim_end_matches('/').to_owned(),
            auth: row.auth.unwrap_or(of_dialect.auth),
            key_env: row.key_env.unwrap_or_default(),
            keyless: row.keyless.unwrap_or(false),
            headers: headers.into_iter().collect(),
            request_headers: lists([&self.common.request_headers, &of_dialect.request_headers], row.request_headers),
            response_headers: lists(
                [&self.common.response_headers, &of_dialect.response_headers],
                row.response_headers,
            ),
            limits: of_dialect.limits.into_iter().chain(row.limits.unwrap_or_default()).collect(),
            models_path: row.models_path.or(of_dialect.models_path),
            status_page: row.status_page,
            cancel_stops_billing: row.cancel_stops_billing.unwrap_or(false),
            profile,
            error_map: Arc::new(ErrorMap::new(rules.into_iter().flatten())),
            refusals: self.common.refusals.with(row.refusals.unwrap_or_default()),
            models: row.models.unwrap_or_default(),
            quirks,
        };
        check(&provider)?;
        Ok(provider)
    }
}

fn parse<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T, CatalogError> {
    serde_saphyr::from_str(text).map_err(|e| error(name.to_owned(), &e.to_string(), "a catalogue file"))
}

fn lists(shipped: [&Vec<String>; 2], own: Option<Vec<String>>) -> Vec<String> {
    let own = own.unwrap_or_default();
    shipped.into_iter().flatten().chain(&own).map(|name| name.to_ascii_lowercase()).collect()
}

fn merge(shipped: RawProvider, over: RawProvider) -> RawProvider {
    let same_dialect = over.dialect.is_none_or(|dialect| shipped.dialect == Some(dialect));
    let kept = if same_dialect {
        shipped
    } else {
        RawProvider {
            base_url: shipped.base_url,
            key_env: shipped.key_env,
            status_page: shipped.status_page,
            cancel_stops_billing: shipped.cancel_stops_billing,
            ..RawProvider::default()
        }
    };
    RawProvider {
        dialect: over.dialect.or(kept.dialect),
        base_url: over.base_url.or(kept.base_url),
        auth: over.auth.or(kept.auth),
        keys: over.keys.or(kept.keys),
        key_env: over.key_env.or(kept.key_env),
        keyless: over.keyless.or(kept.keyless),
        headers: both(kept.headers, over.headers),
        request_headers: appended(kept.request_headers, over.request_headers),
        response_headers: appended(kept.response_headers, over.response_headers),
        limits: appended(kept.limits, over.limits),
        models_path: over.models_path.or(kept.models_path),
        status_page: over.status_page.or(kept.status_page),
        cancel_stops_billing: over.cancel_stops_billing.or(kept.cancel_stops_billing),
        quirks: match (kept.quirks, over.quirks) {
            (Some(under), Some(over)) => Some(under.overlaid_with(&over)),
            (under, over) => over.or(under),
        },
        errors_like: over.errors_like.or(kept.errors_like),
        // The user's rules come first: the first that matches decides.
        errors: appended(over.errors, kept.errors),
        refusals: appended(kept.refusals, over.refusals),
        // The user's models come last: the last that matches wins.
        models: appended(kept.models, over.models),
    }
}

fn appended<T>(first: Option<Vec<T>>, second: Option<Vec<T>>) -> Option<Vec<T>> {
    match (first, second) {
        (Some(mut first), Some(second)) => {
            first.extend(second);
            Some(first)
        }
        (first, second) => first.or(second),
    }
}

fn both(
    under: Option<BTreeMap<String, String>>,
    over: Option<BTreeMap<String, String>>,
) -> Option<BTreeMap<String, String>> {
    match (under, over) {
        (Some(mut under), Some(over)) => {
            under.extend(over);
            Some(under)
        }
        (under, over) => over.or(under),
    }
}

fn error(field: String, found: &str, expected: &str) -> CatalogError {
    CatalogError { field, found: found.to_owned(), expected: expected.to_owned() }
}

fn check(provider: &Provider) -> Result<(), CatalogError> {
    let at = |field: &str| format!("providers.{}.{field}", provider.name);
    if provider.name.is_empty() || !provider.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(error(
            format!("providers.{}", provider.name),
            &format!("the name {:?}", provider.name),
            "letters, digits, '-', '_' and '.' (a model is written provider/model)",
        ));
    }
    if !is_base_url(&provider.base_url) {
        return Err(error(
            at("base_url"),
            &format!("{:?}", provider.base_url),
            "http:// or https://, a host, and no user, query or fragment: https://api.example.com/v1",
        ));
    }
    if let Some(page) = &provider.status_page
        && !is_base_url(&page.url)
    {
        return Err(error(
            at("status_page.url"),
            &format!("{:?}", page.url),
            "an http:// or https:// address without a query",
        ));
    }
    if let Auth::Header(name) = &provider.auth
        && !is_header_name(name)
    {
        return Err(error(at("auth.header"), &format!("{name:?}"), "a header name such as x-api-key"));
    }
    for (name, value) in &provider.headers {
        if !is_header_name(name) || !value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
            return Err(error(at("headers"), &format!("{name:?}: {value:?}"), "a header name and visible ASCII text"));
        }
    }
    for rule in provider.error_map.rules() {
        if rule.is_unconditional() {
            return Err(error(at("errors"), &format!("a rule for {} without conditions", rule.class), "a condition"));
        }
    }
    provider.models.iter().try_for_each(|row| check_model(&at(&format!("models[{}]", row.id)), row))
}

fn check_model(at: &str, row: &ModelRow) -> Result<(), CatalogError> {
    if row.id.is_empty() {
        return Err(error(format!("{at}.id"), "nothing", "the provider's id of a model, or a pattern with *"));
    }
    if let Some((field, found, expected)) = row.prices.as_ref().and_then(Prices::flaw) {
        return Err(error(format!("{at}.prices.{field}"), &found, expected));
    }
    if let Some(day) = &row.retires
        && !is_date(day)
    {
        return Err(error(format!("{at}.retires"), &format!("{day:?}"), "a day such as 2026-12-11"));
    }
    Quirks::profile(&row.quirks)
        .map(drop)
        .map_err(|e| error(format!("{at}.quirks"), &e.to_string(), "fields of a profile"))
}

fn is_base_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    !host.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#@\"<>\\^`{|}".contains(&b))
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

pub(crate) fn is_date(day: &str) -> bool {
    let mut parts = day.split('-');
    let mut next = |digits: usize, most: u16| {
        parts
            .next()
            .is_some_and(|part| part.len() == digits && part.parse::<u16>().is_ok_and(|n| (1..=most).contains(&n)))
    };
    next(4, 9999) && next(2, 12) && next(2, 31) && parts.next().is_none()
}
