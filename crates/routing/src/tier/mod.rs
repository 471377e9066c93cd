//! Tiers: which targets of a model a request may go to, by what is at stake.
//!
//! A model lists its tiers, the lowest first, and each of its targets stands in one. The tier of a request comes from
//! its label; without one it is the model's default, or what the prompt's length or complexity says. Its own tier
//! serves it; where that cannot, the tiers above, the nearest first; and those below only down to the floor its tier
//! allows. What is below the floor is not able to serve the request, in no outage and in no panic.
//!
//! A rule may raise the tier, and lower it as far as the floor: it never lowers the floor.
//!
//! [`Features`] are what is seen of a request, [`Score`] makes points of them. Nothing there was fitted to data: see
//! `docs/TIERS.md` for what the score is worth on public labelled prompts.

mod features;
mod order;
mod score;
mod text;

pub use features::Features;
pub(crate) use order::order;
pub use score::{Feature, MOST_POINTS, Part, Score};

use crate::Needs;
use dialect::scan::Scan;
use rules::Ruling;
use std::fmt;
use std::sync::Arc;

/// A tier of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Its name, as labels say it.
    pub name: Arc<str>,
    /// The lowest tier its requests may fall to, by number; its own where they may not fall.
    pub floor: usize,
    /// From which score on an unlabelled request belongs to it; ignored where nothing is scored.
    pub from: u64,
}

/// What the tier of a request without a label comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlabelled {
    /// It is always this one, by number.
    Tier(usize),
    /// It is the highest whose `from` the score reaches.
    Scored(Scorer),
}

/// What an unlabelled request is scored by.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scorer {
    /// The estimated tokens of its prompt. The default, as complexity has not been shown to tell more.
    #[default]
    PromptLength,
    /// Its complexity in points, 0 to 100.
    Complexity,
}

/// The tiers of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers {
    list: Vec<Tier>,
    of_target: Vec<usize>,
    unlabelled: Unlabelled,
}

/// A label names no tier of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownTier {
    /// What it says.
    pub asked: String,
    /// What there is.
    pub known: Vec<Arc<str>>,
}

impl fmt::Display for UnknownTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.asked.chars().take(120).collect();
        write!(f, "there is no tier `{shown}`: known are {}", self.known.join(", "))
    }
}

/// The tier of a request, and what said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// By number.
    pub tier: usize,
    /// What said so.
    pub by: AssignedBy,
}

/// What said which tier a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssignedBy {
    /// The header `x-mainstay-tier`.
    Header,
    /// The label `tier`: of the body's `metadata`, or of the header `x-mainstay-labels`.
    Label,
    /// What follows the model's name: `assistant:bulk`.
    Suffix,
    /// Nothing: it is the model's default.
    Default,
    /// The estimated tokens of the prompt.
    PromptLength(u64),
    /// Its complexity, in thousandths of a point.
    Complexity(u32),
    /// A rule, in place of this one, whose floor holds all the same.
    Rule {
        /// By number.
        from: usize,
    },
}

/// `header`, `label`, `suffix`, `default`, `prompt_length 812`, `complexity 26.0`, `rule`.
impl fmt::Display for AssignedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Label => f.write_str("label"),
            Self::Suffix => f.write_str("suffix"),
            Self::Default => f.write_str("default"),
            Self::Rule { .. } => f.write_str("rule"),
            Self::PromptLength(tokens) => write!(f, "prompt_length {tokens}"),
            Self::Complexity(thousandths) => write!(f, "complexity {}", score::tenths(u64::from(*thousandths))),
        }
    }
}

/// What a caller says of a request's tier, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Said<'a> {
    /// The header `x-mainstay-tier`.
    pub header: Option<&'a str>,
    /// The label `tier`.
    pub label: Option<&'a str>,
    /// The tier that follows the model's name.
    pub suffix: Option<usize>,
}

/// The tier of a request, as a plan tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierChoice {
    /// Its tier.
    pub tier: Arc<str>,
    /// The lowest tier that may serve it.
    pub floor: Arc<str>,
    /// What said so.
    pub by: AssignedBy,
}

/// `tier premium (header)`, `tier premium (header), at least standard`.
impl fmt::Display for TierChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tier {} ({})", self.tier, self.by)?;
        if self.floor != self.tier {
            write!(f, ", at least {}", self.floor)?;
        }
        Ok(())
    }
}

/// `{"tier": "premium", "floor": "standard", "by": "header"}`.
impl serde::Serialize for TierChoice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct View<'a> {
            tier: &'a str,
            floor: &'a str,
            by: String,
        }
        View { tier: &self.tier, floor: &self.floor, by: self.by.to_string() }.serialize(serializer)
    }
}

