//! The log that all shards of a simulation share, and what goes wrong with it.
//!
//! ```text
//! chat::Server ──▶ Handle (one a shard: weather, latency, time-outs)
//!                      │ statements, each with the time at which it lands
//!                      ▼
//!                  Shared ──land, by the clock of the simulation──▶ store::Memory
//! ```
//!
//! What was sent lands, whatever becomes of the shard that sent it.

mod bug;
mod handle;
mod journal;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chassis::Rng;
use futures::FutureExt;
use model::RoomId;
use store::{Cursor, Keeper, Memory, MemoryLimits, Retention};
use tokio::sync::watch;

pub use bug::Bug;
pub(crate) use handle::Handle;
pub use journal::{Journal, RoomLog};

use crate::hosts::EPOCH_MS;

/// What is wrong with the store, as one shard sees it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Weather {
    /// Nothing.
    #[default]
    Fine,
    /// It cannot be reached: at once, or after a while.
    Unreachable,
    /// What is written is refused.
    ReadOnly,
    /// Every statement takes so long; the shard does not wait for it.
    Slow(Duration),
    /// Every statement is carried out, and none is answered.
    Mute,
    /// Of one in three writes nobody learns what became: it is carried out, or not,
    /// or seconds later.
    Odd,
    /// The shard stands still: it neither sends a statement nor hears of one.
    Frozen,
}

/// A statement on its way. Gives the rooms that it may have changed.
type Statement = Box<dyn FnOnce(&Memory) -> Vec<RoomId> + Send>;

/// The store; clones share it.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inner>);

struct Inner {
    log: Memory,
    state: Mutex<State>,
    weather: watch::Sender<BTreeMap<String, Weather>>,
    /// Milliseconds of the simulation.
    clock_ms: Arc<AtomicU64>,
    rng: Rng,
    bug: Option<Bug>,
}

#[derive(Default)]
struct State {
    /// By the time at which they land, and by the order of sending.
    on_their_way: BTreeMap<(Duration, u64), Statement>,
    sent: u64,
    is_restored: bool,
    journal: Journal,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let clock_ms = Arc::new(AtomicU64::new(0));
        let (clock, epochs) = (Arc::clone(&clock_ms), Rng::seeded(seed ^ 0x5a5a));
        let unix_ms = move || EPOCH_MS + clock.load(Ordering::Relaxed);
        let limits = MemoryLimits { entries_max: usize::MAX };
        Self(Arc::new(Inner {
            log: Memory::new(limits, unix_ms, move || epochs.u64()),
            state: Mutex::default(),
            weather: watch::Sender::default(),
            clock_ms,
            rng: Rng::seeded(seed ^ 0xa5a5),
            bug,
        }))
    }

    /// The store as one shard sees it.
    pub(crate) fn seen_by(&self, shard: &str) -> Handle {
        Handle::new(self.clone(), shard.to_owned())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.clock_ms.load(Ordering::Relaxed))
    }

    /// Sends a statement that lands after `latency`.
    fn send(&self, latency: Duration, statement: Statement) {
        let due = self.now() + latency;
        let mut state = self.state();
        state.sent += 1;
        let number = state.sent;
        state.on_their_way.insert((due, number), statement);
    }

    /// Lets time go on: carries out what lands until `now`.
    pub(crate) fn land(&self, now: Duration) {
        let now_ms = u64::try_from(now.as_millis()).expect("a short simulation");
        self.0.clock_ms.store(now_ms, Ordering::Relaxed);
        loop {
            let mut state = self.state();
            let Some(first) = state.on_their_way.first_entry().filter(|e| e.key().0 <= now) else {
                return;
            };
            let statement = first.remove();
            let changed = statement(&self.0.log);
            for room in changed {
                state.journal.follow(&self.0.log, &room, now);
            }
        }
    }

    pub(crate) fn set_weather(&self, shard: &str, weather: Weather) {
        self.0.weather.send_modify(|all| {
            all.insert(shard.to_owned(), weather);
        });
    }

    /// All connections break: of what is on its way, some is carried out.
    pub(crate) fn restart(&self) {
        let now = self.now();
        let mut state = self.state();
        let on_their_way = std::mem::take(&mut state.on_their_way);
        for (_, statement) in on_their_way {
            if self.0.rng.u64().is_multiple_of(2) {
                for room in statement(&self.0.log) {
                    state.journal.follow(&self.0.log, &room, now);
                }
            }
        }
    }

    /// Somebody has put a copy in its place: nobody is served until all rooms have a
    /// new epoch.
    pub(crate) fn restore(&self) {
        self.state().is_restored = true;
    }

    /// What an operator does then.
    pub(crate) fn new_epoch(&self) {
        let now = self.now();
        let mut state = self.state();
        let rooms = done(self.0.log.rooms(None, usize::MAX));
        for room in rooms {
            done(self.0.log.new_epoch(&room));
            state.journal.follow(&self.0.log, &room, now);
        }
        state.is_restored = false;
    }

    /// Takes all but the newest entries of each room.
    pub(crate) fn retain(&self, entries: u64) {
        let policy = Retention { entries, ..Retention::default() };
        done(self.0.log.retain(policy, Cursor::default(), usize::MAX));
    }

    /// All that was ever stored, and when.
    pub(crate) fn journal(&self) -> Journal {
        let mut state = self.state();
        state.journal.close(&self.0.log);
        state.journal.clone()
    }
}

/// A log in memory never waits and never fails.
fn done<T>(call: impl Future<Output = Result<T, store::StoreError>>) -> T {
    call.now_or_never().expect("it does not wait").expect("it does not fail")
}
