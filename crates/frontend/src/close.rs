/// Why a connection ends.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CloseReason {
    /// The client sent a Close frame.
    PeerClosed,
    /// The client's end of the connection is gone without a word.
    PeerLost,
    /// The client said something that is neither HTTP nor Pomelo.
    NotHttp,
    /// A trusted proxy's PROXY header cannot be read.
    MalformedProxyHeader,
    /// The client's HTTP request was not a WebSocket upgrade.
    HttpRefused,
    /// No TLS connection came about.
    TlsFailed,
    /// More connections than allowed.
    ConnectionsMax,
    /// More connections from one address than allowed.
    AddressConnectionsMax,
    /// No handshake ACK in time.
    HandshakeTimeout,
    /// No heartbeat in time.
    HeartbeatTimeout,
    /// The client has asked for nothing in time.
    Idle,
    /// The client does not read fast enough: its outbox was full.
    SlowConsumer,
    /// Bytes that are not WebSocket frames.
    MalformedWebSocket,
    /// A WebSocket frame or message longer than allowed.
    MessageTooLong,
    /// More connections at once than may be taken.
    AcceptsPerSecond,
    /// The process stops.
    Shutdown,
    /// The process is about to stop, and the client was told so with a KICK package.
    Draining,
    /// The client was told to come back through another process; it gets WebSocket
    /// code 1012.
    SentAway,
    /// Told to go, with a KICK package.
    Kicked,
    /// Another session took this one's place.
    Superseded,
    /// The service had enough, for a reason of its own.
    Application,
    /// A panic in this session's task.
    Bug,
    /// The client broke the Pomelo protocol, or ended it.
    Protocol(wire::CloseReason),
}

impl CloseReason {
    /// Those that the engine knows by itself.
    const OWN: [Self; 22] = [
        Self::PeerClosed,
        Self::PeerLost,
        Self::NotHttp,
        Self::MalformedProxyHeader,
        Self::HttpRefused,
        Self::TlsFailed,
        Self::ConnectionsMax,
        Self::AddressConnectionsMax,
        Self::AcceptsPerSecond,
        Self::HandshakeTimeout,
        Self::HeartbeatTimeout,
        Self::Idle,
        Self::SlowConsumer,
        Self::MalformedWebSocket,
        Self::MessageTooLong,
        Self::Shutdown,
        Self::Draining,
        Self::SentAway,
        Self::Kicked,
        Self::Superseded,
        Self::Application,
        Self::Bug,
    ];

    /// All reasons. The position in it is the reason's number.
    pub(crate) const ALL: [Self; Self::OWN.len() + wire::CloseReason::ALL.len()] = {
        let mut all = [Self::PeerClosed; Self::OWN.len() + wire::CloseReason::ALL.len()];
        let mut i = 0;
        while i < all.len() {
            all[i] = match i < Self::OWN.len() {
                true => Self::OWN[i],
                false => Self::Protocol(wire::CloseReason::ALL[i - Self::OWN.len()]),
            };
            i += 1;
        }
        all
    };

    /// A name that never changes, for metric labels and logs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::PeerLost => "peer_lost",
            Self::NotHttp => "not_http",
            Self::MalformedProxyHeader => "malformed_proxy_header",
            Self::HttpRefused => "http_refused",
            Self::TlsFailed => "tls_failed",
            Self::ConnectionsMax => "connections_max",
            Self::AddressConnectionsMax => "address_connections_max",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::Idle => "idle",
            Self::SlowConsumer => "slow_consumer",
            Self::MalformedWebSocket => "malformed_websocket",
            Self::MessageTooLong => "message_too_long",
            Self::AcceptsPerSecond => "accepts_per_second",
            Self::Shutdown => "shutdown",
            Self::Draining => "draining",
            Self::SentAway => "sent_away",
            Self::Kicked => "kicked",
            Self::Superseded => "superseded",
            Self::Application => "application",
            Self::Bug => "bug",
            Self::Protocol(reason) => reason.as_str(),
        }
    }

    /// The number of the reason, never 0.
    pub(crate) fn number(self) -> u8 {
        let position = Self::ALL.iter().position(|reason| *reason == self);
        position.expect("all reasons are in ALL") as u8 + 1
    }

    /// The reason with a number that [`CloseReason::number`] gave; none for 0.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Whether an HTTP response is the last word.
    pub(crate) fn is_http(self) -> bool {
        matches!(self, Self::HttpRefused | Self::AddressConnectionsMax)
    }

    /// Whether nothing more can or should be said to the client.
    pub(crate) fn is_abrupt(self) -> bool {
        // A slow consumer's stream ends within a frame, and its outbox is what
        // must be got rid of.
        matches!(self, Self::PeerLost | Self::SlowConsumer | Self::Bug | Self::NotHttp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_number_and_a_name_of_its_own() {
        assert_eq!(CloseReason::from_number(0), None);
        for reason in CloseReason::ALL {
            assert_eq!(CloseReason::from_number(reason.number()), Some(reason));
        }
        let mut names = CloseReason::ALL.map(|reason| reason.as_str());
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(wire::CloseReason::ALL.iter().all(|r| CloseReason::Protocol(*r).number() > 22));
    }
}
