//! A gate that asks a time server before it tells a user their connector: the example
//! of how a service of one's own is called (docs/extending.md).
//!
//! ```text
//! user ─▶ gate ─▶ Asker (a BeforeEntry) ── GetCurrentTime ─▶ the user's time server
//!          │        │ view ◀─ one health watch per listed server
//!          ▼        ▼
//!   the same answer as without it
//! ```
//!
//! # Invariants
//!
//! * The server for a user depends on the name and on the ready servers only, so all
//!   gates ask the same one.
//! * Users are answered alike, whether a time server answers or not.

mod asker;
mod config;
mod metrics;

pub use asker::{Asker, Told, Unanswered};
pub use config::Config;
