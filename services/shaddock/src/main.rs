//! All programs of the image in one file, which is the one that it is called by the name
//! of. What they have in common, nearly all, is there once: on the disk, on the way to a
//! node, and in the memory of one that runs several.
//!
//! ```text
//! /usr/bin/gate ──link──▶ /usr/bin/shaddock ──by its name──▶ gate::main
//! ```

use std::{ffi::OsStr, path::Path, process::ExitCode};

/// A program: its name, and what it does.
type Program = (&'static str, fn() -> ExitCode);

const PROGRAMS: &[Program] = &[
    ("gate", gate::main),
    ("connector", connector::main),
    ("chat", chat::main),
    ("web-server", web_server::main),
    ("standalone", standalone::main),
    ("shaddock-admin", admin::main),
    ("loadgen", loadgen::main),
];

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().and_then(OsStr::to_str).unwrap_or_default();
    match PROGRAMS.iter().find(|(program, _)| *program == name) {
        Some((_, main)) => main(),
        None => refuse(name),
    }
}

#[allow(clippy::print_stderr, reason = "nothing has begun yet")]
fn refuse(name: &str) -> ExitCode {
    let names: Vec<_> = PROGRAMS.iter().map(|(program, _)| *program).collect();
    eprintln!(
        "{name}: this is the file of {}; call it by a link of one of these names",
        names.join(", ")
    );
    ExitCode::from(2)
}
