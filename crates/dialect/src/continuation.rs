//! Whether a target goes on with a begun answer by its own means, for one request (`providers.md` §6).

use crate::Inexpressible;
use crate::profile::{Continuation, Exclusion, Profile, Thinking};
use canon::{Continues, Effort, OutputFormat, Part, Request, Role, ToolChoice};
use serde_json::{Map, Value};

impl Profile {
    /// Whether the target goes on with a begun answer to `request` by its own means.
    ///
    /// Asked of the caller's request it tells whether that may be tried, asked of a request that
    /// [`continues`](Request::continues) an answer whether it can be written. A [token](Continuation::Token) is read
    /// only by the model that gave it.
    pub fn can_continue(&self, request: &Request) -> bool {
        refusal(request, self).is_none()
    }
}

impl Continuation {
    /// Whether the target counts what was said before the break in its output cap: the cap is sent as it was then.
    pub fn cap_is_cumulative(self) -> bool {
        match self {
            Self::Token => true,
            Self::None | Self::Prefill | Self::Prefix | Self::Partial | Self::ContinueFinalMessage => false,
        }
    }
}

/// Refuses to write a continuation that the target does not have.
pub(crate) fn check(request: &Request, profile: &Profile) -> Result<(), Inexpressible> {
    match request.continues.as_ref().and_then(|_| refusal(request, profile)) {
        Some(reason) => Err(Inexpressible { path: "continues".to_owned(), reason }),
        None => Ok(()),
    }
}

/// Why the target cannot go on by itself; `None` = it can.
fn refusal(request: &Request, profile: &Profile) -> Option<&'static str> {
    let by_token = match profile.continuation {
        Continuation::None => return Some("the target is not known to go on with an answer by itself"),
        Continuation::Token => true,
        Continuation::Prefill | Continuation::Prefix | Continuation::Partial | Continuation::ContinueFinalMessage => {
            false
        }
    };
    match &request.continues {
        Some(Continues::Prefill) if by_token => return Some("the target goes on by a token, not by the text"),
        Some(Continues::Token(_)) if !by_token => return Some("the target goes on by the text, not by a token"),
        Some(Continues::Prefill) if !ends_in_a_begun_answer(request) => {
            return Some("the last turn is no beginning of a text of the model's");
        }
        Some(_) | None => {}
    }
    if request.n.is_some_and(|n| n > 1) || request.sampling.logprobs == Some(true) {
        return Some("several choices and log probabilities cannot be gone on with");
    }
    let forced = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)))
        || matches!(request.tool_choice, Some(ToolChoice::Allowed { required: true, .. }));
    if forced && !by_token {
        return Some("a forced tool call does not go on with a text");
    }
    let excluded = |exclusion: &Exclusion| match exclusion {
        Exclusion::Thinking => thinks(request, profile),
        Exclusion::StructuredOutput => request.output != OutputFormat::Text,
        Exclusion::JsonObject => request.output == OutputFormat::JsonObject,
        Exclusion::Tools => !request.tools.is_empty(),
    };
    profile.continuation_excludes.iter().find(|exclusion| excluded(exclusion)).map(|exclusion| match exclusion {
        Exclusion::Thinking => "the target does not go on with an answer while it thinks",
        Exclusion::StructuredOutput | Exclusion::JsonObject => {
            "the target does not go on with an answer in a prescribed form"
        }
        Exclusion::Tools => "the target does not go on with an answer where tools are on offer",
    })
}

fn ends_in_a_begun_answer(request: &Request) -> bool {
    let Some(last) = request.messages.last().filter(|last| last.role == Role::Assistant) else { return false };
    let is_text = |part: &Part| matches!(part, Part::Text { .. });
    let says = |part: &Part| matches!(part, Part::Text { text, .. } if !text.trim().is_empty());
    last.parts.iter().all(is_text) && last.parts.iter().any(says)
}

/// Whether the model is told to think, as far as the request shows it; in doubt, yes.
fn thinks(request: &Request, profile: &Profile) -> bool {
    match profile.thinking {
        Thinking::AlwaysOn => return true,
        Thinking::Unsupported => return false,
        Thinking::Effort | Thinking::Budget => {}
    }
    let asked = &request.reasoning;
    match (asked.effort, asked.budget_tokens) {
        (Some(Effort::None), _) | (None, Some(0)) => return false,
        (Some(_), _) | (None, Some(_)) => return true,
        (None, None) => {}
    }
    asked.adaptive || asked.show == Some(true) || extra_thinks(&request.extra)
}

/// The words of providers for switching thinking on, which have no canonical form.
fn extra_thinks(extra: &Map<String, Value>) -> bool {
    let off = |object: &Map<String, Value>| {
        let says = |key: &str, value: Value| object.get(key) == Some(&value);
        says("type", "disabled".into()) || says("enabled", false.into()) || says("effort", "none".into())
    };
    let on = |value: &Value| match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Object(object) => !off(object),
        Value::Number(_) | Value::String(_) | Value::Array(_) => true,
    };
    let in_template = |key: &str| extra.get("chat_template_kwargs").and_then(|kwargs| kwargs.get(key)).is_some_and(on);
    ["enable_thinking", "thinking", "reasoning"].iter().any(|key| extra.get(*key).is_some_and(on))
        || in_template("enable_thinking")
        || in_template("thinking")
}
