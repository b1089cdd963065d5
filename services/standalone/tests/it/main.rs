//! All four services in one process, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::disallowed_methods, reason = "a test owns its sockets and tasks by ending")]

mod kubernetes;
mod proxy;

use std::{net::SocketAddr, time::Duration};

use chassis::{App, World};
use clap::Parser;
use standalone::{Config, Server};
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A whole chat server on free ports.
struct Standalone {
    web_addr: SocketAddr,
    connector_addr: SocketAddr,
    shutdown: CancellationToken,
    app: App,
    serving: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Standalone {
    async fn start(args: &[&str]) -> Self {
        let ports = ["web", "gate-client", "connector-client", "gate-grpc", "connector-grpc"];
        let ports = ports.iter().chain(&["chat-grpc"]);
        let own = ports.map(|port| format!("--{port}-addr=127.0.0.1:0"));
        let own = own.chain(["--store=memory".to_owned()]);
        let given = args.iter().map(|arg| (*arg).to_owned());
        let config =
            Config::parse_from(std::iter::once("standalone".to_owned()).chain(own).chain(given));
        let mut app = App::detached(World::real());
        let server = Server::bind(&config, &mut app).await.unwrap();
        let web_addr = server.url();
        let web_addr = web_addr.trim_start_matches("http://").trim_end_matches('/');
        Self {
            web_addr: web_addr.parse().unwrap(),
            connector_addr: server.connector_addr(),
            shutdown: app.shutdown(),
            app,
            serving: tokio::spawn(server.serve()),
        }
    }

    /// Asks it to stop, and waits until nothing of it is left.
    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.serving).await.unwrap().unwrap().unwrap();
        tokio::time::timeout(PATIENCE, self.app.tasks().wait()).await.unwrap();
    }
}
