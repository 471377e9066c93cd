//! What a simulated model says. The same seed, provider and request give the same answer, streamed or not.

use crate::schema::{example, pieces};
use crate::wire::{Asked, Choice, Offered};
use serde_json::{Value, json};
use std::hash::{Hash, Hasher};

/// The user's words are quoted no longer than this.
const QUOTED: usize = 160;
/// Words for answers that are to be longer than their sentence.
const FILLER: &str = "The quick brown fox jumps over the lazy dog while the naïve café owner watches déjà vu unfold. ";

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    /// This stop sequence came up.
    Sequence(String),
    Length,
    Calls,
}

/// One tool call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    /// Unique letters and digits, for the dialect to put its prefix before.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

/// One candidate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    /// In pieces; one piece is one token and one event.
    pub(crate) text: Vec<String>,
    pub(crate) calls: Vec<Call>,
    pub(crate) finish: Finish,
}

impl Said {
    pub(crate) fn whole_text(&self) -> String {
        self.text.concat()
    }

    fn tokens(&self) -> u64 {
        let calls: usize = self.calls.iter().map(|call| pieces(&call.arguments.to_string()).len() + 2).sum();
        (self.text.len() + calls) as u64
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    /// Unique letters and digits for this answer.
    pub(crate) id: String,
    /// In pieces.
    pub(crate) reasoning: Vec<String>,
    pub(crate) said: Vec<Said>,
    pub(crate) prompt_tokens: u64,
    pub(crate) cached_tokens: u64,
}

impl Reply {
    /// Tokens of text and calls, reasoning left out.
    pub(crate) fn answer_tokens(&self) -> u64 {
        self.said.iter().map(Said::tokens).sum()
    }

    pub(crate) fn reasoning_tokens(&self) -> u64 {
        self.reasoning.len() as u64
    }
}

/// What an answer depends on besides the request.
pub(crate) struct Speaker<'a> {
    pub(crate) name: &'a str,
    pub(crate) seed: u64,
    /// Words of a text answer.
    pub(crate) words: usize,
    /// A tool call is wanted wherever one is possible, because a fault is to strike inside it.
    pub(crate) prefers_calls: bool,
    /// Text to say as one piece before the rest.
    pub(crate) huge: Option<usize>,
}

/// The answer to a request whose body is `body`.
pub(crate) fn reply(speaker: &Speaker<'_>, asked: &Asked, body: &[u8]) -> Reply {
    let id = unique(speaker, body, 0);
    let prompt_tokens = body.len() as u64 / 4 + 1;
    let calls = calls(speaker, asked, body);
    let said = if calls.is_empty() {
        (0..asked.candidates.max(1)).map(|place| text(speaker, asked, place)).collect()
    } else {
        vec![Said { text: Vec::new(), calls, finish: Finish::Calls }]
    };
    let reasoning = if asked.reasoning {
        pieces("Let me think. The user wants an answer, so I shall give one. ")
    } else {
        Vec::new()
    };
    let cached_tokens = if asked.caches { prompt_tokens / 2 } else { 0 };
    Reply { id, reasoning, said, prompt_tokens, cached_tokens }
}

fn unique(speaker: &Speaker<'_>, body: &[u8], place: usize) -> String {
    // The default hasher's keys are fixed when it is made this way, so the same input gives the same id in every run.
    let mut hasher = std::hash::DefaultHasher::new();
    (speaker.name, speaker.seed, body, place).hash(&mut hasher);
    format!("sim{:016x}", hasher.finish())
}

fn calls(speaker: &Speaker<'_>, asked: &Asked, body: &[u8]) -> Vec<Call> {
    let said = asked.last_user.to_lowercase();
    let is_wanted = match &asked.choice {
        Choice::Never => false,
        Choice::Some | Choice::Named(_) => true,
        Choice::Auto => speaker.prefers_calls || said.contains("tool") || said.contains("weather"),
    };
    if !is_wanted || !asked.results.is_empty() {
        return Vec::new();
    }
    let offered: Vec<&Offered> = match &asked.choice {
        Choice::Named(name) => asked.tools.iter().filter(|tool| tool.name == *name).collect(),
        _ => asked.tools.iter().collect(),
    };
    let is_parallel = asked.parallel && (said.contains("parallel") || said.contains("two cities"));
    let count = if is_parallel { 2 } else { 1 };
    offered
        .iter()
        .cycle()
        .take(if offered.is_empty() { 0 } else { count })
        .enumerate()
        .map(|(place, tool)| Call {
            id: unique(speaker, body, place + 1),
            name: tool.name.clone(),
            arguments: example(&tool.schema, place),
        })
        .collect()
}

fn text(speaker: &Speaker<'_>, asked: &Asked, place: usize) -> Said {
    let full = match (&asked.schema, asked.json) {
        (Some(schema), _) => example(schema, place).to_string(),
        (None, true) => json!({"provider": speaker.name, "model": asked.model, "answer": quoted(asked)}).to_string(),
        (None, false) => sentence(speaker, asked, place),
    };
    // A provider that continues a partial answer says what comes after it, if the beginning is its own.
    let full = match asked.prefill.as_deref().and_then(|prefill| full.strip_prefix(prefill)) {
        Some(rest) => rest.to_owned(),
        None => full,
    };
    let stop = asked
        .stops
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| full.find(stop.as_str()).map(|at| (at, stop)))
        .min_by_key(|(at, _)| *at);
    let (full, mut finish) = match stop {
        Some((at, stop)) => (full.get(..at).unwrap_or_default().to_owned(), Finish::Sequence(stop.clone())),
        None => (full, Finish::Stop),
    };
    let mut text = pieces(&full);
    if let Some(size) = speaker.huge {
        text.insert(0, "mainstay ".repeat(size / 9 + 1));
    }
    let most = asked.max_tokens.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    if text.len() > most {
        text.truncate(most);
        finish = Finish::Length;
    }
    Said { text, calls: Vec::new(), finish }
}

fn quoted(asked: &Asked) -> String {
    asked.last_user.chars().take(QUOTED).collect()
}

fn sentence(speaker: &Speaker<'_>, asked: &Asked, place: usize) -> String {
    let mut sentences = vec![
        format!("This is {} speaking as {}.", speaker.name, asked.model),
        format!("You said: “{}”.", quoted(asked)),
    ];
    for (name, result) in &asked.results {
        let result: String = result.chars().take(QUOTED).collect();
        sentences.push(format!("The tool {name} returned: {result}."));
    }
    for (count, what) in [(asked.images, "image"), (asked.documents, "document"), (asked.sounds, "sound")] {
        if count > 0 {
            sentences.push(format!("I saw {count} {what}{}.", if count == 1 { "" } else { "s" }));
        }
    }
    if place > 0 {
        sentences.push(format!("This is candidate {place}."));
    }
    let mut all = sentences.join(" ");
    let missing = speaker.words.saturating_sub(all.split_whitespace().count());
    for word in FILLER.split_whitespace().cycle().take(missing) {
        all.push(' ');
        all.push_str(word);
    }
    all
}
