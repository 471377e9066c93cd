//! A checked expression, and its value for a request now. No allocation, no panic; every part is looked at once at
//! most.
//!
//! A value can be unknown (a label that is absent, a percentile without samples) or fail (an overflow, a division by
//! zero). As in CEL, `&&` and `||` are commutative over both: `false && unknown` is false, `true || unknown` is true.

use crate::facts::{ClockPart, Map, RequestFact};
use crate::{Modality, TargetFact};
use canon::{FaultClass, Instant};
use std::cmp::Ordering;
use std::time::Duration;

/// What a request says.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a request, each read by name")]
pub struct Request<'a> {
    /// The model asked for.
    pub model: &'a str,
    /// The dialect it came in, where that is known.
    pub dialect: Option<&'a str>,
    /// Prompt tokens, an estimate.
    pub tokens: u64,
    /// Cap on output tokens, where stated.
    pub max_output_tokens: Option<u64>,
    /// The caller gets a stream.
    pub stream: bool,
    /// Tools are offered.
    pub tools: bool,
    /// Pictures are sent.
    pub images: bool,
    /// Documents are sent.
    pub documents: bool,
    /// Sound is sent.
    pub audio: bool,
    /// Output bound to a JSON Schema.
    pub json_schema: bool,
    /// The caller asked for reasoning.
    pub reasoning: bool,
    /// The name of the caller's key.
    pub key: Option<&'a str>,
    /// What has to be looked up.
    pub lookup: &'a dyn Lookup,
}

/// Facts of a request that are looked up by name, when a rule asks.
pub trait Lookup {
    /// The end user the body names.
    fn user(&self) -> Option<&str>;
    /// A label.
    fn label(&self, name: &str) -> Option<&str>;
    /// A header of the caller, by lower-case name; never one that holds a credential.
    fn header(&self, name: &str) -> Option<&str>;
}

/// A request that says nothing but what its head scan tells.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLookup;

impl Lookup for NoLookup {
    fn user(&self) -> Option<&str> {
        None
    }
    fn label(&self, _: &str) -> Option<&str> {
        None
    }
    fn header(&self, _: &str) -> Option<&str> {
        None
    }
}

/// Facts of the targets that rules name, by their place among them.
pub trait Targets {
    /// A fact; `None` = unknown. One that rests on samples is unknown with fewer than `min_samples` of them.
    fn fact(&self, target: usize, fact: TargetFact, min_samples: u32, now: Instant) -> Option<Value<'_>>;
    /// Calls of the target that ended within the window before `now`, and how many of them with this class of fault
    /// (`None` = any but the caller's own).
    fn counts(&self, target: usize, class: Option<FaultClass>, window: Duration, now: Instant) -> Counts;
    /// US dollars spent on the target within the window before `now`; `None` = its prices are unknown.
    fn spent(&self, target: usize, window: Duration, now: Instant) -> Option<f64>;
    /// When something was last heard of a call of the target: the first of an answer, or an end. `None` = never.
    fn last_heard(&self, target: usize) -> Option<Instant>;
}

/// Calls that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All of them.
    pub all: u64,
    /// Those asked about.
    pub of_class: u64,
}

/// Now, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// On the time line of the gateway.
    pub now: Instant,
    /// Seconds since the Unix epoch, for the time of day; `None` = unknown.
    pub unix_seconds: Option<i64>,
}

/// A value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// A text.
    Text(&'a str),
    /// A length of time in nanoseconds.
    Nanos(i64),
}

impl Value<'_> {
    /// A length of time.
    pub fn duration(span: Duration) -> Self {
        Self::Nanos(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
    }

    /// A count.
    pub fn count(count: u64) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

/// Why an expression has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    Unknown,
    Failed(Failure),
}

/// What goes wrong at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A number or a length of time too large to be held.
    Overflow,
    /// A whole number divided by zero.
    DivisionByZero,
    /// A fact of another type than its name has.
    WrongType,
}

