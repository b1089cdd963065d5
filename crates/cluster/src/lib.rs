//! Who is alive: the chat shards, or the servers of another service, that one
//! process sees, and how it learns of them.
//!
//! ```text
//! List (flag or @FILE) ──▶ StaticDiscovery ──▶ watch<View> ──▶ owner(room)
//!                            │ one health watch per listed shard
//!                            └──▶ Dial, Jitter (handed in)
//! ```
//!
//! Views of two processes may differ for a while. Placement by a [`View`] is a
//! hint, never the safety: that is in the log (`store`).
//!
//! # Invariants
//!
//! * Nothing here spawns a task: whoever makes a source of views gets its future
//!   and runs it until shutdown.
//! * Nothing here opens a socket or draws a random number: [`Dial`] and [`Jitter`]
//!   are handed in. Time is tokio's.
//! * A view is published only when the set of ready shards differs from the last.

mod backoff;
mod discovery;
mod list;
mod source;
mod view;

pub use backoff::{Backoff, Jitter};
pub use discovery::{Dial, Discovery, LOST_AFTER, StaticDiscovery};
pub use list::{Connector, ENTRIES_MAX, Entry, EntryError, List, ListError};
pub use view::{Shard, View};
