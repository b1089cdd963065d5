//! How rooms come to this shard, and how idle ones go.

use std::{
    collections::HashMap,
    sync::{Mutex, atomic::Ordering},
    time::Duration,
};

use model::{Fence, RoomId};
use room::{Command, Input, Refusal, Room};
use tokio::time::Instant;

use super::{Open, Rooms, Slot, Stripe};

/// A shard claims a room at most once in this time, so that two which disagree do not
/// take it from each other without end.
const PAUSE: Duration = Duration::from_secs(5);

/// When rooms were claimed by this shard, as long as that matters.
#[derive(Debug, Default)]
pub(crate) struct Claimed(Mutex<HashMap<RoomId, Instant>>);

impl Claimed {
    fn note(&self, room: &RoomId, now: Instant) {
        self.0.lock().expect("claimed").insert(room.clone(), now);
    }

    /// When the room may be claimed again.
    fn again(&self, room: &RoomId) -> Option<Instant> {
        self.0.lock().expect("claimed").get(room).map(|at| *at + PAUSE)
    }

    /// The room has to be claimed again at once: nobody knows what became of an append
    /// until somebody has.
    pub(super) fn forget(&self, room: &RoomId) {
        self.0.lock().expect("claimed").remove(room);
    }

    /// Forgets what does not matter any more.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.lock().expect("claimed").retain(|_, at| now - *at < PAUSE);
    }
}

impl Rooms {
    /// When a room may be claimed that has to be claimed now: at once, or later if it
    /// was lost shortly after it had been claimed.
    pub(crate) fn claim_not_before(&self, id: &RoomId) -> Option<Instant> {
        // From what nobody shares nothing is taken.
        if self.0.store.is_volatile() { None } else { self.0.claimed.again(id) }
    }

    /// A room may be claimed now that could not before: asks again for whoever waits,
    /// for it may be another one's by now.
    pub(crate) fn ask_again(&self, id: &RoomId) {
        self.submit_waiting(&mut self.stripe(id), id);
    }

    /// Asks again for whoever waits for a claim that has not begun.
    pub(super) fn submit_waiting(&self, stripe: &mut Stripe, id: &RoomId) {
        if let Some(Slot::Claiming { covered: None, .. }) = stripe.get(id)
            && let Some(Slot::Claiming { waiting, .. }) = stripe.remove(id)
        {
            for command in waiting {
                self.submit_to(stripe, id, command);
            }
        }
    }

    /// Begins to claim a room: what somebody who waits there has seen. None if nobody
    /// wants it any more, or if it is being claimed already.
    pub(crate) fn begin_claim(&self, id: &RoomId) -> Option<Fence> {
        match self.stripe(id).get_mut(id)? {
            Slot::Claiming { waiting, seen, covered: covered @ None } => {
                *covered = Some(waiting.len());
                Some(*seen)
            }
            _ => None,
        }
    }

    /// Puts a claimed room in its slot and lets in whoever waits.
    pub(crate) fn open(&self, id: &RoomId, room: Room) {
        let mut stripe = self.stripe(id);
        let Some(Slot::Claiming { waiting, seen, covered }) = stripe.get_mut(id) else { return };
        let (mut waiting, seen, covered) = (std::mem::take(waiting), *seen, covered.unwrap_or(0));
        stripe.remove(id);
        if self.0.draining.load(Ordering::Relaxed) {
            return waiting.iter().for_each(|command| self.refuse(id, command, Refusal::Moved));
        }
        if seen > room.fence() {
            // While the claim was under way somebody came who has seen a later owner.
            return self.claim_again(id, &mut stripe, waiting, seen);
        }
        self.0.metrics.rooms.inc();
        self.0.lost.found(id, room.fence());
        self.0.claimed.note(id, self.0.clock.now());
        let mut open = Box::new(Open::new(room));
        // The claim has told the head to those who were there when it began.
        let late = waiting.split_off(covered.min(waiting.len()));
        for command in waiting {
            // A room that was just claimed is not given up by those who waited for it.
            self.admit(id, &mut open, command);
        }
        stripe.insert(id.clone(), Slot::Open(open));
        for command in late {
            self.submit_to(&mut stripe, id, command);
        }
    }

    /// The claim of a room failed: refuses whoever waits.
    pub(crate) fn claim_failed(&self, id: &RoomId) {
        let mut stripe = self.stripe(id);
        if let Some(Slot::Claiming { .. }) = stripe.get(id)
            && let Some(Slot::Claiming { waiting, .. }) = stripe.remove(id)
        {
            for command in &waiting {
                self.refuse(id, command, Refusal::Unavailable);
            }
        }
    }

    fn claim_again(&self, id: &RoomId, stripe: &mut Stripe, waiting: Vec<Command>, seen: Fence) {
        if self.0.claims.try_send(id.clone()).is_ok() {
            stripe.insert(id.clone(), Slot::Claiming { waiting, seen, covered: None });
        } else {
            waiting.iter().for_each(|command| self.refuse(id, command, Refusal::Overloaded));
        }
    }

    /// Gives an idle room up and lets go of its log. Whoever comes in the meantime
    /// waits, and finds the room claimed anew: not a log that is about to go.
    pub(crate) async fn unload(&self, id: &RoomId) {
        let mut is_idle = false;
        self.with_slot(id, |slot| {
            let Slot::Open(open) = slot else { return false };
            is_idle = open.room.is_empty() && open.line.is_idle();
            if is_idle {
                self.give_up(id, open, Input::Release, "idle");
                let (waiting, seen) = (Vec::new(), Fence::default());
                *slot = Slot::Claiming { waiting, seen, covered: Some(0) };
            }
            false
        });
        if !is_idle {
            return;
        }
        self.0.store.release(id).await;
        let mut stripe = self.stripe(id);
        if let Some(Slot::Claiming { waiting, .. }) = stripe.remove(id) {
            for command in waiting {
                self.submit_to(&mut stripe, id, command);
            }
        }
    }
}
