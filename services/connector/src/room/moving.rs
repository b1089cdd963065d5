//! A room leaves a link, and is taken to the next one.

use std::time::Duration;

use cluster::Shard;
use model::{Grant, RoomId, UserName};
use rpc::chat::v1::{self as pb, command};
use tokio::time::Instant;

use super::{Route, State};
use crate::{
    handler::{Session, Who},
    pending::{Ask, Pending},
};

/// Why a room was taken off its link; a closed set, for metrics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Detached {
    /// The link ended.
    #[default]
    LinkLost,
    /// The shard serves the room no more.
    Moved,
    /// Its owner can be reached again.
    OwnerBack,
    /// The shard could not serve it.
    Refused,
    /// Shard and connector did not agree about it, or too much was missing.
    Differed,
}

impl Detached {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::LinkLost => "link_lost",
            Self::Moved => "moved",
            Self::OwnerBack => "owner_back",
            Self::Refused => "refused",
            Self::Differed => "differed",
        }
    }
}

impl State {
    /// The room has lost its link, or was told to go elsewhere. Returns who has asked
    /// to leave: with the link they are gone.
    #[must_use]
    pub(crate) fn detach(&mut self, now: Instant, wait: Duration, why: Detached) -> Vec<Pending> {
        if let (Some(link), Some(digest)) = (self.link(), self.digest) {
            link.add_to_digest(digest.value().wrapping_neg());
        }
        self.digest = None;
        self.hole = None;
        self.leaving.clear();
        // Whoever has left, or had an answer, is of no interest to the next shard.
        let (kept, others): (Vec<Pending>, Vec<Pending>) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| match pending.ask {
                Ask::Join(_) => !pending.abandoned && !pending.session.is_closed(),
                Ask::Publish(_) | Ask::History(_) => true,
                Ask::Leave | Ask::Drop | Ask::Away => false,
            });
        self.pending = kept.into();
        // That shard may do it still, whatever another one says of it in the meantime.
        for pending in self.pending.iter_mut().filter(|pending| pending.sent) {
            pending.repeated = true;
            self.asked_twice = true;
        }
        self.route = Route::Wanted { since: now, not_before: now + wait };
        self.detached = why;
        others.into_iter().filter(|pending| matches!(pending.ask, Ask::Leave)).collect()
    }

    /// A shard that does not serve the room names another one, or none; one that makes no
    /// sense is none.
    pub(crate) fn sent_to(&mut self, named: Option<&pb::ShardAddress>) {
        let claim = named.and_then(|named| named.claim).unwrap_or_default();
        self.seen = self.seen.max(claim.into());
        let shard = |named: &pb::ShardAddress| {
            Some(Shard { id: named.shard_id.parse().ok()?, addr: named.addr.clone() })
        };
        self.redirect = named.and_then(shard);
    }

    /// Detaches the room from its link if the shard has no member of ours in it.
    pub(crate) fn detach_if_alone(&mut self) {
        if self.members.is_empty() && self.leaving.is_empty() {
            if let (Some(link), Some(digest)) = (self.link(), self.digest) {
                link.add_to_digest(digest.value().wrapping_neg());
            }
            self.digest = None;
            self.hole = None;
            self.roster.clear();
            self.ghosts.clear();
            self.settles = None;
        }
    }

    /// All that a new shard has to know of the members.
    pub(crate) fn rejoin(&self, room: &RoomId, redirected: bool) -> command::Command {
        let member =
            |session: &Session, name: &UserName, who: Who, grant: Option<Grant>| pb::RejoinMember {
                session_id: session.id(),
                user: name.to_string(),
                identity: who.identity.0.to_vec().into(),
                has_secret: who.has_secret,
                grant: grant.map(Into::into),
            };
        let members = self
            .members
            .iter()
            .map(|m| member(&m.session, &m.name, m.who, Some(*m.grant.lock().expect("a grant"))));
        // The old shard may have let these in without our knowing.
        let joining =
            self.pending.iter().filter(|pending| pending.sent && !pending.abandoned).filter_map(
                |pending| {
                    let Ask::Join(joining) = &pending.ask else { return None };
                    Some(member(&pending.session, &joining.name, joining.who, None))
                },
            );
        command::Command::Rejoin(pb::Rejoin {
            room: room.to_string(),
            mark: Some(self.mark.into()),
            seen: Some(self.seen.into()),
            members: members.chain(joining).collect(),
            redirected,
        })
    }
}
