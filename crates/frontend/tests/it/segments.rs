//! Whatever pieces a client's bytes come in, over any transport, it is answered the
//! same: each conversation is sent whole once, and then cut up at random.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use chassis::{Stream, World};
use frontend::Options;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use wire::{Kind, Profile};

use crate::fixture::{ECHO, Fixture, PATIENCE, frame, package, request};
use crate::tls::Certificate;

/// Times that each conversation is cut up.
const ROUNDS: u32 = 25;

/// A handshake, calls with ids and bodies of many lengths, and a KICK, which ends it.
fn packages() -> Vec<Vec<u8>> {
    let mut packages = vec![package(1, br#"{"sys":{"type":"socket"}}"#), package(2, b"")];
    for (id, len) in [(1, 0), (127, 1), (128, 40), (16_384, 60), ((1 << 31) - 1, 80)] {
        packages.push(request(id, ECHO, &format!("\"{}\"", "x".repeat(len))));
    }
    // No such handler; a heartbeat with a body; an empty object.
    packages.push(request(300, "toy.none.echo", "{}"));
    packages.push(package(3, b"alive"));
    packages.push(request(7, ECHO, "{}"));
    packages.push(package(5, b""));
    packages
}

/// The packages over raw TCP, with one that is longer than a read.
fn over_tcp() -> Vec<u8> {
    let mut packages = packages();
    let at = packages.len() - 1;
    packages.insert(at, request(8, ECHO, &format!("\"{}\"", "y".repeat(5_000))));
    packages.concat()
}

/// The packages over WebSocket: one or two in a message, messages as binary and as
/// text, whole and in fragments, with pings between.
fn over_web_socket() -> Vec<u8> {
    let mut bytes = b"GET /any HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    for (index, packages) in packages().chunks(2).enumerate() {
        let message = packages.concat();
        match index % 3 {
            0 if message.is_ascii() && message.len() < 126 => bytes.extend(frame(0x81, &message)),
            1 => {
                let (head, tail) = message.split_at(message.len() / 2);
                bytes.extend(frame(0x02, head));
                bytes.extend(frame(0x89, b"ping"));
                bytes.extend(frame(0x80, tail));
            }
            _ => packages.iter().for_each(|package| bytes.extend(frame(0x82, package))),
        }
    }
    let kick = bytes.split_off(bytes.len() - frame(0x82, &package(5, b"")).len());
    // Fragments whose buffer is given back when the message is over, and no sooner.
    let message = request(8, ECHO, &format!("\"{}\"", "y".repeat(6_000)));
    let (head, tail) = message.split_at(5_500);
    bytes.extend(long_frame(0x02, head));
    bytes.extend(frame(0x89, b"ping"));
    bytes.extend(long_frame(0x80, tail));
    bytes.extend(kick);
    // The answer to the server's Close, which would wait for it.
    bytes.extend(frame(0x88, &[0x03, 0xe8]));
    bytes
}

/// As [`frame`], for payloads of 126 bytes to 64 KiB.
fn long_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[first, 0x80 | 126, high, low, 0, 0, 0, 0], payload].concat()
}

/// Numbers that look like chance and are the same each time.
#[derive(Debug)]
struct Chance(u32);

impl Chance {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % limit
    }
}

/// A connection that takes few bytes at a time.
#[derive(Debug)]
struct Pieces {
    stream: Stream,
    chance: Chance,
    /// Bytes at most.
    most: u32,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let most = self.most;
        let len = bytes.len().min(1 + self.chance.below(most) as usize);
        Pin::new(&mut self.stream).poll_write(cx, &bytes[..len])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Sends `bytes` in pieces and takes all that comes until the server closes.
async fn converse(mut stream: Stream, bytes: &[u8], chance: &mut Chance, most: u32) -> Vec<u8> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(rest.len().min(1 + chance.below(most) as usize));
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
        // The server may look at this piece alone.
        tokio::task::yield_now().await;
        rest = tail;
    }
    let mut answer = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    end.expect("the server does not close").expect("and says so");
    answer
}

/// Cuts `bytes` up, over TLS on both sides of the encryption; all answers must be as
/// that to the whole, which is returned.
async fn check(fixture: &Fixture, tls: Option<&Certificate>, bytes: &[u8]) -> Vec<u8> {
    let mut chance = Chance(1);
    let mut whole: Option<Vec<u8>> = None;
    for round in 0..ROUNDS {
        let most = if round == 0 { u32::MAX } else { 1 + chance.below(1 << (round % 8)) };
        let stream = fixture.dial().await;
        let stream = match tls {
            None => stream,
            Some(certificate) => {
                // Not byte by byte: there are thousands.
                let (chance, most) = (Chance(round), most.max(30));
                let pieces = Stream::Other(Box::new(Pieces { stream, chance, most }));
                certificate.secure(pieces).await.unwrap()
            }
        };
        let answer = converse(stream, bytes, &mut chance, most).await;
        let whole = whole.get_or_insert_with(|| answer.clone());
        assert_eq!(answer, *whole, "in round {round}, with pieces of up to {most} bytes");
    }
    whole.expect("there are rounds")
}

/// The packages in what a raw TCP client was sent.
fn count(answer: &[u8]) -> (usize, usize) {
    let packages = wire::decode_frame(BytesMut::from(answer).freeze(), 1 << 20);
    let packages: Vec<_> = packages.collect::<Result<_, _>>().unwrap();
    let is_data = |package: &&wire::Package| package.kind == Kind::Data;
    (packages.len(), packages.iter().filter(is_data).count())
}

#[tokio::test]
async fn pieces_of_any_size_are_answered_like_the_whole() {
    let fixture = Fixture::start().await;
    let answer = check(&fixture, None, &over_tcp()).await;
    assert_eq!(count(&answer), (9, 8));
    let answer = check(&fixture, None, &over_web_socket()).await;
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    assert!(answer.ends_with(&[0x88, 2, 0x03, 0xe8]));
}

#[tokio::test]
async fn so_they_are_beside_tls_and_inside_of_it() {
    let certificate = Certificate::new();
    let (world, profile) = (World::real(), Profile::master_gate());
    let options = certificate.options();
    let fixture = Fixture::start_with_tls(world, Options::default(), profile, &options).await;
    for bytes in [over_tcp(), over_web_socket()] {
        let plain = check(&fixture, None, &bytes).await;
        assert_eq!(check(&fixture, Some(&certificate), &bytes).await, plain);
    }
}
