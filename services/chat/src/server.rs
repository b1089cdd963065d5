use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use chassis::{App, Listener, Policy, StartError, Stopped};
use cluster::{Discovery, HealthDiscovery, Source};
use room::Limits;
use rpc::{
    AccessLayer, Health,
    chat::v1::{
        chat_peer_server::ChatPeerServer, chat_remote_server::ChatRemoteServer,
        chat_service_server::ChatServiceServer,
    },
};
use store::{MemoryLimits, Store};

use crate::{
    Config, Metrics, api::Shard, claims, content::ContentRules, heads, peers::Peers, retention,
    rooms::Rooms, superseded, upkeep, workers::Workers, writer,
};

/// A shard that is built, but does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    grpc_addr: SocketAddr,
    shard: Shard,
    access: rpc::Access,
}

/// Largest message that a peer may send, in bytes: a re-join of a full room fits.
const MESSAGE_LEN_MAX: usize = 64 << 20;
/// A peer that answers no ping for this long after one is due is gone.
const KEEPALIVE: Duration = Duration::from_secs(3);
/// How long links may live on after the shard was asked to stop.
const DRAIN: Duration = Duration::from_secs(2);

impl Server {
    /// Takes the port and builds everything; nothing is served yet, and nothing works
    /// before [`App::ready`].
    ///
    /// # Errors
    ///
    /// [`StartError`] for a port in use, an unreadable token, a store that cannot be
    /// used, or a shard that is not in its own list; [`chassis::Stopped`].
    pub async fn bind(config: &Config, app: &mut App) -> anyhow::Result<Self> {
        Self::bind_with(config, app, None, None).await
    }

    /// As [`Server::bind`], with a view from elsewhere than the options say, or with
    /// a log that others share, and that they keep short.
    ///
    /// # Errors
    ///
    /// As [`Server::bind`].
    pub async fn bind_with(
        config: &Config,
        app: &mut App,
        discovery: Option<Arc<dyn Discovery>>,
        store: Option<Arc<dyn Store>>,
    ) -> anyhow::Result<Self> {
        let access = config.access.load(config.grpc_addr, app)?;
        // First: whoever finds the port open finds a shard that serves.
        let limits = MemoryLimits { entries_max: config.memory_entries_max.get() };
        let (store, keeper) = match store {
            Some(store) => (store, None),
            None => {
                let keeper = config.storage.open(limits, app).await?;
                (Arc::clone(&keeper) as Arc<dyn Store>, Some(keeper))
            }
        };
        let discovery = match discovery {
            Some(discovery) => Ok(discovery),
            None => Err(listed(config, app).await?),
        };
        let listener = app.net().listen(config.grpc_addr, "--grpc-addr").await?;
        let grpc_addr = listener.local_addr()?;
        let metrics = Metrics::register(app.registry());
        let me = me(config, grpc_addr)?;
        let world = app.world().clone();
        let view = match discovery {
            Ok(discovery) => discovery.view(),
            Err(shards) => discover(shards, &me, app).view(),
        };
        let limits = Limits {
            members_max: config.room_members_max.get(),
            pending_max: config.room_pending_max.get(),
            ring_max: 128.min(config.memory_entries_max.get()),
            grace_ms: u64::try_from(config.grace.as_millis()).unwrap_or(u64::MAX / 2),
        };
        let (shutdown, tasks) = (app.shutdown(), app.tasks().clone());
        let mut content = ContentRules::new(config.content_max, metrics.masked.clone());
        if let Some(file) = &config.word_filter {
            content = content.with_words(file.clone(), app)?;
        }
        let (rooms, to_claim) = Rooms::new(me, limits, content, store, view, metrics, app);
        let peers = Peers::new(rooms.clone(), world.net.clone(), access.clone(), tasks.clone());
        let mut workers = Workers::new(tasks.clone())
            .with("claims", claims::run(rooms.clone(), to_claim, peers.clone()))
            .with("heads", heads::run(rooms.clone()))
            .with("superseded", superseded::run(rooms.clone()))
            .with("writer", writer::run(rooms.clone()))
            .with("sweep", upkeep::sweep(rooms.clone(), config.room_idle))
            .with("view", upkeep::follow_view(rooms.clone()));
        if let Some(keeper) = keeper {
            let policy = config.storage.retention();
            workers = workers.with("retention", retention::run(rooms.clone(), keeper, policy));
        }
        app.add(workers);
        let shard = Shard {
            rooms,
            peers,
            tasks,
            incarnation: world.rng.u64(),
            world,
            began: app.began(),
            shutdown,
            outbox_max: config.link_outbox_max.get(),
        };
        Ok(Self { listener, grpc_addr, shard, access })
    }

