//! What is read now and then, and what follows from it.

use super::fetch::{Address, Fetched, LONGEST, Validators, fetch};
use super::under_way::Asking;
use super::webhook::SOURCE;
use super::{LIMIT, Signals};
use crate::readers::lock;
use crate::{Current, Gateway, clock};
use ::signals::{About, Changes, Incident, Next, Now, read_items, read_page, read_reports};
use canon::Instant;
use catalog::StatusPage;
use config::{FeedFormat, IncidentFeed, PriceFeed, Snapshot};
use health::Suspicion;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// So many intervals without a report, and a source has no opinion.
const BELIEVED: u32 = 3;

/// Something that is read now and then.
#[derive(Debug)]
pub(crate) struct Poll {
    /// What it is called in logs; no two have the same.
    pub(super) name: Arc<str>,
    every: Duration,
    from: From,
    kind: Kind,
}

/// Where it is read.
#[derive(Debug)]
enum From {
    /// At an address.
    Address(Address),
    /// In a file.
    File(String),
}

#[derive(Debug)]
enum Kind {
    /// A provider's status page.
    Page { provider: String, page: StatusPage },
    /// A list of incidents.
    Feed(IncidentFeed),
    /// Prices.
    Prices(PriceFeed),
}

/// How reading a document went so far.
#[derive(Debug, Default)]
pub(super) struct Polled {
    validators: Validators,
    /// Why it could not be read the last time.
    error: Option<String>,
}

/// What a configuration wants to be read.
///
/// # Errors
/// Names an address that is none.
pub(crate) fn polls(snapshot: &Snapshot) -> Result<Vec<Arc<Poll>>, String> {
    let page = |(provider, page, every): (&catalog::Provider, &StatusPage, Duration)| {
        let address = Address::parse(&page.url)
            .map_err(|error| format!("providers.{}.status_page.url: {error}", provider.name))?;
        let kind = Kind::Page { provider: provider.name.clone(), page: page.clone() };
        let name = format!("status page of {}", provider.name).into();
        Ok(Arc::new(Poll { name, every, from: From::Address(address), kind }))
    };
    let feed = |(i, feed): (usize, &IncidentFeed)| {
        let address = Address::parse(&feed.url).map_err(|error| format!("incident_feeds.{i}.url: {error}"))?;
        let name = format!("incident feed {} ({})", i + 1, address.host()).into();
        let from = From::Address(address);
        Ok(Arc::new(Poll { name, every: feed.every, from, kind: Kind::Feed(feed.clone()) }))
    };
    let feeds = snapshot.incident_feeds.iter().enumerate().map(feed);
    let prices = snapshot.price_feed.iter().map(|feed| {
        let from = if feed.from.contains("://") {
            From::Address(Address::parse(&feed.from).map_err(|error| format!("price_feed.from: {error}"))?)
        } else {
            From::File(feed.from.clone())
        };
        let kind = Kind::Prices(feed.clone());
        Ok(Arc::new(Poll { name: "price feed".into(), every: feed.every, from, kind }))
    });
    snapshot.status_pages().map(page).chain(feeds).chain(prices).collect()
}

impl Gateway {
    /// Reads everything once that the configuration has read now and then, as far as it can be read.
    pub async fn read_signals(&self) {
        let current = self.current.load_full();
        for poll in current.polls.iter() {
            self.read(poll.clone(), current.clone()).await;
        }
    }

    /// What could not be read the last time, and why.
    pub fn unread_signals(&self) -> Vec<String> {
        let polled = lock(&self.signals.polled);
        let mut unread: Vec<String> =
            polled.iter().filter_map(|(name, polled)| Some(format!("{name}: {}", polled.error.as_ref()?))).collect();
        unread.sort();
        unread
    }

    /// Reads a document, and acts on what it says.
    pub(super) fn read(&self, poll: Arc<Poll>, current: Arc<Current>) -> Asking<'_> {
        Box::pin(async move {
            let known = lock(&self.signals.polled).entry(poll.name.clone()).or_default().validators.clone();
            let fetched = match &poll.from {
                From::Address(address) => fetch(&*self.transport, address, &known, &self.shared.budget).await,
                From::File(file) => from_file(file.clone()).await,
            };
            let now = self.clock().now();
            let done = match fetched {
                Ok(Fetched::Unchanged) => {
                    self.signals.unchanged(&poll, now);
                    Ok(known)
                }
                Ok(Fetched::Document(document, validators)) => {
                    let read = match &poll.kind {
                        Kind::Prices(feed) => self.take_prices(feed, &document),
                        Kind::Page { provider, page } => {
                            read_page(provider, page, &document).map(|read| self.signals.listed(&poll, read, now))
                        }
                        Kind::Feed(feed) => {
                            listed(feed, &document, now).map(|read| self.signals.listed(&poll, read, now))
                        }
                    };
                    read.map(|()| validators)
                }
                Err(error) => Err(error),
            };
            self.signals.weigh(&current.snapshot, now);
            self.signals.note(&poll, done)
        })
    }
}

