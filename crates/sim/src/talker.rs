//! Somebody who chats in rooms whose log outlives everything, and whom `verify`
//! watches.

mod mind;
mod session;

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chassis::Rng;
use tokio::time::{Instant, sleep};
use verify::{Event, Line};

use self::{mind::Mind, session::Session};

/// Who chats, where, and how. Comes back whenever it loses its session.
#[derive(Clone, Debug)]
pub struct Talker {
    /// What it is called in the record, and what all begins with that it says.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What proves who it is; none for a plain client.
    pub secret: Option<String>,
    /// The connectors that it goes to, one after the other.
    pub connectors: Vec<String>,
    /// The rooms that it is in, one after the other if it is restless.
    pub rooms: Vec<String>,
    /// When it comes.
    pub comes: Duration,
    /// When it falls silent, and stays where it is.
    pub talks_until: Duration,
    /// When it goes for good.
    pub goes: Option<Duration>,
    /// True if it goes for good when somebody else has its name.
    pub yields: bool,
    /// How long it waits between two messages: up to twice this.
    pub pace: Duration,
    /// To whom it whispers now and then.
    pub confides_in: Vec<String>,
    /// What it does beside talking, now and then.
    pub habits: Vec<Habit>,
    /// How long it waits between two of these: up to twice this.
    pub unrest: Duration,
}

/// What somebody does beside talking.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Habit {
    /// Reads pages of the past, from the newest back, or from some place on.
    Reads,
    /// Leaves the room, and enters the next.
    Wanders,
    /// Closes its connection and comes back.
    Hangs,
    /// Is gone without a word, and comes back at once.
    Flaps,
    /// Comes in elsewhere while it is still in here.
    Jumps,
    /// Says again what was acknowledged, with the same or another content.
    Repeats,
    /// Says something to several at once, faster than answers come.
    Bursts,
}

impl Talker {
    /// Somebody who comes at once and talks for 30 s, a message in 500 ms or so.
    #[must_use]
    pub fn new(name: &str, connector: &str, room: &str) -> Self {
        Self {
            id: name.into(),
            name: name.into(),
            secret: Some(format!("the secret of {name} is this")),
            connectors: vec![connector.into()],
            rooms: vec![room.into()],
            comes: Duration::from_secs(1),
            talks_until: Duration::from_secs(30),
            goes: None,
            yields: false,
            pace: Duration::from_millis(500),
            confides_in: Vec::new(),
            habits: Vec::new(),
            unrest: Duration::from_secs(4),
        }
    }

    /// The same as a client of the original.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.secret = None;
        self
    }

    /// The same with something that it does beside talking.
    #[must_use]
    pub fn with(mut self, habit: Habit) -> Self {
        self.habits.push(habit);
        self
    }

    /// Chats as long as the simulation lasts.
    pub(crate) async fn live(self, seed: u64, writer: Writer) {
        let mix = |mix: u64, byte: u8| mix.wrapping_mul(131).wrapping_add(byte.into());
        let rng = Rng::seeded(self.id.bytes().fold(seed, mix));
        let start = Instant::now();
        sleep(self.comes + rng.up_to(Duration::from_millis(200))).await;
        let mind = Rc::new(RefCell::new(Mind::new(self, rng.clone(), start)));
        for turn in 0.. {
            if mind.borrow().goes_at().is_some_and(|goes| goes <= Instant::now()) {
                return;
            }
            let connector = mind.borrow().connector(turn);
            let Some(session) = Session::open(&mind, &writer, &connector).await else {
                sleep(RETRY + rng.up_to(RETRY)).await;
                continue;
            };
            match session.run().await {
                Ended::Superseded if mind.borrow().who.yields => return,
                Ended::Lost | Ended::Superseded => sleep(RETRY + rng.up_to(RETRY)).await,
                Ended::Went => sleep(rng.up_to(RETRY)).await,
                Ended::Elsewhere(session) => {
                    tokio::task::spawn_local(session.linger());
                }
            }
        }
    }
}

/// How long somebody waits before it comes back.
const RETRY: Duration = Duration::from_millis(300);

/// How a session ended.
enum Ended {
    /// By no wish of the client.
    Lost,
    /// Somebody else has the name.
    Superseded,
    /// By its wish.
    Went,
    /// It goes on, but the client is about to come in elsewhere.
    Elsewhere(Box<Session>),
}

/// Writes a record from many places of one simulation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    lines: Vec<Line>,
    sessions: u32,
}

impl Writer {
    /// Writes what happens now.
    pub(crate) fn add(&self, event: Event) {
        self.add_at(turmoil::sim_elapsed().expect("in a simulation"), event);
    }

    /// Writes what happens at a time that is not before what was written last.
    pub(crate) fn add_at(&self, at: Duration, event: Event) {
        let at = u64::try_from(at.as_micros()).expect("a short simulation");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lines.push(Line { at, event });
    }

    /// A number that no session had.
    fn session(&self) -> u32 {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.sessions += 1;
        written.sessions
    }

    pub(crate) fn take(&self) -> Vec<Line> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).lines)
    }
}
