//! What time and a changed view do to rooms.

use std::time::Duration;

use room::Input;

use crate::rooms::Rooms;

/// How often rooms are looked through for names whose grace is over and for rooms
/// that nobody is in.
const SWEEP: Duration = Duration::from_millis(500);

/// How long a view that changes is waited for to stand still: when a list has changed,
/// whether each shard is ready becomes known one after the other.
const SETTLE: Duration = Duration::from_millis(50);

/// Sweeps until it is dropped.
pub(crate) async fn sweep(rooms: Rooms, idle: Duration) {
    let clock = rooms.0.clock;
    loop {
        clock.sleep(SWEEP).await;
        let (now, now_ms) = (clock.now(), rooms.now_ms());
        rooms.sweep();
        let mut idlers = Vec::new();
        rooms.for_each(|id, open| {
            if open.room.wants_tick() {
                rooms.apply_to(id, open, Input::Tick { now_ms });
            }
            if !open.room.is_empty() {
                open.empty_since = None;
            } else if now - *open.empty_since.get_or_insert(now) >= idle {
                idlers.push(id.clone());
            }
            false
        });
        for id in idlers {
            rooms.unload(&id).await;
        }
    }
}

/// Gives up, whenever the view has changed, the rooms that it gives to others. Never
/// merely because the view names another: a room may be here on purpose.
pub(crate) async fn follow_view(rooms: Rooms) {
    let mut view = rooms.0.view.clone();
    let mut now = view.borrow_and_update().clone();
    while view.changed().await.is_ok() {
        // Meanwhile the rooms are served on.
        let settled = rooms.0.clock.sleep(SETTLE);
        tokio::pin!(settled);
        loop {
            let before = std::mem::replace(&mut now, view.borrow_and_update().clone());
            rooms.note_left(&before, &now);
            tracing::info!(shards = now.shards().len(), "view changed");
            tokio::select! {
                changed = view.changed() => if changed.is_err() {
                    return;
                },
                () = &mut settled => break,
            }
        }
        rooms.for_each(|id, open| match now.owner(id) {
            Some(owner) if owner.id != rooms.0.me.id => {
                rooms.give_up(id, open, Input::Release, "view_changed")
            }
            _ => false,
        });
    }
}
