//! A server with a toy handler, and a client to talk to it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use chassis::{App, Policy, Stream, World};
use frontend::{CloseReason, Handler, Metrics, Options, Server, Session, TlsOptions};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, protocol::CloseFrame},
};
use tokio_util::sync::CancellationToken;
use wire::{Call, Conn, Profile, PushRoute, RawId};

/// Longer than anything takes; a test that waits for so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const ECHO: &str = "toy.test.echo";
pub(crate) const PANIC: &str = "toy.test.panic";
pub(crate) const KICK: &str = "toy.test.kick";

#[derive(Default)]
pub(crate) struct Toy {
    pub(crate) sessions: Mutex<Vec<Arc<Session<AtomicUsize>>>>,
    pub(crate) closed: Mutex<Vec<(u64, CloseReason)>>,
}

impl Handler for Toy {
    /// Calls so far.
    type State = AtomicUsize;
    const KNOWN: &'static [&'static str] = &[ECHO, PANIC, KICK];

    fn opened(&self, session: &Arc<Session<AtomicUsize>>, _conn: &mut Conn) {
        session.set_busy(true);
        self.sessions.lock().unwrap().push(Arc::clone(session));
    }

    fn call(&self, session: &Arc<Session<AtomicUsize>>, call: Call) {
        session.state().fetch_add(1, Ordering::Relaxed);
        match call.route.as_str() {
            PANIC => panic!("as the client wished"),
            KICK => session.kick("as the client wished"),
            _ => {
                let body = serde_json::to_vec(&call.body).unwrap();
                call.id.iter().for_each(|id| session.respond(id, &body));
            }
        }
    }

    fn closed(&self, session: &Arc<Session<AtomicUsize>>) {
        let reason = session.close_reason().unwrap();
        self.closed.lock().unwrap().push((session.id(), reason));
    }
}

/// A running server.
pub(crate) struct Fixture {
    pub(crate) addr: SocketAddr,
    pub(crate) toy: Arc<Toy>,
    pub(crate) metrics: Metrics,
    /// Asks the server to take no more clients.
    pub(crate) closing: CancellationToken,
    pub(crate) app: App,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::start_with(World::real(), Options::default(), Profile::master_gate()).await
    }

    pub(crate) async fn start_with(world: World, options: Options, profile: Profile) -> Self {
        Self::start_with_tls(world, options, profile, &TlsOptions::default()).await
    }

    pub(crate) async fn start_with_tls(
        world: World,
        options: Options,
        profile: Profile,
        tls: &TlsOptions,
    ) -> Self {
        let mut app = App::detached(world);
        let tls = tls.load(&app).unwrap();
        let listener =
            app.net().listen("127.0.0.1:0".parse().unwrap(), "--listen-addr").await.unwrap();
        let fixture = Self {
            addr: listener.local_addr().unwrap(),
            toy: Arc::default(),
            metrics: Metrics::register(app.registry(), "toy"),
            closing: CancellationToken::new(),
            app,
        };
        let server = Server {
            listener,
            profile: Arc::new(profile),
            handler: Arc::clone(&fixture.toy),
            options,
            tls,
            metrics: fixture.metrics.clone(),
            world: fixture.app.world().clone(),
            tasks: fixture.app.tasks().clone(),
            closing: fixture.closing.clone(),
            shutdown: fixture.app.shutdown(),
        };
        fixture.app.tasks().spawn("server", Policy::Critical, server.serve());
        fixture
    }

    pub(crate) async fn dial(&self) -> Stream {
        self.app.net().dial(&self.addr.to_string()).await.unwrap()
    }

    /// A client that has upgraded, and said nothing yet.
    pub(crate) async fn upgrade(&self) -> Client {
        let url = format!("ws://{}/", self.addr);
        let (socket, _) = client_async(url, self.dial().await).await.unwrap();
        Client { socket }
    }

    /// A client that is through the handshake.
    pub(crate) async fn client(&self) -> Client {
        let mut client = self.upgrade().await;
        client.handshake().await;
        client
    }

    /// A client that is through the handshake, and its session.
    pub(crate) async fn pair(&self) -> (Client, Arc<Session<AtomicUsize>>) {
        let before = self.sessions();
        let mut client = self.client().await;
        client.echo("\"paired\"").await;
        let sessions = self.toy.sessions.lock().unwrap();
        (client, Arc::clone(&sessions[before]))
    }

    pub(crate) fn sessions(&self) -> usize {
        self.toy.sessions.lock().unwrap().len()
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    /// Waits until one connection was closed for `reason`, and no other.
    pub(crate) async fn until_closed(&self, reason: CloseReason) {
        self.until(reason.as_str(), |f| f.metrics.closes(reason).get() == 1).await;
        self.until("no connections", |f| f.metrics.connections.get() == 0).await;
    }
}

pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<Stream>,
}

impl Client {
    pub(crate) async fn handshake(&mut self) {
        self.send(package(1, br#"{"sys":{}}"#)).await;
        let answer = self.receive().await;
        assert!(answer[4..].starts_with(br#"{"code":200,"#), "{answer:?}");
        self.send(vec![2, 0, 0, 0]).await;
    }

    pub(crate) async fn send(&mut self, bytes: Vec<u8>) {
        self.socket.send(Message::Binary(bytes.into())).await.unwrap();
    }

    pub(crate) async fn request(&mut self, id: u32, route: &str, body: &str) {
        self.send(request(id, route, body)).await;
    }

    /// Asks for an echo and takes it.
    pub(crate) async fn echo(&mut self, body: &str) {
        self.request(1, ECHO, body).await;
        let mut expected = BytesMut::new();
        wire::encode_response(&RawId::new(1), body.as_bytes(), &mut expected).unwrap();
        let mut answer = self.receive().await;
        while answer[..] == wire::HEARTBEAT_PACKAGE {
            answer = self.receive().await;
        }
        assert_eq!(answer, expected.freeze());
    }

    pub(crate) async fn next(&mut self) -> Option<Result<Message, Error>> {
        tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("nothing came")
    }

    /// The next binary message.
    pub(crate) async fn receive(&mut self) -> Bytes {
        match self.next().await {
            Some(Ok(Message::Binary(bytes))) => bytes,
            other => panic!("no binary message but {other:?}"),
        }
    }

    /// Takes what comes until the server closes, and returns the Close frame.
    pub(crate) async fn close_frame(&mut self) -> Option<CloseFrame> {
        loop {
            match self.next().await {
                Some(Ok(Message::Close(frame))) => return frame,
                Some(Ok(_)) => {}
                other => panic!("no close frame but {other:?}"),
            }
        }
    }

    /// Expects a Close frame with code 1000 and no reason.
    pub(crate) async fn expect_close(&mut self) {
        let frame = self.close_frame().await.expect("a code");
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1000, ""));
    }

    /// Sends bytes as they are, below the WebSocket.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).await.unwrap();
    }
}

pub(crate) fn package(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &len[1..], body].concat()
}

pub(crate) fn request(id: u32, route: &str, body: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    let route = PushRoute::Name(route);
    wire::encode_request(&RawId::new(id), route, body.as_bytes(), &mut out).unwrap();
    out.to_vec()
}

/// A client's frame, masked with zeros, whose payload is `payload`.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).unwrap();
    assert!(len < 126, "longer ones have another header");
    [&[first, 0x80 | len, 0, 0, 0, 0], payload].concat()
}

/// Writes `request` and reads until the server ends the connection.
pub(crate) async fn exchange(fixture: &Fixture, request: &[u8]) -> String {
    let mut stream = fixture.dial().await;
    stream.write_all(request).await.unwrap();
    read_to_end(&mut stream).await
}

pub(crate) async fn read_to_end(stream: &mut Stream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    match read.expect("the connection stays open") {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
    String::from_utf8_lossy(&answer).into_owned()
}
