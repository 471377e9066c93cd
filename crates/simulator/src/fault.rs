//! The ways a provider can fail, and their one-line form.
//!
//! `name` or `name:key=value,key=value`: `unavailable_503`, `rate_limited_429:retry_after=2,form=date`. A bare status
//! (`429`) or `status_429` names the usual fault of that status.
//!
//! Cuts at an exact place are `cut_after_wire:bytes=…`, and `cut_after_text`, `cut_after_reasoning` and
//! `cut_after_arguments`, each with `bytes=…` or `characters=…`, and `event=whole | torn`. Every cut, `cut_mid_text`
//! too, has `by=drop | reset | close | hang | error | slow`: `cut_after_text:bytes=123,by=reset,event=torn`.

use crate::cut::Cut;
use crate::duration;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How a provider tells when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintForm {
    /// The form this dialect's provider uses: `retry-after` seconds, or Gemini's `retryDelay`.
    Native,
    /// `retry-after` in seconds, whole or not.
    Seconds,
    /// `retry-after-ms`.
    Milliseconds,
    /// `retry-after` as an IMF-fixdate, against the answer's own `date`.
    Date,
    /// Reset headers: Go durations for `openai-chat`, RFC 3339 for `anthropic-messages`.
    Reset,
    /// Google's `RetryInfo.retryDelay` in the body; in the other dialects the text.
    Body,
    /// `Please try again in 2s.` in the message.
    Text,
}

impl HintForm {
    const NAMES: [(&'static str, Self); 7] = [
        ("native", Self::Native),
        ("seconds", Self::Seconds),
        ("ms", Self::Milliseconds),
        ("date", Self::Date),
        ("reset", Self::Reset),
        ("body", Self::Body),
        ("text", Self::Text),
    ];
}

/// When to come back, and how it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryHint {
    /// How long from now.
    pub after: Duration,
    /// In which words.
    pub form: HintForm,
}

/// One way to fail. `after` counts content events; where an answer has fewer, the fault strikes before its end.
///
/// In an answer that is not streamed, a fault of the stream takes its nearest shape: an error event is an error in a
/// 200, a cut closes the connection in the middle of the body, a missing terminator is JSON that ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The listener is closed: connection refused.
    Refuse,
    /// Packets are lost on the way: the connection is never made (over sockets: made, and never answered).
    Unroutable,
    /// The connection is reset once the request is there.
    ResetBeforeHeaders,
    /// The `ClientHello` is answered with garbage.
    TlsFailure,
    /// The request is read and nothing ever comes.
    HangBeforeHeaders,
    /// The head is late.
    SlowHeaders {
        /// By how much.
        by: Duration,
    },
    /// The head is there at once, the first token is late (not streamed: the answer is).
    SlowFirstToken {
        /// By how much.
        by: Duration,
    },
    /// 400: the prompt is too long.
    BadRequestContextLength,
    /// The prompt is refused by policy: a 400, for Gemini a 200 with a `blockReason`.
    ContentPolicy400,
    /// 401: the key.
    Unauthorized401,
    /// 402: no money left.
    Payment402,
    /// 403: not allowed.
    Forbidden403,
    /// 404: no such model.
    Model404,
    /// 408.
    Timeout408,
    /// 413.
    TooLarge413,
    /// 429: too many requests.
    RateLimited429 {
        /// When to come back; `None` says nothing.
        retry: Option<RetryHint>,
    },
    /// 429 that means an empty account: `insufficient_quota`, a spend limit, a daily quota.
    QuotaExhausted429,
    /// 500.
    ServerError500,
    /// 502 with HTML from a proxy in front.
    BadGateway502Html,
    /// 503.
    Unavailable503 {
        /// When to come back.
        retry: Option<RetryHint>,
    },
    /// 504.
    GatewayTimeout504,
    /// 529: Anthropic's own status for overload; the others send it in their shape.
    Overloaded529,
    /// 200 with an error body.
    ErrorIn200,
    /// 200 with HTML.
    HtmlIn200,
    /// 200 and nothing.
    EmptyStream,
    /// The first event is an error.
    ErrorBeforeContent,
    /// An error follows the events that come before any content.
    ErrorAfterPrelude,
    /// The answer breaks off: the connection closes between two text events, unless the cut says otherwise.
    CutMidText {
        /// Where and how.
        cut: Cut,
    },
    /// The connection closes within the arguments of a tool call. With tools offered the answer is a tool call.
    CutMidToolCall,
    /// The connection closes within the bytes of an event.
    CutInsideEvent {
        /// After so many content events.
        after: u32,
    },
    /// Silence, with the connection open.
    Stall {
        /// After so many content events.
        after: u32,
    },
    /// Silence but for keep-alive comments.
    StallWithKeepalives {
        /// After so many content events.
        after: u32,
        /// Between two comments.
        every: Duration,
    },
    /// Tokens at half the pace.
    HalfSpeed,
    /// An event that is not JSON, among good ones.
    MalformedEvent {
        /// After so many content events.
        after: u32,
    },
    /// A clean end of the body without finish reason and terminator.
    MissingTerminator,
    /// The finish is sent twice.
    DuplicateFinish,
    /// Chunks end within a character.
    SplitUtf8,
    /// One event of this size.
    HugeEvent {
        /// Bytes of text in it.
        bytes: u32,
    },
    /// Compressed, though nobody asked.
    Gzip,
    /// HTTP/2 GOAWAY while the answer is on its way (HTTP/1: `connection: close`).
    Goaway,
    /// HTTP/2 with one stream at a time for each connection.
    OneStreamPerConnection,
    /// The answer is there before the request body is read.
    EarlyResponse {
        /// Its status.
        status: u16,
    },
}

