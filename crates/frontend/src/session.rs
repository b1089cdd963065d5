use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use chassis::WriteHalf;
use futures::task::AtomicWaker;
use wire::{Kind, RawId};

use crate::{
    CloseReason, Direction, Metrics, Outgoing,
    outgoing::{self, Transport},
    wheel::Timeouts,
    writer::{Pushed, Writer},
};

/// One client, from the connection to its end.
///
/// Everything may be called from any task, never waits, and does nothing once
/// the session is closed. What is sent before the client has acknowledged the
/// handshake is dropped, as clients do not expect it.
pub struct Session<S> {
    id: u64,
    peer: SocketAddr,
    /// Who the client is by its proxy's word.
    forwarded_for: OnceLock<IpAddr>,
    state: S,
    common: std::sync::Arc<Common>,
    writer: Mutex<Writer>,
    /// Wakes the session's task.
    waker: AtomicWaker,
    /// The tick of the last heartbeat; until the first, of the connection.
    beat: AtomicU32,
    /// The tick since which the client is here for nothing; [`BUSY`] if it is not.
    idle_since: AtomicU32,
    is_acknowledged: AtomicBool,
    /// 0, or the number of the [`CloseReason`].
    closing: AtomicU8,
}

/// Instead of a tick: the client is here for something.
const BUSY: u32 = u32::MAX;

/// What all sessions of a server share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) metrics: Metrics,
    pub(crate) outbox_max: usize,
    /// The wheel's time.
    pub(crate) now: AtomicU32,
    pub(crate) timeouts: Timeouts,
    pub(crate) last_id: AtomicU64,
}

impl<S> fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({}, {}, closed: {:?})", self.id, self.peer(), self.close_reason())
    }
}

impl<S: Default> Session<S> {
    pub(crate) fn new(common: std::sync::Arc<Common>, peer: SocketAddr, half: WriteHalf) -> Self {
        Self {
            id: common.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            peer,
            forwarded_for: OnceLock::new(),
            state: S::default(),
            writer: Mutex::new(Writer::new(half)),
            waker: AtomicWaker::new(),
            beat: AtomicU32::new(common.now.load(Ordering::Relaxed)),
            idle_since: AtomicU32::new(common.now.load(Ordering::Relaxed)),
            is_acknowledged: AtomicBool::new(false),
            closing: AtomicU8::new(0),
            common,
        }
    }
}

