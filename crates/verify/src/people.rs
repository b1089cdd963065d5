//! Clients who chat, and the record of what they saw.
//!
//! ```text
//! person (what one wants) ──▶ client (one session) ──▶ entry, socket ──▶ a connector
//!                                │ reader                 └ or a gate first
//!                                ▼
//!                             recorder
//! ```

mod client;
pub(crate) mod entry;
mod log;
mod person;
mod reader;
pub(crate) mod recorder;
pub(crate) mod socket;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chassis::{Clock, Net, Policy, Tasks};
use tokio::sync::watch;
use verify::Event;

use entry::Entry;
use person::Person;
use recorder::Recorder;

pub(crate) use log::add as add_log;

/// Before the end of a quiet time nobody comes or goes, so that rosters can be compared.
const CALM: Duration = Duration::from_secs(8);
/// Before its end nobody says anything new.
const SILENT: Duration = Duration::from_secs(2);
/// The last quiet time is never shorter: rosters have 20 s.
pub(crate) const LAST_QUIET_MIN: Duration = Duration::from_secs(22);

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) net: Net,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) recorder: Recorder,
    pub(crate) entry: Entry,
    pub(crate) clients: usize,
    pub(crate) rooms: usize,
    /// What the names of the rooms begin with.
    pub(crate) prefix: String,
    pub(crate) pace: Duration,
    pub(crate) phase: watch::Receiver<Phase>,
    /// How many have been in their rooms.
    pub(crate) arrived: AtomicUsize,
}

/// What clients may do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Phase {
    /// Nobody comes or goes.
    is_calm: bool,
    /// Nobody says anything new.
    is_silent: bool,
    /// Everybody goes.
    is_over: bool,
}

impl Shared {
    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn room(&self, number: usize) -> String {
        format!("{}r{number}", self.prefix)
    }
}

/// Lets everybody come.
pub(crate) fn start(shared: &Arc<Shared>, seed: u64) {
    for number in 0..shared.clients {
        let person = Person::new(shared, number, seed);
        shared.tasks.spawn("person", Policy::Session, person.live());
    }
}

/// Waits until everybody was in their room, for `max` at most; returns how many were.
pub(crate) async fn arrived(shared: &Shared, max: Duration) -> usize {
    let until = shared.clock.now() + max;
    loop {
        let arrived = shared.arrived.load(Ordering::Relaxed);
        if arrived == shared.clients || shared.clock.now() >= until {
            return arrived;
        }
        shared.clock.sleep(Duration::from_millis(50)).await;
    }
}

/// A time without faults.
pub(crate) async fn be_quiet(shared: &Shared, phases: &watch::Sender<Phase>, time: Duration) {
    let clock = shared.clock;
    shared.recorder.add(Event::QuietBegins);
    clock.sleep(time.saturating_sub(CALM)).await;
    phases.send_replace(Phase { is_calm: true, ..Phase::default() });
    clock.sleep(time.min(CALM).saturating_sub(SILENT)).await;
    phases.send_replace(Phase { is_calm: true, is_silent: true, is_over: false });
    clock.sleep(time.min(SILENT)).await;
    shared.recorder.add(Event::QuietEnds);
    phases.send_replace(Phase::default());
}

/// Everybody says good-bye.
pub(crate) async fn part(shared: &Shared, phases: &watch::Sender<Phase>) {
    phases.send_replace(Phase { is_calm: true, is_silent: true, is_over: true });
    shared.clock.sleep(SILENT).await;
}