impl Tiers {
    /// `list` = the tiers, the lowest first; `of_target` = the tier of each of the model's targets, by number.
    pub fn new(list: Vec<Tier>, of_target: Vec<usize>, unlabelled: Unlabelled) -> Self {
        Self { list, of_target, unlabelled }
    }

    /// The tier of a name, by number.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|tier| &*tier.name == name)
    }

    /// The names, the lowest first.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.list.iter().map(|tier| &tier.name)
    }

    /// The name of a target's tier. Targets are numbered as in [`crate::Model::targets`].
    pub fn name_of_target(&self, target: usize) -> Option<&Arc<str>> {
        self.list.get(*self.of_target.get(target)?).map(|tier| &tier.name)
    }

    /// Whether a target may serve requests that are labelled so. Both are numbers.
    pub fn may_serve(&self, tier: usize, target: usize) -> bool {
        self.step(Assigned { tier, by: AssignedBy::Suffix }, target).is_some()
    }

    /// What labels say, and where there are none, the complexity, where the model goes by it. `None` = what else is
    /// known of the request decides: see [`Self::assigned`].
    ///
    /// # Errors
    /// A label names no tier: an unheard label must not pass for none.
    pub fn read(&self, said: Said<'_>, scan: &Scan, body: &[u8]) -> Result<Option<Assigned>, UnknownTier> {
        let named = said.header.map(|name| (name, AssignedBy::Header));
        if let Some((name, by)) = named.or(said.label.map(|name| (name, AssignedBy::Label))) {
            let unknown = || UnknownTier { asked: name.to_owned(), known: self.names().cloned().collect() };
            return self.find(name).map(|tier| Some(Assigned { tier, by })).ok_or_else(unknown);
        }
        if let Some(tier) = said.suffix {
            return Ok(Some(Assigned { tier, by: AssignedBy::Suffix }));
        }
        Ok((self.unlabelled == Unlabelled::Scored(Scorer::Complexity)).then(|| {
            let score = Score::of(&Features::read(scan, body)).thousandths();
            // `from` is in whole points.
            Assigned { tier: self.reached(u64::from(score / 1_000)), by: AssignedBy::Complexity(score) }
        }))
    }

    /// The tier of a request with these needs.
    pub fn assigned(&self, needs: &Needs) -> Assigned {
        let unlabelled = || match self.unlabelled {
            Unlabelled::Tier(tier) => Assigned { tier, by: AssignedBy::Default },
            Unlabelled::Scored(Scorer::PromptLength) => {
                let tokens = needs.estimated_tokens;
                Assigned { tier: self.reached(tokens), by: AssignedBy::PromptLength(tokens) }
            }
            // Nobody has read its text: the highest tier is below no floor.
            Unlabelled::Scored(Scorer::Complexity) => {
                Assigned { tier: self.list.len().saturating_sub(1), by: AssignedBy::Default }
            }
        };
        needs.tier.unwrap_or_else(unlabelled)
    }

    /// With what rules say: the strongest that names a tier of the model. Lower than the floor is the floor.
    pub(crate) fn ruled(&self, assigned: Assigned, ruling: &Ruling<'_>) -> Assigned {
        let Some(named) = ruling.tiers().find_map(|name| self.find(name)) else { return assigned };
        let tier = named.max(self.floor(assigned).unwrap_or(assigned.tier));
        if tier == assigned.tier { assigned } else { Assigned { tier, by: AssignedBy::Rule { from: assigned.tier } } }
    }

    /// The lowest tier that may serve a request.
    fn floor(&self, assigned: Assigned) -> Option<usize> {
        let floor = self.list.get(assigned.tier)?.floor;
        match assigned.by {
            AssignedBy::Rule { from } => Some(floor.max(self.list.get(from)?.floor)),
            AssignedBy::Header
            | AssignedBy::Label
            | AssignedBy::Suffix
            | AssignedBy::Default
            | AssignedBy::PromptLength(_)
            | AssignedBy::Complexity(_) => Some(floor),
        }
    }

    fn reached(&self, score: u64) -> usize {
        self.list.iter().rposition(|tier| tier.from <= score).unwrap_or(0)
    }

    /// The tier of a request and its floor, by name.
    pub(crate) fn choice(&self, assigned: Assigned) -> Option<TierChoice> {
        let tier = self.list.get(assigned.tier)?;
        let floor = self.list.get(self.floor(assigned)?)?.name.clone();
        Some(TierChoice { tier: tier.name.clone(), floor, by: assigned.by })
    }

    /// Where a target stands for a request of this tier; `None` = below its floor.
    pub(crate) fn step(&self, asked: Assigned, target: usize) -> Option<Step> {
        let of_target = *self.of_target.get(target)?;
        let floor = self.floor(asked)?;
        let asked = asked.tier;
        match of_target.checked_sub(asked) {
            Some(above) => Some(Step::Up(above)),
            None => (of_target >= floor).then(|| Step::Down(asked - of_target)),
        }
    }
}

