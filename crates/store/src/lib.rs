//! The message log: who may write to a room, and what was written.
//!
//! The log is its own fence. Entry (room, seq) exists at most once; an append needs
//! the entry before it under its own term; a shard becomes a room's owner by
//! appending a claim, and the seq of that claim is its term. So a paused or
//! superseded shard cannot write. Nobody else in the workspace knows SQL.
//!
//! [`Store`] is what serving needs, [`Keeper`] adds what upkeep and operators need;
//! one conformance suite, [`conformance`], that every implementation passes.
//! [`Memory`] does not outlive its process.

pub mod conformance;
mod memory;
mod postgres;
mod raw;
mod sqlite;
pub mod tools;
mod types;

use async_trait::async_trait;
use bytes::Bytes;
use model::{
    Identity, RoomId, Seq, ShardId,
    planted::{self, Bug},
};

pub use memory::{Memory, MemoryLimits};
pub use model::retention::{KNOWN_MS, Retention};
pub use postgres::{Postgres, PostgresOptions};
pub use sqlite::{Purpose, Sqlite};
pub use types::{
    Append, Appended, Body, Claim, Claimed, Cursor, Draft, Export, Found, Head, Page, Range,
    Record, RecordKind, Retained, Row, Said, Superseded,
};

/// How far back [`Store::superseded`] looks.
pub const SUPERSEDED_MS: u64 = 10_000;

/// A durable, ordered log of each room, shared by all shards that use it.
///
/// All calls may be repeated after an error that says so. Implementations bound
/// every call by a time-out of about 2 s.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// True if what is stored does not outlive the process, so that a room that
    /// moves to another shard starts a new epoch.
    fn is_volatile(&self) -> bool;

    /// Makes shards the owners of rooms, opening those that are new.
    ///
    /// Always wins, against other claims and against a busy owner. The answers are
    /// in the order of the claims. After an error some may have been appended;
    /// claiming again is right in any case.
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError>;

    /// Appends to many rooms at once; to each all of its entries or none.
    ///
    /// A caller has at most one append per room under way, in this call or in
    /// others. The answers are in the order of the appends. An error is true of all
    /// of them; what fails alone is answered with [`Appended::Failed`].
    async fn append(&self, appends: &[Append]) -> Result<Vec<Appended>, StoreError>;

    /// Reads the newest entry's number and term of rooms, by a read that begins
    /// after the call; `None` for a room that was never opened.
    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<Head>>, StoreError>;

    /// Finds the claims of the last [`SUPERSEDED_MS`] that took a room from `shard`,
    /// by a read that begins after the call. One room may be there more than once,
    /// and may be `shard`'s again.
    async fn superseded(&self, shard: &ShardId) -> Result<Vec<Superseded>, StoreError>;

    /// Reads entries of one room in order of seq, claims included.
    async fn read(&self, room: &RoomId, range: Range, limit: usize) -> Result<Page, StoreError>;

    /// Looks for what an author stored under a cmid.
    async fn find(
        &self,
        room: &RoomId,
        author: Identity,
        cmid: &Bytes,
    ) -> Result<Option<Found>, StoreError>;

    /// Empties one entry's content, for ever; nothing else of it changes. False if
    /// there is no such entry, or it is a claim. May be repeated.
    async fn redact(&self, room: &RoomId, seq: Seq) -> Result<bool, StoreError>;

    /// The caller has unloaded the room. A volatile store may forget it; any other
    /// only forgets what it remembers for speed.
    async fn release(&self, room: &RoomId);
}

/// What upkeep and operators do to a store. Safe while shards serve.
#[async_trait]
pub trait Keeper: Store {
    /// Does one small step of a walk over all rooms, from `from`, and takes what
    /// `policy` does not keep: prefixes only, by the store's clock. Looks at no more
    /// than about `budget` rooms and rows.
    async fn retain(
        &self,
        policy: Retention,
        from: Cursor,
        budget: usize,
    ) -> Result<Retained, StoreError>;

    /// Lists rooms in order of their names' bytes, those behind `after`.
    async fn rooms(&self, after: Option<&RoomId>, limit: usize) -> Result<Vec<RoomId>, StoreError>;

    /// Reads a room's log as it is, above `after`; `None` for a room that was never
    /// opened.
    async fn export(
        &self,
        room: &RoomId,
        after: Seq,
        limit: usize,
    ) -> Result<Option<Export>, StoreError>;

    /// Gives a room a new epoch and appends a claim by nobody, so that whoever owns
    /// it is superseded; `None` for a room that was never opened.
    async fn new_epoch(&self, room: &RoomId) -> Result<Option<Claimed>, StoreError>;

    /// Takes the store as it is now for the one that the rooms are in: ends
    /// [`StoreError::Restored`]. After every room got a new epoch.
    async fn adopt(&self) -> Result<(), StoreError>;

    /// Asks the engine whether what it keeps is whole; each complaint is one line.
    async fn damage(&self) -> Result<Vec<String>, StoreError>;
}

/// Why a call failed. Nothing that was stored is changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written. The same call may be repeated.
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// Nobody knows whether it was written (contract, rule 13): only a claim that
    /// is committed later decides.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// Nothing was written, and nothing that is known of any room is to be relied on:
    /// the store is a copy of the one that was used, or was set back. Until an
    /// operator says `store new-epoch`.
    #[error("the store was restored or replaced, `store new-epoch` is needed: {0}")]
    Restored(String),
}

/// Why a store could not be opened. What is there is left as it was.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// It is not to be used by this program, or not as it was said; somebody has to
    /// change something.
    #[error("{0}")]
    Refused(String),
    /// It cannot be reached now. Trying again may help.
    #[error("{0}")]
    Unreachable(String),
}

/// Hashes (author, cmid) with some salt.
type Dedup = fn(Identity, &[u8], u8) -> i64;

/// The refusal of an append that breaks its rule: one author and cmid twice.
fn twice(append: &Append) -> Option<Appended> {
    let mut seen = std::collections::HashSet::new();
    let mut keys = append.entries.iter().map(|draft| (draft.body.author_identity, &draft.cmid));
    let is_twice = !keys.all(|key| seen.insert(key));
    is_twice.then(|| {
        let why = "one append has the same cmid twice".to_owned();
        Appended::Failed(StoreError::Unreachable(why))
    })
}

/// The hash by which a repeated cmid is found: the same (author, cmid) gives the
/// same one; `salt` makes it another, where two different ones collide.
///
/// From a hash that nobody can find many collisions of.
fn dedup(author: Identity, cmid: &[u8], salt: u8) -> i64 {
    let mut sha = ring::digest::Context::new(&ring::digest::SHA256);
    sha.update(&author.0);
    sha.update(&[salt]);
    if planted::is(Bug::DuplicatesNotSought) {
        sha.update(&planted::draw().to_le_bytes());
    }
    sha.update(cmid);
    let hash = sha.finish();
    i64::from_le_bytes(hash.as_ref()[..8].try_into().expect("32 bytes"))
}