const DEFAULT_AFTER: u32 = 3;

/// Every kind under its name, with its default parameters.
const KINDS: [(&str, FaultKind); 42] = [
    ("refuse", FaultKind::Refuse),
    ("unroutable", FaultKind::Unroutable),
    ("reset_before_headers", FaultKind::ResetBeforeHeaders),
    ("tls_failure", FaultKind::TlsFailure),
    ("hang_before_headers", FaultKind::HangBeforeHeaders),
    ("slow_headers", FaultKind::SlowHeaders { by: Duration::from_secs(2) }),
    ("slow_first_token", FaultKind::SlowFirstToken { by: Duration::from_secs(2) }),
    ("bad_request_context_length", FaultKind::BadRequestContextLength),
    ("content_policy_400", FaultKind::ContentPolicy400),
    ("unauthorized_401", FaultKind::Unauthorized401),
    ("payment_402", FaultKind::Payment402),
    ("forbidden_403", FaultKind::Forbidden403),
    ("model_404", FaultKind::Model404),
    ("timeout_408", FaultKind::Timeout408),
    ("too_large_413", FaultKind::TooLarge413),
    ("rate_limited_429", FaultKind::RateLimited429 { retry: None }),
    ("quota_exhausted_429", FaultKind::QuotaExhausted429),
    ("server_error_500", FaultKind::ServerError500),
    ("bad_gateway_502_html", FaultKind::BadGateway502Html),
    ("unavailable_503", FaultKind::Unavailable503 { retry: None }),
    ("gateway_timeout_504", FaultKind::GatewayTimeout504),
    ("overloaded_529", FaultKind::Overloaded529),
    ("error_in_200", FaultKind::ErrorIn200),
    ("html_in_200", FaultKind::HtmlIn200),
    ("empty_stream", FaultKind::EmptyStream),
    ("error_before_content", FaultKind::ErrorBeforeContent),
    ("error_after_prelude", FaultKind::ErrorAfterPrelude),
    ("cut_mid_text", FaultKind::CutMidText { cut: Cut::events(DEFAULT_AFTER) }),
    ("cut_mid_tool_call", FaultKind::CutMidToolCall),
    ("cut_inside_event", FaultKind::CutInsideEvent { after: DEFAULT_AFTER }),
    ("stall", FaultKind::Stall { after: DEFAULT_AFTER }),
    (
        "stall_with_keepalives",
        FaultKind::StallWithKeepalives { after: DEFAULT_AFTER, every: Duration::from_millis(500) },
    ),
    ("half_speed", FaultKind::HalfSpeed),
    ("malformed_event", FaultKind::MalformedEvent { after: DEFAULT_AFTER }),
    ("missing_terminator", FaultKind::MissingTerminator),
    ("duplicate_finish", FaultKind::DuplicateFinish),
    ("split_utf8", FaultKind::SplitUtf8),
    ("huge_event", FaultKind::HugeEvent { bytes: 1 << 20 }),
    ("gzip", FaultKind::Gzip),
    ("goaway", FaultKind::Goaway),
    ("one_stream_per_connection", FaultKind::OneStreamPerConnection),
    ("early_response", FaultKind::EarlyResponse { status: 503 }),
];

/// Cuts at an exact place, with their default parameters.
const EXACT: [(&str, Cut); 4] = [
    ("cut_after_wire", Cut::wire(1024)),
    ("cut_after_text", Cut::text(64)),
    ("cut_after_reasoning", Cut::reasoning(16)),
    ("cut_after_arguments", Cut::arguments(8)),
];

