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

mod chaos;
mod check;
mod client;
mod exact;
mod hosts;
mod judge;
mod net;
mod plan;
mod pomelo;
mod record;
mod store;
mod talker;

pub use chaos::chaos;
pub use check::{Calm, Violation, check};
pub use client::Person;
pub use exact::{Wrong, check_times};
pub use judge::{Judged, judge};
pub use net::Turmoil;
pub use plan::{Fault, Outcome, Plan, SharedLog, Trouble};
pub use record::{Event, Record, Seen};
pub use store::{Bug, Journal, RoomLog, Weather};
pub use talker::{Habit, Talker};
