//! What waits to be stored, what is being stored, and what was stored lately.

use std::{
    collections::{HashMap, VecDeque},
    hash::{Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use model::{
    Identity, Seq, Term, UserName,
    planted::{self, Bug},
};

use crate::{Duplicate, Entry, Kind, Origin, Refusal};

/// Entries to be stored behind `after`, all or none.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Append {
    /// The claim that allows it.
    pub term: Term,
    /// The newest stored entry; the first of these gets the next number.
    pub after: Seq,
    /// What to store, in order; at least one.
    pub entries: Vec<NewEntry>,
}

/// An entry that has no number yet.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct NewEntry {
    /// Whether it is for all or for one.
    pub kind: Kind,
    /// The name of who said it.
    pub author: UserName,
    /// Who that is.
    pub author_identity: Identity,
    /// What was said.
    pub content: Arc<str>,
    /// The client's id of it, unique per author.
    pub cmid: Bytes,
    /// `model::message_digest` of target and content.
    pub digest: u64,
}

/// One message on its way, and all who wait for it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Draft {
    pub(crate) entry: NewEntry,
    pub(crate) origins: Vec<Origin>,
    /// Those who said something else under the same cmid, each with its digest. Which
    /// of them comes too late is known when it is known what is stored.
    pub(crate) rivals: Vec<(u64, Origin)>,
    /// Its content was taken away before the room was told that it is stored.
    pub(crate) redacted: bool,
}

impl Draft {
    /// All who wait for it, whatever they said.
    fn waiting(&self) -> impl Iterator<Item = &Origin> {
        self.origins.iter().chain(self.rivals.iter().map(|(_, origin)| origin))
    }

    /// The same.
    fn into_waiting(self) -> impl Iterator<Item = Origin> {
        self.origins.into_iter().chain(self.rivals.into_iter().map(|(_, origin)| origin))
    }

