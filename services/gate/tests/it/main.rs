//! The gate over real sockets, between connectors that only announce themselves
//! and clients that only ask.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::disallowed_methods, reason = "a test makes its own world")]

mod access;
mod advertise;
mod before;
mod connectors;
mod fake;
mod grpc;
mod pomelo;
mod start;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use chassis::{App, World};
use clap::Parser;
use gate::{BeforeEntry, Config, Server};
use rpc::gate::v1::{
    Connector, ConnectorState, ConnectorsRequest, QueryEntryRequest, QueryEntryResponse,
    gate_service_client::GateServiceClient,
};
use tokio::{task::JoinHandle, time::timeout};
use tonic::{Status, transport::Channel};

/// A gate that runs.
struct Gate {
    client_addr: SocketAddr,
    channel: Channel,
    grpc: GateServiceClient<Channel>,
    shutdown: tokio_util::sync::CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

async fn bind(args: &[&str]) -> (App, anyhow::Result<Server>) {
    bind_with(args, None).await
}

async fn bind_with(
    args: &[&str],
    before: Option<Arc<dyn BeforeEntry>>,
) -> (App, anyhow::Result<Server>) {
    let anywhere = ["--listen-addr=127.0.0.1:0", "--grpc-addr=127.0.0.1:0"];
    let is_given = |default: &&&str| {
        let flag = default.split('=').next().unwrap();
        args.iter().any(|arg| arg.starts_with(flag))
    };
    let defaults = anywhere.iter().filter(|default| !is_given(default));
    let config = Config::parse_from(["gate"].iter().chain(defaults).chain(args));
    let mut app = App::detached(World::real());
    let server = Server::bind_with(&config, &mut app, before).await;
    (app, server)
}

impl Gate {
    async fn start(args: &[&str]) -> Self {
        Self::start_with(args, None).await
    }

    async fn start_with(args: &[&str], before: Option<Arc<dyn BeforeEntry>>) -> Self {
        let (app, server) = bind_with(args, before).await;
        let server = server.unwrap();
        let (client_addr, grpc_addr) = (server.client_addr(), server.grpc_addr());
        let served = tokio::spawn(server.serve());
        let channel = World::real().net.channel(&grpc_addr.to_string()).await.unwrap();
        let grpc = GateServiceClient::new(channel.clone());
        Self { client_addr, channel, grpc, shutdown: app.shutdown(), served }
    }

    async fn listing(connectors: impl IntoIterator<Item = SocketAddr>) -> Self {
        let list: Vec<String> = connectors.into_iter().map(|addr| addr.to_string()).collect();
        Self::start(&[&format!("--connectors={}", list.join(","))]).await
    }

    async fn query(&self, uid: &str) -> Result<QueryEntryResponse, Status> {
        let request = QueryEntryRequest { uid: uid.to_owned() };
        self.grpc.clone().query_entry(request).await.map(tonic::Response::into_inner)
    }

    async fn connectors(&self) -> Vec<Connector> {
        let answer = self.grpc.clone().connectors(ConnectorsRequest {}).await;
        answer.unwrap().into_inner().connectors
    }

    /// Ids and states, `"a:Ready b:Down"`.
    async fn states(&self) -> String {
        let connectors = self.connectors().await;
        let states = connectors.iter().map(|connector| {
            let state = ConnectorState::try_from(connector.state).unwrap();
            format!("{}:{state:?}", connector.id)
        });
        states.collect::<Vec<_>>().join(" ")
    }

    /// Waits until [`Gate::states`] is `wanted`.
    async fn until(&self, wanted: &str) {
        let mut seen = String::new();
        let poll = async {
            while seen != wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
                seen = self.states().await;
            }
        };
        if timeout(Duration::from_secs(20), poll).await.is_err() {
            panic!("wanted {wanted}, last seen {seen}");
        }
    }
}

fn file(name: &str, content: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// The reason that programs match on.
fn reason(status: &Status) -> String {
    use tonic_types::StatusExt;
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}
