//! Bugs that can be planted, to see that the checkers find them. In a build without
//! the feature `planted` there are none, and asking costs nothing.

/// One way to break the delivery contract.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Bug {
    /// The store leaves out the second entry of an append.
    HoleInLog = 1,
    /// An append changes the entry before it.
    EntryRewritten,
    /// A message is acknowledged when it is in line.
    ReplyBeforeStored,
    /// A message is pushed when it is in line.
    PushBeforeStored,
    /// What was stored before is not looked for.
    DuplicatesNotSought,
    /// Something else under a known cmid is taken for the same.
    CmidConflictIgnored,
    /// An append under a term that is not the owner's is stored.
    TermNotChecked,
    /// Events are lost, and a connector does not see the hole.
    HoleNotSeen,
    /// Events are lost, and a connector does not compare digests.
    DigestNotCompared,
    /// Whoever resumes is told that all is there.
    AlwaysComplete,
    /// Anybody gets in under a name that is held.
    ResumeForAnybody,
    /// The session before is not told that it was superseded.
    PredecessorStays,
    /// Nobody is told that somebody came.
    ComingNotTold,
    /// A store that does not answer is taken for one that has refused.
    UnknownTakenForAbsent,
    /// Whispers are given to everybody.
    WhisperToAll,
    /// What was not answered is repeated last to first.
    RepeatsOutOfOrder,
    /// A message is pushed before it is acknowledged.
    PushBeforeReply,
    /// Where an append finds its numbers taken, the last writer wins.
    ConflictOverwritten,
    /// Retention forgets cmids with what it takes, however young they are.
    CmidsForgotten,
    /// A connector believes a shard that is not the room's owner any more.
    LateOwnerBelieved,
}

impl Bug {
    /// Those that neither `verify` nor the simulation shows, each with what is in its
    /// way and the test that finds it.
    pub const MASKED: &[(Self, &str)] = &[(
        Self::LateOwnerBelieved,
        // A shard sends only to links with members in the room, and says last that it has
        // given the room up; a link that was lost is never heard again; and what two owners
        // say at one place is the same where they share a log.
        "a shard that gives a room up says so last: `cargo test -p connector --test planted`",
    )];

    /// All of them, each with its name and the rule that it breaks.
    pub const ALL: &[(Self, &str, u8)] = &[
        (Self::HoleInLog, "hole-in-log", 1),
        (Self::EntryRewritten, "entry-rewritten", 2),
        (Self::ReplyBeforeStored, "reply-before-stored", 3),
        (Self::PushBeforeStored, "push-before-stored", 4),
        (Self::DuplicatesNotSought, "duplicates-not-sought", 5),
        (Self::CmidConflictIgnored, "cmid-conflict-ignored", 5),
        (Self::TermNotChecked, "term-not-checked", 6),
        (Self::HoleNotSeen, "hole-not-seen", 7),
        (Self::DigestNotCompared, "digest-not-compared", 8),
        (Self::AlwaysComplete, "always-complete", 9),
        (Self::ResumeForAnybody, "resume-for-anybody", 10),
        (Self::PredecessorStays, "predecessor-stays", 11),
        (Self::ComingNotTold, "coming-not-told", 12),
        (Self::UnknownTakenForAbsent, "unknown-taken-for-absent", 13),
        (Self::WhisperToAll, "whisper-to-all", 14),
        (Self::RepeatsOutOfOrder, "repeats-out-of-order", 15),
        (Self::PushBeforeReply, "push-before-reply", 15),
        (Self::ConflictOverwritten, "conflict-overwritten", 2),
        (Self::CmidsForgotten, "cmids-forgotten", 5),
        (Self::LateOwnerBelieved, "late-owner-believed", 6),
    ];
}

/// True if this bug is planted.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use switch::{draw, is, plant, plant_named};

#[cfg(feature = "planted")]
mod switch {
    use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    use super::Bug;

    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// True if this bug is planted.
    #[must_use]
    pub fn is(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8
    }

    /// Plants a bug in this process, instead of the one before.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
    }

    /// Plants a bug by its name; none if there is no name.
    ///
    /// # Panics
    ///
    /// There is no bug of that name.
    pub fn plant_named(name: &str) {
        let named = |(bug, known, _): &(Bug, &str, u8)| (*known == name).then_some(*bug);
        let bug = Bug::ALL.iter().find_map(named);
        assert!(bug.is_some() || name.is_empty(), "there is no bug {name}");
        plant(bug);
    }

    /// A number that was not drawn before in this process.
    pub fn draw() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }
}

/// A number for bugs that need one.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn draw() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_bug_and_every_bug_its_own_name() {
        for rule in 1..=15 {
            assert!(Bug::ALL.iter().any(|(_, _, broken)| *broken == rule), "{rule}");
        }
        for (at, (bug, name, _)) in Bug::ALL.iter().enumerate() {
            assert_eq!(*bug as usize, at + 1);
            assert!(Bug::ALL[..at].iter().all(|(_, other, _)| other != name), "{name}");
        }
    }
}
