//! How a connector brings its members back, and what it is told that it missed.

use rpc::chat::v1 as pb;

use crate::{
    Chat,
    commands::{join, rejoin, rejoining, say},
    connector::Connector,
};

/// Says `count` things as ann, session 1 of `a`, and reads what comes back.
pub(crate) async fn say_many(a: &mut Connector, room: &str, count: usize) {
    for batch in (0..count).collect::<Vec<_>>().chunks(200) {
        a.send(batch.iter().map(|n| say(room, 1, &format!("message {n}")))).await;
        a.told_of(2 * batch.len()).await;
    }
}

#[tokio::test]
async fn what_was_missed_follows() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    a.ask(join("r", 1, "ann"), 2).await;
    b.ask(join("r", 1, "bob"), 2).await;
    assert_eq!(a.told().await, "+bob");
    let at = b.at("r");
    drop(b);
    say_many(&mut a, "r", 3).await;
    let mut b = Connector::open(&chat, "b").await;
    let back = rejoin("r", at, &[(1, "bob")], None);
    assert_eq!(b.ask(back, 1).await, ["#1 Complete @4 [ann bob] missed 2 3 4"]);
    b.check_digest().await;
}

#[tokio::test]
async fn what_the_room_does_not_remember_is_read_from_the_log() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let at = a.at("r");
    // More than the room remembers, and more than one page of the log.
    say_many(&mut a, "r", 650).await;
    let mut b = Connector::open(&chat, "b").await;
    b.send([rejoin("r", at, &[(1, "bob")], None)]).await;
    let pb::event::Event::Reply(reply) = b.event().await.unwrap().event.unwrap() else {
        panic!("an answer")
    };
    let Some(pb::reply::Result::Rejoined(back)) = reply.result else { panic!("{reply:?}") };
    assert_eq!(back.verdict(), pb::Verdict::Complete);
    assert!(back.entries.iter().map(|entry| entry.seq).eq(2..=651));
    assert_eq!(back.entries[649].content, "message 649");
    assert_eq!(a.told().await, "+bob");
}

#[tokio::test]
async fn a_verdict_says_what_cannot_follow() {
    let chat = Chat::start(&["--memory-entries-max=5"]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let at = a.at("r");
    say_many(&mut a, "r", 8).await;
    let mut b = Connector::open(&chat, "b").await;
    // 5 to 9 are kept.
    for (mark, expected) in [
        (pb::Position { seq: 1, ..at }, "#1 Truncated:5 @9 [ann bob]"),
        (pb::Position { seq: 3, ..at }, "#2 Truncated:5 @9 [ann bob]"),
        (pb::Position { seq: 4, ..at }, "#3 Complete @9 [ann bob] missed 5 6 7 8 9"),
        (pb::Position { seq: 9, ..at }, "#4 Complete @9 [ann bob]"),
        (pb::Position { seq: 10, ..at }, "#5 Reset @9 [ann bob]"),
        (pb::Position { epoch: at.epoch + 1, seq: 9 }, "#6 Reset @9 [ann bob] missed 5 6 7 8 9"),
    ] {
        assert_eq!(b.ask(rejoin("r", mark, &[(1, "bob")], None), 1).await, [expected]);
    }
}

#[tokio::test]
async fn a_room_that_went_and_came_back_still_knows_what_was_missed() {
    let (zero, one) = Chat::two(&[]).await;
    let room = crate::room_of(&one, &[&zero, &one]);
    zero.see(&[&zero]);
    let mut a = Connector::open(&zero, "a").await;
    a.ask(join(&room, 1, "ann"), 2).await;
    let at = a.at(&room);
    say_many(&mut a, &room, 2).await;
    zero.see(&[&zero, &one]);
    assert_eq!(a.told().await, format!("moved to chat-1 {}", one.addr));
    // It was the only one to go there; the claim is entry 4.
    zero.see(&[&zero]);
    let back = rejoin(&room, at, &[(1, "ann")], None);
    assert_eq!(a.ask(back, 1).await, ["#4 Complete @4 [ann] missed 2 3"]);
    a.check_digest().await;
}

#[tokio::test]
async fn names_that_are_new_are_told_and_names_of_others_are_refused() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let at = a.at("r");
    let back = rejoin("r", at, &[(3, "ann"), (2, "bob")], None);
    assert_eq!(b.ask(back, 1).await, ["#1 Complete @1 [ann bob] not [3]"]);
    assert_eq!(a.told().await, "+bob");
    // An older right wins.
    let grant = pb::Grant { fence: None, number: 1 };
    let back = rejoin("r", at, &[(3, "ann"), (2, "bob")], Some(grant));
    assert_eq!(b.ask(back, 1).await, ["#2 Complete @1 [bob ann]"]);
    assert_eq!(a.told().await, "close 1: superseded: logged in elsewhere");
}

#[tokio::test]
async fn a_room_that_nobody_serves_is_claimed_for_whoever_comes_back() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    let seen = pb::Fence { r#gen: 1 << 50, term: 7 };
    let mark = pb::Position { epoch: 3, seq: 12 };
    let back = pb::Rejoin { seen: Some(seen), ..rejoining("r", mark, &[(1, "ann")], None) };
    assert_eq!(a.ask(pb::command::Command::Rejoin(back), 1).await, ["#1 Reset @1 [ann]"]);
    assert_eq!(a.ask(join("r", 1, "ann"), 1).await, ["#2 in @1 [ann]"]);
}
