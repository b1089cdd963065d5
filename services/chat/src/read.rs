//! Reads of the log: for re-joins, and for history.

use model::{Position, RoomId, Seq};
use room::{Input, Rejoin, Replay};
use store::{Page, Range};

use crate::{
    rooms::{Command, Rooms, Slot},
    translate,
};

/// Entries that one read of the store asks for.
const PAGE: usize = 500;
/// Entries that a re-join replays at most; a connector that missed more is told
/// that some are missing.
const REPLAY_MAX: usize = 10_000;

/// Reads what a re-join missed, until it meets what the room remembers, and then
/// applies it. Nothing can come between: the last step is under the room's lock.
pub(crate) async fn rejoin(rooms: Rooms, id: RoomId, command: Command) {
    let Input::Rejoin(mut rejoin) = command.input else { return };
    let mut replay = Replay { entries: Vec::new(), up_to: rejoin.mark.seq, complete: true };
    loop {
        let page = rooms.0.store.read(&id, Range::After(replay.up_to), PAGE).await;
        extend(&mut replay, rejoin.mark, page.ok());
        let mut joined = false;
        rooms.with_slot(&id, |slot| match slot {
            Slot::Open(open) if !replay.complete || open.room.joins(replay.up_to) => {
                joined = true;
                rejoin.replay = Some(replay.clone());
                rooms.apply_to(&id, open, Input::Rejoin(rejoin.clone()))
            }
            Slot::Open(_) => false,
            // Given up and claimed again in the meantime: from the start.
            Slot::Claiming { .. } => false,
        });
        if joined {
            return;
        }
        if rooms.read(&id, |_| ()).is_none() {
            let input = Input::Rejoin(Rejoin { replay: None, ..rejoin });
            return rooms.submit(&id, Command { input, ..command });
        }
    }
}

fn extend(replay: &mut Replay, mark: Position, page: Option<Page>) {
    let Some(page) = page else {
        replay.complete = false;
        return;
    };
    let same_epoch = page.head.is_some_and(|head| head.position.epoch == mark.epoch);
    if !same_epoch || page.taken > replay.up_to || replay.entries.len() > REPLAY_MAX {
        replay.complete = false;
        return;
    }
    match page.entries.last() {
        Some(last) => replay.up_to = last.seq,
        // The log ends here, but the room's memory does not reach back to it:
        // only if its head was never stored, which cannot be.
        None => replay.complete = false,
    }
    replay.entries.extend(page.entries.into_iter().filter_map(translate::from_row));
}

/// Which page of a room's history is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub(crate) range: Range,
    pub(crate) limit: usize,
}

/// Reads a page of what was said to everybody.
///
/// # Errors
///
/// What the store says.
pub(crate) async fn history(
    rooms: &Rooms,
    id: &RoomId,
    query: Query,
) -> Result<Page, store::StoreError> {
    let mut range = query.range;
    let mut entries = Vec::new();
    loop {
        let page = rooms.0.store.read(id, range, query.limit).await?;
        let full = page.entries.len() == query.limit;
        let next = match range {
            Range::After(_) => page.entries.last().map(|row| Range::After(row.seq)),
            Range::Before(_) => page.entries.first().map(|row| Range::Before(row.seq)),
        };
        let public =
            |row: &store::Row| row.said.as_ref().is_some_and(|said| said.body.target.is_none());
        let found = page.entries.into_iter().filter(public);
        match range {
            Range::After(_) => entries.extend(found),
            Range::Before(_) => entries = found.chain(entries).collect(),
        }
        match next {
            // Claims and whispers were left out: there may be more to find.
            Some(next) if full && entries.len() < query.limit => range = next,
            _ => {
                let surplus = entries.len().saturating_sub(query.limit);
                match query.range {
                    Range::After(_) => entries.truncate(query.limit),
                    Range::Before(_) => drop(entries.drain(..surplus)),
                }
                return Ok(Page { head: page.head, taken: page.taken, entries });
            }
        }
    }
}

/// The newest seq that can be: before it lies everything.
pub(crate) const END: Seq = Seq(u64::MAX);
