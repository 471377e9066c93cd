//! From what is written to what can be evaluated: every name is known, every type fits, or the error says where.
//!
//! Whatever is constant is worked out here: targets, classes, windows and lengths of time are literals, so that nothing
//! of them can go wrong in a request.

use crate::ast::{Kind, Node, Op};
use crate::eval::{Arithmetic, Comparison, Constant, Expr};
use crate::facts::{Map, Modality, REQUEST, TARGET, Type};
use crate::problem::{Problem, Span, unknown};
use crate::{TargetFact, check_calls};
use std::time::Duration;

/// The states of a breaker, as rules write them.
const BREAKER: [&str; 5] = ["closed", "ramping", "half_open", "open", "off"];
/// Headers that hold credentials: a rule must not read them, as what it compares with would stand in a file.
const CREDENTIALS: [&str; 7] =
    ["authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "x-mainstay-key"];

/// Windows of one target that rules sum up money over: each is kept for as long as the process lives, and there is room
/// for twice as many.
const MOST_SPENDS: usize = 4;

/// Checks expressions against the targets there are, and collects those that are asked about.
pub(crate) struct Checker<'a> {
    /// Ids of every target of the configuration.
    pub(crate) known: &'a [&'a str],
    /// Ids of the targets that expressions read, in the order of their numbers.
    pub(crate) watched: Vec<String>,
    /// Windows that money is summed up over, by target.
    pub(crate) spends: Vec<(usize, Duration)>,
}

/// What a part of an expression stands for.
pub(crate) enum Meaning {
    Value(Expr, Type),
    Request,
    Now,
    Target(usize),
    Map(Map),
    Modalities,
    /// Constants of one type.
    List(Vec<Constant>, Type),
}

impl Meaning {
    fn describe(&self) -> String {
        match self {
            Self::Value(_, of) => of.to_string(),
            Self::Request => "the request as a whole".to_owned(),
            Self::Now => "the time as a whole".to_owned(),
            Self::Target(_) => "a target as a whole".to_owned(),
            Self::Map(_) => Type::Map(Map::Labels).to_string(),
            Self::Modalities => Type::Modalities.to_string(),
            Self::List(..) => "a list".to_owned(),
        }
    }
}

