//! Reads of the log: for re-joins, and for history.

use model::{Position, RoomId, Seq};
use room::{Input, Refusal, Replay};
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
/// Bytes of content that a re-join replays at most, so that with what the room
/// remembers it fits one message of the link; as above for more.
const REPLAY_BYTES_MAX: usize = 24 << 20;

/// Reads what a re-join missed, until it meets what the room remembers, and then
/// applies it. Nothing can come between: the last step is under the room's lock.
pub(crate) async fn rejoin(rooms: Rooms, id: RoomId, command: Command) {
    let Input::Rejoin(mut rejoin) = command.input else { return };
    let mut replay = Replay { entries: Vec::new(), up_to: rejoin.mark.seq, complete: true };
    let mut bytes = 0;
    loop {
        match rooms.0.store.read(&id, Range::After(replay.up_to), PAGE).await {
            Ok(page) => extend(&mut replay, &mut bytes, rejoin.mark, page),
            Err(error) => {
                tracing::warn!(error = %error, "cannot read what a connector missed");
                let command = Command { input: Input::Rejoin(rejoin), ..command };
                return rooms.refuse(&id, &command, Refusal::Unavailable);
            }
        }
        let (mut joined, mut is_open) = (false, false);
        rooms.with_slot(&id, |slot| {
            let Slot::Open(open) = slot else { return false };
            is_open = true;
            joined = !replay.complete || open.room.joins(replay.up_to);
            if !joined {
                return false;
            }
            rejoin.replay = Some(replay.clone());
            rooms.apply_to(&id, open, Input::Rejoin(rejoin.clone()))
        });
        if joined {
            return;
        }
        if !is_open {
            // Given up in the meantime, and perhaps claimed again: from the start.
            return rooms.submit(&id, Command { input: Input::Rejoin(rejoin), ..command });
        }
    }
}

/// Adds a page to a replay, or finds that it cannot be complete.
fn extend(replay: &mut Replay, bytes: &mut usize, mark: Position, page: Page) {
    let same_epoch = page.head.is_some_and(|head| head.position.epoch == mark.epoch);
    let Some(last) = page.entries.last().map(|row| row.seq) else {
        // The log ends here, but the room's memory does not reach back to it: only if
        // the room's head was never stored, which cannot be.
        replay.complete = false;
        return;
    };
    if !same_epoch || page.taken > replay.up_to {
        replay.complete = false;
        return;
    }
    let entries = page.entries.into_iter().filter_map(translate::from_row);
    replay.entries.extend(entries.inspect(|entry| *bytes += entry.content.len()));
    replay.up_to = last;
    replay.complete = replay.entries.len() <= REPLAY_MAX && *bytes <= REPLAY_BYTES_MAX;
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
