//! A log that lives and dies with its process.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use model::{Epoch, Fence, Gen, Identity, Position, RoomId, Seq, ShardId, Term};

use crate::{
    Append, Appended, Body, Claim, Claimed, Found, Head, Page, Range, Row, Said, Store, StoreError,
};

/// Bounds of a [`Memory`] store.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimits {
    /// Newest entries that a room keeps; older ones are taken.
    pub entries_max: usize,
}

/// Each shard has its own; a room that moves starts a new epoch.
pub struct Memory {
    limits: MemoryLimits,
    unix_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    random: Arc<dyn Fn() -> u64 + Send + Sync>,
    logs: Mutex<HashMap<RoomId, Log>>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Log {
    epoch: Epoch,
    r#gen: Gen,
    term: Term,
    owner: ShardId,
    head: Seq,
    taken: Seq,
    rows: VecDeque<Row>,
    cmids: HashMap<(Identity, Bytes), Found>,
}

impl Memory {
    /// An empty store. `unix_ms` is its clock; `random` draws the names of epochs.
    pub fn new(
        limits: MemoryLimits,
        unix_ms: impl Fn() -> u64 + Send + Sync + 'static,
        random: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            limits,
            unix_ms: Arc::new(unix_ms),
            random: Arc::new(random),
            logs: Mutex::default(),
        }
    }

    fn logs(&self) -> std::sync::MutexGuard<'_, HashMap<RoomId, Log>> {
        self.logs.lock().expect("a log is never left half-changed")
    }
}

