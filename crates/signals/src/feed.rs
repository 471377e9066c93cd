//! Reading incidents that somebody else reports: a list as JSON, of a feed or of a webhook, and RSS or Atom.
//!
//! The JSON is ours and documented in `docs/SIGNALS.md`. RSS 2.0 (<https://www.rssboard.org/rss-specification>) and
//! Atom (RFC 4287) are made for people: an item is an incident that goes on for as long after its date as the
//! configuration says, unless the first word of its state says that it is over. Status pages put their latest update
//! first.

use crate::when::{rfc2822, rfc3339};
use crate::{Concern, Incident};
use canon::Instant;
use catalog::Pattern;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde::Deserialize;
use std::time::Duration;

/// Longest text of an item that is read.
const LONGEST_TEXT: usize = 8 << 10;
/// Words of a state that is over, or has not begun.
const OVER: [&str; 7] = ["resolved", "completed", "postmortem", "operational", "available", "closed", "scheduled"];
/// Words of one that goes on.
const ON: [&str; 8] =
    ["investigating", "identified", "monitoring", "degraded", "outage", "disruption", "verifying", "progress"];

/// Now, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// On the monotonic time line.
    pub instant: Instant,
    /// On the wall, since 1970.
    pub wall: Duration,
}

impl Now {
    /// The point on the time line of a time on the wall; the past is now.
    fn instant_of(self, wall: Duration) -> Instant {
        self.instant + wall.saturating_sub(self.wall)
    }
}

/// One incident as a feed or a webhook tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The incident.
    pub incident: Incident,
    /// It is over.
    pub is_over: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Document {
    Wrapped { incidents: Vec<Told> },
    Many(Vec<Told>),
    One(Told),
}