impl Checker<'_> {
    /// Checks a node that has to have this type.
    pub(crate) fn expect(&mut self, node: &Node, expected: Type) -> Result<Expr, Problem> {
        let meaning = self.meaning(node)?;
        match meaning {
            Meaning::Value(expr, of) if of == expected => Ok(expr),
            other => Err(Problem::new(&node.span, format!("expected {expected}, found {}", other.describe()))),
        }
    }

    /// Checks a node that has to be a single value.
    pub(crate) fn value(&mut self, node: &Node) -> Result<(Expr, Type), Problem> {
        match self.meaning(node)? {
            Meaning::Value(expr, of) => Ok((expr, of)),
            other => Err(Problem::new(&node.span, format!("expected a single value, found {}", other.describe()))),
        }
    }

    pub(crate) fn meaning(&mut self, node: &Node) -> Result<Meaning, Problem> {
        let constant = |constant, of| Ok(Meaning::Value(Expr::Constant(constant), of));
        match &node.kind {
            Kind::Bool(it) => constant(Constant::Bool(*it), Type::Bool),
            Kind::Int(it) => constant(Constant::Int(*it), Type::Int),
            Kind::Float(it) => constant(Constant::Double(*it), Type::Double),
            Kind::Text(it) => constant(Constant::Text(it.as_str().into()), Type::Text),
            Kind::List(items) => self.list(items, &node.span),
            Kind::Name(name) => match name.as_str() {
                "request" => Ok(Meaning::Request),
                "now" => Ok(Meaning::Now),
                _ => Err(Problem::new(&node.span, format!("`{name}` is unknown: {}", unknown_name(name)))),
            },
            Kind::Field(on, name, span) => self.field(on, name, span),
            Kind::Index(on, key) => self.index(on, key),
            Kind::Call(call) => check_calls::call(self, call, &node.span),
            Kind::Not(inner) => {
                let inner = self.expect(inner, Type::Bool)?;
                Ok(Meaning::Value(Expr::Not(Box::new(inner)), Type::Bool))
            }
            Kind::Negate(inner) => self.negate(inner),
            Kind::Binary(op, left, right) => self.binary(*op, left, right, &node.span),
            Kind::Choice(parts) => {
                let [condition, then, otherwise] = &**parts;
                let condition = self.expect(condition, Type::Bool)?;
                let (then, of) = self.value(then)?;
                let otherwise = self.expect(otherwise, of)?;
                Ok(Meaning::Value(Expr::Choice(Box::new([condition, then, otherwise])), of))
            }
        }
    }

    fn list(&mut self, items: &[Node], span: &Span) -> Result<Meaning, Problem> {
        let mut constants = Vec::with_capacity(items.len());
        let mut all: Option<Type> = None;
        for item in items {
            let (Expr::Constant(constant), of) = self.value(item)? else {
                return Err(Problem::new(&item.span, "a list holds what is written in it: expected a literal"));
            };
            if let Some(all) = all.filter(|all| *all != of) {
                return Err(Problem::new(&item.span, format!("expected {all} as before it, found {of}")));
            }
            all = Some(of);
            constants.push(constant);
        }
        match all {
            Some(of) => Ok(Meaning::List(constants, of)),
            None => Err(Problem::new(span, "nothing is in an empty list: expected at least one value")),
        }
    }

    fn field(&mut self, on: &Node, name: &str, span: &Span) -> Result<Meaning, Problem> {
        match self.meaning(on)? {
            Meaning::Request => {
                let Some((_, of, _, fact)) = REQUEST.iter().find(|(it, ..)| *it == name) else {
                    let known = unknown(name, REQUEST.iter().map(|(it, ..)| *it));
                    return Err(Problem::new(span, format!("a request has no `{name}`: {known}")));
                };
                Ok(match (of, fact) {
                    (Type::Map(map), _) => Meaning::Map(*map),
                    (of, Some(fact)) => Meaning::Value(Expr::Request(*fact), *of),
                    (_, None) => Meaning::Modalities,
                })
            }
            Meaning::Target(target) => {
                let Some((_, of, _, fact)) = TARGET.iter().find(|(it, ..)| *it == name) else {
                    let known = unknown(name, TARGET.iter().map(|(it, ..)| *it));
                    return Err(Problem::new(span, format!("a target has no `{name}`: {known}")));
                };
                Ok(Meaning::Value(Expr::Target(target, *fact), *of))
            }
            Meaning::Map(map) => entry(map, name, span),
            Meaning::Now => {
                let message = format!("the time has no `{name}`: expected `now.getHours()`");
                Err(Problem::new(span, message))
            }
            other @ (Meaning::Value(..) | Meaning::Modalities | Meaning::List(..)) => {
                Err(Problem::new(span, format!("{} has no fields", other.describe())))
            }
        }
    }

    fn index(&mut self, on: &Node, key: &Node) -> Result<Meaning, Problem> {
        match self.meaning(on)? {
            Meaning::Map(map) => {
                let name = literal(key, "the name of an entry")?;
                entry(map, name, &key.span)
            }
            other => Err(Problem::new(
                &on.span,
                format!("expected `request.labels` or `request.headers` before `[`, found {}", other.describe()),
            )),
        }
    }

    fn negate(&mut self, inner: &Node) -> Result<Meaning, Problem> {
        let (expr, of) = self.value(inner)?;
        if !matches!(of, Type::Int | Type::Double | Type::Duration) {
            return Err(Problem::new(&inner.span, format!("expected a number or a duration after `-`, found {of}")));
        }
        let expr = match expr {
            // A literal is never the smallest number there is, so this does not overflow.
            Expr::Constant(Constant::Int(it)) => Expr::Constant(Constant::Int(-it)),
            Expr::Constant(Constant::Double(it)) => Expr::Constant(Constant::Double(-it)),
            other => Expr::Negate(Box::new(other)),
        };
        Ok(Meaning::Value(expr, of))
    }

    fn binary(&mut self, op: Op, left: &Node, right: &Node, span: &Span) -> Result<Meaning, Problem> {
        match op {
            Op::And | Op::Or => {
                let mut parts = Vec::new();
                flatten(op, left, &mut parts);
                flatten(op, right, &mut parts);
                let parts = parts.into_iter().map(|part| self.expect(part, Type::Bool)).collect::<Result<_, _>>()?;
                let expr = if op == Op::And { Expr::All(parts) } else { Expr::Any(parts) };
                Ok(Meaning::Value(expr, Type::Bool))
            }
            Op::In => self.one_of(left, right),
            Op::Equal => self.compare(Comparison::Equal, op, left, right, span),
            Op::NotEqual => self.compare(Comparison::NotEqual, op, left, right, span),
            Op::Less => self.compare(Comparison::Less, op, left, right, span),
            Op::LessOrEqual => self.compare(Comparison::LessOrEqual, op, left, right, span),
            Op::Greater => self.compare(Comparison::Greater, op, left, right, span),
            Op::GreaterOrEqual => self.compare(Comparison::GreaterOrEqual, op, left, right, span),
            Op::Add => self.arithmetic(Arithmetic::Add, op, left, right, span),
            Op::Subtract => self.arithmetic(Arithmetic::Subtract, op, left, right, span),
            Op::Multiply => self.arithmetic(Arithmetic::Multiply, op, left, right, span),
            Op::Divide => self.arithmetic(Arithmetic::Divide, op, left, right, span),
            Op::Remainder => self.arithmetic(Arithmetic::Remainder, op, left, right, span),
        }
    }

    fn compare(
        &mut self,
        comparison: Comparison,
        op: Op,
        left: &Node,
        right: &Node,
        span: &Span,
    ) -> Result<Meaning, Problem> {
        let (left_expr, left_of) = self.value(left)?;
        let (right_expr, right_of) = self.value(right)?;
        let sign = op.as_str();
        let is_number = |of| matches!(of, Type::Int | Type::Double);
        if left_of != right_of && !(is_number(left_of) && is_number(right_of)) {
            let hint = match (left_of, right_of) {
                (Type::Duration, Type::Text | Type::Int) | (Type::Text | Type::Int, Type::Duration) => {
                    ": a length of time is written `duration(\"200ms\")`"
                }
                _ => "",
            };
            return Err(Problem::new(span, format!("`{sign}` cannot compare {left_of} with {right_of}{hint}")));
        }
        let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        if left_of == Type::Bool && !is_equality {
            return Err(Problem::new(span, format!("`{sign}` cannot order bools: expected `==` or `!=`")));
        }
        known_state(&left_expr, &right_expr, right)?;
        known_state(&right_expr, &left_expr, left)?;
        Ok(Meaning::Value(Expr::Compare(comparison, Box::new([left_expr, right_expr])), Type::Bool))
    }

    fn arithmetic(
        &mut self,
        arithmetic: Arithmetic,
        op: Op,
        left: &Node,
        right: &Node,
        span: &Span,
    ) -> Result<Meaning, Problem> {
        let (left_expr, left_of) = self.value(left)?;
        let (right_expr, right_of) = self.value(right)?;
        let sums = matches!(arithmetic, Arithmetic::Add | Arithmetic::Subtract);
        let fits = match (left_of, right_of) {
            (Type::Int, Type::Int) => true,
            (Type::Double, Type::Double) => arithmetic != Arithmetic::Remainder,
            (Type::Duration, Type::Duration) => sums,
            _ => false,
        };
        if !fits {
            let hint = match (left_of, right_of) {
                (Type::Int, Type::Double) | (Type::Double, Type::Int) => {
                    ": expected two of a kind, such as `double(…)` of the int"
                }
                (Type::Text, Type::Text) => ": a rule makes no new strings",
                _ => "",
            };
            let message = format!("`{}` does not work on {left_of} and {right_of}{hint}", op.as_str());
            return Err(Problem::new(span, message));
        }
        Ok(Meaning::Value(Expr::Arithmetic(arithmetic, Box::new([left_expr, right_expr])), left_of))
    }

    fn one_of(&mut self, left: &Node, right: &Node) -> Result<Meaning, Problem> {
        let expr = match self.meaning(right)? {
            Meaning::List(list, of) => {
                let (expr, left_of) = self.value(left)?;
                if left_of != of {
                    let message = format!("expected {of} as in the list, found {left_of}");
                    return Err(Problem::new(&left.span, message));
                }
                for (index, constant) in list.iter().enumerate() {
                    let items = if let Kind::List(items) = &right.kind { items.as_slice() } else { &[] };
                    let Some(item) = items.get(index) else { continue };
                    known_state(&expr, &Expr::Constant(constant.clone()), item)?;
                }
                Expr::OneOf(Box::new(expr), list)
            }
            Meaning::Map(map) => {
                let name = literal(left, "the name of an entry")?;
                match entry(map, name, &left.span)? {
                    Meaning::Value(expr, _) => Expr::Known(Box::new(expr)),
                    other => return Err(Problem::new(&left.span, other.describe())),
                }
            }
            Meaning::Modalities => {
                let name = literal(left, "a kind of content")?;
                let Some((_, modality)) = Modality::ALL.iter().find(|(it, _)| *it == name) else {
                    let known = Modality::ALL.map(|(it, _)| it).join(", ");
                    return Err(Problem::new(
                        &left.span,
                        format!("no request holds `{name}`: expected one of {known}"),
                    ));
                };
                Expr::Modality(*modality)
            }
            other => {
                let message = format!(
                    "expected a list, `request.modalities`, `request.labels` or `request.headers` after `in`, found {}",
                    other.describe()
                );
                return Err(Problem::new(&right.span, message));
            }
        };
        Ok(Meaning::Value(expr, Type::Bool))
    }

    /// Money is summed up over this window.
    pub(crate) fn spends(&mut self, target: usize, window: Duration, span: &Span) -> Result<(), Problem> {
        if self.spends.contains(&(target, window)) {
            return Ok(());
        }
        if self.spends.iter().filter(|(it, _)| *it == target).count() >= MOST_SPENDS {
            let message = format!("expected at most {MOST_SPENDS} windows of `spent` for one target in all rules");
            return Err(Problem::new(span, message));
        }
        self.spends.push((target, window));
        Ok(())
    }

    /// The number of a target that is named in a rule.
    pub(crate) fn target(&mut self, node: &Node) -> Result<usize, Problem> {
        let id = literal(node, "a target as the configuration lists it")?;
        if !self.known.contains(&id) {
            let known = unknown(id, self.known.iter().copied());
            return Err(Problem::new(&node.span, format!("no model lists the target `{id}`: {known}")));
        }
        Ok(self.watched.iter().position(|it| it == id).unwrap_or_else(|| {
            self.watched.push(id.to_owned());
            self.watched.len() - 1
        }))
    }
}

