//! Where clients are sent, by the way that they came.

use http::HeaderValue;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use wire::{Kind, Message, PushRoute, RawId};

use crate::{Gate, bind, fake::Fake, pomelo::Client};

const PLAIN: &str = r#"{"sys":{"type":"js-websocket","version":"0.0.1"}}"#;
const EXTENDED: &str = r#"{"sys":{"type":"x","version":"1"},"user":{"shaddock":1}}"#;

async fn gate(args: &[&str]) -> (Fake, Gate) {
    let a = Fake::start("a").await;
    let connectors = format!("--connectors={}", a.addr);
    let all: Vec<&str> = std::iter::once(connectors.as_str()).chain(args.iter().copied()).collect();
    let gate = Gate::start(&all).await;
    gate.until("a:Ready").await;
    (a, gate)
}

/// What a client is told that asks for `path` with these headers.
async fn told(gate: &Gate, path: &str, headers: &[(&'static str, &str)], hello: &str) -> String {
    let url = format!("ws://{}{path}", gate.client_addr);
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
    }
    let mut client = Client::connect_as(gate.client_addr, request, hello).await;
    client.ask(r#"{"uid":"alice"}"#).await
}

#[tokio::test]
async fn clients_are_sent_back_to_the_host_that_they_came_to() {
    let (_a, gate) = gate(&["--advertise=sameHost", "--advertise-port=30050"]).await;
    let direct = [("host", "chat.test:3014")];
    let answer = told(&gate, "/", &direct, PLAIN).await;
    assert_eq!(answer, r#"{"code":200,"host":"chat.test","port":30050}"#);
    let answer = told(&gate, "/", &direct, EXTENDED).await;
    let expected = r#"{"code":200,"host":"chat.test","port":30050,"tls":false,"path":""}"#;
    assert_eq!(answer, expected);

    let proxied = [("host", "gate:3014"), ("x-forwarded-host", "[::1]:8080")];
    let answer = told(&gate, "/", &proxied, PLAIN).await;
    assert_eq!(answer, r#"{"code":200,"host":"[::1]:8080/ws?","port":8080}"#);
    let answer = told(&gate, "/", &proxied, EXTENDED).await;
    let expected = r#"{"code":200,"host":"[::1]","port":8080,"tls":false,"path":"/ws"}"#;
    assert_eq!(answer, expected);

    let routed = [("host", "chat.test"), ("x-forwarded-proto", "https")];
    let answer = told(&gate, "/gate", &routed, EXTENDED).await;
    let expected = r#"{"code":200,"host":"chat.test","port":443,"tls":true,"path":"/ws"}"#;
    assert_eq!(answer, expected);

    // Nonsense is not repeated.
    let odd = [("host", "a\"b"), ("x-forwarded-host", "<a>")];
    let answer = told(&gate, "/", &odd, PLAIN).await;
    assert_eq!(answer, r#"{"code":200,"host":"","port":30050}"#);
    // Back ends come to another host than clients do.
    let entry = gate.query("alice").await.unwrap();
    assert_eq!((entry.host.as_str(), entry.port, entry.tls), ("", 30_050, false));
}

#[tokio::test]
async fn who_comes_over_tcp_is_told_a_port_of_the_host_that_it_dialled() {
    let (_a, gate) = gate(&["--advertise=sameHost"]).await;
    let mut stream = TcpStream::connect(gate.client_addr).await.unwrap();
    let mut package = bytes::BytesMut::new();
    wire::encode_package(Kind::Handshake, PLAIN.as_bytes(), &mut package).unwrap();
    wire::encode_package(Kind::HandshakeAck, b"", &mut package).unwrap();
    let route = PushRoute::Name(wire::route::QUERY_ENTRY);
    wire::encode_request(&RawId::new(1), route, br#"{"uid":"ann"}"#, &mut package).unwrap();
    stream.write_all(&package).await.unwrap();
    let mut read = bytes::BytesMut::new();
    let body = loop {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "closed: {read:?}");
        let packages = wire::decode_frame(read.clone().freeze(), wire::BODY_LEN_MAX);
        let data = packages.flatten().find(|package| package.kind == Kind::Data);
        if let Some(Ok(Message::Response { body, .. })) =
            data.map(|data| Message::decode(data.body))
        {
            break body;
        }
    };
    assert_eq!(&body[..], br#"{"code":200,"host":"","port":3050}"#);
}

#[tokio::test]
async fn all_are_sent_to_one_host() {
    let args = ["--advertise=static", "--advertise-host=chat.test", "--advertise-port=443"];
    let (_a, gate) = gate(&[args[0], args[1], args[2], "--advertise-tls"]).await;
    let answer = told(&gate, "/", &[("host", "a.test:3014")], PLAIN).await;
    assert_eq!(answer, r#"{"code":200,"host":"chat.test","port":443}"#);
    let answer = told(&gate, "/gate", &[("host", "a.test")], PLAIN).await;
    assert_eq!(answer, r#"{"code":200,"host":"chat.test:443/ws?","port":443}"#);
    let entry = gate.query("alice").await.unwrap();
    assert_eq!((entry.host.as_str(), entry.port, entry.tls), ("chat.test", 443, true));
}

#[tokio::test]
async fn a_mode_without_what_it_needs_keeps_it_from_starting() {
    for (args, expected) in [
        (&["--advertise=static"][..], "--advertise static needs --advertise-host"),
        (&["--advertise=loadBalancer"], "--advertise loadBalancer needs --advertise-service"),
        (&["--advertise-host=a"], "--advertise-host goes with --advertise static only"),
    ] {
        let (_, refused) = bind(args).await;
        let refused = refused.unwrap_err();
        let error = refused.downcast_ref::<chassis::StartError>().expect("exit code 2");
        assert_eq!(error.to_string(), expected);
    }
}
