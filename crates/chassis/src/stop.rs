//! How a process comes to its end: not ready at once, shut down when it may be.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use crate::{Clock, admin::Probes};

/// Asks a process to stop. Clones are for the same process.
#[derive(Clone, Debug)]
pub struct Stopper {
    stopping: CancellationToken,
    shutdown: CancellationToken,
    holds: TaskTracker,
    probes: Arc<Probes>,
    clock: Clock,
}

/// Holds the shutdown off; see [`App::hold`](crate::App::hold).
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "kept only to be dropped")] TaskTrackerToken);

impl Stopper {
    pub(crate) fn new(shutdown: CancellationToken, probes: Arc<Probes>, clock: Clock) -> Self {
        let (stopping, holds) = (CancellationToken::new(), TaskTracker::new());
        Self { stopping, shutdown, holds, probes, clock }
    }

    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    pub(crate) fn hold(&self) -> Hold {
        Hold(self.holds.token())
    }

    /// Turns the readiness probe red, for good. Nothing else happens.
    pub fn end_readiness(&self) {
        self.probes.ready.store(false, Ordering::Release);
    }

    /// Has the process stop, and waits until it is shut down: not before `accept_grace`
    /// is over, nor while anybody holds it off; at once if something breaks meanwhile.
    pub async fn stop(&self, accept_grace: Duration) {
        self.end_readiness();
        self.stopping.cancel();
        self.holds.close();
        let held = async {
            self.clock.sleep(accept_grace).await;
            self.holds.wait().await;
        };
        self.shutdown.run_until_cancelled(held).await;
        self.shutdown.cancel();
    }

    /// Shuts the process down, whoever holds it off.
    pub(crate) fn stop_now(&self) {
        self.end_readiness();
        self.stopping.cancel();
        self.shutdown.cancel();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{App, World};

    #[tokio::test(start_paused = true)]
    async fn shutdown_comes_after_the_grace_and_the_last_hold() {
        let app = App::detached(World::real());
        let (one, other) = (app.hold(), app.hold());
        let (stopper, started) = (app.stopper(), Instant::now());
        let stopped = async {
            stopper.stop(Duration::from_secs(5)).await;
            assert!(app.shutdown().is_cancelled());
            started.elapsed()
        };
        let let_go = async {
            app.stopping().cancelled().await;
            assert!(!app.shutdown().is_cancelled());
            drop(one);
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert!(!app.shutdown().is_cancelled());
            drop(other);
        };
        let (took, ()) = tokio::join!(stopped, let_go);
        assert_eq!(took, Duration::from_secs(30));

        let free = App::detached(World::real());
        let started = Instant::now();
        free.stopper().stop(Duration::from_secs(5)).await;
        assert_eq!(started.elapsed(), Duration::from_secs(5));
        assert!(free.shutdown().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn what_breaks_waits_for_nobody() {
        let app = App::detached(World::real());
        let _hold = app.hold();
        app.shutdown().cancel();
        let started = Instant::now();
        app.stopper().stop(Duration::from_secs(5)).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
