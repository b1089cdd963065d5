//! Every room that this shard serves, behind locks.
//!
//! Lock order: stripe, then outbox. Effects are carried out under the stripe's
//! lock, so that every link sees a room's events in the order in which they came
//! to be.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use cluster::{Shard, View};
use model::{Fence, LinkId, Position, RoomId};
use room::{Effect, Event, Input, Limits, Refusal, Room};
use rpc::chat::v1::{self as pb, RefusedReason, event, reply};
use store::Store;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};

use crate::{
    metrics::{Metrics, ReasonLabel},
    outbox::Outbox,
    translate,
};

/// A handle; clones share the rooms.
#[derive(Clone, Debug)]
pub(crate) struct Rooms(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) me: Shard,
    pub(crate) limits: Limits,
    pub(crate) content_max: usize,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) metrics: Metrics,
    /// A room's stripe never changes, so one lock orders all that happens to it.
    stripes: Box<[Mutex<HashMap<RoomId, Slot>>]>,
    hasher: RandomState,
    links: RwLock<HashMap<LinkId, Arc<Outbox>>>,
    next_link: AtomicU64,
    tickets: Mutex<HashMap<u64, oneshot::Sender<Stored>>>,
    next_ticket: AtomicU64,
    pub(crate) claims: mpsc::Sender<RoomId>,
    /// Rooms in which something waits to be appended.
    dirty: Mutex<Vec<RoomId>>,
    pub(crate) append: Notify,
    /// True while the store has not answered for 3 s.
    pub(crate) store_unreachable: AtomicBool,
    /// True once the process was asked to stop.
    draining: AtomicBool,
}

/// What came of a back end's message.
pub(crate) type Stored = Result<(Position, u64), Refusal>;

#[derive(Debug)]
pub(crate) enum Slot {
    /// The claim is under way; these wait for it.
    Claiming { waiting: Vec<Command>, seen: Fence },
    /// The room is served.
    Open(Box<Open>),
}

#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) room: Room,
    /// Since when it is empty.
    pub(crate) empty_since: Option<Instant>,
    dirty: bool,
    members: usize,
}

/// An input and what decides whether it is served here.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) input: Input,
    /// The highest fence that its sender has seen of the room.
    pub(crate) seen: Fence,
    /// True if it must not be sent elsewhere (again).
    pub(crate) redirected: bool,
}

const STRIPES: usize = 64;
/// Commands that may wait for one claim; further ones are refused.
const CLAIM_WAITING_MAX: usize = 16 * 1024;

impl Rooms {
    pub(crate) fn new(
        me: Shard,
        limits: Limits,
        content_max: usize,
        store: Arc<dyn Store>,
        view: watch::Receiver<View>,
        metrics: Metrics,
    ) -> (Self, mpsc::Receiver<RoomId>) {
        let (claims, to_claim) = mpsc::channel(CLAIM_WAITING_MAX);
        let inner = Inner {
            me,
            limits,
            content_max,
            store,
            view,
            metrics,
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            links: RwLock::default(),
            next_link: AtomicU64::new(1),
            tickets: Mutex::default(),
            next_ticket: AtomicU64::new(1),
            claims,
            dirty: Mutex::default(),
            append: Notify::new(),
            store_unreachable: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        };
        (Self(Arc::new(inner)), to_claim)
    }

    // === links ===

    /// Opens a link, ending the one that its connector had.
    pub(crate) fn open_link(&self, connector: model::ConnectorId, bytes_max: usize) -> Arc<Outbox> {
        let link = LinkId(self.0.next_link.fetch_add(1, Ordering::Relaxed));
        let outbox = Outbox::new(link, connector, bytes_max, self.0.metrics.clone());
        let mut links = self.0.links.write().expect("links");
        let old = links.values().find(|old| old.connector == outbox.connector).cloned();
        links.insert(link, Arc::clone(&outbox));
        drop(links);
        self.0.metrics.links.inc();
        if let Some(old) = old {
            old.end(
                "replaced",
                Some(tonic::Status::aborted("the connector has opened another link")),
            );
        }
        outbox
    }

    /// Takes a link out of every room that it has members in.
    pub(crate) fn close_link(&self, outbox: &Outbox, now_ms: u64) {
        let link = outbox.link;
        if self.0.links.write().expect("links").remove(&link).is_some() {
            self.0.metrics.links.dec();
        }
        for room in outbox.rooms() {
            self.apply_open(&room, Input::LinkLost { link, now_ms });
        }
    }

