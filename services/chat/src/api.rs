//! The gRPC services for connectors, back ends and people.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chassis::{Policy, Tasks, World};
use model::{Identity, Position, RoomId, Seq, UserName};
use room::{Command, Input, Origin, Pages, Publish, Query, Refusal};
use rpc::{
    chat::v1::{
        self as pb, chat_service_client::ChatServiceClient, chat_service_server::ChatService,
    },
    convert,
    process::v1::Process,
    refusal,
};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::Instrument;

use crate::{
    history,
    link::{self, CMID_LEN_MAX, Link},
    metrics::ReasonLabel,
    outbox::{Responses, TOO_SLOW},
    peers::Peers,
    rooms::{Rooms, Stored},
    translate,
};

/// How long what a back end asks for may wait for its room and to be stored.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// This shard, as callers see it. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) rooms: Rooms,
    pub(crate) peers: Peers,
    pub(crate) tasks: Tasks,
    pub(crate) world: World,
    pub(crate) began: Instant,
    pub(crate) shutdown: CancellationToken,
    pub(crate) incarnation: u64,
    pub(crate) outbox_max: usize,
}

#[tonic::async_trait]
impl ChatService for Shard {
    type LinkStream = Responses;

    async fn link(
        &self,
        request: Request<Streaming<pb::LinkRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let mut requests = request.into_inner();
        let (connector, commands) = link::expect_hello(&mut requests).await?;
        let span = tracing::info_span!("link", connector_id = %connector);
        let outbox = self.rooms.open_link(connector, self.outbox_max);
        let welcome = pb::Welcome {
            shard_id: self.rooms.0.me.id.to_string(),
            incarnation: self.incarnation,
            volatile: self.rooms.0.store.is_volatile(),
        };
        outbox.push(pb::event::Event::Welcome(welcome), 0);
        let link = Link {
            rooms: self.rooms.clone(),
            outbox: Arc::clone(&outbox),
            shutdown: self.shutdown.clone(),
        };
        if let Err(error) = link.handle_all(commands) {
            self.rooms.close_link(&outbox);
            return Err(error.into());
        }
        self.tasks.spawn("link", Policy::Session, link.run(requests).instrument(span));
        Ok(Response::new(Responses(outbox)))
    }

    async fn publish(
        &self,
        request: Request<pb::PublishRequest>,
    ) -> Result<Response<pb::PublishResponse>, Status> {
        let room = room(&request.get_ref().room)?;
        if let Some(owner) = self.peers.owner(&room, &request) {
            let call =
                async |channel, request| ChatServiceClient::new(channel).publish(request).await;
            return self.peers.forward(&owner, request.into_inner(), call).await.map(Response::new);
        }
        let position = self.publish_here(&room, request.into_inner()).await?;
        Ok(Response::new(pb::PublishResponse { epoch: position.epoch.0, seq: position.seq.0 }))
    }

    async fn history(
        &self,
        request: Request<pb::HistoryRequest>,
    ) -> Result<Response<pb::HistoryResponse>, Status> {
        let room = room(&request.get_ref().room)?;
        if let Some(owner) = self.peers.owner(&room, &request) {
            let call =
                async |channel, request| ChatServiceClient::new(channel).history(request).await;
            return self.peers.forward(&owner, request.into_inner(), call).await.map(Response::new);
        }
        let query = query(request.get_ref())?;
        let for_all = |entry: &room::Entry| entry.kind == room::Kind::Message;
        let found = history::find(&self.rooms, &room, query, None, for_all).await;
        let page = found
            .map(translate::page)
            .map_err(|error| refusal(Code::Unavailable, "STORE_UNREACHABLE", error.to_string()))?;
        let entry = |entry: pb::Entry| pb::HistoryEntry {
            seq: entry.seq,
            author: entry.author,
            content: entry.content,
            at_ms: entry.at_ms,
            redacted: entry.redacted,
        };
        let entries = page.entries.into_iter().map(entry).collect();
        let (epoch, head) = (page.epoch, page.head);
        Ok(Response::new(pb::HistoryResponse { epoch, entries, head }))
    }

