//! Bugs that neither `verify` nor the simulation can show, because other guards are in
//! their way: see `model::planted::Bug::MASKED`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::disallowed_methods, reason = "a test makes its own world")]
#![allow(dead_code, reason = "the other tests need more of it")]

#[path = "../it/client.rs"]
mod client;
#[path = "../it/connector.rs"]
mod connector;
#[path = "../it/scene.rs"]
mod scene;
#[path = "../it/shard.rs"]
mod shard;

use std::time::Duration;

use model::planted::{Bug, plant};
use rpc::chat::v1::{self as pb, event::Event as E};

use scene::{Scene, entry};

const PATIENCE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// What somebody is shown first where a shard that was superseded says one thing, and
/// the room's owner another at the same place.
async fn shown() -> String {
    let mut s = Scene::start(&["ann"]).await;
    let late = pb::Fence { r#gen: 1, term: 0 };
    let late = pb::Entry { fence: Some(late), ..entry(2, "bot", "*", "not stored") };
    let stored = s.says("bot", "stored");
    s.link.send_all([E::Entry(late), E::Entry(stored)]).await;
    s.clients[0].next().await
}

// One test: what is planted is planted in the whole process.
#[tokio::test]
async fn a_connector_that_believes_a_late_owner_is_found() {
    plant(None);
    assert_eq!(shown().await, "onChat bot > *: stored");
    plant(Some(Bug::LateOwnerBelieved));
    assert_eq!(shown().await, "onChat bot > *: not stored");
}
