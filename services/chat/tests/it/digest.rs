//! Heartbeats, and what is done about it if a connector knows something else than
//! it was sent.

use rpc::chat::v1::{self as pb, LinkRequest};

use crate::{
    Chat,
    commands::{compare, fetch, join, leave, say, whisper},
    connector::Connector,
};

#[tokio::test]
async fn each_heartbeat_says_what_the_connector_should_know() {
    let chat = Chat::start(&["--grace=100ms"]).await;
    let mut a = Connector::open(&chat, "a").await;
    assert_eq!(a.check_digest().await, 0);
    let mut b = Connector::open(&chat, "b").await;
    a.ask(join("r", 1, "ann"), 2).await;
    a.ask(join("s", 2, "cat"), 2).await;
    b.ask(join("r", 1, "bob"), 2).await;
    b.ask(say("r", 1, "hi"), 2).await;
    // A whisper that is not for A, and another room that is not for B.
    b.ask(whisper("r", 1, "bob", "note"), 2).await;
    a.ask(say("s", 2, "hi"), 4).await;
    let (with_both, of_b) = (a.check_digest().await, b.check_digest().await);
    assert_ne!(with_both, of_b);
    a.ask(leave("s", 2), 1).await;
    drop(b);
    assert_eq!(a.told().await, "-bob");
    assert_ne!(a.check_digest().await, with_both);
}

#[tokio::test]
async fn a_join_that_wants_no_answer_counts_all_the_same() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    let command = Some(join("r", 1, "ann"));
    a.send_raw(LinkRequest { commands: vec![pb::Command { request_id: 0, command }] }).await;
    assert_eq!(a.told().await, "+ann(1)");
    // A repeated one is told what the first was not.
    assert_eq!(a.ask(join("r", 1, "ann"), 1).await, ["#1 in @1 [ann]"]);
    a.check_digest().await;
}

#[tokio::test]
async fn what_was_sent_is_told_again() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let start = a.at("r");
    for content in ["one", "two", "three"] {
        a.ask(say("r", 1, content), 2).await;
    }
    assert_eq!(a.ask(fetch("r", start), 1).await, ["#5 complete [2 3 4]"]);
    assert_eq!(a.ask(fetch("r", a.at("r")), 1).await, ["#6 complete []"]);
    let other = pb::Position { epoch: start.epoch + 1, ..start };
    assert_eq!(a.ask(fetch("r", other), 1).await, ["#7 not complete []"]);
    assert_eq!(a.ask(fetch("nowhere", start), 1).await, ["#8 not complete []"]);
    let mut b = Connector::open(&chat, "b").await;
    assert_eq!(b.ask(fetch("r", start), 1).await, ["#1 not complete []"]);
}

#[tokio::test]
async fn what_is_beyond_memory_is_not_told_again() {
    let chat = Chat::start(&["--memory-entries-max=2"]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let start = a.at("r");
    for content in ["one", "two", "three"] {
        a.ask(say("r", 1, content), 2).await;
    }
    assert_eq!(a.ask(fetch("r", start), 1).await, ["#5 not complete []"]);
    let later = pb::Position { seq: 2, ..start };
    assert_eq!(a.ask(fetch("r", later), 1).await, ["#6 complete [3 4]"]);
}

#[tokio::test]
async fn a_comparison_tells_what_differs() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    a.ask(join("r", 2, "bob"), 2).await;
    let at = a.at("r");
    let same = compare("r", at, &["ann", "bob"], &[1, 2]);
    assert_eq!(a.ask(same, 1).await, ["#3 differs: "]);
    let name = compare("r", at, &["ann"], &[1, 2]);
    assert_eq!(a.ask(name, 1).await, ["#4 differs: r @1 [ann bob]"]);
    let mark = compare("r", pb::Position { seq: 0, ..at }, &["ann", "bob"], &[1, 2]);
    assert_eq!(a.ask(mark, 1).await, ["#5 differs: r @1 [ann bob]"]);
    let missing = compare("r", at, &["ann", "bob"], &[1, 2, 3]);
    assert_eq!(a.ask(missing, 1).await, ["#6 differs: r @1 [ann bob] without [3]"]);
    let unknown = compare("nowhere", at, &["ann"], &[1]);
    assert_eq!(a.ask(unknown, 1).await, ["#7 differs: nowhere unknown []"]);
}

#[tokio::test]
async fn members_of_a_room_that_their_connector_does_not_list_have_the_grace_period() {
    let chat = Chat::start(&["--grace=1s"]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    b.ask(join("r", 1, "bob"), 2).await;
    a.ask(join("r", 1, "ann"), 2).await;
    assert_eq!(b.told().await, "+ann");
    // A has taken the room to another shard, and says no word of it any more.
    let at = a.at("r");
    let elsewhere = compare("nowhere", at, &[], &[]);
    assert_eq!(a.ask(elsewhere, 1).await, ["#2 differs: nowhere unknown []"]);
    // Bob hears of it only when she did not come back.
    let heard = ["#2 stored 2", "2<1 bob: still here"];
    assert_eq!(b.ask(say("r", 1, "still here"), 2).await, heard);
    assert_eq!(b.told().await, "-ann");
}

#[tokio::test]
async fn members_that_their_connector_does_not_know_leave() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    a.ask(join("r", 1, "ann"), 2).await;
    a.ask(join("r", 2, "bob"), 2).await;
    b.ask(join("r", 1, "cat"), 2).await;
    assert_eq!(a.told().await, "+cat");
    let at = a.at("r");
    // What it is told of the room is already without bob.
    let listed = compare("r", at, &["ann", "bob", "cat"], &[1]);
    assert_eq!(a.ask(listed, 2).await, ["-bob", "#3 differs: r @1 [ann cat]"]);
    assert_eq!(b.told().await, "-bob");
}
