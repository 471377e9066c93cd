//! Bars: `attempts(east/m) <= 15`, `client_errors <= 0.1%`, `closed_after(east/m) in 60s..90s`.
//!
//! A figure, perhaps of a target, a comparison, and a value in the figure's unit. What each figure means is said at
//! [`Figure`]; `docs/DRILLS.md` has the list.

use crate::units::parse_share;
use canon::FaultClass;
use config::Span;
use std::time::Duration;

/// What is measured over a window of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Figure {
    /// Requests that arrived.
    Requests,
    /// Requests that ended in an error or in a broken stream: their share, or their number.
    ClientErrors,
    /// Answers that were whole, a second.
    Goodput,
    /// Requests whose stream broke after its first content.
    BrokenStreams,
    /// Upstream calls, of a target or of all.
    Attempts(Option<usize>),
    /// Upstream calls of a target that ended in this class.
    Faults(Option<usize>, FaultClass),
    /// A target's share of the upstream calls.
    Share(usize),
    /// A target's share of the answered requests.
    Served(usize),
    /// Upstream calls a request, whatever its SDK repeated.
    Amplification,
    /// What a request waited before the attempt that served it was started.
    Added(Quantile),
    /// From the arrival to the first content.
    FirstContent(Quantile),
    /// The same, as a share of what it is for the requests of another load.
    FirstContentBeside(Quantile, usize),
    /// From the arrival to the error.
    ErrorTime(Quantile),
    /// Requests that waited longer than this for their first content or their error.
    WaitedOver(Duration),
    /// Requests until a target's share of the first attempts of the last forty is at most this.
    RequestsUntilShare(usize, f64),
    /// Requests after which a target's share of the first attempts of the next forty is at most this.
    RequestsUntilLeft(usize, f64),
    /// Time until a target's share of the first attempts of the last forty is at least this.
    TimeToShare(usize, f64),
    /// From the window's begin to the first upstream call, of a target or of any.
    FirstAttempt(Option<usize>),
    /// From the window's begin to the first content of any answer.
    FirstSuccess,
    /// Of the requests that arrived within this after that first content, those that ended in an error.
    ErrorsAfterSuccess(Duration),
    /// Times a target's breaker opened from closed or ramping.
    Trips(usize),
    /// From the window's begin until a target's breaker is closed.
    ClosedAfter(usize),
    /// A target's share of the upstream calls in so long after its breaker began to ramp.
    RampShare(usize, Duration),
    /// The length of the first rest that a trip began, in lengths of the rest before it.
    RestGrowth(usize),
    /// Calls to a target before the hint its gateway had heard for that credential.
    Early(usize),
    /// Attempts started beside another.
    Hedges,
    /// What calls cost that brought no whole answer, as a share of what those cost that did.
    ExtraCost,
    /// Attempts that went on with a broken stream.
    Rescues,
    /// What the prompts of a conversation cost, beside perfect caching.
    InputCost(Quantile),
    /// How often a conversation went from one target to another.
    Moves(Quantile),
}

/// Which part of the requests was quicker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantile(pub(crate) f64);

/// The unit of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Count,
    Percent,
    Seconds,
    Times,
}

/// How figure and value compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Compare {
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
    Within(f64, f64),
}

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) figure: Figure,
    pub(crate) compare: Compare,
    pub(crate) unit: Unit,
}

impl Compare {
    pub(crate) fn is_met(self, figure: f64) -> bool {
        const ROUNDING: f64 = 1e-9;
        match self {
            Self::AtMost(most) => figure <= most + ROUNDING,
            Self::AtLeast(least) => figure >= least - ROUNDING,
            Self::Exactly(value) => (figure - value).abs() <= ROUNDING,
            Self::Within(least, most) => figure >= least - ROUNDING && figure <= most + ROUNDING,
        }
    }

    /// How far a figure is from missing; the smallest of many is the worst.
    pub(crate) fn margin(self, figure: f64) -> f64 {
        match self {
            Self::AtMost(most) => most - figure,
            Self::AtLeast(least) => figure - least,
            Self::Exactly(value) => -(figure - value).abs(),
            Self::Within(least, most) => (most - figure).min(figure - least),
        }
    }
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Count => format!("{value:.0}"),
            Self::Percent => format!("{:.2}%", value * 100.0),
            Self::Seconds if value < 1.0 => format!("{:.0}ms", value * 1000.0),
            Self::Seconds => format!("{value:.2}s"),
            Self::Times => format!("{value:.3}"),
        }
    }
}

