//! What an encoder could not express in its target's dialect.

/// One thing that was in the source and is not in what was sent.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Dropped {
    /// Where it stood, in the words of the source dialect: `logit_bias`, `messages[3].name`, `tools[0].strict`.
    pub path: String,
    /// Why it is not there, for the trace: `gemini has no such field`.
    pub reason: &'static str,
}

/// The report of one translation, in the order things were found. The paths go into `x-mainstay-dropped`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drops(Vec<Dropped>);

impl Drops {
    /// An empty report.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a loss; the same path is recorded once.
    pub fn add(&mut self, path: impl Into<String>, reason: &'static str) {
        let path = path.into();
        if !self.0.iter().any(|d| d.path == path) {
            self.0.push(Dropped { path, reason });
        }
    }

    /// Whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The losses in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Dropped> {
        self.0.iter()
    }

    /// Takes over everything another report holds.
    pub fn extend(&mut self, other: Self) {
        for dropped in other.0 {
            self.add(dropped.path, dropped.reason);
        }
    }
}
