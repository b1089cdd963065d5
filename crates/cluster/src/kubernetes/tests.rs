//! The watch against a fake API server, in memory, so that time is paused. The server
//! speaks to the client as the real one does, without sockets in between.

#![allow(clippy::disallowed_methods, reason = "a test makes its own world")]

use std::{convert::Infallible, sync::Mutex};

use fake_api::{FakeApi, Pod, slice};
use http::Request;
use kube::client::Body;
use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep, timeout},
};

use super::*;
use crate::{Connector, Shard};

const SERVICE: &str = "chat-headless";

/// An API server, and what one process makes of it.
struct Scene<T> {
    entries: watch::Receiver<std::sync::Arc<[T]>>,
    status: std::sync::Arc<Status>,
}

fn client(api: &FakeApi, status: &std::sync::Arc<Status>) -> ApiServer {
    let api = api.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (api, uri) = (api.clone(), request.uri().clone());
        async move { Ok::<_, Infallible>(api.answer(&uri).await) }
    });
    ApiServer::behind(service, "ns", std::sync::Arc::clone(status))
}

fn jitter() -> Jitter {
    std::sync::Arc::new(|bound| bound)
}

impl<T: Listed> Scene<T> {
    /// Opens the list of `api`, and follows it.
    async fn open(api: &FakeApi) -> Self {
        Self::open_with(api, None).await
    }

    async fn open_with(api: &FakeApi, state: Option<StateFile>) -> Self {
        let status = Status::new();
        let source = open::<T>(client(api, &status), SERVICE, state, jitter(), |_| {}).await;
        let (entries, follow) = source.watch();
        tokio::spawn(follow);
        Self { entries, status }
    }

    fn lines(&self) -> String {
        lines(&self.entries.borrow())
    }

    /// Waits until the list is `wanted`, and says how long that took.
    async fn until(&mut self, wanted: &str) -> Duration {
        let began = Instant::now();
        let seen = self.entries.wait_for(|entries| lines(entries) == wanted);
        let seen = timeout(Duration::from_secs(300), seen).await.map(|seen| seen.is_ok());
        assert_eq!(seen, Ok(true), "wanted {wanted:?}, last seen {:?}", self.lines());
        Instant::now() - began
    }
}

fn lines<T: Listed>(entries: &[T]) -> String {
    entries.iter().map(Listed::line).collect::<Vec<_>>().join(" ")
}

fn pod(n: u32) -> Pod {
    Pod::new(&format!("u{n}"), &format!("p{n}"), &format!("10.0.0.{n}"))
}

fn put(api: &FakeApi, name: &str, pods: &[Pod]) {
    api.put(slice("ns", name, SERVICE, 1, pods));
}

/// A server that lists pods 1 to `count`.
fn listing(count: u32) -> FakeApi {
    let api = FakeApi::new();
    put(&api, "one", &(1..=count).map(pod).collect::<Vec<_>>());
    api
}

const ONE: &str = "u1=10.0.0.1:1";
const TWO: &str = "u1=10.0.0.1:1 u2=10.0.0.2:1";
const THREE: &str = "u1=10.0.0.1:1 u2=10.0.0.2:1 u3=10.0.0.3:1";

