//! How large the batches are in which a shard writes.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use model::{Identity, RoomId, Seq, ShardId};
use store::{
    Append, Appended, Claim, Claimed, Found, Head, Page, Range, Store, StoreError, Superseded,
};

/// Batches whose sizes are remembered; they repeat.
const SIZES_MAX: usize = 100_000;

/// Rows per batch, in order. Clones share.
#[derive(Clone, Debug, Default)]
pub(super) struct Batches(Arc<Mutex<Vec<usize>>>);

impl Batches {
    /// Batches of one row.
    pub(super) fn of_one() -> Self {
        Self(Arc::new(Mutex::new(vec![1])))
    }

    pub(super) fn clear(&self) {
        self.0.lock().expect("sizes").clear();
    }

    /// The sizes as they came.
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.0.lock().expect("sizes").clone()
    }

    pub(super) fn mean(&self) -> f64 {
        let sizes = self.sizes();
        sizes.iter().sum::<usize>() as f64 / sizes.len().max(1) as f64
    }

    fn note(&self, rows: usize) {
        let mut sizes = self.0.lock().expect("sizes");
        if sizes.len() < SIZES_MAX {
            sizes.push(rows);
        }
    }
}

/// Counts the rows of each append to a store.
pub(super) fn counted(store: Arc<dyn Store>) -> (Arc<dyn Store>, Batches) {
    let batches = Batches::default();
    (Arc::new(Counted { store, batches: batches.clone() }), batches)
}

#[derive(Debug)]
struct Counted {
    store: Arc<dyn Store>,
    batches: Batches,
}

#[chassis::async_trait]
impl Store for Counted {
    fn is_volatile(&self) -> bool {
        self.store.is_volatile()
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        self.store.claim(claims).await
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Appended>, StoreError> {
        self.batches.note(appends.iter().map(|append| append.entries.len()).sum());
        self.store.append(appends).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<Head>>, StoreError> {
        self.store.heads(rooms).await
    }

    async fn superseded(&self, shard: &ShardId) -> Result<Vec<Superseded>, StoreError> {
        self.store.superseded(shard).await
    }

    async fn read(&self, room: &RoomId, range: Range, limit: usize) -> Result<Page, StoreError> {
        self.store.read(room, range, limit).await
    }

    async fn find(
        &self,
        room: &RoomId,
        author: Identity,
        cmid: &Bytes,
    ) -> Result<Option<Found>, StoreError> {
        self.store.find(room, author, cmid).await
    }

    async fn redact(&self, room: &RoomId, seq: Seq) -> Result<bool, StoreError> {
        self.store.redact(room, seq).await
    }

    async fn release(&self, room: &RoomId) {
        self.store.release(room).await;
    }
}