/// How what a bar names is found: targets by their ids, loads by their names.
pub(crate) struct Names<'n> {
    pub(crate) site: &'n dyn Fn(&str) -> Option<usize>,
    pub(crate) load: &'n dyn Fn(&str) -> Option<usize>,
}

impl Bar {
    /// Reads a bar. The error says what was expected.
    pub(crate) fn parse(text: &str, names: &Names<'_>) -> Result<Self, String> {
        let (left, operator, right) = split(text)?;
        let (name, arguments) = match left.split_once('(') {
            Some((name, rest)) => {
                let inner = rest.trim_end().strip_suffix(')').ok_or("a `(` without its `)`")?;
                (name.trim(), inner.split(',').map(str::trim).collect())
            }
            None => (left.trim(), Vec::new()),
        };
        let figure = figure(name, &arguments, names)?;
        let values: Vec<&str> = match operator {
            Operator::In => right.split_once("..").map(|(a, b)| vec![a, b]).ok_or("expected `in LEAST..MOST`")?,
            Operator::AtMost | Operator::AtLeast | Operator::Exactly => vec![right],
        };
        let read: Vec<(f64, Unit)> = values.into_iter().map(value).collect::<Result<_, _>>()?;
        let unit = read.first().map_or(Unit::Count, |(_, unit)| *unit);
        let unit = unit_of(&figure, unit, name)?;
        let compare = match (operator, read.as_slice()) {
            (Operator::AtMost, [(most, _)]) => Compare::AtMost(*most),
            (Operator::AtLeast, [(least, _)]) => Compare::AtLeast(*least),
            (Operator::Exactly, [(value, _)]) => Compare::Exactly(*value),
            (Operator::In, [(least, a), (most, b)]) if a == b && least <= most => Compare::Within(*least, *most),
            _ => return Err("expected `in LEAST..MOST` with one unit".to_owned()),
        };
        Ok(Self { figure, compare, unit })
    }
}

#[derive(Clone, Copy)]
enum Operator {
    AtMost,
    AtLeast,
    Exactly,
    In,
}

fn split(text: &str) -> Result<(&str, Operator, &str), String> {
    let operators =
        [("<=", Operator::AtMost), (">=", Operator::AtLeast), ("=", Operator::Exactly), (" in ", Operator::In)];
    operators
        .into_iter()
        .find_map(|(sign, operator)| text.split_once(sign).map(|(left, right)| (left, operator, right.trim())))
        .ok_or_else(|| format!("`{text}` is no bar: expected FIGURE <= VALUE, >=, =, or FIGURE in LEAST..MOST"))
}

fn value(text: &str) -> Result<(f64, Unit), String> {
    let text = text.trim();
    if let Some(share) = parse_share(text) {
        return Ok((share, Unit::Percent));
    }
    if let Some(Span(span)) = Span::parse(text) {
        return Ok((span.as_secs_f64(), Unit::Seconds));
    }
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)
        .map(|number| (number, Unit::Count))
        .ok_or_else(|| format!("`{text}` is no value: expected a number, a share such as 5%, or a time such as 50ms"))
}

/// The unit a figure is in; an error when the value has another.
fn unit_of(figure: &Figure, written: Unit, name: &str) -> Result<Unit, String> {
    let (unit, expected) = match figure {
        Figure::ClientErrors | Figure::WaitedOver(_) | Figure::Faults(..) | Figure::Hedges
            if written == Unit::Percent =>
        {
            (Unit::Percent, "a share")
        }
        Figure::Requests
        | Figure::ClientErrors
        | Figure::BrokenStreams
        | Figure::Attempts(_)
        | Figure::Faults(..)
        | Figure::WaitedOver(_)
        | Figure::RequestsUntilShare(..)
        | Figure::RequestsUntilLeft(..)
        | Figure::Trips(_)
        | Figure::Early(_)
        | Figure::Hedges
        | Figure::Rescues
        | Figure::Moves(_) => (Unit::Count, "a number"),
        Figure::Share(_)
        | Figure::Served(_)
        | Figure::ErrorsAfterSuccess(_)
        | Figure::RampShare(..)
        | Figure::FirstContentBeside(..)
        | Figure::ExtraCost => (Unit::Percent, "a share such as 5%"),
        Figure::Amplification | Figure::Goodput | Figure::RestGrowth(_) | Figure::InputCost(_) => {
            (Unit::Times, "a number")
        }
        Figure::Added(_)
        | Figure::FirstContent(_)
        | Figure::ErrorTime(_)
        | Figure::TimeToShare(..)
        | Figure::FirstAttempt(_)
        | Figure::FirstSuccess
        | Figure::ClosedAfter(_) => (Unit::Seconds, "a time such as 50ms"),
    };
    let fits = unit == written || (unit == Unit::Times && written == Unit::Count);
    if fits { Ok(unit) } else { Err(format!("`{name}` is compared with {expected}")) }
}

