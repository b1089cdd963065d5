//! Clients behind proxies: whose word counts, and who counts as what.

use std::{num::NonZeroUsize, time::Duration};

use bytes::BytesMut;
use chassis::{Stream, World};
use frontend::{AddressSource, CloseReason, HandshakeResult, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::{
    client_async,
    tungstenite::{self, client::IntoClientRequest},
};
use wire::{Kind, Profile};

use crate::{
    fixture::{Client, Fixture, exchange, read_to_end},
    tls::Certificate,
};

/// The tests' own address, and a network of others.
const TRUSTED: &str = "127.0.0.1,10.0.0.0/8";

fn options(trusted: &str) -> Options {
    let trusted_proxies = trusted.split(',').map(|raw| raw.parse().unwrap()).collect();
    Options { trusted_proxies, ..Options::default() }
}

/// One connection an address.
fn strict(trusted: &str) -> Options {
    Options { address_connections_max: NonZeroUsize::MIN, ..options(trusted) }
}

async fn start(options: Options) -> Fixture {
    Fixture::start_with(World::real(), options, Profile::master_gate()).await
}

/// A header of the PROXY protocol: `client` came to 10.0.0.1:80.
fn proxy_header(client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[10, 0, 0, 1], &[0xc0, 0], &[0, 80]].concat();
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &addresses].concat()
}

/// What a client says that may be told 503.
const ASKS: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";

async fn dial_saying(fixture: &Fixture, header: &[u8]) -> Stream {
    let mut stream = fixture.dial().await;
    stream.write_all(header).await.unwrap();
    stream
}

