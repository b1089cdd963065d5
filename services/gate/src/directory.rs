//! What the gate knows about connectors, and whom it names. Pure: the time comes in.

use std::{
    cmp::Ordering,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use cluster::Connector;
use model::ConnectorId;
use rpc::connector::v1::AnnounceResponse;
use tokio::time::Instant;

/// How long an announcement counts. Connectors announce themselves twice a second.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(1);

/// The listed connectors, ordered by id.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    peers: Vec<Peer>,
}

/// One listed connector.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    listed: Connector,
    heard: Option<Heard>,
}

#[derive(Clone, Debug)]
struct Heard {
    announcement: Announcement,
    at: Instant,
    /// False once the stream that it came over has ended: the connector is named
    /// only if there is no other.
    linked: bool,
    /// Who was sent there since while another one drained, and is in no announcement yet.
    named: Arc<AtomicU64>,
}

/// What a connector says of itself, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Announcement {
    pub(crate) id: ConnectorId,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) sessions: u64,
    /// 0 if it does not say.
    pub(crate) sessions_max: u64,
    pub(crate) draining: bool,
}

/// Whether clients are sent to a connector.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum State {
    Ready,
    Draining,
    Down,
}

impl State {
    pub(crate) const ALL: [Self; 3] = [Self::Ready, Self::Draining, Self::Down];
}

/// An announcement that no correct connector sends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("connector_id")]
    Id(#[from] model::InvalidId),
    #[error("host is empty or longer than {HOST_LEN_MAX} bytes")]
    Host,
    #[error("port {0} is not one")]
    Port(u32),
}

/// The longest host name of DNS.
const HOST_LEN_MAX: usize = 253;

impl TryFrom<AnnounceResponse> for Announcement {
    type Error = Malformed;

    fn try_from(raw: AnnounceResponse) -> Result<Self, Malformed> {
        let id = raw.connector_id.parse()?;
        if raw.host.is_empty() || raw.host.len() > HOST_LEN_MAX {
            return Err(Malformed::Host);
        }
        let port = u16::try_from(raw.port).ok().filter(|port| *port > 0);
        let port = port.ok_or(Malformed::Port(raw.port))?;
        let AnnounceResponse { host, sessions, sessions_max, draining, .. } = raw;
        Ok(Self { id, host, port, sessions, sessions_max, draining })
    }
}

impl Directory {
    /// Takes a new list. What is known of those who stay is kept.
    pub(crate) fn list(&mut self, listed: &[Connector]) {
        let peers = listed.iter().map(|listed| {
            let known = self.peers.iter().find(|peer| peer.listed.addr == listed.addr);
            Peer { listed: listed.clone(), heard: known.and_then(|peer| peer.heard.clone()) }
        });
        self.peers = peers.collect();
        self.sort();
    }

    /// Takes what the connector at `addr` says. Returns true if that is news to
    /// people, not just a sign of life.
    pub(crate) fn hear(&mut self, addr: &str, announcement: Announcement, now: Instant) -> bool {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.listed.addr == addr) else {
            return false;
        };
        let before = peer.state(now);
        let id_is_new = peer.id() != announcement.id.as_str();
        peer.heard = Some(Heard { announcement, at: now, linked: true, named: Arc::default() });
        let news = id_is_new || peer.state(now) != before;
        if id_is_new {
            self.sort();
        }
        news
    }

    /// The stream of the connector at `addr` has ended. A connector that is dead
    /// is not named again; one whose stream is back in a second was never missed.
    pub(crate) fn lose(&mut self, addr: &str) {
        let peer = self.peers.iter_mut().find(|peer| peer.listed.addr == addr);
        if let Some(heard) = peer.and_then(|peer| peer.heard.as_mut()) {
            heard.linked = false;
        }
    }

    /// The connector for `uid`, one of two: the original's choice, unless that is much
    /// fuller than a second one, which depends on the name, too. So users stay where they
    /// are while connectors are about as full as each other, as they are when each has
    /// its share of the names, and one that is new, or was emptied, gets more than its
    /// share until it is. A full one is named only if all are.
    ///
    /// While one drains, the emptiest is named: in a roll-out that is the one that was
    /// started for those who have to go, and not the one that is drained next. Who was sent
    /// to a connector is taken for one of its sessions until it says itself how many it
    /// has: else all who come within half a second would be sent to the same. O(connectors).
    pub(crate) fn choose(&self, uid: &str, now: Instant) -> Option<&Announcement> {
        let linked = self.peers.iter().any(|peer| peer.is_linked() && peer.ready(now).is_some());
        let fit = |peer: &&Peer| !linked || peer.is_linked();
        let ready = || self.peers.iter().filter(fit).filter_map(|peer| peer.ready(now));
        let (first, second) = slots(uid, ready().count())?;
        let (first, second) = (ready().nth(first)?, ready().nth(second)?);
        let (first, second) = (&first.announcement, &second.announcement);
        let lighter = if first.is_much_fuller_than(second) { second } else { first };
        let drains = self.peers.iter().any(|peer| peer.state(now) == State::Draining);
        if !drains && !lighter.is_full() {
            return Some(lighter);
        }
        let with_room = ready().filter(|heard| !heard.announcement.is_full());
        let Some(emptiest) = with_room.min_by(|a, b| a.fullness(b)) else { return Some(first) };
        emptiest.named.fetch_add(1, Relaxed);
        Some(&emptiest.announcement)
    }

    /// All connectors with their states, ordered by id.
    pub(crate) fn all(&self, now: Instant) -> impl Iterator<Item = (&Peer, State)> {
        self.peers.iter().map(move |peer| (peer, peer.state(now)))
    }

    /// How many are in each state, in the order of [`State::ALL`].
    pub(crate) fn count(&self, now: Instant) -> [u64; 3] {
        State::ALL.map(|state| self.all(now).filter(|(_, is)| *is == state).count() as u64)
    }

    fn sort(&mut self) {
        // The address breaks ties between two that claim one name.
        self.peers.sort_by(|a, b| (a.id(), &a.listed.addr).cmp(&(b.id(), &b.listed.addr)));
    }
}

