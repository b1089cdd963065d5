//! What shards say, and what it means for the rooms here.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use model::{
    Fence, Position, Seq, UserName,
    planted::{self, Bug},
};
use rpc::chat::v1::{self as pb, Event, command, event};

use crate::{
    entry::Entry,
    fanout::Batch,
    hub::Hub,
    link::{Link, LinkError},
    pending::Ask,
    room::{Detached, Hole, Room, State},
};

mod joined;
mod rejoined;
mod replies;

/// Entries that may wait while those before them are fetched; with more, the room
/// is taken to its shard again.
const HELD_MAX: usize = 4096;

/// Handles one event. Everything for clients goes into `batch`.
///
/// # Errors
///
/// The shard speaks a version that this one does not understand.
pub(crate) fn handle(
    hub: &Hub,
    link: &Arc<Link>,
    event: Event,
    batch: &mut Batch,
) -> Result<(), LinkError> {
    match event.event.ok_or(LinkError::UnknownEvent)? {
        event::Event::Entry(entry) => on_entry(hub, link, entry, batch),
        event::Event::Reply(reply) => replies::handle(hub, link, reply, batch)?,
        event::Event::Presence(presence) => on_presence(hub, link, &presence, batch),
        event::Event::Heartbeat(heartbeat) => on_heartbeat(hub, link, &heartbeat),
        event::Event::Moved(moved) => on_moved(hub, link, &moved),
        event::Event::CloseSession(close) => on_close_session(hub, link, &close, batch),
        event::Event::GoAway(_) => {
            tracing::info!("the shard is going to stop");
            link.is_draining.store(true, Ordering::Relaxed);
        }
        event::Event::Redacted(redacted) => on_redacted(hub, link, &redacted, batch),
        event::Event::Welcome(_) => return Err(LinkError::UnknownEvent),
    }
    Ok(())
}

/// The room that an event is for, if it goes over this link.
fn room_on(hub: &Hub, link: &Arc<Link>, id: &str) -> Option<Arc<Room>> {
    let id = rpc::convert::room(id).ok()?;
    let believes_all = planted::is(Bug::LateOwnerBelieved);
    let room = hub.room(&id).filter(|room| believes_all || room.state().is_on(link));
    if room.is_none() {
        hub.metrics().late_events.inc();
    }
    room
}

fn on_entry(hub: &Hub, link: &Arc<Link>, entry: pb::Entry, batch: &mut Batch) {
    hub.metrics().pushes.inc();
    let Some(room) = room_on(hub, link, &entry.room) else { return };
    let mut state = room.state();
    if is_late(hub, &state, entry.fence) {
        return;
    }
    let Some(digest) = state.digest else { return };
    if Seq(entry.seq) <= digest.head {
        // It has come before.
        hub.metrics().repeats.inc();
        return;
    }
    if let Some(hole) = &mut state.hole {
        hole.held.push(entry);
        if hole.held.len() > HELD_MAX {
            restart(hub, &room, &mut state);
            drop(state);
            hub.tidy(&room);
        }
        return;
    }
    if entry.prev != digest.head.0 && !planted::is(Bug::HoleNotSeen) {
        return fetch(hub, link, &room, &mut state, vec![entry], digest.head);
    }
    if state.asked_twice {
        // What an old link carried may be stored only now.
        state.asked_twice = !state.pending.is_empty();
        replies::answer_first(hub, &room, &mut state, &entry, batch);
    }
    deliver(&room, &mut state, entry, batch);
}

/// True if a superseded shard says something because it does not know yet.
fn is_late(hub: &Hub, state: &State, fence: Option<pb::Fence>) -> bool {
    let late =
        state.seen > Fence::from(fence.unwrap_or_default()) && !planted::is(Bug::LateOwnerBelieved);
    if late {
        hub.metrics().late_events.inc();
    }
    late
}

