//! Asks the store whether rooms are still this shard's, before somebody is let in:
//! many rooms in one call, one call at a time. What is asked for while one call is
//! under way is the next.

use crate::{rooms::Rooms, superseded};

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
            match rooms.0.store.heads(&ids).await {
                Ok(heads) => {
                    rooms.store_answered();
                    let is_lost = |(fence, head): (&model::Fence, &Option<store::Head>)| {
                        head.is_none_or(|head| head.fence != *fence)
                    };
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
