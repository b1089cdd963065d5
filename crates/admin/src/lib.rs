//! Asks all processes of a cluster at once, for operators.
//!
//! ```text
//! stats ──▶ names ──▶ ask ══Stats, many at once══▶ gates, connectors, shards
//!                       │
//!                       └──▶ Row … ──▶ table (for people) or JSON (for programs)
//!
//! health ─▶ names ══health, reflection, many at once══▶ anybody ──▶ table
//! ```
//!
//! # Invariants
//!
//! * Whoever is listed has a row, answered or not.
//! * Nobody is waited for longer than `--timeout`, and nothing is changed by asking.
//! * What others say is printed without control characters.

mod ask;
mod health;
mod names;
mod stats;
mod table;

use std::process::ExitCode;

/// Asks all processes of a Shaddock cluster, and puts what they say into one table.
///
/// The exit code is 0 if all have answered, 1 if somebody has not, 2 if the command
/// line is wrong.
#[derive(clap::Parser, Debug)]
#[command(name = "shaddock-admin", version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Prints how each process is and what it has counted, one line each, and sums
    Stats(Box<stats::Options>),
    /// Asks every address of names whether it serves, and by reflection what
    Health(health::Options),
}

/// Does what the command line asks for, and says how the process is to end.
pub fn main() -> ExitCode {
    let Options { command } = chassis::parse_tool();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let run = |runtime: tokio::runtime::Runtime| match &command {
        Command::Stats(options) => runtime.block_on(stats::run(options)),
        Command::Health(options) => runtime.block_on(health::run(options)),
    };
    match runtime.map_err(anyhow::Error::from).and_then(run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report(&error);
            let refused = error.downcast_ref::<chassis::StartError>().is_some();
            if refused { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

#[allow(clippy::print_stderr, reason = "the last word of a tool")]
fn report(error: &anyhow::Error) {
    eprintln!("shaddock-admin: {}", chassis::chain(error.as_ref()));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn options_are_well_formed_and_explained() {
        let mut command = super::Options::command();
        command.clone().debug_assert();
        command.build();
        for sub in command.get_subcommands() {
            for arg in sub.get_arguments() {
                let name = (sub.get_name(), arg.get_id());
                assert!(arg.get_help().is_some() || sub.get_name() == "help", "{name:?}");
            }
        }
    }
}