impl Failure {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "a value is too large",
            Self::DivisionByZero => "division by zero",
            Self::WrongType => "a fact is of the wrong type",
        }
    }
}

/// A value that is written in the rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Box<str>),
    Nanos(i64),
}

impl Constant {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Bool(it) => Value::Bool(*it),
            Self::Int(it) => Value::Int(*it),
            Self::Double(it) => Value::Double(*it),
            Self::Text(it) => Value::Text(it),
            Self::Nanos(it) => Value::Nanos(*it),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

/// A checked expression: types fit, names are resolved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Constant(Constant),
    Request(RequestFact),
    Modality(Modality),
    Entry(Map, Box<str>),
    /// `minutes` is the offset from UTC.
    Clock {
        part: ClockPart,
        minutes: i64,
    },
    Target(usize, TargetFact),
    Rate {
        target: usize,
        class: Option<FaultClass>,
        window: Duration,
    },
    Samples {
        target: usize,
        window: Duration,
    },
    Spent {
        target: usize,
        window: Duration,
    },
    /// Whether the inner one is known.
    Known(Box<Expr>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Choice(Box<[Expr; 3]>),
    Arithmetic(Arithmetic, Box<[Expr; 2]>),
    Compare(Comparison, Box<[Expr; 2]>),
    OneOf(Box<Expr>, Vec<Constant>),
    Text(TextTest, Box<[Expr; 2]>),
    Size(Box<Expr>),
    ToInt(Box<Expr>),
    ToDouble(Box<Expr>),
}

/// What an expression is evaluated over.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) request: Option<&'a Request<'a>>,
    pub(crate) targets: &'a dyn Targets,
    pub(crate) moment: Moment,
    pub(crate) min_samples: u32,
}

impl Expr {
    /// Whether it is true.
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> Result<bool, Halt> {
        match self.value(facts)? {
            Value::Bool(it) => Ok(it),
            _ => Err(Halt::Failed(Failure::WrongType)),
        }
    }

