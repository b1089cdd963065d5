//! Members that are brought to a shard again.

use std::sync::Arc;

use model::{Position, Seq};
use rpc::chat::v1::{self as pb, RefusedReason};
use serde_json::{Value, json};

use super::{
    deliver, reconcile,
    replies::{answer_first, refuse},
};
use crate::{
    extended,
    fanout::Batch,
    handler::{self, Place},
    hub::Hub,
    link::Link,
    metrics::RejoinLabels,
    room::{Member, Room, Route},
};

/// Takes a room back that was at another shard, or that nothing is known of any
/// more.
pub(super) fn handle(
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
        .get_or_create(&RejoinLabels { result: label(verdict), cause: state.detached.label() })
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
    if verdict == pb::Verdict::Reset {
        // A log that began after the one that the members know: all of it is new.
        let epoch = rejoined.position.map_or(state.mark.epoch, |at| Position::from(at).epoch);
        state.begin_anew(epoch);
    }
    if let Some(verdict) = told(verdict, &rejoined) {
        batch.told(room, wire::route::ON_VERDICT, verdict);
    }
    let mut stored = Vec::new();
    for entry in &rejoined.said {
        stored.extend(answer_first(hub, room, &mut state, entry, batch));
    }
    for entry in rejoined.entries {
        if state.mark.seq.0 < entry.seq {
            stored.extend(answer_first(hub, room, &mut state, &entry, batch));
            deliver(room, &mut state, entry, batch);
        }
    }
    reconcile(hub, room, &mut state, &rejoined.roster, batch);
    if !rejoined.readmitted.is_empty() {
        let position: Position = rejoined.position.unwrap_or_default().into();
        state.attach(&room.id, position);
    }
    let given_up = match verdict {
        pb::Verdict::Complete => state.take_overtaken(&stored),
        _ => state.give_up_unknown(),
    };
    state.send_again();
    state.send_waiting(&room.id);
    // A log that does not outlive its shard promised nothing about the past.
    let cut = match verdict {
        pb::Verdict::Complete => false,
        pb::Verdict::Truncated => true,
        pb::Verdict::Reset | pb::Verdict::Unspecified => !link.is_volatile,
    };
    let members = if cut { Arc::clone(&state.members) } else { Arc::default() };
    drop(state);

    tracing::debug!(room_id = %room.id, verdict = label(verdict), "room taken to a shard again");
    for pending in &given_up {
        refuse(hub, room, pending, RefusedReason::Unavailable, batch);
    }
    if !evicted.is_empty() || cut {
        batch.flush_room(room);
    }
    for member in evicted {
        hub.metrics().members.dec();
        handler::set_place(&member.session, Place::Outside);
        member.session.kick_as(
            "superseded: the name is held by another session",
            frontend::CloseReason::Superseded,
        );
    }
    // The others have been told, and can read what they miss.
    for member in members.iter().filter(|member| !member.session.state().is_extended()) {
        member.session.kick("reconnect: messages may have been lost");
    }
}

/// What extended sessions are told if what they have does not go on without a hole.
fn told(verdict: pb::Verdict, rejoined: &pb::Rejoined) -> Option<Value> {
    let position: Position = rejoined.position.unwrap_or_default().into();
    // What follows comes after this place.
    let seq =
        rejoined.entries.first().map_or(position.seq, |first| Seq(first.seq.saturating_sub(1)));
    let position = extended::position(Position { seq, ..position });
    match verdict {
        pb::Verdict::Complete => None,
        pb::Verdict::Truncated => Some(json!({
            "kind": "truncated", "first": rejoined.first, "position": position,
        })),
        pb::Verdict::Reset | pb::Verdict::Unspecified => {
            Some(json!({ "kind": "reset", "position": position }))
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