/// Gives the next entry to whom it is for.
fn deliver(room: &Arc<Room>, state: &mut State, entry: pb::Entry, batch: &mut Batch) {
    let seq = Seq(entry.seq);
    state.change_digest(|digest| digest.head = seq);
    state.mark.seq = seq;
    let entry = Arc::new(Entry { epoch: state.mark.epoch, entry });
    if state.keeps_ring {
        state.ring.push(&entry);
    }
    if entry.entry.target == model::TARGET_ALL || planted::is(Bug::WhisperToAll) {
        if state.newest.epoch != state.mark.epoch || state.newest.seq < seq {
            return batch.chat(room, None, entry);
        }
        // It was fetched late, and somebody has come in since.
        for member in state.members.iter().filter(|member| state.is_for(member, seq)) {
            batch.chat(room, Some(&member.session), Arc::clone(&entry));
        }
        return;
    }
    let Ok(name) = UserName::parse(&entry.entry.target) else { return };
    if let Some(member) = state.by_name.get(&name).filter(|member| state.is_for(member, seq)) {
        batch.chat(room, Some(&member.session), entry);
    }
}

/// Asks for the entries between the last one and those that came.
fn fetch(
    hub: &Hub,
    link: &Arc<Link>,
    room: &Arc<Room>,
    state: &mut State,
    held: Vec<pb::Entry>,
    up_to: Seq,
) {
    hub.metrics().holes.inc();
    let request_id = hub.next_request();
    let fetch = pb::Fetch { room: room.id.to_string(), after: Some(state.mark.into()) };
    link.upstream.push(request_id, command::Command::Fetch(fetch));
    state.hole = Some(Hole { request_id, held, up_to });
}

/// Takes the room to its shard again: the only way out when it is not known what
/// is missing.
fn restart(hub: &Hub, room: &Arc<Room>, state: &mut State) {
    if let Some(link) = state.link() {
        link.forget(&room.id);
    }
    hub.detach(state, Duration::ZERO, Detached::Differed);
    hub.want(room);
}

fn on_presence(hub: &Hub, link: &Arc<Link>, presence: &pb::Presence, batch: &mut Batch) {
    hub.metrics().pushes.inc();
    let Some(room) = room_on(hub, link, &presence.room) else { return };
    let Ok(name) = UserName::parse(&presence.user) else { return };
    let mut state = room.state();
    if is_late(hub, &state, presence.fence) {
        return;
    }
    let shown = state.roster.contains(&name) || state.ghosts.contains(&name);
    if presence.joined {
        if state.roster.insert(name.clone()) {
            state.change_digest(|digest| digest.add(&name));
        }
        state.ghosts.remove(&name);
        if !shown {
            batch.presence(&room, presence.session_id, name.to_string(), true);
        }
    } else {
        if state.roster.remove(&name) {
            state.change_digest(|digest| digest.remove(&name));
        }
        state.ghosts.remove(&name);
        if shown {
            batch.presence(&room, 0, name.to_string(), false);
        }
    }
}

/// Forgets the content of an entry, and tells those who may show it.
fn on_redacted(hub: &Hub, link: &Arc<Link>, redacted: &pb::Redacted, batch: &mut Batch) {
    let Some(room) = room_on(hub, link, &redacted.room) else { return };
    let mut state = room.state();
    if is_late(hub, &state, redacted.fence) {
        return;
    }
    let Some(digest) = state.digest else { return };
    if let Some(hole) = &mut state.hole {
        for entry in hole.held.iter_mut().filter(|entry| entry.seq == redacted.seq) {
            entry.content.clear();
            entry.redacted = true;
        }
    }
    state.ring.redact(redacted.seq);
    let epoch = crate::extended::epoch(digest.epoch.0);
    let body = serde_json::json!({ "epoch": epoch, "seq": redacted.seq });
    batch.told(&room, wire::route::ON_REDACT, body);
}

fn on_moved(hub: &Hub, link: &Arc<Link>, moved: &pb::Moved) {
    let Some(room) = room_on(hub, link, &moved.room) else { return };
    let mut state = room.state();
    link.forget(&room.id);
    hub.detach(&mut state, Duration::ZERO, Detached::Moved);
    state.sent_to(moved.shard.as_ref());
    state.lost = None;
    drop(state);
    tracing::debug!(room_id = %room.id, "room moved");
    hub.want(&room);
    hub.tidy(&room);
}

