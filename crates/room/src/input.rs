//! What can happen to a room.

use std::sync::Arc;

use bytes::Bytes;
use model::{ConnectorId, Grant, Identity, LinkId, Position, Seq, SessionId, UserName};

/// What can happen to a room. Times are milliseconds of one monotonic clock.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Input {
    /// A session wants to come in.
    Join(Join),
    /// A session goes. Idempotent.
    Leave {
        /// Over which link it had joined.
        link: LinkId,
        /// To be echoed.
        request_id: u64,
        /// Which session.
        session: SessionId,
        /// Now, in milliseconds, if it was sent away to come back through another
        /// connector: its name is kept for the grace period.
        away_at_ms: Option<u64>,
    },
    /// Somebody says something.
    Publish(Publish),
    /// The log was looked through for what [`crate::Effect::Seek`] asked for.
    Sought(Sought),
    /// A connector brings its members after a move or a lost link.
    Rejoin(Rejoin),
    /// A member wants to read what was said.
    Read(Read),
    /// The content of an entry was taken away, and is gone from the log.
    Redact {
        /// Which entry.
        seq: Seq,
    },
    /// The append that was taken has ended.
    Appended(AppendResult),
    /// A connector is gone, or its link is; its members keep their names for the
    /// grace period.
    LinkLost {
        /// Which link.
        link: LinkId,
        /// Now.
        now_ms: u64,
    },
    /// A back end puts a name into the roster.
    Add {
        /// To be echoed.
        ticket: u64,
        /// The name.
        name: UserName,
        /// Who it is.
        identity: Identity,
    },
    /// A back end takes a name out of the roster.
    Kick {
        /// The name.
        name: UserName,
        /// What its client is told.
        reason: String,
    },
    /// Time went by.
    Tick {
        /// Now.
        now_ms: u64,
    },
    /// This shard has to give the room up, as soon as nothing is in flight.
    Release,
    /// Another shard has claimed the room.
    Superseded,
}

/// A session that wants to come in.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Join {
    /// The link that it comes over.
    pub link: LinkId,
    /// The connector at its other end.
    pub connector: ConnectorId,
    /// To be echoed.
    pub request_id: u64,
    /// Who comes.
    pub newcomer: Newcomer,
    /// Where they left off, if they did not begin anew.
    pub resume: Option<Resume>,
    /// True if the connector has the roster from this link.
    pub knows_roster: bool,
}

/// Where somebody left off who comes again.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Resume {
    /// Up to where they have the room.
    pub position: Position,
    /// What the shell read of the log after that, if it had to.
    pub replay: Option<Replay>,
}

/// A session and who it says it is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Newcomer {
    /// Its number on its connector.
    pub session: SessionId,
    /// The name that it wants.
    pub name: UserName,
    /// Who it is.
    pub identity: Identity,
    /// True if it can prove that, so that the name is kept for it.
    pub has_secret: bool,
}

/// A member that wants to read a page of the log.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Read {
    /// Its link.
    pub link: LinkId,
    /// Its number there.
    pub session: SessionId,
    /// To be echoed.
    pub request_id: u64,
    /// Which page.
    pub query: Query,
}

/// Which page of a log is wanted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Query {
    /// Where it begins, and in which direction it goes.
    pub pages: Pages,
    /// At most so many entries that the reader may see.
    pub limit: usize,
}

/// A direction in a log.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Pages {
    /// Entries above a seq, oldest first.
    After(Seq),
    /// The newest entries below a seq.
    Before(Seq),
}

/// Something that is said.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Publish {
    /// Who has to be answered.
    pub origin: Origin,
    /// To whom it is said.
    pub target: Target,
    /// What is said.
    pub content: Arc<str>,
    /// The client's id of it.
    pub cmid: Bytes,
    /// `model::message_digest` of target and content.
    pub digest: u64,
}

/// What was found of a message that may have been stored before.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Sought {
    /// The message.
    pub publish: Publish,
    /// What the log has under its cmid.
    pub found: Found,
}

/// What a log has under some cmid.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Found {
    /// An entry.
    Entry {
        /// Where it is.
        seq: Seq,
        /// When it was stored, milliseconds since 1970.
        at_ms: u64,
        /// The digest that it was stored with.
        digest: u64,
    },
    /// Nothing.
    Nothing,
    /// Nobody can tell: the store does not answer.
    Unknown,
}

/// Who published, and how they are answered.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Origin {
    /// A member.
    Session {
        /// Its link.
        link: LinkId,
        /// Its number there.
        session: SessionId,
        /// To be echoed.
        request_id: u64,
    },
    /// A back end, which need not be a member.
    Call {
        /// To be echoed.
        ticket: u64,
        /// The name that it speaks under.
        name: UserName,
        /// Who it is.
        identity: Identity,
    },
}

/// To whom something is said.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Target {
    /// To everybody in the room.
    All,
    /// To one member.
    One(UserName),
}

/// A connector that brings its members.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Rejoin {
    /// Its link.
    pub link: LinkId,
    /// The connector.
    pub connector: ConnectorId,
    /// To be echoed.
    pub request_id: u64,
    /// Up to where it has the room.
    pub mark: Position,
    /// All members that it holds, with their rights; none for one whose join was
    /// not answered yet.
    pub members: Vec<(Newcomer, Option<Grant>)>,
    /// What the shell read of the log after `mark`, if it had to.
    pub replay: Option<Replay>,
}

/// Entries of the log, in order, without holes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Replay {
    /// All entries above `from`; claims are left out.
    pub entries: Vec<Entry>,
    /// Above the mark if retention took what follows that, or if it is too much.
    pub from: Seq,
    /// Up to which seq the log was read.
    pub up_to: Seq,
}

/// Whether a replay is complete (contract, rule 9).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// All entries after the mark follow.
    Complete,
    /// Some of them are gone, or are too many to follow.
    Truncated {
        /// The first that is not.
        first: Seq,
    },
    /// The log is another one, or the mark is ahead of it.
    Reset,
}

/// One stored entry that somebody said.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Entry {
    /// Its number.
    pub seq: Seq,
    /// Whether it is for all or for one.
    pub kind: Kind,
    /// The name of who said it.
    pub author: UserName,
    /// Who that is.
    pub author_identity: Identity,
    /// What was said.
    pub content: Arc<str>,
    /// The client's id of it.
    pub cmid: Bytes,
    /// When it was stored, milliseconds since 1970 by the store's clock.
    pub at_ms: u64,
    /// True if its content was taken away; then it is empty.
    pub redacted: bool,
}

/// To whom a stored entry is said.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// To all.
    Message,
    /// To one.
    Whisper {
        /// The name that it was said to.
        target: UserName,
        /// Who that was.
        target_identity: Identity,
    },
}

/// How an append ended.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum AppendResult {
    /// All of it is stored; `at_ms` is the store's time.
    Stored {
        /// Milliseconds since 1970.
        at_ms: u64,
    },
    /// None of it is stored, because some were stored before.
    Duplicates(Vec<Duplicate>),
    /// None of it is stored: another shard has claimed the room.
    Superseded,
    /// None of it is stored, and the store cannot be reached.
    Failed,
    /// Nobody knows whether it is stored: the room must be claimed again before
    /// anything is said about it.
    Unknown,
}

/// An entry of an append that was stored before under the same cmid.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Duplicate {
    /// Which one of the append, from 0.
    pub index: usize,
    /// Where it is.
    pub seq: Seq,
    /// When it was stored, milliseconds since 1970.
    pub at_ms: u64,
    /// The digest that it was stored with.
    pub digest: u64,
}