impl<S> Session<S> {
    /// A number that no other session of this server has had; from 1.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The client's address: the one that it connected from, or what a trusted proxy
    /// says. The port is 0 if the proxy does not tell it. Known for good once the
    /// session is open.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.forwarded_for.get().map_or(self.peer, |client| SocketAddr::new(*client, 0))
    }

    /// A trusted proxy says who the client is.
    pub(crate) fn forwarded_for(&self, client: IpAddr) {
        // Said once, by the one request that begins a WebSocket.
        let _ = self.forwarded_for.set(client);
    }

    /// What the service keeps.
    #[must_use]
    pub fn state(&self) -> &S {
        &self.state
    }

    /// True once the session is about to end: nothing is sent any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing.load(Ordering::Acquire) != 0
    }

    /// Why the session ends, if it does.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        CloseReason::from_number(self.closing.load(Ordering::Acquire))
    }

    /// Writes `outgoing`, in the order of the calls: with one system call if the
    /// socket takes it now, else through the outbox. At the outbox's bound the
    /// session is closed as a slow consumer.
    pub fn send(&self, outgoing: &Outgoing) {
        if !self.is_acknowledged() {
            return;
        }
        let metrics = &self.common.metrics;
        let mut writer = self.writer();
        let bytes = outgoing.bytes(writer.transport);
        metrics.packages(Direction::Out, Kind::Data).inc_by(u64::from(outgoing.packages()));
        self.push(&mut writer, bytes);
    }

    /// Answers the request `id`; to be called exactly once for it. A body that
    /// does not fit a package is replaced by `{"code":500}`.
    pub fn respond(&self, id: &RawId, body: &[u8]) {
        if !self.is_acknowledged() {
            return;
        }
        let mut writer = self.writer();
        let bytes = outgoing::response(writer.transport, id, body).or_else(|error| {
            tracing::warn!(error = %error, "response too long");
            outgoing::response(writer.transport, id, br#"{"code":500}"#)
        });
        let Ok(bytes) = bytes else { return };
        self.common.metrics.packages(Direction::Out, Kind::Data).inc();
        self.push(&mut writer, &bytes);
    }

    /// Ends the session: what was sent is still written, for at most 2 s, then
    /// the client sees a Close frame 1000. The first reason given stays.
    pub fn close(&self, reason: CloseReason) {
        if self.begin_close(reason) {
            self.waker.wake();
        }
    }

    /// Tells the client that it is kicked, and why, and ends the session.
    pub fn kick(&self, reason: &str) {
        self.kick_as(reason, CloseReason::Kicked);
    }

    /// As [`Session::kick`], counted under a reason of the caller's choice.
    pub fn kick_as(&self, reason: &str, counted: CloseReason) {
        if self.is_acknowledged() {
            let mut package = BytesMut::new();
            wire::encode_kick(reason, &mut package);
            let outgoing = Outgoing::package(&package);
            self.common.metrics.packages(Direction::Out, Kind::Kick).inc();
            // Under one lock, so that nothing comes between the kick and the end.
            let mut writer = self.writer();
            let bytes = outgoing.bytes(writer.transport);
            self.push(&mut writer, bytes);
            self.begin_close(counted);
        }
        self.close(counted);
        self.waker.wake();
    }

    /// Says whether the client is here for something. One that is not, as nobody is
    /// in the beginning, is closed after [`Options::idle_timeout`](crate::Options).
    pub fn set_busy(&self, is_busy: bool) {
        let since = if is_busy { BUSY } else { self.common.now.load(Ordering::Relaxed) };
        self.idle_since.store(since, Ordering::Relaxed);
    }

    /// Whether the client may be sent to: after the handshake, before the end.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_acknowledged() && !self.is_closed()
    }

    fn is_acknowledged(&self) -> bool {
        self.is_acknowledged.load(Ordering::Acquire)
    }

    /// Chooses how packages travel, before the first is sent.
    pub(crate) fn speak(&self, transport: Transport) {
        self.writer().transport = transport;
    }

    /// How packages travel.
    pub(crate) fn transport(&self) -> Transport {
        self.writer().transport
    }

    /// The client has acknowledged the handshake.
    pub(crate) fn open(&self) {
        self.beat();
        self.is_acknowledged.store(true, Ordering::Release);
    }

    /// The client has given a sign of life.
    pub(crate) fn beat(&self) {
        self.beat.store(self.common.now.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The tick after which the session has to be looked at again, or why it
    /// is to end now.
    pub(crate) fn next_look(&self, now: u32) -> Result<u32, CloseReason> {
        let timeouts = &self.common.timeouts;
        let (span, reason) = match self.is_acknowledged() {
            true => (timeouts.heartbeat, CloseReason::HeartbeatTimeout),
            false => (Some(timeouts.handshake), CloseReason::HandshakeTimeout),
        };
        // A tick more, so that no client gets less than it was promised.
        let due = |since: u32, span: u32| since.saturating_add(span).saturating_add(1);
        let beat = self.beat.load(Ordering::Relaxed);
        let silent = span.map_or(u32::MAX, |span| due(beat, span));
        let idle = match self.idle_since.load(Ordering::Relaxed) {
            BUSY => u32::MAX,
            since => due(since, timeouts.idle),
        };
        match now {
            _ if now >= silent => Err(reason),
            _ if now >= idle => Err(CloseReason::Idle),
            _ => Ok(silent.min(idle)),
        }
    }

    /// Registers the session's task for wake-ups. Comes before looking at
    /// anything that others change.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// Sends the engine's own bytes, in whatever state the session is.
    pub(crate) fn push_raw(&self, bytes: &Bytes) {
        self.push(&mut self.writer(), bytes);
    }

    /// Puts the last bytes of the connection.
    pub(crate) fn seal(&self, bytes: Bytes) {
        self.writer().seal(bytes);
    }

    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_flush(cx, &self.common.metrics.writes)
    }

    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(cx)
    }

    /// Lets go of the socket, however the task has ended.
    pub(crate) fn finish(&self, reason: CloseReason) {
        self.begin_close(reason);
        self.writer().finish();
    }

    /// Returns true if this call has closed the session.
    fn begin_close(&self, reason: CloseReason) -> bool {
        let number = reason.number();
        let first = self.closing.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() {
            let metrics = &self.common.metrics;
            metrics.closes(reason).inc();
            if reason == CloseReason::SlowConsumer {
                metrics.outbox_closes.inc();
            }
        }
        first.is_ok()
    }

    fn push(&self, writer: &mut Writer, bytes: &Bytes) {
        // Looked at under the lock, so that nothing follows a kick.
        if self.is_closed() {
            return;
        }
        let metrics = &self.common.metrics;
        match writer.push(bytes, self.common.outbox_max, &metrics.writes) {
            Ok(pushed) => {
                metrics.bytes(Direction::Out).inc_by(bytes.len() as u64);
                if pushed == Pushed::WakeTask {
                    self.waker.wake();
                }
            }
            Err(reason) => {
                // Its memory is what others need now.
                writer.discard();
                self.close(reason);
            }
        }
    }

    /// The writer holds no invariant that a panic could break.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
