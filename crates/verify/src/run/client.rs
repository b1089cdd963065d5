//! One session: a WebSocket, and what comes over it, written down as it comes.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use chassis::{Policy, Stream};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message as Frame};
use verify::{Event, Position, record::Verdict};
use wire::{Kind, Message, PushRoute, RawId, RawRoute, route};

use super::Shared;

/// How long a connection and its handshake may take.
const OPEN: Duration = Duration::from_secs(5);
/// How often it says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Silence after which the other end is given up.
const SILENCE: Duration = Duration::from_secs(12);
/// Requests that may wait to be written.
const QUEUE: usize = 256;

type Socket = WebSocketStream<Stream>;

/// A session through its handshake. Dropped, it is cut.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u32,
    requests: AtomicU32,
    out: mpsc::Sender<Out>,
    state: Arc<Mutex<State>>,
    closed: watch::Receiver<bool>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum Out {
    Package(Bytes),
    /// Ends it with a word.
    Close,
}

/// What a session knows.
#[derive(Debug, Default)]
struct State {
    /// Requests without an answer.
    asked: HashMap<u32, Asked>,
    /// Answers to sends, in order.
    answers: VecDeque<(u32, u16)>,
    /// Answers to other requests, until they are fetched.
    others: BTreeMap<u32, (u16, Value)>,
    /// The last message that it saw, or where it came in.
    seen: Option<Position>,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Enter,
    Send,
    History,
    Leave,
}

