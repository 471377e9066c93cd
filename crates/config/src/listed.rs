//! What a model lists: targets, and models that bring theirs.

use crate::error::ConfigError;
use crate::load::Build;
use crate::nested;
use crate::price;
use crate::raw::{RawModel, RawTarget};
use crate::snapshot::{Listed, Snapshot};
use routing::{Group, Guards, Model, Node};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

impl Build<'_> {
    /// Models after those they list.
    pub(crate) fn order_of_models(
        &self,
        snapshot: &Snapshot,
        models: &BTreeMap<String, RawModel>,
    ) -> Result<Vec<String>, ConfigError> {
        nested::order(models, |provider| snapshot.pool(provider).is_some()).map_err(|cycle| {
            let path = ["models", &cycle.model, "targets", &cycle.target.to_string()];
            self.at(&path, &format!("a model cannot serve itself: {}", cycle.way))
        })
    }

    /// The targets of a model, and those of the models among them.
    pub(crate) fn listed(
        &self,
        snapshot: &mut Snapshot,
        name: &str,
        raw: &RawModel,
        guards: Guards,
    ) -> Result<Listed, ConfigError> {
        let mut listed = Listed::default();
        let mut ids = HashSet::new();
        for (i, written) in raw.targets.iter().enumerate() {
            let index = i.to_string();
            let path = ["models", name, "targets", &index];
            let begin = listed.targets.len();
            if let Some(model) = self.nested(snapshot, &path, written)? {
                take_over(&mut listed, &model, written, guards);
            } else {
                let mut target = self.target(snapshot, &path, written)?;
                target.guards = price::over(target.guards, guards);
                target.quality = self.quality(&path, written, raw.task.as_deref())?;
                if let Some(spend) = target.guards.spend {
                    target.ledger.spending.watch(spend.window);
                }
                listed.nodes.push(Node::Target(begin));
                listed.targets.push(Arc::new(target));
            }
            listed.brought.push(listed.targets.len() - begin);
            for target in listed.targets.iter().skip(begin) {
                if !ids.insert(target.id.clone()) {
                    let message = match &target.via {
                        None => format!("`{}` is listed twice: give one of them a `label`", target.id),
                        Some(model) => format!("`{}` of `{model}` is listed twice: list it once", target.id),
                    };
                    return Err(self.at(&path, &message));
                }
            }
        }
        if listed.nodes.iter().all(|node| matches!(node, Node::Target(_))) {
            listed.nodes.clear();
        }
        Ok(listed)
    }

    /// The model a target is, if it is one.
    fn nested(&self, snapshot: &Snapshot, path: &[&str], raw: &RawTarget) -> Result<Option<Arc<Model>>, ConfigError> {
        let name = raw.name();
        if name.split_once('/').is_some_and(|(provider, _)| snapshot.pool(provider).is_some()) {
            return Ok(None);
        }
        let Some(model) = snapshot.models().find(|model| model.name == name).cloned() else { return Ok(None) };
        if model.settings.tiers.is_some() {
            return Err(
                self.at(path, &format!("`{name}` has tiers, which would not hold here: list its targets instead"))
            );
        }
        match raw.option_of_a_leaf() {
            None => Ok(Some(model)),
            Some(option) => {
                Err(self.at(path, &format!("`{name}` is a model: `{option}` is said of the targets it lists")))
            }
        }
    }
}

/// Puts a model into the list of another: its order as a group, its targets with the guards of both.
fn take_over(listed: &mut Listed, model: &Model, written: &RawTarget, guards: Guards) {
    let begin = listed.targets.len();
    let nodes = if model.nodes.is_empty() {
        (begin..begin + model.targets.len()).map(Node::Target).collect()
    } else {
        shifted(&model.nodes, begin)
    };
    let name: Arc<str> = model.name.as_str().into();
    let weight = match written {
        RawTarget::Full(full) => full.weight.unwrap_or(1),
        RawTarget::Name(_) => 1,
    };
    listed.targets.extend(model.targets.iter().map(|target| {
        Arc::new(routing::Target {
            guards: price::over(target.guards, guards),
            min_quality: target.min_quality.max(model.settings.min_quality),
            via: Some(target.via.clone().unwrap_or_else(|| name.clone())),
            ..routing::Target::clone(target)
        })
    }));
    let (strategy, experiment) = (model.settings.strategy, model.settings.experiment.clone());
    listed.nodes.push(Node::Group(Group { name, strategy, experiment, weight, nodes }));
}

/// The same nodes, with their targets so much further on.
fn shifted(nodes: &[Node], by: usize) -> Vec<Node> {
    let node = |node: &Node| match node {
        Node::Target(target) => Node::Target(target + by),
        Node::Group(group) => Node::Group(Group { nodes: shifted(&group.nodes, by), ..group.clone() }),
    };
    nodes.iter().map(node).collect()
}
