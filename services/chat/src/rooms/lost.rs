//! Rooms that other shards have claimed, and who did.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use cluster::{Shard, View};
use model::{Fence, RoomId, ShardId};
use room::Input;
use tokio::time::Instant;

use super::{Rooms, Slot};

/// How long whoever asks for a lost room is sent to its claimer, whatever the view
/// says. After that the view counts again, so that a room comes home some day.
const SENT_FOR: Duration = Duration::from_secs(5);
/// How long a claim is remembered: longer than the store tells of it again.
const REMEMBERED_FOR: Duration = Duration::from_secs(20);
/// Claims that are remembered; of more, the view has to do.
const CLAIMS_MAX: usize = 64 * 1024;

/// Who has claimed a room, and where it said that it listens.
#[derive(Clone, Debug)]
pub(crate) struct Claimer {
    pub(crate) id: ShardId,
    pub(crate) addr: Option<String>,
}

/// The newest claim of each room that another shard made lately.
#[derive(Debug, Default)]
pub(crate) struct Lost(Mutex<HashMap<RoomId, Claimed>>);

#[derive(Debug)]
struct Claimed {
    by: Claimer,
    fence: Fence,
    /// When it was heard of.
    at: Instant,
}

impl Lost {
    /// False if it is no news.
    fn note(&self, room: &RoomId, by: Claimer, fence: Fence, at: Instant) -> bool {
        let mut claims = self.0.lock().expect("lost");
        // The store tells who it was, and the claimer itself also where it is.
        let is_less = |known: &Claimed| known.by.addr.is_none() && by.addr.is_some();
        let is_news = claims
            .get(room)
            .is_none_or(|known| known.fence < fence || (known.fence == fence && is_less(known)));
        if is_news && (claims.len() < CLAIMS_MAX || claims.contains_key(room)) {
            claims.insert(room.clone(), Claimed { by, fence, at });
        }
        is_news
    }

    /// Who has claimed a room lately, by a claim above `seen`: where `view` has it, else
    /// where it says that it is. A view may be behind; were nobody named, the room would
    /// be claimed back, and its claimer might not have it again for a while.
    pub(super) fn claimer(
        &self,
        room: &RoomId,
        view: &View,
        seen: Fence,
        now: Instant,
    ) -> Option<(Shard, Fence)> {
        let claims = self.0.lock().expect("lost");
        let is_lately = |claimed: &&Claimed| now - claimed.at < SENT_FOR && claimed.fence > seen;
        let Claimed { by, fence, .. } = claims.get(room).filter(is_lately)?;
        let shard = view.get(&by.id).cloned().or_else(|| {
            let addr = by.addr.clone()?;
            Some(Shard { id: by.id.clone(), addr })
        })?;
        Some((shard, *fence))
    }

    /// The room is this shard's again, by a claim that is newer than `fence`.
    pub(super) fn found(&self, room: &RoomId, fence: Fence) {
        let mut claims = self.0.lock().expect("lost");
        if claims.get(room).is_some_and(|claimed| claimed.fence < fence) {
            claims.remove(room);
        }
    }

    /// Forgets what is old.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.lock().expect("lost").retain(|_, claimed| now - claimed.at < REMEMBERED_FOR);
    }
}

impl Rooms {
    /// Another shard has claimed a room, or an operator has: gives it up, unless it was
    /// claimed again since, and sends whoever asks to the claimer.
    pub(crate) fn lost_to(&self, room: &RoomId, by: Option<Claimer>, fence: Fence) {
        let mut stripe = self.stripe(room);
        if matches!(stripe.get(room), Some(Slot::Open(open)) if open.room.fence() >= fence) {
            return;
        }
        let is_news = by
            .filter(|by| by.id != self.0.me.id)
            .is_some_and(|by| self.0.lost.note(room, by, fence, self.0.clock.now()));
        if let Some(Slot::Open(open)) = stripe.get_mut(room) {
            if self.give_up(room, open, Input::Superseded, "superseded") {
                self.remove(&mut stripe, room);
            }
        } else if is_news {
            // Whoever waits for a claim that may not be made yet is better served there.
            self.submit_waiting(&mut stripe, room);
        }
    }
}