    /// All links that are open.
    pub(crate) fn links(&self) -> Vec<Arc<Outbox>> {
        self.0.links.read().expect("links").values().cloned().collect()
    }

    // === commands ===

    /// Applies a command, now or when the room is claimed; or refuses it.
    pub(crate) fn submit(&self, room: &RoomId, command: Command) {
        let mut stripe = self.stripe(room);
        match stripe.entry(room.clone()) {
            Entry::Occupied(mut slot) => match slot.get_mut() {
                Slot::Claiming { waiting, seen } if waiting.len() < CLAIM_WAITING_MAX => {
                    *seen = command.seen.max(*seen);
                    waiting.push(command);
                }
                Slot::Claiming { .. } => self.refuse(room, &command, Refusal::Overloaded),
                Slot::Open(open) if command.seen > open.room.fence() => {
                    // Somebody has seen a later owner: this one was superseded and
                    // did not know.
                    self.give_up(room, open, Input::Superseded, "superseded");
                    slot.remove();
                    drop(stripe);
                    self.submit(room, command);
                }
                Slot::Open(open) => {
                    if self.apply_to(room, open, command.input) {
                        slot.remove();
                    }
                }
            },
            Entry::Vacant(slot) => match &command.input {
                Input::Join(_)
                | Input::Rejoin(_)
                | Input::Publish(room::Publish { origin: room::Origin::Call { .. }, .. })
                | Input::Add { .. }
                    if self.is_mine(room, command.redirected) =>
                {
                    let seen = command.seen;
                    match self.0.claims.try_send(room.clone()) {
                        Ok(()) => {
                            slot.insert(Slot::Claiming { waiting: vec![command], seen });
                        }
                        Err(_) => self.refuse(room, &command, Refusal::Overloaded),
                    }
                }
                Input::Leave { link, request_id, .. } => {
                    self.reply(*link, room, *request_id, reply::Result::Gone(pb::Gone {}));
                }
                _ => self.refuse(room, &command, Refusal::Moved),
            },
        }
    }

    /// True if a room that nobody here serves should be claimed by this shard.
    fn is_mine(&self, room: &RoomId, redirected: bool) -> bool {
        if self.0.draining.load(Ordering::Relaxed) {
            return false;
        }
        redirected || self.elsewhere(room).is_none()
    }

    /// Who should serve a room, if not this shard.
    pub(crate) fn elsewhere(&self, room: &RoomId) -> Option<Shard> {
        let view = self.0.view.borrow();
        let is_me = |shard: &&Shard| shard.id == self.0.me.id;
        let unfit = self.0.store_unreachable.load(Ordering::Relaxed)
            || self.0.draining.load(Ordering::Relaxed);
        let best = view.ranked(room).into_iter().find(|shard| !(unfit && is_me(shard)));
        best.filter(|shard| !is_me(shard)).cloned()
    }

    /// Takes no more rooms and gives up those that it has: the process is going to
    /// end.
    pub(crate) fn hand_over(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        self.for_each(|id, open| self.give_up(id, open, Input::Release, "shutdown"));
    }

    fn refuse(&self, room: &RoomId, command: &Command, refusal: Refusal) {
        let (link, request_id, kind) = match &command.input {
            Input::Join(join) => (join.link, join.request_id, "join"),
            Input::Rejoin(rejoin) => (rejoin.link, rejoin.request_id, "rejoin"),
            Input::Publish(publish) => match publish.origin {
                room::Origin::Session { link, request_id, .. } => (link, request_id, "publish"),
                room::Origin::Call { ticket, .. } => return self.answer(ticket, Err(refusal)),
            },
            _ => return,
        };
        self.0.metrics.command(kind, translate::label(refusal));
        let shard = match refusal {
            Refusal::Moved => self
                .elsewhere(room)
                .map(|shard| pb::ShardAddress { shard_id: shard.id.to_string(), addr: shard.addr }),
            _ => None,
        };
        // Without anybody to send it to, the connector has to try again.
        let reason = match refusal {
            Refusal::Moved if shard.is_none() && !matches!(command.input, Input::Publish(_)) => {
                RefusedReason::Unavailable
            }
            other => translate::reason(other),
        };
        let refused = pb::Refused { reason: reason.into(), message: refusal.to_string(), shard };
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
        if let Some(outbox) = self.0.links.read().expect("links").get(&link) {
            let reply = pb::Reply { request_id, room: room.to_string(), result: Some(result) };
            outbox.push(event::Event::Reply(reply), 0);
        }
    }

