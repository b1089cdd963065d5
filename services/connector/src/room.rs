//! One room as this connector knows it: who is in it here, what they were shown,
//! and what is asked for on their behalf.

mod moving;

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use cluster::Shard;
use model::{
    Epoch, Fence, Grant, Position, RoomDigest, RoomId, Seq, ShardId, UserName,
    planted::{self, Bug},
};
use rpc::chat::v1 as pb;
use tokio::time::Instant;

use crate::{
    handler::{Session, Who},
    link::Link,
    pending::{Ask, Pending},
    ring::Ring,
};

pub(crate) use moving::Detached;

/// A room that sessions here are in, or want to be in.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) id: RoomId,
    /// Held while pushes are written, so that two links never write one room at
    /// once. Before `state` in lock order.
    pub(crate) delivery: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    /// True once the hub has forgotten the room: look it up again.
    pub(crate) dead: bool,
    /// Who is in; copied on change only while somebody writes to them.
    pub(crate) members: Arc<Vec<Arc<Member>>>,
    pub(crate) by_name: HashMap<UserName, Arc<Member>>,
    /// Sessions that are gone here while the shard still has them.
    pub(crate) leaving: BTreeSet<u64>,
    pub(crate) route: Route,
    /// Whoever a shard named as the one that serves the room; outranks the view.
    pub(crate) redirect: Option<Shard>,
    /// Why it was last taken off a link.
    pub(crate) detached: Detached,
    /// The shard whose link was lost, until somebody has said who serves the room.
    pub(crate) lost: Option<ShardId>,
    /// The highest fence that was seen.
    pub(crate) seen: Fence,
    /// Up to where the members have the room.
    pub(crate) mark: Position,
    /// The highest mark of any member: what comes above it is for all of them.
    pub(crate) newest: Position,
    /// What the attached link said; none while no link has members here.
    pub(crate) digest: Option<RoomDigest>,
    /// The names that the attached link said are in.
    pub(crate) roster: HashSet<UserName>,
    /// Names that the members were shown and that no shard confirmed since the
    /// room moved; they have until `settles`.
    pub(crate) ghosts: BTreeSet<UserName>,
    pub(crate) settles: Option<Instant>,
    /// What was asked for and not answered, in order.
    pub(crate) pending: VecDeque<Pending>,
    /// True if some of it may be with a shard twice, so that its entry may come before
    /// its answer.
    pub(crate) asked_twice: bool,
    pub(crate) hole: Option<Hole>,
    /// The last entries; empty as long as no extended session was in.
    pub(crate) ring: Ring,
    pub(crate) keeps_ring: bool,
    /// The names that are in as JSON, and the digest of the roster that they are from.
    users: Option<(u64, Arc<[u8]>)>,
}

/// Where a room's commands go.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// Nowhere yet.
    Wanted {
        /// Since when.
        since: Instant,
        /// When to try (again).
        not_before: Instant,
    },
    /// Its members were announced over the link; nothing else is sent until that
    /// is answered.
    Rejoining { link: Arc<Link>, request_id: u64 },
    /// Over the link.
    Live { link: Arc<Link> },
}

/// A session that is in the room.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) session: Arc<Session>,
    pub(crate) name: UserName,
    pub(crate) who: Who,
    /// Where the room was when it came in: it gets what comes after.
    pub(crate) mark: Position,
    pub(crate) grant: Mutex<Grant>,
}

/// Entries that do not follow the last one, and the request for those between.
#[derive(Debug)]
pub(crate) struct Hole {
    pub(crate) request_id: u64,
    pub(crate) held: Vec<pb::Entry>,
    /// Where the link is known to be: entries up to there that the shard does not
    /// give are for nobody here.
    pub(crate) up_to: Seq,
}

/// How long a room whose owner moved may show names that did not come back: the
/// shard's grace period and a little more.
pub(crate) const SETTLE: Duration = Duration::from_secs(12);

impl Room {
    pub(crate) fn new(id: RoomId, now: Instant) -> Self {
        let state = State {
            dead: false,
            members: Arc::default(),
            by_name: HashMap::new(),
            leaving: BTreeSet::new(),
            route: Route::Wanted { since: now, not_before: now },
            detached: Detached::default(),
            redirect: None,
            lost: None,
            seen: Fence::default(),
            mark: Position { epoch: Epoch(0), seq: Seq(0) },
            newest: Position { epoch: Epoch(0), seq: Seq(0) },
            digest: None,
            roster: HashSet::new(),
            ghosts: BTreeSet::new(),
            settles: None,
            pending: VecDeque::new(),
            asked_twice: false,
            hole: None,
            ring: Ring::default(),
            keeps_ring: false,
            users: None,
        };
        Self { id, delivery: Mutex::new(()), state: Mutex::new(state) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a room panicked")
    }
}

impl State {
    /// True if the hub may forget the room.
    pub(crate) fn is_idle(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty() && self.leaving.is_empty()
    }

