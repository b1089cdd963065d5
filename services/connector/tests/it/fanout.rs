//! What reaches whom, and in how many writes.

use rpc::chat::v1::{self as pb, event::Event as E};

use crate::{
    client::{BROWSER, CLASSIC, Client, PITAYA},
    scene::{Scene, presence, published},
    shard::reply,
};

#[tokio::test]
async fn a_batch_of_32_reaches_every_session_in_one_write() {
    let mut s = Scene::start(&["ann", "bob", "cat"]).await;
    let writes = s.connector.metric("connector_writes_total");
    let batch: Vec<E> = (0..32).map(|n| E::Entry(s.says("bot", &format!("m{n}")))).collect();
    s.link.send_all(batch).await;
    let lines: Vec<String> = (0..32).map(|n| format!("onChat bot > *: m{n}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    s.everybody_gets(&lines).await;
    assert_eq!(s.connector.metric("connector_writes_total") - writes, 3.0);
    assert_eq!(s.connector.metric("connector_deliveries_total"), 96.0 + 3.0);
}

#[tokio::test]
async fn an_answer_and_its_push_are_one_write_in_this_order() {
    let mut s = Scene::start(&["ann", "bob"]).await;
    s.clients[0].say("hi", "*").await;
    let (id, _) = s.link.publish().await;
    let writes = s.connector.metric("connector_writes_total");
    let (before, mine, after) = (s.says("bob", "one"), s.says("ann", "hi"), s.says("bob", "two"));
    s.link
        .send_all([E::Entry(before), reply(id, published(3)), E::Entry(mine), E::Entry(after)])
        .await;
    let lines = ["onChat bob > *: one", "onChat ann > *: hi", "onChat bob > *: two"];
    s.clients[0].expect(&[lines[0], "2 {}", lines[1], lines[2]]).await;
    s.clients[1].expect(&lines).await;
    assert_eq!(s.connector.metric("connector_writes_total") - writes, 2.0);
}

#[tokio::test]
async fn who_comes_is_told_nothing_of_itself_nor_of_what_was_before() {
    let mut s = Scene::start(&["ann"]).await;
    let mut bob = s.connector.client().await;
    bob.enter("bob", "r").await;
    let (id, join) = s.link.join().await;
    let before = s.says("ann", "before");
    s.names.push("bob".into());
    let joined = s.joined(id);
    let after = s.says("ann", "after");
    let came = presence("bob", true, join.session_id);
    s.link.send_all([E::Entry(before), joined, came, E::Entry(after)]).await;
    let users = r#"1 {"users":["ann","bob"]}"#;
    bob.expect(&[users, "onChat ann > *: after"]).await;
    s.clients[0].expect(&["onChat ann > *: before", "onAdd bob", "onChat ann > *: after"]).await;
    bob.expect_nothing().await;
}

#[tokio::test]
async fn whispers_reach_their_target_only() {
    let mut s = Scene::start(&["ann", "bob", "cat"]).await;
    let asked = s.clients[0].say("psst", "bob").await;
    let (id, publish) = s.link.publish().await;
    assert_eq!(publish.target, "bob");
    let whisper = s.whispers("ann", "bob", "psst");
    // To a name that has gone, or is elsewhere.
    let lost = s.whispers("ann", "dan", "psst");
    let loud = s.says("ann", "hi");
    s.link
        .send_all([reply(id, published(2)), E::Entry(whisper), E::Entry(lost), E::Entry(loud)])
        .await;
    s.clients[0].expect(&[&format!("{asked} {{}}"), "onChat ann > *: hi"]).await;
    s.clients[1].expect(&["onChat ann > bob: psst", "onChat ann > *: hi"]).await;
    s.clients[2].expect(&["onChat ann > *: hi"]).await;
    s.silence().await;
}

#[tokio::test]
async fn each_client_gets_characters_in_the_form_that_it_reads() {
    let mut s = Scene::start(&[]).await;
    for (name, greeting) in [("ann", CLASSIC), ("bob", BROWSER), ("cat", PITAYA)] {
        let client = Client::connect_as(s.connector.addr, greeting).await;
        s.enter(client, name).await;
    }
    let (plain, astral) = (s.says("bot", "héé"), s.says("bot", "😀"));
    s.link.send_all([E::Entry(plain), E::Entry(astral)]).await;
    let head = b"\x06\x06onChat\x0a";
    let tail = b"\x12\x03bot\x1a\x01*";
    for (client, text) in [(0, &b"\x04\xf0\x9f\x98\x80"[..]), (1, b"\x06\xed\xa0\xbd\xed\xb8\x80")]
    {
        let (_, body) = s.clients[client].package().await.unwrap();
        assert_eq!(&body[..], [&head[..], b"\x05h\xc3\xa9\xc3\xa9", tail].concat());
        let (_, body) = s.clients[client].package().await.unwrap();
        assert_eq!(&body[..], [head, text, tail].concat());
    }
    s.clients[2].expect(&["onChat bot > *: héé", "onChat bot > *: 😀"]).await;
}

#[tokio::test]
async fn a_closed_session_is_kicked_after_what_was_said_before() {
    let mut s = Scene::start(&["ann", "bob"]).await;
    let (before, after) = (s.says("bob", "before"), s.says("bob", "after"));
    let close = E::CloseSession(pb::CloseSession {
        room: "r".into(),
        session_id: s.ids[0],
        reason: "logged in elsewhere".into(),
    });
    let gone = presence("ann", false, 0);
    s.link.send_all([E::Entry(before), close, gone, E::Entry(after)]).await;
    let kick = r#"kick {"reason":"logged in elsewhere"}"#;
    s.clients[0].expect(&["onChat bob > *: before", kick, "closed"]).await;
    s.clients[1].expect(&["onChat bob > *: before", "onLeave ann", "onChat bob > *: after"]).await;
    // The shard knows already.
    s.link.expect_nothing().await;
    s.connector.until("connector_members", 1.0).await;
}

#[tokio::test]
async fn rooms_do_not_hear_of_each_other() {
    let mut s = Scene::start(&["ann"]).await;
    let mut bob = s.connector.client().await;
    bob.enter("bob", "other").await;
    let (id, join) = s.link.join().await;
    assert_eq!(join.room, "other");
    let elsewhere = s.joined(id);
    let E::Reply(reply) = elsewhere else { unreachable!() };
    s.link.send(E::Reply(pb::Reply { room: "other".into(), ..reply })).await;
    bob.next().await;
    let here = s.says("ann", "here");
    let there = pb::Entry { room: "other".into(), ..crate::scene::entry(2, "bob", "*", "there") };
    s.link.send_all([E::Entry(here), E::Entry(there)]).await;
    s.clients[0].expect(&["onChat ann > *: here"]).await;
    bob.expect(&["onChat bob > *: there"]).await;
    bob.expect_nothing().await;
    s.silence().await;
}
