//! The caller's stop sequences, across the seam.
//!
//! A provider sees a stop sequence only in what it writes itself. If the beginning of one was shown before the cut and
//! the rest of it is what the continuation begins with, nobody but the gateway sees it, and the answer must end there.
//!
//! The text of a stop sequence is not shown, as providers do it: text that may turn out to be the beginning of one is
//! held. What of it had been shown before the cut cannot be taken back; nothing is added to it.

use crate::text::{find, from, overlap, until};

/// Looks for stop sequences in released text.
#[derive(Debug, Clone)]
pub struct StopSpan {
    stops: Vec<String>,
    /// Text that may be the beginning of a stop sequence, and before it what the last call gave out.
    buffer: String,
    /// Bytes at the start of the buffer that the last call gave out.
    given: usize,
    /// Bytes at the start of the buffer, after those, that were shown before the cut.
    shown: usize,
    hit: Option<usize>,
}

/// What may be shown now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped<'a> {
    /// Show this; may be empty.
    pub text: &'a str,
    /// The stop sequence that was hit: the answer ends after `text`, and what comes later is not part of it.
    pub stop: Option<&'a str>,
}

impl StopSpan {
    /// For the caller's stop sequences; `shown` is what the caller has, all of it.
    pub fn new(stops: &[String], shown: &str) -> Self {
        let stops: Vec<String> = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        let begun = from(shown, shown.len() - begun(&stops, shown)).to_owned();
        Self { stops, given: 0, shown: begun.len(), buffer: begun, hit: None }
    }

    /// Takes text that the join released.
    pub fn push<'a>(&'a mut self, text: &'a str) -> Stopped<'a> {
        if self.stops.is_empty() {
            return Stopped { text, stop: None };
        }
        if let Some(hit) = self.hit {
            return Stopped { text: "", stop: self.stops.get(hit).map(String::as_str) };
        }
        self.buffer.drain(..self.given);
        self.given = 0;
        self.buffer.push_str(text);
        let ends = self
            .stops
            .iter()
            .enumerate()
            .filter_map(|(index, stop)| find(&self.buffer, stop, 0).map(|at| (at + stop.len(), index, at)));
        if let Some((_, index, at)) = ends.min() {
            self.hit = Some(index);
            let text = self.buffer.get(self.shown..at).unwrap_or_default();
            return Stopped { text, stop: self.stops.get(index).map(String::as_str) };
        }
        let certain = self.buffer.len() - begun(&self.stops, &self.buffer);
        if certain <= self.shown {
            self.buffer.drain(..certain);
            self.shown -= certain;
            return Stopped { text: "", stop: None };
        }
        let after_shown = std::mem::take(&mut self.shown);
        self.given = certain;
        Stopped { text: self.buffer.get(after_shown..certain).unwrap_or_default(), stop: None }
    }

    /// The answer has ended otherwise: what was held is no stop sequence.
    pub fn finish(&mut self) -> &str {
        if self.hit.is_some() {
            return "";
        }
        self.buffer.drain(..self.given);
        self.given = self.buffer.len();
        let after_shown = std::mem::take(&mut self.shown);
        from(&self.buffer, after_shown)
    }
}

/// Bytes at the end of `text` that may be the beginning of a stop sequence.
fn begun(stops: &[String], text: &str) -> usize {
    let all_but_last = |stop: &str| stop.char_indices().next_back().map_or(0, |(at, _)| at);
    stops.iter().map(|stop| overlap(text, until(stop, all_but_last(stop)))).max().unwrap_or(0)
}

#[cfg(test)]
#[expect(clippy::string_slice, reason = "tests cut at places they know")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `text` in the given pieces; what is shown, and the stop sequence that was hit.
    fn run(stops: &[&str], shown: &str, pieces: &[&str]) -> (String, Option<String>) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut span = StopSpan::new(&stops, shown);
        let mut out = String::new();
        for piece in pieces {
            let stopped = span.push(piece);
            out.push_str(stopped.text);
            if let Some(stop) = stopped.stop {
                return (out, Some(stop.to_owned()));
            }
        }
        out.push_str(span.finish());
        (out, None)
    }

    #[test]
    fn a_stop_sequence_across_the_seam_ends_the_answer() {
        assert_eq!(run(&["END"], "the E", &["N", "D and more"]), (String::new(), Some("END".to_owned())));
        assert_eq!(run(&["END"], "the E", &["N", "E and more"]), ("NE and more".to_owned(), None));
    }

    #[test]
    fn a_stop_sequence_after_the_seam_ends_it_too_and_is_not_shown() {
        assert_eq!(run(&["\n\n"], "x", &["a\n", "b", "\n", "\nc"]), ("a\nb".to_owned(), Some("\n\n".to_owned())));
    }

    #[test]
    fn held_text_is_shown_at_the_end() {
        assert_eq!(run(&["END"], "E", &["N"]), ("N".to_owned(), None));
        assert_eq!(run(&["END"], "", &["some EN"]), ("some EN".to_owned(), None));
    }

    #[test]
    fn without_stop_sequences_everything_passes() {
        assert_eq!(run(&[], "E", &["ND", ""]), ("ND".to_owned(), None));
        assert_eq!(run(&[""], "E", &["ND"]), ("ND".to_owned(), None));
    }

    proptest! {
        #[test]
        fn any_chunking_shows_what_a_provider_would_have_shown(
            text in "[ab€]{0,24}", cut in 0usize..24, stops in prop::collection::vec("[ab€]{1,4}", 0..3),
            sizes in prop::collection::vec(1usize..4, 24),
        ) {
            let characters: Vec<char> = text.chars().collect();
            let cut = cut.min(characters.len());
            let shown: String = characters[..cut].iter().collect();
            // A provider would have ended the first part itself.
            prop_assume!(stops.iter().all(|stop| !shown.contains(stop.as_str())));
            // What the answer is without a cut: up to the stop sequence that is complete first.
            let end = (1..=text.len()).filter(|at| text.is_char_boundary(*at)).find_map(|at| {
                let hits = stops.iter().filter(|stop| text[..at].ends_with(stop.as_str()));
                hits.map(|stop| at - stop.len()).next()
            });
            let expected = text[..end.unwrap_or(text.len())].to_owned();
            let mut pieces = Vec::new();
            let mut rest = &characters[cut..];
            for size in sizes {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                pieces.push(piece.iter().collect::<String>());
                rest = after;
            }
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (out, hit) = run(&stops, &shown, &pieces);
            let joined = format!("{shown}{out}");
            prop_assert_eq!(hit.is_some(), end.is_some());
            prop_assert!(joined == expected || (joined == shown && shown.starts_with(&expected)), "{} {}", joined, expected);
        }
    }
}
