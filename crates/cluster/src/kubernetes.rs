//! Who is listed, as Kubernetes knows it: the EndpointSlices of a headless Service take
//! the place of an operator's list.
//!
//! ```text
//! API server ══list, watch══▶ client ──▶ watching ──▶ merge ──▶ hold ──▶ Source
//!                                           │  ▲ pace (100 ms)             │
//!                                        trouble                state (--state-dir)
//! ```
//!
//! Slices say who is listed; who of them is ready, each says itself. So an API server
//! that is away changes nothing, and a shard that dies meanwhile is noticed.

mod balancer;
mod client;
mod hold;
mod merge;
mod pace;
mod state;
mod status;
mod trouble;
mod watching;

pub use balancer::Host;
pub(crate) use client::ApiServer;
pub(crate) use merge::Listed;
pub(crate) use state::StateFile;
pub(crate) use status::Status;

use futures::{FutureExt, future::BoxFuture};
use tokio::sync::watch;
use watching::Watching;

use crate::{Jitter, Source};

/// Waits for the first list, which may be empty; `waits_for` is told why there is none
/// yet. Without an answer for 5 s, the list of the state file will do.
pub(crate) async fn open<T: Listed>(
    api: ApiServer,
    service: &str,
    state: Option<StateFile>,
    jitter: Jitter,
    waits_for: impl Fn(&str),
) -> Source<T> {
    let watching = Watching::new(api, service, state, jitter);
    let (entries, mut waits) = (watching.entries(), watching.waits());
    let mut follow = watching.run().boxed();
    loop {
        match &*waits.borrow_and_update() {
            Some(what) => waits_for(what),
            None => break,
        }
        tokio::select! {
            // Ends with whoever follows, and that is below.
            _ = waits.changed() => {}
            () = &mut follow => {}
        }
    }
    Source::new(entries, follow)
}

/// The address of a Service's load balancer as it is and will be, and the future that
/// follows it.
pub(crate) fn balancer(
    api: ApiServer,
    service: &str,
) -> (watch::Receiver<Host>, BoxFuture<'static, ()>) {
    let (sender, host) = watch::channel(None);
    (host, balancer::follow(api, service.to_owned(), sender).boxed())
}

#[cfg(test)]
mod tests;
