use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use chassis::{App, Listener, Net, Policy, StartError, Stopped};
use cluster::{Discovery, HealthDiscovery};
use frontend::{Paces, Rate};
use tokio_util::sync::CancellationToken;

use rpc::{AccessLayer, Health, connector::v1::connector_service_server::ConnectorServiceServer};

use crate::{
    Config, Metrics,
    api::Api,
    deadlines::{self, Deadlines},
    drain::{ByHand, Drain},
    handler::Handler,
    hub::Hub,
    link::Opener,
    links::Links,
    router,
};

/// A connector that is built, but does not serve yet.
#[derive(Debug)]
pub struct Server {
    client_addr: SocketAddr,
    grpc_addr: SocketAddr,
    clients: frontend::Server<Handler>,
    grpc: Listener,
    net: Net,
    api: Api,
    drain: Drain,
    access: rpc::Access,
}

/// A peer that answers no ping for this long after one is due is gone.
const KEEPALIVE: Duration = Duration::from_secs(3);

impl Server {
    /// Takes the ports and builds everything; nothing is served yet.
    ///
    /// # Errors
    ///
    /// [`StartError`] for a port in use, an unreadable token, or no address that
    /// the gate could send clients to; [`Stopped`].
    pub async fn bind(config: &Config, app: &mut App) -> anyhow::Result<Self> {
        Self::bind_with(config, app, None).await
    }

    /// As [`Server::bind`], with a view from elsewhere than the options say.
    ///
    /// # Errors
    ///
    /// As [`Server::bind`].
    pub async fn bind_with(
        config: &Config,
        app: &mut App,
        discovery: Option<Arc<dyn Discovery>>,
    ) -> anyhow::Result<Self> {
        let access = config.access.load(config.grpc_addr, app)?;
        let profile =
            config.protocol.load(wire::Side::Connector, config.heartbeat).map_err(StartError)?;
        let profile = Arc::new(match config.crypto {
            true => signed(profile).map_err(StartError)?,
            false => profile,
        });
        let tls = config.tls.load(app)?;
        // First: whoever finds a port open finds a connector that knows the shards.
        let view = match discovery {
            Some(discovery) => discovery.view(),
            None => discover(config, app).await?.view(),
        };
        let listener = app.net().listen(config.listen_addr, "--listen-addr").await?;
        let client_addr = listener.local_addr()?;
        let (host, port) = advertised(config, client_addr)?;
        let grpc = app.net().listen(config.grpc_addr, "--grpc-addr").await?;
        let grpc_addr = grpc.local_addr()?;
        let metrics = Metrics::register(app.registry());
        let client_metrics = frontend::Metrics::register(app.registry(), "connector");
        let (world, shutdown, tasks) = (app.world().clone(), app.shutdown(), app.tasks().clone());
        let deadlines = Deadlines::new(config.request_timeout);
        let hub = Hub::new(world.clone(), metrics, deadlines, config.frontend.outbox_max.get());
        let opener = Opener {
            hub: hub.clone(),
            access: access.clone(),
            connector_id: config.connector_id.clone(),
            profile: Arc::clone(&profile),
            outbox_max: config.link_outbox_max.get(),
        };
        let links = Links::new(opener, world.net.clone(), tasks.clone(), shutdown.clone(), view);
        let spawn = |kind, task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            let shutdown = shutdown.clone();
            tasks.spawn(kind, Policy::Critical, async move {
                shutdown.run_until_cancelled(task).await;
            });
        };
        spawn("links", Box::pin(links.clone().follow_view()));
        spawn("router", Box::pin(router::run(links.clone())));
        spawn("deadlines", Box::pin(deadlines::run(hub.clone(), Arc::clone(&profile))));
        let handler = Handler {
            hub: hub.clone(),
            links,
            content_max: config.content_max,
            session_requests_max: config.session_requests_max.get(),
            sends: Rate::new(config.sends_per_second, config.sends_burst),
            new_rooms: Paces::new(Rate::per(
                config.address_rooms_per_minute,
                Duration::from_secs(60),
                config.address_rooms_burst,
            )),
            origin: world.clock.now(),
        };
        let by_hand = ByHand::default();
        let drain = Drain {
            hub: hub.clone(),
            by_hand: by_hand.clone(),
            accept_grace: config.chassis.accept_grace,
            time: config.drain_time,
            request_timeout: config.request_timeout,
            stopper: app.stopper(),
            stopping: app.stopping(),
            closing: CancellationToken::new(),
            hold: app.hold(),
        };
        let clients = frontend::Server {
            listener,
            profile,
            handler: Arc::new(handler),
            options: config.frontend.clone(),
            tls,
            metrics: client_metrics.clone(),
            world,
            tasks: tasks.clone(),
            closing: drain.closing.clone(),
            shutdown: shutdown.clone(),
        };
        let api = Api {
            hub,
            clients: client_metrics,
            connector_id: config.connector_id.clone(),
            host,
            port,
            sessions_max: config.frontend.connections_max() as u64,
            began: app.began(),
            by_hand,
            shutdown,
        };
        let net = app.net().clone();
        Ok(Self { client_addr, grpc_addr, clients, grpc, net, api, drain, access })
    }

    /// Where clients connect; tells the port if 0 was asked for.
    #[must_use]
    pub fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// Where gates and operators connect; tells the port if 0 was asked for.
    #[must_use]
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Serves until shutdown is asked for and the last client has gone.
    ///
    /// # Errors
    ///
    /// The gRPC server breaks.
    pub async fn serve(self) -> anyhow::Result<()> {
        let Self { clients, grpc, net, api, drain, access, .. } = self;
        let (mut health, health_service) = Health::new();
        health.set::<ConnectorServiceServer<Api>>(true).await;
        let (v1, v1alpha) = rpc::reflection(&["connector.v1.ConnectorService"]);
        let shutdown = api.shutdown.clone();
        let (drained, stopped) = (drain.run(health.clone()), shutdown.clone());
        clients.tasks.spawn("drain", Policy::Critical, async move {
            stopped.run_until_cancelled(drained).await;
        });
        let stop = async move {
            shutdown.cancelled().await;
            health.end::<ConnectorServiceServer<Api>>().await;
        };
        let grpc = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .layer(AccessLayer(access))
            .add_service(health_service)
            .add_service(v1)
            .add_service(v1alpha)
            .add_service(ConnectorServiceServer::new(api))
            .serve_with_incoming_shutdown(net.incoming(grpc), stop);
        let ((), served) = tokio::join!(clients.serve(), grpc);
        served.context("serve gRPC")
    }
}

