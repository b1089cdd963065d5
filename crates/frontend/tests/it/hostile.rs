//! What clients should not do. Each of them ends, and nobody else.

use std::{num::NonZeroUsize, time::Duration};

use chassis::World;
use frontend::{CloseReason, HandshakeResult, Options};
use tokio::io::AsyncWriteExt;
use wire::Profile;

use crate::fixture::{Fixture, PANIC, exchange, frame, package, request};

/// Sends `bytes` below the WebSocket of a session; it must be closed for
/// `reason` with code 1000, and another session must not notice.
async fn check(bytes: &[u8], reason: CloseReason) {
    let fixture = Fixture::start().await;
    let mut other = fixture.client().await;
    let mut client = fixture.client().await;
    client.send_raw(bytes).await;
    client.expect_close().await;
    drop(client);
    fixture.until(reason.as_str(), |f| f.metrics.closes(reason).get() == 1).await;
    fixture.until("one connection", |f| f.metrics.connections.get() == 1).await;
    other.echo("\"unharmed\"").await;
}

#[tokio::test]
async fn a_frame_that_announces_a_gigabyte_is_refused_at_its_header() {
    let mut header = vec![0x82, 0x80 | 127];
    header.extend((1_u64 << 30).to_be_bytes());
    header.extend([0; 4]);
    check(&header, CloseReason::MessageTooLong).await;
}

#[tokio::test]
async fn fragments_that_add_up_to_too_much_are_refused() {
    let payload = vec![0; 64 * 1024];
    let mut bytes = Vec::new();
    for first in [0x02, 0, 0, 0, 0] {
        bytes.extend([first, 0x80 | 127]);
        bytes.extend((payload.len() as u64).to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&payload);
    }
    check(&bytes, CloseReason::MessageTooLong).await;
}

#[tokio::test]
async fn a_package_that_announces_too_much_is_refused() {
    let too_long = CloseReason::Protocol(wire::CloseReason::PackageTooLong);
    check(&frame(0x82, &[4, 0xff, 0xff, 0xff]), too_long).await;
    let cut = CloseReason::Protocol(wire::CloseReason::MalformedFrame);
    check(&frame(0x82, &[4, 0, 0, 9, 1]), cut).await;
    check(&frame(0x82, &[]), cut).await;
}

#[tokio::test]
async fn what_is_not_websocket_is_refused() {
    // Reserved bits, an unknown opcode, a continuation of nothing, no mask, bad UTF-8.
    check(&frame(0xf2, b"x"), CloseReason::MalformedWebSocket).await;
    check(&frame(0x83, b"x"), CloseReason::MalformedWebSocket).await;
    check(&frame(0x80, b"x"), CloseReason::MalformedWebSocket).await;
    check(&[0x82, 0x01, 0x03], CloseReason::MalformedWebSocket).await;
    check(&frame(0x81, b"\xff\xff"), CloseReason::MalformedWebSocket).await;
}

#[tokio::test]
async fn what_is_not_pomelo_is_refused() {
    let reason = CloseReason::Protocol;
    check(&frame(0x82, &package(9, b"")), reason(wire::CloseReason::UnknownPackageType)).await;
    check(&frame(0x82, &package(5, b"{}")), reason(wire::CloseReason::ClientKick)).await;
    check(&frame(0x82, &package(4, b"")), reason(wire::CloseReason::MalformedMessage)).await;
    let attack = request(1, "a.b.constructor", "{}");
    check(&frame(0x82, &attack), reason(wire::CloseReason::Attack)).await;
}

#[tokio::test]
async fn a_refused_handshake_is_told_so() {
    let fixture = Fixture::start().await;
    let mut client = fixture.upgrade().await;
    client.send(package(1, b"not json")).await;
    assert_eq!(client.receive().await[..], package(1, br#"{"code":500}"#));
    client.expect_close().await;
    fixture.until_closed(CloseReason::Protocol(wire::CloseReason::HandshakeFailed)).await;
    assert_eq!(fixture.metrics.handshakes(HandshakeResult::Refused).get(), 1);
    assert_eq!(fixture.toy.closed.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn plain_http_is_told_to_upgrade() {
    let fixture = Fixture::start().await;
    let get = exchange(&fixture, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    // At once: nobody waits for more requests.
    let answer = tokio::time::timeout(Duration::from_secs(1), get).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{answer}");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
    fixture.until_closed(CloseReason::HttpRefused).await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_take_the_answer_back() {
    let fixture = Fixture::start().await;
    let body = "x".repeat(500_000);
    let request = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answer = exchange(&fixture, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test]
async fn garbage_is_closed_without_an_answer() {
    let fixture = Fixture::start().await;
    assert_eq!(exchange(&fixture, b"\x16\x03\x01\x02").await, "");
    fixture.until_closed(CloseReason::NotHttp).await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_503() {
    let options = Options { connections_max: NonZeroUsize::new(2), ..Options::default() };
    let fixture = Fixture::start_with(World::real(), options, Profile::master_gate()).await;
    let (mut first, second) = (fixture.client().await, fixture.client().await);
    let answer = exchange(&fixture, b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    // Who could not read that is told nothing: a package, and TLS.
    for other in [&[1, 0, 0, 0], b"\x16\x03\x01\x02"] {
        assert_eq!(exchange(&fixture, other).await, "");
    }
    drop(second);
    fixture.until("room again", |f| f.metrics.connections.get() == 1).await;
    fixture.client().await.echo("1").await;
    first.echo("2").await;
    assert_eq!(fixture.metrics.closes(CloseReason::ConnectionsMax).get(), 3);
    assert_eq!(fixture.metrics.connections_max.get(), 2);
}

#[tokio::test]
async fn a_panic_ends_its_session_only() {
    let fixture = Fixture::start().await;
    let (mut client, session) = fixture.pair().await;
    let mut other = fixture.client().await;
    client.request(1, PANIC, "{}").await;
    while let Some(Ok(_)) = client.next().await {}
    fixture.until("closed", |f| f.toy.closed.lock().unwrap().len() == 1).await;
    assert_eq!(fixture.toy.closed.lock().unwrap()[..], [(session.id(), CloseReason::Bug)]);
    other.echo("\"unharmed\"").await;
    assert_eq!((fixture.metrics.sessions.get(), fixture.metrics.connections.get()), (1, 1));
}

#[tokio::test]
async fn a_flood_of_pings_is_bounded_by_the_outbox() {
    let options =
        Options { outbox_max: NonZeroUsize::new(64 * 1024).unwrap(), ..Options::default() };
    let fixture = Fixture::start_with(World::real(), options, Profile::master_gate()).await;
    let mut client = fixture.client().await;
    let pings = frame(0x89, &[b'x'; 100]).repeat(1_000);
    // The client writes and never reads, until the server has enough of it.
    while client.socket.get_mut().write_all(&pings).await.is_ok() {}
    fixture.until_closed(CloseReason::SlowConsumer).await;
}
