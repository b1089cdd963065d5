//! What follows from what happens to a room: events for links, appends, answers.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use chassis::Policy;
use model::{Fence, LinkId, RoomId};
use room::{Command, Effect, Event, Input, Refusal};
use rpc::chat::v1::{self as pb, RefusedReason, reply};
use tokio::sync::oneshot;

use super::{Open, Rooms, Slot, Stored};
use crate::{history, metrics::ReasonLabel, outbox::Outbox, read, translate};

impl Rooms {
    /// Applies an input under the stripe's lock. True if the room has to be dropped.
    pub(crate) fn apply_to(&self, id: &RoomId, open: &mut Open, input: Input) -> bool {
        // Held to the end, so that no link is closed between the look and the deed.
        let links = self.0.links.read().expect("links");
        if is_outdated(&links, &input) {
            return false;
        }
        let mut effects = Vec::new();
        open.room.apply(input, &mut effects);
        // A command may have waited for its room longer than its link lived: nobody
        // else would ever take its members out again.
        let attached = effects.iter().filter_map(|effect| match effect {
            Effect::Attach { link } if !links.contains_key(link) => Some(*link),
            _ => None,
        });
        for link in attached.collect::<Vec<_>>() {
            open.room.apply(Input::LinkLost { link, now_ms: self.now_ms() }, &mut effects);
        }
        let closed = self.carry_out(id, open, &links, effects);
        drop(links);
        let members = if closed { 0 } else { open.room.len() };
        self.0.metrics.members.inc_by(members as i64 - open.members as i64);
        open.members = members;
        if closed {
            self.0.metrics.rooms.dec();
        }
        closed
    }

    /// Drops a room for a reason.
    pub(crate) fn give_up(
        &self,
        id: &RoomId,
        open: &mut Open,
        input: Input,
        reason: &'static str,
    ) -> bool {
        self.0.metrics.rooms_given_up.get_or_create(&ReasonLabel { reason }).inc();
        tracing::debug!(room_id = %id, reason, "room given up");
        self.apply_to(id, open, input)
    }

    fn carry_out(
        &self,
        id: &RoomId,
        open: &mut Open,
        links: &HashMap<LinkId, Arc<Outbox>>,
        effects: Vec<Effect>,
    ) -> bool {
        let fence = open.room.fence();
        for effect in effects {
            match effect {
                Effect::Send { link, event, digest_delta } => {
                    if let Some(outbox) = links.get(&link) {
                        self.send(id, fence, outbox, event, digest_delta);
                    }
                }
                Effect::Attach { link } => {
                    if let Some(outbox) = links.get(&link) {
                        outbox.attach(id);
                    }
                }
                Effect::Detach { link, digest_delta } => {
                    if let Some(outbox) = links.get(&link) {
                        outbox.detach(id, digest_delta);
                    }
                }
                Effect::Answer { ticket, outcome } => self.answer(ticket, outcome),
                Effect::Seek { publish, author } => {
                    let seek = read::seek(self.clone(), id.clone(), fence, publish, author);
                    self.0.tasks.spawn("seek", Policy::Session, seek);
                }
                Effect::ReadLog { read, reader } => {
                    open.reads += 1;
                    let answer = history::answer(self.clone(), id.clone(), fence, read, reader);
                    self.0.tasks.spawn("history", Policy::Session, answer);
                }
                Effect::Append if !open.dirty => {
                    open.dirty = true;
                    self.0.dirty.lock().expect("dirty").push(id.clone());
                    self.0.append.notify_one();
                }
                Effect::Append => {}
                Effect::Closed => return true,
            }
        }
        false
    }

    fn send(&self, id: &RoomId, fence: Fence, outbox: &Outbox, event: Event, digest_delta: u64) {
        match &event {
            Event::Entry { .. } => {
                self.0.metrics.pushed_entries.inc();
            }
            // Nobody waits for it; but what it changes is changed.
            Event::Reply { request_id: 0, .. } => return outbox.add_to_digest(digest_delta),
            Event::Reply { outcome, .. } => self.count(outcome),
            _ => {}
        }
        let moves = matches!(
            event,
            Event::Moved
                | Event::Reply { outcome: Err(Refusal::Moved | Refusal::MovedMeanwhile), .. }
        );
        let shard = if moves { self.address_of(id, fence) } else { None };
        outbox.push(translate::event(id, fence, event, shard), digest_delta);
    }

    fn count(&self, outcome: &Result<room::Outcome, Refusal>) {
        let (command, result) = match outcome {
            Ok(room::Outcome::Joined { .. }) => ("join", "ok"),
            Ok(room::Outcome::Gone) => ("leave", "ok"),
            Ok(room::Outcome::Published { .. }) => ("publish", "ok"),
            Ok(room::Outcome::Rejoined { .. }) => ("rejoin", "ok"),
            Err(refusal @ (Refusal::NameTaken | Refusal::RoomFull)) => {
                ("join", translate::label(*refusal))
            }
            Err(refusal) => ("publish", translate::label(*refusal)),
        };
        self.0.metrics.command(command, result);
    }

