//! The transport's faults. Texts name the step that failed and the cause, never a path, a query or a header: those may
//! carry credentials.

use canon::{Fault, FaultClass, Origin};
use std::error::Error;
use std::fmt::Write;

/// No answer's head was received: refused, DNS, TLS, reset.
pub(crate) fn unreachable(message: impl Into<String>) -> Fault {
    Fault::new(FaultClass::Unreachable, Origin::Transport, message)
}

/// The answer's body broke off.
pub(crate) fn stream_broken(message: impl Into<String>) -> Fault {
    Fault { may_be_billed: true, ..Fault::new(FaultClass::StreamBroken, Origin::Transport, message) }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Several libraries print their cause themselves.
        let inner = error.to_string();
        if !text.contains(&inner) {
            let _ = write!(text, ": {inner}");
        }
        cause = error.source();
    }
    text
}
