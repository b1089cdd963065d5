//! Events that were lost, repeated, or come from a shard that serves no more.

use rpc::chat::v1::{self as pb, event::Event as E, reply::Result as R};

use crate::scene::{EPOCH, Scene, at, entry, presence, published};

fn fetched(entries: Vec<pb::Entry>) -> R {
    R::Fetched(pb::Fetched { epoch: EPOCH, entries, complete: true })
}

#[tokio::test]
async fn what_a_push_skips_is_fetched_and_goes_first() {
    let mut s = Scene::start(&["ann", "bob"]).await;
    let (one, two, three, four) =
        (s.says("bot", "1"), s.says("bot", "2"), s.says("bot", "3"), s.says("bot", "4"));
    s.link.send_all([E::Entry(one), E::Entry(three.clone())]).await;
    let (id, fetch) = s.link.fetch().await;
    assert_eq!((fetch.room.as_str(), fetch.after), ("r", Some(at(2))));
    // While the hole is open, what comes waits.
    s.link.send(E::Entry(four.clone())).await;
    s.everybody_gets(&["onChat bot > *: 1"]).await;
    s.silence().await;
    s.link.reply(id, fetched(vec![two, three, four])).await;
    s.everybody_gets(&["onChat bot > *: 2", "onChat bot > *: 3", "onChat bot > *: 4"]).await;
    let five = s.says("bot", "5");
    s.link.send(E::Entry(five)).await;
    s.everybody_gets(&["onChat bot > *: 5"]).await;
    s.silence().await;
    assert_eq!(s.connector.metric("connector_holes_total"), 1.0);
}

#[tokio::test]
async fn what_waited_behind_a_hole_need_not_be_fetched_again() {
    let mut s = Scene::start(&["ann"]).await;
    let (one, two, three) = (s.says("bot", "1"), s.says("bot", "2"), s.says("bot", "3"));
    s.link.send_all([E::Entry(two.clone()), E::Entry(three), E::Entry(two)]).await;
    let (id, _) = s.link.fetch().await;
    s.link.reply(id, fetched(vec![one])).await;
    s.everybody_gets(&["onChat bot > *: 1", "onChat bot > *: 2", "onChat bot > *: 3"]).await;
    s.silence().await;
}

#[tokio::test]
async fn whoever_comes_while_a_hole_is_open_gets_what_came_after_it() {
    let mut s = Scene::start(&["ann"]).await;
    let (one, two) = (s.says("bot", "1"), s.says("bot", "2"));
    let whisper = s.whispers("ann", "bob", "to the bob before");
    s.link.send_all([E::Entry(two.clone()), E::Entry(whisper.clone())]).await;
    let (fetch, _) = s.link.fetch().await;
    let bob = s.connector.client().await;
    s.enter(bob, "bob").await;
    let three = s.says("bot", "3");
    s.link.send(E::Entry(three.clone())).await;
    s.link.reply(fetch, fetched(vec![one, two, whisper, three])).await;
    s.clients[0].expect(&["onChat bot > *: 1", "onChat bot > *: 2", "onChat bot > *: 3"]).await;
    s.clients[1].expect(&["onChat bot > *: 3"]).await;
    s.silence().await;
}

#[tokio::test]
async fn repeated_events_reach_nobody_twice() {
    let mut s = Scene::start(&["ann"]).await;
    let (one, two) = (s.says("bot", "1"), s.says("bot", "2"));
    let come = presence("bob", true, 0);
    let go = presence("bob", false, 0);
    let (first, second) = (E::Entry(one), E::Entry(two));
    let twice = [
        first.clone(),
        first.clone(),
        come.clone(),
        come,
        second.clone(),
        first,
        go.clone(),
        go,
        second,
    ];
    s.link.send_all(twice).await;
    s.everybody_gets(&["onChat bot > *: 1", "onAdd bob", "onChat bot > *: 2", "onLeave bob"]).await;
    s.silence().await;
    // It is not even asked about.
    s.link.expect_nothing().await;
    assert_eq!(s.connector.metric("connector_holes_total"), 0.0);
    assert_eq!(s.connector.metric("connector_repeats_total"), 3.0);
}

