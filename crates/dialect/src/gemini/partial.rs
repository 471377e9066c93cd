//! Vertex's streamed function arguments (`partialArgs`): values with a JSON path each, put together here.
//!
//! They are no text fragments, so nothing can be passed on before the call is whole.

use crate::Malformed;
use serde_json::{Map, Value};

/// Nesting no honest call reaches; bounds recursion.
const DEEPEST: usize = 64;

/// Arguments in the making.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    root: Map<String, Value>,
    /// The path whose string goes on in the next piece.
    open: Option<String>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Arguments {
    /// Starts from the arguments a call came with.
    pub(super) fn new(args: Option<Value>) -> Self {
        let root = match args {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        Self { root, open: None }
    }

    /// Puts one `partialArgs` element in.
    pub(super) fn apply(&mut self, piece: &Value) -> Result<(), Malformed> {
        let path = piece.get("jsonPath").and_then(Value::as_str).unwrap_or_default();
        let value = if let Some(text) = piece.get("stringValue").and_then(Value::as_str) {
            Value::String(text.to_owned())
        } else if let Some(value) = piece.get("numberValue").or_else(|| piece.get("boolValue")) {
            value.clone()
        } else if piece.get("nullValue").is_some() {
            Value::Null
        } else {
            return Ok(());
        };
        let goes_on = self.open.as_deref() == Some(path);
        let slot = self.slot(path)?;
        match (slot, value) {
            (Value::String(held), Value::String(more)) if goes_on => held.push_str(&more),
            (slot, value) => *slot = value,
        }
        let continues = piece.get("willContinue").and_then(Value::as_bool) == Some(true);
        self.open = continues.then(|| path.to_owned());
        Ok(())
    }

    /// The JSON text of the whole.
    pub(super) fn finish(self) -> String {
        Value::Object(self.root).to_string()
    }

    fn slot(&mut self, path: &str) -> Result<&mut Value, Malformed> {
        let wrong = || Malformed(format!("a partial argument has the path {:?}", path.get(..80).unwrap_or(path)));
        let mut steps = steps(path).ok_or_else(wrong)?.into_iter();
        let Some(Step::Key(first)) = steps.next() else { return Err(wrong()) };
        let mut slot = self.root.entry(first).or_insert(Value::Null);
        for step in steps {
            slot = match step {
                Step::Key(key) => {
                    if slot.is_null() {
                        *slot = Value::Object(Map::new());
                    }
                    slot.as_object_mut().ok_or_else(wrong)?.entry(key).or_insert(Value::Null)
                }
                Step::Index(index) => {
                    if slot.is_null() {
                        *slot = Value::Array(Vec::new());
                    }
                    let items = slot.as_array_mut().ok_or_else(wrong)?;
                    // Elements come in order; a gap would be memory on demand of the sender.
                    if index == items.len() {
                        items.push(Value::Null);
                    }
                    items.get_mut(index).ok_or_else(wrong)?
                }
            };
        }
        Ok(slot)
    }
}

/// `$.a.b[0]['c d']` → its steps.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (key, tail) = after.split_at_checked(end)?;
            out.push(Step::Key(key.to_owned()));
            rest = tail;
        } else {
            let after = rest.strip_prefix('[')?;
            if let Some(quote) = after.chars().next().filter(|c| matches!(c, '\'' | '"')) {
                let (key, tail) = after.get(1..)?.split_once(quote)?;
                out.push(Step::Key(key.to_owned()));
                rest = tail.strip_prefix(']')?;
            } else {
                let (index, tail) = after.split_once(']')?;
                out.push(Step::Index(index.parse().ok()?));
                rest = tail;
            }
        }
        if out.len() > DEEPEST {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pieces_make_the_whole() {
        let mut arguments = Arguments::new(None);
        for piece in [
            json!({"jsonPath": "$.recipe.steps[0]", "stringValue": "Boil", "willContinue": true}),
            json!({"jsonPath": "$.recipe.steps[0]", "stringValue": " water."}),
            json!({"jsonPath": "$.recipe.steps[1]", "stringValue": "Eat"}),
            json!({"jsonPath": "$.recipe['big name']", "stringValue": "Soup"}),
            json!({"jsonPath": "$.price", "numberValue": 0.5}),
            json!({"jsonPath": "$.hot", "boolValue": true}),
            json!({"jsonPath": "$.note", "nullValue": "NULL_VALUE"}),
        ] {
            arguments.apply(&piece).unwrap();
        }
        let whole: Value = serde_json::from_str(&arguments.finish()).unwrap();
        assert_eq!(
            whole,
            json!({"recipe": {"steps": ["Boil water.", "Eat"], "big name": "Soup"}, "price": 0.5, "hot": true, "note": null})
        );
    }

    #[test]
    fn a_path_that_leads_nowhere_is_malformed() {
        let mut arguments = Arguments::new(None);
        for path in ["", "$", "a", "$[0]", "$.a[99999999]", "$.a[", "$.a['b"] {
            assert!(arguments.apply(&json!({"jsonPath": path, "numberValue": 1})).is_err(), "{path}");
        }
        let deep = format!("$.a{}", "[0]".repeat(100_000));
        assert!(arguments.apply(&json!({"jsonPath": deep, "numberValue": 1})).is_err());
    }
}
