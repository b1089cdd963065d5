//! A room between connectors and a store that do what they should, and the checks of
//! what the room makes of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{LinkId, Position, Seq, SessionId};

use super::{
    EPOCH, FENCE, Stage, identity, name,
    properties::{End, Op},
    store::StoreModel,
};
use crate::{
    Append, AppendResult, Effect, Entry, Event, Input, Limits, Newcomer, Origin, Outcome, Pages,
    Publish, Query, Read, Sought, Target,
};

pub(super) const NAMES: [&str; 4] = ["ann", "bob", "cat", "dan"];

/// Small, so that the limits are met often.
pub(super) const LIMITS: Limits =
    Limits { members_max: 3, pending_max: 3, ring_max: 2, grace_ms: 100 };

/// See the module.
pub(super) struct Sim {
    pub(super) stage: Stage,
    pub(super) store: StoreModel,
    in_flight: Option<Append>,
    /// How the append in flight ended, while the room was not told.
    ended: Option<AppendResult>,
    /// What each connector holds, also while its link is lost.
    pub(super) held: Vec<Held>,
    requests: u64,
    calls: BTreeMap<u64, usize>,
}

#[derive(Default)]
pub(super) struct Held {
    /// Counts its links.
    pub(super) link: u64,
    pub(super) up: bool,
    pub(super) sessions: BTreeMap<u64, (Newcomer, model::Grant)>,
    pub(super) mark: Option<Position>,
}

impl Sim {
    pub(super) fn new() -> Self {
        let held = (0..3).map(|_| Held { up: true, ..Held::default() }).collect();
        Self {
            stage: Stage::new(LIMITS),
            store: StoreModel::default(),
            in_flight: None,
            ended: None,
            held,
            requests: 0,
            calls: BTreeMap::new(),
        }
    }

    pub(super) fn link(&self, at: usize) -> LinkId {
        LinkId(at as u64 * 10 + self.held[at].link)
    }

    pub(super) fn request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    fn call(&mut self) -> u64 {
        let ticket = self.request();
        self.calls.insert(ticket, 0);
        ticket
    }

    pub(super) fn run(&mut self, op: &Op) {
        match *op {
            Op::Join { at, session, name, secret, left_off } => {
                self.join(at, who(at, session, name, secret), left_off);
            }
            Op::Leave { at, session, is_away } if self.held[at].up => {
                let (link, request_id, session) =
                    (self.link(at), self.request(), SessionId(session));
                self.stage.connectors.expect_leave(link, request_id, session);
                let away_at_ms = is_away.then_some(self.stage.now_ms);
                self.apply(Input::Leave { link, request_id, session, away_at_ms });
            }
            Op::Say { at, session, to, cmid, content } if self.held[at].up => {
                let (link, request_id) = (self.link(at), self.request());
                self.stage.connectors.expect(link, request_id);
                let origin = Origin::Session { link, session: SessionId(session), request_id };
                self.say(origin, to, cmid, content);
            }
            Op::Call { to, cmid } => {
                let ticket = self.call();
                let origin = Origin::Call { ticket, name: name("bot"), identity: identity("bot") };
                self.say(origin, to, cmid, false);
            }
            Op::Take if self.in_flight.is_none() => {
                self.in_flight = self.stage.take();
                if let Some(append) = &self.in_flight {
                    assert_eq!((append.term, append.after), (FENCE.term, self.store.head()));
                    assert!(!append.entries.is_empty());
                }
            }
            Op::Take => assert!(self.stage.room.take_append().is_none(), "one at a time"),
            Op::Commit => self.commit(),
            Op::Report => self.report(),
            Op::Fail if self.ended.is_none() && self.in_flight.take().is_some() => {
                self.apply(Input::Appended(AppendResult::Failed));
            }
            Op::Lose { at } if self.held[at].up => {
                let link = self.link(at);
                self.held[at].up = false;
                self.stage.connectors.lose(link);
                self.apply(Input::LinkLost { link, now_ms: self.stage.now_ms });
            }
            Op::Return { at, without, with, left_off } if self.held[at].link < 9 => {
                self.come_back(at, without, with, left_off);
            }
            Op::Tick { ms } => {
                self.stage.now_ms += ms;
                self.apply(Input::Tick { now_ms: self.stage.now_ms });
            }
            Op::Kick { name } => {
                self.apply(Input::Kick { name: super::name(NAMES[name]), reason: "kick".into() });
            }
            Op::Add { name } => {
                let ticket = self.call();
                let name = super::name(NAMES[name]);
                self.apply(Input::Add { ticket, name, identity: identity("bot") });
            }
            Op::Fetch { at, back } => self.fetch(at, back),
            Op::Redact { back } => self.redact(back),
            Op::Read { at, session } if self.held[at].up => self.read(at, SessionId(session)),
            Op::Leave { .. }
            | Op::Say { .. }
            | Op::Fail
            | Op::Lose { .. }
            | Op::Return { .. }
            | Op::Read { .. } => {}
        }
    }

