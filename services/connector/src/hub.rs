//! All rooms that sessions here are in, and all sessions.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use chassis::{Clock, Rng, World};
use frontend::CloseReason;
use model::RoomId;
use tokio::sync::Notify;
use wire::RawId;

use crate::{
    deadlines::Deadlines,
    extended::LEFT,
    handler::{self, Place, Seat, Session},
    listing::Listings,
    metrics::Metrics,
    pending::{Ask, Joining, Pending},
    room::{Detached, Room, Route, State},
};

/// A handle; clones share the rooms.
#[derive(Clone, Debug)]
pub(crate) struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    world: World,
    metrics: Metrics,
    stripes: Box<[Stripe]>,
    hasher: RandomState,
    sessions: Mutex<BTreeMap<u64, Arc<Session>>>,
    deadlines: Deadlines,
    /// Rooms that have no link, for the router.
    wanted: Mutex<BTreeMap<RoomId, Arc<Room>>>,
    routing: Notify,
    next_request: AtomicU64,
    /// Drawn at start; makes client message ids unique over restarts.
    incarnation: u64,
    draining: AtomicBool,
    drained: AtomicBool,
    answer_bytes_max: usize,
    listings: Listings,
}

type Stripe = Mutex<HashMap<RoomId, Arc<Room>>>;

const STRIPES: usize = 64;

impl Hub {
    /// `outbox_max` are the bytes that may wait for one client.
    pub(crate) fn new(
        world: World,
        metrics: Metrics,
        deadlines: Deadlines,
        outbox_max: usize,
    ) -> Self {
        // The first byte makes sure that no id made from it is text.
        let incarnation = world.rng.u64() | (0xff << 56);
        Self(Arc::new(Inner {
            world,
            metrics,
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            sessions: Mutex::default(),
            deadlines,
            wanted: Mutex::default(),
            routing: Notify::new(),
            next_request: AtomicU64::new(1),
            incarnation,
            draining: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            answer_bytes_max: outbox_max / 2,
            listings: Listings::default(),
        }))
    }

    pub(crate) fn clock(&self) -> Clock {
        self.0.world.clock
    }

    pub(crate) fn rng(&self) -> &Rng {
        &self.0.world.rng
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Bytes that one request may bring its client: half of what may wait for it, as
    /// pushes go on meanwhile.
    pub(crate) fn answer_bytes_max(&self) -> usize {
        self.0.answer_bytes_max
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.0.incarnation
    }

    pub(crate) fn deadlines(&self) -> &Deadlines {
        &self.0.deadlines
    }

    pub(crate) fn listings(&self) -> &Listings {
        &self.0.listings
    }

    /// A number that no other command of this process has.
    pub(crate) fn next_request(&self) -> u64 {
        self.0.next_request.fetch_add(1, Ordering::Relaxed)
    }

    // === sessions ===

    pub(crate) fn opened(&self, session: &Arc<Session>) {
        let mut sessions = self.0.sessions.lock().expect("sessions");
        if self.0.drained.load(Ordering::Relaxed) {
            drop(sessions);
            return self.send_away(session);
        }
        sessions.insert(session.id(), Arc::clone(session));
    }

    pub(crate) fn closed(&self, session: &Arc<Session>) {
        self.0.sessions.lock().expect("sessions").remove(&session.id());
        let place = session.state().place();
        handler::set_place(session, Place::Outside);
        if let Some(seat) = place.seat() {
            let is_sent_away = matches!(
                session.close_reason(),
                Some(CloseReason::Draining | CloseReason::SentAway)
            );
            let how = if is_sent_away { Ask::Away } else { Ask::Drop };
            self.remove(&seat.room, session, None, how);
        }
    }

    /// Calls `visit` with the table of sessions, ordered by id.
    pub(crate) fn with_sessions<T>(
        &self,
        visit: impl FnOnce(&BTreeMap<u64, Arc<Session>>) -> T,
    ) -> T {
        visit(&self.0.sessions.lock().expect("sessions"))
    }

    /// Gates are told to send nobody any more.
    pub(crate) fn begin_drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        self.0.metrics.draining.set(1);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// All have been sent away: whoever comes late is, too. Who came before is among the
    /// sessions from then on.
    pub(crate) fn end_drain(&self) {
        let _sessions = self.0.sessions.lock().expect("sessions");
        self.0.drained.store(true, Ordering::Relaxed);
    }

    // === rooms ===

    /// The room of this name, if sessions here are in it.
    pub(crate) fn room(&self, id: &RoomId) -> Option<Arc<Room>> {
        self.stripe(id).get(id).cloned()
    }

    /// Calls `change` with the room, made if need be, and keeps the hub tidy.
    fn with_room(&self, id: &RoomId, change: impl FnOnce(&Arc<Room>, &mut State)) {
        loop {
            let now = self.clock().now();
            let room = Arc::clone(self.stripe(id).entry(id.clone()).or_insert_with(|| {
                self.0.metrics.rooms.inc();
                Arc::new(Room::new(id.clone(), now))
            }));
            let mut state = room.state();
            if state.dead {
                continue;
            }
            change(&room, &mut state);
            drop(state);
            return self.tidy(&room);
        }
    }

    /// Forgets the room if nothing is left of it.
    pub(crate) fn tidy(&self, room: &Arc<Room>) {
        if !room.state().is_idle() {
            return;
        }
        let mut stripe = self.stripe(&room.id);
        let mut state = room.state();
        if state.is_idle() && !state.dead {
            state.dead = true;
            if let Some(link) = state.link() {
                link.forget(&room.id);
            }
            stripe.remove(&room.id);
            self.0.metrics.rooms.dec();
        }
    }

    fn stripe(&self, id: &RoomId) -> std::sync::MutexGuard<'_, HashMap<RoomId, Arc<Room>>> {
        let at =
            usize::try_from(self.0.hasher.hash_one(id) % STRIPES as u64).expect("less than 64");
        self.0.stripes[at].lock().expect("a room panicked")
    }

