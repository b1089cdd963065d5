//! A log that outlives its shard, and counts what is read of it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use model::{Fence, Identity, RoomId, Seq, ShardId};
use store::{
    Append, Appended, Claim, Claimed, Found, Head, Memory, MemoryLimits, Page, Range, Store,
    StoreError, Superseded, conformance,
};

#[derive(Debug)]
pub(crate) struct Counted {
    log: Memory,
    pub(crate) heads: AtomicUsize,
    pub(crate) pages: AtomicUsize,
}

impl Counted {
    pub(crate) fn new() -> Self {
        let next = AtomicU64::new(1);
        let random = move || next.fetch_add(1, Ordering::Relaxed);
        let log = Memory::new(MemoryLimits { entries_max: 100_000 }, || 1_000_000_000, random);
        Self { log, heads: AtomicUsize::new(0), pages: AtomicUsize::new(0) }
    }

    /// Puts messages into the room, from entry 2 on, and leaves it to others.
    pub(crate) async fn fill(&self, count: u64) {
        let room = RoomId::parse("r").unwrap();
        let (shard, seen) = ("nobody".parse().unwrap(), Fence::default());
        let claim = Claim { room: room.clone(), shard, seen };
        let claimed = self.log.claim(&[claim]).await.unwrap().remove(0);
        let contents: Vec<String> = (0..count).map(|number| format!("message {number}")).collect();
        let contents: Vec<&str> = contents.iter().map(String::as_str).collect();
        let append = conformance::append(&room, &claimed, Seq(1), &contents);
        self.log.append(&[append]).await.unwrap();
    }
}

#[async_trait]
impl Store for Counted {
    fn is_volatile(&self) -> bool {
        false
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        self.log.claim(claims).await
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Appended>, StoreError> {
        self.log.append(appends).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<Head>>, StoreError> {
        self.heads.fetch_add(1, Ordering::Relaxed);
        self.log.heads(rooms).await
    }

    async fn superseded(&self, shard: &ShardId) -> Result<Vec<Superseded>, StoreError> {
        self.log.superseded(shard).await
    }

    async fn read(&self, room: &RoomId, range: Range, limit: usize) -> Result<Page, StoreError> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        self.log.read(room, range, limit).await
    }

    async fn find(
        &self,
        room: &RoomId,
        author: Identity,
        cmid: &Bytes,
    ) -> Result<Option<Found>, StoreError> {
        self.log.find(room, author, cmid).await
    }

    async fn redact(&self, room: &RoomId, seq: Seq) -> Result<bool, StoreError> {
        self.log.redact(room, seq).await
    }

    async fn release(&self, _: &RoomId) {}
}
