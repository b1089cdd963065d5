//! Commands of a connector, as the room takes them.

use bytes::Bytes;
use model::{ConnectorId, LinkId, RoomId, Seq, SessionId};
use room::{Command, Input, Join, Newcomer, Pages, Query, Read, Rejoin, Resume, Target};
use rpc::{Malformed, chat::v1 as pb, convert};

use crate::history;

/// A command that is served by whoever has the room.
pub(super) fn plain(input: Input) -> Command {
    Command { input, seen: model::Fence::default(), redirected: false }
}

/// Reads a target: everybody, or a name.
pub(crate) fn target(raw: &str) -> Result<Target, Malformed> {
    if raw == model::TARGET_ALL { Ok(Target::All) } else { convert::user(raw).map(Target::One) }
}

/// Reads a join.
pub(super) fn join(
    link: LinkId,
    connector: &ConnectorId,
    request_id: u64,
    join: &pb::Join,
) -> Result<(RoomId, Command), Malformed> {
    let newcomer = newcomer(join.session_id, &join.user, &join.identity, join.has_secret)?;
    let resume = join.resume.map(|at| Resume { position: at.into(), replay: None });
    let (connector, knows_roster) = (connector.clone(), join.knows_roster);
    let input = Input::Join(Join { link, connector, request_id, newcomer, resume, knows_roster });
    let seen = join.seen.unwrap_or_default().into();
    Ok((convert::room(&join.room)?, Command { input, seen, redirected: join.redirected }))
}

/// Reads a re-join.
pub(super) fn rejoin(
    link: LinkId,
    connector: &ConnectorId,
    request_id: u64,
    rejoin: pb::Rejoin,
) -> Result<(RoomId, Command), Malformed> {
    let members = rejoin.members.into_iter().map(|member| {
        let newcomer =
            newcomer(member.session_id, &member.user, &member.identity, member.has_secret)?;
        Ok((newcomer, member.grant.map(Into::into)))
    });
    let input = Input::Rejoin(Rejoin {
        link,
        connector: connector.clone(),
        request_id,
        mark: rejoin.mark.ok_or(Malformed::Field("mark"))?.into(),
        members: members.collect::<Result<_, _>>()?,
        replay: None,
    });
    let seen = rejoin.seen.unwrap_or_default().into();
    Ok((convert::room(&rejoin.room)?, Command { input, seen, redirected: rejoin.redirected }))
}

/// Reads a wish for a page of history.
pub(super) fn read(
    link: LinkId,
    request_id: u64,
    read: &pb::ReadHistory,
) -> Result<(RoomId, Command), Malformed> {
    let pages = match (read.after, read.before) {
        (Some(_), Some(_)) => return Err(Malformed::Field("before")),
        (Some(after), None) => Pages::After(Seq(after)),
        (None, before) => Pages::Before(before.map_or(history::END, Seq)),
    };
    let query = Query { pages, limit: limit(read.limit) };
    let session = SessionId(read.session_id);
    let input = Input::Read(Read { link, session, request_id, query });
    Ok((convert::room(&read.room)?, plain(input)))
}

/// How many entries, or rooms, one answer has at most.
pub(super) fn limit(asked: u32) -> usize {
    usize::try_from(asked).unwrap_or(usize::MAX).clamp(1, 1000)
}

fn newcomer(
    session_id: u64,
    user: &str,
    identity: &Bytes,
    has_secret: bool,
) -> Result<Newcomer, Malformed> {
    Ok(Newcomer {
        session: SessionId(session_id),
        name: convert::user(user)?,
        identity: convert::identity(identity)?,
        has_secret,
    })
}
