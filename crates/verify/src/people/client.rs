//! One session: a WebSocket, and what comes over it, written down as it comes.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use chassis::Policy;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use verify::{Event, Position};
use wire::route;

use super::{
    Shared,
    reader::{Asked, Out, Reader, State},
    socket,
};

/// How long a connection and its handshake may take.
const OPEN: Duration = Duration::from_secs(5);
/// Requests that may wait to be written.
const QUEUE: usize = 256;

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

impl Session {
    /// Connects and shakes hands. If there is a choice, `drawn` decides where.
    pub(crate) async fn open(
        shared: &Arc<Shared>,
        client: &str,
        extended: bool,
        drawn: u64,
    ) -> anyhow::Result<Self> {
        let opening = async {
            let (connector, at) = shared.entry.find(shared, client, extended, drawn).await?;
            anyhow::Ok((connector, socket::open(&shared.net, &at, extended).await?))
        };
        let (connector, (socket, codec)) = timeout(OPEN, opening).await??;
        let id = shared.recorder.next_session();
        let client = client.to_owned();
        shared.recorder.add(Event::Opened { session: id, client, extended, connector });
        let (out, queue) = mpsc::channel(QUEUE);
        let (closing, closed) = watch::channel(false);
        let state = Arc::<Mutex<State>>::default();
        let reader = Reader { id, shared: shared.clone(), codec, state: state.clone() };
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

    /// When it was told to come back, if it was: after this time.
    pub(crate) fn sent_away(&self) -> Option<Duration> {
        self.state().sent_away
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
        let package = socket::request(request, route, &serde_json::to_vec(body)?)?;
        self.out.try_send(Out::Package(package)).context("write")
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
