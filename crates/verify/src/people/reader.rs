//! What comes over one session, written down as it comes.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{bail, ensure};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message as Frame;
use verify::{Event, Position, record::Verdict};
use wire::{Kind, Message, route};

use super::{
    Shared,
    socket::{self, Codec, Socket},
};

/// How often it says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Silence after which the other end is given up.
const SILENCE: Duration = Duration::from_secs(12);

#[derive(Debug)]
pub(crate) enum Out {
    Package(Bytes),
    /// Ends it with a word.
    Close,
}

/// What a session knows.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Requests without an answer.
    pub(crate) asked: HashMap<u32, Asked>,
    /// Answers to sends, in order.
    pub(crate) answers: VecDeque<(u32, u16)>,
    /// Answers to other requests, until they are fetched.
    pub(crate) others: BTreeMap<u32, (u16, Value)>,
    /// The last message that it saw, or where it came in.
    pub(crate) seen: Option<Position>,
    /// After how long it was told to come back.
    pub(crate) sent_away: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    Enter,
    Send,
    History,
    Leave,
}

/// Reads, and writes down.
pub(crate) struct Reader {
    pub(crate) id: u32,
    pub(crate) shared: Arc<Shared>,
    pub(crate) codec: Codec,
    pub(crate) state: Arc<Mutex<State>>,
}

impl Reader {
    /// `Ok` if the client ended it.
    pub(crate) async fn live(
        &self,
        mut socket: Socket,
        mut queue: mpsc::Receiver<Out>,
    ) -> anyhow::Result<()> {
        let clock = self.shared.clock;
        let (mut beat, mut heard) = (clock.now() + HEARTBEAT, clock.now());
        let mut kicked = None;
        loop {
            tokio::select! {
                frame = socket.next() => {
                    heard = clock.now();
                    match frame {
                        Some(Ok(Frame::Binary(bytes))) => {
                            if let Some(reason) = self.take(bytes)? {
                                kicked = Some(reason);
                            }
                        }
                        Some(Ok(Frame::Close(_))) | None => bail!(kicked.unwrap_or("closed".into())),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => bail!(kicked.unwrap_or(error.to_string())),
                    }
                }
                out = queue.recv() => match out {
                    Some(Out::Package(package)) => socket.send(Frame::Binary(package)).await?,
                    Some(Out::Close) => {
                        // What the server still says is of no interest.
                        let _ = socket.close(None).await;
                        return Ok(());
                    }
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(beat) => {
                    beat += HEARTBEAT;
                    ensure!(clock.now() - heard <= SILENCE, "silent");
                    socket::write(&mut socket, Kind::Heartbeat, b"").await?;
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame; returns why the session is kicked, if it is.
    fn take(&self, bytes: Bytes) -> anyhow::Result<Option<String>> {
        let mut kicked = None;
        for package in wire::decode_frame(bytes, wire::BODY_LEN_MAX) {
            let package = package?;
            match package.kind {
                Kind::Kick => {
                    kicked = Some(String::from_utf8_lossy(&package.body).into_owned());
                }
                Kind::Data => match Message::decode(package.body)? {
                    Message::Response { id, body } => {
                        self.answered(id.little_endian(), serde_json::from_slice(&body)?);
                    }
                    Message::Push { route, body } => {
                        let (route, body) = self.codec.push(&route, &body)?;
                        self.pushed(&route, &body);
                    }
                    _ => bail!("servers do not send such messages"),
                },
                _ => {}
            }
        }
        Ok(kicked)
    }

    fn answered(&self, request: u32, body: Value) {
        let session = self.id;
        let Some(asked) = self.state().asked.remove(&request) else { return };
        let code = body["code"].as_u64().map_or(200, |code| code as u16);
        let add = |event| self.shared.recorder.add(event);
        match asked {
            Asked::Send => {
                let position = position(&body);
                add(Event::Sent { session, request, code, position });
                self.state().answers.push_back((request, code));
                return;
            }
            Asked::Enter => {
                let position = position(&body["position"]);
                let verdict = verdict(&body["verdict"]);
                let users = body["users"].as_array().into_iter().flatten();
                let users = users.filter_map(Value::as_str).map(str::to_owned).collect();
                if let Some(position) = &position {
                    let came = verdict.as_ref().map(|verdict| verdict.kind.as_str());
                    // What was missed is still to come, else.
                    if !matches!(came, Some("complete" | "truncated")) {
                        self.state().seen = Some(position.clone());
                    }
                }
                add(Event::Entered { session, request, code, users, position, verdict });
            }
            Asked::History => {
                let number = |field: &str| body[field].as_u64().unwrap_or_default();
                let entries = serde_json::from_value(body["entries"].clone()).unwrap_or_default();
                add(Event::Page {
                    session,
                    request,
                    code,
                    epoch: body["epoch"].as_str().unwrap_or_default().to_owned(),
                    head: number("head"),
                    taken: number("taken"),
                    complete: body["complete"] == true,
                    entries,
                });
            }
            Asked::Leave => add(Event::GotOut { session, request, code }),
        }
        self.state().others.insert(request, (code, body));
    }

    fn pushed(&self, route: &str, body: &Value) {
        let session = self.id;
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let numbered = body.get("seq").is_some();
        let event = match route {
            "onChat" => {
                let position = position(body);
                if position.is_some() {
                    self.state().seen.clone_from(&position);
                }
                let (from, target, content) = (text("from"), text("target"), text("msg"));
                let redacted = body["redacted"] == true;
                Event::Pushed { session, from, target, content, position, redacted }
            }
            "onAdd" => Event::Came { session, user: text("user"), numbered },
            "onLeave" => Event::Went { session, user: text("user"), numbered },
            "onVerdict" => match verdict(body) {
                Some(verdict) => {
                    if verdict.position.is_some() {
                        self.state().seen.clone_from(&verdict.position);
                    }
                    Event::Told { session, verdict }
                }
                None => return,
            },
            route::ON_RECONNECT => {
                let delay_ms = body["delay"].as_u64().unwrap_or_default();
                self.state().sent_away = Some(Duration::from_millis(delay_ms));
                Event::SentAway { session, delay_ms }
            }
            _ => return,
        };
        self.shared.recorder.add(event);
    }
}

fn position(body: &Value) -> Option<Position> {
    let (epoch, seq) = (body["epoch"].as_str()?.to_owned(), body["seq"].as_u64()?);
    Some(Position { epoch, seq })
}

fn verdict(body: &Value) -> Option<Verdict> {
    let kind = body["kind"].as_str()?.to_owned();
    Some(Verdict { kind, first: body["first"].as_u64(), position: position(&body["position"]) })
}
