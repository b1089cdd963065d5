//! Somebody who chats, comes and goes, and tries what is not allowed.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use chassis::{Policy, Rng};
use verify::Position;

use super::{Shared, client::Session, entry};

/// Messages that may wait for their answers.
const UNSENT_MAX: usize = 32;
/// Messages that are known well enough to be said again.
const RECENT_MAX: usize = 16;
/// How long one waits before one comes back.
const RETRY: Duration = Duration::from_millis(400);
/// How long a session that should be ended is watched.
const WATCHED: Duration = Duration::from_secs(25);

/// One client, with what it keeps over its sessions.
#[derive(Debug)]
pub(crate) struct Person {
    shared: Arc<Shared>,
    rng: Rng,
    name: String,
    room: String,
    extended: bool,
    proof: Option<Proof>,
    place: Option<Position>,
    unsent: VecDeque<Words>,
    recent: VecDeque<Words>,
    said: u32,
    /// It was in its room.
    has_come: bool,
}

/// A secret, and who one is by it.
#[derive(Clone, Debug)]
struct Proof {
    secret: String,
    identity: String,
}

/// A message that is said until it is answered.
#[derive(Clone, Debug)]
struct Words {
    cmid: Option<String>,
    target: String,
    content: String,
    /// The session and the request by which it is on its way.
    sent: Option<(u32, u32)>,
}

/// What happens to a session.
enum Next {
    Stay,
    Gone,
}

impl Proof {
    fn draw(rng: &Rng) -> Self {
        let secret = wire::to_hex(&rng.bytes16());
        let hash = ring::digest::digest(&ring::digest::SHA256, secret.as_bytes());
        Self { secret, identity: wire::to_hex(&hash.as_ref()[..16]) }
    }
}

