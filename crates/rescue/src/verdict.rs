//! Why no join was found.

/// The reason a continuation was not joined; a label of logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// The passage the target was asked to repeat did not come.
    AnchorMissing,
    /// More than one place of what was shown fits what the target sent.
    Ambiguous,
    /// The passage came in other characters: quotes, line ends, accents, words.
    Rephrased,
    /// The target refused or excused itself.
    Refused,
    /// The target began the whole answer again and soon left what was shown.
    RestartedDifferently,
    /// The target says again what has been shown.
    Looping,
    /// The target put words of its own where the answer should have gone on.
    Preamble,
    /// The passage came inside quotes, a code fence or emphasis whose end could not be told from the answer.
    Wrapped,
    /// The white space at the seam is not that which was shown.
    SeamWhitespace,
    /// The target sent nothing (or nothing but white space).
    Empty,
}

impl Verdict {
    /// Every verdict, in the order the documentation lists them.
    pub const ALL: [Self; 10] = [
        Self::AnchorMissing,
        Self::Ambiguous,
        Self::Rephrased,
        Self::Refused,
        Self::RestartedDifferently,
        Self::Looping,
        Self::Preamble,
        Self::Wrapped,
        Self::SeamWhitespace,
        Self::Empty,
    ];

    /// The name logs and metrics write.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnchorMissing => "anchor_missing",
            Self::Ambiguous => "ambiguous",
            Self::Rephrased => "rephrased",
            Self::Refused => "refused",
            Self::RestartedDifferently => "restarted_differently",
            Self::Looping => "looping",
            Self::Preamble => "preamble",
            Self::Wrapped => "wrapped",
            Self::SeamWhitespace => "seam_whitespace",
            Self::Empty => "empty",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
