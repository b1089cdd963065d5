//! Which shard a room is taken to.

use cluster::View;
use model::RoomId;
use rpc::chat::v1::{
    self as pb, RefusedReason, command::Command as C, event::Event as E, reply::Result as R,
};
use tokio::time::{Duration, Instant};

use crate::{
    connector::Connector,
    scene::{Options, Scene, presence, published},
    shard::{Link, Shard, refused, reply},
};

/// Two shards, the owner of room `r` first, and a connector that sees both.
async fn two() -> (Connector, Shard, Shard) {
    let (mut one, mut other) = (Shard::start("chat-0").await, Shard::start("chat-1").await);
    let view = View::new([one.listed(), other.listed()]);
    if view.owner(&RoomId::parse("r").unwrap()).unwrap().id.as_str() != "chat-0" {
        std::mem::swap(&mut one, &mut other);
    }
    let connector = Connector::start(&[], view.shards()).await;
    (connector, one, other)
}

fn moved(shard: Option<pb::ShardAddress>) -> E {
    E::Moved(pb::Moved { room: "r".into(), shard })
}

fn joined(id: u64) -> E {
    let fence = Some(crate::scene::FENCE);
    let position = Some(crate::scene::at(1));
    let grant = Some(pb::Grant { fence, number: 1 });
    let roster = vec!["ann".to_owned()];
    let joined =
        pb::Joined { grant, fence, position, roster, announced: true, ..pb::Joined::default() };
    reply(id, R::Joined(joined))
}

