//! What the tests start, each thing with an `App` of its own.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use chassis::{App, World};
use clap::Parser;
use rpc::gate::v1::{
    QueryEntryRequest, QueryEntryResponse, gate_service_client::GateServiceClient,
};
use time_gate::Asker;
use time_rpc::time::v1::{
    GetCurrentTimeRequest, GetCurrentTimeResponse,
    time_service_server::{TimeService, TimeServiceServer},
};
use tokio::{task::JoinHandle, time::timeout};
use tonic::{Request, Response, Status, transport::Channel};

type Served = JoinHandle<anyhow::Result<()>>;

/// Waits until `probe` gives something.
pub(crate) async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            match probe().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(Duration::from_secs(20), found)
        .await
        .unwrap_or_else(|_| panic!("not within 20 s: {what}"))
}

/// A time server that runs.
pub(crate) struct TimeServer {
    pub(crate) listed: String,
    app: App,
    served: Option<Served>,
}

impl TimeServer {
    pub(crate) async fn start(id: &str) -> Self {
        Self::start_with(id, &[]).await
    }

    pub(crate) async fn start_with(id: &str, args: &[&str]) -> Self {
        let id_flag = format!("--server-id={id}");
        let fixed = ["time", "--grpc-addr=127.0.0.1:0", &id_flag];
        let config = time_server::Config::parse_from(fixed.iter().chain(args));
        let mut app = App::detached(World::real());
        let server = time_server::Server::bind(&config, &mut app).await.unwrap();
        let listed = format!("{id}={}", server.grpc_addr());
        let served = tokio::spawn(server.serve());
        Self { listed, app, served: Some(served) }
    }

    /// How often it has told the time.
    pub(crate) fn calls(&mut self) -> u64 {
        count(&mut self.app, "time_requests_total{result=\"ok\"}")
    }

    pub(crate) async fn stop(&mut self) {
        self.app.shutdown().cancel();
        let served = timeout(Duration::from_secs(20), self.served.take().unwrap());
        served.await.expect("it ends").unwrap().unwrap();
    }
}

fn count(app: &mut App, name: &str) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, app.registry()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).trim().parse().unwrap()
}

/// The gate and one connector.
pub(crate) struct Gate {
    pub(crate) asker: Arc<Asker>,
    app: App,
    grpc: GateServiceClient<Channel>,
    connector: SocketAddr,
    _connector_app: App,
}

impl Gate {
    /// Starts both, and waits until users are answered.
    pub(crate) async fn start(time_servers: &str, args: &[&str]) -> Self {
        let mut connector_app = App::detached(World::real());
        let fixed = ["connector", "--listen-addr=127.0.0.1:0", "--grpc-addr=127.0.0.1:0"];
        let config = connector::Config::parse_from(fixed.iter().chain(args));
        let server = connector::Server::bind(&config, &mut connector_app).await.unwrap();
        let (connector, announces) = (server.client_addr(), server.grpc_addr());
        tokio::spawn(server.serve());

        let mut app = App::detached(World::real());
        let [servers, connectors] =
            [format!("--time-servers={time_servers}"), format!("--connectors={announces}")];
        let fixed = ["time-gate", "--listen-addr=127.0.0.1:0", "--grpc-addr=127.0.0.1:0"];
        let fixed = fixed.into_iter().chain([&*servers, &*connectors]);
        let config = time_gate::Config::parse_from(fixed.chain(args.iter().copied()));
        let asker = Asker::start(&config, &mut app).unwrap();
        let hook: Arc<dyn gate::BeforeEntry> = asker.clone();
        let server = gate::Server::bind_with(&config.gate, &mut app, Some(hook)).await.unwrap();
        let channel = app.net().channel(&server.grpc_addr().to_string()).await;
        tokio::spawn(server.serve());
        let grpc = GateServiceClient::new(channel.unwrap());
        let gate = Self { asker, app, grpc, connector, _connector_app: connector_app };
        until("the gate knows the connector", async || gate.query("somebody").await.ok()).await;
        gate
    }

    pub(crate) async fn query(&self, uid: &str) -> Result<QueryEntryResponse, Status> {
        let request = QueryEntryRequest { uid: uid.to_owned() };
        self.grpc.clone().query_entry(request).await.map(Response::into_inner)
    }

    /// Asks as a user does, and sees the only right answer.
    pub(crate) async fn enter(&self, uid: &str) {
        let named = self.query(uid).await.unwrap();
        let right = (self.connector.ip().to_string(), u32::from(self.connector.port()));
        assert_eq!((named.host, named.port), right, "{uid}");
    }

    /// How often time servers were asked with this result.
    pub(crate) fn calls(&mut self, result: &str) -> u64 {
        count(&mut self.app, &format!("time_gate_calls_total{{result=\"{result}\"}}"))
    }
}

/// A time server that says it serves and never answers.
pub(crate) struct Hangs;

#[tonic::async_trait]
impl TimeService for Hangs {
    async fn get_current_time(
        &self,
        _: Request<GetCurrentTimeRequest>,
    ) -> Result<Response<GetCurrentTimeResponse>, Status> {
        std::future::pending().await
    }
}

impl Hangs {
    /// Starts it, and returns how to list it.
    pub(crate) async fn start(id: &str) -> String {
        let listener = World::real().net.listen("127.0.0.1:0".parse().unwrap(), "").await.unwrap();
        let listed = format!("{id}={}", listener.local_addr().unwrap());
        let (health, service) = rpc::Health::new();
        health.set::<TimeServiceServer<Self>>(true).await;
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .add_service(TimeServiceServer::new(Self));
        let serve: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(server.serve_with_incoming(World::real().net.incoming(listener)));
        tokio::spawn(serve);
        listed
    }
}
