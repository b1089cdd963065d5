//! Memory and descriptors: what a client took is given back. In a process of
//! their own, one at a time, so that nobody else moves the figures. For as many as the
//! contract says, optimised:
//!
//! ```sh
//! VISITS=1000000 cargo test --profile sim -p frontend --test resources visits
//! ```

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../it/fixture.rs"]
mod fixture;

use std::{
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chassis::World;
use frontend::{CloseReason, Options};
use futures::{SinkExt, StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use wire::Profile;

use crate::fixture::{ECHO, Fixture, package, request};

static ALONE: Mutex<()> = Mutex::new(());

/// Runs `test` while no other runs, and ends all that it began.
fn alone(test: impl Future<Output = ()>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

/// What the allocator may keep.
const SLACK_KIB: usize = 4 * 1024;

#[derive(Debug)]
struct Usage {
    descriptors: usize,
    rss_kib: usize,
}

impl Usage {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let rss_kib = rss.trim().trim_end_matches("kB").trim().parse().unwrap();
        Self { descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(), rss_kib }
    }

    #[track_caller]
    fn expect_as_before(&self, before: &Self) {
        assert_eq!(self.descriptors, before.descriptors);
        assert!(self.rss_kib < before.rss_kib + SLACK_KIB, "{before:?} before, {self:?} after");
    }
}

/// Both ends of each connection are in this process.
#[allow(unsafe_code, reason = "there is no safe call")]
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only access the struct they are given.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max.min(10_000);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}

async fn all_gone(fixture: &Fixture) {
    fixture.until("all gone", |f| f.metrics.connections.get() == 0).await;
    // The tasks have let go; their memory goes with the tracker's count.
    fixture.until("all tasks ended", |f| f.app.tasks().len() == 2).await;
}

#[test]
fn a_thousand_half_open_connections_are_gone_after_the_handshake_timeout() {
    alone(half_open());
}

async fn half_open() {
    let options = Options { handshake_timeout: Duration::from_secs(4), ..Options::default() };
    let fixture = Fixture::start_with(World::real(), options, Profile::master_gate()).await;
    let mut client = fixture.client().await;
    // The first fill what the allocator and the runtime keep.
    hold_half_open(&fixture, 1_000).await;
    let before = Usage::now();
    hold_half_open(&fixture, 2_000).await;
    Usage::now().expect_as_before(&before);
    client.echo("\"unharmed\"").await;
}

/// A thousand clients that begin to say something, until the time for it is over;
/// then `timed_out` are gone in all.
async fn hold_half_open(fixture: &Fixture, timed_out: u64) {
    let mut held = Vec::new();
    for i in 0..1_000 {
        let mut stream = fixture.dial().await;
        match i % 3 {
            0 => {}
            1 => stream.write_all(b"GET / HTTP/1.1\r\nHost: half-open\r\n").await.unwrap(),
            _ => stream.write_all(b"G").await.unwrap(),
        }
        held.push(stream);
    }
    fixture.until("all in", |f| f.metrics.connections.get() == 1_001).await;
    fixture.until("all gone", |f| f.metrics.connections.get() == 1).await;
    assert_eq!(fixture.metrics.closes(CloseReason::HandshakeTimeout).get(), timed_out);
    drop(held);
    fixture.until("all tasks ended", |f| f.app.tasks().len() == 3).await;
}

/// One client, in one of the ways that clients come and go.
async fn visit(fixture: &Fixture, number: usize) {
    match number % 4 {
        0 => drop(fixture.dial().await),
        1 => drop(fixture.client().await),
        2 => {
            let mut client = fixture.client().await;
            client.echo("1").await;
            client.socket.send(Message::Close(None)).await.unwrap();
            client.close_frame().await;
        }
        _ => {
            let mut client = fixture.upgrade().await;
            client.send(b"nonsense".to_vec()).await;
            client.expect_close().await;
        }
    }
}

#[test]
fn visits_leave_nothing_behind() {
    alone(visits());
}

const AT_A_TIME: usize = 5_000;

async fn visits() {
    let count = std::env::var("VISITS").map_or(10_000, |count| count.parse().unwrap());
    let options = Options { handshake_timeout: Duration::from_secs(2), ..Options::default() };
    let fixture = Fixture::start_with(World::real(), options, Profile::master_gate()).await;
    let visit_often = async |count| {
        let all = stream::iter(0..count).map(|number| visit(&fixture, number));
        all.buffer_unordered(50).collect::<()>().await;
        all_gone(&fixture).await;
        fixture.toy.sessions.lock().unwrap().clear();
        fixture.toy.closed.lock().unwrap().clear();
    };
    // The first fill what the allocator and the runtime keep. No more at a time: the
    // fixture remembers all of them.
    visit_often(AT_A_TIME).await;
    let before = Usage::now();
    for _ in 0..count / AT_A_TIME {
        visit_often(AT_A_TIME).await;
    }
    Usage::now().expect_as_before(&before);
    let outcome = frontend::HandshakeResult::Ok;
    let handshakes = fixture.metrics.handshakes(outcome).get();
    assert_eq!(handshakes, ((count / AT_A_TIME + 1) * AT_A_TIME) as u64 / 2);
}

#[test]
fn a_long_message_leaves_no_long_buffer() {
    alone(long_messages());
}

async fn long_messages() {
    let package_max = NonZeroU32::new(512 * 1024).unwrap();
    let options = Options { package_max, ..Options::default() };
    let fixture = Fixture::start_with(World::real(), options, Profile::master_gate()).await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(fixture.client().await);
    }
    // Below the client's WebSocket, which would keep long buffers of its own.
    let request = long_frame(&request(1, ECHO, &format!("\"{}\"", "x".repeat(400_000))));
    let mut answer = vec![0; 10 + 4 + 2 + 400_002];
    let mut before = Usage::now();
    for (number, client) in clients.iter_mut().enumerate() {
        let stream = client.socket.get_mut();
        stream.write_all(&request).await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert!(answer.ends_with(b"xxx\""));
        if number == 20 {
            before = Usage::now();
        }
    }
    // 70 MB, if each session kept its buffer.
    Usage::now().expect_as_before(&before);
    for client in &mut clients {
        client.echo("\"goes on\"").await;
    }
}

