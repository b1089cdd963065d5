//! All people of one large room come back at once, over connectors that are new, within
//! the grace of their names. The real code of connectors and shard, on a network within
//! the process. For as many as the contract says, optimised, and without the checks of a
//! room after each of its steps, which look at every member:
//!
//! ```sh
//! CROWD=10000 cargo test --profile sim --config profile.sim.debug-assertions=false \
//!     -p sim --test crowd -- --nocapture --test-threads 1
//! ```

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::disallowed_methods, reason = "a test makes its own world")]
#![allow(clippy::print_stderr, reason = "a measurement")]

mod pipes;
mod store;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use chassis::{App, Clock, Net, Rng, Stream, World};
use clap::Parser;
use rpc::chat::v1::{
    self as pb, Command, LinkRequest, chat_service_client::ChatServiceClient, command, event, reply,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use wire::{Decoder, Kind, Message, PushRoute, RawId};

use store::Counted;

const SHARD: &str = "127.0.0.1:1";
const CONNECTORS: usize = 2;
/// Longest body of an answer.
const PACKAGE_MAX: usize = 16 << 20;
/// Messages that all of them missed.
const MISSED: u64 = 20;
/// Between two who come: 10 000 come within ten seconds.
const APART: Duration = Duration::from_millis(1);
/// Longer than it ever takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn size() -> usize {
    std::env::var("CROWD").map_or(500, |size| size.parse().unwrap())
}

fn name(number: usize) -> String {
    format!("person-{number}")
}

fn secret(number: usize) -> String {
    format!("the secret of number {number}")
}

async fn serve_shard(net: &Net, store: Arc<Counted>) {
    let args = [
        "chat".to_owned(),
        "--shard-id=chat-0".to_owned(),
        format!("--shards=chat-0={SHARD}"),
        format!("--grpc-addr={SHARD}"),
        "--grace=120s".to_owned(),
    ];
    let config = chat::Config::parse_from(args);
    let mut app = App::detached(world(net));
    let server = chat::Server::bind_with(&config, &mut app, None, Some(store)).await.unwrap();
    app.ready().await.unwrap();
    tokio::spawn(async move {
        let _app = app;
        server.serve().await
    });
}

async fn serve_connector(net: &Net, number: usize) -> String {
    let args = [
        "connector".to_owned(),
        format!("--connector-id=connector-{number}"),
        format!("--shards=chat-0={SHARD}"),
        format!("--listen-addr=127.0.0.1:{}", 100 + number),
        format!("--grpc-addr=127.0.0.1:{}", 200 + number),
        "--accepts-per-second=0".to_owned(),
        "--profile=starter".to_owned(),
        "--heartbeat=60".to_owned(),
    ];
    let config = connector::Config::parse_from(args);
    let mut app = App::detached(world(net));
    let server = connector::Server::bind_with(&config, &mut app, None).await.unwrap();
    app.ready().await.unwrap();
    tokio::spawn(async move {
        let _app = app;
        server.serve().await
    });
    format!("127.0.0.1:{}", 100 + number)
}

fn world(net: &Net) -> World {
    World { net: net.clone(), clock: Clock::real(), rng: Rng::real() }
}

