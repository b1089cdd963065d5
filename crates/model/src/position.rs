//! Places in a room's log, and who may write there.

/// Largest seq: clients keep it in a JavaScript number.
pub const SEQ_MAX: u64 = (1 << 53) - 1;

/// Names one incarnation of a room's log. Clients see it.
///
/// It changes only if committed entries may be gone: a memory store that ended,
/// a restore from a backup. Planned moves and crashes of shards keep it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Epoch(pub u64);

/// Orders the epochs of one room: a later incarnation has a higher gen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Gen(pub u64);

/// Number of an entry in a room's log, from 1, without gaps; 0 is "before the first".
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Seq(pub u64);

/// Fencing number of a room's owner: the seq of its claim entry.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Term(pub u64);

/// Orders all owners that a room ever had, over epochs and claims.
///
/// What comes under a lower fence than the highest seen for its room was sent by
/// a superseded shard and is ignored.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Fence {
    /// The incarnation of the log.
    pub r#gen: Gen,
    /// The claim in it.
    pub term: Term,
}

/// The right by which a member is in a room: the owner that admitted it, and the
/// number of that admission. Older grants win when two members hold one name.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Grant {
    /// Who admitted the member.
    pub fence: Fence,
    /// Counts that owner's admissions, from 1.
    pub number: u64,
}

/// A place in one room's log.
///
/// Positions order entries within one [`Epoch`] only. A client that comes back
/// with a position of another epoch has missed an unknown number of entries.
/// `Ord` is not derived, so that the comparison cannot be written by accident.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Position {
    /// Which incarnation of the log.
    pub epoch: Epoch,
    /// Which entry.
    pub seq: Seq,
}

impl Seq {
    /// The entry after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
