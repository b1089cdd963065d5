//! A shard of which there is only the link.

use std::{net::SocketAddr, pin::Pin, time::Duration};

use futures::Stream;
use rpc::chat::v1::{
    self as pb, Command, Event, LinkRequest, LinkResponse,
    chat_service_server::{ChatService, ChatServiceServer},
    command::Command as C,
    event::Event as E,
    reply::Result as R,
};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{Mutex, mpsc},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::soon;

type Events = mpsc::Sender<Result<LinkResponse, Status>>;
/// What a new link has: both streams, and the token that was shown.
type Opened = (Streaming<LinkRequest>, Events, String);

/// Takes links and leaves it to the test what to say. Runs on a runtime of its own
/// so that it can die with its connections.
pub(crate) struct Shard {
    pub(crate) id: String,
    pub(crate) addr: SocketAddr,
    links: mpsc::Receiver<Opened>,
    runtime: Option<Runtime>,
}

struct Service {
    opened: Mutex<mpsc::Sender<Opened>>,
}

impl Shard {
    pub(crate) async fn start(id: &str) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), id).await
    }

    pub(crate) async fn start_on(addr: SocketAddr, id: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (opened, links) = mpsc::channel(16);
        let service = ChatServiceServer::new(Service { opened: Mutex::new(opened) });
        let (bound, addr_of) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let listener = TcpListener::bind(addr).await.unwrap();
            bound.send(listener.local_addr().unwrap()).unwrap();
            let (reporter, health) = tonic_health::server::health_reporter();
            let name = "chat.v1.ChatService";
            reporter.set_service_status(name, tonic_health::ServingStatus::Serving).await;
            tonic::transport::Server::builder()
                .add_service(service)
                .add_service(health)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
        });
        Self { id: id.into(), addr: addr_of.await.unwrap(), links, runtime: Some(runtime) }
    }

    /// What discovery would say of it.
    pub(crate) fn listed(&self) -> cluster::Shard {
        cluster::Shard { id: self.id.parse().unwrap(), addr: self.addr.to_string() }
    }

    pub(crate) fn address(&self) -> pb::ShardAddress {
        let (shard_id, addr) = (self.id.clone(), self.addr.to_string());
        pb::ShardAddress { shard_id, addr, claim: None }
    }

    /// The next link, on which nothing was said yet by either side.
    pub(crate) async fn raw_link(&mut self) -> Link {
        let (commands, events, shown) = soon("a link", self.links.recv()).await.unwrap();
        Link { shown, commands, events, queue: Vec::new().into(), beat: None }
    }

    /// The next link, welcomed; heartbeats come by themselves.
    pub(crate) async fn link(&mut self) -> Link {
        self.welcome(true, true).await
    }

    pub(crate) async fn welcome(&mut self, volatile: bool, beats: bool) -> Link {
        let mut link = self.raw_link().await;
        let C::Hello(hello) = link.next().await.1 else { panic!("no hello") };
        assert_eq!(hello.connector_id, "connector-1");
        let welcome = pb::Welcome { shard_id: self.id.clone(), incarnation: 1, volatile };
        link.send(E::Welcome(welcome)).await;
        if beats {
            link.beat();
        }
        link
    }

    pub(crate) fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The shard's end of a link.
pub(crate) struct Link {
    /// The token by which the connector proved itself.
    pub(crate) shown: String,
    commands: Streaming<LinkRequest>,
    events: Events,
    queue: std::collections::VecDeque<Command>,
    beat: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.hush();
    }
}

/// Waits for one kind of command.
macro_rules! take {
    ($($method:ident: $variant:ident),*) => { $(
        pub(crate) async fn $method(&mut self) -> (u64, pb::$variant) {
            match self.next().await {
                (id, C::$variant(command)) => (id, command),
                (id, other) => panic!("no {} but {id} {other:?}", stringify!($variant)),
            }
        }
    )* };
}

impl Link {
    take!(join: Join, leave: Leave, publish: Publish, rejoin: Rejoin, fetch: Fetch,
        read_history: ReadHistory, list_rooms: ListRooms);

    /// The next command but heartbeats and comparisons.
    pub(crate) async fn next(&mut self) -> (u64, C) {
        loop {
            match self.command().await {
                (_, C::Heartbeat(_) | C::Compare(_)) => {}
                other => return other,
            }
        }
    }

    /// The next command.
    pub(crate) async fn command(&mut self) -> (u64, C) {
        self.try_command().await.expect("the connector has ended the link")
    }

