//! What is wrong with a text, and where.

use std::ops::Range;

/// Bytes of an expression.
pub type Span = Range<usize>;

/// What is wrong with an expression: the place, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The bytes that are to blame.
    pub span: Span,
    /// What was found and what was expected.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(span: &Span, message: impl Into<String>) -> Self {
        Self { span: span.clone(), message: message.into() }
    }
}

/// `name` is unknown: the nearest of `known` if one is near, else all of them.
pub(crate) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    /// More names than this are not helpful to read.
    const SHOWN: usize = 24;
    let near = known.clone().map(|it| (distance(it, name), it)).min().filter(|(edits, _)| *edits <= 2);
    match near {
        Some((_, near)) => format!("did you mean `{near}`?"),
        None => format!("known are {}", known.take(SHOWN).collect::<Vec<_>>().join(", ")),
    }
}

/// Edits between two short names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let up = *cell;
            let best = (diagonal + usize::from(from != *to)).min(up + 1).min(left + 1);
            diagonal = up;
            *cell = best;
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_proposed_and_far_ones_are_listed() {
        let known = ["tokens", "tools"];
        assert_eq!(unknown("token", known.iter().copied()), "did you mean `tokens`?");
        assert_eq!(unknown("elephant", known.iter().copied()), "known are tokens, tools");
    }

    #[test]
    fn edits_are_counted_from_both_ends() {
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "bc"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
