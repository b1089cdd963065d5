//! Every room that this shard serves, behind locks: who gets in where, and when.
//!
//! Lock order: stripe, then links, then outbox. Effects are carried out under the
//! stripe's lock, so that every link sees a room's events in the order in which they
//! came to be.

mod claiming;
mod commands;
mod effects;
mod left;
mod list;
mod lost;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use chassis::{App, Clock, Tasks};
use cluster::{Shard, View};
use model::{Fence, LinkId, Position, RoomId, Seq};
use room::{Command, Input, Limits, Line, Refusal, Room};
use rpc::chat::v1 as pb;
use store::Store;
use tokio::{
    sync::{Notify, Semaphore, mpsc, oneshot, watch},
    time::Instant,
};

pub(crate) use self::lost::Claimer;
use self::{claiming::Claimed, left::Left, list::Listed, lost::Lost};
use crate::{
    content::ContentRules, history, metrics::Metrics, outbox::Outbox, read::REPLAYS_AT_ONCE,
};

/// A handle; clones share the rooms.
#[derive(Clone, Debug)]
pub(crate) struct Rooms(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) me: Shard,
    pub(crate) limits: Limits,
    pub(crate) content: ContentRules,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    /// The rooms' clock starts here.
    origin: Instant,
    /// For what has to be read of the store before a command can be applied.
    tasks: Tasks,
    /// A room's stripe never changes, so one lock orders all that happens to it.
    stripes: Box<[Mutex<Stripe>]>,
    hasher: RandomState,
    links: RwLock<HashMap<LinkId, Arc<Outbox>>>,
    next_link: AtomicU64,
    tickets: Mutex<HashMap<u64, oneshot::Sender<Stored>>>,
    next_ticket: AtomicU64,
    pub(crate) claims: mpsc::Sender<RoomId>,
    /// What was listed last.
    listed: Mutex<Listed>,
    /// Rooms in which something waits to be appended.
    dirty: Mutex<Vec<RoomId>>,
    pub(crate) append: Notify,
    /// Rooms in which somebody waits for a read of the head.
    unread: Mutex<Vec<RoomId>>,
    pub(crate) read_heads: Notify,
    pub(crate) replays: Semaphore,
    pub(crate) pages: Semaphore,
    /// When the store answered last, in milliseconds of the rooms' clock.
    answered_ms: AtomicU64,
    /// Rooms that other shards have claimed.
    lost: Lost,
    /// Shards that have left the view lately.
    left: Left,
    /// Rooms that this shard has claimed lately.
    claimed: Claimed,
    /// True once the process was asked to stop.
    draining: AtomicBool,
}

/// What came of what a back end asked for.
pub(crate) type Stored = Result<Position, Refusal>;

/// The rooms behind one lock.
type Stripe = HashMap<RoomId, Slot>;

#[derive(Debug)]
pub(crate) enum Slot {
    /// The room has to be claimed, or its log is being let go before that; these wait. So
    /// many of them, `covered`, were there when the claim began; none, if it has not.
    Claiming { waiting: Vec<Command>, seen: Fence, covered: Option<usize> },
    /// The room is served.
    Open(Box<Open>),
}

#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) room: Room,
    line: Line,
    /// Reads of the log that are under way, and the entries whose content was taken
    /// away meanwhile: what was read may still have it.
    reads: usize,
    redacted: HashSet<Seq>,
    /// Since when it is empty.
    pub(crate) empty_since: Option<Instant>,
    dirty: bool,
    members: usize,
}

impl Open {
    fn new(room: Room) -> Self {
        Self {
            room,
            line: Line::default(),
            reads: 0,
            redacted: HashSet::new(),
            empty_since: None,
            dirty: false,
            members: 0,
        }
    }

    /// A read of the log has ended: takes out of what it found what was taken away
    /// since it began.
    fn end_read<'a>(&mut self, found: impl IntoIterator<Item = &'a mut room::Entry>) {
        for entry in found.into_iter().filter(|entry| self.redacted.contains(&entry.seq)) {
            (entry.content, entry.redacted) = ("".into(), true);
        }
        self.reads -= 1;
        if self.reads == 0 {
            self.redacted.clear();
        }
    }
}

/// Silence of the store after which rooms are better served elsewhere, in milliseconds.
const STORE_SILENCE_MAX_MS: u64 = 3000;
const STRIPES: usize = 64;
/// Commands that may wait for one claim; further ones are refused.
const CLAIM_WAITING_MAX: usize = 16 * 1024;

