//! One session of somebody, from its connection to its end.

mod hears;

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep_until, timeout};
use verify::Event;
use wire::{Schema, route};

use super::{
    Ended, Habit, Writer,
    mind::{Message, Mind},
};
use crate::pomelo::{BoxError, HEARTBEAT, Pomelo};

/// Silence after which a client gives its connection up.
const SILENCE_MAX: Duration = Duration::from_secs(9);
/// How long it waits for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long it waits before it asks again.
const RETRY: Duration = Duration::from_millis(400);
/// How long it stays in a session when it is in elsewhere.
const LINGER: Duration = Duration::from_secs(12);
/// Pages that it reads one after the other.
const PAGES: u32 = 4;

/// One connection of one client.
pub(super) struct Session {
    mind: Rc<RefCell<Mind>>,
    writer: Writer,
    pomelo: Pomelo,
    chat: Schema,
    id: u32,
    room: String,
    state: State,
    asked: HashMap<u32, Asked>,
    /// When to ask again what was refused for now.
    again_at: Option<Instant>,
    heard_at: Instant,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Outside,
    Inside,
    Leaving,
}

/// What a request was.
enum Asked {
    Enter,
    Send(Message),
    Page { before: bool, left: u32 },
    Leave,
}

/// What a whim comes to.
enum Next {
    Stay,
    Close,
    Drop,
    Jump,
}

impl Session {
    /// Connects; none if that fails.
    pub(super) async fn open(
        mind: &Rc<RefCell<Mind>>,
        writer: &Writer,
        connector: &str,
    ) -> Option<Self> {
        let hello = mind.borrow().hello();
        let opened = timeout(CONNECT_MAX, Pomelo::connect(connector, &hello)).await;
        let pomelo = opened.ok()?.ok()?;
        let schema = json!({"required string msg": 1, "required string from": 2, "required string target": 3});
        let (client, extended) = {
            let mind = mind.borrow();
            (mind.who.id.clone(), mind.is_extended())
        };
        let (id, connector) = (writer.session(), connector.to_owned());
        writer.add(Event::Opened { session: id, client, extended, connector });
        Some(Self {
            mind: Rc::clone(mind),
            writer: writer.clone(),
            pomelo,
            chat: Schema::parse(&json!({ "onChat": schema })),
            id,
            room: mind.borrow().room(),
            state: State::Outside,
            asked: HashMap::new(),
            again_at: None,
            heard_at: Instant::now(),
        })
    }

    /// Chats until the session is over.
    pub(super) async fn run(mut self) -> Ended {
        let ended = self.chat().await;
        match ended {
            Ok(Next::Jump) => return Ended::Elsewhere(Box::new(self)),
            Ok(Next::Close) => {
                self.closed(true, "closed");
                // It may be gone by now.
                let _ = timeout(RETRY, self.pomelo.close()).await;
            }
            Ok(_) => self.closed(true, "dropped"),
            Err(error) => {
                let why = error.to_string();
                self.closed(false, &why);
                let is_superseded = ["superseded", "logged in"].iter().any(|w| why.contains(w));
                return if is_superseded { Ended::Superseded } else { Ended::Lost };
            }
        }
        Ended::Went
    }

    /// Goes on only to listen.
    pub(super) async fn linger(mut self: Box<Self>) {
        let until = Instant::now() + LINGER;
        let mut beat_at = Instant::now() + HEARTBEAT;
        let error = loop {
            let heard = tokio::select! {
                biased;
                package = self.pomelo.next() => match package {
                    Ok((kind, body)) => self.take(kind, body).await,
                    Err(error) => Err(error),
                },
                () = sleep_until(beat_at) => {
                    beat_at += HEARTBEAT;
                    self.pomelo.beat().await
                }
                () = sleep_until(until) => {
                    self.closed(true, "lingered");
                    return;
                }
            };
            if let Err(error) = heard {
                break error;
            }
        };
        self.closed(false, &error.to_string());
    }

    fn closed(&self, by_client: bool, reason: &str) {
        self.writer.add(Event::Closed { session: self.id, by_client, reason: reason.to_owned() });
    }

    async fn chat(&mut self) -> Result<Next, BoxError> {
        self.enter().await?;
        let mut speak_at = self.mind.borrow().next_word();
        let mut beat_at = Instant::now() + HEARTBEAT;
        let mut whim_at = self.mind.borrow().next_whim();
        let goes_at = self.mind.borrow().goes_at();
        loop {
            let (again_at, silent_at) = (self.again_at, self.heard_at + SILENCE_MAX);
            let is_inside = self.state == State::Inside;
            tokio::select! {
                biased;
                package = self.pomelo.next() => {
                    let (kind, body) = package?;
                    self.heard_at = Instant::now();
                    self.take(kind, body).await?;
                }
                () = sleep_until(silent_at) => return Err("nothing is heard any more".into()),
                () = sleep_until(beat_at) => {
                    beat_at += HEARTBEAT;
                    self.pomelo.beat().await?;
                }
                () = at(goes_at) => return Ok(Next::Close),
                () = at(again_at) => {
                    self.again_at = None;
                    self.again().await?;
                }
                () = sleep_until(speak_at), if is_inside => {
                    speak_at = self.mind.borrow().next_word();
                    if self.mind.borrow().is_awake() {
                        let message = self.mind.borrow_mut().new_message(&self.room);
                        self.say(message).await?;
                    }
                }
                () = at(whim_at), if is_inside => {
                    whim_at = self.mind.borrow().next_whim();
                    if self.mind.borrow().is_awake() {
                        match self.follow_whim().await? {
                            Next::Stay => {}
                            next => return Ok(next),
                        }
                    }
                }
            }
        }
    }