#[tokio::test]
async fn what_a_superseded_owner_says_is_ignored() {
    let mut s = Scene::start(&["ann"]).await;
    let old = Some(pb::Fence { r#gen: 1, term: 0 });
    let entry = pb::Entry { fence: old, ..entry(2, "bot", "*", "late") };
    let late = pb::Presence {
        room: "r".into(),
        fence: old,
        user: "bob".into(),
        joined: true,
        session_id: 0,
    };
    s.link.send_all([E::Entry(entry), E::Presence(late)]).await;
    let next = s.says("bot", "in time");
    s.link.send(E::Entry(next)).await;
    s.everybody_gets(&["onChat bot > *: in time"]).await;
    s.silence().await;
    assert_eq!(s.connector.metric("connector_late_events_total"), 2.0);
}

#[tokio::test]
async fn what_cannot_be_fetched_takes_the_room_to_its_shard_again() {
    let mut s = Scene::start(&["ann"]).await;
    let (one, two) = (s.says("bot", "1"), s.says("bot", "2"));
    s.link.send(E::Entry(two.clone())).await;
    let (id, _) = s.link.fetch().await;
    let incomplete = pb::Fetched { epoch: EPOCH, entries: Vec::new(), complete: false };
    s.link.reply(id, R::Fetched(incomplete)).await;
    let (id, rejoin) = s.link.rejoin().await;
    assert_eq!(rejoin.mark, Some(at(1)));
    let rejoined = s.rejoined(&[one, two]);
    s.link.reply(id, R::Rejoined(rejoined)).await;
    s.everybody_gets(&["onChat bot > *: 1", "onChat bot > *: 2"]).await;
    s.silence().await;
    let rejoins = r#"connector_rejoins_total{result="complete",cause="differed"}"#;
    assert_eq!(s.connector.metric(rejoins), 1.0);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_found_with_its_message_and_goes_first() {
    let mut s = Scene::start(&["ann"]).await;
    s.clients[0].say("hi", "*").await;
    let (_, publish) = s.link.publish().await;
    let mine = pb::Entry { cmid: publish.cmid, ..s.says("ann", "hi") };
    let next = s.says("bot", "1");
    s.link.send(E::Entry(next.clone())).await;
    let (id, _) = s.link.fetch().await;
    s.link.reply(id, fetched(vec![mine, next])).await;
    s.everybody_gets(&["2 {}", "onChat ann > *: hi", "onChat bot > *: 1"]).await;
}

#[tokio::test]
async fn an_answer_between_two_rejoins_does_not_skip_what_is_missing() {
    let mut s = Scene::start(&["ann"]).await;
    let mut bob = s.connector.client().await;
    bob.enter("bob", "r").await;
    let (join, joining) = s.link.join().await;
    // The room goes to its shard again before bob is in.
    let (one, two) = (s.says("bot", "1"), s.says("bot", "2"));
    s.link.send(E::Entry(two.clone())).await;
    let (id, _) = s.link.fetch().await;
    let incomplete = pb::Fetched { epoch: EPOCH, entries: Vec::new(), complete: false };
    s.link.reply(id, R::Fetched(incomplete)).await;
    let (id, rejoin) = s.link.rejoin().await;
    let listed: Vec<(u64, bool)> =
        rejoin.members.iter().map(|m| (m.session_id, m.grant.is_some())).collect();
    assert_eq!(listed, [(s.ids[0], true), (joining.session_id, false)]);
    // The old answer comes first, with a place behind what ann is still to get.
    s.names.push("bob".into());
    s.ids.push(joining.session_id);
    s.link.send_all([s.joined(join), presence("bob", true, joining.session_id)]).await;
    s.link.reply(id, R::Rejoined(s.rejoined(&[one, two]))).await;
    let (again, _) = s.link.join().await;
    s.link.send(s.joined(again)).await;
    bob.expect(&[r#"1 {"users":["ann","bob"]}"#]).await;
    let mut lines =
        [s.clients[0].next().await, s.clients[0].next().await, s.clients[0].next().await];
    lines.sort();
    assert_eq!(lines, ["onAdd bob", "onChat bot > *: 1", "onChat bot > *: 2"]);
    s.link
        .send(E::Reply(pb::Reply { request_id: 0, room: "r".into(), result: Some(published(1)) }))
        .await;
    bob.expect_nothing().await;
    s.silence().await;
}
