//! A connector with one session in the room, as far as a shard can tell: what it asks,
//! in which order (`connector::router`).

use model::{Fence, Grant, LinkId, Position, SessionId};
use room::{Command, Input, Join, Newcomer, Origin, Publish, Rejoin, Target};

use crate::{
    Guard, Message,
    world::{self, IDENTITY, World},
};

const SESSION: SessionId = SessionId(1);
pub(crate) const JOIN: u64 = 1;
pub(crate) const REJOIN: u64 = 2;
pub(crate) const SAYS: u64 = 100;

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Connector {
    /// All that its session says, in order.
    pub(crate) says: &'static [Message],
    /// What was asked and not answered, in order.
    pub(crate) pending: Vec<Pending>,
    pub(crate) route: Route,
    pub(crate) is_member: bool,
    /// Re-joins that were given up.
    pub(crate) rejoins: u64,
    /// True if some of what waits may be with a shard twice.
    pub(crate) asked_twice: bool,
    /// True while a link has the member.
    pub(crate) is_attached: bool,
    pub(crate) seen: Fence,
    pub(crate) grant: Grant,
    /// Up to where the session has the room.
    pub(crate) mark: Position,
    /// What the session was refused.
    pub(crate) refused: Vec<Message>,
    /// The last claim at the time when what it waits for came to the shard.
    pub(crate) asked: Option<Fence>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Pending {
    pub(crate) ask: Ask,
    pub(crate) was_sent: bool,
    /// True if it was sent over a link that the room has left since.
    pub(crate) is_repeated: bool,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Ask {
    Join,
    Say(Message),
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Route {
    /// A shard is wanted.
    Wanted,
    /// The member was announced; nothing else is sent until that is answered.
    Rejoining(LinkId),
    Live(LinkId),
}

impl Route {
    pub(crate) fn link(self) -> Option<LinkId> {
        match self {
            Self::Wanted => None,
            Self::Rejoining(link) | Self::Live(link) => Some(link),
        }
    }
}

impl Connector {
    pub(crate) fn new(says: &'static [Message]) -> Self {
        let asks = [Ask::Join].into_iter().chain(says.iter().copied().map(Ask::Say));
        let pending = if says.is_empty() {
            Vec::new()
        } else {
            asks.map(|ask| Pending { ask, was_sent: false, is_repeated: false }).collect()
        };
        Self {
            says,
            pending,
            route: Route::Wanted,
            is_member: false,
            rejoins: 0,
            asked_twice: false,
            is_attached: false,
            seen: Fence::default(),
            grant: Grant::default(),
            mark: world::NOWHERE,
            refused: Vec::new(),
            asked: None,
        }
    }

    /// True if somebody is in, or wants to be.
    pub(crate) fn is_of_use(&self) -> bool {
        self.is_member || !self.pending.is_empty()
    }

    /// True once its session was let in.
    pub(crate) fn was_in(&self) -> bool {
        self.is_member
    }

    /// True if it came to a room before its session was brought there.
    pub(crate) fn is_early(&self, ask: Ask) -> bool {
        ask != Ask::Join && matches!(self.route, Route::Rejoining(_))
    }

    pub(crate) fn take(&mut self, ask: Ask) -> Option<Pending> {
        let at = self.pending.iter().position(|pending| pending.ask == ask)?;
        Some(self.pending.remove(at))
    }

    /// A message may be stored that will be sent again.
    pub(crate) fn may_be_stored(&mut self, ask: Ask) {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.ask == ask) {
            pending.is_repeated = true;
            self.asked_twice = true;
        }
    }

    /// A command was refused and changed nothing.
    pub(crate) fn unsend(&mut self, ask: Ask) -> bool {
        let asked = self.pending.iter_mut().find(|pending| pending.ask == ask);
        asked.map(|pending| pending.was_sent = false).is_some()
    }

    /// The room has lost its link, or has to go elsewhere.
    pub(crate) fn detach(&mut self) {
        if matches!(self.route, Route::Rejoining(_)) {
            // Another question: the answer to this one may still come.
            self.rejoins += 1;
        }
        for pending in self.pending.iter_mut().filter(|pending| pending.was_sent) {
            pending.is_repeated = true;
            self.asked_twice = true;
        }
        self.is_attached = false;
        self.route = Route::Wanted;
    }

    /// The session is told that these cannot be stored now.
    pub(crate) fn refuse(&mut self, asks: Vec<Pending>) {
        self.refused.extend(asks.into_iter().filter_map(|pending| match pending.ask {
            Ask::Say(message) => Some(message),
            Ask::Join => None,
        }));
    }

    pub(crate) fn send_again(&mut self) {
        self.pending.iter_mut().for_each(|pending| pending.was_sent = false);
    }

    /// True if it still waits for the answer to a re-join.
    pub(crate) fn waits_for(&self, request_id: u64) -> bool {
        let is_current = request_id == REJOIN + self.rejoins;
        is_current && matches!(self.route, Route::Rejoining(_))
    }

    fn newcomer(at: usize) -> Newcomer {
        let (session, name) = (SESSION, world::user(at));
        Newcomer { session, name, identity: IDENTITY, has_secret: true }
    }
}

impl World {
    /// Takes a room that has no link to a shard.
    pub(crate) fn route(&mut self, at: usize, shard: usize) {
        let link = self.link(at, shard);
        let connector = &mut self.connectors[at];
        if connector.is_member {
            connector.route = Route::Rejoining(link);
            let grant = Some(connector.grant);
            let request_id = REJOIN + connector.rejoins;
            let (mark, seen) = (connector.mark, connector.seen);
            let input = Input::Rejoin(Rejoin {
                link,
                connector: world::connector_id(at),
                request_id,
                mark,
                members: vec![(Connector::newcomer(at), grant)],
                replay: None,
            });
            self.send(link, Command { input, seen, redirected: true });
        } else {
            connector.route = Route::Live(link);
            connector.send_again();
        }
        self.send_waiting(at);
    }

    pub(crate) fn send_waiting(&mut self, at: usize) {
        let connector = &mut self.connectors[at];
        let Route::Live(link) = connector.route else { return };
        let seen = connector.seen;
        let mut unsent: Vec<Ask> = Vec::new();
        let joins = connector.pending.iter().any(|pending| pending.ask == Ask::Join);
        let is_first = joins && self.without != Some(Guard::EnterComesFirst);
        let may_be_sent =
            |pending: &&mut Pending| !pending.was_sent && (pending.ask == Ask::Join || !is_first);
        for pending in connector.pending.iter_mut().filter(may_be_sent) {
            pending.was_sent = true;
            unsent.push(pending.ask);
        }
        if self.without == Some(Guard::RepeatsAreInOrder) && self.connectors[at].is_member {
            unsent.reverse();
        }
        for ask in unsent {
            let (input, seen) = match ask {
                Ask::Join => (self.join(at, link), seen),
                Ask::Say(message) => (self.say(at, link, message), Fence::default()),
            };
            self.send(link, Command { input, seen, redirected: ask == Ask::Join });
        }
    }

    fn join(&self, at: usize, link: LinkId) -> Input {
        let (connector, newcomer) = (world::connector_id(at), Connector::newcomer(at));
        let (resume, knows_roster) = (None, false);
        Input::Join(Join { link, connector, request_id: JOIN, newcomer, resume, knows_roster })
    }

    fn say(&self, at: usize, link: LinkId, message: Message) -> Input {
        let mut cmid = message.cmid();
        if self.without == Some(Guard::OneCmidPerAppend) {
            // So the room does not see that it is the same; the store is told that it is.
            cmid = [&cmid[..], &[b'0' + at as u8]].concat().into();
        }
        Input::Publish(Publish {
            origin: Origin::Session {
                link,
                session: SESSION,
                request_id: SAYS + u64::from(message.0),
            },
            target: Target::All,
            content: message.content().into(),
            cmid,
            digest: message.digest(),
        })
    }
}
