//! Drives real clients against real processes, breaks things meanwhile, and checks
//! every rule of the delivery contract on what the clients saw.

mod clients;
mod figures;
mod mutants;
mod ops;
mod people;
mod report;
mod run;

use std::{fs::File, io::BufReader, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Parser;

/// Checks that messages are stored, once, in one order, for everybody
#[derive(Parser, Debug)]
#[command(version, about)]
enum Command {
    /// Starts processes and clients, breaks things meanwhile, and checks what the
    /// clients saw; exit code 1 if a rule is broken, or was never checked
    Run(Box<run::Options>),
    /// Lets clients chat in a system that runs already, through its gate, and checks what
    /// they saw; exit code 1 if a rule is broken, or was never checked
    Clients(Box<clients::Options>),
    /// Plays the acceptance tests of operations: real processes, a fake API server of
    /// Kubernetes, faults, and clients meanwhile; exit code 1 if one fails
    Ops(Box<ops::Options>),
    /// Plants one bug after the other in programs that were built with the feature
    /// planted, and shows by which rule each is found; exit code 1 if one is not, or
    /// if something is found where there is none
    Mutants(mutants::Options),
    /// Checks a record of an earlier run again; exit code 1 if a rule is broken, or
    /// was never checked
    Check {
        /// The record
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Run(options) => in_runtime(run::run(*options)),
        Command::Clients(options) => in_runtime(clients::run(*options)),
        Command::Ops(options) => in_runtime(ops::run(*options)),
        Command::Mutants(options) => in_runtime(mutants::run(options)),
        Command::Check { file } => check(&file),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::complain(&error);
            ExitCode::from(2)
        }
    }
}

/// One thread: what is started may be told to end with it.
fn in_runtime(task: impl Future<Output = anyhow::Result<bool>>) -> anyhow::Result<bool> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(task)
}

fn check(file: &PathBuf) -> anyhow::Result<bool> {
    let opened = File::open(file).with_context(|| format!("open {}", file.display()))?;
    let lines = verify::record::read(&mut BufReader::new(opened))
        .with_context(|| format!("read {}", file.display()))?;
    let is_kept = report::print(&lines, &verify::check(&lines));
    Ok(report::figures(&lines, &report::Demands::default()) && is_kept)
}
