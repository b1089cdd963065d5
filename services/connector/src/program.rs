//! The program: reads its options, and serves until it is told to end.

use std::process::ExitCode;

use crate::{Config, Server};
use tracing::info;

/// Runs the connector with the options of the command line, and says how the process is to end:
/// 0 as asked, 1 failed while running, 2 could not start.
pub fn main() -> ExitCode {
    // Anything wrong with the options ends the process here, with usage on
    // stderr, before a thread or a socket exists.
    let config: Config = chassis::parse("127.0.0.1:9092");
    #[cfg(feature = "planted")]
    model::planted::plant_named(&std::env::var("SHADDOCK_PLANTED").unwrap_or_default());

    chassis::run("connector", &config.process(), async move |mut app: chassis::App| {
        let server = Server::bind(&config, &mut app).await?;
        info!(listen_addr = %server.client_addr(), grpc_addr = %server.grpc_addr(), "listening");

        // Ready only now: the ports are taken and every part is built. Readiness
        // does not wait for shards.
        app.ready().await?;

        // Returns once shutdown was asked for and the last client has gone.
        server.serve().await
    })
}
