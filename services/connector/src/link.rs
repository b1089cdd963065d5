//! One stream to one shard.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cluster::Shard;
use futures::FutureExt;
use model::RoomId;
use rpc::{
    Access,
    chat::v1::{
        self as pb, Event, LinkResponse, chat_service_client::ChatServiceClient, command, event,
    },
};
use tokio_stream::StreamExt;
use tonic::{Request, Status, Streaming, transport::Channel};

use crate::{
    fanout::Batch,
    hub::Hub,
    inbound,
    room::Room,
    upstream::{Requests, Upstream},
};

/// How often each side says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which a link is lost.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long a new stream may take to be accepted.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(3);
/// Events that are taken together before they are written, so that a flood of
/// pushes can not keep the first from going out.
const BATCH_EVENTS_MAX: usize = 1024;
/// Largest message of a shard, in bytes: the replay of a busy room fits.
const MESSAGE_LEN_MAX: usize = 64 << 20;

/// The connector's end of one stream. A new stream to the same shard is a new one.
#[derive(Debug)]
pub(crate) struct Link {
    /// True if the shard's log does not outlive it.
    pub(crate) is_volatile: bool,
    pub(crate) upstream: Arc<Upstream>,
    /// Rooms that go over this link.
    rooms: Mutex<BTreeMap<RoomId, (Arc<Room>, Why)>>,
    /// Wrapping sum of the rooms' digests.
    digest: AtomicU64,
    /// The shard asked to be left alone with new rooms.
    pub(crate) is_draining: AtomicBool,
    pub(crate) store_unreachable: AtomicBool,
    /// A comparison is under way.
    pub(crate) is_comparing: AtomicBool,
}

/// Why a room goes over a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Why {
    /// The shard owns it by the view, or was named by another shard.
    Owner,
    /// By the view the shard owns it; but its last one was lost, and may be back.
    Heir,
    /// The view, or another shard, gives it to a shard that cannot be reached: this
    /// one has to serve it.
    Fallback,
}

impl Link {
    pub(crate) fn add_to_digest(&self, delta: u64) {
        self.digest.fetch_add(delta, Ordering::Relaxed);
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.load(Ordering::Relaxed)
    }

    /// True if rooms may be taken to this shard.
    pub(crate) fn takes_rooms(&self) -> bool {
        !self.upstream.has_ended()
            && !self.is_draining.load(Ordering::Relaxed)
            && !self.store_unreachable.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self, room: &Arc<Room>, why: Why) {
        self.rooms.lock().expect("rooms").insert(room.id.clone(), (Arc::clone(room), why));
    }

    pub(crate) fn forget(&self, room: &RoomId) {
        self.rooms.lock().expect("rooms").remove(room);
    }

    /// True if the room must not be sent elsewhere from here.
    pub(crate) fn is_fallback(&self, room: &RoomId) -> bool {
        self.rooms.lock().expect("rooms").get(room).is_some_and(|(_, why)| *why == Why::Fallback)
    }

    /// The rooms that are here because another shard could not be reached.
    pub(crate) fn strays(&self) -> Vec<Arc<Room>> {
        let rooms = self.rooms.lock().expect("rooms");
        let strays = rooms.values().filter(|(_, why)| *why != Why::Owner);
        strays.map(|(room, _)| Arc::clone(room)).collect()
    }

    pub(crate) fn rooms(&self) -> Vec<Arc<Room>> {
        self.rooms.lock().expect("rooms").values().map(|(room, _)| Arc::clone(room)).collect()
    }
}

impl From<Status> for LinkError {
    fn from(status: Status) -> Self {
        Self::Ended(status)
    }
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the shard cannot be reached")]
    Unreachable(#[from] tonic::transport::Error),
    // Without its sources: they repeat the message, each in its own words.
    #[error("the shard ended the link: {}", .0.message())]
    Ended(Status),
    #[error("the shard closed the link")]
    Closed,
    #[error("another shard answered: {0}")]
    WrongShard(String),
    #[error("the first event is not Welcome")]
    NoWelcome,
    #[error("nothing was heard of the shard for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("the shard sent what this version does not know")]
    UnknownEvent,
    #[error("too many commands wait for the shard")]
    Overflow,
    #[error("this link is not needed any more")]
    Stopped,
}

impl LinkError {
    /// A stable name, the metric label.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Ended(_) => "ended",
            Self::Closed => "closed",
            Self::WrongShard(_) => "wrong_shard",
            Self::NoWelcome => "no_welcome",
            Self::Silent => "silent",
            Self::UnknownEvent => "unknown_event",
            Self::Overflow => "overflow",
            Self::Stopped => "stopped",
        }
    }
}

