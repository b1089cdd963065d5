//! Whoever comes back into a room themselves, and is told what they missed.

use rpc::chat::v1::{self as pb, command::Command as C};

use crate::{
    Chat,
    commands::{join, join_proven, join_redirected, join_resuming, joining, leave, say, whisper},
    connector::Connector,
    rejoins::say_many,
    room_of,
    shared::{Call, Shared},
};

/// Joins and reads the whole answer.
async fn resume(link: &mut Connector, room: &str, at: pb::Position) -> pb::Joined {
    link.send([join_resuming(room, 9, "eve", at)]).await;
    let pb::event::Event::Reply(reply) = link.event().await.unwrap().event.unwrap() else {
        panic!("an answer")
    };
    match reply.result {
        Some(pb::reply::Result::Joined(joined)) => joined,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_missed_follows_and_then_what_is_new() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    a.ask(join("r", 1, "ann"), 2).await;
    b.ask(join_proven("r", 9, "eve"), 2).await;
    let at = b.at("r");
    assert_eq!(a.told().await, "+eve");
    drop(b);
    a.send([say("r", 1, "one"), whisper("r", 1, "eve", "psst"), say("r", 1, "two")]).await;
    a.told_of(5).await;
    let mut c = Connector::open(&chat, "c").await;
    let told = c.ask(join_resuming("r", 5, "eve", at), 1).await;
    assert_eq!(told, ["#1 in @4 [ann eve] Complete missed 2 3 4"]);
    a.ask(say("r", 1, "three"), 2).await;
    assert_eq!(c.told().await, "5<4 ann: three");
    c.check_digest().await;
    // The room has nothing more, and knows nothing of other logs.
    let at = pb::Position { seq: 5, ..at };
    let told = c.ask(join_resuming("r", 5, "eve", at), 1).await;
    assert_eq!(told, ["#2 in @5 [ann eve] Complete"]);
    for at in [pb::Position { seq: 6, ..at }, pb::Position { epoch: at.epoch + 1, seq: 1 }] {
        let told = c.ask(join_resuming("r", 5, "eve", at), 1).await;
        assert!(told[0].ends_with("in @5 [ann eve] Reset"), "{told:?}");
    }
}

#[tokio::test]
async fn what_the_room_does_not_remember_is_read_from_the_log() {
    let store = Shared::new();
    let contents: Vec<String> = (0..650).map(|n| format!("message {n}")).collect();
    store.fill("r", &contents.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let at = a.at("r");
    let mut b = Connector::open(&chat, "b").await;
    let joined = resume(&mut b, "r", pb::Position { seq: 1, ..at }).await;
    assert_eq!((joined.verdict(), joined.position.unwrap().seq), (pb::Verdict::Complete, 652));
    assert!(joined.entries.iter().map(|entry| entry.seq).eq(2..=651));
    // Whoever is not let in costs no read.
    let before = store.count(Call::Read);
    let told = b.ask(join_resuming("r", 3, "ann", pb::Position { seq: 1, ..at }), 2).await;
    assert_eq!(told[1], "#2 NameTaken");
    assert_eq!(store.count(Call::Read), before);
}

#[tokio::test]
async fn what_is_gone_or_too_much_is_left_out_and_told_of() {
    let store = Shared::keeping(12_000);
    let contents: Vec<String> = (0..15_000).map(|n| format!("message {n}")).collect();
    store.fill("r", &contents.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let large = "x".repeat(1 << 20);
    let large: Vec<String> = (0..10).map(|n| format!("{n}{large}")).collect();
    store.fill("s", &large.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    a.ask(join("s", 1, "ann"), 2).await;
    // 3003 to 15002 are kept, of which 15002 is the claim; 10000 of them follow.
    for (seq, verdict, first) in [
        (1, pb::Verdict::Truncated, 5003),
        (5001, pb::Verdict::Truncated, 5003),
        (5002, pb::Verdict::Complete, 5003),
    ] {
        let mut b = Connector::open(&chat, "b").await;
        let joined = resume(&mut b, "r", pb::Position { seq, ..a.at("r") }).await;
        let expected = if verdict == pb::Verdict::Complete { 0 } else { first };
        assert_eq!((joined.verdict(), joined.first), (verdict, expected));
        assert!(joined.entries.iter().map(|entry| entry.seq).eq(first..=15_001));
    }
    let mut b = Connector::open(&chat, "b").await;
    let joined = resume(&mut b, "s", pb::Position { seq: 1, ..a.at("s") }).await;
    assert_eq!((joined.verdict(), joined.first), (pb::Verdict::Truncated, 5));
    assert!(joined.entries.iter().map(|entry| entry.seq).eq(5..=11));
}

#[tokio::test]
async fn what_is_taken_while_it_is_read_is_told_of() {
    let store = Shared::keeping(600);
    let contents: Vec<String> = (0..598).map(|n| format!("message {n}")).collect();
    store.fill("r", &contents.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    a.ask(join("r", 1, "ann"), 2).await;
    store.hold(Call::Read);
    b.send([join_resuming("r", 9, "eve", pb::Position { seq: 1, ..a.at("r") })]).await;
    // 2 to 501 were read, and then all up to 640 is taken.
    store.until(Call::Read, 1).await;
    say_many(&mut a, "r", 640).await;
    store.let_go();
    let told = b.told().await;
    assert!(told.starts_with("#1 in @1240 [ann eve] new Truncated:641 missed 641 642"), "{told}");
    assert!(told.ends_with(" 1239 1240"), "{told}");
}

#[tokio::test]
async fn only_who_resumes_waits_while_the_log_is_read() {
    let store = Shared::new();
    store.fill("r", &["x", "y"]).await;
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let at = pb::Position { seq: 1, ..a.at("r") };
    store.hold(Call::Read);
    let eve = [join_resuming("r", 9, "eve", at), say("r", 9, "hi"), leave("r", 9)];
    b.send(eve.into_iter().chain([join("r", 2, "bob"), say("r", 2, "ho")])).await;
    store.until(Call::Read, 1).await;
    let told = ["#4 in @4 [ann bob] new", "+bob(2)", "#5 stored 5", "5<4 bob: ho"];
    assert_eq!(b.told_of(4).await, told);
    store.let_go();
    let told = ["#1 in @5 [ann bob eve] new Complete missed 2 3 5", "+eve(9)", "#3 gone", "-eve"];
    assert_eq!(b.told_of(4).await, told);
    assert_eq!(b.told_of(2).await, ["#2 stored 6", "6<5 eve: hi"]);
}

#[tokio::test]
async fn no_verdict_is_given_by_whoever_lost_the_room_while_it_read() {
    let store = Shared::new();
    let (zero, one) = Chat::two_on(&[], Some(&store)).await;
    one.see(&[&one]);
    let room = room_of(&one, &[&zero, &one]);
    store.fill(&room, &["x", "y"]).await;
    let mut a = Connector::open(&zero, "a").await;
    let mut b = Connector::open(&zero, "b").await;
    let mut c = Connector::open(&one, "c").await;
    a.ask(join_redirected(&room, 1, "ann"), 2).await;
    store.hold(Call::Heads);
    b.send([join_resuming(&room, 9, "eve", pb::Position { seq: 1, ..a.at(&room) })]).await;
    store.until(Call::Heads, 1).await;
    c.ask(join(&room, 1, "cat"), 2).await;
    store.let_go();
    let moved = format!("to chat-1 {}", one.addr);
    assert_eq!(b.told().await, format!("#1 Moved {moved}"));
    assert_eq!(a.told().await, format!("moved {moved}"));
}

#[tokio::test]
async fn who_is_in_is_not_said_again_to_a_connector_that_knows() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    let knowing =
        |number, user: &str| C::Join(pb::Join { knows_roster: true, ..joining("r", number, user) });
    // It cannot know: it has nobody in the room.
    assert_eq!(a.ask(knowing(1, "ann"), 2).await, ["#1 in @1 [ann] new", "+ann(1)"]);
    assert_eq!(b.ask(knowing(1, "bob"), 2).await, ["#1 in @1 [ann bob] new", "+bob(1)"]);
    assert_eq!(a.told().await, "+bob");
    assert_eq!(a.ask(knowing(2, "cat"), 2).await, ["#2 in @1 [] new", "+cat(2)"]);
    // Again, because the answer was lost.
    assert_eq!(a.ask(knowing(2, "cat"), 1).await, ["#3 in @1 []"]);
    a.check_digest().await;
    a.ask(leave("r", 1), 2).await;
    a.ask(leave("r", 2), 1).await;
    let told = a.ask(knowing(3, "dan"), 2).await;
    assert!(told[0].contains("[bob dan] new"), "{told:?}");
}
