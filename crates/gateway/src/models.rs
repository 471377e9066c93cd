//! Model lists, in the shape each vendor's SDK reads.

use crate::respond::{self, GatewayBody};
use canon::{CallerError, DialectName};
use config::{CallerKey, Snapshot};
use http::Response;
use routing::Model;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// What a list says of one model.
struct Entry<'a> {
    name: Cow<'a, str>,
    /// The smallest context window of the chain: what every target can take. `None` = one of them is unknown.
    context: Option<u64>,
    /// The smallest output cap of the chain.
    output: Option<u64>,
}

impl<'a> Entry<'a> {
    fn of(model: &'a Model) -> Self {
        Self::over(model, Cow::Borrowed(&model.name), |_| true)
    }

    /// As it serves requests of one of its tiers, by number: `assistant:bulk`.
    fn of_tier(model: &'a Model, tier: usize) -> Option<Self> {
        let tiers = model.settings.tiers.as_ref()?;
        let name = Cow::Owned(format!("{}:{}", model.name, tiers.names().nth(tier)?));
        Some(Self::over(model, name, |target| tiers.may_serve(tier, target)))
    }

    fn over(model: &Model, name: Cow<'a, str>, serves: impl Fn(usize) -> bool) -> Self {
        let facts: Vec<&catalog::ModelFacts> =
            model.targets.iter().enumerate().filter(|(index, _)| serves(*index)).map(|(_, t)| &t.facts).collect();
        let smallest = |fact: fn(&catalog::ModelFacts) -> Option<u64>| {
            facts.iter().map(|facts| fact(facts)).collect::<Option<Vec<_>>>()?.into_iter().min()
        };
        Self { name, context: smallest(|f| f.context_window), output: smallest(|f| f.max_output_tokens) }
    }

    /// A model, and below it each of its tiers.
    fn all_of(model: &'a Model) -> impl Iterator<Item = Self> {
        let tiers = model.settings.tiers.as_ref().map_or(0, |tiers| tiers.names().count());
        std::iter::once(Self::of(model)).chain((0..tiers).filter_map(|tier| Self::of_tier(model, tier)))
    }

    fn openai(&self) -> Value {
        let mut entry = json!({ "id": self.name, "object": "model", "created": 0, "owned_by": "mainstay" });
        if let (Some(entry), Some(context)) = (entry.as_object_mut(), self.context) {
            entry.insert("context_length".to_owned(), context.into());
        }
        entry
    }

    fn anthropic(&self) -> Value {
        json!({
            "type": "model",
            "id": self.name,
            "display_name": self.name,
            "created_at": "1970-01-01T00:00:00Z",
            "max_input_tokens": self.context,
            "max_tokens": self.output,
        })
    }

    fn gemini(&self) -> Value {
        let mut entry = json!({
            "name": format!("models/{}", self.name),
            "displayName": self.name,
            "supportedGenerationMethods": ["generateContent", "streamGenerateContent"],
        });
        if let Some(entry) = entry.as_object_mut() {
            if let Some(context) = self.context {
                entry.insert("inputTokenLimit".to_owned(), context.into());
            }
            if let Some(output) = self.output {
                entry.insert("outputTokenLimit".to_owned(), output.into());
            }
        }
        entry
    }

    fn shape(&self, dialect: DialectName) -> Value {
        match dialect {
            DialectName::OpenaiChat => self.openai(),
            DialectName::AnthropicMessages => self.anthropic(),
            DialectName::Gemini => self.gemini(),
        }
    }
}

/// The logical models a caller may use.
pub(crate) fn list(snapshot: &Snapshot, dialect: DialectName, key: Option<&CallerKey>) -> Response<GatewayBody> {
    let models: Vec<Arc<Model>> =
        snapshot.models().filter(|m| key.is_none_or(|k| k.allows(&m.name))).cloned().collect();
    let entries: Vec<Entry<'_>> = models.iter().flat_map(|model| Entry::all_of(model)).collect();
    let (first, last) = (entries.first().map(|it| &it.name), entries.last().map(|it| &it.name));
    let shaped: Vec<Value> = entries.iter().map(|it| it.shape(dialect)).collect();
    let list = match dialect {
        DialectName::OpenaiChat => json!({ "object": "list", "data": shaped }),
        DialectName::AnthropicMessages => json!({
            "first_id": first,
            "last_id": last,
            "has_more": false,
            "data": shaped,
        }),
        DialectName::Gemini => json!({ "models": shaped }),
    };
    respond::json(&list)
}

/// One model.
pub(crate) fn one(
    snapshot: &Snapshot,
    dialect: DialectName,
    name: &str,
    key: Option<&CallerKey>,
) -> Response<GatewayBody> {
    let (base, tier) = snapshot.split_tier(name);
    if !key.is_none_or(|k| k.allows(base)) {
        return respond::error(
            dialect,
            &CallerError::new(404, "model_not_found", format!("there is no model `{name}`")),
        );
    }
    match snapshot.resolve(base) {
        Ok(model) => {
            let entry = tier.and_then(|tier| Entry::of_tier(&model, tier)).unwrap_or_else(|| Entry::of(&model));
            respond::json(&entry.shape(dialect))
        }
        Err(unknown) => respond::error(dialect, &CallerError::new(404, "model_not_found", unknown.to_string())),
    }
}
