//! Which rooms somebody is in, for clients.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use rpc::chat::v1 as pb;
use tokio::time::Instant;

use super::Rooms;

/// Rooms that a list has at most.
const ROOMS_MAX: usize = 1000;
/// How old a list may be: clients may ask often, and a shard may have many rooms.
const AGE_MAX: Duration = Duration::from_secs(1);

/// The rooms with most members, and when that was.
#[derive(Debug, Default)]
pub(crate) struct Listed(Option<(Instant, Arc<[pb::ListedRoom]>)>);

impl Rooms {
    /// The rooms with most members, as of the last second.
    pub(crate) fn listed(&self, limit: usize) -> Vec<pb::ListedRoom> {
        let now = self.0.clock.now();
        let mut listed = self.0.listed.lock().expect("listed");
        let rooms = match &listed.0 {
            Some((at, rooms)) if now - *at < AGE_MAX => Arc::clone(rooms),
            _ => Arc::clone(&listed.0.insert((now, self.list())).1),
        };
        drop(listed);
        rooms.iter().take(limit).cloned().collect()
    }

    fn list(&self) -> Arc<[pb::ListedRoom]> {
        let mut rooms = Vec::new();
        self.for_each(|id, open| {
            let members = u32::try_from(open.room.len()).unwrap_or(u32::MAX);
            if members > 0 {
                rooms.push(pb::ListedRoom { room: id.to_string(), members });
            }
            false
        });
        rooms.sort_unstable_by(|one, other| {
            (Reverse(one.members), &one.room).cmp(&(Reverse(other.members), &other.room))
        });
        rooms.truncate(ROOMS_MAX);
        rooms.into()
    }
}
