//! The splice: a caller's own bytes, with only the values replaced that a target needs replaced.
//!
//! Everything else, unknown fields, order and white space included, goes upstream as it came. What a byte range cannot
//! express (a schema moved into the instructions, rewritten tool ids) is left to the codec: see [`needs_reencode`].

mod edits;
mod messages;
mod parameters;
pub mod patch;

use crate::profile::{GeminiThinking, Profile, StreamUsage, Thinking};
use crate::scan::{Field, Scan};
use bytes::Bytes;
use canon::{DialectName, Drops};
use edits::{Edits, Members};

const NOT_TAKEN: &str = "the target does not take it";

/// What every step of a splice works on.
struct Job<'a> {
    dialect: DialectName,
    body: &'a [u8],
    scan: &'a Scan,
    profile: &'a Profile,
}

/// The body for a target of the caller's own dialect: `model` replaced by byte range, usage reporting switched on for
/// streams, and the target's profile applied to fields (renamed, dropped, clamped; reported in `drops`).
/// Returns the original buffer, not a copy, when nothing has to change.
pub fn splice(
    dialect: DialectName,
    body: &Bytes,
    scan: &Scan,
    model: &str,
    profile: &Profile,
    drops: &mut Drops,
) -> Bytes {
    let job = Job { dialect, body, scan, profile };
    let mut edits = Edits::default();
    let mut members = Members::new(body, &scan.fields, "");
    if scan.model_range.is_some()
        && scan.model != model
        && let Some(at) = members.find("model")
    {
        members.set(at, serde_json::Value::from(model).to_string());
    }
    job.drop_fields(&mut members, drops);
    match dialect {
        DialectName::OpenaiChat => {
            job.parameters(&mut members, drops);
            job.chat_parameters(&mut members, drops);
            job.ask_for_usage(&mut members, &mut edits);
            job.messages(&mut edits, drops);
        }
        DialectName::AnthropicMessages => {
            job.parameters(&mut members, drops);
            job.forced_tools(&mut members, drops);
        }
        DialectName::Gemini => {
            let mut config = Members::new(body, &scan.places.config_fields, "generationConfig.");
            job.drop_fields(&mut config, drops);
            job.parameters(&mut config, drops);
            config.write(&mut edits);
        }
    }
    job.rename_fields(&mut members, drops);
    members.write(&mut edits);
    edits.apply(body)
}

/// Whether the target's profile asks for something of this request that a splice cannot do, so that the body has to be
/// decoded and encoded although the dialect is the same.
pub fn needs_reencode(dialect: DialectName, scan: &Scan, profile: &Profile) -> bool {
    let asked = scan.thinking;
    let rethink = match dialect {
        DialectName::OpenaiChat => {
            let field = profile.reasoning_field.as_deref();
            let known = field.is_none_or(|field| matches!(field, "reasoning" | "reasoning_content"));
            scan.has_tool_history && profile.nine_character_tool_ids || !known && has_reasoning(scan, profile)
        }
        DialectName::AnthropicMessages => match profile.thinking {
            Thinking::Effort => asked.budget,
            Thinking::Budget => asked.adaptive || asked.effort,
            Thinking::AlwaysOn => asked.budget || asked.disabled,
            Thinking::Unsupported => asked.budget || asked.adaptive || asked.effort,
        },
        DialectName::Gemini => match profile.gemini_thinking {
            // Models that take levels still take a budget alone.
            GeminiThinking::Level => asked.budget && asked.effort,
            GeminiThinking::Budget => asked.effort,
            GeminiThinking::Unsupported => asked.budget || asked.effort,
        },
    };
    rethink
        || (profile.no_json_schema && scan.has_json_schema)
        || (profile.images_inline_only && scan.has_remote_images)
}

/// Whether the history holds reasoning, or has to.
fn has_reasoning(scan: &Scan, profile: &Profile) -> bool {
    scan.places.members.iter().any(|member| member.field.key != "name")
        || (profile.reasoning_required_with_tools && !scan.places.tool_turns.is_empty())
}

impl Job<'_> {
    /// Removes what the target rejects. The model is never removed: without it nothing is asked of anybody.
    fn drop_fields(&self, members: &mut Members<'_>, drops: &mut Drops) {
        for path in &self.profile.drop {
            if let Some(key) = path.strip_prefix(members.path())
                && key != "model"
            {
                members.drop(key, NOT_TAKEN, drops);
            }
        }
    }

    fn rename_fields(&self, members: &mut Members<'_>, drops: &mut Drops) {
        for (from, to) in self.profile.rename.iter().filter(|(from, _)| *from != "model") {
            if members.find(to).is_some() {
                members.drop(from, "the target's own name for it was sent as well", drops);
            } else if let Some(at) = members.find(from) {
                members.rename(at, to);
            }
        }
    }

    /// Asks for usage in a stream, where it does not come unasked.
    fn ask_for_usage(&self, members: &mut Members<'_>, edits: &mut Edits) {
        const ASKED: &str = r#"{"include_usage":true}"#;
        let dropped = self.profile.drop.iter().any(|field| field == "stream_options");
        if !self.scan.stream || dropped || self.profile.stream_usage == StreamUsage::Unasked {
            return;
        }
        let Some(at) = members.find("stream_options") else {
            if let Some(model) = members.find("model") {
                members.add_after(model, "stream_options", ASKED);
            }
            return;
        };
        if members.value(at) == b"null" {
            members.set(at, ASKED.to_owned());
            return;
        }
        let (Some(options), Some(field)) = (&self.scan.places.stream_options, members.field(at)) else { return };
        if options.include_usage.is_empty() {
            let inside = field.value_range.start + 1;
            let comma = if options.is_empty { "" } else { "," };
            edits.replace(inside..inside, format!("\"include_usage\":true{comma}"));
        }
        for value in &options.include_usage {
            if self.body.get(value.clone()) != Some(b"true") {
                edits.replace(value.clone(), "true".to_owned());
            }
        }
    }

    fn value(&self, field: &Field) -> &[u8] {
        self.body.get(field.value_range.clone()).unwrap_or_default()
    }
}
