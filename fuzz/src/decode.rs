//! A request that was read and written is in a form that stays: reading and writing it again changes nothing, and what
//! the caller said is still in it.

use canon::{DialectName, Drops, Part, Request, ToolChoice};
use dialect::profile::Profile;
use dialect::{PathFacts, inbound, outbound};
use serde_json::Value;

/// The bytes are a request body of the dialect.
pub fn check(dialect: DialectName, body: &[u8]) {
    let Ok(request) = read(dialect, body) else { return };
    let Some((written, lossless)) = write(dialect, &request) else { return };
    let again = read(dialect, &written).unwrap_or_else(|bad| panic!("{bad}: {}", String::from_utf8_lossy(&written)));
    // Names a target would reject are escaped, and an escaped name that comes back is escaped once more: names of tools
    // are no fixed point, and have their own laws beside the codecs.
    if !lossless || tool_names(&again) != tool_names(&request) || has_media_in_results(&request) {
        return;
    }
    // Writing normalises (defaults left out, usage asked for), so requests are not compared field by field.
    let (rewritten, _) = write(dialect, &again).expect("what was written can be written");
    assert_eq!(value(&rewritten), value(&written));
    assert_eq!(said(&again), said(&request));
}

/// A dialect whose tool results are text alone gets their pictures in a user turn, under a line that says whose they are.
fn has_media_in_results(request: &Request) -> bool {
    let is_text = |part: &Part| matches!(part, Part::Text { .. } | Part::Refusal(_));
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    parts.into_iter().any(|part| matches!(part, Part::ToolResult(result) if !result.parts.iter().all(is_text)))
}

fn read(dialect: DialectName, body: &[u8]) -> Result<Request, String> {
    let path = PathFacts { model: Some("some-model".to_owned()), ..PathFacts::default() };
    inbound(dialect).decode_request(&path, body).map_err(|bad| bad.message)
}

/// The body, and whether nothing was reported as lost; `None` = it cannot be said in this dialect.
fn write(dialect: DialectName, request: &Request) -> Option<(Vec<u8>, bool)> {
    let mut drops = Drops::new();
    let profile = Profile::default();
    let encoded = outbound(dialect).encode_request(request, &request.model, &profile, &mut drops).ok()?;
    Some((encoded.body.to_vec(), drops.is_empty()))
}

fn value(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("JSON")
}

/// The words of a request: all text in order, and the stop sequences.
fn said(request: &Request) -> (String, &[String]) {
    fn collect(parts: &[Part], text: &mut String) {
        for part in parts {
            match part {
                Part::Text { text: said, .. } | Part::Refusal(said) => text.push_str(said),
                Part::ToolResult(result) => collect(&result.parts, text),
                _ => {}
            }
        }
    }
    let mut text = String::new();
    for message in &request.messages {
        collect(&message.parts, &mut text);
    }
    (text, &request.stop)
}

/// The tools on offer, those that were called, and those that are to be.
fn tool_names(request: &Request) -> Vec<&str> {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let called = parts.filter_map(|part| match part {
        Part::ToolCall(call) => Some(call.name.as_str()),
        Part::ToolResult(result) => result.name.as_deref(),
        _ => None,
    });
    let chosen = match &request.tool_choice {
        Some(ToolChoice::Named(name)) => std::slice::from_ref(name),
        Some(ToolChoice::Allowed { names, .. }) => names,
        _ => &[],
    };
    let offered = request.tools.iter().map(|tool| tool.name.as_str());
    offered.chain(called).chain(chosen.iter().map(String::as_str)).collect()
}