impl Peer {
    /// As it calls itself, else as it is listed.
    pub(crate) fn id(&self) -> &str {
        match (&self.heard, &self.listed.id) {
            (Some(heard), _) => heard.announcement.id.as_str(),
            (None, Some(id)) => id.as_str(),
            (None, None) => &self.listed.addr,
        }
    }

    /// Where its gRPC services listen.
    pub(crate) fn addr(&self) -> &str {
        &self.listed.addr
    }

    /// What it said last, however long ago.
    pub(crate) fn last(&self) -> Option<&Announcement> {
        self.heard.as_ref().map(|heard| &heard.announcement)
    }

    fn is_linked(&self) -> bool {
        self.heard.as_ref().is_some_and(|heard| heard.linked)
    }

    fn ready(&self, now: Instant) -> Option<&Heard> {
        self.heard.as_ref().filter(|_| self.state(now) == State::Ready)
    }

    fn state(&self, now: Instant) -> State {
        match &self.heard {
            Some(heard) if now.saturating_duration_since(heard.at) > SILENCE_MAX => State::Down,
            Some(heard) if heard.announcement.draining => State::Draining,
            Some(_) => State::Ready,
            None => State::Down,
        }
    }
}

impl Heard {
    /// Whether it is fuller than `other`, with those who are on their way to them.
    fn fullness(&self, other: &Self) -> Ordering {
        let [here, there] = [self, other]
            .map(|one| one.announcement.sessions.saturating_add(one.named.load(Relaxed)));
        let (ours, theirs) = self.announcement.shares(here, &other.announcement, there);
        ours.cmp(&theirs)
    }
}

impl Announcement {
    fn is_full(&self) -> bool {
        self.sessions_max > 0 && self.sessions >= self.sessions_max
    }

    /// Whether it is worth it to take a user from here to `other`.
    fn is_much_fuller_than(&self, other: &Self) -> bool {
        let (ours, theirs) =
            self.shares(self.sessions.saturating_sub(FULLER_BY), other, other.sessions);
        ours * 4 > theirs * 5
    }

    /// So many sessions here, and there, as shares of what each may hold, if both say
    /// that: to be compared with each other only.
    fn shares(&self, sessions: u64, other: &Self, others: u64) -> (u128, u128) {
        let (ours, theirs) = match (self.sessions_max, other.sessions_max) {
            (0, _) | (_, 0) => (1, 1),
            limits => limits,
        };
        let share = |sessions: u64, limit: u64| u128::from(sessions) * u128::from(limit);
        (share(sessions, theirs), share(others, ours))
    }
}

/// A connector is much fuller than another if it has a quarter more sessions, and this
/// many beyond: fewer are chance.
const FULLER_BY: u64 = 64;

/// Two places among so many, the same only if there is but one; `None` if there is none.
/// The first is that of the original's dispatcher: the absolute value of the *signed*
/// CRC-32 over the low byte of each UTF-16 unit, modulo the number of connectors. The
/// second is made of the rest of the number in the same way, among the others.
fn slots(uid: &str, among: usize) -> Option<(usize, usize)> {
    let low_bytes: Vec<u8> = uid.encode_utf16().map(|unit| unit.to_le_bytes()[0]).collect();
    let crc = crc32fast::hash(&low_bytes).cast_signed().unsigned_abs() as usize;
    let (first, rest) = (crc.checked_rem(among)?, crc / among);
    let second = rest.checked_rem(among - 1).map_or(first, |second| {
        // Past the first, which is not among them.
        if second < first { second } else { second + 1 }
    });
    Some((first, second))
}

#[cfg(test)]
mod tests;
