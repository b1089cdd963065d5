//! Commands of a connector, as the room takes them.

use bytes::Bytes;
use model::{ConnectorId, LinkId, RoomId, SessionId};
use room::{Input, Join, Newcomer, Rejoin, Resume, Target};
use rpc::{Malformed, chat::v1 as pb, convert};

use crate::rooms::Command;

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
    let connector = connector.clone();
    let input = Input::Join(Join { link, connector, request_id, newcomer, resume });
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
