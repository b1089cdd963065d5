//! Generated code for `examples/time/proto`: what the time servers and their callers
//! say to each other, and all that they have in common.

/// The time server's API.
pub mod time {
    /// Version 1.
    #[allow(
        missing_docs,
        missing_debug_implementations,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        reason = "generated; the documentation is in the proto"
    )]
    pub mod v1 {
        tonic::include_proto!("time.v1");
    }
}

/// The proto, encoded, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
