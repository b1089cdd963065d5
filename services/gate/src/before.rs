//! The one place where code from elsewhere runs inside a gate.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use chassis::Clock;
use futures::FutureExt;
use model::UserName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Metrics;

/// How long an answer waits for [`BeforeEntry::before_entry`]; then it is given all the
/// same.
pub const BEFORE_ENTRY_MAX: Duration = Duration::from_secs(1);

/// Users that may be with [`BeforeEntry::before_entry`] at once; those beyond are
/// answered without it.
pub const BEFORE_ENTRIES_MAX: usize = 1024;

/// Something that is to happen before a user is told a connector: how a service of
/// somebody else's gets to know of users, in a gate of their own. docs/extending.md has
/// an example.
///
/// It cannot change the answer, nor withhold it. Who takes longer than
/// [`BEFORE_ENTRY_MAX`] is dropped where it waits, who panics is counted and logged, and
/// at [`BEFORE_ENTRIES_MAX`] it is not called: each time the user is answered as if
/// nothing had been there. `gate_before_entries_total` says how often.
#[async_trait]
pub trait BeforeEntry: fmt::Debug + Send + Sync + 'static {
    /// `user` asks for a connector, as a client or over gRPC; nobody has checked yet
    /// whether it is them. Not called for what a room would not take as a name.
    ///
    /// Runs in a task of its own, many at once, and must not block. May be dropped at
    /// any `await`.
    async fn before_entry(&self, user: &UserName);
}

/// What became of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Done,
    /// It took too long.
    Late,
    /// It has a bug.
    Panicked,
    /// It was not called: too many are with it.
    Full,
}

impl Outcome {
    pub(crate) const ALL: [Self; 4] = [Self::Done, Self::Late, Self::Panicked, Self::Full];

    /// As a metric's label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Late => "late",
            Self::Panicked => "panicked",
            Self::Full => "full",
        }
    }
}

/// A [`BeforeEntry`] within its bounds. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    hook: Arc<dyn BeforeEntry>,
    places: Arc<Semaphore>,
    metrics: Metrics,
    clock: Clock,
}

/// One call that is about to be made.
#[derive(Debug)]
pub(crate) struct Visit {
    before: Before,
    user: UserName,
    _place: OwnedSemaphorePermit,
}

impl Before {
    pub(crate) fn new(hook: Arc<dyn BeforeEntry>, metrics: Metrics, clock: Clock) -> Self {
        Self { hook, places: Arc::new(Semaphore::new(BEFORE_ENTRIES_MAX)), metrics, clock }
    }

    /// The visit to make for `uid` before it is answered; `None` if there is none to
    /// make.
    pub(crate) fn visit(&self, uid: &str) -> Option<Visit> {
        let user = UserName::parse(uid).ok()?;
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Some(Visit { before: self.clone(), user, _place: place }),
            Err(_) => {
                self.metrics.before_entry(Outcome::Full).inc();
                None
            }
        }
    }
}

impl Visit {
    /// Makes the call, in bounded time, whatever it does.
    pub(crate) async fn make(self) {
        let Self { before, user, .. } = &self;
        let began_at = before.clock.now();
        // Within the future, so that a panic before the first `await` is caught, too.
        let call = AssertUnwindSafe(async { before.hook.before_entry(user).await });
        let outcome = match tokio::time::timeout(BEFORE_ENTRY_MAX, call.catch_unwind()).await {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(_)) => Outcome::Panicked,
            Err(_) => Outcome::Late,
        };
        before.metrics.before_entry(outcome).inc();
        let took = before.clock.now() - began_at;
        before.metrics.before_entry_seconds.observe(took.as_secs_f64());
        if outcome != Outcome::Done {
            tracing::debug!(%user, outcome = outcome.name(), "answering without before_entry");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, RwLock};

    use prometheus_client::registry::Registry;

    use super::*;

    /// Does what the user's name says.
    #[derive(Debug, Default)]
    struct Hook {
        done: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl BeforeEntry for Hook {
        async fn before_entry(&self, user: &UserName) {
            match user.as_str() {
                "hangs" => std::future::pending().await,
                "panics" => panic!("as asked"),
                name => {
                    tokio::task::yield_now().await;
                    self.done.lock().unwrap().push(name.to_owned());
                }
            }
        }
    }

    fn before() -> (Arc<Hook>, Before) {
        let (hook, directory) = (Arc::new(Hook::default()), Arc::new(RwLock::default()));
        let metrics = Metrics::register(&mut Registry::default(), directory, Clock::real());
        let hooked: Arc<dyn BeforeEntry> = hook.clone();
        (hook, Before::new(hooked, metrics, Clock::real()))
    }

    fn count(before: &Before, outcome: Outcome) -> u64 {
        before.metrics.before_entry(outcome).get()
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_or_panics_is_left_behind() {
        let (hook, before) = before();
        let began_at = before.clock.now();
        for name in ["ann", "panics", "hangs", "bob"] {
            before.visit(name).unwrap().make().await;
        }
        assert_eq!(*hook.done.lock().unwrap(), ["ann", "bob"]);
        assert_eq!(Outcome::ALL.map(|outcome| count(&before, outcome)), [2, 1, 1, 0]);
        let took = before.clock.now() - began_at;
        assert!(took >= BEFORE_ENTRY_MAX, "{took:?}");
        assert!(took < BEFORE_ENTRY_MAX * 2, "{took:?}");
    }

    #[tokio::test]
    async fn beyond_the_bound_nobody_is_called_until_there_is_room() {
        let (_, before) = before();
        let mut visits: Vec<Visit> =
            (0..BEFORE_ENTRIES_MAX).map(|_| before.visit("ann").unwrap()).collect();
        assert!(before.visit("bob").is_none());
        assert_eq!(count(&before, Outcome::Full), 1);
        visits.pop();
        assert!(before.visit("bob").is_some());
    }

    #[tokio::test]
    async fn a_name_is_normalised_and_what_is_none_is_not_called_for() {
        let (hook, before) = before();
        for uid in ["", "*", " ", &"a".repeat(65)] {
            assert!(before.visit(uid).is_none(), "{uid}");
        }
        before.visit("Jose\u{301}").unwrap().make().await;
        assert_eq!(*hook.done.lock().unwrap(), ["José"]);
        assert_eq!(count(&before, Outcome::Full), 0);
    }
}
