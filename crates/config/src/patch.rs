//! What the requests of one target are changed by: as it is written, and checked.

use crate::error::ConfigError;
use crate::load::Build;
use crate::snapshot::Snapshot;
use canon::Secret;
use dialect::splice::patch::{Bounds, Example, Parameter, Patch, PromptPatch};
use routing::{Credential, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// System text and example turns that the requests of one target are given, and nobody else's.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawPrompt {
    /// System text before the caller's own.
    pub prepend_system: Option<String>,
    /// System text after the caller's own.
    pub append_system: Option<String>,
    /// Example turns before the caller's first turn.
    pub prepend_examples: Vec<RawExample>,
    /// Example turns before the user's last question.
    pub append_examples: Vec<RawExample>,
}

/// A question, and how it is to be answered.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawExample {
    /// What the user says.
    pub user: String,
    /// What the model says to that.
    pub assistant: String,
}

/// Parameters that the requests of one target are given: `max_tokens`, `temperature`, `top_p`, `top_k`, `stop`, `seed`,
/// `frequency_penalty`, `presence_penalty`, `reasoning_effort`, or any other field of the target's dialect.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawParameters {
    /// Always sent, whatever the caller states; null takes a parameter out.
    pub set: BTreeMap<String, Value>,
    /// Sent where the caller states nothing.
    pub default: BTreeMap<String, Value>,
    /// Lower numbers are raised to this.
    pub at_least: BTreeMap<String, Number>,
    /// Higher numbers are lowered to this; output that nobody caps is capped by `max_tokens`.
    pub at_most: BTreeMap<String, Number>,
}

pub(crate) fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Secret>>, D::Error> {
    let keys = Option::<Vec<String>>::deserialize(deserializer)?;
    Ok(keys.map(|keys| keys.into_iter().map(Secret::new).collect()))
}

impl Build<'_> {
    /// The patch of a target that is made of what is written at `path`.
    pub(crate) fn patch(
        &self,
        target: &Target,
        path: &[&str],
        prompt: Option<&RawPrompt>,
        parameters: Option<&RawParameters>,
    ) -> Result<Option<Arc<Patch>>, ConfigError> {
        let at = |place: &[&str], message: &str| {
            let path: Vec<&str> = path.iter().chain(place).copied().collect();
            self.at(&path, message)
        };
        let prompt = prompt.map(made).transpose().map_err(|(key, message)| at(&["prompt", key], message))?;
        let mut made: Vec<Parameter> = Vec::new();
        for name in parameters.map(RawParameters::names).unwrap_or_default() {
            let Some(raw) = parameters else { continue };
            let wrong = |message: String| at(&["parameters", raw.place(name), name], &format!("`{name}` {message}"));
            let parameter = Parameter::new(target.provider.dialect, &target.profile, name, raw.bounds(name));
            let parameter = parameter.map_err(wrong)?;
            if let Some(known) = made.iter().find(|known| known.key() == parameter.key()) {
                return Err(wrong(format!("is `{}` by another name: expected one of them", known.name())));
            }
            made.push(parameter);
        }
        Ok(Patch::new(prompt.unwrap_or_default(), made).map(Arc::new))
    }

    /// The credentials that a target has for itself.
    pub(crate) fn own_credentials(
        &self,
        snapshot: &Snapshot,
        target: &Target,
        path: &[&str],
        keys: &[Secret],
    ) -> Result<Vec<Credential>, ConfigError> {
        let path: Vec<&str> = path.iter().copied().chain(["keys"]).collect();
        if target.provider.auth == catalog::Auth::None {
            return Err(self.at(&path, &format!("`{}` takes no keys", target.provider.name)));
        }
        let expand = |key: &Secret| Ok(Secret::new(self.expand(key.expose())?));
        let keys: Vec<Secret> = keys.iter().map(expand).collect::<Result<_, ConfigError>>()?;
        if keys.is_empty() || keys.iter().any(Secret::is_empty) {
            return Err(self.at(&path, "no key: add one, or take `keys` out to use those of the provider"));
        }
        Ok(snapshot.credentials(target, keys))
    }
}

impl RawParameters {
    fn names(&self) -> BTreeSet<&str> {
        let bounds = self.at_least.keys().chain(self.at_most.keys());
        self.set.keys().chain(self.default.keys()).chain(bounds).map(String::as_str).collect()
    }

    fn bounds(&self, name: &str) -> Bounds {
        Bounds {
            set: self.set.get(name).cloned(),
            default: self.default.get(name).cloned(),
            at_least: self.at_least.get(name).cloned(),
            at_most: self.at_most.get(name).cloned(),
        }
    }

    /// Under which word a name stands first.
    fn place(&self, name: &str) -> &'static str {
        let places = [
            (self.set.contains_key(name), "set"),
            (self.default.contains_key(name), "default"),
            (self.at_least.contains_key(name), "at_least"),
        ];
        places.into_iter().find_map(|(is_there, place)| is_there.then_some(place)).unwrap_or("at_most")
    }
}

/// The prompt, or the key of what is wrong with it.
fn made(raw: &RawPrompt) -> Result<PromptPatch, (&'static str, &'static str)> {
    const EMPTY: &str = "is empty: write something, or take it out";
    let text = |text: &Option<String>, key| match text {
        Some(text) if text.trim().is_empty() => Err((key, EMPTY)),
        text => Ok(text.clone()),
    };
    let examples = |examples: &[RawExample], key| {
        let made = |raw: &RawExample| match (raw.user.trim().is_empty(), raw.assistant.trim().is_empty()) {
            (false, false) => Ok(Example { user: raw.user.clone(), assistant: raw.assistant.clone() }),
            _ => Err((key, "one of its turns is empty: write both, or take the example out")),
        };
        examples.iter().map(made).collect::<Result<Vec<_>, _>>()
    };
    Ok(PromptPatch {
        prepend_system: text(&raw.prepend_system, "prepend_system")?,
        append_system: text(&raw.append_system, "append_system")?,
        prepend_examples: examples(&raw.prepend_examples, "prepend_examples")?,
        append_examples: examples(&raw.append_examples, "append_examples")?,
    })
}
