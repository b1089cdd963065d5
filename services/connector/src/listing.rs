//! Lists of rooms, gathered from all shards that are linked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use rpc::chat::v1 as pb;
use serde_json::json;
use tokio::time::Instant;
use wire::RawId;

use crate::handler::Session;

/// How long shards may take; who has not answered by then is left out.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Lists that are being gathered, by the number of the request. A session has no
/// more of them than of other requests.
#[derive(Debug, Default)]
pub(crate) struct Listings(Mutex<BTreeMap<u64, Listing>>);

/// One list.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) session: Arc<Session>,
    pub(crate) reply_to: Option<RawId>,
    pub(crate) limit: u32,
    pub(crate) due: Instant,
    /// Shards that have not answered.
    pub(crate) awaited: usize,
    rooms: BTreeMap<String, u32>,
}

impl Listing {
    pub(crate) fn new(
        session: &Arc<Session>,
        reply_to: Option<RawId>,
        limit: u32,
        due: Instant,
        awaited: usize,
    ) -> Self {
        let session = Arc::clone(session);
        Self { session, reply_to, limit, due, awaited, rooms: BTreeMap::new() }
    }

    /// What the client is answered: those with most members first, and among equals
    /// by name.
    pub(crate) fn body(self) -> Vec<u8> {
        let mut rooms: Vec<(String, u32)> = self.rooms.into_iter().collect();
        rooms.sort_by_key(|(_, members)| std::cmp::Reverse(*members));
        rooms.truncate(self.limit as usize);
        let rooms: Vec<_> = rooms
            .into_iter()
            .map(|(room, members)| json!({ "rid": room, "members": members }))
            .collect();
        wire::to_json(&json!({ "code": 200, "rooms": rooms }))
    }
}

impl Listings {
    pub(crate) fn start(&self, request_id: u64, listing: Listing) {
        self.lock().insert(request_id, listing);
    }

    /// Adds what one shard says; none if it refuses. Returns the list if it was the
    /// last one.
    pub(crate) fn add(&self, request_id: u64, list: Option<pb::RoomList>) -> Option<Listing> {
        let mut listings = self.lock();
        let listing = listings.get_mut(&request_id)?;
        for room in list.unwrap_or_default().rooms {
            // A room that is moving may be on two.
            let members = listing.rooms.entry(room.room).or_default();
            *members = room.members.max(*members);
        }
        listing.awaited = listing.awaited.saturating_sub(1);
        if listing.awaited == 0 { listings.remove(&request_id) } else { None }
    }

    /// Takes the lists that have had their time.
    pub(crate) fn expired(&self, now: Instant) -> Vec<Listing> {
        let mut listings = self.lock();
        let due: Vec<u64> =
            listings.iter().filter(|(_, l)| l.due <= now).map(|(id, _)| *id).collect();
        due.iter().filter_map(|id| listings.remove(id)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Listing>> {
        self.0.lock().expect("listings")
    }
}
