//! Lists of rooms, gathered from all shards that are linked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use rpc::chat::v1::{self as pb, command};
use serde_json::json;
use tokio::time::Instant;
use wire::RawId;

use crate::{handler::Session, hub::Hub, link::Link};

/// How long shards may take; who has not answered by then is left out.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lists that are being gathered, by the number of the request. A session has no
/// more of them than of other requests.
#[derive(Debug, Default)]
pub(crate) struct Listings(Mutex<BTreeMap<u64, Listing>>);

/// One list.
#[derive(Debug)]
pub(crate) struct Listing {
    session: Arc<Session>,
    reply_to: Option<RawId>,
    limit: u32,
    due: Instant,
    /// Shards that have not answered.
    awaited: usize,
    rooms: BTreeMap<String, u32>,
}

impl Listing {
    fn new(
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
    fn body(self) -> Vec<u8> {
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
    fn start(&self, request_id: u64, listing: Listing) {
        self.lock().insert(request_id, listing);
    }

    /// Adds what one shard says; none if it refuses. Returns the list if it was the
    /// last one.
    fn add(&self, request_id: u64, list: Option<pb::RoomList>) -> Option<Listing> {
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
    fn expired(&self, now: Instant) -> Vec<Listing> {
        let mut listings = self.lock();
        let due: Vec<u64> =
            listings.iter().filter(|(_, l)| l.due <= now).map(|(id, _)| *id).collect();
        due.iter().filter_map(|id| listings.remove(id)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Listing>> {
        self.0.lock().expect("listings")
    }
}

impl Hub {
    /// Asks all shards over `links` for their rooms.
    pub(crate) fn list(
        &self,
        session: &Arc<Session>,
        reply_to: Option<RawId>,
        limit: u32,
        links: &[Arc<Link>],
    ) {
        let request_id = self.next_request();
        session.state().waiting.fetch_add(1, Ordering::Relaxed);
        session.state().unanswered.fetch_add(1, Ordering::Relaxed);
        let due = self.clock().now() + PATIENCE;
        let listing = Listing::new(session, reply_to, limit, due, links.len());
        if links.is_empty() {
            return self.end_listing(listing);
        }
        self.listings().start(request_id, listing);
        for link in links {
            link.upstream.push(request_id, command::Command::ListRooms(pb::ListRooms { limit }));
        }
    }

    /// Takes one shard's part of a list; none if it refuses.
    pub(crate) fn listed(&self, request_id: u64, list: Option<pb::RoomList>) {
        if let Some(listing) = self.listings().add(request_id, list) {
            self.end_listing(listing);
        }
    }

    /// Answers with what there is those who have waited long enough.
    pub(crate) fn end_listings(&self, now: Instant) {
        self.listings().expired(now).into_iter().for_each(|listing| self.end_listing(listing));
    }

    fn end_listing(&self, listing: Listing) {
        let (session, reply_to) = (Arc::clone(&listing.session), listing.reply_to);
        session.state().waiting.fetch_sub(1, Ordering::Relaxed);
        self.metrics().answered("list", 200);
        if let Some(id) = reply_to {
            session.respond(&id, &listing.body());
        }
        session.state().unanswered.fetch_sub(1, Ordering::Release);
    }
}
