use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use wire::Kind;

use crate::CloseReason;

/// All that the engine measures. Cloning shares the counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Connections open now, whatever their state.
    pub connections: Gauge,
    /// Connections that may be open at once.
    pub connections_max: Gauge,
    /// Sessions open now: their handshake was acknowledged.
    pub sessions: Gauge,
    /// Times that the operating system refused to accept a connection.
    pub accept_errors: Counter,
    /// Connections whose turn came later, for [`Options::accepts_per_second`](crate::Options).
    pub accept_waits: Counter,
    /// Writes to sockets, each one system call.
    pub writes: Counter,
    /// Sessions closed because their outbox was full.
    pub outbox_closes: Counter,
    bytes: [Counter; 2],
    packages: [[Counter; 5]; 2],
    handshakes: [Counter; 4],
    closes: [Counter; CloseReason::ALL.len()],
    proxied: [Counter; 4],
}

/// Which way something goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From clients.
    In,
    /// To clients.
    Out,
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HandshakeResult {
    /// Acknowledged: a session is open.
    Ok,
    /// The client broke a rule or a limit.
    Refused,
    /// It took too long.
    Timeout,
    /// The client went away, or the process stopped.
    Abandoned,
}

/// What told the address of a client that came through a trusted proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressSource {
    /// Nothing: it counts as the proxy's.
    Peer,
    /// A PROXY header.
    ProxyHeader,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// Nothing, as `X-Forwarded-For` is no list of addresses.
    Unreadable,
}

const ADDRESS_SOURCES: [&str; 4] = ["peer", "proxy_header", "x_forwarded_for", "unreadable"];
const HANDSHAKE_RESULTS: [&str; 4] = ["ok", "refused", "timeout", "abandoned"];
const DIRECTIONS: [&str; 2] = ["in", "out"];
const KINDS: [&str; 5] = ["handshake", "handshake_ack", "heartbeat", "data", "kick"];

/// All labels are closed sets; users, rooms and sessions are never labels.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct DirectionLabel {
    direction: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct PackageLabels {
    direction: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct AddressLabel {
    address: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReasonLabel {
    reason: &'static str,
}

impl Metrics {
    /// Registers everything, named `<prefix>_…`.
    pub fn register(registry: &mut Registry, prefix: &str) -> Self {
        let (bytes, packages) = (Family::default(), Family::default());
        let (handshakes, closes) = (Family::default(), Family::default());
        let proxied = Family::default();
        // The handles are taken once: looking one up costs ten times an increment.
        let metrics = Self {
            connections: Gauge::default(),
            connections_max: Gauge::default(),
            sessions: Gauge::default(),
            accept_errors: Counter::default(),
            accept_waits: Counter::default(),
            writes: Counter::default(),
            outbox_closes: Counter::default(),
            bytes: DIRECTIONS.map(|direction| handle(&bytes, &DirectionLabel { direction })),
            packages: DIRECTIONS.map(|direction| {
                KINDS.map(|kind| handle(&packages, &PackageLabels { direction, kind }))
            }),
            handshakes: HANDSHAKE_RESULTS
                .map(|result| handle(&handshakes, &ResultLabel { result })),
            closes: CloseReason::ALL
                .map(|reason| handle(&closes, &ReasonLabel { reason: reason.as_str() })),
            proxied: ADDRESS_SOURCES.map(|address| handle(&proxied, &AddressLabel { address })),
        };
        let r = registry.sub_registry_with_prefix(prefix);
        r.register("connections", "Clients' connections open now", metrics.connections.clone());
        r.register(
            "connections_max",
            "Clients' connections that may be open at once",
            metrics.connections_max.clone(),
        );
        r.register("sessions", "Sessions open now", metrics.sessions.clone());
        r.register("handshakes", "Handshakes by how they ended", handshakes);
        r.register("packages", "Packages received and sent; sent: one frame each", packages);
        r.register_with_unit("traffic", "Bytes received and sent", Unit::Bytes, bytes);
        r.register("writes", "Writes to clients' sockets", metrics.writes.clone());
        r.register("closes", "Connections closed, by reason", closes);
        r.register(
            "proxied",
            "Connections of trusted proxies, by what told the client's address",
            proxied,
        );
        r.register(
            "outbox_closes",
            "Sessions closed because their outbox was full",
            metrics.outbox_closes.clone(),
        );
        r.register(
            "accept_waits",
            "Connections that waited because too many came at once",
            metrics.accept_waits.clone(),
        );
        r.register("accept_errors", "Connections not accepted", metrics.accept_errors.clone());
        metrics
    }

    /// Bytes, WebSocket framing included.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> &Counter {
        &self.bytes[direction as usize]
    }

    /// Packages of one kind.
    #[must_use]
    pub fn packages(&self, direction: Direction, kind: Kind) -> &Counter {
        &self.packages[direction as usize][kind as usize - 1]
    }

    /// Handshakes that ended in one way.
    #[must_use]
    pub fn handshakes(&self, result: HandshakeResult) -> &Counter {
        &self.handshakes[result as usize]
    }

    /// Connections of trusted proxies whose client's address was told in one way.
    #[must_use]
    pub fn proxied(&self, source: AddressSource) -> &Counter {
        &self.proxied[source as usize]
    }

    /// Connections closed for one reason.
    #[must_use]
    pub fn closes(&self, reason: CloseReason) -> &Counter {
        &self.closes[usize::from(reason.number()) - 1]
    }
}

fn handle<L>(family: &Family<L, Counter>, labels: &L) -> Counter
where
    L: Clone + Eq + std::hash::Hash,
{
    family.get_or_create(labels).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_dashboards_expect() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, "connector");
        metrics.packages(Direction::Out, Kind::Data).inc();
        metrics.bytes(Direction::In).inc_by(7);
        metrics.handshakes(HandshakeResult::Timeout).inc();
        metrics.closes(CloseReason::SlowConsumer).inc();
        metrics.sessions.set(3);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "connector_packages_total{direction=\"out\",kind=\"data\"} 1",
            "connector_traffic_bytes_total{direction=\"in\"} 7",
            "connector_handshakes_total{result=\"timeout\"} 1",
            "connector_closes_total{reason=\"slow_consumer\"} 1",
            "connector_closes_total{reason=\"attack\"} 0",
            "connector_proxied_total{address=\"x_forwarded_for\"} 0",
            "connector_sessions 3",
            "connector_connections 0",
            "connector_connections_max 0",
            "connector_writes_total 0",
            "connector_outbox_closes_total 0",
            "connector_accept_errors_total 0",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }
}
