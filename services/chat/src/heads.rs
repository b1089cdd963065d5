//! Asks the store whether rooms are still this shard's, before somebody is let in:
//! many rooms in one call, one call at a time. What is asked for while one call is
//! under way is the next.

use model::{Fence, RoomId};
use store::{Head, StoreError};

use crate::{metrics::ResultLabel, rooms::Rooms, superseded};

/// Reads heads until it is dropped.
pub(crate) async fn run(rooms: Rooms) {
    loop {
        rooms.0.read_heads.notified().await;
        loop {
            let batch = rooms.begin_head_reads();
            if batch.is_empty() {
                break;
            }
            let (ids, fences): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            match read(&rooms, &ids, &fences).await {
                Ok(heads) => {
                    rooms.store_answered();
                    if fences.iter().zip(&heads).any(is_lost)
                        && let Err(error) = superseded::learn(&rooms).await
                    {
                        tracing::debug!(error = %error, "nobody tells who has the rooms");
                    }
                    for ((id, fence), head) in ids.iter().zip(fences).zip(heads) {
                        rooms.head_read(id, fence, Ok(head));
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error, rooms = ids.len(), "cannot read heads");
                    for (id, fence) in ids.iter().zip(fences) {
                        rooms.head_read(id, fence, Err(&error));
                    }
                }
            }
        }
    }
}

/// Reads the heads of rooms that should be open under these fences.
pub(crate) async fn read(
    rooms: &Rooms,
    ids: &[RoomId],
    fences: &[Fence],
) -> Result<Vec<Option<Head>>, StoreError> {
    let started = rooms.0.clock.now();
    let heads = rooms.0.store.heads(ids).await;
    let metrics = &rooms.0.metrics;
    metrics.head_read_seconds.observe((rooms.0.clock.now() - started).as_secs_f64());
    let lost = heads.iter().map(|heads| fences.iter().zip(heads).filter(|of| is_lost(*of)).count());
    let lost = lost.sum::<usize>();
    let counts = match heads {
        Ok(_) => [("owned", ids.len() - lost), ("lost", lost)],
        Err(_) => [("failed", ids.len()), ("lost", 0)],
    };
    for (result, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        metrics.head_reads.get_or_create(&ResultLabel { result }).inc_by(count as u64);
    }
    heads
}

/// True if a room is not this shard's any more.
pub(crate) fn is_lost((fence, head): (&Fence, &Option<Head>)) -> bool {
    head.is_none_or(|head| head.fence != *fence)
}
