//! The canonical request to a `generateContent` body for one target.

use super::contents_encode::{TurnEncoder, Turns};
use super::json::snake;
use super::names;
use super::schema::is_empty_object;
use crate::place::Step;
use crate::profile::{GeminiThinking, Profile};
use crate::{Inexpressible, place};
use bytes::Bytes;
use canon::{Continues, DialectName, Drops, Effort, OutputFormat, Request, Tool, ToolChoice, ToolKind};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Most stop sequences Gemini takes.
const MOST_STOPS: usize = 5;

/// Writes a body.
pub(super) fn encode(request: &Request, profile: &Profile, drops: &mut Drops) -> Result<Bytes, Inexpressible> {
    let own = request.extra_dialect == Some(DialectName::Gemini);
    let turns = TurnEncoder { profile, drops, own, names: HashMap::new() };
    let Turns { mut system, contents } = turns.encode(&request.messages)?;
    let mut encoder = Encoder { request, profile, drops, own, root: Map::new(), config: Map::new() };

    encoder.root.insert("contents".to_owned(), Value::Array(contents));
    let functions = encoder.tools();
    encoder.tool_choice(functions);
    encoder.sampling();
    encoder.limits();
    encoder.thinking();
    system.extend(encoder.output(functions).map(|text| json!({ "text": text })));
    encoder.rest();
    if !system.is_empty() {
        encoder.root.insert("systemInstruction".to_owned(), json!({ "parts": system }));
    }
    Ok(encoder.finish())
}

struct Encoder<'a> {
    request: &'a Request,
    profile: &'a Profile,
    drops: &'a mut Drops,
    /// The caller speaks Gemini too.
    own: bool,
    root: Map<String, Value>,
    /// `generationConfig`.
    config: Map<String, Value>,
}

