//! What a simulated model says. The same seed, provider and request give the same answer, streamed or not.
//!
//! An answer is made for the *prompt*: a request to go on with a partial answer is one for the prompt before it, whose
//! answer is then gone on with in the provider's manner.

use crate::continues::Continues;
use crate::going_on;
use crate::schema::{example, pieces};
use crate::script::{Answer, Chunks, Piece, Words};
use crate::wire::{Asked, Choice, Offered};
use crate::words;
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
    /// The JSON text of the arguments, in pieces.
    pub(crate) fragments: Vec<Piece>,
}

impl Call {
    /// Tokens of its name and id.
    pub(crate) const HEAD: u32 = 2;

    pub(crate) fn tokens(&self) -> u32 {
        self.fragments.iter().map(|piece| piece.tokens).sum::<u32>() + Self::HEAD
    }
}

/// One candidate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    /// In pieces; one piece is one event.
    pub(crate) text: Vec<Piece>,
    pub(crate) calls: Vec<Call>,
    pub(crate) finish: Finish,
    /// Bytes of the prompt's whole answer that come before this text: not 0 when it was gone on with.
    pub(crate) begins_at: usize,
}

impl Said {
    pub(crate) fn whole_text(&self) -> String {
        joined(&self.text)
    }

    fn tokens(&self) -> u64 {
        let text: u64 = self.text.iter().map(|piece| u64::from(piece.tokens)).sum();
        text + self.calls.iter().map(|call| u64::from(call.tokens())).sum::<u64>()
    }
}

/// Pieces as one text.
pub(crate) fn joined(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    /// Unique letters and digits for this answer.
    pub(crate) id: String,
    /// In pieces.
    pub(crate) reasoning: Vec<Piece>,
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
        self.reasoning.iter().map(|piece| u64::from(piece.tokens)).sum()
    }

    /// Bytes of text in all candidates.
    pub(crate) fn text_bytes(&self) -> usize {
        self.said.iter().flat_map(|said| &said.text).map(|piece| piece.text.len()).sum()
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
    /// What it is told to say.
    pub(crate) answer: &'a Answer,
    /// How it goes on.
    pub(crate) continues: Continues,
}

impl Speaker<'_> {
    fn chunks(&self, text: &str) -> Vec<Piece> {
        self.answer.chunks.of(text, self.seed)
    }
}

