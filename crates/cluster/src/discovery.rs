//! How a process learns which shards are ready.

use std::{collections::HashMap, fmt, pin::pin, sync::Arc, time::Duration};

use futures::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{self, FuturesUnordered},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Streaming, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};

use crate::{Backoff, Jitter, Shard, Source, View};

/// Where views come from.
///
/// An implementation publishes a view only when the set of ready shards changes,
/// and keeps the last one while it cannot learn of changes.
pub trait Discovery: fmt::Debug + Send + Sync {
    /// The current view, and every later one; empty until the first is known.
    fn view(&self) -> watch::Receiver<View>;
}

/// A view that somebody sets by hand: for tests, and for processes that hold all
/// shards themselves.
impl Discovery for watch::Sender<View> {
    fn view(&self) -> watch::Receiver<View> {
        self.subscribe()
    }
}

/// Opens a gRPC channel to a `host:port`, in bounded time.
pub type Dial = Arc<
    dyn Fn(String) -> BoxFuture<'static, Result<Channel, tonic::transport::Error>> + Send + Sync,
>;

/// How long the watch of a shard may fail before the shard is no longer ready.
pub const LOST_AFTER: Duration = Duration::from_secs(1);

/// A shard is ready when this service of it is.
const CHAT: &str = "chat.v1.ChatService";

/// The listed shards that answer the standard health watch
/// (`grpc.health.v1.Health/Watch` of `chat.v1.ChatService`).
///
/// A shard is ready when it says SERVING. It is not ready as soon as it says
/// anything else, and when its watch has failed for [`LOST_AFTER`]: a shard that
/// restarts faster stays in the view. Who lists them, an operator or Kubernetes, is the
/// [`Source`]'s matter.
#[derive(Clone, Debug)]
pub struct HealthDiscovery {
    view: watch::Receiver<View>,
}

impl Discovery for HealthDiscovery {
    fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }
}

impl HealthDiscovery {
    /// Makes the discovery and the future that runs it, which the caller spawns
    /// and drops at shutdown: it never ends by itself.
    ///
    /// `me` is this process if it is a shard: it is in its own view, is not watched, and
    /// need not be listed. If it is, the list's address counts; and once it has been, a
    /// list of others takes it out: whoever has that list sends nobody here any more.
    pub fn new(
        shards: Source<Shard>,
        me: Option<Shard>,
        dial: Dial,
        jitter: Jitter,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        Self::of(CHAT, shards, me, dial, jitter)
    }

    /// As [`HealthDiscovery::new`], for servers that are ready when `service`, a full
    /// name such as `time.v1.TimeService`, is.
    pub fn of(
        service: &'static str,
        servers: Source<Shard>,
        me: Option<Shard>,
        dial: Dial,
        jitter: Jitter,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, view) = watch::channel(View::new(me.clone()));
        let run = Watches { service, dial, jitter, me, view: sender }.run(servers);
        (Self { view }, run)
    }
}

/// One health watch per listed shard, all in one task. The published view is their
/// only state.
struct Watches {
    service: &'static str,
    dial: Dial,
    jitter: Jitter,
    me: Option<Shard>,
    view: watch::Sender<View>,
}

impl Watches {
    async fn run(self, shards: Source<Shard>) {
        let (mut listed, follow) = shards.watch();
        let mut follow = pin!(follow.fuse());
        let mut watched: HashMap<Shard, DropGuard> = HashMap::new();
        let mut watches = FuturesUnordered::new();
        let mut was_listed = false;
        loop {
            let shards = Arc::clone(&listed.borrow_and_update());
            watched.retain(|shard, _| shards.contains(shard));
            let names_me = shards.iter().any(|shard| self.is_me(shard));
            let is_out = was_listed && !names_me;
            was_listed |= names_me;
            self.unlist(&shards, is_out);
            for shard in shards.iter() {
                if self.is_me(shard) {
                    self.set(shard, true);
                } else if !watched.contains_key(shard) {
                    let stop = CancellationToken::new();
                    watches.push(self.watch(shard.clone(), stop.clone()));
                    watched.insert(shard.clone(), stop.drop_guard());
                }
            }
            // Whoever gets here next has a new list: watches go on until then.
            loop {
                tokio::select! {
                    changed = listed.changed() => {
                        changed.expect("the list's sender is held by `follow`");
                        break;
                    }
                    Some(_) = watches.next() => {}
                    () = &mut follow => {}
                }
            }
        }
    }

