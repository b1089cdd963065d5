//! Tasks that somebody owns.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the end of a task means for the process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// The process cannot work without it: a panic starts the drain, and the
    /// process exits with 1. Ending without a panic is allowed.
    Critical,
    /// One client's or one peer's affair: a panic is counted and logged.
    Session,
}

/// Spawns tasks, counts their panics, and waits for them at the end. Clones share.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    panics: Family<KindLabel, Counter>,
    shutdown: CancellationToken,
    failed: CancellationToken,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KindLabel {
    kind: &'static str,
}

impl Tasks {
    pub(crate) fn new(registry: &mut Registry, shutdown: CancellationToken) -> Self {
        let panics = Family::<KindLabel, Counter>::default();
        registry.register("panics", "Tasks that ended by a panic, a bug", panics.clone());
        Self { tracker: TaskTracker::new(), panics, shutdown, failed: CancellationToken::new() }
    }

    /// Runs `task` until it ends by itself; `kind` is a metric label and must come
    /// from a closed set.
    pub fn spawn<F>(&self, kind: &'static str, policy: Policy, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        self.tracker.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tasks.panicked(kind, policy);
            }
        });
    }

    fn panicked(&self, kind: &'static str, policy: Policy) {
        self.panics.get_or_create(&KindLabel { kind }).inc();
        // The panic hook has logged what happened and where.
        if policy == Policy::Critical {
            tracing::error!(task = kind, "critical task panicked, stopping");
            self.failed.cancel();
            self.shutdown.cancel();
        }
    }

    /// True once a critical task has panicked.
    #[must_use]
    pub fn have_failed(&self) -> bool {
        self.failed.is_cancelled()
    }

    /// Waits until every task has ended.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// How many tasks run now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// True if no task runs now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }
}