#[derive(Debug, Deserialize)]
struct Told {
    id: Option<String>,
    state: State,
    title: Option<String>,
    provider: Option<String>,
    target: Option<String>,
    region: Option<String>,
    until: Option<Until>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Active,
    Resolved,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Until {
    Seconds(u64),
    Date(String),
}

/// Reads the incidents of a JSON document. `of` is whom the source may speak of: an incident that states somebody else
/// is left out, and what one does not state is taken from there.
///
/// # Errors
/// What of it could not be read.
pub fn read_reports(body: &[u8], of: &Concern, now: Now) -> Result<Vec<Report>, String> {
    let document: Document = serde_json::from_slice(body).map_err(|_| {
        "expected JSON: { \"incidents\": [{ \"id\", \"state\": \"active\" or \"resolved\", \"provider\", \"target\", \"region\", \
         \"title\", \"until\" }] }, such a list, or one of them"
            .to_owned()
    })?;
    let all = match document {
        Document::Wrapped { incidents } | Document::Many(incidents) => incidents,
        Document::One(told) => vec![told],
    };
    let reports = all.into_iter().map(|told| report(told, of, now));
    Ok(reports.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn report(told: Told, of: &Concern, now: Now) -> Result<Option<Report>, String> {
    let Told { id, state, title, provider, target, region, until } = told;
    let stated = [&provider, &target, &region].map(|it| it.as_deref().unwrap_or_default()).join("|");
    let within = |stated: Option<String>, allowed: &Option<Pattern>| match (stated, allowed) {
        (Some(stated), Some(allowed)) if !allowed.matches(&stated) => None,
        (Some(stated), _) => Some(Some(Pattern::new(&stated))),
        (None, allowed) => Some(allowed.clone()),
    };
    let (Some(provider), Some(target), Some(region)) =
        (within(provider, &of.provider), within(target, &of.target), within(region, &of.region))
    else {
        return Ok(None);
    };
    let concern = Concern { provider, target, region };
    if concern.is_empty() {
        return Err("an incident states none of `provider`, `target` and `region`".to_owned());
    }
    let until = match until {
        None => None,
        Some(Until::Seconds(seconds)) => Some(Duration::from_secs(seconds)),
        Some(Until::Date(date)) => {
            let shown: String = date.chars().take(40).collect();
            Some(rfc3339(&date).ok_or_else(|| {
                format!("`until` is `{shown}`: expected a time such as 2026-11-21T10:30:00Z, or seconds since 1970")
            })?)
        }
    };
    let id = id.unwrap_or(stated);
    let title = title.unwrap_or_else(|| "an incident".to_owned());
    let is_past = until.is_some_and(|until| until <= now.wall);
    let incident = Incident { until: until.map(|it| now.instant_of(it)), ..Incident::new(&id, &title, vec![concern]) };
    Ok(Some(Report { incident, is_over: state == State::Resolved || is_past }))
}

/// One item of a feed, as it is read.
#[derive(Debug, Default)]
struct Item {
    id: String,
    title: String,
    text: String,
    date: String,
}

/// What is read of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Title,
    Text,
    Date,
}

impl Field {
    fn of(name: &str) -> Option<Self> {
        match name {
            "guid" | "id" => Some(Self::Id),
            "title" => Some(Self::Title),
            "description" | "summary" | "content" | "encoded" => Some(Self::Text),
            "pubDate" | "updated" | "published" | "date" => Some(Self::Date),
            _ => None,
        }
    }
}

impl Item {
    fn add(&mut self, field: Field, text: &str) {
        let place = match field {
            Field::Id => &mut self.id,
            Field::Title => &mut self.title,
            Field::Text => &mut self.text,
            Field::Date => &mut self.date,
        };
        let room = LONGEST_TEXT.saturating_sub(place.len());
        place.extend(text.chars().take(room));
    }
}

/// Reads the items of an RSS or Atom feed that are incidents which go on. One whose date cannot be read is none.
///
/// # Errors
/// What of it could not be read.
pub fn read_items(
    body: &[u8],
    of: &Concern,
    only: Option<&Pattern>,
    active_for: Duration,
    now: Now,
) -> Result<Vec<Incident>, String> {
    let text = std::str::from_utf8(body).map_err(|_| "not UTF-8".to_owned())?;
    let mut incidents = Vec::new();
    for item in items(text)? {
        let Some(date) = rfc3339(item.date.trim()).or_else(|| rfc2822(&item.date)) else { continue };
        let ends = date.saturating_add(active_for);
        let is_meant = only.is_none_or(|only| only.matches(item.title.trim()));
        if is_meant && now.wall < ends && !is_over(&item) {
            let id = if item.id.is_empty() { &item.title } else { &item.id };
            let incident = Incident::new(id, &item.title, vec![of.clone()]);
            incidents.push(Incident { until: Some(now.instant_of(ends)), ..incident });
        }
    }
    Ok(incidents)
}

fn items(text: &str) -> Result<Vec<Item>, String> {
    let mut reader = Reader::from_str(text);
    let mut items = Vec::new();
    let mut item: Option<Item> = None;
    let mut field = None;
    let mut is_feed = false;
    let mut depth = 0_usize;
    loop {
        let event = reader.read_event().map_err(|error| format!("not XML: {error}"))?;
        match &event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        match event {
            Event::Start(start) => match (start.local_name().into_inner(), &item) {
                ("rss" | "feed" | "RDF", None) => is_feed = true,
                ("item" | "entry", None) => item = Some(Item::default()),
                (name, Some(_)) if field.is_none() => field = Field::of(name),
                _ => {}
            },
            Event::End(end) => match end.local_name().into_inner() {
                "item" | "entry" => items.extend(item.take()),
                name if Field::of(name) == field => field = None,
                _ => {}
            },
            Event::Text(text) => add(&mut item, field, &text.xml10_content()),
            Event::CData(text) => add(&mut item, field, &text.xml10_content()),
            Event::GeneralRef(name) => {
                let character = name.resolve_char_ref().ok().flatten().or_else(|| entity(&name.xml10_content()));
                add(&mut item, field, character.unwrap_or(' ').encode_utf8(&mut [0; 4]));
            }
            Event::Eof => break,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    // What is cut off would pass for a list in which the rest is over.
    if depth > 0 {
        return Err("it is cut off".to_owned());
    }
    if is_feed { Ok(items) } else { Err("neither RSS nor Atom".to_owned()) }
}

fn add(item: &mut Option<Item>, field: Option<Field>, text: &str) {
    if let (Some(item), Some(field)) = (item, field) {
        item.add(field, text);
    }
}

/// The entities that every XML document has.
fn entity(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

/// Whether the state of an item, as its title begins with it or its text tells it first, is that of one that is over.
fn is_over(item: &Item) -> bool {
    let word = |text: &str| text.trim_matches(|c: char| !c.is_alphabetic()).to_ascii_lowercase();
    let first = item.title.split_whitespace().next().map(word).unwrap_or_default();
    if OVER.contains(&first.as_str()) {
        return true;
    }
    let words = item.text.split(|c: char| !c.is_alphabetic()).map(str::to_ascii_lowercase);
    let state = words.into_iter().find(|word| OVER.contains(&word.as_str()) || ON.contains(&word.as_str()));
    state.is_some_and(|word| OVER.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21, 10:00 UTC.
    const WALL: u64 = 1_795_255_200;

    fn now() -> Now {
        Now { instant: Instant::from_origin(Duration::from_secs(500)), wall: Duration::from_secs(WALL) }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    fn of(provider: &str) -> Concern {
        Concern { provider: Some(Pattern::new(provider)), ..Concern::default() }
    }

    #[test]
    fn an_incident_states_whom_it_concerns_and_until_when() {
        let body = br#"{"incidents":[
            {"id":"7","state":"active","provider":"openai","region":"eu*","title":"slow","until":"2026-11-21T10:30:00Z","more":1},
            {"state":"resolved","target":"a/m"},
            {"state":"active","target":"a/m","until":1}
        ]}"#;
        let reports = read_reports(body, &Concern::default(), now()).unwrap();
        assert_eq!(reports[0].incident.until, Some(at(500 + 1_800)));
        assert_eq!(reports[0].incident.concerns[0].region, Some(Pattern::new("eu*")));
        assert_eq!(reports.iter().map(|it| it.is_over).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(reports[1].incident.id, reports[2].incident.id, "without an id, whom it concerns tells it");
    }

    #[test]
    fn a_source_speaks_of_nobody_but_whom_it_is_for() {
        let body =
            br#"[{"state":"active","provider":"openai"},{"state":"active","provider":"anthropic"},{"state":"active"}]"#;
        let reports = read_reports(body, &of("openai"), now()).unwrap();
        assert_eq!(reports.len(), 2);
        assert!(reports.iter().all(|it| it.incident.concerns == [of("openai")]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_was_expected() {
        for (body, why) in [
            ("", "expected JSON"),
            (r#"{"state":"down","provider":"a"}"#, "expected JSON"),
            (r#"{"state":"active"}"#, "states none of `provider`, `target` and `region`"),
            (r#"{"state":"active","provider":"a","until":"tomorrow"}"#, "`until` is `tomorrow`"),
        ] {
            let error = read_reports(body.as_bytes(), &Concern::default(), now()).unwrap_err();
            assert!(error.contains(why), "{body}: {error}");
        }
    }

    const RSS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0"><channel><title>Example status</title><pubDate>Sat, 21 Nov 2026 09:59:00 GMT</pubDate>
<item><title>API &amp; chat: elevated errors</title><pubDate>Sat, 21 Nov 2026 09:30:00 +0000</pubDate><guid>g1</guid>
  <description>&lt;p&gt;&lt;strong&gt;Investigating&lt;/strong&gt; - not resolved yet&lt;/p&gt;</description></item>
<item><title>Yesterday</title><pubDate>Fri, 20 Nov 2026 09:30:00 GMT</pubDate><guid>g2</guid><description>Identified</description></item>
<item><title>Website is slow</title><pubDate>21 Nov 2026 01:45 PST</pubDate><guid>g3</guid>
  <description><![CDATA[<strong>Resolved</strong> - it is well. <strong>Investigating</strong> - it is slow]]></description></item>
<item><title>[Resolved] Logins</title><pubDate>Sat, 21 Nov 2026 09:50:00 GMT</pubDate><description>x</description></item>
<item><title>Undated</title></item>
</channel></rss>"#;

    fn read(body: &str, only: Option<&str>) -> Vec<(String, Option<Instant>)> {
        let only = only.map(Pattern::new);
        let read = read_items(body.as_bytes(), &of("p"), only.as_ref(), Duration::from_secs(7_200), now()).unwrap();
        read.into_iter().map(|incident| (incident.title, incident.until)).collect()
    }

    #[test]
    fn an_item_is_an_incident_until_its_state_or_its_age_says_otherwise() {
        let expected = ("API & chat: elevated errors".to_owned(), Some(at(500 + 5_400)));
        assert_eq!(read(RSS, Some("api*")), read(RSS, None));
        assert_eq!(read(RSS, None), [expected]);
        assert!(read(RSS, Some("website*")).is_empty());
    }

    #[test]
    fn atom_is_read_as_rss_is() {
        let atom = r#"<feed xmlns="http://www.w3.org/2005/Atom"><id>f</id><updated>2026-11-21T09:59:00Z</updated>
            <entry><id>e1</id><title>Outage</title><updated>2026-11-21T10:00:00+01:00</updated><content type="html">Monitoring</content></entry>
            <entry><id>e2</id><title>Over</title><updated>2026-11-21T09:00:00Z</updated><summary>Completed</summary></entry></feed>"#;
        assert_eq!(read(atom, None), [("Outage".to_owned(), Some(at(500 + 3_600)))]);
    }

    #[test]
    fn what_is_no_feed_is_said_to_be_none() {
        for wrong in ["", "no", "<html><body>x</body></html>", "<rss><item></rss>", "<rss><item>", "{}"] {
            let read = read_items(wrong.as_bytes(), &of("p"), None, Duration::from_secs(60), now());
            assert!(read.is_err(), "{wrong}: {read:?}");
        }
    }
}
