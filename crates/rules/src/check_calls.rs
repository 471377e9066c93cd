//! Functions and methods: what each takes, and what it gives.

use crate::ast::{Call, Kind, Node};
use crate::check::{Checker, Meaning, literal};
use crate::eval::{Constant, Expr, TextTest};
use crate::facts::{CLOCK, ClockPart, Type};
use crate::problem::{Problem, Span, unknown};
use canon::FaultClass;
use std::time::Duration;

/// The shortest and the longest window that calls are counted over.
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);
const LONGEST_WINDOW: (Duration, &str) = (Duration::from_secs(3600), "1h");
/// The longest window that money is summed up over: a month.
const LONGEST_SPEND: (Duration, &str) = (Duration::from_secs(31 * 24 * 3600), "744h");

const FUNCTIONS: [&str; 9] = ["target", "rate", "samples", "spent", "duration", "has", "size", "int", "double"];
const METHODS: [&str; 4] = ["startsWith", "endsWith", "contains", "size"];
/// Words of CEL that a rule does without.
const LEFT_OUT: [(&str, &str); 8] = [
    ("matches", "there are no regular expressions: expected `startsWith`, `endsWith`, `contains` or `in`"),
    ("exists", "a rule has no comprehensions: expected `in`"),
    ("all", "a rule has no comprehensions: expected `in`"),
    ("map", "a rule has no comprehensions: expected `in`"),
    ("filter", "a rule has no comprehensions: expected `in`"),
    ("exists_one", "a rule has no comprehensions: expected `in`"),
    ("timestamp", "there is no date: expected `now.getHours()`, `now.getMinutes()` or `now.getDayOfWeek()`"),
    ("string", "a rule makes no new strings"),
];

pub(crate) fn call(checker: &mut Checker<'_>, call: &Call, span: &Span) -> Result<Meaning, Problem> {
    match &call.on {
        Some(on) => method(checker, call, on, span),
        None => function(checker, call, span),
    }
}

fn function(checker: &mut Checker<'_>, call: &Call, span: &Span) -> Result<Meaning, Problem> {
    match call.name.as_str() {
        "target" => {
            let [id] = arguments(call, span, "target(\"provider/model\")")?;
            Ok(Meaning::Target(checker.target(id)?))
        }
        "rate" => {
            let [id, class, window] =
                arguments(call, span, "rate(\"provider/model\", \"rate_limited\", duration(\"5m\"))")?;
            let expr = Expr::Rate {
                target: checker.target(id)?,
                class: class_of(class)?,
                window: window_of(checker, window, LONGEST_WINDOW)?,
            };
            Ok(Meaning::Value(expr, Type::Double))
        }
        "samples" => {
            let [id, window] = arguments(call, span, "samples(\"provider/model\", duration(\"5m\"))")?;
            let expr =
                Expr::Samples { target: checker.target(id)?, window: window_of(checker, window, LONGEST_WINDOW)? };
            Ok(Meaning::Value(expr, Type::Int))
        }
        "spent" => {
            let [id, window] = arguments(call, span, "spent(\"provider/model\", duration(\"24h\"))")?;
            let (target, written) = (checker.target(id)?, window);
            let window = window_of(checker, written, LONGEST_SPEND)?;
            checker.spends(target, window, &written.span)?;
            Ok(Meaning::Value(Expr::Spent { target, window }, Type::Double))
        }
        "duration" => {
            let [text] = arguments(call, span, "duration(\"90s\")")?;
            let written = literal(text, "a length of time such as `90s`")?;
            let nanos = parse_duration(written).ok_or_else(|| {
                Problem::new(
                    &text.span,
                    format!("`{written}` is no length of time: expected 200ms, 90s, 5m, 1h or 1m30s"),
                )
            })?;
            Ok(Meaning::Value(Expr::Constant(Constant::Nanos(nanos)), Type::Duration))
        }
        "has" => {
            let [what] = arguments(call, span, "has(request.labels.team)")?;
            let is_fact = matches!(what.kind, Kind::Field(..) | Kind::Index(..));
            let (expr, _) = checker.value(what)?;
            if !is_fact {
                return Err(Problem::new(
                    &what.span,
                    "expected a fact such as `request.user` or `request.labels.team`",
                ));
            }
            Ok(Meaning::Value(Expr::Known(Box::new(expr)), Type::Bool))
        }
        "size" => {
            let [text] = arguments(call, span, "size(request.user)")?;
            Ok(Meaning::Value(Expr::Size(Box::new(checker.expect(text, Type::Text)?)), Type::Int))
        }
        "int" | "double" => {
            let [number] = arguments(call, span, "int(1.9) or double(1)")?;
            let (expr, of) = checker.value(number)?;
            if !matches!(of, Type::Int | Type::Double) {
                return Err(Problem::new(&number.span, format!("expected a number, found {of}")));
            }
            Ok(if call.name == "int" {
                Meaning::Value(Expr::ToInt(Box::new(expr)), Type::Int)
            } else {
                Meaning::Value(Expr::ToDouble(Box::new(expr)), Type::Double)
            })
        }
        other => Err(unknown_function(other, &call.name_span, &FUNCTIONS)),
    }
}

