//! What the shell must do.

use model::{Grant, Identity, LinkId, Position, Seq, SessionId, UserName};

use crate::{Entry, Publish, Read, Verdict};

/// What the shell must do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Sends `event` over `link`, and adds `digest_delta` (wrapping) to the sum of
    /// the link's digests at that point of the stream.
    Send {
        /// Which link.
        link: LinkId,
        /// What to send.
        event: Event,
        /// What to add.
        digest_delta: u64,
    },
    /// The link has its first member here.
    Attach {
        /// Which link.
        link: LinkId,
    },
    /// The link has no member here any more; `digest_delta` as in `Send`.
    Detach {
        /// Which link.
        link: LinkId,
        /// What to add.
        digest_delta: u64,
    },
    /// Answers a back end.
    Answer {
        /// Which call.
        ticket: u64,
        /// Where the message is; of an `Add`, the room's newest entry.
        outcome: Result<Position, Refusal>,
    },
    /// Looks for a message's cmid in the log, for its target is not here: it may have
    /// been stored before. What is found has to come back as
    /// [`crate::Input::Sought`].
    Seek {
        /// The message.
        publish: Publish,
        /// Who says it.
        author: Identity,
    },
    /// Reads a page of the log for a member, as far as `reader` may see it, and
    /// answers.
    ReadLog {
        /// What was asked.
        read: Read,
        /// Who asks.
        reader: Identity,
    },
    /// Something waits to be appended: call [`crate::Room::take_append`].
    Append,
    /// The room is given up: drop the machine. Nothing follows.
    Closed,
}

/// What a link is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Answers one command.
    Reply {
        /// The command's number.
        request_id: u64,
        /// What came of it.
        outcome: Result<Outcome, Refusal>,
    },
    /// A new entry.
    Entry {
        /// The entry.
        entry: Entry,
        /// The last one of this room that the link was sent.
        prev: Seq,
    },
    /// Somebody came or left.
    Presence {
        /// Who.
        name: UserName,
        /// True if they came.
        joined: bool,
        /// The session that came, if it is behind this link: it is not told.
        session: Option<SessionId>,
    },
    /// The content of an entry was taken away.
    Redacted {
        /// Which entry.
        seq: Seq,
    },
    /// A session lost its place and has to be closed.
    CloseSession {
        /// Which one.
        session: SessionId,
        /// What its client is told.
        reason: String,
    },
    /// The room is not served here any more.
    Moved,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The session is in the room.
    Joined {
        /// Its right to be.
        grant: Grant,
        /// Up to where its link is.
        position: Position,
        /// The room's newest entry, which may be for nobody behind the link.
        head: Seq,
        /// All names, in the order for clients; none where the link knows them.
        roster: Vec<UserName>,
        /// True if a presence of this name follows.
        announced: bool,
        /// To whoever left off somewhere: whether nothing is missing since, and what
        /// they missed and may see, up to the room's head.
        resumed: Option<(Verdict, Vec<Entry>)>,
    },
    /// The session is not in the room.
    Gone,
    /// The message is stored.
    Published {
        /// Where.
        position: Position,
        /// When, milliseconds since 1970.
        at_ms: u64,
    },
    /// The connector's members are in the room.
    Rejoined {
        /// Whether nothing is missing.
        verdict: Verdict,
        /// Up to where the link is, `entries` included.
        position: Position,
        /// What was missed; for the names that the connector brought.
        entries: Vec<Entry>,
        /// What they said meanwhile themselves and is for nobody there: it may be what
        /// they have no answer to.
        said: Vec<Entry>,
        /// All names.
        roster: Vec<UserName>,
        /// The members that are in, and their rights.
        readmitted: Vec<(SessionId, Grant)>,
        /// The members that are not: their name is somebody else's.
        refused: Vec<SessionId>,
    },
}

/// Why a command was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Somebody else has the name.
    #[error("the name is taken")]
    NameTaken,
    /// The room holds as many members as it may.
    #[error("the room is full")]
    RoomFull,
    /// The session is not in the room.
    #[error("not a member of the room")]
    NotAMember,
    /// Nobody has the target's name.
    #[error("nobody here has the target's name")]
    NoSuchTarget,
    /// The same cmid was used for something else.
    #[error("the cmid was used for something else")]
    CmidConflict,
    /// Too much waits already.
    #[error("too many messages wait to be stored")]
    Overloaded,
    /// The store cannot be reached, or nobody knows what it did.
    #[error("the room cannot be served now")]
    Unavailable,
    /// The room is served elsewhere, or is about to be.
    #[error("the room has moved")]
    Moved,
    /// The same, while this was being stored: nobody here will know whether it was.
    #[error("the room has moved, and this may be stored")]
    MovedMeanwhile,
}
