//! What well-behaved clients do.

use bytes::BytesMut;
use frontend::{CloseReason, Direction, HandshakeResult};
use futures::SinkExt;
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use wire::{Kind, RawId};

use crate::fixture::{Client, ECHO, Fixture, KICK, frame, package, request};

#[tokio::test]
async fn a_call_is_answered_under_its_id() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    client.echo(r#"{"a":1}"#).await;

    assert_eq!(fixture.metrics.handshakes(HandshakeResult::Ok).get(), 1);
    assert_eq!(fixture.metrics.packages(Direction::In, Kind::Data).get(), 1);
    assert_eq!(fixture.metrics.packages(Direction::Out, Kind::Data).get(), 1);
    assert_eq!((fixture.metrics.sessions.get(), fixture.metrics.connections.get()), (1, 1));
}

#[tokio::test]
async fn the_server_beats_first_and_answers_every_beat() {
    let profile = wire::Profile::master_connector(30);
    let world = chassis::World::real();
    let fixture = Fixture::start_with(world, frontend::Options::default(), profile).await;
    let mut client = fixture.client().await;
    assert_eq!(client.receive().await[..], wire::HEARTBEAT_PACKAGE);
    for _ in 0..3 {
        client.send(package(3, b"")).await;
        assert_eq!(client.receive().await[..], wire::HEARTBEAT_PACKAGE);
    }
}

#[tokio::test]
async fn calls_are_answered_in_order_however_they_are_packed() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    // Several messages in one write, several packages in one message.
    let mut bytes = Vec::new();
    for id in (1..30).step_by(3) {
        let packages = [0, 1, 2].map(|i| request(id + i, ECHO, "1")).concat();
        bytes.extend(frame(0x82, &packages));
    }
    client.send_raw(&bytes).await;
    for id in 1..=30 {
        let mut expected = BytesMut::new();
        wire::encode_response(&RawId::new(id), b"1", &mut expected).unwrap();
        assert_eq!(client.receive().await, expected.freeze());
    }
}

#[tokio::test]
async fn a_message_in_fragments_is_one_message() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let request = request(1, ECHO, "\"in pieces\"");
    let (head, tail) = request.split_at(9);
    let (middle, tail) = tail.split_at(5);
    client.send_raw(&frame(0x02, head)).await;
    // Control frames may come between.
    client.send_raw(&frame(0x89, b"still there?")).await;
    client.send_raw(&frame(0x00, middle)).await;
    client.send_raw(&frame(0x80, tail)).await;
    match client.next().await {
        Some(Ok(Message::Pong(bytes))) => assert_eq!(&bytes[..], b"still there?"),
        other => panic!("no pong but {other:?}"),
    }
    assert!(client.receive().await.ends_with(b"\"in pieces\""));
}

#[tokio::test]
async fn a_text_frame_is_its_bytes_and_an_empty_one_is_ignored() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let text = String::from_utf8(request(1, ECHO, "7")).unwrap();
    client.socket.send(Message::text("")).await.unwrap();
    client.socket.send(Message::text(text)).await.unwrap();
    assert!(client.receive().await.ends_with(b"7"));
}

#[tokio::test]
async fn what_follows_the_upgrade_at_once_is_read() {
    let fixture = Fixture::start().await;
    let request = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let hello = frame(0x82, &package(1, br#"{"sys":{}}"#));
    let bye = frame(0x88, &[0x03, 0xe8]);
    let bytes = [request.as_bytes(), &hello, &bye].concat();
    let answer = crate::fixture::exchange(&fixture, &bytes).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains(r#"{"code":200,"#), "{answer}");
}

#[tokio::test]
async fn the_first_protocol_offered_is_echoed() {
    let fixture = Fixture::start().await;
    let mut request = format!("ws://{}/any/path?x", fixture.addr).into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "pomelo, other".parse().unwrap());
    let (socket, response) = client_async(request, fixture.dial().await).await.unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "pomelo");
    Client { socket }.handshake().await;
}

#[tokio::test]
async fn a_kick_comes_with_its_reason_and_then_the_end() {
    let fixture = Fixture::start().await;
    let (mut client, session) = fixture.pair().await;
    client.request(2, KICK, "{}").await;
    assert_eq!(client.receive().await[..], package(5, br#"{"reason":"as the client wished"}"#));
    assert!(session.is_closed());
    client.expect_close().await;
    fixture.until_closed(CloseReason::Kicked).await;
}

#[tokio::test]
async fn before_the_ack_nothing_is_sent_and_no_call_is_made() {
    let fixture = Fixture::start().await;
    let mut client = fixture.upgrade().await;
    client.request(1, ECHO, "1").await;
    client.send(package(1, br#"{"sys":{}}"#)).await;
    client.request(2, ECHO, "2").await;
    assert!(client.receive().await[4..].starts_with(br#"{"code":200"#));
    assert_eq!(fixture.sessions(), 0);
    client.send(package(2, b"")).await;
    client.echo("3").await;
}
