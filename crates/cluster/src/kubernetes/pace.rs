//! Many changes are one. Pure: the time comes in.

use std::time::Duration;

use tokio::time::Instant;

/// How long nothing has to change before what has changed is shown.
const QUIET: Duration = Duration::from_millis(100);
/// How long a change is kept back at most.
const LONGEST: Duration = Duration::from_secs(1);

/// When changes are shown: the cluster writes several slices, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Pace(Option<(Instant, Instant)>);

impl Pace {
    /// Something has changed.
    pub(crate) fn note(&mut self, now: Instant) {
        let first = self.0.map_or(now, |(first, _)| first);
        self.0 = Some((first, now));
    }

    /// When to show it.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.map(|(first, last)| (first + LONGEST).min(last + QUIET))
    }

    /// It was shown.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_when_they_stop_or_after_a_second() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::default();
        assert_eq!(pace.due(), None);
        pace.note(at(0));
        assert_eq!(pace.due(), Some(at(100)));
        pace.note(at(90));
        assert_eq!(pace.due(), Some(at(190)));
        for ms in (100..1000).step_by(50) {
            pace.note(at(ms));
        }
        assert_eq!(pace.due(), Some(at(1000)));
        pace.clear();
        assert_eq!(pace.due(), None);
    }
}
