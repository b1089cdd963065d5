//! What sessions asked a room's shard for.

use std::sync::Arc;

use bytes::Bytes;
use model::{Fence, Identity, Position, RoomId, UserName};
use rpc::chat::v1::{self as pb, command};
use tokio::time::Instant;
use wire::RawId;

use crate::{
    extended::Secret,
    handler::{Session, Who},
};

/// A request that its shard has not answered.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) request_id: u64,
    pub(crate) session: Arc<Session>,
    /// What the client is answered to; none for a notify.
    pub(crate) reply_to: Option<RawId>,
    pub(crate) ask: Ask,
    /// True once it was sent over any link: then nobody knows what came of it.
    pub(crate) sent: bool,
    /// True once the room has left a link that it was sent over: what came of it there,
    /// nobody has said.
    pub(crate) repeated: bool,
    /// True once a message is known to be stored that its session said later: said again
    /// over another link, it would be stored in the wrong order (contract, rule 15).
    pub(crate) overtaken: bool,
    /// Set when the client has had its answer (too late) and only the shard's is
    /// still of interest.
    pub(crate) abandoned: bool,
    pub(crate) started: Instant,
}

#[derive(Debug)]
pub(crate) enum Ask {
    /// Boxed, because most of what waits are messages.
    Join(Box<Joining>),
    Publish(Speech),
    History(Page),
    /// The client wants to leave.
    Leave,
    /// The client is gone.
    Drop,
    /// The client was sent away, to come back through another connector.
    Away,
}

/// Which part of the past a client asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) after: Option<u64>,
    pub(crate) before: Option<u64>,
    pub(crate) limit: u32,
}

/// Who wants to come in.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    pub(crate) name: UserName,
    pub(crate) who: Who,
    /// What an extended session shows when it comes back.
    pub(crate) secret: Option<Secret>,
    /// Where it left off, if it says so.
    pub(crate) resume: Option<Position>,
    /// Above which number the shard was told that entries are here.
    pub(crate) held_after: Option<u64>,
    /// True if the shard was told that it need not say who is in.
    pub(crate) knows_roster: bool,
    /// False if what was here did not do.
    pub(crate) may_hold: bool,
}

/// What somebody says.
#[derive(Debug)]
pub(crate) struct Speech {
    pub(crate) target: String,
    pub(crate) content: String,
    pub(crate) cmid: Bytes,
    pub(crate) author: Identity,
    /// What a plain client is answered once it is stored.
    pub(crate) answer: Bytes,
}

impl Ask {
    /// The request's label; none if no client waits for an answer.
    pub(crate) fn route(&self) -> Option<&'static str> {
        match self {
            Self::Join(_) => Some("enter"),
            Self::Publish(_) => Some("send"),
            Self::History(_) => Some("history"),
            Self::Leave => Some("leave"),
            Self::Drop | Self::Away => None,
        }
    }
}

impl Speech {
    /// True if `entry` is what came of this: author, cmid, target and content are
    /// the same. Words that a shard masked do not count, nor does a content that
    /// was taken away.
    pub(crate) fn is(&self, entry: &pb::Entry) -> bool {
        let same = |(ours, theirs): (char, char)| ours == theirs || theirs == '*';
        self.cmid == entry.cmid
            && self.author.0[..] == entry.author_identity[..]
            && self.target == entry.target
            && (entry.redacted
                || self.content.chars().count() == entry.content.chars().count()
                    && self.content.chars().zip(entry.content.chars()).all(same))
    }
}

impl Pending {
    pub(crate) fn command(&self, room: &RoomId, seen: Fence, redirected: bool) -> command::Command {
        let (room, session_id) = (room.to_string(), self.session.id());
        match &self.ask {
            Ask::Join(joining) => command::Command::Join(pb::Join {
                room,
                session_id,
                user: joining.name.to_string(),
                identity: joining.who.identity.0.to_vec().into(),
                has_secret: joining.who.has_secret,
                seen: Some(seen.into()),
                redirected,
                resume: joining.resume.map(Into::into),
                held_after: joining.held_after,
                knows_roster: joining.knows_roster,
            }),
            Ask::Publish(speech) => command::Command::Publish(pb::Publish {
                room,
                session_id,
                target: speech.target.clone(),
                content: speech.content.clone(),
                cmid: speech.cmid.clone(),
            }),
            Ask::History(Page { after, before, limit }) => {
                let (after, before, limit) = (*after, *before, *limit);
                command::Command::ReadHistory(pb::ReadHistory {
                    room,
                    session_id,
                    after,
                    before,
                    limit,
                })
            }
            Ask::Leave | Ask::Drop | Ask::Away => {
                let comes_back = matches!(self.ask, Ask::Away);
                command::Command::Leave(pb::Leave { room, session_id, comes_back })
            }
        }
    }
}
