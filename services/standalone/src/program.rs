//! The program: reads its options, and serves until it is told to end.

use std::process::ExitCode;

use crate::{Config, Server};

/// Runs the standalone server with the options of the command line, and says how the process is to end:
/// 0 as asked, 1 failed while running, 2 could not start.
pub fn main() -> ExitCode {
    // Anything wrong with the options ends the process here, with usage on
    // stderr, before a thread or a socket exists.
    let config: Config = chassis::parse("127.0.0.1:9090");
    #[cfg(feature = "planted")]
    model::planted::plant_named(&std::env::var("SHADDOCK_PLANTED").unwrap_or_default());

    if let Some(chat::Command::Store(command)) = &config.command {
        let storage = config.storage();
        return chassis::run_tool("standalone", async |world| command.run(&storage, world).await);
    }

    chassis::run("standalone", &config.process(), async move |mut app: chassis::App| {
        let server = Server::bind(&config, &mut app).await?;

        // Ready only now: all ports are taken and every part is built.
        app.ready().await?;
        announce(&server);

        // Returns once shutdown was asked for and every part has ended.
        server.serve().await
    })
}

#[allow(clippy::print_stdout, reason = "what the person at the terminal wants to know")]
fn announce(server: &Server) {
    println!("Shaddock is running. Open {} in two browser windows.", server.url());
    println!("Pomelo clients: gate {}, connector {}", server.gate_addr(), server.connector_addr());
}
