//! May this attempt be made now? Judged when it begins, from what came before it.

use super::story::{Started, Story};
use crate::record::AttemptKind;
use crate::report::Kind;
use canon::FaultClass;

/// One attempt in flight, unless the second one is a hedge, or a rescue that overtakes a slow one.
pub(super) fn in_flight(story: &Story, number: u32, kind: AttemptKind) -> Option<(Kind, String)> {
    let may_join = matches!(kind, AttemptKind::Hedge | AttemptKind::Rescue);
    let most = u32::from(may_join);
    (story.in_flight > most).then(|| {
        let others = story.in_flight;
        (Kind::TwoInFlight, format!("attempt {number} ({}) began beside {others} others", kind.as_str()))
    })
}

/// A different target each time, except: once more after a fault that passes, another credential after a fault of the
/// credential, a rescue after the stream broke or the continuation was refused. Never after silence, nor when the
/// prompt was too long for it.
pub(super) fn same_target(
    story: &Story,
    number: u32,
    started: Started,
    name: &str,
    max_per_target: u32,
) -> Option<(Kind, String)> {
    let before: Vec<_> = story
        .attempts
        .iter()
        .filter_map(|attempt| Some((attempt, attempt.started?)))
        .filter(|(attempt, earlier)| earlier.target == started.target && attempt.number != number)
        .filter(|(attempt, _)| attempt.round == story.gateway.round)
        .collect();
    let (last, _) = before.last()?;
    let twice = |why: &str| Some((Kind::TargetTwice, format!("attempt {number} asks {name} again, {why}")));
    if before.len() >= max_per_target as usize {
        return twice(&format!("the {}th time", before.len() + 1));
    }
    let Some(ended) = &last.ended else { return twice("while it is still being asked") };
    let passes = match ended.fault {
        None => return twice("which had answered"),
        Some(FaultClass::TimedOut) => {
            let sentence = format!("attempt {number} asks {name} again, which had been silent past its limit");
            return Some((Kind::SilentTargetTwice, sentence));
        }
        Some(FaultClass::ContextExceeded) => return twice("whose window was too small"),
        Some(FaultClass::RateLimited | FaultClass::QuotaExhausted | FaultClass::AuthRejected) => Passes::ByCredential,
        Some(FaultClass::Cancelled) => Passes::ForRescue,
        Some(
            FaultClass::Overloaded
            | FaultClass::ServerError
            | FaultClass::Unreachable
            | FaultClass::TooSlow
            | FaultClass::StreamBroken
            | FaultClass::BadAnswer
            | FaultClass::ContentBlocked
            | FaultClass::ModelMissing
            | FaultClass::UnsupportedParameter
            | FaultClass::InvalidRequest,
        ) => Passes::Once,
    };
    let was_retried = before.iter().any(|(_, earlier)| earlier.kind == AttemptKind::Retry);
    let new_credential = before.iter().all(|(_, earlier)| earlier.credential != started.credential);
    match (started.kind, passes) {
        (AttemptKind::Retry, Passes::Once | Passes::ByCredential) if !was_retried => None,
        (AttemptKind::Retry, Passes::Once | Passes::ByCredential) => twice("for the second time"),
        (AttemptKind::Credential, Passes::ByCredential) if new_credential => None,
        (AttemptKind::Credential, Passes::ByCredential) => twice("with the same credential"),
        (AttemptKind::Rescue, _) => None,
        (kind, _) => twice(&format!("as a {}", kind.as_str())),
    }
}

/// What may follow a fault at the same target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passes {
    /// One more go.
    Once,
    /// Another credential, or one more go.
    ByCredential,
    /// A rescue only.
    ForRescue,
}
