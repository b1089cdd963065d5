//! Lists as they are and will be; and who follows the file of one.

use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::{Entry, List, list::File};

/// How often a list's file is read.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// A list that may change, whoever makes it: an operator ([`List`]), or Kubernetes
/// ([`DiscoveryOptions`](crate::DiscoveryOptions)).
pub struct Source<T> {
    entries: watch::Receiver<Arc<[T]>>,
    follow: BoxFuture<'static, ()>,
}

impl<T> Source<T> {
    pub(crate) fn new(entries: watch::Receiver<Arc<[T]>>, follow: BoxFuture<'static, ()>) -> Self {
        Self { entries, follow }
    }

    /// The entries as they are now.
    #[must_use]
    pub fn entries(&self) -> Arc<[T]> {
        Arc::clone(&self.entries.borrow())
    }

    /// The entries as they are and will be, and the future that follows them: run it
    /// until shutdown. It ends when nobody listens any more.
    #[must_use]
    pub fn watch(self) -> (watch::Receiver<Arc<[T]>>, BoxFuture<'static, ()>) {
        (self.entries, self.follow)
    }
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl<T: Entry> From<List<T>> for Source<T> {
    fn from(list: List<T>) -> Self {
        let (entries, follow) = list.watch();
        Self { entries, follow: Box::pin(follow) }
    }
}

impl<T: Entry> List<T> {
    /// Returns the entries as they are and will be, and the future that follows
    /// the file: read each second, published when they differ. A broken file
    /// leaves them as they were, and is logged once per change of its content.
    ///
    /// The future ends when nobody listens any more; run it until shutdown. That
    /// of a list without a file does nothing else.
    pub fn watch(self) -> (watch::Receiver<Arc<[T]>>, impl Future<Output = ()> + Send + use<T>) {
        let (sender, receiver) = watch::channel(self.entries);
        let file = self.file;
        let follow = async move {
            tokio::select! {
                () = sender.closed() => {}
                () = follow(&sender, file) => {}
            }
        };
        (receiver, follow)
    }
}

async fn follow<T: Entry>(entries: &watch::Sender<Arc<[T]>>, file: Option<File>) {
    let Some(mut file) = file else { return std::future::pending().await };
    let mut ticks = interval(POLL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let path = file.path.clone();
        // Reading blocks, for ever on some network file systems: not on this thread.
        // No more than one such read at a time, so this is not a task that leaks.
        let read = tokio::task::spawn_blocking(move || File::read(path)).await;
        let Ok(now) = read else { continue };
        if now.content == file.content {
            continue;
        }
        file = now;
        match file.parse::<T>() {
            Ok(parsed) => {
                let changed = entries.send_if_modified(|last| {
                    let differs = **last != *parsed;
                    *last = parsed;
                    differs
                });
                if changed {
                    tracing::info!(file = %file.path.display(), "list changed");
                }
            }
            Err(error) => tracing::warn!(error = %error, "list is broken, keeping the last"),
        }
    }
}
