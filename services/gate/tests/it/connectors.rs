//! Who is named, and who is not.

use std::time::Duration;

use rpc::gate::v1::{Connector, ConnectorState};
use tokio::time::Instant;

use crate::{Gate, fake::Fake, file, reason};

#[tokio::test]
async fn the_choice_is_the_originals_over_the_connectors_by_id() {
    // Listed in another order than that of their ids.
    let (c, a, b) = (Fake::start("c").await, Fake::start("a").await, Fake::start("b").await);
    let gate = Gate::listing([c.addr, a.addr, b.addr]).await;
    gate.until("a:Ready b:Ready c:Ready").await;
    for (uid, host) in [
        ("alice", "c.test"),
        ("bob", "c.test"),
        ("eve", "b.test"),
        ("a", "b.test"),
        ("张三", "b.test"),
        ("José😀", "a.test"),
    ] {
        let entry = gate.query(uid).await.unwrap();
        assert_eq!((entry.host.as_str(), entry.port), (host, 3050), "{uid}");
    }
}

#[tokio::test]
async fn a_silent_connector_is_not_named_after_a_second() {
    let (a, b) = (Fake::start("a").await, Fake::start("b").await);
    let gate = Gate::listing([a.addr, b.addr]).await;
    gate.until("a:Ready b:Ready").await;
    let before = gate.query("alice").await.unwrap();
    assert_eq!(before.host, "b.test");

    b.hush();
    let silent_at = Instant::now();
    let gone_at = loop {
        let named = gate.query("alice").await.unwrap().host;
        if named != "b.test" {
            break Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    // Its last word was at most half a second before it fell silent.
    let after = gone_at - silent_at;
    assert!(after >= Duration::from_millis(450), "not named after {after:?}");
    assert!(after <= Duration::from_millis(1300), "not named after {after:?}");
    gate.until("a:Ready b:Down").await;
}

#[tokio::test]
async fn a_draining_connector_is_not_named_at_all() {
    let (a, b) = (Fake::start("a").await, Fake::start("b").await);
    let gate = Gate::listing([a.addr, b.addr]).await;
    gate.until("a:Ready b:Ready").await;

    b.say(|says| says.draining = true);
    gate.until("a:Ready b:Draining").await;
    assert_eq!(gate.query("alice").await.unwrap().host, "a.test");
    a.say(|says| says.draining = true);
    gate.until("a:Draining b:Draining").await;
    let refused = gate.query("alice").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    assert_eq!(reason(&refused), "NO_CONNECTOR");
}

#[tokio::test]
async fn a_connector_that_died_leaves_and_comes_back() {
    let mut a = Fake::start("a").await;
    let gate = Gate::listing([a.addr]).await;
    gate.until("a:Ready").await;

    a.kill();
    gate.until("a:Down").await;
    assert_eq!(gate.query("alice").await.unwrap_err().code(), tonic::Code::Unavailable);

    // Another process at the same address, under another name.
    let _again = Fake::start_on(a.addr, "again").await;
    gate.until("again:Ready").await;
    assert_eq!(gate.query("alice").await.unwrap().host, "again.test");
}

#[tokio::test]
async fn a_stream_that_hangs_is_opened_again() {
    let a = Fake::start("a").await;
    let gate = Gate::listing([a.addr]).await;
    gate.until("a:Ready").await;
    a.hush();
    gate.until("a:Down").await;
    a.stream(2).await;
    a.say_again("a");
    gate.until("a:Ready").await;
}

#[tokio::test]
async fn a_connector_that_announces_nonsense_is_never_named() {
    let a = Fake::start("a").await;
    a.say(|says| says.port = 0);
    let gate = Gate::listing([a.addr]).await;
    // It was heard, refused, and asked again.
    a.stream(2).await;
    gate.until(&format!("{}:Down", a.addr)).await;
    a.say(|says| says.port = 1);
    gate.until("a:Ready").await;
}

#[tokio::test]
async fn connectors_are_listed_whatever_their_state() {
    let a = Fake::start("a").await;
    let gate = Gate::start(&[&format!("--connectors=zed=127.0.0.1:1,{}", a.addr)]).await;
    gate.until("a:Ready zed:Down").await;
    let ready = Connector {
        id: "a".into(),
        grpc_addr: a.addr.to_string(),
        host: "a.test".into(),
        port: 3050,
        state: ConnectorState::Ready.into(),
        sessions: 7,
        sessions_max: 1000,
    };
    let down = Connector {
        id: "zed".into(),
        grpc_addr: "127.0.0.1:1".into(),
        state: ConnectorState::Down.into(),
        ..Connector::default()
    };
    assert_eq!(gate.connectors().await, [ready, down]);
}

#[tokio::test]
async fn a_list_in_a_file_is_followed() {
    let (a, b) = (Fake::start("a").await, Fake::start("b").await);
    let path = file("connectors", &format!("{}\n", a.addr));
    let gate = Gate::start(&[&format!("--connectors=@{}", path.display())]).await;
    gate.until("a:Ready").await;
    file("connectors", &format!("{}\n{} # new\n", a.addr, b.addr));
    gate.until("a:Ready b:Ready").await;
    file("connectors", &format!("{}\n", b.addr));
    gate.until("b:Ready").await;
}
