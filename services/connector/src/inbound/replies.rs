//! Answers of shards to what was asked.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use model::{Position, UserName};
use rpc::chat::v1::{self as pb, RefusedReason, reply};

use super::{compared, deliver, reconcile, restart, room_on, shard};
use crate::{
    fanout::Batch,
    handler::Place,
    hub::{Hub, error_body},
    link::{Link, LinkError},
    room::{Ask, Member, Pending, Room, Route, State},
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
    let Some(room) = room_on(hub, link, &reply.room) else { return Ok(()) };
    let id = reply.request_id;
    match result {
        reply::Result::Joined(joined) => on_joined(hub, &room, id, joined, batch),
        reply::Result::Gone(_) => on_gone(&room, id),
        reply::Result::Published(_) => on_published(hub, &room, id, batch),
        reply::Result::Refused(refused) => on_refused(hub, link, &room, id, &refused, batch),
        reply::Result::Rejoined(rejoined) => on_rejoined(hub, link, &room, id, rejoined, batch),
        reply::Result::Fetched(fetched) => on_fetched(hub, &room, id, fetched, batch),
        reply::Result::Compared(_) => {}
    }
    hub.tidy(&room);
    Ok(())
}

/// Takes the request that an answer is for.
fn take(state: &mut State, request_id: u64) -> Option<Pending> {
    let at = state.pending.iter().position(|pending| pending.request_id == request_id)?;
    state.pending.remove(at)
}

fn on_joined(hub: &Hub, room: &Arc<Room>, request_id: u64, joined: pb::Joined, batch: &mut Batch) {
    // What was said before is not for the newcomer.
    batch.flush_room(room);
    let mut state = room.state();
    let Some(pending) = take(&mut state, request_id) else { return };
    let Ask::Join { reply_to, name } = &pending.ask else { return };
    state.seen = state.seen.max(joined.fence.unwrap_or_default().into());
    if state.digest.is_none() {
        let names = joined.roster.iter().filter_map(|name| UserName::parse(name).ok());
        // A presence of this name follows if it is new.
        state.roster = names.filter(|other| !joined.announced || other != name).collect();
        state.attach(&room.id, joined.position.unwrap_or_default().into());
    }
    if pending.session.is_closed() || pending.abandoned {
        hub.answer(&pending, 503, b"{}");
        return hub.send_leave(room, &mut state, &pending.session);
    }
    let member = Member {
        session: Arc::clone(&pending.session),
        name: name.clone(),
        grant: std::sync::Mutex::new(joined.grant.unwrap_or_default().into()),
    };
    state.add_member(Arc::new(member));
    hub.metrics().members.inc();
    let mut users = joined.roster;
    // Whoever was here before the room moved, and has some seconds to come back.
    users.extend(
        state.ghosts.iter().map(ToString::to_string).filter(|ghost| *ghost != name.as_str()),
    );
    drop(state);
    pending.session.state().set_place(Place::Inside(Arc::clone(room), name.clone()));
    let body = wire::to_json(&serde_json::json!({ "users": users }));
    respond(hub, room, &pending, reply_to.as_ref(), "enter", 200, body.into(), batch);
}

fn on_gone(room: &Arc<Room>, request_id: u64) {
    let mut state = room.state();
    let Some(pending) = take(&mut state, request_id) else { return };
    state.leaving.remove(&pending.session.id());
    state.detach_if_alone();
}

fn on_published(hub: &Hub, room: &Arc<Room>, request_id: u64, batch: &mut Batch) {
    let Some(pending) = take(&mut room.state(), request_id) else { return };
    let Ask::Publish { reply_to, .. } = &pending.ask else { return };
    respond(hub, room, &pending, reply_to.as_ref(), "send", 200, Bytes::from_static(b"{}"), batch);
}

