//! Who comes in, or comes back, is answered by an owner that has just looked whether
//! it still is one.

use store::StoreError;

use crate::{
    Chat,
    commands::{join, join_redirected, leave, rejoin, say},
    connector::Connector,
    room_of,
    shared::{Call, Shared},
};

/// A room that chat-0 serves though chat-1 should, which knows of nobody else, so that
/// it tells nobody when it claims the room.
async fn a_room_that_may_be_lost(store: &std::sync::Arc<Shared>) -> (Chat, Chat, String) {
    let (zero, one) = Chat::two_on(&[], Some(store)).await;
    one.see(&[&one]);
    let room = room_of(&one, &[&zero, &one]);
    (zero, one, room)
}

/// Waits until a link's commands so far were taken.
async fn taken(link: &mut Connector) {
    assert!(link.ask(leave("nowhere", 1), 1).await[0].ends_with("gone"));
}

#[tokio::test]
async fn an_owner_that_nobody_told_lets_nobody_in() {
    let store = Shared::new();
    let (zero, one, room) = a_room_that_may_be_lost(&store).await;
    let mut a = Connector::open(&zero, "a").await;
    let mut b = Connector::open(&zero, "b").await;
    let mut c = Connector::open(&one, "c").await;
    a.ask(join_redirected(&room, 1, "ann"), 2).await;
    let at = a.at(&room);
    assert_eq!(c.ask(join(&room, 1, "cat"), 2).await, ["#1 in @2 [cat] new", "+cat(1)"]);
    let moved = format!("to chat-1 {}", one.addr);
    assert_eq!(b.ask(join(&room, 1, "bob"), 1).await, [format!("#1 Moved {moved}")]);
    assert_eq!(a.told().await, format!("moved {moved}"));
    let back = rejoin(&room, at, &[(1, "ann")], None);
    assert_eq!(a.ask(back, 1).await, [format!("#2 Moved {moved}")]);
}

#[tokio::test]
async fn who_asks_while_a_head_is_read_waits_for_the_next_read() {
    let store = Shared::new();
    let (zero, one, room) = a_room_that_may_be_lost(&store).await;
    let mut a = Connector::open(&zero, "a").await;
    let mut b = Connector::open(&zero, "b").await;
    let mut c = Connector::open(&one, "c").await;
    a.ask(join_redirected(&room, 1, "ann"), 2).await;
    store.hold(Call::Heads);
    a.send([join(&room, 2, "amy")]).await;
    store.until(Call::Heads, 1).await;
    // The head was read, and then the room was lost.
    c.ask(join(&room, 1, "cat"), 2).await;
    b.send([join(&room, 1, "bob")]).await;
    taken(&mut b).await;
    store.let_go();
    let moved = format!("to chat-1 {}", one.addr);
    let told = ["#2 in @1 [ann amy] new".into(), "+amy(2)".into(), format!("moved {moved}")];
    assert_eq!(a.told_of(3).await, told);
    assert_eq!(b.told().await, format!("#1 Moved {moved}"));
}

#[tokio::test]
async fn what_comes_behind_a_join_waits_with_it() {
    let store = Shared::new();
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    a.ask(join("r", 1, "ann"), 2).await;
    store.hold(Call::Heads);
    b.send([join("r", 1, "bob"), say("r", 1, "hi"), leave("r", 1), join("r", 2, "bea")]).await;
    taken(&mut b).await;
    a.send([say("r", 1, "ho")]).await;
    taken(&mut a).await;
    store.let_go();
    let told = ["#1 in @1 [ann bob] new", "+bob(1)", "#3 gone"];
    assert_eq!(b.told_of(3).await, told);
    let told = ["#4 in @1 [ann bea] new", "+bea(2)", "#2 stored 2", "2<1 bob: hi", "3<2 ann: ho"];
    assert_eq!(b.told_of(5).await, told);
    assert_eq!(a.told_of(3).await, ["+bob", "-bob", "+bea"]);
    // Said by bob, who has left since; and then by ann.
    assert_eq!(a.told_of(3).await, ["2<1 bob: hi", "#2 stored 3", "3<2 ann: ho"]);
    b.check_digest().await;
    // Nobody waits: nothing is read.
    let before = store.count(Call::Heads);
    a.ask(say("r", 1, "he"), 2).await;
    assert_eq!(store.count(Call::Heads), before);
}

