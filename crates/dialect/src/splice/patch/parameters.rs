//! The parameters of a patch: what is always sent, what is sent where the caller states nothing, and between which
//! bounds.

use super::Object;
use crate::profile::{OutputCap, Profile};
use canon::{DialectName, Drops};
use serde_json::{Number, Value};

const SET: &str = "the target's patch sets it";
const TAKEN_OUT: &str = "the target's patch takes it out";
const LOWERED: &str = "lowered to the most the target's patch allows";
const RAISED: &str = "raised to the least the target's patch allows";

/// What no patch touches: who serves, in which form, and what the conversation is (that is the prompt's matter).
const NOT_ITS_MATTER: [&str; 12] = [
    "model",
    "stream",
    "stream_options",
    "messages",
    "system",
    "contents",
    "systemInstruction",
    "system_instruction",
    "n",
    "candidateCount",
    "candidate_count",
    "session_id",
];

/// A parameter that dialects spell differently.
struct Known {
    /// As the configuration names it, whatever the dialect.
    name: &'static str,
    openai_chat: &'static [&'static str],
    anthropic_messages: &'static [&'static str],
    /// In `generationConfig`.
    gemini: &'static [&'static str],
}

const MAX_TOKENS: &str = "max_tokens";

const KNOWN: [Known; 9] = [
    Known {
        name: MAX_TOKENS,
        openai_chat: &["max_completion_tokens", "max_tokens"],
        anthropic_messages: &["max_tokens"],
        gemini: &["maxOutputTokens", "max_output_tokens"],
    },
    Known {
        name: "temperature",
        openai_chat: &["temperature"],
        anthropic_messages: &["temperature"],
        gemini: &["temperature"],
    },
    Known { name: "top_p", openai_chat: &["top_p"], anthropic_messages: &["top_p"], gemini: &["topP", "top_p"] },
    Known { name: "top_k", openai_chat: &["top_k"], anthropic_messages: &["top_k"], gemini: &["topK", "top_k"] },
    Known {
        name: "stop",
        openai_chat: &["stop"],
        anthropic_messages: &["stop_sequences"],
        gemini: &["stopSequences", "stop_sequences"],
    },
    Known { name: "seed", openai_chat: &["seed"], anthropic_messages: &[], gemini: &["seed"] },
    Known {
        name: "frequency_penalty",
        openai_chat: &["frequency_penalty"],
        anthropic_messages: &[],
        gemini: &["frequencyPenalty", "frequency_penalty"],
    },
    Known {
        name: "presence_penalty",
        openai_chat: &["presence_penalty"],
        anthropic_messages: &[],
        gemini: &["presencePenalty", "presence_penalty"],
    },
    Known { name: "reasoning_effort", openai_chat: &["reasoning_effort"], anthropic_messages: &[], gemini: &[] },
];

impl Known {
    fn spellings(&self, dialect: DialectName) -> &'static [&'static str] {
        match dialect {
            DialectName::OpenaiChat => self.openai_chat,
            DialectName::AnthropicMessages => self.anthropic_messages,
            DialectName::Gemini => self.gemini,
        }
    }
}

/// What is done to a parameter.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bounds {
    /// Always sent, whatever the caller states; null = it is taken out.
    pub set: Option<Value>,
    /// Sent where the caller states nothing.
    pub default: Option<Value>,
    /// A lower number is raised to this.
    pub at_least: Option<Number>,
    /// A higher number is lowered to this. Output that nobody caps is capped by it.
    pub at_most: Option<Number>,
}

/// One parameter of a patch, for a target of one dialect.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    name: String,
    /// Every spelling a body may have of it; the first is written.
    keys: Vec<String>,
    /// It stands in Gemini's `generationConfig`.
    nested: bool,
    caps_output: bool,
    /// It is the dialect's own, and says nothing of how much is written.
    of_service: bool,
    bounds: Bounds,
}

/// Fields whose names hold one of these say how much is thought, which a question for one token has no room for.
const OF_THOUGHT: [&str; 2] = ["think", "reason"];

