//! How fast something may happen.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// So many per second, and so many at once after a silence.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Nanoseconds between two that come evenly.
    interval: u64,
    /// How far ahead of the even pace one may be.
    ahead: u64,
}

impl Rate {
    /// None if `per_second` is 0: no limit.
    #[must_use]
    pub fn new(per_second: u32, burst: NonZeroU32) -> Option<Self> {
        Self::per(per_second, Duration::from_secs(1), burst)
    }

    /// So many in each `span`. None if `count` is 0: no limit.
    #[must_use]
    pub fn per(count: u32, span: Duration, burst: NonZeroU32) -> Option<Self> {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let interval = nanos.checked_div(u64::from(count))?;
        Some(Self { interval, ahead: interval * u64::from(burst.get() - 1) })
    }
}

/// What has happened lately: when the even pace will have caught up with it, in
/// nanoseconds (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug, Default)]
pub struct Pace(AtomicU64);

impl Pace {
    /// Counts one more at `now`, a time since some fixed point; false if that is too
    /// fast, and then it does not count. For one task at a time.
    pub fn admits(&self, rate: Rate, now: Duration) -> bool {
        self.reserve(rate, now, Duration::ZERO).is_some()
    }

    /// True if nothing that happened counts any more at `now`.
    pub(crate) fn has_rested(&self, now: Duration) -> bool {
        u128::from(self.0.load(Ordering::Relaxed)) <= now.as_nanos()
    }

    /// Counts one more, and returns how long after `now` its turn comes; none if that
    /// is later than `patience` allows, and then it does not count. For one task at a
    /// time.
    pub fn reserve(&self, rate: Rate, now: Duration, patience: Duration) -> Option<Duration> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let even = self.0.load(Ordering::Relaxed).max(now);
        let wait = Duration::from_nanos((even - now).saturating_sub(rate.ahead));
        let comes = wait <= patience;
        if comes {
            self.0.store(even.saturating_add(rate.interval), Ordering::Relaxed);
        }
        comes.then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(per_second: u32, burst: u32) -> Rate {
        Rate::new(per_second, NonZeroU32::new(burst).unwrap()).unwrap()
    }

    /// How many of `count` that come every `millis` are admitted.
    fn admitted(rate: Rate, count: u64, millis: u64) -> usize {
        let pace = Pace::default();
        let at = |n| Duration::from_secs(1) + Duration::from_millis(n * millis);
        (0..count).filter(|n| pace.admits(rate, at(*n))).count()
    }

    #[test]
    fn a_burst_is_admitted_and_then_the_even_pace() {
        assert_eq!(admitted(rate(20, 40), 100, 0), 40);
        assert_eq!(admitted(rate(20, 40), 1_000, 50), 1_000);
        // Twice as fast for 10 s: the burst, and 20 a second.
        assert_eq!(admitted(rate(20, 40), 400, 25), 239);
        assert_eq!(admitted(rate(1, 1), 3, 999), 2);
        assert!(Rate::new(0, NonZeroU32::MIN).is_none());
    }

    #[test]
    fn turns_come_evenly_up_to_the_end_of_patience() {
        let (pace, rate, now) = (Pace::default(), rate(10, 2), Duration::from_secs(7));
        let turns = (0..20).filter_map(|_| pace.reserve(rate, now, Duration::from_millis(300)));
        let turns: Vec<u128> = turns.map(|turn| turn.as_millis()).collect();
        assert_eq!(turns, [0, 0, 100, 200, 300]);
        assert!(!pace.admits(rate, now + Duration::from_millis(399)));
        assert!(pace.admits(rate, now + Duration::from_millis(400)));
    }

    proptest! {
        /// No window of time sees more than its share and one burst.
        #[test]
        fn no_window_gets_more_than_its_share(
            steps in prop::collection::vec(0_u64..200, 1..200), per_second in 1_u32..50, burst in 1_u32..20,
        ) {
            let (pace, rate) = (Pace::default(), rate(per_second, burst));
            let mut now = Duration::ZERO;
            let mut times = Vec::new();
            for step in steps {
                now += Duration::from_millis(step);
                if pace.admits(rate, now) {
                    times.push(now);
                }
            }
            for (i, from) in times.iter().enumerate() {
                for (j, to) in times.iter().enumerate().skip(i) {
                    let share = (*to - *from).as_secs_f64() * f64::from(per_second);
                    prop_assert!(((j - i + 1) as f64) <= share + f64::from(burst) + 1e-6);
                }
            }
        }
    }
}
