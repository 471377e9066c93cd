//! All rules of a configuration.

use crate::action::{Reach, ReachOf, means};
use crate::check::Checker;
use crate::eval::{Facts, Failure, Halt, Lookup, Moment, Request, Targets};
use crate::latch::{Hold, Seen, Verdict};
use crate::problem::{Problem, Span, unknown};
use crate::rule::{LookedUp, Rule, Written};
use crate::ruling::{Held, Ruling};
use std::sync::Arc;
use std::time::Duration;

/// Rules in the order they are written: an earlier one is stronger.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
    watched: Vec<String>,
    spends: Vec<(usize, Duration)>,
}

/// What is wrong with a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Which rule, from 0.
    pub rule: usize,
    /// `if`, `until`, `for`, `min_samples`, an action.
    pub field: &'static str,
    /// The bytes of that field's text that are to blame; `None` where no text is.
    pub span: Option<Span>,
    /// What was found and what was expected.
    pub message: String,
}

/// How a rule stands to a request, for whoever wants to know why it does or does not hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing {
    /// It holds.
    Holds,
    /// It returns: it holds for all but this share of the requests.
    Returns {
        /// From 0.05 to 1.
        exempt: f64,
    },
    /// What it measures is not so, or not for long enough.
    NotNow(Verdict),
    /// The request is not one it is for.
    NotForIt(Verdict),
    /// It lists no target of the model.
    NoConcern,
    /// Its evaluation fails.
    Fails(Failure),
}

/// A rule and how it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its name.
    pub name: Arc<str>,
    /// How it stands.
    pub standing: Standing,
}

impl RuleSet {
    /// Checks rules. `known` are the ids of every target that a model lists.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn compile(written: &[Written<'_>], known: &[&str]) -> Result<Self, Wrong> {
        let mut checker = Checker { known, watched: Vec::new(), spends: Vec::new() };
        let mut rules = Vec::with_capacity(written.len());
        for (number, it) in written.iter().enumerate() {
            check_actions(number, it, known)?;
            if written.iter().take(number).any(|other| other.name.is_some() && other.name == it.name) {
                let message = format!("two rules are named `{}`", it.name.unwrap_or_default());
                return Err(Wrong { rule: number, field: "name", span: None, message });
            }
            let rule = Rule::new(it, number, &mut checker).map_err(|(field, Problem { span, message })| {
                let span = matches!(field, "if" | "until").then_some(span);
                Wrong { rule: number, field, span, message }
            })?;
            rules.push(rule);
        }
        Ok(Self { rules, watched: checker.watched, spends: checker.spends })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Ids of the targets that the rules read, in the order in which [`Targets`] is asked for them by number.
    pub fn watched(&self) -> &[String] {
        &self.watched
    }

    /// Windows over which must be summed up what is spent on watched targets, each by its number.
    pub fn spends(&self) -> &[(usize, Duration)] {
        &self.spends
    }