    // === what clients ask ===

    /// Asks the room's shard to let a session in.
    pub(crate) fn enter(
        &self,
        session: &Arc<Session>,
        reply_to: Option<RawId>,
        id: &RoomId,
        joining: Joining,
    ) {
        self.with_room(id, |room, state| {
            let (name, who) = (joining.name.clone(), joining.who);
            handler::set_place(
                session,
                Place::Entering(Seat { room: Arc::clone(room), name, who }),
            );
            self.ask(room, state, session, reply_to, Ask::Join(Box::new(joining)));
        });
        // It may have closed in the meantime, before it had a place to leave.
        if session.is_closed() {
            self.closed(session);
        }
    }

    /// Asks a room's shard something on behalf of one who is in, or is about to be.
    pub(crate) fn ask_inside(
        &self,
        session: &Arc<Session>,
        reply_to: Option<RawId>,
        room: &Arc<Room>,
        ask: Ask,
    ) {
        let mut state = room.state();
        if state.dead {
            // It was about to be in when the call came, and was refused meanwhile.
            drop(state);
            self.0.metrics.answered(ask.route().unwrap_or("other"), 500);
            if let Some(id) = reply_to {
                session.respond(&id, br#"{"code":500}"#);
            }
            return;
        }
        self.ask(room, &mut state, session, reply_to, ask);
    }

    /// Makes a client message id that no other message has; as text, if clients are
    /// to see it.
    pub(crate) fn make_cmid(&self, as_text: bool) -> Bytes {
        let mut cmid = BytesMut::with_capacity(16);
        cmid.put_u64(self.0.incarnation);
        cmid.put_u64(self.next_request());
        if as_text { wire::to_hex(&cmid).into() } else { cmid.freeze() }
    }

    /// True if this process made the client message id for a plain client.
    pub(crate) fn made(&self, cmid: &[u8]) -> bool {
        cmid.starts_with(&self.0.incarnation.to_be_bytes())
    }

    /// Takes a session out of its room, and answers when nothing of it can come any
    /// more.
    pub(crate) fn leave(&self, session: &Arc<Session>, reply_to: Option<RawId>, room: &Arc<Room>) {
        self.remove(room, session, reply_to, Ask::Leave);
    }

    fn remove(&self, room: &Arc<Room>, session: &Arc<Session>, reply_to: Option<RawId>, how: Ask) {
        self.with_room(&room.id, |room, state| {
            let was_member = state.remove_member(session.id()).is_some();
            if was_member {
                self.0.metrics.members.dec();
            }
            // A join that was not sent is not sent; one that was is undone when it
            // is answered (see `inbound`).
            let id = session.id();
            state
                .pending
                .retain(|p| p.sent || p.session.id() != id || !matches!(p.ask, Ask::Join(_)));
            if was_member && !matches!(state.route, Route::Wanted { .. }) {
                state.leaving.insert(id);
                self.ask(room, state, session, reply_to, how);
            } else if matches!(how, Ask::Leave) {
                self.0.metrics.answered("leave", 200);
                if let Some(id) = reply_to {
                    session.respond(&id, LEFT);
                }
            }
        });
    }

    /// Tells the shard that a session is gone.
    pub(crate) fn send_leave(&self, room: &Arc<Room>, state: &mut State, session: &Arc<Session>) {
        state.leaving.insert(session.id());
        self.ask(room, state, session, None, Ask::Drop);
    }

    fn ask(
        &self,
        room: &Arc<Room>,
        state: &mut State,
        session: &Arc<Session>,
        reply_to: Option<RawId>,
        ask: Ask,
    ) {
        let request_id = self.next_request();
        let started = self.clock().now();
        if ask.route().is_some() {
            session.state().waiting.fetch_add(1, Ordering::Relaxed);
            session.state().unanswered.fetch_add(1, Ordering::Relaxed);
            self.0.deadlines.add(started, room, request_id);
        }
        let session = Arc::clone(session);
        state.pending.push_back(Pending {
            request_id,
            session,
            reply_to,
            ask,
            sent: false,
            repeated: false,
            overtaken: false,
            abandoned: false,
            started,
        });
        match state.route {
            Route::Wanted { .. } => self.want(room),
            Route::Rejoining { .. } => {}
            Route::Live { .. } => state.send_waiting(&room.id),
        }
    }

    // === routing ===

    /// Takes a room off its link; a new one is not looked for before `wait` is over.
    pub(crate) fn detach(&self, state: &mut State, wait: Duration, why: Detached) {
        for left in state.detach(self.clock().now(), wait, why) {
            self.answer(&left, 200, LEFT);
        }
    }

    /// Asks the router to find a link for a room.
    pub(crate) fn want(&self, room: &Arc<Room>) {
        self.0.wanted.lock().expect("wanted").insert(room.id.clone(), Arc::clone(room));
        self.0.routing.notify_one();
    }

    /// Wakes the router: a link has come up, or the view has changed.
    pub(crate) fn reroute(&self) {
        self.0.routing.notify_one();
    }

    /// Takes the rooms without a link, ordered by name.
    pub(crate) fn take_wanted(&self) -> BTreeMap<RoomId, Arc<Room>> {
        std::mem::take(&mut *self.0.wanted.lock().expect("wanted"))
    }

    /// Puts rooms back for which there is no link yet.
    pub(crate) fn still_wanted(&self, rooms: Vec<Arc<Room>>) {
        let mut wanted = self.0.wanted.lock().expect("wanted");
        for room in rooms {
            // A room that was forgotten gives way to its successor.
            wanted.entry(room.id.clone()).or_insert(room);
        }
    }

    /// Fires when a room wants a link, or a link may have come up.
    pub(crate) async fn routing(&self) {
        self.0.routing.notified().await;
    }

    /// Looks at a room again when names that nobody confirmed have had their time.
    pub(crate) fn settle_later(&self, room: &Arc<Room>) {
        self.0.deadlines.settle(self.clock().now(), room);
    }

    // === answers ===

    /// Answers a request for the first time, at once.
    pub(crate) fn answer(&self, pending: &Pending, code: u16, body: &[u8]) {
        if let Some(id) = self.count_answer(pending, code) {
            pending.session.respond(&id, body);
            pending.session.state().unanswered.fetch_sub(1, Ordering::Release);
        }
    }

    /// Counts the one answer to a request. Returns what is to be answered, if
    /// anything is; once it is written, it has to be counted as no more unanswered.
    pub(crate) fn count_answer(&self, pending: &Pending, code: u16) -> Option<RawId> {
        let route = pending.ask.route().filter(|_| !pending.abandoned)?;
        pending.session.state().waiting.fetch_sub(1, Ordering::Relaxed);
        let metrics = &self.0.metrics;
        metrics.answered(route, code);
        let seconds = (self.clock().now() - pending.started).as_secs_f64();
        match pending.ask {
            Ask::Join(_) => metrics.enter_seconds.observe(seconds),
            Ask::Publish(_) => metrics.send_seconds.observe(seconds),
            Ask::History(_) | Ask::Leave | Ask::Drop | Ask::Away => {}
        }
        if pending.reply_to.is_none() {
            pending.session.state().unanswered.fetch_sub(1, Ordering::Release);
        }
        pending.reply_to
    }
}

/// `{"code":…,"error":"…"}`.
pub(crate) fn error_body(code: u16, error: &str) -> Bytes {
    wire::to_json(&serde_json::json!({ "code": code, "error": error })).into()
}
