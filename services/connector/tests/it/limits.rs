//! What one client may take.

use rpc::chat::v1::{self as pb, event::Event as E};

use crate::{
    scene::{Options, Scene, published},
    shard::refused,
};

const TOO_FAST: &str = r#"{"code":429,"error":"too many messages"}"#;

#[tokio::test]
async fn who_speaks_too_fast_is_told_so_and_the_rest_is_said() {
    let args = &["--sends-per-second=1", "--sends-burst=3"];
    let mut s = Scene::start_with(Options { args, ..Options::default() }, &["ann", "bob"]).await;
    let ann = &mut s.clients[0];
    for _ in 0..30 {
        ann.say("hi", "*").await;
    }
    // Answered by the connector itself: what was refused before has come by then.
    let last = ann.ask("connector.noHandler.here", "{}").await;
    let mut refused = 0;
    loop {
        let line = ann.next().await;
        if line == format!(r#"{last} {{"code":500}}"#) {
            break;
        }
        assert!(line.ends_with(TOO_FAST), "{line}");
        refused += 1;
    }
    assert!((1..=27).contains(&refused), "{refused} of 30 are refused");
    let answered = s.connector.metric(r#"connector_requests_total{route="send",code="429"}"#);
    assert_eq!(answered, f64::from(refused));
    // All the others are said.
    for seq in 0..30 - refused {
        let (id, _) = s.link.publish().await;
        s.link.reply(id, published(u64::try_from(seq).unwrap() + 2)).await;
        let line = s.clients[0].next().await;
        assert!(line.ends_with(" {}"), "{line}");
    }
    // It is ann's affair only.
    s.clients[1].say("hello", "*").await;
    s.link.publish().await;
    s.clients[0].expect_nothing().await;
}

#[tokio::test]
async fn who_enters_no_room_is_closed_and_who_is_in_one_is_not() {
    let args = &["--idle-timeout=300ms"];
    let mut s = Scene::start_with(Options { args, ..Options::default() }, &["ann"]).await;
    let mut idle = s.connector.client().await;
    idle.expect(&["closed"]).await;
    assert_eq!(s.connector.metric(r#"connector_closes_total{reason="idle"}"#), 1.0);
    s.silence().await;
}

#[tokio::test]
async fn one_address_may_open_so_many_rooms_and_enter_all_that_are_there() {
    let args = &["--address-rooms-per-minute=1", "--address-rooms-burst=2"];
    let mut s = Scene::start_with(Options { args, ..Options::default() }, &["ann"]).await;
    let mut bob = s.connector.client().await;
    bob.enter("bob", "second").await;
    let (id, join) = s.link.join().await;
    assert_eq!(join.room, "second");
    let other = E::Reply(pb::Reply {
        request_id: id,
        room: "second".into(),
        result: Some(refused(pb::RefusedReason::RoomFull, None)),
    });
    s.link.send(other).await;
    bob.expect(&[r#"1 {"code":503,"error":"the room is full"}"#]).await;
    s.connector.until("connector_rooms", 1.0).await;
    // It is not known any more, and would be the third.
    for room in ["second", "third"] {
        let asked = bob.enter("bob", room).await;
        let answer = format!(r#"{asked} {{"code":429,"error":"too many new rooms"}}"#);
        bob.expect(&[&answer]).await;
    }
    bob.enter("bob", "r").await;
    let (_, join) = s.link.join().await;
    assert_eq!(join.room, "r");
}
