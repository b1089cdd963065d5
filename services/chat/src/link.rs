//! One connector's stream: commands in, events out.

mod compare;
mod parse;

use std::{sync::Arc, time::Duration};

use model::{ConnectorId, Position, SessionId};
use room::{Input, Origin, Publish};
use rpc::{
    Malformed,
    chat::v1::{self as pb, LinkRequest, command, event, reply},
    convert, refusal,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

pub(crate) use self::parse::target;
use crate::{
    outbox::Outbox,
    rooms::{Rooms, Slot},
    translate,
};

/// How often each side says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which a link is lost.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Longest client message id, in bytes.
pub(crate) const CMID_LEN_MAX: usize = 64;
/// How long a new stream may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a link ends otherwise than by its connector's wish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the first command is not Hello")]
    NoHello,
    #[error("request {request_id} has no command known to this version")]
    UnknownCommand { request_id: u64 },
    #[error("request {request_id}")]
    Malformed { request_id: u64, source: Malformed },
    #[error("nothing was heard of the connector for {} s", SILENCE_MAX.as_secs())]
    Silent,
    // Without its sources: they repeat the message, each in its own words.
    #[error("connection: {}", .0.message())]
    Transport(Status),
}

impl From<Status> for LinkError {
    fn from(status: Status) -> Self {
        Self::Transport(status)
    }
}

impl LinkError {
    /// A stable name: the metric label, and what peers match on.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoHello => "NO_HELLO",
            Self::UnknownCommand { .. } => "UNKNOWN_COMMAND",
            Self::Malformed { .. } => "MALFORMED",
            Self::Silent => "SILENT",
            Self::Transport(_) => "TRANSPORT",
        }
    }

    /// Exhaustive on purpose: a new variant must choose its code.
    fn code(&self) -> Code {
        match self {
            Self::NoHello => Code::FailedPrecondition,
            Self::UnknownCommand { .. } => Code::Unimplemented,
            Self::Malformed { .. } => Code::InvalidArgument,
            Self::Silent => Code::DeadlineExceeded,
            Self::Transport(status) => status.code(),
        }
    }
}

impl From<LinkError> for Status {
    fn from(error: LinkError) -> Self {
        refusal(error.code(), error.reason(), chassis::chain(&error))
    }
}

/// The shard's end of one link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) rooms: Rooms,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) shutdown: CancellationToken,
}

impl Link {
    /// Serves one connector until it leaves, breaks the protocol, or falls silent.
    /// However it ends, its members keep their names for the grace period.
    pub(crate) async fn run(self, requests: Streaming<LinkRequest>) {
        tracing::info!("link opened");
        let (reason, status) = match self.serve(requests).await {
            Ok(()) => ("closed", None),
            Err(error) => {
                tracing::info!(
                    reason = error.reason(),
                    error = chassis::chain(&error),
                    "link lost"
                );
                (error.reason(), Some(error.into()))
            }
        };
        self.outbox.end(reason, status);
        self.rooms.close_link(&self.outbox);
        tracing::info!("link closed");
    }

