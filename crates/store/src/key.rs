//! What makes two requests equal: a digest over everything that can change the answer.
//!
//! The body counts as JSON, not as bytes. Left out of it, because they change nothing in what a model says:
//!
//! | member | why |
//! | --- | --- |
//! | `model` | the logical model counts instead: it is what decides who serves |
//! | `stream`, `stream_options` | the [`Form`] counts instead: what the caller's bytes look like |
//! | `user`, `safety_identifier` (OpenAI), `metadata`, `labels` | say whom the request is for, to the provider's records |
//! | `prompt_cache_key`, `prompt_cache_retention`, `session_id` | say where a provider's own prompt cache is likely warm |
//!
//! Everything else counts, unknown members included. A stream and a whole answer to the same question are two keys:
//! each is kept and given again in the very bytes a caller was given.

use crate::entry::Form;
use crate::json::{self, Digest, Member};
use canon::DialectName;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::hash::{Hash, Hasher};

/// Members of a body that do not change the answer; see the module's table.
const LEFT_OUT: [&str; 10] = [
    "model",
    "stream",
    "stream_options",
    "user",
    "safety_identifier",
    "metadata",
    "labels",
    "prompt_cache_key",
    "prompt_cache_retention",
    "session_id",
];

/// The name of a question: equal for equal questions of the same tenant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(Digest);

impl Key {
    /// The name of a tenant's `Idempotency-Key`.
    pub fn of_idempotency(tenant: Option<&str>, text: &str) -> Self {
        let mut hash = Sha256::new_with_prefix(b"idempotency");
        add_tenant(&mut hash, tenant);
        add(&mut hash, text.as_bytes());
        Self(hash.finalize().into())
    }
}

impl Hash for Key {
    /// A digest is as evenly spread as it gets: eight bytes of it are a hash.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut first = [0; 8];
        first.copy_from_slice(self.0.first_chunk::<8>().unwrap_or(&[0; 8]));
        state.write_u64(u64::from_le_bytes(first));
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A request, as far as it decides the answer.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The caller's key by name; `None` = the gateway is open. Answers never cross from one to another.
    pub tenant: Option<&'a str>,
    /// The logical model.
    pub model: &'a str,
    /// The caller's dialect.
    pub dialect: DialectName,
    /// What the caller's bytes look like.
    pub form: Form,
    /// Whatever else changes the answer: the model's targets, headers that cross to the provider.
    pub facts: &'a [String],
    /// The body.
    pub body: &'a [u8],
}

/// A question that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub key: Key,
    /// The same request again is meant to give the same answer: `temperature` is 0, or a `seed` is given (for Gemini in
    /// `generationConfig`). Nothing else is taken for it; that nothing is said of sampling is no promise.
    pub deterministic: bool,
}

impl Question<'_> {
    /// Reads the question; `None` when the body is no JSON object.
    pub fn read(&self) -> Option<Asked> {
        let mut deterministic = false;
        let body = json::object(self.body, &mut |key, value| {
            match key {
                "temperature" | "seed" => deterministic |= fixes_sampling(key, value),
                "generationConfig" | "generation_config" if self.dialect == DialectName::Gemini => {
                    json::members(value, &mut |key, value| deterministic |= fixes_sampling(key, value));
                }
                _ => {}
            }
            if LEFT_OUT.contains(&key) { Member::LeftOut } else { Member::Counts }
        })?;
        Some(Asked { key: self.key(b"question", body), deterministic })
    }

    /// The name of this very request: nothing of the body is left out.
    pub fn fingerprint(&self) -> Option<Key> {
        let body = json::object(self.body, &mut |_, _| Member::Counts)?;
        Some(self.key(b"request", body))
    }

    fn key(&self, kind: &'static [u8], body: Digest) -> Key {
        let mut hash = Sha256::new_with_prefix(kind);
        add_tenant(&mut hash, self.tenant);
        add(&mut hash, self.model.as_bytes());
        add(&mut hash, self.dialect.as_str().as_bytes());
        add(&mut hash, self.form.word().as_bytes());
        hash.update((self.facts.len() as u64).to_le_bytes());
        for fact in self.facts {
            add(&mut hash, fact.as_bytes());
        }
        hash.update(body);
        Key(hash.finalize().into())
    }
}

fn fixes_sampling(key: &str, value: &[u8]) -> bool {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<f64>().ok());
    match key {
        "temperature" => number == Some(0.0),
        "seed" => number.is_some(),
        _ => false,
    }
}

/// With its length before it, so that two texts cannot run into one another.
fn add(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn add_tenant(hash: &mut Sha256, tenant: Option<&str>) {
    hash.update([u8::from(tenant.is_some())]);
    add(hash, tenant.unwrap_or_default().as_bytes());
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
