//! Finds out which rooms other shards have claimed: nobody may have told this one.

use std::time::Duration;

use model::{Fence, RoomId};
use room::Input;
use store::StoreError;
use tokio::time::Instant;

use crate::{
    heads,
    metrics::ResultLabel,
    rooms::{Claimer, Rooms},
};

/// How often the store is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// What the store tells reaches back 10 s. When the last answer was asked for longer
/// ago than this, some of it may be missing.
const GAP_MAX: Duration = Duration::from_secs(5);
/// Rooms whose heads one call of the store reads.
const HEADS_MAX: usize = 1024;

/// Asks each second, until it is dropped. What nobody else can write to, nobody else
/// can claim: then there is nothing to ask.
pub(crate) async fn run(rooms: Rooms) {
    if rooms.0.store.is_volatile() {
        return;
    }
    let clock = rooms.0.clock;
    let mut last = clock.now();
    loop {
        clock.sleep(PERIOD).await;
        match look(&rooms, last).await {
            Ok(began) => last = began,
            Err(error) => {
                tracing::warn!(error = %error, "cannot look for claims of other shards");
                if matches!(error, StoreError::Restored(_)) {
                    // Nothing that is known of any room is to be relied on.
                    rooms.for_each(|id, open| {
                        rooms.give_up(id, open, Input::Superseded, "store_restored")
                    });
                }
            }
        }
    }
}

async fn look(rooms: &Rooms, last: Instant) -> Result<Instant, StoreError> {
    let began = rooms.0.clock.now();
    learn(rooms).await?;
    if began - last > GAP_MAX {
        look_at_all(rooms).await?;
    }
    Ok(began)
}

/// Asks the store who has claimed rooms of this shard, and gives them up.
///
/// # Errors
///
/// The store does not answer.
pub(crate) async fn learn(rooms: &Rooms) -> Result<(), StoreError> {
    let started = rooms.0.clock.now();
    let claims = rooms.0.store.superseded(&rooms.0.me.id).await;
    let metrics = &rooms.0.metrics;
    metrics.superseded_read_seconds.observe((rooms.0.clock.now() - started).as_secs_f64());
    let result = match &claims {
        Ok(claims) if claims.is_empty() => "none",
        Ok(_) => "some",
        Err(_) => "failed",
    };
    metrics.superseded_reads.get_or_create(&ResultLabel { result }).inc();
    let claims = claims?;
    rooms.store_answered();
    for claim in claims {
        let by = claim.by.map(|id| Claimer { id, addr: None });
        rooms.lost_to(&claim.room, by, claim.fence);
    }
    Ok(())
}

/// Compares the heads of all rooms with the store's.
async fn look_at_all(rooms: &Rooms) -> Result<(), StoreError> {
    let mut all: Vec<(RoomId, Fence)> = Vec::new();
    rooms.for_each(|id, open| {
        all.push((id.clone(), open.room.fence()));
        false
    });
    tracing::info!(rooms = all.len(), "looking whether the rooms are still here");
    for some in all.chunks(HEADS_MAX) {
        let (ids, fences): (Vec<RoomId>, Vec<Fence>) = some.iter().cloned().unzip();
        let read = heads::read(rooms, &ids, &fences).await?;
        for (id, of) in ids.iter().zip(fences.iter().zip(&read)) {
            if heads::is_lost(of) {
                rooms.supersede(id, *of.0);
            }
        }
    }
    Ok(())
}

/// A room that is open under `fence` has another owner by the store's word: gives it
/// up, and names the owner if the store tells.
pub(crate) async fn give_up(rooms: &Rooms, id: &RoomId, fence: Fence) {
    if let Err(error) = learn(rooms).await {
        tracing::debug!(error = %error, "nobody tells who has the room");
    }
    rooms.supersede(id, fence);
}
