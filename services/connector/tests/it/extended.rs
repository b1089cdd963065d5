//! What extended sessions are told beside what plain ones are.

use rpc::chat::v1::{self as pb, RefusedReason, event::Event as E, reply::Result as R};

use crate::{
    client::{BROWSER, CLASSIC, Client, PITAYA},
    scene::{Scene, presence, published},
    shard::reply,
};

/// The push of the `seq`th entry of a [`Scene`], to an extended session.
pub(crate) fn chat(seq: u64, from: &str, target: &str, msg: &str) -> String {
    format!(
        r#"onChat {{"msg":"{msg}","from":"{from}","target":"{target}","seq":{seq},"epoch":"0000000000000007","at":1,"cmid":"cmid-{seq}"}}"#
    )
}

#[tokio::test]
async fn each_push_tells_extended_sessions_where_it_is_and_others_what_it_did() {
    let mut s = Scene::start(&[]).await;
    for (name, greeting) in [("ann", CLASSIC), ("bob", BROWSER), ("cat", PITAYA)] {
        let client = Client::connect_as(s.connector.addr, greeting).await;
        s.enter(client, name).await;
    }
    let (join, answer) = s.enter_extended("dan", "").await;
    assert_eq!(join.resume, None);
    let place =
        r#""users":["ann","bob","cat","dan"],"position":{"epoch":"0000000000000007","seq":1}"#;
    assert!(answer.starts_with(&format!(r#"1 {{"code":200,{place}"#)), "{answer}");
    let (loud, whisper) = (s.says("bot", "é😀"), s.whispers("bot", "dan", "psst"));
    let come = presence("eve", true, 0);
    s.link.send_all([E::Entry(loud), E::Entry(whisper), come, presence("eve", false, 0)]).await;
    let plain = ["onChat bot > *: é😀", "onAdd eve", "onLeave eve"];
    for client in [0, 2] {
        s.clients[client].expect(&plain).await;
    }
    let (_, body) = s.clients[1].package().await.unwrap();
    assert_eq!(
        &body[..],
        b"\x06\x06onChat\x0a\x08\xc3\xa9\xed\xa0\xbd\xed\xb8\x80\x12\x03bot\x1a\x01*"
    );
    let loud = chat(2, "bot", "*", r"é\ud83d\ude00");
    let extended = [
        &loud,
        &chat(3, "bot", "dan", "psst"),
        r#"onAdd {"route":"onAdd","user":"eve"}"#,
        r#"onLeave {"route":"onLeave","user":"eve"}"#,
    ];
    s.clients[3].expect(&extended.map(|line: &str| line)).await;
}

#[tokio::test]
async fn an_answer_says_where_the_message_is_before_its_push_does() {
    let mut s = Scene::start(&["bob"]).await;
    s.enter_extended("ann", "").await;
    let body = r#"{"content":"hi","target":"*","cmid":"é\u0000","route":"x"}"#;
    let asked = s.clients[1].ask(wire::route::SEND, body).await;
    let (id, publish) = s.link.publish().await;
    assert_eq!(&publish.cmid[..], "é\0".as_bytes());
    let entry = pb::Entry { cmid: publish.cmid, ..s.says("ann", "hi") };
    s.link.send_all([reply(id, published(2)), E::Entry(entry)]).await;
    let at = r#""epoch":"0000000000000007","seq":2,"at":1,"cmid":"é\u0000""#;
    let chat = r#"onChat {"msg":"hi","from":"ann","target":"*","seq":2,"epoch":"0000000000000007","at":1,"cmid":"é\u0000"}"#;
    s.clients[1].expect(&[&format!(r#"{asked} {{"code":200,{at}}}"#), chat]).await;
    s.clients[0].expect(&["onChat ann > *: hi"]).await;
    // A plain session's cmid is nothing to it.
    let asked = s.clients[0].ask(wire::route::SEND, body).await;
    let (id, publish) = s.link.publish().await;
    assert_eq!((publish.cmid.len(), publish.cmid[0]), (16, 0xff));
    s.link.reply(id, published(3)).await;
    s.clients[0].expect(&[&format!(r#"{asked} {{"route":"x"}}"#)]).await;
}

#[tokio::test]
async fn who_chooses_no_message_id_is_told_the_one_that_was_made() {
    let mut s = Scene::start(&[]).await;
    s.enter_extended("ann", "").await;
    for seq in 2..4 {
        s.clients[0].say("hi", "*").await;
        let (id, publish) = s.link.publish().await;
        let cmid = String::from_utf8(publish.cmid.to_vec()).unwrap();
        assert_eq!((cmid.len(), &cmid[..2]), (32, "ff"));
        let entry = pb::Entry { cmid: publish.cmid, ..s.says("ann", "hi") };
        s.link.send_all([reply(id, published(seq)), E::Entry(entry)]).await;
        let tail = format!(r#""cmid":"{cmid}"}}"#);
        for _ in 0..2 {
            let line = s.clients[0].next().await;
            assert!(line.ends_with(&tail), "{line}");
        }
    }
}

#[tokio::test]
async fn message_ids_of_plain_sessions_are_told_in_hex() {
    let mut s = Scene::start(&["bob"]).await;
    s.enter_extended("ann", "").await;
    s.clients[0].say("hi", "*").await;
    let (_, publish) = s.link.publish().await;
    let hex = wire::to_hex(&publish.cmid);
    let entry = pb::Entry { cmid: publish.cmid, ..s.says("bob", "hi") };
    s.link.send(E::Entry(entry)).await;
    let line = s.clients[1].next().await;
    assert!(line.ends_with(&format!(r#""cmid":"{hex}"}}"#)), "{line}");
}

#[tokio::test]
async fn a_message_id_is_a_short_text() {
    let mut s = Scene::start(&[]).await;
    s.enter_extended("ann", "").await;
    for (cmid, error) in [
        ("7", "must be text"),
        ("null", "must be text"),
        (r#""""#, "must have 1 to 64 bytes, not 0"),
        (&format!(r#""{}""#, "é".repeat(33)), "must have 1 to 64 bytes, not 66"),
    ] {
        let body = format!(r#"{{"content":"hi","target":"*","cmid":{cmid}}}"#);
        let asked = s.clients[0].ask(wire::route::SEND, &body).await;
        let answer = format!(r#"{asked} {{"code":400,"error":"cmid: {error}"}}"#);
        s.clients[0].expect(&[&answer]).await;
    }
    let longest = "é".repeat(32);
    let body = format!(r#"{{"content":"hi","target":"*","cmid":"{longest}"}}"#);
    let asked = s.clients[0].ask(wire::route::SEND, &body).await;
    let (id, publish) = s.link.publish().await;
    assert_eq!(&publish.cmid[..], longest.as_bytes());
    s.link.refuse(id, RefusedReason::CmidConflict).await;
    let conflict = r#"{"code":409,"error":"the cmid was used for something else"}"#;
    s.clients[0].expect(&[&format!("{asked} {conflict}")]).await;
}

#[tokio::test]
async fn an_answer_that_was_lost_goes_before_its_message_if_both_are_the_same_ones() {
    let mut s = Scene::start(&[]).await;
    let (join, _) = s.enter_extended("ann", "").await;
    let mut ids = Vec::new();
    for (content, cmid) in [("bad day", "a"), ("second", "b"), ("third", "c"), ("fourth", "d")] {
        let body = format!(r#"{{"content":"{content}","target":"*","cmid":"{cmid}"}}"#);
        s.clients[0].ask(wire::route::SEND, &body).await;
        ids.push(s.link.publish().await.0);
    }
    let stored = |entry: pb::Entry, cmid: &str| pb::Entry {
        cmid: cmid.to_owned().into_bytes().into(),
        author_identity: join.identity.clone(),
        ..entry
    };
    // Masked, somebody else's, another content, and taken away.
    let masked = stored(s.says("ann", "*** day"), "a");
    let other =
        pb::Entry { author_identity: vec![1; 16].into(), ..stored(s.says("ann", "second"), "b") };
    let conflict = stored(s.says("ann", "thurd"), "c");
    let redacted = pb::Entry { redacted: true, ..stored(s.says("ann", ""), "d") };
    let next = s.says("bot", "5");
    s.link.send(E::Entry(next.clone())).await;
    let (id, _) = s.link.fetch().await;
    let entries = vec![masked, other, conflict, redacted, next];
    let fetched = pb::Fetched { epoch: crate::scene::EPOCH, entries, complete: true };
    s.link.reply(id, R::Fetched(fetched)).await;
    let mut seen = Vec::new();
    for _ in 0..7 {
        let line = s.clients[0].next().await;
        let (what, body) = line.split_once(' ').unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let is_redacted = if body["redacted"] == true { "r" } else { "" };
        seen.push(format!("{what} {}{is_redacted}", body["seq"]));
    }
    let expected = ["2 2", "onChat 2", "onChat 3", "onChat 4", "5 5", "onChat 5r", "onChat 6"];
    assert_eq!(seen, expected);
    // The other two are answered by their shard.
    s.link.refuse(ids[2], RefusedReason::CmidConflict).await;
    let line = s.clients[0].next().await;
    assert!(line.starts_with(r#"4 {"code":409"#), "{line}");
}

#[tokio::test]
async fn plain_sessions_are_shown_nothing_of_what_was_taken_away() {
    let mut s = Scene::start(&["bob"]).await;
    s.enter_extended("ann", "").await;
    let gone = pb::Entry { redacted: true, ..s.says("bot", "") };
    let next = s.says("bot", "hi");
    s.link.send_all([E::Entry(gone), E::Entry(next)]).await;
    s.clients[0].expect(&["onChat bot > *: hi"]).await;
    let line = s.clients[1].next().await;
    assert!(line.contains(r#""msg":"","#) && line.ends_with(r#""redacted":true}"#), "{line}");
}

#[tokio::test]
async fn routes_of_extended_sessions_are_none_to_others() {
    let mut s = Scene::start(&["ann"]).await;
    let mut bob = Client::connect_as(s.connector.addr, PITAYA).await;
    for route in [wire::route::HISTORY, wire::route::LEAVE, wire::route::ROOMS] {
        for client in [&mut s.clients[0], &mut bob] {
            let asked = client.ask(route, "{}").await;
            client.expect(&[&format!(r#"{asked} {{"code":500}}"#)]).await;
        }
    }
    s.link.expect_nothing().await;
}
