//! What somebody remembers over its sessions.

use std::collections::{HashMap, VecDeque};

use chassis::Rng;
use ring::digest;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};
use verify::Position;

use super::{Habit, Talker};

/// Messages that are remembered to be said again.
const REMEMBERED: usize = 8;

/// What somebody remembers.
#[derive(Debug)]
pub(super) struct Mind {
    pub(super) who: Talker,
    pub(super) rng: Rng,
    pub(super) start: Instant,
    pub(super) room: usize,
    said: u32,
    /// Per room, what was said and is not known to be stored, in order.
    unacked: HashMap<String, VecDeque<Message>>,
    /// What is stored, per room.
    acked: HashMap<String, VecDeque<Message>>,
    /// Per room, the last entry that was seen.
    marks: HashMap<String, Position>,
}

/// Something that is said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Message {
    pub(super) cmid: Option<String>,
    pub(super) target: String,
    pub(super) content: String,
}

impl Mind {
    pub(super) fn new(who: Talker, rng: Rng, start: Instant) -> Self {
        let (unacked, acked, marks) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { who, rng, start, room: 0, said: 0, unacked, acked, marks }
    }

    pub(super) fn connector(&self, turn: usize) -> String {
        self.who.connectors[turn % self.who.connectors.len()].clone()
    }

    pub(super) fn room(&self) -> String {
        self.who.rooms[self.room % self.who.rooms.len()].clone()
    }

    pub(super) fn is_extended(&self) -> bool {
        self.who.secret.is_some()
    }

    /// True as long as it talks and moves.
    pub(super) fn is_awake(&self) -> bool {
        Instant::now() - self.start < self.who.talks_until
    }

    /// When it goes for good, if it does.
    pub(super) fn goes_at(&self) -> Option<Instant> {
        self.who.goes.map(|goes| self.start + goes)
    }

    /// Who it is, in hex digits, if it can prove it.
    pub(super) fn identity(&self) -> Option<String> {
        let secret = self.who.secret.as_ref()?;
        let hash = digest::digest(&digest::SHA256, secret.as_bytes());
        Some(hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) fn next_word(&self) -> Instant {
        Instant::now() + self.rng.up_to(self.who.pace * 2)
    }

    /// When it next does something else; none for who only talks.
    pub(super) fn next_whim(&self) -> Option<Instant> {
        (!self.who.habits.is_empty()).then(|| {
            Instant::now() + Duration::from_millis(100) + self.rng.up_to(self.who.unrest * 2)
        })
    }

    /// One of so many.
    pub(super) fn draw(&self, sides: usize) -> usize {
        let sides = u64::try_from(sides).expect("a small number");
        usize::try_from(self.rng.u64() % sides).expect("a small number")
    }

    pub(super) fn whim(&self) -> Habit {
        self.who.habits[self.draw(self.who.habits.len())]
    }

    /// How it greets a connector.
    pub(super) fn hello(&self) -> Value {
        if self.is_extended() {
            json!({ "sys": {}, "user": { "shaddock": 1 } })
        } else {
            json!({ "sys": {} })
        }
    }

    /// Thinks of something to say.
    pub(super) fn new_message(&mut self, room: &str) -> Message {
        self.said += 1;
        let content = format!("{}-{}", self.who.id, self.said);
        let friends = &self.who.confides_in;
        let target = match self.draw(6) {
            0 if !friends.is_empty() => friends[self.draw(friends.len())].clone(),
            _ => "*".to_owned(),
        };
        let cmid = self.is_extended().then(|| format!("id-{content}"));
        let message = Message { cmid, target, content };
        if self.is_extended() {
            self.unacked.entry(room.to_owned()).or_default().push_back(message.clone());
        }
        message
    }

    /// What has to be said again.
    pub(super) fn unacked(&self, room: &str) -> Vec<Message> {
        self.unacked.get(room).into_iter().flatten().cloned().collect()
    }

    /// A message has its last answer.
    pub(super) fn answered(&mut self, room: &str, message: &Message, code: u16) {
        if matches!(code, 429 | 503) {
            return;
        }
        if let Some(unacked) = self.unacked.get_mut(room) {
            unacked.retain(|known| known != message);
        }
        if code == 200 && message.cmid.is_some() {
            let acked = self.acked.entry(room.to_owned()).or_default();
            acked.push_back(message.clone());
            if acked.len() > REMEMBERED {
                acked.pop_front();
            }
        }
    }

    /// Something that is stored, to be said again; or something else under its cmid.
    pub(super) fn again(&mut self, room: &str) -> Option<Message> {
        let acked = self.acked.get(room).filter(|acked| !acked.is_empty())?;
        let mut message = acked[self.draw(acked.len())].clone();
        if self.draw(4) == 0 {
            self.said += 1;
            message.content = format!("{}-{}-not", self.who.id, self.said);
        }
        Some(message)
    }

    /// Where it left off.
    pub(super) fn mark(&self, room: &str) -> Option<&Position> {
        self.marks.get(room)
    }

    /// Something was seen at a place.
    pub(super) fn saw(&mut self, room: &str, position: &Position) {
        let mark = self.marks.entry(room.to_owned()).or_insert_with(|| position.clone());
        if mark.epoch != position.epoch || mark.seq < position.seq {
            *mark = position.clone();
        }
    }

    /// It goes on from a place.
    pub(super) fn set_mark(&mut self, room: &str, position: &Position) {
        self.marks.insert(room.to_owned(), position.clone());
    }
}