    /// As [`Link::command`]; `None` once the connector has ended the link.
    pub(crate) async fn try_command(&mut self) -> Option<(u64, C)> {
        while self.queue.is_empty() {
            let request = soon("a command", self.commands.message()).await.ok()??;
            self.queue.extend(request.commands);
        }
        let command = self.queue.pop_front()?;
        Some((command.request_id, command.command.unwrap()))
    }

    /// Waits until the connector has ended the link.
    pub(crate) async fn ended(mut self) {
        while self.try_command().await.is_some() {}
    }

    pub(crate) async fn compare(&mut self) -> (u64, pb::Compare) {
        loop {
            match self.command().await {
                (id, C::Compare(compare)) => return (id, compare),
                (_, C::Heartbeat(_)) => {}
                (id, other) => panic!("no Compare but {id} {other:?}"),
            }
        }
    }

    /// Waits for two heartbeats of the connector: whatever it had to say before the
    /// second has come, and nothing has.
    pub(crate) async fn expect_nothing(&mut self) {
        for _ in 0..2 {
            match self.command().await {
                (_, C::Heartbeat(_)) => {}
                // A digest that is never right is asked about.
                (_, C::Compare(_)) if self.beat.is_some() => {}
                (id, other) => panic!("{id} {other:?}"),
            }
        }
    }

    pub(crate) async fn send(&self, event: E) {
        self.send_all([event]).await;
    }

    /// Sends events in one message.
    pub(crate) async fn send_all(&self, events: impl IntoIterator<Item = E>) {
        let events = events.into_iter().map(|event| Event { event: Some(event) }).collect();
        // The connector may have gone.
        let _ = self.events.send(Ok(LinkResponse { events })).await;
    }

    pub(crate) async fn reply(&self, request_id: u64, result: R) {
        self.send(reply(request_id, result)).await;
    }

    pub(crate) async fn refuse(&self, request_id: u64, reason: pb::RefusedReason) {
        self.reply(request_id, refused(reason, None)).await;
    }

    pub(crate) async fn heartbeat(&self, digest: u64) {
        self.send(E::Heartbeat(pb::ShardHeartbeat { digest, store_unreachable: false })).await;
    }

    /// Beats from now on, with a digest that is never right.
    pub(crate) fn beat(&mut self) {
        let events = self.events.clone();
        self.beat = Some(tokio::spawn(async move {
            loop {
                let beat = pb::ShardHeartbeat { digest: 0xbad, store_unreachable: false };
                let events_of = vec![Event { event: Some(E::Heartbeat(beat)) }];
                if events.send(Ok(LinkResponse { events: events_of })).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }));
    }

    /// Beats no more.
    pub(crate) fn hush(&mut self) {
        if let Some(beat) = self.beat.take() {
            beat.abort();
        }
    }

    /// Ends the link with a status.
    pub(crate) async fn cut(&self) {
        let _ = self.events.send(Err(Status::unavailable("cut by the test"))).await;
    }
}

pub(crate) fn reply(request_id: u64, result: R) -> E {
    E::Reply(pb::Reply { request_id, room: "r".into(), result: Some(result) })
}

pub(crate) fn refused(reason: pb::RefusedReason, shard: Option<pb::ShardAddress>) -> R {
    R::Refused(pb::Refused { reason: reason.into(), message: "no".into(), shard, unknown: false })
}

#[tonic::async_trait]
impl ChatService for Service {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<LinkResponse, Status>> + Send>>;

    async fn link(
        &self,
        request: Request<Streaming<LinkRequest>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let (events, stream) = mpsc::channel(64);
        let shown = request.metadata().get("authorization");
        let shown = shown.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let opened = self.opened.lock().await;
        let _ = opened.send((request.into_inner(), events, shown)).await;
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn publish(
        &self,
        _: Request<pb::PublishRequest>,
    ) -> Result<Response<pb::PublishResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }

    async fn history(
        &self,
        _: Request<pb::HistoryRequest>,
    ) -> Result<Response<pb::HistoryResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }

    async fn rooms(
        &self,
        _: Request<pb::RoomsRequest>,
    ) -> Result<Response<pb::RoomsResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }

    async fn members(
        &self,
        _: Request<pb::MembersRequest>,
    ) -> Result<Response<pb::MembersResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }

    async fn stats(
        &self,
        _: Request<pb::StatsRequest>,
    ) -> Result<Response<pb::StatsResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }
}
