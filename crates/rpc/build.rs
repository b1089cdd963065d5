//! Compiles `/proto` in pure Rust, so that building needs no `protoc`.

use std::{env, fs, path::Path};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let protos = [
        "process/v1/process.proto",
        "gate/v1/gate_service.proto",
        "connector/v1/connector_service.proto",
        "chat/v1/chat_service.proto",
        "chat/v1/link.proto",
    ];
    let files = protox::compile(protos, [&root])?;
    // For reflection.
    let out = Path::new(&env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(out, files.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
