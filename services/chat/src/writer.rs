//! Stores what rooms want stored. What waits while one batch commits is the next
//! batch: no timer, and no delay when idle.

use model::planted::{self, Bug};
use room::{AppendResult, Duplicate};
use store::{Appended, StoreError};

use crate::{rooms::Rooms, superseded};

/// Writes until it is dropped.
pub(crate) async fn run(rooms: Rooms) {
    let clock = rooms.0.clock;
    loop {
        rooms.0.append.notified().await;
        loop {
            let batch = rooms.take_appends();
            if batch.is_empty() {
                break;
            }
            let (keys, appends): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|(id, fence, append)| ((id, fence), append)).unzip();
            let started = clock.now();
            let ended = rooms.0.store.append(&appends).await;
            let metrics = &rooms.0.metrics;
            metrics.append_seconds.observe((clock.now() - started).as_secs_f64());
            let entries: usize = appends.iter().map(|append| append.entries.len()).sum();
            metrics.append_entries.observe(entries as f64);
            let results: Vec<AppendResult> = match ended {
                Ok(ended) => {
                    rooms.store_answered();
                    ended.into_iter().map(translate).collect()
                }
                Err(error) => {
                    tracing::warn!(error = %error, rooms = keys.len(), "append failed");
                    vec![failed(&error); keys.len()]
                }
            };
            let mut lost = Vec::new();
            for (((id, fence), append), result) in keys.iter().zip(&appends).zip(results) {
                if matches!(result, AppendResult::Stored { .. }) {
                    metrics.entries.inc_by(append.entries.len() as u64);
                }
                match result {
                    AppendResult::Superseded => lost.push((id, *fence)),
                    result => rooms.appended(id, *fence, result),
                }
            }
            // Last, so that nobody else waits until it is known who has claimed them.
            if !lost.is_empty()
                && let Err(error) = superseded::learn(&rooms).await
            {
                tracing::debug!(error = %error, "nobody tells who has the rooms");
            }
            for (id, fence) in lost {
                rooms.appended(id, fence, AppendResult::Superseded);
            }
        }
    }
}

fn translate(ended: Appended) -> AppendResult {
    match ended {
        Appended::Stored { at_ms } => AppendResult::Stored { at_ms },
        Appended::Superseded => AppendResult::Superseded,
        Appended::Failed(error) => {
            tracing::warn!(error = %error, "a room's append failed");
            failed(&error)
        }
        Appended::Duplicates(found) => AppendResult::Duplicates(
            found
                .into_iter()
                .map(|(index, found)| Duplicate {
                    index,
                    seq: found.seq,
                    at_ms: found.at_ms,
                    digest: found.digest,
                })
                .collect(),
        ),
    }
}

fn failed(error: &StoreError) -> AppendResult {
    match error {
        StoreError::Unreachable(_) => AppendResult::Failed,
        StoreError::Unknown(_) if planted::is(Bug::UnknownTakenForAbsent) => AppendResult::Failed,
        // Whatever this shard believes of the room is not to be relied on.
        StoreError::Restored(_) | StoreError::Unknown(_) => AppendResult::Unknown,
    }
}
