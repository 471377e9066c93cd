//! What a provider does when it is asked to go on with an answer that broke off.
//!
//! There are two ways to ask. The *native* one belongs to the provider: the request ends with the partial answer as an
//! assistant turn, flagged as that provider wants it, or carries a token. The *instructed* one works with any model: a
//! user turn after the partial answer asks to repeat its last characters and to go on. A [`Continues`] says which
//! native way there is, and in which [`Manner`] the model goes on, however it was asked.
//!
//! In one line: `instructed` (the default), `native`, or a manner, with parameters: `native:way=prefix`,
//! `native:way=token,lag=3`, `instructed:refuses_prefill=true`, `loops:way=partial`.

use canon::DialectName;
use std::fmt;
use std::str::FromStr;

/// What a provider does with a partial answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Continues {
    /// How the model goes on.
    pub manner: Manner,
    /// The provider's native way. Without one a trailing assistant turn is what it is for the dialect: a finished turn
    /// for `openai-chat`, a 400 for `anthropic-messages` (from Claude 4.6 on and for unknown models) and `gemini`.
    pub native: Option<NativeWay>,
    /// Natively asked, the partial answer comes first again, as Mistral may do.
    pub repeats_prefix: bool,
    /// Every trailing assistant turn is refused, in the provider's words.
    pub refuses_prefill: bool,
    /// How many events a token lags behind the text it came with.
    pub lag: u32,
}

/// A provider's native way to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NativeWay {
    /// The dialect's usual one: `trailing`, for `gemini` `token`.
    Usual,
    /// The request ends with an assistant turn (Claude up to 4.5, Groq, OpenRouter, Ollama).
    Trailing,
    /// That turn says `prefix: true` (Mistral). Without it: 400, code 3230.
    Prefix,
    /// The same under a path with `beta` in it (DeepSeek). Without the flag it is a finished turn.
    BetaPrefix,
    /// That turn says `partial: true` (Qwen, Moonshot). Without it, it is a finished turn.
    Partial,
    /// The request says `add_generation_prompt: false` and `continue_final_message: true` (vLLM, `llama.cpp`,
    /// `SGLang`).
    FinalMessage,
    /// The same request again with `continuationToken` (Gemini 4).
    Token,
}

impl NativeWay {
    const NAMES: [(&'static str, Self); 7] = [
        ("usual", Self::Usual),
        ("trailing", Self::Trailing),
        ("prefix", Self::Prefix),
        ("beta_prefix", Self::BetaPrefix),
        ("partial", Self::Partial),
        ("continue_final_message", Self::FinalMessage),
        ("token", Self::Token),
    ];

    fn name(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, way)| *way == self).map_or("usual", |(name, _)| name)
    }
}

/// How a model goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    /// As asked: the quoted characters, then exactly what follows.
    #[default]
    Exact,
    /// The whole answer from its beginning.
    Anew,
    /// From one sentence before.
    RepeatsSentence,
    /// The quoted characters in other words.
    RephrasesAnchor,
    /// The whole answer from its beginning, in other words.
    AnewInOtherWords,
    /// `Sure, continuing: ` before it.
    Preface,
    /// `Sure, continuing: ` instead of the quoted characters.
    PrefaceWithoutAnchor,
    /// In another language.
    OtherLanguage,
    /// `I'm sorry, but I can't continue that.`
    Refuses,
    /// The quoted characters again and again.
    Loops,
    /// Some words left out after the quoted characters.
    Skips,
    /// Plain quotes, plain spaces and plain line ends instead of the answer's own.
    Normalises,
}

impl Manner {
    /// Every manner, under its name; [`Manner::Exact`] is `instructed` or `native`.
    pub const NAMES: [(&'static str, Self); 12] = [
        ("instructed", Self::Exact),
        ("anew", Self::Anew),
        ("repeats_sentence", Self::RepeatsSentence),
        ("rephrases_anchor", Self::RephrasesAnchor),
        ("anew_in_other_words", Self::AnewInOtherWords),
        ("preface", Self::Preface),
        ("preface_without_anchor", Self::PrefaceWithoutAnchor),
        ("other_language", Self::OtherLanguage),
        ("refuses", Self::Refuses),
        ("loops", Self::Loops),
        ("skips", Self::Skips),
        ("normalises", Self::Normalises),
    ];
}

impl From<Manner> for Continues {
    fn from(manner: Manner) -> Self {
        Self { manner, ..Self::default() }
    }
}

impl From<NativeWay> for Continues {
    fn from(way: NativeWay) -> Self {
        Self { native: Some(way), ..Self::default() }
    }
}

impl Continues {
    /// Goes on as asked by an instruction; has no native way.
    pub fn instructed() -> Self {
        Self::default()
    }

