//! Pushing to many, fast and slow.

use std::{io::ErrorKind, num::NonZeroUsize, sync::Arc};

use chassis::World;
use frontend::{CloseReason, Direction, Options, Outgoing};
use tokio_tungstenite::tungstenite::{Error, Message};
use wire::{Kind, Profile};

use crate::fixture::{Fixture, package};

/// Bytes that can be told apart.
fn body(number: usize, len: usize) -> Vec<u8> {
    let mut body = format!("{number:08}").into_bytes();
    body.resize(len, b'.');
    body
}

/// DATA packages with such bodies.
fn numbered(numbers: std::ops::Range<usize>, len: usize) -> Outgoing {
    let mut builder = Outgoing::builder();
    for number in numbers {
        builder.push(&package(4, &body(number, len)));
    }
    builder.build()
}

#[tokio::test]
async fn many_pushes_cost_one_write_for_each_session() {
    let fixture = Fixture::start().await;
    let mut pairs = Vec::new();
    for _ in 0..50 {
        pairs.push(fixture.pair().await);
    }
    let writes = fixture.metrics.writes.get();
    let packages = fixture.metrics.packages(Direction::Out, Kind::Data).get();
    let outgoing = numbered(0..32, 120);
    for (_, session) in &pairs {
        session.send(&outgoing);
    }
    assert_eq!(fixture.metrics.writes.get() - writes, 50);
    let sent = fixture.metrics.packages(Direction::Out, Kind::Data).get() - packages;
    assert_eq!(sent, 50 * 32);
    for (client, _) in &mut pairs {
        for number in 0..32 {
            let expected = package(4, &body(number, 120));
            assert_eq!(client.receive().await[..], expected);
        }
    }
}

#[tokio::test]
async fn who_does_not_read_is_closed_and_the_others_miss_nothing() {
    let options =
        Options { outbox_max: NonZeroUsize::new(64 * 1024).unwrap(), ..Options::default() };
    let fixture = Fixture::start_with(World::real(), options, Profile::master_gate()).await;
    let (mut slow, slow_session) = fixture.pair().await;
    let (mut fast, fast_session) = fixture.pair().await;
    let mut sent = 0;
    // Until the kernel's buffers and the outbox are full.
    while !slow_session.is_closed() {
        let outgoing = numbered(sent..sent + 1, 16 * 1024);
        slow_session.send(&outgoing);
        fast_session.send(&outgoing);
        let message = fast.receive().await;
        assert_eq!(message[4..], body(sent, 16384));
        sent += 1;
        assert!(sent < 10_000, "160 MB were taken for one who does not read");
    }
    fixture.until("the slow one is gone", |f| f.metrics.connections.get() == 1).await;
    assert_eq!(fixture.metrics.outbox_closes.get(), 1);
    assert_eq!(
        fixture.toy.closed.lock().unwrap()[..],
        [(slow_session.id(), CloseReason::SlowConsumer)]
    );
    // What the slow one was sent before the end is in order, too; and the end is a
    // reset, as otherwise the kernel would keep megabytes for it.
    let mut received = 0;
    let end = loop {
        match slow.next().await {
            Some(Ok(message)) => {
                assert_eq!(message.into_data()[4..], body(received, 16384)[..]);
                received += 1;
            }
            end => break end,
        }
    };
    assert!(received < sent);
    assert!(
        matches!(&end, Some(Err(Error::Io(error))) if error.kind() == ErrorKind::ConnectionReset),
        "{end:?}"
    );
    fast.echo("\"still here\"").await;
}

#[tokio::test]
async fn who_reads_again_in_time_gets_everything_in_order() {
    let options =
        Options { outbox_max: NonZeroUsize::new(64 << 20).unwrap(), ..Options::default() };
    let fixture = Fixture::start_with(World::real(), options, Profile::master_gate()).await;
    let (mut client, session) = fixture.pair().await;
    let count = 4_000;
    for number in 0..count {
        session.send(&numbered(number..number + 1, 8 * 1024));
    }
    let writes = fixture.metrics.writes.get();
    assert!(writes < count as u64, "the socket took all: the test tests nothing");
    for number in 0..count {
        assert_eq!(client.receive().await[4..], body(number, 8192));
    }
    assert!(!session.is_closed());
    // The outbox went out in writes of many pieces.
    assert!(fixture.metrics.writes.get() < count as u64, "{}", fixture.metrics.writes.get());
    client.echo("\"and goes on\"").await;
}

#[tokio::test]
async fn what_was_sent_before_a_close_arrives() {
    let fixture = Fixture::start().await;
    let (mut client, session) = fixture.pair().await;
    for number in 0..100 {
        session.send(&numbered(number..number + 1, 4 * 1024));
    }
    session.close(CloseReason::Application);
    session.send(&numbered(100..101, 10));
    for number in 0..100 {
        assert_eq!(client.receive().await[4..], body(number, 4096));
    }
    let next = client.next().await;
    assert!(matches!(next, Some(Ok(Message::Close(_)))), "after the end: {next:?}");
    drop(client);
    fixture.until_closed(CloseReason::Application).await;
}

#[tokio::test]
async fn an_outbox_that_is_not_read_holds_a_close_up_for_two_seconds_only() {
    let options =
        Options { outbox_max: NonZeroUsize::new(64 << 20).unwrap(), ..Options::default() };
    let fixture = Fixture::start_with(World::real(), options, Profile::master_gate()).await;
    let (client, session) = fixture.pair().await;
    session.send(&numbered(0..100, 160 * 1024));
    session.close(CloseReason::Application);
    fixture.until_closed(CloseReason::Application).await;
    drop(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_send_to_many_at_once_and_each_order_is_kept() {
    const SENDERS: usize = 4;
    const MESSAGES: usize = 500;
    let options =
        Options { outbox_max: NonZeroUsize::new(64 << 20).unwrap(), ..Options::default() };
    let fixture = Fixture::start_with(World::real(), options, Profile::master_gate()).await;
    let mut pairs = Vec::new();
    for _ in 0..8 {
        pairs.push(fixture.pair().await);
    }
    let sessions: Vec<_> = pairs.iter().map(|(_, session)| Arc::clone(session)).collect();
    let threads: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let sessions = sessions.clone();
            std::thread::spawn(move || {
                for number in 0..MESSAGES {
                    let outgoing = numbered(
                        sender * MESSAGES + number..sender * MESSAGES + number + 1,
                        8 * 1024,
                    );
                    sessions.iter().for_each(|session| session.send(&outgoing));
                }
            })
        })
        .collect();
    for (client, _) in &mut pairs {
        let mut next = [0; SENDERS];
        for _ in 0..SENDERS * MESSAGES {
            let message = client.receive().await;
            let number: usize = std::str::from_utf8(&message[4..12]).unwrap().parse().unwrap();
            assert_eq!(number % MESSAGES, next[number / MESSAGES], "of {}", number / MESSAGES);
            next[number / MESSAGES] += 1;
        }
        client.echo("\"and goes on\"").await;
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
