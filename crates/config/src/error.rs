//! Errors that point at the line and say what was expected.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::fmt;

/// What is wrong with a configuration. Its `Display` is what the operator reads: the place, the line, the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    rendered: String,
}

impl ConfigError {
    /// An error without a place in a file (the file cannot be read, the environment lacks something).
    pub fn plain(message: impl Into<String>) -> Self {
        Self { rendered: message.into() }
    }

    /// The YAML does not have the expected form.
    pub(crate) fn yaml(origin: &str, error: &serde_saphyr::Error) -> Self {
        Self { rendered: format!("{origin}: {}", error.render()) }
    }

    /// Something does not fit together. `path` leads to it: `["models", "primary-chat", "targets", "1"]`.
    pub(crate) fn at(origin: &str, source: &str, path: &[&str], message: &str) -> Self {
        Self::render(origin, source, locate(source, path), &format!("{}: {message}", path.join(".")))
    }

    /// Something is wrong with this very text, wherever it stands.
    pub(crate) fn on(origin: &str, source: &str, needle: &str, message: &str) -> Self {
        let start = source.find(needle).unwrap_or(0);
        let end = if source.contains(needle) { start + needle.len() } else { start };
        Self::render(origin, source, start..end, message)
    }

    /// Something is wrong inside `text`, the value that `path` leads to. Where the file writes the value otherwise
    /// (with escapes, over several lines), the value itself is shown.
    pub(crate) fn inside(
        origin: &str,
        source: &str,
        path: &[&str],
        text: &str,
        span: &std::ops::Range<usize>,
        message: &str,
    ) -> Self {
        let whole = path.split_last().map_or(0, |(_, whole)| locate(source, whole).start);
        let message = format!("{}: {message}", path.join("."));
        match source.get(whole..).and_then(|rest| rest.find(text)).filter(|_| !text.is_empty()) {
            Some(offset) => {
                let start = whole + offset;
                Self::render(origin, source, start + span.start..start + span.end, &message)
            }
            None => Self::render(&format!("{origin}, {}", path.join(".")), text, span.clone(), &message),
        }
    }

    fn render(origin: &str, source: &str, range: std::ops::Range<usize>, message: &str) -> Self {
        let snippet = Snippet::source(source).path(origin).annotation(AnnotationKind::Primary.span(range));
        let report = [Level::ERROR.primary_title(message).element(snippet)];
        Self { rendered: Renderer::plain().render(&report) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered)
    }
}

impl std::error::Error for ConfigError {}

/// Finds the deepest step of a path that can be found, by indentation: block mappings and lists step by step, the rest
/// of a path inside a flow mapping points at its line.
fn locate(source: &str, path: &[&str]) -> std::ops::Range<usize> {
    let mut found = 0..0;
    let mut lines = Lines { source, offset: 0 };
    let mut inside: Option<usize> = None;
    for step in path {
        match lines.find(step, inside) {
            Some((range, indent)) => {
                found = range;
                inside = Some(indent);
            }
            None => break,
        }
    }
    found
}

struct Lines<'a> {
    source: &'a str,
    offset: usize,
}

impl Lines<'_> {
    fn least_deep(&self, key: &str) -> Option<usize> {
        let of = |line: &str| begins(line.trim_start(), key).then(|| line.len() - line.trim_start().len());
        self.source.lines().filter_map(of).min()
    }

    /// The next line, deeper than `inside`, that begins this step: `step:` or, for a number, the n-th `- `.
    fn find(&mut self, step: &str, inside: Option<usize>) -> Option<(std::ops::Range<usize>, usize)> {
        let wanted_item: Option<usize> = step.parse().ok();
        // A path begins where its first key stands least deep: what is deeper has only the same name. That is the top
        // of a file, but not of a configuration inside one.
        let top = if inside.is_none() { self.least_deep(step) } else { None };
        let mut item = 0;
        let mut item_indent = None;
        let mut offset = self.offset;
        for line in self.source.get(self.offset..)?.split_inclusive('\n') {
            let text = line.trim_start();
            let indent = line.len() - text.len();
            let start = offset + indent;
            let end = offset + line.trim_end().len();
            offset += line.len();
            if text.trim().is_empty() || text.starts_with('#') {
                continue;
            }
            if top.is_some_and(|top| indent > top) {
                continue;
            }
            let is_item = text.starts_with("- ");
            // A list may stand at the indentation of its key.
            if inside.is_some_and(|outer| indent < outer || (indent == outer && !is_item)) {
                return None;
            }
            match wanted_item {
                Some(wanted) if is_item && item_indent.is_none_or(|i| i == indent) => {
                    item_indent = Some(indent);
                    if item == wanted {
                        self.offset = offset;
                        return Some((start..end, indent));
                    }
                    item += 1;
                }
                None if begins(text, step) || begins(text.trim_start_matches("- "), step) => {
                    self.offset = offset;
                    return Some((start..end, indent));
                }
                Some(_) | None => {}
            }
        }
        None
    }
}

fn begins(text: &str, key: &str) -> bool {
    let text = text.trim_start_matches(['"', '\'']);
    text.strip_prefix(key).is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "providers:\n  a: {}\nmodels:\n  # a comment\n  chat:\n    targets:\n      - a/1\n      - { target: b/2 }\n  other:\n    targets: [c/3]\n";

    fn text(path: &[&str]) -> &'static str {
        SOURCE.get(locate(SOURCE, path)).expect("in range")
    }

    #[test]
    fn a_path_leads_to_its_line() {
        assert_eq!(text(&["models", "chat", "targets", "1"]), "- { target: b/2 }");
        assert_eq!(text(&["models", "other", "targets", "0"]), "targets: [c/3]");
        assert_eq!(text(&["providers", "a"]), "a: {}");
    }

    #[test]
    fn a_path_begins_at_the_top() {
        let nested = "providers:\n  a:\n    models: []\nmodels:\n  chat: {}\n";
        assert_eq!(nested.get(locate(nested, &["models", "chat"])), Some("chat: {}"));
        let inside = "name: x\nconfig:\n  models:\n    chat: { a: 1 }\n";
        assert_eq!(inside.get(locate(inside, &["models", "chat"])), Some("chat: { a: 1 }"));
    }

    #[test]
    fn a_step_is_not_found_outside_its_parent() {
        assert_eq!(text(&["providers", "chat"]), "providers:");
    }

    #[test]
    fn an_error_shows_place_line_and_reason() {
        let shown =
            ConfigError::at("m.yaml", SOURCE, &["models", "chat", "targets", "0"], "no provider `a`").to_string();
        assert!(shown.contains("m.yaml:7"), "{shown}");
        assert!(shown.contains("- a/1"), "{shown}");
        assert!(shown.contains("no provider `a`"), "{shown}");
    }
}
