use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chassis::{Listener, Policy, Stream, Tasks, World};
use futures::future::BoxFuture;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use wire::Profile;

use crate::{
    AddressSource, CloseReason, Handler, Metrics, Options, Pace, Rate, Tls,
    addresses::{Addresses, Counted},
    arrival::{self, Caller},
    connection,
    session::Common,
    upgrade,
    wheel::{Timeouts, Wheel},
};

/// After a refused `accept`, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that are being told 503; those beyond are closed without a word.
const REFUSALS_MAX: usize = 256;

/// How long those wait for their turn who come faster than they may; those beyond are
/// refused.
const TURN_MAX: Duration = Duration::from_secs(1);

/// How long a client that is refused may take to say something, and to read its 503.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// A port with clients. Fill it in, then [`Server::serve`].
pub struct Server<H> {
    /// Where clients connect.
    pub listener: Listener,
    /// What the handshake announces; its heartbeat is the one that is demanded.
    pub profile: Arc<Profile>,
    /// What to do with the clients.
    pub handler: Arc<H>,
    /// Limits.
    pub options: Options,
    /// Takes TLS off, if clients may bring it.
    pub tls: Option<Tls>,
    /// What to count.
    pub metrics: Metrics,
    /// Where clocks are.
    pub world: World,
    /// Where tasks are spawned.
    pub tasks: Tasks,
    /// Asks the server to take no more clients. It serves those that it has.
    pub closing: CancellationToken,
    /// Asks the server to stop.
    pub shutdown: CancellationToken,
}

impl<H> fmt::Debug for Server<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({:?})", self.listener)
    }
}

/// What all connections of a server share.
pub(crate) struct Shared<H: Handler> {
    pub(crate) handler: Arc<H>,
    pub(crate) profile: Arc<Profile>,
    pub(crate) options: Options,
    pub(crate) tls: Option<Tls>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) world: World,
    pub(crate) common: Arc<Common>,
    pub(crate) wheel: Arc<Wheel<H::State>>,
    /// Where those that were let in come from.
    pub(crate) addresses: Arc<Addresses>,
}

impl<H: Handler> Shared<H> {
    /// Counts one more connection from `address`; none if as many as allowed are there.
    fn count_at(&self, address: IpAddr) -> Option<Counted> {
        self.addresses.count(address, self.options.address_connections_max.get())
    }
}

impl<H: Handler> Server<H> {
    /// Serves clients until shutdown; then closes all sessions and returns when
    /// the last is gone, which takes 4 s at most. Returns also when it was asked to take
    /// no more, and all have gone by themselves.
    pub async fn serve(self) {
        let Self { listener, tasks, shutdown, closing, metrics, .. } = self;
        let heartbeat_secs = self.profile.heartbeat_secs().map(NonZero::get);
        let common = Arc::new(Common {
            metrics: metrics.clone(),
            outbox_max: self.options.outbox_max.get(),
            now: AtomicU32::new(0),
            timeouts: Timeouts::new(
                self.options.handshake_timeout,
                self.options.idle_timeout,
                heartbeat_secs,
            ),
            last_id: AtomicU64::new(0),
        });
        let wheel = Arc::new(Wheel::new(Arc::clone(&common)));
        let turn = Arc::clone(&wheel).run(self.world.clock, shutdown.clone());
        tasks.spawn("client_timeouts", Policy::Critical, turn);
        let shared = Arc::new(Shared {
            handler: self.handler,
            profile: self.profile,
            options: self.options,
            tls: self.tls,
            shutdown: shutdown.clone(),
            world: self.world,
            common,
            wheel,
            addresses: Arc::default(),
        });
        let connections_max = shared.options.connections_max();
        metrics.connections_max.set(i64::try_from(connections_max).unwrap_or(i64::MAX));
        tracing::info!(connections_max, "clients may connect");
        let door = Door {
            shared,
            metrics,
            tasks,
            connections_max,
            open: Arc::default(),
            refusing: Arc::default(),
        };
        let all = TaskTracker::new();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = closing.cancelled() => {}
            () = door.keep_open(listener, &all) => {}
        }
        all.close();
        all.wait().await;
    }
}

struct Door<H: Handler> {
    shared: Arc<Shared<H>>,
    metrics: Metrics,
    tasks: Tasks,
    connections_max: usize,
    /// Connections that were let in.
    open: Arc<AtomicUsize>,
    /// Connections that are being refused.
    refusing: Arc<AtomicUsize>,
}

