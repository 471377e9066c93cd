//! What the tests share: a driver that plays the gateway's part, and the continuers, which read the request as a model
//! does and know nothing of how text is joined.

use canon::{Continues, Message, Part, Request, Role};
use rescue::{Asked, Join, Means, Step, Verdict, ask};
use std::sync::Arc;

/// How a rescue ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This was released after what had been shown.
    Joined(String),
    /// Nothing was.
    No(Verdict),
}

/// Feeds `sent` in pieces of these many characters, over and over.
pub(crate) fn feed(shown: &str, ask: &rescue::Ask, sent: &str, sizes: &[usize]) -> Outcome {
    let mut join = Join::new(Arc::from(shown), ask.mode);
    let mut out = String::new();
    let mut rest = sent;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let at = rest.char_indices().nth((*size).max(1)).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(at);
        rest = after;
        match join.push(piece) {
            Step::Held => {}
            Step::Release(text) => out.push_str(text),
            Step::NoJoin(verdict) => {
                assert_eq!(out, "", "text was released and then refused");
                return Outcome::No(verdict);
            }
        }
    }
    match join.finish() {
        Step::Held => panic!("held at the end"),
        Step::Release(text) => Outcome::Joined(out + text),
        Step::NoJoin(verdict) => {
            assert_eq!(out, "", "text was released and then refused");
            Outcome::No(verdict)
        }
    }
}

/// The caller's request.
pub(crate) fn question() -> Request {
    let turn = Message { role: Role::User, parts: vec![Part::text("Tell me all about it.")], name: None };
    Request { model: "any".to_owned(), messages: vec![turn], stream: true, ..Request::default() }
}

/// The request that goes on with `shown`.
pub(crate) fn asked(shown: &str, means: Means<'_>) -> rescue::Ask {
    match ask(&question(), shown, means, None) {
        Asked::Ask(ask) => *ask,
        Asked::LengthReached => panic!("there is no cap"),
    }
}

/// What a model reads in the request.
#[derive(Debug)]
pub(crate) struct Read {
    /// The request goes on natively from this text.
    pub(crate) prefill: Option<String>,
    /// The characters it is asked to begin with.
    pub(crate) quote: String,
    /// There is a partial answer among the turns.
    pub(crate) partial: bool,
}

/// Reads a request as a model does.
pub(crate) fn read(request: &Request) -> Read {
    let text = |message: &Message| -> String {
        message.parts.iter().map(|part| if let Part::Text { text, .. } = part { text.as_str() } else { "" }).collect()
    };
    let last = request.messages.last().unwrap();
    if request.continues == Some(Continues::Prefill) {
        assert_eq!(last.role, Role::Assistant);
        return Read { prefill: Some(text(last)), quote: String::new(), partial: true };
    }
    assert_eq!(last.role, Role::User);
    let quoted = |message: &Message| {
        let words = text(message);
        let (_, after) = words.split_once("\n\n<")?;
        let (tag, after) = after.split_once('>')?;
        after.strip_suffix(&format!("</{tag}>")).map(str::to_owned)
    };
    let quote = request.messages.iter().rev().find_map(quoted).expect("an instruction");
    Read { prefill: None, quote, partial: request.messages.iter().any(|turn| turn.role == Role::Assistant) }
}

/// A model that means to say `reference` and does so whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Faithful {
    /// Natively it goes on, else it repeats what it is asked to and goes on.
    Exactly,
    /// Natively it says again what it was given first.
    RepeatsPrefix,
    /// It says the whole answer.
    Anew,
}

impl Faithful {
    pub(crate) const ALL: [Self; 3] = [Self::Exactly, Self::RepeatsPrefix, Self::Anew];

    /// What it sends; `cut` is the byte of the reference up to which the caller has it.
    pub(crate) fn says(self, reference: &str, cut: usize, request: &Request) -> String {
        let read = read(request);
        let (_, rest) = reference.split_at(cut);
        match (self, read.prefill) {
            (Self::Anew, _) => reference.to_owned(),
            (Self::Exactly, Some(given)) => reference.strip_prefix(&given).unwrap().to_owned(),
            (Self::RepeatsPrefix, Some(given)) => format!("{given}{}", reference.strip_prefix(&given).unwrap()),
            (Self::Exactly | Self::RepeatsPrefix, None) => format!("{}{rest}", read.quote),
        }
    }
}

/// Every place between two characters, both ends included; the first is after the first character.
pub(crate) fn cuts(text: &str) -> impl Iterator<Item = usize> + '_ {
    text.char_indices().skip(1).map(|(at, _)| at).chain([text.len()])
}