fn on_close_session(hub: &Hub, link: &Arc<Link>, close: &pb::CloseSession, batch: &mut Batch) {
    let Some(room) = room_on(hub, link, &close.room) else { return };
    // What was said before is still for it.
    batch.flush_room(&room);
    let mut state = room.state();
    let member = state.remove_member(close.session_id);
    state.leaving.remove(&close.session_id);
    state.detach_if_alone();
    drop(state);
    if let Some(member) = member {
        hub.metrics().members.dec();
        crate::handler::set_place(&member.session, crate::handler::Place::Outside);
        let counted = match close.reason.starts_with("superseded") {
            true => frontend::CloseReason::Superseded,
            false => frontend::CloseReason::Kicked,
        };
        member.session.kick_as(&close.reason, counted);
    }
    hub.tidy(&room);
}

fn on_heartbeat(hub: &Hub, link: &Arc<Link>, heartbeat: &pb::ShardHeartbeat) {
    link.store_unreachable.store(heartbeat.store_unreachable, Ordering::Relaxed);
    if planted::is(Bug::DigestNotCompared) {
        return;
    }
    if heartbeat.digest == link.digest() || link.is_comparing.swap(true, Ordering::Relaxed) {
        return;
    }
    hub.metrics().digest_mismatches.inc();
    tracing::debug!(ours = link.digest(), theirs = heartbeat.digest, "digests differ");
    let rooms = link.rooms().into_iter().filter_map(|room| {
        let state = room.state();
        state.is_on(link).then(|| compare_room(&room, &state))
    });
    let compare = pb::Compare { rooms: rooms.collect() };
    link.upstream.push(hub.next_request(), command::Command::Compare(compare));
}

fn compare_room(room: &Room, state: &State) -> pb::CompareRoom {
    let joining =
        state.pending.iter().filter(|pending| pending.sent && matches!(pending.ask, Ask::Join(_)));
    let members = state.members.iter().map(|member| member.session.id());
    pb::CompareRoom {
        room: room.id.to_string(),
        mark: Some(state.mark.into()),
        roster: state.digest.map_or(0, |digest| digest.roster),
        session_ids: members
            .chain(state.leaving.iter().copied())
            .chain(joining.map(|pending| pending.session.id()))
            .collect(),
    }
}

/// What a shard says of a room that it and this connector see differently.
fn compared(hub: &Hub, link: &Arc<Link>, theirs: &pb::ComparedRoom, batch: &mut Batch) {
    let Some(room) = room_on(hub, link, &theirs.room) else { return };
    let mut state = room.state();
    let Some(digest) = state.digest else { return };
    let position = theirs.position.map(Position::from);
    // Whoever has left in the meantime is rightly missing.
    let is_member = |id: &u64| state.members.iter().any(|member| member.session.id() == *id);
    let is_missing = theirs.missing_session_ids.iter().any(is_member);
    match position.filter(|position| {
        theirs.known && !is_missing && position.epoch == digest.epoch && position.seq >= digest.head
    }) {
        None => restart(hub, &room, &mut state),
        Some(position) => {
            reconcile(hub, &room, &mut state, &theirs.roster, batch);
            if position.seq > digest.head && state.hole.is_none() {
                fetch(hub, link, &room, &mut state, Vec::new(), position.seq);
            }
        }
    }
    drop(state);
    hub.tidy(&room);
}

/// Makes the roster what the shard says, and tells the members what changes for
/// them. Names that they were shown and that nobody confirms become ghosts.
fn reconcile(hub: &Hub, room: &Arc<Room>, state: &mut State, theirs: &[String], batch: &mut Batch) {
    let theirs: BTreeSet<UserName> =
        theirs.iter().filter_map(|name| UserName::parse(name).ok()).collect();
    // Ordered, so that a simulated run can be repeated.
    let ours: BTreeSet<UserName> = state.roster.iter().cloned().collect();
    let shown: BTreeSet<UserName> = ours.union(&state.ghosts).cloned().collect();
    for name in theirs.difference(&shown) {
        batch.presence(room, 0, name.to_string(), true);
    }
    let lost: Vec<UserName> = ours.difference(&theirs).cloned().collect();
    let found: Vec<UserName> = theirs.difference(&ours).cloned().collect();
    state.change_digest(|digest| {
        lost.iter().for_each(|name| digest.remove(name));
        found.iter().for_each(|name| digest.add(name));
    });
    state.ghosts = shown.difference(&theirs).cloned().collect();
    state.roster = theirs.into_iter().collect();
    if !state.ghosts.is_empty() {
        state.settles = Some(hub.clock().now() + crate::room::SETTLE);
        hub.settle_later(room);
    }
}