/// Statuses on the command line, and the fault each one means.
const STATUSES: [(&str, &str); 13] = [
    ("400", "bad_request_context_length"),
    ("401", "unauthorized_401"),
    ("402", "payment_402"),
    ("403", "forbidden_403"),
    ("404", "model_404"),
    ("408", "timeout_408"),
    ("413", "too_large_413"),
    ("429", "rate_limited_429"),
    ("500", "server_error_500"),
    ("502", "bad_gateway_502_html"),
    ("503", "unavailable_503"),
    ("504", "gateway_timeout_504"),
    ("529", "overloaded_529"),
];

/// Why a one-line fault was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseFaultError(String);

impl fmt::Display for ParseFaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseFaultError {}

impl FaultKind {
    /// Every kind with its default parameters, in the order of the documentation.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.into_iter().map(|(_, kind)| kind)
    }

    /// The name in scripts, on the command line and in the journal.
    pub fn name(self) -> &'static str {
        if let Self::CutMidText { cut } = self {
            return cut.name();
        }
        KINDS
            .into_iter()
            .find(|(_, kind)| std::mem::discriminant(kind) == std::mem::discriminant(&self))
            .map_or("unknown", |(name, _)| name)
    }

    /// A 429 with `retry-after` in the dialect's own form.
    pub fn rate_limited(after: Duration) -> Self {
        Self::RateLimited429 { retry: Some(RetryHint { after, form: HintForm::Native }) }
    }

    fn named(name: &str) -> Option<Self> {
        let name = name.strip_prefix("status_").unwrap_or(name);
        let name = STATUSES.into_iter().find(|(status, _)| *status == name).map_or(name, |(_, full)| full);
        let exact = || EXACT.into_iter().find(|(known, _)| *known == name).map(|(_, cut)| cut.into());
        KINDS.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind).or_else(exact)
    }

    fn with(self, key: &str, value: &str) -> Result<Self, String> {
        let count = || value.parse::<u32>().map_err(|_| format!("`{key}={value}`: expected a whole number"));
        Ok(match (self, key) {
            (Self::SlowHeaders { .. }, "by") => Self::SlowHeaders { by: duration::parse(value)? },
            (Self::SlowFirstToken { .. }, "by") => Self::SlowFirstToken { by: duration::parse(value)? },
            (Self::CutMidText { cut }, _) => Self::CutMidText { cut: cut.with(key, value)? },
            (Self::CutInsideEvent { .. }, "after") => Self::CutInsideEvent { after: count()? },
            (Self::Stall { .. }, "after") => Self::Stall { after: count()? },
            (Self::StallWithKeepalives { every, .. }, "after") => Self::StallWithKeepalives { after: count()?, every },
            (Self::StallWithKeepalives { after, .. }, "every") => {
                Self::StallWithKeepalives { after, every: duration::parse(value)?.max(Duration::from_millis(1)) }
            }
            (Self::MalformedEvent { .. }, "after") => Self::MalformedEvent { after: count()? },
            (Self::HugeEvent { .. }, "bytes") => Self::HugeEvent { bytes: count()? },
            (Self::EarlyResponse { .. }, "status") => Self::EarlyResponse {
                status: value
                    .parse()
                    .ok()
                    .filter(|status| (400..=599).contains(status))
                    .ok_or_else(|| format!("`status={value}`: expected 400 to 599"))?,
            },
            (Self::RateLimited429 { retry }, "retry_after" | "form") => {
                Self::RateLimited429 { retry: hint(retry, key, value)? }
            }
            (Self::Unavailable503 { retry }, "retry_after" | "form") => {
                Self::Unavailable503 { retry: hint(retry, key, value)? }
            }
            (kind, _) => return Err(format!("`{}` has no parameter `{key}`", kind.name())),
        })
    }

    fn parameters(self) -> Vec<(&'static str, String)> {
        match self {
            Self::SlowHeaders { by } | Self::SlowFirstToken { by } => vec![("by", duration::write(by))],
            Self::CutMidText { cut } => cut.parameters(),
            Self::CutInsideEvent { after } | Self::Stall { after } | Self::MalformedEvent { after } => {
                vec![("after", after.to_string())]
            }
            Self::StallWithKeepalives { after, every } => {
                vec![("after", after.to_string()), ("every", duration::write(every))]
            }
            Self::HugeEvent { bytes } => vec![("bytes", bytes.to_string())],
            Self::EarlyResponse { status } => vec![("status", status.to_string())],
            Self::RateLimited429 { retry: Some(hint) } | Self::Unavailable503 { retry: Some(hint) } => {
                let form =
                    HintForm::NAMES.into_iter().find(|(_, form)| *form == hint.form).map_or("", |(name, _)| name);
                vec![("retry_after", duration::write(hint.after)), ("form", form.to_owned())]
            }
            _ => Vec::new(),
        }
    }
}