impl Parameter {
    /// A parameter by the name the configuration gives it: one of those every dialect has (`max_tokens`, `temperature`,
    /// `top_p`, `top_k`, `stop`, `seed`, `frequency_penalty`, `presence_penalty`, `reasoning_effort`), else a field of
    /// the target's own dialect (`service_tier`; for Gemini `safetySettings`, `generationConfig.thinkingConfig`).
    ///
    /// # Errors
    /// Says why no patch can do that.
    pub fn new(dialect: DialectName, profile: &Profile, name: &str, bounds: Bounds) -> Result<Self, String> {
        let (nested, own) = match name.strip_prefix("generationConfig.") {
            Some(own) if dialect == DialectName::Gemini => (true, own),
            _ => (false, name),
        };
        if NOT_ITS_MATTER.contains(&own) {
            return Err("is no parameter: expected one of the model's, such as `temperature`".to_owned());
        }
        if own.is_empty() || (dialect == DialectName::Gemini && super::CONFIG.contains(&own)) {
            return Err("names nothing: expected `generationConfig.NAME`, or another field".to_owned());
        }
        if own.contains('.') && dialect != DialectName::Gemini {
            return Err("is no field of the dialect: expected a top-level one".to_owned());
        }
        let known = KNOWN.iter().find(|known| known.name == own || known.spellings(dialect).contains(&own));
        let mut keys: Vec<String> = match known {
            Some(known) => known.spellings(dialect).iter().map(|&key| key.to_owned()).collect(),
            None if dialect == DialectName::Gemini => {
                [own.to_owned()].into_iter().chain(Some(snake(own)).filter(|snake| snake != own)).collect()
            }
            None => vec![own.to_owned()],
        };
        if keys.is_empty() {
            return Err(format!("is unknown to `{dialect}`: take it out"));
        }
        let caps_output = known.is_some_and(|known| known.name == MAX_TOKENS);
        if caps_output && profile.output_cap == OutputCap::MaxTokens {
            keys.reverse();
        }
        let renamed: Vec<String> = keys.iter().filter_map(|key| profile.rename.get(key).cloned()).collect();
        keys.extend(renamed);
        let nested = nested || (known.is_some() && dialect == DialectName::Gemini);
        bounds.check()?;
        let of_thought = OF_THOUGHT.iter().any(|part| own.to_ascii_lowercase().contains(part));
        let of_service = known.is_none() && !of_thought;
        Ok(Self { name: name.to_owned(), keys, nested, caps_output, of_service, bounds })
    }

    /// As the configuration names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key it is written by: two parameters of the same key are one.
    pub fn key(&self) -> Option<&str> {
        self.keys.first().map(String::as_str)
    }

    pub(super) fn is_nested(&self) -> bool {
        self.nested
    }

    pub(super) fn caps_output(&self) -> bool {
        self.caps_output
    }

    /// Whether it may decide who serves, and on which terms, rather than what is written: `service_tier`, or a list of
    /// hosts that a provider may pass a request to.
    pub(super) fn is_of_service(&self) -> bool {
        self.of_service
    }

    pub(super) fn apply(&self, object: &mut Object<'_>, states_cap: bool, drops: &mut Drops) {
        let places: Vec<usize> = self.keys.iter().filter_map(|key| object.members.find(key)).collect();
        let is_stated = places.iter().any(|&at| object.members.value(at) != b"null");
        // A cap that the caller did not state is an encoder's: Anthropic takes no request without one.
        let is_callers = is_stated && (!self.caps_output || states_cap);
        let Bounds { set, default, at_most, .. } = &self.bounds;
        if let Some(value) = set {
            return self.set(object, &places, value, if is_callers { Some(drops) } else { None });
        }
        match default {
            Some(value) if !is_callers => return self.set(object, &places, value, None),
            _ => {}
        }
        if !is_stated {
            if let (Some(most), true) = (at_most, self.caps_output) {
                self.set(object, &places, &Value::Number(most.clone()), None);
            }
            return;
        }
        for at in places {
            let Some((value, why)) = self.bounds.beyond(object.members.value(at)) else { continue };
            object.members.set(at, value.to_string());
            if is_callers {
                drops.add(self.name.as_str(), why);
            }
        }
    }

