//! Every order in which shards and a store can do things, for one room.
//!
//! ```text
//! connector ──commands, one by one──▶ shard: room::Line ─▶ room::Room ──append, claim──▶
//! connector ◀─────────answers, entries─────────────────────────┘ ◀── known, unknown ── log
//! ```
//!
//! A [`Scenario`] says what is said, and what may go wrong how often. From every state
//! that can be reached, everything that may happen next is tried, with `stateright`. In
//! each state the contract's rules 1 to 7, 9, 13 and 15 are checked, and that nobody waits
//! for ever. The rooms and the lines before them are the real ones, and so is what
//! retention takes. What stands around a room follows `chat::rooms`; the store's
//! statements follow `store::postgres`, each in two steps, because a database sees first
//! and inserts later.
//!
//! A [`Guard`] can be taken out, to see which rule is broken then, and how.

mod action;
mod connector;
mod effects;
mod guard;
mod happen;
mod hearing;
mod log;
mod may;
mod rules;
mod scenario;
mod search;
mod shard;
mod shared;
mod statement;
mod world;

pub use guard::Guard;
pub use scenario::{Budget, Order, Scenario};
pub use search::{Found, Violation, explore};
pub use world::Message;