/// Upgrades and gets through the handshake, or is refused.
async fn client_over(
    stream: Stream,
    fixture: &Fixture,
    forwarded_for: &[&str],
) -> Result<Client, u16> {
    let mut request = format!("ws://{}/", fixture.addr).into_client_request().unwrap();
    for value in forwarded_for {
        request.headers_mut().append("x-forwarded-for", value.parse().unwrap());
    }
    match client_async(request, stream).await {
        Ok((socket, _)) => {
            let mut client = Client { socket };
            client.handshake().await;
            client.echo("\"here\"").await;
            Ok(client)
        }
        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn client(fixture: &Fixture, forwarded_for: &[&str]) -> Result<Client, u16> {
    client_over(fixture.dial().await, fixture, forwarded_for).await
}

/// Where the newest session comes from.
fn newest(fixture: &Fixture) -> String {
    fixture.toy.sessions.lock().unwrap().last().unwrap().peer().to_string()
}

#[tokio::test]
async fn a_trusted_proxys_clients_have_a_share_each() {
    let fixture = start(strict(TRUSTED)).await;
    let one = client(&fixture, &["1.1.1.1, 203.0.113.1"]).await.unwrap();
    assert_eq!(newest(&fixture), "203.0.113.1:0");
    let _two = client(&fixture, &["203.0.113.2", "10.9.9.9"]).await.unwrap();
    assert_eq!(newest(&fixture), "203.0.113.2:0");
    let _three = client(&fixture, &["2001:db8:0:1::7"]).await.unwrap();
    assert_eq!(client(&fixture, &["2001:db8:0:1::8"]).await.err(), Some(503));
    assert_eq!(client(&fixture, &["203.0.113.1"]).await.err(), Some(503));
    assert_eq!(fixture.metrics.closes(CloseReason::AddressConnectionsMax).get(), 2);
    assert_eq!(fixture.metrics.proxied(AddressSource::ForwardedFor).get(), 5);
    drop(one);
    fixture.until("it is gone", |fixture| fixture.metrics.connections.get() == 2).await;
    client(&fixture, &["203.0.113.1"]).await.unwrap();
}

#[tokio::test]
async fn who_is_no_trusted_proxy_is_never_believed() {
    let fixture = start(strict("10.0.0.0/8,::1")).await;
    let mut one = client(&fixture, &["203.0.113.1"]).await.unwrap();
    assert!(newest(&fixture).starts_with("127.0.0.1:"), "{}", newest(&fixture));
    let answer = exchange(&fixture, ASKS).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    one.echo("\"unharmed\"").await;

    let fixture = start(options("10.0.0.0/8")).await;
    assert_eq!(exchange(&fixture, &proxy_header([203, 0, 113, 7])).await, "");
    fixture.until_closed(CloseReason::NotHttp).await;
    for source in [AddressSource::Peer, AddressSource::ProxyHeader, AddressSource::ForwardedFor] {
        assert_eq!(fixture.metrics.proxied(source).get(), 0);
    }
}

#[tokio::test]
async fn what_nobody_understands_counts_as_the_proxys() {
    let fixture = start(strict(TRUSTED)).await;
    let _one = client(&fixture, &["203.0.113.1, unknown"]).await.unwrap();
    assert!(newest(&fixture).starts_with("127.0.0.1:"), "{}", newest(&fixture));
    assert_eq!(client(&fixture, &["<script>"]).await.err(), Some(503));
    assert_eq!(client(&fixture, &[]).await.err(), Some(503));
    assert_eq!(fixture.metrics.proxied(AddressSource::Unreadable).get(), 2);
    assert_eq!(fixture.metrics.proxied(AddressSource::Peer).get(), 1);
    client(&fixture, &["203.0.113.1"]).await.unwrap();
}

/// Says hello as a raw TCP client and reads the answer's head.
async fn greet(stream: &mut Stream) {
    let mut hello = BytesMut::new();
    wire::encode_package(Kind::Handshake, br#"{"sys":{}}"#, &mut hello).unwrap();
    wire::encode_package(Kind::HandshakeAck, b"", &mut hello).unwrap();
    stream.write_all(&hello).await.unwrap();
    stream.flush().await.unwrap();
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[0], Kind::Handshake as u8);
}

#[tokio::test]
async fn a_proxy_header_goes_before_all_four_transports() {
    let certificate = Certificate::new();
    let tls = certificate.options();
    let fixture =
        Fixture::start_with_tls(World::real(), strict(TRUSTED), Profile::master_gate(), &tls).await;
    let mut kept = Vec::new();
    for (last, is_tls) in [(1, false), (2, true)] {
        let mut stream = dial_saying(&fixture, &proxy_header([203, 0, 113, last])).await;
        if is_tls {
            stream = certificate.secure(stream).await.unwrap();
        }
        kept.push(client_over(stream, &fixture, &["198.51.100.1"]).await.unwrap());
        assert_eq!(newest(&fixture), format!("203.0.113.{last}:49152"));
    }
    for (last, is_tls) in [(3, false), (4, true)] {
        let mut stream = dial_saying(&fixture, &proxy_header([203, 0, 113, last])).await;
        if is_tls {
            stream = certificate.secure(stream).await.unwrap();
        }
        let before = fixture.sessions();
        greet(&mut stream).await;
        fixture.until("it is open", |fixture| fixture.sessions() > before).await;
        assert_eq!(newest(&fixture), format!("203.0.113.{last}:49152"));
    }
    assert_eq!(fixture.metrics.proxied(AddressSource::ProxyHeader).get(), 4);
    // Told before TLS, as nobody pays for a handshake in vain.
    let asking = [&proxy_header([203, 0, 113, 1]), ASKS].concat();
    let mut again = dial_saying(&fixture, &asking).await;
    assert!(read_to_end(&mut again).await.starts_with("HTTP/1.1 503 "));
    assert_eq!(fixture.metrics.closes(CloseReason::AddressConnectionsMax).get(), 1);
}

#[tokio::test]
async fn a_proxy_header_may_come_in_pieces() {
    let fixture = start(options(TRUSTED)).await;
    for size in [1, 5, 12, 16, 17, 27] {
        let mut stream = fixture.dial().await;
        for piece in proxy_header([203, 0, 113, 7]).chunks(size) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        client_over(stream, &fixture, &[]).await.unwrap();
        assert_eq!(newest(&fixture), "203.0.113.7:49152");
    }
}

#[tokio::test]
async fn a_proxy_before_the_proxy_tells_by_x_forwarded_for() {
    let fixture = start(strict(TRUSTED)).await;
    let behind = |last| proxy_header([10, 0, 0, last]);
    let stream = dial_saying(&fixture, &behind(1)).await;
    let _one = client_over(stream, &fixture, &["203.0.113.7, 10.0.0.2"]).await.unwrap();
    assert_eq!(newest(&fixture), "203.0.113.7:0");
    let stream = dial_saying(&fixture, &behind(2)).await;
    assert_eq!(client_over(stream, &fixture, &["203.0.113.7"]).await.err(), Some(503));
    let stream = dial_saying(&fixture, &behind(2)).await;
    let _itself = client_over(stream, &fixture, &[]).await.unwrap();
    assert_eq!(newest(&fixture), "10.0.0.2:49152");
    assert_eq!(fixture.metrics.proxied(AddressSource::ProxyHeader).get(), 1);
}

#[tokio::test]
async fn a_proxys_own_connections_count_as_its_own() {
    let fixture = start(strict(TRUSTED)).await;
    let stream = dial_saying(&fixture, LOCAL).await;
    let _check = client_over(stream, &fixture, &[]).await.unwrap();
    assert!(newest(&fixture).starts_with("127.0.0.1:"), "{}", newest(&fixture));
    // Also over raw TCP, whose clients could not read an answer.
    let mut second = dial_saying(&fixture, b"\x01\0\0\x02{}").await;
    assert_eq!(read_to_end(&mut second).await, "");
    assert_eq!(fixture.metrics.closes(CloseReason::AddressConnectionsMax).get(), 1);
    assert_eq!(fixture.metrics.proxied(AddressSource::Peer).get(), 2);
}

#[tokio::test]
async fn a_malformed_header_ends_the_connection() {
    let too_long = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff";
    let twice = [proxy_header([203, 0, 113, 1]), proxy_header([203, 0, 113, 2])].concat();
    for (bytes, reason) in [
        (&b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"[..], CloseReason::MalformedProxyHeader),
        (too_long, CloseReason::MalformedProxyHeader),
        (b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c", CloseReason::MalformedProxyHeader),
        (&twice, CloseReason::NotHttp),
        // Version 1 is a line of text, and no request that anybody answers.
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 49152 80\r\n\r\n", CloseReason::NotHttp),
    ] {
        let fixture = start(options(TRUSTED)).await;
        let answer = exchange(&fixture, bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        fixture.until_closed(reason).await;
        assert_eq!(fixture.metrics.handshakes(HandshakeResult::Refused).get(), 1);
    }
}

#[tokio::test]
async fn who_does_not_end_its_header_is_gone_soon() {
    let handshake_timeout = Duration::from_millis(200);
    let fixture = start(Options { handshake_timeout, ..options(TRUSTED) }).await;
    let whole = proxy_header([203, 0, 113, 7]);
    for (count, part) in [&whole[..0], &whole[..1], &whole[..20]].into_iter().enumerate() {
        let mut stream = dial_saying(&fixture, part).await;
        assert_eq!(read_to_end(&mut stream).await, "");
        let closes = fixture.metrics.closes(CloseReason::HandshakeTimeout);
        assert_eq!(closes.get(), count as u64 + 1);
    }
    drop(dial_saying(&fixture, &whole[..20]).await);
    fixture.until_closed(CloseReason::PeerLost).await;
}
