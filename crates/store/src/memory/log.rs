use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use model::{
    Epoch, Fence, Gen, Identity, Position, Seq, ShardId, Term,
    planted::{self, Bug},
    retention::known_ms,
};

use crate::{
    Append, Appended, Claimed, Draft, Export, Found, Head, Page, Range, Record, RecordKind,
    Retention, Row, Said,
};

type Key = (Identity, Bytes);

/// Cmids of entries that were taken, which one room remembers.
const TAKEN_CMIDS_MAX: usize = 100_000;

/// One room's entries.
#[derive(Debug)]
pub(super) struct Log {
    epoch: Epoch,
    r#gen: Gen,
    term: Term,
    owner: Option<ShardId>,
    head: Seq,
    taken: Seq,
    records: VecDeque<Record>,
    cmids: HashMap<Key, Found>,
    /// Of entries that were taken, oldest first: what is to be forgotten next.
    taken_cmids: VecDeque<Key>,
}

impl Log {
    pub(super) fn new(epoch: Epoch, r#gen: Gen) -> Self {
        Self {
            epoch,
            r#gen,
            term: Term(0),
            owner: None,
            head: Seq(0),
            taken: Seq(0),
            records: VecDeque::new(),
            cmids: HashMap::new(),
            taken_cmids: VecDeque::new(),
        }
    }

    /// Goes on as another incarnation.
    pub(super) fn renew(&mut self, epoch: Epoch, now_ms: u64) {
        self.epoch = epoch;
        self.r#gen = Gen(now_ms.max(self.r#gen.0 + 1));
    }

