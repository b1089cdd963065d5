//! What a session gets that comes in: the answer, and what it has missed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use model::{Position, Seq, UserName};
use rpc::chat::v1 as pb;
use serde_json::{Value, json};

use super::replies::{answer_first, respond, take};
use crate::{
    entry::Entry,
    extended,
    fanout::Batch,
    handler::{self, Place, Seat},
    hub::Hub,
    pending::{Ask, Joining, Pending},
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
    let Some(mut pending) = take(&mut state, request_id) else { return };
    let Ask::Join(joining) = &mut pending.ask else { return };
    let position: Position = joined.position.unwrap_or_default().into();
    let is_known = joined.roster.is_empty();
    if is_known && state.digest.is_none() {
        return ask_for_all(room, &mut state, pending);
    }
    attach(room, &mut state, &joined, joining, position);
    let session = &pending.session;
    if session.is_closed() || pending.abandoned {
        hub.answer(&pending, 503, b"{}");
        // The client may have asked again in the meantime.
        let is_wanted = !session.is_closed() && state.wants(session.id());
        if !is_wanted {
            hub.send_leave(room, &mut state, session);
        }
        state.send_waiting(&room.id);
        return;
    }
    let Some(held) = held(&state, joining, position) else {
        // More has come since than is kept.
        return ask_for_all(room, &mut state, pending);
    };
    let entries = std::mem::take(&mut joined.entries);
    let entries = merge(position, entries, held);
    // The link may be behind: a whisper goes only where its target is, or was. What lies
    // between is for nobody here; but it may be what this session missed.
    let head = Position { seq: position.seq.max(Seq(joined.head)), ..position };
    let missed = joining.resume.map(|resume| Missed::new(hub, resume, head, &joined, entries));
    let position = missed.as_ref().map_or(head, |missed| missed.reached);
    // Whoever was here under that name is not in any more, whether or not the shard,
    // which may not have known of it, says so.
    let displaced = state.by_name.get(&joining.name).map(|member| member.session.id());
    let displaced =
        displaced.filter(|id| *id != session.id()).and_then(|id| state.remove_member(id));
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

    let users = users(&mut state, joined.roster, &joining.name);
    let (mut before, mut rest) = (&b"{\"users\":"[..], json!({}));
    if let Some(secret) = &joining.secret {
        before = b"{\"code\":200,\"users\":";
        rest = json!({ "position": extended::position(position), "resume": secret.as_str() });
    }
    let missed = missed.map_or_else(Vec::new, |missed| {
        rest["verdict"] = missed.verdict;
        missed.entries
    });
    respond(hub, room, &pending, 200, joined_json(before, &users, &rest), batch);
    for entry in missed {
        answer_first(hub, room, &mut state, &entry.entry, batch);
        batch.chat(room, Some(session), entry);
    }
    // What it asked for meanwhile.
    state.send_waiting(&room.id);
    drop(state);
    if let Some(member) = displaced {
        superseded(hub, &member);
    }
}

/// What is here does not do: the shard has to send all of it.
fn ask_for_all(room: &Room, state: &mut State, mut pending: Pending) {
    if let Ask::Join(joining) = &mut pending.ask {
        joining.may_hold = false;
    }
    pending.sent = false;
    state.pending.push_front(pending);
    state.send_waiting(&room.id);
}

/// The names that are in, as JSON: as the shard says, and whoever was here before the
/// room moved, and has some seconds to come back.
fn users(state: &mut State, roster: Vec<String>, newcomer: &UserName) -> Arc<[u8]> {
    if roster.is_empty() {
        return state.users(newcomer);
    }
    let mut users = roster;
    if !state.ghosts.is_empty() {
        let known: HashSet<String> = users.iter().cloned().collect();
        let ghosts = state.ghosts.iter().map(ToString::to_string);
        users.extend(ghosts.filter(|ghost| !known.contains(ghost)));
    }
    wire::to_json(&users).into()
}

/// The answer, put together by hand: the names are most of it.
fn joined_json(before: &[u8], users: &[u8], rest: &Value) -> Bytes {
    let rest = wire::to_json(rest);
    let mut json = Vec::with_capacity(before.len() + users.len() + rest.len());
    json.extend_from_slice(before);
    json.extend_from_slice(users);
    // Without its own bracket.
    if rest.len() > 2 {
        json.push(b',');
    }
    json.extend_from_slice(&rest[1..]);
    json.into()
}

/// Ends a session whose name another one has.
fn superseded(hub: &Hub, member: &Member) {
    hub.metrics().members.dec();
    handler::set_place(&member.session, Place::Outside);
    let why = "superseded: logged in elsewhere";
    member.session.kick_as(why, frontend::CloseReason::Superseded);
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

/// The entries that its shard could leave out, as they are here; none if they are not
/// here any more.
fn held(state: &State, joining: &Joining, position: Position) -> Option<Vec<Arc<Entry>>> {
    let (Some(resume), Some(after)) = (joining.resume, joining.held_after) else {
        return Some(Vec::new());
    };
    state.ring.range(resume.seq.max(Seq(after)), position)
}

/// What a shard sent and what is here, in order.
fn merge(position: Position, sent: Vec<pb::Entry>, held: Vec<Arc<Entry>>) -> Vec<Arc<Entry>> {
    let sent = sent.into_iter().map(|entry| Arc::new(Entry { epoch: position.epoch, entry }));
    let by_seq: BTreeMap<u64, Arc<Entry>> =
        held.into_iter().chain(sent).map(|entry| (entry.entry.seq, entry)).collect();
    by_seq.into_values().collect()
}

/// What a session missed that says where it left off.
struct Missed {
    verdict: Value,
    entries: Vec<Arc<Entry>>,
    /// Where it is with them.
    reached: Position,
}

impl Missed {
    /// Takes the owner's word, and of the entries as many as may be pushed at once.
    fn new(
        hub: &Hub,
        resume: Position,
        head: Position,
        joined: &pb::Joined,
        mut entries: Vec<Arc<Entry>>,
    ) -> Self {
        let verdict = joined.verdict();
        if !matches!(verdict, pb::Verdict::Complete | pb::Verdict::Truncated) {
            hub.metrics().resumed("reset");
            let verdict = json!({ "kind": "reset", "position": extended::position(head) });
            return Self { verdict, entries: Vec::new(), reached: head };
        }
        // What was taken from the log is not shown any more, also if it is still here.
        let is_truncated = verdict == pb::Verdict::Truncated;
        let from = if is_truncated { joined.first } else { 0 }.max(resume.seq.0 + 1);
        entries.retain(|entry| entry.entry.seq >= from);
        let last = entries.last().map_or(Seq(0), |last| Seq(last.entry.seq));
        let left_off = if is_truncated { Seq(0) } else { resume.seq };
        let reached = Position { seq: head.seq.max(last).max(left_off), ..head };
        let mut bytes = 0;
        let fits = |entry: &&Arc<Entry>| {
            bytes += extended::pushed_len(&entry.entry);
            bytes <= hub.answer_bytes_max()
        };
        let kept = entries.iter().rev().take_while(fits).count();
        let is_cut = kept < entries.len();
        entries.drain(..entries.len() - kept);
        let first = match entries.first() {
            _ if !is_cut => joined.first,
            Some(entry) => entry.entry.seq,
            None => reached.seq.next().0,
        };
        if verdict == pb::Verdict::Complete && !is_cut {
            hub.metrics().resumed("complete");
            return Self { verdict: json!({ "kind": "complete" }), entries, reached };
        }
        hub.metrics().resumed("truncated");
        Self { verdict: json!({ "kind": "truncated", "first": first }), entries, reached }
    }
}
