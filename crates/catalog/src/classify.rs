//! From a provider's failure to a [`Fault`], by the provider's error map.
//!
//! Everything a provider can fail with comes through here: HTTP errors, error objects inside a 200, finish reasons,
//! blocked prompts, answers that are no answers. (Connections and timers fail without the provider's words; their
//! faults are made where they happen.)

use crate::errors::Signal;
use crate::provider::Provider;
use crate::raw::{HintUse, Rule};
use canon::{Fault, FaultClass, FinishReason, Origin, PromptBlock};
use dialect::envelope::{self, ErrorFields};
use dialect::hint::{self, Headers, HintSource};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// What the rules call the begun answer of a request that goes on with it.
const PREFILL: &str = "prefill";
/// The most a hint may ask for, unless a quota is used up.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// The most the reset of a quota may be away.
const LONGEST_QUOTA: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// An HTTP answer that is not a success. `wall_now` is used where the response carries no `Date`.
pub fn head(provider: &Provider, status: u16, headers: Headers<'_>, body: &[u8], wall_now: SystemTime) -> Fault {
    let fields = ErrorFields::from_body(status, body);
    let exhausted = hint::exhausted(headers);
    let rule = provider.error_map.find(&Signal { fields: &fields, headers, exhausted });
    let class = rule.map_or(FaultClass::ServerError, |rule| rule.class);
    let mut fault = fault_from(&fields, class, rule, Origin::Head);
    fault.status = Some(status);
    fault.retry_after = wait(class, rule, &fields, headers, Some(wall_now));
    if fault.message.is_empty() {
        fault.message = format!("{} answered {status} without a reason", provider.name);
    }
    fault
}

/// An error object inside a 200: a stream's error event, or an answer that is one. `Fault::status` is the status the
/// object states about itself, if it does.
pub fn in_body(provider: &Provider, value: &Value, wall_now: SystemTime) -> Fault {
    stated_in_body(provider, value, Some(wall_now))
}

fn stated_in_body(provider: &Provider, value: &Value, wall_now: Option<SystemTime>) -> Fault {
    let fields = ErrorFields::from_value(value);
    let headers: Headers<'_> = &|_| None;
    let rule = provider.error_map.find(&Signal { fields: &fields, headers, exhausted: None });
    let class = rule.map_or(FaultClass::StreamBroken, |rule| rule.class);
    let mut fault = fault_from(&fields, class, rule, Origin::Body);
    fault.status = fields.status;
    fault.retry_after = wait(class, rule, &fields, headers, wall_now);
    fault.may_be_billed = true;
    if fault.message.is_empty() {
        fault.message = format!("{} reported an error without a reason inside its answer", provider.name);
    }
    fault
}

/// A finish reason, with the provider's own word for it. `None` = the answer stands: a filter that let something
/// through, or a full window after some text, ends an answer and does not void it.
pub fn finish(provider: &Provider, reason: FinishReason, native: &str, has_content: bool) -> Option<Fault> {
    let fields = ErrorFields { finish: Some(native.to_owned()), ..ErrorFields::default() };
    let signal = Signal { fields: &fields, headers: &|_| None, exhausted: None };
    let rule = provider.error_map.find(&signal);
    let class = match (rule, reason) {
        (Some(rule), _) => rule.class,
        (None, FinishReason::ProviderError) => FaultClass::ServerError,
        (None, FinishReason::BrokenOutput) => FaultClass::BadAnswer,
        (None, FinishReason::ContentFilter) => FaultClass::ContentBlocked,
        (None, FinishReason::ContextFull) => FaultClass::ContextExceeded,
        (
            None,
            FinishReason::Stop
            | FinishReason::Length
            | FinishReason::ToolCalls
            | FinishReason::Pause
            | FinishReason::Other,
        ) => return None,
    };
    let ends_an_answer = match class {
        FaultClass::ContentBlocked | FaultClass::ContextExceeded => has_content,
        FaultClass::RateLimited
        | FaultClass::QuotaExhausted
        | FaultClass::Overloaded
        | FaultClass::ServerError
        | FaultClass::Unreachable
        | FaultClass::TimedOut
        | FaultClass::TooSlow
        | FaultClass::StreamBroken
        | FaultClass::BadAnswer
        | FaultClass::ModelMissing
        | FaultClass::AuthRejected
        | FaultClass::UnsupportedParameter
        | FaultClass::InvalidRequest
        | FaultClass::Cancelled => false,
    };
    if ends_an_answer {
        return None;
    }
    let mut fault = fault_from(&fields, class, rule, Origin::Body);
    fault.code = Some(native.to_owned());
    fault.message = format!("{} ended its answer with {native:?}", provider.name);
    fault.may_be_billed = true;
    Some(fault)
}

