//! Commands of connectors and back ends: who is served, now or later, and who is sent
//! elsewhere.

use std::collections::hash_map::Entry;

use chassis::Policy;
use model::{Fence, RoomId, Seq};
use room::{Command, Input, Refusal, Replay};
use rpc::chat::v1::reply;
use store::{Head, StoreError};

use super::{CLAIM_WAITING_MAX, Open, Rooms, Slot, Stripe};
use crate::{history, read, translate};

/// Rooms whose heads one call of the store may read.
const HEADS_MAX: usize = 1024;

impl Rooms {
    /// Applies a command, now or when its room has been claimed or its head was read;
    /// or refuses it.
    pub(crate) fn submit(&self, room: &RoomId, command: Command) {
        self.submit_to(&mut self.stripe(room), room, command);
    }

    /// The same, under the lock of the room's stripe.
    pub(super) fn submit_to(&self, stripe: &mut Stripe, room: &RoomId, command: Command) {
        match stripe.entry(room.clone()) {
            Entry::Occupied(mut slot) => match slot.get_mut() {
                // Who leaves needs no place: the join before had one.
                Slot::Claiming { waiting, seen, .. }
                    if waiting.len() < CLAIM_WAITING_MAX
                        || matches!(command.input, Input::Leave { .. }) =>
                {
                    *seen = command.seen.max(*seen);
                    waiting.push(command);
                }
                Slot::Claiming { .. } => self.refuse(room, &command, Refusal::Overloaded),
                Slot::Open(open) if self.is_store_unreachable() && command.needs_store() => {
                    if self.send_on(room, open, &command) {
                        self.remove(stripe, room);
                    }
                }
                Slot::Open(open) if command.seen > open.room.fence() => {
                    // Somebody has seen a later owner: this one was superseded and
                    // did not know.
                    self.give_up(room, open, Input::Superseded, "superseded");
                    self.remove(stripe, room);
                    self.submit_to(stripe, room, command);
                }
                Slot::Open(open) => {
                    if self.line_up(room, open, command) {
                        self.remove(stripe, room);
                    }
                }
            },
            Entry::Vacant(slot) => match &command.input {
                Input::Join(_)
                | Input::Rejoin(_)
                | Input::Publish(room::Publish { origin: room::Origin::Call { .. }, .. })
                | Input::Add { .. }
                    if self.is_mine(room, &command) =>
                {
                    if self.is_store_unreachable() {
                        return self.refuse(room, &command, Refusal::Unavailable);
                    }
                    let seen = command.seen;
                    match self.0.claims.try_send(room.clone()) {
                        Ok(()) => {
                            let waiting = vec![command];
                            slot.insert(Slot::Claiming { waiting, seen, covered: None });
                        }
                        Err(_) => self.refuse(room, &command, Refusal::Overloaded),
                    }
                }
                _ => self.refuse(room, &command, Refusal::Moved),
            },
        }
    }

    /// Takes a room that was given up out of its stripe. Whoever waits there asks again.
    pub(super) fn remove(&self, stripe: &mut Stripe, room: &RoomId) {
        if let Some(Slot::Open(mut open)) = stripe.remove(room) {
            for command in open.line.clear() {
                self.submit_to(stripe, room, command);
            }
        }
    }

    /// Refuses what cannot be served while the store does not answer: sends it to the
    /// next shard, once. True if the room has to be dropped.
    fn send_on(&self, id: &RoomId, open: &mut Open, command: &Command) -> bool {
        if command.redirected || self.elsewhere(id, command.seen).is_none() {
            self.refuse(id, command, Refusal::Unavailable);
            return false;
        }
        self.refuse(id, command, Refusal::Moved);
        // Whoever is in has to go there, too: their connectors keep the room together.
        self.give_up(id, open, Input::Release, "store_unreachable")
    }

