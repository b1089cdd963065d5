use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZero,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chassis::{Clock, Listener, Policy, Stream, Tasks, World};
use futures::future::BoxFuture;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};
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

/// How long a client may take to read its 503.
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
    /// the last is gone, which takes 4 s at most.
    pub async fn serve(self) {
        let Self { mut listener, tasks, shutdown, metrics, .. } = self;
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
        let door = Door { shared, metrics, tasks, open: Arc::default(), refusing: Arc::default() };
        let rate = NonZero::new(door.shared.options.accepts_per_second)
            .and_then(|burst| Rate::new(burst.get(), burst));
        let (pace, started) = (Pace::default(), door.shared.world.clock.now());
        let all = TaskTracker::new();
        let mut stop = pin!(shutdown.cancelled());
        let mut is_failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = listener.accept() => accepted,
            };
            if let Some(rate) = rate {
                tokio::select! {
                    biased;
                    () = &mut stop => break,
                    () = door.keep_pace(&pace, rate, started) => {}
                }
            }
            match accepted {
                Ok((stream, peer)) => door.admit(stream, peer, all.token()),
                Err(error) => {
                    // Said once; the metric counts on.
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(error = %error, "accept failed");
                    }
                    door.pause().await;
                    continue;
                }
            }
            is_failing = false;
        }
        drop(listener);
        all.close();
        all.wait().await;
    }
}

struct Door<H: Handler> {
    shared: Arc<Shared<H>>,
    metrics: Metrics,
    tasks: Tasks,
    /// Connections that were let in.
    open: Arc<AtomicUsize>,
    /// Connections that are being refused.
    refusing: Arc<AtomicUsize>,
}

impl<H: Handler> Door<H> {
    fn admit(&self, stream: Stream, peer: SocketAddr, token: TaskTrackerToken) {
        let options = &self.shared.options;
        let caller = Caller::new(&options.trusted_proxies, peer, AddressSource::Peer);
        // A proxy's client counts where it comes from, which is known later.
        let from = (!caller.is_proxy()).then(|| self.shared.count_at(peer.ip()));
        let (limit, reason) = match &from {
            Some(None) => (0, CloseReason::AddressConnectionsMax),
            Some(Some(_)) | None => (options.connections_max.get(), CloseReason::ConnectionsMax),
        };
        match Admitted::new(&self.open, limit, token) {
            Ok(admitted) => {
                let admitted = admitted.counted(&self.metrics.connections, from.flatten());
                let shared = Arc::clone(&self.shared);
                // Boxed, because the tracker's and the policy's futures around it
                // would hold it twice.
                let client: BoxFuture<'static, ()> = match shared.tls.is_some() || caller.is_proxy()
                {
                    true => Box::pin(arrival::serve(shared, stream, caller, admitted)),
                    false => Box::pin(connection::serve(shared, stream, caller, admitted)),
                };
                self.tasks.spawn("client", Policy::Session, client);
            }
            Err(token) => {
                self.metrics.closes(reason).inc();
                if let Ok(refused) = Admitted::new(&self.refusing, REFUSALS_MAX, token) {
                    let clock = self.shared.world.clock;
                    self.tasks.spawn("refusal", Policy::Session, async move {
                        refuse(stream, clock).await;
                        drop(refused);
                    });
                }
            }
        }
    }

    /// Waits until one more connection is not too fast.
    async fn keep_pace(&self, pace: &Pace, rate: Rate, started: Instant) {
        let clock = self.shared.world.clock;
        let mut is_counted = false;
        loop {
            let wait = pace.wait(rate, clock.now() - started);
            if wait.is_zero() {
                return;
            }
            if !std::mem::replace(&mut is_counted, true) {
                self.metrics.accept_waits.inc();
            }
            clock.sleep(wait).await;
        }
    }

    async fn pause(&self) {
        self.metrics.accept_errors.inc();
        self.shared.world.clock.sleep(ACCEPT_PAUSE).await;
    }
}

/// Says 503, and waits until the client has read it, for 1 s at most.
pub(crate) async fn refuse(mut stream: Stream, clock: Clock) {
    let say = async {
        // Errors mean that the client is gone, which is what is wanted.
        if stream.write_all(&upgrade::full()).await.is_ok() && stream.shutdown().await.is_ok() {
            let mut scratch = [0; 256];
            while matches!(stream.read(&mut scratch).await, Ok(1..)) {}
        }
    };
    tokio::select! {
        () = say => {}
        () = clock.sleep(REFUSAL_TIMEOUT) => {}
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
