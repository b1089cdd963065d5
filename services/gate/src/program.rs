//! The program: reads its options, and serves until it is told to end.

use std::process::ExitCode;

use crate::{Config, Server};
use tracing::info;

/// Runs the gate with the options of the command line, and says how the process is to end:
/// 0 as asked, 1 failed while running, 2 could not start.
pub fn main() -> ExitCode {
    // Anything wrong with the options ends the process here, with usage on
    // stderr, before a thread or a socket exists.
    let config: Config = chassis::parse("127.0.0.1:9091");

    chassis::run("gate", &config.chassis.clone(), async move |mut app| {
        let server = Server::bind(&config, &mut app).await?;
        info!(listen_addr = %server.client_addr(), "listening for clients");
        info!(listen_addr = %server.grpc_addr(), "listening for gRPC");

        // Ready only now: the ports are taken and every part is built.
        app.ready().await?;

        // Returns once shutdown was asked for and the last client is gone.
        server.serve().await
    })
}
