//! Load and measurement: many clients against running connectors, the least that
//! a server could cost as a comparison, and both in turns with a table of ratios.

mod bench;
mod client;
mod clients;
mod crowd;
mod floor;
mod process;
mod smoke;
mod store;

use std::process::ExitCode;

use clap::Parser;

/// Load and measurement against a running system
#[derive(Parser, Debug)]
#[command(version, about)]
enum Command {
    /// Opens clients, has some of them talk, counts what arrives, prints JSON
    Clients(clients::Options),
    /// Serves the comparison: one thread that does nothing but write to sockets
    Floor(floor::Options),
    /// Starts chat, connector and floor, measures them in turns, prints a table
    Bench(bench::Options),
    /// Has two clients meet in a room by way of a gate; ends with 1 and one line if they
    /// do not
    Smoke(smoke::Options),
    /// Measures what an acknowledged message costs in each store, prints tables
    BenchStore(store::Options),
}

/// Does what the command line asks for, and says how the process is to end.
pub fn main() -> ExitCode {
    let command = Command::parse();
    // Each client is a descriptor, here and in the servers that this process starts.
    chassis::raise_descriptor_limit();
    let done = match command {
        Command::Floor(options) => floor::run(&options),
        Command::Clients(options) => in_runtime(clients::run(options)),
        Command::Bench(options) => in_runtime(bench::run(options)),
        Command::Smoke(options) => in_runtime(smoke::run(options)),
        Command::BenchStore(options) => in_runtime(store::run(options)),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    report(&error);
    ExitCode::FAILURE
}

/// One thread is enough for the clients, and leaves the others to the servers.
fn in_runtime(task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(task)
}

#[allow(clippy::print_stderr, reason = "the last word of a tool")]
fn report(error: &anyhow::Error) {
    eprintln!("loadgen: {}", chassis::chain(error.as_ref()));
}

/// Prints a line of the result.
#[allow(clippy::print_stdout, reason = "what the tool is for")]
pub(crate) fn print(line: impl std::fmt::Display) {
    println!("{line}");
}
