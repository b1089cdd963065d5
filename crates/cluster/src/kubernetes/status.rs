//! What is known of the API server itself.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};
use tokio::{sync::watch, time::Instant};

/// How the watch of one Service goes.
#[derive(Debug)]
pub(crate) struct Status {
    /// When the API server last answered as it should; at first, when the watch was made.
    answered: watch::Sender<Instant>,
    error_code: AtomicU16,
    listed: AtomicU64,
}

impl Status {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            answered: watch::Sender::new(Instant::now()),
            error_code: AtomicU16::new(0),
            listed: AtomicU64::new(0),
        })
    }

    pub(crate) fn answered(&self) -> watch::Receiver<Instant> {
        self.answered.subscribe()
    }

    /// It has answered as it should.
    pub(crate) fn note_answer(&self) {
        self.error_code.store(0, Ordering::Relaxed);
        self.answered.send_replace(Instant::now());
    }

    /// It has refused, with an HTTP status, or could not be asked: 0.
    pub(crate) fn note_error(&self, code: u16) {
        self.error_code.store(if code == 0 { 1 } else { code }, Ordering::Relaxed);
    }

    pub(crate) fn note_listed(&self, listed: usize) {
        self.listed.store(listed as u64, Ordering::Relaxed);
    }

    /// Shows all that at /metrics.
    pub(crate) fn register(self: &Arc<Self>, registry: &mut Registry, service: &str) {
        let service = service.to_owned();
        registry.register_collector(Box::new(Shown { service, status: Arc::clone(self) }));
    }
}

/// Computed when somebody asks: the age grows by itself.
struct Shown {
    service: String,
    status: Arc<Status>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    service: String,
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let labels = Labels { service: self.service.clone() };
        let age = Instant::now().saturating_duration_since(*self.status.answered.borrow());
        let mut metric: MetricEncoder<'_> = encoder.encode_descriptor(
            "view_age_seconds",
            "Time since the API server last answered about the Service; up to 35 s is usual.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(age.as_secs_f64()).encode(metric.encode_family(&labels)?)?;
        let mut metric: MetricEncoder<'_> = encoder.encode_descriptor(
            "view_listed",
            "Peers that are listed for the Service; whether each is ready is asked of it.",
            None,
            MetricType::Gauge,
        )?;
        let listed = self.status.listed.load(Ordering::Relaxed);
        ConstGauge::new(listed).encode(metric.encode_family(&labels)?)?;
        let mut metric: MetricEncoder<'_> = encoder.encode_descriptor(
            "view_last_error",
            "HTTP status with which the API server refused last, 1 if it could not be asked; \
             0 once it has answered again.",
            None,
            MetricType::Gauge,
        )?;
        let code = i64::from(self.status.error_code.load(Ordering::Relaxed));
        ConstGauge::new(code).encode(metric.encode_family(&labels)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dashboards and alerts use these names; this test is what notices a rename.
    #[test]
    fn names() {
        let mut registry = Registry::default();
        let status = Status::new();
        status.register(&mut registry, "chat-headless");
        status.note_listed(3);
        let shown = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        for (code, expected) in [(403, 403), (0, 1)] {
            status.note_error(code);
            let line = format!("view_last_error{{service=\"chat-headless\"}} {expected}\n");
            assert!(shown().contains(&line), "{}", shown());
        }
        status.note_answer();
        for line in [
            "view_age_seconds{service=\"chat-headless\"} 0.",
            "view_listed{service=\"chat-headless\"} 3\n",
            "view_last_error{service=\"chat-headless\"} 0\n",
        ] {
            assert!(shown().contains(line), "{line} is missing from:\n{}", shown());
        }
    }
}
