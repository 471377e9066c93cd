//! A profile applied inside `messages` of `openai-chat`: roles, names, empty content, reasoning that goes back.

use super::edits::{Edits, removal};
use super::{Job, NOT_TAKEN};
use crate::profile::Instructions;
use crate::scan::MessageMember;
use canon::Drops;

/// What happens to a member of a message.
enum Fate {
    Kept,
    Renamed(String),
    Removed,
}

impl Job<'_> {
    pub(super) fn messages(&self, edits: &mut Edits, drops: &mut Drops) {
        let places = &self.scan.places;
        let (roles, role) = match self.profile.instructions {
            Instructions::AsWritten => (&[][..], ""),
            Instructions::System => (places.developer_roles.as_slice(), "\"system\""),
            Instructions::Developer => (places.system_roles.as_slice(), "\"developer\""),
        };
        for range in roles {
            edits.replace(range.clone(), role.to_owned());
        }
        if self.profile.empty_content_string {
            for range in &places.null_contents {
                edits.replace(range.clone(), "\"\"".to_owned());
            }
        }
        self.message_members(edits, drops);
        if self.profile.reasoning_required_with_tools {
            self.add_reasoning(edits);
        }
    }

    fn message_members(&self, edits: &mut Edits, drops: &mut Drops) {
        let (mut message, mut removed) = (usize::MAX, 0);
        for member in &self.scan.places.members {
            if member.message != message {
                (message, removed) = (member.message, 0);
            }
            match self.fate(member) {
                Fate::Kept => {}
                Fate::Renamed(key) => edits.replace(member.field.key_range.clone(), key),
                Fate::Removed => {
                    let kept_before = member.position > removed;
                    let range = removal(&member.field, kept_before, member.previous_end, member.next_start);
                    edits.replace(range, String::new());
                    removed += 1;
                    if self.value(&member.field) != b"null" {
                        drops.add(format!("messages[{message}].{}", member.field.key), NOT_TAKEN);
                    }
                }
            }
        }
    }

    fn fate(&self, member: &MessageMember) -> Fate {
        let key = &*member.field.key;
        if key == "name" {
            let dropped = self.profile.drop.iter().any(|path| path == "messages.name");
            return if dropped { Fate::Removed } else { Fate::Kept };
        }
        match self.profile.reasoning_field.as_deref() {
            Some(wanted) if wanted == key => Fate::Kept,
            // A message with several of them keeps the one the target knows, else the first.
            Some(wanted) if self.reasoning(member.message, wanted) == Some(member.position) => {
                Fate::Renamed(serde_json::Value::from(wanted).to_string())
            }
            _ => Fate::Removed,
        }
    }

    /// Position of the member of a message that holds its reasoning.
    fn reasoning(&self, message: usize, wanted: &str) -> Option<usize> {
        let members = &self.scan.places.members;
        let first = members.partition_point(|member| member.message < message);
        let mut own = members.get(first..)?.iter().take_while(|member| member.message == message);
        let first = own.find(|member| member.field.key != "name")?;
        let known = if first.field.key == wanted { None } else { own.find(|member| member.field.key == wanted) };
        Some(known.unwrap_or(first).position)
    }

    /// Gives turns that call tools the reasoning field they must have.
    fn add_reasoning(&self, edits: &mut Edits) {
        let field = self.profile.reasoning_field.as_deref().unwrap_or("reasoning_content");
        for turn in &self.scan.places.tool_turns {
            let wanted = self.profile.reasoning_field.as_deref();
            if wanted.and_then(|wanted| self.reasoning(turn.message, wanted)).is_none() {
                edits.replace(turn.end..turn.end, format!(",{}:\"\"", serde_json::Value::from(field)));
            }
        }
    }
}
