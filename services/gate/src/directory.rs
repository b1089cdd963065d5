//! What the gate knows about connectors, and whom it names. Pure: the time comes in.

use std::time::Duration;

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
}

/// What a connector says of itself, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Announcement {
    pub(crate) id: ConnectorId,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) sessions: u64,
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
        Ok(Self { id, host: raw.host, port, sessions: raw.sessions, draining: raw.draining })
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
        peer.heard = Some(Heard { announcement, at: now, linked: true });
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

    /// The connector for `uid`: always the same while the ready ones stay the same.
    /// O(connectors).
    pub(crate) fn choose(&self, uid: &str, now: Instant) -> Option<&Announcement> {
        let linked = self.peers.iter().any(|peer| peer.is_linked() && peer.ready(now).is_some());
        let fit = |peer: &&Peer| !linked || peer.is_linked();
        let ready = || self.peers.iter().filter(fit).filter_map(|peer| peer.ready(now));
        let among = ready().count();
        ready().nth(slot(uid, among)?)
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

    fn ready(&self, now: Instant) -> Option<&Announcement> {
        self.last().filter(|_| self.state(now) == State::Ready)
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

/// The original's dispatcher: the absolute value of the *signed* CRC-32 over the low
/// byte of each UTF-16 unit, modulo the number of connectors. `None` if that is 0.
fn slot(uid: &str, among: usize) -> Option<usize> {
    let low_bytes: Vec<u8> = uid.encode_utf16().map(|unit| unit.to_le_bytes()[0]).collect();
    let crc = crc32fast::hash(&low_bytes).cast_signed();
    (crc.unsigned_abs() as usize).checked_rem(among)
}

#[cfg(test)]
mod tests;
