//! Reading a provider's status page: Statuspage's JSON and incident.io's, which differ in where things stand.
//!
//! - Statuspage: `components[] { name, status }`, `incidents[] { id, name, status, impact, components[] }`, in
//!   `summary.json`, `components.json` and `incidents/unresolved.json`
//!   (<https://confluence.status.atlassian.com/api>, read 2026-11).
//! - incident.io: the same under Statuspage's paths, whose incidents may be missing; and its own widget,
//!   `ongoing_incidents[] { id, name, status, affected_components[] { name } }`
//!   (<https://docs.incident.io/status-pages/embedding>, read 2026-11).
//!
//! What is planned and has not begun is no incident, nor is what is resolved. An incident that names no component
//! concerns all of the page where no component is told apart, and nobody known where some are: then the components' own
//! states tell.

use crate::{Concern, Incident};
use catalog::{Pattern, StatusPage};
use serde::Deserialize;

/// What is read of a page; everything else may be there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Page {
    components: Option<Vec<Component>>,
    incidents: Option<Vec<Listed>>,
    ongoing_incidents: Option<Vec<Listed>>,
    in_progress_maintenances: Option<Vec<Listed>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Component {
    name: String,
    status: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listed {
    id: String,
    name: String,
    status: Option<String>,
    impact: Option<String>,
    components: Option<Vec<Component>>,
    affected_components: Option<Vec<Component>>,
}

/// The incidents of a provider's page that go on now.
///
/// # Errors
/// What of it could not be read.
pub fn read_page(provider: &str, page: &StatusPage, body: &[u8]) -> Result<Vec<Incident>, String> {
    let read: Page = serde_json::from_slice(body).map_err(|error| format!("not a status page's JSON: {error}"))?;
    let lists = [read.incidents, read.ongoing_incidents, read.in_progress_maintenances];
    if read.components.is_none() && lists.iter().all(Option::is_none) {
        return Err("no `components`, `incidents` or `ongoing_incidents`: not a status page's JSON".to_owned());
    }
    let mut incidents: Vec<Incident> = Vec::new();
    for listed in lists.into_iter().flatten().flatten().filter(Listed::goes_on) {
        let named = listed.components.into_iter().chain(listed.affected_components).flatten();
        let concerns = concerned(provider, page, named.map(|component| component.name));
        if !concerns.is_empty() {
            incidents.push(Incident::new(&listed.id, &listed.name, concerns));
        }
    }
    for component in read.components.into_iter().flatten() {
        let Some(status) = component.status.filter(|status| status != "operational") else { continue };
        let concerns = concerned(provider, page, [component.name.clone()].into_iter());
        if !concerns.is_empty() {
            let title = format!("{}: {}", component.name, status.replace('_', " "));
            incidents.push(Incident::new(&format!("component {}", component.name), &title, concerns));
        }
    }
    Ok(incidents)
}

impl Listed {
    fn goes_on(&self) -> bool {
        let is_over = matches!(
            self.status.as_deref(),
            Some(
                "resolved"
                    | "postmortem"
                    | "completed"
                    | "scheduled"
                    | "maintenance_scheduled"
                    | "maintenance_complete"
            )
        );
        !is_over && self.impact.as_deref() != Some("none")
    }
}

/// Whom the components of these names concern.
fn concerned(provider: &str, page: &StatusPage, names: impl Iterator<Item = String>) -> Vec<Concern> {
    let of_provider = Concern { provider: Some(Pattern::new(provider)), ..Concern::default() };
    if page.components.is_empty() {
        return vec![of_provider];
    }
    let mut concerns = Vec::new();
    for name in names {
        let mapped = page.components.iter().filter(|(component, _)| Pattern::new(component).matches(&name));
        for model in mapped.flat_map(|(_, models)| models) {
            let concern = Concern { target: Some(Pattern::new(&format!("{provider}/{model}"))), ..of_provider.clone() };
            if !concerns.contains(&concern) {
                concerns.push(concern);
            }
        }
    }
    concerns
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn page(components: &[(&str, &str)]) -> StatusPage {
        let components: BTreeMap<String, Vec<String>> =
            components.iter().map(|(name, model)| ((*name).to_owned(), vec![(*model).to_owned()])).collect();
        StatusPage { url: "https://status.example.com/api/v2/summary.json".to_owned(), components }
    }

    /// In the shape of Statuspage's `summary.json`.
    const SUMMARY: &str = r#"{
        "page": { "id": "p1", "name": "Example", "url": "https://status.example.com", "updated_at": "2026-11-20T10:00:00Z" },
        "status": { "indicator": "minor", "description": "Partially Degraded Service" },
        "components": [
            { "id": "c1", "name": "Chat Completions", "status": "partial_outage", "group": false },
            { "id": "c2", "name": "Console", "status": "major_outage", "group": false },
            { "id": "c3", "name": "Embeddings", "status": "operational", "group": false }
        ],
        "incidents": [
            { "id": "i1", "name": "Elevated errors on  chat", "status": "investigating", "impact": "minor",
              "components": [{ "id": "c1", "name": "Chat Completions", "status": "partial_outage" }] },
            { "id": "i2", "name": "Over", "status": "resolved", "impact": "major", "components": [] },
            { "id": "i3", "name": "Console is down", "status": "identified", "impact": "major",
              "components": [{ "id": "c2", "name": "Console" }] },
            { "id": "i4", "name": "Late invoices", "status": "monitoring", "impact": "minor", "components": [] }
        ],
        "scheduled_maintenances": [{ "id": "m1", "name": "Soon", "status": "scheduled", "impact": "maintenance" }]
    }"#;

    fn read(page: &StatusPage, body: &str) -> Vec<(String, Vec<String>)> {
        let shown = |concern: &Concern| concern.target.as_ref().map_or("all".to_owned(), |it| it.as_str().to_owned());
        let incidents = read_page("example", page, body.as_bytes()).unwrap();
        incidents.iter().map(|it| (it.title.clone(), it.concerns.iter().map(shown).collect())).collect()
    }

    #[test]
    fn incidents_and_components_concern_the_models_they_are_said_to_be() {
        let mapped = page(&[("Chat*", "gpt-*")]);
        let expected = |title: &str| (title.to_owned(), vec!["example/gpt-*".to_owned()]);
        assert_eq!(
            read(&mapped, SUMMARY),
            [expected("Elevated errors on chat"), expected("Chat Completions: partial outage")],
            "neither the console's nor one that names nothing"
        );
    }

    #[test]
    fn without_components_told_apart_all_of_the_page_concerns_all_of_the_provider() {
        let titles: Vec<String> = read(&page(&[]), SUMMARY).into_iter().map(|(title, _)| title).collect();
        assert_eq!(
            titles,
            [
                "Elevated errors on chat",
                "Console is down",
                "Late invoices",
                "Chat Completions: partial outage",
                "Console: major outage"
            ]
        );
    }

    #[test]
    fn the_shapes_of_both_vendors_are_read() {
        let unresolved = r#"{"page":{},"incidents":[{"id":"1","name":"a","status":"monitoring","impact":"critical"}]}"#;
        let components = r#"{"page":{},"components":[{"name":"API","status":"degraded_performance"},{"name":"x","status":"operational"}]}"#;
        let widget = r#"{"page_title":"E","ongoing_incidents":[{"id":"01H","name":"b","status":"identified",
            "affected_components":[{"id":"c","name":"API","group_name":"g"}],"last_update_message":"we are on it"}],
            "in_progress_maintenances":[],"scheduled_maintenances":[{"id":"m","name":"later","status":"maintenance_scheduled"}]}"#;
        assert_eq!(read(&page(&[]), unresolved)[0].0, "a");
        assert_eq!(
            read(&page(&[("API", "*")]), components),
            [("API: degraded performance".to_owned(), vec!["example/*".to_owned()])]
        );
        assert_eq!(read(&page(&[("API", "*")]), widget), [("b".to_owned(), vec!["example/*".to_owned()])]);
        let well = r#"{"page":{},"components":[{"name":"API","status":"operational"}],"incidents":[]}"#;
        assert!(read(&page(&[]), well).is_empty());
    }

    #[test]
    fn what_is_no_status_page_is_said_to_be_none() {
        for wrong in ["", "<html>", "[]", "{}", r#"{"status":"ok"}"#, r#"{"components":"none"}"#] {
            let error = read_page("example", &page(&[]), wrong.as_bytes()).unwrap_err();
            assert!(error.contains("not a status page's JSON"), "{wrong}: {error}");
        }
    }
}
