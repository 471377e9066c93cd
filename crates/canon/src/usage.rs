//! Token counts, normalised.
//!
//! Providers disagree on what includes what (`providers.md` §3.8); decoders add up so that here it is always the same.

/// Tokens of one attempt, or the sum over attempts. `None` = the provider did not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// All prompt tokens, cached ones *included* (Anthropic reports them apart; its decoder sums the three).
    pub input_tokens: Option<u64>,
    /// Of the input: read from a prompt cache.
    pub cached_input_tokens: Option<u64>,
    /// Of the input: written to a prompt cache.
    pub cache_write_tokens: Option<u64>,
    /// All output tokens, reasoning *included* (Gemini and xAI report it apart; their decoders add it).
    pub output_tokens: Option<u64>,
    /// Of the output: reasoning.
    pub reasoning_tokens: Option<u64>,
    /// Of the input: audio.
    pub input_audio_tokens: Option<u64>,
    /// Of the output: audio.
    pub output_audio_tokens: Option<u64>,
}

impl Usage {
    /// Whether the provider said nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Input plus output, as far as known.
    pub fn total(&self) -> u64 {
        self.input_tokens.unwrap_or(0).saturating_add(self.output_tokens.unwrap_or(0))
    }

    /// Takes every figure `later` states over the one held: cumulative reports, last one wins.
    pub fn update(&mut self, later: &Self) {
        let pairs = [
            (&mut self.input_tokens, later.input_tokens),
            (&mut self.cached_input_tokens, later.cached_input_tokens),
            (&mut self.cache_write_tokens, later.cache_write_tokens),
            (&mut self.output_tokens, later.output_tokens),
            (&mut self.reasoning_tokens, later.reasoning_tokens),
            (&mut self.input_audio_tokens, later.input_audio_tokens),
            (&mut self.output_audio_tokens, later.output_audio_tokens),
        ];
        for (held, stated) in pairs {
            if stated.is_some() {
                *held = stated;
            }
        }
    }

    /// Adds another attempt's usage: the caller pays for every attempt that reached a model.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.cached_input_tokens, other.cached_input_tokens),
            (&mut self.cache_write_tokens, other.cache_write_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (&mut self.reasoning_tokens, other.reasoning_tokens),
            (&mut self.input_audio_tokens, other.input_audio_tokens),
            (&mut self.output_audio_tokens, other.output_audio_tokens),
        ];
        for (held, stated) in pairs {
            if let Some(more) = stated {
                *held = Some(held.unwrap_or(0).saturating_add(more));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cumulative_report_replaces_only_what_it_states() {
        let mut usage = Usage { input_tokens: Some(10), output_tokens: Some(1), ..Usage::default() };
        usage.update(&Usage { output_tokens: Some(7), ..Usage::default() });
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(10), Some(7)));
    }

    #[test]
    fn attempts_add_up_and_unknown_stays_unknown() {
        let mut usage = Usage { input_tokens: Some(10), ..Usage::default() };
        usage.add(&Usage { input_tokens: Some(5), ..Usage::default() });
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(15), None));
    }
}
