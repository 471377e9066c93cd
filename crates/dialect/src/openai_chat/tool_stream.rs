//! Tool calls out of stream fragments.
//!
//! Providers name a call by index, by id, by both wrongly, or not at all; send it in one piece or in many; and may
//! announce several before the first has its arguments. Events come out one call at a time: a call that begins while
//! another is open waits until that one's arguments are whole.

use super::answer_decode::arguments;
use super::names;
use canon::Event;
use serde_json::Value;

/// The tool calls of one candidate.
#[derive(Debug, Default)]
pub(super) struct ToolCalls {
    calls: Vec<Call>,
    /// The call whose events are being emitted; those before it are ended, those after it wait.
    current: usize,
}

#[derive(Debug, Default)]
struct Call {
    wire_index: Option<u64>,
    id: Option<String>,
    name: String,
    custom: bool,
    started: bool,
    /// All arguments so far.
    arguments: String,
    /// Bytes of `arguments` already emitted.
    emitted: usize,
}

/// One fragment, whatever its spelling.
struct Fragment<'v> {
    wire_index: Option<u64>,
    id: Option<&'v str>,
    name: Option<&'v str>,
    arguments: String,
    custom: bool,
}

impl ToolCalls {
    /// Whether any call has begun.
    pub(super) fn any(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Reads an entry of `delta.tool_calls`.
    pub(super) fn add(&mut self, entry: &Value, candidate: u32, out: &mut Vec<Event>) {
        let custom = entry.get("custom").filter(|custom| custom.is_object());
        let inner = custom.or_else(|| entry.get("function"));
        let text = |value: Option<&Value>| arguments(value);
        let fragment = Fragment {
            wire_index: entry.get("index").and_then(Value::as_u64),
            id: entry.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()),
            name: name_in(inner),
            arguments: text(inner.and_then(|inner| inner.get(if custom.is_some() { "input" } else { "arguments" }))),
            custom: custom.is_some(),
        };
        self.take(&fragment, candidate, out);
    }

    /// Reads the deprecated `delta.function_call`: one call, without id.
    pub(super) fn add_function(&mut self, function: &Value, candidate: u32, out: &mut Vec<Event>) {
        let fragment = Fragment {
            wire_index: Some(0),
            id: None,
            name: name_in(Some(function)),
            arguments: arguments(function.get("arguments")),
            custom: false,
        };
        self.take(&fragment, candidate, out);
    }

    fn take(&mut self, fragment: &Fragment<'_>, candidate: u32, out: &mut Vec<Event>) {
        let position = self.position(fragment);
        if let Some(call) = self.calls.get_mut(position) {
            if call.id.is_none() {
                call.id = fragment.id.map(str::to_owned);
            }
            if call.name.is_empty() {
                call.name = fragment.name.map(|name| names::from_wire(name).into_owned()).unwrap_or_default();
            }
            call.arguments.push_str(&fragment.arguments);
        }
        self.advance(candidate, out);
    }

    /// The call a fragment belongs to; a new one is added at the end.
    fn position(&mut self, fragment: &Fragment<'_>) -> usize {
        let known = match (fragment.wire_index, fragment.id) {
            (Some(index), _) => self.calls.iter().rposition(|call| call.wire_index == Some(index)),
            (None, Some(id)) => self.calls.iter().rposition(|call| call.id.as_deref() == Some(id)),
            (None, None) if fragment.name.is_some() => None,
            (None, None) => self.calls.len().checked_sub(1),
        };
        // The same index with another id and a name is another call: some servers number every call 0.
        let another = |call: &Call| {
            fragment.name.is_some() && fragment.id.is_some_and(|id| call.id.as_deref().is_some_and(|held| held != id))
        };
        if let Some(position) = known
            && self.calls.get(position).is_some_and(|call| !another(call))
        {
            return position;
        }
        self.calls.push(Call { wire_index: fragment.wire_index, custom: fragment.custom, ..Call::default() });
        self.calls.len() - 1
    }

    /// Emits what can be emitted in order.
    fn advance(&mut self, candidate: u32, out: &mut Vec<Event>) {
        loop {
            let more = self.current + 1 < self.calls.len();
            let number = self.current;
            let Some(call) = self.calls.get_mut(number) else { return };
            call.emit(candidate, number, out);
            if !(more && call.is_whole()) {
                return;
            }
            call.end(candidate, number, true, out);
            self.current += 1;
        }
    }

    /// The candidate is finished: ends every call. `cut` = its output was cut off, so arguments may be partial.
    pub(super) fn end(&mut self, candidate: u32, cut: bool, out: &mut Vec<Event>) {
        while let Some(call) = self.calls.get_mut(self.current) {
            call.start(candidate, self.current, out);
            call.emit(candidate, self.current, out);
            call.end(candidate, self.current, !cut, out);
            self.current += 1;
        }
    }
}

impl Call {
    fn start(&mut self, candidate: u32, number: usize, out: &mut Vec<Event>) {
        if !self.started {
            self.started = true;
            let (id, name) = (self.id.clone(), self.name.clone());
            out.push(Event::ToolCallStart { candidate, call: count(number), id, name, signature: None });
        }
    }