    // === appends ===

    /// Takes what all rooms want appended: the next batch.
    pub(crate) fn take_appends(&self) -> Vec<(RoomId, Fence, store::Append)> {
        let dirty = std::mem::take(&mut *self.0.dirty.lock().expect("dirty"));
        let take = |id: RoomId| {
            let mut stripe = self.stripe(&id);
            let Some(Slot::Open(open)) = stripe.get_mut(&id) else { return None };
            open.dirty = false;
            let append = open.room.take_append()?;
            let append = translate::to_append(&id, open.room.head(), append);
            let fence = open.room.fence();
            drop(stripe);
            Some((id, fence, append))
        };
        dirty.into_iter().filter_map(take).collect()
    }

    /// An append has ended; nobody waits for it any more if the room was given up
    /// in the meantime.
    pub(crate) fn appended(&self, id: &RoomId, fence: Fence, result: room::AppendResult) {
        self.with_slot(id, |slot| match slot {
            Slot::Open(open) if open.room.fence() == fence => {
                let lost = match result {
                    room::AppendResult::Superseded => Some("fenced"),
                    room::AppendResult::Unknown => {
                        // Only the next claim tells what became of it.
                        self.0.claimed.forget(id);
                        Some("unknown_outcome")
                    }
                    _ => None,
                };
                match lost {
                    Some(reason) => self.give_up(id, open, Input::Appended(result), reason),
                    None => {
                        let is_over = self.apply_to(id, open, Input::Appended(result));
                        if !is_over {
                            self.settle(id, open);
                        }
                        is_over
                    }
                }
            }
            _ => false,
        });
    }

    // === back ends ===

    /// Opens a ticket for what a back end asks for.
    pub(crate) fn ticket(&self) -> (u64, oneshot::Receiver<Stored>) {
        let ticket = self.0.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.0.tickets.lock().expect("tickets").insert(ticket, sender);
        (ticket, receiver)
    }

    /// Forgets a ticket whose caller has gone.
    pub(crate) fn drop_ticket(&self, ticket: u64) {
        self.0.tickets.lock().expect("tickets").remove(&ticket);
    }

    fn answer(&self, ticket: u64, outcome: Stored) {
        if let Some(waiting) = self.0.tickets.lock().expect("tickets").remove(&ticket) {
            // The caller may have gone.
            let _ = waiting.send(outcome);
        }
    }

    /// Refuses a command that no room took.
    pub(crate) fn refuse(&self, room: &RoomId, command: &Command, refusal: Refusal) {
        let (link, request_id, kind) = match &command.input {
            Input::Join(join) => (join.link, join.request_id, "join"),
            Input::Rejoin(rejoin) => (rejoin.link, rejoin.request_id, "rejoin"),
            Input::Publish(publish) => match publish.origin {
                room::Origin::Session { link, request_id, .. } => (link, request_id, "publish"),
                room::Origin::Call { ticket, .. } => return self.answer(ticket, Err(refusal)),
            },
            Input::Read(read) => (read.link, read.request_id, "history"),
            Input::Add { ticket, .. } => return self.answer(*ticket, Err(refusal)),
            // Whoever is in no room has left it.
            Input::Leave { link, request_id, .. } => {
                return self.reply(*link, room, *request_id, reply::Result::Gone(pb::Gone {}));
            }
            _ => return,
        };
        self.0.metrics.command(kind, translate::label(refusal));
        let shard = match refusal {
            Refusal::Moved => self.address_of(room, command.seen),
            _ => None,
        };
        // Without anybody to send it to, the connector has to try again.
        let reason = match refusal {
            Refusal::Moved if shard.is_none() && !matches!(command.input, Input::Publish(_)) => {
                RefusedReason::Unavailable
            }
            other => translate::reason(other),
        };
        let message = refusal.to_string();
        let refused = pb::Refused { reason: reason.into(), message, shard, unknown: false };
        self.reply(link, room, request_id, reply::Result::Refused(refused));
    }

    /// Answers a command that no room took.
    pub(crate) fn reply(
        &self,
        link: LinkId,
        room: &RoomId,
        request_id: u64,
        result: reply::Result,
    ) {
        if request_id == 0 {
            return;
        }
        if let Some(outbox) = self.0.links.read().expect("links").get(&link) {
            outbox.reply(request_id, room.to_string(), result);
        }
    }
}

/// True if sessions are brought over a link whose connector has opened another one since:
/// over that it brings all of them, and they are not to be taken from behind it.
fn is_outdated(links: &HashMap<LinkId, Arc<Outbox>>, input: &Input) -> bool {
    let (link, connector) = match input {
        Input::Join(join) => (join.link, &join.connector),
        Input::Rejoin(rejoin) => (rejoin.link, &rejoin.connector),
        _ => return false,
    };
    links.values().any(|other| other.connector == *connector && other.link > link)
}
