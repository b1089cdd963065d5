//! The real services on a simulated network: whole systems in one thread, in
//! virtual time, with faults at given moments, decided by a seed alone.
//!
//! ```text
//! Plan { hosts, people, faults } ──run──▶ turmoil ──▶ Record ──▶ check ──▶ violations
//!                                  │
//!        chat::Server, connector::Server, people who speak Pomelo
//! ```
//!
//! # Invariants
//!
//! * The services are the ones that are deployed; only `chassis::World` differs.
//! * The checker sees what clients saw, and nothing else.
//! * A run is a function of its [`Plan`]: two runs of one plan give equal
//!   [`Record`]s.

mod check;
mod client;
mod hosts;
mod net;
mod plan;
mod record;

pub use check::{Calm, Violation, check};
pub use client::Person;
pub use net::Turmoil;
pub use plan::{Fault, Outcome, Plan};
pub use record::{Event, Record, Seen};
