//! Prompt sizes, in the classes within which latencies are alike.

/// Upper ends in tokens, the last class aside.
const ENDS: [u64; PromptSize::CLASSES - 1] = [1_000, 8_000, 32_000, 128_000];

/// A class of prompt sizes: below 1k, 8k, 32k, 128k tokens, and above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PromptSize(u8);

impl PromptSize {
    pub(crate) const CLASSES: usize = 5;
    /// Bits that hold one.
    pub(crate) const BITS: u32 = 3;

    /// The class of a prompt of so many tokens.
    pub(crate) fn of(tokens: u64) -> Self {
        Self::of_index(ENDS.iter().filter(|end| tokens >= **end).count() as u64)
    }

    /// From the lowest bits of a word.
    pub(crate) fn of_index(word: u64) -> Self {
        let index = (word % (1 << Self::BITS)).min(Self::CLASSES as u64 - 1);
        Self(u8::try_from(index).unwrap_or(0))
    }

    /// From the smallest on.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..Self::CLASSES as u64).map(Self::of_index)
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_begin_where_the_one_before_ends() {
        let class = |tokens| PromptSize::of(tokens).index();
        assert_eq!([class(0), class(999), class(1_000), class(7_999), class(8_000)], [0, 0, 1, 1, 2]);
        assert_eq!([class(31_999), class(32_000), class(127_999), class(128_000), class(u64::MAX)], [2, 3, 3, 4, 4]);
        assert_eq!(PromptSize::of_index(7).index(), 4);
    }
}
