//! One connector's stream: commands in, events out.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chassis::{Clock, Policy, Tasks};
use model::{ConnectorId, LinkId, RoomId, SessionId};
use room::{Input, Join, Newcomer, Origin, Publish, Rejoin, Target};
use rpc::{
    Malformed,
    chat::v1::{self as pb, LinkRequest, command, event, reply},
    convert, refusal,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use crate::{
    outbox::Outbox,
    read,
    rooms::{Command, Rooms},
    upkeep,
};

/// How often each side says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which a link is lost.
const SILENCE_MAX: Duration = Duration::from_secs(3);
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
    #[error("connection")]
    Transport(#[from] Status),
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
    pub(crate) tasks: Tasks,
    pub(crate) clock: Clock,
    pub(crate) origin: Instant,
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
        self.rooms.close_link(&self.outbox, upkeep::now_ms(self.clock, self.origin));
        tracing::info!("link closed");
    }

    async fn serve(&self, mut requests: Streaming<LinkRequest>) -> Result<(), LinkError> {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard = self.clock.now();
        let mut go_away_sent = false;
        loop {
            tokio::select! {
                request = requests.message() => match request? {
                    Some(request) => {
                        heard = self.clock.now();
                        for command in request.commands {
                            self.handle(command)?;
                        }
                    }
                    None => return Ok(()),
                },
                _ = heartbeat.tick() => {
                    if self.clock.now() - heard > SILENCE_MAX {
                        return Err(LinkError::Silent);
                    }
                    let unreachable = self.rooms.0.store_unreachable.load(std::sync::atomic::Ordering::Relaxed);
                    self.outbox.heartbeat(unreachable);
                }
                () = self.outbox.cut.cancelled() => return Ok(()),
                () = self.shutdown.cancelled(), if !go_away_sent => {
                    go_away_sent = true;
                    self.outbox.push(event::Event::GoAway(pb::GoAway {}), 0);
                }
            }
        }
    }

    fn handle(&self, command: pb::Command) -> Result<(), LinkError> {
        let request_id = command.request_id;
        let command = command.command.ok_or(LinkError::UnknownCommand { request_id })?;
        let malformed = |source| LinkError::Malformed { request_id, source };
        match command {
            command::Command::Heartbeat(_) => {}
            command::Command::Hello(_) => return Err(LinkError::UnknownCommand { request_id }),
            command::Command::Compare(compare) => self.compare(request_id, compare),
            command::Command::Fetch(fetch) => self.fetch(request_id, &fetch).map_err(malformed)?,
            command::Command::Publish(publish) => {
                self.publish(request_id, publish).map_err(malformed)?;
            }
            command::Command::Rejoin(rejoin) => {
                let (room, command) =
                    parse_rejoin(self.outbox.link, &self.outbox.connector, request_id, rejoin)
                        .map_err(malformed)?;
                self.rejoin(&room, command);
            }
            command::Command::Join(join) => {
                let (room, command) =
                    parse_join(self.outbox.link, &self.outbox.connector, request_id, &join)
                        .map_err(malformed)?;
                self.rooms.submit(&room, command);
            }
            command::Command::Leave(leave) => {
                let room = convert::room(&leave.room).map_err(malformed)?;
                let input = Input::Leave {
                    link: self.outbox.link,
                    request_id,
                    session: SessionId(leave.session_id),
                };
                self.rooms.submit(&room, plain(input));
            }
        }
        Ok(())
    }

    fn publish(&self, request_id: u64, publish: pb::Publish) -> Result<(), Malformed> {
        let room = convert::room(&publish.room)?;
        if publish.content.is_empty() || publish.content.len() > self.rooms.0.content_max {
            let message = format!("content must have 1 to {} bytes", self.rooms.0.content_max);
            let reason = pb::RefusedReason::ContentLength.into();
            let refused = pb::Refused { reason, message, shard: None };
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
        let input = Input::Publish(Publish {
            origin,
            target,
            content: publish.content.into(),
            cmid: publish.cmid,
            digest,
        });
        self.rooms.submit(&room, plain(input));
        Ok(())
    }

    /// A re-join that reaches further back than the room remembers needs the log.
    fn rejoin(&self, room: &RoomId, command: Command) {
        let mark = match &command.input {
            Input::Rejoin(rejoin) => rejoin.mark,
            _ => return,
        };
        match self.rooms.read(room, |open| open.fence() >= command.seen && !open.remembers(mark)) {
            Some(true) => {
                let (rooms, room) = (self.rooms.clone(), room.clone());
                self.tasks.spawn("rejoin", Policy::Session, read::rejoin(rooms, room, command));
            }
            _ => self.rooms.submit(room, command),
        }
    }

    fn fetch(&self, request_id: u64, fetch: &pb::Fetch) -> Result<(), Malformed> {
        let room = convert::room(&fetch.room)?;
        let after = fetch.after.ok_or(Malformed::Field("after"))?.into();
        let link = self.outbox.link;
        // Under the room's lock, so that nothing new is sent between the reading
        // and the reply.
        self.rooms.with_slot(&room, |slot| {
            let entries = match slot {
                crate::rooms::Slot::Open(open) => open.room.sent_since(link, after),
                crate::rooms::Slot::Claiming { .. } => None,
            };
            let fetched = pb::Fetched {
                epoch: after.epoch.0,
                complete: entries.is_some(),
                entries: entries
                    .unwrap_or_default()
                    .into_iter()
                    .map(crate::translate::entry)
                    .collect(),
            };
            self.rooms.reply(link, &room, request_id, reply::Result::Fetched(fetched));
            false
        });
        if self.rooms.read(&room, |_| ()).is_none() {
            let fetched =
                pb::Fetched { epoch: after.epoch.0, entries: Vec::new(), complete: false };
            self.rooms.reply(link, &room, request_id, reply::Result::Fetched(fetched));
        }
        Ok(())
    }

    /// Tells a connector what it has got wrong, and forgets members that it does
    /// not know.
    fn compare(&self, request_id: u64, compare: pb::Compare) {
        let link = self.outbox.link;
        let mut differing = Vec::new();
        let mut listed = std::collections::HashSet::new();
        for room in compare.rooms {
            let Ok(id) = convert::room(&room.room) else { continue };
            let compared = self.rooms.read(&id, |open| compare_room(open, link, &room));
            match compared {
                Some(None) => {}
                Some(Some(compared)) => differing.push(compared),
                None => differing.push(pb::ComparedRoom {
                    room: room.room.clone(),
                    ..pb::ComparedRoom::default()
                }),
            }
            self.forget(&id, &room.session_ids);
            listed.insert(id);
        }
        for id in self.outbox.rooms() {
            if !listed.contains(&id) {
                self.forget(&id, &[]);
            }
        }
        self.rooms.0.metrics.digest_mismatches.inc_by(differing.len() as u64);
        let compared = pb::Compared { rooms: differing };
        let reply = pb::Reply {
            request_id,
            room: String::new(),
            result: Some(reply::Result::Compared(compared)),
        };
        self.outbox.push(event::Event::Reply(reply), 0);
    }

    /// Takes out the members behind this link that its connector does not name.
    fn forget(&self, id: &RoomId, known: &[u64]) {
        let link = self.outbox.link;
        let sessions = self.rooms.read(id, |open| open.sessions(link).collect::<Vec<_>>());
        for session in sessions.unwrap_or_default() {
            if !known.contains(&session.0) {
                self.rooms.apply_open(id, Input::Leave { link, request_id: 0, session });
            }
        }
    }
}

fn compare_room(
    open: &room::Room,
    link: LinkId,
    room: &pb::CompareRoom,
) -> Option<pb::ComparedRoom> {
    let missing =
        room.session_ids.iter().copied().filter(|id| !open.has_session(link, SessionId(*id)));
    let missing_session_ids: Vec<u64> = missing.collect();
    let digest = open.digest(link);
    let mark = room.mark.unwrap_or_default();
    let agrees = digest
        .is_some_and(|d| (d.epoch.0, d.head.0, d.roster) == (mark.epoch, mark.seq, room.roster));
    if agrees && missing_session_ids.is_empty() {
        return None;
    }
    Some(pb::ComparedRoom {
        room: room.room.clone(),
        known: digest.is_some(),
        position: digest.map(|d| pb::Position { epoch: d.epoch.0, seq: d.head.0 }),
        fence: Some(open.fence().into()),
        roster: open.members().map(|member| member.name.to_string()).collect(),
        missing_session_ids,
    })
}

/// A command that is served by whoever has the room.
fn plain(input: Input) -> Command {
    Command { input, seen: model::Fence::default(), redirected: false }
}

/// Reads a target: everybody, or a name.
pub(crate) fn target(raw: &str) -> Result<Target, Malformed> {
    if raw == model::TARGET_ALL { Ok(Target::All) } else { convert::user(raw).map(Target::One) }
}

fn parse_join(
    link: LinkId,
    connector: &ConnectorId,
    request_id: u64,
    join: &pb::Join,
) -> Result<(RoomId, Command), Malformed> {
    let newcomer = newcomer(join.session_id, &join.user, &join.identity, join.has_secret)?;
    let input = Input::Join(Join { link, connector: connector.clone(), request_id, newcomer });
    let seen = join.seen.unwrap_or_default().into();
    Ok((convert::room(&join.room)?, Command { input, seen, redirected: join.redirected }))
}

fn parse_rejoin(
    link: LinkId,
    connector: &ConnectorId,
    request_id: u64,
    rejoin: pb::Rejoin,
) -> Result<(RoomId, Command), Malformed> {
    let members = rejoin.members.into_iter().map(|member| {
        let newcomer =
            newcomer(member.session_id, &member.user, &member.identity, member.has_secret)?;
        Ok((newcomer, member.grant.map(Into::into)))
    });
    let input = Input::Rejoin(Rejoin {
        link,
        connector: connector.clone(),
        request_id,
        mark: rejoin.mark.ok_or(Malformed::Field("mark"))?.into(),
        members: members.collect::<Result<_, _>>()?,
        replay: None,
    });
    let seen = rejoin.seen.unwrap_or_default().into();
    Ok((convert::room(&rejoin.room)?, Command { input, seen, redirected: rejoin.redirected }))
}

fn newcomer(
    session_id: u64,
    user: &str,
    identity: &Bytes,
    has_secret: bool,
) -> Result<Newcomer, Malformed> {
    Ok(Newcomer {
        session: SessionId(session_id),
        name: convert::user(user)?,
        identity: convert::identity(identity)?,
        has_secret,
    })
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

impl Link {
    /// Applies what came in one message with the hello.
    ///
    /// # Errors
    ///
    /// The protocol is broken.
    pub(crate) fn handle_all(&self, commands: Vec<pb::Command>) -> Result<(), LinkError> {
        commands.into_iter().try_for_each(|command| self.handle(command))
    }
}