/// Everything that opening a link needs.
#[derive(Clone, Debug)]
pub(crate) struct Opener {
    pub(crate) hub: Hub,
    pub(crate) access: Access,
    pub(crate) connector_id: model::ConnectorId,
    pub(crate) profile: Arc<wire::Profile>,
    pub(crate) outbox_max: usize,
}

impl Opener {
    /// Opens a stream and waits until the shard accepts it.
    pub(crate) async fn open(
        &self,
        shard: &Shard,
        channel: Channel,
    ) -> Result<(Arc<Link>, Streaming<LinkResponse>), LinkError> {
        let upstream = Upstream::new(self.outbox_max);
        let hello = pb::Hello {
            connector_id: self.connector_id.to_string(),
            incarnation: self.hub.incarnation(),
        };
        upstream.push(0, command::Command::Hello(hello));
        let mut request = Request::new(Requests(Arc::downgrade(&upstream)));
        self.access.sign(&mut request);
        let mut client = ChatServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_LEN_MAX)
            .max_encoding_message_size(MESSAGE_LEN_MAX);
        let open = async {
            let mut events = client.link(request).await?.into_inner();
            let first = events.message().await?.ok_or(LinkError::Closed)?;
            Ok::<_, LinkError>((first, events))
        };
        let (first, events) =
            tokio::time::timeout(WELCOME_TIMEOUT, open).await.map_err(|_| LinkError::Silent)??;
        let Some(Event { event: Some(event::Event::Welcome(welcome)) }) = first.events.first()
        else {
            return Err(LinkError::NoWelcome);
        };
        if welcome.shard_id != shard.id.as_str() {
            return Err(LinkError::WrongShard(welcome.shard_id.clone()));
        }
        let link = Arc::new(Link {
            is_volatile: welcome.volatile,
            upstream,
            rooms: Mutex::default(),
            digest: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            store_unreachable: AtomicBool::new(false),
            is_comparing: AtomicBool::new(false),
        });
        // A heartbeat may have come in the same message.
        for event in first.events.into_iter().skip(1) {
            let mut batch = Batch::new(Arc::clone(&self.profile), self.hub.metrics().clone());
            inbound::handle(&self.hub, &link, event, &mut batch)?;
            batch.flush();
        }
        Ok((link, events))
    }

    /// Serves the link until it ends.
    pub(crate) async fn serve(
        &self,
        link: &Arc<Link>,
        mut events: Streaming<LinkResponse>,
    ) -> LinkError {
        let clock = self.hub.clock();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut silence = pin!(clock.sleep(SILENCE_MAX));
        loop {
            tokio::select! {
                // A flood of events does not hold up the heartbeat, and what has
                // come counts, also when this task was late to look.
                biased;
                _ = heartbeat.tick() => {
                    if link.upstream.has_ended() {
                        return LinkError::Overflow;
                    }
                    link.upstream.push(0, command::Command::Heartbeat(pb::LinkHeartbeat {}));
                }
                response = events.next() => {
                    if let Err(error) = self.handle(link, response, &mut events) {
                        return error;
                    }
                    silence.set(clock.sleep(SILENCE_MAX));
                }
                () = &mut silence => return LinkError::Silent,
            }
        }
    }

    /// Takes all that is there already, then writes it.
    fn handle(
        &self,
        link: &Arc<Link>,
        first: Option<Result<LinkResponse, Status>>,
        events: &mut Streaming<LinkResponse>,
    ) -> Result<(), LinkError> {
        let mut batch = Batch::new(Arc::clone(&self.profile), self.hub.metrics().clone());
        let mut taken = 0;
        let mut next = Some(first);
        let ended = loop {
            let response = match next {
                Some(Some(Ok(response))) => response,
                Some(Some(Err(status))) => break Err(status.into()),
                Some(None) => break Err(LinkError::Closed),
                None => break Ok(()),
            };
            taken += response.events.len();
            let mut handled = response
                .events
                .into_iter()
                .map(|event| inbound::handle(&self.hub, link, event, &mut batch));
            if let Err(error) = handled.try_for_each(|handled| handled) {
                break Err(error);
            }
            next = if taken < BATCH_EVENTS_MAX { events.next().now_or_never() } else { None };
        };
        // Also what came before the end: its senders have it acknowledged.
        batch.flush();
        ended
    }
}