impl Poll {
    fn believed_until(&self, now: Instant) -> Instant {
        now + self.every.saturating_mul(BELIEVED) + LIMIT
    }
}

impl Signals {
    fn unchanged(&self, poll: &Poll, now: Instant) {
        lock(&self.book).unchanged(&poll.name, poll.believed_until(now));
    }

    /// These incidents go on, says who was read.
    fn listed(&self, poll: &Poll, incidents: Vec<Incident>, now: Instant) {
        tell(&poll.name, lock(&self.book).told(&poll.name, incidents, poll.believed_until(now)));
    }

    /// Tells every target what is reported of it.
    pub(super) fn weigh(&self, snapshot: &Snapshot, now: Instant) {
        let book = lock(&self.book);
        for target in snapshot.models().flat_map(|model| model.targets.iter()) {
            let about =
                About { provider: &target.provider.name, model: &target.model, region: target.region.as_deref() };
            let reported: Vec<_> = book.concerning(about, now).collect();
            let suspicion = reported.iter().map(|(_, _, until)| *until).max().map(|until| {
                let why: Vec<String> =
                    reported.iter().map(|(source, incident, _)| format!("{source}: {}", incident.title)).collect();
                Suspicion { until, why: why.join("; ") }
            });
            target.health.suspect(suspicion);
        }
    }

    /// Remembers how it went; told once, however long it lasts.
    fn note(&self, poll: &Poll, done: Result<Validators, String>) -> Next {
        let mut polled = lock(&self.polled);
        let polled = polled.entry(poll.name.clone()).or_default();
        match done {
            Ok(validators) => {
                polled.validators = validators;
                if polled.error.take().is_some() {
                    tracing::info!(source = &*poll.name, "it can be read again");
                }
                Next::In(poll.every)
            }
            Err(error) => {
                if polled.error.as_ref() != Some(&error) {
                    tracing::warn!(
                        source = &*poll.name,
                        error,
                        "it cannot be read, and has no opinion once it is stale"
                    );
                }
                polled.error = Some(error);
                Next::Failed { every: poll.every }
            }
        }
    }

    /// Another configuration is in force: what is not read any more has no opinion, and the rest is read anew.
    pub(super) fn keep(&self, polls: &[Arc<Poll>], takes_reports: bool) {
        let is_read = |name: &str| polls.iter().any(|poll| &*poll.name == name);
        lock(&self.book).keep(|source| is_read(source) || (takes_reports && source == SOURCE));
        let mut polled = lock(&self.polled);
        polled.retain(|name, _| is_read(name));
        // The same document may mean something else now.
        polled.values_mut().for_each(|polled| polled.validators = Validators::default());
    }
}

/// Reads a file, off the runtime's own threads.
async fn from_file(file: String) -> Result<Fetched, String> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut document = Vec::new();
        let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
        let read = std::fs::File::open(&file).and_then(|open| open.take(most + 1).read_to_end(&mut document));
        match read {
            Err(error) => Err(format!("{file}: {error}")),
            Ok(length) if length > LONGEST => Err(format!("{file}: it is longer than {} KiB", LONGEST >> 10)),
            Ok(_) => Ok(Fetched::Document(document.into(), Validators::default())),
        }
    });
    reading.await.unwrap_or_else(|error| Err(error.to_string()))
}

/// The incidents of a feed that go on.
fn listed(feed: &IncidentFeed, document: &[u8], now: Instant) -> Result<Vec<Incident>, String> {
    let now = Now { instant: now, wall: clock::since_1970() };
    match &feed.format {
        FeedFormat::Rss { title, active_for } => read_items(document, &feed.of, title.as_ref(), *active_for, now),
        FeedFormat::Json => {
            let reports = read_reports(document, &feed.of, now)?;
            Ok(reports.into_iter().filter(|report| !report.is_over).map(|report| report.incident).collect())
        }
    }
}

/// Writes down what begins and what is over.
pub(super) fn tell(source: &str, changes: Changes) {
    for title in changes.begun {
        tracing::warn!(source, title, "an incident is reported");
    }
    for title in changes.over {
        tracing::info!(source, title, "an incident is not reported any more");
    }
}
