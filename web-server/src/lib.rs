//! The web server: the page that people see first, and, if asked to, the way
//! from it to the gate and the connectors.
//!
//! ```text
//!            ┌─ /, /*.js, …    assets.rs   the embedded page
//! browser ───┼─ /config.json   config.rs   where gate and connectors are
//!            └─ /gate, /ws/ID  tunnel.rs ──── bytes ───▶ gate, connector ID, any connector
//!               and /ws
//! ```
//!
//! # Invariants
//!
//! * Every answer carries the security headers, also errors.
//! * A tunnel leads to an address of the configuration and nowhere else.
//! * The content of a tunnel is never looked at.

mod assets;
mod config;
mod metrics;
mod program;
mod routes;
mod server;
mod tunnel;

pub use config::{Backend, Config, GateAddress, InvalidAddress};
pub use metrics::{Metrics, RequestLabels, TunnelLabels, TunnelResult};
pub use program::main;
pub use server::Server;
