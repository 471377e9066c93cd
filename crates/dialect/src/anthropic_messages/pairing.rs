//! Pairs tool calls with their results.
//!
//! A call's result is looked for in the user turn after it, then further on as far as the next call of the same id. A
//! result without an id (Gemini) goes by its tool's name, in order. A call without a result gets one that says so; a
//! result without a call becomes text.

use super::history::{Block, PendingResult, Turn};
use canon::Drops;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;

/// Results taken out of their turns, in order, until a call claims them.
struct Results {
    /// By turn; `None` = claimed.
    by_turn: Vec<Vec<Option<PendingResult>>>,
    /// Where results of an id stand: turn and place in it.
    by_id: HashMap<String, VecDeque<(usize, usize)>>,
}

impl Results {
    fn take_from(turns: &mut [Turn], drops: &mut Drops) -> Self {
        let mut by_turn = Vec::with_capacity(turns.len());
        let mut by_id: HashMap<String, VecDeque<(usize, usize)>> = HashMap::new();
        for (turn_index, turn) in turns.iter_mut().enumerate() {
            let mut here = Vec::new();
            let blocks = std::mem::take(&mut turn.blocks);
            for block in blocks {
                match block {
                    // A result in an assistant turn answers nothing; it becomes text where it stands.
                    Block::Result(result) if !turn.assistant => {
                        if let Some(id) = &result.source_id {
                            by_id.entry(id.clone()).or_default().push_back((turn_index, here.len()));
                        }
                        here.push(Some(result));
                    }
                    Block::Result(result) => {
                        drops.add(result.path.clone(), "a tool result in an assistant turn was written as text");
                        // Whatever else it holds may stand in user turns only.
                        turn.blocks.extend(as_text(&result).into_iter().filter(is_text));
                    }
                    block => turn.blocks.push(block),
                }
            }
            by_turn.push(here);
        }
        Self { by_turn, by_id }
    }

    /// The first unclaimed result of `id` after turn `after` and before turn `before`.
    fn claim_by_id(&mut self, id: &str, after: usize, before: usize) -> Option<(usize, PendingResult)> {
        let queue = self.by_id.get_mut(id)?;
        while queue.front().is_some_and(|(turn, _)| *turn <= after) {
            queue.pop_front();
        }
        let (turn, place) = *queue.front()?;
        if turn >= before {
            return None;
        }
        queue.pop_front();
        let result = self.by_turn.get_mut(turn)?.get_mut(place)?.take()?;
        Some((turn, result))
    }

    /// The first unclaimed result of the tool `name` in `turn` where one side has no id to go by.
    fn claim_by_name(&mut self, name: &str, call_has_id: bool, turn: usize) -> Option<PendingResult> {
        let fits = |slot: &&mut Option<PendingResult>| {
            slot.as_ref().is_some_and(|result| {
                (!call_has_id || result.source_id.is_none()) && result.name.as_deref().is_none_or(|named| named == name)
            })
        };
        self.by_turn.get_mut(turn)?.iter_mut().find(fits)?.take()
    }
}

/// Gives every call its result, in the very next turn and before anything else there.
pub(super) fn pair(turns: &mut Vec<Turn>, drops: &mut Drops) {
    if turns.last().is_some_and(|last| last.assistant && has_call(last)) {
        turns.push(Turn { assistant: false, blocks: Vec::new() });
    }
    let mut results = Results::take_from(turns, drops);
    let calls_by_id = turns_of_calls(turns);
    let mut answers: Vec<Vec<Block>> = turns.iter().map(|_| Vec::new()).collect();
    for (turn_index, turn) in turns.iter().enumerate() {
        let Some(answered) = answers.get_mut(turn_index + 1) else { break };
        for block in &turn.blocks {
            let Block::Call { source_id, name, value } = block else { continue };
            let by_id = source_id.as_ref().and_then(|id| {
                let before = next_call(&calls_by_id, id, turn_index);
                results.claim_by_id(id, turn_index, before)
            });
            let found = match by_id {
                Some((turn, result)) => {
                    if turn != turn_index + 1 {
                        drops.add(result.path.clone(), "the tool result was moved next to its call");
                    }
                    Some(result)
                }
                None => results.claim_by_name(name, source_id.is_some(), turn_index + 1),
            };
            let id = value.get("id").cloned().unwrap_or_default();
            let result = found.map_or_else(
                || {
                    drops.add(
                        format!("tool_calls.{}", source_id.as_deref().unwrap_or(name)),
                        "the history has no result for this tool call: one that says so was inserted",
                    );
                    object_of_missing_result()
                },
                |found| found.value,
            );
            answered.push(Block::Plain(with_id(result, id)));
        }
    }
    for ((turn, answers), orphans) in turns.iter_mut().zip(answers).zip(results.by_turn) {
        let mut blocks = answers;
        for orphan in orphans.into_iter().flatten() {
            drops.add(orphan.path.clone(), "a tool result without its call was written as text");
            blocks.extend(as_text(&orphan));
        }
        blocks.append(&mut turn.blocks);
        turn.blocks = blocks;
    }
}

fn has_call(turn: &Turn) -> bool {
    turn.blocks.iter().any(|block| matches!(block, Block::Call { .. }))
}

/// The turns in which each id is called, in order.
fn turns_of_calls(turns: &[Turn]) -> HashMap<String, Vec<usize>> {
    let mut found: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, turn) in turns.iter().enumerate() {
        for block in &turn.blocks {
            if let Block::Call { source_id: Some(id), .. } = block {
                found.entry(id.clone()).or_default().push(index);
            }
        }
    }
    found
}

/// The next turn after `turn` that calls `id` again: results from there on are that call's.
fn next_call(calls: &HashMap<String, Vec<usize>>, id: &str, turn: usize) -> usize {
    calls.get(id).and_then(|turns| turns.iter().copied().find(|later| *later > turn)).unwrap_or(usize::MAX)
}

fn object_of_missing_result() -> Map<String, Value> {
    super::blocks::object(json!({
        "type": "tool_result",
        "content": [{ "type": "text", "text": "No result was recorded for this tool call." }],
        "is_error": true,
    }))
}

/// The result with its call's final id, in the order the API documents.
fn with_id(mut result: Map<String, Value>, id: Value) -> Value {
    result.shift_insert(1.min(result.len()), "tool_use_id".to_owned(), id);
    Value::Object(result)
}

/// A result nobody asked for: its own content, after a line that says what it is.
fn as_text(result: &PendingResult) -> Vec<Block> {
    let mut head = "Result of a tool call".to_owned();
    for (word, value) in [("tool", &result.name), ("id", &result.source_id)] {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = write!(head, ", {word} {value}");
        }
    }
    let mut blocks = vec![Block::Plain(json!({ "type": "text", "text": format!("{head}:") }))];
    if let Some(Value::Array(content)) = result.value.get("content") {
        blocks.extend(content.iter().cloned().map(Block::Plain));
    }
    blocks
}

fn is_text(block: &Block) -> bool {
    matches!(block, Block::Plain(value) if value.get("type").is_some_and(|kind| kind == "text"))
}
