//! Raw TCP, on the same port as WebSocket.

use bytes::BytesMut;
use chassis::Stream;
use frontend::{CloseReason, Outgoing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::{Kind, Package, PushRoute, RawId};

use crate::fixture::{ECHO, Fixture, KICK, PATIENCE, read_to_end};

/// Handshake, ACK and two calls, as a client sends them.
fn conversation() -> Vec<u8> {
    let mut out = BytesMut::new();
    wire::encode_package(Kind::Handshake, br#"{"sys":{"type":"socket"}}"#, &mut out).unwrap();
    wire::encode_package(Kind::HandshakeAck, b"", &mut out).unwrap();
    for id in [1, 2] {
        let route = PushRoute::Name(ECHO);
        wire::encode_request(&RawId::new(id), route, br#"{"x":"y"}"#, &mut out).unwrap();
    }
    out.to_vec()
}

/// Reads so many packages.
async fn packages(stream: &mut Stream, count: usize) -> Vec<Package> {
    let (mut decoder, mut packages) = (wire::Decoder::new(1 << 20), Vec::new());
    while packages.len() < count {
        let mut chunk = [0; 512];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await.unwrap().unwrap();
        assert_ne!(read, 0, "the server has closed after {packages:?}");
        decoder.feed(&chunk[..read]);
        while let Some(package) = decoder.poll().unwrap() {
            packages.push(package);
        }
    }
    packages
}

#[tokio::test]
async fn however_the_bytes_are_cut_up_the_answers_are_the_same() {
    let fixture = Fixture::start().await;
    let mut all = Vec::new();
    for size in [1, 2, 3, 5, 29, 10_000] {
        let mut stream = fixture.dial().await;
        for piece in conversation().chunks(size) {
            stream.write_all(piece).await.unwrap();
            stream.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        all.push(packages(&mut stream, 3).await);
    }
    let kinds: Vec<Kind> = all[0].iter().map(|package| package.kind).collect();
    assert_eq!(kinds, [Kind::Handshake, Kind::Data, Kind::Data]);
    assert!(all.iter().all(|packages| *packages == all[0]), "{all:?}");
}

#[tokio::test]
async fn a_push_reaches_both_transports_in_their_own_framing() {
    let fixture = Fixture::start().await;
    let (mut web, over_web) = fixture.pair().await;
    let mut stream = fixture.dial().await;
    stream.write_all(&conversation()).await.unwrap();
    packages(&mut stream, 3).await;
    let over_tcp = fixture.toy.sessions.lock().unwrap()[1].clone();

    let mut package = BytesMut::new();
    wire::encode_push(PushRoute::Name("onToy"), b"{}", &mut package).unwrap();
    let outgoing = Outgoing::builder().package(&package).package(&package).build();
    over_web.send(&outgoing);
    over_tcp.send(&outgoing);
    let mut bare = vec![0; 2 * package.len()];
    stream.read_exact(&mut bare).await.unwrap();
    assert_eq!(bare, [&package[..], &package[..]].concat());
    assert_eq!(web.next().await.unwrap().unwrap().into_data(), package);
    assert_eq!(web.next().await.unwrap().unwrap().into_data(), package);
}

#[tokio::test]
async fn what_is_no_package_ends_the_connection_and_what_was_said_before_arrives() {
    for (bytes, reason) in [
        (&b"\x09\0\0\0"[..], wire::CloseReason::UnknownPackageType),
        // Announces 16 MiB - 1: refused at its header.
        (b"\x04\xff\xff\xff", wire::CloseReason::PackageTooLong),
        (b"\x04\0\0\0", wire::CloseReason::MalformedMessage),
    ] {
        let fixture = Fixture::start().await;
        let mut stream = fixture.dial().await;
        stream.write_all(&[&conversation()[..], bytes].concat()).await.unwrap();
        packages(&mut stream, 3).await;
        assert_eq!(read_to_end(&mut stream).await, "");
        fixture.until_closed(CloseReason::Protocol(reason)).await;
    }
}

#[tokio::test]
async fn bytes_that_nobody_reads_do_not_take_back_what_was_said() {
    let fixture = Fixture::start().await;
    let mut stream = fixture.dial().await;
    stream
        .write_all(&[&conversation()[..], b"\x09\0\0\0", &[b'x'; 300_000]].concat())
        .await
        .unwrap();
    fixture.until("it is over", |f| f.toy.closed.lock().unwrap().len() == 1).await;
    packages(&mut stream, 3).await;
    // The end of the stream, and no reset: that could overtake it.
    let end = tokio::time::timeout(PATIENCE, stream.read(&mut [0])).await;
    assert_eq!(end.unwrap().unwrap(), 0);
    stream.write_all(&vec![b'x'; 4_000_000]).await.unwrap();
}

#[tokio::test]
async fn a_kick_is_read_before_the_end() {
    let fixture = Fixture::start().await;
    let mut stream = fixture.dial().await;
    let mut call = BytesMut::new();
    wire::encode_notify(PushRoute::Name(KICK), b"{}", &mut call).unwrap();
    stream.write_all(&[&conversation()[..], &call[..]].concat()).await.unwrap();
    let last = packages(&mut stream, 4).await.pop().unwrap();
    assert_eq!(last.kind, Kind::Kick);
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn a_client_that_closes_is_gone() {
    let fixture = Fixture::start().await;
    let mut stream = fixture.dial().await;
    stream.write_all(&conversation()).await.unwrap();
    packages(&mut stream, 3).await;
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
    fixture.until_closed(CloseReason::PeerClosed).await;
}
