//! Rooms that are served elsewhere, or go there.

use rpc::chat::v1 as pb;

use crate::{
    Chat,
    commands::{join, join_redirected, join_redirected_seen, join_seen, rejoin, say},
    connector::Connector,
    room_of,
    shared::{Call, Shared},
};

#[tokio::test]
async fn a_join_for_a_room_of_another_shard_is_sent_there_once() {
    let (zero, one) = Chat::two(&[]).await;
    let room = room_of(&one, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    let moved = format!("Moved to chat-1 {}", one.addr);
    assert_eq!(a.ask(join(&room, 1, "ann"), 1).await, [format!("#1 {moved}")]);
    let at = pb::Position { epoch: 1, seq: 1 };
    assert_eq!(a.ask(rejoin(&room, at, &[(1, "ann")], None), 1).await, [format!("#2 {moved}")]);
    // Whoever was sent here is served: the two would send it to and fro.
    let told = a.ask(join_redirected(&room, 1, "ann"), 2).await;
    assert_eq!(told, ["#3 in @1 [ann] new", "+ann(1)"]);
    // And now the room is here, for everybody.
    assert_eq!(a.ask(join(&room, 2, "bob"), 2).await, ["#4 in @1 [ann bob] new", "+bob(2)"]);
}

#[tokio::test]
async fn a_changed_view_takes_away_the_rooms_that_it_gives_to_others() {
    let (zero, one) = Chat::two(&[]).await;
    let (theirs, ours) = (room_of(&one, &[&zero, &one]), room_of(&zero, &[&zero, &one]));
    zero.see(&[&zero]);
    let mut a = Connector::open(&zero, "a").await;
    a.ask(join(&theirs, 1, "ann"), 2).await;
    a.ask(join(&ours, 2, "bob"), 2).await;
    zero.see(&[&zero, &one]);
    assert_eq!(a.told().await, format!("moved to chat-1 {}", one.addr));
    assert_eq!(a.ask(say(&ours, 2, "hi"), 2).await, ["#3 stored 2", "2<1 bob: hi"]);
    a.check_digest().await;
}

#[tokio::test]
async fn a_room_that_moves_finishes_what_is_being_stored_first() {
    let store = Shared::new();
    let (zero, one) = Chat::two_on(&[], Some(&store)).await;
    let room = room_of(&zero, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    a.ask(join(&room, 1, "ann"), 2).await;
    let at = a.at(&room);
    store.hold(Call::Append);
    a.send([say(&room, 1, "hi")]).await;
    store.until(Call::Append, 1).await;
    let moved = format!("to chat-1 {}", one.addr);
    a.send([say(&room, 1, "ho")]).await;
    zero.see(&[&one]);
    // What had not begun is for the next owner.
    assert_eq!(a.told().await, format!("#3 Moved {moved}"));
    assert_eq!(a.ask(join(&room, 2, "bob"), 1).await, [format!("#4 Moved {moved}")]);
    store.let_go();
    let told = ["#2 stored 2".into(), "2<1 ann: hi".into(), format!("moved {moved}")];
    assert_eq!(a.told_of(3).await, told);
    // And it goes on where it stopped.
    one.see(&[&one]);
    let mut a = Connector::open(&one, "a").await;
    let told = a.ask(rejoin(&room, at, &[(1, "ann")], None), 1).await;
    assert_eq!(told, ["#1 Complete @3 [ann] missed 2"]);
    assert_eq!(a.ask(say(&room, 1, "ho"), 2).await, ["#2 stored 4", "4<3 ann: ho"]);
}

#[tokio::test]
async fn a_shard_that_ends_finishes_what_is_being_stored_first() {
    let store = Shared::new();
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    store.hold(Call::Append);
    a.send([say("r", 1, "hi")]).await;
    store.until(Call::Append, 1).await;
    chat.shutdown.cancel();
    assert_eq!(a.told().await, "go away");
    store.let_go();
    assert_eq!(a.told_of(3).await, ["#2 stored 2", "2<1 ann: hi", "moved"]);
}

#[tokio::test]
async fn whoever_has_seen_a_later_owner_starts_a_new_log_above_it() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    let (first, epoch) = a.fence_of_join(join("r", 1, "ann")).await;
    assert_eq!(a.told().await, "+ann(1)");
    // What it has itself is nothing new.
    let (again, same) = b.fence_of_join(join_seen("r", 1, "bob", first)).await;
    assert_eq!((again, same), (first, epoch));
    assert_eq!(a.told().await, "+bob");

    let mut c = Connector::open(&chat, "c").await;
    let seen = pb::Fence { r#gen: first.r#gen + 1_000_000, term: 9 };
    let (above, other) = c.fence_of_join(join_seen("r", 1, "cat", seen)).await;
    assert!(above.r#gen > seen.r#gen && other != epoch, "{above:?}");
    assert_eq!(a.told().await, "moved");
}

#[tokio::test]
async fn whoever_is_superseded_by_a_shard_that_it_does_not_know_sends_its_members_there() {
    let (zero, one) = Chat::two(&[]).await;
    let room = room_of(&zero, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    let (fence, _) = a.fence_of_join(join(&room, 1, "ann")).await;
    assert_eq!(a.told().await, "+ann(1)");
    let request = |addr: &str| pb::SupersededRequest {
        room: room.clone(),
        shard_id: "chat-9".into(),
        r#gen: fence.r#gen,
        term: fence.term + 1,
        addr: addr.into(),
    };
    zero.peer().superseded(request("127.0.0.1:9")).await.unwrap();
    assert_eq!(a.told().await, "moved to chat-9 127.0.0.1:9");
    // What the store says of the same claim later takes nothing away.
    zero.peer().superseded(request("")).await.unwrap();
    let said = a.ask(say(&room, 1, "ho"), 1).await;
    assert_eq!(said, ["#2 Moved to chat-9 127.0.0.1:9"]);
}

#[tokio::test]
async fn a_shard_that_has_left_the_view_is_told_who_has_claimed_its_room() {
    let store = Shared::new();
    let (zero, one) = Chat::two_on(&[], Some(&store)).await;
    let room = room_of(&zero, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    a.fence_of_join(join(&room, 1, "ann")).await;
    assert_eq!(a.told().await, "+ann(1)");
    // It leaves the list, which it has not read yet itself; nor has it read of the other.
    zero.see(&[&zero]);
    one.see(&[&one]);
    let mut b = Connector::open(&one, "b").await;
    b.fence_of_join(join(&room, 1, "bob")).await;
    assert_eq!(a.told().await, format!("moved to chat-1 {}", one.addr));
}

#[tokio::test]
async fn whoever_was_sent_here_is_sent_on_to_a_claim_that_it_has_not_seen() {
    let (zero, one) = Chat::two(&[]).await;
    let room = room_of(&one, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    let claim = pb::Fence { r#gen: 7, term: 7 };
    let request = pb::SupersededRequest {
        room: room.clone(),
        shard_id: "chat-9".into(),
        r#gen: claim.r#gen,
        term: claim.term,
        addr: "127.0.0.1:9".into(),
    };
    zero.peer().superseded(request).await.unwrap();
    let told = a.ask(join_redirected(&room, 1, "ann"), 1).await;
    assert_eq!(told, ["#1 Moved to chat-9 127.0.0.1:9"]);
    // Whoever comes back from there has seen it, and is served.
    let told = a.ask(join_redirected_seen(&room, 1, "ann", claim), 2).await;
    assert_eq!(told, ["#2 in @1 [ann] new", "+ann(1)"]);
}

#[tokio::test]
async fn a_shard_that_was_superseded_gives_the_room_up() {
    let (zero, one) = Chat::two(&[]).await;
    let room = room_of(&zero, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    let (fence, _) = a.fence_of_join(join(&room, 1, "ann")).await;
    assert_eq!(a.told().await, "+ann(1)");
    let request = |r#gen, term| pb::SupersededRequest {
        room: room.clone(),
        shard_id: "chat-1".into(),
        r#gen,
        term,
        addr: String::new(),
    };
    // An old claim is no news.
    zero.peer().superseded(request(fence.r#gen, fence.term)).await.unwrap();
    assert_eq!(a.ask(say(&room, 1, "hi"), 2).await, ["#2 stored 2", "2<1 ann: hi"]);
    zero.peer().superseded(request(fence.r#gen, fence.term + 1)).await.unwrap();
    let moved = format!("to chat-1 {}", one.addr);
    assert_eq!(a.told().await, format!("moved {moved}"));
    assert_eq!(a.ask(say(&room, 1, "ho"), 1).await, [format!("#3 Moved {moved}")]);
}