    /// Writes a value in the place of whatever stands there. `drops` is told if that was something else.
    fn set(&self, object: &mut Object<'_>, places: &[usize], value: &Value, drops: Option<&mut Drops>) {
        let takes_out = value.is_null();
        let first = places.first().copied();
        let is_same = first.is_some_and(|at| {
            serde_json::from_slice::<Value>(object.members.value(at)).is_ok_and(|stated| stated == *value)
        });
        if let Some(drops) = drops
            && (!is_same || takes_out)
        {
            drops.add(self.name.as_str(), if takes_out { TAKEN_OUT } else { SET });
        }
        let kept = first.filter(|_| !takes_out);
        places.iter().filter(|&&at| Some(at) != kept).for_each(|&at| object.members.remove(at));
        match (kept, self.key()) {
            _ if takes_out => {}
            (Some(at), _) if !is_same => object.members.set(at, value.to_string()),
            (None, Some(key)) => object.add(key, &value.to_string()),
            _ => {}
        }
    }

    /// The cap that is sent, for one that was asked for.
    pub(super) fn capped(&self, asked: Option<u64>) -> Option<u64> {
        let Bounds { set, default, at_least, at_most } = &self.bounds;
        if let Some(value) = set {
            return value.as_u64();
        }
        let stated = asked.or(default.as_ref().and_then(Value::as_u64));
        let most = at_most.as_ref().and_then(Number::as_u64);
        let least = at_least.as_ref().and_then(Number::as_u64).unwrap_or(0);
        stated.map(|cap| cap.max(least).min(most.unwrap_or(u64::MAX))).or(most)
    }

    pub(super) fn describe(&self) -> String {
        let Self { name, bounds: Bounds { set, default, at_least, at_most }, .. } = self;
        match set {
            Some(Value::Null) => return format!("{name} taken out"),
            Some(value) => return format!("{name} set to {value}"),
            None => {}
        }
        let default = default.as_ref().map(|value| format!("{value} where the request states none"));
        let least = at_least.as_ref().map(|number| format!("at least {number}"));
        let most = at_most.as_ref().map(|number| format!("at most {number}"));
        let parts: Vec<String> = [default, least, most].into_iter().flatten().collect();
        format!("{name} {}", parts.join(", "))
    }
}

impl Bounds {
    fn check(&self) -> Result<(), String> {
        let Self { set, default, at_least, at_most } = self;
        if set.is_some() && (default.is_some() || at_least.is_some() || at_most.is_some()) {
            return Err("is set, so that nothing else can hold for it: take the others out".to_owned());
        }
        if default.as_ref().is_some_and(Value::is_null) {
            return Err("has the default null, which says nothing: take it out".to_owned());
        }
        let (least, most) = (at_least.as_ref().and_then(Number::as_f64), at_most.as_ref().and_then(Number::as_f64));
        let default_number = default.as_ref().and_then(Value::as_f64);
        if let (Some(least), Some(most)) = (least, most)
            && least > most
        {
            return Err(format!("is to be at least {least} and at most {most}: expected the other way round"));
        }
        let is_outside = |number: f64| most.is_some_and(|most| number > most) || least.is_some_and(|it| number < it);
        match default_number {
            Some(number) if is_outside(number) => Err(format!("has the default {number}, which is out of its bounds")),
            _ => Ok(()),
        }
    }

    /// What a value that is out of bounds becomes, and why.
    fn beyond(&self, value: &[u8]) -> Option<(&Number, &'static str)> {
        let stated: f64 = std::str::from_utf8(value).ok()?.parse().ok()?;
        let is_beyond = |bound: &&Number, is: fn(&f64, &f64) -> bool| bound.as_f64().is_some_and(|it| is(&stated, &it));
        let lowered = self.at_most.as_ref().filter(|most| is_beyond(most, f64::gt)).map(|most| (most, LOWERED));
        lowered.or_else(|| self.at_least.as_ref().filter(|least| is_beyond(least, f64::lt)).map(|it| (it, RAISED)))
    }
}

/// Google takes every key in camel case and in snake case.
fn snake(camel: &str) -> String {
    camel.chars().fold(String::with_capacity(camel.len() + 4), |mut text, c| {
        if c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
        text
    })
}
