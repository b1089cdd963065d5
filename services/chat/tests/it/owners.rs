//! How a shard learns that rooms of its are another one's, and what it does without
//! the store.

use std::sync::Arc;

use store::StoreError;

use crate::{
    Chat,
    commands::{history, join, join_redirected, say},
    connector::Connector,
    room_of,
    shared::{Call, Shared},
};

/// Two shards with a log each for themselves and for both; the second one knows of
/// nobody else. And a room that the first one should serve.
async fn two(store: &Arc<Shared>) -> (Chat, Chat, String) {
    let (zero, one) = Chat::two_on(&[], Some(store)).await;
    one.see(&[&one]);
    let room = room_of(&zero, &[&zero, &one]);
    (zero, one, room)
}

fn down() -> Option<StoreError> {
    Some(StoreError::Unreachable("down".into()))
}

#[tokio::test]
async fn a_shard_that_nobody_told_finds_out_by_itself() {
    let store = Shared::new();
    let (zero, one, room) = two(&store).await;
    let mut a = Connector::open(&zero, "a").await;
    let mut c = Connector::open(&one, "c").await;
    a.ask(join(&room, 1, "ann"), 2).await;
    c.ask(join(&room, 1, "cat"), 2).await;
    // Though by the view the room is its own.
    let moved = format!("to chat-1 {}", one.addr);
    assert_eq!(a.told().await, format!("moved {moved}"));
    assert_eq!(a.ask(join(&room, 1, "ann"), 1).await, [format!("#2 Moved {moved}")]);
    assert_eq!(a.ask(say(&room, 1, "hi"), 1).await, [format!("#3 Moved {moved}")]);
}

#[tokio::test]
async fn who_comes_in_is_sent_to_whoever_has_claimed_the_room() {
    let store = Shared::new();
    let (zero, one, room) = two(&store).await;
    let mut a = Connector::open(&zero, "a").await;
    let mut b = Connector::open(&zero, "b").await;
    let mut c = Connector::open(&one, "c").await;
    a.ask(join(&room, 1, "ann"), 2).await;
    c.ask(join(&room, 1, "cat"), 2).await;
    let moved = format!("to chat-1 {}", one.addr);
    assert_eq!(b.ask(join(&room, 1, "bob"), 1).await, [format!("#1 Moved {moved}")]);
    assert_eq!(a.told().await, format!("moved {moved}"));
    // A call is passed on there, too.
    zero.rpc().publish(crate::api::publish(&room, "hi")).await.unwrap();
    assert_eq!(c.told().await, "3<2 bot: hi");
}

#[tokio::test]
async fn what_a_superseded_shard_appends_is_refused() {
    let store = Shared::new();
    let (zero, one, room) = two(&store).await;
    let mut a = Connector::open(&zero, "a").await;
    let mut c = Connector::open(&one, "c").await;
    a.ask(join(&room, 1, "ann"), 2).await;
    store.fail(Call::Superseded, down());
    c.ask(join(&room, 1, "cat"), 2).await;
    // Nobody can say who has it.
    assert_eq!(a.ask(say(&room, 1, "hi"), 2).await, ["#2 Moved", "moved"]);
    assert_eq!(c.ask(history(&room, 1, "", 9), 1).await, ["#2 [] @2"]);
}

#[tokio::test]
async fn after_a_gap_all_heads_are_compared() {
    let store = Shared::new();
    let (zero, one, room) = two(&store).await;
    let mut a = Connector::open(&zero, "a").await;
    let mut c = Connector::open(&one, "c").await;
    let other = (0..).map(|n| format!("other-{n}"));
    let mut other = other.filter(|other| room_of_view(&zero, &one, other));
    let other = other.next().unwrap();
    a.ask(join(&room, 1, "ann"), 2).await;
    a.ask(join(&other, 2, "bob"), 2).await;
    store.fail(Call::Superseded, down());
    c.ask(join(&room, 1, "cat"), 2).await;
    store.keep_silent();
    // More than 5 s.
    a.until_store_unreachable(true).await;
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    store.fail(Call::Superseded, None);
    assert_eq!(a.told().await, "moved");
    assert_eq!(a.ask(say(&other, 2, "hi"), 2).await, ["#3 stored 2", "2<1 bob: hi"]);
}

/// True if by the view of both `room` is the first one's.
fn room_of_view(zero: &Chat, one: &Chat, room: &str) -> bool {
    let room = model::RoomId::parse(room).unwrap();
    crate::view(&[zero, one]).owner(&room).unwrap().id.as_str() == zero.id
}

#[tokio::test]
async fn without_the_store_all_is_sent_to_the_next_shard() {
    let store = Shared::new();
    let zero = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let one = Chat::start_on("chat-1", &[], Some(store.beside())).await;
    for chat in [&zero, &one] {
        chat.see(&[&zero, &one]);
    }
    let room = room_of(&zero, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    let mut b = Connector::open(&zero, "b").await;
    a.ask(join(&room, 1, "ann"), 2).await;
    store.fail_all(down().as_ref());
    a.until_store_unreachable(true).await;
    let moved = format!("to chat-1 {}", one.addr);
    assert_eq!(b.ask(join(&room, 1, "bob"), 1).await, [format!("#1 Moved {moved}")]);
    // Those who are in go there together.
    assert_eq!(a.told().await, format!("moved {moved}"));
    assert_eq!(b.ask(join("new", 1, "bob"), 1).await, [format!("#2 Moved {moved}")]);
    // Whoever was sent here finds no help.
    assert_eq!(b.ask(join_redirected(&room, 1, "bob"), 1).await, ["#3 Unavailable"]);
    assert_eq!(b.ask(join_redirected("new", 1, "bob"), 1).await, ["#4 Unavailable"]);
    assert_eq!(a.ask(say(&room, 1, "hi"), 1).await, [format!("#2 Moved {moved}")]);
    let mut c = Connector::open(&one, "c").await;
    assert_eq!(c.ask(join_redirected(&room, 1, "ann"), 2).await[0], "#1 in @2 [ann] new");
    store.fail_all(None);
    a.until_store_unreachable(false).await;
    let told = b.ask(join(&room, 1, "bob"), 1).await;
    assert_eq!(told, [format!("#5 Moved {moved}")], "it has been told who has it");
}

#[tokio::test]
async fn without_the_store_and_without_another_shard_there_is_no_help() {
    let store = Shared::new();
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    CALLS_HELD.iter().for_each(|call| store.hold(*call));
    a.until_store_unreachable(true).await;
    assert_eq!(a.ask(say("r", 1, "hi"), 1).await, ["#2 Unavailable"]);
    assert_eq!(a.ask(join("r", 2, "bob"), 1).await, ["#3 Unavailable"]);
    assert_eq!(a.ask(history("r", 1, "", 9), 1).await, ["#4 Unavailable"]);
    assert_eq!(a.ask(join("s", 2, "bob"), 1).await, ["#5 Unavailable"]);
    store.let_go();
    a.until_store_unreachable(false).await;
    assert_eq!(a.ask(say("r", 1, "hi"), 2).await, ["#6 stored 2", "2<1 ann: hi"]);
}

/// A store that answers nothing at all.
const CALLS_HELD: [Call; 4] = [Call::Superseded, Call::Heads, Call::Claim, Call::Append];

#[tokio::test]
async fn rooms_of_a_store_that_was_set_back_are_given_up() {
    let store = Shared::new();
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    store.fail_all(Some(&StoreError::Restored("another one".into())));
    assert_eq!(a.told().await, "moved");
    assert_eq!(a.ask(join("r", 1, "ann"), 1).await, ["#2 Unavailable"]);
}
