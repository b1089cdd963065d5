//! What waits to be sent over one link.

use std::{
    collections::{HashSet, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use futures::task::AtomicWaker;
use model::{
    ConnectorId, LinkId, RoomId,
    planted::{self, Bug},
};
use prost::Message;
use rpc::chat::v1::{Event, LinkResponse, Reply, ShardHeartbeat, event, reply};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::metrics::Metrics;

/// One link's events, in order, and what its connector should know.
///
/// Never waits: when more waits than may, the link is cut, and its connector
/// comes back over a new one.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) link: LinkId,
    pub(crate) connector: ConnectorId,
    state: Mutex<State>,
    waker: AtomicWaker,
    bytes_max: usize,
    metrics: Metrics,
    /// Fires when the link has to end.
    pub(crate) cut: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    /// Each with its size.
    events: VecDeque<(Event, usize)>,
    bytes: usize,
    /// Wrapping sum over the rooms, at the end of `events`.
    digest: u64,
    rooms: HashSet<RoomId>,
    last_word: Option<Status>,
    ended: bool,
}

/// Why a link ended whose outbox was full, in metrics.
pub(crate) const TOO_SLOW: &str = "too_slow";

/// One response of the stream holds at most this many bytes of events, so that no
/// message meets the peer's limit and a heartbeat never waits behind megabytes.
const RESPONSE_BYTES_MAX: usize = 256 * 1024;
/// What an event takes in memory and on the wire beside its own bytes, at least.
const EVENT_OVERHEAD: usize = 8;

impl Outbox {
    pub(crate) fn new(
        link: LinkId,
        connector: ConnectorId,
        bytes_max: usize,
        metrics: Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            link,
            connector,
            state: Mutex::default(),
            waker: AtomicWaker::new(),
            bytes_max,
            metrics,
            cut: CancellationToken::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("an outbox is never left half-changed")
    }

    /// Puts an event in line, with what it changes in the link's digest.
    pub(crate) fn push(&self, event: event::Event, digest_delta: u64) {
        let mut state = self.state();
        state.digest = state.digest.wrapping_add(digest_delta);
        let may_lose = planted::is(Bug::HoleNotSeen) || planted::is(Bug::DigestNotCompared);
        if may_lose && matches!(event, event::Event::Entry(_)) && planted::draw().is_multiple_of(16)
        {
            return;
        }
        self.enqueue(state, event);
    }

    /// Answers a command, without a change of the digest.
    pub(crate) fn reply(&self, request_id: u64, room: String, result: reply::Result) {
        let reply = Reply { request_id, room, result: Some(result) };
        self.push(event::Event::Reply(reply), 0);
    }

    fn enqueue(&self, mut state: MutexGuard<'_, State>, event: event::Event) {
        if state.ended {
            return;
        }
        let event = Event { event: Some(event) };
        let bytes = event.encoded_len() + EVENT_OVERHEAD;
        state.bytes += bytes;
        self.metrics.pushes.inc();
        self.metrics
            .outbox_bytes_max
            .set(self.metrics.outbox_bytes_max.get().max(state.bytes as u64));
        if state.bytes > self.bytes_max {
            let waiting = state.bytes;
            drop(state);
            return self.end(
                TOO_SLOW,
                Some(Status::resource_exhausted(format!(
                    "{waiting} bytes wait for this connector"
                ))),
            );
        }
        state.events.push_back((event, bytes));
        drop(state);
        self.waker.wake();
    }

    /// Puts a heartbeat in line, with the digest of all that stands before it.
    pub(crate) fn heartbeat(&self, store_unreachable: bool) {
        let state = self.state();
        let heartbeat = ShardHeartbeat { digest: state.digest, store_unreachable };
        self.enqueue(state, event::Event::Heartbeat(heartbeat));
    }

    /// Changes the digest by an event that is not sent.
    pub(crate) fn add_to_digest(&self, delta: u64) {
        let mut state = self.state();
        state.digest = state.digest.wrapping_add(delta);
    }

    /// The link has its first member in a room.
    pub(crate) fn attach(&self, room: &RoomId) {
        self.state().rooms.insert(room.clone());
    }

    /// The link has no member in a room any more.
    pub(crate) fn detach(&self, room: &RoomId, digest_delta: u64) {
        let mut state = self.state();
        state.digest = state.digest.wrapping_add(digest_delta);
        state.rooms.remove(room);
    }

    /// The rooms in which the link has members.
    pub(crate) fn rooms(&self) -> Vec<RoomId> {
        self.state().rooms.iter().cloned().collect()
    }

    /// Ends the stream: what waits is dropped, `status` is the last word.
    pub(crate) fn end(&self, reason: &'static str, status: Option<Status>) {
        let mut state = self.state();
        if state.ended {
            return;
        }
        state.ended = true;
        state.events = VecDeque::new();
        state.bytes = 0;
        state.last_word = status;
        drop(state);
        self.metrics.links_ended.get_or_create(&crate::metrics::ReasonLabel { reason }).inc();
        self.cut.cancel();
        self.waker.wake();
    }

    fn take(&self) -> Option<Result<LinkResponse, Status>> {
        let mut state = self.state();
        if let Some(status) = state.last_word.take() {
            return Some(Err(status));
        }
        let mut events = Vec::new();
        let mut taken = 0;
        while let Some((_, bytes)) = state.events.front()
            && (events.is_empty() || taken + bytes <= RESPONSE_BYTES_MAX)
        {
            taken += bytes;
            events.extend(state.events.pop_front().map(|(event, _)| event));
        }
        state.bytes -= taken;
        if events.is_empty() { None } else { Some(Ok(LinkResponse { events })) }
    }

    fn has_ended(&self) -> bool {
        self.state().ended
    }
}

/// The response stream of a link: each item carries all that waits.
#[derive(Debug)]
pub(crate) struct Responses(pub(crate) Arc<Outbox>);

impl futures::Stream for Responses {
    type Item = Result<LinkResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.waker.register(cx.waker());
        match self.0.take() {
            Some(item) => Poll::Ready(Some(item)),
            None if self.0.has_ended() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl Drop for Responses {
    fn drop(&mut self) {
        self.0.end("closed", None);
    }
}