async fn enter_on(connector: &Connector, link: &mut Link) -> crate::client::Client {
    let mut ann = connector.client().await;
    ann.enter("ann", "r").await;
    let (id, join) = link.join().await;
    link.send_all([joined(id), presence("ann", true, join.session_id)]).await;
    ann.expect(&[r#"1 {"users":["ann"]}"#]).await;
    ann
}

#[tokio::test]
async fn a_room_that_moved_is_taken_to_whom_its_shard_names() {
    let mut s = Scene::start(&["ann"]).await;
    // Nobody told the connector of this one.
    let mut other = Shard::start("chat-9").await;
    s.link.send(moved(Some(other.address()))).await;
    let mut link = other.link().await;
    let (id, rejoin) = link.rejoin().await;
    assert!(rejoin.redirected);
    link.reply(id, R::Rejoined(s.rejoined(&[]))).await;
    s.clients[0].say("hi", "*").await;
    let (id, _) = link.publish().await;
    link.reply(id, published(2)).await;
    s.clients[0].expect(&["2 {}"]).await;
    // Joins go there, too; the shard has let this connector in, and need not claim for them.
    let mut bob = s.connector.client().await;
    bob.enter("bob", "r").await;
    assert!(!link.join().await.1.redirected);
    // When that link fails, the view counts again.
    link.cut().await;
    other.kill();
    let (_, rejoin) = s.link.rejoin().await;
    assert!(!rejoin.redirected);
}

#[tokio::test]
async fn whoever_is_sent_to_a_shard_for_its_claim_has_seen_that_claim() {
    let s = Scene::start(&["ann"]).await;
    let mut other = Shard::start("chat-9").await;
    let claim = pb::Fence { term: 9, ..crate::scene::FENCE };
    s.link.send(moved(Some(pb::ShardAddress { claim: Some(claim), ..other.address() }))).await;
    let mut link = other.link().await;
    let (id, rejoin) = link.rejoin().await;
    assert_eq!(rejoin.seen, Some(claim));
    // One that has seen less takes nothing away.
    let less = pb::ShardAddress { claim: None, ..other.address() };
    link.reply(id, refused(RefusedReason::Moved, Some(less))).await;
    assert_eq!(link.rejoin().await.1.seen, Some(claim));
}

#[tokio::test]
async fn a_shard_that_is_named_and_says_itself_that_it_is_no_use_is_not_waited_for() {
    let (connector, mut owner, mut other) = two().await;
    let (mut here, mut there) = (owner.link().await, other.welcome(true, false).await);
    let ann = enter_on(&connector, &mut here).await;
    for digest in [0, 1] {
        there.send(E::Heartbeat(pb::ShardHeartbeat { digest, store_unreachable: true })).await;
    }
    // The second has been read once a comparison is asked for.
    there.compare().await;
    let started = Instant::now();
    here.send(moved(Some(other.address()))).await;
    assert!(here.rejoin().await.1.redirected, "it would be sent there again");
    assert!(started.elapsed() < Duration::from_millis(2500), "{:?}", started.elapsed());
    drop(ann);
}

#[tokio::test]
async fn a_shard_that_has_let_the_connector_in_need_not_claim_what_it_differs_about() {
    let mut s = Scene::start(&["ann"]).await;
    let mut other = Shard::start("chat-9").await;
    s.link.send(moved(Some(other.address()))).await;
    let mut link = other.link().await;
    let (id, _) = link.rejoin().await;
    link.reply(id, R::Rejoined(s.rejoined(&[]))).await;
    s.says("bot", "is lost");
    let late = s.says("bot", "late");
    link.send(E::Entry(late)).await;
    let (id, _) = link.fetch().await;
    link.reply(id, R::Fetched(pb::Fetched::default())).await;
    assert!(!link.rejoin().await.1.redirected);
}

#[tokio::test]
async fn what_somebody_said_who_is_gone_is_not_sent_to_and_fro_without_a_pause() {
    let durable = Options { volatile: false, ..Options::default() };
    let mut s = Scene::start_with(durable, &["ann"]).await;
    let mut other = Shard::start("chat-9").await;
    s.clients[0].say("hi", "*").await;
    let (id, _) = s.link.publish().await;
    // Its author goes, and the answer does not come.
    s.clients.pop().unwrap().close().await;
    s.link.leave().await;
    let there = other.address();
    s.link
        .send_all([
            reply(id, refused(RefusedReason::Moved, Some(there.clone()))),
            moved(Some(there)),
        ])
        .await;
    let mut link = other.welcome(false, true).await;
    let (id, _) = link.publish().await;
    let started = Instant::now();
    link.reply(id, refused(RefusedReason::Moved, Some(s.shard.address()))).await;
    s.link.publish().await;
    assert!(started.elapsed() >= Duration::from_millis(90), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_join_that_another_shard_should_have_goes_there_with_all_that_follows() {
    let (connector, mut owner, mut other) = two().await;
    let (mut here, mut there) = (owner.link().await, other.link().await);
    let mut ann = connector.client().await;
    ann.feed(wire::route::ENTER, r#"{"username":"ann","rid":"r"}"#).await;
    ann.say("hi", "*").await;
    let (join, _) = here.join().await;
    here.reply(join, refused(RefusedReason::Moved, Some(other.address()))).await;
    let (id, join) = there.join().await;
    assert!(join.redirected);
    there.send_all([joined(id), presence("ann", true, join.session_id)]).await;
    let (id, publish) = there.publish().await;
    assert_eq!(publish.content, "hi");
    there.reply(id, published(2)).await;
    ann.expect(&[r#"1 {"users":["ann"]}"#, "2 {}"]).await;
    here.expect_nothing().await;
}

#[tokio::test]
async fn a_send_to_a_room_that_is_about_to_move_waits_for_the_move() {
    let mut s = Scene::start(&["ann"]).await;
    s.clients[0].say("hi", "*").await;
    let (id, first) = s.link.publish().await;
    s.link.send_all([reply(id, refused(RefusedReason::Moved, None)), moved(None)]).await;
    let (id, _) = s.link.rejoin().await;
    s.link.reply(id, R::Rejoined(s.rejoined(&[]))).await;
    let (id, again) = s.link.publish().await;
    assert_eq!(first.cmid, again.cmid);
    s.link.reply(id, published(2)).await;
    s.clients[0].expect(&["2 {}"]).await;
}

#[tokio::test]
async fn where_a_connector_sees_a_shard_counts_more_than_where_another_says_it_is() {
    let (connector, mut owner, mut other) = two().await;
    let (mut here, mut there) = (owner.link().await, other.link().await);
    let ann = enter_on(&connector, &mut here).await;
    let wrong = pb::ShardAddress { addr: "127.0.0.1:1".into(), ..other.address() };
    here.send(moved(Some(wrong))).await;
    assert!(there.rejoin().await.1.redirected);
    drop(ann);
}

#[tokio::test]
async fn shards_that_differ_about_where_another_one_is_do_not_end_its_link() {
    let mut s = Scene::start(&["ann"]).await;
    let in_q = |request_id, result| {
        E::Reply(pb::Reply { request_id, room: "q".into(), result: Some(result) })
    };
    let mut bob = s.connector.client().await;
    bob.enter("bob", "q").await;
    let (id, _) = s.link.join().await;
    let E::Reply(pb::Reply { result: Some(result), .. }) = joined(id) else { unreachable!() };
    s.link.send(in_q(id, result)).await;
    bob.next().await;
    // Nobody told the connector of this one.
    let mut other = Shard::start("chat-9").await;
    s.link.send(moved(Some(other.address()))).await;
    let mut link = other.link().await;
    let (id, _) = link.rejoin().await;
    link.reply(id, R::Rejoined(s.rejoined(&[]))).await;
    let elsewhere = pb::ShardAddress { addr: "127.0.0.1:1".into(), ..other.address() };
    s.link.send(E::Moved(pb::Moved { room: "q".into(), shard: Some(elsewhere) })).await;
    let (id, rejoin) = link.rejoin().await;
    assert_eq!(rejoin.room, "q");
    link.send(in_q(id, R::Rejoined(s.rejoined(&[])))).await;
    // Once it is gone from there, it may be elsewhere.
    let mut again = Shard::start("chat-9").await;
    link.cut().await;
    other.kill();
    for _ in ["q", "r"] {
        let (id, rejoin) = s.link.rejoin().await;
        let (request_id, result) = (id, Some(R::Rejoined(s.rejoined(&[]))));
        s.link.send(E::Reply(pb::Reply { request_id, room: rejoin.room, result })).await;
    }
    s.link.send(moved(Some(again.address()))).await;
    assert_eq!(again.link().await.rejoin().await.1.room, "r");
}

#[tokio::test]
async fn an_owner_that_does_not_answer_gives_way_to_the_next_after_three_seconds() {
    let (connector, mut owner, mut other) = two().await;
    // It takes the link, and says nothing.
    let silent = owner.raw_link().await;
    let mut there = other.link().await;
    let mut ann = connector.client().await;
    let started = Instant::now();
    ann.enter("ann", "r").await;
    let (id, join) = there.join().await;
    let waited = started.elapsed();
    assert!(waited > Duration::from_millis(2900), "{waited:?}");
    assert!(waited < Duration::from_millis(4500), "{waited:?}");
    assert!(join.redirected, "it must not be sent back");
    there.send_all([joined(id), presence("ann", true, join.session_id)]).await;
    ann.expect(&[r#"1 {"users":["ann"]}"#]).await;
    drop(silent);
}

#[tokio::test]
async fn an_owner_that_cannot_be_reached_gives_way_to_the_next() {
    let (connector, mut owner, mut other) = two().await;
    owner.kill();
    let mut there = other.link().await;
    let mut ann = connector.client().await;
    ann.enter("ann", "r").await;
    let (id, join) = there.join().await;
    there.send_all([joined(id), presence("ann", true, join.session_id)]).await;
    ann.expect(&[r#"1 {"users":["ann"]}"#]).await;
}

#[tokio::test]
async fn a_shard_that_is_going_to_stop_gets_no_new_rooms() {
    let (connector, mut owner, mut other) = two().await;
    let (mut here, mut there) = (owner.link().await, other.link().await);
    let mut ann = enter_on(&connector, &mut here).await;
    here.send(E::GoAway(pb::GoAway {})).await;
    // What it has, it keeps until it says otherwise.
    ann.say("hi", "*").await;
    let (id, _) = here.publish().await;
    here.send_all([reply(id, published(2)), moved(None)]).await;
    let (_, rejoin) = there.rejoin().await;
    assert_eq!(rejoin.members.len(), 1);
}

#[tokio::test]
async fn a_shard_without_its_store_gets_no_new_rooms_until_it_has_it_again() {
    let (connector, mut owner, mut other) = two().await;
    let (mut here, mut there) = (owner.welcome(true, false).await, other.link().await);
    let sick =
        |store_unreachable| E::Heartbeat(pb::ShardHeartbeat { digest: 0, store_unreachable });
    here.send(sick(true)).await;
    let mut ann = connector.client().await;
    ann.expect_nothing().await;
    // The heartbeat has been read once a comparison would have been asked for.
    here.send(E::Heartbeat(pb::ShardHeartbeat { digest: 1, store_unreachable: true })).await;
    here.compare().await;
    ann.enter("ann", "r").await;
    assert!(there.join().await.1.redirected);
}

#[tokio::test]
async fn a_silent_shard_is_lost_after_three_seconds() {
    let mut s = Scene::start(&["ann"]).await;
    s.link.hush();
    let started = Instant::now();
    let old = std::mem::replace(&mut s.link, s.shard.link().await);
    let silent = started.elapsed();
    assert!(silent > Duration::from_millis(2400), "{silent:?}");
    assert!(silent < Duration::from_millis(3900), "{silent:?}");
    old.ended().await;
    s.link.rejoin().await;
    assert_eq!(s.connector.metric(r#"connector_links_ended_total{reason="silent"}"#), 1.0);
}

#[tokio::test]
async fn a_shard_that_moved_to_another_address_takes_its_rooms_along() {
    let mut s = Scene::start(&["ann"]).await;
    let mut moved = Shard::start("chat-0").await;
    s.connector.view.send_replace(View::new([moved.listed()]));
    let mut link = moved.link().await;
    // The old address still answers; the room goes all the same.
    let (id, _) = link.rejoin().await;
    link.reply(id, R::Rejoined(s.rejoined(&[]))).await;
    s.clients[0].say("hi", "*").await;
    link.publish().await;
    s.connector.until("connector_links", 1.0).await;
}

#[tokio::test]
async fn a_shard_under_a_wrong_name_is_not_taken() {
    let mut s = Scene::start(&[]).await;
    let mut other = Shard::start("chat-9").await;
    let listed = cluster::Shard { id: "chat-1".parse().unwrap(), addr: other.addr.to_string() };
    s.connector.view.send_replace(View::new([s.shard.listed(), listed]));
    let link = other.link().await;
    link.ended().await;
    s.connector.until("connector_links", 1.0).await;
    assert!(s.connector.metric(r#"connector_links_ended_total{reason="wrong_shard"}"#) >= 1.0);
}

#[tokio::test]
async fn a_shard_that_nobody_sees_any_more_keeps_its_rooms_while_its_link_is_up() {
    let mut s = Scene::start(&["ann"]).await;
    s.connector.view.send_replace(View::default());
    s.clients[0].say("hi", "*").await;
    let (id, _) = s.link.publish().await;
    s.link.reply(id, published(2)).await;
    s.clients[0].expect(&["2 {}"]).await;
    s.link.cut().await;
    s.connector.until("connector_links", 0.0).await;
}

#[tokio::test]
async fn shards_are_found_by_the_list_and_their_health() {
    let mut shard = Shard::start("chat-0").await;
    let list = format!("--shards=chat-0={}", shard.addr);
    let connector = Connector::discovering(&[&list]).await;
    let mut link = shard.link().await;
    let ann = enter_on(&connector, &mut link).await;
    ann.close().await;
    assert!(matches!(link.next().await.1, C::Leave(_)));
}

#[tokio::test]
async fn a_room_goes_home_when_its_owner_can_be_reached_again() {
    let (connector, mut owner, mut other) = two().await;
    let silent = owner.raw_link().await;
    let mut there = other.link().await;
    let ann = enter_on(&connector, &mut there).await;
    // The owner takes links again.
    drop(silent);
    let mut here = owner.link().await;
    let (_, rejoin) = here.rejoin().await;
    assert_eq!((rejoin.members.len(), rejoin.redirected), (1, false));
    drop(ann);
}

#[tokio::test]
async fn who_is_sent_to_a_shard_that_cannot_be_reached_is_served_where_it_asks_again() {
    let mut s = Scene::start(&[]).await;
    let mut ann = s.connector.client().await;
    let started = Instant::now();
    ann.enter("ann", "r").await;
    let (id, join) = s.link.join().await;
    assert!(!join.redirected);
    let mut gone = Shard::start("chat-9").await;
    gone.kill();
    s.link.reply(id, refused(RefusedReason::Moved, Some(gone.address()))).await;
    let (id, join) = s.link.join().await;
    assert!(join.redirected, "it would be sent away again");
    let waited = started.elapsed();
    assert!(waited > Duration::from_millis(900), "{waited:?}");
    assert!(waited < Duration::from_millis(2500), "nobody else knows of it: {waited:?}");
    s.link.send_all([joined(id), presence("ann", true, join.session_id)]).await;
    ann.expect(&[r#"1 {"users":["ann"]}"#]).await;
    // Without hammering at the one that was named.
    let tried = s.connector.metric(r#"connector_links_ended_total{reason="unreachable"}"#);
    assert!((1.0..15.0).contains(&tried), "{tried}");
}
