//! What a rule does while it holds, and which targets of a model that concerns.

use std::sync::Arc;

/// What a rule does. Targets are ids as the configuration lists them; a trailing `*` stands for any ending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actions {
    /// These come first, in this order; their health permitting.
    pub prefer: Vec<String>,
    /// These come last.
    pub avoid: Vec<String>,
    /// These do not serve.
    pub exclude: Vec<String>,
    /// No others serve, as long as one of these is able to.
    pub only: Vec<String>,
    /// Settings of the model are replaced; which ones is the business of whoever asks for the ruling.
    pub sets: bool,
    /// The request is of this tier; what that means is the business of whoever asks for the ruling.
    pub tier: Option<Arc<str>>,
}

impl Actions {
    /// The lists of targets with their names.
    pub(crate) fn lists(&self) -> [(&'static str, &[String]); 4] {
        [("prefer", &self.prefer), ("avoid", &self.avoid), ("exclude", &self.exclude), ("only", &self.only)]
    }
}

/// Whether a pattern of an action means a target.
pub(crate) fn means(pattern: &str, id: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => id.starts_with(prefix),
        None => pattern == id,
    }
}

/// Which targets of one model each rule of a set concerns. Worked out once, as a request has no time for names.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    pub(crate) rules: Vec<ReachOf>,
}

/// Indices of a model's targets, by what one rule does with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReachOf {
    pub(crate) prefer: Vec<usize>,
    pub(crate) avoid: Vec<usize>,
    pub(crate) exclude: Vec<usize>,
    pub(crate) only: Vec<usize>,
    pub(crate) sets: bool,
    pub(crate) tier: Option<Arc<str>>,
}

impl ReachOf {
    pub(crate) fn new(actions: &Actions, ids: &[&str]) -> Self {
        let find = |patterns: &[String]| {
            let mut found = Vec::new();
            for pattern in patterns {
                for (index, id) in ids.iter().enumerate() {
                    if means(pattern, id) && !found.contains(&index) {
                        found.push(index);
                    }
                }
            }
            found
        };
        Self {
            prefer: find(&actions.prefer),
            avoid: find(&actions.avoid),
            exclude: find(&actions.exclude),
            only: find(&actions.only),
            sets: actions.sets,
            tier: actions.tier.clone(),
        }
    }

    /// Whether the rule has anything to say about the model at all.
    pub(crate) fn concerns(&self) -> bool {
        self.sets
            || self.tier.is_some()
            || [&self.prefer, &self.avoid, &self.exclude, &self.only].into_iter().any(|targets| !targets.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reaches_the_targets_it_names_in_the_order_it_names_them() {
        let actions = Actions {
            prefer: vec!["b/2".into(), "a/*".into(), "x/9".into()],
            only: vec!["a/1".into()],
            ..Actions::default()
        };
        let reach = ReachOf::new(&actions, &["a/1", "b/1", "b/2", "a/2"]);
        assert_eq!(reach.prefer, [2, 0, 3]);
        assert_eq!(reach.only, [0]);
        assert!(reach.concerns());
        assert!(!ReachOf::new(&actions, &["c/1"]).concerns());
    }
}
