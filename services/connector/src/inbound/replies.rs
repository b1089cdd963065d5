//! Answers of shards to what was asked.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use rpc::chat::v1::{self as pb, RefusedReason, reply};

use super::{compared, deliver, restart, room_on};
use crate::{
    extended::{self, LEFT},
    fanout::Batch,
    handler::{self, Place},
    hub::{Hub, error_body},
    link::{Link, LinkError},
    pending::{Ask, Pending},
    room::{Detached, Room, Route, State},
};

/// How long to wait before a shard is asked again that could not serve a room.
const UNAVAILABLE_WAIT: Duration = Duration::from_millis(100);

/// Handles one answer.
///
/// # Errors
///
/// An answer that this version does not know.
pub(super) fn handle(
    hub: &Hub,
    link: &Arc<Link>,
    reply: pb::Reply,
    batch: &mut Batch,
) -> Result<(), LinkError> {
    let result = reply.result.ok_or(LinkError::UnknownEvent)?;
    if let reply::Result::Compared(answer) = &result {
        link.is_comparing.store(false, Ordering::Relaxed);
        answer.rooms.iter().for_each(|theirs| compared(hub, link, theirs, batch));
        return Ok(());
    }
    let id = reply.request_id;
    if reply.room.is_empty() {
        let list = if let reply::Result::RoomList(list) = result { Some(list) } else { None };
        hub.listed(id, list);
        return Ok(());
    }
    let Some(room) = room_on(hub, link, &reply.room) else { return Ok(()) };
    match result {
        reply::Result::Joined(joined) => super::joined::handle(hub, &room, id, joined, batch),
        reply::Result::Gone(_) => on_gone(hub, &room, id, batch),
        reply::Result::Published(published) => on_published(hub, &room, id, &published, batch),
        reply::Result::Refused(refused) => on_refused(hub, link, &room, id, &refused, batch),
        reply::Result::Rejoined(rejoined) => {
            super::rejoined::handle(hub, link, &room, id, rejoined, batch);
        }
        reply::Result::Fetched(fetched) => on_fetched(hub, &room, id, fetched, batch),
        reply::Result::HistoryPage(page) => on_history(hub, &room, id, &page, batch),
        reply::Result::Compared(_) | reply::Result::RoomList(_) => {}
    }
    hub.tidy(&room);
    Ok(())
}

/// Takes the request that an answer is for.
pub(super) fn take(state: &mut State, request_id: u64) -> Option<Pending> {
    let at = state.pending.iter().position(|pending| pending.request_id == request_id)?;
    state.pending.remove(at)
}

fn on_gone(hub: &Hub, room: &Arc<Room>, request_id: u64, batch: &mut Batch) {
    let Some(pending) = take(&mut room.state(), request_id) else { return };
    gone(hub, room, &pending, batch);
}

/// A session is out, and its shard knows.
fn gone(hub: &Hub, room: &Arc<Room>, pending: &Pending, batch: &mut Batch) {
    let mut state = room.state();
    state.leaving.remove(&pending.session.id());
    state.detach_if_alone();
    drop(state);
    respond(hub, room, pending, 200, Bytes::from_static(LEFT), batch);
}

fn on_history(
    hub: &Hub,
    room: &Arc<Room>,
    request_id: u64,
    found: &pb::HistoryPage,
    batch: &mut Batch,
) {
    let Some(pending) = take(&mut room.state(), request_id) else { return };
    if let Ask::History(page) = &pending.ask {
        let body = extended::history(*page, found, hub.answer_bytes_max());
        respond(hub, room, &pending, 200, body, batch);
    }
}

fn on_published(
    hub: &Hub,
    room: &Arc<Room>,
    request_id: u64,
    published: &pb::Published,
    batch: &mut Batch,
) {
    let mut state = room.state();
    let Some(pending) = take(&mut state, request_id) else { return };
    state.overtakes(pending.session.id(), request_id);
    drop(state);
    let at = published.position.unwrap_or_default();
    respond(hub, room, &pending, 200, stored(&pending, at, published.at_ms), batch);
}

/// Tells a client that its message is stored.
fn stored(pending: &Pending, at: pb::Position, at_ms: u64) -> Bytes {
    match &pending.ask {
        Ask::Publish(speech) if pending.session.state().is_extended() => {
            extended::published(at, at_ms, &speech.cmid)
        }
        Ask::Publish(speech) => speech.answer.clone(),
        _ => Bytes::from_static(b"{}"),
    }
}

/// Answers a request whose entry comes in a replay, before the entry itself is
/// given to anybody (contract, rule 15). Returns its session and its number.
pub(super) fn answer_first(
    hub: &Hub,
    room: &Arc<Room>,
    state: &mut State,
    entry: &pb::Entry,
    batch: &mut Batch,
) -> Option<(u64, u64)> {
    let made_here = hub.made(&entry.cmid);
    let asked = |pending: &Pending| match &pending.ask {
        Ask::Publish(speech) if made_here => speech.cmid == entry.cmid,
        Ask::Publish(speech) => speech.is(entry),
        _ => false,
    };
    let at = state.pending.iter().position(asked)?;
    let pending = state.pending.remove(at)?;
    let at = pb::Position { epoch: state.mark.epoch.0, seq: entry.seq };
    respond(hub, room, &pending, 200, stored(&pending, at, entry.at_ms), batch);
    Some((pending.session.id(), pending.request_id))
}

