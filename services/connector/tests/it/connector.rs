//! A running connector.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use chassis::{App, World};
use clap::Parser;
use cluster::{Discovery, View};
use connector::{Config, Server};
use rpc::connector::v1::connector_service_client::ConnectorServiceClient;
use tokio::{sync::watch, task::JoinHandle};
use tonic::transport::Channel;

use crate::{PATIENCE, client::Client};

pub(crate) struct Connector {
    pub(crate) addr: SocketAddr,
    pub(crate) channel: Channel,
    pub(crate) grpc: ConnectorServiceClient<Channel>,
    pub(crate) served: JoinHandle<anyhow::Result<()>>,
    /// Which shards it sees.
    pub(crate) view: Arc<watch::Sender<View>>,
    pub(crate) app: App,
}

pub(crate) async fn bind(
    args: &[&str],
    discovery: Option<Arc<dyn Discovery>>,
) -> (App, anyhow::Result<Server>) {
    let anywhere = ["--listen-addr=127.0.0.1:0", "--grpc-addr=127.0.0.1:0", "--heartbeat=60"];
    let is_given = |default: &&&str| {
        let flag = default.split('=').next().unwrap();
        args.iter().any(|arg| arg.starts_with(flag))
    };
    let defaults = anywhere.iter().filter(|default| !is_given(default));
    let config = Config::parse_from(["connector"].iter().chain(defaults).chain(args));
    let mut app = App::detached(World::real());
    let server = Server::bind_with(&config, &mut app, discovery).await;
    (app, server)
}

impl Connector {
    /// One that sees `shards`.
    pub(crate) async fn start(args: &[&str], shards: &[cluster::Shard]) -> Self {
        let view = Arc::new(watch::Sender::new(View::new(shards.iter().cloned())));
        let (app, server) = bind(args, Some(view.clone())).await;
        Self::serve(app, server.unwrap(), view).await
    }

    /// One that is told of shards by its flags only.
    pub(crate) async fn discovering(args: &[&str]) -> Self {
        let (app, server) = bind(args, None).await;
        Self::serve(app, server.unwrap(), Arc::new(watch::Sender::new(View::default()))).await
    }

    async fn serve(app: App, server: Server, view: Arc<watch::Sender<View>>) -> Self {
        let (addr, grpc_addr) = (server.client_addr(), server.grpc_addr());
        let served = tokio::spawn(server.serve());
        let channel = World::real().net.channel(&grpc_addr.to_string()).await.unwrap();
        let grpc = ConnectorServiceClient::new(channel.clone());
        Self { addr, channel, grpc, served, view, app }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.addr).await
    }

    /// The value of a metric, labels included in the name; 0 if there is none.
    pub(crate) fn metric(&mut self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, self.app.registry()).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a metric has a value.
    pub(crate) async fn until(&mut self, name: &str, value: f64) {
        let mut seen = f64::NAN;
        let poll = async {
            while seen != value {
                tokio::time::sleep(Duration::from_millis(1)).await;
                seen = self.metric(name);
            }
        };
        if tokio::time::timeout(PATIENCE, poll).await.is_err() {
            panic!("{name} stays {seen}, should be {value}");
        }
    }
}