    /// Applies a command, or lets it wait for a read of the room's head. True if the
    /// room has to be dropped.
    fn line_up(&self, id: &RoomId, open: &mut Open, command: Command) -> bool {
        // What nobody else can write to, nobody else can have claimed.
        let may_be_lost = !self.0.store.is_volatile();
        if open.line.is_empty() && !(may_be_lost && command.needs_head()) {
            return self.admit(id, open, command);
        }
        if open.line.is_full_for(&command) {
            self.refuse(id, &command, Refusal::Overloaded);
        } else if open.line.push(command) {
            self.want_head(id);
        }
        false
    }

    /// Applies a command to a room that is open, unless it has to wait. True if the room
    /// has to be dropped.
    pub(super) fn admit(&self, id: &RoomId, open: &mut Open, command: Command) -> bool {
        if let Some(who) = open.line.is_held(&command) {
            if open.line.is_full_for(&command) {
                self.refuse(id, &command, Refusal::Overloaded);
            } else {
                open.line.hold(who, command);
            }
            return false;
        }
        match self.postpone(id, open, command) {
            None => false,
            Some(command) => self.apply_to(id, open, command.input),
        }
    }

    /// Whoever missed more than the room remembers waits until the log was read, and
    /// whoever comes back until what they said is stored, or surely is not; what they ask
    /// after that waits, too. Gives the command back if nothing keeps it.
    fn postpone(&self, id: &RoomId, open: &mut Open, command: Command) -> Option<Command> {
        let Some(who) = command.who() else { return Some(command) };
        if command.needs_append(&open.room) {
            if open.line.is_full_for(&command) {
                self.refuse(id, &command, Refusal::Overloaded);
            } else {
                open.line.await_append(who, command);
            }
            return None;
        }
        if command.needs_log(&open.room) {
            open.line.begin_replay(who);
            open.reads += 1;
            let read = read::replay(self.clone(), id.clone(), open.room.fence(), command);
            self.0.tasks.spawn("replay", Policy::Session, read);
            return None;
        }
        Some(command)
    }

    /// An append has ended: serves those who came back and waited for that.
    pub(super) fn settle(&self, id: &RoomId, open: &mut Open) {
        for command in open.line.take_unsettled() {
            let who = command.who();
            let Some(command) = self.postpone(id, open, command) else { continue };
            self.apply_to(id, open, command.input);
            for command in who.map(|who| open.line.end_replay(who)).unwrap_or_default() {
                self.admit(id, open, command);
            }
        }
    }

    /// The log was read for a command: applies it with what was found, unless it was
    /// refused since; then those who waited behind it.
    pub(crate) fn replay_read(
        &self,
        id: &RoomId,
        fence: Fence,
        command: &Command,
        replay: Option<Replay>,
    ) {
        let mut stripe = self.stripe(id);
        let open = match stripe.get_mut(id) {
            Some(Slot::Open(open)) if open.room.fence() == fence => open,
            // Given up in the meantime, and perhaps claimed again: from the start.
            _ if replay.is_some() => return self.submit_to(&mut stripe, id, command.clone()),
            _ => return,
        };
        let mut replay = replay;
        open.end_read(replay.iter_mut().flat_map(|replay| &mut replay.entries));
        if let Some(who) = command.who()
            && replay.is_some()
            && command.needs_append(&open.room)
        {
            // The link that was lost had more to say in the meantime.
            return open.line.await_append(who, command.clone());
        }
        let behind = command.who().map(|who| open.line.end_replay(who)).unwrap_or_default();
        if let Some(replay) = replay {
            self.apply_to(id, open, read::with_replay(command.input.clone(), replay));
        }
        for command in behind {
            self.admit(id, open, command);
        }
    }

    /// A page of the log was read for a member: sends it.
    pub(crate) fn page_read(
        &self,
        id: &RoomId,
        fence: Fence,
        read: room::Read,
        found: Result<history::Found, Refusal>,
    ) {
        let mut stripe = self.stripe(id);
        let (link, request_id) = (read.link, read.request_id);
        let found = match stripe.get_mut(id) {
            Some(Slot::Open(open)) if open.room.fence() == fence => {
                found.inspect_err(|_| open.end_read([])).map(|mut found| {
                    open.end_read(&mut found.entries);
                    found
                })
            }
            _ => Err(Refusal::Moved),
        };
        match found {
            // Under the room's lock: what is taken away from now on is told of later.
            Ok(found) => {
                self.0.metrics.command("history", "ok");
                let page = translate::page(found);
                self.reply(link, id, request_id, reply::Result::HistoryPage(page));
            }
            Err(refusal) => {
                let (seen, redirected) = (Fence::default(), false);
                let command = Command { input: Input::Read(read), seen, redirected };
                self.refuse(id, &command, refusal);
            }
        }
    }