/// The answer to a request whose body is `body`.
pub(crate) fn reply(speaker: &Speaker<'_>, asked: &Asked, body: &[u8]) -> Reply {
    let id = unique(speaker, body, 0);
    let prompt_tokens = body.len() as u64 / 4 + 1;
    let said = match made_up_calls(speaker, asked, body) {
        calls if calls.is_empty() => {
            (0..asked.candidates.max(1)).map(|place| text(speaker, asked, place, body)).collect()
        }
        calls => vec![Said { text: Vec::new(), calls, finish: Finish::Calls, begins_at: 0 }],
    };
    let reasoning = match &speaker.answer.reasoning {
        // A model that goes on natively is past its reasoning.
        _ if asked.going_on.as_ref().is_some_and(going_on::GoingOn::is_native) => Vec::new(),
        Some(reasoning) => speaker.chunks(reasoning),
        None if asked.reasoning => speaker.chunks("Let me think. The user wants an answer, so I shall give one. "),
        None => Vec::new(),
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

fn call(speaker: &Speaker<'_>, name: &str, arguments: Value, id: String) -> Call {
    let fragments = speaker.chunks(&arguments.to_string());
    Call { id, name: name.to_owned(), arguments, fragments }
}

/// The calls of the script, which come after its text.
fn scripted_calls(speaker: &Speaker<'_>, body: &[u8]) -> Vec<Call> {
    let all = speaker.answer.calls.iter().enumerate();
    all.map(|(place, scripted)| {
        call(speaker, &scripted.name, scripted.arguments.clone(), unique(speaker, body, place + 1))
    })
    .collect()
}

fn made_up_calls(speaker: &Speaker<'_>, asked: &Asked, body: &[u8]) -> Vec<Call> {
    if speaker.answer.text.is_some() || asked.going_on.is_some() {
        return Vec::new();
    }
    if !speaker.answer.calls.is_empty() {
        return scripted_calls(speaker, body);
    }
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
        .map(|(place, tool)| {
            let mut arguments = example(&tool.schema, place);
            words::score(&mut arguments, &speaker.answer.scores);
            call(speaker, &tool.name, arguments, unique(speaker, body, place + 1))
        })
        .collect()
}

fn text(speaker: &Speaker<'_>, asked: &Asked, place: usize, body: &[u8]) -> Said {
    let reference = reference(speaker, asked, place);
    let (full, begins_at, spent) = match &asked.going_on {
        Some(going_on) => {
            let (full, begins_at) = going_on.said(speaker.continues, &reference);
            (full, begins_at, going_on.spent(&reference, begins_at))
        }
        None => (reference, 0, 0),
    };
    let stop = asked
        .stops
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| full.find(stop.as_str()).map(|at| (at, stop)))
        .min_by_key(|(at, _)| *at);
    let (mut full, mut finish) = match stop {
        Some((at, stop)) => (full.get(..at).unwrap_or_default().to_owned(), Finish::Sequence(stop.clone())),
        None => (full, Finish::Stop),
    };
    let huge = speaker.huge.map(|size| Piece { text: "mainstay ".repeat(size / 9 + 1), tokens: 1 });
    let most = asked.max_tokens.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let most = most.saturating_sub(usize::from(huge.is_some()) + spent);
    let tokens = pieces(&full);
    if tokens.len() > most {
        full = tokens.into_iter().take(most).collect();
        finish = Finish::Length;
    }
    let calls = if finish == Finish::Stop { scripted_calls(speaker, body) } else { Vec::new() };
    if !calls.is_empty() {
        finish = Finish::Calls;
    }
    let chunks = if huge.is_some() { Chunks::Words.of(&full, speaker.seed) } else { speaker.chunks(&full) };
    Said { text: huge.into_iter().chain(chunks).collect(), calls, finish, begins_at }
}

/// The whole answer to the prompt, whoever began it.
fn reference(speaker: &Speaker<'_>, asked: &Asked, place: usize) -> String {
    if let Some(text) = &speaker.answer.text {
        return text.clone();
    }
    let scores = &speaker.answer.scores;
    let is_scoring = words::is_scoring(asked, scores);
    match (&asked.schema, asked.json) {
        (Some(schema), _) => {
            let mut value = example(schema, place);
            words::score(&mut value, scores);
            value.to_string()
        }
        (None, _) if is_scoring => json!(scores).to_string(),
        (None, true) if speaker.answer.words == Words::Prompt => json!({"answer": quoted(asked)}).to_string(),
        (None, true) => json!({"provider": speaker.name, "model": asked.model, "answer": quoted(asked)}).to_string(),
        (None, false) => sentence(speaker, asked, place),
    }
}

fn quoted(asked: &Asked) -> String {
    asked.last_user.chars().take(QUOTED).collect()
}

fn sentence(speaker: &Speaker<'_>, asked: &Asked, place: usize) -> String {
    let mut sentences = match speaker.answer.words {
        Words::Own => vec![format!("This is {} speaking as {}.", speaker.name, asked.model)],
        Words::Prompt => vec!["This is an answer that depends on its prompt alone.".to_owned()],
    };
    sentences.push(format!("You said: “{}”.", quoted(asked)));
    match speaker.answer.words {
        Words::Own => {
            for (name, result) in &asked.results {
                let result: String = result.chars().take(QUOTED).collect();
                sentences.push(format!("The tool {name} returned: {result}."));
            }
        }
        // Ids of calls and the form of their results change with the dialect.
        Words::Prompt if !asked.results.is_empty() => sentences.push("A tool has answered.".to_owned()),
        Words::Prompt => {}
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
    match speaker.answer.words {
        Words::Own => {
            for word in FILLER.split_whitespace().cycle().take(missing) {
                all.push(' ');
                all.push_str(word);
            }
        }
        Words::Prompt => words::ramble(&mut all, missing, &asked.last_user),
    }
    all
}
