use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// All that this service measures. Cloning shares the counts.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: Family<ResultLabel, Counter>,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct ResultLabel {
    pub(crate) result: &'static str,
}

impl Metrics {
    /// Registers everything, named `time_…`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { requests: Family::default() };
        for result in ["ok", "invalid_key"] {
            // So that a rate over it exists before the first.
            let _ = metrics.requests.get_or_create(&ResultLabel { result });
        }
        registry.sub_registry_with_prefix("time").register(
            "requests",
            "Calls of GetCurrentTime, by result: ok, invalid_key",
            metrics.requests.clone(),
        );
        metrics
    }
}
