//! Makes this shard the owner of rooms, many in one call of the store, and each at
//! most once in 5 s.

use std::{cmp::Reverse, collections::BinaryHeap};

use model::{Fence, RoomId};
use room::Room;
use tokio::{sync::mpsc, time::Instant};

use crate::{metrics::ResultLabel, peers::Peers, rooms::Rooms};

/// Claims that one call of the store may carry.
const BATCH_MAX: usize = 256;

/// Claims whatever is asked for, until nobody can ask any more.
pub(crate) async fn run(rooms: Rooms, mut to_claim: mpsc::Receiver<RoomId>, peers: Peers) {
    let clock = rooms.0.clock;
    let mut later = BinaryHeap::new();
    let mut batch = Vec::new();
    loop {
        let due = later.peek().map(|Reverse((at, _)): &Reverse<(Instant, RoomId)>| *at);
        let wait = due.map(|due| due.saturating_duration_since(clock.now()));
        tokio::select! {
            count = to_claim.recv_many(&mut batch, BATCH_MAX) => if count == 0 {
                return;
            },
            () = clock.sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
        let now = clock.now();
        while later.peek().is_some_and(|Reverse((at, _))| *at <= now)
            && let Some(Reverse((_, id))) = later.pop()
        {
            rooms.ask_again(&id);
        }
        batch.retain(|id| match rooms.claim_not_before(id) {
            Some(at) if at > now => {
                later.push(Reverse((at, id.clone())));
                false
            }
            _ => true,
        });
        let claims: Vec<_> = batch.drain(..).filter_map(|room| claim(&rooms, room)).collect();
        if !claims.is_empty() {
            claim_all(&rooms, &claims, &peers).await;
        }
    }
}

async fn claim_all(rooms: &Rooms, claims: &[store::Claim], peers: &Peers) {
    match rooms.0.store.claim(claims).await {
        Ok(claimed) => {
            rooms.store_answered();
            for (claim, claimed) in claims.iter().zip(claimed) {
                open(rooms, claim, claimed, peers);
            }
        }
        Err(error) => {
            tracing::warn!(error = %error, rooms = claims.len(), "claims failed");
            for claim in claims {
                count(rooms, "failed");
                rooms.claim_failed(&claim.room);
            }
        }
    }
}

/// The claim of a room, unless nobody waits for it any more.
fn claim(rooms: &Rooms, room: RoomId) -> Option<store::Claim> {
    let seen = rooms.begin_claim(&room)?;
    Some(store::Claim { room, shard: rooms.0.me.id.clone(), seen })
}

fn open(rooms: &Rooms, claim: &store::Claim, claimed: store::Claimed, peers: &Peers) {
    let fence = Fence { r#gen: claimed.r#gen, term: claimed.term };
    count(rooms, "ok");
    tracing::debug!(room_id = %claim.room, epoch = claimed.epoch.0, term = claimed.term.0, "room claimed");
    rooms.open(&claim.room, Room::new(claim.room.clone(), claimed.epoch, fence, rooms.0.limits));
    if let Some(superseded) = claimed.superseded {
        peers.tell_superseded(&superseded, &claim.room, fence);
    }
}

fn count(rooms: &Rooms, result: &'static str) {
    rooms.0.metrics.claims.get_or_create(&ResultLabel { result }).inc();
}
