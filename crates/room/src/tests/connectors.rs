//! What connectors know, from nothing but the events that they are sent.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use model::{Epoch, Identity, LinkId, RoomDigest, RoomId, Seq, SessionId, UserName};

use crate::{Effect, Entry, Event, Kind, Newcomer, Outcome, Rejoin, Room};

/// All links that are up, and every request ever made.
pub(super) struct Connectors {
    room: RoomId,
    links: BTreeMap<LinkId, Known>,
    asked: HashMap<u64, Asked>,
    answered: HashSet<u64>,
    /// Links that are gone, and nothing may be sent to.
    lost: HashSet<LinkId>,
    /// Links that their connector has replaced while the shard still had them.
    replaced: HashSet<LinkId>,
}

/// What is known at the end of one link.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Who is in over this link.
    pub(super) sessions: BTreeMap<SessionId, (UserName, Identity)>,
    /// The room's newest entry when each of them came.
    came: BTreeMap<SessionId, Seq>,
    /// The room, while somebody is in over this link.
    pub(super) attached: Option<Attached>,
    /// The sum of all that the shard said that its digest changes by.
    sum: u64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Attached {
    pub(super) epoch: Epoch,
    pub(super) head: Seq,
    pub(super) roster: BTreeSet<UserName>,
}

#[derive(Clone, Debug)]
enum Asked {
    Join(SessionId, UserName, Identity),
    Leave(SessionId),
    Rejoin(Vec<Newcomer>),
    Other,
}

impl Connectors {
    pub(super) fn new(room: RoomId) -> Self {
        Self {
            room,
            links: BTreeMap::new(),
            asked: HashMap::new(),
            answered: HashSet::new(),
            lost: HashSet::new(),
            replaced: HashSet::new(),
        }
    }

    pub(super) fn expect(&mut self, link: LinkId, request: u64) {
        self.links.entry(link).or_default();
        self.asked.insert(request, Asked::Other);
    }

    pub(super) fn expect_join(&mut self, link: LinkId, request: u64, newcomer: &Newcomer) {
        self.expect(link, request);
        let Newcomer { session, name, identity, .. } = newcomer;
        self.asked.insert(request, Asked::Join(*session, name.clone(), *identity));
    }

    pub(super) fn expect_leave(&mut self, link: LinkId, request: u64, session: SessionId) {
        self.expect(link, request);
        self.asked.insert(request, Asked::Leave(session));
    }

    pub(super) fn expect_rejoin(&mut self, rejoin: &Rejoin) {
        let (link, same) = (rejoin.link, |other: &LinkId| other.0 / 10 == rejoin.link.0 / 10);
        let old: Vec<LinkId> =
            self.links.keys().copied().filter(|old| *old != link && same(old)).collect();
        for old in old {
            self.links.remove(&old);
            self.replaced.insert(old);
        }
        self.expect(link, rejoin.request_id);
        let members = rejoin.members.iter().map(|(member, _)| member.clone()).collect();
        self.asked.insert(rejoin.request_id, Asked::Rejoin(members));
    }

    pub(super) fn lose(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.lost.insert(link);
    }

    pub(super) fn known(&self, link: LinkId) -> Option<&Known> {
        self.links.get(&link)
    }

    pub(super) fn links(&self) -> impl Iterator<Item = (LinkId, &Known)> {
        self.links.iter().map(|(link, known)| (*link, known))
    }

    /// Requests that nobody has answered.
    pub(super) fn unanswered(&self) -> Vec<u64> {
        self.asked.keys().filter(|request| !self.answered.contains(request)).copied().collect()
    }

    pub(super) fn observe(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Send { link, event, digest_delta } => {
                    if let Event::Reply { request_id, .. } = event {
                        assert!(self.asked.contains_key(request_id), "nobody asked {request_id}");
                        assert!(self.answered.insert(*request_id), "{request_id} answered twice");
                    }
                    let Some(known) = self.links.get_mut(link) else {
                        let is_reply = matches!(event, Event::Reply { .. });
                        let may =
                            self.replaced.contains(link) || (is_reply && self.lost.contains(link));
                        assert!(may, "{event:?} to a lost link");
                        continue;
                    };
                    known.sum = known.sum.wrapping_add(*digest_delta);
                    known.on_event(event, &self.asked);
                }
                Effect::Attach { link } => assert!(self.links.contains_key(link)),
                Effect::Detach { link, digest_delta } => {
                    if let Some(known) = self.links.get_mut(link) {
                        known.sum = known.sum.wrapping_add(*digest_delta);
                    }
                }
                // The shell answers.
                Effect::ReadLog { read, .. } => {
                    assert!(self.answered.insert(read.request_id), "answered twice");
                }
                Effect::Seek { .. } | Effect::Answer { .. } | Effect::Append | Effect::Closed => {}
            }
        }
    }

    /// Both sides of every link agree, and all know the same roster.
    pub(super) fn compare(&mut self, room: &Room, closed: bool) {
        let members: Vec<UserName> = room.members().map(|member| member.name.clone()).collect();
        let roster: BTreeSet<UserName> = members.iter().cloned().collect();
        assert_eq!(roster.len(), members.len(), "one name, one member");
        assert_eq!(room.len(), members.len());
        for (link, known) in &mut self.links {
            known.came.retain(|session, _| known.sessions.contains_key(session));
            for session in known.sessions.keys() {
                known.came.entry(*session).or_insert(room.head().seq);
            }
            let digest = known.attached.as_ref().map(|attached| attached.digest(&self.room));
            assert_eq!(known.sum, digest.map_or(0, |digest| digest.value()), "sum of {link:?}");
            assert_eq!(room.digest(*link), digest, "digest of {link:?}");
            assert_eq!(known.attached.is_some(), !known.sessions.is_empty(), "{link:?}");
            if let Some(attached) = &known.attached {
                assert_eq!(attached.roster, roster, "roster of {link:?}");
            }
            let sessions: BTreeSet<SessionId> = room.sessions(*link).collect();
            assert!(sessions.iter().eq(known.sessions.keys()), "sessions of {link:?}");
            for (session, (name, identity)) in &known.sessions {
                let member = room.members().find(|member| member.name == *name).unwrap();
                assert_eq!(member.identity, *identity);
                assert!(room.has_session(*link, *session));
            }
        }
        for link in self.lost.union(&self.replaced) {
            assert_eq!((room.digest(*link), room.sessions(*link).count()), (None, 0));
        }
        assert!(!closed || self.links.values().all(|known| known.attached.is_none()));
    }
}

