//! What one place, one page and one moment may take.

use std::num::NonZeroUsize;

use chassis::World;
use frontend::{CloseReason, Options};
use tokio::io::AsyncWriteExt;
use wire::Profile;

use crate::fixture::{Fixture, exchange, read_to_end};

async fn start(options: Options) -> Fixture {
    Fixture::start_with(World::real(), options, Profile::master_gate()).await
}

fn upgrade(origin: &str) -> Vec<u8> {
    format!(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{origin}\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn a_page_that_is_not_listed_may_not_connect() {
    let allowed_origins = vec!["https://chat.example".parse().unwrap()];
    let fixture = start(Options { allowed_origins, ..Options::default() }).await;
    let answer = exchange(&fixture, &upgrade("Origin: https://evil.example\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert_eq!(fixture.metrics.closes(CloseReason::HttpRefused).get(), 1);
    let mut listed = fixture.dial().await;
    listed.write_all(&upgrade("Origin: https://chat.example\r\n")).await.unwrap();
    listed.shutdown().await.unwrap();
    assert!(read_to_end(&mut listed).await.starts_with("HTTP/1.1 101 "));
    // No page at all.
    fixture.client().await.echo("\"native\"").await;
}

#[tokio::test]
async fn one_address_has_its_share_of_the_connections() {
    let address_connections_max = NonZeroUsize::new(2).unwrap();
    let fixture = start(Options { address_connections_max, ..Options::default() }).await;
    let (mut one, mut two) = (fixture.client().await, fixture.client().await);
    assert!(exchange(&fixture, &upgrade("")).await.starts_with("HTTP/1.1 503 "));
    assert_eq!(fixture.metrics.closes(CloseReason::AddressConnectionsMax).get(), 1);
    one.echo("\"unharmed\"").await;
    two.echo("\"unharmed\"").await;
    drop(two);
    fixture.until("it is gone", |fixture| fixture.metrics.connections.get() == 1).await;
    fixture.client().await.echo("\"in its place\"").await;
}

#[tokio::test]
async fn those_who_come_too_fast_wait_and_get_in() {
    let fixture = start(Options { accepts_per_second: 10, ..Options::default() }).await;
    let mut clients = Vec::new();
    for _ in 0..13 {
        clients.push(fixture.client().await);
    }
    for client in &mut clients {
        client.echo("\"in\"").await;
    }
    assert!(fixture.metrics.accept_waits.get() >= 1);
    assert_eq!(fixture.metrics.closes(CloseReason::AcceptsPerSecond).get(), 0);
    let unlimited = start(Options { accepts_per_second: 0, ..Options::default() }).await;
    for _ in 0..13 {
        unlimited.client().await.echo("\"in\"").await;
    }
    assert_eq!(unlimited.metrics.accept_waits.get(), 0);
}

#[tokio::test]
async fn those_who_come_much_too_fast_are_told_to_come_back() {
    let fixture = start(Options { accepts_per_second: 5, ..Options::default() }).await;
    // A burst of 5, and 5 more whose turn comes within a second.
    let request = upgrade("");
    let ask = async |_| {
        let mut stream = fixture.dial().await;
        stream.write_all(&request).await.unwrap();
        stream.shutdown().await.unwrap();
        read_to_end(&mut stream).await
    };
    let answers = futures::future::join_all((0..60).map(ask)).await;
    let are_in = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 101 ")).count();
    let are_told = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 503 ")).count();
    assert_eq!(are_in + are_told, 60, "{answers:?}");
    // More get in only as time goes by.
    assert!((10..40).contains(&are_in), "{are_in}");
    let refused = fixture.metrics.closes(CloseReason::AcceptsPerSecond).get();
    assert_eq!(refused, u64::try_from(are_told).unwrap());
    let header = |answer: &String| {
        let (_, rest) = answer.split_once("\r\nRetry-After: ").unwrap();
        rest.split_once("\r\n").unwrap().0.to_owned()
    };
    let told = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 503 "));
    let seconds: std::collections::BTreeSet<String> = told.map(header).collect();
    assert!(seconds.iter().all(|s| (1..=5).contains(&s.parse::<u32>().unwrap())), "{seconds:?}");
    assert!(seconds.len() > 1, "all would come back at once: {seconds:?}");
}
