use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// All that this gate measures beyond what every gate does.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) calls: Family<ResultLabel, Counter>,
    pub(crate) call_seconds: Histogram,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct ResultLabel {
    /// `ok`, or why there was no answer.
    pub(crate) result: &'static str,
}

/// What [`ResultLabel::result`] may be.
const RESULTS: [&str; 4] = ["ok", "no_server", "late", "failed"];

impl Metrics {
    /// Registers everything, named `time_gate_…`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            call_seconds: Histogram::new([1e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 0.25]),
        };
        for result in RESULTS {
            // So that a rate over it exists before the first.
            let _ = metrics.calls.get_or_create(&ResultLabel { result });
        }
        let r = registry.sub_registry_with_prefix("time_gate");
        r.register(
            "calls",
            "Calls of time servers, by result: ok, no_server (none is ready), late, failed",
            metrics.calls.clone(),
        );
        r.register_with_unit(
            "call",
            "Time that a time server took to answer, or to fail",
            Unit::Seconds,
            metrics.call_seconds.clone(),
        );
        metrics
    }
}
