//! Clients are sent to other connectors.

use std::time::{Duration, Instant};

use rpc::{
    chat::v1::{self as pb, command::Command as C, event::Event as E, reply::Result as R},
    connector::v1::{AnnounceRequest, DrainRequest, DrainResponse},
};
use tokio::net::TcpStream;
use tonic::Code;

use crate::{
    client::{CLASSIC, Client, EXTENDED},
    connector::Connector,
    scene::{Options, Scene, published},
    shard::{Link, reply},
    soon,
};

const KICK: &str = r#"kick {"reason":"draining: ask the gate for another connector"}"#;

async fn scene(args: &[&str], names: &[&str]) -> Scene {
    Scene::start_with(Options { args, ..Options::default() }, names).await
}

/// Has the process stop, as a signal does.
fn stop(connector: &Connector) {
    let stopper = connector.app.stopper();
    tokio::spawn(async move { stopper.stop(Duration::ZERO).await });
}

async fn drain(
    connector: &Connector,
    time_ms: Option<u64>,
) -> Result<DrainResponse, tonic::Status> {
    let answer = connector.grpc.clone().drain(DrainRequest { time_ms }).await;
    answer.map(tonic::Response::into_inner)
}

/// Takes the next command, which says that a session is sent away, and agrees.
async fn see_off(link: &mut Link) -> u64 {
    let (id, C::Leave(leave)) = link.next().await else { panic!("nobody leaves") };
    assert!(leave.comes_back);
    link.send(reply(id, R::Gone(pb::Gone {}))).await;
    leave.session_id
}

/// A client is told to come back. Returns after how many milliseconds.
async fn told_to_come_back(client: &mut Client) -> u64 {
    let line = client.next().await;
    let body = line.strip_prefix("onReconnect ").unwrap_or_else(|| panic!("{line}"));
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["place"], "gate");
    let delay = body["delay"].as_u64().unwrap();
    assert_eq!(client.next().await, "closed");
    delay
}

