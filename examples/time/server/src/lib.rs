//! Tells the time: the example of a service of one's own (docs/extending.md).
//!
//! ```text
//! main ─▶ Config ─▶ Server { health, reflection, access, drain } ─▶ service (the one call)
//! ```
//!
//! # Invariants
//!
//! * A server keeps nothing: any may answer anybody, and may die.
//! * It says that it does not serve before it stops serving.

mod config;
mod metrics;
mod server;
mod service;

pub use config::Config;
pub use server::Server;