    fn say(&mut self, origin: Origin, to: Option<usize>, cmid: u8, content: bool) {
        let content = if content { "ho" } else { "hi" };
        let target = to.map_or("*", |to| NAMES[to]);
        let digest = model::message_digest(target, content);
        let target = to.map_or(Target::All, |to| Target::One(name(NAMES[to])));
        let cmid = Bytes::copy_from_slice(&[cmid]);
        let publish = Publish { origin, target, content: content.into(), cmid, digest };
        self.apply(Input::Publish(publish));
    }

    /// The append in flight comes to its end in the store.
    fn commit(&mut self) {
        if let Some(append) = self.in_flight.as_ref().filter(|_| self.ended.is_none()) {
            self.ended = Some(self.store.append(append));
        }
    }

    /// The room is told how its append ended.
    fn report(&mut self) {
        let Some(result) = self.ended.take() else { return };
        let append = self.in_flight.take().unwrap();
        let expected = match &result {
            AppendResult::Stored { .. } => {
                let from = self.store.log.len() - append.entries.len();
                self.pushes(&self.store.log[from..])
            }
            _ => Vec::new(),
        };
        let effects = self.apply_expecting(Input::Appended(result), expected.len());
        let pushed = effects.iter().filter_map(|effect| match effect {
            Effect::Send { link, event: Event::Entry { entry, .. }, .. } => Some((*link, entry)),
            _ => None,
        });
        assert!(pushed.eq(expected.iter().map(|(link, entry)| (*link, entry))), "who hears what");
    }

    /// Who has to hear each of `entries`, by what connectors know.
    fn pushes(&self, entries: &[Entry]) -> Vec<(LinkId, Entry)> {
        let hears = |link: LinkId, entry: &Entry| {
            let known = self.stage.connectors.known(link);
            known.is_some_and(|known| known.hears(entry))
        };
        let links: Vec<LinkId> = self.stage.connectors.links().map(|(link, _)| link).collect();
        let all = entries.iter().flat_map(|entry| links.iter().map(move |link| (*link, entry)));
        all.filter(|(link, entry)| hears(*link, entry)).map(|(l, e)| (l, e.clone())).collect()
    }

    /// The store forgets what some entry says, and then the room, whether it was told
    /// of the entry or not.
    fn redact(&mut self, back: u64) {
        let seq = Seq(self.store.head().0.saturating_sub(back));
        if let Some(entry) = self.store.log.iter_mut().find(|entry| entry.seq == seq) {
            (entry.content, entry.redacted) = ("".into(), true);
            let effects = self.apply(Input::Redact { seq });
            let links = self.stage.connectors.links();
            let attached = links.filter(|(_, known)| known.attached.is_some()).count();
            assert_eq!(effects.len(), attached, "everybody forgets it");
        }
    }

    /// Members read, and nobody else.
    fn read(&mut self, at: usize, session: SessionId) {
        let (link, request_id) = (self.link(at), self.request());
        self.stage.connectors.expect(link, request_id);
        let query = Query { pages: Pages::After(Seq(0)), limit: 1 };
        let effects = self.apply(Input::Read(Read { link, session, request_id, query }));
        let known = self.stage.connectors.known(link).expect("it is up");
        let identity = known.sessions.get(&session).map(|(_, identity)| *identity);
        match (&effects[..], identity) {
            ([Effect::ReadLog { reader, .. }], Some(identity)) => assert_eq!(*reader, identity),
            ([Effect::Send { .. }], None) => {}
            other => panic!("{other:?}"),
        }
    }

    fn fetch(&mut self, at: usize, back: u64) {
        let link = self.link(at);
        let Some(known) = self.stage.connectors.known(link) else { return };
        let Some(attached) = &known.attached else { return };
        let after = Seq(attached.head.0.saturating_sub(back));
        let fetched = self.stage.room.sent_since(link, Position { epoch: EPOCH, seq: after });
        let Some(fetched) = fetched else {
            // The ring begins after the claim, and holds so many.
            let oldest = self.stage.room.head().seq.0.saturating_sub(LIMITS.ring_max as u64);
            assert!(after.0 < oldest.max(1), "the ring has it");
            return;
        };
        let sent = |entry: &&Entry| entry.seq > after && entry.seq <= attached.head;
        let sent = self.store.log.iter().filter(sent).filter(|entry| known.heard(entry));
        assert!(fetched.iter().eq(sent));
    }

