//! The message log: who may write to a room, and what was written.
//!
//! The log is its own fence. Entry (room, seq) exists at most once; an append needs
//! the entry before it under its own term; a shard becomes a room's owner by
//! appending a claim, and the seq of that claim is its term. So a paused or
//! superseded shard cannot write. Nobody else in the workspace knows SQL.
//!
//! One trait, [`Store`]; one conformance suite, [`conformance`], that every
//! implementation passes. [`Memory`] does not outlive its process.

pub mod conformance;
mod memory;

use async_trait::async_trait;
use bytes::Bytes;
use model::{Epoch, Fence, Gen, Identity, Position, RoomId, Seq, ShardId, Term, UserName};
use std::sync::Arc;

pub use memory::{Memory, MemoryLimits};

/// A durable, ordered log of each room, shared by all shards that use it.
///
/// All calls may be repeated after an error that says so. Implementations bound
/// every call by a time-out of at most 2 s.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// True if what is stored does not outlive the process, so that a room that
    /// moves to another shard starts a new epoch.
    fn is_volatile(&self) -> bool;

    /// Makes `shard` the owner of rooms, opening those that are new.
    ///
    /// Always wins, against other claims and against a busy owner. The answers are
    /// in the order of the claims.
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError>;

    /// Appends to many rooms at once; to each all of its entries or none.
    ///
    /// A caller has at most one append per room under way. The answers are in the
    /// order of the appends.
    async fn append(&self, appends: &[Append]) -> Result<Vec<Appended>, StoreError>;

    /// Reads the newest entry's number and term of rooms, by a read that begins
    /// after the call; `None` for a room that was never opened.
    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<Head>>, StoreError>;

    /// Reads entries of one room in order of seq, claims included.
    async fn read(&self, room: &RoomId, range: Range, limit: usize) -> Result<Page, StoreError>;

    /// Looks for what an author stored under a cmid.
    async fn find(
        &self,
        room: &RoomId,
        author: Identity,
        cmid: &Bytes,
    ) -> Result<Option<Found>, StoreError>;

    /// The caller has unloaded the room. A volatile store may forget it; any other
    /// does nothing.
    async fn release(&self, room: &RoomId);
}

/// Why a call failed. Nothing that was stored is changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written. The same call may be repeated.
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// Nobody knows whether it was written (contract, rule 13): only a claim that
    /// is committed later decides.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// A shard that wants to own a room.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The room.
    pub room: RoomId,
    /// Who claims it.
    pub shard: ShardId,
    /// The highest fence that anybody has seen of the room. A volatile store that
    /// does not have it starts a new epoch above it.
    pub seen: Fence,
}

/// A claim that was appended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claimed {
    /// The incarnation of the log.
    pub epoch: Epoch,
    /// Orders it among the room's incarnations.
    pub r#gen: Gen,
    /// The claim's seq, now the newest entry.
    pub term: Term,
    /// Who owned the room before, if somebody else did.
    pub superseded: Option<ShardId>,
}

/// Entries for one room.
#[derive(Clone, Debug)]
pub struct Append {
    /// The room.
    pub room: RoomId,
    /// The claim that allows it.
    pub term: Term,
    /// The incarnation that the claim is in.
    pub epoch: Epoch,
    /// The newest entry, which must be under `term`.
    pub after: Seq,
    /// The entries, numbered from `after` + 1.
    pub entries: Vec<Draft>,
}

/// An entry to be stored.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Whether it is for all or for one.
    pub body: Body,
    /// The client's id of it, unique per author.
    pub cmid: Bytes,
    /// `model::message_digest` of target and content as the client sent them.
    pub digest: u64,
}

/// What somebody said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Body {
    /// Their name.
    pub author: UserName,
    /// Who they are.
    pub author_identity: Identity,
    /// To whom it is said, if not to all.
    pub target: Option<(UserName, Identity)>,
    /// What is said.
    pub content: Arc<str>,
}

/// How one room's append ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Appended {
    /// All entries are stored.
    Stored {
        /// The store's clock, milliseconds since 1970.
        at_ms: u64,
    },
    /// Nothing was stored: the newest entry is not `after` under `term`.
    Superseded,
    /// Nothing was stored: these were stored before.
    Duplicates(Vec<(usize, Found)>),
}

/// An entry that was stored under a cmid before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found {
    /// Where.
    pub seq: Seq,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// With which digest.
    pub digest: u64,
}

/// The newest entry of a room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// The incarnation and the number.
    pub position: Position,
    /// The last claim.
    pub fence: Fence,
}

/// Which entries to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Range {
    /// Those above a seq, oldest first.
    After(Seq),
    /// The newest ones below a seq.
    Before(Seq),
}

/// Entries of one room, in order of seq, without holes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// The room's newest entry at the time of the read; `None` for a room that was
    /// never opened.
    pub head: Option<Head>,
    /// The highest seq that retention took or emptied; 0 for none.
    pub taken: Seq,
    /// The entries; fewer than the limit only at the log's end.
    pub entries: Vec<Row>,
}

/// One stored entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// Its number.
    pub seq: Seq,
    /// When it was stored, milliseconds since 1970.
    pub at_ms: u64,
    /// What was said; `None` for a claim.
    pub said: Option<Said>,
}

/// What was said, and under which id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    /// Who said what to whom.
    pub body: Body,
    /// The client's id of it.
    pub cmid: Bytes,
}
