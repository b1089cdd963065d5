//! What can be taken out, to see what it is good for.

/// Something without which a rule of the contract is broken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Guard {
    /// A room's row is made unless it is there, and then read.
    NewRoomsAreRead,
    /// A claim at a number that is taken meanwhile is made again.
    ClaimsAreRepeated,
    /// A room's newest entry is never deleted.
    NewestRowStays,
    /// No entry of the last 24 h is deleted.
    YoungRowsStay,
    /// The rest of an append is stored only if its first was.
    RestFollowsFirst,
    /// An append needs the entry before it under its own claim.
    RowBefore,
    /// An append needs the room's epoch to be the one that it is for.
    EpochIsChecked,
    /// The entry before it is the fence, not another row that is looked at first.
    FenceIsTheLog,
    /// No two entries have one author and cmid.
    OneEntryPerCmid,
    /// No two entries of one append have one author and cmid.
    OneCmidPerAppend,
    /// A store that was set back serves nobody until every room has a new epoch.
    NewEpochAfterRestore,
    /// An append of unknown outcome is not taken for one that failed.
    UnknownIsNotFailed,
    /// Whoever comes in is answered from a read of the head that began after they asked.
    HeadIsReadFirst,
    /// Only what the store says is stored.
    StoredComesFirst,
    /// What was not answered is sent again in order.
    RepeatsAreInOrder,
    /// What a connector brings over a link is passed over once it has opened another.
    LastLinkCounts,
    /// What was refused unheard is not said again behind what came later.
    OvertakenIsRefused,
    /// Whoever comes back waits until what they said before is stored, or surely is not.
    RejoinsWait,
    /// Nothing is said before its session was let in.
    EnterComesFirst,
}

impl Guard {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::NewRoomsAreRead,
        Self::ClaimsAreRepeated,
        Self::NewestRowStays,
        Self::YoungRowsStay,
        Self::RestFollowsFirst,
        Self::RowBefore,
        Self::EpochIsChecked,
        Self::FenceIsTheLog,
        Self::OneEntryPerCmid,
        Self::OneCmidPerAppend,
        Self::NewEpochAfterRestore,
        Self::UnknownIsNotFailed,
        Self::HeadIsReadFirst,
        Self::StoredComesFirst,
        Self::RepeatsAreInOrder,
        Self::LastLinkCounts,
        Self::OvertakenIsRefused,
        Self::RejoinsWait,
        Self::EnterComesFirst,
    ];

    /// What it says.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::NewRoomsAreRead => "a new room is read after it was made",
            Self::ClaimsAreRepeated => "a claim at a number that was taken meanwhile is made again",
            Self::NewestRowStays => "a room's newest entry is never deleted",
            Self::YoungRowsStay => "no entry of the last 24 h is deleted",
            Self::RestFollowsFirst => "the rest of an append is stored only with its first",
            Self::RowBefore => "an append needs the entry before it, under its own claim",
            Self::EpochIsChecked => "an append needs the epoch that it is for",
            Self::FenceIsTheLog => {
                "the fence is in the log, not in another row that is looked at first"
            }
            Self::OneEntryPerCmid => "one cmid has one entry",
            Self::OneCmidPerAppend => "one append has a cmid once",
            Self::NewEpochAfterRestore => "after a restore every room gets a new epoch",
            Self::UnknownIsNotFailed => "an unknown outcome is not taken for a failure",
            Self::HeadIsReadFirst => "the head is read before somebody is let in",
            Self::StoredComesFirst => "nothing is said before the store says that it is stored",
            Self::RepeatsAreInOrder => "what was not answered is said again in order",
            Self::LastLinkCounts => "what was brought over a link that is over is passed over",
            Self::OvertakenIsRefused => "what something later has overtaken is not said again",
            Self::RejoinsWait => "a re-join waits for what was said over the lost link",
            Self::EnterComesFirst => "what is said behind an enter waits for its answer",
        }
    }
}
