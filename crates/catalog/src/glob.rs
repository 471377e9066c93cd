//! Patterns of the data files: `*` stands for any run of characters, everything else for itself.

/// Whether `text` matches `pattern`, ASCII case aside.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to resume when a later literal fails: after the last star, one character further on.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                star = Some((p + 1, t));
                p += 1;
            }
            (Some(a), Some(b)) if a.eq_ignore_ascii_case(b) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    p = after;
                    t = from + 1;
                    star = Some((after, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|b| *b == b'*'))
}

/// A pattern of names: `*` stands for any run of characters, everything else for itself, ASCII case aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// A pattern as it is written.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether a name matches it.
    pub fn matches(&self, name: &str) -> bool {
        matches(&self.0, name)
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a pattern names exactly one thing.
pub(crate) fn is_exact(pattern: &str) -> bool {
    !pattern.contains('*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_and_nothing_else_is_special() {
        for (pattern, text, expected) in [
            ("claude-*-4-5*", "claude-haiku-4-5-20251001", true),
            ("claude-*-4-5*", "claude-haiku-4-5", true),
            ("claude-*-4-5*", "claude-opus-4-1", false),
            ("gpt-5", "gpt-5", true),
            ("gpt-5", "gpt-5.1", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("Throttling.*", "throttling.RateQuota", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("o?", "o1", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} ~ {text}");
        }
    }
}
