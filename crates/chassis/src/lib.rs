//! What every process does around its own work: options, logs, metrics, probes,
//! signals, the end of the process, and the one seam to the outside world.
//! Knows nothing about chat.
//!
//! ```text
//! main ── parse ──▶ run ──▶ App { World, Tasks, components, registry, shutdown } ──▶ the service
//!                    │
//!                    └──▶ admin port, on a thread of its own
//! ```
//!
//! # Invariants
//!
//! * Nothing outside this crate handles signals, chooses exit codes, installs
//!   global state, opens a socket, reads a clock or draws a random number.
//! * A process that cannot start says so in one line on stderr and exits with 2,
//!   before it has served anything.

mod admin;
mod app;
mod clock;
mod component;
mod follow;
mod grpc;
mod grpc_tls;
mod net;
mod options;
mod proxies;
mod rng;
mod stop;
mod tasks;
mod telemetry;

pub use app::{
    App, StartError, Stopped, World, descriptor_limit, parse, parse_tool, raise_descriptor_limit,
    run, run_tool,
};
pub use async_trait::async_trait;
pub use clock::Clock;
pub use component::Component;
pub use follow::{ReadError, read_text};
pub use grpc::{Incoming, Peer, PeerInfo};
pub use grpc_tls::{CLUSTER_NAME, GrpcTls, GrpcTlsOptions};
pub use net::{BoxIo, Io, Listen, Listener, Net, Network, ReadHalf, Stream, WriteHalf};
pub use options::{LogFormat, Options};
pub use proxies::{InvalidNetwork, ProxyNetwork, Unreadable, forwarded_for, is_trusted};
pub use rng::Rng;
pub use stop::{Hold, Stopper};
pub use tasks::{Policy, Tasks};

/// The examples of docs/components.md are compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/components.md")]
struct Documents;

/// The version of this build, as `--version` says it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An error and its sources, as `outer: inner: innermost`.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |e| e.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
