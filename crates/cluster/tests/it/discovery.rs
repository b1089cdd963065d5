//! `HealthDiscovery` over tonic's own health service on real sockets.

use std::{net::SocketAddr, time::Duration};

use cluster::{Discovery, HealthDiscovery, LOST_AFTER, List, Shard, View};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::watch,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{dial, jitter, until};

const SERVICE: &str = "chat.v1.ChatService";

/// A process that serves health, on a runtime of its own so that it can die with
/// its connections.
struct Process {
    addr: SocketAddr,
    health: HealthReporter,
    runtime: Option<Runtime>,
}

impl Process {
    async fn start(addr: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (health, service) = tonic_health::server::health_reporter();
        health.set_service_status(SERVICE, ServingStatus::Serving).await;
        let (bound, addr_of) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let listener = bind(addr).await;
            bound.send(listener.local_addr().unwrap()).unwrap();
            let incoming = TcpListenerStream::new(listener);
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await
        });
        Self { addr: addr_of.await.unwrap(), health, runtime: Some(runtime) }
    }

    async fn say(&self, status: ServingStatus) {
        self.health.set_service_status(SERVICE, status).await;
    }

    fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// Takes the port, as soon as the process that had it has let it go.
async fn bind(addr: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(addr).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            bound => return bound.unwrap(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn shard(id: &str, addr: &dyn std::fmt::Display) -> Shard {
    Shard { id: id.parse().unwrap(), addr: addr.to_string() }
}

fn discover(shards: &[Shard], me: Option<Shard>) -> watch::Receiver<View> {
    let list = List::fixed(shards.iter().cloned());
    let (discovery, run) = HealthDiscovery::new(list.into(), me, dial(), jitter());
    tokio::spawn(run);
    discovery.view()
}

fn ids(view: &View) -> String {
    view.shards().iter().map(|shard| shard.id.as_str()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_shard_is_in_the_view_while_it_says_that_it_serves() {
    let (one, two) = (Process::start(anywhere()).await, Process::start(anywhere()).await);
    let listed = [shard("two", &two.addr), shard("one", &one.addr), shard("down", &"127.0.0.1:1")];
    let (mut view, mut other) = (discover(&listed, None), discover(&listed, None));
    until(&mut view, |view| ids(view) == "one two").await;

    one.say(ServingStatus::NotServing).await;
    until(&mut view, |view| ids(view) == "two").await;
    one.say(ServingStatus::Serving).await;
    let seen = until(&mut view, |view| ids(view) == "one two").await;
    assert_eq!(until(&mut other, |other| *other == seen).await, seen, "two views agree");

    // Nothing changes, so nothing is published.
    one.say(ServingStatus::Serving).await;
    two.say(ServingStatus::NotServing).await;
    until(&mut view, |view| {
        assert!(["one two", "one"].contains(&ids(view).as_str()));
        ids(view) == "one"
    })
    .await;
}

#[tokio::test]
async fn a_shard_that_died_leaves_after_a_second_and_comes_back() {
    let mut process = Process::start(anywhere()).await;
    let mut view = discover(&[shard("a", &process.addr)], None);
    until(&mut view, |view| ids(view) == "a").await;

    let killed_at = Instant::now();
    process.kill();
    until(&mut view, |view| ids(view).is_empty()).await;
    let gone_after = Instant::now() - killed_at;
    assert!(gone_after >= LOST_AFTER, "gone after {gone_after:?}");
    assert!(gone_after < LOST_AFTER + Duration::from_secs(2), "gone after {gone_after:?}");

    let _again = Process::start(process.addr).await;
    until(&mut view, |view| ids(view) == "a").await;
}

#[tokio::test]
async fn a_shard_that_restarts_at_once_never_leaves() {
    let mut process = Process::start(anywhere()).await;
    let mut view = discover(&[shard("a", &process.addr)], None);
    until(&mut view, |view| ids(view) == "a").await;
    view.mark_unchanged();

    process.kill();
    let _again = Process::start(process.addr).await;
    let changed = timeout(LOST_AFTER * 2, view.changed()).await;
    assert!(changed.is_err(), "{:?}", view.borrow());
}

#[tokio::test]
async fn a_shard_is_always_in_its_own_view() {
    let other = Process::start(anywhere()).await;
    let me = shard("me", &"127.0.0.1:2");
    let alone = discover(&[], Some(me.clone()));
    assert_eq!(ids(&alone.borrow()), "me");

    // Listed under another address: the others use that one, so do we.
    let listed = [shard("other", &other.addr), shard("me", &"127.0.0.1:3")];
    let mut view = discover(&listed, Some(me));
    let seen = until(&mut view, |view| ids(view) == "me other").await;
    assert_eq!(seen.get(&"me".parse().unwrap()).unwrap().addr, "127.0.0.1:3");
}

#[tokio::test]
async fn a_shard_that_the_list_dropped_is_in_its_own_view_no_more() {
    let other = Process::start(anywhere()).await;
    let me = shard("me", &"127.0.0.1:2");
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("dropped");
    let write = |list: String| std::fs::write(&path, list).unwrap();
    let (both, others) = (format!("other={0}\nme={1}\n", other.addr, me.addr), "other");
    write(both.clone());
    let list: List<Shard> = format!("@{}", path.display()).parse().unwrap();
    let (discovery, run) = HealthDiscovery::new(list.into(), Some(me), dial(), jitter());
    tokio::spawn(run);
    let mut view = discovery.view();
    until(&mut view, |view| ids(view) == "me other").await;

    write(format!("other={}\n", other.addr));
    until(&mut view, |view| ids(view) == others).await;
    write(both);
    until(&mut view, |view| ids(view) == "me other").await;
}

#[tokio::test]
async fn servers_of_another_service_are_ready_when_that_service_is() {
    const TIME: &str = "time.v1.TimeService";
    let process = Process::start(anywhere()).await;
    process.say(ServingStatus::NotServing).await;
    process.health.set_service_status(TIME, ServingStatus::Serving).await;
    let listed = [shard("a", &process.addr)];
    let (discovery, run) =
        HealthDiscovery::of(TIME, List::fixed(listed).into(), None, dial(), jitter());
    tokio::spawn(run);
    let mut view = discovery.view();
    until(&mut view, |view| ids(view) == "a").await;

    process.health.set_service_status(TIME, ServingStatus::NotServing).await;
    until(&mut view, |view| ids(view).is_empty()).await;
}

#[tokio::test]
async fn a_list_that_changes_changes_the_view() {
    let (one, two) = (Process::start(anywhere()).await, Process::start(anywhere()).await);
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("discovered");
    std::fs::write(&path, format!("a={}\n", one.addr)).unwrap();
    let list: List<Shard> = format!("@{}", path.display()).parse().unwrap();
    let (discovery, run) = HealthDiscovery::new(list.into(), None, dial(), jitter());
    tokio::spawn(run);
    let mut view = discovery.view();
    until(&mut view, |view| ids(view) == "a").await;

    std::fs::write(&path, format!("a={}\nb={}\n", one.addr, two.addr)).unwrap();
    until(&mut view, |view| ids(view) == "a b").await;
    std::fs::write(&path, format!("b={}\n", one.addr)).unwrap();
    let moved = |view: &View| ids(view) == "b" && view.shards()[0].addr == one.addr.to_string();
    until(&mut view, moved).await;
}