/// The parts of a chain of one operator, without the chain's depth.
pub(crate) fn flatten<'a>(op: Op, node: &'a Node, parts: &mut Vec<&'a Node>) {
    match &node.kind {
        Kind::Binary(it, left, right) if *it == op => {
            flatten(op, left, parts);
            flatten(op, right, parts);
        }
        _ => parts.push(node),
    }
}

/// A text that is written in the rule.
pub(crate) fn literal<'a>(node: &'a Node, what: &str) -> Result<&'a str, Problem> {
    match &node.kind {
        Kind::Text(text) => Ok(text),
        _ => Err(Problem::new(&node.span, format!("expected {what} in quotes"))),
    }
}

fn entry(map: Map, name: &str, span: &Span) -> Result<Meaning, Problem> {
    let name = match map {
        Map::Labels => name.to_owned(),
        Map::Headers => name.to_ascii_lowercase(),
    };
    if map == Map::Headers && CREDENTIALS.contains(&name.as_str()) {
        let message = format!("`{name}` holds a credential, which no rule reads: expected `request.key`, its name");
        return Err(Problem::new(span, message));
    }
    Ok(Meaning::Value(Expr::Entry(map, name.into()), Type::Text))
}

/// A breaker is compared with a state it can have.
fn known_state(breaker: &Expr, with: &Expr, node: &Node) -> Result<(), Problem> {
    let (Expr::Target(_, TargetFact::Breaker), Expr::Constant(Constant::Text(state))) = (breaker, with) else {
        return Ok(());
    };
    if BREAKER.contains(&&**state) {
        return Ok(());
    }
    let message = format!("no breaker is ever `{state}`: expected one of {}", BREAKER.join(", "));
    Err(Problem::new(&node.span, message))
}

fn unknown_name(name: &str) -> String {
    if REQUEST.iter().any(|(it, ..)| *it == name) {
        return format!("did you mean `request.{name}`?");
    }
    if TARGET.iter().any(|(it, ..)| *it == name) {
        return format!("did you mean `target(\"provider/model\").{name}`?");
    }
    "expected `request`, `now`, `target(…)`, `rate(…)` or `samples(…)`".to_owned()
}
