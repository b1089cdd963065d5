//! Requests that nobody answers in time.

use rpc::chat::v1::{self as pb, RefusedReason, reply::Result as R};
use tokio::time::{Duration, Instant};

use crate::{
    connector::Connector,
    scene::{Options, Scene, presence, published},
};

const LATE: &str = r#"{"code":503,"error":"the room cannot be reached, try again"}"#;

fn hasty() -> Options<'static> {
    Options { args: &["--request-timeout=300ms"], ..Options::default() }
}

#[tokio::test]
async fn without_a_shard_every_request_is_answered_in_time() {
    let connector = Connector::start(&["--request-timeout=300ms"], &[]).await;
    let mut ann = connector.client().await;
    let started = Instant::now();
    ann.feed(wire::route::ENTER, r#"{"username":"ann","rid":"r"}"#).await;
    ann.say("hi", "*").await;
    ann.expect(&[&format!("1 {LATE}"), &format!("2 {LATE}")]).await;
    assert!(started.elapsed() < Duration::from_secs(2));
    // Nothing is left of it.
    let asked = ann.say("hi", "*").await;
    ann.expect(&[&format!(r#"{asked} {{"code":500}}"#)]).await;
    let mut connector = connector;
    assert_eq!(connector.metric("connector_rooms"), 0.0);
}

#[tokio::test]
async fn a_send_is_answered_once_however_late_its_shard_is() {
    let mut s = Scene::start_with(hasty(), &["ann"]).await;
    s.clients[0].say("hi", "*").await;
    let (id, _) = s.link.publish().await;
    s.clients[0].expect(&[&format!("2 {LATE}")]).await;
    s.link.reply(id, published(2)).await;
    let entry = s.says("ann", "hi");
    s.link.send(rpc::chat::v1::event::Event::Entry(entry)).await;
    s.clients[0].expect(&["onChat ann > *: hi"]).await;
    s.silence().await;
}

#[tokio::test]
async fn a_session_that_was_let_in_too_late_is_taken_out_again() {
    let mut s = Scene::start_with(hasty(), &["bob"]).await;
    let mut ann = s.connector.client().await;
    ann.enter("ann", "r").await;
    let (id, join) = s.link.join().await;
    ann.expect(&[&format!("1 {LATE}")]).await;
    s.names.push("ann".into());
    s.link.send_all([s.joined(id), presence("ann", true, join.session_id)]).await;
    let (id, leave) = s.link.leave().await;
    assert_eq!(leave.session_id, join.session_id);
    s.link.reply(id, R::Gone(pb::Gone {})).await;
    s.link.send(presence("ann", false, 0)).await;
    s.clients[0].expect(&["onAdd ann", "onLeave ann"]).await;
    ann.expect_nothing().await;
    s.names.pop();
    s.enter(ann, "ann").await;
}

#[tokio::test]
async fn a_late_answer_does_not_undo_a_second_attempt() {
    let mut s = Scene::start_with(hasty(), &["bob"]).await;
    let mut ann = s.connector.client().await;
    ann.enter("ann", "r").await;
    let (first, join) = s.link.join().await;
    ann.expect(&[&format!("1 {LATE}")]).await;
    ann.enter("ann", "r").await;
    let (second, again) = s.link.join().await;
    assert_eq!(again.session_id, join.session_id);
    s.names.push("ann".into());
    // In the order of the shard: let in, and then in already.
    s.link
        .send_all([s.joined(first), presence("ann", true, join.session_id), s.joined(second)])
        .await;
    ann.expect(&[r#"2 {"users":["bob","ann"]}"#]).await;
    s.clients[0].expect(&["onAdd ann"]).await;
    s.link.expect_nothing().await;
    ann.say("hi", "*").await;
    s.link.publish().await;
}

#[tokio::test]
async fn a_late_refusal_does_not_undo_a_second_attempt() {
    let mut s = Scene::start_with(hasty(), &["bob"]).await;
    let mut ann = s.connector.client().await;
    ann.enter("bob", "r").await;
    let (first, _) = s.link.join().await;
    ann.expect(&[&format!("1 {LATE}")]).await;
    ann.enter("ann", "r").await;
    let (second, join) = s.link.join().await;
    s.names.push("ann".into());
    s.link.send_all([s.joined(second), presence("ann", true, join.session_id)]).await;
    ann.expect(&[r#"2 {"users":["bob","ann"]}"#]).await;
    s.link.refuse(first, RefusedReason::NameTaken).await;
    s.clients[0].expect(&["onAdd ann"]).await;
    ann.expect_nothing().await;
    ann.say("hi", "*").await;
    s.link.publish().await;
}
