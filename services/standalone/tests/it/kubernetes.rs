//! The services, each as a pod of its own, where only Kubernetes knows who is there.

use bytes::BytesMut;
use fake_api::{FakeApi, Pod, Served, slice};
use rpc::gate::v1::{QueryEntryRequest, gate_service_client::GateServiceClient};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wire::{Kind, Message, PushRoute, RawId, RawRoute};

use super::*;

/// A cluster: an API server, and pods that were started so far.
struct Cluster {
    api: FakeApi,
    /// None: the API server is away.
    served: Option<Served>,
    kubeconfig: tempfile::NamedTempFile,
    pods: Vec<(App, tokio::task::JoinHandle<anyhow::Result<()>>)>,
}

impl Cluster {
    async fn start() -> Self {
        let api = FakeApi::new();
        let served = api.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(kubeconfig.path(), FakeApi::kubeconfig(served.addr(), "shop")).unwrap();
        Self { api, served: Some(served), kubeconfig, pods: Vec::new() }
    }

    fn args(&self, program: &str, more: &[&str]) -> Vec<String> {
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig.path().display());
        let given = [program, "--discovery=kubernetes", &kubeconfig, "--grpc-addr=127.0.0.1:0"];
        given.iter().chain(more).map(|arg| (*arg).to_owned()).collect()
    }

    /// Has the cluster say that a pod serves; each has a slice of its own, since ports
    /// of one machine differ.
    fn list(&self, service: &str, pod: &str, grpc: SocketAddr) {
        let pods = [Pod::new(&format!("{pod}-uid"), pod, "127.0.0.1")];
        self.api.put(slice("shop", &format!("{service}-{pod}"), service, grpc.port(), &pods));
    }

    async fn chat(&mut self, pod: &str) {
        let id = format!("--shard-id={pod}-uid");
        let config = chat::Config::parse_from(self.args("chat", &[&id]));
        let mut app = App::detached(World::real());
        let server = chat::Server::bind(&config, &mut app).await.unwrap();
        app.ready().await.unwrap();
        self.list("chat-headless", pod, server.grpc_addr());
        self.pods.push((app, tokio::spawn(server.serve())));
    }

    async fn connector(&mut self, pod: &str) -> SocketAddr {
        let id = format!("--connector-id={pod}");
        let args = self.args("connector", &[&id, "--listen-addr=127.0.0.1:0"]);
        let config = connector::Config::parse_from(args);
        let mut app = App::detached(World::real());
        let server = connector::Server::bind(&config, &mut app).await.unwrap();
        self.list("connector-headless", pod, server.grpc_addr());
        let addr = server.client_addr();
        self.pods.push((app, tokio::spawn(server.serve())));
        addr
    }

    async fn gate(&mut self) -> SocketAddr {
        let config = gate::Config::parse_from(self.args("gate", &["--listen-addr=127.0.0.1:0"]));
        let mut app = App::detached(World::real());
        let server = gate::Server::bind(&config, &mut app).await.unwrap();
        let addr = server.grpc_addr();
        self.pods.push((app, tokio::spawn(server.serve())));
        addr
    }

    async fn stop(self) {
        for (app, _) in &self.pods {
            app.shutdown().cancel();
        }
        for (app, served) in self.pods {
            tokio::time::timeout(PATIENCE, served).await.unwrap().unwrap().unwrap();
            tokio::time::timeout(PATIENCE, app.end()).await.unwrap().unwrap();
        }
    }
}

