//! Faults of the timeline: what a call meets while one is in force.
//!
//! Error answers are classified by the provider's row of the catalogue, as the gateway does it; what has no answer
//! (connections, silence) is the fault the gateway makes of it.

use crate::world::ErrorAnswer;
use canon::{Fault, FaultClass, Instant, Origin};
use catalog::{Provider, classify};
use std::time::{Duration, SystemTime};

/// What `fault:` may say besides a status.
pub(crate) const WORDS: [&str; 9] =
    ["refuse", "unroutable", "reset", "hang", "slow_first_token", "slow_tokens", "cut", "stall", "empty"];

/// A way to fail.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FaultKind {
    /// Answered with this status.
    Status { status: u16, code: Option<String>, retry_after: Option<Duration> },
    /// Connection refused.
    Refuse,
    /// The connection is never made.
    Unroutable,
    /// Reset after the request was sent.
    Reset,
    /// Accepted, and nothing ever comes.
    Hang,
    /// The first token takes so many times as long.
    SlowFirstToken { times: f64 },
    /// Every further token takes so many times as long.
    SlowTokens { times: f64 },
    /// The connection closes after so many tokens; `None` = anywhere.
    Cut { after: Option<u32> },
    /// Silence after so many tokens; `None` = anywhere.
    Stall { after: Option<u32> },
    /// A clean answer with nothing in it.
    Empty,
}

/// A fault with its place and time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlannedFault {
    pub(crate) from: Instant,
    pub(crate) until: Instant,
    /// Index of the site; `None` = all.
    pub(crate) site: Option<usize>,
    /// Index of the credential; `None` = all.
    pub(crate) credential: Option<usize>,
    /// Of the calls, 0–1.
    pub(crate) share: f64,
    /// Broken for the first, well for the second, and so on.
    pub(crate) flap: Option<(Duration, Duration)>,
    pub(crate) kind: FaultKind,
    /// As the table tells it.
    pub(crate) words: String,
}

impl PlannedFault {
    /// Whether calls of this credential of a site that start now may meet it.
    pub(crate) fn is_in_force(&self, site: usize, credential: usize, now: Instant) -> bool {
        let here = self.site.is_none_or(|it| it == site) && self.credential.is_none_or(|it| it == credential);
        here && now >= self.from && now < self.until && self.is_down(now)
    }

    /// The error answer that it is.
    pub(crate) fn error_answer(&self) -> Option<ErrorAnswer> {
        match &self.kind {
            FaultKind::Status { status, code, retry_after } => {
                Some(ErrorAnswer { status: *status, code: code.clone(), retry_after: *retry_after })
            }
            FaultKind::Refuse
            | FaultKind::Unroutable
            | FaultKind::Reset
            | FaultKind::Hang
            | FaultKind::SlowFirstToken { .. }
            | FaultKind::SlowTokens { .. }
            | FaultKind::Cut { .. }
            | FaultKind::Stall { .. }
            | FaultKind::Empty => None,
        }
    }

    /// Whether connections are never made.
    pub(crate) fn is_unroutable(&self) -> bool {
        self.kind == FaultKind::Unroutable
    }

    fn is_down(&self, now: Instant) -> bool {
        let Some((down, up)) = self.flap else { return true };
        let period = (down + up).as_nanos().max(1);
        now.saturating_since(self.from).as_nanos() % period < down.as_nanos()
    }
}

/// The fault that an error answer is.
pub(crate) fn of_answer(provider: &Provider, error: &ErrorAnswer) -> Fault {
    let ErrorAnswer { status, code, retry_after } = error;
    let mut error = serde_json::json!({ "message": format!("simulated {status}") });
    if let (Some(code), Some(fields)) = (code, error.as_object_mut()) {
        for field in ["code", "type", "status"] {
            fields.insert(field.to_owned(), code.as_str().into());
        }
    }
    let body = serde_json::json!({ "error": error }).to_string();
    let hint = retry_after.map(|after| after.as_millis().to_string());
    let header = |name: &str| if name == "retry-after-ms" { hint.as_deref() } else { None };
    classify::head(provider, *status, &header, body.as_bytes(), SystemTime::UNIX_EPOCH)
}

/// The fault of a connection that was refused, or reset after the request had been sent.
pub(crate) fn unreachable(was_sent: bool) -> Fault {
    let words = if was_sent { "simulated reset" } else { "simulated refusal" };
    Fault { may_be_billed: was_sent, ..Fault::new(FaultClass::Unreachable, Origin::Transport, words) }
}

/// The fault of a stream that was cut.
pub(crate) fn cut() -> Fault {
    Fault { may_be_billed: true, ..Fault::new(FaultClass::StreamBroken, Origin::Transport, "simulated cut") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catalog::Catalog;

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    #[test]
    fn an_error_answer_means_what_the_providers_row_says_it_means() {
        let catalog = Catalog::builtin().unwrap();
        let class = |provider: &str, status, code: Option<&str>| {
            let retry_after = Some(Duration::from_millis(1_500));
            let error = ErrorAnswer { status, code: code.map(str::to_owned), retry_after };
            of_answer(&catalog.providers[provider], &error)
        };
        let limited = class("openai", 429, None);
        assert_eq!((limited.class, limited.retry_after), (FaultClass::RateLimited, Some(Duration::from_millis(1_500))));
        assert_eq!(class("openai", 429, Some("insufficient_quota")).class, FaultClass::QuotaExhausted);
        assert_eq!(class("anthropic", 529, Some("overloaded_error")).class, FaultClass::Overloaded);
        assert_eq!(class("gemini", 503, Some("UNAVAILABLE")).class, FaultClass::Overloaded);
        assert_eq!(class("openai", 500, None).class, FaultClass::ServerError);
        assert_eq!(class("openai", 401, None).class, FaultClass::AuthRejected);
    }

    #[test]
    fn a_flapping_fault_is_down_first_and_then_up() {
        let fault = PlannedFault {
            from: at(100),
            until: at(200),
            site: Some(1),
            credential: None,
            share: 1.0,
            flap: Some((Duration::from_secs(20), Duration::from_secs(10))),
            kind: FaultKind::Hang,
            words: String::new(),
        };
        for (second, expected) in [(99, false), (100, true), (119, true), (120, false), (130, true), (200, false)] {
            assert_eq!(fault.is_in_force(1, 0, at(second)), expected, "{second}");
        }
        assert!(!fault.is_in_force(0, 0, at(100)));
    }
}
