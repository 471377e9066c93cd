//! Who goes first where requests wait, or where there is not enough for all.

/// A class of requests. Greater goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// After all others.
    Low,
    /// What is not said to be anything else.
    #[default]
    Normal,
    /// Before all others.
    High,
}

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 3;
    /// All, the greatest first.
    pub const ALL: [Self; Self::COUNT] = [Self::High, Self::Normal, Self::Low];

    /// A place in a table of them.
    pub fn index(self) -> usize {
        self as usize
    }

    /// As headers, labels and configuration write it; `None` = no such word.
    pub fn parse(word: &str) -> Option<Self> {
        match word.trim() {
            "low" => Some(Self::Low),
            "normal" => Some(Self::Normal),
            "high" => Some(Self::High),
            _ => None,
        }
    }

    /// The priority of a request: what its caller asks for, at most what the caller's key allows.
    pub fn of(key: Option<Self>, asked: Option<Self>) -> Self {
        match (key, asked) {
            (Some(key), Some(asked)) => key.min(asked),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => Self::default(),
        }
    }

    /// How many classes go before it.
    pub fn above(self) -> u8 {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Priority::{High, Low, Normal};
    use super::*;

    #[test]
    fn a_caller_can_lower_what_its_key_allows_and_not_raise_it() {
        for (key, asked, expected) in [
            (Some(Normal), Some(High), Normal),
            (Some(High), Some(Low), Low),
            (Some(High), None, High),
            (None, Some(High), High),
            (None, None, Normal),
        ] {
            assert_eq!(Priority::of(key, asked), expected);
        }
    }

    #[test]
    fn words_are_read_as_they_are_written_and_no_others() {
        assert_eq!(["low", " high ", "normal"].map(Priority::parse), [Some(Low), Some(High), Some(Normal)]);
        assert_eq!(["High", "flex", ""].map(Priority::parse), [None; 3]);
    }
}
