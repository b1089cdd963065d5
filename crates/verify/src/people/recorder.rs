//! Writes the record, from many tasks.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use chassis::Clock;
use tokio::time::Instant;
use verify::{Event, Line, record::LINES_MAX};

/// A handle; clones write one record.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    begin: Instant,
    lines: Mutex<Vec<Line>>,
    sessions: AtomicU32,
    faults: AtomicU32,
}

impl Recorder {
    pub(crate) fn new(clock: Clock) -> Self {
        let (lines, begin) = (Mutex::default(), clock.now());
        let (sessions, faults) = (AtomicU32::new(1), AtomicU32::new(1));
        Self(Arc::new(Inner { clock, begin, lines, sessions, faults }))
    }

    /// Adds a line. Beyond the bound nothing is added, so that the record has no end.
    pub(crate) fn add(&self, event: Event) {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the times go up.
        let at = (self.0.clock.now() - self.0.begin).as_micros();
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        if lines.len() < LINES_MAX {
            lines.push(Line { at, event });
        }
    }

    /// Puts lines of their own times between those that are there.
    pub(crate) fn merge(&self, mut others: Vec<Line>) {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.append(&mut others);
        lines.sort_by_key(|line| line.at);
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        (self.0.clock.now() - self.0.begin).as_secs_f64()
    }

    pub(crate) fn next_session(&self) -> u32 {
        self.0.sessions.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn next_fault(&self) -> u32 {
        self.0.faults.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn take(&self) -> Vec<Line> {
        std::mem::take(&mut *self.0.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