impl From<Cut> for FaultKind {
    fn from(cut: Cut) -> Self {
        Self::CutMidText { cut }
    }
}

fn hint(hint: Option<RetryHint>, key: &str, value: &str) -> Result<Option<RetryHint>, String> {
    let known = hint.unwrap_or(RetryHint { after: Duration::from_secs(1), form: HintForm::Native });
    if key == "retry_after" {
        if value == "none" {
            return Ok(None);
        }
        return Ok(Some(RetryHint { after: duration::parse(value)?, ..known }));
    }
    let named = HintForm::NAMES.into_iter().find(|(name, _)| *name == value);
    let (_, form) =
        named.ok_or_else(|| format!("`form={value}`: expected native, seconds, ms, date, reset, body or text"))?;
    Ok(Some(RetryHint { form, ..known }))
}

impl FromStr for FaultKind {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, parameters) = text.trim().split_once(':').unwrap_or((text.trim(), ""));
        let kind = Self::named(name).ok_or_else(|| {
            let exact = EXACT.into_iter().map(|(name, _)| name);
            let known: Vec<&str> = KINDS.into_iter().map(|(name, _)| name).chain(exact).collect();
            ParseFaultError(format!("unknown fault `{name}`: expected one of {}", known.join(", ")))
        })?;
        parameters.split(',').filter(|pair| !pair.trim().is_empty()).try_fold(kind, |kind, pair| {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| ParseFaultError(format!("`{pair}` in `{text}`: expected key=value")))?;
            kind.with(key.trim(), value.trim()).map_err(|why| ParseFaultError(format!("fault `{text}`: {why}")))
        })
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        for (place, (key, value)) in self.parameters().into_iter().enumerate() {
            write!(f, "{}{key}={value}", if place == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

impl serde::Serialize for FaultKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for FaultKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for FaultKind {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FaultKind".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let exact = EXACT.into_iter().map(|(_, cut)| Self::from(cut));
        let examples: Vec<String> = Self::all().chain(exact).map(|kind| kind.to_string()).collect();
        schemars::json_schema!({
            "type": "string",
            "description": "A fault and its parameters, e.g. `unavailable_503` or `rate_limited_429:retry_after=2`.",
            "examples": examples,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_from_its_one_line_form() {
        for kind in FaultKind::all() {
            assert_eq!(kind.to_string().parse(), Ok(kind), "{kind}");
        }
    }

    #[test]
    fn cuts_read_back_with_all_their_parameters() {
        for text in [
            "cut_mid_text:after=2,by=reset",
            "cut_after_wire:bytes=77,by=slow",
            "cut_after_text:bytes=123",
            "cut_after_text:characters=9,by=hang,event=torn",
            "cut_after_reasoning:bytes=3,by=error",
            "cut_after_arguments:bytes=0,by=close",
        ] {
            assert_eq!(text.parse::<FaultKind>().unwrap().to_string(), text);
        }
        assert_eq!("cut_after_text:bytes=5".parse(), Ok(FaultKind::from(Cut::text(5))));
        assert!("cut_after_wire:characters=5".parse::<FaultKind>().is_err());
        assert!("cut_after_text:by=force".parse::<FaultKind>().unwrap_err().to_string().contains("expected drop"));
    }

    #[test]
    fn statuses_and_parameters_are_understood() {
        assert_eq!("status_503".parse(), Ok(FaultKind::Unavailable503 { retry: None }));
        assert_eq!("429:retry_after=2".parse(), Ok(FaultKind::rate_limited(Duration::from_secs(2))));
        let date = RetryHint { after: Duration::from_secs(2), form: HintForm::Date };
        assert_eq!("429:form=date,retry_after=2".parse(), Ok(FaultKind::RateLimited429 { retry: Some(date) }));
        assert_eq!("stall:after=7".parse(), Ok(FaultKind::Stall { after: 7 }));
    }

    #[test]
    fn a_mistake_names_what_was_expected() {
        let cases =
            [("sleepy", "expected one of"), ("stall:for=2", "no parameter `for`"), ("stall:after", "key=value")];
        for (text, expected) in cases {
            let error = text.parse::<FaultKind>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
