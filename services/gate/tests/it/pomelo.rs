//! `gate.gateHandler.queryEntry`, as a WebSocket client of the original asks it.

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::Request;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, client::IntoClientRequest},
};
use wire::{Kind, Message, PushRoute, RawId};

use crate::{Gate, fake::Fake};

pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    requests: u32,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let url = format!("ws://{addr}/");
        let hello = r#"{"sys":{"type":"js-websocket","version":"0.0.1"}}"#;
        Self::connect_as(addr, url.into_client_request().unwrap(), hello).await
    }

    /// Connects with a request and a handshake of one's own.
    pub(crate) async fn connect_as(addr: SocketAddr, request: Request<()>, hello: &str) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (socket, _) = client_async(request, stream).await.unwrap();
        let mut client = Self { socket, requests: 0 };
        client.send(Kind::Handshake, hello.as_bytes()).await;
        let (kind, body) = client.next().await.unwrap();
        assert_eq!(kind, Kind::Handshake);
        let greeting: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(greeting["code"], 200);
        assert!(greeting["sys"].get("heartbeat").is_none(), "a gate has none: {greeting}");
        client.send(Kind::HandshakeAck, b"").await;
        client
    }

    async fn send(&mut self, kind: Kind, body: &[u8]) {
        let mut package = BytesMut::new();
        wire::encode_package(kind, body, &mut package).unwrap();
        self.send_raw(package).await;
    }

    async fn send_raw(&mut self, package: BytesMut) {
        self.socket.send(tungstenite::Message::Binary(package.freeze())).await.unwrap();
    }

    /// The next package, or `None` when the server has closed.
    async fn next(&mut self) -> Option<(Kind, Bytes)> {
        loop {
            let next = timeout(Duration::from_secs(10), self.socket.next()).await.unwrap()?;
            match next {
                Ok(tungstenite::Message::Binary(bytes)) => {
                    let mut packages = wire::decode_frame(bytes, wire::BODY_LEN_MAX);
                    let package = packages.next().unwrap().unwrap();
                    assert!(packages.next().is_none(), "one package per message");
                    return Some((package.kind, package.body));
                }
                Ok(tungstenite::Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Asks with a whole body and returns the answer's text.
    pub(crate) async fn ask(&mut self, body: &str) -> String {
        self.requests += 1;
        let id = RawId::new(self.requests);
        let mut package = BytesMut::new();
        let route = PushRoute::Name(wire::route::QUERY_ENTRY);
        wire::encode_request(&id, route, body.as_bytes(), &mut package).unwrap();
        self.send_raw(package).await;
        let (kind, data) = self.next().await.expect("the session goes on");
        assert_eq!(kind, Kind::Data);
        let Ok(Message::Response { id: answered, body }) = Message::decode(data) else {
            panic!("not a response")
        };
        assert_eq!(answered, id);
        String::from_utf8(body.to_vec()).unwrap()
    }
}

async fn one_connector() -> (Fake, Gate, Client) {
    let a = Fake::start("a").await;
    let gate = Gate::listing([a.addr]).await;
    gate.until("a:Ready").await;
    let client = Client::connect(gate.client_addr).await;
    (a, gate, client)
}

#[tokio::test]
async fn a_client_is_told_its_connector_in_the_originals_words() {
    let (_a, _gate, mut client) = one_connector().await;
    let named = r#"{"code":200,"host":"a.test","port":3050}"#;
    assert_eq!(client.ask(r#"{"uid":"alice"}"#).await, named);
    assert_eq!(client.ask(r#"{"uid":"José😀","more":[1]}"#).await, named);
    assert_eq!(client.ask(r#"{"uid":7}"#).await, named);
    assert_eq!(client.ask(r#"{"uid":1e300}"#).await, named);
    // What a room takes as a name is the connector's to say.
    assert_eq!(client.ask(&format!(r#"{{"uid":"{}"}}"#, "a".repeat(1000))).await, named);
}

#[tokio::test]
async fn a_question_without_a_name_is_refused_and_the_session_goes_on() {
    let (_a, _gate, mut client) = one_connector().await;
    for body in [
        "{}",
        r#"{"uid":""}"#,
        r#"{"uid":null}"#,
        r#"{"uid":0}"#,
        r#"{"uid":-0.0}"#,
        r#"{"uid":true}"#,
        r#"{"uid":["alice"]}"#,
        r#"{"uid":{"uid":"alice"}}"#,
        r#"[{"uid":"alice"}]"#,
        r#""alice""#,
        "null",
        "{",
        "",
    ] {
        assert_eq!(client.ask(body).await, r#"{"code":500}"#, "{body}");
    }
    assert!(client.ask(r#"{"uid":"alice"}"#).await.contains("200"));
}

#[tokio::test]
async fn without_a_connector_the_answer_is_500_until_there_is_one() {
    let (a, gate, mut client) = one_connector().await;
    a.say(|says| says.draining = true);
    gate.until("a:Draining").await;
    assert_eq!(client.ask(r#"{"uid":"alice"}"#).await, r#"{"code":500}"#);
    a.say(|says| says.draining = false);
    gate.until("a:Ready").await;
    assert!(client.ask(r#"{"uid":"alice"}"#).await.contains("200"));
}

#[tokio::test]
async fn a_notify_is_not_answered_and_a_foreign_route_is_refused() {
    let (_a, _gate, mut client) = one_connector().await;
    let mut package = BytesMut::new();
    let route = PushRoute::Name(wire::route::QUERY_ENTRY);
    wire::encode_notify(route, br#"{"uid":"alice"}"#, &mut package).unwrap();
    client.send_raw(package).await;
    // The next answer is that of the next request.
    assert!(client.ask(r#"{"uid":"alice"}"#).await.contains("200"));

    let mut package = BytesMut::new();
    let route = PushRoute::Name(wire::route::ENTER);
    wire::encode_request(&RawId::new(9), route, b"{}", &mut package).unwrap();
    client.send_raw(package).await;
    let (_, data) = client.next().await.unwrap();
    assert_eq!(&data[..], b"\x04\x09{\"code\":500}");
}

#[tokio::test]
async fn codes_are_passed_over_and_routes_of_others_refused() {
    let (_a, _gate, mut client) = one_connector().await;
    let mut data = async |bytes: &[u8]| client.send(Kind::Data, bytes).await;
    // The profile has no dictionary at the gate. Then what is no call.
    data(b"\x01\x01\0\x03{\"uid\":\"ann\"}").await;
    data(b"\x01\x01\0\0{}").await;
    data(b"\x04\x01{}").await;
    data(b"\x0e").await;
    data(b"\x00\x01\x03abc{}").await;
    data(b"\x00\0\x05a.b.c{}").await;
    for (route, id) in [("chat.chatHandler.send", 0x81), ("connector.x.y", 0x82), ("gate.x", 0x83)]
    {
        let route = [&[route.len() as u8], route.as_bytes()].concat();
        client.send(Kind::Data, &[&[0, id, 0], &route[..], b"{}"].concat()).await;
        let (_, answer) = client.next().await.unwrap();
        assert_eq!(&answer[..], [&[4, id, 0], &b"{\"code\":500}"[..]].concat());
    }
    client.send(Kind::Data, b"\x02\x1cgate.gateHandler.constructor").await;
    assert_eq!(client.next().await, Some((Kind::Kick, b"{\"reason\":\"attack\"}"[..].into())));
    assert_eq!(client.next().await, None);
}

#[tokio::test]
async fn shutdown_closes_every_session_and_ends() {
    let (_a, gate, mut client) = one_connector().await;
    gate.shutdown.cancel();
    while client.next().await.is_some() {}
    gate.served.await.unwrap().unwrap();
}
