//! Parts of a process that begin before it serves and end after it has served.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{Clock, StartError};

/// How long one [`Component::start`] or [`Component::after_start`] may take; then the
/// process does not start.
pub(crate) const START_MAX: Duration = Duration::from_secs(60);

/// How long one [`Component::stop`] may take; then the next one's turn comes, and the
/// process exits with 1.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(5);

/// A part of a process that wants to be told when the process begins and ends.
///
/// Added with [`App::add`](crate::App::add) while the process is built; each hook is
/// called once at most, by [`run`](crate::run) and [`App::ready`](crate::App::ready):
///
/// 1. `start`, one after the other in the order in which they were added;
/// 2. `after_start`, in the same order, once all have started;
/// 3. the process is ready and serves, is asked to end, and has served to the end;
/// 4. `stop`, in the opposite order, of those that have started.
///
/// All ports are taken before the first hook, so what others send meanwhile waits.
/// A hook that panics before readiness ends the process, as any bug in a start does.
#[async_trait::async_trait]
pub trait Component: Send + 'static {
    /// What it is called in logs and refusals.
    fn name(&self) -> &'static str;

    /// Begins. Takes 60 s at most. Dropped where it waits if the process is asked to
    /// end meanwhile; then it has not started.
    ///
    /// # Errors
    ///
    /// One line for people: the process does not start, and exits with 2.
    async fn start(&mut self) -> Result<(), StartError> {
        Ok(())
    }

    /// Goes on with what needs the others: all have started. As [`Component::start`]
    /// in every other respect, but that `stop` follows in any case.
    ///
    /// # Errors
    ///
    /// As for [`Component::start`].
    async fn after_start(&mut self) -> Result<(), StartError> {
        Ok(())
    }

    /// Ends. Nothing is served any more, and those that were added before it still
    /// run. Takes 5 s at most, all together what `--shutdown-grace` leaves; a stop
    /// that takes longer is dropped where it waits.
    ///
    /// # Errors
    ///
    /// What was left undone. It is logged, the others are stopped nevertheless, and
    /// the process exits with 1, as it does after a panic or a stop that was too long.
    async fn stop(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// The components of a process. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Components(Arc<Mutex<All>>);

#[derive(Default)]
struct All {
    added: Vec<Box<dyn Component>>,
    /// The first so many have started and were not stopped.
    started: usize,
    is_closed: bool,
}

impl std::fmt::Debug for Components {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Components")
    }
}

impl Components {
    pub(crate) fn add(&self, component: Box<dyn Component>) {
        let mut all = self.0.try_lock().expect("nothing starts or stops yet");
        assert!(!all.is_closed, "{} comes after App::ready", component.name());
        all.added.push(component);
    }

    /// Starts all, or up to the first that fails. What was asked to end meanwhile
    /// starts no more.
    pub(crate) async fn start(
        &self,
        clock: Clock,
        shutdown: &CancellationToken,
    ) -> Result<(), StartError> {
        let mut all = self.0.lock().await;
        all.is_closed = true;
        for at in all.started..all.added.len() {
            let one = &mut all.added[at];
            let name = one.name();
            if !begin(name, clock, shutdown, one.start()).await? {
                return Ok(());
            }
            all.started = at + 1;
        }
        for one in &mut all.added {
            let name = one.name();
            if !begin(name, clock, shutdown, one.after_start()).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Stops what has started, the last first. True if all went well.
    pub(crate) async fn stop(&self, clock: Clock) -> bool {
        let mut all = self.0.lock().await;
        all.is_closed = true;
        let mut is_well = true;
        let started = std::mem::take(&mut all.started);
        for one in all.added[..started].iter_mut().rev() {
            let name = one.name();
            let stopped = AssertUnwindSafe(one.stop()).catch_unwind();
            let error = tokio::select! {
                biased;
                stopped = stopped => match stopped {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => crate::chain(error.as_ref()),
                    // The panic hook has logged what happened and where.
                    Err(_) => "a panic".into(),
                },
                () = clock.sleep(STOP_MAX) => format!("not within {}", humantime::format_duration(STOP_MAX)),
            };
            tracing::error!(component = name, error, "not stopped");
            is_well = false;
        }
        is_well
    }
}

/// Waits for a start; false if the process was asked to end before it was through.
async fn begin(
    name: &str,
    clock: Clock,
    shutdown: &CancellationToken,
    start: impl Future<Output = Result<(), StartError>>,
) -> Result<bool, StartError> {
    let refused = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(false),
        started = start => match started {
            Ok(()) => return Ok(true),
            Err(StartError(why)) => why,
        },
        () = clock.sleep(START_MAX) => format!("not within {}", humantime::format_duration(START_MAX)),
    };
    Err(StartError(format!("cannot start {name}: {refused}")))
}

#[cfg(test)]
mod tests;
