//! How sessions end, and that they end once.

use chassis::Stream;
use frontend::CloseReason;
use futures::SinkExt;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::{
    Message, protocol::CloseFrame, protocol::frame::coding::CloseCode,
};

use crate::fixture::{ECHO, Fixture, request};

/// The ends that the handler was told of.
fn told(fixture: &Fixture) -> Vec<CloseReason> {
    fixture.toy.closed.lock().unwrap().iter().map(|(_, reason)| *reason).collect()
}

#[tokio::test]
async fn a_close_frame_is_answered_with_1000_whatever_its_code() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let frame = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
    client.socket.send(Message::Close(Some(frame))).await.unwrap();
    let answer = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    assert_eq!(client.close_frame().await, Some(answer));
    assert!(client.next().await.is_none(), "the server ends the connection");
    fixture.until_closed(CloseReason::PeerClosed).await;
    assert_eq!(told(&fixture), [CloseReason::PeerClosed]);
}

#[tokio::test]
async fn a_client_that_vanishes_is_noticed() {
    let fixture = Fixture::start().await;
    drop(fixture.client().await);
    fixture.until_closed(CloseReason::PeerLost).await;
    assert_eq!(told(&fixture), [CloseReason::PeerLost]);
}

#[tokio::test]
async fn calls_before_a_vanishing_are_made() {
    let fixture = Fixture::start().await;
    let (mut client, session) = fixture.pair().await;
    for id in 0..100 {
        client.send(request(id, ECHO, "1")).await;
    }
    client.socket.get_mut().shutdown().await.unwrap();
    fixture.until_closed(CloseReason::PeerLost).await;
    assert_eq!(session.state().load(std::sync::atomic::Ordering::Relaxed), 101);
}

#[tokio::test]
async fn the_first_reason_stays_and_the_end_is_told_once() {
    let fixture = Fixture::start().await;
    let (mut client, session) = fixture.pair().await;
    session.close(CloseReason::Superseded);
    session.close(CloseReason::Application);
    session.kick("too late");
    assert_eq!(session.close_reason(), Some(CloseReason::Superseded));
    client.expect_close().await;
    fixture.until_closed(CloseReason::Superseded).await;
    assert_eq!(told(&fixture), [CloseReason::Superseded]);
}

#[tokio::test]
async fn a_client_that_ignores_the_close_is_dropped() {
    let fixture = Fixture::start().await;
    let (mut client, session) = fixture.pair().await;
    session.close(CloseReason::Application);
    // The handler need not wait for the client's good will.
    fixture.until("told", |f| f.toy.closed.lock().unwrap().len() == 1).await;
    assert_eq!(fixture.metrics.connections.get(), 1);
    // Reads nothing, so it does not answer; but it goes on asking.
    while client.socket.send(Message::Binary(request(1, ECHO, "1").into())).await.is_ok() {
        if fixture.metrics.connections.get() == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    fixture.until_closed(CloseReason::Application).await;
    assert_eq!(session.state().load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_shutdown_closes_everybody_in_whatever_state() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let mut upgraded = fixture.upgrade().await;
    let silent: Stream = fixture.dial().await;
    fixture.until("all are in", |f| f.metrics.connections.get() == 3).await;
    client.echo("1").await;
    fixture.app.shutdown().cancel();
    client.expect_close().await;
    upgraded.expect_close().await;
    drop((client, upgraded));
    fixture.app.tasks().wait().await;
    assert_eq!(fixture.metrics.closes(CloseReason::Shutdown).get(), 3);
    assert_eq!((fixture.metrics.sessions.get(), fixture.metrics.connections.get()), (0, 0));
    assert_eq!(told(&fixture), [CloseReason::Shutdown]);
    drop(silent);
}

#[tokio::test]
async fn who_is_sent_away_sees_1012_and_who_is_kicked_1000() {
    let fixture = Fixture::start().await;
    let (mut one, its) = fixture.pair().await;
    its.close(CloseReason::SentAway);
    let frame = one.close_frame().await.expect("a code");
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1012, ""));
    let (mut other, its) = fixture.pair().await;
    its.kick_as("draining", CloseReason::Draining);
    other.expect_close().await;
    fixture.until("gone", |f| f.metrics.sessions.get() == 0).await;
    assert_eq!(told(&fixture), [CloseReason::SentAway, CloseReason::Draining]);
}

#[tokio::test]
async fn a_server_that_closes_its_door_serves_those_who_are_in() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    client.echo("1").await;
    fixture.closing.cancel();
    // Whoever still gets through is not heard.
    let is_refused = async |f: &Fixture| match f.app.net().dial(&f.addr.to_string()).await {
        Ok(mut stream) => {
            // Taken by the kernel before the port was given back.
            let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
            crate::fixture::read_to_end(&mut stream).await.is_empty()
        }
        Err(_) => true,
    };
    assert!(is_refused(&fixture).await);
    client.echo("2").await;
    drop(client);
    fixture.until_closed(CloseReason::PeerLost).await;
    fixture.app.shutdown().cancel();
    fixture.app.tasks().wait().await;
    assert_eq!(told(&fixture), [CloseReason::PeerLost]);
}