/// Waits until the gate sends somebody to `wanted`, among all users.
async fn until_named(gate: SocketAddr, wanted: SocketAddr) {
    let channel = World::real().net.channel(&gate.to_string()).await.unwrap();
    let mut gate = GateServiceClient::new(channel);
    let poll = async {
        for user in (0..100).cycle() {
            let request = QueryEntryRequest { uid: format!("user {user}") };
            let named = gate.query_entry(request).await;
            if named.is_ok_and(|named| named.into_inner().port == u32::from(wanted.port())) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.expect("the gate names it");
}

/// An extended client over TCP, just enough of one.
struct Client {
    stream: TcpStream,
    packages: wire::Decoder,
    requests: u32,
}

impl Client {
    async fn enter(connector: SocketAddr, name: &str, room: &str) -> Self {
        let stream = TcpStream::connect(connector).await.unwrap();
        let packages = wire::Decoder::new(wire::BODY_LEN_MAX);
        let mut client = Self { stream, packages, requests: 0 };
        client.send(Kind::Handshake, br#"{"sys":{},"user":{"shaddock":1}}"#).await;
        assert_eq!(client.package().await.kind, Kind::Handshake);
        client.send(Kind::HandshakeAck, b"").await;
        let answer = client.ask(wire::route::ENTER, json!({ "username": name, "rid": room })).await;
        assert_eq!(answer["code"], 200, "{answer}");
        client
    }

    async fn send(&mut self, kind: Kind, body: &[u8]) {
        let mut package = BytesMut::new();
        wire::encode_package(kind, body, &mut package).unwrap();
        self.stream.write_all(&package).await.unwrap();
    }

    async fn package(&mut self) -> wire::Package {
        let read = async {
            loop {
                match self.packages.poll().unwrap() {
                    Some(package) if package.kind != Kind::Heartbeat => return package,
                    Some(_) => {}
                    None => {
                        let mut bytes = [0; 4096];
                        let length = self.stream.read(&mut bytes).await.unwrap();
                        assert!(length > 0, "the connector has closed");
                        self.packages.feed(&bytes[..length]);
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("a package")
    }

    /// The next answer or push, with its route.
    async fn next(&mut self) -> (String, Value) {
        let package = self.package().await;
        assert_eq!(package.kind, Kind::Data);
        let (what, body) = match Message::decode(package.body).unwrap() {
            Message::Response { body, .. } => ("answer".to_owned(), body),
            Message::Push { route: RawRoute::Name(route), body } => {
                (String::from_utf8_lossy(&route).into_owned(), body)
            }
            other => panic!("servers do not send {other:?}"),
        };
        (what, serde_json::from_slice(&body).unwrap())
    }

    async fn until(&mut self, wanted: &str) -> Value {
        loop {
            let (what, body) = self.next().await;
            if what == wanted {
                return body;
            }
        }
    }

    async fn ask(&mut self, route: &str, body: Value) -> Value {
        self.requests += 1;
        let (id, mut package) = (RawId::new(self.requests), BytesMut::new());
        let body = body.to_string();
        wire::encode_request(&id, PushRoute::Name(route), body.as_bytes(), &mut package).unwrap();
        self.stream.write_all(&package).await.unwrap();
        self.until("answer").await
    }

    /// Says something to all, and has `other` hear it.
    async fn say_to(&mut self, other: &mut Self, content: &str) {
        let said = self.ask(wire::route::SEND, json!({ "content": content, "target": "*" })).await;
        assert_eq!(said["code"], 200, "{said}");
        // What it said itself has come to it, too.
        while other.until("onChat").await["msg"] != content {}
    }
}

#[tokio::test]
async fn pods_find_each_other_and_an_api_server_that_goes_away_is_not_missed() {
    let mut cluster = Cluster::start().await;
    cluster.chat("chat-a").await;
    let one = cluster.connector("connector-a").await;
    let gate = cluster.gate().await;
    until_named(gate, one).await;
    let mut ann = Client::enter(one, "ann", "room").await;
    let two = cluster.connector("connector-b").await;
    until_named(gate, two).await;
    let mut bob = Client::enter(two, "bob", "room").await;
    ann.say_to(&mut bob, "hello").await;

    let addr = cluster.served.as_ref().unwrap().addr();
    cluster.served.take().unwrap().stop().await;
    ann.say_to(&mut bob, "still there").await;

    // Who starts meanwhile is found when it is back.
    cluster.served = Some(cluster.api.serve(addr).await.unwrap());
    let three = cluster.connector("connector-c").await;
    until_named(gate, three).await;
    let mut eve = Client::enter(three, "eve", "room").await;
    eve.say_to(&mut ann, "me too").await;
    assert_eq!(bob.until("onChat").await["msg"], "me too", "bob has heard her, too");
    cluster.stop().await;
}
