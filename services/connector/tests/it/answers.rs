//! What clients ask, and the bytes that they are answered.

use rpc::chat::v1::{
    self as pb, RefusedReason, command::Command as C, event::Event as E, reply::Result as R,
};

use crate::{
    client::{BROWSER, Client},
    scene::{Options, Scene, presence, published},
    shard::reply,
};

#[tokio::test]
async fn enter_send_and_leave() {
    let mut s = Scene::start(&["ann", "bob"]).await;
    let ann = &mut s.clients[0];
    ann.say("hi", "*").await;
    let (id, publish) = s.link.publish().await;
    let told = (
        publish.room.as_str(),
        publish.session_id,
        publish.target.as_str(),
        publish.content.as_str(),
    );
    assert_eq!(told, ("r", s.ids[0], "*", "hi"));
    assert_eq!(publish.cmid.len(), 16);
    let entry = s.says("ann", "hi");
    s.link.send_all([reply(id, published(s.head)), E::Entry(entry)]).await;
    s.clients[0].expect(&["2 {}", "onChat ann > *: hi"]).await;
    s.clients[1].expect(&["onChat ann > *: hi"]).await;

    let bob = s.clients.pop().unwrap();
    bob.close().await;
    let (id, leave) = s.link.leave().await;
    assert_eq!((leave.room.as_str(), leave.session_id), ("r", s.ids[1]));
    s.link.send_all([reply(id, R::Gone(pb::Gone {})), presence("bob", false, 0)]).await;
    s.clients[0].expect(&["onLeave bob"]).await;
    s.connector.until("connector_members", 1.0).await;
}

#[tokio::test]
async fn bytes_on_the_wire_are_the_originals() {
    let mut s = Scene::start(&[]).await;
    let mut ann = Client::connect_as(s.connector.addr, BROWSER).await;
    ann.enter("ann", "r").await;
    let (id, join) = s.link.join().await;
    s.names.push("ann".into());
    s.link.send_all([s.joined(id), presence("ann", true, join.session_id)]).await;
    let (_, body) = ann.package().await.unwrap();
    assert_eq!(&body[..], b"\x04\x01{\"users\":[\"ann\"]}");
    let entry = s.says("bob", "hi");
    s.link.send_all([E::Entry(entry), presence("bob", true, 0), presence("bob", false, 0)]).await;
    let mut next = async || ann.package().await.unwrap().1;
    assert_eq!(&next().await[..], b"\x06\x06onChat\x0a\x02hi\x12\x03bob\x1a\x01*");
    assert_eq!(&next().await[..], b"\x06\x05onAdd{\"route\":\"onAdd\",\"user\":\"bob\"}");
    assert_eq!(&next().await[..], b"\x06\x07onLeave{\"route\":\"onLeave\",\"user\":\"bob\"}");
}