    pub(super) fn apply(&mut self, input: Input) -> Vec<Effect> {
        self.apply_expecting(input, 0)
    }

    fn apply_expecting(&mut self, input: Input, pushes: usize) -> Vec<Effect> {
        let effects = self.stage.apply(input);
        let is_push = |e: &&Effect| matches!(e, Effect::Send { event: Event::Entry { .. }, .. });
        assert_eq!(effects.iter().filter(is_push).count(), pushes, "pushed before it is stored");
        for effect in &effects {
            self.check_answer(effect);
        }
        self.note_held();
        for effect in &effects {
            if let Effect::Seek { publish, author } = effect {
                let publish = publish.clone();
                let found = self.store.find(*author, &publish.cmid);
                self.apply(Input::Sought(Sought { publish, found }));
            }
        }
        effects
    }

    /// What is told to be stored is stored; each call is answered once.
    fn check_answer(&mut self, effect: &Effect) {
        let stored = match effect {
            Effect::Answer { ticket, outcome } => {
                *self.calls.get_mut(ticket).expect("a call") += 1;
                outcome.ok().map(|at| at.seq)
            }
            Effect::Send {
                event: Event::Reply { outcome: Ok(Outcome::Published { position, at_ms }), .. },
                ..
            } => {
                let entry = &self.store.log[usize::try_from(position.seq.0 - 2).unwrap()];
                assert!(entry.at_ms == *at_ms || position.seq.0 == *at_ms);
                Some(position.seq)
            }
            _ => None,
        };
        assert!(stored.is_none_or(|seq| seq <= self.store.head()), "answered before it is stored");
    }

    /// Each connector keeps in mind what it was told, for the time without a link.
    fn note_held(&mut self) {
        for (at, held) in self.held.iter_mut().enumerate().filter(|(_, held)| held.up) {
            let link = LinkId(at as u64 * 10 + held.link);
            let Some(known) = self.stage.connectors.known(link) else { continue };
            if let Some(attached) = &known.attached {
                held.mark = Some(Position { epoch: attached.epoch, seq: attached.head });
            }
            held.sessions = known
                .sessions
                .iter()
                .map(|(session, (name, identity))| {
                    let is_it = |m: &&crate::Member| m.name == *name;
                    let member = self.stage.room.members().find(is_it).expect("a member");
                    let newcomer = Newcomer {
                        session: *session,
                        name: name.clone(),
                        identity: *identity,
                        has_secret: member.has_secret,
                    };
                    (session.0, (newcomer, member.grant))
                })
                .collect();
        }
    }

    /// Brings all that is under way to its end; then nobody waits any more.
    pub(super) fn settle(mut self) {
        for _ in 0..10 {
            for op in [Op::Take, Op::Commit, Op::Report] {
                self.run(&op);
            }
        }
        self.check_answered();
    }

    fn check_answered(&self) {
        assert_eq!(self.stage.connectors.unanswered(), [0; 0], "one answer for each request");
        assert!(self.calls.values().all(|answers| *answers == 1), "one answer for each call");
    }

    pub(super) fn end(mut self, end: End) {
        match end {
            End::Release => {
                self.apply(Input::Release);
                // What is in flight still comes to its end.
                if !self.stage.closed {
                    self.commit();
                    self.report();
                }
            }
            End::Superseded => drop(self.apply(Input::Superseded)),
            End::Fenced | End::Unknown => {
                if self.in_flight.is_none() {
                    self.in_flight = self.stage.take();
                }
                let Some(_) = self.in_flight.take() else { return self.settle() };
                let is_fenced = matches!(end, End::Fenced);
                let result =
                    if is_fenced { AppendResult::Superseded } else { AppendResult::Unknown };
                self.apply(Input::Appended(result));
            }
        }
        assert!(self.stage.closed, "the room has come to its end");
        self.check_answered();
    }
}

/// Who a session says it is: with a secret the same one everywhere.
pub(super) fn who(at: usize, session: u64, name: usize, has_secret: bool) -> Newcomer {
    let anonymous = format!("{at}/{session}");
    let identity = identity(if has_secret { NAMES[name] } else { &anonymous });
    Newcomer { session: SessionId(session), name: super::name(NAMES[name]), identity, has_secret }
}
