//! Between the room's words and those of the link.

use model::{Fence, Position, RoomId};
use room::{Event, Kind, Outcome, Refusal, Verdict};
use rpc::chat::v1::{self as pb, RefusedReason, event, reply};

use crate::history;

/// A room's event, as it goes over a link; `shard` is where the room has moved, of an
/// event that says so.
pub(crate) fn event(
    room: &RoomId,
    fence: Fence,
    event: Event,
    shard: Option<pb::ShardAddress>,
) -> event::Event {
    let name = room.to_string();
    match event {
        Event::Reply { request_id, outcome } => {
            let result = match outcome {
                Ok(outcome) => result(fence, outcome),
                Err(refusal) => reply::Result::Refused(pb::Refused {
                    reason: reason(refusal).into(),
                    message: refusal.to_string(),
                    shard,
                    unknown: refusal == Refusal::MovedMeanwhile,
                }),
            };
            event::Event::Reply(pb::Reply { request_id, room: name, result: Some(result) })
        }
        Event::Entry { entry, prev } => {
            let entry = pb::Entry {
                room: name,
                fence: Some(fence.into()),
                prev: prev.0,
                ..self::entry(entry)
            };
            event::Event::Entry(entry)
        }
        Event::Presence { name: user, joined, session } => event::Event::Presence(pb::Presence {
            room: name,
            fence: Some(fence.into()),
            user: user.to_string(),
            joined,
            session_id: session.map_or(0, |session| session.0),
        }),
        Event::CloseSession { session, reason } => event::Event::CloseSession(pb::CloseSession {
            room: name,
            session_id: session.0,
            reason,
        }),
        Event::Redacted { seq } => event::Event::Redacted(pb::Redacted {
            room: name,
            fence: Some(fence.into()),
            seq: seq.0,
        }),
        Event::Moved => event::Event::Moved(pb::Moved { room: name, shard }),
    }
}

fn result(fence: Fence, outcome: Outcome) -> reply::Result {
    let names = |roster: Vec<model::UserName>| roster.iter().map(ToString::to_string).collect();
    match outcome {
        Outcome::Joined { grant, position, head, roster, announced, resumed } => {
            let (verdict, entries) = match resumed {
                Some((verdict, entries)) => (Some(verdict), entries),
                None => (None, Vec::new()),
            };
            reply::Result::Joined(pb::Joined {
                grant: Some(grant.into()),
                fence: Some(fence.into()),
                position: Some(position.into()),
                roster: names(roster),
                announced,
                verdict: verdict.map_or(pb::Verdict::Unspecified, self::verdict).into(),
                first: verdict.map_or(0, first),
                entries: entries.into_iter().map(entry).collect(),
                head: head.0,
            })
        }
        Outcome::Gone => reply::Result::Gone(pb::Gone {}),
        Outcome::Published { position, at_ms } => {
            reply::Result::Published(pb::Published { position: Some(position.into()), at_ms })
        }
        Outcome::Rejoined { verdict, position, entries, said, roster, readmitted, refused } => {
            let readmitted = readmitted.into_iter().map(|(session, grant)| pb::Readmitted {
                session_id: session.0,
                grant: Some(grant.into()),
            });
            reply::Result::Rejoined(pb::Rejoined {
                verdict: self::verdict(verdict).into(),
                fence: Some(fence.into()),
                position: Some(position.into()),
                entries: entries.into_iter().map(entry).collect(),
                said: said.into_iter().map(entry).collect(),
                roster: names(roster),
                readmitted: readmitted.collect(),
                refused_session_ids: refused.into_iter().map(|session| session.0).collect(),
                first: first(verdict),
            })
        }
    }
}

/// An entry without its room, fence and predecessor.
pub(crate) fn entry(entry: room::Entry) -> pb::Entry {
    let target = match entry.kind {
        Kind::Message => model::TARGET_ALL.to_owned(),
        Kind::Whisper { target, .. } => target.to_string(),
    };
    pb::Entry {
        room: String::new(),
        fence: None,
        seq: entry.seq.0,
        prev: 0,
        author: entry.author.to_string(),
        target,
        content: entry.content.as_ref().to_owned(),
        at_ms: entry.at_ms,
        cmid: entry.cmid,
        author_identity: entry.author_identity.0.to_vec().into(),
        redacted: entry.redacted,
    }
}

/// A page of a room's log, as far as somebody may see it.
pub(crate) fn page(found: history::Found) -> pb::HistoryPage {
    let head = found.head.map(|head| head.position);
    pb::HistoryPage {
        epoch: head.map_or(0, |head| head.epoch.0),
        entries: found.entries.into_iter().map(entry).collect(),
        head: head.map_or(0, |head| head.seq.0),
        taken: found.taken.0,
        complete: found.complete,
    }
}

fn verdict(verdict: Verdict) -> pb::Verdict {
    match verdict {
        Verdict::Complete => pb::Verdict::Complete,
        Verdict::Truncated { .. } => pb::Verdict::Truncated,
        Verdict::Reset => pb::Verdict::Reset,
    }
}

/// Of what is incomplete, the first entry that is left; else 0.
fn first(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Truncated { first } => first.0,
        Verdict::Complete | Verdict::Reset => 0,
    }
}

/// A refusal's name on the wire.
pub(crate) fn reason(refusal: Refusal) -> RefusedReason {
    match refusal {
        Refusal::NameTaken => RefusedReason::NameTaken,
        Refusal::RoomFull => RefusedReason::RoomFull,
        Refusal::NotAMember => RefusedReason::NotAMember,
        Refusal::NoSuchTarget => RefusedReason::NoSuchTarget,
        Refusal::CmidConflict => RefusedReason::CmidConflict,
        Refusal::Overloaded => RefusedReason::Overloaded,
        Refusal::Unavailable => RefusedReason::Unavailable,
        Refusal::Moved | Refusal::MovedMeanwhile => RefusedReason::Moved,
    }
}

/// A refusal's name in metrics.
pub(crate) fn label(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NameTaken => "name_taken",
        Refusal::RoomFull => "room_full",
        Refusal::NotAMember => "not_a_member",
        Refusal::NoSuchTarget => "no_such_target",
        Refusal::CmidConflict => "cmid_conflict",
        Refusal::Overloaded => "overloaded",
        Refusal::Unavailable => "unavailable",
        Refusal::Moved | Refusal::MovedMeanwhile => "moved",
    }
}

/// What the room remembers of a row that the store read; `None` for a claim.
pub(crate) fn from_row(row: store::Row) -> Option<room::Entry> {
    let store::Said { body, cmid, redacted } = row.said?;
    let kind = match body.target {
        None => Kind::Message,
        Some((target, target_identity)) => Kind::Whisper { target, target_identity },
    };
    Some(room::Entry {
        seq: row.seq,
        kind,
        author: body.author,
        author_identity: body.author_identity,
        content: body.content,
        cmid,
        at_ms: row.at_ms,
        redacted,
    })
}

/// What a room wants appended, as the store takes it.
pub(crate) fn to_append(room: &RoomId, head: Position, append: room::Append) -> store::Append {
    let draft = |entry: room::NewEntry| store::Draft {
        body: store::Body {
            author: entry.author,
            author_identity: entry.author_identity,
            target: match entry.kind {
                Kind::Message => None,
                Kind::Whisper { target, target_identity } => Some((target, target_identity)),
            },
            content: entry.content,
        },
        cmid: entry.cmid,
        digest: entry.digest,
    };
    store::Append {
        room: room.clone(),
        term: append.term,
        epoch: head.epoch,
        after: append.after,
        entries: append.entries.into_iter().map(draft).collect(),
    }
}