#[tokio::test]
async fn a_signal_sends_all_away_and_then_the_process_ends() {
    let mut s = scene(&["--drain-time=300ms"], &["ann"]).await;
    s.enter_extended("bob", "").await;
    stop(&s.connector);
    let (ann, bob) = s.clients.split_at_mut(1);
    let ends =
        async { tokio::join!(ann[0].expect(&[KICK, "closed"]), told_to_come_back(&mut bob[0])) };
    let gone = async { [see_off(&mut s.link).await, see_off(&mut s.link).await] };
    let (((), delay), mut gone) = tokio::join!(ends, gone);
    assert!(delay <= 5_000, "{delay}");
    gone.sort_unstable();
    assert_eq!(gone[..], s.ids[..]);
    soon("the end", &mut s.connector.served).await.unwrap().unwrap();
    for (reason, kind) in [("draining", "plain"), ("sent_away", "extended")] {
        let closes = format!(r#"connector_closes_total{{reason="{reason}"}}"#);
        assert_eq!(s.connector.metric(&closes), 1.0);
        let drained = format!(r#"connector_drained_sessions_total{{kind="{kind}"}}"#);
        assert_eq!(s.connector.metric(&drained), 1.0);
    }
    assert_eq!(s.connector.metric("connector_draining"), 1.0);
    assert!(s.connector.metric("connector_drain_seconds") > 0.0);
}

#[tokio::test]
async fn who_waits_for_an_answer_gets_it_before_it_has_to_go() {
    let mut s = scene(&["--drain-time=100ms", "--sends-per-second=0"], &["ann", "bob"]).await;
    let asked = s.clients[0].say("hi", "*").await;
    let (id, _) = s.link.publish().await;
    stop(&s.connector);
    s.clients[1].expect(&[KICK, "closed"]).await;
    see_off(&mut s.link).await;
    // What it asks when its turn has long come is refused, and answered.
    loop {
        let late = s.clients[0].say("ho", "*").await;
        tokio::select! {
            (id, _) = s.link.publish() => {
                s.link.send(reply(id, published(9))).await;
                s.clients[0].expect(&[&format!("{late} {{}}")]).await;
            }
            answer = s.clients[0].next() => {
                assert!(answer.starts_with(&format!(r#"{late} {{"code":503,"#)), "{answer}");
                break;
            }
        }
    }
    s.link.send(reply(id, published(2))).await;
    s.clients[0].expect(&[&format!("{asked} {{}}"), KICK, "closed"]).await;
    see_off(&mut s.link).await;
    soon("the end", &mut s.connector.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn by_hand_the_connector_drains_and_stays() {
    let mut s = scene(&[], &["ann"]).await;
    let mut news =
        s.connector.grpc.clone().announce(AnnounceRequest {}).await.unwrap().into_inner();
    assert!(!soon("news", news.message()).await.unwrap().unwrap().draining);
    let refused = drain(&s.connector, Some(24 * 60 * 60 * 1000 + 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(drain(&s.connector, Some(0)).await.unwrap().sessions, 1);
    s.clients[0].expect(&[KICK, "closed"]).await;
    see_off(&mut s.link).await;
    let emptied = async {
        let mut now = news.message().await.unwrap().unwrap();
        while !now.draining || now.sessions > 0 {
            now = news.message().await.unwrap().unwrap();
        }
    };
    soon("the word that all are gone", emptied).await;
    assert_eq!(drain(&s.connector, None).await.unwrap().sessions, 0, "it is safe to repeat");
    // The door is closed.
    let refused = TcpStream::connect(s.connector.addr).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(!s.connector.served.is_finished());
    stop(&s.connector);
    soon("the end", &mut s.connector.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_signal_ends_a_long_drain_by_hand_in_the_usual_time() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let mut s = scene(&["--drain-time=0s"], &[]).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(s.connector.client().await);
    }
    s.connector.until("connector_sessions", 100.0).await;
    drain(&s.connector, Some(DAY_MS)).await.unwrap();
    clients[0].expect(&[KICK, "closed"]).await;
    stop(&s.connector);
    soon("the end", &mut s.connector.served).await.unwrap().unwrap();
    // One with each tick would take 10 s.
    let took = s.connector.metric("connector_drain_seconds");
    assert!(took < 5.0, "{took}");
}

#[tokio::test]
async fn a_shard_that_does_not_answer_holds_the_end_up_for_two_seconds_only() {
    let mut s = scene(&["--drain-time=100ms"], &["ann"]).await;
    let began = Instant::now();
    stop(&s.connector);
    s.clients[0].expect(&[KICK, "closed"]).await;
    s.link.leave().await;
    soon("the end", s.connector.app.shutdown().cancelled()).await;
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_got_in_before_the_door_closed_and_is_late_is_sent_after_the_others() {
    let s = scene(&[], &[]).await;
    let late = Client::greet(s.connector.addr, CLASSIC, None).await;
    drain(&s.connector, Some(0)).await.unwrap();
    while TcpStream::connect(s.connector.addr).await.is_ok() {}
    late.get_in().await.expect(&[KICK, "closed"]).await;
}

#[tokio::test]
async fn clients_are_taken_during_the_accept_grace() {
    let mut s = scene(&["--accept-grace=60s"], &["ann"]).await;
    drain(&s.connector, None).await.unwrap();
    s.connector.until("connector_draining", 1.0).await;
    let bob = s.connector.client().await;
    s.enter(bob, "bob").await;
    let said = E::Entry(s.says("ann", "hi"));
    s.link.send(said).await;
    s.everybody_gets(&["onChat ann > *: hi"]).await;
    s.connector.app.shutdown().cancel();
    s.everybody_gets(&["closed"]).await;
}

#[tokio::test]
async fn without_a_drain_time_all_are_closed_at_once() {
    let mut s = scene(&["--drain-time=0s"], &["ann"]).await;
    let mut eve = Client::connect_as(s.connector.addr, EXTENDED).await;
    s.connector.until("connector_sessions", 2.0).await;
    stop(&s.connector);
    s.everybody_gets(&["closed"]).await;
    assert_eq!(eve.next().await, "closed");
    soon("the end", &mut s.connector.served).await.unwrap().unwrap();
    assert_eq!(s.connector.metric(r#"connector_closes_total{reason="shutdown"}"#), 2.0);
}