impl Encoder<'_> {
    fn set<T: Into<Value>>(&mut self, key: &str, value: Option<T>) {
        if let Some(value) = value {
            self.config.insert(key.to_owned(), value.into());
        }
    }

    /// Writes the tools; whether there is a function among them.
    fn tools(&mut self) -> bool {
        let (mut functions, mut tools) = (Vec::new(), Vec::new());
        for (i, tool) in self.request.tools.iter().enumerate() {
            if tool.cache.is_some() {
                self.drops.add(format!("tools[{i}].cache_control"), "gemini caches by itself or by cachedContent");
            }
            match &tool.kind {
                ToolKind::Function => functions.push(self.function(tool, i)),
                ToolKind::Vendor(DialectName::Gemini, definition) => tools.push(definition.clone()),
                ToolKind::Vendor(..) => self.drops.add(format!("tools[{i}]"), "a tool another vendor runs"),
                ToolKind::Custom(_) => self.drops.add(format!("tools[{i}]"), "gemini has no free-text tools"),
            }
        }
        let some = !functions.is_empty();
        if some {
            tools.insert(0, json!({ "functionDeclarations": functions }));
        }
        if !tools.is_empty() {
            self.root.insert("tools".to_owned(), Value::Array(tools));
        }
        some
    }

    fn function(&mut self, tool: &Tool, i: usize) -> Value {
        let (name, reversible) = names::to_wire(&tool.name);
        if !reversible {
            self.drops.add(format!("tools[{i}].name"), "longer than gemini takes; calls come back under a short name");
        }
        if tool.strict == Some(true) {
            self.drops.add(format!("tools[{i}].strict"), "gemini has no strict tools");
        }
        let mut map = Map::new();
        map.insert("name".to_owned(), json!(name));
        if let Some(description) = &tool.description {
            map.insert("description".to_owned(), json!(description));
        }
        if let Some(schema) = tool.parameters.as_ref().filter(|s| !is_empty_object(s)) {
            map.insert("parametersJsonSchema".to_owned(), schema.clone());
        }
        Value::Object(map)
    }

    fn tool_choice(&mut self, functions: bool) {
        if self.request.parallel_tool_calls == Some(false) {
            self.drops.add("parallel_tool_calls", "gemini cannot be held to one call at a time");
        }
        let Some(choice) = &self.request.tool_choice else { return };
        if !functions && !self.own {
            // Gemini rejects a choice among no functions; only a demand is lost with it.
            if !matches!(choice, ToolChoice::Auto | ToolChoice::None) {
                self.drops.add("tool_choice", "no function is on offer");
            }
            return;
        }
        let forced =
            matches!(choice, ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. });
        let refused = self.profile.tool_choice_auto_only || self.profile.no_forced_tools;
        if forced && refused {
            self.drops.add("tool_choice", "the target takes no forced tool use");
            return;
        }
        let (mode, allowed): (_, &[String]) = match choice {
            ToolChoice::Auto => ("AUTO", &[]),
            ToolChoice::Required => ("ANY", &[]),
            ToolChoice::None => ("NONE", &[]),
            ToolChoice::Named(name) => ("ANY", std::slice::from_ref(name)),
            ToolChoice::Allowed { names, required: true } => ("ANY", names),
            // Names are taken beside ANY and VALIDATED alone; VALIDATED leaves the model free to answer in text.
            ToolChoice::Allowed { names, required: false } => ("VALIDATED", names),
        };
        let mut calling = Map::new();
        calling.insert("mode".to_owned(), json!(mode));
        if !allowed.is_empty() {
            let names: Vec<_> = allowed.iter().map(|n| names::to_wire(n).0).collect();
            calling.insert("allowedFunctionNames".to_owned(), json!(names));
        }
        self.root.insert("toolConfig".to_owned(), json!({ "functionCallingConfig": calling }));
    }

    fn sampling(&mut self) {
        let sampling = self.request.sampling.clone();
        if self.profile.no_sampling {
            let asked = [
                ("temperature", sampling.temperature.is_some()),
                ("top_p", sampling.top_p.is_some()),
                ("top_k", sampling.top_k.is_some()),
            ];
            for (name, _) in asked.iter().filter(|(_, asked)| *asked) {
                self.drops.add(*name, "the target takes no sampling parameters");
            }
        } else {
            // A Gemini caller above Gemini's own bound is told so by Gemini.
            let bound = if self.own { f64::INFINITY } else { 2.0 };
            let highest = self.profile.max_temperature.unwrap_or(bound);
            if sampling.temperature.is_some_and(|t| t > highest) {
                self.drops.add("temperature", "clamped to the highest the target takes");
            }
            self.set("temperature", sampling.temperature.map(|t| t.min(highest)));
            self.set("topP", sampling.top_p);
            self.set("topK", sampling.top_k);
        }
        self.set("frequencyPenalty", sampling.frequency_penalty);
        self.set("presencePenalty", sampling.presence_penalty);
        self.set("seed", sampling.seed);
        self.set("responseLogprobs", sampling.logprobs);
        self.set("logprobs", sampling.top_logprobs);
        if sampling.logit_bias.is_some() {
            self.drops.add("logit_bias", "gemini has no such field");
        }
    }

    fn limits(&mut self) {
        let highest = self.profile.max_output_tokens.unwrap_or(u64::MAX);
        if self.request.max_output_tokens.is_some_and(|n| n > highest) {
            self.drops.add("max_output_tokens", "clamped to the most the target takes");
        }
        self.set("maxOutputTokens", self.request.max_output_tokens.map(|n| n.min(highest)));
        self.set("candidateCount", self.request.n);
        let most = self.profile.max_stop.unwrap_or(MOST_STOPS);
        for i in most..self.request.stop.len() {
            self.drops.add(format!("stop[{i}]"), "more stop sequences than the target takes");
        }
        let stop: Vec<_> = self.request.stop.iter().take(most).cloned().collect();
        self.set("stopSequences", (!stop.is_empty()).then_some(stop));
    }

    fn thinking(&mut self) {
        let asked = &self.request.reasoning;
        let mut thinking = Map::new();
        match self.profile.gemini_thinking {
            GeminiThinking::Unsupported => {
                let wanted =
                    asked.effort.is_some_and(|e| e != Effort::None) || asked.budget_tokens.is_some_and(|n| n > 0);
                if wanted || asked.show == Some(true) {
                    self.drops.add("reasoning", "the model does not think");
                }
                return;
            }
            // Gemini 3 still reads a budget; a Gemini caller who wrote one gets what it wrote.
            GeminiThinking::Level if self.own && asked.budget_tokens.is_some() && !thought_level(asked.effort) => {
                thinking.insert("thinkingBudget".to_owned(), json!(asked.budget_tokens));
            }
            GeminiThinking::Level => {
                let effort = asked.effort.or_else(|| asked.budget_tokens.and_then(effort_of));
                if let Some(level) = effort.map(|e| self.level(e)) {
                    thinking.insert("thinkingLevel".to_owned(), json!(level));
                }
            }
            GeminiThinking::Budget => {
                let budget = asked.budget_tokens.or_else(|| asked.effort.map(budget_of));
                if let Some(budget) = budget.or_else(|| asked.adaptive.then_some(-1)) {
                    thinking.insert("thinkingBudget".to_owned(), json!(budget));
                }
            }
        }
        // Anthropic shows the thinking it was asked for unless told not to, Gemini only when told to.
        let is_shown = self.request.extra_dialect == Some(DialectName::AnthropicMessages)
            && (asked.adaptive || asked.budget_tokens.is_some_and(|n| n > 0));
        if let Some(show) = asked.show.or(is_shown.then_some(true)) {
            thinking.insert("includeThoughts".to_owned(), json!(show));
        }
        if !thinking.is_empty() {
            self.config.insert("thinkingConfig".to_owned(), Value::Object(thinking));
        }
    }

    fn level(&mut self, effort: Effort) -> &'static str {
        let listed = |word: &str| self.profile.efforts.iter().any(|e| e.eq_ignore_ascii_case(word));
        let unlisted = self.profile.efforts.is_empty();
        match effort {
            Effort::None | Effort::Minimal => {
                let level = if unlisted || listed("minimal") { "MINIMAL" } else { "LOW" };
                if effort == Effort::None {
                    self.drops.add("reasoning_effort", "the model always thinks; the least there is was asked for");
                }
                level
            }
            Effort::Medium if unlisted || listed("medium") => "MEDIUM",
            Effort::Low | Effort::Medium => "LOW",
            Effort::High => "HIGH",
            Effort::Xhigh | Effort::Max if listed("xhigh") || (unlisted && self.own) => "XHIGH",
            Effort::Xhigh | Effort::Max => {
                self.drops.add("reasoning_effort", "lowered to HIGH, the most the target is known to take");
                "HIGH"
            }
        }
    }

    /// The form of the output. Returns instructions that stand in for a form the target cannot be asked for.
    fn output(&mut self, functions: bool) -> Option<String> {
        let (schema, name, description) = match &self.request.output {
            OutputFormat::Text => return None,
            OutputFormat::JsonObject => (None, None, None),
            OutputFormat::JsonSchema { schema, name, description, .. } => {
                (Some(schema), name.as_ref(), description.as_ref())
            }
        };
        // JSON beside function tools came with Gemini 3.
        let no_json =
            self.profile.no_json_object || (functions && self.profile.gemini_thinking != GeminiThinking::Level);
        if !no_json {
            self.set("responseMimeType", Some("application/json"));
        }
        if no_json || (schema.is_some() && self.profile.no_json_schema) {
            self.drops.add("response_format", "asked for in the instructions, as the target does not take it here");
            return Some(match schema {
                None => "Answer with one JSON object and nothing else.".to_owned(),
                Some(schema) => {
                    format!("Answer with one JSON value that follows this JSON Schema, and nothing else:\n{schema}")
                }
            });
        }
        let mut schema = schema?.clone();
        if let Value::Object(map) = &mut schema {
            for (key, value) in [("title", name), ("description", description)] {
                if let Some(value) = value
                    && !map.contains_key(key)
                {
                    map.insert(key.to_owned(), json!(value));
                }
            }
        }
        self.set("responseJsonSchema", Some(schema));
        None
    }

    fn rest(&mut self) {
        let request = self.request;
        let safety: Vec<Value> = request
            .safety
            .iter()
            .map(|setting| {
                let mut map = Map::new();
                map.insert("category".to_owned(), json!(setting.category));
                map.insert("threshold".to_owned(), json!(setting.threshold));
                if let Some(method) = &setting.method {
                    map.insert("method".to_owned(), json!(method));
                }
                Value::Object(map)
            })
            .collect();
        if !safety.is_empty() {
            self.root.insert("safetySettings".to_owned(), Value::Array(safety));
        }
        if request.user.is_some() {
            self.drops.add("user", "gemini has no such field");
        }
        if request.service_tier.is_some() {
            self.drops.add("service_tier", "gemini has no such field");
        }
        if !request.metadata.is_empty() {
            // Labels are Vertex's; a caller of another dialect cannot mean them.
            if self.own {
                self.root.insert("labels".to_owned(), Value::Object(request.metadata.clone()));
            } else {
                self.drops.add("metadata", "gemini has no such field");
            }
        }
    }

    fn finish(mut self) -> Bytes {
        if let Some(Continues::Token(token)) = &self.request.continues {
            self.root.insert("continuationToken".to_owned(), json!(token));
        }
        if !self.config.is_empty() {
            self.root.insert("generationConfig".to_owned(), Value::Object(std::mem::take(&mut self.config)));
        }
        for (key, value) in &self.request.extra {
            if !self.own {
                self.drops.add(key.clone(), "a field only its own dialect has");
            } else if key == "continuationToken" && self.root.contains_key(key) {
                // The caller's own token led to the answer that is gone on with now, by a later one.
            } else if !put(&mut self.root, key, value) {
                self.drops.add(key.clone(), "its place in the translated request is not known");
            }
        }
        for field in &self.profile.drop {
            if cut(&mut self.root, field) {
                self.drops.add(field.clone(), "the target rejects this field");
            }
        }
        for (from, to) in &self.profile.rename {
            if let Some(value) = self.root.shift_remove(from) {
                self.root.insert(to.clone(), value);
            }
        }
        Bytes::from(Value::Object(self.root).to_string())
    }
}

