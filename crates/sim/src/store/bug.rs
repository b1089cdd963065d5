//! Bugs that a store could have, to see that each is found.

use bytes::Bytes;
use chassis::Rng;
use model::{RoomId, Seq};
use store::{Append, Appended, Memory, Page, Range, Row, Store, StoreError};

use super::handle::at_once;

/// A bug of the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bug {
    /// Some appends are answered, and never carried out.
    Forgets,
    /// Of some appends only the first entry is stored.
    StoresHalf,
    /// Appends are answered before they are carried out.
    AnswersEarly,
    /// A superseded shard may go on to write.
    NoFence,
    /// A repeated cmid is stored again.
    NoDedup,
    /// An append turns two entries round.
    Reorders,
    /// Pages lack an entry now and then.
    Holes,
    /// A page does not say what retention took.
    HidesTaken,
    /// In pages whispers are for all.
    Shouts,
    /// An append may take the place of what others have stored.
    Overwrites,
    /// A cmid is known no longer than its entry, however young that is.
    ForgetsTaken,
    /// Nobody is told that a room was claimed, and heads are those that were seen first.
    KeepsOwners,
}

impl Bug {
    /// Appends as a store does that has the bug.
    pub(super) fn append(
        self,
        log: &Memory,
        appends: Vec<Append>,
        rng: &Rng,
    ) -> Result<Vec<Appended>, StoreError> {
        let append = |append: Append| self.append_one(log, append, rng);
        appends.into_iter().map(append).collect()
    }

    fn append_one(
        self,
        log: &Memory,
        mut append: Append,
        rng: &Rng,
    ) -> Result<Appended, StoreError> {
        match self {
            Self::Forgets if rng.u64().is_multiple_of(10) => {
                return Ok(Appended::Stored { at_ms: 1 });
            }
            Self::StoresHalf => append.entries.truncate(1),
            Self::NoDedup => {
                for draft in &mut append.entries {
                    draft.cmid = Bytes::copy_from_slice(&rng.bytes16());
                }
            }
            Self::ForgetsTaken => forget_taken(log, &mut append, rng)?,
            Self::Reorders => append.entries.reverse(),
            _ => {}
        }
        let rooms = [append.room.clone()];
        let ended = at_once(log.append(std::slice::from_ref(&append)))?.remove(0);
        if self == Self::Overwrites && ended == Appended::Superseded {
            return Ok(log.overwrite(&append));
        }
        if self != Self::NoFence || ended != Appended::Superseded {
            return Ok(ended);
        }
        let Some(head) = at_once(log.heads(&rooms))?.remove(0) else { return Ok(ended) };
        append.after = head.position.seq;
        (append.term, append.epoch) = (head.fence.term, head.position.epoch);
        Ok(at_once(log.append(&[append]))?.remove(0))
    }

    /// Shows a page as a store does that has the bug.
    pub(super) fn page(self, mut page: Page, rng: &Rng) -> Page {
        match self {
            Self::Holes if page.entries.len() > 2 => {
                let at = 1 + rng.u64() % (page.entries.len() as u64 - 2);
                page.entries.remove(usize::try_from(at).expect("a short page"));
            }
            Self::HidesTaken => page.taken = Seq(0),
            Self::Shouts => {
                let said = page.entries.iter_mut().filter_map(|row: &mut Row| row.said.as_mut());
                said.for_each(|said| said.body.target = None);
            }
            _ => {}
        }
        page
    }
}

/// Makes those cmids new whose entries were taken.
fn forget_taken(log: &Memory, append: &mut Append, rng: &Rng) -> Result<(), StoreError> {
    let taken = at_once(log.read(&append.room, Range::After(append.after), 1))?.taken;
    for draft in &mut append.entries {
        let found = at_once(log.find(&append.room, draft.body.author_identity, &draft.cmid))?;
        if found.is_some_and(|found| found.seq <= taken) {
            draft.cmid = Bytes::copy_from_slice(&rng.bytes16());
        }
    }
    Ok(())
}

/// The rooms of some appends.
pub(super) fn rooms(appends: &[Append]) -> Vec<RoomId> {
    appends.iter().map(|append| append.room.clone()).collect()
}
