//! What a session gets that comes in: the answer, and what it has missed.

use std::sync::Arc;

use model::{Position, UserName};
use rpc::chat::v1 as pb;
use serde_json::{Value, json};

use super::replies::{answer_first, respond, take};
use crate::{
    entry::Entry,
    extended,
    fanout::Batch,
    handler::{self, Place, Seat},
    hub::Hub,
    pending::{Ask, Joining},
    room::{Member, Room, Route, State},
};

/// Lets a session in, as its shard did.
pub(super) fn handle(
    hub: &Hub,
    room: &Arc<Room>,
    request_id: u64,
    mut joined: pb::Joined,
    batch: &mut Batch,
) {
    // What was said before is not for the newcomer.
    batch.flush_room(room);
    let mut state = room.state();
    if matches!(state.route, Route::Rejoining { .. }) {
        // Its place in the stream is before the re-join's: it will be asked again.
        return;
    }
    let Some(pending) = take(&mut state, request_id) else { return };
    let Ask::Join(joining) = &pending.ask else { return };
    let position: Position = joined.position.unwrap_or_default().into();
    attach(room, &mut state, &joined, joining, position);
    let session = &pending.session;
    if session.is_closed() || pending.abandoned {
        hub.answer(&pending, 503, b"{}");
        // The client may have asked again in the meantime.
        let is_wanted = !session.is_closed() && state.wants(session.id());
        if !is_wanted {
            hub.send_leave(room, &mut state, session);
        }
        return;
    }
    state.add_member(Arc::new(Member {
        session: Arc::clone(session),
        name: joining.name.clone(),
        who: joining.who,
        mark: position,
        grant: std::sync::Mutex::new(joined.grant.unwrap_or_default().into()),
    }));
    hub.metrics().members.inc();
    let (name, who) = (joining.name.clone(), joining.who);
    handler::set_place(session, Place::Inside(Seat { room: Arc::clone(room), name, who }));

    let entries = std::mem::take(&mut joined.entries);
    let missed = joining.resume.map(|resume| Missed::new(hub, resume, position, &joined, entries));
    let mut users = joined.roster;
    // Whoever was here before the room moved, and has some seconds to come back.
    let ghosts = state.ghosts.iter().map(ToString::to_string);
    users.extend(ghosts.filter(|ghost| *ghost != joining.name.as_str()));
    let mut body = json!({ "users": users });
    if let Some(secret) = &joining.secret {
        let position = extended::position(position);
        body = json!({
            "code": 200, "users": users, "position": position, "resume": secret.as_str(),
        });
    }
    let missed = missed.map_or_else(Vec::new, |missed| {
        body["verdict"] = missed.verdict;
        missed.entries
    });
    respond(hub, room, &pending, 200, wire::to_json(&body).into(), batch);
    for entry in missed {
        answer_first(hub, room, &mut state, &entry, batch);
        let entry = Arc::new(Entry { epoch: position.epoch, entry });
        batch.chat(room, Some(session), entry);
    }
}

/// Takes what the answer says of the room itself.
fn attach(
    room: &Room,
    state: &mut State,
    joined: &pb::Joined,
    joining: &Joining,
    position: Position,
) {
    state.seen = state.seen.max(joined.fence.unwrap_or_default().into());
    if state.digest.is_none() {
        let names = joined.roster.iter().filter_map(|name| UserName::parse(name).ok());
        // A presence of this name follows if it is new.
        state.roster = names.filter(|other| !joined.announced || *other != joining.name).collect();
        state.attach(&room.id, position);
    }
}

/// What a session missed that says where it left off.
struct Missed {
    verdict: Value,
    entries: Vec<pb::Entry>,
}

impl Missed {
    /// Takes the owner's word, and of the entries as many as may be pushed at once.
    fn new(
        hub: &Hub,
        resume: Position,
        position: Position,
        joined: &pb::Joined,
        mut entries: Vec<pb::Entry>,
    ) -> Self {
        let verdict = joined.verdict();
        if !matches!(verdict, pb::Verdict::Complete | pb::Verdict::Truncated) {
            hub.metrics().resumed("reset");
            let verdict = json!({ "kind": "reset", "position": extended::position(position) });
            return Self { verdict, entries: Vec::new() };
        }
        entries.retain(|entry| resume.seq.0 < entry.seq && entry.seq <= position.seq.0);
        let mut bytes = 0;
        let fits = |entry: &&pb::Entry| {
            bytes += extended::pushed_len(entry);
            bytes <= hub.answer_bytes_max()
        };
        let kept = entries.iter().rev().take_while(fits).count();
        let is_cut = kept < entries.len();
        entries.drain(..entries.len() - kept);
        let first = match entries.first() {
            _ if !is_cut => joined.first,
            Some(entry) => entry.seq,
            None => position.seq.next().0,
        };
        if verdict == pb::Verdict::Complete && !is_cut {
            hub.metrics().resumed("complete");
            return Self { verdict: json!({ "kind": "complete" }), entries };
        }
        hub.metrics().resumed("truncated");
        Self { verdict: json!({ "kind": "truncated", "first": first }), entries }
    }
}
