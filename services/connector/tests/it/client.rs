//! A Pomelo client, just enough of one.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message as Frame, client::IntoClientRequest},
};
use wire::{Kind, Message, PushRoute, RawId, RawRoute, Schema};

use crate::soon;

pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    requests: u32,
    chat: Schema,
    is_extended: bool,
}

/// Says nothing of itself, and reads protobuf with UTF-8.
pub(crate) const CLASSIC: &str = r#"{"sys":{}}"#;
/// The JavaScript client, which reads CESU-8.
pub(crate) const BROWSER: &str = r#"{"sys":{"type":"js-websocket","version":"0.0.1"}}"#;
/// Reads JSON only.
pub(crate) const PITAYA: &str = r#"{"sys":{"platform":"go","libVersion":"0.3.5"}}"#;

/// Asks for more than the original gives.
pub(crate) const EXTENDED: &str = r#"{"sys":{},"user":{"shaddock":1}}"#;

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::connect_as(addr, CLASSIC).await
    }

    pub(crate) async fn connect_as(addr: SocketAddr, greeting: &str) -> Self {
        Self::greet(addr, greeting, None).await.get_in().await
    }

    /// As [`Client::connect`], through a proxy that names the client.
    pub(crate) async fn connect_for(addr: SocketAddr, forwarded_for: &str) -> Self {
        Self::greet(addr, CLASSIC, Some(forwarded_for)).await.get_in().await
    }

    pub(crate) async fn get_in(mut self) -> Self {
        let (kind, body) = self.package().await.unwrap();
        assert_eq!((kind, &body[..11]), (Kind::Handshake, &br#"{"code":200"#[..]));
        self.send_package(Kind::HandshakeAck, b"").await;
        self
    }

    /// Says who it is, and does not wait for the answer.
    pub(crate) async fn greet(
        addr: SocketAddr,
        greeting: &str,
        forwarded_for: Option<&str>,
    ) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = format!("ws://{addr}/").into_client_request().unwrap();
        if let Some(client) = forwarded_for {
            request.headers_mut().insert("x-forwarded-for", client.parse().unwrap());
        }
        let (socket, _) = client_async(request, stream).await.unwrap();
        let required = json!({"required string msg": 1, "required string from": 2, "required string target": 3});
        let chat = Schema::parse(&json!({ "onChat": required }));
        let mut client = Self { socket, requests: 0, chat, is_extended: greeting == EXTENDED };
        client.send_package(Kind::Handshake, greeting.as_bytes()).await;
        client
    }

    pub(crate) async fn send_package(&mut self, kind: Kind, body: &[u8]) {
        let mut package = BytesMut::new();
        wire::encode_package(kind, body, &mut package).unwrap();
        self.socket.send(Frame::Binary(package.freeze())).await.unwrap();
    }

    /// Asks, and does not wait for the answer. Returns the request's number.
    pub(crate) async fn ask(&mut self, route: &str, body: &str) -> u32 {
        self.feed(route, body).await;
        self.socket.flush().await.unwrap();
        self.requests
    }

    /// As [`Client::ask`], to be written together with what follows.
    pub(crate) async fn feed(&mut self, route: &str, body: &str) {
        self.requests += 1;
        let mut package = BytesMut::new();
        let id = RawId::new(self.requests);
        wire::encode_request(&id, PushRoute::Name(route), body.as_bytes(), &mut package).unwrap();
        self.socket.feed(Frame::Binary(package.freeze())).await.unwrap();
    }

    pub(crate) async fn notify(&mut self, route: &str, body: &str) {
        let mut package = BytesMut::new();
        wire::encode_notify(PushRoute::Name(route), body.as_bytes(), &mut package).unwrap();
        self.socket.send(Frame::Binary(package.freeze())).await.unwrap();
    }

    pub(crate) async fn enter(&mut self, name: &str, room: &str) -> u32 {
        self.ask(wire::route::ENTER, &json!({ "username": name, "rid": room }).to_string()).await
    }

    pub(crate) async fn say(&mut self, content: &str, target: &str) -> u32 {
        let body = json!({ "content": content, "target": target }).to_string();
        self.ask(wire::route::SEND, &body).await
    }

    /// The next package but a heartbeat, or `None` once the server has closed.
    pub(crate) async fn package(&mut self) -> Option<(Kind, Bytes)> {
        loop {
            match soon("a package", self.socket.next()).await? {
                Ok(Frame::Binary(bytes)) => {
                    let mut packages = wire::decode_frame(bytes, wire::BODY_LEN_MAX);
                    let package = packages.next().unwrap().unwrap();
                    assert!(packages.next().is_none(), "one package per message");
                    if package.kind != Kind::Heartbeat {
                        return Some((package.kind, package.body));
                    }
                }
                Ok(Frame::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// What comes next, as a line:
    ///
    /// * `"3 {}"`: the answer to request 3;
    /// * `"onChat ann > *: hi"`, `"onAdd bob"`, `"onLeave bob"`, or, to extended
    ///   sessions, `"onChat {…}"`, `"onAdd {…}"`;
    /// * `"kick {…}"`, `"closed"`.
    pub(crate) async fn next(&mut self) -> String {
        let Some((kind, body)) = self.package().await else { return "closed".into() };
        if kind == Kind::Kick {
            return format!("kick {}", text(&body));
        }
        assert_eq!(kind, Kind::Data);
        match Message::decode(body).unwrap() {
            Message::Response { id, body } => format!("{} {}", id.little_endian(), text(&body)),
            Message::Push { route: RawRoute::Name(route), body } => self.push(&text(&route), &body),
            other => panic!("servers do not send {other:?}"),
        }
    }

    fn push(&self, route: &str, body: &[u8]) -> String {
        if self.is_extended {
            return format!("{route} {}", text(body));
        }
        let body: Value = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(_) => self.chat.decode(route, body).unwrap(),
        };
        let field = |name: &str| body[name].as_str().unwrap().to_owned();
        match route {
            "onChat" => format!("onChat {} > {}: {}", field("from"), field("target"), field("msg")),
            _ => {
                assert_eq!(field("route"), route);
                format!("{route} {}", field("user"))
            }
        }
    }

    /// Takes as many lines as are expected, and compares.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[&str]) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            for line in expected {
                assert_eq!(self.next().await, *line, "at {caller}");
            }
        }
    }

    /// Asks something that the connector answers itself: all that was on its way
    /// has come when the answer does. Nothing else may have come.
    pub(crate) async fn expect_nothing(&mut self) {
        let id = self.ask("connector.noHandler.here", "{}").await;
        self.expect(&[&format!(r#"{id} {{"code":500}}"#)]).await;
    }

    pub(crate) async fn close(mut self) {
        self.socket.close(None).await.unwrap();
        while let Some(Ok(_)) = soon("the end", self.socket.next()).await {}
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
