//! Calls to other shards.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use chassis::{Net, Policy, Tasks};
use cluster::Shard;
use model::{Fence, RoomId, ShardId};
use rpc::{
    Access, FORWARDED,
    chat::v1::{self as pb, chat_peer_client::ChatPeerClient},
    refusal,
};
use tonic::{Code, Request, Status, transport::Channel};

use crate::rooms::Rooms;

/// How long a call that was passed on may take.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(5);

/// A handle; clones share the channels.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    rooms: Rooms,
    net: Net,
    access: Access,
    tasks: Tasks,
    /// One channel per address; a broken one is replaced at the next call. Bounded
    /// by the number of shards that were ever in the view.
    channels: Arc<Mutex<HashMap<String, Channel>>>,
}

impl Peers {
    pub(crate) fn new(rooms: Rooms, net: Net, access: Access, tasks: Tasks) -> Self {
        Self { rooms, net, access, tasks, channels: Arc::default() }
    }

    /// Tells the shard that owned a room that it does not any more. Best effort:
    /// the log refuses it in any case.
    pub(crate) fn tell_superseded(&self, shard: &ShardId, room: &RoomId, fence: Fence) {
        let Some(shard) = self.rooms.shard(shard) else { return };
        let request = pb::SupersededRequest {
            room: room.to_string(),
            shard_id: self.rooms.0.me.id.to_string(),
            r#gen: fence.r#gen.0,
            term: fence.term.0,
            addr: self.rooms.own_addr(),
        };
        let peers = self.clone();
        self.tasks.spawn("superseded", Policy::Session, async move {
            let Ok(channel) = peers.channel(&shard).await else { return };
            let told = ChatPeerClient::new(channel).superseded(peers.sign(request)).await;
            tracing::debug!(shard_id = %shard.id, told = told.is_ok(), "told the superseded shard");
        });
    }

    /// The shard that a call for `room` has to be passed on to; `None` if it is
    /// for this one, or was passed on already.
    pub(crate) fn owner<T>(&self, room: &RoomId, request: &Request<T>) -> Option<Shard> {
        let forwarded = request.metadata().contains_key(FORWARDED);
        let served_here = self.rooms.read(room, |_| ()).is_some();
        if forwarded || served_here { None } else { self.rooms.elsewhere(room, Fence::default()) }
    }

    /// Passes a call on, once.
    ///
    /// # Errors
    ///
    /// UNAVAILABLE if the shard cannot be reached, else what it says.
    pub(crate) async fn forward<T, R, F>(
        &self,
        to: &Shard,
        message: T,
        call: impl FnOnce(Channel, Request<T>) -> F,
    ) -> Result<R, Status>
    where
        F: Future<Output = Result<tonic::Response<R>, Status>>,
    {
        let channel = self.channel(to).await?;
        let called = tokio::time::timeout(FORWARD_TIMEOUT, call(channel, self.sign(message))).await;
        let answered = called.unwrap_or_else(|_| Err(unreachable(to, "no answer in time")));
        if answered.as_ref().is_err_and(|status| status.code() == Code::Unavailable) {
            self.channels.lock().expect("channels").remove(&to.addr);
        }
        answered.map(tonic::Response::into_inner)
    }

    async fn channel(&self, shard: &Shard) -> Result<Channel, Status> {
        if let Some(channel) = self.channels.lock().expect("channels").get(&shard.addr) {
            return Ok(channel.clone());
        }
        let channel = self
            .net
            .channel(&shard.addr)
            .await
            .map_err(|error| unreachable(shard, &chassis::chain(&error)))?;
        self.channels.lock().expect("channels").insert(shard.addr.clone(), channel.clone());
        Ok(channel)
    }

    fn sign<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.access.sign(&mut request);
        request.metadata_mut().insert(FORWARDED, "1".parse().expect("a metadata value"));
        request
    }
}

fn unreachable(shard: &Shard, why: &str) -> Status {
    refusal(
        Code::Unavailable,
        "SHARD_UNREACHABLE",
        format!("shard {} at {}: {why}", shard.id, shard.addr),
    )
}
