//! How much text, and which: a length and a hash that join as the texts do.
//!
//! The hash is a polynomial over the field of 2⁶¹ − 1. Two tallies give the tally of their texts joined, so a checker
//! can prove that what a caller received is exactly the segments of a ledger, in order, without seeing any text. It
//! guards against mistakes, not against an adversary, and a short text can be guessed from it.

use serde::{Deserialize, Serialize};

/// 2⁶¹ − 1, a Mersenne prime: reduction is a shift and an addition.
const PRIME: u64 = (1 << 61) - 1;
/// Any large number below the prime; fixed, so that logs of different processes can be compared.
const BASE: u64 = 0x1b87_3593_cc9e_2d51 % PRIME;

/// Length in bytes and hash of a text. Written as `[bytes, hash]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Tally {
    /// Bytes.
    pub bytes: u64,
    hash: u64,
}

impl Tally {
    /// The tally of nothing.
    pub const EMPTY: Self = Self { bytes: 0, hash: 0 };

    /// The tally of a text.
    pub fn of(text: impl AsRef<[u8]>) -> Self {
        let mut tally = Self::EMPTY;
        tally.add(text);
        tally
    }

    /// Counts more text behind what was counted.
    pub fn add(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        // One more than the byte, so that zeros at the front count too.
        self.hash = text.iter().fold(self.hash, |hash, byte| plus(times(hash, BASE), u64::from(*byte) + 1));
        self.bytes += text.len() as u64;
    }

    /// The tally of this text followed by the other.
    pub fn then(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            hash: plus(times(self.hash, power(other.bytes)), other.hash),
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(self) -> bool {
        self.bytes == 0
    }
}

impl From<(u64, u64)> for Tally {
    fn from((bytes, hash): (u64, u64)) -> Self {
        Self { bytes, hash: hash % PRIME }
    }
}

impl From<Tally> for (u64, u64) {
    fn from(tally: Tally) -> Self {
        (tally.bytes, tally.hash)
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes ({:015x})", self.bytes, self.hash)
    }
}

fn plus(a: u64, b: u64) -> u64 {
    let sum = a + b;
    if sum >= PRIME { sum - PRIME } else { sum }
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are below 2^61 by the mask and the shift")]
fn times(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    plus((product & u128::from(PRIME)) as u64, (product >> 61) as u64)
}

/// The base to the power of a length.
fn power(mut exponent: u64) -> u64 {
    let (mut result, mut square) = (1, BASE);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = times(result, square);
        }
        square = times(square, square);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tallies_join_as_the_texts_do(a in ".*", b in ".*", c in ".*") {
            let joined = Tally::of(format!("{a}{b}{c}"));
            prop_assert_eq!(Tally::of(&a).then(Tally::of(&b)).then(Tally::of(&c)), joined);
            prop_assert_eq!(Tally::of(&a).then(Tally::of(&b).then(Tally::of(&c))), joined);
        }

        #[test]
        fn a_text_counted_in_pieces_is_the_text(text in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..200) {
            let at = at.min(text.len());
            let mut tally = Tally::of(&text[..at]);
            tally.add(&text[at..]);
            prop_assert_eq!(tally, Tally::of(&text));
        }

        #[test]
        fn a_byte_changed_left_out_or_doubled_shows(text in proptest::collection::vec(any::<u8>(), 1..100), at in 0usize..100) {
            let at = at % text.len();
            let whole = Tally::of(&text);
            let mut changed = text.clone();
            changed[at] = changed[at].wrapping_add(1);
            prop_assert_ne!(Tally::of(&changed), whole);
            let mut shorter = text.clone();
            shorter.remove(at);
            prop_assert_ne!(Tally::of(&shorter), whole);
            let mut longer = text.clone();
            longer.insert(at, text[at]);
            prop_assert_ne!(Tally::of(&longer), whole);
        }
    }

    #[test]
    fn leading_zeros_count() {
        assert_ne!(Tally::of([0]), Tally::EMPTY);
        assert_ne!(Tally::of([0, 7]), Tally::of([7]));
    }
}