    /// The link that the room is attached to, or is being attached to.
    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        match &self.route {
            Route::Wanted { .. } => None,
            Route::Rejoining { link, .. } | Route::Live { link } => Some(link),
        }
    }

    /// True if events of `link` are for this room now.
    pub(crate) fn is_on(&self, link: &Arc<Link>) -> bool {
        self.link().is_some_and(|on| Arc::ptr_eq(on, link))
    }

    /// Sends what may be sent, if there is a link to send it over.
    pub(crate) fn send_waiting(&mut self, room: &RoomId) {
        let Route::Live { link } = &self.route else { return };
        let link = Arc::clone(link);
        // Who is in already wants no more than that: should the shard give the room up,
        // it must not claim it back for what was on its way to it.
        let is_in = self.digest.is_some();
        let redirected = !is_in && (self.redirect.is_some() || link.is_fallback(room));
        let seen = self.seen;
        let joining = self.waits_for_join();
        for pending in self.pending.iter_mut().filter(|pending| !pending.sent) {
            let is_early = matches!(pending.ask, Ask::Publish(_) | Ask::History(_));
            if is_early && joining.contains(&pending.session.id()) {
                continue;
            }
            pending.sent = true;
            if let Ask::Join(joining) = &mut pending.ask {
                let same_log = joining.resume.filter(|at| at.epoch == self.mark.epoch);
                let is_whole = self.digest.is_some() && self.hole.is_none() && joining.may_hold;
                let held = same_log.filter(|_| is_whole);
                joining.held_after = held.and_then(|_| self.ring.held_after(self.mark));
                // For others the order is that of the original, which shards know.
                let comes_back = joining.resume.is_some();
                joining.knows_roster = comes_back && self.digest.is_some() && joining.may_hold;
            }
            link.upstream.push(pending.request_id, pending.command(room, seen, redirected));
        }
    }

    /// Everything that was not answered is sent (again): its cmid or its session
    /// says what it is a repetition of.
    pub(crate) fn send_again(&mut self) {
        self.pending.iter_mut().for_each(|pending| pending.sent = false);
        if planted::is(Bug::RepeatsOutOfOrder) {
            self.pending.make_contiguous().reverse();
        }
    }

    /// A command was refused and changed nothing. False if nobody waits for it any more.
    pub(crate) fn unsend(&mut self, request_id: u64) -> bool {
        let asked = self.pending.iter_mut().find(|pending| pending.request_id == request_id);
        asked.map(|pending| pending.sent = false).is_some()
    }

    /// True if somebody waits to be let in.
    pub(crate) fn has_join(&self) -> bool {
        self.pending.iter().any(|pending| matches!(pending.ask, Ask::Join(_)))
    }

    /// The sessions that wait to be let in and have asked for more. That is not sent until
    /// they are in: were the link lost, nobody could tell which of it was stored, and it
    /// might be said again in another order (contract, rule 15).
    fn waits_for_join(&self) -> HashSet<u64> {
        let waits = |p: &Pending| !p.sent && matches!(p.ask, Ask::Publish(_) | Ask::History(_));
        if !self.pending.iter().any(waits) {
            return HashSet::new();
        }
        let joins = self.pending.iter().filter(|p| matches!(p.ask, Ask::Join(_)));
        joins.map(|p| p.session.id()).collect()
    }

    /// A message may be stored that will be sent again.
    pub(crate) fn may_be_stored(&mut self, request_id: u64) {
        if let Some(pending) = self.pending.iter_mut().find(|p| p.request_id == request_id) {
            pending.repeated = true;
            self.asked_twice = true;
        }
    }

