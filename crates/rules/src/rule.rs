//! One rule: what it is written as, and what is made of that.
//!
//! The condition is split at its outermost `&&`. Parts that measure targets go through the rule's latch; parts about
//! the request are looked at for each request, so that what a rule remembers never depends on who asked last.

use crate::action::Actions;
use crate::ast::{Node, Op};
use crate::check::{Checker, flatten};
use crate::eval::{Expr, Failure};
use crate::facts::{Map, RequestFact, Type};
use crate::latch::{Latch, LatchSettings};
use crate::parser;
use crate::problem::Problem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A rule as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written<'a> {
    /// What it is called; its number where it has no name.
    pub name: Option<&'a str>,
    /// `if:`.
    pub condition: &'a str,
    /// `until:`.
    pub until: Option<&'a str>,
    /// `for:`.
    pub hold: Option<Duration>,
    /// `min_samples:`.
    pub min_samples: Option<u32>,
    /// What it does.
    pub actions: Actions,
}

/// What is wrong with a rule, by field.
pub(crate) type WrongField = (&'static str, Problem);

/// A rule that can be judged.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: Arc<str>,
    /// Parts of the condition that go through the latch; `None` = it has none.
    pub(crate) remembered: Option<Expr>,
    /// Parts of the condition that are looked at for each request.
    pub(crate) asked: Option<Expr>,
    pub(crate) until: Option<Expr>,
    pub(crate) min_samples: u32,
    pub(crate) actions: Actions,
    /// What the condition looks up of each request.
    pub(crate) looked_up: Vec<LookedUp>,
    /// The targets that the latch measures.
    pub(crate) measured: Vec<usize>,
    /// The condition depends on what targets do or cost, not on the request alone.
    pub(crate) diverts: bool,
    pub(crate) settings: LatchSettings,
    /// All that is written of it: a rule that is written the same after a reload remembers what it knew.
    text: String,
    latch: Mutex<Latch>,
    failures: AtomicU64,
}

impl Rule {
    pub(crate) fn new(written: &Written<'_>, number: usize, checker: &mut Checker<'_>) -> Result<Self, WrongField> {
        let remembers = written.hold.is_some() || written.until.is_some();
        let (remembered, asked) =
            condition(written.condition, remembers, checker).map_err(|problem| ("if", problem))?;
        let until = written.until.map(|text| until(text, checker)).transpose().map_err(|problem| ("until", problem))?;
        let reads = |expr: &Option<Expr>| expr.as_ref().map(Reads::of).unwrap_or_default();
        let (of_latch, of_request, of_until) = (reads(&remembered), reads(&asked), reads(&until));
        if remembers && remembered.is_none() {
            let message = "`for` and `until` are for what is measured of targets: expected a part of `if` that asks \
                           nothing of the request";
            return Err(("if", Problem::new(&(0..written.condition.len()), message)));
        }
        if written.min_samples.is_some() && !(of_latch.sampled || of_request.sampled || of_until.sampled) {
            let message = "`min_samples` counts what a rate or a percentile rests on: expected `rate(…)` or \
                           `first_token_p95` in `if` or `until`";
            return Err(("min_samples", Problem::new(&(0..0), message)));
        }
        let mut measured = of_latch.measured;
        measured.extend(of_until.measured);
        measured.sort_unstable();
        measured.dedup();
        let diverts = !(measured.is_empty() && of_request.measured.is_empty()) || of_request.spent || of_latch.spent;
        Ok(Self {
            name: written.name.map_or_else(|| format!("rule {}", number + 1).into(), Into::into),
            settings: LatchSettings { hold: written.hold.unwrap_or_default(), measures: !measured.is_empty() },
            remembered,
            asked,
            until,
            min_samples: written.min_samples.unwrap_or(1),
            actions: written.actions.clone(),
            measured,
            looked_up: of_request.looked_up,
            diverts,
            text: format!("{written:?}"),
            latch: Mutex::default(),
            failures: AtomicU64::new(0),
        })
    }

