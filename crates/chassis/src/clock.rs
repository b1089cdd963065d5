//! The only place that reads a clock.

use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells the time. Cheap to copy.
///
/// [`Clock::now`] is tokio's clock, so that paused and simulated time work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Set in simulations: the wall clock at a given instant.
    origin: Option<(Instant, u64)>,
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub fn real() -> Self {
        Self { origin: None }
    }

    /// A wall clock that shows `unix_ms` now and then follows tokio's clock.
    #[must_use]
    pub fn starting_at(unix_ms: u64) -> Self {
        Self { origin: Some((Instant::now(), unix_ms)) }
    }

    /// A point in monotonic time.
    #[must_use]
    pub fn now(self) -> Instant {
        Instant::now()
    }

    /// Milliseconds since 1970, by the wall clock; may go back.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the place")]
    pub fn unix_ms(self) -> u64 {
        let since_epoch = match self.origin {
            Some((origin, unix_ms)) => Duration::from_millis(unix_ms) + origin.elapsed(),
            None => std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        };
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whole milliseconds of monotonic time since `then`; 0 if that is to come.
    #[must_use]
    pub fn ms_since(self, then: Instant) -> u64 {
        let since = self.now().saturating_duration_since(then);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits. The same as tokio's; here so that callers need no other import.
    pub async fn sleep(self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