/// Answers a client in its place among the pushes.
#[allow(
    clippy::too_many_arguments,
    reason = "each is a different thing, and there are three callers"
)]
fn respond(
    hub: &Hub,
    room: &Arc<Room>,
    pending: &Pending,
    reply_to: Option<&wire::RawId>,
    route: &'static str,
    code: u16,
    body: Bytes,
    batch: &mut Batch,
) {
    if pending.abandoned {
        return;
    }
    hub.count_answer(pending, route, code);
    let seconds = (hub.clock().now() - pending.started).as_secs_f64();
    match route {
        "enter" => hub.metrics().enter_seconds.observe(seconds),
        _ => hub.metrics().send_seconds.observe(seconds),
    }
    if let Some(id) = reply_to {
        batch.response(room, &pending.session, *id, body);
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
    let reason = refused.reason();
    let mut state = room.state();
    let is_rejoin =
        matches!(state.route, Route::Rejoining { request_id: id, .. } if id == request_id);
    match reason {
        RefusedReason::Moved | RefusedReason::Unavailable => {
            // Nothing has changed there: the same is asked again, elsewhere or later.
            if let Some(pending) =
                state.pending.iter_mut().find(|pending| pending.request_id == request_id)
            {
                pending.sent = false;
            } else if !is_rejoin {
                return;
            }
            if state.digest.is_some() && reason == RefusedReason::Unavailable && !is_rejoin {
                // The room is served, but its store is not: nothing to look for.
                let Some(pending) = take(&mut state, request_id) else { return };
                drop(state);
                return refuse(hub, room, &pending, reason, batch);
            }
            if state.digest.is_some() && reason == RefusedReason::Moved && !is_rejoin {
                // The room is about to leave this shard; the word of it follows.
                return;
            }
            link.forget(&room.id);
            let wait =
                if reason == RefusedReason::Moved { Duration::ZERO } else { UNAVAILABLE_WAIT };
            state.detach(hub.clock().now(), wait);
            state.redirect = refused.shard.as_ref().and_then(shard);
            drop(state);
            hub.want(room);
        }
        _ => {
            let Some(pending) = take(&mut state, request_id) else { return };
            drop(state);
            if matches!(pending.ask, Ask::Join { .. }) {
                pending.session.state().set_place(Place::Outside);
            }
            refuse(hub, room, &pending, reason, batch);
        }
    }
}

/// Tells a client that its request was refused, as the original does where it can.
fn refuse(
    hub: &Hub,
    room: &Arc<Room>,
    pending: &Pending,
    reason: RefusedReason,
    batch: &mut Batch,
) {
    let (reply_to, route) = match &pending.ask {
        Ask::Join { reply_to, .. } => (reply_to, "enter"),
        Ask::Publish { reply_to, .. } => (reply_to, "send"),
        Ask::Leave => return,
    };
    let (code, body) = match reason {
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
    respond(hub, room, pending, reply_to.as_ref(), route, code, body, batch);
}

fn on_rejoined(
    hub: &Hub,
    link: &Arc<Link>,
    room: &Arc<Room>,
    request_id: u64,
    rejoined: pb::Rejoined,
    batch: &mut Batch,
) {
    let mut state = room.state();
    if !matches!(state.route, Route::Rejoining { request_id: id, .. } if id == request_id) {
        return;
    }
    let verdict = rejoined.verdict();
    state.route = Route::Live { link: Arc::clone(link) };
    state.seen = state.seen.max(rejoined.fence.unwrap_or_default().into());
    hub.metrics()
        .rejoins
        .get_or_create(&crate::metrics::ResultLabel { result: label(verdict) })
        .inc();

    let evicted: Vec<Arc<Member>> =
        rejoined.refused_session_ids.iter().filter_map(|id| state.remove_member(*id)).collect();
    for readmitted in &rejoined.readmitted {
        if let Some(member) =
            state.members.iter().find(|member| member.session.id() == readmitted.session_id)
        {
            *member.grant.lock().expect("a grant") = readmitted.grant.unwrap_or_default().into();
        }
    }
    for entry in rejoined.entries {
        if state.mark.seq.0 < entry.seq {
            deliver(room, &mut state, entry, batch);
        }
    }
    reconcile(hub, room, &mut state, &rejoined.roster, batch);
    if !rejoined.readmitted.is_empty() {
        let position: Position = rejoined.position.unwrap_or_default().into();
        state.attach(&room.id, position);
    }
    let unknown =
        if verdict == pb::Verdict::Complete { Vec::new() } else { state.give_up_unknown() };
    state.send_again();
    state.send_waiting(&room.id);
    // A log that does not outlive its shard promised nothing about the past.
    let cut = verdict != pb::Verdict::Complete && !link.is_volatile;
    let members = if cut { Arc::clone(&state.members) } else { Arc::default() };
    drop(state);

    tracing::debug!(room_id = %room.id, verdict = label(verdict), "room taken to a shard again");
    for pending in &unknown {
        refuse(hub, room, pending, RefusedReason::Unavailable, batch);
    }
    if !evicted.is_empty() || cut {
        batch.flush_room(room);
    }
    for member in evicted {
        hub.metrics().members.dec();
        member.session.state().set_place(Place::Outside);
        member.session.kick_as(
            "superseded: the name is held by another session",
            frontend::CloseReason::Superseded,
        );
    }
    for member in members.iter() {
        member.session.kick("reconnect: messages may have been lost");
    }
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
            deliver(room, &mut state, entry, batch);
        }
    }
}

fn label(verdict: pb::Verdict) -> &'static str {
    match verdict {
        pb::Verdict::Complete => "complete",
        pb::Verdict::Truncated => "truncated",
        pb::Verdict::Reset | pb::Verdict::Unspecified => "reset",
    }
}