/// Answers a client in its place among the pushes.
pub(super) fn respond(
    hub: &Hub,
    room: &Arc<Room>,
    pending: &Pending,
    code: u16,
    body: Bytes,
    batch: &mut Batch,
) {
    if let Some(id) = hub.count_answer(pending, code) {
        batch.response(room, &pending.session, id, body);
    }
}

fn on_refused(
    hub: &Hub,
    link: &Arc<Link>,
    room: &Arc<Room>,
    request_id: u64,
    refused: &pb::Refused,
    batch: &mut Batch,
) {
    let mut state = room.state();
    let is_rejoining = matches!(state.route, Route::Rejoining { .. });
    let is_rejoin =
        matches!(state.route, Route::Rejoining { request_id: id, .. } if id == request_id);
    let reason = match refused.reason() {
        // Whatever it says, the members have to be taken somewhere.
        reason if is_rejoin && reason != RefusedReason::Moved => RefusedReason::Unavailable,
        RefusedReason::Unspecified => RefusedReason::Unavailable,
        reason => reason,
    };
    let is_attached = state.digest.is_some() && !is_rejoin;
    match reason {
        // It came to the room before its author was brought there again: it is said
        // again behind the re-join.
        RefusedReason::NotAMember if is_rejoining && !is_rejoin => {
            state.unsend(request_id);
        }
        // Nothing has changed there: the same is asked again, elsewhere or later.
        RefusedReason::Moved => {
            if refused.unknown {
                state.may_be_stored(request_id);
            }
            let found = state.unsend(request_id);
            // What was served is about to leave this shard; the word of it follows.
            if is_rejoin || (found && !is_attached && !is_rejoining) {
                elsewhere(hub, link, room, &mut state, refused);
            }
        }
        RefusedReason::Unavailable if !is_attached => {
            let found = state.unsend(request_id);
            if is_rejoin || (found && !is_rejoining) {
                elsewhere(hub, link, room, &mut state, refused);
            }
        }
        _ => {
            let Some(pending) = take(&mut state, request_id) else { return };
            if matches!(pending.ask, Ask::Leave | Ask::Drop | Ask::Away) {
                drop(state);
                return gone(hub, room, &pending, batch);
            }
            if matches!(pending.ask, Ask::Join(_)) {
                state.send_waiting(&room.id);
            }
            drop(state);
            if matches!(pending.ask, Ask::Join(_)) && !pending.abandoned {
                handler::set_place(&pending.session, Place::Outside);
            }
            // Its author has left since it was first sent: it may be stored, and nobody
            // can look for it.
            let is_unknown = pending.repeated && matches!(pending.ask, Ask::Publish(_));
            let reason = match reason {
                RefusedReason::NotAMember if is_unknown => RefusedReason::Unavailable,
                reason => reason,
            };
            refuse(hub, room, &pending, reason, batch);
        }
    }
}

/// Takes a room off a shard that does not serve it.
fn elsewhere(
    hub: &Hub,
    link: &Arc<Link>,
    room: &Arc<Room>,
    state: &mut State,
    refused: &pb::Refused,
) {
    link.forget(&room.id);
    state.sent_to(refused.shard.as_ref());
    if state.redirect.is_some() {
        state.lost = None;
    }
    // Without a better address, the same shard may be asked again: not at once. Neither is
    // a room that nobody is in or comes into: no shard would claim it for what was said.
    let is_for_somebody = !state.members.is_empty() || state.has_join();
    let wait = match state.redirect {
        Some(_) if is_for_somebody => Duration::ZERO,
        _ => UNAVAILABLE_WAIT,
    };
    hub.detach(state, wait, Detached::Refused);
    hub.want(room);
}

/// Tells a client that its request was refused, as the original does where it can.
pub(super) fn refuse(
    hub: &Hub,
    room: &Arc<Room>,
    pending: &Pending,
    reason: RefusedReason,
    batch: &mut Batch,
) {
    let resumes = matches!(&pending.ask, Ask::Join(joining) if joining.resume.is_some());
    let (code, body) = match reason {
        RefusedReason::NameTaken if resumes => {
            hub.metrics().resumed("denied");
            (403, extended::denied())
        }
        RefusedReason::NameTaken => (500, Bytes::from_static(br#"{"code":500,"error":true}"#)),
        RefusedReason::NotAMember | RefusedReason::NoSuchTarget => {
            (500, Bytes::from_static(br#"{"code":500}"#))
        }
        RefusedReason::CmidConflict => {
            (409, error_body(409, "the cmid was used for something else"))
        }
        RefusedReason::ContentLength => (413, error_body(413, "content: too long")),
        RefusedReason::RoomFull => (503, error_body(503, "the room is full")),
        _ => (503, error_body(503, "the room cannot be served now, try again")),
    };
    respond(hub, room, pending, code, body, batch);
}

fn on_fetched(
    hub: &Hub,
    room: &Arc<Room>,
    request_id: u64,
    fetched: pb::Fetched,
    batch: &mut Batch,
) {
    let mut state = room.state();
    if state.hole.as_ref().is_none_or(|hole| hole.request_id != request_id) {
        return;
    }
    let Some(hole) = state.hole.take() else { return };
    if !fetched.complete {
        return restart(hub, room, &mut state);
    }
    let mut entries = fetched.entries;
    entries.extend(hole.held);
    entries.sort_by_key(|entry| entry.seq);
    for entry in entries {
        if entry.seq > state.mark.seq.0 {
            answer_first(hub, room, &mut state, &entry, batch);
            deliver(room, &mut state, entry, batch);
        }
    }
    let up_to = state.mark.seq.max(hole.up_to);
    state.change_digest(|digest| digest.head = up_to);
    state.mark.seq = up_to;
}