/// Whether an effort says more than "none", which a budget of 0 says too.
fn thought_level(effort: Option<Effort>) -> bool {
    effort.is_some_and(|e| e != Effort::None)
}

/// Google's own ladder for its `OpenAI`-compatible endpoint.
fn budget_of(effort: Effort) -> i64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal | Effort::Low => 1024,
        Effort::Medium => 8192,
        Effort::High | Effort::Xhigh | Effort::Max => 24576,
    }
}

/// The same ladder downwards; a negative budget is the model's own choice.
fn effort_of(budget: i64) -> Option<Effort> {
    match budget {
        i64::MIN..0 => None,
        0 => Some(Effort::None),
        1..=2048 => Some(Effort::Low),
        2049..=12288 => Some(Effort::Medium),
        _ => Some(Effort::High),
    }
}

/// Puts a leftover back under its path; `false` when it stood in a list, or something stands in its way.
fn put(root: &mut Map<String, Value>, path: &str, value: &Value) -> bool {
    if place::steps(path).any(|step| step == Step::Index) {
        return false;
    }
    let (object, field) = place::split_last(path);
    let mut inner = root;
    for step in place::steps(object) {
        let Step::Key(key) = step else { return false };
        let Value::Object(next) = inner.entry(key.into_owned()).or_insert_with(|| Value::Object(Map::new())) else {
            return false;
        };
        inner = next;
    }
    inner.insert(field.into_owned(), value.clone());
    true
}

/// Takes a field out by its path, in either spelling; whether it was there.
fn cut(root: &mut Map<String, Value>, path: &str) -> bool {
    match path.split_once('.') {
        None => root.shift_remove(path).or_else(|| root.shift_remove(snake(path).as_ref())).is_some(),
        Some((head, tail)) => root.get_mut(head).and_then(Value::as_object_mut).is_some_and(|inner| cut(inner, tail)),
    }
}