impl Person {
    pub(crate) fn new(shared: &Arc<Shared>, number: usize, seed: u64) -> Self {
        let rng = Rng::seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number as u64);
        let extended = (number / shared.rooms).is_multiple_of(2);
        let proof = extended.then(|| Proof::draw(&rng));
        Self {
            shared: shared.clone(),
            rng,
            name: name(number),
            room: shared.room(number % shared.rooms),
            extended,
            proof,
            place: None,
            unsent: VecDeque::new(),
            recent: VecDeque::new(),
            said: 0,
            has_come: false,
        }
    }

    /// Chats until the run is over.
    pub(crate) async fn live(mut self) {
        self.wait(entry::spread(self.shared.clients)).await;
        let (mut session, mut failed) = (None, 0);
        while !self.shared.phase().is_over {
            let old = match session.take() {
                Some(session) => session,
                None => match self.come_in().await {
                    Some(new) => new,
                    None => {
                        failed += 1;
                        self.wait(self.shared.entry.patience(
                            RETRY * 2,
                            failed,
                            self.shared.clients,
                        ))
                        .await;
                        continue;
                    }
                },
            };
            failed = 0;
            if !std::mem::replace(&mut self.has_come, true) {
                self.shared.arrived.fetch_add(1, Ordering::Relaxed);
            }
            session = self.stay(old).await;
        }
        if let Some(session) = session {
            session.close();
            session.ended(RETRY).await;
        }
    }

    async fn wait(&self, max: Duration) {
        self.shared.clock.sleep(self.rng.up_to(max)).await;
    }

    fn draw(&self, below: usize) -> usize {
        (self.rng.u64() % below as u64) as usize
    }

    async fn come_in(&mut self) -> Option<Session> {
        let resume = self.place.clone().filter(|_| self.draw(10) > 0);
        self.come_in_from(resume).await
    }

    async fn come_in_from(&mut self, resume: Option<Position>) -> Option<Session> {
        let drawn = self.rng.u64();
        let session = Session::open(&self.shared, &self.name, self.extended, drawn).await;
        let session = session.ok()?;
        if !self.enter(&session, resume).await {
            session.close();
            session.ended(RETRY).await;
            return None;
        }
        Some(session)
    }

    async fn enter(&mut self, session: &Session, resume: Option<Position>) -> bool {
        let proof = self.proof.clone();
        let proof = proof.as_ref().map(|proof| (&*proof.secret, &*proof.identity));
        let answer = session.enter(&self.room, &self.name, proof, resume).await;
        let is_in = answer.is_ok_and(|(code, _)| code == 200);
        if is_in {
            // What was never answered goes first, in order.
            for words in &mut self.unsent {
                words.sent = None;
            }
            if !self.extended {
                self.unsent.clear();
            }
            self.say_unsent(session);
        }
        is_in
    }

    /// One step of a session's life; `None` if it is over.
    async fn stay(&mut self, session: Session) -> Option<Session> {
        let pause = self.rng.up_to(self.shared.pace * 2);
        let mut phases = self.shared.phase.clone();
        tokio::select! {
            _ = session.ended(pause) => {}
            _ = phases.wait_for(|phase| phase.is_over) => {}
        }
        let phase = self.shared.phase();
        self.take_answers(&session);
        if session.is_closed() {
            self.remember(&session);
            if let Some(delay) = session.sent_away() {
                self.shared.clock.sleep(delay).await;
            }
            return None;
        }
        if phase.is_silent || phase.is_over {
            return Some(session);
        }
        self.say_unsent(&session);
        let is_calm = phase.is_calm;
        match (self.draw(100), self.extended) {
            (0..55, _) => self.talk(&session, 4),
            (55..68, _) => self.whisper(&session),
            (68..72, _) => self.say(&session, "nobody-of-that-name"),
            (72..76, true) => self.repeat(&session),
            (76..78, true) => self.contradict(&session),
            (78..84, true) => self.read(&session).await,
            (84..88, true) => self.imitate(),
            (88..90, true) if !is_calm => return self.take_over(session).await,
            (90..92, true) if !is_calm => match self.step_out(&session).await {
                Next::Stay => {}
                Next::Gone => return self.lose(session),
            },
            (92..94, true) if !is_calm => return self.come_back_wrongly(session).await,
            (84..88, false) => self.imitate(),
            (94..97, _) if !is_calm => {
                self.talk(&session, 4);
                return self.lose(session);
            }
            (97..100, _) if !is_calm => {
                self.remember(&session);
                session.close();
                session.ended(RETRY).await;
                return None;
            }
            _ => self.talk(&session, 1),
        }
        Some(session)
    }

    /// Cuts the socket, right after what was written.
    fn lose(&mut self, session: Session) -> Option<Session> {
        self.remember(&session);
        session.cut();
        None
    }

    fn remember(&mut self, session: &Session) {
        self.take_answers(session);
        if self.extended {
            self.place = session.seen().or(self.place.take());
        }
    }

    fn take_answers(&mut self, session: &Session) {
        for (request, code) in session.answers() {
            let sent = Some((session.id, request));
            let Some(at) = self.unsent.iter().position(|words| words.sent == sent) else {
                continue;
            };
            // What may be stored is said again only under an id.
            if code == 429 || code == 503 && self.extended {
                self.unsent[at].sent = None;
                continue;
            }
            let words = self.unsent.remove(at).filter(|_| code == 200);
            if let Some(words) = words.filter(|words| words.cmid.is_some()) {
                // Old ones and new ones: those the store alone knows, and the shard too.
                if self.recent.len() == RECENT_MAX {
                    let forgotten = self.draw(RECENT_MAX);
                    self.recent.swap_remove_back(forgotten);
                }
                self.recent.push_back(words);
            }
        }
    }

    fn say_unsent(&mut self, session: &Session) {
        for words in self.unsent.iter_mut().filter(|words| words.sent.is_none()) {
            let sent = session.send(words.cmid.as_deref(), &words.target, &words.content);
            words.sent = sent.ok().map(|request| (session.id, request));
        }
        if !self.extended {
            // Nobody could tell a repeat from a new one.
            self.unsent.retain(|words| words.sent.is_some());
        }
    }

    fn say(&mut self, session: &Session, target: &str) {
        if self.unsent.len() >= UNSENT_MAX {
            return;
        }
        self.said += 1;
        let content = format!("{}.{}", self.name, self.said);
        let cmid = self.extended.then(|| format!("{}-{}", content, self.rng.u64()));
        self.unsent.push_back(Words { cmid, target: target.to_owned(), content, sent: None });
        self.say_unsent(session);
    }

    fn talk(&mut self, session: &Session, most: usize) {
        for _ in 0..=self.draw(most) {
            self.say(session, "*");
        }
    }

    fn whisper(&mut self, session: &Session) {
        let members = self.shared.clients.div_ceil(self.shared.rooms);
        let other = self.draw(members) * self.shared.rooms + self.number() % self.shared.rooms;
        let other = name(other);
        if other != self.name {
            self.say(session, &other);
        }
    }

    fn number(&self) -> usize {
        self.name[1..].parse().unwrap_or_default()
    }

    /// Says again what is known to be stored.
    fn repeat(&mut self, session: &Session) {
        if self.recent.is_empty() {
            return;
        }
        let words = &self.recent[self.draw(self.recent.len())];
        // The answer is for the checker.
        let _ = session.send(words.cmid.as_deref(), &words.target, &words.content);
    }

    /// Says something else under a known cmid.
    fn contradict(&mut self, session: &Session) {
        if self.recent.is_empty() {
            return;
        }
        self.said += 1;
        let content = format!("{}.{}!", self.name, self.said);
        let words = &self.recent[self.draw(self.recent.len())];
        let _ = session.send(words.cmid.as_deref(), &words.target, &content);
    }

    async fn read(&mut self, session: &Session) {
        let seen = session.seen().map_or(1, |place| place.seq);
        let some = self.rng.u64() % seen.max(1) + 1;
        let (before, after) = match self.draw(3) {
            0 => (None, None),
            1 => (Some(some), None),
            _ => (None, Some(some)),
        };
        let _ = session.history(before, after, 1 + self.rng.u64() % 100).await;
    }

    /// Leaves and enters again by the same session.
    async fn step_out(&mut self, session: &Session) -> Next {
        self.remember(session);
        if !matches!(session.leave().await, Ok(200)) {
            return Next::Gone;
        }
        let resume = self.place.clone();
        if self.enter(session, resume).await { Next::Stay } else { Next::Gone }
    }

    /// Comes in a second time by its secret, while the first session is there.
    async fn take_over(&mut self, old: Session) -> Option<Session> {
        self.remember(&old);
        let Some(new) = self.come_in().await else { return Some(old) };
        self.said += 1;
        let content = format!("{}.{}", self.name, self.said);
        let _ = old.send(Some(&content), "*", &content);
        self.watch(old);
        Some(new)
    }

    /// Keeps a session until it is closed, or for a while.
    fn watch(&self, session: Session) {
        self.shared.tasks.spawn("watched", Policy::Session, async move {
            session.ended(WATCHED).await;
        });
    }

    /// Comes back ahead of the log, or from another one.
    async fn come_back_wrongly(&mut self, session: Session) -> Option<Session> {
        self.lose(session);
        let mut place = self.place.clone()?;
        match self.draw(2) {
            0 => place.seq += 1_000_000,
            _ => place.epoch = "00000000000000ff".to_owned(),
        }
        self.come_in_from(Some(place)).await
    }

    /// Somebody else wants the name.
    fn imitate(&self) {
        let (shared, name, room) = (self.shared.clone(), self.name.clone(), self.room.clone());
        let (extended, place, rng) = (self.extended, self.place.clone(), self.rng.clone());
        let drawn = self.rng.u64();
        self.shared.tasks.spawn("imitator", Policy::Session, async move {
            let Ok(session) = Session::open(&shared, "imitator", extended, drawn).await else {
                return;
            };
            let proof = extended.then(|| Proof::draw(&rng));
            let proof = proof.as_ref().map(|proof| (&*proof.secret, &*proof.identity));
            let resume = place.filter(|_| extended);
            let answer = session.enter(&room, &name, proof, resume).await;
            // Plain, it may have come while the name was free: then one of the two goes.
            if !extended && answer.is_ok_and(|(code, _)| code == 200) {
                session.ended(WATCHED).await;
            }
            session.close();
            session.ended(RETRY).await;
        });
    }
}

pub(crate) fn name(number: usize) -> String {
    format!("c{number}")
}