    fn is_me(&self, shard: &Shard) -> bool {
        self.me.as_ref().is_some_and(|me| me.id == shard.id)
    }

    /// Takes out of the view who is not listed any more; this process itself only if it
    /// `is_out`.
    fn unlist(&self, listed: &[Shard], is_out: bool) {
        let view = self.view.borrow().clone();
        for shard in view.shards().iter().filter(|shard| !listed.contains(shard)) {
            if is_out || !self.is_me(shard) {
                self.set(shard, false);
            }
        }
    }

    fn set(&self, shard: &Shard, ready: bool) {
        let changed = self.view.send_if_modified(|view| {
            let next = if ready { view.with(shard) } else { view.without(shard) };
            let differs = *view != next;
            *view = next;
            differs
        });
        if changed {
            tracing::info!(shard_id = %shard.id, peer_addr = shard.addr, ready, "view changed");
        }
    }

    /// Watches one shard until it is not listed any more.
    async fn watch(&self, shard: Shard, stop: CancellationToken) {
        let backoff = Backoff::new(self.jitter.clone());
        let signals = signals(self.service, &shard, &self.dial, backoff);
        tokio::select! {
            // First of all: who is not listed must not get back into the view.
            biased;
            () = stop.cancelled() => {}
            () = decide(signals, |ready| self.set(&shard, ready)) => {}
        }
    }
}

/// Turns the signals of one shard into what the view says about it.
async fn decide(signals: impl Stream<Item = Signal>, set: impl Fn(bool)) {
    let mut signals = pin!(signals);
    let mut lost_at: Option<Instant> = None;
    loop {
        let overdue = async {
            match lost_at {
                Some(lost_at) => sleep_until(lost_at + LOST_AFTER).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            signal = signals.next() => match signal {
                Some(Signal::Ready(ready)) => {
                    lost_at = None;
                    set(ready);
                }
                Some(Signal::Lost) => {
                    lost_at.get_or_insert_with(Instant::now);
                }
                None => return,
            },
            () = overdue => {
                lost_at = None;
                set(false);
            }
        }
    }
}

/// What a health watch says.
enum Signal {
    /// The shard has answered.
    Ready(bool),
    /// It could not be asked, or the connection broke.
    Lost,
}

/// Where a health watch stands between two signals.
enum Watch {
    Dial { wait: Duration },
    Read(Box<Streaming<HealthCheckResponse>>),
}

/// Dials and reads, over and over.
fn signals(
    service: &'static str,
    shard: &Shard,
    dial: &Dial,
    backoff: Backoff,
) -> impl Stream<Item = Signal> {
    let start = (Watch::Dial { wait: Duration::ZERO }, backoff);
    stream::unfold(start, move |(watch, mut backoff)| async move {
        let read = match watch {
            Watch::Dial { wait } => {
                sleep(wait).await;
                open(service, dial, &shard.addr).await
            }
            Watch::Read(stream) => Ok(stream),
        };
        match read_one(read).await {
            Ok((status, stream)) => {
                backoff.reset();
                let ready = status == ServingStatus::Serving;
                Some((Signal::Ready(ready), (Watch::Read(stream), backoff)))
            }
            Err(reason) => {
                tracing::debug!(shard_id = %shard.id, reason, "health watch failed");
                let wait = backoff.wait();
                Some((Signal::Lost, (Watch::Dial { wait }, backoff)))
            }
        }
    })
}

type Statuses = Box<Streaming<HealthCheckResponse>>;

async fn open(service: &str, dial: &Dial, addr: &str) -> Result<Statuses, String> {
    let channel = dial(addr.to_owned()).await.map_err(|error| error.to_string())?;
    let request = HealthCheckRequest { service: service.to_owned() };
    let watch = HealthClient::new(channel).watch(request).await;
    watch.map(|answer| Box::new(answer.into_inner())).map_err(|status| status.to_string())
}

async fn read_one(opened: Result<Statuses, String>) -> Result<(ServingStatus, Statuses), String> {
    let mut statuses = opened?;
    match statuses.message().await {
        Ok(Some(answer)) => Ok((answer.status(), statuses)),
        Ok(None) => Err("the watch has ended".to_owned()),
        Err(status) => Err(status.to_string()),
    }
}

#[cfg(test)]
mod tests;
