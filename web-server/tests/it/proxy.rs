use futures::{SinkExt, StreamExt};
use tokio::{net::TcpListener, sync::mpsc, time::Instant};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async, client_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        handshake::server::{ErrorResponse, Request, Response},
    },
};
use web_server::{TunnelLabels, TunnelResult};

use super::*;

type Client = WebSocketStream<TcpStream>;

/// What a backend saw of one upgrade, and its end of the connection.
struct Arrival {
    path: String,
    headers: HashMap<String, String>,
    /// All that came as X-Forwarded-For.
    forwarded_for: Vec<String>,
    socket: WebSocketStream<TcpStream>,
}

/// A WebSocket server that hands every connection to the test.
async fn backend() -> (SocketAddr, mpsc::Receiver<Arrival>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (arrivals, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut seen = None;
            #[allow(clippy::result_large_err, reason = "the library's signature")]
            let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
                let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                    (name.to_string(), value.to_str().unwrap().to_owned())
                };
                let headers = request.headers().iter().map(header).collect();
                let forwarded_for = request.headers().get_all("x-forwarded-for").iter();
                let forwarded_for = forwarded_for.map(|value| value.to_str().unwrap().to_owned());
                let path = request.uri().path().to_owned();
                seen = Some((path, headers, forwarded_for.collect()));
                Ok(response)
            };
            let Ok(socket) = accept_hdr_async(stream, note).await else { continue };
            let (path, headers, forwarded_for) = seen.unwrap();
            let arrival = Arrival { path, headers, forwarded_for, socket };
            if arrivals.send(arrival).await.is_err() {
                return;
            }
        }
    });
    (addr, receiver)
}

async fn dial(web: &Web, path: &str) -> Result<Client, tungstenite::Error> {
    let stream = TcpStream::connect(web.addr).await.unwrap();
    let url = format!("ws://{}{path}", web.addr);
    timeout(PATIENCE, client_async(url, stream)).await.unwrap().map(|(client, _)| client)
}

async fn receive(socket: &mut Client) -> Message {
    timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap()
}

async fn arrival(arrivals: &mut mpsc::Receiver<Arrival>) -> Arrival {
    timeout(PATIENCE, arrivals.recv()).await.unwrap().unwrap()
}

fn count(web: &Web, result: TunnelResult) -> u64 {
    web.metrics.tunnels.get_or_create(&TunnelLabels { result }).get()
}

/// Waits until `open` tunnels are counted.
async fn until_open(web: &Web, open: i64) {
    let deadline = Instant::now() + PATIENCE;
    while web.metrics.tunnels_open.get() != open {
        assert!(Instant::now() < deadline, "still {}", web.metrics.tunnels_open.get());
        tokio::task::yield_now().await;
    }
}

