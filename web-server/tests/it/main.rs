//! The web server over real sockets, as browsers and programs see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::disallowed_methods, reason = "a test owns its sockets and tasks by ending")]

mod descriptors;
mod page;
mod proxy;

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use chassis::{App, World};
use clap::Parser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use web_server::{Config, Metrics, Server};

/// Nothing here takes longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A web server on a free port.
struct Web {
    addr: SocketAddr,
    metrics: Metrics,
    shutdown: CancellationToken,
    app: App,
    serving: tokio::task::JoinHandle<()>,
}

impl Web {
    async fn start(args: &[&str]) -> Self {
        let own = ["web-server", "--listen-addr=127.0.0.1:0"];
        let config = Config::parse_from(own.iter().chain(args));
        let mut app = App::detached(World::real());
        let shutdown = app.shutdown();
        let server = Server::bind(&config, &mut app).await.unwrap();
        let (addr, metrics) = (server.local_addr().unwrap(), server.metrics().clone());
        Self { addr, metrics, shutdown, app, serving: tokio::spawn(server.serve()) }
    }

    /// Sends a request and reads the answer to its end.
    async fn ask(&self, head: &str) -> Answer {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let head = head.replace('\n', "\r\n");
        stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = Vec::new();
        // An error after the answer is one: the server did not read all that we sent.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut text)).await.unwrap();
        Answer::parse(&text)
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\nHost: x\nConnection: close")).await
    }

    /// Asks it to stop, and waits until nothing of it is left.
    async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.serving).await.unwrap().unwrap();
        timeout(PATIENCE, self.app.tasks().wait()).await.unwrap();
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn parse(raw: &[u8]) -> Self {
        let end = raw.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&raw[..end]).unwrap();
        let (first, rest) = head.split_once("\r\n").unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Self {
            status: first.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: rest.split("\r\n").map(header).collect(),
            body: raw[end + 4..].to_vec(),
        }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }
}