    /// Its cmid was stored before: who said the same then, and who something else?
    fn judge(self, found: &Duplicate) -> (Stored, Vec<Origin>, Vec<Origin>) {
        let own = self.entry.digest;
        let said = self.origins.into_iter().map(|origin| (own, origin)).chain(self.rivals);
        let (same, other): (Vec<_>, Vec<_>) = said.partition(|(digest, _)| *digest == found.digest);
        let origins = |said: Vec<(u64, Origin)>| said.into_iter().map(|(_, origin)| origin);
        let stored = Stored { seq: found.seq, at_ms: found.at_ms, digest: found.digest };
        (stored, origins(same).collect(), origins(other).collect())
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Log {
    pub(crate) term: Term,
    pub(crate) head: Seq,
    pending: VecDeque<Draft>,
    pending_bytes: usize,
    in_flight: Vec<Draft>,
    /// The newest stored entries, without claims, oldest first.
    ring: VecDeque<Entry>,
    ring_bytes: usize,
    /// The ring has every entry above this one.
    ring_after: Seq,
    ring_max: usize,
    /// Where the ring's cmids are stored.
    stored: HashMap<(Identity, Bytes), Stored>,
    pending_max: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stored {
    pub(crate) seq: Seq,
    pub(crate) at_ms: u64,
    digest: u64,
}

/// Entries that one append may carry, so that one room does not hold up others.
const APPEND_ENTRIES_MAX: usize = 256;
/// Bytes of content that may wait in one room; more is refused.
const PENDING_BYTES_MAX: usize = 8 << 20;
/// Bytes of content that the ring keeps, so that a replay of it fits one message of
/// the link; older entries are read from the store again.
const RING_BYTES_MAX: usize = 8 << 20;

impl Log {
    pub(crate) fn new(term: Term, head: Seq, ring_max: usize, pending_max: usize) -> Self {
        Self {
            term,
            head,
            pending: VecDeque::new(),
            pending_bytes: 0,
            in_flight: Vec::new(),
            ring: VecDeque::new(),
            ring_bytes: 0,
            ring_after: head,
            ring_max,
            stored: HashMap::new(),
            pending_max,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.in_flight.is_empty()
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// All who wait for something to be stored.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Origin> {
        self.in_flight.iter().chain(&self.pending).flat_map(Draft::waiting)
    }

    /// Looks for the same cmid among what is stored, being stored, or waiting.
    /// `Ok(None)` if it is on its way: then `origin` will be answered with it, also if
    /// it says something else, for that one may itself be the repetition.
    pub(crate) fn repeat(
        &mut self,
        identity: Identity,
        cmid: &Bytes,
        digest: u64,
        origin: &Origin,
    ) -> Option<Result<Option<Stored>, Refusal>> {
        if planted::is(Bug::DuplicatesNotSought) {
            return None;
        }
        if let Some(stored) = self.stored.get(&(identity, cmid.clone())) {
            let same = stored.digest == digest || planted::is(Bug::CmidConflictIgnored);
            return Some(if same { Ok(Some(*stored)) } else { Err(Refusal::CmidConflict) });
        }
        let mut on_its_way = self.in_flight.iter_mut().chain(&mut self.pending);
        let draft =
            on_its_way.find(|d| d.entry.author_identity == identity && d.entry.cmid == *cmid)?;
        if draft.entry.digest == digest {
            draft.origins.push(origin.clone());
        } else {
            draft.rivals.push((digest, origin.clone()));
        }
        Some(Ok(None))
    }

    pub(crate) fn push(&mut self, draft: Draft) -> Result<(), Refusal> {
        let len = draft.entry.content.len();
        if self.pending.len() >= self.pending_max || self.pending_bytes + len > PENDING_BYTES_MAX {
            return Err(Refusal::Overloaded);
        }
        self.pending_bytes += len;
        self.pending.push_back(draft);
        Ok(())
    }

    /// The number and the entry that the last one in line may become.
    pub(crate) fn foreseen(&self) -> Option<Entry> {
        let entry = self.pending.back()?.entry.clone();
        let ahead = self.in_flight.len() + self.pending.len();
        Some(Entry {
            seq: Seq(self.head.0 + ahead as u64),
            kind: entry.kind,
            author: entry.author,
            author_identity: entry.author_identity,
            content: entry.content,
            cmid: entry.cmid,
            at_ms: 0,
            redacted: false,
        })
    }

    pub(crate) fn take(&mut self) -> Option<Append> {
        if self.is_in_flight() || self.pending.is_empty() {
            return None;
        }
        let count = self.pending.len().min(APPEND_ENTRIES_MAX);
        self.in_flight.extend(self.pending.drain(..count));
        let entries: Vec<NewEntry> =
            self.in_flight.iter().map(|draft| draft.entry.clone()).collect();
        self.pending_bytes -= entries.iter().map(|entry| entry.content.len()).sum::<usize>();
        Some(Append { term: self.term, after: self.head, entries })
    }

    /// All that was in flight is stored: gives each entry with those who wait for it,
    /// and those who said something else under its cmid.
    pub(crate) fn stored(&mut self, at_ms: u64) -> Vec<(Entry, Vec<Origin>, Vec<Origin>)> {
        let drafts = std::mem::take(&mut self.in_flight);
        drafts
            .into_iter()
            .map(|Draft { entry, origins, rivals, redacted }| {
                self.head = self.head.next();
                let key = (entry.author_identity, entry.cmid.clone());
                self.stored.insert(key, Stored { seq: self.head, at_ms, digest: entry.digest });
                let entry = Entry {
                    seq: self.head,
                    kind: entry.kind,
                    author: entry.author,
                    author_identity: entry.author_identity,
                    content: entry.content,
                    cmid: entry.cmid,
                    at_ms,
                    redacted,
                };
                self.remember(entry.clone());
                (entry, origins, rivals.into_iter().map(|(_, origin)| origin).collect())
            })
            .collect()
    }

    /// Forgets what an entry says.
    pub(crate) fn redact(&mut self, seq: Seq) {
        if let Ok(at) = self.ring.binary_search_by_key(&seq, |entry| entry.seq) {
            let entry = &mut self.ring[at];
            self.ring_bytes -= entry.content.len();
            (entry.content, entry.redacted) = ("".into(), true);
        }
        let ahead = seq.0.checked_sub(self.head.0 + 1).and_then(|at| usize::try_from(at).ok());
        if let Some(draft) = ahead.and_then(|at| self.in_flight.get_mut(at)) {
            // Stored, though nobody has told the room yet.
            (draft.entry.content, draft.redacted) = ("".into(), true);
        }
    }

    fn remember(&mut self, entry: Entry) {
        self.ring_bytes += entry.content.len();
        self.ring.push_back(entry);
        while (self.ring.len() > self.ring_max || self.ring_bytes > RING_BYTES_MAX)
            && let Some(oldest) = self.ring.pop_front()
        {
            self.ring_bytes -= oldest.content.len();
            self.ring_after = oldest.seq;
            self.stored.remove(&(oldest.author_identity, oldest.cmid));
        }
    }

    /// Takes those out of the flight that were stored before; the others wait
    /// again, first in line. Gives the former with those who said the same, and those
    /// who said something else.
    pub(crate) fn duplicates(
        &mut self,
        found: &[Duplicate],
    ) -> Vec<(Stored, Vec<Origin>, Vec<Origin>)> {
        let mut answers = Vec::new();
        let drafts: Vec<_> = std::mem::take(&mut self.in_flight).into_iter().enumerate().collect();
        for (index, draft) in drafts.into_iter().rev() {
            match found.iter().find(|duplicate| duplicate.index == index) {
                None => {
                    self.pending_bytes += draft.entry.content.len();
                    self.pending.push_front(draft);
                }
                Some(found) => answers.push(draft.judge(found)),
            }
        }
        answers.reverse();
        answers
    }

    /// Gives up on all that is in flight.
    pub(crate) fn fail_in_flight(&mut self) -> Vec<Origin> {
        std::mem::take(&mut self.in_flight).into_iter().flat_map(Draft::into_waiting).collect()
    }

    /// Gives up on all that waits.
    pub(crate) fn fail_pending(&mut self) -> Vec<Origin> {
        self.pending_bytes = 0;
        std::mem::take(&mut self.pending).into_iter().flat_map(Draft::into_waiting).collect()
    }

    /// The ring has every entry above this one.
    pub(crate) fn remembered_after(&self) -> Seq {
        self.ring_after
    }

    /// All entries that the ring still has.
    pub(crate) fn remembered(&self) -> impl Iterator<Item = &Entry> {
        self.ring.iter()
    }

    /// The entries above `after`, if the ring still has all of them.
    pub(crate) fn since(&self, after: Seq) -> Option<impl Iterator<Item = &Entry>> {
        (after >= self.ring_after).then(|| self.ring.iter().filter(move |entry| entry.seq > after))
    }
}

impl Hash for Log {
    /// All else follows from these.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.term, self.head, self.ring_after).hash(state);
        (&self.pending, &self.in_flight, &self.ring).hash(state);
    }
}