fn figure(name: &str, arguments: &[&str], names: &Names<'_>) -> Result<Figure, String> {
    let target = |id: &str| (names.site)(id).ok_or_else(|| format!("there is no target `{id}`"));
    let load = |name: &str| (names.load)(name).ok_or_else(|| format!("no load is called `{name}`"));
    let time =
        |text: &str| Span::parse(text).map(|span| span.0).ok_or_else(|| format!("`{text}` is no time such as 12s"));
    let share = |text: &str| parse_share(text).ok_or_else(|| format!("`{text}` is no share such as 5%"));
    Ok(match (name, arguments) {
        ("requests", []) => Figure::Requests,
        ("client_errors", []) => Figure::ClientErrors,
        ("goodput", []) => Figure::Goodput,
        ("broken_streams", []) => Figure::BrokenStreams,
        ("attempts", []) => Figure::Attempts(None),
        ("attempts", [id]) => Figure::Attempts(Some(target(id)?)),
        ("faults", [class]) => Figure::Faults(None, fault_class(class)?),
        ("faults", [id, class]) => Figure::Faults(Some(target(id)?), fault_class(class)?),
        ("share", [id]) => Figure::Share(target(id)?),
        ("served", [id]) => Figure::Served(target(id)?),
        ("amplification", []) => Figure::Amplification,
        ("added", [q]) => Figure::Added(quantile(q)?),
        ("first_content", [q]) => Figure::FirstContent(quantile(q)?),
        ("first_content", [q, of]) => Figure::FirstContentBeside(quantile(q)?, load(of)?),
        ("error_time", [q]) => Figure::ErrorTime(quantile(q)?),
        ("waited_over", [limit]) => Figure::WaitedOver(time(limit)?),
        ("errors_after_success", [within]) => Figure::ErrorsAfterSuccess(time(within)?),
        ("requests_until_share", [id, most]) => Figure::RequestsUntilShare(target(id)?, share(most)?),
        ("requests_until_left", [id, most]) => Figure::RequestsUntilLeft(target(id)?, share(most)?),
        ("time_to_share", [id, least]) => Figure::TimeToShare(target(id)?, share(least)?),
        ("first_attempt", []) => Figure::FirstAttempt(None),
        ("first_attempt", [id]) => Figure::FirstAttempt(Some(target(id)?)),
        ("first_success", []) => Figure::FirstSuccess,
        ("trips", [id]) => Figure::Trips(target(id)?),
        ("closed_after", [id]) => Figure::ClosedAfter(target(id)?),
        ("ramp_share", [id, within]) => Figure::RampShare(target(id)?, time(within)?),
        ("rest_growth", [id]) => Figure::RestGrowth(target(id)?),
        ("early", [id]) => Figure::Early(target(id)?),
        ("hedges", []) => Figure::Hedges,
        ("extra_cost", []) => Figure::ExtraCost,
        ("rescues", []) => Figure::Rescues,
        ("input_cost", [q]) => Figure::InputCost(quantile(q)?),
        ("moves", [q]) => Figure::Moves(quantile(q)?),
        _ => return Err(format!("`{name}` with {} arguments is no figure: expected {FIGURES}", arguments.len())),
    })
}

