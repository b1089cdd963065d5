//! The connector service: holds the clients' connections and nothing that
//! outlives them.
//!
//! ```text
//! client ──frontend──▶ handler.rs ──▶ room.rs ──Command──▶ link.rs ══Link══▶ shard
//!                                       ▲                     │
//!                            router.rs ─┘ (which shard)       │ Event
//! clients ◀─one write each── fanout.rs ◀── inbound.rs ◀───────┘
//! ```
//!
//! # Invariants
//!
//! * A room is attached to at most one link; what comes over another is ignored.
//! * A room's entries are delivered in order of seq, without holes.
//! * Every request is answered once: by its shard, or at its deadline.
//! * Whoever is sent to another connector has all that it asked for.
//! * The connector never waits for a client, and never for a shard while it holds
//!   a lock. Lock order: delivery, room, link.

mod api;
mod config;
mod deadlines;
mod drain;
mod entry;
mod extended;
mod fanout;
mod handler;
mod hub;
mod inbound;
mod link;
mod links;
mod listing;
mod metrics;
mod pending;
mod program;
mod ring;
mod room;
mod router;
mod server;
mod upstream;

pub use config::{Config, parse_advertise, parse_content_max, process};
pub use metrics::Metrics;
pub use program::main;
pub use server::Server;