/// A connector that brings all people, and is lost. Says where the room is then.
async fn bring_all(net: &Net, count: usize) -> pb::Position {
    let channel = loop {
        match net.channel(SHARD).await {
            Ok(channel) => break channel,
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    };
    let (requests, stream) = mpsc::channel(4);
    let mut shard = ChatServiceClient::new(channel).max_decoding_message_size(64 << 20);
    let hello = pb::Hello { connector_id: "connector-lost".into(), incarnation: 1 };
    let ask = |request_id, command| LinkRequest {
        commands: vec![Command { request_id, command: Some(command) }],
    };
    requests.send(ask(0, command::Command::Hello(hello))).await.unwrap();
    let mut events = shard.link(ReceiverStream::new(stream)).await.unwrap().into_inner();
    let member = |number: usize| pb::RejoinMember {
        session_id: 1 + number as u64,
        user: name(number),
        identity: ring::digest::digest(&ring::digest::SHA256, secret(number).as_bytes()).as_ref()
            [..16]
            .to_vec()
            .into(),
        has_secret: true,
        grant: None,
    };
    let rejoin = pb::Rejoin {
        room: "r".into(),
        mark: Some(pb::Position::default()),
        seen: None,
        members: (0..count).map(member).collect(),
        redirected: false,
    };
    requests.send(ask(1, command::Command::Rejoin(rejoin))).await.unwrap();
    loop {
        for event in events.message().await.unwrap().unwrap().events {
            let Some(event::Event::Reply(reply)) = event.event else { continue };
            let Some(reply::Result::Rejoined(rejoined)) = reply.result else { panic!("{reply:?}") };
            assert_eq!(rejoined.readmitted.len(), count);
            return rejoined.position.unwrap();
        }
    }
}

async fn say(net: &Net, number: u64) {
    let channel = net.channel(SHARD).await.unwrap();
    let publish = pb::PublishRequest {
        room: "r".into(),
        author: "bot".into(),
        target: "*".into(),
        content: format!("message {number}"),
        cmid: format!("cmid {number}"),
    };
    ChatServiceClient::new(channel).publish(publish).await.unwrap();
}

/// One person's connection.
struct Person {
    stream: Stream,
    decoder: Decoder,
}

impl Person {
    /// None if the server did not take it, or closed it.
    async fn connect(net: &Net, addr: &str) -> Option<Self> {
        let stream = net.dial(addr).await.ok()?;
        let mut person = Self { stream, decoder: Decoder::new(PACKAGE_MAX) };
        let hello = json!({ "sys": {}, "user": { "shaddock": 1 } }).to_string();
        person.write(Kind::Handshake, hello.as_bytes()).await?;
        assert_eq!(person.next().await?.0, Kind::Handshake);
        person.write(Kind::HandshakeAck, b"").await?;
        Some(person)
    }

    /// None once the server has closed.
    async fn write(&mut self, kind: Kind, body: &[u8]) -> Option<()> {
        let mut package = BytesMut::new();
        wire::encode_package(kind, body, &mut package).unwrap();
        self.stream.write_all(&package).await.ok()
    }

    /// The next package; none once the server has closed.
    async fn next(&mut self) -> Option<(Kind, Bytes)> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            if let Some(package) = self.decoder.poll().unwrap() {
                return Some((package.kind, package.body));
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.decoder.feed(&buffer[..len]),
            }
        }
    }

    /// Comes in, from where it was; the answer, as JSON. None if the server closed it.
    async fn come_back(&mut self, number: usize, position: pb::Position) -> Option<Bytes> {
        let epoch = format!("{:016x}", position.epoch);
        let body = json!({
            "username": name(number), "rid": "r", "secret": secret(number),
            "resume": { "epoch": epoch, "seq": position.seq },
        });
        let mut package = BytesMut::new();
        let (id, route) = (RawId::new(1), PushRoute::Name(wire::route::ENTER));
        wire::encode_request(&id, route, body.to_string().as_bytes(), &mut package).unwrap();
        self.stream.write_all(&package).await.ok()?;
        loop {
            let (kind, body) = self.next().await?;
            if kind != Kind::Data {
                continue;
            }
            if let Message::Response { body, .. } = Message::decode(body).unwrap() {
                return Some(body);
            }
        }
    }

    /// The numbers of the messages that it gets until it has `last`.
    async fn hear(&mut self, last: u64) -> Vec<u64> {
        let mut heard = Vec::new();
        while heard.last() != Some(&last) {
            let (kind, body) = self.next().await.expect("it was closed");
            if kind != Kind::Data {
                continue;
            }
            let Message::Push { body, .. } = Message::decode(body).unwrap() else { continue };
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert!(body["user"].is_null(), "whoever comes back in time is not told of: {body}");
            heard.push(body["seq"].as_u64().unwrap());
        }
        heard
    }
}

