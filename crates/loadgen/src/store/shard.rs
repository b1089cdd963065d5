//! A real shard in this process, on threads of its own.

use std::sync::Arc;

use anyhow::Context;
use chassis::{App, Clock, Net, Rng, World};
use clap::Parser;
use store::Store;
use tokio_util::sync::CancellationToken;

use super::pipes;

/// Where it is on the network of this process.
pub(super) const ADDR: &str = "127.0.0.1:1";

pub(super) struct Shard {
    /// Where to find it.
    pub(super) net: Net,
    shutdown: CancellationToken,
    served: Option<tokio::task::JoinHandle<anyhow::Result<()>>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Shard {
    /// Starts it on `store`.
    pub(super) async fn start(store: Arc<dyn Store>) -> anyhow::Result<Self> {
        let net = pipes::net();
        let world = World { net: net.clone(), clock: Clock::real(), rng: Rng::real() };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("shard")
            .enable_all()
            .build()?;
        let args = [
            "chat".to_owned(),
            "--shard-id=bench".to_owned(),
            format!("--shards=bench={ADDR}"),
            format!("--grpc-addr={ADDR}"),
        ];
        let config = chat::Config::try_parse_from(args)?;
        let mut app = App::detached(world);
        let shutdown = app.shutdown();
        let start = async move {
            let server = chat::Server::bind_with(&config, &mut app, None, Some(store)).await?;
            app.ready().await?;
            anyhow::Ok((server, app))
        };
        let (server, app) = runtime.spawn(start).await??;
        let served = Some(runtime.spawn(async move {
            server.serve().await?;
            app.end().await
        }));
        Ok(Self { net, shutdown, served, runtime: Some(runtime) })
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.served.take().context("it runs")?.await?
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        // A runtime may not wait for its threads within another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
