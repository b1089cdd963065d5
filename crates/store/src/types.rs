//! What stores are asked and what they answer.

use std::sync::Arc;

use bytes::Bytes;
use model::{Epoch, Fence, Gen, Identity, Position, RoomId, Seq, ShardId, Term, UserName};

use crate::StoreError;

/// A shard that wants to own a room.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The room.
    pub room: RoomId,
    /// Who claims it.
    pub shard: ShardId,
    /// The highest fence that anybody has seen of the room. A store that does not
    /// have it lost entries, and starts a new epoch above it.
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
    /// Whose claim was the last before it, if somebody else's: that shard is to be
    /// told.
    pub superseded: Option<ShardId>,
}

/// A room that another shard claimed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Superseded {
    /// The room.
    pub room: RoomId,
    /// Who claimed it; `None` if an operator gave it a new epoch.
    pub by: Option<ShardId>,
    /// The claim.
    pub fence: Fence,
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
    /// The entries, numbered from `after` + 1. At least one, and never two of one
    /// author and cmid.
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
    /// What is said; empty once it was redacted.
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
    /// This room's append alone failed; the others of the call are as their answers
    /// say.
    Failed(StoreError),
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
    /// The highest seq that retention took; 0 for none. A page that starts at or
    /// below it is truncated: it begins with the entry after it.
    pub taken: Seq,
    /// The entries above `taken`; fewer than the limit only at the log's end.
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
    /// True if the content was taken back.
    pub redacted: bool,
}

/// How far a walk over all rooms has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cursor(pub u64);

/// What one step of retention did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Retained {
    /// Rows deleted, claims included.
    pub deleted: u64,
    /// Rows that lost their content, and stay until a repeated cmid of theirs need
    /// not be known any more.
    pub emptied: u64,
    /// Where the next step goes on; `None` at the end of the walk.
    pub next: Option<Cursor>,
}

/// Part of a room's log, as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Export {
    /// The room's newest entry.
    pub head: Head,
    /// The highest seq that retention took; 0 for none.
    pub taken: Seq,
    /// Entries in order of seq; none at the log's end. At or below `taken`, those
    /// that are still needed to know repeated cmids and the owner.
    pub entries: Vec<Record>,
}

/// One entry with all that is known of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Its number.
    pub seq: Seq,
    /// Under which claim it was stored.
    pub term: Term,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// What it is.
    pub kind: RecordKind,
}

/// What an entry is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RecordKind {
    /// A shard became the room's owner.
    Claim {
        /// Which; `None` for an operator's new epoch.
        by: Option<ShardId>,
        /// The owner before, if another.
        superseded: Option<ShardId>,
    },
    /// Somebody said something.
    Said {
        /// What, to whom.
        said: Said,
        /// `model::message_digest`.
        digest: u64,
    },
}