#[async_trait]
impl Store for Memory {
    fn is_volatile(&self) -> bool {
        true
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let now_ms = (self.unix_ms)();
        let mut logs = self.logs();
        let claimed = claims.iter().map(|claim| {
            let old = logs.get(&claim.room).map(|log| (log.r#gen, log.fence()));
            let knows = old.is_some_and(|(_, fence)| fence >= claim.seen);
            if !knows {
                // Somebody has seen a later owner: entries that this store never
                // had may be gone, so what it has is another incarnation.
                let above = old.map_or(Gen(0), |(r#gen, _)| r#gen).max(claim.seen.r#gen);
                let r#gen = Gen(now_ms.max(above.0 + 1));
                logs.insert(
                    claim.room.clone(),
                    Log::new(Epoch((self.random)()), r#gen, claim.shard.clone()),
                );
            }
            let log = logs.get_mut(&claim.room).expect("was there, or was just put there");
            log.claim(claim.shard.clone(), now_ms, self.limits.entries_max)
        });
        Ok(claimed.collect())
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let at_ms = (self.unix_ms)();
        let mut logs = self.logs();
        let ends = appends.iter().map(|append| match logs.get_mut(&append.room) {
            Some(log) => log.append(append, at_ms, self.limits.entries_max),
            None => Appended::Superseded,
        });
        Ok(ends.collect())
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<Head>>, StoreError> {
        let logs = self.logs();
        Ok(rooms.iter().map(|room| logs.get(room).map(Log::head)).collect())
    }

    async fn read(&self, room: &RoomId, range: Range, limit: usize) -> Result<Page, StoreError> {
        let logs = self.logs();
        let Some(log) = logs.get(room) else {
            return Ok(Page { head: None, taken: Seq(0), entries: Vec::new() });
        };
        let entries = match range {
            Range::After(seq) => {
                let from = log.rows.partition_point(|row| row.seq <= seq);
                log.rows.iter().skip(from).take(limit).cloned().collect()
            }
            Range::Before(seq) => {
                let to = log.rows.partition_point(|row| row.seq < seq);
                log.rows.range(to.saturating_sub(limit)..to).cloned().collect()
            }
        };
        Ok(Page { head: Some(log.head()), taken: log.taken, entries })
    }

    async fn find(
        &self,
        room: &RoomId,
        author: Identity,
        cmid: &Bytes,
    ) -> Result<Option<Found>, StoreError> {
        let logs = self.logs();
        Ok(logs.get(room).and_then(|log| log.cmids.get(&(author, cmid.clone())).copied()))
    }

    async fn release(&self, room: &RoomId) {
        self.logs().remove(room);
    }
}

impl Log {
    fn new(epoch: Epoch, r#gen: Gen, owner: ShardId) -> Self {
        Self {
            epoch,
            r#gen,
            term: Term(0),
            owner,
            head: Seq(0),
            taken: Seq(0),
            rows: VecDeque::new(),
            cmids: HashMap::new(),
        }
    }

    fn fence(&self) -> Fence {
        Fence { r#gen: self.r#gen, term: self.term }
    }

    fn head(&self) -> Head {
        Head { position: Position { epoch: self.epoch, seq: self.head }, fence: self.fence() }
    }

    fn claim(&mut self, shard: ShardId, at_ms: u64, entries_max: usize) -> Claimed {
        self.push(Row { seq: self.head.next(), at_ms, said: None }, entries_max);
        self.term = Term(self.head.0);
        let before = std::mem::replace(&mut self.owner, shard);
        let superseded = (before != self.owner).then_some(before);
        Claimed { epoch: self.epoch, r#gen: self.r#gen, term: self.term, superseded }
    }

    fn append(&mut self, append: &Append, at_ms: u64, entries_max: usize) -> Appended {
        if (append.epoch, append.term, append.after) != (self.epoch, self.term, self.head) {
            return Appended::Superseded;
        }
        let found = |draft: &crate::Draft| {
            self.cmids.get(&(draft.body.author_identity, draft.cmid.clone())).copied()
        };
        let drafts = append.entries.iter().enumerate();
        let duplicates: Vec<_> =
            drafts.filter_map(|(at, draft)| Some((at, found(draft)?))).collect();
        if !duplicates.is_empty() {
            return Appended::Duplicates(duplicates);
        }
        for draft in &append.entries {
            let seq = self.head.next();
            let key = (draft.body.author_identity, draft.cmid.clone());
            self.cmids.insert(key, Found { seq, at_ms, digest: draft.digest });
            let said = Said { body: draft.body.clone(), cmid: draft.cmid.clone() };
            self.push(Row { seq, at_ms, said: Some(said) }, entries_max);
        }
        Appended::Stored { at_ms }
    }

    fn push(&mut self, row: Row, entries_max: usize) {
        self.head = row.seq;
        self.rows.push_back(row);
        while self.rows.len() > entries_max.max(1) {
            let Some(Row { seq, said, .. }) = self.rows.pop_front() else { break };
            // Claims do not count: nothing that a client could miss.
            if let Some(Said { body: Body { author_identity, .. }, cmid }) = said {
                self.taken = seq;
                self.cmids.remove(&(author_identity, cmid));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(entries_max: usize) -> Memory {
        let next = std::sync::atomic::AtomicU64::new(1);
        Memory::new(
            MemoryLimits { entries_max },
            || 1_000_000,
            move || next.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        )
    }

    #[tokio::test]
    async fn conforms() {
        crate::conformance::check(|| memory(1000)).await;
    }

    #[tokio::test]
    async fn a_shard_that_missed_an_owner_starts_a_new_epoch_above_it() {
        let memory = memory(10);
        let room = RoomId::parse("r").unwrap();
        let claim = |seen| Claim { room: room.clone(), shard: "s".parse().unwrap(), seen };
        let first = memory.claim(&[claim(Fence::default())]).await.unwrap().remove(0);
        let seen = Fence { r#gen: Gen(2_000_000), term: Term(9) };
        let second = memory.claim(&[claim(seen)]).await.unwrap().remove(0);
        assert_ne!(first.epoch, second.epoch);
        assert!(second.r#gen > seen.r#gen);
        assert_eq!(second.term, Term(1));
        // What it knows already keeps its epoch.
        let seen = Fence { r#gen: second.r#gen, term: second.term };
        let third = memory.claim(&[claim(seen)]).await.unwrap().remove(0);
        assert_eq!((third.epoch, third.term), (second.epoch, Term(2)));
    }

    #[tokio::test]
    async fn old_entries_are_taken_and_the_page_says_so() {
        let memory = memory(3);
        let room = RoomId::parse("r").unwrap();
        let claim =
            Claim { room: room.clone(), shard: "s".parse().unwrap(), seen: Fence::default() };
        let claimed = memory.claim(&[claim]).await.unwrap().remove(0);
        for n in 0..5_u64 {
            let append =
                crate::conformance::append(&room, &claimed, Seq(1 + n), &[&format!("m{n}")]);
            assert!(matches!(memory.append(&[append]).await.unwrap()[0], Appended::Stored { .. }));
        }
        let page = memory.read(&room, Range::After(Seq(0)), 100).await.unwrap();
        assert_eq!(page.taken, Seq(3));
        assert_eq!(page.entries.iter().map(|row| row.seq.0).collect::<Vec<_>>(), [4, 5, 6]);
    }
}
