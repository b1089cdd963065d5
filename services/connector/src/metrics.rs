use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// All that this service measures beside its clients' connections, which
/// `frontend::Metrics` counts. Cloning shares the counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) rooms: Gauge,
    pub(crate) members: Gauge,
    pub(crate) links: Gauge,
    pub(crate) links_ended: Family<ReasonLabel, Counter>,
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) enter_seconds: Histogram,
    pub(crate) send_seconds: Histogram,
    pub(crate) pushes: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) batch_pushes: Histogram,
    pub(crate) rejoins: Family<RejoinLabels, Counter>,
    pub(crate) resumes: Family<ResultLabel, Counter>,
    pub(crate) holes: Counter,
    pub(crate) digest_mismatches: Counter,
    pub(crate) late_events: Counter,
    pub(crate) repeats: Counter,
    pub(crate) draining: Gauge,
    pub(crate) drain_seconds: Gauge<f64, AtomicU64>,
    pub(crate) drained_sessions: Family<KindLabel, Counter>,
}

/// What a client understands; a closed set.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct KindLabel {
    pub(crate) kind: &'static str,
}

/// Why something ended; a closed set.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct ReasonLabel {
    pub(crate) reason: &'static str,
}

/// How something ended; a closed set.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct ResultLabel {
    pub(crate) result: &'static str,
}

/// How a room was taken to a shard again, and why it had to be; closed sets.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct RejoinLabels {
    pub(crate) result: &'static str,
    pub(crate) cause: &'static str,
}

/// Both labels are closed sets. Users, rooms and sessions are never labels.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct RequestLabels {
    pub(crate) route: &'static str,
    /// `200`, or the code of the answer.
    pub(crate) code: u16,
}

/// From one hop on loopback to the time-out of a request.
const LATENCIES: [f64; 11] = [2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.5, 2.0, 8.0];

impl Metrics {
    /// Registers all under the prefix `connector`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            rooms: Gauge::default(),
            members: Gauge::default(),
            links: Gauge::default(),
            links_ended: Family::default(),
            requests: Family::default(),
            enter_seconds: Histogram::new(LATENCIES),
            send_seconds: Histogram::new(LATENCIES),
            pushes: Counter::default(),
            deliveries: Counter::default(),
            // How well writes gather: 1 when idle, many under load.
            batch_pushes: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0]),
            rejoins: Family::default(),
            resumes: Family::default(),
            holes: Counter::default(),
            digest_mismatches: Counter::default(),
            late_events: Counter::default(),
            repeats: Counter::default(),
            draining: Gauge::default(),
            drain_seconds: Gauge::default(),
            drained_sessions: Family::default(),
        };
        let r = registry.sub_registry_with_prefix("connector");
        r.register(
            "rooms",
            "Rooms that sessions here are in, or about to be",
            metrics.rooms.clone(),
        );
        r.register("members", "Sessions here that are in a room", metrics.members.clone());
        r.register(
            "links",
            "Chat shards that this connector is linked to now",
            metrics.links.clone(),
        );
        r.register("links_ended", "Links that ended, by reason", metrics.links_ended.clone());
        r.register(
            "requests",
            "Clients' requests and notifies answered, by route and code",
            metrics.requests.clone(),
        );
        let latency = |name: &str| format!("Time from a client's {name} to its answer");
        r.register_with_unit(
            "enter",
            latency("enter"),
            Unit::Seconds,
            metrics.enter_seconds.clone(),
        );
        r.register_with_unit("send", latency("send"), Unit::Seconds, metrics.send_seconds.clone());
        r.register("pushes", "Pushes received from shards", metrics.pushes.clone());
        r.register("deliveries", "Pushes given to sessions", metrics.deliveries.clone());
        r.register(
            "batch_pushes",
            "Pushes of one room that were written together",
            metrics.batch_pushes.clone(),
        );
        r.register(
            "rejoins",
            "Rooms taken to a shard again, by verdict and cause",
            metrics.rejoins.clone(),
        );
        r.register(
            "resumes",
            "Sessions that said where they left off, by verdict",
            metrics.resumes.clone(),
        );
        r.register(
            "holes",
            "Times that a push did not follow the last one, and the rest was fetched",
            metrics.holes.clone(),
        );
        r.register(
            "digest_mismatches",
            "Heartbeats of shards whose digest was not ours",
            metrics.digest_mismatches.clone(),
        );
        r.register(
            "late_events",
            "Events of superseded shards, ignored",
            metrics.late_events.clone(),
        );
        r.register("repeats", "Pushes that had come before, ignored", metrics.repeats.clone());
        r.register(
            "draining",
            "Whether clients are sent elsewhere: 1 from the start of a drain",
            metrics.draining.clone(),
        );
        r.register_with_unit(
            "drain",
            "Time that the drain has taken so far, or took",
            Unit::Seconds,
            metrics.drain_seconds.clone(),
        );
        r.register(
            "drained_sessions",
            "Sessions that were sent elsewhere, by what their clients understand",
            metrics.drained_sessions.clone(),
        );
        metrics
    }

    pub(crate) fn resumed(&self, result: &'static str) {
        self.resumes.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn answered(&self, route: &'static str, code: u16) {
        self.requests.get_or_create(&RequestLabels { route, code }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dashboards and alerts use these names; this test is what notices a rename.
    #[test]
    fn names() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.answered("send", 200);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in [
            "connector_rooms 0",
            "connector_links 0",
            "connector_requests_total{route=\"send\",code=\"200\"} 1",
            "connector_send_seconds_count 0",
            "connector_deliveries_total 0",
        ] {
            assert!(text.contains(name), "{name} is missing from:\n{text}");
        }
    }
}
