//! Takes what is not to be kept any more, bit by bit.
//!
//! One shard does it for all rooms, also for those that nobody serves: the one that
//! the view names for a fixed key. While views differ there may be two, or none for
//! a while; both are harmless.

use std::{sync::Arc, time::Duration};

use model::{Fence, RoomId};
use store::{Cursor, Keeper, Retention};

use crate::rooms::Rooms;

/// Between two walks over all rooms.
const WALK: Duration = Duration::from_secs(60);
/// Between two steps that changed something, so that messages are not held up.
const STEP: Duration = Duration::from_millis(20);
/// Rooms and rows that one step looks at.
const BUDGET: usize = 500;
/// The fixed key.
const KEY: &str = "retention";

/// Walks until it is dropped.
pub(crate) async fn run(rooms: Rooms, store: Arc<dyn Keeper>, policy: Retention) {
    let clock = rooms.0.clock;
    let key = RoomId::parse(KEY).expect("a room's name");
    loop {
        clock.sleep(WALK).await;
        // Of a volatile store each shard has its own.
        if !store.is_volatile() && rooms.elsewhere(&key, Fence::default()).is_some() {
            continue;
        }
        let (mut from, mut deleted, mut emptied) = (Some(Cursor::default()), 0, 0);
        while let Some(cursor) = from {
            match store.retain(policy, cursor, BUDGET).await {
                Ok(step) => {
                    deleted += step.deleted;
                    emptied += step.emptied;
                    from = step.next;
                }
                Err(error) => {
                    tracing::warn!(error = %error, "retention has to wait");
                    break;
                }
            }
            clock.sleep(STEP).await;
        }
        if deleted + emptied > 0 {
            tracing::info!(deleted, emptied, "old entries taken");
        }
    }
}