/// Comes back, again if it was refused, and gets what it missed. Says how often it
/// tried.
async fn return_of(net: Net, addr: String, number: usize, at: pb::Position) -> (usize, Person) {
    sleep(APART * u32::try_from(number).unwrap()).await;
    for tries in 1.. {
        let Some(mut person) = Person::connect(&net, &addr).await else { continue };
        let answer = person.come_back(number, at).await;
        // To read all names of all answers would take longer than all else.
        let Some(answer) = answer.filter(|answer| answer.starts_with(br#"{"code":200"#)) else {
            sleep(Duration::from_millis(500)).await;
            continue;
        };
        let tail = String::from_utf8_lossy(&answer[answer.len() - 100..]);
        assert!(tail.ends_with(r#""verdict":{"kind":"complete"}}"#), "{number}: {tail}");
        if number.is_multiple_of(100) {
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer["users"].as_array().unwrap().len(), size());
        }
        let heard = person.hear(at.seq + MISSED).await;
        person.decoder = Decoder::new(PACKAGE_MAX);
        assert_eq!(heard, (at.seq + 1..=at.seq + MISSED).collect::<Vec<_>>(), "{number}");
        return (tries, person);
    }
    unreachable!()
}

fn resident_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096 / (1 << 20)
}

/// What it took to have all of them back.
#[derive(Debug)]
#[allow(dead_code, reason = "it is printed")]
struct Figures {
    time: Duration,
    /// Of all people together.
    tries: usize,
    reads_of_heads: usize,
    reads_of_pages: usize,
    mib: usize,
}

/// Brings all people in, loses their connector, and has all come back over others.
/// What they missed is remembered by the shard, or only in the log.
async fn crowd(is_remembered: bool) -> Figures {
    let (net, store) = (pipes::net(), Arc::new(Counted::new()));
    if !is_remembered {
        store.fill(MISSED).await;
    }
    serve_shard(&net, Arc::clone(&store)).await;
    let mut at = bring_all(&net, size()).await;
    let mut addrs = Vec::new();
    for number in 0..CONNECTORS {
        addrs.push(serve_connector(&net, number).await);
    }
    if is_remembered {
        for number in 0..MISSED {
            say(&net, number).await;
        }
    }
    // The first entry is a claim.
    at.seq = 1;
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    let (heads, pages) = (count(&store.heads), count(&store.pages));
    let (began, mib) = (Instant::now(), resident_mib());
    let mut crowd = JoinSet::new();
    for number in 0..size() {
        let addr = addrs[number % CONNECTORS].clone();
        crowd.spawn(return_of(net.clone(), addr, number, at));
    }
    let all = timeout(PATIENCE, crowd.join_all()).await.expect("not all are back");
    let figures = Figures {
        time: began.elapsed(),
        tries: all.iter().map(|(tries, _)| tries).sum(),
        reads_of_heads: count(&store.heads) - heads,
        reads_of_pages: count(&store.pages) - pages,
        mib: resident_mib().saturating_sub(mib),
    };
    eprintln!("{} people: {figures:?}", size());
    figures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_comes_back_at_once_misses_nothing() {
    let Figures { tries, reads_of_heads, reads_of_pages, mib, .. } = crowd(true).await;
    // Those who wait share one read, and what they missed is not read at all.
    assert!(reads_of_heads <= tries, "{reads_of_heads}");
    assert_eq!(reads_of_pages, 0);
    // Most of it are their pipes, and what these people keep.
    assert!(mib < 100 + size() / 4, "{mib} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_whose_past_is_only_in_the_log_reads_one_page_each() {
    let Figures { tries, reads_of_heads, reads_of_pages, .. } = crowd(false).await;
    assert!(reads_of_heads <= tries, "{reads_of_heads}");
    assert!(reads_of_pages <= tries, "{reads_of_pages}");
}
