//! Credentials out of texts that are logged or shown.
//!
//! Providers echo keys, whole or with stars in the middle, and transport errors quote URLs. What looks like one is
//! replaced; a false alarm costs a word of a message, a miss costs a key.

const REDACTED: &str = "[redacted]";

/// What keys begin with.
const PREFIXES: [&str; 16] = [
    "sk-", "sk_", "pk-", "gsk_", "xai-", "AIza", "ya29.", "AKIA", "ASIA", "hf_", "r8_", "pplx-", "csk-", "tgp_", "fw_",
    "eyJ",
];

/// What stands before a credential that has no form of its own; quotes and spaces between aside.
const BEFORE: [&str; 13] = [
    "bearer",
    "basic",
    "key=",
    "token=",
    "secret=",
    "signature=",
    "password=",
    "key provided:",
    "api key:",
    "api-key:",
    "api_key:",
    "apikey:",
    "authorization:",
];

/// Removes what looks like a credential: `sk-…`, `AIza…`, echoes such as `sk-abc***xyz`, `Bearer …`, `?key=…`.
pub fn scrub(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() || "-_*.~+/".contains(c) {
            word.push(c);
        } else {
            finish_word(&mut clean, &mut word);
            clean.push(c);
        }
    }
    finish_word(&mut clean, &mut word);
    clean
}

fn finish_word(clean: &mut String, word: &mut String) {
    let core = word.trim_end_matches(['.', '/']);
    let end = word.get(core.len()..).unwrap_or_default();
    // A path or a URL is judged by its last step.
    let (path, last) = core.rsplit_once('/').map_or(("", core), |(path, last)| (path, last));
    let scheme = ["bearer", "basic"].iter().any(|name| core.eq_ignore_ascii_case(name));
    if !core.is_empty() && !scheme && follows_a_marker(clean) {
        clean.push_str(REDACTED);
        clean.push_str(end);
    } else if looks_secret(last) {
        clean.push_str(path);
        if core.len() > last.len() {
            clean.push('/');
        }
        clean.push_str(REDACTED);
        clean.push_str(end);
    } else {
        clean.push_str(word);
    }
    word.clear();
}

fn follows_a_marker(clean: &str) -> bool {
    let tail: Vec<char> = clean.chars().rev().take(32).collect();
    let tail: String = tail.into_iter().rev().filter(|c| !"\"'`".contains(*c)).collect();
    let tail = tail.to_lowercase();
    let said = tail.trim_end();
    // A word as marker counts only with a space after it: `bearer:` is followed by prose.
    BEFORE.iter().any(|marker| said.ends_with(marker) && (marker.ends_with([':', '=']) || said.len() < tail.len()))
}

fn looks_secret(word: &str) -> bool {
    let starred = word.contains("***") && word.chars().any(char::is_alphanumeric);
    let prefixed = PREFIXES
        .iter()
        .filter_map(|prefix| word.strip_prefix(prefix))
        .any(|rest| rest.len() >= 16 || (rest.len() >= 4 && rest.chars().any(|c| c.is_ascii_digit() || c == '*')));
    starred || prefixed
}
