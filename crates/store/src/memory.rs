//! A log that lives and dies with its process.

mod log;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use bytes::Bytes;
use model::{Epoch, Gen, Identity, RoomId, Seq, ShardId};

use crate::{
    Append, Appended, Claim, Claimed, Cursor, Export, Found, Head, Keeper, Page, Range, Retained,
    Retention, SUPERSEDED_MS, Store, StoreError, Superseded,
};
use log::Log;

/// Bounds of a [`Memory`] store.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimits {
    /// Newest entries that a room keeps; older ones are taken.
    pub entries_max: usize,
}

/// Each shard has its own; a room that moves starts a new epoch.
///
/// Cmids are known for 24 h, but of one room no more than 100 000 beyond those of
/// its entries.
pub struct Memory {
    limits: MemoryLimits,
    unix_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    random: Arc<dyn Fn() -> u64 + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    logs: HashMap<RoomId, Log>,
    /// Claims of the last seconds that took a room from somebody.
    superseded: Vec<(u64, ShardId, Superseded)>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("limits", &self.limits).finish_non_exhaustive()
    }
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
            state: Mutex::default(),
        }
    }

    /// Appends as a store does in which the last writer wins, for simulations of one.
    #[doc(hidden)]
    #[must_use]
    pub fn overwrite(&self, append: &Append) -> Appended {
        let at_ms = (self.unix_ms)();
        let mut state = self.state();
        let log = state.logs.get_mut(&append.room);
        log.map_or(Appended::Superseded, |log| log.overwrite(append, at_ms))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a log is never left half-changed")
    }
}

impl State {
    fn claim(&mut self, room: &RoomId, by: Option<&ShardId>, now_ms: u64, max: usize) -> Claimed {
        let log = self.logs.get_mut(room).expect("was there, or was just put there");
        let claimed = log.claim(by.cloned(), now_ms, max);
        if let Some(shard) = &claimed.superseded {
            let superseded =
                Superseded { room: room.clone(), by: by.cloned(), fence: log.head().fence };
            self.superseded.retain(|(at_ms, ..)| at_ms + SUPERSEDED_MS > now_ms);
            self.superseded.push((now_ms, shard.clone(), superseded));
        }
        claimed
    }
}

#[async_trait]
impl Store for Memory {
    fn is_volatile(&self) -> bool {
        true
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let now_ms = (self.unix_ms)();
        let mut state = self.state();
        let claimed = claims.iter().map(|claim| {
            let old = state.logs.get(&claim.room).map(|log| log.head().fence);
            if old.is_none_or(|fence| fence < claim.seen) {
                // Somebody has seen a later owner: entries that this store never
                // had may be gone, so what it has is another incarnation.
                let above = old.map_or(Gen(0), |fence| fence.r#gen).max(claim.seen.r#gen);
                let r#gen = Gen(now_ms.max(above.0 + 1));
                state.logs.insert(claim.room.clone(), Log::new(Epoch((self.random)()), r#gen));
            }
            state.claim(&claim.room, Some(&claim.shard), now_ms, self.limits.entries_max)
        });
        Ok(claimed.collect())
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let at_ms = (self.unix_ms)();
        let mut state = self.state();
        let ends = appends.iter().map(|append| match state.logs.get_mut(&append.room) {
            Some(log) => log.append(append, at_ms, self.limits.entries_max),
            None => Appended::Superseded,
        });
        Ok(ends.collect())
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<Head>>, StoreError> {
        let state = self.state();
        Ok(rooms.iter().map(|room| state.logs.get(room).map(Log::head)).collect())
    }

    async fn superseded(&self, shard: &ShardId) -> Result<Vec<Superseded>, StoreError> {
        let now_ms = (self.unix_ms)();
        let state = self.state();
        let theirs = state
            .superseded
            .iter()
            .filter(|(at_ms, from, _)| at_ms + SUPERSEDED_MS > now_ms && from == shard);
        Ok(theirs.map(|(_, _, superseded)| superseded.clone()).collect())
    }

    async fn read(&self, room: &RoomId, range: Range, limit: usize) -> Result<Page, StoreError> {
        let state = self.state();
        let empty = Page { head: None, taken: Seq(0), entries: Vec::new() };
        Ok(state.logs.get(room).map_or(empty, |log| log.read(range, limit)))
    }

    async fn find(
        &self,
        room: &RoomId,
        author: Identity,
        cmid: &Bytes,
    ) -> Result<Option<Found>, StoreError> {
        Ok(self.state().logs.get(room).and_then(|log| log.find(author, cmid)))
    }

    async fn redact(&self, room: &RoomId, seq: Seq) -> Result<bool, StoreError> {
        Ok(self.state().logs.get_mut(room).is_some_and(|log| log.redact(seq)))
    }

    async fn release(&self, room: &RoomId) {
        self.state().logs.remove(room);
    }
}

#[async_trait]
impl Keeper for Memory {
    async fn retain(
        &self,
        policy: Retention,
        _from: Cursor,
        _budget: usize,
    ) -> Result<Retained, StoreError> {
        let now_ms = (self.unix_ms)();
        let deleted = self.state().logs.values_mut().map(|log| log.retain(policy, now_ms)).sum();
        Ok(Retained { deleted, emptied: 0, next: None })
    }

    async fn rooms(&self, after: Option<&RoomId>, limit: usize) -> Result<Vec<RoomId>, StoreError> {
        let mut rooms: Vec<_> =
            self.state().logs.keys().filter(|room| Some(*room) > after).cloned().collect();
        rooms.sort_unstable();
        rooms.truncate(limit);
        Ok(rooms)
    }

    async fn export(
        &self,
        room: &RoomId,
        after: Seq,
        limit: usize,
    ) -> Result<Option<Export>, StoreError> {
        Ok(self.state().logs.get(room).map(|log| log.export(after, limit)))
    }

    async fn new_epoch(&self, room: &RoomId) -> Result<Option<Claimed>, StoreError> {
        let now_ms = (self.unix_ms)();
        let mut state = self.state();
        let Some(log) = state.logs.get_mut(room) else { return Ok(None) };
        log.renew(Epoch((self.random)()), now_ms);
        Ok(Some(state.claim(room, None, now_ms, self.limits.entries_max)))
    }

    async fn adopt(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn damage(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests;
