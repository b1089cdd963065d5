//! Pages of the log, as far as somebody may see them.

use std::collections::VecDeque;

use model::{Fence, RoomId, Seq};
use room::{Entry, Pages, Query, Read, Refusal};
use store::{Head, Page, Range, StoreError};

use crate::{read::PAGE, rooms::Rooms, superseded, translate};

/// Bytes of content that one page may have, so that it fits one message of the link.
const BYTES_MAX: usize = 8 << 20;
/// Reads of the store for one page: most entries may be whispers of others.
const READS_MAX: usize = 100;
/// Pages that are being read for members at once.
pub(crate) const AT_ONCE: usize = 16;

/// The newest seq that can be: before it lies everything.
pub(crate) const END: Seq = Seq(u64::MAX);

/// What was found, in order of seq.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) head: Option<Head>,
    /// The highest seq that retention took.
    pub(crate) taken: Seq,
    pub(crate) entries: VecDeque<Entry>,
    /// True if nothing follows in the query's direction.
    pub(crate) complete: bool,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotFound {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another shard has claimed the room")]
    Superseded,
    #[error("too many entries are for others")]
    Hidden,
}

/// Reads a page for a member, and answers.
pub(crate) async fn answer(
    rooms: Rooms,
    id: RoomId,
    fence: Fence,
    read: Read,
    reader: model::Identity,
) {
    let Ok(_permit) = rooms.0.pages.acquire().await else { return };
    // A page is read after it was asked for, and with the head that it is of: nobody
    // who lost the room answers.
    let found = find(&rooms, &id, read.query, Some(fence), |entry| entry.is_for(reader)).await;
    let found = found.map_err(|error| {
        tracing::debug!(room_id = %id, error = %error, "no page");
        match error {
            NotFound::Store(_) => Refusal::Unavailable,
            NotFound::Superseded => Refusal::Moved,
            NotFound::Hidden => Refusal::Overloaded,
        }
    });
    if matches!(found, Err(Refusal::Moved)) {
        superseded::give_up(&rooms, &id, fence).await;
    }
    rooms.page_read(&id, fence, read, found);
}

/// Reads until a page is full of what is visible, or the log ends; under `fence`, if
/// there has to be one.
///
/// # Errors
///
/// The store fails, the room has another owner, or nothing visible is near.
pub(crate) async fn find(
    rooms: &Rooms,
    id: &RoomId,
    query: Query,
    fence: Option<Fence>,
    is_visible: impl Fn(&Entry) -> bool,
) -> Result<Found, NotFound> {
    let mut found = Found { head: None, taken: Seq(0), entries: VecDeque::new(), complete: false };
    let (mut pages, mut bytes, mut size) = (query.pages, 0, query.limit.min(PAGE));
    for _ in 0..READS_MAX {
        let page = rooms.0.store.read(id, range(pages), size).await?;
        if fence.is_some_and(|fence| page.head.is_none_or(|head| head.fence != fence)) {
            return Err(NotFound::Superseded);
        }
        // Backwards it is the first read that begins at the head.
        if matches!(pages, Pages::After(_)) || found.head.is_none() {
            found.head = page.head;
        }
        found.taken = page.taken;
        let (next, is_last) = (next(pages, &page), page.entries.len() < size);
        let visible = page.entries.into_iter().filter_map(translate::from_row).filter(&is_visible);
        let is_full = found.fill(query, visible.collect(), &mut bytes);
        found.complete = is_last && !is_full;
        match next {
            Some(next) if !is_last && !is_full && found.entries.len() < query.limit => pages = next,
            _ => return Ok(found),
        }
        size = PAGE;
    }
    if found.entries.is_empty() { Err(NotFound::Hidden) } else { Ok(found) }
}

impl Found {
    /// Adds what fits of a page. True if something does not.
    fn fill(&mut self, query: Query, mut page: VecDeque<Entry>, bytes: &mut usize) -> bool {
        let is_backwards = matches!(query.pages, Pages::Before(_));
        while let Some(entry) = if is_backwards { page.pop_back() } else { page.pop_front() } {
            *bytes += entry.content.len();
            let is_over = *bytes > BYTES_MAX && !self.entries.is_empty();
            if is_over || self.entries.len() == query.limit {
                return true;
            }
            match is_backwards {
                true => self.entries.push_front(entry),
                false => self.entries.push_back(entry),
            }
        }
        false
    }
}

fn range(pages: Pages) -> Range {
    match pages {
        Pages::After(seq) => Range::After(seq),
        Pages::Before(seq) => Range::Before(seq),
    }
}

/// Where the page after one begins.
fn next(pages: Pages, page: &Page) -> Option<Pages> {
    match pages {
        Pages::After(_) => page.entries.last().map(|row| Pages::After(row.seq)),
        Pages::Before(_) => page.entries.first().map(|row| Pages::Before(row.seq)),
    }
}
