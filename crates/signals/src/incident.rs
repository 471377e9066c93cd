//! Incidents that somebody reports, and whom each concerns.
//!
//! A report is a prior, never a verdict: health acts on it only together with what it sees itself. A report that is not
//! renewed is forgotten, so a page that cannot be read any more has no opinion.

use crate::Report;
use canon::Instant;
use catalog::Pattern;

/// Most incidents of one source that are believed at once.
pub const MOST_INCIDENTS: usize = 64;
/// Longest title that is kept, in characters.
const LONGEST_TITLE: usize = 160;

/// An incident that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Tells it from others of its source.
    pub id: String,
    /// In its reporter's words.
    pub title: String,
    /// Any of these.
    pub concerns: Vec<Concern>,
    /// Over by then, whatever its source says later.
    pub until: Option<Instant>,
}

impl Incident {
    /// With a title fit to be shown: one line, not too long.
    pub fn new(id: &str, title: &str, concerns: Vec<Concern>) -> Self {
        let mut words = String::new();
        for word in title.split_whitespace() {
            if !words.is_empty() {
                words.push(' ');
            }
            words.extend(word.chars().filter(|c| !c.is_control()));
        }
        let title = words.chars().take(LONGEST_TITLE).collect();
        Self { id: id.chars().take(LONGEST_TITLE).collect(), title, concerns, until: None }
    }
}

/// Whom an incident concerns: whoever fits all that is stated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Concern {
    /// Of this provider.
    pub provider: Option<Pattern>,
    /// `provider/model`.
    pub target: Option<Pattern>,
    /// In this region; a target whose region is unknown is in none.
    pub region: Option<Pattern>,
}

/// A target, as far as incidents tell targets apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About<'t> {
    /// Its provider.
    pub provider: &'t str,
    /// The provider's id of its model.
    pub model: &'t str,
    /// Where it runs.
    pub region: Option<&'t str>,
}

impl Concern {
    /// States nothing, and so concerns everybody.
    pub fn is_empty(&self) -> bool {
        self.provider.is_none() && self.target.is_none() && self.region.is_none()
    }

    fn fits(&self, about: &About<'_>) -> bool {
        let of = |pattern: &Option<Pattern>, name: &str| pattern.as_ref().is_none_or(|it| it.matches(name));
        let target = || format!("{}/{}", about.provider, about.model);
        of(&self.provider, about.provider)
            && self.region.as_ref().is_none_or(|it| about.region.is_some_and(|region| it.matches(region)))
            && (self.target.is_none() || of(&self.target, &target()))
    }
}

/// What every source reports.
#[derive(Debug, Default)]
pub struct Book {
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    name: Box<str>,
    /// Believed until then.
    until: Instant,
    incidents: Vec<Incident>,
}

/// What a new report of a source changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// The titles of incidents that were not there before.
    pub begun: Vec<String>,
    /// The titles of those that are over.
    pub over: Vec<String>,
}

impl Book {
    /// A source reports these, and is believed until then.
    pub fn told(&mut self, source: &str, mut incidents: Vec<Incident>, until: Instant) -> Changes {
        incidents.truncate(MOST_INCIDENTS);
        let place = self.sources.iter().position(|known| &*known.name == source);
        let old = place.map(|place| self.sources.swap_remove(place).incidents).unwrap_or_default();
        let not_in = |all: &[Incident], one: &Incident| !all.iter().any(|other| other.id == one.id);
        let title = |incident: &Incident| incident.title.clone();
        let changes = Changes {
            begun: incidents.iter().filter(|it| not_in(&old, it)).map(title).collect(),
            over: old.iter().filter(|it| not_in(&incidents, it)).map(title).collect(),
        };
        self.sources.push(Source { name: source.into(), until, incidents });
        changes
    }

    /// A source that reports one by one reports this; it is believed until then unless it is over. `None` = it has as
    /// many incidents as are kept.
    pub fn reported(&mut self, source: &str, report: Report, until: Instant, now: Instant) -> Option<Changes> {
        let place = self.sources.iter().position(|known| &*known.name == source).unwrap_or_else(|| {
            self.sources.push(Source { name: source.into(), until: Instant::FAR_FUTURE, incidents: Vec::new() });
            self.sources.len() - 1
        });
        let known = &mut self.sources.get_mut(place)?.incidents;
        known.retain(|incident| incident.until.is_none_or(|until| now < until));
        let Report { incident, is_over } = report;
        let old = known.iter().position(|it| it.id == incident.id).map(|place| known.swap_remove(place));
        let title = incident.title.clone();
        if is_over {
            let over = old.into_iter().map(|old| old.title).collect();
            return Some(Changes { begun: Vec::new(), over });
        }
        if known.len() >= MOST_INCIDENTS {
            return None;
        }
        known.push(Incident { until: Some(until), ..incident });
        let begun = if old.is_none() { vec![title] } else { Vec::new() };
        Some(Changes { begun, over: Vec::new() })
    }

    /// A source says that nothing has changed.
    pub fn unchanged(&mut self, source: &str, until: Instant) {
        if let Some(known) = self.sources.iter_mut().find(|known| &*known.name == source) {
            known.until = known.until.max(until);
        }
    }