    async fn rooms(
        &self,
        request: Request<pb::RoomsRequest>,
    ) -> Result<Response<pb::RoomsResponse>, Status> {
        let limit = limit(request.get_ref().limit, 1000, 10_000)?;
        let forwarded = request.metadata().contains_key(rpc::FORWARDED);
        let mut rooms = Vec::new();
        self.rooms.for_each(|id, open| {
            rooms.push(pb::RoomSummary {
                room: id.to_string(),
                shard_id: self.rooms.0.me.id.to_string(),
                members: open.room.len() as u64,
                epoch: open.room.head().epoch.0,
                head: open.room.head().seq.0,
            });
            false
        });
        let mut total = rooms.len() as u64;
        if request.get_ref().all && !forwarded {
            for theirs in self.rooms_of_others(limit).await? {
                total += theirs.total;
                rooms.extend(theirs.rooms);
            }
        }
        rooms.sort_by(|one, other| one.room.cmp(&other.room));
        rooms.truncate(limit);
        Ok(Response::new(pb::RoomsResponse { rooms, total }))
    }

    async fn members(
        &self,
        request: Request<pb::MembersRequest>,
    ) -> Result<Response<pb::MembersResponse>, Status> {
        let room = room(&request.get_ref().room)?;
        if let Some(owner) = self.peers.owner(&room, &request) {
            let call =
                async |channel, request| ChatServiceClient::new(channel).members(request).await;
            return self.peers.forward(&owner, request.into_inner(), call).await.map(Response::new);
        }
        let members =
            self.rooms.read(&room, |open| open.members().map(summary).collect::<Vec<_>>());
        let shard_id =
            if members.is_some() { self.rooms.0.me.id.to_string() } else { Default::default() };
        Ok(Response::new(pb::MembersResponse { members: members.unwrap_or_default(), shard_id }))
    }

    async fn stats(
        &self,
        _: Request<pb::StatsRequest>,
    ) -> Result<Response<pb::StatsResponse>, Status> {
        let (metrics, clock) = (&self.rooms.0.metrics, self.world.clock);
        let too_slow = metrics.links_ended.get_or_create(&ReasonLabel { reason: TOO_SLOW }).get();
        Ok(Response::new(pb::StatsResponse {
            process: Some(Process {
                id: self.rooms.0.me.id.to_string(),
                version: chassis::VERSION.to_owned(),
                uptime_ms: clock.ms_since(self.began),
                now_ms: clock.unix_ms(),
                draining: self.shutdown.is_cancelled(),
            }),
            rooms: metrics.rooms.get().max(0).cast_unsigned(),
            members: metrics.members.get().max(0).cast_unsigned(),
            links: metrics.links.get().max(0).cast_unsigned(),
            entries: metrics.entries.get(),
            pushes: metrics.pushes.get(),
            pushed_entries: metrics.pushed_entries.get(),
            digest_mismatches: metrics.digest_mismatches.get(),
            outbox_closes: too_slow,
            outbox_bytes_max: metrics.outbox_bytes_max.get(),
        }))
    }
}

impl Shard {
    async fn publish_here(
        &self,
        room: &RoomId,
        request: pb::PublishRequest,
    ) -> Result<Position, Status> {
        let name = user("author", &request.author)?;
        let target_name =
            if request.target.is_empty() { model::TARGET_ALL } else { &request.target };
        let target = link::target(target_name).map_err(|error| invalid(chassis::chain(&error)))?;
        let rules = &self.rooms.0.content;
        if !rules.lengths().contains(&request.content.len()) {
            return Err(invalid(format!(
                "content must have 1 to {} bytes, not {}",
                rules.len_max,
                request.content.len()
            )));
        }
        if request.cmid.len() > CMID_LEN_MAX {
            return Err(invalid(format!(
                "cmid may have at most {CMID_LEN_MAX} bytes, not {}",
                request.cmid.len()
            )));
        }
        let digest = model::message_digest(target_name, &request.content);
        let cmid = match request.cmid.is_empty() {
            true => Bytes::copy_from_slice(&self.world.rng.bytes16()),
            false => Bytes::from(request.cmid),
        };
        let (content, is_masked) = rules.apply(request.content);
        if is_masked {
            tracing::info!(target: "audit", room_id = %room, user = %name, "masked");
        }
        let (ticket, answer) = self.rooms.ticket();
        let origin = Origin::Call { ticket, identity: caller(&name), name };
        let publish = Publish { origin, target, content: content.into(), cmid, digest };
        self.submit(room, Input::Publish(publish), ticket, answer).await
    }