fn method(checker: &mut Checker<'_>, call: &Call, on: &Node, span: &Span) -> Result<Meaning, Problem> {
    let name = call.name.as_str();
    let on_meaning = checker.meaning(on)?;
    if let Meaning::Now = on_meaning {
        let Some((_, part, _)) = CLOCK.iter().find(|(it, ..)| *it == name) else {
            return Err(unknown_function(name, &call.name_span, &CLOCK.map(|(it, ..)| it)));
        };
        return clock(*part, call, span);
    }
    if let Some((_, hint)) = LEFT_OUT.iter().find(|(it, _)| *it == name) {
        return Err(Problem::new(&call.name_span, *hint));
    }
    let Meaning::Value(text, Type::Text) = on_meaning else {
        let message = format!("`{name}` is a method of strings: found none before it");
        return Err(Problem::new(&on.span, message));
    };
    let test = match name {
        "startsWith" => TextTest::StartsWith,
        "endsWith" => TextTest::EndsWith,
        "contains" => TextTest::Contains,
        "size" => {
            let [] = arguments(call, span, "size()")?;
            return Ok(Meaning::Value(Expr::Size(Box::new(text)), Type::Int));
        }
        _ => return Err(unknown_function(name, &call.name_span, &METHODS)),
    };
    let [part] = arguments(call, span, &format!("{name}(\"text\")"))?;
    let part = checker.expect(part, Type::Text)?;
    Ok(Meaning::Value(Expr::Text(test, Box::new([text, part])), Type::Bool))
}

fn clock(part: ClockPart, call: &Call, span: &Span) -> Result<Meaning, Problem> {
    let minutes = match call.arguments.as_slice() {
        [] => 0,
        [zone] => {
            let written = literal(zone, "an offset such as `+02:00`")?;
            offset_minutes(written).ok_or_else(|| {
                Problem::new(&zone.span, format!("`{written}` is no offset from UTC: expected `+02:00` or `UTC`"))
            })?
        }
        _ => return Err(Problem::new(span, "expected one offset such as `+02:00`, or nothing")),
    };
    Ok(Meaning::Value(Expr::Clock { part, minutes }, Type::Int))
}

fn arguments<'a, const N: usize>(call: &'a Call, span: &Span, form: &str) -> Result<&'a [Node; N], Problem> {
    <&[Node; N]>::try_from(call.arguments.as_slice()).map_err(|_| {
        let message = format!("expected {N} arguments as in `{form}`, found {}", call.arguments.len());
        Problem::new(span, message.replace(" 1 arguments", " 1 argument"))
    })
}

fn unknown_function(name: &str, span: &Span, known: &[&str]) -> Problem {
    if let Some((_, hint)) = LEFT_OUT.iter().find(|(it, _)| *it == name) {
        return Problem::new(span, *hint);
    }
    Problem::new(span, format!("there is no function `{name}`: {}", unknown(name, known.iter().copied())))
}

/// `None` = any class that says something about the target or its credentials.
fn class_of(node: &Node) -> Result<Option<FaultClass>, Problem> {
    let name = literal(node, "a class of faults")?;
    if name == "any" {
        return Ok(None);
    }
    // A call that its caller gave up did not end, so that no share of calls is counted of it.
    let counted = || FaultClass::ALL.into_iter().filter(|class| *class != FaultClass::Cancelled);
    counted().find(|class| class.as_str() == name).map(Some).ok_or_else(|| {
        let known = unknown(name, std::iter::once("any").chain(counted().map(FaultClass::as_str)));
        Problem::new(&node.span, format!("there is no class of faults `{name}`: {known}"))
    })
}

fn window_of(checker: &mut Checker<'_>, node: &Node, longest: (Duration, &str)) -> Result<Duration, Problem> {
    let Expr::Constant(Constant::Nanos(nanos)) = checker.expect(node, Type::Duration)? else {
        return Err(Problem::new(&node.span, "expected a window that is written here, such as `duration(\"5m\")`"));
    };
    let window = Duration::from_nanos(u64::try_from(nanos).unwrap_or_default());
    if !(SHORTEST_WINDOW..=longest.0).contains(&window) {
        return Err(Problem::new(&node.span, format!("expected a window from 1s to {}", longest.1)));
    }
    Ok(window)
}

/// `1h30m`, `200ms`, `1.5s`: numbers, each with its unit.
fn parse_duration(text: &str) -> Option<i64> {
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut nanos = 0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        let scale = match unit {
            "ns" => 1.0,
            "us" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        nanos += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (nanos < 9e18).then_some(nanos.round() as i64)
}

/// `UTC`, `Z`, `+02:00`, `-05:30`.
fn offset_minutes(text: &str) -> Option<i64> {
    if matches!(text, "UTC" | "Z") {
        return Some(0);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = rest.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours <= 14 && minutes < 60).then(|| sign * (i64::from(hours) * 60 + i64::from(minutes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_cel_writes_them() {
        for (text, nanos) in [
            ("200ms", Some(200_000_000)),
            ("90s", Some(90_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("5d", None),
            ("s", None),
            ("-5s", None),
            ("999999999999h", None),
        ] {
            assert_eq!(parse_duration(text), nanos, "{text}");
        }
    }

    #[test]
    fn offsets_are_read() {
        for (text, minutes) in [
            ("UTC", Some(0)),
            ("+02:00", Some(120)),
            ("-05:30", Some(-330)),
            ("2", None),
            ("+25:00", None),
            ("Europe/Berlin", None),
        ] {
            assert_eq!(offset_minutes(text), minutes, "{text}");
        }
    }
}