    /// Emits the start once the name is known, and the arguments that came since.
    fn emit(&mut self, candidate: u32, number: usize, out: &mut Vec<Event>) {
        if !self.name.is_empty() {
            self.start(candidate, number, out);
        }
        if !self.started {
            return;
        }
        let piece = self.arguments.get(self.emitted..).unwrap_or_default();
        if !piece.is_empty() {
            let arguments = piece.to_owned();
            self.emitted = self.arguments.len();
            out.push(Event::ToolCallDelta { candidate, call: count(number), arguments });
        }
    }

    /// Whether another call may follow: its arguments are one JSON value. Free text has no such sign.
    fn is_whole(&self) -> bool {
        self.custom || serde_json::from_str::<serde::de::IgnoredAny>(&self.arguments).is_ok()
    }

    /// A call that came without arguments takes none, which is `{}` to whoever parses them.
    fn end(&self, candidate: u32, number: usize, whole: bool, out: &mut Vec<Event>) {
        let call = count(number);
        if whole && self.arguments.is_empty() && !self.custom {
            out.push(Event::ToolCallDelta { candidate, call, arguments: "{}".to_owned() });
        }
        out.push(Event::ToolCallEnd { candidate, call });
    }
}

fn name_in(inner: Option<&Value>) -> Option<&str> {
    inner?.get("name").and_then(Value::as_str).filter(|name| !name.is_empty())
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(entries: &[Value]) -> Vec<Event> {
        let (mut calls, mut out) = (ToolCalls::default(), Vec::new());
        for entry in entries {
            calls.add(entry, 0, &mut out);
        }
        calls.end(0, false, &mut out);
        out
    }

    fn whole(events: &[Event]) -> Vec<(Option<String>, String, String)> {
        let mut calls: Vec<(Option<String>, String, String)> = Vec::new();
        let mut open = None;
        for event in events {
            match event {
                Event::ToolCallStart { call, id, name, .. } => {
                    assert_eq!((open, *call as usize), (None, calls.len()), "one call at a time, counted from 0");
                    open = Some(*call);
                    calls.push((id.clone(), name.clone(), String::new()));
                }
                Event::ToolCallDelta { call, arguments, .. } => {
                    assert_eq!(open, Some(*call));
                    calls.last_mut().unwrap().2.push_str(arguments);
                }
                Event::ToolCallEnd { call, .. } => {
                    assert_eq!(open.take(), Some(*call));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(open, None);
        calls
    }

    fn call(id: &str, name: &str, arguments: &str) -> (Option<String>, String, String) {
        (Some(id.to_owned()), name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn fragments_of_one_index_are_one_call() {
        let events = run(&[
            json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
            json!({"index": 0, "function": {"arguments": "{\"x\""}}),
            json!({"index": 0, "function": {"arguments": ":1}"}}),
        ]);
        assert_eq!(whole(&events), [call("a", "f", "{\"x\":1}")]);
        assert_eq!(events.len(), 4, "pieces are passed on as they come");
    }

    #[test]
    fn an_empty_id_and_null_arguments_in_a_later_fragment_change_nothing() {
        let events = run(&[
            json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}),
            json!({"index": 0, "id": "", "function": {"name": "", "arguments": null}}),
            json!({"index": 0, "id": "", "function": {"arguments": "}"}}),
        ]);
        assert_eq!(whole(&events), [call("a", "f", "{}")]);
    }

    #[test]
    fn calls_without_an_index_are_told_apart_by_id_and_name() {
        let events = run(&[
            json!({"id": "a", "function": {"name": "f", "arguments": "{}"}}),
            json!({"id": "b", "function": {"name": "f", "arguments": "{\"y\":"}}),
            json!({"function": {"arguments": "2}"}}),
        ]);
        assert_eq!(whole(&events), [call("a", "f", "{}"), call("b", "f", "{\"y\":2}")]);
    }

    #[test]
    fn whole_calls_that_all_say_index_0_are_several_calls() {
        let events = run(&[
            json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}),
            json!({"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}}),
        ]);
        assert_eq!(whole(&events), [call("a", "f", "{}"), call("b", "g", "{}")]);
    }

    #[test]
    fn calls_announced_together_come_out_one_after_the_other() {
        let events = run(&[
            json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}),
            json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}}),
            json!({"index": 1, "function": {"arguments": "{\"b\":1}"}}),
            json!({"index": 0, "function": {"arguments": "{\"a\":1}"}}),
        ]);
        assert_eq!(whole(&events), [call("a", "f", "{\"a\":1}"), call("b", "g", "{\"b\":1}")]);
    }

    #[test]
    fn a_call_without_arguments_takes_none() {
        let events = run(&[json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}})]);
        assert_eq!(whole(&events), [call("a", "f", "{}")]);
    }

    #[test]
    fn a_call_cut_off_is_not_completed() {
        let (mut calls, mut out) = (ToolCalls::default(), Vec::new());
        calls.add(&json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x"}}), 0, &mut out);
        calls.end(0, true, &mut out);
        assert_eq!(whole(&out), [call("a", "f", "{\"x")]);
    }

    #[test]
    fn a_name_that_comes_after_the_id_is_waited_for() {
        let events = run(&[
            json!({"index": 0, "id": "a", "function": {"arguments": "{"}}),
            json!({"index": 0, "function": {"name": "f", "arguments": "}"}}),
        ]);
        assert_eq!(whole(&events), [call("a", "f", "{}")]);
    }
}