    async fn serve(&self, mut requests: Streaming<LinkRequest>) -> Result<(), LinkError> {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let clock = self.rooms.0.clock;
        let mut heard = clock.now();
        let mut go_away_sent = false;
        loop {
            tokio::select! {
                // What a link brings after its end is not heard: its connector has
                // opened another one.
                biased;
                () = self.outbox.cut.cancelled() => return Ok(()),
                () = self.shutdown.cancelled(), if !go_away_sent => {
                    go_away_sent = true;
                    self.outbox.push(event::Event::GoAway(pb::GoAway {}), 0);
                }
                _ = heartbeat.tick() => {
                    if clock.now() - heard > SILENCE_MAX {
                        return Err(LinkError::Silent);
                    }
                    self.outbox.heartbeat(self.rooms.is_store_unreachable());
                }
                request = requests.message() => match request? {
                    Some(request) => {
                        heard = clock.now();
                        self.handle_all(request.commands)?;
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    /// Applies a batch of commands, in order.
    ///
    /// # Errors
    ///
    /// The protocol is broken; what came before is applied.
    pub(crate) fn handle_all(&self, commands: Vec<pb::Command>) -> Result<(), LinkError> {
        commands.into_iter().try_for_each(|command| self.handle(command))
    }

    fn handle(&self, command: pb::Command) -> Result<(), LinkError> {
        let request_id = command.request_id;
        let (link, connector) = (self.outbox.link, &self.outbox.connector);
        let command = command.command.ok_or(LinkError::UnknownCommand { request_id })?;
        let malformed = |source| LinkError::Malformed { request_id, source };
        match command {
            command::Command::Heartbeat(_) => {}
            command::Command::Hello(_) => return Err(LinkError::UnknownCommand { request_id }),
            command::Command::ListRooms(list) => {
                let rooms = self.rooms.listed(parse::limit(list.limit));
                let list = reply::Result::RoomList(pb::RoomList { rooms });
                self.outbox.reply(request_id, String::new(), list);
            }
            command::Command::ReadHistory(read) => {
                let (room, command) = parse::read(link, request_id, &read).map_err(malformed)?;
                self.rooms.submit(&room, command);
            }
            command::Command::Compare(compare) => self.compare(request_id, compare),
            command::Command::Fetch(fetch) => self.fetch(request_id, &fetch).map_err(malformed)?,
            command::Command::Publish(publish) => {
                self.publish(request_id, publish).map_err(malformed)?;
            }
            command::Command::Rejoin(rejoin) => {
                let parsed = parse::rejoin(link, connector, request_id, rejoin);
                let (room, command) = parsed.map_err(malformed)?;
                self.rooms.submit(&room, command);
            }
            command::Command::Join(join) => {
                let parsed = parse::join(link, connector, request_id, &join);
                let (room, command) = parsed.map_err(malformed)?;
                self.rooms.submit(&room, command);
            }
            command::Command::Leave(leave) => {
                let room = convert::room(&leave.room).map_err(malformed)?;
                let session = SessionId(leave.session_id);
                let away_at_ms = leave.comes_back.then(|| self.rooms.now_ms());
                let input = Input::Leave { link, request_id, session, away_at_ms };
                self.rooms.submit(&room, parse::plain(input));
            }
        }
        Ok(())
    }

    fn publish(&self, request_id: u64, publish: pb::Publish) -> Result<(), Malformed> {
        let room = convert::room(&publish.room)?;
        // Two messages without an id would be taken for one.
        if !(1..=CMID_LEN_MAX).contains(&publish.cmid.len()) {
            return Err(Malformed::Field("cmid"));
        }
        let rules = &self.rooms.0.content;
        if !rules.lengths().contains(&publish.content.len()) {
            let message = format!("content must have 1 to {} bytes", rules.len_max);
            let reason = pb::RefusedReason::ContentLength.into();
            let refused = pb::Refused { reason, message, shard: None, unknown: false };
            self.rooms.reply(self.outbox.link, &room, request_id, reply::Result::Refused(refused));
            return Ok(());
        }
        let origin = Origin::Session {
            link: self.outbox.link,
            session: SessionId(publish.session_id),
            request_id,
        };
        let digest = model::message_digest(&publish.target, &publish.content);
        let target = target(&publish.target)?;
        let (content, is_masked) = rules.apply(publish.content);
        if is_masked {
            let session = SessionId(publish.session_id);
            let name = |open: &room::Room| open.name_of(self.outbox.link, session).cloned();
            let user = self.rooms.read(&room, name).flatten();
            let user = user.as_ref().map(tracing::field::display);
            tracing::info!(target: "audit", room_id = %room, session_id = session.0, user, "masked");
        }
        let input = Input::Publish(Publish {
            origin,
            target,
            content: content.into(),
            cmid: publish.cmid,
            digest,
        });
        self.rooms.submit(&room, parse::plain(input));
        Ok(())
    }

    /// Tells again what the link was sent of a room after some entry.
    fn fetch(&self, request_id: u64, fetch: &pb::Fetch) -> Result<(), Malformed> {
        let room = convert::room(&fetch.room)?;
        let after: Position = fetch.after.ok_or(Malformed::Field("after"))?.into();
        let link = self.outbox.link;
        let answer = |entries: Option<Vec<room::Entry>>| {
            let complete = entries.is_some();
            let entries = entries.into_iter().flatten().map(translate::entry).collect();
            let fetched = pb::Fetched { epoch: after.epoch.0, complete, entries };
            self.rooms.reply(link, &room, request_id, reply::Result::Fetched(fetched));
        };
        let mut is_open = false;
        // Answered under the room's lock, so that nothing new is sent between the
        // reading and the reply.
        self.rooms.with_slot(&room, |slot| {
            if let Slot::Open(open) = slot {
                is_open = true;
                answer(open.room.sent_since(link, after));
            }
            false
        });
        if !is_open {
            answer(None);
        }
        Ok(())
    }
}

/// Waits for the first command of a stream, which says who is there.
///
/// # Errors
///
/// Anything else comes first, or nothing in time.
pub(crate) async fn expect_hello(
    requests: &mut Streaming<LinkRequest>,
) -> Result<(ConnectorId, Vec<pb::Command>), LinkError> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, requests.message())
        .await
        .map_err(|_| LinkError::Silent)??;
    let mut commands = first.ok_or(LinkError::NoHello)?.commands.into_iter();
    let Some(pb::Command { request_id, command: Some(command::Command::Hello(hello)) }) =
        commands.next()
    else {
        return Err(LinkError::NoHello);
    };
    let connector = hello.connector_id.parse().map_err(|source| LinkError::Malformed {
        request_id,
        source: Malformed::Name { field: "connector_id", source },
    })?;
    Ok((connector, commands.collect()))
}
