//! Finds a shard for every room that has none.

use std::{sync::Arc, time::Duration};

use cluster::Shard;
use rpc::chat::v1::command;
use tokio::time::Instant;

use crate::{
    hub::error_body,
    link::{Link, Why},
    links::Links,
    room::{Detached, Room, Route, State},
};

/// How long a room waits for a link to its owner before it goes to the next.
const OWNER_PATIENCE: Duration = Duration::from_secs(3);
/// How long for one to a shard that another one named, and that is not in the view: it is
/// new, or gone already.
const STRANGER_PATIENCE: Duration = Duration::from_secs(1);
/// How often rooms without a link are looked at again.
const RETRY: Duration = Duration::from_millis(50);

/// Routes until it is dropped.
pub(crate) async fn run(links: Links) {
    let hub = links.hub().clone();
    loop {
        let now = hub.clock().now();
        // Out of the hub before a room is locked: whoever holds a room may want a
        // link for it.
        let wanted = hub.take_wanted().into_values();
        let waiting: Vec<Arc<Room>> = wanted.filter(|room| !route(&links, room, now)).collect();
        if waiting.is_empty() {
            hub.routing().await;
            continue;
        }
        hub.still_wanted(waiting);
        tokio::select! {
            biased;
            () = hub.routing() => {}
            () = hub.clock().sleep(RETRY) => {}
        }
    }
}

/// Tries to take a room to a shard. True if it needs no more looking at.
fn route(links: &Links, room: &Arc<Room>, now: Instant) -> bool {
    let mut state = room.state();
    let Route::Wanted { since, not_before } = state.route else { return true };
    if state.dead {
        return true;
    }
    if now < not_before {
        return false;
    }
    let Some((link, why)) = choose(links, room, &mut state, now - since) else {
        return false;
    };
    link.take(room, why);
    // Should its owner's link have come up since: from now on nobody overlooks it.
    let home = links.home(&room.id).filter(|_| why != Why::Owner);
    if home.is_some_and(|home| !Arc::ptr_eq(&home, &link)) {
        link.forget(&room.id);
        return false;
    }
    if state.members.is_empty() {
        // Nobody is in yet: who wants to come in asks for themselves.
        let unknown = if link.is_volatile { state.give_up_unknown() } else { Default::default() };
        for pending in &unknown {
            links.hub().answer(
                pending,
                503,
                &error_body(503, "the room cannot be served now, try again"),
            );
        }
        state.route = Route::Live { link };
        state.send_again();
    } else {
        // A shard that only differed has let this connector in since it was sent there.
        let is_sent = state.redirect.is_some() && state.detached != Detached::Differed;
        let redirected = why == Why::Fallback || is_sent;
        let request_id = links.hub().next_request();
        let rejoin: command::Command = state.rejoin(&room.id, redirected);
        link.upstream.push(request_id, rejoin);
        state.route = Route::Rejoining { link, request_id };
    }
    state.send_waiting(&room.id);
    true
}

/// The link to take: to whom a shard named, else to the owner by the view, else,
/// when that cannot be reached, to the next in line.
fn choose(
    links: &Links,
    room: &Room,
    state: &mut State,
    waited: Duration,
) -> Option<(Arc<Link>, Why)> {
    let view = links.view();
    if let Some(shard) = &state.redirect {
        // Where this process sees a shard counts, should the two differ.
        let (shard, is_seen) = view.get(&shard.id).map_or((shard, false), |seen| (seen, true));
        let patience = if is_seen { OWNER_PATIENCE } else { STRANGER_PATIENCE };
        match links.get(shard) {
            Some(link) if link.takes_rooms() => return Some((link, Why::Owner)),
            // It says itself that it is no use.
            Some(_) => {}
            None if waited < patience => return None,
            None => {}
        }
    }
    // Whoever would send it there again has to be told that this does not help.
    let is_lost = state.redirect.is_some();
    let ranked: Vec<&Shard> = view.ranked(&room.id);
    for (rank, shard) in ranked.into_iter().enumerate() {
        match links.get(shard) {
            Some(link) if link.takes_rooms() => {
                state.redirect = None;
                state.lost = state.lost.take().filter(|lost| *lost != shard.id);
                let why = match rank {
                    0 if !is_lost && state.lost.is_some() => Why::Heir,
                    0 if !is_lost => Why::Owner,
                    _ => Why::Fallback,
                };
                return Some((link, why));
            }
            // It says itself that it is no use.
            Some(_) => {}
            None if waited < OWNER_PATIENCE => return None,
            None => {}
        }
    }
    None
}
