//! `strategy: nearest`: every target says where it runs, and its first tokens tell how near that is.

use crate::snapshot::Listed;
use routing::{ModelLedger, Node, Strategy};
use std::sync::Arc;

/// Has the regions of a model compared, where it goes by them.
///
/// # Errors
/// The number of the target that does not fit, and why.
pub(crate) fn watch(strategy: Strategy, ledger: &ModelLedger, listed: &mut Listed) -> Result<(), (usize, String)> {
    if strategy != Strategy::Nearest {
        return match listed.nodes.iter().position(|node| matches!(strategy, Strategy::Auto(_)) && is_nearest(node)) {
            Some(target) => {
                Err((target, "goes by regions, and the model by objectives: expected one of them".to_owned()))
            }
            None => Ok(()),
        };
    }
    let near = ledger.near();
    let mut first = 0;
    for (number, brought) in listed.brought.iter().enumerate() {
        for target in listed.targets.iter_mut().skip(first).take(*brought) {
            if target.region.is_none() {
                let message = format!("`{}` has no `region`, which `nearest` goes by: expected one", target.id);
                return Err((number, message));
            }
            if target.judge.is_some() {
                return Err((number, "goes by objectives, and the model by regions: expected one of them".to_owned()));
            }
            Arc::make_mut(target).near = Some(Arc::clone(&near));
        }
        first += brought;
    }
    near.compare(&listed.targets.iter().filter_map(|target| target.region.as_deref()).collect::<Vec<_>>());
    Ok(())
}

fn is_nearest(node: &Node) -> bool {
    match node {
        Node::Target(_) => false,
        Node::Group(group) => group.strategy == Strategy::Nearest || group.nodes.iter().any(is_nearest),
    }
}