#[test]
fn what_a_client_says_of_its_user_costs_no_memory_later() {
    alone(users());
}

async fn users() {
    let fixture =
        Fixture::start_with(World::real(), Options::default(), Profile::master_gate()).await;
    // As a value, an object takes fifty times its text.
    let [short, long] = [4_000, 250_000].map(|len| {
        let user = vec![r#"{"":0}"#; len / 7].join(",");
        package(1, format!(r#"{{"sys":{{}},"user":[{user}]}}"#).as_bytes())
    });
    let (mut clients, mut before) = (Vec::new(), Usage::now());
    for number in 0..220 {
        let mut stream = fixture.dial().await;
        stream.write_all(if number % 10 == 0 { &long } else { &short }).await.unwrap();
        let mut header = [0; 4];
        stream.read_exact(&mut header).await.unwrap();
        let mut rest = vec![0; usize::from(header[2]) << 8 | usize::from(header[3])];
        stream.read_exact(&mut rest).await.unwrap();
        stream.write_all(&package(2, b"")).await.unwrap();
        clients.push(stream);
        fixture.until("opened", |f| f.sessions() == clients.len()).await;
        if number == 20 {
            before = Usage::now();
        }
    }
    // 340 MB, if the long ones were kept, and 40 MB for the short ones.
    let after = Usage::now();
    assert!(after.rss_kib < before.rss_kib + SLACK_KIB, "{before:?} before, {after:?} after");
}

/// A client's frame for binary messages of any length.
fn long_frame(payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u64).to_be_bytes();
    [&[0x82, 0x80 | 127], &len[..], &[0; 4], payload].concat()
}

#[test]
fn without_descriptors_accepting_waits_and_goes_on() {
    alone(no_descriptors());
}

async fn no_descriptors() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    // The one that is left is the client's, so the server has none.
    taken.pop();
    let waiting = fixture.dial().await;
    fixture.until("accept fails", |f| f.metrics.accept_errors.get() > 1).await;
    client.echo("\"unharmed\"").await;
    drop(taken);
    fixture.until("accepted", |f| f.metrics.connections.get() == 2).await;
    drop(waiting);
    fixture.until("gone", |f| f.metrics.connections.get() == 1).await;
}
