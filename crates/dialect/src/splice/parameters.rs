//! A profile applied to the parameters of a request: sampling, caps, stop sequences, effort, tool choice.

use super::edits::Members;
use super::{Job, NOT_TAKEN};
use crate::profile::OutputCap;
use crate::scan::Cursor;
use canon::{DialectName, Drops};

const LOWERED: &str = "lowered to the most the target takes";

/// Efforts from the least to the most.
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// A dialect's names for the parameters a profile speaks of, in every spelling it has.
struct Names {
    temperature: &'static [&'static str],
    top_p: &'static [&'static str],
    top_k: &'static [&'static str],
    stop: &'static [&'static str],
    cap: &'static [&'static str],
}

fn names(dialect: DialectName) -> Names {
    match dialect {
        DialectName::OpenaiChat => Names {
            temperature: &["temperature"],
            top_p: &["top_p"],
            top_k: &["top_k"],
            stop: &["stop"],
            cap: &["max_completion_tokens", "max_tokens"],
        },
        DialectName::AnthropicMessages => Names {
            temperature: &["temperature"],
            top_p: &["top_p"],
            top_k: &["top_k"],
            stop: &["stop_sequences"],
            cap: &["max_tokens"],
        },
        DialectName::Gemini => Names {
            temperature: &["temperature"],
            top_p: &["topP", "top_p"],
            top_k: &["topK", "top_k"],
            stop: &["stopSequences", "stop_sequences"],
            cap: &["maxOutputTokens", "max_output_tokens"],
        },
    }
}

impl Job<'_> {
    /// What the dialects have in common.
    pub(super) fn parameters(&self, members: &mut Members<'_>, drops: &mut Drops) {
        let names = names(self.dialect);
        if self.profile.no_sampling {
            for key in [names.temperature, names.top_p, names.top_k].concat() {
                members.drop(key, NOT_TAKEN, drops);
            }
        }
        let stated =
            |members: &Members<'_>, key: &&str| members.find(key).is_some_and(|at| members.value(at) != b"null");
        if self.profile.temperature_xor_top_p && names.temperature.iter().any(|key| stated(members, key)) {
            for key in names.top_p {
                members.drop(key, "the target does not take it together with temperature", drops);
            }
        }
        if let Some(most) = self.profile.max_temperature {
            for at in names.temperature.iter().filter_map(|key| members.find(key)).collect::<Vec<_>>() {
                if number(members.value(at)).is_some_and(|asked| asked > most) {
                    members.lower(at, most.to_string(), LOWERED, drops);
                }
            }
        }
        if let Some(most) = self.profile.max_output_tokens {
            for at in names.cap.iter().filter_map(|key| members.find(key)).collect::<Vec<_>>() {
                if number(members.value(at)).is_some_and(|asked| asked > most as f64) {
                    members.lower(at, most.to_string(), LOWERED, drops);
                }
            }
        }
        if let Some(most) = self.profile.max_stop {
            for key in names.stop {
                fewer_stops(members, key, most, drops);
            }
        }
    }

    /// What `openai-chat` alone has.
    pub(super) fn chat_parameters(&self, members: &mut Members<'_>, drops: &mut Drops) {
        self.output_cap(members);
        if !self.profile.efforts.is_empty()
            && let Some(at) = members.find("reasoning_effort")
            && let Ok(asked) = serde_json::from_slice::<String>(members.value(at))
            && !self.profile.efforts.contains(&asked)
            && let Some(effort) = nearest_effort(&asked, &self.profile.efforts)
        {
            members.lower(
                at,
                serde_json::Value::from(effort).to_string(),
                "the target does not take this effort",
                drops,
            );
        }
        let auto_only = self.profile.tool_choice_auto_only || self.profile.no_forced_tools;
        if auto_only
            && let Some(at) = members.find("tool_choice")
            && !matches!(members.value(at), b"\"auto\"" | b"\"none\"" | b"null")
        {
            members.lower(at, "\"auto\"".to_owned(), "the target cannot be made to call a tool", drops);
        }
        if self.profile.no_json_object
            && let Some(at) = members.find("response_format")
            && object(members.value(at))
                .is_some_and(|format| format.get("type").is_some_and(|kind| kind == "json_object"))
        {
            members.drop("response_format", NOT_TAKEN, drops);
        }
    }

    /// One cap under the name the target takes; the caller's own value under that name goes before the other's.
    fn output_cap(&self, members: &mut Members<'_>) {
        let (wanted, other) = match self.profile.output_cap {
            OutputCap::AsWritten => return,
            OutputCap::MaxTokens => ("max_tokens", "max_completion_tokens"),
            OutputCap::MaxCompletionTokens => ("max_completion_tokens", "max_tokens"),
        };
        let Some(unwanted) = members.find(other) else { return };
        match members.find(wanted) {
            None => members.rename(unwanted, wanted),
            Some(null) if members.value(null) == b"null" => {
                members.remove(null);
                members.rename(unwanted, wanted);
            }
            Some(_) => members.remove(unwanted),
        }
    }

    /// Anthropic's `tool_choice`, where the target cannot be made to call a tool.
    pub(super) fn forced_tools(&self, members: &mut Members<'_>, drops: &mut Drops) {
        if !self.profile.no_forced_tools && !self.profile.tool_choice_auto_only {
            return;
        }
        let Some(at) = members.find("tool_choice") else { return };
        let Some(mut choice) = object(members.value(at)) else { return };
        if choice.get("type").is_some_and(|kind| kind == "any" || kind == "tool") {
            choice.insert("type".to_owned(), "auto".into());
            choice.remove("name");
            let choice = serde_json::Value::Object(choice).to_string();
            members.lower(at, choice, "the target cannot be made to call a tool", drops);
        }
    }
}

fn fewer_stops(members: &mut Members<'_>, key: &str, most: usize, drops: &mut Drops) {
    if most == 0 {
        members.drop(key, NOT_TAKEN, drops);
    } else if let Some(at) = members.find(key)
        && let Some(fewer) = first_elements(members.value(at), most)
    {
        members.lower(at, fewer, "the target takes fewer of them", drops);
    }
}

/// The first elements of an array that has more of them.
fn first_elements(array: &[u8], most: usize) -> Option<String> {
    let mut cursor = Cursor::new(array);
    if cursor.token() != b'[' {
        return None;
    }
    let mut end = 0;
    let mut count = 0;
    let mut more = cursor.enter().ok()?;
    while more {
        if count == most {
            return Some(String::from_utf8_lossy(array.get(..end)?).into_owned() + "]");
        }
        cursor.skip().ok()?;
        end = cursor.at();
        count += 1;
        more = cursor.another().ok()?;
    }
    None
}

/// The nearest lower effort the target takes, else the lowest it takes.
fn nearest_effort<'p>(asked: &str, taken: &'p [String]) -> Option<&'p str> {
    let rank = |effort: &str| EFFORTS.iter().position(|known| *known == effort);
    let asked = rank(asked)?;
    let mut ranked: Vec<_> = taken.iter().filter_map(|effort| Some((rank(effort)?, effort.as_str()))).collect();
    ranked.sort_unstable();
    let lower = ranked.iter().rev().find(|(rank, _)| *rank < asked);
    lower.or(ranked.first()).map(|(_, effort)| *effort)
}

fn number(value: &[u8]) -> Option<f64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn object(value: &[u8]) -> Option<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_slice(value).ok()
}