    /// Applies an input to a room that is open; else does nothing.
    pub(crate) fn apply_open(&self, room: &RoomId, input: Input) {
        self.with_slot(room, |slot| match slot {
            Slot::Open(open) => self.apply_to(room, open, input),
            Slot::Claiming { .. } => false,
        });
    }

    /// Calls `change` with the room's slot, if there is one, and removes it if
    /// that says so.
    pub(crate) fn with_slot(&self, room: &RoomId, change: impl FnOnce(&mut Slot) -> bool) {
        let mut stripe = self.stripe(room);
        if let Some(slot) = stripe.get_mut(room)
            && change(slot)
        {
            stripe.remove(room);
        }
    }

    /// Reads something of a room that is open.
    pub(crate) fn read<T>(&self, room: &RoomId, read: impl FnOnce(&Room) -> T) -> Option<T> {
        match self.stripe(room).get(room)? {
            Slot::Open(open) => Some(read(&open.room)),
            Slot::Claiming { .. } => None,
        }
    }

    /// Calls `visit` for every open room, one stripe at a time.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&RoomId, &mut Open) -> bool) {
        for stripe in &self.0.stripes {
            let mut stripe = stripe.lock().expect("a room panicked");
            stripe.retain(|id, slot| match slot {
                Slot::Open(open) => !visit(id, open),
                Slot::Claiming { .. } => true,
            });
        }
    }

    /// Puts a claimed room in its slot and lets in whoever waits.
    pub(crate) fn open(&self, id: &RoomId, room: Room) {
        let mut stripe = self.stripe(id);
        let waiting = match stripe.remove(id) {
            Some(Slot::Claiming { waiting, .. }) => waiting,
            Some(open @ Slot::Open(_)) => {
                stripe.insert(id.clone(), open);
                return;
            }
            None => return,
        };
        self.0.metrics.rooms.inc();
        let mut open = Box::new(Open { room, empty_since: None, dirty: false, members: 0 });
        for command in waiting {
            if self.apply_to(id, &mut open, command.input) {
                return;
            }
        }
        stripe.insert(id.clone(), Slot::Open(open));
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

    // === effects ===

    /// Applies an input under the stripe's lock. True if the room has to be dropped.
    pub(crate) fn apply_to(&self, id: &RoomId, open: &mut Open, input: Input) -> bool {
        let mut effects = Vec::new();
        open.room.apply(input, &mut effects);
        let closed = self.carry_out(id, open, effects);
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

    fn carry_out(&self, id: &RoomId, open: &mut Open, effects: Vec<Effect>) -> bool {
        let fence = open.room.fence();
        let links = self.0.links.read().expect("links");
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
            // Nobody waits for it: a leave that the shard made itself.
            Event::Reply { request_id: 0, .. } => return,
            Event::Reply { outcome, .. } => self.count(outcome),
            Event::Moved => {
                let shard = self.elsewhere(id).map(|shard| pb::ShardAddress {
                    shard_id: shard.id.to_string(),
                    addr: shard.addr,
                });
                let moved = pb::Moved { room: id.to_string(), shard };
                return outbox.push(event::Event::Moved(moved), digest_delta);
            }
            _ => {}
        }
        outbox.push(translate::event(id, fence, event), digest_delta);
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
                    room::AppendResult::Unknown => Some("unknown_outcome"),
                    _ => None,
                };
                match lost {
                    Some(reason) => self.give_up(id, open, Input::Appended(result), reason),
                    None => self.apply_to(id, open, Input::Appended(result)),
                }
            }
            _ => false,
        });
    }

    // === back ends ===

    /// Opens a ticket for a back end's message.
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

    fn stripe(&self, room: &RoomId) -> MutexGuard<'_, HashMap<RoomId, Slot>> {
        let hash = self.0.hasher.hash_one(room);
        let at = usize::try_from(hash % STRIPES as u64).expect("less than 64");
        self.0.stripes[at].lock().expect("a room panicked")
    }
}