impl Session {
    /// Connects and shakes hands.
    pub(crate) async fn open(
        shared: &Arc<Shared>,
        client: &str,
        extended: bool,
        connector: usize,
    ) -> anyhow::Result<Self> {
        let addr = shared.connectors[connector].clone();
        let socket = timeout(OPEN, shake_hands(shared, &addr, extended)).await??;
        let id = shared.recorder.next_session();
        let connector = format!("connector-{}", connector + 1);
        let client = client.to_owned();
        shared.recorder.add(Event::Opened { session: id, client, extended, connector });
        let (out, queue) = mpsc::channel(QUEUE);
        let (closing, closed) = watch::channel(false);
        let state = Arc::<Mutex<State>>::default();
        let reader = Reader { id, shared: shared.clone(), state: state.clone() };
        shared.tasks.spawn("session", Policy::Session, async move {
            let ended = reader.live(socket, queue).await;
            let by_client = ended.is_ok();
            let reason = ended.err().map(|error| format!("{error:#}")).unwrap_or_default();
            reader.shared.recorder.add(Event::Closed { session: id, by_client, reason });
            closing.send_replace(true);
        });
        let (requests, shared) = (AtomicU32::new(1), shared.clone());
        Ok(Self { id, requests, out, state, closed, shared })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Waits until it has ended, for `max` at most; true if it has.
    pub(crate) async fn ended(&self, max: Duration) -> bool {
        let mut closed = self.closed.clone();
        timeout(max, closed.wait_for(|closed| *closed)).await.is_ok()
    }

    /// The last message that it saw, or where it came in.
    pub(crate) fn seen(&self) -> Option<Position> {
        self.state().seen.clone()
    }

    /// The answers to sends that have come since the last call.
    pub(crate) fn answers(&self) -> VecDeque<(u32, u16)> {
        std::mem::take(&mut self.state().answers)
    }

    /// Asks to come in. Returns the code, and the answer.
    pub(crate) async fn enter(
        &self,
        room: &str,
        name: &str,
        proof: Option<(&str, &str)>,
        resume: Option<Position>,
    ) -> anyhow::Result<(u16, Value)> {
        let mut body = json!({ "username": name, "rid": room });
        if let Some((secret, _)) = proof {
            body["secret"] = secret.into();
        }
        if let Some(at) = &resume {
            body["resume"] = json!({ "epoch": at.epoch, "seq": at.seq });
        }
        let (session, request) = (self.id, self.next(Asked::Enter));
        let (room, name) = (room.to_owned(), name.to_owned());
        let identity = proof.map(|(_, identity)| identity.to_owned());
        let event = Event::Enter { session, request, room, name, identity, resume };
        self.shared.recorder.add(event);
        self.write(request, route::ENTER, &body)?;
        self.answer(request).await
    }

    /// Says something; the answer comes with [`Session::answers`].
    pub(crate) fn send(
        &self,
        cmid: Option<&str>,
        target: &str,
        content: &str,
    ) -> anyhow::Result<u32> {
        let mut body = json!({ "content": content, "target": target });
        if let Some(cmid) = cmid {
            body["cmid"] = cmid.into();
        }
        let (session, request) = (self.id, self.next(Asked::Send));
        let (target, content) = (target.to_owned(), content.to_owned());
        let cmid = cmid.map(str::to_owned);
        self.shared.recorder.add(Event::Send { session, request, cmid, target, content });
        self.write(request, route::SEND, &body)?;
        Ok(request)
    }

    /// Reads a page of history, and only writes it down.
    pub(crate) async fn history(
        &self,
        before: Option<u64>,
        after: Option<u64>,
        limit: u64,
    ) -> anyhow::Result<()> {
        let mut body = json!({ "limit": limit });
        if let Some(before) = before {
            body["before"] = before.into();
        }
        if let Some(after) = after {
            body["after"] = after.into();
        }
        let (session, request) = (self.id, self.next(Asked::History));
        self.shared.recorder.add(Event::Ask { session, request, before, after });
        self.write(request, route::HISTORY, &body)?;
        self.answer(request).await.map(drop)
    }

    /// Asks to leave; returns the code.
    pub(crate) async fn leave(&self) -> anyhow::Result<u16> {
        let (session, request) = (self.id, self.next(Asked::Leave));
        self.shared.recorder.add(Event::Leave { session, request });
        self.write(request, route::LEAVE, &json!({}))?;
        Ok(self.answer(request).await?.0)
    }

    /// Ends it with a word; what is written before still goes out.
    pub(crate) fn close(&self) {
        // If it is full or gone, dropping it does.
        let _ = self.out.try_send(Out::Close);
    }

    /// Ends it without a word, once all is written.
    pub(crate) fn cut(self) {
        drop(self);
    }

    fn next(&self, asked: Asked) -> u32 {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        self.state().asked.insert(request, asked);
        request
    }

    fn write(&self, request: u32, route: &str, body: &Value) -> anyhow::Result<()> {
        let mut package = BytesMut::new();
        let (id, body) = (RawId::new(request), serde_json::to_vec(body)?);
        wire::encode_request(&id, PushRoute::Name(route), &body, &mut package)?;
        self.out.try_send(Out::Package(package.freeze())).context("write")
    }

    async fn answer(&self, request: u32) -> anyhow::Result<(u16, Value)> {
        let mut closed = self.closed.clone();
        let clock = self.shared.clock;
        let until = clock.now() + Duration::from_secs(20);
        loop {
            if let Some(answer) = self.state().others.remove(&request) {
                return Ok(answer);
            }
            ensure!(clock.now() < until, "no answer");
            tokio::select! {
                ended = closed.wait_for(|closed| *closed) => {
                    ended?;
                    bail!("closed");
                }
                () = clock.sleep(Duration::from_millis(5)) => {}
            }
        }
    }
}

async fn shake_hands(shared: &Shared, addr: &str, extended: bool) -> anyhow::Result<Socket> {
    let stream = shared.net.dial(addr).await?;
    let (mut socket, _) = client_async(format!("ws://{addr}/"), stream).await?;
    let user = if extended { json!({ "shaddock": 1 }) } else { json!({}) };
    let greeting = json!({ "sys": {}, "user": user }).to_string();
    write(&mut socket, Kind::Handshake, greeting.as_bytes()).await?;
    let Some(Frame::Binary(bytes)) = socket.next().await.transpose()? else {
        bail!("no handshake");
    };
    let package = wire::decode_frame(bytes, wire::BODY_LEN_MAX).next().context("empty")??;
    ensure!(package.kind == Kind::Handshake, "no handshake");
    write(&mut socket, Kind::HandshakeAck, b"").await?;
    Ok(socket)
}

async fn write(socket: &mut Socket, kind: Kind, body: &[u8]) -> anyhow::Result<()> {
    let mut package = BytesMut::new();
    wire::encode_package(kind, body, &mut package)?;
    Ok(socket.send(Frame::Binary(package.freeze())).await?)
}

/// Reads, and writes down.
struct Reader {
    id: u32,
    shared: Arc<Shared>,
    state: Arc<Mutex<State>>,
}

impl Reader {
    /// `Ok` if the client ended it.
    async fn live(&self, mut socket: Socket, mut queue: mpsc::Receiver<Out>) -> anyhow::Result<()> {
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
                    if clock.now() - heard > SILENCE {
                        return Ok(());
                    }
                    write(&mut socket, Kind::Heartbeat, b"").await?;
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
                    Message::Push { route: RawRoute::Name(route), body } => {
                        self.pushed(&route, &serde_json::from_slice(&body)?);
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

    fn pushed(&self, route: &[u8], body: &Value) {
        let session = self.id;
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let numbered = body.get("seq").is_some();
        let event = match route {
            b"onChat" => {
                let position = position(body);
                if position.is_some() {
                    self.state().seen.clone_from(&position);
                }
                let (from, target, content) = (text("from"), text("target"), text("msg"));
                let redacted = body["redacted"] == true;
                Event::Pushed { session, from, target, content, position, redacted }
            }
            b"onAdd" => Event::Came { session, user: text("user"), numbered },
            b"onLeave" => Event::Went { session, user: text("user"), numbered },
            b"onVerdict" => match verdict(body) {
                Some(verdict) => {
                    if verdict.position.is_some() {
                        self.state().seen.clone_from(&verdict.position);
                    }
                    Event::Told { session, verdict }
                }
                None => return,
            },
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
