//! What a step of retention takes: the same for every store with tables.

use std::time::Duration;

use crate::{
    Seq, Term,
    planted::{self, Bug},
};

/// How long a repeated cmid is known at least: no row younger than this is deleted.
pub const KNOWN_MS: u64 = 24 * 3600 * 1000;

/// How long entries are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retention {
    /// Older entries are taken.
    pub age: Duration,
    /// Of each room, at most this many newest entries are kept.
    pub entries: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Duration::from_secs(30 * 24 * 3600), entries: 100_000 }
    }
}

/// One row, as far as retention looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Slim {
    /// Its number.
    pub seq: Seq,
    /// True if nobody said it.
    pub is_claim: bool,
    /// When it was stored, milliseconds since 1970.
    pub at_ms: u64,
}

/// A room, as far as retention looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The store's clock, milliseconds since 1970.
    pub now_ms: u64,
    /// Its newest entry.
    pub head: Seq,
    /// The last claim, which says who the owner is, and stays.
    pub claim: Term,
    /// The highest seq that was taken so far.
    pub taken: Seq,
}

/// What to do to a room, in one transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Plan {
    /// The room's new `taken`.
    pub taken: Seq,
    /// Rows above the old `taken` up to this one lose their content.
    pub empty_to: Seq,
    /// Rows up to this one are deleted, without the last claim.
    pub delete_to: Seq,
    /// True if there may be more to do in this room.
    pub more: bool,
}

/// Decides. `above` are the rows above `taken`, `lowest` those that are left without
/// the last claim; of both the first ones, `limit` at most.
#[must_use]
pub fn plan(
    policy: Retention,
    facts: Facts,
    lowest: &[Slim],
    above: &[Slim],
    limit: usize,
) -> Plan {
    let Facts { now_ms, head, claim, taken } = facts;
    let age_ms = u64::try_from(policy.age.as_millis()).unwrap_or(u64::MAX);
    let surplus = Seq(head.0.saturating_sub(policy.entries));
    let goes = |row: &&Slim| row.seq <= surplus || row.at_ms.saturating_add(age_ms) <= now_ms;
    let going = above.iter().take_while(goes);
    // Claims do not count: nothing that a client could miss.
    let new_taken = going.clone().filter(|row| !row.is_claim).map(|row| row.seq).last();
    let empty_to = going.clone().last().map_or(taken, |row| row.seq);
    let emptied_all = going.count() == limit;

    // The newest entry is what the next append stands on.
    let deletable = |row: &&Slim| {
        row.seq <= empty_to && row.seq < head && row.at_ms.saturating_add(known_ms()) <= now_ms
    };
    let deleting = lowest.iter().filter(|row| row.seq.0 != claim.0).take_while(deletable);
    let delete_to = deleting.clone().last().map_or(Seq(0), |row| row.seq);
    let more = emptied_all || deleting.count() == limit;
    Plan { taken: new_taken.unwrap_or(taken), empty_to, delete_to, more }
}

/// How long a cmid is known after its entry was stored: [`KNOWN_MS`].
#[must_use]
pub fn known_ms() -> u64 {
    if planted::is(Bug::CmidsForgotten) { 0 } else { KNOWN_MS }
}

impl Plan {
    /// True if nothing changes.
    #[must_use]
    pub fn is_idle(&self, facts: Facts) -> bool {
        self.taken == facts.taken && self.delete_to == Seq(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    /// `log`: one word a row, `m` or `c` for a claim and its age in hours; row 1 first.
    /// Expected: taken, emptied to, deleted to.
    #[track_caller]
    fn check(log: &str, taken: u64, policy: (u64, u64), expected: (u64, u64, u64)) {
        let now_ms = 1000 * HOUR;
        let rows: Vec<_> = (1..)
            .zip(log.split(' '))
            .map(|(seq, word)| {
                let age: u64 = word[1..].parse().unwrap();
                Slim { seq: Seq(seq), is_claim: word.starts_with('c'), at_ms: now_ms - age * HOUR }
            })
            .collect();
        let claim = rows.iter().rev().find(|row| row.is_claim).map_or(0, |row| row.seq.0);
        let above: Vec<_> = rows.iter().copied().filter(|row| row.seq.0 > taken).collect();
        let head = Seq(rows.len() as u64);
        let facts = Facts { now_ms, head, claim: Term(claim), taken: Seq(taken) };
        let policy = Retention { age: Duration::from_millis(policy.0 * HOUR), entries: policy.1 };
        let plan = plan(policy, facts, &rows, &above, 100);
        assert_eq!((plan.taken.0, plan.empty_to.0, plan.delete_to.0), expected, "{log}");
    }

    #[test]
    fn prefixes_go_and_young_rows_stay_empty() {
        check("c9 m9 m9 m1", 0, (100, 100), (0, 0, 0));
        check("c9 m9 m9 m1", 0, (5, 100), (3, 3, 0));
        check("c99 m99 m9 m1", 0, (5, 100), (3, 3, 2));
        check("c99 m99 m99 m1", 0, (100, 1), (3, 3, 3));
        check("c99 m99 m99 m1", 0, (100, 2), (2, 2, 2));
        // The newest stays, and may be emptied.
        check("c99 m99 m99", 0, (1, 100), (3, 3, 2));
        // Claims do not count.
        check("c99 m99 c99 c99", 0, (100, 0), (2, 4, 3));
        // What was emptied goes when it is old enough.
        check("c30 m30 m20 m1", 3, (100, 1), (3, 3, 2));
        // A clock that was set back does not make a hole.
        check("c1 m50 m50", 0, (40, 100), (0, 0, 0));
    }
}
