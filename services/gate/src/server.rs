use std::{
    net::SocketAddr,
    sync::{Arc, RwLock},
    time::Duration,
};

use anyhow::Context;
use chassis::{App, Listener, Policy, StartError, Stopped, World};
use cluster::{Connector, Source};
use rpc::{
    AccessLayer, Health,
    gate::v1::gate_service_server::{GateServiceServer, SERVICE_NAME},
};
use tokio_util::sync::CancellationToken;

use crate::{
    BeforeEntry, Config, Metrics,
    advertise::{Advertise, Way},
    announcements::Listening,
    before::Before,
    clients::Clients,
    directory::Directory,
    service::Gate,
};

/// A caller that answers no ping for this long after one is due is gone.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Calls that one connection may have open; more wait for the earlier ones.
const CALLS_MAX: u32 = 256;

/// How long calls may take to end after shutdown. Answers take microseconds, or as
/// long as a [`BeforeEntry`] may; only health watches and reflection stay open, and
/// their callers come back elsewhere.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// A gate that has its ports and is not yet serving.
#[derive(Debug)]
pub struct Server {
    client_addr: SocketAddr,
    grpc_addr: SocketAddr,
    grpc: Listener,
    frontend: frontend::Server<Clients>,
    connectors: Source<Connector>,
    listening: Listening,
}

impl Server {
    /// Takes the ports and registers metrics, so that everything that can be wrong
    /// is found before readiness. Nothing is served yet.
    ///
    /// # Errors
    ///
    /// [`StartError`]: a port in use, an unreadable token; [`Stopped`].
    pub async fn bind(config: &Config, app: &mut App) -> anyhow::Result<Self> {
        Self::bind_with(config, app, None).await
    }

    /// As [`Server::bind`], with something that happens before users are answered.
    ///
    /// # Errors
    ///
    /// As [`Server::bind`].
    pub async fn bind_with(
        config: &Config,
        app: &mut App,
        before: Option<Arc<dyn BeforeEntry>>,
    ) -> anyhow::Result<Self> {
        // The original's gate has no heartbeat.
        let profile = Arc::new(config.protocol.load(wire::Side::Gate, 0).map_err(StartError)?);
        let way = Arc::new(way(config, app).await?);
        let access = config.access.load(config.grpc_addr, app)?;
        let tls = config.tls.load(app)?;
        // First: whoever finds a port open finds a gate that knows whom to name.
        let connectors = listed(config, app).await?;
        let clients = app.net().listen(config.listen_addr, "--listen-addr").await?;
        let grpc = app.net().listen(config.grpc_addr, "--grpc-addr").await?;

        let world = app.world().clone();
        let directory = Arc::new(RwLock::new(Directory::default()));
        directory.write().expect("new").list(&connectors.entries());
        let metrics = Metrics::register(app.registry(), Arc::clone(&directory), world.clock);
        let before = before.map(|hook| Before::new(hook, metrics.clone(), world.clock));
        let client_metrics = frontend::Metrics::register(app.registry(), "gate");
        let (tasks, shutdown) = (app.tasks().clone(), app.shutdown());
        let gate = Gate {
            directory,
            way,
            metrics: metrics.clone(),
            clients: client_metrics.clone(),
            clock: world.clock,
            began: app.began(),
            shutdown: shutdown.clone(),
            before,
        };
        Ok(Self {
            client_addr: clients.local_addr().context("read the address of --listen-addr")?,
            grpc_addr: grpc.local_addr().context("read the address of --grpc-addr")?,
            grpc,
            frontend: frontend::Server {
                listener: clients,
                profile,
                handler: Arc::new(Clients { gate: gate.clone(), tasks: tasks.clone() }),
                options: config.frontend.clone(),
                tls,
                metrics: client_metrics,
                world: world.clone(),
                tasks: tasks.clone(),
                closing: shutdown.clone(),
                shutdown: shutdown.clone(),
            },
            connectors,
            listening: Listening { gate, access, metrics, world, tasks, shutdown },
        })
    }

    /// Where clients connect; tells the port if 0 was asked for.
    #[must_use]
    pub fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// Where gRPC is served; tells the port if 0 was asked for.
    #[must_use]
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Serves until shutdown is asked for, every client's session is closed and
    /// every gRPC call answered.
    ///
    /// # Errors
    ///
    /// The gRPC server failed.
    pub async fn serve(self) -> anyhow::Result<()> {
        let Self { grpc, frontend, connectors, listening, .. } = self;
        let Listening { gate, access, tasks, shutdown, .. } = listening.clone();
        let World { clock, net, .. } = listening.world.clone();
        tasks.spawn("connector_list", Policy::Critical, listening.run(connectors));

        let incoming = net.incoming(grpc);
        let (health, health_service) = Health::new();
        health.set::<GateServiceServer<Gate>>(true).await;
        let (reflection, reflection_alpha) = rpc::reflection(&[SERVICE_NAME]);
        let grpc = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .max_concurrent_streams(CALLS_MAX)
            .layer(AccessLayer(access))
            .add_service(health_service)
            .add_service(reflection)
            .add_service(reflection_alpha)
            .add_service(GateServiceServer::new(gate))
            .serve_with_incoming_shutdown(incoming, told(shutdown.clone(), health));

        let overdue = async {
            shutdown.cancelled().await;
            clock.sleep(DRAIN_MAX).await;
        };
        let grpc = async {
            tokio::select! {
                served = grpc => served.context("serve gRPC"),
                () = overdue => Ok(()),
            }
        };
        let clients = async {
            frontend.serve().await;
            Ok(())
        };
        tokio::try_join!(grpc, clients).map(|((), ())| ())
    }
}

/// The connectors, as soon as they are listed.
async fn listed(config: &Config, app: &mut App) -> anyhow::Result<Source<Connector>> {
    let rng = app.world().rng.clone();
    let jitter: cluster::Jitter = Arc::new(move |max| rng.up_to(max));
    let opening = config.discovery.connectors(&config.connectors, app.registry(), jitter);
    let open = opening.open(|what| app.waits_for(what));
    let opened = app.shutdown().run_until_cancelled(open).await.ok_or(Stopped)?;
    Ok(opened.map_err(StartError)?)
}

/// What clients are told; and whoever follows a load balancer's address is at work.
async fn way(config: &Config, app: &App) -> Result<Way, StartError> {
    let way = Way::new(config.advertise, &config.advertise_options)?;
    let service = config.advertise_options.advertise_service.as_deref();
    let Some(service) = service.filter(|_| config.advertise == Advertise::LoadBalancer) else {
        return Ok(way);
    };
    let (host, follow) = config.discovery.balancer(service).await.map_err(StartError)?;
    let shutdown = app.shutdown();
    app.tasks().spawn("load_balancer", Policy::Critical, async move {
        shutdown.run_until_cancelled(follow).await;
    });
    Ok(way.to(host))
}

/// Waits for shutdown and tells health watchers before connections are told to end.
async fn told(shutdown: CancellationToken, mut health: Health) {
    shutdown.cancelled().await;
    health.end::<GateServiceServer<Gate>>().await;
}
