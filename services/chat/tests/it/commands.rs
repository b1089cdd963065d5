//! What connectors ask.

use rpc::chat::v1::{self as pb, Command, LinkRequest, command::Command as C};

pub(crate) fn alone(command: C) -> LinkRequest {
    LinkRequest { commands: vec![Command { request_id: 0, command: Some(command) }] }
}

pub(crate) fn hello(id: &str) -> C {
    C::Hello(pb::Hello { connector_id: id.into(), incarnation: 1 })
}

pub(crate) fn join(room: &str, session_id: u64, user: &str) -> C {
    C::Join(joining(room, session_id, user))
}

/// A join that its connector was sent here with.
pub(crate) fn join_redirected(room: &str, session_id: u64, user: &str) -> C {
    C::Join(pb::Join { redirected: true, ..joining(room, session_id, user) })
}

/// The same, and the connector has seen a claim.
pub(crate) fn join_redirected_seen(room: &str, session_id: u64, user: &str, seen: pb::Fence) -> C {
    C::Join(pb::Join { redirected: true, seen: Some(seen), ..joining(room, session_id, user) })
}

/// A join of a connector that has seen another owner.
pub(crate) fn join_seen(room: &str, session_id: u64, user: &str, seen: pb::Fence) -> C {
    C::Join(pb::Join { seen: Some(seen), ..joining(room, session_id, user) })
}

/// A join of somebody who can prove who they are.
pub(crate) fn join_proven(room: &str, session_id: u64, user: &str) -> C {
    let identity = vec![7; 16].into();
    C::Join(pb::Join { has_secret: true, identity, ..joining(room, session_id, user) })
}

/// The same, who had the room up to a position.
pub(crate) fn join_resuming(room: &str, session_id: u64, user: &str, at: pb::Position) -> C {
    let C::Join(join) = join_proven(room, session_id, user) else { unreachable!() };
    C::Join(pb::Join { resume: Some(at), ..join })
}

pub(crate) fn joining(room: &str, session_id: u64, user: &str) -> pb::Join {
    pb::Join {
        room: room.into(),
        session_id,
        user: user.into(),
        identity: identity(session_id, user),
        has_secret: false,
        seen: None,
        redirected: false,
        resume: None,
        held_after: None,
        knows_roster: false,
    }
}

/// Who a session is that cannot prove it.
fn identity(session_id: u64, user: &str) -> bytes::Bytes {
    let mut identity = format!("{session_id}{user}").into_bytes();
    identity.resize(16, 0);
    identity.into()
}

pub(crate) fn leave(room: &str, session_id: u64) -> C {
    C::Leave(pb::Leave { room: room.into(), session_id, comes_back: false })
}

/// A message whose content is its id.
pub(crate) fn say(room: &str, session_id: u64, content: &str) -> C {
    C::Publish(saying(room, session_id, "*", content))
}

pub(crate) fn whisper(room: &str, session_id: u64, target: &str, content: &str) -> C {
    C::Publish(saying(room, session_id, target, content))
}

pub(crate) fn saying(room: &str, session_id: u64, target: &str, content: &str) -> pb::Publish {
    let cmid = content.bytes().take(64).collect::<Vec<u8>>().into();
    let (room, target, content) = (room.into(), target.into(), content.into());
    pb::Publish { room, session_id, target, content, cmid }
}

/// A re-join of members who were admitted under `grant`, if they were.
pub(crate) fn rejoin(
    room: &str,
    mark: pb::Position,
    members: &[(u64, &str)],
    grant: Option<pb::Grant>,
) -> C {
    C::Rejoin(rejoining(room, mark, members, grant))
}

pub(crate) fn rejoining(
    room: &str,
    mark: pb::Position,
    members: &[(u64, &str)],
    grant: Option<pb::Grant>,
) -> pb::Rejoin {
    let member = |(session_id, user): &(u64, &str)| pb::RejoinMember {
        session_id: *session_id,
        user: (*user).into(),
        identity: identity(*session_id, user),
        has_secret: false,
        grant,
    };
    pb::Rejoin {
        room: room.into(),
        mark: Some(mark),
        seen: None,
        members: members.iter().map(member).collect(),
        redirected: false,
    }
}

/// A page of so many entries: `>3`, those after 3; `<3`, those before it; ``, the last.
pub(crate) fn history(room: &str, session_id: u64, pages: &str, limit: u32) -> C {
    let seq = |sign: char| pages.strip_prefix(sign).map(|seq| seq.parse().unwrap());
    let (after, before) = (seq('>'), seq('<'));
    C::ReadHistory(pb::ReadHistory { room: room.into(), session_id, after, before, limit })
}

pub(crate) fn list_rooms(limit: u32) -> C {
    C::ListRooms(pb::ListRooms { limit })
}

pub(crate) fn fetch(room: &str, after: pb::Position) -> C {
    C::Fetch(pb::Fetch { room: room.into(), after: Some(after) })
}

/// What a connector believes of one room.
pub(crate) fn compare(room: &str, mark: pb::Position, names: &[&str], sessions: &[u64]) -> C {
    let hash = |name: &&str| model::roster_hash(&model::UserName::parse(name).unwrap());
    C::Compare(pb::Compare {
        rooms: vec![pb::CompareRoom {
            room: room.into(),
            mark: Some(mark),
            roster: names.iter().map(hash).fold(0, u64::wrapping_add),
            session_ids: sessions.to_vec(),
        }],
    })
}