    /// Goes on exactly, in the dialect's usual native way too.
    pub fn native() -> Self {
        NativeWay::Usual.into()
    }

    /// With the partial answer first.
    pub fn repeating_prefix(self) -> Self {
        Self { repeats_prefix: true, ..self }
    }

    /// With a 400 for every trailing assistant turn.
    pub fn refusing_prefill(self) -> Self {
        Self { refuses_prefill: true, ..self }
    }

    /// The native way, [`NativeWay::Usual`] resolved.
    pub(crate) fn way(self, dialect: DialectName) -> Option<NativeWay> {
        match (self.native?, dialect) {
            (NativeWay::Usual, DialectName::Gemini) => Some(NativeWay::Token),
            (NativeWay::Usual, DialectName::OpenaiChat | DialectName::AnthropicMessages) => Some(NativeWay::Trailing),
            (way, _) => Some(way),
        }
    }

    fn with(self, key: &str, value: &str) -> Result<Self, String> {
        let flag = || match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("`{key}={value}`: expected true or false")),
        };
        Ok(match key {
            "way" => {
                let known: Vec<&str> = NativeWay::NAMES.into_iter().map(|(name, _)| name).collect();
                let way = NativeWay::NAMES.into_iter().find(|(name, _)| *name == value);
                let (_, way) = way.ok_or_else(|| format!("`way={value}`: expected one of {}", known.join(", ")))?;
                Self { native: Some(way), ..self }
            }
            "repeats_prefix" => Self { repeats_prefix: flag()?, ..self },
            "refuses_prefill" => Self { refuses_prefill: flag()?, ..self },
            "lag" => {
                let lag = value.parse().map_err(|_| format!("`lag={value}`: expected a whole number"))?;
                Self { lag, ..self }
            }
            _ => return Err(format!("no parameter `{key}`: expected way, repeats_prefix, refuses_prefill or lag")),
        })
    }
}

impl FromStr for Continues {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, parameters) = text.trim().split_once(':').unwrap_or((text.trim(), ""));
        let begun = if name == "native" {
            Self::native()
        } else {
            let manner = Manner::NAMES.into_iter().find(|(known, _)| *known == name);
            let (_, manner) = manner.ok_or_else(|| {
                let known: Vec<&str> = Manner::NAMES.into_iter().map(|(name, _)| name).collect();
                format!("unknown way to go on `{name}`: expected native or one of {}", known.join(", "))
            })?;
            manner.into()
        };
        parameters.split(',').filter(|pair| !pair.trim().is_empty()).try_fold(begun, |begun, pair| {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("`{pair}` in `{text}`: expected key=value"))?;
            begun.with(key.trim(), value.trim())
        })
    }
}

impl fmt::Display for Continues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_native = self.manner == Manner::Exact && self.native.is_some();
        let manner = Manner::NAMES.into_iter().find(|(_, manner)| *manner == self.manner);
        f.write_str(if is_native { "native" } else { manner.map_or("instructed", |(name, _)| name) })?;
        let way =
            self.native.filter(|way| !is_native || *way != NativeWay::Usual).map(|way| ("way", way.name().to_owned()));
        let flag = |is_set: bool, name| is_set.then(|| (name, "true".to_owned()));
        let all = [
            way,
            flag(self.repeats_prefix, "repeats_prefix"),
            flag(self.refuses_prefill, "refuses_prefill"),
            (self.lag > 0).then(|| ("lag", self.lag.to_string())),
        ];
        for (place, (key, value)) in all.into_iter().flatten().enumerate() {
            write!(f, "{}{key}={value}", if place == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

impl serde::Serialize for Continues {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Continues {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_reads_back_from_its_one_line_form() {
        for (_, manner) in Manner::NAMES {
            for way in NativeWay::NAMES.into_iter().map(|(_, way)| Some(way)).chain([None]) {
                for (repeats_prefix, refuses_prefill, lag) in [(false, false, 0), (true, false, 0), (false, true, 4)] {
                    let continues = Continues { manner, native: way, repeats_prefix, refuses_prefill, lag };
                    assert_eq!(continues.to_string().parse(), Ok(continues), "{continues}");
                }
            }
        }
        assert_eq!(Continues::default().to_string(), "instructed");
        assert_eq!("native:way=prefix".parse(), Ok(Continues::from(NativeWay::Prefix)));
    }

    #[test]
    fn a_mistake_names_what_was_expected() {
        for text in ["sometimes", "native:way=back", "native:soon", "loops:lag=x", "anew:refuses_prefill=1", "anew:x=1"]
        {
            assert!(text.parse::<Continues>().unwrap_err().contains("expected"), "{text}");
        }
    }
}
