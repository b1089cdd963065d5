//! Shards that have left the view, and may not know it yet.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use cluster::{Shard, View};
use model::ShardId;
use tokio::time::Instant;

use super::Rooms;

/// How long they are remembered: longer than any list takes to be read by all.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// Who has left, and when: bounded by the shards of all views of a minute.
#[derive(Debug, Default)]
pub(super) struct Left(Mutex<HashMap<ShardId, (Shard, Instant)>>);

impl Left {
    /// Forgets what is old.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.lock().expect("left").retain(|_, (_, at)| now - *at < REMEMBERED_FOR);
    }
}

impl Rooms {
    /// Remembers who is in the view no more.
    pub(crate) fn note_left(&self, before: &View, now: &View) {
        let gone = before.shards().iter().filter(|shard| now.get(&shard.id).is_none());
        let at = self.0.clock.now();
        let gone = gone.map(|shard| (shard.id.clone(), (shard.clone(), at)));
        self.0.left.0.lock().expect("left").extend(gone);
    }

    /// A shard of the view, or one that was in it lately.
    pub(crate) fn shard(&self, id: &ShardId) -> Option<Shard> {
        let left = || self.0.left.0.lock().expect("left").get(id).map(|(shard, _)| shard.clone());
        self.0.view.borrow().get(id).cloned().or_else(left)
    }

    /// Where this shard listens, as the list has it, if it does.
    pub(crate) fn own_addr(&self) -> String {
        let me = &self.0.me;
        self.0.view.borrow().get(&me.id).map_or_else(|| me.addr.clone(), |me| me.addr.clone())
    }
}
