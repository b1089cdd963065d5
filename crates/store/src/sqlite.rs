//! A log in one file: SQLite, write-ahead log, every commit synced.
//!
//! ```text
//! calls ──▶ bounded queue ──▶ writer thread: one transaction for all that waits
//!       └─▶ bounded queue ──▶ reader threads
//! ```
//!
//! One process serves from a file; tools may read it, and give rooms new epochs,
//! meanwhile. That a file is a copy can not be noticed.

mod file;
mod filter;
mod reader;
mod recent;
mod worker;
mod writer;

use std::{fmt, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use model::{Identity, RoomId, Seq, ShardId};

use crate::{
    Append, Appended, Claim, Claimed, Cursor, Dedup, Export, Found, Head, Keeper, OpenError, Page,
    Range, Retained, Retention, SUPERSEDED_MS, Store, StoreError, Superseded,
};
use file::Place;
use reader::Reader;
use recent::Recent;
use worker::Workers;
use writer::Writer;

/// Bits of a place that hold the seq; the others hold the room's id.
const SEQ_BITS: u32 = 36;
/// Highest seq that a place can hold: a thousand messages a second for two years.
const SEQ_MAX: i64 = (1 << SEQ_BITS) - 1;
/// Highest room id that a place can hold.
const ROOM_MAX: i64 = (1 << (63 - SEQ_BITS)) - 1;
const READERS: usize = 2;

fn place(room: i64, seq: i64) -> i64 {
    room << SEQ_BITS | seq
}

/// The log of one process, in a file.
pub struct Sqlite {
    path: PathBuf,
    unix_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    // In this order: the last connection to be closed tidies the file up.
    readers: Workers<Reader>,
    writer: Workers<Writer>,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What a [`Sqlite`] is opened for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// To serve: the file and its folder are made if they are not there, and no
    /// other process may serve from it.
    Serve,
    /// For an operator's tool: it has to be there.
    Inspect,
}

impl Sqlite {
    /// Opens the file at `path`. `unix_ms` is the store's clock; `random` draws the
    /// names of epochs.
    ///
    /// Blocks, for some milliseconds.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open(
        path: impl Into<PathBuf>,
        purpose: Purpose,
        unix_ms: impl Fn() -> u64 + Send + Sync + 'static,
        random: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        Self::open_with(path.into(), purpose, Arc::new(unix_ms), Arc::new(random), crate::dedup)
    }

    fn open_with(
        path: PathBuf,
        purpose: Purpose,
        unix_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
        random: Arc<dyn Fn() -> u64 + Send + Sync>,
        dedup: Dedup,
    ) -> Result<Self, OpenError> {
        let place = Place::new(path.clone());
        let serve = purpose == Purpose::Serve;
        let lock = if serve {
            file::make_folder(&path)?;
            Some(place.lock()?)
        } else {
            None
        };
        let file = place.open(serve)?;
        let recent = Recent::load(&file.connection, dedup)
            .map_err(|error| OpenError::Refused(format!("{}: {error}", path.display())))?;
        let writer = Writer {
            place: place.clone(),
            file: Some(file),
            recent,
            rooms: std::collections::HashMap::new(),
            dedup,
            unix_ms: Arc::clone(&unix_ms),
            random,
            _lock: lock,
        };
        let readers = (0..READERS).map(|_| Reader { place: place.clone(), file: None });
        let threads = |error| OpenError::Refused(format!("cannot start a thread: {error}"));
        Ok(Self {
            path,
            unix_ms,
            readers: Workers::start("store-read", readers, reader::serve).map_err(threads)?,
            writer: Workers::start("store-write", [writer], writer::serve).map_err(threads)?,
        })
    }
}

#[async_trait]
impl Store for Sqlite {
    fn is_volatile(&self) -> bool {
        false
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let claims = claims.to_vec();
        self.writer.call(move |writer| writer.claim(&claims)).await
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let appends = appends.to_vec();
        self.writer.call(move |writer| writer.append(&appends)).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<Head>>, StoreError> {
        let rooms = rooms.to_vec();
        self.readers.call(move |reader| reader.heads(&rooms)).await
    }

    async fn superseded(&self, shard: &ShardId) -> Result<Vec<Superseded>, StoreError> {
        let (shard, since) = (shard.clone(), (self.unix_ms)().saturating_sub(SUPERSEDED_MS));
        self.readers.call(move |reader| reader.superseded(&shard, since)).await
    }

    async fn read(&self, room: &RoomId, range: Range, limit: usize) -> Result<Page, StoreError> {
        let room = room.clone();
        self.readers.call(move |reader| reader.page(&room, range, limit)).await
    }

    async fn find(
        &self,
        room: &RoomId,
        author: Identity,
        cmid: &Bytes,
    ) -> Result<Option<Found>, StoreError> {
        let (room, cmid) = (room.clone(), cmid.clone());
        self.writer.call(move |writer| writer.find(&room, author, &cmid)).await
    }

    async fn redact(&self, room: &RoomId, seq: Seq) -> Result<bool, StoreError> {
        let room = room.clone();
        self.writer.call(move |writer| writer.redact(&room, seq)).await
    }

    async fn release(&self, _room: &RoomId) {}
}

#[async_trait]
impl Keeper for Sqlite {
    async fn retain(
        &self,
        policy: Retention,
        from: Cursor,
        budget: usize,
    ) -> Result<Retained, StoreError> {
        self.writer.call(move |writer| writer.retain(policy, from, budget)).await
    }

    async fn rooms(&self, after: Option<&RoomId>, limit: usize) -> Result<Vec<RoomId>, StoreError> {
        let after = after.cloned();
        self.readers.call(move |reader| reader.rooms(after.as_ref(), limit)).await
    }

    async fn export(
        &self,
        room: &RoomId,
        after: Seq,
        limit: usize,
    ) -> Result<Option<Export>, StoreError> {
        let room = room.clone();
        self.readers.call(move |reader| reader.export(&room, after, limit)).await
    }

    async fn new_epoch(&self, room: &RoomId) -> Result<Option<Claimed>, StoreError> {
        let room = room.clone();
        self.writer.call(move |writer| writer.new_epoch(&room)).await
    }

    async fn adopt(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn damage(&self) -> Result<Vec<String>, StoreError> {
        self.readers.call(Reader::damage).await
    }
}

#[cfg(test)]
mod tests;