impl<H: Handler> Door<H> {
    /// Takes whoever comes, until it is dropped.
    async fn keep_open(&self, mut listener: Listener, all: &TaskTracker) {
        let rate = NonZero::new(self.shared.options.accepts_per_second)
            .and_then(|burst| Rate::new(burst.get(), burst));
        let (pace, clock) = (Pace::default(), self.shared.world.clock);
        let started = clock.now();
        let mut is_failing = false;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let turn = match rate {
                        Some(rate) => pace.reserve(rate, clock.now() - started, TURN_MAX),
                        None => Some(Duration::ZERO),
                    };
                    match turn {
                        Some(turn) => self.admit(stream, peer, turn, all.token()),
                        None => self.turn_away(stream, CloseReason::AcceptsPerSecond, all.token()),
                    }
                }
                Err(error) => {
                    // Said once; the metric counts on.
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(error = %error, "accept failed");
                    }
                    self.pause().await;
                    continue;
                }
            }
            is_failing = false;
        }
    }

    /// Lets one in whose turn comes after `turn`, if there is a place.
    fn admit(&self, stream: Stream, peer: SocketAddr, turn: Duration, token: TaskTrackerToken) {
        let options = &self.shared.options;
        let caller = Caller::new(&options.trusted_proxies, peer, AddressSource::Peer);
        // A proxy's client counts where it comes from, which is known later.
        let from = (!caller.is_proxy()).then(|| self.shared.count_at(peer.ip()));
        let (limit, reason) = match &from {
            Some(None) => (0, CloseReason::AddressConnectionsMax),
            Some(Some(_)) | None => (self.connections_max, CloseReason::ConnectionsMax),
        };
        let admitted = match Admitted::new(&self.open, limit, token) {
            Ok(admitted) => admitted.counted(&self.metrics.connections, from.flatten()),
            Err(token) => return self.turn_away(stream, reason, token),
        };
        let shared = Arc::clone(&self.shared);
        // Boxed, because the tracker's and the policy's futures around it
        // would hold it twice.
        let client: BoxFuture<'static, ()> = match shared.tls.is_some() || caller.is_proxy() {
            true => Box::pin(arrival::serve(shared, stream, caller, admitted)),
            false => Box::pin(connection::serve(shared, stream, caller, admitted)),
        };
        if turn.is_zero() {
            return self.tasks.spawn("client", Policy::Session, client);
        }
        self.metrics.accept_waits.inc();
        let (clock, shutdown) = (self.shared.world.clock, self.shared.shutdown.clone());
        self.tasks.spawn("client", Policy::Session, async move {
            // Who is asked to stop meanwhile closes it as it closes all.
            shutdown.run_until_cancelled(clock.sleep(turn)).await;
            client.await;
        });
    }

    /// Says 503 to one who is too many, or, if many are being told, nothing.
    fn turn_away(&self, stream: Stream, reason: CloseReason, token: TaskTrackerToken) {
        self.metrics.closes(reason).inc();
        if let Ok(refused) = Admitted::new(&self.refusing, REFUSALS_MAX, token) {
            let world = self.shared.world.clone();
            self.tasks.spawn("refusal", Policy::Session, async move {
                refuse(stream, &world).await;
                drop(refused);
            });
        }
    }

    async fn pause(&self) {
        self.metrics.accept_errors.inc();
        self.shared.world.clock.sleep(ACCEPT_PAUSE).await;
    }
}

/// Says 503 to whoever speaks HTTP, and waits until the client has read it, for 1 s at
/// most.
pub(crate) async fn refuse(mut stream: Stream, world: &World) {
    let say = async {
        let mut scratch = [0; 256];
        match stream.read(&mut scratch).await {
            Ok(1..) if upgrade::may_read_http(scratch[0]) => {}
            _ => return,
        }
        // Errors mean that the client is gone, which is what is wanted.
        let answer = upgrade::full(&world.rng);
        if stream.write_all(&answer).await.is_ok() && stream.shutdown().await.is_ok() {
            while matches!(stream.read(&mut scratch).await, Ok(1..)) {}
        }
    };
    tokio::select! {
        () = say => {}
        () = world.clock.sleep(REFUSAL_TIMEOUT) => {}
    }
}

/// A place among the connections; dropping it gives it back.
pub(crate) struct Admitted {
    places: Arc<AtomicUsize>,
    gauge: Option<Gauge>,
    from: Option<Counted>,
    _token: TaskTrackerToken,
}

impl Admitted {
    /// Takes one of `limit` places, or gives the token back.
    fn new(
        places: &Arc<AtomicUsize>,
        limit: usize,
        token: TaskTrackerToken,
    ) -> Result<Self, TaskTrackerToken> {
        // Only the accepting task takes places, so the limit holds exactly.
        if places.fetch_add(1, Ordering::AcqRel) >= limit {
            places.fetch_sub(1, Ordering::AcqRel);
            return Err(token);
        }
        Ok(Self { places: Arc::clone(places), gauge: None, from: None, _token: token })
    }

    fn counted(mut self, gauge: &Gauge, from: Option<Counted>) -> Self {
        gauge.inc();
        self.from = from;
        self.gauge = Some(gauge.clone());
        self
    }

    /// Counts the connection of a proxy's client at `address`; false if as many as
    /// allowed come from there.
    pub(crate) fn count_at<H: Handler>(&mut self, shared: &Shared<H>, address: IpAddr) -> bool {
        self.from = shared.count_at(address);
        self.from.is_some()
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.places.fetch_sub(1, Ordering::AcqRel);
        if let Some(gauge) = &self.gauge {
            gauge.dec();
        }
    }
}