    pub(super) fn head(&self) -> Head {
        let fence = Fence { r#gen: self.r#gen, term: self.term };
        Head { position: Position { epoch: self.epoch, seq: self.head }, fence }
    }

    pub(super) fn claim(&mut self, by: Option<ShardId>, at_ms: u64, max: usize) -> Claimed {
        self.term = Term(self.head.0 + 1);
        let before = std::mem::replace(&mut self.owner, by.clone());
        let superseded = before.filter(|shard| Some(shard) != by.as_ref());
        let kind = RecordKind::Claim { by, superseded: superseded.clone() };
        self.push(kind, at_ms, max);
        Claimed { epoch: self.epoch, r#gen: self.r#gen, term: self.term, superseded }
    }

    pub(super) fn append(&mut self, append: &Append, at_ms: u64, max: usize) -> Appended {
        if (append.epoch, append.term, append.after) != (self.epoch, self.term, self.head) {
            if planted::is(Bug::ConflictOverwritten) {
                return self.overwrite(append, at_ms);
            }
            return Appended::Superseded;
        }
        let drafts = append.entries.iter().enumerate();
        let found = |draft: &Draft| self.find(draft.body.author_identity, &draft.cmid);
        let duplicates: Vec<_> =
            drafts.filter_map(|(at, draft)| Some((at, found(draft)?))).collect();
        if !duplicates.is_empty() {
            return Appended::Duplicates(duplicates);
        }
        if let Some(twice) = crate::twice(append) {
            return twice;
        }
        for Draft { body, cmid, digest } in &append.entries {
            let found = Found { seq: self.head.next(), at_ms, digest: *digest };
            self.cmids.insert((body.author_identity, cmid.clone()), found);
            let said = Said { body: body.clone(), cmid: cmid.clone(), redacted: false };
            self.push(RecordKind::Said { said, digest: *digest }, at_ms, max);
        }
        Appended::Stored { at_ms }
    }

    /// Puts entries in the place of what others have put there: only where that bug is
    /// planted, or simulated.
    pub(super) fn overwrite(&mut self, append: &Append, at_ms: u64) -> Appended {
        let at = self.records.partition_point(|record| record.seq <= append.after);
        let before = at.checked_sub(1).map(|before| &self.records[before]);
        let is_its = |record: &Record| (record.seq, record.term) == (append.after, append.term);
        if append.epoch != self.epoch || !before.is_some_and(is_its) {
            return Appended::Superseded;
        }
        let seqs = (append.after.0 + 1..).map(Seq);
        for (seq, Draft { body, cmid, digest }) in seqs.zip(&append.entries) {
            let key = (body.author_identity, cmid.clone());
            self.cmids.insert(key, Found { seq, at_ms, digest: *digest });
            let said = Said { body: body.clone(), cmid: cmid.clone(), redacted: false };
            let kind = RecordKind::Said { said, digest: *digest };
            let record = Record { seq, term: append.term, at_ms, kind };
            match self.records.binary_search_by_key(&seq, |record| record.seq) {
                Ok(at) => self.records[at] = record,
                Err(_) => self.records.push_back(record),
            }
        }
        if let Some(newest) = self.records.back() {
            (self.head, self.term) = (newest.seq, newest.term);
        }
        Appended::Stored { at_ms }
    }

    fn push(&mut self, kind: RecordKind, at_ms: u64, max: usize) {
        self.head = self.head.next();
        self.records.push_back(Record { seq: self.head, term: self.term, at_ms, kind });
        while self.records.len() > max.max(1) {
            self.take_oldest();
        }
        self.forget(at_ms);
    }

    fn take_oldest(&mut self) {
        let Some(record) = self.records.pop_front() else { return };
        // Claims do not count: nothing that a client could miss.
        if let RecordKind::Said { said, .. } = record.kind {
            self.taken = record.seq;
            self.taken_cmids.push_back((said.body.author_identity, said.cmid));
        }
    }

    /// Forgets cmids that need not be known any more.
    fn forget(&mut self, now_ms: u64) {
        while let Some(key) = self.taken_cmids.front()
            && (self.taken_cmids.len() > TAKEN_CMIDS_MAX
                || self.cmids.get(key).is_none_or(|found| found.at_ms + known_ms() <= now_ms))
        {
            self.cmids.remove(key);
            self.taken_cmids.pop_front();
        }
    }

    /// Takes what `policy` does not keep; says how many.
    pub(super) fn retain(&mut self, policy: Retention, now_ms: u64) -> u64 {
        let age_ms = u64::try_from(policy.age.as_millis()).unwrap_or(u64::MAX);
        let before = self.records.len();
        while self.records.len() > 1
            && let Some(oldest) = self.records.front()
            && (oldest.at_ms.saturating_add(age_ms) <= now_ms
                || oldest.seq.0.saturating_add(policy.entries) <= self.head.0)
        {
            self.take_oldest();
        }
        self.forget(now_ms);
        (before - self.records.len()) as u64
    }

    pub(super) fn find(&self, author: Identity, cmid: &Bytes) -> Option<Found> {
        self.cmids.get(&(author, cmid.clone())).copied()
    }

    pub(super) fn redact(&mut self, seq: Seq) -> bool {
        let at = self.records.partition_point(|record| record.seq < seq);
        match self.records.get_mut(at) {
            Some(Record { seq: found, kind: RecordKind::Said { said, .. }, .. })
                if *found == seq && seq > self.taken =>
            {
                said.body.content = Arc::from("");
                said.redacted = true;
                true
            }
            _ => false,
        }
    }

    pub(super) fn read(&self, range: Range, limit: usize) -> Page {
        let first = self.records.partition_point(|record| record.seq <= self.taken);
        let records = match range {
            Range::After(seq) => {
                let from = self.records.partition_point(|record| record.seq <= seq).max(first);
                let to = from.saturating_add(limit).min(self.records.len());
                self.records.range(from..to)
            }
            Range::Before(seq) => {
                let to = self.records.partition_point(|record| record.seq < seq).max(first);
                self.records.range(to.saturating_sub(limit).max(first)..to)
            }
        };
        let row = |record: &Record| Row {
            seq: record.seq,
            at_ms: record.at_ms,
            said: match &record.kind {
                RecordKind::Claim { .. } => None,
                RecordKind::Said { said, .. } => Some(said.clone()),
            },
        };
        Page { head: Some(self.head()), taken: self.taken, entries: records.map(row).collect() }
    }

    pub(super) fn export(&self, after: Seq, limit: usize) -> Export {
        let from = self.records.partition_point(|record| record.seq <= after);
        let entries = self.records.range(from..).take(limit).cloned().collect();
        Export { head: self.head(), taken: self.taken, entries }
    }
}
