//! Who is alive: the chat shards, or the servers of another service, that one
//! process sees, and how it learns of them.
//!
//! ```text
//! List (flag or @FILE) ──┐
//!                        ├─▶ Source ──▶ HealthDiscovery ──▶ watch<View> ──▶ owner(room)
//! EndpointSlices ────────┘                │ one health watch per listed shard
//!   (kubernetes)                          └──▶ Dial, Jitter (handed in)
//! ```
//!
//! Views of two processes may differ for a while. Placement by a [`View`] is a
//! hint, never the safety: that is in the log (`store`).
//!
//! # Invariants
//!
//! * Nothing here spawns a task: whoever makes a source of lists or views gets its
//!   future and runs it until shutdown.
//! * Nothing here opens a socket or draws a random number: [`Dial`] and [`Jitter`]
//!   are handed in. Time is tokio's. One exception: the API server is dialled by the
//!   Kubernetes client, which has its own TLS and tasks for its connections.
//! * Only [`DiscoveryOptions`] and `kubernetes` know Kubernetes; a list is a list.
//! * A view is published only when the set of ready shards differs from the last.

mod backoff;
mod discovery;
mod kubernetes;
mod list;
mod options;
mod source;
mod view;

pub use backoff::{Backoff, Jitter};
pub use discovery::{Dial, Discovery, HealthDiscovery, LOST_AFTER};
pub use kubernetes::Host;
pub use list::{Connector, ENTRIES_MAX, Entry, EntryError, List, ListError, is_host};
pub use options::{DiscoveryOptions, Lister, Opening};
pub use source::Source;
pub use view::{Shard, View};
