//! One chat room, as a state machine.
//!
//! A [`Room`] is given [`Input`]s and answers with [`Effect`]s. It does no I/O,
//! reads no clock and logs nothing: the same inputs always give the same effects.
//! The shell that carries effects out is `chat::rooms`.
//!
//! ```text
//! publish ──▶ pending ──take_append──▶ in flight ──stored──▶ reply, then pushes
//! join, leave, rejoin, link lost, tick ──▶ roster ──▶ reply, then presence
//! ```
//!
//! Before it stands a [`Line`] of those who must not be let in before the shell has
//! looked whether the room is still its own, and of whoever comes behind them.
//!
//! # Invariants
//!
//! * Nothing is replied to or pushed before it is stored.
//! * At most one append is in flight, and what it carries is a prefix of what was
//!   published, in order.
//! * A name has at most one member.
//! * A link gets an event if and only if a member sits behind it; replies go to
//!   the link that asked.
//! * The digest that a link is told equals the one that its connector computes
//!   from what it was sent.

mod effect;
mod input;
mod line;
mod log;
mod machine;
mod rejoin;
mod roster;
mod speech;
#[cfg(test)]
mod tests;
mod told;

pub use effect::{Effect, Event, Outcome, Refusal};
pub use input::{
    AppendResult, Duplicate, Entry, Found, Input, Join, Kind, Newcomer, Origin, Pages, Publish,
    Query, Read, Rejoin, Replay, Resume, Sought, Target, Verdict,
};
pub use line::{Command, Line, Who};
pub use log::{Append, NewEntry};
pub use machine::{Limits, Room};
pub use roster::{Member, Place};
