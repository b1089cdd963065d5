//! A process of its own, as its limit of descriptors is.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use super::*;

/// A sixth of this is how many tunnels there are.
const DESCRIPTORS: usize = 64;

/// Starts the program with few descriptors, and finds out where it listens.
async fn start(gate: SocketAddr) -> (Child, SocketAddr) {
    let program = env!("CARGO_BIN_EXE_web-server");
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\""))
        .args([program, "--proxy", "--listen-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0"])
        .arg(format!("--gate-addr={gate}"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let addr = said["listen_addr"].as_str().unwrap_or_else(|| panic!("{said}")).parse().unwrap();
    // What else it says must not block it.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, addr)
}

/// A backend that agrees to every upgrade and keeps all connections.
async fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                Upgrade: websocket\r\nSec-WebSocket-Accept: any\r\n\r\n";
            stream.write_all(agreed.as_bytes()).await.unwrap();
            kept.push(stream);
        }
    });
    addr
}

/// Sends a request and reads the head of the answer.
async fn ask(addr: SocketAddr, head: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(head.replace('\n', "\r\n").as_bytes()).await.unwrap();
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        timeout(PATIENCE, stream.read_exact(&mut byte)).await.unwrap().unwrap();
        answer.push(byte[0]);
    }
    (stream, String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn tunnels_leave_descriptors_for_the_page() {
    const UPGRADE: &str = "GET /gate HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: websocket\n\
        Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n";
    let (mut child, addr) = start(backend().await).await;
    let mut open = Vec::new();
    for number in 0..DESCRIPTORS / 6 {
        let (stream, answer) = ask(addr, UPGRADE).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "tunnel {number}: {answer}");
        open.push(stream);
    }
    let (_refused, answer) = ask(addr, UPGRADE).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nretry-after: "), "{answer}");
    let (_page, answer) = ask(addr, "GET / HTTP/1.1\nHost: x\n\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    child.kill().await.unwrap();
}
