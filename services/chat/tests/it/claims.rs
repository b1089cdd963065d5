//! How often a shard may claim a room.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Chat,
    commands::{join, join_redirected, join_redirected_seen, leave},
    connector::Connector,
    room_of,
    shared::{Call, Shared},
};

#[tokio::test]
async fn a_room_that_was_claimed_and_lost_is_not_claimed_again_for_5_s() {
    let store = Shared::new();
    let (zero, one) = Chat::two_on(&[], Some(&store)).await;
    one.see(&[&one]);
    let room = room_of(&zero, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    let mut b = Connector::open(&zero, "b").await;
    let mut c = Connector::open(&one, "c").await;
    let before = Instant::now();
    a.ask(join(&room, 1, "ann"), 2).await;
    let (claim, _) = c.fence_of_join(join(&room, 1, "cat")).await;
    let moved = format!("to chat-1 {}", one.addr);
    assert_eq!(a.told().await, format!("moved {moved}"));
    // Whoever was sent here, and knows of that claim, is served, but has to wait.
    a.send([join_redirected_seen(&room, 1, "ann", claim)]).await;
    assert_eq!(a.ask(leave("nowhere", 1), 1).await, ["#3 gone"]);
    assert_eq!(store.count(Call::Claim), 2);
    // Another room does not.
    let other = format!("{room} or another one");
    b.ask(join_redirected(&other, 1, "bob"), 2).await;
    assert_eq!(store.count(Call::Claim), 3);
    assert_eq!(a.told_of(2).await, ["#2 in @3 [ann] new", "+ann(1)"]);
    assert!(before.elapsed() >= Duration::from_secs(5), "{:?}", before.elapsed());
    assert_eq!(store.count(Call::Claim), 4);
}

/// A room that the first of two shards has claimed, and just given up for its view, and a
/// connector there.
async fn handed_over() -> (Arc<Shared>, Chat, Chat, String, Connector) {
    let store = Shared::new();
    let (zero, one) = Chat::two_on(&[], Some(&store)).await;
    one.see(&[&one]);
    let room = room_of(&zero, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    a.ask(join(&room, 1, "ann"), 2).await;
    zero.see(&[&one]);
    assert_eq!(a.told().await, format!("moved to chat-1 {}", one.addr));
    (store, zero, one, room, a)
}

#[tokio::test]
async fn who_waits_for_a_claim_goes_to_the_shard_that_has_made_one_meanwhile() {
    let (store, _zero, one, room, mut a) = handed_over().await;
    let moved = format!("to chat-1 {}", one.addr);
    // It is sent back, and may not be served for 5 s.
    let sent = Instant::now();
    a.send([join_redirected(&room, 1, "ann")]).await;
    assert_eq!(a.ask(leave("nowhere", 1), 1).await, ["#3 gone"]);
    let mut c = Connector::open(&one, "c").await;
    c.ask(join(&room, 1, "cat"), 2).await;
    assert_eq!(a.told().await, format!("#2 Moved {moved}"));
    assert!(sent.elapsed() < Duration::from_secs(4), "once it is known: {:?}", sent.elapsed());
    assert_eq!(store.count(Call::Claim), 2);
}

#[tokio::test]
async fn who_waits_for_a_room_that_is_another_ones_by_then_is_sent_there() {
    let (store, zero, one, room, mut a) = handed_over().await;
    zero.see(&[&zero, &one]);
    a.send([join(&room, 1, "ann")]).await;
    assert_eq!(a.ask(leave("nowhere", 1), 1).await, ["#3 gone"]);
    zero.see(&[&one]);
    assert_eq!(a.told().await, format!("#2 Moved to chat-1 {}", one.addr));
    assert_eq!(store.count(Call::Claim), 1);
}