    fn value<'a>(&'a self, facts: &'a Facts<'a>) -> Result<Value<'a>, Halt> {
        match self {
            Self::Constant(constant) => Ok(constant.value()),
            Self::Request(fact) => request_fact(*fact, facts.request.ok_or(Halt::Unknown)?),
            Self::Modality(modality) => {
                let request = facts.request.ok_or(Halt::Unknown)?;
                Ok(Value::Bool(match modality {
                    Modality::Text => true,
                    Modality::Image => request.images,
                    Modality::Document => request.documents,
                    Modality::Audio => request.audio,
                }))
            }
            Self::Entry(map, name) => {
                let lookup = facts.request.ok_or(Halt::Unknown)?.lookup;
                let entry = match map {
                    Map::Labels => lookup.label(name),
                    Map::Headers => lookup.header(name),
                };
                entry.map(Value::Text).ok_or(Halt::Unknown)
            }
            Self::Clock { part, minutes } => {
                let seconds = facts.moment.unix_seconds.ok_or(Halt::Unknown)?;
                Ok(Value::Int(clock(*part, seconds, *minutes)))
            }
            Self::Target(target, fact) => {
                facts.targets.fact(*target, *fact, facts.min_samples, facts.moment.now).ok_or(Halt::Unknown)
            }
            Self::Rate { target, class, window } => {
                let counts = facts.targets.counts(*target, *class, *window, facts.moment.now);
                if counts.all < u64::from(facts.min_samples.max(1)) {
                    return Err(Halt::Unknown);
                }
                Ok(Value::Double(counts.of_class as f64 / counts.all as f64))
            }
            Self::Samples { target, window } => {
                Ok(Value::count(facts.targets.counts(*target, None, *window, facts.moment.now).all))
            }
            Self::Spent { target, window } => {
                facts.targets.spent(*target, *window, facts.moment.now).map(Value::Double).ok_or(Halt::Unknown)
            }
            Self::Known(inner) => match inner.value(facts) {
                Ok(_) => Ok(Value::Bool(true)),
                Err(Halt::Unknown) => Ok(Value::Bool(false)),
                Err(failed @ Halt::Failed(_)) => Err(failed),
            },
            Self::Not(inner) => Ok(Value::Bool(!inner.holds(facts)?)),
            Self::Negate(inner) => match inner.value(facts)? {
                Value::Int(it) => it.checked_neg().map(Value::Int).ok_or(Halt::Failed(Failure::Overflow)),
                Value::Double(it) => Ok(Value::Double(-it)),
                Value::Nanos(it) => it.checked_neg().map(Value::Nanos).ok_or(Halt::Failed(Failure::Overflow)),
                Value::Bool(_) | Value::Text(_) => Err(Halt::Failed(Failure::WrongType)),
            },
            Self::All(parts) => decided(parts, false, facts),
            Self::Any(parts) => decided(parts, true, facts),
            Self::Choice(parts) => {
                let [condition, then, otherwise] = &**parts;
                if condition.holds(facts)? { then.value(facts) } else { otherwise.value(facts) }
            }
            Self::Arithmetic(op, sides) => {
                let [left, right] = &**sides;
                arithmetic(*op, left.value(facts)?, right.value(facts)?)
            }
            Self::Compare(op, sides) => {
                let [left, right] = &**sides;
                Ok(Value::Bool(compare(*op, left.value(facts)?, right.value(facts)?)))
            }
            Self::OneOf(inner, list) => {
                let value = inner.value(facts)?;
                Ok(Value::Bool(list.iter().any(|it| order(value, it.value()) == Some(Ordering::Equal))))
            }
            Self::Text(test, sides) => {
                let [left, right] = &**sides;
                let (Value::Text(text), Value::Text(part)) = (left.value(facts)?, right.value(facts)?) else {
                    return Err(Halt::Failed(Failure::WrongType));
                };
                Ok(Value::Bool(match test {
                    TextTest::StartsWith => text.starts_with(part),
                    TextTest::EndsWith => text.ends_with(part),
                    TextTest::Contains => text.contains(part),
                }))
            }
            Self::Size(inner) => match inner.value(facts)? {
                Value::Text(text) => Ok(Value::count(text.chars().count() as u64)),
                _ => Err(Halt::Failed(Failure::WrongType)),
            },
            Self::ToInt(inner) => to_int(inner.value(facts)?),
            Self::ToDouble(inner) => match inner.value(facts)? {
                Value::Int(it) => Ok(Value::Double(it as f64)),
                double @ Value::Double(_) => Ok(double),
                _ => Err(Halt::Failed(Failure::WrongType)),
            },
        }
    }
}

/// The first part that is `decisive` decides; without one, a part that failed or is unknown does.
fn decided<'a>(parts: &'a [Expr], decisive: bool, facts: &'a Facts<'a>) -> Result<Value<'a>, Halt> {
    let mut halt = None;
    for part in parts {
        match part.holds(facts) {
            Ok(it) if it == decisive => return Ok(Value::Bool(decisive)),
            Ok(_) => {}
            Err(failed @ Halt::Failed(_)) => halt = Some(failed),
            Err(Halt::Unknown) => halt = halt.or(Some(Halt::Unknown)),
        }
    }
    halt.map_or(Ok(Value::Bool(!decisive)), Err)
}

fn request_fact<'a>(fact: RequestFact, request: &'a Request<'a>) -> Result<Value<'a>, Halt> {
    let known = match fact {
        RequestFact::Model => Some(Value::Text(request.model)),
        RequestFact::Dialect => request.dialect.map(Value::Text),
        RequestFact::Tokens => Some(Value::count(request.tokens)),
        RequestFact::MaxOutputTokens => request.max_output_tokens.map(Value::count),
        RequestFact::Stream => Some(Value::Bool(request.stream)),
        RequestFact::Tools => Some(Value::Bool(request.tools)),
        RequestFact::JsonSchema => Some(Value::Bool(request.json_schema)),
        RequestFact::Reasoning => Some(Value::Bool(request.reasoning)),
        RequestFact::User => request.lookup.user().map(Value::Text),
        RequestFact::Key => request.key.map(Value::Text),
    };
    known.ok_or(Halt::Unknown)
}