    /// Where it listens; tells the port if 0 was asked for.
    #[must_use]
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Serves until shutdown is asked for, then hands its rooms over and lets the
    /// links go.
    ///
    /// # Errors
    ///
    /// The server breaks.
    pub async fn serve(self) -> anyhow::Result<()> {
        let Self { listener, shard, access, .. } = self;
        let (health, health_service) = Health::new();
        health.set::<ChatServiceServer<Shard>>(true).await;
        health.set::<ChatRemoteServer<Shard>>(true).await;
        health.set::<ChatPeerServer<Shard>>(true).await;
        let (v1, v1alpha) =
            rpc::reflection(&["chat.v1.ChatService", "chat.v1.ChatRemote", "chat.v1.ChatPeer"]);
        let stop = drain(shard.clone(), health);
        let incoming = shard.world.net.incoming(listener);
        let chat = ChatServiceServer::new(shard.clone())
            .max_decoding_message_size(MESSAGE_LEN_MAX)
            .max_encoding_message_size(MESSAGE_LEN_MAX);
        tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .layer(AccessLayer(access))
            .add_service(health_service)
            .add_service(v1)
            .add_service(v1alpha)
            .add_service(chat)
            .add_service(ChatRemoteServer::new(shard.clone()))
            .add_service(ChatPeerServer::new(shard))
            .serve_with_incoming_shutdown(incoming, stop)
            .await
            .context("serve")
    }
}

/// Ends once shutdown was asked for and the links are gone, or have had their time.
async fn drain(shard: Shard, mut health: Health) {
    shard.shutdown.cancelled().await;
    health.end::<ChatServiceServer<Shard>>().await;
    health.end::<ChatRemoteServer<Shard>>().await;
    health.end::<ChatPeerServer<Shard>>().await;
    shard.rooms.hand_over();
    let clock = shard.world.clock;
    let deadline = clock.now() + DRAIN;
    while !shard.rooms.links().is_empty() && clock.now() < deadline {
        clock.sleep(Duration::from_millis(20)).await;
    }
    for link in shard.rooms.links() {
        link.end("shutdown", Some(tonic::Status::unavailable("the shard is stopping")));
    }
}

/// This shard as it sees itself. In its own view, the address of the list takes the
/// place of this one once it is listed.
fn me(config: &Config, grpc_addr: SocketAddr) -> Result<cluster::Shard, StartError> {
    if config.discovery.is_kubernetes() {
        let addr = config.discovery.own_addr(grpc_addr).to_string();
        return Ok(cluster::Shard { id: config.shard_id.clone(), addr });
    }
    let listed = config.shards.entries().iter().find(|shard| shard.id == config.shard_id);
    match listed {
        Some(me) => Ok(me.clone()),
        None if config.shards.entries().is_empty() => {
            Ok(cluster::Shard { id: config.shard_id.clone(), addr: grpc_addr.to_string() })
        }
        None => Err(StartError(format!("--shard-id {} is not in --shards", config.shard_id))),
    }
}

/// All shards, as soon as they are listed.
async fn listed(config: &Config, app: &mut App) -> anyhow::Result<Source<cluster::Shard>> {
    let rng = app.world().rng.clone();
    let jitter: cluster::Jitter = Arc::new(move |max| rng.up_to(max));
    let opening = config.discovery.shards(&config.shards, app.registry(), jitter);
    let open = opening.open(|what| app.waits_for(what));
    let opened = app.shutdown().run_until_cancelled(open).await.ok_or(Stopped)?;
    Ok(opened.map_err(StartError)?)
}

fn discover(shards: Source<cluster::Shard>, me: &cluster::Shard, app: &App) -> HealthDiscovery {
    let (net, rng) = (app.net().clone(), app.world().rng.clone());
    let dial: cluster::Dial = Arc::new(move |addr| {
        let net = net.clone();
        Box::pin(async move { net.channel(&addr).await })
    });
    let jitter: cluster::Jitter = Arc::new(move |max| rng.up_to(max));
    let (discovery, run) = HealthDiscovery::new(shards, Some(me.clone()), dial, jitter);
    let shutdown = app.shutdown();
    app.tasks().spawn("discovery", Policy::Critical, async move {
        shutdown.run_until_cancelled(run).await;
    });
    discovery
}