fn status(refused: Result<Client, tungstenite::Error>) -> http::Response<Option<Vec<u8>>> {
    match refused {
        Err(tungstenite::Error::Http(response)) => *response,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bytes_go_both_ways_unchanged() {
    let (gate, mut at_gate) = backend().await;
    let (connector, mut at_connector) = backend().await;
    let (any_connector, mut at_any) = backend().await;
    let [gate, connector, any] = [
        format!("--gate-addr={gate}"),
        format!("--connector=c-1={connector},c-2=127.0.0.1:1"),
        format!("--connector-addr={any_connector}"),
    ];
    let web = Web::start(&["--proxy", &gate, &connector, &any]).await;
    let ways = [("/gate", &mut at_gate), ("/ws/c-1", &mut at_connector), ("/ws?:80", &mut at_any)];
    for (path, arrivals) in ways {
        let mut client = dial(&web, path).await.unwrap();
        let mut server = arrival(arrivals).await.socket;
        let long = Message::binary(vec![7; 300_000]);
        for message in [Message::binary(vec![1, 0, 0, 0]), long] {
            client.send(message.clone()).await.unwrap();
            assert_eq!(receive(&mut server).await, message);
            server.send(message.clone()).await.unwrap();
            assert_eq!(receive(&mut client).await, message);
        }
        assert_eq!(web.metrics.tunnels_open.get(), 1);
        client.close(None).await.unwrap();
        assert!(receive(&mut server).await.is_close());
        drop((client, server));
        until_open(&web, 0).await;
    }
    assert_eq!(count(&web, TunnelResult::Opened), 3);
    web.stop().await;
}

/// Which of two backends a path leads to, where the first is one of the connectors' pods
/// and the second any of them.
async fn leads_to(path: &str, pods: Option<&str>) -> &'static str {
    let ((pod, mut at_pod), (any, mut at_any)) = (backend().await, backend().await);
    let pods = pods.map_or(pod.to_string(), str::to_owned);
    let flags =
        [format!("--connector-pods={pods}"), format!("--connector-addr={any}"), "--proxy".into()];
    let more = ["--advertise-path=/to/chat"].into_iter().filter(|_| path.starts_with("/to"));
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(more).collect();
    let web = Web::start(&flags).await;
    let client = dial(&web, path).await;
    let led = match client {
        Err(refused) => {
            assert_eq!(status(Err(refused)).status(), 404, "{path}");
            "nowhere"
        }
        Ok(_) => tokio::select! {
            _ = arrival(&mut at_pod) => "the pod",
            _ = arrival(&mut at_any) => "any",
        },
    };
    web.stop().await;
    led
}

#[tokio::test]
async fn a_path_leads_to_the_connector_whose_address_it_has() {
    assert_eq!(leads_to("/ws/7f000001", None).await, "the pod");
    assert_eq!(leads_to("/to/chat/7f000001", None).await, "the pod");
    // As unmodified clients put it.
    assert_eq!(leads_to("/ws/7f000001?:80", None).await, "the pod");
    assert_eq!(leads_to("/ws", None).await, "any");
    // An address that is none of a connector's is not dialled.
    assert_eq!(leads_to("/ws/7f000002", None).await, "any");
    assert_eq!(leads_to("/ws/0000000000000000000000007f000001", None).await, "any");
    // One that has just ended, and names that cannot be found.
    assert_eq!(leads_to("/ws/7f000001", Some("127.0.0.1:1")).await, "any");
    assert_eq!(leads_to("/ws/7f000001", Some("no.such.host.invalid:1")).await, "any");
    for path in ["/ws/7f00001", "/ws/+f000001", "/ws/c-1", "/ws/7f000001/x"] {
        assert_eq!(leads_to(path, None).await, "nowhere", "{path}");
    }
}

#[tokio::test]
async fn tunnels_end_one_after_the_other_over_the_drain_time() {
    const TUNNELS: i64 = 16;
    let (gate, mut arrivals) = backend().await;
    let gate = format!("--gate-addr={gate}");
    let web = Web::start(&["--proxy", &gate, "--drain-time=8s"]).await;
    let mut clients = futures::stream::FuturesUnordered::new();
    let mut backends = Vec::new();
    for _ in 0..TUNNELS {
        let mut client = dial(&web, "/gate").await.unwrap();
        backends.push(arrival(&mut arrivals).await);
        clients.push(async move { client.next().await });
    }
    let stopper = web.app.stopper();
    tokio::join!(stopper.stop(Duration::ZERO), async {
        timeout(PATIENCE, clients.next()).await.unwrap();
        // Of sixteen that are drawn over 8 s hardly most come in the first moments.
        assert!(web.metrics.tunnels_open.get() > TUNNELS / 4, "{}", web.metrics.tunnels_open.get());
        assert!(!web.shutdown.is_cancelled());
        assert_eq!(web.get("/").await.status, 200);
        while timeout(PATIENCE, clients.next()).await.unwrap().is_some() {}
    });
    assert_eq!(web.metrics.tunnels_open.get(), 0);
    web.stop().await;
}

#[tokio::test]
async fn nobody_waits_when_the_last_tunnel_has_ended() {
    let (gate, mut arrivals) = backend().await;
    let gate = format!("--gate-addr={gate}");
    let web = Web::start(&["--proxy", &gate, "--drain-time=1h"]).await;
    let tunnel = (dial(&web, "/gate").await.unwrap(), arrival(&mut arrivals).await);
    let stopper = web.app.stopper();
    let stopped = timeout(PATIENCE, stopper.stop(Duration::ZERO));
    let (stopped, ()) = tokio::join!(stopped, async { drop(tunnel) });
    stopped.unwrap();
    web.stop().await;
}

#[tokio::test]
async fn the_backend_learns_who_is_there_and_no_path() {
    let (gate, mut arrivals) = backend().await;
    let web = Web::start(&["--proxy", &format!("--gate-addr={gate}")]).await;
    let mut stream = TcpStream::connect(web.addr).await.unwrap();
    let head = "GET /gate?x=1 HTTP/1.1\r\nHost: chat.example\r\nConnection: keep-alive, X-Mine, Upgrade\r\n\
        Upgrade: WebSocket\r\nX-Mine: 1\r\nX-Forwarded-For: 10.1.2.3\r\nOrigin: http://chat.example\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let Arrival { path, headers, forwarded_for, .. } = arrival(&mut arrivals).await;
    assert_eq!(path, "/");
    assert_eq!(headers["host"], gate.to_string());
    assert_eq!(headers["x-forwarded-host"], "chat.example");
    // What the client says of itself is not passed on.
    assert_eq!(forwarded_for, ["127.0.0.1"]);
    assert_eq!(headers["origin"], "http://chat.example");
    assert!(!headers.contains_key("x-mine"));
    web.stop().await;
}

#[tokio::test]
async fn a_trusted_proxys_word_goes_on_and_its_own_address_is_appended() {
    let (gate, mut arrivals) = backend().await;
    let gate = format!("--gate-addr={gate}");
    let web = Web::start(&["--proxy", &gate, "--trusted-proxies=10.0.0.0/8,127.0.0.1"]).await;
    let mut request = format!("ws://{}/gate", web.addr).into_client_request().unwrap();
    for value in ["1.1.1.1, 203.0.113.7", "10.0.0.1"] {
        request.headers_mut().append("x-forwarded-for", value.parse().unwrap());
    }
    request.headers_mut().insert("x-forwarded-host", "chat.example".parse().unwrap());
    let stream = TcpStream::connect(web.addr).await.unwrap();
    client_async(request, stream).await.unwrap();
    let Arrival { forwarded_for, headers, .. } = arrival(&mut arrivals).await;
    assert_eq!(forwarded_for, ["1.1.1.1, 203.0.113.7", "10.0.0.1", "127.0.0.1"]);
    assert_eq!(headers["x-forwarded-host"], "chat.example");
    web.stop().await;
}

#[tokio::test]
async fn any_connector_is_at_the_path_that_was_asked_for_and_only_behind_the_proxy() {
    let (connector, mut arrivals) = backend().await;
    let flags = [format!("--connector-addr={connector}"), "--advertise-path=/to/chat".into()];
    let flags = flags.each_ref().map(String::as_str);
    let web = Web::start(&["--proxy", flags[0], flags[1]]).await;
    let _client = dial(&web, "/to/chat").await.unwrap();
    assert_eq!(arrival(&mut arrivals).await.path, "/");
    assert_eq!(status(dial(&web, "/ws").await).status(), 404);
    assert_eq!(status(dial(&web, "/ws/connector-1").await).status(), 404);
    web.stop().await;
    let web = Web::start(&flags).await;
    assert_eq!(status(dial(&web, "/to/chat").await).status(), 404);
    web.stop().await;
}

#[tokio::test]
async fn tunnels_beyond_the_bound_are_told_when_to_come_back() {
    let (gate, mut arrivals) = backend().await;
    let web = Web::start(&["--proxy", &format!("--gate-addr={gate}"), "--tunnels-max=2"]).await;
    let first = dial(&web, "/gate").await.unwrap();
    let _second = dial(&web, "/gate").await.unwrap();
    let refused = status(dial(&web, "/gate").await);
    assert_eq!(refused.status(), 503);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u32>().is_ok());
    assert_eq!(count(&web, TunnelResult::Full), 1);

    // The place of one that ends is free again, though nobody says goodbye.
    drop(first);
    drop(arrival(&mut arrivals).await);
    until_open(&web, 1).await;
    dial(&web, "/gate").await.unwrap();
    web.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_down_is_a_bad_gateway() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let web = Web::start(&["--proxy", &format!("--connector=gone={free}")]).await;
    assert_eq!(status(dial(&web, "/ws/gone").await).status(), 502);
    assert_eq!(count(&web, TunnelResult::Unreachable), 1);
    assert_eq!(web.metrics.tunnels_open.get(), 0);
    web.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_no_websocket_or_says_nothing_is_a_bad_gateway() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = Web::start(&[]).await;
    let web = Web::start(&[
        "--proxy",
        &format!("--gate-addr={}", silent.local_addr().unwrap()),
        &format!("--connector=page={}", other.addr),
    ])
    .await;
    assert_eq!(status(dial(&web, "/ws/page").await).status(), 502);
    assert_eq!(count(&web, TunnelResult::Refused), 1);
    assert_eq!(status(dial(&web, "/gate").await).status(), 502);
    assert_eq!(count(&web, TunnelResult::Unreachable), 1);
    other.stop().await;
    web.stop().await;
}

