//! What is said again: it is stored once, whatever has become of the first time.

use rpc::chat::v1 as pb;
use store::{Appended, StoreError};

use crate::{
    Chat, PATIENCE,
    api::publish,
    commands::{history, join, join_proven, leave, rejoin, say, saying, whisper},
    connector::Connector,
    room_of,
    shared::{Call, Fate, Shared},
    why,
};

/// Ann's session is in, and says something whose fate nobody knows. Gives what she is
/// told when she comes back.
async fn say_unknown(store: &Shared, a: &mut Connector, fate: Fate) -> Vec<String> {
    let at = a.at("r");
    store.cut(fate);
    let told = a.ask(say("r", 1, &format!("{fate:?}")), 2).await;
    assert!(told[0].ends_with(" Moved") && told[1] == "moved", "{told:?}");
    a.ask(rejoin("r", at, &[(1, "ann")], None), 1).await
}

#[tokio::test]
async fn what_became_of_an_append_is_found_out_by_a_claim_before_anything_is_said() {
    let store = Shared::new();
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let all = async {
        let told = say_unknown(&store, &mut a, Fate::Stored).await;
        assert_eq!(told, ["#3 Complete @3 [ann] missed 2"]);
        assert_eq!(a.ask(say("r", 1, "Stored"), 1).await, ["#4 stored 2"]);

        assert_eq!(say_unknown(&store, &mut a, Fate::Lost).await, ["#6 Complete @4 [ann]"]);
        assert_eq!(a.ask(say("r", 1, "Lost"), 2).await, ["#7 stored 5", "5<4 ann: Lost"]);

        assert_eq!(say_unknown(&store, &mut a, Fate::Late).await, ["#9 Complete @6 [ann]"]);
        // It arrives when the claim is there, and changes nothing.
        assert_eq!(store.arrive().await, [Appended::Superseded]);
        assert_eq!(a.ask(say("r", 1, "Late"), 2).await, ["#10 stored 7", "7<6 ann: Late"]);
    };
    // These claims need not wait for each other.
    tokio::time::timeout(PATIENCE, all).await.expect("no pauses");
    assert_eq!(a.ask(history("r", 1, "", 9), 1).await, ["#11 [2 5 7] @7"]);
    a.check_digest().await;
}

#[tokio::test]
async fn a_whisper_that_was_looked_for_while_the_room_moved_is_left_to_its_connector() {
    let store = Shared::new();
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let (mut a, mut b) = (Connector::open(&chat, "a").await, Connector::open(&chat, "b").await);
    a.ask(join("r", 1, "ann"), 2).await;
    store.hold_next(Call::Find);
    a.send([whisper("r", 1, "bob", "psst")]).await;
    store.until(Call::Find, 1).await;
    let told = say_unknown(&store, &mut a, Fate::Lost).await;
    assert_eq!(told, ["#4 Complete @2 [ann]"]);
    b.ask(join("r", 1, "bob"), 2).await;
    assert_eq!(a.told().await, "+bob");
    // Bob is there now, but what ann has said since is stored.
    assert_eq!(a.ask(say("r", 1, "later"), 2).await, ["#5 stored 3", "3<2 ann: later"]);
    store.let_go();
    assert_eq!(a.ask(say("r", 1, "last"), 2).await, ["#6 stored 4", "4<3 ann: last"]);
    assert_eq!(a.ask(history("r", 1, "", 9), 1).await, ["#7 [3 4] @4"]);
}

#[tokio::test]
async fn a_late_append_that_comes_before_the_claim_is_found() {
    let store = Shared::new();
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let at = a.at("r");
    store.cut(Fate::Late);
    a.send([say("r", 1, "hi"), say("r", 1, "ho")]).await;
    let mut told = a.told_of(3).await;
    assert_eq!(told.pop().as_deref(), Some("moved"));
    assert_eq!(told, ["#2 Moved", "#3 Moved"]);
    assert!(matches!(store.arrive().await[..], [Appended::Stored { .. }]));
    let told = a.ask(rejoin("r", at, &[(1, "ann")], None), 1).await;
    assert!(told[0].starts_with("#4 Complete @"), "{told:?}");
    // All that was not answered is repeated, in order.
    a.send([say("r", 1, "hi"), say("r", 1, "ho")]).await;
    assert_eq!(a.told().await, "#5 stored 2");
    let told = a.told().await;
    assert!(told.starts_with("#6 stored "), "{told}");
}

#[tokio::test]
async fn a_call_whose_fate_is_unknown_may_be_repeated() {
    let store = Shared::new();
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let request = || pb::PublishRequest { cmid: "c".into(), ..publish("r", "hi") };
    chat.rpc().publish(publish("r", "first")).await.unwrap();
    store.cut(Fate::Stored);
    assert_eq!(why(&chat.rpc().publish(request()).await.unwrap_err()), "Unavailable MOVED");
    assert_eq!(chat.rpc().publish(request()).await.unwrap().into_inner().seq, 3);
    let other = pb::PublishRequest { content: "ho".into(), ..request() };
    assert_eq!(why(&chat.rpc().publish(other).await.unwrap_err()), "AlreadyExists CMID_CONFLICT");
}

#[tokio::test]
async fn what_was_stored_is_known_to_every_owner() {
    let store = Shared::new();
    let (zero, one) = Chat::two_on(&[], Some(&store)).await;
    let room = room_of(&zero, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    // The same person, wherever she is.
    a.ask(join_proven(&room, 1, "ann"), 2).await;
    a.ask(join(&room, 2, "bob"), 2).await;
    a.ask(say(&room, 1, "hi"), 2).await;
    a.ask(whisper(&room, 1, "bob", "psst"), 2).await;
    a.ask(leave(&room, 2), 2).await;
    zero.see(&[&one]);
    one.see(&[&one]);
    assert_eq!(a.told().await, format!("moved to chat-1 {}", one.addr));

    let mut c = Connector::open(&one, "c").await;
    c.ask(join_proven(&room, 7, "ann"), 2).await;
    let again = |target, content, cmid: &'static str| {
        let cmid = cmid.as_bytes().into();
        pb::command::Command::Publish(pb::Publish { cmid, ..saying(&room, 7, target, content) })
    };
    let commands = [
        (again("*", "hi", "hi"), "#2 stored 2"),
        (again("*", "ho", "hi"), "#3 CmidConflict"),
        // Bob has gone, and yet it was said.
        (again("bob", "psst", "psst"), "#4 stored 3"),
        (again("bob", "pst", "psst"), "#5 CmidConflict"),
        (again("bob", "psst", "new"), "#6 NoSuchTarget"),
    ];
    for (command, expected) in commands {
        assert_eq!(c.ask(command, 1).await, [expected]);
    }
    // One of a batch that was said before leaves the others in order.
    c.send([again("*", "one", "1"), again("*", "hi", "hi"), again("*", "two", "2")]).await;
    let mut told = c.told_of(5).await;
    told.sort();
    assert_eq!(told, ["#7 stored 5", "#8 stored 2", "#9 stored 6", "5<4 ann: one", "6<5 ann: two"]);
    store.fail(Call::Append, Some(StoreError::Unreachable("down".into())));
    assert_eq!(c.ask(again("*", "three", "3"), 1).await, ["#10 Unavailable"]);
}
