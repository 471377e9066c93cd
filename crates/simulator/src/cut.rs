//! Where exactly an answer breaks off, and how.
//!
//! A [`Cut`] counts what the client gets, not what the provider does: bytes of the body, or bytes or characters of the
//! answer's text, of its reasoning or of the arguments of its tool calls, all calls together. With `event=whole` the
//! event that holds the last byte is ended there, so that a client that reads whole events has exactly so much; with
//! `event=torn` the event is left without its end. A count within a character leaves its first bytes in an event that
//! is never ended, in both. An answer shorter than the count is not cut.

use std::fmt;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutPoint {
    /// Content events (text and tool calls).
    Events(u32),
    /// Bytes of the body as it goes over the wire.
    Wire(u32),
    /// The answer's text, unescaped.
    Text(Count),
    /// The reasoning's text, unescaped.
    Reasoning(Count),
    /// The JSON text of the arguments of tool calls; where the dialect sends it as an object, that object as written.
    Arguments(Count),
}

/// A position in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// After so many bytes of UTF-8, also within a character.
    Bytes(u32),
    /// After so many characters.
    Characters(u32),
}

impl Count {
    /// Where the cut falls in `text`, which begins after `bytes` and `characters` of its kind; `None` = later.
    pub(crate) fn within(self, text: &str, bytes: usize, characters: usize) -> Option<usize> {
        match self {
            Self::Bytes(count) => {
                let at = (count as usize).saturating_sub(bytes);
                (at <= text.len()).then_some(at)
            }
            Self::Characters(count) => {
                let at = (count as usize).saturating_sub(characters);
                text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(at)
            }
        }
    }
}

/// What happens at the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutBy {
    /// The connection closes in the middle of the body (HTTP/2: the stream is reset).
    Drop,
    /// The connection is reset: RST (HTTP/2: as `Drop`).
    Reset,
    /// The body ends in good order, as if nothing were missing.
    Close,
    /// Silence, with the connection open.
    Hang,
    /// The dialect's error event, and the end.
    Error,
    /// No cut: tokens come at half the pace from there on.
    Slow,
}

impl CutBy {
    /// Every way, under its name.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("drop", Self::Drop),
        ("reset", Self::Reset),
        ("close", Self::Close),
        ("hang", Self::Hang),
        ("error", Self::Error),
        ("slow", Self::Slow),
    ];
}

impl fmt::Display for CutBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES.into_iter().find(|(_, by)| by == self).map_or("drop", |(name, _)| name))
    }
}

/// An answer that breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Where.
    pub at: CutPoint,
    /// How.
    pub by: CutBy,
    /// The event that holds the last byte is left without its end.
    pub torn: bool,
}

impl Cut {
    /// The connection closes after so many content events.
    pub const fn events(after: u32) -> Self {
        Self { at: CutPoint::Events(after), by: CutBy::Drop, torn: false }
    }

    /// After so many bytes of the body.
    pub const fn wire(bytes: u32) -> Self {
        Self { at: CutPoint::Wire(bytes), ..Self::events(0) }
    }

    /// After so many bytes of the answer's text.
    pub const fn text(bytes: u32) -> Self {
        Self { at: CutPoint::Text(Count::Bytes(bytes)), ..Self::events(0) }
    }

    /// After so many bytes of the reasoning.
    pub const fn reasoning(bytes: u32) -> Self {
        Self { at: CutPoint::Reasoning(Count::Bytes(bytes)), ..Self::events(0) }
    }

    /// After so many bytes of tool-call arguments.
    pub const fn arguments(bytes: u32) -> Self {
        Self { at: CutPoint::Arguments(Count::Bytes(bytes)), ..Self::events(0) }
    }

    /// In this way.
    pub const fn by(self, by: CutBy) -> Self {
        Self { by, ..self }
    }

    /// With the event that holds the last byte left without its end.
    pub const fn torn(self) -> Self {
        Self { torn: true, ..self }
    }

    pub(crate) fn name(self) -> &'static str {
        match self.at {
            CutPoint::Events(_) => "cut_mid_text",
            CutPoint::Wire(_) => "cut_after_wire",
            CutPoint::Text(_) => "cut_after_text",
            CutPoint::Reasoning(_) => "cut_after_reasoning",
            CutPoint::Arguments(_) => "cut_after_arguments",
        }
    }

    pub(crate) fn with(self, key: &str, value: &str) -> Result<Self, String> {
        let count = || value.parse::<u32>().map_err(|_| format!("`{key}={value}`: expected a whole number"));
        let at = match (self.at, key) {
            (_, "by") => {
                let named = CutBy::NAMES.into_iter().find(|(name, _)| *name == value);
                let (_, by) =
                    named.ok_or_else(|| format!("`by={value}`: expected drop, reset, close, hang, error or slow"))?;
                return Ok(self.by(by));
            }
            (at, "event") if !matches!(at, CutPoint::Events(_) | CutPoint::Wire(_)) => {
                let torn = match value {
                    "whole" => false,
                    "torn" => true,
                    _ => return Err(format!("`event={value}`: expected whole or torn")),
                };
                return Ok(Self { torn, ..self });
            }
            (CutPoint::Events(_), "after") => CutPoint::Events(count()?),
            (CutPoint::Wire(_), "bytes") => CutPoint::Wire(count()?),
            (CutPoint::Text(_), "bytes") => CutPoint::Text(Count::Bytes(count()?)),
            (CutPoint::Text(_), "characters") => CutPoint::Text(Count::Characters(count()?)),
            (CutPoint::Reasoning(_), "bytes") => CutPoint::Reasoning(Count::Bytes(count()?)),
            (CutPoint::Reasoning(_), "characters") => CutPoint::Reasoning(Count::Characters(count()?)),
            (CutPoint::Arguments(_), "bytes") => CutPoint::Arguments(Count::Bytes(count()?)),
            (CutPoint::Arguments(_), "characters") => CutPoint::Arguments(Count::Characters(count()?)),
            _ => return Err(format!("`{}` has no parameter `{key}`", self.name())),
        };
        Ok(Self { at, ..self })
    }

    pub(crate) fn parameters(self) -> Vec<(&'static str, String)> {
        let (key, count) = match self.at {
            CutPoint::Events(count) => ("after", count),
            CutPoint::Wire(count) => ("bytes", count),
            CutPoint::Text(count) | CutPoint::Reasoning(count) | CutPoint::Arguments(count) => match count {
                Count::Bytes(count) => ("bytes", count),
                Count::Characters(count) => ("characters", count),
            },
        };
        let mut all = vec![(key, count.to_string())];
        if self.by != CutBy::Drop {
            all.push(("by", self.by.to_string()));
        }
        if self.torn {
            all.push(("event", "torn".to_owned()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_finds_its_place_in_any_piece_of_the_text() {
        let bytes = |count, before| Count::Bytes(count).within("aé漢", before, 0);
        assert_eq!([bytes(0, 0), bytes(2, 0), bytes(6, 0), bytes(7, 0)], [Some(0), Some(2), Some(6), None]);
        assert_eq!([bytes(5, 5), bytes(3, 5), bytes(12, 5)], [Some(0), Some(0), None]);
        let characters = |count, before| Count::Characters(count).within("aé漢", 0, before);
        assert_eq!(
            [characters(0, 0), characters(2, 0), characters(3, 0), characters(4, 0)],
            [Some(0), Some(3), Some(6), None]
        );
        assert_eq!(characters(6, 5), Some(1));
    }
}
