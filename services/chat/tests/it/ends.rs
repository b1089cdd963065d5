//! How links end, and how the shard does.

use std::time::Duration;

use rpc::chat::v1::{self as pb, LinkRequest, command::Command as C};
use tokio::time::Instant;

use crate::{
    Chat,
    commands::{hello, join, joining, rejoining, say, saying},
    connector::Connector,
    room_of, why,
};

#[tokio::test]
async fn a_link_begins_with_a_proper_hello() {
    let chat = Chat::start(&[]).await;
    let nothing = C::Heartbeat(pb::LinkHeartbeat {});
    for (first, end) in [
        (vec![nothing], "FailedPrecondition NO_HELLO"),
        (vec![join("r", 1, "ann"), hello("a")], "FailedPrecondition NO_HELLO"),
        (vec![], "FailedPrecondition NO_HELLO"),
        (vec![hello("")], "InvalidArgument MALFORMED"),
        (vec![hello("a/b")], "InvalidArgument MALFORMED"),
        (vec![hello("a"), hello("a")], "Unimplemented UNKNOWN_COMMAND"),
    ] {
        let refused = Connector::try_open(&chat, first.clone()).await.err().expect("a refusal");
        assert_eq!(why(&refused), end, "{first:?}");
    }
}

#[tokio::test]
async fn whatever_a_connector_should_know_to_be_wrong_ends_its_link() {
    let chat = Chat::start(&[]).await;
    let malformed = "InvalidArgument MALFORMED";
    let at = pb::Position::default();
    let room = |room: &str| joining(room, 1, "ann");
    let cmid = |len| pb::Publish { cmid: vec![1; len].into(), ..saying("r", 1, "*", "hi") };
    for (command, end) in [
        (Some(C::Join(room(""))), malformed),
        (Some(C::Join(room("a*b"))), malformed),
        (Some(C::Join(room(&"r".repeat(65)))), malformed),
        (Some(C::Join(joining("r", 1, "*"))), malformed),
        (Some(C::Join(pb::Join { identity: vec![1; 15].into(), ..room("r") })), malformed),
        (Some(C::Publish(saying("r", 1, "a\nb", "hi"))), malformed),
        (Some(C::Publish(saying("", 1, "*", "hi"))), malformed),
        (Some(C::Publish(cmid(65))), malformed),
        (Some(C::Publish(cmid(0))), malformed),
        (
            Some(C::Leave(pb::Leave { room: "*".into(), session_id: 1, comes_back: false })),
            malformed,
        ),
        (Some(C::Rejoin(rejoining("*", at, &[], None))), malformed),
        (Some(C::Rejoin(rejoining("r", at, &[(1, "")], None))), malformed),
        (Some(C::Rejoin(pb::Rejoin { mark: None, ..rejoining("r", at, &[], None) })), malformed),
        (Some(C::Fetch(pb::Fetch { room: "r".into(), after: None })), malformed),
        (Some(hello("a")), "Unimplemented UNKNOWN_COMMAND"),
        (None, "Unimplemented UNKNOWN_COMMAND"),
    ] {
        let mut a = Connector::open_silent(&chat, "a").await;
        let text = format!("{command:?}");
        a.send_raw(LinkRequest { commands: vec![pb::Command { request_id: 9, command }] }).await;
        assert_eq!(why(&a.end().await.unwrap()), end, "{text}");
    }
}

#[tokio::test]
async fn a_silent_link_is_lost_after_three_seconds() {
    let chat = Chat::start(&["--grace=100ms"]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut b = Connector::open_silent(&chat, "b").await;
    let opened = Instant::now();
    a.ask(join("r", 1, "ann"), 2).await;
    b.ask(join("r", 1, "bob"), 2).await;
    assert_eq!(why(&b.end().await.unwrap()), "DeadlineExceeded SILENT");
    let silence = Instant::now() - opened;
    assert!(silence > Duration::from_secs(3) && silence < Duration::from_secs(5), "{silence:?}");
    assert_eq!(a.told_of(2).await, ["+bob", "-bob"]);
}

#[tokio::test]
async fn a_connector_that_does_not_read_is_cut() {
    let chat = Chat::start(&["--link-outbox-max=300000", "--grace=100ms"]).await;
    let mut a = Connector::open(&chat, "a").await;
    let mut slow = Connector::open(&chat, "slow").await;
    a.ask(join("r", 1, "ann"), 2).await;
    slow.ask(join("r", 1, "sid"), 2).await;
    assert_eq!(a.told().await, "+sid");
    // More than its window and its outbox take. Others do not wait for it, and are
    // told when its grace is over.
    let long = "x".repeat(32_000);
    let mut said = Vec::new();
    for n in 0..64 {
        a.send([say("r", 1, &format!("{n} {long}"))]).await;
        said.extend(a.told_of(2).await);
    }
    while !said.iter().any(|told| told == "-sid") {
        said.push(a.told().await);
    }
    said.extend(a.told_of(129 - said.len()).await);
    assert_eq!(said.iter().filter(|told| told.contains(" stored ")).count(), 64);
    assert_eq!(slow.end().await.unwrap().code(), tonic::Code::ResourceExhausted);
    let stats = chat.rpc().stats(pb::StatsRequest {}).await.unwrap().into_inner();
    assert_eq!(stats.outbox_closes, 1);
}

#[tokio::test]
async fn a_connector_may_close_its_link() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open_silent(&chat, "a").await;
    a.close();
    assert!(a.end().await.is_none());
}

#[tokio::test]
async fn shutdown_hands_rooms_over_and_ends_links() {
    let (zero, one) = Chat::two(&[]).await;
    let room = room_of(&zero, &[&zero, &one]);
    let mut a = Connector::open(&zero, "a").await;
    a.ask(join(&room, 1, "ann"), 2).await;
    let asked = Instant::now();
    zero.shutdown.cancel();
    let mut told = a.told_of(2).await;
    told.sort();
    assert_eq!(told, ["go away".to_owned(), format!("moved to chat-1 {}", one.addr)]);
    // It takes no more rooms; its connectors are told who does.
    let moved = format!("#2 Moved to chat-1 {}", one.addr);
    assert_eq!(a.ask(join(&room, 1, "ann"), 1).await, [moved]);
    // A link that stays is ended.
    let end = a.end().await.unwrap();
    assert_eq!((end.code(), end.message()), (tonic::Code::Unavailable, "the shard is stopping"));
    zero.ended().await;
    let took = Instant::now() - asked;
    assert!(took > Duration::from_millis(1500) && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_links_that_have_gone() {
    let chat = Chat::start(&[]).await;
    let mut a = Connector::open_silent(&chat, "a").await;
    a.ask(join("r", 1, "ann"), 2).await;
    let asked = Instant::now();
    chat.shutdown.cancel();
    assert_eq!(a.told_of(1).await.len(), 1);
    drop(a);
    chat.ended().await;
    assert!(Instant::now() - asked < Duration::from_secs(2));
}
