//! The chat service: one shard of all rooms.
//!
//! ```text
//! connector ══Link══▶ link.rs ──Command──▶ rooms.rs ──Input──▶ room::Room
//!                                              ▲                   │ effects
//! connector ◀══Link══ outbox.rs ◀──────────────┼───────────────────┤
//!                                              │                   ▼
//!           claims.rs, heads.rs, superseded.rs, writer.rs ◀────▶ store::Store
//! ```
//!
//! # Invariants
//!
//! * All that happens to a room happens under one lock, and nothing awaits there.
//! * A shard never waits for a connector: an outbox that is full cuts its link.
//! * Only `claims`, `writer` and `retention` write to the store, and `remote` to take a
//!   content away.
//! * Where shards share a store, nobody is let in, and nobody told what they missed, by
//!   an owner that has not looked since they asked whether it still is one.

mod api;
mod claims;
mod config;
mod content;
mod heads;
mod history;
mod link;
mod metrics;
mod outbox;
mod peers;
mod program;
mod read;
mod remote;
mod retention;
mod rooms;
mod server;
mod storage;
mod superseded;
mod translate;
mod upkeep;
mod words;
mod workers;
mod writer;

pub use config::{Config, parse_content_max};
pub use metrics::Metrics;
pub use program::main;
pub use server::Server;
pub use storage::{Command, MoreStoreOptions, StoreAt, StoreCommand, StoreOptions};