/// A 200 whose prompt was blocked.
pub fn prompt_blocked(provider: &Provider, block: &PromptBlock) -> Fault {
    let words = block.message.as_deref().map_or_else(
        || format!("{} blocked the prompt: {}", provider.name, block.reason),
        |text| format!("{} blocked the prompt: {}: {text}", provider.name, block.reason),
    );
    let mut fault = Fault::new(FaultClass::ContentBlocked, Origin::Body, envelope::scrub(&words));
    fault.code = Some(block.reason.clone());
    fault
}

/// A 200 whose body is not what was asked for: HTML, plain text, broken JSON; or an error object, which is classified
/// as one, as an answer's decoder cannot tell it from an answer it does not understand.
pub fn unreadable(provider: &Provider, body: &[u8]) -> Fault {
    if let Ok(value) = serde_json::from_slice::<Value>(body)
        && value.get("error").is_some_and(|error| !error.is_null())
    {
        return stated_in_body(provider, &value, None);
    }
    let fields = ErrorFields::from_body(200, body);
    let start: String = fields.message.chars().take(200).collect();
    let words = format!("{} answered 200 with something that is no answer: {start}", provider.name);
    let mut fault = Fault::new(FaultClass::BadAnswer, Origin::Body, envelope::scrub(&words));
    fault.status = Some(200);
    fault.may_be_billed = true;
    fault
}

/// Whether the target refused to go on with a begun answer by its own means; it may do so when it is told to in words.
pub fn is_prefill_refused(fault: &Fault) -> bool {
    fault.class == FaultClass::UnsupportedParameter && fault.parameter.as_deref() == Some(PREFILL)
}

/// A 200 that finished without text, refusal, tool call or media.
pub fn empty_answer(provider: &Provider) -> Fault {
    let words = format!("{} finished without an answer", provider.name);
    Fault { status: Some(200), may_be_billed: true, ..Fault::new(FaultClass::BadAnswer, Origin::Body, words) }
}

fn fault_from(fields: &ErrorFields, class: FaultClass, rule: Option<&Rule>, origin: Origin) -> Fault {
    let mut fault = Fault::new(class, origin, envelope::scrub(&fields.message));
    fault.scope = rule.and_then(|rule| rule.scope).unwrap_or_else(|| class.default_scope());
    fault.code = fields.code.clone().or_else(|| fields.kind.clone()).map(|code| envelope::scrub(&code));
    fault.parameter = rule.and_then(|rule| rule.parameter.clone()).or_else(|| fields.parameter.clone());
    fault
}

/// When the target may be asked again. A hint means nothing where waiting does not help.
fn wait(
    class: FaultClass,
    rule: Option<&Rule>,
    fields: &ErrorFields,
    headers: Headers<'_>,
    wall_now: Option<SystemTime>,
) -> Option<Duration> {
    let (resets, longest) = match class {
        FaultClass::RateLimited => (true, LONGEST_WAIT),
        FaultClass::QuotaExhausted => (true, LONGEST_QUOTA),
        FaultClass::Overloaded | FaultClass::ServerError | FaultClass::Unreachable => (false, LONGEST_WAIT),
        FaultClass::TimedOut
        | FaultClass::TooSlow
        | FaultClass::StreamBroken
        | FaultClass::BadAnswer
        | FaultClass::ContextExceeded
        | FaultClass::ContentBlocked
        | FaultClass::ModelMissing
        | FaultClass::AuthRejected
        | FaultClass::UnsupportedParameter
        | FaultClass::InvalidRequest
        | FaultClass::Cancelled => return None,
    };
    let source = HintSource {
        headers,
        retry_delay: fields.retry_delay.as_deref(),
        text: &fields.message,
        resets,
        longest,
        // Dates stand in headers alone, and only errors inside a 200 come without a clock.
        wall_now: wall_now.unwrap_or(SystemTime::UNIX_EPOCH),
    };
    match rule.map(|rule| rule.hint).unwrap_or_default() {
        HintUse::Stated => hint::retry_after(&source),
        HintUse::Ignore => None,
        HintUse::PacificMidnight => wall_now.map(|_| hint::until_pacific_midnight(source.response_time())),
    }
}