#[tokio::test]
async fn heads_of_many_rooms_are_read_at_once_and_each_once() {
    let store = Shared::new();
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    for room in ["r", "s", "t"] {
        a.ask(join(room, 1, "ann"), 2).await;
    }
    store.hold(Call::Heads);
    a.send([join("r", 2, "bob")]).await;
    store.until(Call::Heads, 1).await;
    b.send(["s", "t", "r", "s"].iter().zip(3..).map(|(room, n)| join(room, n, &format!("u{n}"))))
        .await;
    taken(&mut b).await;
    store.let_go();
    let mut told = b.told_of(8).await;
    told.retain(|told| told.contains("new"));
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(store.heads_read(), [vec!["r"], vec!["s", "t", "r"]]);
}

#[tokio::test]
async fn without_a_read_nobody_comes_in_and_the_others_go_on() {
    let store = Shared::new();
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    store.fail(Call::Heads, Some(StoreError::Unreachable("down".into())));
    a.send([join("r", 2, "bob"), say("r", 1, "hi"), say("r", 2, "ho")]).await;
    let told = ["#2 Unavailable", "#4 NotAMember", "#3 stored 2", "2<1 ann: hi"];
    assert_eq!(a.told_of(4).await, told);
    store.fail(Call::Heads, None);
    assert_eq!(a.ask(join("r", 2, "bob"), 2).await, ["#5 in @2 [ann bob] new", "+bob(2)"]);
}

#[tokio::test]
async fn a_join_that_came_after_its_claim_had_begun_is_not_answered_by_it() {
    let store = Shared::new();
    let (zero, one, room) = a_room_that_may_be_lost(&store).await;
    let mut a = Connector::open(&zero, "a").await;
    let mut b = Connector::open(&zero, "b").await;
    store.hold(Call::Claim);
    a.send([join_redirected(&room, 1, "ann")]).await;
    store.until(Call::Claim, 1).await;
    let mut c = Connector::open(&one, "c").await;
    c.send([join(&room, 1, "cat")]).await;
    store.until(Call::Claim, 2).await;
    b.send([join(&room, 1, "bob")]).await;
    taken(&mut b).await;
    store.let_go();
    let moved = format!("to chat-1 {}", one.addr);
    let told = ["#1 in @1 [ann] new".into(), "+ann(1)".into(), format!("moved {moved}")];
    assert_eq!(a.told_of(3).await, told);
    assert_eq!(b.told().await, format!("#1 Moved {moved}"));
    assert_eq!(c.told().await, "#1 in @2 [cat] new");
}

#[tokio::test]
async fn what_is_asked_of_the_store_to_know_who_owns_rooms_is_counted() {
    let store = Shared::new();
    let (mut zero, one, room) = a_room_that_may_be_lost(&store).await;
    let mut a = Connector::open(&zero, "a").await;
    let mut c = Connector::open(&one, "c").await;
    a.ask(join_redirected(&room, 1, "ann"), 2).await;
    a.ask(join_redirected(&room, 2, "amy"), 2).await;
    store.fail(Call::Heads, Some(StoreError::Unreachable("down".into())));
    a.ask(join_redirected(&room, 3, "abe"), 1).await;
    store.fail(Call::Heads, None);
    c.ask(join(&room, 1, "cat"), 2).await;
    // Whoever comes next makes it look, if it has not asked by itself before.
    a.send([join(&room, 4, "ada")]).await;
    while !a.told().await.contains("oved") {}
    let reads = |result: &str| format!("chat_head_reads_total{{result=\"{result}\"}}");
    assert_eq!((zero.metric(&reads("owned")), zero.metric(&reads("failed"))), (1.0, 1.0));
    assert!(zero.metric("chat_head_read_seconds_count") >= 2.0);
    let asked = |result: &str| format!("chat_superseded_reads_total{{result=\"{result}\"}}");
    assert!(zero.metric(&asked("some")) >= 1.0);
    store.fail(Call::Superseded, Some(StoreError::Unreachable("down".into())));
    let poll = async {
        while zero.metric(&asked("failed")) < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::PATIENCE, poll).await.expect("a question that fails");
    assert!(zero.metric("chat_superseded_read_seconds_count") >= 2.0);
}
