//! Browsers that come through the web port.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::*;

/// Asks for a WebSocket from an address of this machine. The connection, and the
/// status of the answer.
async fn upgrade(from: &str, to: SocketAddr, path: &str, headers: &str) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{headers}\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    (stream, String::from_utf8_lossy(&answer[9..]).into_owned())
}

#[tokio::test]
async fn the_limit_for_an_address_counts_browsers_and_not_the_proxy() {
    let chat = Standalone::start(&["--proxy", "--address-connections-max=1"]).await;
    let mut open = Vec::new();
    for path in ["/gate", "/ws/connector-1"] {
        for from in ["127.0.0.2", "127.0.0.3", "127.0.0.1"] {
            let (stream, status) = upgrade(from, chat.web_addr, path, "").await;
            assert_eq!(status, "101", "{from} at {path}");
            open.push(stream);
        }
        for pretended in ["", "X-Forwarded-For: 203.0.113.7\r\n"] {
            for from in ["127.0.0.2", "127.0.0.1"] {
                let (_, status) = upgrade(from, chat.web_addr, path, pretended).await;
                assert_eq!(status, "503", "{from} at {path}");
            }
        }
    }
    chat.stop().await;
}

#[tokio::test]
async fn without_the_proxy_nobody_is_believed() {
    let chat = Standalone::start(&["--address-connections-max=1"]).await;
    let pretend = "X-Forwarded-For: 203.0.113.7\r\n";
    let (_one, status) = upgrade("127.0.0.1", chat.connector_addr, "/", "").await;
    assert_eq!(status, "101");
    let (_, status) = upgrade("127.0.0.1", chat.connector_addr, "/", pretend).await;
    assert_eq!(status, "503");
    chat.stop().await;
}
