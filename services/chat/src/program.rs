//! The program: reads its options, and serves until it is told to end.

use std::process::ExitCode;

use crate::{Command, Config, Server};
use tracing::info;

/// Runs a chat shard with the options of the command line, and says how the process is to end:
/// 0 as asked, 1 failed while running, 2 could not start.
pub fn main() -> ExitCode {
    // Anything wrong with the options ends the process here, with usage on
    // stderr, before a thread or a socket exists.
    let config: Config = chassis::parse("127.0.0.1:9093");
    #[cfg(feature = "planted")]
    model::planted::plant_named(&std::env::var("SHADDOCK_PLANTED").unwrap_or_default());

    if let Some(Command::Store(command)) = &config.command {
        return chassis::run_tool("chat", async |world| command.run(&config.storage, world).await);
    }

    chassis::run("chat", &config.chassis.clone(), async move |mut app: chassis::App| {
        let server = Server::bind(&config, &mut app).await?;
        let (addr, store) = (server.grpc_addr(), &config.storage.store);
        info!(listen_addr = %addr, shard_id = %config.shard_id, %store, "listening");

        // Ready only now: the port is taken and every part is built.
        app.ready().await?;

        // Returns once shutdown was asked for and the links have been let go.
        server.serve().await
    })
}