#[tokio::test(start_paused = true)]
async fn the_first_list_is_there_when_it_is_opened_and_changes_follow() {
    let api = listing(2);
    api.put(slice("ns", "other", "another-service", 1, &[pod(8)]));
    api.put(slice("elsewhere", "one", SERVICE, 1, &[pod(9)]));
    let mut scene = Scene::<Shard>::open(&api).await;
    assert_eq!(scene.lines(), TWO);

    put(&api, "two", &[pod(3)]);
    scene.until(THREE).await;
    put(&api, "one", &[pod(1)]);
    scene.until("u1=10.0.0.1:1 u3=10.0.0.3:1").await;
    api.remove("ns", "two");
    scene.until(ONE).await;
    assert_eq!(api.seen().lists, 1);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_about_to_end_stays_listed_while_it_serves() {
    let api = listing(2);
    let mut scene = Scene::<Shard>::open(&api).await;
    put(&api, "one", &[pod(1), pod(2).terminating(), pod(3)]);
    scene.until(THREE).await;
    put(&api, "one", &[pod(1), pod(2).unready(), pod(3)]);
    scene.until("u1=10.0.0.1:1 u3=10.0.0.3:1").await;
}

#[tokio::test(start_paused = true)]
async fn a_connector_stays_listed_until_it_has_ended() {
    let api = listing(2);
    let mut scene = Scene::<Connector>::open(&api).await;
    let all = "p1=10.0.0.1:1 p2=10.0.0.2:1 p3=10.0.0.3:1";
    let drains = [Some(false), Some(false), Some(true)];
    put(&api, "one", &[pod(1), pod(2).with(drains), pod(3)]);
    scene.until(all).await;
    put(&api, "one", &[pod(1), pod(3)]);
    scene.until("p1=10.0.0.1:1 p3=10.0.0.3:1").await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_first_list_is_a_list() {
    let api = FakeApi::new();
    let mut scene = Scene::<Shard>::open(&api).await;
    assert_eq!(scene.lines(), "");
    put(&api, "one", &[pod(1)]);
    scene.until(ONE).await;
}

#[tokio::test(start_paused = true)]
async fn changes_that_follow_each_other_are_published_as_one() {
    let api = listing(1);
    let mut scene = Scene::<Shard>::open(&api).await;
    scene.entries.mark_unchanged();
    put(&api, "two", &[pod(2)]);
    sleep(Duration::from_millis(50)).await;
    assert!(!scene.entries.has_changed().unwrap());
    put(&api, "three", &[pod(3)]);
    let after = scene.until(THREE).await;
    assert!((100..150).contains(&after.as_millis()), "{after:?}");

    // Changes that never stop are published each second.
    let began = Instant::now();
    let changing = async {
        for n in (4..60).cycle() {
            put(&api, "more", &[pod(n)]);
            sleep(Duration::from_millis(40)).await;
        }
    };
    tokio::select! {
        () = changing => unreachable!(),
        changed = scene.entries.changed() => changed.unwrap(),
    }
    let after = Instant::now() - began;
    assert!((900..1100).contains(&after.as_millis()), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn when_the_past_is_forgotten_the_list_is_read_anew() {
    let api = listing(1);
    let mut scene = Scene::<Shard>::open(&api).await;
    api.until(|seen| seen.watches == 1).await;
    api.compact();
    put(&api, "two", &[pod(2)]);
    let after = scene.until(TWO).await;
    assert!(after < Duration::from_secs(1), "{after:?}");
    assert_eq!(api.seen().lists, 2);
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_saves_a_list_when_the_watch_begins_anew() {
    let api = listing(1);
    let mut scene = Scene::<Shard>::open(&api).await;
    api.until(|seen| seen.watches == 1).await;
    api.put(slice("ns", "other", "another-service", 1, &[]));
    api.bookmark();
    sleep(Duration::from_secs(40)).await;
    put(&api, "two", &[pod(2)]);
    scene.until(TWO).await;
    assert_eq!(api.seen().lists, 1);
    assert!(api.seen().watches >= 2, "a watch ends after 30 s");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_half_open_is_noticed_within_35_seconds() {
    let api = listing(1);
    let mut scene = Scene::<Shard>::open(&api).await;
    api.until(|seen| seen.watches == 1).await;
    api.freeze_watches();
    put(&api, "two", &[pod(2)]);
    let after = scene.until(TWO).await;
    assert!((29..=36).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_stops_in_the_middle_is_asked_for_again_within_45_seconds() {
    let api = listing(1);
    let mut scene = Scene::<Shard>::open(&api).await;
    api.until(|seen| seen.watches == 1).await;
    api.stall_lists(true);
    api.compact();
    put(&api, "two", &[pod(2)]);
    api.until(|seen| seen.lists == 2).await;
    api.stall_lists(false);
    let after = scene.until(TWO).await;
    assert!((44..=47).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_changes_nothing_and_is_caught_up_with_in_5_seconds() {
    let api = listing(3);
    let mut scene = Scene::<Shard>::open(&api).await;
    for how in ["refuses", "is mute"] {
        match how {
            "refuses" => api.fail(Some(500)),
            _ => api.mute(true),
        }
        scene.entries.mark_unchanged();
        sleep(Duration::from_secs(600)).await;
        assert!(!scene.entries.has_changed().unwrap(), "{how}");
        assert!(api.seen().failed > 50, "{how}: {:?}", api.seen());

        api.fail(None);
        api.mute(false);
        let (name, pods, wanted) = match how {
            "refuses" => ("one", vec![pod(1), pod(2)], TWO),
            _ => ("two", vec![pod(3)], THREE),
        };
        put(&api, name, &pods);
        let after = scene.until(wanted).await;
        // One attempt may have begun the moment before, and gets no answer.
        let bound = if how == "refuses" { 5000 } else { 8500 };
        assert!(after.as_millis() < bound, "{how}: {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_are_a_reason_to_wait() {
    let api = listing(1);
    let mut scene = Scene::<Shard>::open(&api).await;
    api.fail(Some(429));
    sleep(Duration::from_secs(120)).await;
    let failed = api.seen().failed;
    assert!((20..60).contains(&failed), "{failed}");
    api.fail(None);
    put(&api, "two", &[pod(2)]);
    assert!(scene.until(TWO).await < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_becomes_empty_is_held_back_for_a_minute() {
    let api = listing(3);
    let mut scene = Scene::<Shard>::open(&api).await;
    put(&api, "one", &[]);
    let after = scene.until("").await;
    assert!((60..62).contains(&after.as_secs()), "{after:?}");

    put(&api, "one", &[pod(1), pod(2), pod(3)]);
    scene.until(THREE).await;
    scene.entries.mark_unchanged();
    api.remove("ns", "one");
    sleep(Duration::from_secs(50)).await;
    put(&api, "one", &[pod(1), pod(2), pod(3)]);
    sleep(Duration::from_secs(50)).await;
    assert!(!scene.entries.has_changed().unwrap(), "nobody was ever gone");
}

/// Counts warnings and errors, of whatever crate.
#[derive(Clone, Default)]
struct Warnings(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_logged_once_a_minute() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let api = listing(1);
    let scene = Scene::<Shard>::open(&api).await;
    api.fail(Some(403));
    // The watch that runs lasts 30 s.
    sleep(Duration::from_secs(30 + 150)).await;
    assert!(api.seen().failed > 30, "{:?}", api.seen());
    let counted = warnings.0.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(counted, 3, "at 0, 60 and 120 s");
    assert_eq!(scene.lines(), ONE);
}

#[tokio::test(start_paused = true)]
async fn a_start_says_what_it_waits_for_and_which_rule_is_missing() {
    let api = listing(1);
    api.fail(Some(403));
    let status = Status::new();
    let said = Mutex::new(Vec::new());
    let opening = open::<Shard>(client(&api, &status), SERVICE, None, jitter(), |what| {
        said.lock().unwrap().push(what.to_owned());
    });
    let allow = async {
        api.until(|seen| seen.failed > 3).await;
        api.fail(None);
    };
    let (source, ()) = tokio::join!(opening, allow);
    assert_eq!(lines(&source.entries()), ONE);
    let said = said.into_inner().unwrap();
    assert_eq!(said[0], "waiting for the list of chat-headless");
    assert_eq!(
        said[1],
        "waiting for the list of chat-headless: a Role that allows get, list and watch of \
         endpointslices in apiGroup discovery.k8s.io, namespace ns, is not bound to \
         system:serviceaccount:ns:fake"
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_without_api_server_takes_the_last_list_until_it_answers() {
    let folder = tempfile::tempdir().unwrap();
    let state = || Some(StateFile::new(folder.path(), SERVICE));
    let api = listing(2);
    let scene = Scene::<Shard>::open_with(&api, state()).await;
    let path = StateFile::new(folder.path(), SERVICE).path().to_owned();
    while !std::fs::read_to_string(&path).is_ok_and(|text| text.contains("u2=10.0.0.2:1\n")) {
        sleep(Duration::from_millis(10)).await;
    }
    drop(scene);

    api.mute(true);
    put(&api, "two", &[pod(3)]);
    let began = Instant::now();
    let mut again = Scene::<Shard>::open_with(&api, state()).await;
    assert_eq!((Instant::now() - began).as_secs(), 5);
    assert_eq!(again.lines(), TWO);
    api.mute(false);
    again.until(THREE).await;
    assert!(std::sync::Arc::strong_count(&again.status) > 1, "the watch goes on");
}

#[tokio::test(start_paused = true)]
async fn following_ends_when_nobody_listens() {
    let api = listing(1);
    let source = open::<Shard>(client(&api, &Status::new()), SERVICE, None, jitter(), |_| {}).await;
    let (entries, follow) = source.watch();
    drop(entries);
    timeout(Duration::from_secs(1), follow).await.expect("it ends");
    drop(api);
}
