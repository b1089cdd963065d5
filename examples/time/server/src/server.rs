use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use chassis::{App, Clock, Listener, Net};
use rpc::{Access, AccessLayer, Health};
use time_rpc::time::v1::time_service_server::{SERVICE_NAME, TimeServiceServer};
use tokio_util::sync::CancellationToken;

use crate::{Config, metrics::Metrics, service::Time};

/// A caller that answers no ping for this long after one is due is gone.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Calls that one connection may have open; more wait for the earlier ones.
const CALLS_MAX: u32 = 256;

/// How long a server that says it does not serve goes on answering: until those who
/// watch it have heard, and call others.
const LINGER: Duration = Duration::from_millis(200);

/// How long calls may take to end after that.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// A time server that has its port and is not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    net: Net,
    grpc_addr: SocketAddr,
    access: Access,
    time: Time,
    shutdown: CancellationToken,
}

impl Server {
    /// Takes the port and registers metrics; nothing is served yet.
    ///
    /// # Errors
    ///
    /// [`chassis::StartError`]: the port is in use, a token is unreadable, or is missing
    /// although the address is not on loopback.
    pub async fn bind(config: &Config, app: &mut App) -> anyhow::Result<Self> {
        let access = config.access.load(config.grpc_addr, app)?;
        let listener = app.net().listen(config.grpc_addr, "--grpc-addr").await?;
        let grpc_addr = listener.local_addr().context("read the address of --grpc-addr")?;
        let time = Time {
            id: config.server_id.clone(),
            clock: app.world().clock,
            metrics: Metrics::register(app.registry()),
        };
        let net = app.net().clone();
        Ok(Self { listener, net, grpc_addr, access, time, shutdown: app.shutdown() })
    }

    /// Where it listens; tells the port if 0 was asked for.
    #[must_use]
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Serves until shutdown is asked for, whoever watches has heard of it, and every
    /// call is answered.
    ///
    /// # Errors
    ///
    /// The gRPC server failed.
    pub async fn serve(self) -> anyhow::Result<()> {
        let Self { listener, net, access, time, shutdown, .. } = self;
        let clock = time.clock;
        let (health, health_service) = Health::new();
        health.set::<TimeServiceServer<Time>>(true).await;
        let (v1, v1alpha) = rpc::reflection_of(time_rpc::DESCRIPTORS, &[SERVICE_NAME]);
        let told = told(shutdown.clone(), health, clock);
        let serving = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .max_concurrent_streams(CALLS_MAX)
            .layer(AccessLayer(access))
            .add_service(health_service)
            .add_service(v1)
            .add_service(v1alpha)
            .add_service(TimeServiceServer::new(time))
            .serve_with_incoming_shutdown(net.incoming(listener), told);
        tokio::select! {
            served = serving => served.context("serve gRPC"),
            () = overdue(shutdown, clock) => Ok(()),
        }
    }
}

/// Tells those who watch, and ends when they have had time to hear it.
async fn told(shutdown: CancellationToken, mut health: Health, clock: Clock) {
    shutdown.cancelled().await;
    health.set::<TimeServiceServer<Time>>(false).await;
    clock.sleep(LINGER).await;
    health.end::<TimeServiceServer<Time>>().await;
}

async fn overdue(shutdown: CancellationToken, clock: Clock) {
    shutdown.cancelled().await;
    clock.sleep(LINGER + DRAIN_MAX).await;
}