    /// What the rules that concern a model look up of a request, as texts: two requests that differ in them are not the
    /// same request, as different targets may serve them.
    pub fn looked_up(&self, reach: &Reach, lookup: &dyn Lookup) -> Vec<String> {
        let mut texts = Vec::new();
        let concerned = self.rules.iter().zip(&reach.rules).filter(|(_, reach)| reach.concerns());
        for what in concerned.flat_map(|(rule, _)| &rule.looked_up) {
            let text = match what {
                LookedUp::User => format!("user {:?}", lookup.user()),
                LookedUp::Label(name) => format!("label {name} {:?}", lookup.label(name)),
                LookedUp::Header(name) => format!("header {name} {:?}", lookup.header(name)),
            };
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts
    }

    /// Which targets of a model, in this order, the rules concern.
    pub fn reach(&self, ids: &[&str]) -> Reach {
        Reach { rules: self.rules.iter().map(|rule| ReachOf::new(&rule.actions, ids)).collect() }
    }

    /// The rules that hold for a request now. Steps their latches; asking twice at one moment is asking once.
    ///
    /// Randomness is drawn only while a rule returns.
    pub fn judge<'r>(
        &'r self,
        reach: &'r Reach,
        request: &Request<'_>,
        targets: &dyn Targets,
        moment: Moment,
        rng: &mut fastrand::Rng,
    ) -> Ruling<'r> {
        let mut ruling = Ruling::default();
        for (number, (rule, reach)) in self.rules.iter().zip(&reach.rules).enumerate() {
            if !reach.concerns() {
                continue;
            }
            let facts = Facts { request: Some(request), targets, moment, min_samples: rule.min_samples };
            let mut failures = None;
            let is_on = match rule.step(&facts, &mut failures) {
                Hold::Off => false,
                Hold::On => true,
                Hold::Returning { exempt } => rng.f64() >= exempt,
            };
            if is_on && rule.asks(&facts, &mut failures) == Verdict::True {
                ruling.held.push(Held {
                    rule: number,
                    name: &rule.name,
                    is_diversion: rule.diverts,
                    sets: reach.sets,
                    reach,
                });
            }
            if let Some(failure) = failures {
                ruling.failed.push((&rule.name, failure, rule.failed(failure)));
            }
        }
        ruling
    }

    /// How each rule stands to a request, without changing anything. Where a rule has to hold for some time, it tells
    /// of what was so when it was last asked.
    pub fn tell(&self, reach: &Reach, request: &Request<'_>, targets: &dyn Targets, moment: Moment) -> Vec<Told> {
        let of_rule = |(rule, reach): (&Rule, &ReachOf)| {
            let facts = Facts { request: Some(request), targets, moment, min_samples: rule.min_samples };
            let mut failure = None;
            let measured = rule.condition(&facts, &mut failure);
            let asked = rule.asks(&facts, &mut failure);
            let standing = match (rule.latch().hold(), failure) {
                _ if !reach.concerns() => Standing::NoConcern,
                (_, Some(failure)) => Standing::Fails(failure),
                _ if asked != Verdict::True => Standing::NotForIt(asked),
                (Hold::Returning { exempt }, None) => Standing::Returns { exempt },
                (Hold::On, None) => Standing::Holds,
                (Hold::Off, None) if rule.remembered.is_none() => Standing::Holds,
                (Hold::Off, None) if measured == Verdict::True && rule.settings.hold.is_zero() => Standing::Holds,
                (Hold::Off, None) => Standing::NotNow(measured),
            };
            Told { name: rule.name.clone(), standing }
        };
        self.rules.iter().zip(&reach.rules).map(of_rule).collect()
    }

    /// Takes over what rules that are written the same knew before a reload.
    pub fn take_over(&self, old: &Self) {
        for rule in &self.rules {
            if let Some(known) = old.rules.iter().find(|it| it.name == rule.name) {
                rule.take_over(known);
            }
        }
    }
}

impl Rule {
    fn step(&self, facts: &Facts<'_>, failure: &mut Option<Failure>) -> Hold {
        if self.remembered.is_none() {
            return Hold::On;
        }
        let condition = self.condition(facts, failure);
        let until = self.until.as_ref().map(|until| verdict(until.holds(facts), failure));
        let last_heard = self.measured.iter().filter_map(|target| facts.targets.last_heard(*target)).max();
        self.latch().step(self.settings, Seen { condition, until, last_heard }, facts.moment.now)
    }

    fn condition(&self, facts: &Facts<'_>, failure: &mut Option<Failure>) -> Verdict {
        // What is remembered must not depend on who asks.
        let facts = Facts { request: None, ..*facts };
        self.remembered.as_ref().map_or(Verdict::True, |expr| verdict(expr.holds(&facts), failure))
    }

    fn asks(&self, facts: &Facts<'_>, failure: &mut Option<Failure>) -> Verdict {
        self.asked.as_ref().map_or(Verdict::True, |expr| verdict(expr.holds(facts), failure))
    }
}

fn verdict(held: Result<bool, Halt>, failure: &mut Option<Failure>) -> Verdict {
    match held {
        Ok(true) => Verdict::True,
        Ok(false) => Verdict::False,
        Err(Halt::Unknown) => Verdict::Unknown,
        Err(Halt::Failed(failed)) => {
            *failure = Some(failed);
            Verdict::Unknown
        }
    }
}

fn check_actions(rule: usize, written: &Written<'_>, known: &[&str]) -> Result<(), Wrong> {
    let wrong = |field, message| Err(Wrong { rule, field, span: None, message });
    let lists = written.actions.lists();
    let does_more = written.actions.sets || written.actions.tier.is_some();
    if !does_more && lists.iter().all(|(_, patterns)| patterns.is_empty()) {
        let message =
            "the rule does nothing: expected `prefer`, `avoid`, `exclude`, `only`, `tier` or `set`".to_owned();
        return wrong("if", message);
    }
    for (field, patterns) in lists {
        for pattern in patterns {
            if !known.iter().any(|id| means(pattern, id)) {
                let hint = unknown(pattern, known.iter().copied());
                return wrong(field, format!("no model lists the target `{pattern}`: {hint}"));
            }
        }
    }
    Ok(())
}
