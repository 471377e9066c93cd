//! Model lists, in the shape each vendor's SDK reads.

use crate::respond::{self, GatewayBody};
use canon::{CallerError, DialectName};
use config::{CallerKey, Snapshot};
use http::Response;
use routing::Model;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a list says of one model.
struct Entry<'a> {
    name: &'a str,
    /// The smallest context window of the chain: what every target can take. `None` = one of them is unknown.
    context: Option<u64>,
    /// The smallest output cap of the chain.
    output: Option<u64>,
}

impl<'a> Entry<'a> {
    fn of(model: &'a Model) -> Self {
        let smallest = |fact: fn(&catalog::ModelFacts) -> Option<u64>| {
            model.targets.iter().map(|t| fact(&t.facts)).collect::<Option<Vec<_>>>()?.into_iter().min()
        };
        Self { name: &model.name, context: smallest(|f| f.context_window), output: smallest(|f| f.max_output_tokens) }
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
    let entries: Vec<Value> = models.iter().map(|m| Entry::of(m).shape(dialect)).collect();
    let list = match dialect {
        DialectName::OpenaiChat => json!({ "object": "list", "data": entries }),
        DialectName::AnthropicMessages => json!({
            "first_id": models.first().map(|m| &m.name),
            "last_id": models.last().map(|m| &m.name),
            "has_more": false,
            "data": entries,
        }),
        DialectName::Gemini => json!({ "models": entries }),
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
    if !key.is_none_or(|k| k.allows(name)) {
        return respond::error(
            dialect,
            &CallerError::new(404, "model_not_found", format!("there is no model `{name}`")),
        );
    }
    match snapshot.resolve(name) {
        Ok(model) => respond::json(&Entry::of(&model).shape(dialect)),
        Err(unknown) => respond::error(dialect, &CallerError::new(404, "model_not_found", unknown.to_string())),
    }
}
