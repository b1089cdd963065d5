//! The connector over real sockets, between Pomelo clients and shards that say
//! what a test makes them say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::disallowed_methods, reason = "a test makes its own world")]

mod answers;
mod asks;
mod client;
mod connector;
mod deadlines;
mod digests;
mod drain;
mod extended;
mod fanout;
mod grpc;
mod holes;
mod life;
mod limits;
mod rejoin;
mod resume;
mod returns;
mod routes;
mod routing;
mod scene;
mod shard;
mod verdicts;

use std::time::Duration;

/// Longer than anything takes; a test that waits for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"))
}
