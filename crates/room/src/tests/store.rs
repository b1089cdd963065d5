//! A store that does what it should.

use std::collections::HashMap;

use bytes::Bytes;
use model::{Identity, Seq};

use crate::{Append, AppendResult, Duplicate, Entry, Found};

#[derive(Default)]
pub(super) struct StoreModel {
    /// All that is stored, whether the room was told or not.
    pub(super) log: Vec<Entry>,
    digests: HashMap<(Identity, Bytes), (Seq, u64)>,
}

impl StoreModel {
    /// The newest entry; the claim is 1.
    pub(super) fn head(&self) -> Seq {
        Seq(1 + self.log.len() as u64)
    }

    /// What is stored under a cmid.
    pub(super) fn find(&self, author: Identity, cmid: &Bytes) -> Found {
        match self.digests.get(&(author, cmid.clone())) {
            Some(&(seq, digest)) => Found::Entry { seq, at_ms: seq.0, digest },
            None => Found::Nothing,
        }
    }

    /// Stores all, or none if some of it was stored before.
    pub(super) fn append(&mut self, append: &Append) -> AppendResult {
        let known = append.entries.iter().enumerate().filter_map(|(index, entry)| {
            let key = (entry.author_identity, entry.cmid.clone());
            let (seq, digest) = *self.digests.get(&key)?;
            Some(Duplicate { index, seq, at_ms: seq.0, digest })
        });
        let known: Vec<Duplicate> = known.collect();
        if !known.is_empty() {
            return AppendResult::Duplicates(known);
        }
        let at_ms = self.head().0 + 1;
        for entry in append.entries.clone() {
            let seq = self.head().next();
            let key = (entry.author_identity, entry.cmid.clone());
            assert!(self.digests.insert(key, (seq, entry.digest)).is_none(), "stored twice");
            self.log.push(Entry {
                seq,
                kind: entry.kind,
                author: entry.author,
                author_identity: entry.author_identity,
                content: entry.content,
                cmid: entry.cmid,
                at_ms,
                redacted: false,
            });
        }
        AppendResult::Stored { at_ms }
    }
}
