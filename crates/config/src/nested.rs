//! Models whose targets are models: in which order they are made, and that none of them is its own target.

use crate::raw::{RawModel, RawTarget};
use std::collections::{BTreeMap, BTreeSet};

/// Whether a target is another logical model. `provider/model` of a configured provider never is: a model may have the
/// name of a target it lists.
pub(crate) fn is_model(name: &str, models: &BTreeMap<String, RawModel>, is_provider: impl Fn(&str) -> bool) -> bool {
    models.contains_key(name) && !name.split_once('/').is_some_and(|(provider, _)| is_provider(provider))
}

/// A model that is reached from itself.
pub(crate) struct Cycle {
    /// The model whose target closes it.
    pub(crate) model: String,
    /// Which target.
    pub(crate) target: usize,
    /// The way round: `a → b → a`.
    pub(crate) way: String,
}

/// The names of all models, each after those it lists.
///
/// # Errors
/// When a model is reached from itself.
pub(crate) fn order(
    models: &BTreeMap<String, RawModel>,
    is_provider: impl Fn(&str) -> bool,
) -> Result<Vec<String>, Cycle> {
    let mut search = Search { models, is_provider, made: BTreeSet::new(), order: Vec::new(), way: Vec::new() };
    models.keys().try_for_each(|name| search.visit(name))?;
    Ok(search.order)
}

struct Search<'a, F> {
    models: &'a BTreeMap<String, RawModel>,
    is_provider: F,
    made: BTreeSet<&'a str>,
    order: Vec<String>,
    /// From the model that is visited first to the one that is visited now.
    way: Vec<&'a str>,
}

impl<'a, F: Fn(&str) -> bool> Search<'a, F> {
    fn visit(&mut self, name: &'a str) -> Result<(), Cycle> {
        if self.made.contains(name) {
            return Ok(());
        }
        let Some(model) = self.models.get(name) else { return Ok(()) };
        self.way.push(name);
        for (target, written) in model.targets.iter().enumerate() {
            let listed = written.name();
            if !is_model(listed, self.models, &self.is_provider) {
                continue;
            }
            if let Some(begin) = self.way.iter().position(|known| *known == listed) {
                let round: Vec<&str> = self.way.iter().skip(begin).copied().chain([listed]).collect();
                return Err(Cycle { model: name.to_owned(), target, way: round.join(" → ") });
            }
            self.visit(listed)?;
        }
        self.way.pop();
        self.made.insert(name);
        self.order.push(name.to_owned());
        Ok(())
    }
}

impl RawTarget {
    /// What is written as the target.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Full(full) => &full.target,
        }
    }

    /// The first option that belongs to `provider/model` alone.
    pub(crate) fn option_of_a_leaf(&self) -> Option<&'static str> {
        let Self::Full(full) = self else { return None };
        [
            (full.label.is_some(), "label"),
            (full.region.is_some(), "region"),
            (full.prices.is_some(), "prices"),
            (full.quality.is_some(), "quality"),
            (full.max_price.is_some(), "max_price"),
            (full.max_price_ratio.is_some(), "max_price_ratio"),
            (full.spend.is_some(), "spend"),
            (full.prompt.is_some(), "prompt"),
            (full.parameters.is_some(), "parameters"),
            (full.keys.is_some(), "keys"),
            (full.concurrency.is_some(), "concurrency"),
            (full.inject.is_some(), "inject"),
        ]
        .into_iter()
        .find_map(|(is_set, name)| is_set.then_some(name))
    }
}
