//! Generated code for `/proto`: what services say to each other. Beside it, what
//! every gRPC server of ours has: who may call what, health, reflection.

mod access;
pub mod convert;
mod server;
mod status;

pub use access::{Access, AccessLayer, AccessOptions, Caller, FORWARDED, Operator};
pub use convert::Malformed;
pub use server::{Health, reflection, reflection_of};
pub use status::refusal;

/// The shard's API.
pub mod chat {
    /// Version 1.
    #[allow(
        missing_docs,
        missing_debug_implementations,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        reason = "generated; the documentation is in /proto"
    )]
    pub mod v1 {
        tonic::include_proto!("chat.v1");
    }
}

/// The connector's API.
pub mod connector {
    /// Version 1.
    #[allow(
        missing_docs,
        missing_debug_implementations,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        reason = "generated; the documentation is in /proto"
    )]
    pub mod v1 {
        tonic::include_proto!("connector.v1");
    }
}

/// The gate's API.
pub mod gate {
    /// Version 1.
    #[allow(
        missing_docs,
        missing_debug_implementations,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        reason = "generated; the documentation is in /proto"
    )]
    pub mod v1 {
        tonic::include_proto!("gate.v1");
    }
}

/// What every process says of itself.
pub mod process {
    /// Version 1.
    #[allow(
        missing_docs,
        missing_debug_implementations,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        reason = "generated; the documentation is in /proto"
    )]
    pub mod v1 {
        tonic::include_proto!("process.v1");
    }
}

/// All of `/proto`, encoded, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
