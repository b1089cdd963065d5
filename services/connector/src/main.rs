//! Entry point of the connector service. All of the work is in the library.

use std::process::ExitCode;

use connector::{Config, Server};
use tracing::info;

fn main() -> ExitCode {
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
