//! What is asked beside the traffic.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod desk;
mod incidents;
mod pages;
mod prices;
mod probes;

use gateway::Gateway;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Does what the server does beside the traffic, until it is dropped.
fn tend(gateway: &Arc<Gateway>) -> JoinSet<()> {
    let gateway = gateway.clone();
    let mut tending = JoinSet::new();
    tending.spawn(async move { gateway.tend().await });
    tending
}
