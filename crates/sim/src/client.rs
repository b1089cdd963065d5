//! Somebody who chats: a Pomelo client with a mind of its own.

use std::time::Duration;

use bytes::Bytes;
use chassis::Rng;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use wire::{Kind, Message, RawRoute, Schema, route};

use crate::{
    pomelo::{BoxError, HEARTBEAT, Pomelo},
    record::{Event, Recorder},
};

/// Who chats, where, and how. Comes back whenever it loses its session.
#[derive(Clone, Debug)]
pub struct Person {
    /// Its name.
    pub name: String,
    /// The connector that it goes to.
    pub connector: String,
    /// The room that it enters.
    pub room: String,
    /// When it comes.
    pub comes: Duration,
    /// When it closes its connection; none: it stays.
    pub leaves: Option<Duration>,
    /// When it falls silent.
    pub talks_until: Duration,
    /// How long it waits between two messages: up to twice this.
    pub pace: Duration,
    /// To whom it whispers now and then.
    pub confides_in: Vec<String>,
}

/// How long it waits before it comes back.
const RETRY: Duration = Duration::from_millis(500);

impl Person {
    /// Somebody who comes after a second and talks until the 30th, at about one
    /// message in 300 ms.
    #[must_use]
    pub fn new(name: &str, connector: &str, room: &str) -> Self {
        Self {
            name: name.into(),
            connector: connector.into(),
            room: room.into(),
            comes: Duration::from_secs(1),
            leaves: None,
            talks_until: Duration::from_secs(30),
            pace: Duration::from_millis(300),
            confides_in: Vec::new(),
        }
    }

    /// Chats until it leaves; for ever, if it stays.
    pub(crate) async fn live(self, seed: u64, recorder: Recorder) {
        let mix = |mix: u64, byte: u8| mix.wrapping_mul(131).wrapping_add(byte.into());
        let rng = Rng::seeded(self.name.bytes().fold(seed, mix));
        let schema = json!({"required string msg": 1, "required string from": 2, "required string target": 3});
        let chat = Schema::parse(&json!({ "onChat": schema }));
        let start = Instant::now();
        sleep(self.comes + rng.up_to(Duration::from_millis(200))).await;
        let mut said = 0;
        for session in 1.. {
            let state = Session {
                person: &self,
                recorder: &recorder,
                chat: &chat,
                rng: &rng,
                start,
                number: session,
                said: &mut said,
                inside: false,
            };
            let ended = state.run().await;
            let by_itself = matches!(ended, Ok(()));
            let reason = ended.err().map(|error| error.to_string()).unwrap_or_default();
            recorder.add(&self.name, session, Event::Closed { by_itself, reason });
            if by_itself {
                return;
            }
            sleep(RETRY + rng.up_to(RETRY)).await;
        }
    }
}

/// One connection.
struct Session<'a> {
    person: &'a Person,
    recorder: &'a Recorder,
    chat: &'a Schema,
    rng: &'a Rng,
    start: Instant,
    number: u32,
    said: &'a mut u32,
    inside: bool,
}

impl Session<'_> {
    /// `Ok` if the person went by itself.
    async fn run(mut self) -> Result<(), BoxError> {
        let mut socket = Pomelo::connect(&self.person.connector, &json!({ "sys": {} })).await?;
        self.enter(&mut socket).await?;
        let mut speak_at = self.next_word();
        let mut beat_at = Instant::now() + HEARTBEAT;
        let leave_at = self.person.leaves.map(|leaves| self.start + leaves);
        loop {
            let leave = async {
                match leave_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                package = socket.next() => {
                    let (kind, body) = package?;
                    self.take(&mut socket, kind, body).await?;
                }
                () = leave => {
                    socket.close().await?;
                    return Ok(());
                }
                () = sleep_until(beat_at) => {
                    beat_at += HEARTBEAT;
                    socket.beat().await?;
                }
                () = sleep_until(speak_at), if self.inside => {
                    speak_at = self.next_word();
                    if Instant::now() - self.start < self.person.talks_until {
                        self.say(&mut socket).await?;
                    }
                }
            }
        }
    }

    fn next_word(&self) -> Instant {
        Instant::now() + self.rng.up_to(self.person.pace * 2)
    }

    fn record(&self, event: Event) {
        self.recorder.add(&self.person.name, self.number, event);
    }

    async fn enter(&mut self, socket: &mut Pomelo) -> Result<(), BoxError> {
        let Person { name, room, .. } = self.person;
        let body = json!({ "username": name, "rid": room });
        let id = socket.ask(route::ENTER, &body).await?;
        self.record(Event::AskedToEnter { id, room: room.clone() });
        Ok(())
    }

    async fn say(&mut self, socket: &mut Pomelo) -> Result<(), BoxError> {
        *self.said += 1;
        let content = format!("{}-{}", self.person.name, self.said);
        let friends = &self.person.confides_in;
        let target = match self.rng.u64() % 6 {
            0 if !friends.is_empty() => {
                let which = self.rng.u64() % friends.len() as u64;
                friends[usize::try_from(which)?].clone()
            }
            _ => "*".to_owned(),
        };
        let body = json!({ "content": content, "target": target });
        let id = socket.ask(route::SEND, &body).await?;
        self.record(Event::Said { id, target, content });
        Ok(())
    }

    /// Takes what the server says.
    async fn take(&mut self, socket: &mut Pomelo, kind: Kind, body: Bytes) -> Result<(), BoxError> {
        match kind {
            Kind::Heartbeat => return Ok(()),
            Kind::Kick => return Err(String::from_utf8(body.to_vec())?.into()),
            _ => {}
        }
        match Message::decode(body)? {
            Message::Response { id, body } => {
                let body: Value = serde_json::from_slice(&body)?;
                let id = id.little_endian();
                let code = body["code"].as_u64().unwrap_or(200);
                let users = body["users"].as_array().cloned().unwrap_or_default();
                let users = users.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                self.record(Event::Answered { id, code, users });
                self.answered(socket, code).await
            }
            Message::Push { route: RawRoute::Name(route), body } => {
                self.push(std::str::from_utf8(&route)?, &body)
            }
            other => Err(format!("servers do not send {other:?}").into()),
        }
    }

    /// An answer before it is inside is that to its enter.
    async fn answered(&mut self, socket: &mut Pomelo, code: u64) -> Result<(), BoxError> {
        if self.inside || code == 200 {
            self.inside = true;
            return Ok(());
        }
        sleep(RETRY).await;
        self.enter(socket).await
    }

    fn push(&self, route: &str, body: &[u8]) -> Result<(), BoxError> {
        let body: Value = match route {
            "onChat" => self.chat.decode(route, body).map_err(|error| format!("{error:?}"))?,
            _ => serde_json::from_slice(body)?,
        };
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let event = match route {
            "onChat" => {
                Event::Heard { from: text("from"), target: text("target"), content: text("msg") }
            }
            "onAdd" => Event::Came(text("user")),
            "onLeave" => Event::Left(text("user")),
            other => return Err(format!("a push {other}").into()),
        };
        self.record(event);
        Ok(())
    }
}