#[tokio::test]
async fn an_enter_and_ten_sends_at_once_are_answered_in_order() {
    let mut s = Scene::start(&[]).await;
    let mut ann = s.connector.client().await;
    ann.feed(wire::route::ENTER, r#"{"username":"ann","rid":"r"}"#).await;
    for n in 0..9 {
        ann.feed(wire::route::SEND, &format!(r#"{{"content":"m{n}","target":"*"}}"#)).await;
    }
    ann.say("m9", "*").await;
    let (id, join) = s.link.join().await;
    s.names.push("ann".into());
    s.link.send_all([s.joined(id), presence("ann", true, join.session_id)]).await;
    ann.expect(&[r#"1 {"users":["ann"]}"#]).await;
    for n in 0..10 {
        let (id, publish) = s.link.publish().await;
        assert_eq!(publish.content, format!("m{n}"));
        let entry = s.says("ann", &publish.content);
        s.link.send_all([reply(id, published(s.head)), E::Entry(entry)]).await;
    }
    for n in 0..10 {
        ann.expect(&[&format!("{} {{}}", n + 2), &format!("onChat ann > *: m{n}")]).await;
    }
}

#[tokio::test]
async fn every_refusal_has_an_answer() {
    let mut s = Scene::start(&["ann"]).await;
    let busy = r#"{"code":503,"error":"the room cannot be served now, try again"}"#;
    for (reason, answer) in [
        (RefusedReason::NameTaken, r#"{"code":500,"error":true}"#),
        (RefusedReason::RoomFull, r#"{"code":503,"error":"the room is full"}"#),
        (RefusedReason::NotAMember, r#"{"code":500}"#),
        (RefusedReason::NoSuchTarget, r#"{"code":500}"#),
        (
            RefusedReason::CmidConflict,
            r#"{"code":409,"error":"the cmid was used for something else"}"#,
        ),
        (RefusedReason::ContentLength, r#"{"code":413,"error":"content: too long"}"#),
        (RefusedReason::Unavailable, busy),
        (RefusedReason::Overloaded, busy),
        (RefusedReason::Unspecified, busy),
    ] {
        let asked = s.clients[0].say("hi", "bob").await;
        let (id, _) = s.link.publish().await;
        s.link.refuse(id, reason).await;
        s.clients[0].expect(&[&format!("{asked} {answer}")]).await;
    }
    // A reason of a later version.
    let asked = s.clients[0].say("hi", "*").await;
    let (id, _) = s.link.publish().await;
    let later = pb::Refused { reason: 99, ..Default::default() };
    s.link.reply(id, R::Refused(later)).await;
    s.clients[0].expect(&[&format!("{asked} {busy}")]).await;
}

#[tokio::test]
async fn whoever_was_not_let_in_may_try_again() {
    let mut s = Scene::start(&["bob"]).await;
    let mut ann = s.connector.client().await;
    let full = r#"{"code":503,"error":"the room is full"}"#;
    let taken = r#"{"code":500,"error":true}"#;
    let busy = r#"{"code":503,"error":"the room cannot be served now, try again"}"#;
    for (n, (reason, answer)) in [
        (RefusedReason::NameTaken, taken),
        (RefusedReason::RoomFull, full),
        (RefusedReason::Unavailable, busy),
        (RefusedReason::Overloaded, busy),
    ]
    .into_iter()
    .enumerate()
    {
        ann.enter("ann", "r").await;
        let (id, _) = s.link.join().await;
        s.link.refuse(id, reason).await;
        ann.expect(&[&format!("{} {answer}", n + 1)]).await;
    }
    s.enter(ann, "ann5").await;
}

#[tokio::test]
async fn a_room_that_cannot_be_served_yet_is_asked_again() {
    let mut s = Scene::start(&[]).await;
    let mut ann = s.connector.client().await;
    ann.enter("ann", "r").await;
    for _ in 0..3 {
        let (id, _) = s.link.join().await;
        s.link.refuse(id, RefusedReason::Unavailable).await;
    }
    let (id, join) = s.link.join().await;
    s.names.push("ann".into());
    s.link.send_all([s.joined(id), presence("ann", true, join.session_id)]).await;
    ann.expect(&[r#"1 {"users":["ann"]}"#]).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_without_a_shard() {
    let s =
        Scene::start_with(Options { args: &["--content-max=8"], ..Options::default() }, &[]).await;
    let mut ann = s.connector.client().await;
    let enter = wire::route::ENTER;
    let long = "x".repeat(65);
    for (body, answer) in [
        ("{}".to_owned(), r#"{"code":400,"error":"username: is missing"}"#),
        (r#"{"username":"ann"}"#.into(), r#"{"code":400,"error":"rid: is missing"}"#),
        (r#"{"username":7,"rid":"r"}"#.into(), r#"{"code":400,"error":"username: must be text"}"#),
        (r#"{"username":"ann","rid":null}"#.into(), r#"{"code":400,"error":"rid: must be text"}"#),
        (r#"["ann","r"]"#.into(), r#"{"code":400,"error":"username: is missing"}"#),
        ("not json".into(), r#"{"code":400,"error":"username: is missing"}"#),
        (
            r#"{"username":"","rid":"r"}"#.into(),
            r#"{"code":400,"error":"username: must have 1 to 64 bytes, not 0"}"#,
        ),
        (
            r#"{"username":"a*b","rid":"r"}"#.into(),
            r#"{"code":400,"error":"username: must not contain \\u{2a}"}"#,
        ),
        (
            r#"{"username":"a","rid":"a\u0000b"}"#.into(),
            r#"{"code":400,"error":"rid: must not contain \\u{0}"}"#,
        ),
        (
            r#"{"username":" ","rid":"r"}"#.into(),
            r#"{"code":400,"error":"username: must not be blank"}"#,
        ),
        (
            format!(r#"{{"username":"{long}","rid":"r"}}"#),
            r#"{"code":400,"error":"username: must have 1 to 64 bytes, not 65"}"#,
        ),
    ] {
        let asked = ann.ask(enter, &body).await;
        ann.expect(&[&format!("{asked} {answer}")]).await;
    }
    let asked = ann.say("hi", "*").await;
    ann.expect(&[&format!(r#"{asked} {{"code":500}}"#)]).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_message_is_said_without_a_shard() {
    let options = Options { args: &["--content-max=8"], ..Options::default() };
    let mut s = Scene::start_with(options, &["ann"]).await;
    let ann = &mut s.clients[0];
    for (body, answer) in [
        (r#"{"target":"*"}"#, r#"{"code":400,"error":"content: is missing"}"#),
        (r#"{"content":"x"}"#, r#"{"code":400,"error":"target: is missing"}"#),
        (r#"{"content":7,"target":"*"}"#, r#"{"code":400,"error":"content: must be text"}"#),
        (r#"{"content":"x","target":["*"]}"#, r#"{"code":400,"error":"target: must be text"}"#),
        (r#"{"content":"","target":"*"}"#, r#"{"code":400,"error":"content: must not be empty"}"#),
        (
            r#"{"content":"123456789","target":"*"}"#,
            r#"{"code":413,"error":"content: must have at most 8 bytes, not 9"}"#,
        ),
        // Nobody can have such a name.
        (r#"{"content":"x","target":"a*b"}"#, r#"{"code":500}"#),
        (r#"{"content":"x","target":""}"#, r#"{"code":500}"#),
    ] {
        let asked = ann.ask(wire::route::SEND, body).await;
        ann.expect(&[&format!("{asked} {answer}")]).await;
    }
    let asked = ann.enter("ann", "other").await;
    ann.expect(&[&format!(r#"{asked} {{"code":500,"error":true}}"#)]).await;
    s.link.expect_nothing().await;
}

#[tokio::test]
async fn the_route_in_the_body_of_a_message_is_given_back() {
    let options = Options { args: &["--content-max=26"], ..Options::default() };
    let mut s = Scene::start_with(options, &["ann"]).await;
    for (route, answer) in
        [("\"x😀\"", r#"{"route":"x\ud83d\ude00"}"#), ("null", r#"{"route":null}"#)]
    {
        let body = format!(r#"{{"content":"hi","target":"*","route":{route}}}"#);
        let asked = s.clients[0].ask(wire::route::SEND, &body).await;
        let (id, _) = s.link.publish().await;
        s.link.reply(id, published(s.head)).await;
        s.clients[0].expect(&[&format!("{asked} {answer}")]).await;
    }
    let body = r#"{"content":"hi","target":"*","route":"a long one!!!!!"}"#;
    let asked = s.clients[0].ask(wire::route::SEND, body).await;
    let refused = r#"{"code":413,"error":"route: must have at most 26 bytes, not 27"}"#;
    s.clients[0].expect(&[&format!("{asked} {refused}")]).await;
    s.link.expect_nothing().await;
}

#[tokio::test]
async fn a_notify_is_carried_out_and_not_answered() {
    let mut s = Scene::start(&["ann"]).await;
    s.clients[0].notify(wire::route::SEND, r#"{"content":"hi","target":"*"}"#).await;
    let (id, publish) = s.link.publish().await;
    assert_eq!(publish.content, "hi");
    let entry = s.says("ann", "hi");
    s.link.send_all([reply(id, published(s.head)), E::Entry(entry)]).await;
    s.clients[0].expect(&["onChat ann > *: hi"]).await;
    // Nor is one that is refused.
    s.clients[0].notify(wire::route::SEND, "{}").await;
    s.silence().await;
}

#[tokio::test]
async fn a_refused_enter_takes_what_was_said_behind_it_along() {
    let mut s = Scene::start(&["bob"]).await;
    let mut ann = s.connector.client().await;
    ann.feed(wire::route::ENTER, r#"{"username":"bob","rid":"r"}"#).await;
    ann.say("hi", "*").await;
    let (join, _) = s.link.join().await;
    s.link.refuse(join, RefusedReason::NameTaken).await;
    let (publish, _) = s.link.publish().await;
    s.link.refuse(publish, RefusedReason::NotAMember).await;
    ann.expect(&[r#"1 {"code":500,"error":true}"#, r#"2 {"code":500}"#]).await;
}

#[tokio::test]
async fn too_many_unanswered_requests_are_refused() {
    let options = Options { args: &["--session-requests-max=3"], ..Options::default() };
    let mut s = Scene::start_with(options, &["ann"]).await;
    for n in 0..3 {
        s.clients[0].say(&format!("m{n}"), "*").await;
    }
    let asked = s.clients[0].say("m3", "*").await;
    let refused = format!(r#"{asked} {{"code":429,"error":"too many requests wait"}}"#);
    s.clients[0].expect(&[&refused]).await;
    for n in 0..3 {
        let (id, _) = s.link.publish().await;
        s.link.reply(id, published(n + 2)).await;
    }
    s.clients[0].expect(&["2 {}", "3 {}", "4 {}"]).await;
    // There is room again.
    s.clients[0].say("m4", "*").await;
    assert!(matches!(s.link.next().await.1, C::Publish(publish) if publish.content == "m4"));
}
