use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use chassis::Clock;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType, counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram,
    },
    registry::{Registry, Unit},
};

use crate::{
    before::Outcome,
    directory::{Directory, State},
};

/// All that this service measures. Cloning shares the counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) assignments: Family<ResultLabel, Counter>,
    pub(crate) assign_seconds: Histogram,
    before_entries: Family<OutcomeLabel, Counter>,
    pub(crate) before_entry_seconds: Histogram,
    pub(crate) announcements: Counter,
    pub(crate) announce_failures: Counter,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct ResultLabel {
    /// `ok`, or why nobody was named.
    pub(crate) result: &'static str,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct StateLabel {
    state: &'static str,
}

/// What [`ResultLabel::result`] may be.
pub(crate) const RESULTS: [&str; 3] = ["ok", "no_connector", "invalid_uid"];

impl Metrics {
    /// Registers everything, named `gate_…`.
    pub(crate) fn register(
        registry: &mut Registry,
        directory: Arc<RwLock<Directory>>,
        clock: Clock,
    ) -> Self {
        let metrics = Self {
            assignments: Family::default(),
            // A choice takes about a microsecond; above 100 us only the order of
            // magnitude matters.
            assign_seconds: Histogram::new([1e-6, 2.5e-6, 5e-6, 1e-5, 1e-4, 1e-3, 1e-2]),
            before_entries: Family::default(),
            // Calls over a network, bounded by a second.
            before_entry_seconds: Histogram::new([1e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 0.25, 1.0]),
            announcements: Counter::default(),
            announce_failures: Counter::default(),
        };
        for result in RESULTS {
            // So that a rate over it exists before the first.
            let _ = metrics.assignments.get_or_create(&ResultLabel { result });
        }
        for outcome in Outcome::ALL {
            let _ = metrics.before_entry(outcome);
        }
        let r = registry.sub_registry_with_prefix("gate");
        r.register(
            "assignments",
            "Answers to clients and gRPC callers that asked for a connector, by result: \
             ok, no_connector (none is ready), invalid_uid",
            metrics.assignments.clone(),
        );
        r.register_with_unit(
            "assign",
            "Time to choose a connector for one user",
            Unit::Seconds,
            metrics.assign_seconds.clone(),
        );
        r.register(
            "before_entries",
            "Users for whom an extension was to be called before the answer, by outcome: \
             done, late (answered without waiting longer), panicked, full (not called)",
            metrics.before_entries.clone(),
        );
        r.register_with_unit(
            "before_entry",
            "Time that an answer waited for an extension",
            Unit::Seconds,
            metrics.before_entry_seconds.clone(),
        );
        r.register(
            "announcements",
            "Announcements received from connectors; each ready one sends two a second",
            metrics.announcements.clone(),
        );
        r.register(
            "announce_failures",
            "Attempts to hear a connector that failed or ended, each followed by another",
            metrics.announce_failures.clone(),
        );
        r.register_collector(Box::new(Connectors { directory, clock }));
        metrics
    }

    /// How often calls of an extension ended like this.
    pub(crate) fn before_entry(&self, outcome: Outcome) -> Counter {
        let label = OutcomeLabel { outcome: outcome.name() };
        self.before_entries.get_or_create_owned(&label)
    }
}

/// Counts connectors when somebody asks: a connector gets down by saying nothing.
struct Connectors {
    directory: Arc<RwLock<Directory>>,
    clock: Clock,
}

impl fmt::Debug for Connectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connectors")
    }
}

impl Collector for Connectors {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let directory = self.directory.read().unwrap_or_else(PoisonError::into_inner);
        let mut family = encoder.encode_descriptor(
            "connectors",
            "Listed connectors, by state: ready (clients are sent there), draining, \
             down (silent for a second).",
            None,
            MetricType::Gauge,
        )?;
        for (state, count) in State::ALL.into_iter().zip(directory.count(self.clock.now())) {
            let state = match state {
                State::Ready => "ready",
                State::Draining => "draining",
                State::Down => "down",
            };
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&StateLabel { state })?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dashboards and alerts use these names; this test is what notices a rename.
    #[test]
    fn names() {
        let mut registry = Registry::default();
        let directory = Arc::new(RwLock::new(Directory::default()));
        let listed = cluster::Connector { id: None, addr: "h:1".into() };
        directory.write().unwrap().list(&[listed]);
        let metrics = Metrics::register(&mut registry, directory, Clock::real());
        metrics.assignments.get_or_create(&ResultLabel { result: "ok" }).inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in [
            "gate_assignments_total{result=\"ok\"} 1",
            "gate_assignments_total{result=\"no_connector\"} 0",
            "gate_assignments_total{result=\"invalid_uid\"} 0",
            "gate_assign_seconds_count 0",
            "gate_before_entries_total{outcome=\"done\"} 0",
            "gate_before_entries_total{outcome=\"late\"} 0",
            "gate_before_entries_total{outcome=\"panicked\"} 0",
            "gate_before_entries_total{outcome=\"full\"} 0",
            "gate_before_entry_seconds_count 0",
            "gate_announcements_total 0",
            "gate_announce_failures_total 0",
            "gate_connectors{state=\"ready\"} 0",
            "gate_connectors{state=\"down\"} 1",
            "# TYPE gate_connectors gauge",
        ] {
            assert!(text.contains(name), "{name} is missing from:\n{text}");
        }
    }
}