/// A target's tier as a request of some tier sees it, in the order the request is offered to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Its own (0), or so many above.
    Up(usize),
    /// So many below.
    Down(usize),
}

impl Step {
    pub(crate) fn is_down(self) -> bool {
        matches!(self, Self::Down(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dialect::PathFacts;
    use dialect::scan::scan;

    fn tiers(unlabelled: Unlabelled) -> Tiers {
        let tier = |name: &str, floor, from| Tier { name: Arc::from(name), floor, from };
        let list = vec![tier("bulk", 0, 0), tier("standard", 0, 10), tier("premium", 2, 25)];
        Tiers::new(list, vec![2, 1, 0], unlabelled)
    }

    fn read(tiers: &Tiers, said: Said<'_>, ask: &str) -> Result<Option<Assigned>, UnknownTier> {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{ask}"}}]}}"#);
        let scan = scan(canon::DialectName::OpenaiChat, &PathFacts::default(), body.as_bytes()).unwrap();
        tiers.read(said, &scan, body.as_bytes())
    }

    #[test]
    fn a_header_is_stronger_than_a_label_and_a_label_than_a_suffix() {
        let tiers = tiers(Unlabelled::Tier(2));
        let all = Said { header: Some("premium"), label: Some("standard"), suffix: Some(0) };
        let by = |said| read(&tiers, said, "").unwrap().map(|it| (it.tier, it.by));
        assert_eq!(by(all), Some((2, AssignedBy::Header)));
        assert_eq!(by(Said { header: None, ..all }), Some((1, AssignedBy::Label)));
        assert_eq!(by(Said { suffix: Some(0), ..Said::default() }), Some((0, AssignedBy::Suffix)));
        assert_eq!(by(Said::default()), None);
    }

    #[test]
    fn a_label_that_names_no_tier_is_refused_and_not_taken_for_none() {
        let unknown =
            read(&tiers(Unlabelled::Tier(2)), Said { label: Some("gold"), ..Said::default() }, "").unwrap_err();
        assert_eq!(unknown.to_string(), "there is no tier `gold`: known are bulk, standard, premium");
    }

    #[test]
    fn without_a_label_the_highest_tier_whose_score_is_reached_is_the_requests() {
        let by_length = tiers(Unlabelled::Scored(Scorer::PromptLength));
        let of = |tokens| by_length.assigned(&Needs { estimated_tokens: tokens, ..Needs::default() }).tier;
        assert_eq!([0, 9, 10, 24, 25, 90_000].map(of), [0, 0, 1, 1, 2, 2]);

        let by_complexity = tiers(Unlabelled::Scored(Scorer::Complexity));
        let hard = "Prove that x^2 + 3 = 5 has no solution, derive it, and explain why not";
        assert_eq!(read(&by_complexity, Said::default(), "Hello").unwrap().map(|it| it.tier), Some(0));
        let proof = read(&by_complexity, Said::default(), hard).unwrap().unwrap();
        assert_eq!((proof.tier, proof.by.to_string().as_str()), (2, "complexity 27.9"));
        assert_eq!(by_complexity.assigned(&Needs::default()).tier, 2, "a text that nobody read may be hard");
    }

    #[test]
    fn a_request_is_offered_to_its_own_tier_then_up_and_down_no_further_than_its_floor() {
        let tiers = tiers(Unlabelled::Tier(2));
        let asking = |tier| Assigned { tier, by: AssignedBy::Header };
        let steps = |asked| [0, 1, 2].map(|target| tiers.step(asking(asked), target));
        assert_eq!(steps(2), [Some(Step::Up(0)), None, None], "premium does not fall");
        assert_eq!(steps(1), [Some(Step::Up(1)), Some(Step::Up(0)), Some(Step::Down(1))]);
        assert_eq!(steps(0), [Some(Step::Up(2)), Some(Step::Up(1)), Some(Step::Up(0))]);
        assert!(Step::Up(9) < Step::Down(1));
    }
}
