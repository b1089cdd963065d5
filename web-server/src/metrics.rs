//! What is counted. Addresses and names are never labels.

use std::fmt;

use http::StatusCode;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// All that this server measures. Cloning shares the counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Requests answered.
    pub requests: Family<RequestLabels, Counter>,
    /// WebSockets led to a backend now.
    pub tunnels_open: Gauge,
    /// WebSockets that may be led to a backend at once.
    pub tunnels_max: Gauge,
    /// WebSockets asked for.
    pub tunnels: Family<TunnelLabels, Counter>,
}

/// Labels of a request.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct RequestLabels {
    /// The hundreds of the status: `2xx` and the like.
    pub status: &'static str,
}

/// Labels of a tunnel.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct TunnelLabels {
    /// What became of it.
    pub result: TunnelResult,
}

/// What became of the wish for a tunnel.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TunnelResult {
    /// It was opened.
    Opened,
    /// As many as allowed are open already.
    Full,
    /// The backend could not be reached in time.
    Unreachable,
    /// The backend answered, but not with a WebSocket.
    Refused,
}

impl EncodeLabelValue for TunnelResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let name = match self {
            Self::Opened => "opened",
            Self::Full => "full",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        };
        name.encode(encoder)
    }
}

impl Metrics {
    /// Makes the metrics known to `registry`, with the prefix `web_server`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            tunnels_open: Gauge::default(),
            tunnels_max: Gauge::default(),
            tunnels: Family::default(),
        };
        let r = registry.sub_registry_with_prefix("web_server");
        r.register("requests", "Requests answered, by status", metrics.requests.clone());
        r.register("tunnels_open", "WebSockets led to a backend now", metrics.tunnels_open.clone());
        r.register(
            "tunnels_max",
            "WebSockets that may be led to a backend at once",
            metrics.tunnels_max.clone(),
        );
        r.register("tunnels", "WebSockets asked for, by result", metrics.tunnels.clone());
        metrics
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        let status = match status.as_u16() {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500.. => "5xx",
        };
        self.requests.get_or_create(&RequestLabels { status }).inc();
    }

    pub(crate) fn tunnel(&self, result: TunnelResult) {
        self.tunnels.get_or_create(&TunnelLabels { result }).inc();
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
        metrics.answered(StatusCode::NOT_FOUND);
        metrics.tunnel(TunnelResult::Full);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in [
            "web_server_requests_total{status=\"4xx\"} 1",
            "web_server_tunnels_open 0",
            "web_server_tunnels_max 0",
            "web_server_tunnels_total{result=\"full\"} 1",
        ] {
            assert!(text.contains(name), "{name} is missing from:\n{text}");
        }
    }
}
