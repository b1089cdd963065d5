//! Tells clients which connector to use.
//!
//! ```text
//! connectors ══ Announce ══▶ announcements ─▶ Directory ◀─ clients  (gate.gateHandler.queryEntry)
//!  (gRPC, one stream each)                        ▲
//!                                                 └─ service  (gRPC: QueryEntry, Connectors)
//!                        before (what somebody hung in) ◀─ both, first
//!                        advertise (what they are told of it) ◀─ both, last
//! ```
//!
//! # Invariants
//!
//! * A gate keeps nothing about users: any gate answers any client, and may die.
//! * A connector that was silent for longer than a second, or that drains, is never named.
//! * One user gets one connector, at every gate, while the ready connectors stay the same
//!   and none is much fuller than another.
//! * No answer waits for a connector: what is known is in memory. It waits for a
//!   [`BeforeEntry`], if there is one, for a second at most, whatever that one does.

mod advertise;
mod announcements;
mod before;
mod clients;
mod config;
mod directory;
mod metrics;
mod program;
mod server;
mod service;

pub use advertise::{Advertise, AdvertiseOptions};
pub use before::{BEFORE_ENTRIES_MAX, BEFORE_ENTRY_MAX, BeforeEntry};
pub use config::Config;
pub use metrics::Metrics;
pub use program::main;
pub use server::Server;
