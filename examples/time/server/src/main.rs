//! Entry point of the time server. All of the work is in the library.

use std::process::ExitCode;

use time_server::{Config, Server};
use tracing::info;

fn main() -> ExitCode {
    let config: Config = chassis::parse("127.0.0.1:9095");

    chassis::run("time", &config.chassis.clone(), async move |mut app: chassis::App| {
        let server = Server::bind(&config, &mut app).await?;
        info!(listen_addr = %server.grpc_addr(), server_id = %config.server_id, "listening");
        app.ready().await?;
        server.serve().await
    })
}
