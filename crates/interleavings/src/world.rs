//! All that there is: the store, two shards, two connectors, and what is under way
//! between them.

use std::{collections::VecDeque, fmt, sync::OnceLock};

use bytes::Bytes;
use model::{ConnectorId, Fence, Identity, LinkId, Position, RoomId, UserName};
use room::{Command, Limits};

use crate::{
    Guard, Scenario,
    connector::Connector,
    log::Log,
    rules::{Acknowledged, Broken},
    scenario::{Budget, Order},
    shard::Shard,
    shared::Shared,
    statement::Statement,
};

pub(crate) const SHARDS: usize = 2;
pub(crate) const CONNECTORS: usize = 2;

/// One state of everything.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct World {
    pub(crate) without: Option<Guard>,
    pub(crate) order: Order,
    /// How many times each thing may still happen.
    pub(crate) left: Budget,
    pub(crate) log: Shared<Log>,
    /// Statements that nobody waits for any more, in order.
    pub(crate) late: Vec<Statement>,
    pub(crate) shards: [Shared<Shard>; SHARDS],
    pub(crate) connectors: [Shared<Connector>; CONNECTORS],
    /// Those that a shard knows of, or that are just being opened.
    pub(crate) links: Shared<Vec<Link>>,
    /// How many links each connector has opened to each shard.
    opened: [[u8; SHARDS]; CONNECTORS],
    /// What clients were told.
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) broken: Option<Broken>,
}

/// Between a connector and a shard. What a connector says is under way until it arrives;
/// what a shard says is there at once, or is lost with the link.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) connector: usize,
    pub(crate) shard: usize,
    pub(crate) queue: VecDeque<Command>,
    /// True once the connector has lost it, and the shard does not know yet.
    pub(crate) is_cut: bool,
}

/// Something that is said, by its letter.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Message(pub u8);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {}", char::from(b'a' + self.0))
    }
}

impl Message {
    pub(crate) fn content(self) -> &'static str {
        ["a", "b", "c", "d"][usize::from(self.0)]
    }

    pub(crate) fn digest(self) -> u64 {
        model::message_digest(model::TARGET_ALL, self.content())
    }

    /// The id that its client has given it.
    pub(crate) fn cmid(self) -> Bytes {
        Bytes::from_static(self.content().as_bytes())
    }

    pub(crate) fn of(content: &str) -> Self {
        Self(content.as_bytes()[0] - b'a')
    }
}

impl World {
    pub(crate) fn new(scenario: &Scenario, without: Option<Guard>) -> Self {
        Self {
            without,
            order: scenario.order,
            left: scenario.budget,
            log: Shared::default(),
            late: Vec::new(),
            shards: Default::default(),
            connectors: [0, 1].map(|at| Connector::new(scenario.says[at]).into()),
            links: Shared::default(),
            opened: Default::default(),
            acknowledged: Vec::new(),
            broken: None,
        }
    }

    /// The link over which a connector reaches a shard; opens one if there is none.
    pub(crate) fn link(&mut self, connector: usize, shard: usize) -> LinkId {
        let between = |link: &&Link| (link.connector, link.shard) == (connector, shard);
        if let Some(link) = self.links.iter().filter(between).find(|link| !link.is_cut) {
            return link.id;
        }
        // What an old one brings after its end is not heard.
        let olds =
            self.links.iter_mut().filter(|link| (link.connector, link.shard) == (connector, shard));
        olds.for_each(|link| link.queue.clear());
        let number = &mut self.opened[connector][shard];
        let id = LinkId((connector * 100 + shard * 10) as u64 + u64::from(*number));
        *number += 1;
        self.links.push(Link { id, connector, shard, queue: VecDeque::new(), is_cut: false });
        self.links.sort_by_key(|link| link.id);
        id
    }

    /// The link, as long as the shard at its end knows of it.
    pub(crate) fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.id == id)
    }

    /// The connector that hears what is said over a link.
    pub(crate) fn hearer(&self, id: LinkId) -> Option<usize> {
        let link = self.links.iter().find(|link| link.id == id && !link.is_cut)?;
        Some(link.connector)
    }

    /// Puts a command on its way.
    pub(crate) fn send(&mut self, link: LinkId, command: Command) {
        if let Some(link) = self.link_mut(link) {
            link.queue.push_back(command);
        }
    }

    /// True if nobody waits for an answer.
    pub(crate) fn is_answered(&self) -> bool {
        self.connectors.iter().all(|connector| connector.pending.is_empty())
    }

    /// True if everything was said and acknowledged.
    pub(crate) fn is_done(&self) -> bool {
        self.is_answered() && self.connectors.iter().all(|it| it.refused.is_empty())
    }

    pub(crate) fn fence(&self) -> Fence {
        self.log.fence().unwrap_or_default()
    }
}

pub(crate) const LIMITS: Limits =
    Limits { members_max: 4, pending_max: 8, ring_max: 8, grace_ms: 1 };

/// Nobody has any place yet.
pub(crate) const NOWHERE: Position = Position { epoch: model::Epoch(0), seq: model::Seq(0) };

/// One person, twice: the same cmid of either is the same message.
pub(crate) const IDENTITY: Identity = Identity([7; 16]);

struct Names {
    room: RoomId,
    connectors: [ConnectorId; CONNECTORS],
    users: [UserName; CONNECTORS],
}

/// Parsed once.
fn names() -> &'static Names {
    static NAMES: OnceLock<Names> = OnceLock::new();
    NAMES.get_or_init(|| Names {
        room: RoomId::parse("lobby").expect("a room's name"),
        connectors: ["a", "b"].map(|id| id.parse().expect("a connector's id")),
        users: ["ann", "ann again"].map(|name| UserName::parse(name).expect("a name")),
    })
}

pub(crate) fn room_id() -> RoomId {
    names().room.clone()
}

pub(crate) fn connector_id(connector: usize) -> ConnectorId {
    names().connectors[connector].clone()
}

pub(crate) fn user(connector: usize) -> UserName {
    names().users[connector].clone()
}
