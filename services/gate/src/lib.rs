//! Tells clients which connector to use.
//!
//! ```text
//! connectors ══ Announce ══▶ announcements ─▶ Directory ◀─ clients  (gate.gateHandler.queryEntry)
//!  (gRPC, one stream each)                        ▲
//!                                                 └─ service  (gRPC: QueryEntry, Connectors)
//! ```
//!
//! # Invariants
//!
//! * A gate keeps nothing about users: any gate answers any client, and may die.
//! * A connector that was silent for longer than a second, or that drains, is never named.
//! * One user gets one connector, at every gate, while the ready connectors stay the same.
//! * No answer waits for a connector: what is known is in memory.

mod announcements;
mod clients;
mod config;
mod directory;
mod metrics;
mod server;
mod service;

pub use config::Config;
pub use metrics::Metrics;
pub use server::Server;
