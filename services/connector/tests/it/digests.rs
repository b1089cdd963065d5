//! Heartbeats find what nobody else would: a lost last event, then silence.

use model::UserName;
use rpc::chat::v1::{self as pb, event::Event as E, reply::Result as R};

use crate::{
    scene::{EPOCH, Options, Scene, at, presence},
    shard::Link,
};

async fn quiet(names: &[&str]) -> Scene {
    Scene::start_with(Options { beats: false, ..Options::default() }, names).await
}

async fn differ(link: &Link, id: u64, room: pb::ComparedRoom) {
    let compared = R::Compared(pb::Compared { rooms: vec![room] });
    let reply = pb::Reply { request_id: id, room: String::new(), result: Some(compared) };
    link.send(E::Reply(reply)).await;
}

#[tokio::test]
async fn equal_digests_cost_nothing() {
    let mut s = quiet(&["ann", "bob"]).await;
    for n in 0..3 {
        let entry = s.says("bot", &format!("m{n}"));
        s.link.send(E::Entry(entry)).await;
        s.link.heartbeat(s.digest()).await;
    }
    s.link.expect_nothing().await;
    s.link.heartbeat(s.digest()).await;
    s.link.send(presence("cat", true, 0)).await;
    s.names.push("cat".into());
    s.link.heartbeat(s.digest()).await;
    let mut s = leave(s, "bob").await;
    s.link.heartbeat(s.digest()).await;
    s.link.expect_nothing().await;
    assert_eq!(s.connector.metric("connector_digest_mismatches_total"), 0.0);
}

/// The last client goes, and the shard says so.
async fn leave(mut s: Scene, name: &str) -> Scene {
    s.clients.pop().unwrap().close().await;
    let (id, _) = s.link.leave().await;
    s.names.retain(|other| other != name);
    s.link.reply(id, R::Gone(pb::Gone {})).await;
    s.link.send(presence(name, false, 0)).await;
    s
}

#[tokio::test]
async fn a_lost_last_push_is_found_by_the_next_heartbeat() {
    let mut s = quiet(&["ann", "bob"]).await;
    let lost = s.says("bot", "last");
    s.link.heartbeat(s.digest()).await;
    let (id, compare) = s.link.compare().await;
    let room = &compare.rooms[0];
    assert_eq!((compare.rooms.len(), room.room.as_str(), room.mark), (1, "r", Some(at(1))));
    assert_eq!(room.session_ids, s.ids);
    let roster = ["ann", "bob"].map(|name| model::roster_hash(&UserName::parse(name).unwrap()));
    assert_eq!(room.roster, roster[0].wrapping_add(roster[1]));
    // It is asked once, however often heartbeats differ until the answer.
    s.link.heartbeat(s.digest()).await;
    differ(&s.link, id, s.compared()).await;
    let (id, fetch) = s.link.fetch().await;
    assert_eq!(fetch.after, Some(at(1)));
    s.link
        .reply(id, R::Fetched(pb::Fetched { epoch: EPOCH, entries: vec![lost], complete: true }))
        .await;
    s.everybody_gets(&["onChat bot > *: last"]).await;
    s.link.heartbeat(s.digest()).await;
    s.link.expect_nothing().await;
}

#[tokio::test]
async fn a_lost_whisper_for_nobody_here_is_forgotten() {
    let mut s = quiet(&["ann"]).await;
    // Its target has gone since: there is nothing to fetch.
    s.whispers("bot", "bob", "psst");
    s.link.heartbeat(s.digest()).await;
    let (id, _) = s.link.compare().await;
    differ(&s.link, id, s.compared()).await;
    let (id, _) = s.link.fetch().await;
    s.link
        .reply(id, R::Fetched(pb::Fetched { epoch: EPOCH, entries: vec![], complete: true }))
        .await;
    s.link.heartbeat(s.digest()).await;
    let next = s.says("bot", "1");
    s.link.send(E::Entry(next)).await;
    s.everybody_gets(&["onChat bot > *: 1"]).await;
    s.link.heartbeat(s.digest()).await;
    s.link.expect_nothing().await;
}

#[tokio::test]
async fn a_lost_arrival_is_made_up_for() {
    let mut s = quiet(&["ann"]).await;
    s.names.push("bob".into());
    s.link.heartbeat(s.digest()).await;
    let (id, _) = s.link.compare().await;
    differ(&s.link, id, s.compared()).await;
    s.everybody_gets(&["onAdd bob"]).await;
    s.link.heartbeat(s.digest()).await;
    s.link.expect_nothing().await;
}

#[tokio::test]
async fn a_room_that_the_shard_does_not_know_is_brought_again() {
    let mut s = quiet(&["ann"]).await;
    s.link.heartbeat(0).await;
    let (id, _) = s.link.compare().await;
    differ(&s.link, id, pb::ComparedRoom { room: "r".into(), ..pb::ComparedRoom::default() }).await;
    let (id, rejoin) = s.link.rejoin().await;
    assert_eq!((rejoin.members.len(), rejoin.members[0].grant), (1, Some(s.grant(1))));
    s.link.reply(id, R::Rejoined(s.rejoined(&[]))).await;
    s.link.heartbeat(s.digest()).await;
    s.link.expect_nothing().await;
    s.silence().await;
}

#[tokio::test]
async fn a_session_that_the_shard_does_not_know_is_brought_again() {
    let mut s = quiet(&["ann", "bob"]).await;
    s.link.heartbeat(1).await;
    let (id, _) = s.link.compare().await;
    let compared = pb::ComparedRoom { missing_session_ids: vec![s.ids[1]], ..s.compared() };
    differ(&s.link, id, compared).await;
    let (_, rejoin) = s.link.rejoin().await;
    assert_eq!(rejoin.members.len(), 2);
}

#[tokio::test]
async fn a_session_that_left_in_the_meantime_is_rightly_missing() {
    let mut s = quiet(&["ann", "bob"]).await;
    s.link.heartbeat(1).await;
    let (compare, _) = s.link.compare().await;
    let gone = s.ids[1];
    let mut s = leave(s, "bob").await;
    let compared = pb::ComparedRoom { missing_session_ids: vec![gone], ..s.compared() };
    differ(&s.link, compare, compared).await;
    s.link.heartbeat(s.digest()).await;
    s.clients[0].expect(&["onLeave bob"]).await;
    s.link.expect_nothing().await;
    s.silence().await;
}
