//! Entry point: the gate's own, with one part more.

use std::process::ExitCode;

use time_gate::{Asker, Config};
use tracing::info;

fn main() -> ExitCode {
    let config: Config = chassis::parse("127.0.0.1:9091");

    chassis::run("time-gate", &config.gate.chassis.clone(), async move |mut app| {
        let asker = Asker::start(&config, &mut app)?;
        let server = gate::Server::bind_with(&config.gate, &mut app, Some(asker)).await?;
        info!(listen_addr = %server.client_addr(), "listening for clients");
        info!(listen_addr = %server.grpc_addr(), "listening for gRPC");
        app.ready().await?;
        server.serve().await
    })
}