    /// Takes the messages that were sent, and are not stored though one is that their
    /// session said later: they were refused, and the refusal was lost. `stored` are the
    /// sessions and requests whose messages are, beside those that were answered before.
    /// To send them again might store them now, in the wrong order (contract, rule 15).
    pub(crate) fn take_overtaken(&mut self, stored: &[(u64, u64)]) -> VecDeque<Pending> {
        for &(session, request) in stored {
            self.overtakes(session, request);
        }
        let (overtaken, rest) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| pending.overtaken);
        self.pending = rest;
        overtaken
    }

    /// A message is stored: what its session said before, and nobody has answered, was
    /// refused, or is still looked for.
    pub(crate) fn overtakes(&mut self, session: u64, request: u64) {
        // They are in the order in which they were asked.
        let earlier = self.pending.iter_mut().take_while(|p| p.request_id < request);
        for pending in earlier.filter(|p| p.session.id() == session && (p.sent || p.repeated)) {
            pending.overtaken |= matches!(pending.ask, Ask::Publish(_));
        }
    }

    /// True if a session is in, or wants to be.
    pub(crate) fn wants(&self, session_id: u64) -> bool {
        let joins = |p: &Pending| matches!(p.ask, Ask::Join(_)) && !p.abandoned;
        self.members.iter().any(|member| member.session.id() == session_id)
            || self.pending.iter().any(|p| p.session.id() == session_id && joins(p))
    }

    /// Takes the messages of which nobody knows whether an owner stored them whose
    /// log may have gone with it: to send them again might say them twice.
    pub(crate) fn give_up_unknown(&mut self) -> VecDeque<Pending> {
        let (unknown, rest) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|p| (p.sent || p.repeated) && matches!(p.ask, Ask::Publish(_)));
        self.pending = rest;
        unknown
    }

    /// All names that members are shown, and that of somebody who comes in, as JSON:
    /// made once for all who come back while nobody else comes or goes.
    pub(crate) fn users(&mut self, newcomer: &UserName) -> Arc<[u8]> {
        let digest = self.digest.map(|digest| digest.roster);
        let is_whole = self.ghosts.is_empty() && self.roster.contains(newcomer);
        let digest = digest.filter(|_| is_whole);
        if let Some((known, users)) = &self.users
            && Some(*known) == digest
        {
            return Arc::clone(users);
        }
        let all = self.roster.iter().chain(&self.ghosts).chain([newcomer]);
        let all: BTreeSet<&str> = all.map(UserName::as_str).collect();
        let users: Arc<[u8]> = wire::to_json(&all).into();
        self.users = digest.map(|digest| (digest, Arc::clone(&users)));
        users
    }

    pub(crate) fn add_member(&mut self, member: Arc<Member>) {
        self.newest = member.mark;
        self.keeps_ring |= member.session.state().is_extended();
        self.by_name.insert(member.name.clone(), Arc::clone(&member));
        Arc::make_mut(&mut self.members).push(member);
    }

    /// All that comes from now on is of another log, and for everybody who is in.
    pub(crate) fn begin_anew(&mut self, epoch: Epoch) {
        let start = Position { epoch, seq: Seq(0) };
        (self.mark, self.newest) = (start, start);
        self.ring.clear();
        let again = |member: &Arc<Member>| {
            Arc::new(Member {
                session: Arc::clone(&member.session),
                name: member.name.clone(),
                who: member.who,
                mark: start,
                grant: Mutex::new(*member.grant.lock().expect("a grant")),
            })
        };
        self.members = Arc::new(self.members.iter().map(again).collect());
        self.by_name =
            self.members.iter().map(|member| (member.name.clone(), Arc::clone(member))).collect();
    }

    /// True if the entry with this number came after the member did.
    pub(crate) fn is_for(&self, member: &Member, seq: Seq) -> bool {
        member.mark.epoch != self.mark.epoch || member.mark.seq < seq
    }

    pub(crate) fn remove_member(&mut self, session_id: u64) -> Option<Arc<Member>> {
        let at = self.members.iter().position(|member| member.session.id() == session_id)?;
        let member = Arc::make_mut(&mut self.members).swap_remove(at);
        if self.by_name.get(&member.name).is_some_and(|named| named.session.id() == session_id) {
            self.by_name.remove(&member.name);
        }
        Some(member)
    }

    /// Changes the digest, here and in the link's sum.
    pub(crate) fn change_digest(&mut self, change: impl FnOnce(&mut RoomDigest)) {
        let Some(digest) = &mut self.digest else { return };
        let before = digest.value();
        change(digest);
        let delta = digest.value().wrapping_sub(before);
        if let Route::Live { link } | Route::Rejoining { link, .. } = &self.route {
            link.add_to_digest(delta);
        }
    }

    /// Starts to keep a digest: this link has members here from now on.
    pub(crate) fn attach(&mut self, room: &RoomId, position: Position) {
        let mut digest = RoomDigest::new(room, position.epoch, position.seq);
        for name in &self.roster {
            digest.add(name);
        }
        if let (Some(link), Some(old)) = (self.link(), self.digest) {
            link.add_to_digest(old.value().wrapping_neg());
        }
        if let Some(link) = self.link() {
            link.add_to_digest(digest.value());
        }
        self.digest = Some(digest);
        self.mark = position;
    }
}
