//! The program: reads its options, and serves until it is told to end.

use std::process::ExitCode;

use tracing::info;

use crate::{Config, Server};

/// Runs the web server with the options of the command line, and says how the process is to end:
/// 0 as asked, 1 failed while running, 2 could not start.
pub fn main() -> ExitCode {
    // Anything wrong with the options ends the process here, with usage on
    // stderr, before a thread or a socket exists.
    let config: Config = chassis::parse("127.0.0.1:9094");

    chassis::run("web-server", &config.process(), async move |mut app: chassis::App| {
        let server = Server::bind(&config, &mut app).await?;
        info!(listen_addr = %server.local_addr()?, "listening");

        // Ready only now: the port is taken and the page is loaded.
        app.ready().await?;

        // Returns once shutdown was asked for; what is under way ends as a task.
        server.serve().await;
        Ok(())
    })
}
