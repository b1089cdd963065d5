//! What was said and is taken away.

use rpc::chat::v1 as pb;

use crate::{
    Chat,
    commands::{history, join, join_resuming, rejoin, say},
    connector::Connector,
    room_of,
    shared::{Call, Shared},
    why,
};

fn redact(room: &str, epoch: u64, seq: u64) -> pb::RedactRequest {
    pb::RedactRequest { room: room.into(), epoch, seq }
}

#[tokio::test]
async fn what_was_taken_away_is_nowhere_any_more() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let at = a.at("r");
    a.ask(say("r", 1, "secret"), 2).await;
    a.ask(say("r", 1, "other"), 2).await;
    let mut remote = chat.remote();
    assert!(remote.redact(redact("r", at.epoch, 2)).await.unwrap().into_inner().redacted);
    assert_eq!(a.told().await, "2 redacted");
    assert_eq!(a.ask(history("r", 1, "", 9), 1).await, ["#4 [2- 3] @3"]);
    let mut b = Connector::open(&chat, "b").await;
    let told = b.ask(join_resuming("r", 9, "eve", at), 2).await;
    assert_eq!(told[0], "#1 in @3 [ann eve] new Complete missed 2- 3");
    assert_eq!(
        b.ask(rejoin("r", at, &[(9, "eve")], None), 1).await[0],
        "#2 Complete @3 [ann eve] missed 2- 3"
    );
    let request = pb::HistoryRequest { room: "r".into(), ..Default::default() };
    let page = chat.rpc().history(request).await.unwrap().into_inner();
    let told = |e: &pb::HistoryEntry| (e.seq, e.content.clone(), e.redacted);
    let told: Vec<_> = page.entries.iter().map(told).collect();
    assert_eq!(told, [(2, String::new(), true), (3, "other".into(), false)]);
    // Again, and the same message again: nothing new.
    assert!(!remote.redact(redact("r", 0, 2)).await.unwrap().into_inner().redacted);
    assert_eq!(a.told_of(2).await, ["+eve", "2 redacted"]);
    assert_eq!(a.ask(say("r", 1, "secret"), 1).await, ["#5 stored 2"]);
}

#[tokio::test]
async fn what_is_not_there_cannot_be_taken_away() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    a.ask(say("r", 1, "hi"), 2).await;
    let mut remote = chat.remote();
    for (request, expected) in [
        (redact("nowhere", 0, 2), "NotFound NO_SUCH_ENTRY"),
        (redact("r", 0, 0), "NotFound NO_SUCH_ENTRY"),
        // A claim.
        (redact("r", 0, 1), "NotFound NO_SUCH_ENTRY"),
        (redact("r", 0, 3), "NotFound NO_SUCH_ENTRY"),
        (redact("r", 1, 2), "FailedPrecondition OTHER_EPOCH"),
        (redact("*", 0, 2), "InvalidArgument INVALID_ARGUMENT"),
    ] {
        assert_eq!(
            why(&remote.redact(request.clone()).await.unwrap_err()),
            expected,
            "{request:?}"
        );
    }
    assert_eq!(a.ask(history("r", 1, "", 9), 1).await, ["#3 [2] @2"]);
}

#[tokio::test]
async fn what_is_taken_away_while_it_is_read_is_not_told() {
    let store = Shared::new();
    store.fill("r", &["secret", "other"]).await;
    let chat = Chat::start_on("chat-0", &[], Some(store.clone())).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open(&chat, "b").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let at = pb::Position { seq: 1, ..a.at("r") };
    store.hold_next(Call::Read);
    a.send([history("r", 1, "", 9)]).await;
    store.until(Call::Read, 1).await;
    store.hold_next(Call::Read);
    b.send([join_resuming("r", 9, "eve", at)]).await;
    store.until(Call::Read, 2).await;
    chat.remote().redact(redact("r", 0, 2)).await.unwrap();
    assert_eq!(a.told().await, "2 redacted");
    store.let_go();
    let mut told = a.told_of(2).await;
    told.sort();
    assert_eq!(told, ["#2 [2- 3] @4", "+eve"]);
    assert_eq!(b.told().await, "#1 in @4 [ann eve] new Complete missed 2- 3");
}

#[tokio::test]
async fn the_owner_is_asked_to_take_it_away() {
    let (zero, one) = Chat::two(&[]).await;
    let room = room_of(&one, &[&zero, &one]);
    let mut a = Connector::open(&one, "a").await;
    a.ask(join(&room, 1, "ann"), 2).await;
    a.ask(say(&room, 1, "hi"), 2).await;
    assert!(zero.remote().redact(redact(&room, 0, 2)).await.unwrap().into_inner().redacted);
    assert_eq!(a.told().await, "2 redacted");
}

#[tokio::test]
async fn whoever_has_lost_the_room_passes_it_on() {
    let store = Shared::new();
    let (zero, one) = Chat::two_on(&[], Some(&store)).await;
    one.see(&[&one]);
    let room = room_of(&zero, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    let mut c = Connector::open(&one, "c").await;
    a.ask(join(&room, 1, "ann"), 2).await;
    a.ask(say(&room, 1, "hi"), 2).await;
    c.ask(join(&room, 1, "cat"), 2).await;
    assert!(zero.remote().redact(redact(&room, 0, 2)).await.unwrap().into_inner().redacted);
    assert_eq!(a.told().await, format!("moved to chat-1 {}", one.addr));
    assert_eq!(c.told().await, "2 redacted");
}
