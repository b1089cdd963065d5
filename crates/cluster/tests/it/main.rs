//! Lists in real files, discovery over real health servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::disallowed_methods, reason = "a test makes its own world")]

mod discovery;
mod files;

use std::{sync::Arc, time::Duration};

use cluster::{Dial, Jitter};
use tokio::{sync::watch, time::timeout};
use tonic::transport::Endpoint;

fn dial() -> Dial {
    Arc::new(|addr| {
        Box::pin(async move { Endpoint::from_shared(format!("http://{addr}"))?.connect().await })
    })
}

fn jitter() -> Jitter {
    Arc::new(|bound| bound / 2)
}

/// Waits until `wanted` is what the receiver shows.
async fn until<T: Clone>(receiver: &mut watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) -> T {
    let seen = timeout(Duration::from_secs(20), receiver.wait_for(wanted)).await;
    seen.expect("it did not come within 20 s").unwrap().clone()
}