/// As errors and the documentation list them.
const FIGURES: &str = "requests, client_errors, goodput, broken_streams, attempts, attempts(TARGET), faults(CLASS), \
    faults(TARGET, CLASS), share(TARGET), served(TARGET), amplification, added(QUANTILE), first_content(QUANTILE), \
    first_content(QUANTILE, LOAD), error_time(QUANTILE), waited_over(TIME), requests_until_share(TARGET, SHARE), \
    requests_until_left(TARGET, SHARE), time_to_share(TARGET, SHARE), first_attempt, first_attempt(TARGET), \
    first_success, errors_after_success(TIME), trips(TARGET), closed_after(TARGET), ramp_share(TARGET, TIME), \
    rest_growth(TARGET), early(TARGET), hedges, extra_cost, rescues, input_cost(QUANTILE) or moves(QUANTILE)";

fn quantile(text: &str) -> Result<Quantile, String> {
    let percent = match text {
        "max" => Some(100.0),
        _ => text.strip_prefix('p').and_then(|number| number.parse().ok()),
    };
    percent
        .filter(|percent: &f64| (0.0..=100.0).contains(percent))
        .map(|percent| Quantile(percent / 100.0))
        .ok_or_else(|| format!("`{text}` is no quantile: expected p50, p99 or max"))
}

fn fault_class(text: &str) -> Result<FaultClass, String> {
    FaultClass::ALL
        .into_iter()
        .find(|class| class.as_str() == text)
        .ok_or_else(|| format!("`{text}` is no fault class such as rate_limited"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Bar, String> {
        let names = Names { site: &|id| (id == "a/m").then_some(0), load: &|name| (name == "plain").then_some(1) };
        Bar::parse(text, &names)
    }

    #[test]
    fn a_bar_is_a_figure_a_comparison_and_a_value() {
        let bar = parse("client_errors <= 0.1%").unwrap();
        assert_eq!((bar.figure, bar.compare, bar.unit), (Figure::ClientErrors, Compare::AtMost(0.001), Unit::Percent));
        let bar = parse("attempts(a/m) <= 15").unwrap();
        assert_eq!((bar.figure, bar.unit), (Figure::Attempts(Some(0)), Unit::Count));
        let bar = parse("closed_after(a/m) in 60s..90s").unwrap();
        assert_eq!(bar.compare, Compare::Within(60.0, 90.0));
        let bar = parse("requests_until_share(a/m, 5%) <= 100").unwrap();
        assert_eq!(bar.figure, Figure::RequestsUntilShare(0, 0.05));
        assert_eq!(parse("added(p50) <= 50ms").unwrap().figure, Figure::Added(Quantile(0.5)));
        let beside = parse("first_content(p99, plain) <= 50%").unwrap();
        assert_eq!((beside.figure, beside.unit), (Figure::FirstContentBeside(Quantile(0.99), 1), Unit::Percent));
        assert_eq!(parse("client_errors = 0").unwrap().unit, Unit::Count);
        assert_eq!(parse("faults(a/m, rate_limited) <= 1%").unwrap().unit, Unit::Percent);
        assert_eq!(parse("goodput >= 12.5").unwrap().compare, Compare::AtLeast(12.5));
        assert_eq!(parse("amplification <= 1.05").unwrap().unit, Unit::Times);
    }

    #[test]
    fn what_is_wrong_with_a_bar_is_said() {
        for (text, reason) in [
            ("attempts(b/m) <= 15", "no target `b/m`"),
            ("attempts(a/m) <= 5%", "compared with a number"),
            ("share(a/m) <= 5", "compared with a share"),
            ("added(p50) <= 3", "compared with a time"),
            ("added(often) <= 3s", "no quantile"),
            ("happiness >= 3", "is no figure"),
            ("client_errors", "is no bar"),
            ("closed_after(a/m) in 60s..90%", "one unit"),
            ("faults(a/m, sad) <= 1", "no fault class"),
            ("first_content(p99, nobody) <= 50%", "no load is called"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(reason), "{text}: {said}");
        }
    }

    #[test]
    fn the_worst_figure_is_the_one_with_the_least_margin() {
        assert!(Compare::AtMost(5.0).margin(4.0) < Compare::AtMost(5.0).margin(1.0));
        assert!(Compare::Within(1.0, 9.0).margin(8.0) < Compare::Within(1.0, 9.0).margin(5.0));
        assert!(Compare::AtMost(0.0).is_met(0.0) && !Compare::AtMost(0.0).is_met(0.001));
    }
}