/// The profile with signatures, if clients can sign what they call.
fn signed(profile: wire::Profile) -> Result<wire::Profile, String> {
    let unsignable =
        [wire::route::ENTER, wire::route::SEND].into_iter().find(|r| profile.has_client_schema(r));
    match unsignable {
        Some(route) => Err(format!(
            "--crypto: {route} is protobuf, which has no place for a signature: take a --profile \
             or --client-protos without it"
        )),
        None => Ok(profile.with_signing()),
    }
}

fn advertised(config: &Config, client_addr: SocketAddr) -> Result<(String, u16), StartError> {
    match &config.advertise {
        Some(advertised) => Ok(advertised.clone()),
        None if client_addr.ip().is_unspecified() => Err(StartError(format!(
            "--listen-addr {client_addr} is no address that clients could be sent to, so --advertise is needed"
        ))),
        None => Ok((client_addr.ip().to_string(), client_addr.port())),
    }
}

async fn discover(config: &Config, app: &mut App) -> anyhow::Result<HealthDiscovery> {
    let (net, rng) = (app.net().clone(), app.world().rng.clone());
    let dial: cluster::Dial = Arc::new(move |addr| {
        let net = net.clone();
        Box::pin(async move { net.channel(&addr).await })
    });
    let jitter: cluster::Jitter = Arc::new(move |max| rng.up_to(max));
    let opening = config.discovery.shards(&config.shards, app.registry(), Arc::clone(&jitter));
    let open = opening.open(|what| app.waits_for(what));
    let shards = app.shutdown().run_until_cancelled(open).await.ok_or(Stopped)?;
    let shards = shards.map_err(StartError)?;
    let (discovery, run) = HealthDiscovery::new(shards, None, dial, jitter);
    let shutdown = app.shutdown();
    app.tasks().spawn("discovery", Policy::Critical, async move {
        shutdown.run_until_cancelled(run).await;
    });
    Ok(discovery)
}
