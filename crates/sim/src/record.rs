//! What clients saw.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// All that was seen in one run, in order of virtual time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Record(pub Vec<Seen>);

/// One thing that one client did or saw.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Virtual time since the start.
    pub at: Duration,
    /// The client's name.
    pub name: String,
    /// Which of its sessions, from 1.
    pub session: u32,
    /// What it was.
    pub event: Event,
}

/// What a client can do and see.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// It connected, and asked to come in.
    AskedToEnter {
        /// Number of the request.
        id: u32,
        /// Which room.
        room: String,
    },
    /// It said something.
    Said {
        /// Number of the request.
        id: u32,
        /// `*`, or a name.
        target: String,
        /// What; no two messages of a run are the same.
        content: String,
    },
    /// A request was answered.
    Answered {
        /// Number of the request.
        id: u32,
        /// Code of the answer; 200 if it has none.
        code: u64,
        /// The names in the room, if that was asked for.
        users: Vec<String>,
    },
    /// Something was said.
    Heard {
        /// By whom.
        from: String,
        /// To whom.
        target: String,
        /// What.
        content: String,
    },
    /// Somebody came.
    Came(String),
    /// Somebody left.
    Left(String),
    /// The session is over.
    Closed {
        /// True if the client ended it.
        by_itself: bool,
        /// What it was told.
        reason: String,
    },
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, name, session, event } = self;
        write!(f, "{:>7} {name}/{session} {event:?}", at.as_millis())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|seen| writeln!(f, "{seen}"))
    }
}

/// Writes a record from many places of one simulation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Seen>>>);

impl Recorder {
    pub(crate) fn add(&self, name: &str, session: u32, event: Event) {
        let at = turmoil::sim_elapsed().expect("in a simulation");
        let seen = Seen { at, name: name.to_owned(), session, event };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }

    pub(crate) fn take(&self) -> Record {
        Record(std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
