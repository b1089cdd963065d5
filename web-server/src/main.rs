//! Entry point of the web server. All of the work is in the library.

use std::process::ExitCode;

use tracing::info;
use web_server::{Config, Metrics, Server};

fn main() -> ExitCode {
    // Anything wrong with the options ends the process here, with usage on
    // stderr, before a thread or a socket exists.
    let config: Config = chassis::parse("127.0.0.1:9094");

    let options = config.chassis.clone();
    chassis::run("web-server", &options, async move |mut app: chassis::App| {
        let metrics = Metrics::register(app.registry());
        let (net, tasks) = (app.net().clone(), app.tasks().clone());
        let server = Server::bind(&config, net, metrics, tasks, app.shutdown()).await?;
        info!(listen_addr = %server.local_addr()?, "listening");

        // Ready only now: the port is taken and the page is loaded.
        app.ready().await?;

        // Returns once shutdown was asked for; what is under way ends as a task.
        server.serve().await;
        Ok(())
    })
}
