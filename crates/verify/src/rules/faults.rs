//! What was broken, and what that excuses.

use super::world::{SECOND, World};
use crate::record::REPAIR;

/// How long before it is seen a repair may have become necessary: links are lost after
/// 3 s of silence, and rooms are taken elsewhere 3 s later.
const SEEN_WITHIN: u64 = 10 * SECOND;

/// How long after it was done a repair is seen.
const SEEN_AFTER: u64 = SECOND;

/// A fault, from its beginning until it was mended.
#[derive(Debug)]
pub(crate) struct Fault<'a> {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) kind: &'a str,
    pub(crate) store_stopped: bool,
}

impl<'a> Fault<'a> {
    /// A fault that began `at`; a repair, before it was seen.
    pub(crate) fn new(at: u64, end: u64, kind: &'a str, store_stopped: bool) -> Self {
        let before = if kind == REPAIR { SEEN_WITHIN } else { 0 };
        Self { begin: at.saturating_sub(before), end, kind, store_stopped }
    }

    /// When all has recovered from it, which takes `recover`; a repair is itself the
    /// recovery.
    fn over(&self, recover: u64) -> u64 {
        self.end + if self.kind == REPAIR { SEEN_AFTER } else { recover }
    }
}

impl World<'_> {
    /// True if the faults of the run may have lost entries.
    pub(crate) fn may_lose(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind == "new-epoch")
    }

    /// The latest of `due` and the times at which it is due after each fault that was
    /// not over for `recover` at `from`.
    pub(crate) fn due(&self, from: u64, within: u64, recover: u64) -> u64 {
        let mut due = from + within;
        for fault in &self.faults {
            let over = fault.over(recover);
            if over > from && fault.begin < due {
                due = due.max(over + within);
            }
        }
        due
    }

    /// True if some fault was about between `from` and `to`, or not over for
    /// `recover`.
    pub(crate) fn is_disturbed(&self, from: u64, to: u64, recover: u64) -> bool {
        self.faults.iter().any(|fault| fault.begin <= to && fault.over(recover) >= from)
    }
}