    /// The log was looked through for a message: answers it. If the room was given up in
    /// the meantime, its connector was told, and says again in its order what waits there;
    /// who called says it to whoever has the room now.
    pub(crate) fn sought(&self, id: &RoomId, fence: Fence, sought: room::Sought) {
        let mut stripe = self.stripe(id);
        match stripe.get_mut(id) {
            Some(Slot::Open(open)) if open.room.fence() == fence => {
                self.apply_to(id, open, Input::Sought(sought));
            }
            _ if matches!(sought.publish.origin, room::Origin::Session { .. }) => {}
            _ => {
                let (input, seen) = (Input::Publish(sought.publish), Fence::default());
                self.submit_to(&mut stripe, id, Command { input, seen, redirected: false });
            }
        }
    }

    /// The content of an entry is gone from the log: nobody tells of it any more.
    pub(crate) fn redacted(&self, id: &RoomId, seq: Seq) {
        self.with_slot(id, |slot| {
            let Slot::Open(open) = slot else { return false };
            if open.reads > 0 {
                open.redacted.insert(seq);
            }
            self.apply_to(id, open, Input::Redact { seq })
        });
    }

    /// Another shard was seen to have claimed a room that is open under `fence`: gives
    /// it up.
    pub(crate) fn supersede(&self, id: &RoomId, fence: Fence) {
        self.with_slot(id, |slot| match slot {
            Slot::Open(open) if open.room.fence() == fence => {
                self.give_up(id, open, Input::Superseded, "superseded")
            }
            _ => false,
        });
    }

    // === heads ===

    fn want_head(&self, id: &RoomId) {
        self.0.unread.lock().expect("unread").push(id.clone());
        self.0.read_heads.notify_one();
    }

    /// Takes the rooms whose heads are to be read: the next call of the store, which
    /// begins now. Each with the fence that it should find.
    pub(crate) fn begin_head_reads(&self) -> Vec<(RoomId, Fence)> {
        let batch: Vec<RoomId> = {
            let mut unread = self.0.unread.lock().expect("unread");
            let count = unread.len().min(HEADS_MAX);
            unread.drain(..count).collect()
        };
        let begin = |id: RoomId| {
            let mut stripe = self.stripe(&id);
            let Some(Slot::Open(open)) = stripe.get_mut(&id) else { return None };
            open.line.begin();
            let fence = open.room.fence();
            drop(stripe);
            Some((id, fence))
        };
        batch.into_iter().filter_map(begin).collect()
    }

    /// A head was read: whoever waited for it is served, unless another shard has
    /// claimed the room.
    pub(crate) fn head_read(
        &self,
        id: &RoomId,
        fence: Fence,
        head: Result<Option<Head>, &StoreError>,
    ) {
        let mut stripe = self.stripe(id);
        let Some(Slot::Open(open)) = stripe.get_mut(id) else { return };
        if open.room.fence() != fence {
            // It was claimed again since, and has a read of its own coming.
            return;
        }
        let is_read = match head {
            Ok(head) if head.is_none_or(|head| head.fence != fence) => {
                self.give_up(id, open, Input::Superseded, "superseded");
                return self.remove(&mut stripe, id);
            }
            Ok(_) => true,
            Err(_) => false,
        };
        for command in open.line.end() {
            if command.needs_head() && !is_read {
                self.refuse(id, &command, Refusal::Unavailable);
            } else {
                self.admit(id, open, command);
            }
        }
        if !open.line.is_empty() {
            self.want_head(id);
        }
    }
}
