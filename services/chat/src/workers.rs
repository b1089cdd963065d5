//! What works for the rooms while they are served.

use chassis::{Component, Policy, StartError, Tasks, async_trait};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// Tasks that begin before the first connector comes, and end after the last one has
/// gone: rooms are handed over with what was in flight.
pub(crate) struct Workers {
    tasks: Tasks,
    idle: Vec<(&'static str, BoxFuture<'static, ()>)>,
    stop: CancellationToken,
}

impl Workers {
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self { tasks, idle: Vec::new(), stop: CancellationToken::new() }
    }

    /// Adds one; `kind` is what it is called among the process's tasks.
    pub(crate) fn with(
        mut self,
        kind: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.idle.push((kind, Box::pin(work)));
        self
    }
}

#[async_trait]
impl Component for Workers {
    fn name(&self) -> &'static str {
        "room workers"
    }

    async fn start(&mut self) -> Result<(), StartError> {
        for (kind, work) in self.idle.drain(..) {
            let stop = self.stop.clone();
            self.tasks.spawn(kind, Policy::Critical, async move {
                stop.run_until_cancelled(work).await;
            });
        }
        Ok(())
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        Ok(())
    }
}
