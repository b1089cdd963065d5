//! Reads of the log for those who come back, and for what is said again. Pages of it:
//! see `history`.

use std::collections::VecDeque;

use model::{Fence, Identity, RoomId, Seq};
use room::{Command, Entry, Found, Input, Publish, Refusal, Replay, Resume, Sought};
use store::{Page, Range};

use crate::{rooms::Rooms, superseded, translate};

/// Entries that one read of the store asks for.
pub(crate) const PAGE: usize = 500;
/// How far back a replay reaches at most, in entries; whoever missed more is told that
/// some are missing.
const REPLAY_MAX: u64 = 10_000;
/// Bytes of content that a re-join replays at most, so that with what the room
/// remembers it fits one message of the link; as above for more.
const REJOIN_BYTES_MAX: usize = 24 << 20;
/// The same for one session that comes back: many may at once.
const RESUME_BYTES_MAX: usize = 8 << 20;
/// Replays that are being read at once, so that what they hold is bounded.
pub(crate) const REPLAYS_AT_ONCE: usize = 8;

/// Reads what somebody missed, until it meets what the room remembers, and then
/// applies their command. Nothing can come between: the last step is under the room's
/// lock.
pub(crate) async fn replay(rooms: Rooms, id: RoomId, fence: Fence, command: Command) {
    let Ok(_permit) = rooms.0.replays.acquire().await else { return };
    let Some(mut missed) = rooms.read(&id, |open| Missed::new(&command, open.head().seq)).flatten()
    else {
        // Given up in the meantime, and perhaps claimed again: from the start.
        return rooms.submit(&id, command);
    };
    loop {
        let page = match rooms.0.store.read(&id, Range::After(missed.up_to), PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(error = %error, "cannot read what somebody missed");
                rooms.refuse(&id, &command, Refusal::Unavailable);
                return rooms.replay_read(&id, fence, &command, None);
            }
        };
        if page.head.is_none_or(|head| head.fence != fence) {
            superseded::give_up(&rooms, &id, fence).await;
            return rooms.submit(&id, command);
        }
        missed.extend(page);
        let joins = |open: &room::Room| (open.fence() == fence).then(|| open.joins(missed.up_to));
        match rooms.read(&id, joins).flatten() {
            None => return rooms.submit(&id, command),
            Some(true) => return rooms.replay_read(&id, fence, &command, Some(missed.into())),
            Some(false) => {}
        }
    }
}

/// Looks for a message in the log whose target is not here: it may have been stored
/// before.
pub(crate) async fn seek(
    rooms: Rooms,
    id: RoomId,
    fence: Fence,
    publish: Publish,
    author: Identity,
) {
    let Ok(_permit) = rooms.0.pages.acquire().await else { return };
    let found = match rooms.0.store.find(&id, author, &publish.cmid).await {
        Ok(Some(store::Found { seq, at_ms, digest })) => Found::Entry { seq, at_ms, digest },
        Ok(None) => Found::Nothing,
        Err(error) => {
            tracing::warn!(error = %error, "cannot look for a message");
            Found::Unknown
        }
    };
    rooms.sought(&id, fence, Sought { publish, found });
}

/// What was read so far: all above `from`, without holes.
#[derive(Debug)]
struct Missed {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    from: Seq,
    up_to: Seq,
}

impl Missed {
    /// For whoever is behind in a room of which `head` is the newest entry; `None` if
    /// the command brings nobody back.
    fn new(command: &Command, head: Seq) -> Option<Self> {
        let (mark, bytes_max) = match &command.input {
            Input::Rejoin(rejoin) => (rejoin.mark.seq, REJOIN_BYTES_MAX),
            Input::Join(join) => (join.resume.as_ref()?.position.seq, RESUME_BYTES_MAX),
            _ => return None,
        };
        let from = mark.max(Seq(head.0.saturating_sub(REPLAY_MAX)));
        Some(Self { entries: VecDeque::new(), bytes: 0, bytes_max, from, up_to: from })
    }

    /// Adds a page that was read after `up_to`.
    fn extend(&mut self, page: Page) {
        if page.taken > self.up_to {
            // The page does not join what was read before.
            self.entries.clear();
            self.bytes = 0;
            self.from = page.taken;
            self.up_to = page.taken;
        }
        let head = page.head.map_or(Seq(0), |head| head.position.seq);
        // An empty page ends the log.
        self.up_to = page.entries.last().map_or(head, |row| row.seq).max(self.up_to);
        for entry in page.entries.into_iter().filter_map(translate::from_row) {
            if entry.seq > self.from {
                self.bytes += entry.content.len();
                self.entries.push_back(entry);
            }
        }
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.content.len();
            self.from = oldest.seq;
        }
    }
}

impl From<Missed> for Replay {
    fn from(missed: Missed) -> Self {
        let Missed { entries, from, up_to, .. } = missed;
        Self { entries: entries.into(), from, up_to }
    }
}

/// Gives a command what was read for it.
pub(crate) fn with_replay(mut input: Input, replay: Replay) -> Input {
    match &mut input {
        Input::Rejoin(rejoin) => rejoin.replay = Some(replay),
        Input::Join(join) => {
            join.resume =
                join.resume.take().map(|resume| Resume { replay: Some(replay), ..resume });
        }
        _ => {}
    }
    input
}