impl Attached {
    fn digest(&self, room: &RoomId) -> RoomDigest {
        let mut digest = RoomDigest::new(room, self.epoch, self.head);
        self.roster.iter().for_each(|name| digest.add(name));
        digest
    }
}

impl Known {
    /// True if an entry is for somebody behind this link.
    pub(super) fn hears(&self, entry: &Entry) -> bool {
        match &entry.kind {
            Kind::Message => !self.sessions.is_empty(),
            Kind::Whisper { target, target_identity } => {
                self.sessions.values().any(|(name, who)| (name, who) == (target, target_identity))
            }
        }
    }

    /// True if somebody behind this link said an entry.
    pub(super) fn said(&self, entry: &Entry) -> bool {
        self.sessions
            .values()
            .any(|(name, who)| (name, who) == (&entry.author, &entry.author_identity))
    }

    /// True if an entry was told by an event: somebody it is for was there.
    pub(super) fn heard(&self, entry: &Entry) -> bool {
        let is_for = |name: &UserName, who: &Identity| match &entry.kind {
            Kind::Message => true,
            Kind::Whisper { target, target_identity } => (name, who) == (target, target_identity),
        };
        self.sessions.iter().any(|(session, (name, who))| {
            is_for(name, who) && (entry.kind == Kind::Message || self.came[session] < entry.seq)
        })
    }

    fn on_event(&mut self, event: &Event, asked: &HashMap<u64, Asked>) {
        match event {
            Event::Reply { request_id, outcome: Ok(outcome) } => {
                self.on_outcome(outcome, &asked[request_id]);
            }
            Event::Reply { outcome: Err(_), .. } => {}
            Event::Entry { entry, prev } => {
                let attached = self.attached.as_mut().expect("an entry for whoever is in");
                assert_eq!(attached.head, *prev, "the chain of entries");
                assert!(attached.head < entry.seq, "the order of entries");
                attached.head = entry.seq;
            }
            Event::Presence { name, joined: true, session } => {
                let attached = self.attached.as_mut().expect("presence for whoever is in");
                assert!(attached.roster.insert(name.clone()), "{name} came twice");
                let own = session.map(|session| &self.sessions[&session].0);
                assert!(own.is_none_or(|own| own == name), "{name} is not its own");
            }
            Event::Presence { name, joined: false, .. } => {
                let attached = self.attached.as_mut().expect("presence for whoever is in");
                assert!(attached.roster.remove(name), "{name} left twice");
            }
            Event::CloseSession { session, .. } => {
                assert!(self.sessions.remove(session).is_some(), "nobody to close");
                self.detach_if_alone();
            }
            Event::Redacted { .. } => assert!(self.attached.is_some(), "told of nothing"),
            Event::Moved => {
                assert!(self.attached.take().is_some(), "moved, but was not there");
                self.sessions.clear();
            }
        }
    }

    fn on_outcome(&mut self, outcome: &Outcome, asked: &Asked) {
        match (outcome, asked) {
            (
                Outcome::Joined { position, roster, announced, .. },
                Asked::Join(session, name, identity),
            ) => {
                let former = self.sessions.insert(*session, (name.clone(), *identity));
                if former.is_some_and(|former| former != (name.clone(), *identity)) {
                    self.came.remove(session);
                }
                assert!(roster.contains(name), "in, but not in the roster");
                let Some(attached) = &self.attached else {
                    let others = roster.iter().filter(|other| !announced || *other != name);
                    let roster = others.cloned().collect();
                    self.attached =
                        Some(Attached { epoch: position.epoch, head: position.seq, roster });
                    return;
                };
                assert_eq!((position.epoch, position.seq), (attached.epoch, attached.head));
            }
            (Outcome::Gone, Asked::Leave(session)) => {
                self.sessions.remove(session);
                self.detach_if_alone();
            }
            (Outcome::Rejoined { position, roster, readmitted, .. }, Asked::Rejoin(members)) => {
                let is_in = |m: &&Newcomer| readmitted.iter().any(|(s, _)| *s == m.session);
                let who = |m: &Newcomer| (m.session, (m.name.clone(), m.identity));
                // Of a session that is brought twice, the first counts.
                self.sessions = members.iter().rev().filter(is_in).map(who).collect();
                self.came.clear();
                let roster = roster.iter().cloned().collect();
                self.attached =
                    Some(Attached { epoch: position.epoch, head: position.seq, roster });
                self.detach_if_alone();
            }
            (Outcome::Published { .. }, Asked::Other) => {}
            (outcome, asked) => panic!("{outcome:?} answers {asked:?}"),
        }
    }

    fn detach_if_alone(&mut self) {
        if self.sessions.is_empty() {
            self.attached = None;
        }
    }
}