    /// Has something done by the room and waits for what comes of it.
    pub(crate) async fn submit(
        &self,
        room: &RoomId,
        input: Input,
        ticket: u64,
        answer: oneshot::Receiver<Stored>,
    ) -> Result<Position, Status> {
        // Never for a room of another shard, also if the call was passed on by one
        // that sees this differently.
        let command = Command { input, seen: model::Fence::default(), redirected: false };
        self.rooms.submit(room, command);
        match tokio::time::timeout(CALL_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer.map_err(refused),
            Ok(Err(_)) | Err(_) => {
                self.rooms.drop_ticket(ticket);
                Err(refused(Refusal::Unavailable))
            }
        }
    }

    async fn rooms_of_others(&self, limit: usize) -> Result<Vec<pb::RoomsResponse>, Status> {
        let others: Vec<_> = {
            let view = self.rooms.0.view.borrow();
            view.shards().iter().filter(|shard| shard.id != self.rooms.0.me.id).cloned().collect()
        };
        let asked = others.into_iter().map(|shard| async move {
            let request = pb::RoomsRequest { all: false, limit: u32::try_from(limit).unwrap_or(0) };
            let call =
                async |channel, request| ChatServiceClient::new(channel).rooms(request).await;
            self.peers.forward(&shard, request, call).await
        });
        futures::future::try_join_all(asked).await
    }
}

/// Who a back end is that speaks under `name`: the same for every call, so that a
/// repeated cmid is noticed.
fn caller(name: &UserName) -> Identity {
    let text = format!("back end\0{name}");
    Identity(xxhash_rust::xxh3::xxh3_128(text.as_bytes()).to_be_bytes())
}

fn summary(member: &room::Member) -> pb::MemberSummary {
    let (connector_id, session_id, in_grace) = match &member.place {
        room::Place::Session { connector, session, .. } => {
            (connector.to_string(), session.0, false)
        }
        room::Place::Grace { connector, session, .. } => (connector.to_string(), session.0, true),
        room::Place::Added => (String::new(), 0, false),
    };
    pb::MemberSummary { user: member.name.to_string(), connector_id, session_id, in_grace }
}

/// Parses a room's name that came from outside.
pub(crate) fn room(raw: &str) -> Result<RoomId, Status> {
    convert::room(raw).map_err(|error| invalid(chassis::chain(&error)))
}

/// Parses a user's name that came from outside.
pub(crate) fn user(field: &str, raw: &str) -> Result<UserName, Status> {
    UserName::parse(raw).map_err(|error| invalid(format!("{field}: {error}")))
}

fn query(request: &pb::HistoryRequest) -> Result<Query, Status> {
    let pages = match (request.after, request.before) {
        (Some(_), Some(_)) => return Err(invalid("after and before cannot both be given")),
        (Some(after), None) => Pages::After(Seq(after)),
        (None, before) => Pages::Before(before.map_or(history::END, Seq)),
    };
    Ok(Query { pages, limit: limit(request.limit, 100, 1000)? })
}

fn limit(asked: u32, default: usize, max: usize) -> Result<usize, Status> {
    match asked as usize {
        0 => Ok(default),
        asked if asked <= max => Ok(asked),
        asked => Err(invalid(format!("limit may be at most {max}, not {asked}"))),
    }
}

fn invalid(message: impl Into<String>) -> Status {
    refusal(Code::InvalidArgument, "INVALID_ARGUMENT", message)
}

/// A room's refusal as a status.
pub(crate) fn refused(refused: Refusal) -> Status {
    let code = match refused {
        Refusal::NoSuchTarget => Code::NotFound,
        Refusal::CmidConflict | Refusal::NameTaken => Code::AlreadyExists,
        Refusal::Overloaded | Refusal::RoomFull => Code::ResourceExhausted,
        Refusal::NotAMember => Code::FailedPrecondition,
        Refusal::Unavailable | Refusal::Moved | Refusal::MovedMeanwhile => Code::Unavailable,
    };
    refusal(code, &translate::label(refused).to_uppercase(), refused.to_string())
}