#[tokio::test]
async fn only_what_is_listed_is_reached() {
    let (elsewhere, _arrivals) = backend().await;
    let web = Web::start(&["--proxy"]).await;
    for path in ["/ws/other", &format!("/ws/{elsewhere}"), "/ws/", "/ws", "/ws/a/b"] {
        assert_eq!(status(dial(&web, path).await).status(), 404, "{path}");
    }
    let absolute =
        format!("GET http://{elsewhere}/ HTTP/1.1\nHost: {elsewhere}\nConnection: close");
    assert!(web.ask(&absolute).await.text().contains("Shaddock"), "our own page, not theirs");
    let connect = format!("CONNECT {elsewhere} HTTP/1.1\nHost: {elsewhere}\nConnection: close");
    assert_eq!(web.ask(&connect).await.status, 405);
    web.stop().await;
}

#[tokio::test]
async fn a_client_that_stays_when_the_backend_has_gone_is_let_go() {
    let (gate, mut arrivals) = backend().await;
    let web = Web::start(&["--proxy", &format!("--gate-addr={gate}")]).await;
    let _client = dial(&web, "/gate").await.unwrap();
    drop(arrival(&mut arrivals).await);
    until_open(&web, 0).await;
    web.stop().await;
}

#[tokio::test]
async fn shutdown_ends_tunnels_at_once() {
    let (gate, mut arrivals) = backend().await;
    let web = Web::start(&["--proxy", &format!("--gate-addr={gate}")]).await;
    let mut client = dial(&web, "/gate").await.unwrap();
    let _server = arrival(&mut arrivals).await;
    web.stop().await;
    let ended = timeout(PATIENCE, client.next()).await.unwrap();
    assert!(!matches!(ended, Some(Ok(_))), "{ended:?}");
}
