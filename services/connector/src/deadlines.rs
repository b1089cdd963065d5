//! Answers requests that waited too long.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    extended::LEFT,
    fanout::Batch,
    handler::{self, Place},
    hub::{Hub, error_body},
    pending::Ask,
    room::{Room, SETTLE},
};

/// How often the requests are looked through.
const SWEEP: Duration = Duration::from_millis(250);

/// Requests in the order in which they were made, which is that of their
/// deadlines, since all may wait equally long. One that was answered stays until
/// its deadline; a session's requests are bounded, and so is this.
#[derive(Debug)]
pub(crate) struct Deadlines {
    timeout: Duration,
    queue: Mutex<VecDeque<(Instant, Weak<Room>, u64)>>,
    /// Rooms whose rosters have to be looked at again.
    settling: Mutex<VecDeque<(Instant, Weak<Room>)>>,
}

impl Deadlines {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, queue: Mutex::default(), settling: Mutex::default() }
    }

    pub(crate) fn add(&self, now: Instant, room: &Arc<Room>, request_id: u64) {
        let due = now + self.timeout;
        self.queue.lock().expect("deadlines").push_back((due, Arc::downgrade(room), request_id));
    }

    pub(crate) fn settle(&self, now: Instant, room: &Arc<Room>) {
        self.settling.lock().expect("settling").push_back((now + SETTLE, Arc::downgrade(room)));
    }

    fn settled(&self, now: Instant) -> Vec<Weak<Room>> {
        let mut settling = self.settling.lock().expect("settling");
        let count = settling.partition_point(|(due, _)| *due <= now);
        settling.drain(..count).map(|(_, room)| room).collect()
    }

    fn expired(&self, now: Instant) -> Vec<(Weak<Room>, u64)> {
        let mut queue = self.queue.lock().expect("deadlines");
        let count = queue.partition_point(|(due, ..)| *due <= now);
        queue.drain(..count).map(|(_, room, request_id)| (room, request_id)).collect()
    }
}

/// Sweeps until it is dropped.
pub(crate) async fn run(hub: Hub, profile: Arc<wire::Profile>) {
    loop {
        hub.clock().sleep(SWEEP).await;
        let now = hub.clock().now();
        for (room, request_id) in hub.deadlines().expired(now) {
            if let Some(room) = room.upgrade() {
                expire(&hub, &room, request_id);
            }
        }
        hub.end_listings(now);
        let mut batch = Batch::new(Arc::clone(&profile), hub.metrics().clone());
        for room in hub.deadlines().settled(now).iter().filter_map(Weak::upgrade) {
            settle(&room, now, &mut batch);
        }
        batch.flush();
    }
}

/// Names that the members were shown before the room moved, and that did not come
/// back: they have left.
fn settle(room: &Arc<Room>, now: Instant, batch: &mut Batch) {
    let mut state = room.state();
    if state.settles.is_some_and(|due| due <= now) {
        state.settles = None;
        for name in std::mem::take(&mut state.ghosts) {
            batch.presence(room, 0, name.to_string(), false);
        }
    }
}

fn expire(hub: &Hub, room: &Arc<Room>, request_id: u64) {
    let mut state = room.state();
    let Some(at) = state.pending.iter().position(|pending| pending.request_id == request_id) else {
        return;
    };
    let pending = &mut state.pending[at];
    if pending.abandoned {
        return;
    }
    let (is_join, is_leave) =
        (matches!(pending.ask, Ask::Join(_)), matches!(pending.ask, Ask::Leave));
    if is_leave {
        // It is out here, and the shard is told.
        hub.answer(pending, 200, LEFT);
    } else {
        hub.answer(pending, 503, &error_body(503, "the room cannot be reached, try again"));
    }
    if is_join {
        handler::set_place(&pending.session, Place::Outside);
    }
    // If its shard lets a session in after all, it is told that it has left.
    if is_leave || is_join && pending.sent {
        pending.abandoned = true;
    } else {
        state.pending.remove(at);
    }
    drop(state);
    hub.tidy(room);
}
