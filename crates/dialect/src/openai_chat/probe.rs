//! Values of a frame as the sniffer reads them: whether they say anything, and text as it stands.
//!
//! Every reader here takes any JSON value: what a provider puts where nobody expects it is no reason to lose the frame.

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A value, as far as the gate cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Probe {
    /// Absent, null, `false`, 0, `""`, `[]`, or an object of such: some servers fill in every field they know.
    #[default]
    Nothing,
    /// Text, a number, an object that says something.
    Something,
    /// A list with something in it.
    List,
}

/// The content of a delta, of which only text is kept.
#[derive(Debug, Default)]
pub(super) enum Said<'a> {
    /// Absent, or a value that says nothing.
    #[default]
    Nothing,
    /// Text that is not empty.
    Text(Cow<'a, str>),
    /// A number, or an object that says something.
    Something,
    /// A list with something in it.
    List,
}

/// A string, borrowed where it holds no escapes; anything else is no word.
#[derive(Debug, Default)]
pub(super) struct Word<'a>(pub(super) Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Probe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ProbeVisitor)
    }
}

struct ProbeVisitor;

impl<'de> Visitor<'de> for ProbeVisitor {
    type Value = Probe;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Probe, E> {
        Ok(Probe::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Probe, E> {
        Ok(if value { Probe::Something } else { Probe::Nothing })
    }

    fn visit_u64<E>(self, number: u64) -> Result<Probe, E> {
        Ok(if number == 0 { Probe::Nothing } else { Probe::Something })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Probe, E> {
        Ok(Probe::Something)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Probe, E> {
        Ok(Probe::Something)
    }

    fn visit_str<E>(self, text: &str) -> Result<Probe, E> {
        Ok(if text.is_empty() { Probe::Nothing } else { Probe::Something })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Probe, A::Error> {
        let mut probe = Probe::Nothing;
        while list.next_element::<IgnoredAny>()?.is_some() {
            probe = Probe::List;
        }
        Ok(probe)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Probe, A::Error> {
        let mut probe = Probe::Nothing;
        while let Some((_, value)) = map.next_entry::<IgnoredAny, Self::Value>()? {
            if value != Probe::Nothing {
                probe = Probe::Something;
            }
        }
        Ok(probe)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Said<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SaidVisitor)
    }
}

impl From<Probe> for Said<'_> {
    fn from(probe: Probe) -> Self {
        match probe {
            Probe::Nothing => Self::Nothing,
            Probe::Something => Self::Something,
            Probe::List => Self::List,
        }
    }
}

/// As the probe, but text is kept.
struct SaidVisitor;

impl<'de> Visitor<'de> for SaidVisitor {
    type Value = Said<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        ProbeVisitor.expecting(formatter)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(if text.is_empty() { Said::Nothing } else { Said::Text(Cow::Borrowed(text)) })
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(if text.is_empty() { Said::Nothing } else { Said::Text(Cow::Owned(text.to_owned())) })
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        ProbeVisitor.visit_unit().map(Said::from)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        ProbeVisitor.visit_bool(value).map(Said::from)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        ProbeVisitor.visit_u64(number).map(Said::from)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        ProbeVisitor.visit_i64(number).map(Said::from)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        ProbeVisitor.visit_f64(number).map(Said::from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        ProbeVisitor.visit_seq(list).map(Said::from)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        ProbeVisitor.visit_map(map).map(Said::from)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor).map(Word)
    }
}

struct WordVisitor;

impl<'de> Visitor<'de> for WordVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}