    pub(crate) fn latch(&self) -> MutexGuard<'_, Latch> {
        self.latch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a failure; the new count.
    pub(crate) fn failed(&self, _: Failure) -> u64 {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes over what the same rule knew before a reload.
    pub(crate) fn take_over(&self, old: &Self) {
        if self.text == old.text {
            *self.latch() = *old.latch();
            self.failures.store(old.failures.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// Checks a condition: the parts that are remembered, and those that are asked of each request.
fn condition(text: &str, remembers: bool, checker: &mut Checker<'_>) -> Result<(Option<Expr>, Option<Expr>), Problem> {
    let node = parser::parse(text)?;
    let mut parts: Vec<&Node> = Vec::new();
    flatten(Op::And, &node, &mut parts);
    let (mut remembered, mut asked) = (Vec::new(), Vec::new());
    for part in parts {
        let expr = checker.expect(part, Type::Bool)?;
        let reads = Reads::of(&expr);
        if remembers && reads.request && !reads.measured.is_empty() {
            let message = "a rule with `for` or `until` remembers what it measures, which must not depend on a \
                           request: expected the two in parts of their own, with `&&` between them";
            return Err(Problem::new(&part.span, message));
        }
        if !reads.request && (remembers || !reads.measured.is_empty()) {
            remembered.push(expr);
        } else {
            asked.push(expr);
        }
    }
    Ok((all(remembered), all(asked)))
}

fn all(mut parts: Vec<Expr>) -> Option<Expr> {
    if parts.len() > 1 { Some(Expr::All(parts)) } else { parts.pop() }
}

fn until(text: &str, checker: &mut Checker<'_>) -> Result<Expr, Problem> {
    let node = parser::parse(text)?;
    let expr = checker.expect(&node, Type::Bool)?;
    if Reads::of(&expr).request {
        return Err(Problem::new(&node.span, "`until` holds for all requests: expected nothing of `request` in it"));
    }
    Ok(expr)
}

/// Something of a request that is looked up by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LookedUp {
    User,
    Label(Box<str>),
    Header(Box<str>),
}

/// What an expression reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Something of the request.
    pub(crate) request: bool,
    /// Something that rests on samples.
    pub(crate) sampled: bool,
    /// Labels and headers, by name, and the user.
    pub(crate) looked_up: Vec<LookedUp>,
    /// What was spent on a target. It is known without any call, and so needs no way back.
    pub(crate) spent: bool,
    /// Targets of which something is read that changes with the traffic.
    pub(crate) measured: Vec<usize>,
}

impl Reads {
    pub(crate) fn of(expr: &Expr) -> Self {
        let mut reads = Self::default();
        reads.add(expr);
        reads
    }

    fn add(&mut self, expr: &Expr) {
        match expr {
            Expr::Constant(_) | Expr::Clock { .. } => {}
            Expr::Request(fact) => {
                self.request = true;
                if *fact == RequestFact::User {
                    self.looked_up.push(LookedUp::User);
                }
            }
            Expr::Modality(_) => self.request = true,
            Expr::Entry(map, name) => {
                self.request = true;
                self.looked_up.push(match map {
                    Map::Labels => LookedUp::Label(name.clone()),
                    Map::Headers => LookedUp::Header(name.clone()),
                });
            }
            Expr::Target(target, fact) => {
                self.sampled |= fact.is_sampled();
                self.request |= fact.is_of_request();
                if fact.is_measured() {
                    self.measured.push(*target);
                }
            }
            Expr::Rate { target, .. } => {
                self.sampled = true;
                self.measured.push(*target);
            }
            Expr::Spent { .. } => self.spent = true,
            Expr::Samples { target, .. } => self.measured.push(*target),
            Expr::Known(inner)
            | Expr::Not(inner)
            | Expr::Negate(inner)
            | Expr::OneOf(inner, _)
            | Expr::Size(inner)
            | Expr::ToInt(inner)
            | Expr::ToDouble(inner) => self.add(inner),
            Expr::All(parts) | Expr::Any(parts) => parts.iter().for_each(|part| self.add(part)),
            Expr::Choice(parts) => parts.iter().for_each(|part| self.add(part)),
            Expr::Arithmetic(_, sides) | Expr::Compare(_, sides) | Expr::Text(_, sides) => {
                sides.iter().for_each(|side| self.add(side));
            }
        }
    }
}