    async fn follow_whim(&mut self) -> Result<Next, BoxError> {
        let whim = self.mind.borrow().whim();
        let is_extended = self.mind.borrow().is_extended();
        match whim {
            Habit::Hangs => return Ok(Next::Close),
            Habit::Flaps => return Ok(Next::Drop),
            Habit::Jumps if is_extended => return Ok(Next::Jump),
            Habit::Reads if is_extended => {
                let before = self.mind.borrow().draw(2) == 0;
                let head = self.mind.borrow().mark(&self.room).map_or(0, |mark| mark.seq);
                let from = (!before).then(|| head.saturating_sub(30));
                self.read(before, from, PAGES).await?;
            }
            Habit::Wanders if is_extended => {
                self.mind.borrow_mut().room += 1;
                self.leave().await?;
            }
            Habit::Repeats if is_extended => {
                let message = self.mind.borrow_mut().again(&self.room);
                if let Some(message) = message {
                    self.say(message).await?;
                }
            }
            Habit::Bursts => {
                for _ in 0..5 {
                    let message = self.mind.borrow_mut().new_message(&self.room);
                    self.say(message).await?;
                }
            }
            _ => {}
        }
        Ok(Next::Stay)
    }

    // === what it asks ===

    async fn enter(&mut self) -> Result<(), BoxError> {
        self.room = self.mind.borrow().room();
        let (body, enter) = {
            let mind = self.mind.borrow();
            let mut body = json!({ "username": mind.who.name, "rid": self.room });
            let resume = mind.mark(&self.room).filter(|_| mind.is_extended()).cloned();
            if let Some(secret) = &mind.who.secret {
                body["secret"] = secret.as_str().into();
            }
            if let Some(resume) = &resume {
                body["resume"] = json!({ "epoch": resume.epoch, "seq": resume.seq });
            }
            let enter = Event::Enter {
                session: self.id,
                request: self.pomelo.next_request(),
                room: self.room.clone(),
                name: mind.who.name.clone(),
                identity: mind.identity(),
                resume,
            };
            (body, enter)
        };
        self.ask(route::ENTER, &body, enter, Asked::Enter).await
    }

    async fn say(&mut self, message: Message) -> Result<(), BoxError> {
        let mut body = json!({ "content": message.content, "target": message.target });
        if let Some(cmid) = &message.cmid {
            body["cmid"] = cmid.as_str().into();
        }
        let send = Event::Send {
            session: self.id,
            request: self.pomelo.next_request(),
            cmid: message.cmid.clone(),
            target: message.target.clone(),
            content: message.content.clone(),
        };
        self.ask(route::SEND, &body, send, Asked::Send(message)).await
    }

    async fn read(&mut self, before: bool, from: Option<u64>, left: u32) -> Result<(), BoxError> {
        let mut body = json!({ "limit": 7 });
        if let Some(from) = from {
            body[if before { "before" } else { "after" }] = from.into();
        }
        let (session, request) = (self.id, self.pomelo.next_request());
        let ask = Event::Ask {
            session,
            request,
            before: from.filter(|_| before),
            after: from.filter(|_| !before),
        };
        self.ask(route::HISTORY, &body, ask, Asked::Page { before, left }).await
    }

    async fn leave(&mut self) -> Result<(), BoxError> {
        self.state = State::Leaving;
        let leave = Event::Leave { session: self.id, request: self.pomelo.next_request() };
        self.ask(route::LEAVE, &json!({}), leave, Asked::Leave).await
    }

    async fn ask(
        &mut self,
        route: &str,
        body: &Value,
        event: Event,
        asked: Asked,
    ) -> Result<(), BoxError> {
        // Before it is sent: the answer may not come before the question.
        self.writer.add(event);
        let id = self.pomelo.ask(route, body).await?;
        self.asked.insert(id, asked);
        Ok(())
    }

    /// Asks again what was refused for now.
    async fn again(&mut self) -> Result<(), BoxError> {
        match self.state {
            State::Outside => self.enter().await,
            State::Leaving => Ok(()),
            State::Inside => {
                let waiting = |message: &Message| {
                    self.asked.values().any(|asked| matches!(asked, Asked::Send(m) if m == message))
                };
                let unacked = self.mind.borrow().unacked(&self.room);
                let unasked: Vec<_> = unacked.into_iter().filter(|m| !waiting(m)).collect();
                for message in unasked {
                    self.say(message).await?;
                }
                Ok(())
            }
        }
    }
}

/// Waits until some time, if there is one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