    /// Only these sources are asked from now on.
    pub fn keep(&mut self, is_asked: impl Fn(&str) -> bool) {
        self.sources.retain(|known| is_asked(&known.name));
    }

    /// What is reported now of a target: the source, the incident, and until when that is believed.
    pub fn concerning<'b>(
        &'b self,
        about: About<'b>,
        now: Instant,
    ) -> impl Iterator<Item = (&'b str, &'b Incident, Instant)> {
        self.sources
            .iter()
            .flat_map(|source| source.incidents.iter().map(move |incident| (source, incident)))
            .map(|(source, incident)| {
                let until = incident.until.map_or(source.until, |until| until.min(source.until));
                (&*source.name, incident, until)
            })
            .filter(move |(_, incident, until)| now < *until && incident.concerns.iter().any(|it| it.fits(&about)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    fn of_provider(name: &str) -> Concern {
        Concern { provider: Some(Pattern::new(name)), ..Concern::default() }
    }

    fn about<'t>(provider: &'t str, model: &'t str, region: Option<&'t str>) -> About<'t> {
        About { provider, model, region }
    }

    fn titles(book: &Book, about: About<'_>, now: Instant) -> Vec<String> {
        book.concerning(about, now).map(|(_, incident, _)| incident.title.clone()).collect()
    }

    #[test]
    fn an_incident_concerns_whoever_fits_all_that_it_states() {
        let concern = Concern {
            provider: Some(Pattern::new("openai")),
            target: Some(Pattern::new("openai/gpt-5*")),
            region: Some(Pattern::new("eu*")),
        };
        assert!(concern.fits(&about("openai", "gpt-5.1", Some("eu-west"))));
        assert!(!concern.fits(&about("openai", "gpt-4o", Some("eu-west"))));
        assert!(!concern.fits(&about("azure", "gpt-5.1", Some("eu-west"))));
        assert!(!concern.fits(&about("openai", "gpt-5.1", None)), "an unknown region is no region");
    }

    #[test]
    fn a_report_that_is_not_renewed_is_forgotten() {
        let mut book = Book::default();
        let changes = book.told("page", vec![Incident::new("1", "slow", vec![of_provider("openai")])], at(100));
        assert_eq!(changes.begun, ["slow"]);
        let openai = about("openai", "m", None);
        assert_eq!(titles(&book, openai, at(99)), ["slow"]);
        assert!(titles(&book, openai, at(100)).is_empty());
        book.unchanged("page", at(200));
        assert_eq!(titles(&book, openai, at(150)), ["slow"]);
        assert!(titles(&book, about("anthropic", "m", None), at(150)).is_empty());
        let changes = book.told("page", Vec::new(), at(300));
        assert_eq!((changes.begun.len(), changes.over), (0, vec!["slow".to_owned()]));
        assert!(titles(&book, openai, at(150)).is_empty());
    }

    #[test]
    fn an_incident_with_an_end_is_over_by_then_and_a_source_that_is_not_asked_has_no_opinion() {
        let mut book = Book::default();
        let ends = Incident { until: Some(at(50)), ..Incident::new("1", "a", vec![Concern::default()]) };
        book.told("page", vec![ends, Incident::new("2", "b", vec![Concern::default()])], at(100));
        let any = about("p", "m", None);
        assert_eq!(titles(&book, any, at(49)), ["a", "b"]);
        assert_eq!(titles(&book, any, at(50)), ["b"]);
        book.keep(|source| source != "page");
        assert!(titles(&book, any, at(10)).is_empty());
    }

    #[test]
    fn what_is_told_one_by_one_is_kept_until_it_is_over_and_no_more_of_it_than_fits() {
        let mut book = Book::default();
        let report = |id: &str, is_over| Report { incident: Incident::new(id, id, vec![Concern::default()]), is_over };
        let any = about("p", "m", None);
        assert_eq!(book.reported("hook", report("a", false), at(100), at(0)).unwrap().begun, ["a"]);
        assert_eq!(
            book.reported("hook", report("a", false), at(200), at(1)).unwrap(),
            Changes::default(),
            "it is known"
        );
        assert_eq!(titles(&book, any, at(150)), ["a"]);
        assert_eq!(book.reported("hook", report("a", true), at(200), at(2)).unwrap().over, ["a"]);
        assert!(titles(&book, any, at(3)).is_empty());
        let fits = (0..100).filter(|i| book.reported("hook", report(&i.to_string(), false), at(50), at(4)).is_some());
        assert_eq!(fits.count(), MOST_INCIDENTS);
        assert!(book.reported("hook", report("later", false), at(99), at(50)).is_some(), "the others are over by then");
    }

    #[test]
    fn a_flood_of_incidents_and_of_words_is_cut() {
        let mut book = Book::default();
        let many = (0..1_000)
            .map(|i| Incident::new(&i.to_string(), &"long \n word\u{7} ".repeat(99), vec![Concern::default()]));
        book.told("page", many.collect(), at(100));
        let shown = titles(&book, about("p", "m", None), at(1));
        assert_eq!(shown.len(), MOST_INCIDENTS);
        assert!(shown[0].chars().count() <= LONGEST_TITLE && shown[0].starts_with("long word long"), "{}", shown[0]);
    }
}
