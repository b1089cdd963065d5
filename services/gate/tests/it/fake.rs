//! A connector of which there is only the announcement.

use std::{net::SocketAddr, pin::Pin, time::Duration};

use futures::{Stream, StreamExt, stream};
use rpc::connector::v1::{
    AnnounceRequest, AnnounceResponse, DrainRequest, DrainResponse, KickRequest, KickResponse,
    SessionsRequest, SessionsResponse, StatsRequest, StatsResponse,
    connector_service_server::{ConnectorService, ConnectorServiceServer},
};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Announces what it is told to, on a runtime of its own so that it can die with
/// its connections.
pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    says: watch::Sender<Option<AnnounceResponse>>,
    tokens: watch::Sender<Vec<String>>,
    runtime: Option<Runtime>,
}

#[derive(Clone)]
struct Service {
    says: watch::Receiver<Option<AnnounceResponse>>,
    tokens: watch::Sender<Vec<String>>,
}

fn announcement(id: &str) -> AnnounceResponse {
    AnnounceResponse {
        connector_id: id.to_owned(),
        host: format!("{id}.test"),
        port: 3050,
        sessions: 7,
        sessions_max: 1000,
        draining: false,
    }
}

impl Fake {
    pub(crate) async fn start(id: &str) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), id).await
    }

    pub(crate) async fn start_on(addr: SocketAddr, id: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (says, heard) = watch::channel(Some(announcement(id)));
        let tokens = watch::Sender::new(Vec::new());
        let service = ConnectorServiceServer::new(Service { says: heard, tokens: tokens.clone() });
        let (bound, addr_of) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let listener = TcpListener::bind(addr).await.unwrap();
            bound.send(listener.local_addr().unwrap()).unwrap();
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
        });
        Self { addr: addr_of.await.unwrap(), says, tokens, runtime: Some(runtime) }
    }

    /// Changes what it announces from now on; at once.
    pub(crate) fn say(&self, change: impl FnOnce(&mut AnnounceResponse)) {
        self.says.send_modify(|says| change(says.as_mut().unwrap()));
    }

    /// Keeps its streams open and says nothing, as a process that hangs.
    pub(crate) fn hush(&self) {
        self.says.send_replace(None);
    }

    /// Ends the silence.
    pub(crate) fn say_again(&self, id: &str) {
        self.says.send_replace(Some(announcement(id)));
    }

    pub(crate) fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Waits for the `n`th stream, from 1, and returns the token shown for it.
    pub(crate) async fn stream(&self, n: usize) -> String {
        let mut tokens = self.tokens.subscribe();
        let opened = tokens.wait_for(|tokens| tokens.len() >= n);
        let tokens = tokio::time::timeout(Duration::from_secs(20), opened).await.unwrap();
        tokens.unwrap()[n - 1].clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tonic::async_trait]
impl ConnectorService for Service {
    type AnnounceStream = Pin<Box<dyn Stream<Item = Result<AnnounceResponse, Status>> + Send>>;

    async fn announce(
        &self,
        request: Request<AnnounceRequest>,
    ) -> Result<Response<Self::AnnounceStream>, Status> {
        let shown = request.metadata().get("authorization");
        let shown = shown.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        self.tokens.send_modify(|tokens| tokens.push(shown));
        let says = self.says.clone();
        let stream = stream::unfold((says, true), |(mut says, first)| async move {
            if !first {
                // Twice a second, and at once when something changes.
                let _ = tokio::time::timeout(Duration::from_millis(500), says.changed()).await;
            }
            let says_now = says.borrow_and_update().clone();
            Some((says_now, (says, false)))
        });
        Ok(Response::new(Box::pin(stream.filter_map(async |says| says.map(Ok)))))
    }

    async fn sessions(
        &self,
        _: Request<SessionsRequest>,
    ) -> Result<Response<SessionsResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }

    async fn kick(&self, _: Request<KickRequest>) -> Result<Response<KickResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }

    async fn stats(&self, _: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }
}
