//! How long to wait before the next attempt.

use std::{fmt, sync::Arc, time::Duration};

/// Draws a duration from zero to its argument, evenly.
pub type Jitter = Arc<dyn Fn(Duration) -> Duration + Send + Sync>;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// Exponential back-off with full jitter: each wait is drawn from zero to a bound
/// that doubles from 50 ms to 1 s, so that peers that lost something together do
/// not come back together.
#[derive(Clone)]
pub struct Backoff {
    jitter: Jitter,
    bound: Duration,
    longest: Duration,
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff").field("bound", &self.bound).finish_non_exhaustive()
    }
}

impl Backoff {
    /// Starts at the shortest bound.
    #[must_use]
    pub fn new(jitter: Jitter) -> Self {
        Self::up_to(LONGEST, jitter)
    }

    /// As [`Backoff::new`], with a bound that grows to `longest`.
    pub(crate) fn up_to(longest: Duration, jitter: Jitter) -> Self {
        Self { jitter, bound: FIRST, longest }
    }

    /// Returns how long to wait now, and doubles the bound.
    #[must_use]
    pub fn wait(&mut self) -> Duration {
        let wait = (self.jitter)(self.bound);
        self.bound = (self.bound * 2).min(self.longest);
        wait
    }

    /// Goes back to the shortest bound: the peer has answered.
    pub fn reset(&mut self) {
        self.bound = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_a_second_and_an_answer_resets_it() {
        let mut backoff = Backoff::new(Arc::new(|bound| bound));
        let waits: Vec<u128> = (0..7).map(|_| backoff.wait().as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.wait(), FIRST);
    }
}