fn clock(part: ClockPart, unix_seconds: i64, offset_minutes: i64) -> i64 {
    const DAY: i64 = 86_400;
    /// The first of January 1970 was a Thursday.
    const EPOCH_DAY: i64 = 4;
    let local = unix_seconds.saturating_add(offset_minutes * 60);
    match part {
        ClockPart::Hours => local.rem_euclid(DAY) / 3600,
        ClockPart::Minutes => local.rem_euclid(3600) / 60,
        ClockPart::DayOfWeek => local.div_euclid(DAY).saturating_add(EPOCH_DAY).rem_euclid(7),
    }
}

fn arithmetic<'a>(op: Arithmetic, left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, Halt> {
    let whole = |left: i64, right: i64| match op {
        Arithmetic::Add => left.checked_add(right).ok_or(Failure::Overflow),
        Arithmetic::Subtract => left.checked_sub(right).ok_or(Failure::Overflow),
        Arithmetic::Multiply => left.checked_mul(right).ok_or(Failure::Overflow),
        Arithmetic::Divide | Arithmetic::Remainder if right == 0 => Err(Failure::DivisionByZero),
        Arithmetic::Divide => left.checked_div(right).ok_or(Failure::Overflow),
        Arithmetic::Remainder => left.checked_rem(right).ok_or(Failure::Overflow),
    };
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => whole(left, right).map(Value::Int).map_err(Halt::Failed),
        (Value::Nanos(left), Value::Nanos(right)) => whole(left, right).map(Value::Nanos).map_err(Halt::Failed),
        (Value::Double(left), Value::Double(right)) => Ok(Value::Double(match op {
            Arithmetic::Add => left + right,
            Arithmetic::Subtract => left - right,
            Arithmetic::Multiply => left * right,
            Arithmetic::Divide => left / right,
            Arithmetic::Remainder => left % right,
        })),
        _ => Err(Halt::Failed(Failure::WrongType)),
    }
}

/// How two values stand to each other; `None` where they cannot be compared (a double that is no number).
fn order(left: Value<'_>, right: Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(&right)),
        (Value::Int(left), Value::Int(right)) | (Value::Nanos(left), Value::Nanos(right)) => Some(left.cmp(&right)),
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(&right),
        (Value::Int(left), Value::Double(right)) => (left as f64).partial_cmp(&right),
        (Value::Double(left), Value::Int(right)) => left.partial_cmp(&(right as f64)),
        _ => None,
    }
}

fn compare(op: Comparison, left: Value<'_>, right: Value<'_>) -> bool {
    let ordering = order(left, right);
    match op {
        Comparison::Equal => ordering == Some(Ordering::Equal),
        Comparison::NotEqual => ordering != Some(Ordering::Equal),
        Comparison::Less => ordering == Some(Ordering::Less),
        Comparison::LessOrEqual => ordering.is_some_and(Ordering::is_le),
        Comparison::Greater => ordering == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => ordering.is_some_and(Ordering::is_ge),
    }
}

fn to_int(value: Value<'_>) -> Result<Value<'_>, Halt> {
    match value {
        int @ Value::Int(_) => Ok(int),
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked; the fraction is what is cut off")]
        Value::Double(it) if it.abs() < 9.2e18 => Ok(Value::Int(it as i64)),
        Value::Double(_) => Err(Halt::Failed(Failure::Overflow)),
        Value::Bool(_) | Value::Text(_) | Value::Nanos(_) => Err(Halt::Failed(Failure::WrongType)),
    }
}
