//! How often a shard may claim a room.

use std::time::{Duration, Instant};

use rpc::chat::v1 as pb;

use crate::{
    Chat,
    commands::{join, join_redirected, joining, leave},
    connector::Connector,
    moves::fence_of_join,
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
    let (claim, _) = fence_of_join(&mut c, join(&room, 1, "cat")).await;
    let moved = format!("to chat-1 {}", one.addr);
    assert_eq!(a.told().await, format!("moved {moved}"));
    // Whoever was sent here, and knows of that claim, is served, but has to wait.
    let ann = pb::Join { seen: Some(claim), redirected: true, ..joining(&room, 1, "ann") };
    a.send([pb::command::Command::Join(ann)]).await;
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

#[tokio::test]
async fn who_waits_for_a_claim_goes_to_the_shard_that_has_made_one_meanwhile() {
    let store = Shared::new();
    let (zero, one) = Chat::two_on(&[], Some(&store)).await;
    one.see(&[&one]);
    let room = room_of(&zero, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    a.ask(join(&room, 1, "ann"), 2).await;
    zero.see(&[&one]);
    let moved = format!("to chat-1 {}", one.addr);
    assert_eq!(a.told().await, format!("moved {moved}"));
    // It is sent back, and may not be served for 5 s.
    a.send([join_redirected(&room, 1, "ann")]).await;
    assert_eq!(a.ask(leave("nowhere", 1), 1).await, ["#3 gone"]);
    let mut c = Connector::open(&one, "c").await;
    c.ask(join(&room, 1, "cat"), 2).await;
    assert_eq!(a.told().await, format!("#2 Moved {moved}"));
    assert_eq!(store.count(Call::Claim), 2);
}

#[tokio::test]
async fn who_waits_for_a_room_that_is_another_ones_by_then_is_sent_there() {
    let store = Shared::new();
    let (zero, one) = Chat::two_on(&[], Some(&store)).await;
    one.see(&[&one]);
    let room = room_of(&zero, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    a.ask(join(&room, 1, "ann"), 2).await;
    zero.see(&[&one]);
    assert_eq!(a.told().await, format!("moved to chat-1 {}", one.addr));
    zero.see(&[&zero, &one]);
    a.send([join(&room, 1, "ann")]).await;
    assert_eq!(a.ask(leave("nowhere", 1), 1).await, ["#3 gone"]);
    zero.see(&[&one]);
    assert_eq!(a.told().await, format!("#2 Moved to chat-1 {}", one.addr));
    assert_eq!(store.count(Call::Claim), 1);
}
