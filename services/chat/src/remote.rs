//! The remotes of the original, and what shards say to each other.

use model::{Identity, RoomId, Seq};
use room::Input;
use rpc::{
    chat::v1::{
        self as pb, chat_peer_server::ChatPeer, chat_remote_client::ChatRemoteClient,
        chat_remote_server::ChatRemote,
    },
    refusal,
};
use store::{Range, StoreError};
use tonic::{Code, Request, Response, Status};

use crate::{
    api::{Shard, room, user},
    rooms::Claimer,
    superseded,
};

/// Longest reason that a kicked client is told, in bytes.
const REASON_LEN_MAX: usize = 256;

#[tonic::async_trait]
impl ChatRemote for Shard {
    async fn add(
        &self,
        request: Request<pb::AddRequest>,
    ) -> Result<Response<pb::AddResponse>, Status> {
        let room = room(&request.get_ref().room)?;
        if let Some(owner) = self.peers.owner(&room, &request) {
            let call = async |channel, request| ChatRemoteClient::new(channel).add(request).await;
            return self.peers.forward(&owner, request.into_inner(), call).await.map(Response::new);
        }
        let name = user("user", &request.get_ref().user)?;
        let (ticket, answer) = self.rooms.ticket();
        let input = Input::Add { ticket, name, identity: Identity(self.world.rng.bytes16()) };
        self.submit(&room, input, ticket, answer).await?;
        let users = self.rooms.read(&room, names).unwrap_or_default();
        Ok(Response::new(pb::AddResponse { users }))
    }

    async fn kick(
        &self,
        request: Request<pb::KickRequest>,
    ) -> Result<Response<pb::KickResponse>, Status> {
        let room = room(&request.get_ref().room)?;
        if let Some(owner) = self.peers.owner(&room, &request) {
            let call = async |channel, request| ChatRemoteClient::new(channel).kick(request).await;
            return self.peers.forward(&owner, request.into_inner(), call).await.map(Response::new);
        }
        let name = user("user", &request.get_ref().user)?;
        let mut reason = request.into_inner().reason;
        if reason.is_empty() {
            reason.push_str("kick");
        }
        reason.truncate(reason.floor_char_boundary(REASON_LEN_MAX));
        let kicked = self
            .rooms
            .read(&room, |open| open.members().any(|member| member.name == name))
            .unwrap_or(false);
        self.rooms.apply_open(&room, Input::Kick { name, reason });
        Ok(Response::new(pb::KickResponse { kicked }))
    }

    async fn get(
        &self,
        request: Request<pb::GetRequest>,
    ) -> Result<Response<pb::GetResponse>, Status> {
        let room = room(&request.get_ref().room)?;
        if let Some(owner) = self.peers.owner(&room, &request) {
            let call = async |channel, request| ChatRemoteClient::new(channel).get(request).await;
            return self.peers.forward(&owner, request.into_inner(), call).await.map(Response::new);
        }
        let users = self.rooms.read(&room, names).unwrap_or_default();
        Ok(Response::new(pb::GetResponse { users }))
    }

    async fn redact(
        &self,
        request: Request<pb::RedactRequest>,
    ) -> Result<Response<pb::RedactResponse>, Status> {
        let room = room(&request.get_ref().room)?;
        let call = async |channel, request| ChatRemoteClient::new(channel).redact(request).await;
        if let Some(owner) = self.peers.owner(&room, &request) {
            return self.peers.forward(&owner, request.into_inner(), call).await.map(Response::new);
        }
        let redacted = self.redact_here(&room, request.get_ref()).await?;
        // The owner has members to tell, should this shard have found that it is not it.
        if let Some(owner) = self.peers.owner(&room, &request) {
            self.peers.forward(&owner, request.into_inner(), call).await?;
        }
        Ok(Response::new(pb::RedactResponse { redacted }))
    }
}

impl Shard {
    /// Takes an entry's content out of the log, and then out of all memories. False if
    /// the log had it no more.
    async fn redact_here(&self, room: &RoomId, what: &pb::RedactRequest) -> Result<bool, Status> {
        let (epoch, seq) = (what.epoch, Seq(what.seq));
        let store = &self.rooms.0.store;
        let fence = self.rooms.read(room, room::Room::fence);
        let failed =
            |error: StoreError| refusal(Code::Unavailable, "STORE_UNREACHABLE", error.to_string());
        let not_found = || refusal(Code::NotFound, "NO_SUCH_ENTRY", "the room has no such entry");
        let before = Range::After(Seq(seq.0.saturating_sub(1)));
        let page = store.read(room, before, 1).await.map_err(failed)?;
        let head = page.head.ok_or_else(not_found)?;
        if epoch != 0 && epoch != head.position.epoch.0 {
            let message = "the room's log is another one";
            return Err(refusal(Code::FailedPrecondition, "OTHER_EPOCH", message));
        }
        let row = page.entries.into_iter().find(|row| row.seq == seq);
        let said = row.and_then(|row| row.said).ok_or_else(not_found)?;
        // Also what is gone from the log: an earlier call may have come no further.
        if !store.redact(room, seq).await.map_err(failed)? {
            return Err(not_found());
        }
        match fence.filter(|fence| *fence != head.fence) {
            Some(fence) => superseded::give_up(&self.rooms, room, fence).await,
            None => self.rooms.redacted(room, seq),
        }
        tracing::info!(target: "audit", room_id = %room, seq = seq.0, "redacted");
        Ok(!said.redacted)
    }
}

fn names(open: &room::Room) -> Vec<String> {
    open.members().map(|member| member.name.to_string()).collect()
}

#[tonic::async_trait]
impl ChatPeer for Shard {
    async fn superseded(
        &self,
        request: Request<pb::SupersededRequest>,
    ) -> Result<Response<pb::SupersededResponse>, Status> {
        let request = request.into_inner();
        let room = room(&request.room)?;
        let claimed =
            model::Fence { r#gen: model::Gen(request.r#gen), term: model::Term(request.term) };
        // Whoever it is: the room is lost.
        let addr = Some(request.addr).filter(|addr| !addr.is_empty());
        let by = request.shard_id.parse().ok().map(|id| Claimer { id, addr });
        self.rooms.lost_to(&room, by, claimed);
        Ok(Response::new(pb::SupersededResponse {}))
    }
}
