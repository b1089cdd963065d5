//! What a connector has got wrong, after a heartbeat's digest did not match.

use std::collections::HashSet;

use model::{LinkId, RoomId, SessionId};
use room::Input;
use rpc::{
    chat::v1::{self as pb, reply},
    convert,
};

use super::Link;

impl Link {
    /// Tells a connector what it has got wrong, and forgets members that it does
    /// not know. Those of a room that it does not list at all are on their way to
    /// another shard, as likely as not: they have the grace period, so that nobody
    /// who stays is told that they left.
    pub(super) fn compare(&self, request_id: u64, compare: pb::Compare) {
        let link = self.outbox.link;
        let mut differing = Vec::new();
        let mut listed = HashSet::new();
        for room in compare.rooms {
            let Ok(id) = convert::room(&room.room) else { continue };
            // First, so that what is told of the room is without them.
            self.forget(&id, &room.session_ids);
            let compared = self.rooms.read(&id, |open| compare_room(open, link, &room));
            match compared {
                Some(None) => {}
                Some(Some(compared)) => differing.push(compared),
                None => differing.push(pb::ComparedRoom {
                    room: room.room.clone(),
                    ..pb::ComparedRoom::default()
                }),
            }
            listed.insert(id);
        }
        let now_ms = self.rooms.now_ms();
        for id in self.outbox.rooms().iter().filter(|id| !listed.contains(id)) {
            self.rooms.apply_open(id, Input::LinkLost { link, now_ms });
        }
        self.rooms.0.metrics.digest_mismatches.inc_by(differing.len() as u64);
        let compared = pb::Compared { rooms: differing };
        self.outbox.reply(request_id, String::new(), reply::Result::Compared(compared));
    }

    /// Takes out the members behind this link that its connector does not name.
    fn forget(&self, id: &RoomId, known: &[u64]) {
        let link = self.outbox.link;
        let known: HashSet<u64> = known.iter().copied().collect();
        let sessions = self.rooms.read(id, |open| open.sessions(link).collect::<Vec<_>>());
        for session in sessions.unwrap_or_default() {
            if !known.contains(&session.0) {
                let (request_id, away_at_ms) = (0, None);
                self.rooms.apply_open(id, Input::Leave { link, request_id, session, away_at_ms });
            }
        }
    }
}

fn compare_room(
    open: &room::Room,
    link: LinkId,
    room: &pb::CompareRoom,
) -> Option<pb::ComparedRoom> {
    let missing =
        room.session_ids.iter().copied().filter(|id| !open.has_session(link, SessionId(*id)));
    let missing_session_ids: Vec<u64> = missing.collect();
    let digest = open.digest(link);
    let mark = room.mark.unwrap_or_default();
    let agrees = digest
        .is_some_and(|d| (d.epoch.0, d.head.0, d.roster) == (mark.epoch, mark.seq, room.roster));
    if agrees && missing_session_ids.is_empty() {
        return None;
    }
    Some(pb::ComparedRoom {
        room: room.room.clone(),
        known: digest.is_some(),
        position: digest.map(|d| pb::Position { epoch: d.epoch.0, seq: d.head.0 }),
        fence: Some(open.fence().into()),
        roster: open.members().map(|member| member.name.to_string()).collect(),
        missing_session_ids,
    })
}
