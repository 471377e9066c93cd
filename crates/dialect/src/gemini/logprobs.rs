//! `logprobsResult` ↔ the `logprobs` object of `openai-chat`, which is the canonical form.

use serde_json::{Map, Value, json};

/// To canonical; `None` when there is nothing in it.
pub(super) fn read(result: &Value) -> Option<Value> {
    let chosen = result.get("chosenCandidates")?.as_array()?;
    let tops = result.get("topCandidates").and_then(Value::as_array);
    let content: Vec<Value> = chosen
        .iter()
        .enumerate()
        .map(|(i, token)| {
            let top = tops.and_then(|t| t.get(i)).and_then(|t| t.get("candidates")).and_then(Value::as_array);
            let top: Vec<Value> = top.into_iter().flatten().map(|t| Value::Object(entry(t))).collect();
            let mut entry = entry(token);
            entry.insert("top_logprobs".to_owned(), Value::Array(top));
            Value::Object(entry)
        })
        .collect();
    (!content.is_empty()).then(|| json!({ "content": content, "refusal": null }))
}

fn entry(token: &Value) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("token".to_owned(), token.get("token").cloned().unwrap_or_else(|| json!("")));
    map.insert("logprob".to_owned(), token.get("logProbability").cloned().unwrap_or_else(|| json!(0.0)));
    map.insert("bytes".to_owned(), Value::Null);
    map
}

/// To Gemini; `None` when there is nothing in it.
pub(super) fn write(logprobs: &Value) -> Option<Value> {
    let content = logprobs.get("content")?.as_array()?;
    let token = |entry: &Value| json!({ "token": entry.get("token"), "logProbability": entry.get("logprob") });
    let chosen: Vec<Value> = content.iter().map(token).collect();
    let tops: Vec<Value> = content
        .iter()
        .map(|entry| {
            let top = entry.get("top_logprobs").and_then(Value::as_array);
            json!({ "candidates": top.into_iter().flatten().map(token).collect::<Vec<_>>() })
        })
        .collect();
    (!chosen.is_empty()).then(|| json!({ "topCandidates": tops, "chosenCandidates": chosen }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_survive_a_round_trip() {
        let wire = json!({
            "topCandidates": [{"candidates": [{"token": "a", "logProbability": -0.5}, {"token": "b", "logProbability": -2.0}]}],
            "chosenCandidates": [{"token": "a", "logProbability": -0.5}]
        });
        let canonical = read(&wire).unwrap();
        assert_eq!(canonical["content"][0]["top_logprobs"][1]["logprob"], -2.0);
        assert_eq!(write(&canonical), Some(wire));
        assert_eq!(read(&json!({})), None);
    }
}