impl Rooms {
    pub(crate) fn new(
        me: Shard,
        limits: Limits,
        content: ContentRules,
        store: Arc<dyn Store>,
        view: watch::Receiver<View>,
        metrics: Metrics,
        app: &App,
    ) -> (Self, mpsc::Receiver<RoomId>) {
        let (claims, to_claim) = mpsc::channel(CLAIM_WAITING_MAX);
        let inner = Inner {
            me,
            limits,
            content,
            store,
            view,
            metrics,
            clock: app.world().clock,
            origin: app.world().clock.now(),
            tasks: app.tasks().clone(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            links: RwLock::default(),
            next_link: AtomicU64::new(1),
            tickets: Mutex::default(),
            next_ticket: AtomicU64::new(1),
            claims,
            listed: Mutex::default(),
            dirty: Mutex::default(),
            append: Notify::new(),
            unread: Mutex::default(),
            read_heads: Notify::new(),
            replays: Semaphore::new(REPLAYS_AT_ONCE),
            pages: Semaphore::new(history::AT_ONCE),
            answered_ms: AtomicU64::new(0),
            lost: Lost::default(),
            left: Left::default(),
            claimed: Claimed::default(),
            draining: AtomicBool::new(false),
        };
        (Self(Arc::new(inner)), to_claim)
    }

    /// Milliseconds of the rooms' clock.
    pub(crate) fn now_ms(&self) -> u64 {
        let since = self.0.clock.now() - self.0.origin;
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// The store has answered.
    pub(crate) fn store_answered(&self) {
        self.0.answered_ms.fetch_max(self.now_ms(), Ordering::Relaxed);
    }

    /// True while the store has not answered for so long that others should serve. It
    /// is asked each second, if it outlives the process.
    pub(crate) fn is_store_unreachable(&self) -> bool {
        let silence_ms = self.now_ms().saturating_sub(self.0.answered_ms.load(Ordering::Relaxed));
        silence_ms > STORE_SILENCE_MAX_MS && !self.0.store.is_volatile()
    }

    // === links ===

    /// Opens a link, ending any that its connector had.
    pub(crate) fn open_link(&self, connector: model::ConnectorId, bytes_max: usize) -> Arc<Outbox> {
        let link = LinkId(self.0.next_link.fetch_add(1, Ordering::Relaxed));
        let outbox = Outbox::new(link, connector, bytes_max, self.0.metrics.clone());
        let mut links = self.0.links.write().expect("links");
        let is_old = |old: &&Arc<Outbox>| old.connector == outbox.connector;
        let olds: Vec<_> = links.values().filter(is_old).cloned().collect();
        links.insert(link, Arc::clone(&outbox));
        drop(links);
        self.0.metrics.links.inc();
        for old in olds {
            old.end(
                "replaced",
                Some(tonic::Status::aborted("the connector has opened another link")),
            );
        }
        outbox
    }

    /// Takes a link out of every room that it has members in.
    pub(crate) fn close_link(&self, outbox: &Outbox) {
        let (link, now_ms) = (outbox.link, self.now_ms());
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

    // === places ===

    /// True if a room that nobody here serves should be claimed by this shard for a
    /// command: if nobody else should serve it, or if it was sent here by somebody who
    /// did know of all claims.
    fn is_mine(&self, room: &RoomId, command: &Command) -> bool {
        if self.0.draining.load(Ordering::Relaxed) {
            return false;
        }
        match self.place(room, command.seen) {
            None => true,
            Some((_, claim)) => command.redirected && claim.is_none(),
        }
    }

    /// Who should serve a room, if not this shard, for an asker who has seen that much.
    pub(crate) fn elsewhere(&self, room: &RoomId, seen: Fence) -> Option<Shard> {
        self.place(room, seen).map(|(shard, _)| shard)
    }

    /// The same, with the claim that it is named for: somebody who has claimed the room
    /// lately, unless the asker has seen that claim. It has been there then, and would not
    /// ask here if it still could. Else whom the view names.
    fn place(&self, room: &RoomId, seen: Fence) -> Option<(Shard, Option<Fence>)> {
        let view = self.0.view.borrow();
        if let Some((shard, claim)) = self.0.lost.claimer(room, &view, seen, self.0.clock.now()) {
            return Some((shard, Some(claim)));
        }
        let is_me = |shard: &&Shard| shard.id == self.0.me.id;
        let unfit = self.is_store_unreachable() || self.0.draining.load(Ordering::Relaxed);
        let best = view.ranked(room).into_iter().find(|shard| !(unfit && is_me(shard)));
        best.filter(|shard| !is_me(shard)).map(|shard| (shard.clone(), None))
    }

    /// The address of whoever should serve a room, for a connector that has seen that much.
    fn address_of(&self, room: &RoomId, seen: Fence) -> Option<pb::ShardAddress> {
        let (Shard { id, addr }, claim) = self.place(room, seen)?;
        let claim = claim.map(Into::into);
        Some(pb::ShardAddress { shard_id: id.to_string(), addr, claim })
    }

    /// Takes no more rooms and gives up those that it has: the process is going to
    /// end. Whoever waits for a claim is sent away.
    pub(crate) fn hand_over(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        self.for_each(|id, open| self.give_up(id, open, Input::Release, "shutdown"));
        for stripe in &self.0.stripes {
            let mut stripe = stripe.lock().expect("a room panicked");
            let ids: Vec<RoomId> = stripe.keys().cloned().collect();
            for id in ids {
                self.submit_waiting(&mut stripe, &id);
            }
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
            self.remove(&mut stripe, room);
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
            let mut left = Vec::new();
            stripe.retain(|id, slot| {
                let Slot::Open(open) = slot else { return true };
                let closed = visit(id, open);
                if closed {
                    left.extend(open.line.clear().into_iter().map(|c| (id.clone(), c)));
                }
                !closed
            });
            for (id, command) in left {
                self.submit_to(&mut stripe, &id, command);
            }
        }
    }

    /// Forgets what is of no use any more.
    pub(crate) fn sweep(&self) {
        let now = self.0.clock.now();
        self.0.lost.sweep(now);
        self.0.left.sweep(now);
        self.0.claimed.sweep(now);
    }

    fn stripe(&self, room: &RoomId) -> MutexGuard<'_, Stripe> {
        let hash = self.0.hasher.hash_one(room);
        let at = usize::try_from(hash % STRIPES as u64).expect("less than 64");
        self.0.stripes[at].lock().expect("a room panicked")
    }
}
